"""Intervals and tests on test digits. Pure functions of counts and arrays."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


def wilson_interval(successes: int, total: int) -> Interval:
    """The 95% interval of a proportion (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def prediction_margin(pairs: NDArray[np.floating], num_runs: int, level: float) -> float:
    """How far from the mean of `pairs` one more such value stays with this one-sided probability.

    `pairs` are values of all pairs of `num_runs` runs. Pairs share runs, so they tell no more than
    `num_runs` - 1 independent deviations do; hence the t distribution's degrees of freedom.
    """
    from scipy.stats import t

    spread = float(np.std(pairs, ddof=1))
    return float(t.ppf(level, num_runs - 1)) * spread * math.sqrt(1 + 1 / num_runs)


@dataclass(frozen=True)
class PairedAccuracies:
    """How two classifiers do on the same images.

    `difference` is the second's accuracy minus the first's; `interval` its 95% interval after
    Agresti & Min (2005), which adds half an image to each cell of the two-by-two table;
    `mcnemar_p` the two-sided p-value of McNemar's exact test that the two are equally accurate.
    """

    only_first_right: int
    only_second_right: int
    total: int
    difference: float
    interval: Interval
    mcnemar_p: float


def paired_accuracies(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> PairedAccuracies:
    """Compares two classifiers on the same images; each array tells which images it got right, shape (n,)."""
    from scipy.stats import binomtest, norm

    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    total = len(first_right)
    b, c, n = only_first + 0.5, only_second + 0.5, total + 2
    center = (c - b) / n
    half_width = float(norm.ppf(0.975)) * math.sqrt(b + c - (c - b) ** 2 / n) / n
    discordant = only_first + only_second
    return PairedAccuracies(
        only_first_right=only_first,
        only_second_right=only_second,
        total=total,
        difference=(only_second - only_first) / total,
        interval=(center - half_width, center + half_width),
        mcnemar_p=float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    )
