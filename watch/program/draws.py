"""Numbers that a training step draws before its forward pass: the same ones in every framework."""

import itertools
import math
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Draws:
    """Takes the place of the generators of both frameworks, so that two programs that draw alike get the same numbers.

    Noise for a denoising network, the times of a diffusion, a mask of random pixels: a step's inputs and targets are
    made of them. What is drawn depends only on the step, the distribution, how many numbers there are, and how often as
    many have been drawn in this step; so that one program may draw its noise before its times, the other after them.

    Args:
        step: Gives how many optimizer steps are complete.
    """

    def __init__(self, step: Callable[[], int]) -> None:
        self._step = step
        self._drawn: Counter[tuple[int, str, int]] = Counter()
        self._in_model: Counter[int] = Counter()

    def begin(self) -> None:
        """A training begins, after one that has passed unwatched."""
        self._drawn.clear()

    def forward_begins(self) -> None:
        """A model is called, perhaps once more in this step: what it draws is what it drew before."""
        self._in_model.clear()

    def normal(self, shape: Sequence[int]) -> Array:
        """Numbers of the standard normal distribution, float64 of this shape."""
        return self._generator("normal", shape).standard_normal(tuple(shape))

    def uniform(self, shape: Sequence[int]) -> Array:
        """Numbers of the uniform distribution in [0, 1), float64 of this shape."""
        return self._generator("uniform", shape).random(tuple(shape))

    def integers(self, shape: Sequence[int], low: int, high: int, *, again: bool) -> Array:
        """Whole numbers from low to high - 1, int64 of this shape: the uniform numbers in this range, rounded down.

        `again` is for what a model draws itself, which may be called more than once.
        """
        numbers = self._generator("uniform", shape, again=again).random(tuple(shape))
        return np.floor(low + numbers * (high - low)).astype(np.int64)

    def _generator(self, distribution: str, shape: Sequence[int], *, again: bool = False) -> np.random.Generator:
        size = math.prod(shape)
        key = (self._step(), distribution, size)
        if again:
            self._in_model[size] += 1
            return np.random.default_rng([key[0], 0, size, self._in_model[size]])
        self._drawn[key] += 1
        return np.random.default_rng([key[0], len(distribution), size, self._drawn[key]])


def range_of(args: Sequence[Any], options: dict[str, Any]) -> tuple[int, int] | None:
    """The low and high of a call of `randint(high, size)`, `randint(low, high, size)` and the like; None if unknown."""
    numbers = list(itertools.takewhile(lambda number: number is not None, map(_whole, args)))
    if "high" in options:
        low, high = numbers[0] if numbers else _whole(options.get("low", 0)), _whole(options["high"])
    else:
        low, high = (numbers[0], numbers[1]) if len(numbers) > 1 else (0, next(iter(numbers), None))
    return None if low is None or high is None or low >= high else (low, high)


def _whole(value: Any) -> int | None:
    """A whole number, of a scalar tensor as well; None of anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
