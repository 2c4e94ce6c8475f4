"""The tutorial's Keras code, `examples/tutorial_keras.py` as it is, with a clock."""

import os
from typing import Any

from record.isolation import hide

os.environ["KERAS_BACKEND"] = "tensorflow"
hide({"torch", "jax"})

import keras  # noqa: E402

from benchmarks.scripts.clock import options, report  # noqa: E402
from benchmarks.scripts.example import run_example  # noqa: E402
from benchmarks.scripts.keras_clock import EpochClock  # noqa: E402


def main() -> None:
    """Runs the example with its epochs as many as asked for, and timed."""
    arguments = options(__doc__).parse_args()
    clock = EpochClock()
    fit = keras.Sequential.fit

    def timed(*data: Any, **chosen: Any) -> Any:
        return fit(*data, **{**chosen, "epochs": arguments.epochs, "callbacks": [clock]})

    keras.Sequential.fit = timed
    run_example("tutorial_keras")

    import tensorflow as tf

    report(clock.clock, device="gpu" if tf.config.list_physical_devices("GPU") else "cpu")


if __name__ == "__main__":
    main()
