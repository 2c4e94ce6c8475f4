"""The page on parity says what was measured."""

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.document import BLOCK
from benchmarks.parity_document import BLOCKS, DOCUMENT, FIGURES, HORIZON, fill_in
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return json.loads((ROOT / FIGURES).read_text())


def test_document_has_the_numbers_of_the_figures(figures: dict[str, Any]) -> None:
    text = (ROOT / DOCUMENT).read_text()
    assert sorted(name for _, name, _ in BLOCK.findall(text)) == sorted(BLOCKS)
    assert fill_in(text, figures) == text, "mend it with: python -m benchmarks.parity_figures"


def test_changed_figure_changes_the_document(figures: dict[str, Any]) -> None:
    text = (ROOT / DOCUMENT).read_text()
    figures = json.loads(json.dumps(figures))
    figures["horizon"]["float64"]["between"]["parted_at_step"] += 1
    assert fill_in(text, figures) != text


def test_float64_reaches_its_target(figures: dict[str, Any]) -> None:
    pair = figures["one_epoch"]["float64"]["against_keras_on_tensorflow"]["Lightning"]
    assert max(pair["max_loss_difference_by_epoch"]) <= 1e-13
    assert pair["predicted_differently"] == 0
    assert pair["weights"]["relative_to_largest_of_tensor"] <= 1e-12


def test_float32_parts_no_sooner_than_the_controls(figures: dict[str, Any]) -> None:
    assert set(figures["horizon"]["float32"]["trajectory_rung"].values()) == {"parity"}


def test_chart_is_a_small_picture() -> None:
    picture = (ROOT / HORIZON).read_bytes()
    assert len(picture) < 300_000
    assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - a file of this repository
    assert f"]({HORIZON.relative_to(DOCUMENT.parent)})" in (ROOT / DOCUMENT).read_text()
