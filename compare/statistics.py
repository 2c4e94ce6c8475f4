"""Intervals and tests, on test digits and over seeds. Pure functions of counts and arrays."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

_MOST_PAIRS = 10_000_000


def wilson_interval(successes: int, total: int) -> Interval:
    """The 95% interval of a proportion (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


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


@dataclass(frozen=True)
class Equivalence:
    """Whether the mean of paired differences lies inside ±margin.

    `p` is that of the two one-sided t tests (Schuirmann 1987): under 0.05 where the 90% interval lies
    inside the margin. `pairs_needed` is how many pairs would show equivalence with a power of 80% if
    the mean and the spread are those measured; None if the mean lies outside the margin or too close to
    it for ten million pairs, or if no pair differs.
    """

    num_pairs: int
    mean: float
    standard_deviation: float
    interval_90: Interval
    interval_95: Interval
    margin: float
    p: float
    verdict: Literal["parity", "not parity", "inconclusive"]
    pairs_needed: int | None


def equivalence(differences: NDArray[np.floating], margin: float) -> Equivalence | None:
    """Tests paired differences, shape (pairs,), for equivalence; None of fewer than two pairs."""
    from statsmodels.stats.weightstats import DescrStatsW

    if len(differences) < 2:  # noqa: PLR2004 - a spread takes two
        return None
    mean = float(np.mean(differences))
    spread = float(np.std(differences, ddof=1))
    if np.ptp(differences) == 0:  # a t statistic would divide by zero; nor may the mean's rounding make a spread
        mean, spread = float(differences[0]), 0.0
        intervals = [(mean, mean), (mean, mean)]
        p = 0.0 if abs(mean) < margin else 1.0
    else:
        sample = DescrStatsW(differences)
        ends = [sample.tconfint_mean(alpha) for alpha in (0.10, 0.05)]
        intervals = [(float(low), float(high)) for low, high in ends]
        p = float(sample.ttost_mean(-margin, margin)[0])
    low, high = intervals[1]
    verdict: Literal["parity", "not parity", "inconclusive"] = "inconclusive"
    if p < 0.05:  # noqa: PLR2004 - the level that the 90% interval stands for
        verdict = "parity"
    elif low >= margin or high <= -margin:
        verdict = "not parity"
    return Equivalence(
        num_pairs=len(differences),
        mean=mean,
        standard_deviation=spread,
        interval_90=intervals[0],
        interval_95=intervals[1],
        margin=margin,
        p=p,
        verdict=verdict,
        pairs_needed=pairs_needed(mean, spread, margin),
    )


def pairs_needed(mean: float, spread: float, margin: float) -> int | None:
    """How many pairs would show equivalence with a power of 80%, for this mean and standard deviation.

    None where the mean is not inside the margin, or so near to it that ten million would not do, or without a spread.
    """
    room = margin - abs(mean)
    if room <= 0 or spread == 0:
        return None
    # A normal sample of known spread needs (z(0.95) + z(0.9))² / effect² = 8.6 / effect² pairs, or fewer.
    enough = 20 + 10 * (spread / room) ** 2
    if enough > _MOST_PAIRS:
        return None
    candidates = range(2, math.ceil(enough))
    return candidates[bisect_left(candidates, 0.8, key=lambda pairs: _power(pairs, mean, spread, margin))]


def _power(pairs: int, mean: float, spread: float, margin: float) -> float:
    """How often two one-sided t tests of this many normal pairs show equivalence (Phillips 1990).

    The measured mean is normal and the measured spread independent of it, so that the probability is one of the
    mean, averaged over equally likely spreads.
    """
    from scipy.stats import chi2, norm, t

    shares = (np.arange(1000) + 0.5) / 1000
    spreads = spread * np.sqrt(chi2.ppf(shares, pairs - 1) / (pairs - 1))
    error = spread / math.sqrt(pairs)
    room = np.maximum(margin - t.ppf(0.95, pairs - 1) * spreads / math.sqrt(pairs), 0)
    return float(np.mean(norm.cdf((room - mean) / error) - norm.cdf((-room - mean) / error)))


@dataclass(frozen=True)
class Effect:
    """The mean of paired differences and its interval; `clear` where the interval leaves out 0."""

    num_pairs: int
    mean: float
    interval: Interval
    clear: bool


def effect(differences: NDArray[np.floating], num_together: int) -> Effect | None:
    """The mean of paired differences, shape (pairs,), with its t interval.

    The intervals of all `num_together` effects hold together with 95% confidence (Bonferroni). Of fewer
    than two pairs there is none.
    """
    from scipy.stats import t

    pairs = len(differences)
    if pairs < 2:  # noqa: PLR2004 - a spread takes two
        return None
    mean, half_width = float(differences[0]), 0.0
    if np.ptp(differences) > 0:  # or the mean's rounding would make a spread
        mean = float(np.mean(differences))
        half_width = float(t.isf(0.025 / num_together, pairs - 1) * np.std(differences, ddof=1)) / math.sqrt(pairs)
    return Effect(pairs, mean, (mean - half_width, mean + half_width), bool(abs(mean) > half_width))
