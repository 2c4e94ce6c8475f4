"""In float64 the aligned implementations are one run: what is left to differ is the rounding of sums."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recipe.run_record import RunRecord

LOSS_TOLERANCE = 1e-13
"""A loss of the order of 1 is itself rounded by 1e-16, and a sum of 784 products by a few times that.

A trajectory magnifies it: tenfold or so over these 60 to 200 steps, a hundredfold at the most for a
large learning rate. The frameworks' smallest known difference, Adam's epsilon before or after the
bias correction, shows as 1e-7 within the first ten steps.
"""

WEIGHT_TOLERANCE = 1e-12
"""Relative to the largest parameter of the tensor: Adam moves all of a tensor's by steps of one size."""

CASES: dict[str, dict[str, Any]] = {
    "another seed, a smaller last batch": {"seed": 7, "batch_size": 601},
    "two hidden layers": {"seed": 8, "hidden_sizes": (64, 64), "batch_size": 300, "learning_rate": 3e-3},
    "no hidden layer": {"seed": 9, "hidden_sizes": (), "batch_size": 600},
}


def assert_one_run(first: RunRecord, second: RunRecord) -> None:
    assert len(first.step_losses) == len(second.step_losses) == -(-60_000 // first.recipe.batch_size)
    assert np.abs(first.step_losses - second.step_losses).max() <= LOSS_TOLERANCE
    for name, weights in first.weights.items():
        scale = np.abs(weights).max()
        assert np.abs(weights - second.weights[name]).max() <= WEIGHT_TOLERANCE * scale, name
    assert first.test is not None
    assert second.test is not None
    assert np.array_equal(first.test.predictions.argmax(1), second.test.predictions.argmax(1))
    assert first.test.accuracy > 0.85  # it learned: two that stand still agree as well


@pytest.mark.parametrize("case", CASES)
def test_keras_and_lightning_are_one_run(trained: Callable[..., RunRecord], case: str) -> None:
    fields = {"dtype": "float64", "epochs": 1, **CASES[case]}
    assert_one_run(trained("keras-tensorflow", **fields), trained("lightning", **fields))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_backends_of_keras_are_one_run(trained: Callable[..., RunRecord], backend: str) -> None:
    fields = {"dtype": "float64", "epochs": 1, **CASES["two hidden layers"]}
    assert_one_run(trained(f"keras-{backend}", **fields), trained("keras-tensorflow", **fields))
