"""What lies between the last layer and the loss, or the end of a model that is only used, made up by hand."""

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
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(6, 4))
OUT = GENERATOR.normal(size=(6, 3))


def side(directory: Path, framework: str, end: tuple[str, Array] | None, loss: float | None) -> Side:
    """A dense layer, then one function or none; used only where there is no loss."""
    shapes = {"kernel": (4, 3)} if framework == "keras" else {"weight": (3, 4)}
    dense = layer("fc", "Dense" if framework == "keras" else "Linear", shapes)
    arrays = {"x": X, "out": OUT} | ({"end": end[1]} if end else {})
    calls = [call("fc", ["x"], ["out"])]
    calls += [call(None, ["out"], ["end"], function=end[0], **{"from": [0]})] if end else []
    fields: dict[str, Any] = {"evaluation_calls": calls}
    if loss is not None:
        predicted = "end" if end else "out"
        inputs = ["y", predicted] if framework == "keras" else [predicted, "y"]
        fields["losses"] = [{"value": loss, "terms": [{"function": "f", "inputs": inputs}]}]
    return Side(observation(directory, framework, [dense], calls, arrays, **fields))


def titles(guide: Side, steered: Side) -> list[str]:
    context = Context(guide, steered, steered.observation, pair(guide, steered), guide_is_reference=True)
    forward(context)
    return [found.title for found in context.findings]


SOFTMAX = ("softmax", np.asarray(special.softmax(OUT, axis=-1)))
EXPONENTIAL = ("exp", np.exp(OUT))


def test_an_activation_that_a_used_model_lacks_at_its_end_is_named(tmp_path: Path) -> None:
    guide, steered = side(tmp_path / "a", "keras", SOFTMAX, None), side(tmp_path / "b", "torch", None, None)
    assert titles(guide, steered) == ["no softmax after fc (in evaluation mode)"]
    assert titles(guide, side(tmp_path / "c", "torch", SOFTMAX, None)) == []


@pytest.mark.parametrize(("loss", "expected"), [(0.5, []), (0.7, ["no exponential after fc"])])
def test_an_activation_that_the_loss_has_inside_is_not_missing(
    tmp_path: Path, loss: float, expected: list[str]
) -> None:
    guide, steered = side(tmp_path / "a", "keras", EXPONENTIAL, 0.5), side(tmp_path / "b", "torch", None, loss)
    assert titles(guide, steered) == expected


def test_softmax_over_another_axis_is_named_whatever_the_loss(tmp_path: Path) -> None:
    across = ("softmax", np.asarray(special.softmax(OUT, axis=0)))
    guide, steered = side(tmp_path / "a", "keras", SOFTMAX, 0.5), side(tmp_path / "b", "torch", across, 0.7)
    (title,) = titles(guide, steered)
    assert "softmax over the samples (dim=0); the reference has softmax" in title
