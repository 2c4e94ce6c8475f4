import itertools
import math

import numpy as np
import pytest

from compare.statistics import paired_accuracies, wilson_interval

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
