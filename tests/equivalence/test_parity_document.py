"""The page on parity says what was measured."""

import json
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks.figures.blocks import BLOCK
from benchmarks.figures.parity import BLOCKS, DOCUMENT, FIGURES, HORIZON, fill_in
from benchmarks.figures.parity_runs import weight_difference
from record.training import RunRecord
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return json.loads((ROOT / FIGURES).read_text())


def test_document_has_the_numbers_of_the_figures(figures: dict[str, Any]) -> None:
    text = (ROOT / DOCUMENT).read_text()
    assert sorted(name for _, name, _ in BLOCK.findall(text)) == sorted(BLOCKS)
    assert fill_in(text, figures) == text, "mend it with: python -m benchmarks.figures.parity_runs"


def test_changed_figure_changes_the_document(figures: dict[str, Any]) -> None:
    text = (ROOT / DOCUMENT).read_text()
    figures = json.loads(json.dumps(figures))
    figures["horizon"]["float64"]["between"]["parted_at_step"] += 1
    assert fill_in(text, figures) != text


def test_weights_differ_by_their_largest_and_in_norm() -> None:
    weights = {"kernel": np.array([[3.0, 0.0], [0.0, 4.0]]), "bias": np.array([1.0, 0.0])}
    moved = {"kernel": weights["kernel"] + [[0.3, 0.0], [0.4, 1.2]], "bias": weights["bias"]}
    found = weight_difference(*(cast(RunRecord, SimpleNamespace(weights=w)) for w in (moved, weights)))
    assert found["relative_to_largest_of_tensor"] == 0.3  # 1.2 of 4
    assert found["relative_in_norm"] == 0.26  # 1.3 of 5


def test_float64_reaches_its_target(figures: dict[str, Any]) -> None:
    pair = figures["one_epoch"]["float64"]["against_keras_on_tensorflow"]["Lightning"]
    assert max(pair["max_loss_difference_by_epoch"]) <= 1e-13
    assert pair["predicted_differently"] == 0
    assert pair["weights"]["relative_to_largest_of_tensor"] <= 1e-12
    assert max(entry["weights"]["relative_in_norm"] for entry in [pair, *figures["variations"]]) <= 1e-12
    assert not any(entry["predicted_differently"] for entry in figures["variations"])


def test_float32_parts_no_sooner_than_the_controls(figures: dict[str, Any]) -> None:
    assert set(figures["horizon"]["float32"]["trajectory_rung"].values()) == {"parity"}


def test_chart_is_a_small_picture() -> None:
    picture = (ROOT / HORIZON).read_bytes()
    assert len(picture) < 300_000
    assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - a file of this repository
    assert f"]({HORIZON.relative_to(DOCUMENT.parent)})" in (ROOT / DOCUMENT).read_text()
