"""Numbers that a training step draws before its forward pass: the same ones in every framework."""

import math
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

    def normal(self, shape: Sequence[int]) -> Array:
        """Numbers of the standard normal distribution, float64 of this shape."""
        return self._generator("normal", shape).standard_normal(tuple(shape))

    def uniform(self, shape: Sequence[int]) -> Array:
        """Numbers of the uniform distribution in [0, 1), float64 of this shape."""
        return self._generator("uniform", shape).random(tuple(shape))

    def integers(self, shape: Sequence[int], low: int, high: int, *, again: bool) -> Array:
        """Whole numbers from low to high - 1, int64 of this shape: the uniform numbers in this range, rounded down.

        `again` gives a step's first ones whenever it is called: a model may be called more than once.
        """
        numbers = self._generator("uniform", shape, again=again).random(tuple(shape))
        return np.floor(low + numbers * (high - low)).astype(np.int64)

    def _generator(self, distribution: str, shape: Sequence[int], *, again: bool = False) -> np.random.Generator:
        size = math.prod(shape)
        key = (self._step(), distribution, size)
        if not again:
            self._drawn[key] += 1
        return np.random.default_rng([key[0], len(distribution), size, 0 if again else self._drawn[key]])


def range_of(args: Sequence[Any], options: dict[str, Any]) -> tuple[int, int]:
    """The low and high of a call of `randint(high, size)`, `randint(low, high, size)` and the like."""
    numbers = []
    for value in args:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            break
        numbers.append(int(value))
    low = options.get("low", numbers[0] if len(numbers) > 1 else 0)
    high = options.get("high", numbers[-1] if numbers else None)
    return int(low), int(high) if high is not None else 1
