"""Findings of a study as types: what its `results.json` says, for programs to read; see `compare.findings`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from compare.findings import Divergence, Findings, Interval, Status, divergence, make
from compare.results_file import Verdict
from compare.statistics import Effect
from recipe import Recipe


@dataclass(frozen=True)
class AccuracyFindings:
    """The runs of one implementation and variant that have finished: mean and spread over their seeds."""

    implementation: str
    variant: str
    num_seeds: int
    mean: float | None
    standard_deviation: float | None
    mean_test_loss: float | None
    median_seconds: float | None


@dataclass(frozen=True)
class EquivalenceFindings:
    """Whether two implementations are as accurate as each other under a variant, over the seeds.

    `differences` are the other's accuracy minus the reference's, one for each of `seeds`, whose runs have finished on
    both sides; `left_out` are the other seeds. The intervals are those of the mean (t), `p` is that of two one-sided t
    tests inside ±`margin`, `pairs_needed` how many seeds would show parity with a power of 80% if the mean and the
    spread are those measured.
    """

    reference: str
    other: str
    variant: str
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    differences: tuple[float, ...]
    verdict: Verdict
    num_pairs: int
    mean: float | None = None
    standard_deviation: float | None = None
    interval_90: Interval | None = None
    interval_95: Interval | None = None
    margin: float | None = None
    p: float | None = None
    pairs_needed: int | None = None


@dataclass(frozen=True)
class AttributionFindings:
    """What a variant changes against the aligned recipe, of one implementation or of `other - reference`.

    `parted_at_step` has, of a difference, the median steps at which two runs part, by variant, and in how many seeds
    they `never` do; `log2_parted_at_step` is the effect on the step's logarithm.
    """

    variant: str
    of: str
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    test_accuracy: Effect | None
    test_loss: Effect | None
    log2_parted_at_step: Effect | None = None
    parted_at_step: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class ChurnFindings:
    """The share of test digits that two runs predict differently, over `num_pairs` pairs of runs."""

    between: str
    variant: str
    num_pairs: int
    mean: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class RunFindings:
    """One training of a study."""

    implementation: str
    variant: str
    seed: int
    status: Status
    test_accuracy: float | None
    test_loss: float | None
    seconds: float | None
    error: str | None = None
    diverged_at: Divergence | None = None


@dataclass(frozen=True)
class Study(Findings):
    """What `study` found.

    `implementations` names the reference first, `variants` and `seeds` say what was trained, `counts` how many runs
    ended in which way. `versions` has backend, devices and package versions of each implementation.
    """

    implementations: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    margin: float
    counts: Mapping[str, int]
    versions: Mapping[str, Mapping[str, Any]]
    accuracies: tuple[AccuracyFindings, ...]
    equivalence: tuple[EquivalenceFindings, ...]
    attribution: tuple[AttributionFindings, ...]
    churn: tuple[ChurnFindings, ...]
    runs: tuple[RunFindings, ...]

    @classmethod
    def _of(cls, results: Mapping[str, Any], directory: Path) -> Self:
        return make(
            cls,
            results,
            directory=directory,
            recipe=Recipe.from_fields(results["recipe"]),
            accuracies=tuple(make(AccuracyFindings, entry) for entry in results["accuracies"]),
            equivalence=tuple(make(EquivalenceFindings, entry) for entry in results["equivalence"]),
            attribution=tuple(_attribution(entry) for entry in results["attribution"]),
            churn=tuple(make(ChurnFindings, entry) for entry in results["churn"]),
            runs=tuple(make(RunFindings, entry, diverged_at=divergence(entry)) for entry in results["runs"]),
        )


def _attribution(entry: Mapping[str, Any]) -> AttributionFindings:
    names = ("test_accuracy", "test_loss", "log2_parted_at_step")
    effects = {name: make(Effect, entry[name]) for name in names if entry.get(name)}
    return make(AttributionFindings, entry, **effects)
