"""A softmax over an axis of length 1, whose result is the same number everywhere, on observations made up by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from compare.explanation.context import Context
from compare.explanation.model.forward import forward
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.operations.learning import learn, learn_two
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(6, 5, 8))
H = np.maximum(X, 0)
END = GENERATOR.normal(size=(6, 3))
SCORES = -np.abs(GENERATOR.normal(size=(6, 5, 1)))  # smaller than all of H: the larger of both is H


def pooling(directory: Path, framework: str, axis: int, *, seen: bool = True, by_layer: bool = False) -> Side:
    """Weights by a softmax along an axis of the scores, then a weighted sum; `seen`: the product is a call."""
    kind, name, shape = ("Dense", "kernel", (8, 1)) if framework == "keras" else ("Linear", "weight", (1, 8))
    last = (8, 3) if framework == "keras" else (3, 8)
    layers = [layer("score", kind, {name: shape}), layer("out", kind, {name: last})]
    weights = np.asarray(special.softmax(SCORES, axis=axis))
    line = {"file": "port.py", "line": 25, "code": "alpha = softmax(scores)"}
    softmax: dict[str, Any] = {"place": line} | ({} if by_layer else {"function": "softmax"})
    calls = [
        call("score", ["h"], ["scores"]),
        call("act" if by_layer else None, ["scores"], ["weights"], **softmax),
        *([call(None, ["weights", "h"], ["product"], function="multiply")] if seen else []),
        call(None, ["product"], ["sum"], function="sum"),
        call("out", ["sum"], ["end"]),
    ]
    product = weights * H
    arrays = {
        "h": H, "scores": SCORES, "weights": weights, "product": product, "sum": product.sum(axis=1),
        "end": END,
    }  # fmt: skip
    layers += [layer("act", "Softmax", {}) | {"place": line}] if by_layer else []
    return Side(observation(directory, framework, layers, calls, arrays))


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("by_layer", [True, False])
def test_the_axis_and_its_length_are_named(tmp_path: Path, seen: bool, by_layer: bool) -> None:
    guide = pooling(tmp_path / "a", "keras", 1, seen=seen)
    port = pooling(tmp_path / "b", "torch", -1, by_layer=by_layer)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    (found,) = context.findings
    assert "softmax over the last axis (dim=-1), which has length 1, so that all weights are one" in found.title
    assert "the reference has softmax over axis 1 (dim=1)" in found.title
    assert found.place is not None
    assert (found.place.line, found.mend) == (25, "x = torch.softmax(x, dim=1)")


@pytest.mark.parametrize("y", [np.ones((6, 5, 1)), np.zeros((6, 5, 1)), np.full((6, 5), 0.3)])
def test_a_constant_teaches_no_operation(y: Array) -> None:
    assert learn(SCORES, y) is None
    assert learn_two(SCORES[..., 0], SCORES[..., 0] + 1, y) is None


def test_the_larger_of_two_is_told_only_where_each_is_the_larger_somewhere() -> None:
    assert learn_two(SCORES, H, H) is None
    found = learn_two(X, -X, np.abs(X))
    assert found is not None
    assert found.name == "maximum of two"
