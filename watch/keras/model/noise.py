"""Random numbers that a Keras model adds: the same in both frameworks while values are compared, and noted."""

import functools
import inspect
import sys
from typing import Any

from watch.keras.model.calls import Calls
from watch.keras.model.precision import called_by_user
from watch.program.script import Session

_FUNCTIONS = ("normal", "truncated_normal", "uniform")


class Noise:
    """Takes the place of the functions by which a model draws numbers: mean plus deviation, the middle of a range.

    Torch's are taken so by `watch.torch.functions`; numbers that are drawn before a forward pass are data, and stay.

    Args:
        session: The run.
        calls: To know whether a forward pass is under way, or has been in this step.
    """

    def __init__(self, session: Session, calls: Calls) -> None:
        self._session, self._calls = session, calls

    def still(self, keras: Any, backend: str) -> None:
        """Wraps what Keras and the backend offer."""
        owners: list[tuple[Any, tuple[str, ...]]] = [(keras.random, _FUNCTIONS)]
        if backend == "tensorflow":
            import tensorflow as tf

            owners.append((tf.random, _FUNCTIONS))
        if backend == "jax":
            import jax

            owners.append((jax.random, _FUNCTIONS))
        if backend == "torch":
            import torch

            owners.append((torch, ("randn", "randn_like", "rand", "rand_like", "normal")))
        for owner, names in owners:
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._stilled(getattr(owner, name), name))
        keras.layers.GaussianNoise.call = self._added()

    def _stilled(self, original: Any, name: str) -> Any:
        session, calls = self._session, self._calls

        @functools.wraps(original)
        def drawn(*args: Any, **options: Any) -> Any:
            numbers = original(*args, **options)
            if not calls.under_way or not called_by_user(session, sys._getframe(1)):  # noqa: SLF001
                return numbers
            if "int" in str(numbers.dtype):
                return numbers
            session.note_noise(name, sys._getframe(1))  # noqa: SLF001
            with calls.unwatched():
                return numbers * 0 + _usual(original, name, args, options)

        return drawn

    def _added(self) -> Any:
        session = self._session

        def call(layer: Any, inputs: Any, training: bool = False) -> Any:
            if not training or not layer.stddev:
                return inputs
            session.note_noise("GaussianNoise", sys._getframe(1))  # noqa: SLF001
            return inputs + layer.stddev

        return call


def _usual(original: Any, name: str, args: Any, options: Any) -> Any:
    """What a function's numbers lie around, and by how much: their mean plus deviation, or their middle."""
    try:
        bound = inspect.signature(original).bind(*args, **options).arguments
    except (TypeError, ValueError):  # a function written in C
        bound = options
    if name.startswith(("uniform", "rand")) and "randn" not in name:
        low, high = (bound.get(key, default) for key, default in (("minval", 0.0), ("maxval", 1.0)))
        return (low + (1.0 if high is None else high)) / 2
    deviation = bound.get("stddev", bound.get("std", 1.0))
    return bound.get("mean", 0.0) + deviation
