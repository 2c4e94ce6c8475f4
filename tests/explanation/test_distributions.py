import math

import numpy as np
import pytest

from compare.explanation.arithmetic.distributions import differ, distribution
from compare.explanation.observed.observation import Array

IN, OUT = 64, 32
SHAPE = (OUT, IN)


def uniform(limit: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-limit, limit, SHAPE)


def normal(scale: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, scale, SHAPE)


def orthogonal(seed: int) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(IN, OUT)))[0].T


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (uniform(math.sqrt(6 / (IN + OUT))), "Glorot uniform"),
        (uniform(1 / math.sqrt(IN)), "torch's default"),
        (uniform(math.sqrt(6 / IN)), "He uniform"),
        (normal(math.sqrt(2 / IN)), "He normal"),
        (normal(1.0), "standard normal"),
        (np.zeros(SHAPE), "zeros"),
        (orthogonal(0), "orthogonal"),
    ],
)
def test_distributions_have_their_names(array: Array, name: str) -> None:
    assert name in str(distribution(array, IN, OUT))


def ratio(a: Array, b: Array) -> float | None:
    return differ(a, b, distribution(a, IN, OUT), distribution(b, IN, OUT))


@pytest.mark.parametrize("seed", range(20))
def test_two_draws_from_one_distribution_do_not_differ(seed: int) -> None:
    limit = math.sqrt(6 / (IN + OUT))
    assert ratio(uniform(limit, 2 * seed), uniform(limit, 2 * seed + 1)) is None
    assert ratio(normal(0.05, 2 * seed), normal(0.05, 2 * seed + 1)) is None
    assert ratio(orthogonal(2 * seed), orthogonal(2 * seed + 1)) is None


def test_glorot_and_torchs_default_differ() -> None:
    found = ratio(uniform(math.sqrt(6 / (IN + OUT))), uniform(1 / math.sqrt(IN), 1))
    assert found is not None
    assert found == pytest.approx(0.5, rel=0.05)


def test_orthogonal_and_glorot_differ_though_their_spread_is_alike() -> None:
    matrix = orthogonal(0)
    assert ratio(matrix, uniform(float(matrix.std()) * math.sqrt(3))) is not None


def test_zeros_and_values_differ() -> None:
    assert ratio(np.zeros(SHAPE), uniform(0.1)) == math.inf


def test_a_few_values_of_one_distribution_are_never_told_apart() -> None:
    # 20,000 draws: a test by the ratio of the deviations alone called 5% of the pairs of two values different.
    random = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 7):
        for _ in range(4000):
            x, y = random.uniform(-0.5, 0.5, (2, size))
            assert differ(x, y, distribution(x, 4, 4), distribution(y, 4, 4)) is None


def test_a_few_values_of_other_sizes_are_told_apart() -> None:
    x = np.array([0.3, -0.2, 0.5, -0.4, 0.1, -0.3, 0.25])
    y = 1e4 * x
    assert differ(x, y, distribution(x, 4, 4), distribution(y, 4, 4)) == pytest.approx(1e4)


def test_ten_biases_of_torchs_default_are_named_so() -> None:
    random = np.random.default_rng(0)
    for _ in range(1000):
        assert str(distribution(random.uniform(-1, 1, 10) / math.sqrt(512), 512, 10)).startswith("torch's default")


@pytest.mark.parametrize("seed", range(20))
def test_values_beyond_a_limit_tell_a_normal_from_the_uniform_of_its_deviation(seed: int) -> None:
    random = np.random.default_rng(seed)
    limit = math.sqrt(6 / 40)
    x, y = random.uniform(-limit, limit, (2, 20, 20))
    z = random.normal(0, limit / math.sqrt(3), (20, 20))
    assert differ(x, y, distribution(x, 20, 20), distribution(y, 20, 20)) is None
    assert differ(x, z, distribution(x, 20, 20), distribution(z, 20, 20)) is not None
