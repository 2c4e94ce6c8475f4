"""The plan of a study, its results on file, and the command's refusals."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import compare.__main__ as program
from compare.run.implementations import Implementation
from compare.run.jobs import Job
from compare.study import connection
from compare.study import progress as progress_of_studies
from compare.study import results as study_results
from compare.study.plan import DEFAULT_VARIANTS, StudyRun, plan, variant_recipe
from compare.study.progress import StudyProgress
from compare.study.results import FinishedRun, Results, condense
from recipe import Recipe
from recipe.errors import BadInputError
from recipe.recipe import SWITCHES
from record.training import TestResults, read_record
from tests.compare.quick import RECIPE, VARIANTS, can, quick
from tests.conftest import TINY, write_canned


def test_variant_flips_its_switches_alone() -> None:
    base = Recipe(learning_rate=0.01)
    for variant, flipped in {
        "aligned": (),
        "native": SWITCHES,
        "loss": ("loss",),
        "loss+batch_order": ("loss", "batch_order"),
    }.items():
        found = variant_recipe(base, variant, 7)
        assert {switch for switch in SWITCHES if getattr(found, switch) == "framework"} == set(flipped)
        assert (found.seed, found.learning_rate, found.perturbation) == (7, 0.01, 0)
    assert variant_recipe(base, "control", 7) == Recipe(learning_rate=0.01, seed=7, perturbation=1)


def test_adam_of_the_frameworks_has_their_epsilon_unless_another_was_asked_for() -> None:
    assert variant_recipe(Recipe(), "adam", 0).epsilon is None
    assert variant_recipe(Recipe(), "native", 0).epsilon is None
    assert variant_recipe(Recipe(epsilon=1e-4), "adam", 0).epsilon == 1e-4
    assert variant_recipe(Recipe(), "loss", 0).epsilon == 1e-7


def test_plan_goes_seed_by_seed_and_no_two_runs_have_one_key(tmp_path: Path) -> None:
    implementations = [quick("first", tmp_path), quick("second", tmp_path)]
    runs = plan(implementations, Recipe(seed=5), DEFAULT_VARIANTS, 3)
    assert [run.seed for run in runs] == sorted([5, 6, 7] * 2 * len(DEFAULT_VARIANTS))
    assert len({run.key for run in runs}) == len(runs)
    assert [run.implementation.name for run in runs[:2]] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0"], ["--seeds", "1 or more", "not 0"]),
        (["--seeds", "-3"], ["--seeds", "-3"]),
        (["--variants", "[dropout]"], ["--variants", "'dropout'", "aligned, control, native"]),
        (["--variants", "[loss+dropout]"], ["'loss+dropout'", "'dropout'"]),
        (["--variants", "[]"], ["--variants"]),
        (["--variants", "[loss,loss]"], ["--variants", "once"]),
        (["--variants", "[adam+loss,loss+adam]"], ["--variants", "once"]),
        (["--recipe.preset", "native"], ["recipe.preset", "variants"]),
        (["--recipe.adam", "framework"], ["recipe.adam", "variants"]),
        (["--recipe.perturbation", "1"], ["recipe.perturbation", "control"]),
        (["--margin", "0"], ["--margin", "not 0"]),
        (["--margin", "100"], ["--margin", "not 100"]),
        (["--workers", "0"], ["--workers", "0"]),
        (["--silence", "-1"], ["--silence", "-1"]),
        (["--out", "/proc/nowhere"], ["/proc/nowhere", "--out"]),
        (["--implementation", "third=no_such_command_anywhere"], ["third", "no_such_command_anywhere"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_line_and_starts_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    words: list[str],
) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(connection, "connect", connect)
    assert program.main(["study", *RECIPE, "--out", str(tmp_path / "out"), *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    for word in words:
        assert word in errors
    assert not list(tmp_path.rglob("results.json"))


def test_result_holds_what_the_record_says(tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    results = Results(tmp_path / "results")
    good, diverged = plan([quick("first", canned)], TINY, VARIANTS[:2], 1)
    records = [read_record(canned / name) for name in ("record", "diverged")]
    for run, record in zip((good, diverged), records, strict=True):
        assert results.read(run).status == "missing"
        results.write(run, condense(record))
    assert asdict(results.read(good)) == {
        "status": "finished",
        "error": None,
        "diverged_at": None,
        "test_accuracy": 0.1,
        "test_loss": 2.3,
        "seconds": 1.5,
        "versions": {"python": "3", "numpy": "2"},
        "backend": "none",
        "device": "cpu",
    }
    assert records[0].test is not None
    assert np.array_equal(results.predicted(good), records[0].test.predictions.argmax(axis=1))
    assert results.predicted(good).dtype == np.uint8
    assert np.array_equal(results.step_losses(good), records[0].step_losses)
    assert results.step_losses(good).dtype == records[0].step_losses.dtype
    found = results.read(diverged)
    assert (found.status, found.test_accuracy) == ("diverged", None)
    assert results.step_losses(diverged).tolist() == [2, np.inf]


def test_failure_is_kept_until_there_is_a_result(tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    (run,) = plan([quick("first", canned)], TINY, ["aligned"], 1)
    results = Results(tmp_path / "results")
    assert not results.settled(run)
    results.write_failure(run, "out of memory\nlast line")
    assert results.settled(run)
    assert results.read(run).error == "out of memory\nlast line"
    assert not Results(tmp_path / "results").settled(run), "a study that starts tries again what had failed"
    results.write(run, condense(read_record(canned / "record")))
    assert results.read(run).status == "finished"
    assert not results.failure_path(run).exists()


def test_failure_stays_on_file_while_another_study_tries_again(tmp_path: Path) -> None:
    (run,) = plan([quick("first", tmp_path)], TINY, ["aligned"], 1)
    earlier = Results(tmp_path / "results")
    earlier.write_failure(run, "out of memory")
    later = Results(tmp_path / "results")
    assert not later.settled(run)
    assert earlier.settled(run)
    assert earlier.read(run).status == "failed"
    later.write_failure(run, "out of memory again")
    assert later.settled(run)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_damaged_result_is_named(tmp_path: Path, content: bytes) -> None:
    (run,) = plan([quick("first", tmp_path)], TINY, ["aligned"], 1)
    results = Results(tmp_path)
    results.write(run, content)
    with pytest.raises(BadInputError, match=f"{run.key}.safetensors is damaged"):
        results.read(run)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time that the progress goes by."""
    now = [0.0]
    monkeypatch.setattr(progress_of_studies.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_time_left_is_told_by_the_runs_done_here(clock: Callable[[float], None], tmp_path: Path) -> None:
    runs = plan([quick("first", tmp_path)], TINY, ["aligned"], 10)
    console = Console(record=True, width=100)
    with StudyProgress(len(runs), console) as progress:
        for run in runs[:4]:
            progress.report(FinishedRun(run, None, done_here=False))
        clock(20)
        progress.report(FinishedRun(runs[4], None, done_here=True))
        clock(60)
        progress.report(FinishedRun(runs[5], "it broke [here]", done_here=True))
    lines = console.export_text().splitlines()
    assert lines == [
        "5 of 10: first aligned, seed 4; 4 reused, 0:01:40 left",
        "first aligned, seed 5 failed: it broke [here]",
        "6 of 10: first aligned, seed 5; 4 reused, 1 failed, 0:02:00 left",
    ]


def test_a_plan_says_how_many_seeds_a_margin_needs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert program.main(["study", "--plan", "--variants", "[aligned,native]", "--seeds", "43"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "172 trainings: 2 variants (aligned, native) of 2 implementations, 43 seeds."
    assert "  ±0.1 points with 43 seeds  (the margin asked for)" in lines
    assert lines[-1].startswith("43 seeds are enough.")
    # Two one-sided tests of a mean of nothing need (z(0.95) + z(0.9))² · (spread / margin)² pairs, or a few more.
    assert 0 <= 43 - (1.6449 + 1.2816) ** 2 * (0.22 / 0.1) ** 2 < 2


def test_dropout_masks_are_a_variant_where_there_is_dropout() -> None:
    implementations = [Implementation("a", ("a",))]
    without, with_dropout = (
        {run.variant for run in plan(implementations, Recipe(dropout=rate), None, 1)} for rate in (0, 0.2)
    )
    assert without == set(DEFAULT_VARIANTS)
    assert with_dropout == {*DEFAULT_VARIANTS, "dropout_masks"}
    named = plan(implementations, Recipe(dropout=0.2), ["aligned"], 1)
    assert [run.variant for run in named] == ["aligned"]


def test_more_than_256_classes_travel_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"image_shape": (4, 4), "num_classes": 300, "num_training_images": 600, "num_test_images": 300}
    recipe = Recipe(dataset="/nowhere.npz", images=images, hidden_sizes=(2,), batch_size=300, epochs=2)
    write_canned(tmp_path / "record", recipe, test=TestResults(1.0, 0.5, np.eye(300, dtype=np.float32)))
    results = Results(tmp_path / "results")
    run = StudyRun(Implementation("a", ("a",)), "aligned", 0, recipe)
    labels = np.where(np.arange(300) < 150, np.arange(300), 299 - np.arange(300))  # half of them as predicted
    monkeypatch.setattr(study_results, "_labels_of", lambda *_: labels)
    results.write(run, condense(read_record(tmp_path / "record")))
    assert results.predicted(run).tolist() == list(range(300))
    assert results.predicted(run).dtype == np.uint16


def test_what_a_comparison_beside_the_study_has_trained_is_trained_once(tmp_path: Path) -> None:
    implementations = [quick("first", tmp_path), quick("second", tmp_path)]
    recipe = Recipe.from_preset("native", hidden_sizes=(2,), batch_size=30_000, epochs=2)
    records = tmp_path / "runs" / "run-native" / "records"
    first, second = (Job(implementation, recipe, records) for implementation in implementations)
    for job in (first, second):
        write_canned(job.directory, recipe)
    (second.directory / "weights.safetensors").write_bytes(b"damaged")
    runs = plan(implementations, TINY, ["native", "aligned"], 1)
    results = Results(tmp_path / "runs" / "study" / "results")
    results.take_records(runs, tmp_path / "runs")
    found = {(run.implementation.name, run.variant): results.read(run).status for run in runs}
    assert found == {
        ("first", "native"): "finished",
        ("second", "native"): "missing",
        ("first", "aligned"): "missing",
        ("second", "aligned"): "missing",
    }
    (run,) = (run for run in runs if found[run.implementation.name, run.variant] == "finished")
    assert results.read(run).test_accuracy == 0.1
