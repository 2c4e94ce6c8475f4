"""A reshape where axes should change places: shapes fit, and the numbers are in another order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.model.forward import forward
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import match, placed
from compare.explanation.operations.reordering import is_reshaping, reorderings
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
SERIES = GENERATOR.normal(size=(4, 6, 3))
IMAGES = GENERATOR.normal(size=(4, 5, 6, 3))
MAPS = GENERATOR.normal(size=(4, 7, 2, 3))  # as torch has them
HEADS = GENERATOR.normal(size=(4, 5, 2, 3))


def turned(images: Array) -> Array:
    return np.moveaxis(images, -1, 1)


def side(directory: Path, framework: str, kind: str, values: list[tuple[str, Array, str]]) -> Side:
    """A program that makes each value of the one before it by a function on a line, and gives the last to a layer."""
    arrays = {f"value{i}": array for i, (_, array, _) in enumerate(values)}
    weights = {"Conv1D": "kernel", "Conv2D": "kernel", "Dense": "kernel"}.get(kind, "weight")
    shape = {"Conv1D": (1, 3, 8), "Conv1d": (8, 3, 1), "Conv2D": (1, 1, 3, 8), "Conv2d": (8, 3, 1, 1)}.get(kind, (3, 3))
    calls: list[dict[str, Any]] = [
        call(
            None, [f"value{i}"], [f"value{i + 1}"], function=name, place={"file": "script.py", "line": i, "code": code}
        )
        for i, (name, _, code) in enumerate(values[1:])
    ]
    last = call("net", [f"value{len(values) - 1}"], ["output"])
    return Side(observation(directory, framework, [layer("net", kind, {weights: shape})], [*calls, last], arrays))


def said(guide: Side, steered: Side, *, guide_is_reference: bool = True) -> list[tuple[str, str]]:
    context = Context(guide, steered, steered.observation, pair(guide, steered), guide_is_reference=guide_is_reference)
    forward(context)
    return [(found.title, found.mend) for found in context.findings]


def test_a_reshape_is_no_layout_of_the_same_axes_in_another_order() -> None:
    scrambled = SERIES.reshape(4, 3, 6)
    found = match(SERIES, scrambled)
    assert found is not None
    assert (found.layout, found.rounded) == ("channels first", False)
    assert match(SERIES, np.swapaxes(SERIES, 1, 2)).same  # type: ignore[union-attr]
    assert match(SERIES, SERIES.reshape(4, 18)).same  # type: ignore[union-attr]
    assert match(SERIES[:, :1], SERIES[:, :1].reshape(4, 3)).same  # type: ignore[union-attr]
    assert np.array_equal(placed(SERIES, (4, 3, 6), "dense", across=True), np.swapaxes(SERIES, 1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "meant", "code"),
    [
        (SERIES, np.swapaxes(SERIES, 1, 2), "x.permute(0, 2, 1)"),
        (IMAGES, turned(IMAGES), "x.permute(0, 3, 1, 2)"),
        (MAPS, MAPS.transpose(0, 2, 3, 1).reshape(4, 6, 7), "x.permute(0, 2, 3, 1).reshape(-1, 6, 7)"),
        (HEADS.reshape(4, 5, 6), np.swapaxes(HEADS, 1, 2), "x.reshape(-1, 5, 2, 3).permute(0, 2, 1, 3)"),
        (np.swapaxes(HEADS, 1, 2), HEADS.reshape(4, 5, 6), "x.permute(0, 2, 1, 3).reshape(-1, 5, 6)"),
    ],
)
def test_what_was_meant_is_written_in_torch(before: Array, meant: Array, code: str) -> None:
    import torch

    assert is_reshaping(before, before.reshape(meant.shape))
    assert not is_reshaping(before, meant)
    found = next(written for written, made in reorderings(before, meant.shape) if np.array_equal(made, meant))
    assert found.format("x") == code
    by_torch = eval(code, {"x": torch.from_numpy(before)})  # noqa: S307  the line is above
    assert np.array_equal(by_torch.numpy(), meant)


def test_a_view_before_a_convolution_is_named_with_its_line(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", "Conv1D", [("", SERIES, "")])
    view = ("view", SERIES.reshape(4, 3, 6), "x = x.view(x.size(0), 3, -1)")
    ((title, mend),) = said(guide, side(tmp_path / "b", "torch", "Conv1d", [("", SERIES, ""), view]))
    assert title == (
        "view of (samples, 6, 3) to (samples, 3, 6) where axes should change places (permute, transpose): "
        "what reaches net is in another order"
    )
    assert mend == "x = x.permute(0, 2, 1)"
    permute = ("permute", np.swapaxes(SERIES, 1, 2), "")
    assert said(guide, side(tmp_path / "c", "torch", "Conv1d", [("", SERIES, ""), permute])) == []


def test_a_view_of_images_is_named_also_where_something_follows(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", "Conv2D", [("", IMAGES, ""), ("relu", np.maximum(IMAGES, 0), "")])
    scrambled = IMAGES.reshape(4, 3, 5, 6)
    values = [("", IMAGES, ""), ("view", scrambled, "y = x.view(-1, 3, 5, 6)"), ("relu", np.maximum(scrambled, 0), "")]
    ((title, mend),) = said(guide, side(tmp_path / "b", "torch", "Conv2d", values))
    assert title.startswith("view of (samples, 5, 6, 3) to (samples, 3, 5, 6) where axes should change places")
    assert mend == "y = x.permute(0, 3, 1, 2)"


def test_heads_that_are_joined_without_changing_places(tmp_path: Path) -> None:
    mixed = np.swapaxes(HEADS, 1, 2)
    joined = HEADS.reshape(4, 5, 6)
    guide = side(tmp_path / "a", "keras", "Dense", [("", mixed, ""), ("transpose", HEADS, ""), ("reshape", joined, "")])
    view = ("reshape", mixed.reshape(4, 5, 6), "out = out.reshape(b, t, c)")
    steered = side(tmp_path / "b", "torch", "Linear", [("", mixed, ""), view])
    ((title, mend),) = said(guide, steered)
    assert title.startswith("reshape of (samples, 2, 5, 3) to (samples, 5, 6) where axes should change places")
    assert mend == "out = out.permute(0, 2, 1, 3).reshape(-1, 5, 6)"


def test_where_it_is_the_leading_side_that_reshapes(tmp_path: Path) -> None:
    reshaped = SERIES.reshape(4, 3, 6)
    guide = side(tmp_path / "a", "keras", "Conv1D", [("", reshaped, ""), ("reshape", SERIES, "x = ops.reshape(x)")])
    permuted = np.swapaxes(reshaped, 1, 2)
    values = [("", reshaped, ""), ("permute", permuted, ""), ("permute", np.swapaxes(permuted, 1, 2), "")]
    steered = side(tmp_path / "b", "torch", "Conv1d", values)
    ((title, mend),) = said(guide, steered, guide_is_reference=False)
    assert title.startswith("reshape of (samples, 3, 6) to (samples, 6, 3) where axes should change places")
    assert mend == ""
    ((title, _),) = said(guide, steered)
    assert title.startswith("axes change places where the reference reshapes (reshape of")


def trained(directory: Path, framework: str, kind: str, weight: str, view: Array | None = None) -> Side:
    """A layer whose output goes into a loss, viewed before that if asked for."""
    arrays = {"x": SERIES, "y": SERIES, "target": np.zeros((4, 6))} | ({} if view is None else {"view": view})
    line = {"file": "script.py", "line": 9, "code": "loss = criterion(out.view(-1, 3, 6), y)"}
    calls = [call("net", ["x"], ["y"])]
    calls += [] if view is None else [call(None, ["y"], ["view"], function="view", place=line)]
    output = "y" if view is None else "view"
    inputs = ["target", output] if framework == "keras" else [output, "target"]
    losses = [{"value": 1.0 if view is None else 2.0, "terms": [{"function": "cross_entropy", "inputs": inputs}]}]
    return Side(observation(directory, framework, [layer("net", kind, {weight: (3, 3)})], calls, arrays, losses=losses))


def test_a_view_before_the_loss(tmp_path: Path) -> None:
    """As of the classes of each step, which torch's cross-entropy wants before the steps."""
    guide = trained(tmp_path / "a", "keras", "Dense", "kernel")
    steered = trained(tmp_path / "b", "torch", "Linear", "weight", SERIES.reshape(4, 3, 6))
    ((title, mend),) = said(guide, steered)
    assert title.endswith(
        "where axes should change places (permute, transpose): what reaches the loss is in another order"
    )
    assert mend == "loss = criterion(out.permute(0, 2, 1), y)"
    steered = trained(tmp_path / "c", "torch", "Linear", "weight", np.swapaxes(SERIES, 1, 2))
    assert said(guide, steered) == []
