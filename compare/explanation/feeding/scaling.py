"""How values are scaled: all alike, by channel or feature, or sample by sample."""

from collections.abc import Callable

import numpy as np

from compare.explanation.observed.observation import Array
from compare.explanation.observed.values import ROUNDED


def affine(x: Array, y: Array) -> str | None:
    """In words, how `y` is made from `x`: of all values alike, by channel, or by feature; None if not so."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all() and y.any()):
        return None
    whole = _fit(x.reshape(1, -1), y.reshape(1, -1))
    if whole is not None:
        return _scale_words(float(whole[0][0]), float(whole[1][0]), x)
    for axis, what in _GROUPS.get(x.ndim, ()):
        fitted = _fit(_by(x, axis), _by(y, axis)) if len(x) > _TOO_FEW else None
        if fitted is not None:
            return _group_words(*fitted, what)
    if x.ndim > 2 and len(x) > _TOO_FEW and _fit(_by(x.reshape(len(x), -1), 1), _by(y.reshape(len(y), -1), 1)):
        return "scaled position by position (standardised by other means or deviations of each value of a sample)"
    return None


_GROUPS = {2: ((1, "feature"),), 3: ((2, "feature"), (1, "feature")), 4: ((1, "channel"), (3, "channel"))}
"""By the number of axes, the axes along which values may be scaled each by itself, and how to call them."""

_TOO_FEW = 4
"""Through two values there is a line in any case."""


def _by(x: Array, axis: int) -> Array:
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _group_words(factors: Array, shifts: Array, what: str) -> str:
    """How features or channels are scaled, each by itself."""
    of_all, of_each = _of_all(factors, shifts), _of_all(1 / factors, -shifts / factors)
    if of_all and not of_each:
        return f"standardised by one mean and one deviation of all {what}s; the other side by those of each {what}"
    if of_each and not of_all:
        return f"standardised by the mean and deviation of each {what}; the other side by one of all {what}s"
    changed = np.flatnonzero((np.abs(factors - 1) > _ROUGHLY) | (np.abs(shifts) > _ROUGHLY))
    if 0 < len(changed) <= min(3, len(factors) - 1):
        numbers = ", ".join(map(str, changed))
        sizes = f"{_list(factors[changed])} times the other side's, {_list(shifts[changed])} added"
        return f"{what} {numbers} alone scaled otherwise, counted from 0: {sizes}"
    if what == "channel":
        means, deviations = -shifts / factors, 1 / factors
        return f"standardised by channel: mean {_list(means)}, deviation {_list(deviations)}"
    return "scaled feature by feature (standardised by other means or deviations)"


def _of_all(factors: Array, shifts: Array) -> bool:
    """Whether these make values that have mean 0 and deviation 1 in all of ones that have them in each feature.

    The mean of all is then the mean of the shifts, the mean square that of factor² + shift², both without an error
    of sampling.
    """
    if len(factors) < 2:
        return False
    square = float((factors**2 + shifts**2).mean())
    return abs(float(shifts.mean())) <= _ROUGHLY and abs(square - 1) <= _ROUGHLY


_ROUGHLY = 2e-3
"""What an ε beside a deviation, or n - 1 in place of n, may make of it."""


def by_sample(x: Array, y: Array) -> tuple[str | None, bool]:
    """In words, how each sample of `y` is scaled by numbers of its own, and whether it is `x` that is; None if not so.

    Args:
        x: (samples, ...).
        y: The same samples.
    """
    a, b = np.asarray(x, np.float64).reshape(len(x), -1), np.asarray(y, np.float64).reshape(len(y), -1)
    if a.shape != b.shape or a.shape[1] <= _TOO_FEW or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None, False
    if (np.ptp(a, axis=1) == 0).any() or _fit(a, b) is None:
        return None, False
    for rows, other, inverse in ((b, a, False), (a, b, True)):
        for words, made in _OF_A_SAMPLE:
            if _near_one(made(rows)) and not _near_one(made(other)):
                return f"scaled sample by sample: each {words}", inverse
    return "scaled sample by sample, each by numbers of its own", False


_OF_A_SAMPLE: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("standardised by its own mean and deviation", lambda x: x.std(axis=1) + np.abs(x.mean(axis=1))),
    ("divided by its own length (normalised)", lambda x: np.asarray(np.linalg.norm(x, axis=1))),
    ("divided by its own sum", lambda x: x.sum(axis=1)),
    ("divided by its own largest value", lambda x: np.abs(x).max(axis=1)),
)
"""What may be done with each sample, and what is 1 of it then."""


def _near_one(values: Array) -> bool:
    return bool((np.abs(values - 1) <= _ROUGHLY).all())


def _fit(x: Array, y: Array) -> tuple[Array, Array] | None:
    """Of each row the factor and the shift that make `y` from `x`, if all rows are made so."""
    centred = x - x.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1)
    usable = variance > 0
    factor = np.ones(len(x))
    factor[usable] = (centred * y).mean(axis=1)[usable] / variance[usable]
    shift = y.mean(axis=1) - factor * x.mean(axis=1)
    error = np.abs(factor[:, None] * x + shift[:, None] - y).max()
    return (factor, shift) if error <= 1e-5 * max(float(np.abs(y).max()), 1e-30) and usable.any() else None


def _list(values: Array) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _scale_words(factor: float, shift: float, x: Array) -> str:
    """The usual ways to scale, by name."""
    low, high = float(x.min()), float(x.max())
    largest = max(abs(low), abs(high))
    if abs(factor - 1) <= ROUNDED and abs(shift) <= ROUNDED * max(largest, 1):
        return ""
    if abs(shift) <= 1e-6 * abs(factor) * max(abs(high), 1e-30):
        return _factor_words(factor, high)
    if abs(factor - 2) <= 1e-5 and abs(shift + 1) <= 1e-5:
        return "scaled to -1..1 instead of 0..1"
    if abs(factor + 1) <= 1e-5:
        return "inverted: each value taken from the largest"
    if factor < 0:
        return f"{factor:.5g} times the other side's values, {shift:+.5g}"
    if low < 0:
        return f"scaled otherwise (standardised on one side): {factor:.5g} times the other side's, {shift:+.5g}"
    mean, spread = -shift / factor, 1 / factor
    return f"standardised (normalised): mean {mean:.4f} subtracted, divided by the deviation {spread:.4f}"


def _factor_words(factor: float, high: float) -> str:
    """A factor without a shift."""
    for number in (255.0, 256.0, 127.5, 128.0, 16.0):
        if abs(factor / number - 1) <= 1e-5:
            return f"not divided by {number:g}: values reach {factor * high:.4g}, the other side's {high:.4g}"
        if abs(factor * number - 1) <= 1e-5:
            return f"divided by {number:g} once more: values reach {factor * high:.4g}, the other side's {high:.4g}"
    for first, second in ((256, 255), (255, 256)):
        if abs(factor * first / second - 1) <= 1e-5:
            return f"divided by {first} instead of {second}"
    for share, words in ((factor**2, "by n - 1 in place of n"), (1 / factor**2, "by n in place of n - 1")):
        number = 1 / (1 - share) if 0.9 < share < 1 else 0.0  # of the samples, where it is (n - 1) / n
        if number and abs(number - round(number)) <= _NEAR_A_NUMBER:
            return f"multiplied by {factor:.6g}: divided by a deviation of {round(number)} samples, {words} (ddof)"
    return f"multiplied by {factor:.6g}"


_NEAR_A_NUMBER = 0.01
"""One factor near 1 in fifty looks so by chance; that it is one factor for all values and features is no chance."""
