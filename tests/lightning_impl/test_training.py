import numpy as np
import pytest
import torch

from lightning_impl.model import build_model
from lightning_impl.optimizer import KerasAdam
from lightning_impl.training import DigitClassifier
from lightning_impl.weights import set_weights
from recipe import Recipe
from recipe.initial_weights import initial_weights


def test_network_computes_what_its_weights_say() -> None:
    recipe = Recipe(dtype="float64")
    weights = initial_weights(recipe)
    weights = {name: array + 0.01 * name.endswith("bias") for name, array in weights.items()}
    model = build_model(recipe)
    set_weights(model, weights)
    images = np.random.default_rng(0).random((5, 784))
    x = images
    for name in recipe.layer_names[:-1]:
        x = np.maximum(x @ weights[f"{name}.kernel"] + weights[f"{name}.bias"], 0)
    logits = x @ weights["output.kernel"] + weights["output.bias"]
    # Four sums of at most 784 products of numbers near 1, each rounded by 2^-53: 1e-13 at the most.
    assert np.abs(model(torch.from_numpy(images)).detach().numpy() - logits).max() <= 1e-13


@pytest.mark.parametrize(
    ("fields", "kind", "betas", "epsilon"),
    [
        ({}, KerasAdam, (0.9, 0.999), 1e-7),
        ({"dtype": "float64"}, KerasAdam, (0.8999999761581421, 0.9990000128746033), 1e-7),
        ({"preset": "native"}, torch.optim.Adam, (0.9, 0.999), 1e-8),
        ({"preset": "native", "epsilon": 1e-3, "beta_1": 0.5}, torch.optim.Adam, (0.5, 0.999), 1e-3),
    ],
)
def test_optimizer_is_the_recipes(
    fields: dict[str, object], kind: type, betas: tuple[float, float], epsilon: float
) -> None:
    optimizer = DigitClassifier(Recipe(**fields, learning_rate=0.01)).configure_optimizers()
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.01, betas, epsilon)
    assert not group.get("weight_decay")
    assert sum(parameter.numel() for parameter in group["params"]) == 270_218


@pytest.mark.parametrize(("batch_size", "index", "expected"), [(32, 1874, 32), (7000, 0, 7000), (7000, 8, 4000)])
def test_last_batch_has_the_images_that_are_left(batch_size: int, index: int, expected: int) -> None:
    assert DigitClassifier(Recipe(batch_size=batch_size)).global_batch_size(index) == expected
