"""Values that are reshaped where their axes should change places: the same numbers in another order."""

import itertools
import operator
from collections.abc import Iterator, Sequence

import numpy as np

from compare.explanation.observed.observation import Array

_MOST_AXES = 5


def is_reshaping(before: Array, after: Array) -> bool:
    """Whether one array is the other one under a shape whose axes are no joined or divided ones of it."""
    if before.size != after.size or keeps_axes(before.shape, after.shape):
        return False
    return bool(np.array_equal(before.reshape(-1), after.reshape(-1), equal_nan=True))


def keeps_axes(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether a reshape between two shapes only joins neighbouring axes, or only divides some."""
    ends = [set(itertools.accumulate((size for size in shape if size != 1), operator.mul)) for shape in (first, second)]
    return ends[0] <= ends[1] or ends[1] <= ends[0]


def reorderings(before: Array, shape: Sequence[int]) -> Iterator[tuple[str, Array]]:
    """What may have been meant by a reshape to a shape: the same with axes that change places before or after it.

    Args:
        before: What is reshaped, (samples, ...).
        shape: The shape that it gets.

    Yields:
        How it is written in torch, with {} for what is reshaped, and its values; the plainest first.
    """
    shape = tuple(shape)
    orders = sorted(_orders(before.ndim), key=lambda order: _turned(before.shape, order) != shape)
    for order in orders:
        turned = np.transpose(before, order)
        written = f"{{}}.permute({', '.join(map(str, order))})"
        code = written if turned.shape == shape else f"{written}.reshape({_sizes(shape)})"
        yield code, turned.reshape(shape)
    for order in _orders(len(shape)):
        first = tuple(shape[order.index(axis)] for axis in range(len(shape)))
        if first != shape:
            code = f"{{}}.reshape({_sizes(first)}).permute({', '.join(map(str, order))})"
            yield code, np.transpose(before.reshape(first), order)


def _orders(count: int) -> list[tuple[int, ...]]:
    """The orders of some axes but for the one that they are in, those that keep the samples in front first."""
    orders = list(itertools.permutations(range(count))) if count <= _MOST_AXES else []
    return sorted((order for order in orders if order != tuple(range(count))), key=lambda order: order[0])


def _turned(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in order)


def _sizes(shape: Sequence[int]) -> str:
    """A shape as an argument; the number of samples is left to torch."""
    return ", ".join(["-1", *map(str, shape[1:])])
