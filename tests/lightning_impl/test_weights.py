import numpy as np
import pytest
import torch

from lightning_impl.model import build_model
from lightning_impl.training import DigitClassifier
from lightning_impl.weights import get_weights, set_weights
from recipe import Recipe
from recipe.initial_weights import initial_weights, perturbed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_come_back_as_they_were_set(dtype: str) -> None:
    recipe = Recipe(dtype=dtype)
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
    recipe = Recipe(**fields)
    weights, expected = get_weights(DigitClassifier(recipe).model), initial_weights(recipe)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_own_weights_are_torchs_and_follow_the_seed() -> None:
    first, again, other = (get_weights(DigitClassifier(Recipe(preset="native", seed=s)).model) for s in (1, 1, 2))
    for name, array in first.items():
        assert np.array_equal(array, again[name])
        assert not np.array_equal(array, other[name])
    # torch draws a Linear's parameters from ±1/√inputs, biases too.
    assert 0.99 / 28 < np.abs(first["hidden_1.kernel"]).max() <= 1 / 28
    assert 0 < np.abs(first["hidden_1.bias"]).max() <= 1 / 28


def test_own_weights_are_perturbed_as_well() -> None:
    recipe = Recipe(preset="native", perturbation=1)
    plain = get_weights(DigitClassifier(Recipe(preset="native")).model)
    moved, expected = get_weights(DigitClassifier(recipe).model), perturbed(plain, recipe)
    assert all(np.array_equal(moved[name], expected[name]) for name in moved)


def test_making_a_model_leaves_torchs_random_state_alone() -> None:
    before = torch.get_rng_state()
    DigitClassifier(Recipe(preset="native"))
    assert torch.equal(torch.get_rng_state(), before)
