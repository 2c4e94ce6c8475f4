"""Records -> findings: everything that `results.json` says and the report shows."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compare.ladder.climb import climb, mark_followers
from compare.ladder.outcome import outcome
from compare.ladder.rung import Rung
from compare.ladder.trajectory import trajectory
from compare.results_file import EXIT_CODES, SCHEMA_VERSION, WORST_FIRST, Verdict
from compare.run.jobs import Outcome
from compare.statistics import Interval, wilson_interval
from recipe import Recipe, datasets
from record.first_steps import Trace
from record.training import RunRecord

Outcomes = Mapping[str, Outcome]
"""Outcomes by the implementation's name, the reference first."""


def judge_trainings(
    recipe: Recipe, traces: Outcomes, trainings: Outcomes, controls: Sequence[Outcome], directory: Path, margin: float
) -> dict[str, Any]:
    """Compares the first implementation with each of the others on all nine rungs.

    Args:
        recipe: What all of them were to run.
        traces: A trace of each implementation.
        trainings: A training of each implementation.
        controls: Trainings of one implementation that differ by perturbation alone.
        directory: The comparison's; paths in the findings are relative to it.
        margin: Accuracies closer than this count as the same, a proportion.

    Returns:
        What `results.json` holds; docs/results.md documents it.
    """
    digits = datasets.load(recipe)
    family = [control.record for control in controls if control.record and not control.record.diverged]
    reference, *others = trainings
    comparisons = {}
    for name in others:
        pair = (reference, name)
        runs = {side: trainings[side].record for side in pair}
        sides = {side: traces[side].record for side in pair}
        rungs = climb(sides) if _usable(sides) else []
        if not rungs or not all(run and not run.diverged for run in runs.values()):
            comparisons[name] = _failed(rungs)
            continue
        rungs += [trajectory(runs, family, sides), outcome(runs, family, digits, margin=margin)]
        comparisons[name] = _comparison(rungs) | _outcome_of(runs)
    implementations = {name: _training(entry, directory) for name, entry in trainings.items()}
    for name, trace in traces.items():
        if trace.record is None and implementations[name]["status"] == "finished":
            implementations[name] |= {"status": "failed", "error": f"its trace: {trace.error}"}
    records = [_record(control, directory) for control in controls if control.record]
    return _results(recipe, implementations, comparisons) | {"controls": records}


def judge_traces(recipe: Recipe, traces: Outcomes, directory: Path) -> dict[str, Any]:
    """Compares the first implementation with each of the others on rungs 1 to 7; see `judge_trainings`."""
    reference, *others = traces
    comparisons = {}
    for name in others:
        sides = {side: traces[side].record for side in (reference, name)}
        comparisons[name] = _comparison(climb(sides)) if _usable(sides) else _failed([])
    implementations = {name: _trace(entry, directory) for name, entry in traces.items()}
    return _results(recipe, implementations, comparisons)


def _results(recipe: Recipe, implementations: dict[str, Any], comparisons: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The findings; what the decisive comparison found, the first of the worst, also stands at the top."""
    decisive = min(comparisons, key=lambda name: WORST_FIRST.index(comparisons[name]["verdict"]))
    verdict: Verdict = comparisons[decisive]["verdict"]
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "exit_code": EXIT_CODES[verdict],
        "recipe": asdict(recipe),
        "compared": [next(iter(implementations)), decisive],
        "implementations": implementations,
        **{key: value for key, value in comparisons[decisive].items() if key != "verdict"},
        "comparisons": comparisons,
    }


def _header(entry: Outcome, directory: Path) -> dict[str, Any]:
    record = entry.record
    if record is None:
        return {"status": "failed", "error": str(entry.error)}
    return {
        "status": "finished",
        "reused": entry.reused,
        "framework": record.framework,
        "backend": record.backend,
        "device": record.device,
        "threads": record.threads,
        "versions": record.versions,
        "record": _record(entry, directory),
    }


def _record(entry: Outcome, directory: Path) -> str:
    return str(entry.job.directory.relative_to(directory))


def _trace(entry: Outcome, directory: Path) -> dict[str, Any]:
    header = _header(entry, directory)
    if entry.record and (step := entry.record.diverged_at_step):
        header |= {"status": "diverged", "diverged_at": {"epoch": 1, "step": step}}
    return header


def _training(entry: Outcome, directory: Path) -> dict[str, Any]:
    record: RunRecord | None = entry.record
    header = _header(entry, directory)
    if record is None:
        return header
    seconds = record.history["seconds"]
    return header | {
        "status": record.status.outcome,
        "diverged_at": {"epoch": record.status.epoch, "step": record.status.step} if record.diverged else None,
        "test_accuracy": record.test.accuracy if record.test else None,
        "test_accuracy_interval": _interval(record),
        "test_loss": record.test.loss if record.test else None,
        "num_parameters": record.num_parameters,
        "seconds_per_epoch": statistics.median(seconds) if seconds else None,
        "seconds": record.seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
        "history": record.history,
    }


def _interval(record: RunRecord) -> Interval | None:
    num_images = record.recipe.images.num_test_images
    return wilson_interval(round(record.test.accuracy * num_images), num_images) if record.test else None


def _usable(sides: Mapping[str, Trace | None]) -> bool:
    """Where both diverge there is nothing to compare; where one does, the ladder says where it begins."""
    return all(sides.values()) and not all(trace and trace.diverged_at_step for trace in sides.values())


def _failed(rungs: list[Rung]) -> dict[str, Any]:
    """A comparison of which a training or a trace is missing; the rungs that are there may say why."""
    return _comparison(rungs) | {"verdict": "failed"}


def _comparison(rungs: list[Rung]) -> dict[str, Any]:
    """The verdict of the ladder: that of its worst rung."""
    rungs = mark_followers(rungs)
    verdicts = [rung.verdict for rung in rungs]
    verdict = next(verdict for verdict in WORST_FIRST if verdict in (*verdicts, "parity"))
    return {
        "verdict": verdict,
        "first_failed_rung": next((rung.name for rung in rungs if rung.verdict == "not parity"), None),
        "rungs": [asdict(rung) for rung in rungs],
        "difference": None,
        "agreement": None,
    }


def _outcome_of(runs: dict[str, RunRecord]) -> dict[str, Any]:
    first, second = (run.test for run in runs.values())
    if first is None or second is None:
        return {}
    alike = np.equal(first.predictions.argmax(axis=1), second.predictions.argmax(axis=1))
    return {
        "difference": {"test_accuracy": second.accuracy - first.accuracy, "test_loss": second.loss - first.loss},
        "agreement": {"same": int(alike.sum()), "total": len(alike)},
    }
