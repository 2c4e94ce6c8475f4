"""Gradients that differ where the forward pass and the loss are the same, on observations made up by hand."""

from pathlib import Path

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.training.gradients import gradients
from tests.explanation.made_up import call, layer, observation

FIRST, SECOND, OTHER = np.random.default_rng(0).normal(size=(3, 4, 4))


def trained(directory: Path, found: tuple[np.ndarray, np.ndarray], detach: bool) -> Side:
    """Two layers with a gradient each; between them, a value may be detached."""
    layers = [layer(name, "Linear", {"weight": (4, 4)}) for name in ("one", "two")]
    line = {"file": "port.py", "line": 32, "code": "loss = mse(q.detach(), x)"}
    calls = [call("one", ["x"], ["h"]), call("two", ["h"], ["y"])]
    calls += [call(None, ["h"], ["d"], function="detach", parent="net", place=line)] if detach else []
    updates = [{"raw_gradients": {"one.weight": "first", "two.weight": "second"}}]
    arrays = {"first": found[0], "second": found[1]}
    return Side(observation(directory, "torch", layers, calls, arrays, updates=updates, losses=[{"value": 1.0}]))


@pytest.mark.parametrize("detach", [True, False])
def test_other_gradients_of_the_same_loss_are_told_with_what_is_detached(tmp_path: Path, detach: bool) -> None:
    guide = trained(tmp_path / "a", (FIRST, SECOND), detach)
    port = trained(tmp_path / "b", (OTHER, 0.25 * SECOND), detach)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    gradients(context)
    (found,) = context.findings
    if not detach:
        assert found.title.endswith("no known cause fits")
        return
    words = "the gradients of one.weight differ, though the loss is the same; that of two.weight is 0.25 times the"
    assert found.title.startswith(words)
    assert "what is detached" in found.title
    assert found.place is not None
    assert found.place.line == 32
