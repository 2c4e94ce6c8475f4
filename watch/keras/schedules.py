"""The learning rates that a Keras script's schedule will give."""

from typing import Any

from watch.program.rates import LONGEST, evaluated, planned


def planned_rates(keras: Any, optimizer: Any, callback: Any, rate: float | None, epochs: Any) -> dict[str, Any] | None:
    """The learning rates from the first on; None where there is no schedule, or it cannot be asked.

    Args:
        keras: The module.
        optimizer: The first that stepped, None if none did.
        callback: A `LearningRateScheduler` that `fit` was given, or None.
        rate: The learning rate before the training began.
        epochs: How many there will be, if that is known.
    """
    schedule = getattr(optimizer, "_learning_rate", None)
    try:
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            batches = optimizer.gradient_accumulation_steps or 1  # which Keras's schedules count, not steps
            return evaluated("step", lambda step: _asked(keras, schedule, step * batches + batches - 1))
        if callback is not None and rate is not None:
            rates: list[float] = []
            for epoch in range(min(epochs, LONGEST) if isinstance(epochs, int) else 0):
                rates.append(_next(callback.schedule, epoch, rates[-1] if rates else rate))
            return planned("epoch", rates)
    except Exception as error:  # noqa: BLE001 a function of the user's may raise whatever it likes
        del error
    return None


def _asked(keras: Any, schedule: Any, step: int) -> float:
    return float(keras.ops.convert_to_numpy(schedule(keras.ops.convert_to_tensor(step, "int64"))))


def _next(schedule: Any, epoch: int, rate: float) -> float:
    """As Keras calls it: with the rate that was, or in the old way without."""
    try:
        return float(schedule(epoch, rate))
    except TypeError:
        return float(schedule(epoch))
