"""Where two computations part that no known operation tells apart."""

from pathlib import Path

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.model.forward import forward
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(8)
NODES = GENERATOR.normal(size=(6, 4))
ENDS = GENERATOR.integers(0, 6, size=(2, 9))
KERNEL = GENERATOR.normal(size=(4, 3))


def line(number: int) -> dict[str, object]:
    return {"file": "port.py", "line": number, "code": f"line {number}"}


def graph(directory: Path, framework: str, index: int) -> Side:
    """A layer that takes the nodes at one end of each edge, and, steered, gives what it gives for the first ones."""
    arrays: dict[str, Array] = {"nodes": NODES, "end0": ENDS[0], "end1": ENDS[1], "taken": NODES[ENDS[index]]}
    arrays |= {"out": NODES[ENDS[0]] @ KERNEL, "count": np.bincount(ENDS[1 - index], minlength=6)[:, None] * 1.0}
    layers = [
        layer("fc", "Dense", {"kernel": (4, 3)}) if framework == "keras" else layer("fc", "Linear", {"weight": (3, 4)})
    ]
    taking = "take" if framework == "keras" else "getitem"
    calls = [
        call(None, [f"end{1 - index}"], ["count"], function="bincount", place=line(3)),
        call(None, ["nodes", f"end{index}"], ["taken"], function=taking, place=line(4)),
        call("fc", ["taken"], ["out"]),
    ]
    return Side(observation(directory, framework, layers, calls, arrays))


@pytest.mark.parametrize("exchanged", [True, False])
def test_entries_taken_by_the_other_index_are_told(tmp_path: Path, exchanged: bool) -> None:
    guide, port = graph(tmp_path / "a", "keras", 0), graph(tmp_path / "b", "torch", 1 if exchanged else 0)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    found = [finding for finding in context.findings if "exchanged" in finding.title]
    assert len(found) == exchanged
    if exchanged:
        assert found[0].place is not None
        assert found[0].place.line == 4
        assert len(context.findings) == 1
