"""What the catalogues of causes share: a signature predicts numbers, and the numbers found decide.

Each signature predicts the numbers that a known fault would have left; it fits if the prediction
leaves almost nothing of the deviation. Where none fits, `UNKNOWN` says so.
"""

from collections.abc import Iterator

import numpy as np

from compare.oracle.network import Array

UNKNOWN = "nothing in the catalogue of causes fits"

EXPLAINED = 0.02
"""A signature fits when it leaves at most this share of the largest deviation."""

LOW_PRECISION = (2.0**-16, 2.0**-6)
"""From a thirtieth of float16's rounding error to four times bfloat16's, relative to the largest number."""

SINGLE_PRECISION = (2.0**-28, 2.0**-18)
"""The same around float32's rounding error."""

ENOUGH_NUMBERS = 8
"""So many numbers are not multiples of a coarse rounding unit by chance."""

Signature = tuple[str, Array]
"""A cause in words and the numbers it would have left."""


def first_that_fits(recorded: Array, expected: Array, signatures: Iterator[Signature]) -> str | None:
    """The first cause whose numbers are those found, but for a small rest of the deviation."""
    tolerance = EXPLAINED * largest(distance(recorded, expected))
    with np.errstate(all="ignore"):
        for cause, predicted in signatures:
            if predicted.shape == recorded.shape and fits(recorded, predicted, tolerance):
                return cause
    return None


def fits(recorded: Array, predicted: Array, tolerance: float | Array) -> bool:
    """Whether the numbers are those predicted; a prediction without a finite number explains nothing.

    A factor that was fitted to NaN is NaN, and predicts what it was fitted to.
    """
    return bool(np.isfinite(predicted).any() and (distance(recorded, predicted) <= tolerance).all())


def distance(recorded: Array, predicted: Array) -> Array:
    """|recorded − predicted|; nothing between two infinities or NaNs, infinite between one and a number."""
    with np.errstate(all="ignore"):
        same = (recorded == predicted) | (np.isnan(recorded) & np.isnan(predicted))
        return np.where(same, 0, np.nan_to_num(np.abs(recorded - predicted), nan=np.inf))


def largest(distance: Array) -> float:
    """The largest finite distance."""
    return float(np.where(np.isfinite(distance), distance, 0).max(initial=0))


def ratio(recorded: Array, expected: Array) -> float:
    """The factor r that brings r·expected closest to found, in least squares."""
    norm = float((expected * expected).sum())
    return float((recorded * expected).sum()) / norm if norm else float("nan")


def times(factor: float) -> str:
    """How a fitted factor reads."""
    return f"{factor:.6g} times {'too large' if factor > 1 else 'what it should be'}"


def rounded(array: Array, dtype: str) -> Array:
    """The numbers as float32, float16 or bfloat16 would keep them."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return array.astype(dtype).astype(np.float64)
    bits = array.astype(np.float32).view(np.uint32)
    nearest = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def low_precision(recorded: Array, expected: Array, *, double: bool) -> str | None:
    """Whether the numbers are those of a lower precision, or off by its rounding errors.

    `double` says that they should be float64.
    """
    if (cause := kept_in(recorded, double=double)) is not None:
        return cause
    size = np.abs(recorded - expected).max() / np.abs(expected).max()
    if LOW_PRECISION[0] < size < LOW_PRECISION[1]:
        return f"the deviation of {size:.1g} has the size of low precision: TF32, float16 or bfloat16"
    if double and SINGLE_PRECISION[0] < size < SINGLE_PRECISION[1]:
        return f"the deviation of {size:.1g} has the size of float32's rounding errors"
    return None


def kept_in(recorded: Array, *, double: bool) -> str | None:
    """The lower precision that all the numbers have, if they do; or that some are no numbers."""
    if not np.isfinite(recorded).all():
        return "the numbers are not finite"
    if np.count_nonzero(recorded) < ENOUGH_NUMBERS:
        return None
    for dtype in ("bfloat16", "float16"):
        if (recorded == rounded(recorded, dtype)).all():
            return f"the numbers are kept in {dtype}"
    return "the numbers are kept in float32" if double and not is_double(recorded) else None


def is_double(array: Array) -> bool:
    """Whether some number needs float64."""
    return bool((array != array.astype(np.float32)).any())
