"""Images divided by a statistic of their own: by which, and over what it was taken."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float64]
Statistic = Callable[[Images, tuple[int, ...]], Images]

_SCOPES: dict[tuple[int, ...], str] = {
    (0, 1, 2): "the batch",
    (1, 2): "each image",
    (0,): "each pixel over the batch",
    (1,): "each column of an image",
    (2,): "each row of an image",
    (0, 1): "each column over the batch",
    (0, 2): "each row over the batch",
}
"""The axes of (batch, rows, columns) that a statistic is taken over, the coarsest first: it fits a finer one too."""


def _mean(images: Images, axes: tuple[int, ...]) -> Images:
    return images.mean(axis=axes, keepdims=True)


def _smallest(images: Images, axes: tuple[int, ...]) -> Images:
    return images.min(axis=axes, keepdims=True)


def _nothing(images: Images, axes: tuple[int, ...]) -> Images:
    return 0 * _smallest(images, axes)


def _root_mean_square(images: Images, axes: tuple[int, ...]) -> Images:
    return np.asarray(np.sqrt((images * images).mean(axis=axes, keepdims=True)))


def _largest(images: Images, axes: tuple[int, ...]) -> Images:
    return np.abs(images).max(axis=axes, keepdims=True)


def _sum(images: Images, axes: tuple[int, ...]) -> Images:
    return np.abs(images).sum(axis=axes, keepdims=True)


def _norm(images: Images, axes: tuple[int, ...]) -> Images:
    return np.asarray(np.sqrt((images * images).sum(axis=axes, keepdims=True)))


_MINUS: dict[str, Statistic] = {"": _nothing, "mean": _mean, "smallest pixel": _smallest}
_DIVIDED: dict[str, dict[str, Statistic]] = {
    "": {"largest pixel": _largest, "Euclidean norm": _norm, "sum": _sum, "root mean square": _root_mean_square},
    "mean": {"deviation": _root_mean_square, "largest distance from it": _largest, "Euclidean norm": _norm},
    "smallest pixel": {"range": _largest},
}
"""What may be subtracted, and what the rest may be divided by."""

_FITS = 1e-5
"""Of the largest pixel: float32 rounds a sum of 784 pixels to a tenth of it."""

_NEAR = 0.01
"""An ε beside the statistic changes it by less, where the statistic is large; it must vary by four times as much."""


def of_images(recorded: Images, expected: Images) -> str | None:
    """By what images (batch, rows, columns) were shifted and scaled; None if it is no statistic of themselves."""
    return next(_of_all(recorded, expected), None)


def _of_all(recorded: Images, expected: Images) -> Iterator[str]:
    near = _FITS * float(np.abs(recorded).max())
    for axes, scope in _SCOPES.items():
        for minus, shift in _MINUS.items():
            centred = expected - shift(expected, axes)
            squares = (centred * centred).sum(axis=axes, keepdims=True)
            some = squares > 0
            factors = (centred * recorded).sum(axis=axes, keepdims=True) / np.where(some, squares, 1)
            if np.abs(factors * centred - recorded).max() > near:
                continue
            spread = float(np.ptp(factors[some]) / np.abs(factors[some]).max())
            if minus == "mean" and np.abs(factors[some] - 1).max() <= _FITS:
                yield f"the mean of {scope} is subtracted from it"
            for by, statistic in _DIVIDED[minus].items():
                divisors = statistic(centred, axes)
                large = some & (divisors > divisors.max() / 4)
                off = float(np.abs(factors[large] * divisors[large] - 1).max())
                if off <= _FITS < spread or off <= _NEAR < spread / 4:
                    yield _words(scope, minus, by)


def _words(scope: str, minus: str, by: str) -> str:
    if not minus:
        return f"{scope} is divided by its own {by}"
    if by == "deviation":
        return f"{scope} is standardised by its own mean and deviation"
    return f"{scope} has its {minus} subtracted and is divided by its {by}"
