"""`python -m lightning_impl fit|validate|test|predict|export`: the network under the stock LightningCLI.

`predict PICTURE...` is not the LightningCLI's: it says which digit each picture shows.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors.torch import save_file

from lightning_impl import export
from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.checkpoints import CompleteCheckpoints, checkpoint_callbacks
from lightning_impl.data import MnistDataModule
from lightning_impl.logs import SaveConfigAndRecipe, check_installed, default_loggers
from lightning_impl.predicting import predict_images
from pictures.classify import add_options, predict_pictures
from recipe import Recipe, RecipeError
from recipe.atomic import complete_or_absent
from recipe.errors import BAD_INPUT, DataError, RecordError, UnavailableError, errors_are_one_line
from record.isolation import hide

PREDICT = (
    "Write the class probabilities of the test images. To have a picture of your own looked at: "
    "predict PICTURE... [--weights WEIGHTS] [--show] [--json]"
)


class RecipeCLI(LightningCLI):
    """A LightningCLI whose model and data take the one recipe."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds `--recipe.*` and `--checkpoints`."""
        parser.add_class_arguments(Recipe, "recipe", skip={"images"})
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
        instance = super().instantiate_trainer(**kwargs)
        if logs:
            instance.loggers = default_loggers(instance.default_root_dir)
        return instance

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
            save_file({"probabilities": torch.cat(batches)}, partial)
        print(f"Predictions: {path}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def picture_parser() -> argparse.ArgumentParser:
    """The command line of `predict PICTURE...`."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_impl predict",
        description="Say which digit each picture shows, on the CPU.",
        allow_abbrev=False,
    )
    add_options(parser)
    return parser


def asks_for_pictures(arguments: list[str]) -> bool:
    """Whether `predict` is to look at pictures: the LightningCLI's own takes none of these words."""
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
    # The LightningCLI has subcommands for the Trainer's methods alone.
    if sys.argv[1:2] == ["export"]:
        export.main(sys.argv[2:])
    elif asks_for_pictures(sys.argv[1:]):
        with errors_are_one_line():
            predict_pictures(picture_parser().parse_args(sys.argv[2:]), "lightning", predict_images)
    else:
        lightning_cli()


def lightning_cli() -> None:
    """The stock command line."""
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
            parser_kwargs={
                "prog": "python -m lightning_impl",
                "epilog": "`export` writes a trained network to a file: python -m lightning_impl export --help",
                "predict": {"description": PREDICT},
            },
        )
    except (RecipeError, DataError, RecordError, UnavailableError, MisconfigurationException, OSError) as error:
        hint = "; check the driver and that torch is a CUDA build" if "gpu backend" in str(error) else ""
        print(f"error: {error}{hint}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except ValueError as error:
        if "ckpt_path" not in str(error):  # `--ckpt_path best` where there is none
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
