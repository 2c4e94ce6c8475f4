"""Values that are drawn once and never trained: whether those of two programs are samples of one distribution."""

import numpy as np
from scipy import stats

from compare.explanation.observed.observation import Array

_FEWEST = 32
_CHANCE = 1e-3
"""A table that is computed, such as one of sines, is no sample of a distribution by far less chance than this."""


def both_drawn(first: Array | None, second: Array | None) -> bool:
    """Whether two arrays are other samples of one distribution.

    No table that is computed, or that is loaded in another order, is one.
    """
    if first is None or second is None or first.shape != second.shape or first.size < _FEWEST:
        return False
    a, b = (np.asarray(array, np.float64).reshape(-1) for array in (first, second))
    if np.array_equal(np.sort(a), np.sort(b)) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return _drawn(a) and _drawn(b) and float(stats.ks_2samp(a, b).pvalue) > _CHANCE


def _drawn(x: Array) -> bool:
    """Whether values look drawn by themselves, each from a normal or a uniform distribution."""
    if np.ptp(x) == 0 or len(np.unique(x)) < len(x):
        return False
    centred = x - x.mean()
    along = abs(float((centred[1:] * centred[:-1]).sum() / (centred**2).sum())) * np.sqrt(len(x))
    fits = (stats.kstest(x, "norm", (x.mean(), x.std())), stats.kstest(x, "uniform", (x.min(), np.ptp(x))))
    return along < _DEVIATIONS and max(float(fit.pvalue) for fit in fits) > _CHANCE


_DEVIATIONS = 4
"""Values drawn by themselves have a correlation with the next of a deviation of 1/√n."""
