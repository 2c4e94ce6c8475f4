"""A study is judged by all of its runs: none leaves a mean without being named."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save

from compare.report.study_terminal import study_tables, study_verdict_lines
from compare.study.findings import Study
from compare.study.judge import judge_study
from compare.study.plan import StudyRun, plan
from compare.study.results import Result, Results
from tests.compare.quick import VARIANTS, quick
from tests.conftest import TINY

MARGIN = 0.001
NUM_STEPS = 4

Make = Callable[[StudyRun], "bytes | str | None"]


def result(accuracy: float, loss: float = 0.1, predicted: int = 0, parts_at: int | None = None) -> bytes:
    """A finished run: `predicted` of the test digits are 1, the others 0; its losses leave 2.3 at a step from 1."""
    found = Result(
        "finished", test_accuracy=accuracy, test_loss=loss, seconds=2.0, versions={"numpy": "2"}, device="cpu"
    )
    digits = np.zeros(10_000, np.uint8)
    digits[:predicted] = 1
    losses = np.full(NUM_STEPS, 2.3, np.float32)
    if parts_at:
        losses[parts_at - 1 :] += np.float32(2e-3)
    return save({"step_losses": losses, "predicted": digits}, {"result": json.dumps(asdict(found))})


def diverged() -> bytes:
    found = Result("diverged", diverged_at={"epoch": 1, "step": 2}, versions={"numpy": "2"}, device="cpu")
    return save({"step_losses": np.array([2, np.inf], np.float32)}, {"result": json.dumps(asdict(found))})


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`judge(make, seeds)` judges a study whose runs left what `make` says: a result, why it failed, or nothing."""

    def get(make: Make, seeds: int = 5, variants: tuple[str, ...] = VARIANTS) -> dict[str, Any]:
        runs = plan([quick(name, tmp_path) for name in ("first", "second")], TINY, variants, seeds)
        results = Results(tmp_path / "results")
        for run in runs:
            made = make(run)
            if isinstance(made, bytes):
                results.write(run, made)
            elif made:
                results.write_failure(run, made)
        found = judge_study(TINY, runs, results, tmp_path, margin=MARGIN)
        assert typed(found.to_json(), tmp_path) == found
        return found.to_json()

    return get


def typed(found: dict[str, Any], directory: Path = Path()) -> Study:
    return Study.from_json(found, directory)


def place(run: StudyRun) -> tuple[str, str, int]:
    return run.implementation.name, run.variant, run.seed


def only(entries: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    (entry,) = [entry for entry in entries if all(entry[key] == value for key, value in fields.items())]
    return entry


ACCURACY = (0.970, 0.972, 0.974, 0.976, 0.978)
DIFFERENCE = (0.0001, -0.0001, 0.0002, 0.0, 0.0003)


def alike(run: StudyRun) -> bytes:
    """The second is a little better; `adam` costs both a point."""
    name, variant, seed = place(run)
    accuracy = ACCURACY[seed] - 0.01 * (variant == "adam") - 0.0001 * seed * (variant == "adam")
    return result(accuracy + (DIFFERENCE[seed] if name == "second" else 0))


def test_implementations_that_differ_little_are_at_parity(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(alike)
    assert (found["verdict"], found["exit_code"], found["kind"]) == ("parity", 0, "study")
    assert found["counts"] == {"finished": 30}
    assert found["seeds"] == [0, 1, 2, 3, 4]
    entry = only(found["equivalence"], variant="aligned")
    assert np.allclose(entry["differences"], DIFFERENCE, rtol=0, atol=1e-12)
    assert entry["mean"] == pytest.approx(0.0001)
    assert (entry["num_pairs"], entry["left_out"]) == (5, [])
    accuracy = only(found["accuracies"], implementation="first", variant="aligned")
    assert accuracy["mean"] == pytest.approx(0.974)
    assert accuracy["standard_deviation"] == pytest.approx(np.std(ACCURACY, ddof=1))
    assert (accuracy["num_seeds"], accuracy["median_seconds"]) == (5, 2.0)


def test_worst_variant_decides(judge: Callable[..., dict[str, Any]]) -> None:
    def make(run: StudyRun) -> bytes:
        name, variant, seed = place(run)
        return result(0.9 + 0.01 * (name == "second" and variant == "adam") + DIFFERENCE[seed])

    found = judge(make)
    assert (found["verdict"], found["exit_code"]) == ("not parity", 1)
    assert only(found["equivalence"], variant="aligned")["verdict"] == "parity"


TROUBLE: dict[tuple[str, str, int], Any] = {
    ("first", "aligned", 1): "hung: it said nothing\nlast line of its log",
    ("second", "aligned", 2): diverged(),
    ("second", "adam", 3): None,
}


def troubled(run: StudyRun) -> Any:
    return TROUBLE.get(place(run), alike(run))


def test_every_run_is_counted_and_named(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(troubled)
    assert (found["verdict"], found["exit_code"]) == ("failed", 4)
    assert found["counts"] == {"finished": 27, "failed": 1, "diverged": 1, "missing": 1}
    assert len(found["runs"]) == 30
    rows = {(row["implementation"], row["variant"], row["seed"]): row for row in found["runs"]}
    assert rows["first", "aligned", 1]["error"].startswith("hung: it said nothing")
    assert rows["second", "aligned", 2]["diverged_at"] == {"epoch": 1, "step": 2}
    assert rows["second", "adam", 3]["status"] == "missing"
    for key in TROUBLE:
        assert rows[key]["test_accuracy"] is None

    lines = study_verdict_lines(typed(found))
    assert lines[:4] == [
        "failed: first aligned, seed 1: hung: it said nothing",
        "diverged: second aligned, seed 2: epoch 1, step 2",
        "missing: second adam, seed 3",
        "Runs: 27 finished, 1 failed, 1 diverged, 1 missing.",
    ]
    (line,) = [line for line in lines if line.startswith("aligned: ")]
    assert "(left out: seeds 1, 2)" in line
    assert lines[-1] == "Verdict: failed."


def test_mean_tells_which_seeds_it_leaves_out(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(troubled)
    aligned = only(found["equivalence"], variant="aligned")
    assert (aligned["seeds"], aligned["left_out"], aligned["num_pairs"]) == ([0, 3, 4], [1, 2], 3)
    assert np.allclose(aligned["differences"], [DIFFERENCE[seed] for seed in (0, 3, 4)], rtol=0, atol=1e-12)
    assert only(found["equivalence"], variant="control")["left_out"] == []
    assert only(found["accuracies"], implementation="first", variant="aligned")["num_seeds"] == 4
    assert only(found["attribution"], variant="adam", of="first")["left_out"] == [1]
    assert only(found["attribution"], variant="adam", of="second")["left_out"] == [2, 3]
    assert only(found["attribution"], variant="adam", of="second - first")["left_out"] == [1, 2, 3]
    assert only(found["churn"], between="first and second", variant="aligned")["num_pairs"] == 3


def test_study_of_diverged_runs_alone_is_inconclusive(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(lambda run: diverged())
    assert (found["verdict"], found["exit_code"]) == ("inconclusive", 3)
    entry = only(found["equivalence"], variant="aligned")
    assert (entry["num_pairs"], entry["left_out"]) == (0, [0, 1, 2, 3, 4])
    assert only(found["accuracies"], implementation="first", variant="aligned")["mean"] is None


def test_one_seed_is_inconclusive(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(alike, seeds=1)
    assert found["verdict"] == "inconclusive"
    assert only(found["attribution"], variant="adam", of="first")["test_accuracy"] is None


def test_attribution_is_what_a_variant_changes(judge: Callable[..., dict[str, Any]]) -> None:
    def make(run: StudyRun) -> bytes:
        name, variant, seed = place(run)
        parts_at = None if name == "first" or (variant == "aligned" and seed == 4) else (4 if variant != "adam" else 1)
        cost = 0.01 + 0.001 * seed if variant == "adam" else 0
        return result(ACCURACY[seed] - (2 * cost if name == "second" else cost), 0.1 + cost, parts_at=parts_at)

    attribution = judge(make)["attribution"]
    assert {entry["variant"] for entry in attribution} == {"adam"}, "neither aligned nor the control is a difference"
    first = only(attribution, of="first")
    assert first["test_accuracy"]["mean"] == pytest.approx(-0.012)
    assert first["test_accuracy"]["clear"]
    assert first["test_loss"]["mean"] == pytest.approx(0.012)
    gap = only(attribution, of="second - first")
    assert gap["test_accuracy"]["mean"] == pytest.approx(-0.012)
    assert gap["parted_at_step"] == {"aligned": 4, "adam": 1, "never": 1}
    assert gap["log2_parted_at_step"]["mean"] == -2
    assert gap["log2_parted_at_step"]["num_pairs"] == 4


def test_churn_is_between_frameworks_seeds_and_controls(judge: Callable[..., dict[str, Any]]) -> None:
    def make(run: StudyRun) -> bytes:
        name, variant, seed = place(run)
        return result(0.97, predicted=100 * seed + 10 * (variant == "control") + 1 * (name == "second"))

    churn = judge(make, seeds=3)["churn"]
    assert only(churn, between="first and second", variant="aligned")["mean"] == pytest.approx(0.0001)
    seeds = only(churn, between="seeds of first", variant="aligned")
    assert (seeds["num_pairs"], seeds["lowest"], seeds["highest"]) == (3, 0.01, 0.02)
    control = only(churn, between="A/A of second")
    assert (control["num_pairs"], control["mean"]) == (3, pytest.approx(0.001))


def test_of_many_seeds_no_more_than_200_pairs_are_compared(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(lambda run: result(0.9 + DIFFERENCE[run.seed % 5]), seeds=25, variants=("aligned",))
    assert only(found["churn"], between="seeds of first")["num_pairs"] == 200
    assert found["attribution"] == []


def test_tables_show_every_study(judge: Callable[..., dict[str, Any]]) -> None:
    for make in (alike, troubled, lambda run: diverged(), lambda run: None):
        console = Console(record=True, width=200, file=None)
        for table in study_tables(typed(judge(make))):
            console.print(table)
        assert "second - first" in console.export_text()


def test_findings_are_json(judge: Callable[..., dict[str, Any]]) -> None:
    found = judge(troubled)
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
