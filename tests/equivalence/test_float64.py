"""In float64 the aligned implementations are one run: what is left to differ is the rounding of sums."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from record.training import RunRecord
from tests.conftest import ALL_AT_ONCE, SMALL

LOSS_TOLERANCE = 1e-13
"""A loss of the order of 1 is itself rounded by 1e-16; over these 100 to 200 steps up to 1.1e-15 was measured.

A hundredfold of that leaves room for kernels that add up in another order, and stays far below what
a difference in the arithmetic shows, as `test_place_of_epsilon_shows` holds.
"""

WEIGHT_TOLERANCE = 1e-12
"""Relative to the largest parameter of the tensor: Adam moves all of a tensor's by steps of one size."""

CASES: dict[str, dict[str, Any]] = {
    "another seed, a smaller last batch": {"seed": 7, "batch_size": 601},
    "two hidden layers": {"seed": 8, "hidden_sizes": (64, 64), "batch_size": 300, "learning_rate": 3e-3},
    "no hidden layer": {"seed": 9, "hidden_sizes": (), "batch_size": 600},
}

OWN_DATA_CASES: dict[str, dict[str, Any]] = {
    "convolutions": {"network": "cnn"},
    "convolutions before the output": {"network": "cnn", "hidden_sizes": ()},
    "shared dropout masks": {"dropout": 0.2},
}


def assert_one_run(first: RunRecord, second: RunRecord) -> None:
    recipe = first.recipe
    num_steps = -(-recipe.images.num_training_images // recipe.batch_size) * recipe.epochs
    assert len(first.step_losses) == len(second.step_losses) == num_steps
    assert np.abs(first.step_losses - second.step_losses).max() <= LOSS_TOLERANCE
    for name, weights in first.weights.items():
        scale = np.abs(weights).max()
        assert np.abs(weights - second.weights[name]).max() <= WEIGHT_TOLERANCE * scale, name
    assert first.test is not None
    assert second.test is not None
    assert np.array_equal(first.test.predictions.argmax(1), second.test.predictions.argmax(1))
    assert first.test.accuracy > 0.8  # two that learn nothing would agree as well


@pytest.mark.parametrize("case", CASES)
def test_keras_and_lightning_are_one_run(trained: Callable[..., RunRecord], case: str) -> None:
    fields = {"dtype": "float64", "epochs": 1, **CASES[case]}
    assert_one_run(trained("keras-tensorflow", **fields), trained("lightning", **fields))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_backends_of_keras_are_one_run(trained: Callable[..., RunRecord], backend: str) -> None:
    fields = {"dtype": "float64", "epochs": 1, **CASES["two hidden layers"]}
    assert_one_run(trained(f"keras-{backend}", **fields), trained("keras-tensorflow", **fields))


@pytest.mark.parametrize("case", OWN_DATA_CASES)
def test_keras_and_lightning_are_one_run_on_own_data(
    trained: Callable[..., RunRecord], own_data: str, case: str
) -> None:
    fields = {**SMALL, "dtype": "float64", "dataset": own_data, **OWN_DATA_CASES[case]}
    first, second = trained("keras-tensorflow", **fields), trained("lightning", **fields)
    assert_one_run(first, second)
    assert first.settings == second.settings


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_all_at_once_is_one_run_on_every_backend(
    trained: Callable[..., RunRecord], own_data: str, backend: str
) -> None:
    fields = {**ALL_AT_ONCE, "dataset": own_data}
    first, second = trained(f"keras-{backend}", **fields), trained("lightning", **fields)
    assert_one_run(first, second)
    assert first.settings == second.settings


def test_masks_of_its_own_show(trained: Callable[..., RunRecord], own_data: str) -> None:
    fields = {**SMALL, "dtype": "float64", "dataset": own_data, "dropout": 0.2}
    shared, own = trained("lightning", **fields), trained("lightning", **fields, dropout_masks="framework")
    assert np.abs(shared.step_losses - own.step_losses)[:10].max() > 1e5 * LOSS_TOLERANCE
    assert (shared.settings["dropout.masks"], own.settings["dropout.masks"]) == ("shared", "torch's generator")


def test_place_of_epsilon_shows(trained: Callable[..., RunRecord]) -> None:
    # torch has its own Adam here, which adds epsilon after the bias correction: 1e-3 when measured.
    fields = {"dtype": "float64", "epochs": 1, **CASES["two hidden layers"]}
    after = trained("lightning", **fields, adam="framework", epsilon=1e-7)
    before = trained("lightning", **fields)
    assert np.abs(after.step_losses - before.step_losses)[:10].max() > 1e5 * LOSS_TOLERANCE
