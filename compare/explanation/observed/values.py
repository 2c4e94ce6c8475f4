"""Values of layers across frameworks: in which layout one is found again in the other, and how far they are apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.observed.observation import Array

SAME = 1e-10
"""Equal arithmetic in float64 agrees to about 1e-12 of a tensor's largest value; real differences are far larger."""

ROUNDED = 1e-6
"""A constant that one framework rounds to float32 moves a value by up to 6e-8 of itself, a few of them by some more."""


@dataclass(frozen=True)
class Match:
    """How far an array is from another, after the layout that brings them closest.

    Args:
        deviation: The largest difference, relative to the largest value of the first.
        layout: What had to be done with the first.
        aligned: The first in the layout of the second.
    """

    deviation: float
    layout: str
    aligned: Array

    @property
    def same(self) -> bool:
        """Whether nothing but rounding is between them."""
        return self.deviation <= SAME

    @property
    def rounded(self) -> bool:
        """Whether it is no more than a constant rounded to float32."""
        return self.deviation <= ROUNDED


def deviation(first: Array, second: Array) -> float:
    """The largest difference relative to the largest value of the first; infinite where only one is finite."""
    if first.size == 0:
        return 0.0
    largest = scale = 0.0
    for a, b in _pieces(first, second):
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)):
            return float("inf")
        # Infinities and NaN at the same places agree: a mask of minus infinity for one.
        with np.errstate(invalid="ignore"):
            largest = max(largest, float(np.max(np.abs(a - b), where=finite, initial=0.0)))
        scale = max(scale, float(np.max(np.abs(a), where=finite, initial=0.0)))
    return largest if scale == 0 else largest / scale


_PIECE = 2**22


def _pieces(first: Array, second: Array) -> Iterator[tuple[Array, Array]]:
    """Both arrays in float64, part by part along their first axis where they are large, for the memory's sake."""
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim == 0 or first.shape != second.shape or first.size <= _PIECE:
        yield np.asarray(first, np.float64), np.asarray(second, np.float64)
        return
    rows = max(1, _PIECE * len(first) // first.size)
    for start in range(0, len(first), rows):
        part = slice(start, start + rows)
        yield np.asarray(first[part], np.float64), np.asarray(second[part], np.float64)


def layouts(array: Array, shape: Sequence[int]) -> Iterator[tuple[str, Array]]:
    """The layouts of an array that have a shape, but for the number of samples, the likeliest first.

    Args:
        array: Of one framework, (samples, ...).
        shape: The other framework's; its first size is not looked at.
    """
    target = (array.shape[0], *shape[1:]) if array.ndim and shape else tuple(shape)
    if array.shape == target:
        yield "the same", array
    if array.ndim >= 3:
        turned = np.moveaxis(array, -1, 1)
        if turned.shape == target:
            yield "channels first", turned
        turned = np.moveaxis(array, 1, -1)
        if turned.shape == target:
            yield "channels last", turned
    if array.ndim == 3 and (array.shape[1], *array.shape[2:]) == (shape[0] if shape else None, *shape[2:]):
        yield "time first", np.swapaxes(array, 0, 1)
    if array.size == np.prod(target, dtype=np.int64) and array.shape != target:
        yield "reshaped", array.reshape(target)
        if array.ndim >= 3:
            yield "channels first and flattened", np.moveaxis(array, -1, 1).reshape(target)


def _exchanged(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two shapes have the same axes in another order: a reshape from one to the other is no layout of it."""
    sizes = [[size for size in shape if size != 1] for shape in (first, second)]
    return sizes[0] != sizes[1] and sorted(sizes[0]) == sorted(sizes[1])


def match(first: Array | None, second: Array | None) -> Match | None:
    """Compares two arrays in the layout that brings them closest, None where none fits."""
    if first is None or second is None or (first.ndim == 0) != (second.ndim == 0):
        return None
    if first.ndim == 0:
        return Match(deviation(first, second), "the same", first)
    found = [
        Match(deviation(aligned, second), name, aligned)
        for name, aligned in layouts(first, second.shape)
        if aligned.shape == second.shape
    ]
    if _exchanged(first.shape, second.shape):  # then a reshape is a mistake, and no layout
        found = [entry for entry in found if entry.layout != "reshaped"] or found
    return min(found, key=lambda match: match.deviation, default=None)


def _sizes(shape: Sequence[int]) -> list[int]:
    return sorted(size for size in shape[1:] if size != 1)


def placed(array: Array | None, shape: Sequence[int] | None, kind: str, *, across: bool) -> Array | None:
    """A value of one side in the layout that the other side's layer expects, without knowing the other's value.

    Args:
        array: The value, (samples, ...).
        shape: The other's shape.
        kind: The kind of the layer that takes or gives it.
        across: Whether the two are of different frameworks.
    """
    if array is None or shape is None:
        return None
    found = dict(layouts(array, shape))
    spatial = "convolution" in kind or kind in ("batch normalization", "group normalization", "PReLU")
    if array.ndim == len(shape) > 2 and _sizes(array.shape) != _sizes(shape):
        found.pop("reshaped", None)  # another size in space: a mistake, and no layout
    order = ["channels first", "channels first and flattened"] if across and (spatial or array.ndim > 3) else []
    for name in [*order, "the same", "channels first", "time first", "reshaped"]:
        if name in found:
            return found[name]
    return None
