"""A value that is overwritten in place before it is used again, on observations made up by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.model.forward import forward
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
POOLED, MADE = GENERATOR.normal(size=(2, 4, 6))
LAYERS = [layer("body", "Linear", {"weight": (6, 6)}), layer("out", "Linear", {"weight": (3, 6)})]


def block(directory: Path, *, overwritten: bool, by_layer: bool = True, inplace: bool = True) -> Side:
    """The block x + body(relu(x)), whose sum takes x as it was, or as the ReLU has left it."""
    rectified = np.maximum(POOLED, 0)
    taken = "rectified" if overwritten else "pooled"
    arrays = {
        "pooled": POOLED,
        "rectified": rectified,
        "made": MADE,
        "sum": MADE + (rectified if overwritten else POOLED),
    }
    line = {"file": "port.py", "line": 7, "code": "y = F.relu_(x)"}
    relu: dict[str, Any] = {} if by_layer else {"function": "relu", "place": line}
    calls = [
        call(None, ["x"], ["pooled"], function="max_pool2d"),
        call("relu" if by_layer else None, ["pooled"], ["rectified"], **relu),
        call("body", ["rectified"], ["made"]),
        call(None, [taken, "made"], ["sum"], function="add", place={"file": "port.py", "line": 9, "code": "x + h"}),
        call("out", ["sum"], ["end"]),
    ]
    layers = [*LAYERS, layer("relu", "ReLU", {}, inplace=inplace)] if by_layer else LAYERS
    return Side(observation(directory, "torch", layers, calls, arrays))


@pytest.mark.parametrize(
    ("by_layer", "inplace", "words", "mend"),
    [
        (True, True, "(ReLU in place, which has overwritten its input)", "ReLU(inplace=False) for relu"),
        (False, True, "(relu in place, which has overwritten its input)", "relu, not relu_ or inplace=True"),
        (True, False, "", "use sum with the output of max_pool2d"),
    ],
)
def test_what_a_sum_takes_was_overwritten(tmp_path: Path, by_layer: bool, inplace: bool, words: str, mend: str) -> None:
    guide = block(tmp_path / "a", overwritten=False)
    port = block(tmp_path / "b", overwritten=True, by_layer=by_layer, inplace=inplace)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    (found,) = context.findings
    assert words in found.title
    assert ("in place" in found.title) == inplace
    assert "the reference has sum with the output of max_pool2d" in found.title
    assert found.place is not None
    assert (found.place.line, found.mend) == (9, mend)
