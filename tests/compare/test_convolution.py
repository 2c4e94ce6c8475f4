"""Convolution and pooling against loops over their definitions, and finite differences of the whole network."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.typing import NDArray

from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import Rounding
from compare.oracle.network import Array, ArraysByName

SHAPES = [(10, 10), (11, 14), (13, 10)]


def maps_and_kernel(shape: tuple[int, int], seed: int = 0) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    return random.normal(size=(2, *shape, 3)), random.normal(size=(3, 3, 3, 4)), random.normal(size=4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_is_the_sum_over_the_places_of_its_kernel(shape: tuple[int, int]) -> None:
    maps, kernel, bias = maps_and_kernel(shape)
    found = convolution.linear(maps, kernel, bias)
    assert found.shape == (2, shape[0] - 2, shape[1] - 2, 4)
    for image, row, column, unit in np.ndindex(found.shape):
        products = [
            maps[image, row + i, column + j, channel] * kernel[i, j, channel, unit]
            for i, j, channel in product(range(3), range(3), range(3))
        ]
        assert found[image, row, column, unit] == pytest.approx(math.fsum([*products, bias[unit]]), abs=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_spread_is_the_transposed_convolution(shape: tuple[int, int]) -> None:
    # ⟨delta, K·x⟩ = ⟨Kᵀ·delta, x⟩ for all x and delta: what defines the gradient of the inputs.
    maps, kernel, _ = maps_and_kernel(shape)
    z = convolution.linear(maps, kernel, np.zeros(4))
    delta = np.random.default_rng(1).normal(size=z.shape)
    left, right = convolution.spread(delta, kernel)
    back = (left @ right).reshape(maps.shape)
    assert (delta * z).sum() == pytest.approx((back * maps).sum(), rel=1e-12)
    one = np.zeros_like(delta)
    one[1, 2, 3, 0] = 1
    left, right = convolution.spread(one, kernel)
    expected = np.zeros_like(maps)
    expected[1, 2:5, 3:6] = kernel[..., 0]
    np.testing.assert_array_equal((left @ right).reshape(maps.shape), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_pooling_takes_the_largest_and_routes_to_it(shape: tuple[int, int]) -> None:
    maps, _, _ = maps_and_kernel(shape)
    pooled = convolution.max_pool(maps)
    delta = np.random.default_rng(1).normal(size=pooled.shape)
    routed = convolution.route(delta, maps)
    assert pooled.shape == (2, shape[0] // 2, shape[1] // 2, 3)
    for image, row, column, channel in np.ndindex(pooled.shape):
        window = maps[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        assert pooled[image, row, column, channel] == window.max()
        part = routed[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        np.testing.assert_array_equal(part, delta[image, row, column, channel] * (window == window.max()))
    assert not routed[:, 2 * pooled.shape[1] :].any()
    assert not routed[:, :, 2 * pooled.shape[2] :].any()


def test_of_several_largest_the_first_has_the_gradient() -> None:
    maps = np.zeros((1, 2, 4, 1))
    maps[0, :, :2, 0] = [[1, 5], [5, 5]]
    routed = convolution.route(np.array([3.0, 7.0]).reshape(1, 1, 2, 1), maps)
    assert routed[0, :, :, 0].tolist() == [[0, 3, 7, 0], [0, 0, 0, 0]]


def test_ties_over_other_pixels_leave_the_gradient_open_and_ties_over_the_same_do_not() -> None:
    inputs = np.zeros((1, 4, 4, 1))
    maps = np.full((1, 2, 2, 1), 0.5)
    delta = np.full((1, 1, 1, 1), -2.0)
    # The background: the same zeros lie under all four.
    assert not convolution.undecided(delta, maps, inputs).any()
    inputs[0, 3, 3, 0] = 1  # under the last alone
    assert (convolution.undecided(delta, maps, inputs) == 2).all()
    maps[0, 1, 1, 0] = 0.25  # the last is no longer one of the largest
    assert not convolution.undecided(delta, maps, inputs).any()
    # What the ReLU cut off passes no gradient on.
    maps[:] = 0
    assert not convolution.undecided(delta, maps, inputs).any()


def network(
    hidden_sizes: tuple[int, ...], shape: tuple[int, int], seed: int
) -> tuple[ArraysByName, Array, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    pooled = [((size - 2) // 2 - 2) // 2 for size in shape]
    shapes: dict[str, tuple[int, ...]] = {"convolution_1": (3, 3, 1, 3), "convolution_2": (3, 3, 3, 2)}
    sizes = (pooled[0] * pooled[1] * 2, *hidden_sizes, 5)
    names = [*(f"hidden_{i}" for i in range(1, len(sizes) - 1)), "output"]
    shapes |= dict(zip(names, pairwise(sizes), strict=True))
    weights: ArraysByName = {}
    for name, kernel in shapes.items():
        weights[f"{name}.kernel"] = random.normal(size=kernel) / math.sqrt(math.prod(kernel[:-1]))
        weights[f"{name}.bias"] = random.normal(size=kernel[-1]) / 10
    return weights, random.random((3, *shape, 1)), random.integers(0, 5, 3)


@pytest.mark.parametrize(("hidden_sizes", "shape"), [((), (10, 10)), ((6,), (11, 14)), ((6, 4), (14, 10))])
@pytest.mark.parametrize("dropout", [False, True])
def test_gradients_are_those_of_finite_differences(
    hidden_sizes: tuple[int, ...], shape: tuple[int, int], dropout: bool
) -> None:
    weights, images, labels = network(hidden_sizes, shape, seed=3)
    random = np.random.default_rng(4)
    masks = {f"hidden_{i}": random.integers(0, 2, (3, units)) * 2.0 for i, units in enumerate(hidden_sizes, 1)}
    masks = masks if dropout else {}
    found = oracle.gradients(weights, images, labels, masks)
    assert list(found) == list(weights)
    # As in test_oracle.py: a central difference with h = 1e-5 is off by about 1e-11, unless a ReLU or a maximum
    # changes sides within h, which a change of h in a weight can bring about for numbers closer than some h.
    step = 1e-5
    passed = oracle.forward(weights, images, masks)
    assert min(np.abs(z).min() for z in passed.preactivations.values()) > 5 * step
    for name, array in weights.items():
        for index in list(np.ndindex(array.shape))[:: max(1, array.size // 40)]:
            losses = []
            for moved in (array[index] + step, array[index] - step):
                changed = array.copy()
                changed[index] = moved
                losses.append(oracle.loss({**weights, name: changed}, images, labels, masks))
            assert found[name][index] == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-9)


def test_dropout_passes_on_what_the_mask_leaves() -> None:
    weights, images, _ = network((6, 4), (14, 10), seed=5)
    masks = {"hidden_1": np.array([[2.0, 0, 0, 2, 2, 0]] * 3)}
    passed = oracle.forward(weights, images, masks)
    np.testing.assert_array_equal(passed.inputs["hidden_2"], passed.activations["hidden_1"] * masks["hidden_1"])
    np.testing.assert_array_equal(passed.inputs["output"], passed.activations["hidden_2"])


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.5, 0.9])
def test_dropout_stays_within_its_bound_in_every_form(rate: float) -> None:
    rounding, single = Rounding.of("float32"), np.float32
    activation = (np.random.default_rng(0).random(100_000) * 10).astype(single)
    exact = activation.astype(np.float64) / (1 - rate)
    for found in (
        activation * single(1 / (1 - rate)),
        activation / single(1 - rate),
        activation * (1 / (single(1) - single(rate))),
        activation / (single(1) - single(rate)),
    ):
        assert found.dtype == single
        assert (np.abs(found - exact) <= rounding.dropout(exact, rate)).all()
    assert (np.abs(1e-3 * exact) > rounding.dropout(exact, rate)).all()
