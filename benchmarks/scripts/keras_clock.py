"""A clock for Keras's `fit`."""

import keras

from benchmarks.scripts.clock import Clock


class EpochClock(keras.callbacks.Callback):
    """Starts and stops a clock where `fit` starts and stops epochs and validation."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """The epoch before ends here too, whatever other callbacks did at its end."""
        self.clock.start_epoch()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """`fit` has begun to validate."""
        self.clock.start_validation()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """`fit` has validated."""
        self.clock.end_validation()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """The last epoch ends."""
        self.clock.end_epoch()
