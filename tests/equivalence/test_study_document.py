"""The page on the frameworks' differences says what the study found."""

import json
from typing import Any

import pytest

from benchmarks.figures.blocks import BLOCK
from benchmarks.figures.study import BLOCKS, DOCUMENT, FINDINGS, ONE_ORDER, fill_in, flipped, judged_again
from compare.study.plan import USUAL_SPREAD
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def findings() -> dict[str, Any]:
    return json.loads((ROOT / FINDINGS).read_text())


@pytest.fixture(scope="module")
def of_one_order() -> dict[str, Any]:
    return json.loads((ROOT / ONE_ORDER).read_text())


def test_document_has_the_numbers_of_the_study(findings: dict[str, Any], of_one_order: dict[str, Any]) -> None:
    text = (ROOT / DOCUMENT).read_text()
    assert sorted(name for _, name, _ in BLOCK.findall(text)) == sorted([*BLOCKS, *flipped(findings)])
    assert fill_in(text, findings, of_one_order) == text, "mend it with: python -m benchmarks.figures.study"


def test_changed_finding_changes_the_document(findings: dict[str, Any], of_one_order: dict[str, Any]) -> None:
    text = (ROOT / DOCUMENT).read_text()
    changed = json.loads(json.dumps(of_one_order))
    changed["equivalence"][0]["mean"] += 0.001
    changed["equivalence"][1]["mean"] += 0.001
    assert fill_in(text, findings, changed) != text
    for entry in findings["attribution"]:
        if entry["variant"] == "adam":
            entry["test_accuracy"]["mean"] += 0.001
    assert fill_in(text, findings, of_one_order) != text


def test_intervals_are_those_of_the_judge() -> None:
    kept = json.loads((ROOT / FINDINGS).read_text())
    assert json.loads(json.dumps(judged_again(kept))) == kept, "mend it with: python -m benchmarks.figures.study"


def test_the_spread_that_a_plan_takes_is_the_studys(findings: dict[str, Any]) -> None:
    (aligned,) = [entry for entry in findings["equivalence"] if entry["variant"] == "aligned"]
    assert round(aligned["standard_deviation"], 4) == USUAL_SPREAD


def test_study_is_whole(findings: dict[str, Any]) -> None:
    assert findings["counts"] == {"finished": len(findings["runs"])}
    assert len(findings["seeds"]) >= 20
    assert {run["implementation"] for run in findings["runs"]} == {"keras", "lightning"}


def test_no_default_moves_the_accuracy_by_more_than_seeds_do(findings: dict[str, Any]) -> None:
    spread = max(entry["standard_deviation"] for entry in findings["accuracies"] if entry["variant"] == "aligned")
    assert all(abs(entry["test_accuracy"]["mean"]) < spread for entry in findings["attribution"])
