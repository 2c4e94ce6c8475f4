from typing import Any

import numpy as np
import pytest
import torch

from lightning_impl.model import build_model
from lightning_impl.module import DigitClassifier
from lightning_impl.weights import canonical_activation, get_weights, set_weights
from recipe import Recipe
from recipe.initial_weights import initial_weights, perturbed
from tests.conftest import recipe_of


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fields", [{}, {"network": "cnn"}, {"network": "cnn", "hidden_sizes": ()}], ids=str)
def test_weights_come_back_as_they_were_set(dtype: str, fields: dict[str, Any]) -> None:
    recipe = Recipe(dtype=dtype, **fields)
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=a.shape).astype(dtype) for name, a in initial_weights(recipe).items()}
    model = build_model(recipe)
    set_weights(model, weights)
    returned = get_weights(model)
    assert list(returned) == list(weights)
    for name, array in weights.items():
        assert returned[name].dtype == dtype
        assert np.array_equal(returned[name], array)
        assert returned[name].flags.c_contiguous


def test_kernels_are_transposed_and_biases_not() -> None:
    recipe = Recipe(hidden_sizes=(784,))  # a square kernel, whose shape would not tell
    weights = initial_weights(recipe)
    model = build_model(recipe)
    set_weights(model, weights)
    assert np.array_equal(model.hidden_1.weight.detach().numpy(), weights["hidden_1.kernel"].T)
    assert np.array_equal(model.output.bias.detach().numpy(), weights["output.bias"])


def test_convolutions_are_permuted_and_what_is_flattened_behind_them_too() -> None:
    recipe = Recipe(network="cnn", filters=(3, 4), hidden_sizes=(100,))  # a square kernel behind 5×5 places of 4
    weights = initial_weights(recipe)
    model = build_model(recipe)
    set_weights(model, weights)
    kernel = model.convolution_2.weight.detach().numpy()
    for output, channel, row, column in np.ndindex(kernel.shape):
        assert kernel[output, channel, row, column] == weights["convolution_2.kernel"][row, column, channel, output]
    dense = model.hidden_1.weight.detach().numpy()
    for channel, row, column in np.ndindex(4, 5, 5):
        canonical = weights["hidden_1.kernel"][(row * 5 + column) * 4 + channel]
        assert np.array_equal(dense[:, (channel * 5 + row) * 5 + column], canonical)
    assert np.array_equal(model.output.weight.detach().numpy(), weights["output.kernel"].T)


def test_activations_of_convolutions_have_their_filters_innermost() -> None:
    maps = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    found = canonical_activation(maps)
    assert found.shape == (2, 4, 5, 3)
    assert found[1, 2, 3, 0] == maps[1, 0, 2, 3]
    assert found.flags.c_contiguous
    rows = canonical_activation(maps[:, 0, 0])
    maps += 1
    assert np.array_equal(rows, [[0, 1, 2, 3, 4], [60, 61, 62, 63, 64]])  # a copy


def test_weights_are_copies() -> None:
    model = build_model(Recipe())
    before = get_weights(model)
    kept = {name: array.copy() for name, array in before.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(np.array_equal(before[name], kept[name]) for name in kept)


@pytest.mark.parametrize("fields", [{}, {"dtype": "float64", "seed": 3}, {"perturbation": 1}])
def test_shared_weights_are_the_recipes(fields: dict[str, object]) -> None:
    recipe = recipe_of(**fields)
    weights, expected = get_weights(DigitClassifier(recipe).model), initial_weights(recipe)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_own_weights_are_torchs_and_follow_the_seed() -> None:
    first, again, other = (get_weights(DigitClassifier(recipe_of(preset="native", seed=s)).model) for s in (1, 1, 2))
    for name, array in first.items():
        assert np.array_equal(array, again[name])
        assert not np.array_equal(array, other[name])
    # torch draws a Linear's parameters from ±1/√inputs, biases too.
    assert 0.99 / 28 < np.abs(first["hidden_1.kernel"]).max() <= 1 / 28
    assert 0 < np.abs(first["hidden_1.bias"]).max() <= 1 / 28


def test_own_weights_are_perturbed_as_well() -> None:
    recipe = recipe_of(preset="native", perturbation=1)
    plain = get_weights(DigitClassifier(recipe_of(preset="native")).model)
    moved, expected = get_weights(DigitClassifier(recipe).model), perturbed(plain, recipe)
    assert all(np.array_equal(moved[name], expected[name]) for name in moved)


def test_making_a_model_leaves_torchs_random_state_alone() -> None:
    before = torch.get_rng_state()
    DigitClassifier(recipe_of(preset="native"))
    assert torch.equal(torch.get_rng_state(), before)
