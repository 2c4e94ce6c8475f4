"""A clock for Lightning's `fit`."""

import lightning
import torch

from benchmarks.scripts.clock import Clock


def synchronize() -> None:
    """Waits for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class EpochClock(lightning.Callback):
    """Starts and stops a clock where `fit` starts and stops epochs and validation."""

    def __init__(self) -> None:
        self.clock = Clock(synchronize)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The epoch before ends here too, after its checkpoint, which later callbacks write."""
        self.clock.start_epoch()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """`fit` has begun to validate."""
        if not trainer.sanity_checking:
            self.clock.start_validation()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """`fit` has validated."""
        if not trainer.sanity_checking:
            self.clock.end_validation()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last epoch ends."""
        self.clock.end_epoch()
