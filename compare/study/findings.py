"""Findings of a study as types, to results.json and back; see `compare.findings`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compare.findings import Divergence, Findings, Interval, RunStatus, divergence, make
from compare.results_file import Verdict
from compare.statistics import Effect
from record.files import json_safe


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
    status: RunStatus
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

    @property
    def devices(self) -> dict[str, tuple[str, ...]]:
        """Where the runs of each implementation were computed, "cpu" or "gpu"."""
        return {name: tuple(side["devices"]) for name, side in self.versions.items()}

    @classmethod
    def _parts(cls, results: Mapping[str, Any], directory: Path) -> dict[str, Any]:  # noqa: ARG003 - has no paths
        return {
            "accuracies": tuple(make(AccuracyFindings, entry) for entry in results["accuracies"]),
            "equivalence": tuple(make(EquivalenceFindings, entry) for entry in results["equivalence"]),
            "attribution": tuple(attribution(entry) for entry in results["attribution"]),
            "churn": tuple(make(ChurnFindings, entry) for entry in results["churn"]),
            "runs": tuple(make(RunFindings, entry, diverged_at=divergence(entry)) for entry in results["runs"]),
        }

    def to_json(self) -> dict[str, Any]:
        """What results.json holds; what there was too little for is left out of its entry."""
        results = self._head() | {
            "kind": "study",
            "implementations": self.implementations,
            "variants": self.variants,
            "seeds": self.seeds,
            "margin": self.margin,
            "counts": self.counts,
            "versions": self.versions,
            "accuracies": [asdict(entry) for entry in self.accuracies],
            "equivalence": [_equivalence_entry(entry) for entry in self.equivalence],
            "attribution": [_attribution_entry(entry) for entry in self.attribution],
            "churn": [asdict(entry) for entry in self.churn],
            "runs": [_run_entry(entry) for entry in self.runs],
        }
        plain: dict[str, Any] = json_safe(results)
        return plain


def attribution(entry: Mapping[str, Any]) -> AttributionFindings:
    """From an entry of results.json."""
    names = ("test_accuracy", "test_loss", "log2_parted_at_step")
    effects = {name: make(Effect, entry[name]) for name in names if entry.get(name)}
    return make(AttributionFindings, entry, **effects)


def _equivalence_entry(entry: EquivalenceFindings) -> dict[str, Any]:
    return {key: value for key, value in asdict(entry).items() if value is not None or entry.mean is not None}


def _attribution_entry(entry: AttributionFindings) -> dict[str, Any]:
    """Without what only a difference has, of one implementation."""
    of_a_difference = () if entry.parted_at_step else ("log2_parted_at_step", "parted_at_step")
    return {key: value for key, value in asdict(entry).items() if key not in of_a_difference}


def _run_entry(entry: RunFindings) -> dict[str, Any]:
    """Without what only a run has that did not finish."""
    absent = [key for key in ("error", "diverged_at") if getattr(entry, key) is None]
    return {key: value for key, value in asdict(entry).items() if key not in absent}
