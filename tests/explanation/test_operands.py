"""What the last operation before a layer does otherwise, by its values."""

from pathlib import Path

import numpy as np
import pytest

from compare.explanation.model.stretches.operands import by_last_operation
from compare.explanation.model.stretches.segments import Producers
from compare.explanation.observed.observation import Array
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
X, DEEP = GENERATOR.normal(size=(2, 6, 5, 4))
POSITIONS = GENERATOR.normal(size=(6, 4))


def said(tmp_path: Path, operation: str, other: Array, made: Array, wanted: Array) -> str | None:
    """Of `operation` on what a layer gives and another value, where the guide has `wanted`."""
    calls = [
        call("first", ["x"], ["x1"]),
        call("deep", ["x1"], ["deep"]),
        call(None, ["deep", "other"], ["made"], function=operation),
        call("drop", ["made"], ["made"]),
    ]
    arrays = {"x": X, "x1": X**2, "deep": DEEP, "other": other, "made": made}
    layers = [layer(name, "Own", {}) for name in ("first", "deep", "drop")]
    steered = Side(observation(tmp_path, "torch", layers, calls, arrays))
    producers = Producers(steered.observation, steered.training_calls, channels_last=False)
    found = by_last_operation(producers, steered.training_calls, wanted, made)
    return None if found is None else found.words


def test_another_value_that_is_there_is_named_by_what_gives_it(tmp_path: Path) -> None:
    words = said(tmp_path, "add", X, DEEP + X, DEEP + X**2)
    assert words == "sum with what the model is given; the reference has the output of first"


def test_a_constant_along_another_axis_is_told_by_the_axes(tmp_path: Path) -> None:
    by_sample = POSITIONS[:, None]
    words = said(tmp_path, "add", by_sample, DEEP + by_sample, DEEP + POSITIONS[:5])
    assert words is not None
    assert words.startswith("sum with values that vary along axes 0 (the samples), 2; the reference has")
    assert words.endswith("values that vary along axes 1, 2")


def test_another_factor_is_told_too(tmp_path: Path) -> None:
    words = said(tmp_path, "mul", POSITIONS[:5], DEEP * POSITIONS[:5], DEEP * POSITIONS[1:])
    assert words == "product with its own constant; the reference has another constant"


def test_what_is_turned_round_at_the_end_is_told(tmp_path: Path) -> None:
    wanted = DEEP @ GENERATOR.normal(size=(4, 2))
    words = said(tmp_path, "matmul", POSITIONS, wanted[..., ::-1], wanted)
    assert words == "the two entries of the last axis exchanged"


@pytest.mark.parametrize("operation", ["add", "matmul"])
def test_of_other_values_nothing_is_said(tmp_path: Path, operation: str) -> None:
    assert said(tmp_path, operation, X, DEEP + X, GENERATOR.normal(size=DEEP.shape)) is None
