"""The metrics of a training that Keras does not have: the loss of every step."""

from typing import Any

import keras
from keras import ops

from keras_impl.dropout import MaskedSequential


def set_rows(variable: Any, places: Any, rows: Any) -> None:
    """Overwrites the entries of a variable, shape (n, …), at these places, shape (rows, 1)."""
    if keras.backend.backend() == "tensorflow":
        variable.value.scatter_nd_update(places, rows)  # in place, where Keras's operation copies
    else:
        variable.assign(ops.scatter_update(variable, places, rows))


class StepLosses(keras.metrics.Metric):
    """The loss of every training step since the epoch began, kept on the device.

    A metric, because Keras carries a metric's state through the compiled step on all backends. Its
    result is an empty dict, which adds nothing to the logs.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__(name="step_losses")
        self.losses = self.add_variable((steps_per_epoch,), initializer="zeros", name="losses")
        # As Keras's own counter: TensorFlow has no kernel for an int32 variable on a GPU, and would keep it on the CPU,
        # where XLA, by which Keras trains on GPUs, refuses it.
        self.next_step = self.add_variable((), initializer="zeros", dtype="int", name="next_step")
        self.steps_per_epoch = steps_per_epoch

    def update_state(self, loss: Any) -> None:
        """Appends one loss, a scalar; wraps around at the end of an epoch."""
        place, row = ops.reshape(self.next_step, (1, 1)), ops.reshape(ops.stop_gradient(loss), (1,))
        set_rows(self.losses, place, row)
        self.next_step.assign((self.next_step + 1) % self.steps_per_epoch)

    def result(self) -> dict[str, float]:
        """Nothing to log."""
        return {}

    def reset_state(self) -> None:
        """Keeps the losses: Keras also resets before validation, ahead of `on_epoch_end`."""


class RecordingSequential(MaskedSequential):
    """A model that hands the loss of every training step to `step_losses`."""

    step_losses: StepLosses

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes the loss as Keras does, and records it."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training:
            self.step_losses.update_state(loss)
        return loss
