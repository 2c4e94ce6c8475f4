"""`mnist-lightning`, or `python -m lightning_impl`: the network under the stock LightningCLI, and what it lacks."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy
from safetensors.torch import save

from command_line.one_line import OneLineErrors
from command_line.table import (
    Command,
    add_recipe_options,
    called_classify,
    check_recipe_options,
    check_words,
    make_parser,
    program_name,
    run_command,
)
from lightning_impl import export, worker
from lightning_impl.backend import accelerator_of
from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.checkpoints import CompleteCheckpoints, check_recipe, checkpoint_callbacks, load_checkpoint
from lightning_impl.configurations import with_ready_configurations
from lightning_impl.convert import convert
from lightning_impl.data import MnistDataModule
from lightning_impl.logs import SaveConfigAndRecipe, check_installed, default_loggers, forget
from lightning_impl.predicting import predict_images
from pictures.classify import add_options, classify_pictures
from recipe.atomic import complete_or_absent
from recipe.errors import BAD_INPUT, BadInputError, ParityError, UnavailableError, as_one_line, errors_are_one_line
from record.isolation import hide
from record.weights import add_convert_options, add_export_options, run_convert
from record.worker import add_contract_options, run_worker

_CHECKPOINTS_THAT_LIGHTNING_FINDS = ("best", "last", "hpc", "registry")

_PARTS_OF_SHARDED = ("meta.pt", "checkpoint")
"""What the directory holds that FSDP or DeepSpeed write as a checkpoint, which they read themselves."""


class RecipeCLI(LightningCLI):
    """A LightningCLI whose model and data take the one recipe."""

    def _add_subcommands(self, parser: LightningArgumentParser, **options: Any) -> None:
        """Adds our commands to the Trainer's methods, and a line for each: one help and one completion have all."""
        self._subcommand_parsers = {}
        subcommands = parser.add_subcommands()
        for name, description in TRAINER_COMMANDS.items():
            subparser = self._prepare_subcommand_parser(Trainer, name, description=description)
            self._subcommand_parsers[name] = subparser
            subcommands.add_subcommand(name, subparser, help=description)
        for name, command in COMMANDS.items():
            subcommands.add_subcommand(name, command.parser(), help=command.description)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds `--recipe.*` and `--checkpoints`."""
        add_recipe_options(parser)
        parser.link_arguments("recipe", "model.recipe", apply_on="instantiate")
        parser.link_arguments("recipe", "data.recipe", apply_on="instantiate")

        parser.add_argument(
            "--checkpoints",
            type=str | None,
            default=None,
            help="Directory of best.ckpt and last.ckpt (default: where the logs are); a killed training goes on "
            "from there with --ckpt_path last.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Has a completion script know values of the recipe's options alone, and of all others the names.

        The classes that the Trainer's options take have options, too, which would make it 220 MB.
        """
        if "--print_completion" in sys.argv:
            for subcommand in self._subcommand_parsers.values():
                for action in subcommand._actions:  # noqa: SLF001 - where shtab looks for `complete`, too
                    if not action.dest.startswith("recipe."):
                        vars(action)["complete"] = {}
        super().parse_arguments(parser, args)
        # Before the LightningCLI seeds the generators, and says so.
        check_recipe_options(vars(self.config[self.config.subcommand].recipe))

    def _parse_ckpt_path(self) -> None:
        """Leaves the checkpoint to the Trainer: it holds a recipe, not the hyperparameters sought here."""

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Has `--lr_scheduler` alone schedule the recipe's optimizer; Lightning would pass over it in silence."""
        super()._add_configure_optimizers_method_to_model(subcommand)
        scheduler = self._get(self.config_init, "lr_scheduler")
        if scheduler and not self._get(self.config_init, "optimizer"):
            optimizer = self.model.configure_optimizers()
            configured = self.configure_optimizers(self.model, optimizer, instantiate_class(optimizer, scheduler))
            self.model.configure_optimizers = lambda: configured

    def before_instantiate_classes(self) -> None:
        """Refuses loggers whose packages are not installed; jsonargparse would take 30 lines to say so."""
        check_installed(self._get(self.config, "trainer.logger"))
        if self._get(self.config, "checkpoints") == "":
            raise BadInputError("--checkpoints must be a directory, not ''; see --help")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trains for the recipe's epochs unless `--trainer.max_epochs` says otherwise, keeps logs and checkpoints."""
        trainer = self._get(self.config_init, "trainer")
        callbacks, plugins = _as_list(trainer.callbacks), _as_list(trainer.plugins)
        checkpoints = trainer.enable_checkpointing is not False and not trainer.barebones
        if checkpoints and not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
            kwargs["callbacks"] = [*callbacks, *checkpoint_callbacks(self._get(self.config_init, "checkpoints"))]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, CompleteCheckpoints()]
        logs = trainer.logger in (None, True) and not (trainer.barebones or trainer.fast_dev_run)
        if logs:
            kwargs["logger"] = False  # they make a directory, which a Trainer that is refused is not to leave
        if trainer.barebones:
            kwargs["log_every_n_steps"] = None
            self.save_config_callback = None
        if self._get(self.config_init, "trainer.max_epochs") is None:
            kwargs["max_epochs"] = self._get(self.config_init, "recipe").epochs
        if trainer.accelerator in ("auto", None) and MPSAccelerator.is_available():
            kwargs["accelerator"] = accelerator_of("auto")  # as in the other two programs
        try:
            instance = super().instantiate_trainer(**kwargs)
        except ParityError:
            raise
        # Of strategies, devices and precisions that it does not know or cannot join, Lightning raises any kind.
        except Exception as error:
            raise BadInputError(f"--trainer: {as_one_line(error)}; see --help") from error
        self._check_trainer(instance)
        self._check_checkpoint()
        self._own_logs = logs
        if logs:
            instance.loggers = default_loggers(instance.default_root_dir)
        return instance

    def _check_trainer(self, trainer: Trainer) -> None:
        """Refuses what Lightning takes, and what then fails in the middle.

        Raises:
            BadInputError: Steps are to be accumulated over less than one batch, by which Lightning divides; or the
                strategy spawns processes, or has the module shard itself, which this one does not.
            UnavailableError: float64 is asked for on a Mac's GPU.
        """
        if trainer.accumulate_grad_batches < 1:
            raise BadInputError(
                f"--trainer.accumulate_grad_batches must be 1 or more, not {trainer.accumulate_grad_batches}"
            )
        if getattr(trainer.strategy, "_start_method", None) in ("spawn", "forkserver"):
            raise BadInputError(
                "--trainer.strategy: processes that are spawned cannot be handed the command line, and Lightning would "
                "wait for them without end; use ddp, which starts the command again, or ddp_fork"
            )
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise BadInputError(
                "--trainer.strategy ModelParallelStrategy has a module shard itself, which this one does not; "
                "ddp, or fsdp on GPUs, divides the batches"
            )
        float64 = self._get(self.config_init, "recipe").dtype == "float64" or str(trainer.precision) == "64-true"
        if float64 and trainer.strategy.root_device.type == "mps":
            raise UnavailableError(
                "a Mac's GPU has no float64; set --trainer.accelerator cpu, or --recipe.dtype float32 and "
                "--trainer.precision 32-true"
            )

    def _check_checkpoint(self) -> None:
        """Reads the checkpoint that is named, for its errors alone: what is refused is to leave no directory of logs.

        Raises:
            BadInputError: The name is empty.
            RecipeError: It is of another recipe.
            RecordError: It cannot be read, or is damaged.
        """
        path = self._get(self.config, "ckpt_path")  # a text or, as jsonargparse may make it, a Path
        name = None if path is None else str(path)
        if name == "":
            raise BadInputError("--ckpt_path must be a file, best or last, not ''; see --help")
        # Without a last one, `fit` begins anew. A callback of the user's own knows where its checkpoints are.
        callbacks = _as_list(self._get(self.config_init, "trainer.callbacks"))
        own = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
        if not own and (name == "best" or (name == "last" and self.config.subcommand != "fit")):
            name = self._named_checkpoint(name)
        if name is None or ":/" in name or name.partition(":")[0] in _CHECKPOINTS_THAT_LIGHTNING_FINDS:
            return
        if not any((Path(name) / part).exists() for part in _PARTS_OF_SHARDED):
            recipe = self._get(self.config_init, "recipe")
            check_recipe(recipe, load_checkpoint(Path(name)), resumes=self.config.subcommand == "fit")

    def _named_checkpoint(self, name: str) -> str:
        """The file of `best` or `last`, which Lightning looks for where this very command keeps its logs: in vain.

        Raises:
            BadInputError: `--checkpoints` is not given, or there is none.
        """
        directory = self._get(self.config_init, "checkpoints")
        path = None if directory is None else Path(directory) / f"{name}.ckpt"
        if path is None or not path.is_file():
            reason = "--checkpoints names no directory" if path is None else f"there is no {path}"
            raise BadInputError(
                f"--ckpt_path {name}: {reason}; give the file itself, such as "
                f"lightning_logs/version_0/checkpoints/{name}.ckpt"
            )
        self.config_init[self.config_init.subcommand].ckpt_path = str(path)
        return str(path)

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs it; one that is refused before its first step leaves no directory of our logs."""
        try:
            super()._run_subcommand(subcommand)
        except (ParityError, MisconfigurationException):
            if self._own_logs and self.trainer.is_global_zero and self.trainer.global_step == 0:
                forget(self.trainer.loggers)
            raise

    def before_predict(self) -> None:
        """Refuses several devices, of which each would hold a part of the one file."""
        if self.trainer.world_size > 1:
            raise MisconfigurationException("predict writes one file: use --trainer.devices 1")

    def after_predict(self) -> None:
        """Writes the test images' class probabilities, shape (images, classes), where the logs are."""
        batches: Any = self.trainer.predict_loop.predictions
        if not batches:  # --return_predictions false
            return
        path = Path(self.trainer.log_dir or self.trainer.default_root_dir) / "predictions.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with complete_or_absent(path) as partial:
            partial.write_bytes(save({"probabilities": torch.cat(batches)}))
        print(f"Predictions: {path}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


class _Parser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, but for its errors, and for options that it would complete by itself."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, allow_abbrev=False, **options)


def add_worker_options(parser: Any) -> None:
    """Adds the options of `worker`."""
    worker.add_device_options(parser)
    add_contract_options(parser)


def classify(options: Any) -> None:
    """Says which digit each picture shows."""
    classify_pictures(options, "lightning", predict_images)


TRAINER_COMMANDS = {
    "fit": "Train the network, validate it after every epoch.",
    "validate": "Validate a trained network.",
    "test": "Test a trained network.",
    "predict": "Write the class probabilities of the test images.",
}
"""The LightningCLI's own commands, methods of the Trainer, and what they do here."""

COMMANDS = {
    "classify": Command("Say which digit each picture shows, on the CPU.", add_options, classify),
    "export": Command(
        "Write the network of a training's record to a file for other programs.",
        partial(add_export_options, formats=export.Format),
        export.run,
    ),
    "convert": Command(
        "Write weights of a record as a checkpoint, or the other way round.",
        add_convert_options,
        partial(run_convert, convert),
    ),
    "worker": Command(
        "Train a recipe and leave a record, as compare asks.", add_worker_options, partial(run_worker, worker.work)
    ),
}
"""What the LightningCLI, whose commands are methods of the Trainer, does not have."""


def asks_for_pictures(arguments: Sequence[str]) -> bool:
    """Whether `predict` is to look at pictures, as it once did: the LightningCLI's own takes none of these words."""
    own_options = ("--weights", "--show", "--json")
    return arguments[:1] == ["predict"] and (
        any(word.partition("=")[0] in own_options for word in arguments[1:])
        or any(not word.startswith("-") for word in arguments[1:2])
    )


def main() -> None:
    """Runs the command line; what cannot be done is one line and exit code 2."""
    # A checkpoint that somebody hands in is read as tensors and plain values, never unpickled.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    # TensorBoard's writer, where it is installed, imports TensorFlow, where that is.
    hide({"tensorflow", "keras", "jax"})
    # Processes that Lightning starts for other devices get the same words, from there.
    sys.argv[1:] = with_ready_configurations(sys.argv[1:])
    program, arguments = program_name("lightning_impl", "mnist-lightning"), sys.argv[1:]
    with errors_are_one_line():
        check_words(arguments)
        if asks_for_pictures(arguments):
            raise BadInputError(called_classify(program, arguments[1:]))
        if arguments and arguments[0] in COMMANDS:
            run_command(make_parser(program, "", COMMANDS), COMMANDS, arguments)
        else:
            lightning_cli(program)


def lightning_cli(program: str) -> None:
    """The stock command line; the help lists our own commands, too."""
    try:
        RecipeCLI(
            BlockDigitClassifier,
            MnistDataModule,
            # The data module divides the batches among processes itself; metrics are logged by the epoch.
            trainer_defaults={"use_distributed_sampler": False, "log_every_n_steps": 1},
            save_config_callback=SaveConfigAndRecipe,
            seed_everything_default=0,
            # A second run in the same place replaces the first one's config.yaml.
            save_config_kwargs={"overwrite": True},
            parser_class=_Parser,
            parser_kwargs={
                "prog": program,
                "description": "The MNIST network in Lightning.",
            },
        )
    except (ParityError, MisconfigurationException, OSError) as error:
        hint = "; check the driver and that torch is a CUDA build" if "gpu backend" in str(error) else ""
        print(f"error: {as_one_line(error)}{hint}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except ValueError as error:
        if "ckpt_path" not in str(error):  # `--ckpt_path best` where there is none
            raise
        print(f"error: {as_one_line(error)}", file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
