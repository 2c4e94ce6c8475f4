"""Where the time of a Lightning epoch goes, on one thread of the CPU: `python -m benchmarks.scripts.profile_lightning`.

Timed and profiled epochs take turns. A clock times the parts of the loop in an epoch without a
profiler; in the next, torch's profiler tells how long the kernels took. What no kernel accounts for
is Python and the way to the kernels. The shortest of several epochs counts.
"""

import json
import tempfile
import time
from collections import Counter
from typing import Any

import lightning
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.scripts.lightning_clock import EpochClock
from benchmarks.scripts.our_options import our_options, recipe_of
from lightning_impl.blocks import STEPS_PER_EXECUTION, BlockDigitClassifier
from lightning_impl.data import MnistDataModule

PRODUCTS, ADAM, GATHER = "matrix products", "Adam's kernel", "gathering the batches"
OTHERS = "other kernels: ReLU, softmax, loss, bias gradients"
KERNELS = {
    "mm": PRODUCTS,
    "addmm": PRODUCTS,
    "_fused_adam_": ADAM,
    "index": GATHER,
    "index_select": GATHER,
    **dict.fromkeys(("relu", "clamp_min", "clamp_min_", "threshold_backward", "sum", "copy_", "add_"), OTHERS),
    **dict.fromkeys(("_log_softmax", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward"), OTHERS),
}
"""Of torch's functions those that compute; the time of one without those that it calls."""

Seconds = Counter[str]


class Parts(EpochClock):
    """Times and profiles epochs by turns, after a warm-up."""

    def __init__(self) -> None:
        super().__init__()
        self.timed: list[Seconds] = []
        self.profiled: list[Seconds] = []
        self._in_training_step = 0.0
        self._profiler: Any = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock, and the profiler when it is its turn."""
        super().on_train_epoch_start(trainer, pl_module)
        self._in_training_step = 0.0
        if trainer.current_epoch > 0 and trainer.current_epoch % 2 == 0:
            self._profiler = profile(activities=[ProfilerActivity.CPU])
            self._profiler.start()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stops the profiler: the validation is timed as a whole."""
        if self._profiler:
            self._profiler.stop()
        super().on_validation_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keeps the epoch's numbers."""
        if self._profiler:
            self.profiled.append(_in_kernels(self._profiler))
            self._profiler = None
        elif trainer.current_epoch > 0:
            self.clock.end_epoch()
            epoch = self.clock.epochs[-1]
            parts = {"epoch": epoch["seconds"], "training": epoch["training_seconds"]}
            self.timed.append(Counter(parts | {"training_step": self._in_training_step}))

    def wrap(self, module: BlockDigitClassifier) -> None:
        """Puts a stopwatch around `training_step`."""
        training_step: Any = module.training_step

        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = training_step(*arguments)
            self._in_training_step += time.perf_counter() - start
            return result

        setattr(module, "training_step", timed)  # noqa: B010 - mypy would not have a method replaced

    def rows(self) -> dict[str, float]:
        """What an epoch consists of, in seconds."""
        timed = min(self.timed, key=lambda epoch: epoch["epoch"])
        kernels = min(self.profiled, key=lambda epoch: epoch[PRODUCTS])
        outside = timed["training"] - timed["training_step"]
        rest = timed["training_step"] - kernels[PRODUCTS] - kernels[ADAM] - kernels[OTHERS]
        return {
            **{name: kernels[name] for name in (PRODUCTS, ADAM, OTHERS)},
            "Python, calling the kernels": rest,
            GATHER: kernels[GATHER],
            "Lightning's loop, progress bar, logger": outside - kernels[GATHER],
            "validation": timed["epoch"] - timed["training"],
            "the whole epoch": timed["epoch"],
        }


def _in_kernels(profiler: Any) -> Seconds:
    seconds: Seconds = Counter()
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        if name in KERNELS:
            seconds[KERNELS[name]] += event.self_cpu_time_total / 1e6
    return seconds


def main() -> None:
    """Trains a warm-up epoch, then pairs of a timed and a profiled one."""
    parser = our_options(__doc__)
    parser.set_defaults(epochs=7)
    parser.add_argument("--steps-per-execution", type=int, default=STEPS_PER_EXECUTION)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = recipe_of(arguments)
    parts, module = Parts(), BlockDigitClassifier(recipe, arguments.steps_per_execution)
    parts.wrap(module)
    with tempfile.TemporaryDirectory() as root:
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            accelerator="cpu",
            default_root_dir=root,
            callbacks=[parts],
            use_distributed_sampler=False,
        )
        trainer.fit(module, MnistDataModule(recipe))
    print()
    print(json.dumps(parts.rows()))


if __name__ == "__main__":
    main()
