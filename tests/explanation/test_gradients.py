"""Gradients that differ where the forward pass and the loss are the same, on observations made up by hand."""

from pathlib import Path

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.training.gradients import gradients, trained_parameters
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


@pytest.mark.parametrize("in_port", [False, True])
def test_a_gradient_that_one_side_stops_is_the_cause(tmp_path: Path, in_port: bool) -> None:
    sides = [
        trained(tmp_path / name, found, detach)
        for name, found, detach in (("a", (FIRST, SECOND), not in_port), ("b", (OTHER, OTHER), in_port))
    ]
    context = Context(*sides, sides[1].observation, pair(*sides), guide_is_reference=True)
    gradients(context)
    (found,) = context.findings
    port = "stopped on its way" if in_port else "not stopped"
    assert f"the gradient is {port}" in found.title
    assert found.cause == "a gradient that is stopped on one side"


def looked_up(directory: Path, gradient: np.ndarray, **settings: object) -> Side:
    layers = [layer("emb", "Embedding", {"weight": (4, 4)}, **settings)]
    updates = [{"raw_gradients": {"emb/weight": "g"}}]
    calls = [call("emb", ["x"], ["h"])]
    fields = {"updates": updates, "losses": [{"value": 1.0}]}
    return Side(observation(directory, "torch", layers, calls, {"g": gradient}, **fields))


@pytest.mark.parametrize("row", [0, 2])
def test_a_row_of_the_padding_that_is_not_trained_is_named(tmp_path: Path, row: int) -> None:
    without = np.where(np.arange(4)[:, None] == row, 0, FIRST)
    guide, port = looked_up(tmp_path / "a", FIRST), looked_up(tmp_path / "b", without, padding_idx=row)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    gradients(context)
    (found,) = context.findings
    assert found.title.startswith(f"row {row} of emb (the padding, padding_idx={row}): not trained")
    # Of another gradient of that row alone nothing is said of padding.
    other = looked_up(tmp_path / "c", np.where(np.arange(4)[:, None] == row, OTHER, FIRST), padding_idx=row)
    context = Context(guide, other, other.observation, pair(guide, other), guide_is_reference=True)
    gradients(context)
    assert "padding" not in context.findings[0].title


@pytest.mark.parametrize("in_list", [True, False])
def test_parameters_that_the_optimizer_does_not_know_are_told_with_the_list_that_hides_them(
    tmp_path: Path, in_list: bool
) -> None:
    guide, port = (trained(tmp_path / name, (FIRST, SECOND), detach=False) for name in "ab")
    line = {"file": "port.py", "line": 9, "code": "self.blocks = [Block() for _ in range(2)]"}
    port.observation.document["optimizer"] = {
        "unknown_parameters": ["two.weight"],
        "unregistered": {"two.weight": line} if in_list else {},
    }
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    trained_parameters(context)
    (found,) = context.findings
    assert found.title.startswith("two: held in a plain list" if in_list else "two: the optimizer does not know")
    assert ("nn.ModuleList" in found.mend) == in_list
    assert found.place is not None
    assert found.place.line == (9 if in_list else 1)
