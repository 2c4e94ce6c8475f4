import itertools
import math

import numpy as np
import pytest
from scipy.stats import t as student_t

from compare.statistics import effect, equivalence, paired_accuracies, wilson_interval

Z = 1.959963984540054
"""The 97.5% quantile of the normal distribution."""


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(successes: int, total: int, low: float, high: float) -> None:
    found = wilson_interval(successes, total)
    assert [round(limit, 4) for limit in found] == [low, high]


@pytest.mark.parametrize("successes", [0, 1, 9700, 9999, 10_000])
def test_wilson_interval_solves_its_equation(successes: int) -> None:
    """Its limits are the proportions whose own standard error puts the estimate z of them away."""
    estimate = successes / 10_000
    for limit in wilson_interval(successes, 10_000):
        assert 0 <= limit <= 1
        distance = Z * math.sqrt(limit * (1 - limit) / 10_000)
        assert math.isclose(abs(estimate - limit), distance, rel_tol=1e-6, abs_tol=1e-12)


def _pair(only_first: int, only_second: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * only_first + [False] * only_second + [True] * both + [False] * neither
    second = [False] * only_first + [True] * only_second + [True] * both + [False] * neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize("counts", [(0, 0, 10, 0), (3, 8, 80, 9), (8, 3, 80, 9), (1, 0, 0, 0), (50, 30, 9700, 220)])
def test_paired_accuracies_against_the_definitions(counts: tuple[int, int, int, int]) -> None:
    only_first, only_second, *_ = counts
    total = sum(counts)
    first, second = _pair(*counts)
    found = paired_accuracies(first, second)
    assert (found.only_first_right, found.only_second_right, found.total) == (only_first, only_second, total)
    assert math.isclose(found.difference, second.mean() - first.mean(), abs_tol=1e-12)

    # Agresti & Min: the Wald interval of the table with half an image more in each of four cells,
    # here from the variance of the per-image differences.
    differences = [-1] * only_first + [1] * only_second + [0] * (counts[2] + counts[3])
    weights = np.ones(total)
    differences, weights = np.array([*differences, -1, 1, 0, 0]), np.array([*weights, *[0.5] * 4])
    mean = np.average(differences, weights=weights)
    variance = np.average((differences - mean) ** 2, weights=weights)
    half_width = Z * math.sqrt(variance / (total + 2))
    assert np.allclose(found.interval, (mean - half_width, mean + half_width), rtol=0, atol=1e-12)

    # McNemar's exact test: of all ways to toss the discordant images, those no more likely than this one.
    discordant = only_first + only_second
    ways = [math.comb(discordant, k) for k in range(discordant + 1)]
    expected = sum(way for way in ways if way <= ways[only_first]) / 2**discordant
    assert math.isclose(found.mcnemar_p, expected, rel_tol=1e-9)


def test_paired_interval_has_its_coverage() -> None:
    """Over all outcomes of 30 images at p = (0.1, 0.2, 0.7), weighted by their probability."""
    covered = 0.0
    for b, c in itertools.product(range(31), repeat=2):
        if b + c <= 30:
            ways = math.comb(30, b) * math.comb(30 - b, c)
            low, high = paired_accuracies(*_pair(b, c, 30 - b - c, 0)).interval
            covered += ways * 0.1**b * 0.2**c * 0.7 ** (30 - b - c) * (low <= 0.1 <= high)
    # An approximate 95% interval; Agresti & Min report coverages between 0.94 and 0.98 at this size.
    assert 0.93 < covered < 0.99


def test_equivalence_of_a_sample_done_by_hand() -> None:
    """Five differences 1, 2, 3, 4, 5 · 1e-4: mean 3e-4, standard error √(2.5 / 5) · 1e-4."""
    found = equivalence(np.array([1, 2, 3, 4, 5]) * 1e-4, margin=5e-4)
    assert found is not None
    assert math.isclose(found.mean, 3e-4)
    assert math.isclose(found.standard_deviation, math.sqrt(2.5) * 1e-4)
    # Quantiles of t with 4 degrees of freedom, from any table: 2.1318 (95%) and 2.7764 (97.5%).
    for interval, quantile in ((found.interval_90, 2.131847), (found.interval_95, 2.776445)):
        half_width = quantile * math.sqrt(0.5) * 1e-4
        assert np.allclose(interval, (3e-4 - half_width, 3e-4 + half_width), rtol=0, atol=1e-9)
    # The nearer end decides: t = (5 - 3) / √0.5 = 2.8284. Its upper tail with 4 degrees of freedom is
    # 1/2 - s · (3 - s²) / 4 with s = t / √(4 + t²).
    s = 2 * math.sqrt(2) / math.sqrt(4 + 8)
    assert math.isclose(found.p, 0.5 - s * (3 - s**2) / 4, rel_tol=1e-9)
    assert found.verdict == "parity"


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0, "parity"), (9e-4, "inconclusive"), (-9e-4, "inconclusive"), (3e-3, "not parity")]
)
def test_verdict_is_where_the_intervals_lie(mean: float, verdict: str) -> None:
    found = equivalence(mean + np.array([-2, -1, 0, 1, 2]) * 2e-4, margin=1e-3)
    assert found is not None
    assert found.verdict == verdict
    inside = found.interval_90[0] > -1e-3 and found.interval_90[1] < 1e-3
    assert inside == (verdict == "parity") == (found.p < 0.05)


def test_differences_that_are_all_alike_have_no_spread() -> None:
    for mean, verdict in ((0, "parity"), (9e-4, "parity"), (1e-3, "not parity"), (-2e-3, "not parity")):
        found = equivalence(np.full(3, mean), margin=1e-3)
        assert found is not None
        assert (found.verdict, found.interval_90, found.interval_95) == (verdict, (mean, mean), (mean, mean))
        assert found.pairs_needed is None
    change = effect(np.full(3, 2.0), 1)
    assert change is not None
    assert (change.interval, change.clear) == ((2.0, 2.0), True)
    nothing = effect(np.zeros(3), 1)
    assert nothing is not None
    assert not nothing.clear


def test_one_pair_tells_nothing_and_two_tell_something() -> None:
    for few in (np.array([]), np.array([1e-4])):
        assert equivalence(few, 1e-3) is None
        assert effect(few, 1) is None
    found = equivalence(np.array([1e-4, 2e-4]), 1e-3)
    assert found is not None
    assert math.isfinite(found.p)
    change = effect(np.array([1e-4, 2e-4]), 1)
    assert change is not None
    # Of two numbers a standard error apart on both sides of their mean, 12.7062 of them: t with 1 degree of freedom.
    assert np.allclose(change.interval, (1.5e-4 - 12.7062 * 5e-5, 1.5e-4 + 12.7062 * 5e-5), rtol=0, atol=1e-9)


@pytest.mark.parametrize("mean", [0, 0.3, 0.5, 1.5, 2.0])
@pytest.mark.parametrize("margin", [0.6, 2.5])
def test_pairs_needed_have_the_power(mean: float, margin: float) -> None:
    """Of 4000 samples of as many pairs, about 80% show equivalence; of half as many pairs, fewer do."""
    sample = np.array([-1.0, 1.0] * 50)
    sample = mean + sample / sample.std(ddof=1)
    found = equivalence(sample, margin)
    assert found is not None
    if mean > margin:
        assert found.pairs_needed is None
        return
    assert found.pairs_needed is not None

    def power(pairs: int) -> float:
        samples = np.random.default_rng(0).normal(mean, 1, (4000, pairs))
        error = samples.std(axis=1, ddof=1) / math.sqrt(pairs)
        quantile = student_t.ppf(0.95, pairs - 1)
        return float(np.mean(np.abs(samples.mean(axis=1)) + quantile * error < margin))

    # Four standard errors of 4000 draws.
    assert power(found.pairs_needed) > 0.8 - 4 * math.sqrt(0.8 * 0.2 / 4000)
    if found.pairs_needed > 4:
        assert power(math.floor(0.95 * found.pairs_needed)) < 0.8 + 4 * math.sqrt(0.8 * 0.2 / 4000)
        assert power(found.pairs_needed // 2) < 0.8


def test_mean_at_the_margin_needs_more_pairs_than_anybody_has() -> None:
    found = equivalence(np.array([0.0, 1e-3, 2e-3]), np.nextafter(1e-3, 1))
    assert found is not None
    assert found.pairs_needed is None


@pytest.mark.parametrize("room", [1e-2, 4.9, 5.1, 1e6])
def test_pairs_needed_for_any_room(room: float) -> None:
    sample = np.array([-1.0, 1.0] * 50)
    found = equivalence(sample / sample.std(ddof=1), room)
    assert found is not None
    assert found.pairs_needed is not None
    # (z(0.95) + z(0.9))² / effect², the normal approximation, is close where many pairs are needed.
    if room < 1:
        assert math.isclose(found.pairs_needed, (1.6449 + 1.2816) ** 2 / room**2, rel_tol=0.01)
    else:
        assert found.pairs_needed in (2, 3)


@pytest.mark.parametrize("num_together", [1, 5])
def test_effect_has_the_t_interval_of_its_share(num_together: int) -> None:
    differences = np.random.default_rng(1).exponential(1, 20) - 0.9
    found = effect(differences, num_together)
    assert found is not None
    half_width = student_t.ppf(1 - 0.025 / num_together, 19) * differences.std(ddof=1) / math.sqrt(20)
    expected = (differences.mean() - half_width, differences.mean() + half_width)
    assert np.allclose(found.interval, expected, rtol=1e-12, atol=0)
    assert found.clear == (found.interval[0] > 0 or found.interval[1] < 0)


def test_effects_have_their_coverage_together_over_twenty_seeds() -> None:
    random = np.random.default_rng(2)
    num_studies, num_together = 400, 6
    missed = 0
    for _ in range(num_studies):
        intervals = [effect(random.normal(1, 1, 20), num_together) for _ in range(num_together)]
        missed += any(found is None or not found.interval[0] <= 1 <= found.interval[1] for found in intervals)
    # 5% of 400 studies, and four standard errors.
    assert missed <= 20 + 4 * math.sqrt(400 * 0.05 * 0.95)
