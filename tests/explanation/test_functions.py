"""Calls that are computed again: what each gave is told from its name, its arrays and its settings."""

from typing import Any

import numpy as np
import pytest

from compare.explanation.arithmetic.functions import function_of

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4)), RNG.normal(size=3)
MASK = (X > 0.3).astype(float)
ALL: dict[str, list[None]] = {"slice": [None, None, None]}


@pytest.mark.parametrize(
    ("name", "inputs", "settings", "output"),
    [
        ("einsum", [X, W], {"equation": "bi,ji->bj"}, X @ W.T),
        ("einsum", [X, W], {"arguments": ["bi,ji->j"]}, (X @ W.T).sum(axis=0)),
        ("linear", [X, W, B], {}, X @ W.T + B),
        ("getitem", [X], {"key": [ALL, {"slice": [1, 3, None]}]}, X[:, 1:3]),
        ("getitem", [X], {"key": ["...", -1]}, X[..., -1]),
        ("getitem", [X], {"key": [ALL, None]}, X[:, None]),
        ("getitem", [X], {"key": 0}, X[0]),
        ("where", [MASK, X, 2 * X], {}, np.where(MASK > 0, X, 2 * X)),
        ("where", [MASK, X], {"argument2": -1.0}, np.where(MASK > 0, X, -1)),
        ("masked_fill", [X, MASK], {"argument2": -9.0}, np.where(MASK > 0, -9, X)),
        ("layer_norm", [X], {"normalized_shape": [4], "eps": 1e-3},
         (X - X.mean(axis=1)[:, None]) / np.sqrt(X.var(axis=1)[:, None] + 1e-3)),
        ("normalize", [X], {"dim": -1}, X / np.linalg.norm(X, axis=1)[:, None]),
        ("cumsum", [X], {"dim": 1}, X.cumsum(axis=1)),
        ("flip", [X], {"argument1": 1}, X[:, ::-1]),
        ("expand", [X[:, None]], {"argument1": -1, "argument2": 6, "argument3": -1}, np.repeat(X[:, None], 6, axis=1)),
        ("leaky_relu", [X], {"negative_slope": 0.3}, np.where(X > 0, X, 0.3 * X)),
        ("outer", [B, B], {}, np.outer(B, B)),
        ("gt", [X], {"argument1": 0.3}, MASK),
    ],
)  # fmt: skip
def test_a_call_is_computed_again(
    name: str, inputs: list[np.ndarray], settings: dict[str, Any], output: np.ndarray
) -> None:
    function = function_of(name, inputs, settings, output)
    assert function is not None
    again = [np.asarray(x)[::-1].copy() if x.ndim == 1 else x + 0.25 for x in inputs]
    assert function(again).shape == output.shape
    np.testing.assert_allclose(function(inputs), output, rtol=1e-12)


@pytest.mark.parametrize(("name", "output"), [("einsum", X @ W.T), ("getitem", X[:, 2]), ("unheard_of", X + 1)])
def test_a_call_that_does_not_say_enough_is_not_known(name: str, output: np.ndarray) -> None:
    assert function_of(name, [X, W] if name == "einsum" else [X], {}, output) is None
