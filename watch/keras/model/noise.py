"""Random numbers that a Keras model or its training step draws: the same in both frameworks, and noted."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from watch.keras.model.backends import Backend
from watch.keras.model.calls import Calls
from watch.keras.model.precision import called_by_user
from watch.program.draws import range_of
from watch.program.script import Session

_FUNCTIONS = ("normal", "truncated_normal", "uniform", "randint")


class Noise:
    """Takes the place of the functions by which a model, or a training step before it, draws numbers.

    In a forward pass they are mean plus deviation, or the middle of a range; in a step before it, those of
    `watch.program.draws`. Torch's are taken so by `watch.torch.functions`.

    Args:
        session: The run.
        calls: To know whether a forward pass is under way, or has been in this step.
        backend: The backend.
        stepping: Tells whether what is drawn now may be a training step's.
        still: Whether a forward pass's numbers are to be the same as well: not where a script is watched as it is.
    """

    def __init__(
        self, session: Session, calls: Calls, backend: Backend, stepping: Callable[[], bool], *, still: bool
    ) -> None:
        self._session, self._calls, self._backend = session, calls, backend
        self._stepping, self._still = stepping, still

    def watch(self, keras: Any) -> None:
        """Wraps what Keras and the backend offer."""
        owners: list[tuple[Any, tuple[str, ...]]] = [(keras.random, _FUNCTIONS)]
        if self._backend.name == "tensorflow":
            import tensorflow as tf

            owners += [(tf.random, _FUNCTIONS), (tf.random.Generator, _FUNCTIONS)]
        if self._backend.name == "jax":
            import jax

            owners.append((jax.random, _FUNCTIONS))
        if self._backend.name == "torch":
            import torch

            owners.append((torch, ("randn", "randn_like", "rand", "rand_like", "normal", "randint", "randint_like")))
        for owner, names in owners:
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._watched(getattr(owner, name), name))
        if self._still:
            keras.layers.GaussianNoise.call = self._added()

    def _watched(self, original: Any, name: str) -> Any:
        session, calls = self._session, self._calls

        @functools.wraps(original)
        def drawn(*args: Any, **options: Any) -> Any:
            numbers = original(*args, **options)
            forward = calls.under_way
            concerned = (self._still and forward) or (not forward and self._stepping())
            if not concerned or not called_by_user(session, sys._getframe(1)):  # noqa: SLF001
                return numbers
            with calls.unwatched():
                if not forward or "int" in str(numbers.dtype):
                    return self._of_step(numbers, original, name, args, options)
                session.note_noise(name, sys._getframe(1))  # noqa: SLF001
                return numbers * 0 + _usual(original, name, args, options)

        return drawn

    def _of_step(self, numbers: Any, original: Any, name: str, args: Any, options: Any) -> Any:
        """The numbers that every program's step has."""
        if self._backend.values(numbers) is None or name == "truncated_normal":
            return numbers
        found, given = self._session.draws, _given(original, args, options)
        shape, again = tuple(int(length) for length in numbers.shape), self._calls.under_way
        mean, deviation = given.get("mean", 0.0), given.get("stddev", given.get("std", 1.0))
        if "int" in str(numbers.dtype):
            named = {"low": given["minval"], "high": given["maxval"]} if "maxval" in given else options
            bounds = range_of(() if "maxval" in given else args, named)
            if bounds is None:
                return numbers
            drawn = found.integers(shape, *bounds, again=again)
        elif _is_uniform(name):
            low, high = _range(given)
            drawn = low + (high - low) * found.uniform(shape)
        else:
            drawn = found.normal(shape)
        if not again:
            self._session.note_draw(name, drawn, sys._getframe(2))  # noqa: SLF001
        made = self._backend.tensor(drawn, numbers)
        return made if "int" in str(numbers.dtype) or _is_uniform(name) else made * deviation + mean

    def _added(self) -> Any:
        session = self._session

        def call(layer: Any, inputs: Any, training: bool = False) -> Any:
            if not training or not layer.stddev:
                return inputs
            session.note_noise("GaussianNoise", sys._getframe(1))  # noqa: SLF001
            return inputs + layer.stddev

        return call


def _given(original: Any, args: Any, options: Any) -> dict[str, Any]:
    """A call's arguments by name, with the defaults of those left out; of a function written in C, what has a name."""
    try:
        bound = inspect.signature(original).bind(*args, **options)
    except (TypeError, ValueError):
        return options
    bound.apply_defaults()
    return bound.arguments


def _is_uniform(name: str) -> bool:
    return name.startswith(("uniform", "rand")) and "randn" not in name


def _range(given: dict[str, Any]) -> tuple[float, float]:
    """TensorFlow's maxval is None for 1."""
    high = given.get("maxval", 1.0)
    return given.get("minval", 0.0), 1.0 if high is None else high


def _usual(original: Any, name: str, args: Any, options: Any) -> Any:
    """What a function's numbers lie around, and by how much: their mean plus deviation, or their middle."""
    given = _given(original, args, options)
    if _is_uniform(name):
        return sum(_range(given)) / 2
    return given.get("mean", 0.0) + given.get("stddev", given.get("std", 1.0))
