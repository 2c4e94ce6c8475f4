"""What can tell blocks of steps from single ones; in Lightning alone, for whose flags and hooks they are batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.plugins import DoublePrecision, MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_impl.data import MnistDataModule
from lightning_impl.module import DigitClassifier

STEP_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
"""Blocks call these in every step, too, on the way through autograd."""

BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad")
"""These hear of a block once, or never."""

MODULE_HOOKS = (
    *BATCH_HOOKS,
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
"""What of a module Lightning calls for a batch, and for a block once or never."""

EPOCH_CALLBACKS = (
    lightning.Callback,
    callbacks.Checkpoint,
    callbacks.ModelCheckpoint,
    callbacks.OnExceptionCheckpoint,
    callbacks.EarlyStopping,
    callbacks.LambdaCallback,
    callbacks.ModelSummary,
    callbacks.RichModelSummary,
    callbacks.TQDMProgressBar,
    callbacks.RichProgressBar,
    callbacks.BasePredictionWriter,
    ProgressBar,
    SaveConfigCallback,
)
"""Lightning's own classes that count no steps, but for hooks of a subclass; a progress bar shows blocks."""


def needs_single_steps(module: DigitClassifier) -> str | None:
    """What counts or schedules single steps, or takes part in each, and would not get what Lightning gives it."""
    return next(_needs_single_steps(module.trainer, module), None)


def _needs_single_steps(trainer: Any, module: DigitClassifier) -> Iterator[str]:
    flags = {
        # These two set some of those below.
        "fast_dev_run": bool(trainer.fast_dev_run),
        "overfit_batches": trainer.overfit_batches != 0,
        "max_steps": trainer.max_steps != -1,
        "min_steps": trainer.min_steps is not None,
        "limit_train_batches": trainer.limit_train_batches != 1.0 or isinstance(trainer.limit_train_batches, int),
        "accumulate_grad_batches": trainer.accumulate_grad_batches != 1,
        "gradient_clip_val": bool(trainer.gradient_clip_val),
    }
    yield from (f"{name} {getattr(trainer, name)}" for name, is_set in flags.items() if is_set)
    interval = trainer.val_check_interval
    if interval != 1.0 or isinstance(interval, int) or trainer.check_val_every_n_epoch is None:
        yield f"val_check_interval {interval}"
    if not isinstance(trainer.profiler, PassThroughProfiler):
        yield f"profiler {type(trainer.profiler).__name__}"
    if trainer._detect_anomaly:  # noqa: SLF001 - no public name
        yield "detect_anomaly"
    strategy = trainer.strategy
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        yield f"the strategy {type(strategy).__name__}"
    if getattr(strategy, "_ddp_comm_hook", None) is not None:
        yield "ddp_comm_hook"
    yield from (
        f"the callback {type(callback).__name__}" for callback in trainer.callbacks if _counts_batches(callback)
    )
    yield from _overridden(module, MODULE_HOOKS)
    if type(trainer.datamodule) is not MnistDataModule:
        yield "batches that are not MnistDataModule's"


def _counts_batches(callback: Any) -> bool:
    if getattr(callback, "takes_blocks", False):
        return False
    of_lightning = _of_lightning(callback)
    if not set(of_lightning) <= set(EPOCH_CALLBACKS):
        return True
    if isinstance(callback, callbacks.ModelCheckpoint) and (
        callback._every_n_train_steps or callback._train_time_interval is not None  # noqa: SLF001 - no public names
    ):
        return True
    return any(is_overridden(hook, callback, of_lightning[0]) for hook in BATCH_HOOKS)


def _of_lightning(callback: Any) -> list[Any]:
    """Lightning's own among the classes of a callback, the nearest first."""
    return [kind for kind in type(callback).__mro__ if kind.__module__.startswith("lightning.")]


def _overridden(module: DigitClassifier, hooks: Iterable[str]) -> Iterator[str]:
    """What a subclass of this package's modules says otherwise."""
    own: Any = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("lightning_impl."))
    return (f"{type(module).__name__}.{hook}" for hook in hooks if is_overridden(hook, module, own))


def prefers_single_steps(module: DigitClassifier) -> str | None:
    """What would get from blocks what it gets from single steps, but by another way, or to rounding alone."""
    return next(_prefers_single_steps(module.trainer, module), None)


def _prefers_single_steps(trainer: Any, module: DigitClassifier) -> Iterator[str]:
    if is_overridden("configure_optimizers", module, DigitClassifier):
        yield "an optimizer or a scheduler that is not the recipe's"
    if looks_at_steps(module):
        yield "a callback or a hook that looks at single steps"
    yield from _overridden(module, ("training_step", "forward", "loss_and_logits"))
    if trainer.world_size > 2:  # noqa: PLR2004 - two addends have one sum, three may be added in another order
        yield f"{trainer.world_size} devices, whose gradients would be added in another order"
    precision = trainer.precision_plugin
    if type(precision) not in (Precision, DoublePrecision, MixedPrecision) or getattr(precision, "scaler", None):
        yield f"precision {trainer.precision}"


def looks_at_steps(module: DigitClassifier) -> bool:
    """Whether a callback, or the module, looks at single backward passes or optimizer steps."""
    trainer: Any = module.trainer
    callbacks_look = (is_overridden(hook, callback) for callback in trainer.callbacks for hook in STEP_HOOKS)
    return any(callbacks_look) or any(_overridden(module, STEP_HOOKS))


def schedules_steps(trainer: lightning.Trainer) -> str | None:
    """What of the live optimizers and schedulers Lightning leaves to others where it does not optimize itself."""
    if trainer.lr_scheduler_configs:
        return f"the scheduler {type(trainer.lr_scheduler_configs[0].scheduler).__name__}"
    if len(trainer.optimizers) != 1:
        return f"{len(trainer.optimizers)} optimizers"
    if isinstance(trainer.optimizers[0], torch.optim.LBFGS):
        return "LBFGS, which looks at several losses a step"
    return None
