"""Records -> typed findings: everything that `results.json` says and the report shows."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compare.findings import Agreement, Comparison, Difference, Divergence, ImplementationFindings, Pair
from compare.ladder.climb import climb, gravest, mark_followers
from compare.ladder.outcome import outcome
from compare.ladder.rung import Rung
from compare.ladder.trajectory import trajectory
from compare.results_file import EXIT_CODES, WORST_FIRST
from compare.run.jobs import Outcome
from compare.statistics import Interval, wilson_interval
from compare.windows.judge import judge_windows
from recipe import Recipe, datasets
from record.files import json_safe
from record.first_steps import Trace
from record.header import Header
from record.training import RunRecord

Outcomes = Mapping[str, Outcome]
"""Outcomes by the implementation's name, the reference first."""


def judge_trainings(
    recipe: Recipe,
    traces: Outcomes,
    trainings: Outcomes,
    controls: Sequence[Outcome],
    directory: Path,
    *,
    margin: float,
    command: str | None = None,
) -> Comparison:
    """Compares the first implementation with each of the others on all nine rungs.

    Args:
        recipe: What all of them were to run.
        traces: A trace of each implementation.
        trainings: A training of each implementation.
        controls: Trainings of one implementation that differ by perturbation alone.
        directory: The comparison's, where the records are.
        margin: Accuracies closer than this count as the same, a proportion.
        command: What was typed.
    """
    digits = datasets.load(recipe)
    family = [control.record for control in controls if control.record and not control.record.diverged]
    missing = _missing(controls)
    reference, *others = trainings
    comparisons = {}
    for name in others:
        pair = (reference, name)
        runs = {side: trainings[side].record for side in pair}
        sides = {side: traces[side].record for side in pair}
        rungs = climb(sides) if _usable(sides) else []
        rungs = rungs and judge_windows(rungs, sides, {name: run for name, run in runs.items() if run}, digits)
        if not rungs or not all(run and not run.diverged for run in runs.values()):
            comparisons[name] = _failed(rungs)
            continue
        rungs += [trajectory(runs, family, sides, missing=missing), outcome(runs, family, digits, margin=margin)]
        comparisons[name] = replace(_pair(rungs), **_outcome_of(runs))
    implementations = {name: _training(entry) for name, entry in trainings.items()}
    for name, trace in traces.items():
        if trace.record is None and implementations[name].status == "finished":
            error = f"its trace: {trace.error}"
            implementations[name] = replace(implementations[name], status="failed", error=error)
    records = tuple(control.job.directory for control in controls if control.record)
    return _comparison(recipe, implementations, comparisons, directory, command, trained=True, controls=records)


def judge_traces(recipe: Recipe, traces: Outcomes, directory: Path, *, command: str | None = None) -> Comparison:
    """Compares the first implementation with each of the others on rungs 1 to 7; see `judge_trainings`."""
    reference, *others = traces
    comparisons = {}
    for name in others:
        sides = {side: traces[side].record for side in (reference, name)}
        comparisons[name] = _pair(climb(sides)) if _usable(sides) else _failed([])
    implementations = {name: _trace(entry) for name, entry in traces.items()}
    return _comparison(recipe, implementations, comparisons, directory, command)


def _missing(controls: Sequence[Outcome]) -> str | None:
    """Which runs of the A/A family there is nothing of, each with the reason, which names its log; None of none."""
    reasons = [
        f"{control.job.title} {'diverged' if control.record else f'failed: {control.error}'}"
        for control in controls
        if control.record is None or control.record.diverged
    ]
    return "; ".join(reasons) or None


def _comparison(
    recipe: Recipe,
    implementations: dict[str, ImplementationFindings],
    comparisons: dict[str, Pair],
    directory: Path,
    command: str | None,
    **of_trainings: Any,
) -> Comparison:
    """The findings; the first of the worst pairs decides."""
    decisive = min(comparisons, key=lambda name: WORST_FIRST.index(comparisons[name].verdict))
    verdict = comparisons[decisive].verdict
    return Comparison(
        directory=directory,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        command=command,
        recipe=recipe,
        compared=(next(iter(implementations)), decisive),
        implementations=implementations,
        comparisons=comparisons,
        **of_trainings,
    )


def _implementation(entry: Outcome) -> ImplementationFindings:
    """What a training and a trace have in common."""
    record: Header | None = entry.record
    if record is None:
        return ImplementationFindings("failed", error=str(entry.error))
    return ImplementationFindings(
        "finished",
        reused=entry.reused,
        framework=record.framework,
        backend=record.backend,
        device=record.device,
        threads=record.threads,
        versions=record.versions,
        record=entry.job.directory,
    )


def _trace(entry: Outcome) -> ImplementationFindings:
    findings = _implementation(entry)
    if entry.record and (step := entry.record.diverged_at_step):
        return replace(findings, status="diverged", diverged_at=Divergence(1, step))
    return findings


def _training(entry: Outcome) -> ImplementationFindings:
    record: RunRecord | None = entry.record
    findings = _implementation(entry)
    if record is None:
        return findings
    seconds = record.history["seconds"]
    return replace(
        findings,
        status=record.status.outcome,
        diverged_at=Divergence(record.status.epoch, record.status.step) if record.diverged else None,
        test_accuracy=record.test.accuracy if record.test else None,
        test_accuracy_interval=_interval(record),
        test_loss=record.test.loss if record.test else None,
        num_parameters=record.num_parameters,
        seconds_per_epoch=statistics.median(seconds) if seconds else None,
        seconds=record.seconds,
        peak_memory_bytes=record.peak_memory_bytes,
        peak_gpu_memory_bytes=record.peak_gpu_memory_bytes,
        history={key: tuple(values) for key, values in record.history.items()},
    )


def _interval(record: RunRecord) -> Interval | None:
    num_images = record.recipe.images.num_test_images
    return wilson_interval(round(record.test.accuracy * num_images), num_images) if record.test else None


def _usable(sides: Mapping[str, Trace | None]) -> bool:
    """Where both diverge there is nothing to compare; where one does, the ladder says where it begins."""
    return all(sides.values()) and not all(trace and trace.diverged_at_step for trace in sides.values())


def _failed(rungs: list[Rung]) -> Pair:
    """A pair of which a training or a trace is missing; the rungs that are there may say why."""
    return replace(_pair(rungs), verdict="failed")


def _pair(rungs: list[Rung]) -> Pair:
    """The verdict of the ladder: that of its worst rung."""
    rungs = mark_followers(rungs)
    verdicts = [rung.verdict for rung in rungs]
    return Pair(
        verdict=next(verdict for verdict in WORST_FIRST if verdict in (*verdicts, "parity")),
        first_failed_rung=next((rung.name for rung in rungs if rung.verdict == "not parity"), None),
        rungs=tuple(replace(rung, detail=json_safe(rung.detail)) for rung in rungs),
        gravest_rung=gravest(rungs),
    )


def _outcome_of(runs: dict[str, RunRecord]) -> dict[str, Any]:
    first, second = (run.test for run in runs.values())
    if first is None or second is None:
        return {}
    alike = np.equal(first.predictions.argmax(axis=1), second.predictions.argmax(axis=1))
    return {
        "difference": Difference(second.accuracy - first.accuracy, second.loss - first.loss),
        "agreement": Agreement(int(alike.sum()), len(alike)),
    }
