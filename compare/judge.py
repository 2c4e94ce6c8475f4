"""Records -> findings: everything that `results.json` says and the report shows."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compare.runner import Outcome
from compare.statistics import Interval, paired_accuracies, wilson_interval
from recipe import Recipe, mnist
from recipe.run_record import RunRecord

SCHEMA_VERSION = 1

Verdict = Literal["parity", "not parity", "inconclusive", "failed"]
EXIT_CODES: dict[Verdict, int] = {"parity": 0, "not parity": 1, "inconclusive": 3, "failed": 4}

MARGIN = 0.005
"""Accuracies whose difference lies within this margin with 95% confidence count as the same."""


def judge(recipe: Recipe, outcomes: Sequence[Outcome], directory: Path) -> dict[str, Any]:
    """Compares the first implementation with each of the others.

    Returns:
        What `results.json` holds; see `docs/results.md`.
    """
    labels = mnist.load().y_test
    implementations = {outcome.job.implementation.name: _implementation(outcome, directory) for outcome in outcomes}
    reference, *others = outcomes
    comparisons = {
        outcome.job.implementation.name: _comparison(reference.record, outcome.record, labels) for outcome in others
    }
    order: list[Verdict] = ["failed", "not parity", "inconclusive", "parity"]
    decisive = min(comparisons, key=lambda name: order.index(comparisons[name]["verdict"]))
    verdict: Verdict = comparisons[decisive]["verdict"]
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "exit_code": EXIT_CODES[verdict],
        "recipe": asdict(recipe),
        "compared": [reference.job.implementation.name, decisive],
        "implementations": implementations,
        **{key: value for key, value in comparisons[decisive].items() if key != "verdict"},
        "comparisons": comparisons,
    }


def _implementation(outcome: Outcome, directory: Path) -> dict[str, Any]:
    record = outcome.record
    if record is None:
        return {"status": "failed", "error": str(outcome.error)}
    status = asdict(record.status)
    return {
        "status": status.pop("outcome"),
        "diverged_at": status if record.diverged else None,
        "reused": outcome.reused,
        "framework": record.framework,
        "backend": record.backend,
        "device": record.device,
        "threads": record.threads,
        "test_accuracy": record.test.accuracy if record.test else None,
        "test_accuracy_interval": _interval(record.test.accuracy) if record.test else None,
        "test_loss": record.test.loss if record.test else None,
        "num_parameters": record.num_parameters,
        "seconds_per_epoch": statistics.median(record.history["seconds"]) if record.history["seconds"] else None,
        "seconds": record.seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
        "history": record.history,
        "versions": record.versions,
        "record": str(record.directory.relative_to(directory)),
    }


def _interval(accuracy: float) -> Interval:
    return wilson_interval(round(accuracy * mnist.NUM_TEST_IMAGES), mnist.NUM_TEST_IMAGES)


def _comparison(first: RunRecord | None, second: RunRecord | None, labels: Any) -> dict[str, Any]:
    if first is None or second is None or first.test is None or second.test is None:
        return {"verdict": "failed", "difference": None, "agreement": None, "paired": None}
    first_digits, second_digits = first.test.predictions.argmax(1), second.test.predictions.argmax(1)
    paired = paired_accuracies(first_digits == labels, second_digits == labels)
    low, high = paired.interval
    verdict: Verdict = "inconclusive"
    if low > -MARGIN and high < MARGIN:
        verdict = "parity"
    elif high < -MARGIN or low > MARGIN:
        verdict = "not parity"
    return {
        "verdict": verdict,
        "difference": {
            "test_accuracy": second.test.accuracy - first.test.accuracy,
            "test_loss": second.test.loss - first.test.loss,
        },
        "agreement": {"same": int(np.sum(first_digits == second_digits)), "total": len(labels)},
        "paired": asdict(paired),
    }
