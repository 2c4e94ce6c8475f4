import hashlib
import math

import numpy as np
import pytest

from recipe import Recipe
from recipe.initial_weights import Weights, initial_weights, perturbed, weight_shapes

DTYPES = ("float32", "float64")


def _hash(weights: Weights) -> str:
    digest = hashlib.sha256()
    for name, array in weights.items():
        digest.update(name.encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("fields", "golden"),
    [
        ({}, "69cf1b659c67a4c9"),
        ({"seed": 1}, "24a653d2ffeb828e"),
        ({"dtype": "float64"}, "d51887dc77401d6d"),
        ({"perturbation": 1}, "27040637a9d402a1"),
        ({"perturbation": 2}, "2938dec0bf4c10a2"),
        ({"dtype": "float64", "hidden_sizes": (5,)}, "bbca6f164de9b3ef"),
    ],
    ids=str,
)
def test_weights_are_the_same_for_good(fields: dict[str, object], golden: str) -> None:
    assert _hash(initial_weights(Recipe(**fields))) == golden


def test_network_is_the_tutorials() -> None:
    shapes = weight_shapes(Recipe())
    assert list(shapes.items()) == [
        ("hidden_1.kernel", (784, 128)),
        ("hidden_1.bias", (128,)),
        ("hidden_2.kernel", (128, 256)),
        ("hidden_2.bias", (256,)),
        ("hidden_3.kernel", (256, 512)),
        ("hidden_3.bias", (512,)),
        ("output.kernel", (512, 10)),
        ("output.bias", (10,)),
    ]
    assert sum(math.prod(shape) for shape in shapes.values()) == 270_218


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden_sizes", [(128, 256, 512), (), (3,)])
def test_kernels_are_glorot_uniform_and_biases_zero(dtype: str, hidden_sizes: tuple[int, ...]) -> None:
    recipe = Recipe(dtype=dtype, hidden_sizes=hidden_sizes)
    weights = initial_weights(recipe)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(recipe)
    for name, array in weights.items():
        assert array.dtype == dtype
        if name.endswith(".bias"):
            assert not array.any()
            continue
        # One rounding to the dtype may pass the limit by half a unit in the last place.
        limit = math.sqrt(6 / sum(array.shape)) * (1 + np.finfo(dtype).eps)
        assert np.abs(array).max() <= limit
        # Of n uniform numbers the largest falls short of the limit by 1/n of it on average and by
        # 20/n with a probability of e^-20.
        assert np.abs(array).max() >= limit * (1 - 20 / array.size)
        # The mean of n uniform numbers on ±limit has the standard deviation limit/√(3n); 6 of them.
        assert abs(array.mean()) <= 6 * limit / math.sqrt(3 * array.size)


def test_float32_weights_are_the_float64_ones_rounded() -> None:
    single, double = (initial_weights(Recipe(dtype=dtype)) for dtype in DTYPES)
    assert all(np.array_equal(single[name], double[name].astype(np.float32)) for name in single)


def test_layers_and_seeds_share_no_numbers() -> None:
    kernels = [
        array.ravel()[:1000] / np.abs(array).max()
        for seed in (0, 1)
        for name, array in initial_weights(Recipe(seed=seed, dtype="float64")).items()
        if name.endswith(".kernel")
    ]
    correlation = np.corrcoef(kernels) - np.eye(len(kernels))
    assert np.abs(correlation).max() < 6 / math.sqrt(1000)  # six standard deviations of an uncorrelated pair


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("perturbation", [1, 2, 2**32 - 1])
def test_perturbation_is_one_unit_in_the_last_place_but_for_zeros(dtype: str, perturbation: int) -> None:
    plain = initial_weights(Recipe(dtype=dtype))
    moved = initial_weights(Recipe(dtype=dtype, perturbation=perturbation))
    integer = {"float32": np.int32, "float64": np.int64}[dtype]
    for name, array in plain.items():
        assert moved[name].dtype == dtype
        # Neighbouring floats of one sign have neighbouring bit patterns.
        steps = moved[name].view(integer).astype(np.int64) - array.view(integer)
        assert np.array_equal(np.abs(steps), array != 0)
        if name.endswith(".kernel"):
            up = (moved[name] > array).mean()
            assert abs(up - 0.5) < 3 / math.sqrt(array.size)  # six standard deviations of a fair coin


def test_perturbations_differ_by_number() -> None:
    first, second = (initial_weights(Recipe(perturbation=number))["hidden_1.kernel"] for number in (1, 2))
    assert 0.49 < (first != second).mean() < 0.51  # 100,352 fair coins: ±6 standard deviations


def test_no_perturbation_changes_nothing() -> None:
    weights = initial_weights(Recipe())
    assert perturbed(weights, Recipe()) is weights
