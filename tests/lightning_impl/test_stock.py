"""Whatever is asked of the Trainer, the default `steps_per_execution` gives what a stock LightningModule gives."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor, nn
from torch.optim import lr_scheduler

from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.data import MnistDataModule
from lightning_impl.model import build_model
from lightning_impl.optimizer import build_optimizer
from lightning_impl.weights import initialize
from recipe import Recipe, RecipeError
from tests.conftest import SMALL, recipe_of

NUM_STEPS = 16
"""In an epoch of `own_data`; a block holds all of them."""


class Stock(lightning.LightningModule):
    """The same network, data and optimizer, as everybody writes them."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = build_model(recipe)
        initialize(self.model, recipe)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("val_loss", nn.functional.cross_entropy(self.model(images), labels), logger=False)

    def configure_optimizers(self) -> Any:
        return build_optimizer(self.recipe, self.parameters())


class Witness(callbacks.Callback):
    """Writes down, without looking at a batch, how many steps were taken by when, and with which learning rate."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def _note(self, what: str, trainer: lightning.Trainer) -> None:
        if not trainer.sanity_checking:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.seen.append((what, trainer.current_epoch, trainer.global_step, rate))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._note("validation", trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._note("epoch", trainer)
        pl_module.log("witness", float(trainer.current_epoch), logger=True)


class Log(Logger):
    """Keeps what is logged over which step."""

    name, version = "log", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, float]] = []

    def log_hyperparams(self, *arguments: Any, **options: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step is not None and "witness" in metrics:
            self.rows.append((step, metrics["witness"]))


class BatchCounter(callbacks.Callback):
    def __init__(self, hook: str) -> None:
        self.calls = 0
        setattr(self, hook, self._count)

    def _count(self, *arguments: Any) -> None:
        self.calls += 1


Options = dict[str, Any]


def fitted(module: Any, directory: Path, ckpt_path: Path | None = None, **options: Any) -> dict[str, Any]:
    """All that can be seen of a training afterwards."""
    torch.manual_seed(0)
    witness, log = Witness(), Log()
    listeners = [witness, *options.pop("callbacks", [])]
    defaults = {"max_epochs": 3, "accelerator": "cpu", "enable_checkpointing": False, "logger": log}
    defaults |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": directory}
    if options.get("fast_dev_run") or options.get("barebones"):
        del defaults["logger"], defaults["enable_checkpointing"]
    if options.get("barebones"):
        options |= {"log_every_n_steps": None}
    trainer = lightning.Trainer(**{**defaults, **options}, callbacks=listeners)
    trainer.fit(module, MnistDataModule(module.recipe), ckpt_path=ckpt_path, weights_only=True)
    trainer.save_checkpoint(directory / "end.ckpt")
    checkpoint = torch.load(directory / "end.ckpt", weights_only=True)
    return {
        "steps": trainer.global_step,
        "seen": witness.seen,
        "logged": log.rows,
        "batches": [one.calls for one in listeners if isinstance(one, BatchCounter)],
        "files": sorted(path.name for path in directory.rglob("*.ckpt")),
        "rates": [group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]],
        "epoch": checkpoint["epoch"],
        "global_step": checkpoint["global_step"],
        "counters": checkpoint["loops"]["fit_loop"],
        "schedulers": checkpoint["lr_schedulers"],
        "weights": {name: tensor.tolist() for name, tensor in module.model.state_dict().items()},
    }


def assert_as_stock(
    recipe: Recipe,
    directory: Path,
    options: Callable[[], Options],
    make: Callable[[type], type] = lambda base: base,
) -> BlockDigitClassifier:
    torch.set_num_threads(1)
    module = make(BlockDigitClassifier)(recipe)
    found = fitted(module, directory / "ours", **options())
    stock = fitted(make(Stock)(recipe), directory / "stock", **options())
    for name, expected in stock.items():
        assert found[name] == expected, name
    return module


@pytest.fixture
def recipe(own_data: str) -> Recipe:
    return recipe_of(**SMALL, dataset=own_data)


def _nothing() -> Options:
    return {}


COUNTS: dict[str, list[Options]] = {
    "fast_dev_run": [{"fast_dev_run": True}, {"fast_dev_run": 5}],
    "max_steps": [{"max_steps": 7}, {"max_steps": 20, "max_epochs": -1}, {"max_steps": 16}],
    "min_steps": [{"min_steps": 20, "max_epochs": 1}],
    "max_time": [{"max_time": timedelta(0)}],
    "limit_train_batches": [{"limit_train_batches": 1}, {"limit_train_batches": 10}, {"limit_train_batches": 0.5}],
    "overfit_batches": [{"overfit_batches": 3}],
    "val_check_interval": [
        {"val_check_interval": 0.25},
        {"val_check_interval": 5},
        {"val_check_interval": 10, "check_val_every_n_epoch": None},
    ],
    "accumulate_grad_batches": [{"accumulate_grad_batches": 3}],
    "gradient_clip_val": [{"gradient_clip_val": 0.01}],
    "gradient_clip_algorithm": [{"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"}],
    "profiler": [{"profiler": "simple"}],
    "detect_anomaly": [{"detect_anomaly": True}],
}
"""The Trainer's flags that count or schedule steps, or take part in each."""

SINGLE = [(flag, options) for flag, choices in COUNTS.items() for options in choices]

HARMLESS: dict[str, Options] = {
    "max_epochs": {"max_epochs": 2},
    "min_epochs": {"min_epochs": 2},
    "limit_val_batches": {"limit_val_batches": 0},
    "check_val_every_n_epoch": {"check_val_every_n_epoch": 2},
    "num_sanity_val_steps": {"num_sanity_val_steps": 0},
    "log_every_n_steps": {"log_every_n_steps": 3},
    "reload_dataloaders_every_n_epochs": {"reload_dataloaders_every_n_epochs": 1},
    "enable_checkpointing": {"enable_checkpointing": True},
    "enable_progress_bar": {"enable_progress_bar": True},
    "enable_model_summary": {"enable_model_summary": True},
    "deterministic": {"deterministic": True},
    "inference_mode": {"inference_mode": False},
    "precision": {"precision": "bf16-mixed"},
    "use_distributed_sampler": {"use_distributed_sampler": False},
    "barebones": {"barebones": True},
}
"""Flags that nothing can tell blocks of steps by."""

ELSEWHERE = {
    *("accelerator", "strategy", "devices", "num_nodes", "benchmark", "plugins", "sync_batchnorm"),
    *("limit_test_batches", "limit_predict_batches", "default_root_dir", "model_registry", "enable_autolog_hparams"),
    *("logger", "callbacks"),
}
"""Flags of devices, of other loops and of places; loggers and callbacks have tests of their own."""


def test_every_flag_of_the_trainer_is_looked_at() -> None:
    flags = set(inspect.signature(lightning.Trainer.__init__).parameters) - {"self"}
    assert flags == {*COUNTS, *HARMLESS, *ELSEWHERE}


@pytest.mark.parametrize(("flag", "options"), SINGLE, ids=str)
def test_flag_that_counts_gives_what_stock_lightning_gives(
    recipe: Recipe, tmp_path: Path, flag: str, options: Options
) -> None:
    module = assert_as_stock(recipe, tmp_path, lambda: {**options})
    assert module.steps_per_execution == 1


@pytest.mark.parametrize("options", [{}, *HARMLESS.values()], ids=str)
def test_other_flags_give_it_too_in_blocks(recipe: Recipe, tmp_path: Path, options: Options) -> None:
    module = assert_as_stock(recipe, tmp_path, lambda: {**options})
    assert module.steps_per_execution == NUM_STEPS


@pytest.mark.parametrize(("flag", "options"), SINGLE, ids=str)
def test_number_of_steps_beside_a_flag_that_counts_is_refused(
    recipe: Recipe, tmp_path: Path, flag: str, options: Options
) -> None:
    if flag == "gradient_clip_algorithm":
        flag = "gradient_clip_val"
    word = {"max_time": "Timer"}.get(flag, flag)
    with pytest.raises(MisconfigurationException) as refused:
        fitted(BlockDigitClassifier(recipe, 4), tmp_path, **options)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("steps_per_execution 4 cannot be combined with ")
    assert word in message
    assert message.endswith(": set --model.steps_per_execution 1, or leave it out")
    assert not list(tmp_path.rglob("*"))
    fitted(BlockDigitClassifier(recipe, 1), tmp_path, **options)


LISTENERS: dict[str, Callable[[], Options]] = {
    **{
        hook: lambda hook=hook: {"callbacks": [BatchCounter(hook)]}
        for hook in (
            *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad"),
            *("on_before_backward", "on_after_backward", "on_before_optimizer_step"),
        )
    },
    "every_n_train_steps": lambda: {
        "enable_checkpointing": True,
        "callbacks": [callbacks.ModelCheckpoint(every_n_train_steps=5, save_top_k=-1)],
    },
    "train_time_interval": lambda: {
        "enable_checkpointing": True,
        "callbacks": [callbacks.ModelCheckpoint(train_time_interval=timedelta(0), save_top_k=-1)],
    },
    "LearningRateMonitor": lambda: {"callbacks": [callbacks.LearningRateMonitor()]},
    "DeviceStatsMonitor": lambda: {"callbacks": [callbacks.DeviceStatsMonitor()]},
    "StochasticWeightAveraging": lambda: {"callbacks": [callbacks.StochasticWeightAveraging(1e-2, 1)]},
    "GradientAccumulationScheduler": lambda: {"callbacks": [callbacks.GradientAccumulationScheduler({1: 3})]},
    "Timer": lambda: {"callbacks": [callbacks.Timer(timedelta(0))]},
    "LambdaCallback": lambda: {"callbacks": [callbacks.LambdaCallback(on_train_batch_end=lambda *_: None)]},
    "EMAWeightAveraging": lambda: {"callbacks": [callbacks.EMAWeightAveraging()]},
    "SimpleProfiler": lambda: {"profiler": SimpleProfiler()},
}
"""Callbacks that look at batches or steps, or schedule by them."""

EPOCH_LISTENERS: dict[str, Callable[[], Options]] = {
    "EarlyStopping": lambda: {"callbacks": [callbacks.EarlyStopping("val_loss", min_delta=9, patience=1)]},
    "best": lambda: {
        "enable_checkpointing": True,
        "callbacks": [callbacks.ModelCheckpoint(monitor="val_loss", save_top_k=2, save_last=True)],
    },
    "LambdaCallback": lambda: {"callbacks": [callbacks.LambdaCallback(on_train_epoch_end=lambda *_: None)]},
}


@pytest.mark.parametrize("name", LISTENERS)
def test_callback_that_looks_at_steps_sees_what_it_sees_in_stock_lightning(
    recipe: Recipe, tmp_path: Path, name: str
) -> None:
    assert assert_as_stock(recipe, tmp_path, LISTENERS[name]).steps_per_execution == 1


@pytest.mark.parametrize("name", EPOCH_LISTENERS)
def test_callback_that_looks_at_epochs_sees_it_in_blocks(recipe: Recipe, tmp_path: Path, name: str) -> None:
    assert assert_as_stock(recipe, tmp_path, EPOCH_LISTENERS[name]).steps_per_execution == NUM_STEPS


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "epoch": lambda optimizer: ([optimizer], [lr_scheduler.StepLR(optimizer, 1)]),
    "step": lambda optimizer: {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": lr_scheduler.StepLR(optimizer, 5), "interval": "step", "frequency": 2},
    },
    "plateau": lambda optimizer: {
        "optimizer": optimizer,
        "lr_scheduler": {
            "scheduler": lr_scheduler.ReduceLROnPlateau(optimizer, threshold=9, patience=0),
            "monitor": "val_loss",
        },
    },
}


def scheduled(base: type, name: str) -> type:
    class Scheduled(base):
        def configure_optimizers(self) -> Any:
            return SCHEDULERS[name](build_optimizer(self.recipe, self.parameters()))

    return Scheduled


@pytest.mark.parametrize("name", SCHEDULERS)
def test_learning_rates_are_those_of_stock_lightning(recipe: Recipe, tmp_path: Path, name: str) -> None:
    module = assert_as_stock(recipe, tmp_path, _nothing, lambda base: scheduled(base, name))
    assert module.steps_per_execution == 1
    assert module.departures.keys() == {"lr_scheduler"}
    with pytest.raises(MisconfigurationException, match=r"cannot be combined with the scheduler .*: set --model"):
        fitted(scheduled(BlockDigitClassifier, name)(recipe, 4), tmp_path)


def test_hook_of_a_subclass_is_called_for_every_step(recipe: Recipe, tmp_path: Path) -> None:
    def clipped(base: type) -> type:
        class Clipped(base):
            def optimizer_step(self, *arguments: Any, **options: Any) -> None:
                super().optimizer_step(*arguments, **options)
                for parameter in self.parameters():
                    parameter.data.clamp_(-0.1, 0.1)

        return Clipped

    assert assert_as_stock(recipe, tmp_path, _nothing, clipped).steps_per_execution == 1
    with pytest.raises(MisconfigurationException, match=r"Clipped\.optimizer_step"):
        fitted(clipped(BlockDigitClassifier)(recipe, 4), tmp_path)


def test_callback_that_a_subclass_configures_counts_too(recipe: Recipe, tmp_path: Path) -> None:
    class Monitored(BlockDigitClassifier):
        def configure_callbacks(self) -> list[lightning.Callback]:
            return [*super().configure_callbacks(), callbacks.LearningRateMonitor()]

    module = Monitored(recipe)
    fitted(module, tmp_path)
    assert module.steps_per_execution == 1


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ({"max_epochs": 1}, {"max_steps": 24}),
        ({"max_steps": 16}, {}),
        ({"max_epochs": 1}, {}),
        ({"max_steps": 7}, {}),
        ({"limit_train_batches": 10, "max_epochs": 1}, {}),
    ],
    ids=["blocks, then 24 steps", "16 steps, then blocks", "blocks", "within an epoch", "of a part of an epoch"],
)
def test_training_that_goes_on_counts_as_stock_lightning_does(
    recipe: Recipe, tmp_path: Path, begin: Options, end: Options
) -> None:
    torch.set_num_threads(1)
    found = []
    for kind in (BlockDigitClassifier, Stock):
        fitted(kind(recipe), tmp_path / f"begin-{kind.__name__}", **begin)
        start = tmp_path / f"begin-{kind.__name__}" / "end.ckpt"
        found.append(fitted(kind(recipe), tmp_path / f"end-{kind.__name__}", start, **end))
    for name, expected in found[1].items():
        assert found[0][name] == expected, name


def test_number_of_steps_does_not_go_on_within_an_epoch(recipe: Recipe, tmp_path: Path) -> None:
    fitted(BlockDigitClassifier(recipe), tmp_path, max_steps=7)
    with pytest.raises(MisconfigurationException, match="a checkpoint from within an epoch: set --model"):
        fitted(BlockDigitClassifier(recipe, 4), tmp_path, tmp_path / "end.ckpt")


def test_checkpoint_that_counts_blocks_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    fitted(BlockDigitClassifier(recipe), tmp_path, max_epochs=1)
    checkpoint = torch.load(tmp_path / "end.ckpt", weights_only=True)
    by_hand = checkpoint["loops"]["fit_loop"]["epoch_loop.manual_optimization.optim_step_progress"]
    by_hand["total"]["completed"] = 16
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(RecipeError, match="counts blocks of steps"):
        fitted(BlockDigitClassifier(recipe), tmp_path, tmp_path / "old.ckpt")


def test_batches_of_ones_own_are_taken_one_by_one(recipe: Recipe, tmp_path: Path) -> None:
    class Own(MnistDataModule):
        pass

    module = BlockDigitClassifier(recipe)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, Own(recipe))
    assert (module.steps_per_execution, trainer.global_step) == (1, NUM_STEPS)


@pytest.mark.parametrize(
    ("options", "said"), [({}, "16, as nothing can tell"), ({"max_steps": 3}, "1, because of max_steps 3")]
)
def test_log_says_how_many_steps_are_taken(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture, options: Options, said: str
) -> None:
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        fitted(BlockDigitClassifier(recipe), tmp_path, **options)
    lines = [message for message in caplog.messages if "steps_per_execution" in message]
    assert len(lines) == 1
    assert lines[0].startswith(f"steps_per_execution auto: {said}")
