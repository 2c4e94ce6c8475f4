"""Results of a study -> typed findings: equivalence over seeds, what each difference costs, and every run."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.findings import Divergence
from compare.ladder.trajectory import loss_difference, parted_at_step
from compare.results_file import EXIT_CODES, WORST_FIRST, Verdict
from compare.statistics import effect, equivalence
from compare.study.findings import (
    AccuracyFindings,
    AttributionFindings,
    ChurnFindings,
    EquivalenceFindings,
    RunFindings,
    Study,
)
from compare.study.plan import ALIGNED, CONTROL, StudyRun, by_place, seeds_of, variants_of
from compare.study.results import Results
from recipe import Recipe

_MAX_SEED_PAIRS = 200
"""Pairs of seeds whose predictions are compared; of more, as many evenly spread ones."""

_Place = tuple[str, str, int]
_Pair = tuple[_Place, _Place]


def judge_study(
    base: Recipe,
    runs: Sequence[StudyRun],
    results: Results,
    directory: Path,
    *,
    margin: float,
    command: str | None = None,
) -> Study:
    """Judges the runs of a plan by their results.

    Args:
        base: The recipe whose switches the variants flip.
        runs: The plan.
        results: A result for each run, or the reason why there is none.
        directory: The study's.
        margin: Mean accuracies closer than this count as the same, a proportion.
        command: What was typed.
    """
    outcomes = _Outcomes(runs, results)
    pairs = [(other, variant) for variant in outcomes.variants for other in outcomes.names[1:]]
    equivalences = [outcomes.equivalence(other, variant, margin) for other, variant in pairs]
    verdict = _verdict(outcomes, equivalences)
    return Study(
        directory=directory,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        command=command,
        recipe=base,
        implementations=tuple(outcomes.names),
        variants=tuple(outcomes.variants),
        seeds=tuple(seeds_of(runs)),
        margin=margin,
        counts=dict(Counter(result.status for result in outcomes.by_place.values())),
        versions=outcomes.versions(),
        accuracies=tuple(outcomes.accuracy(name, variant) for variant in outcomes.variants for name in outcomes.names),
        equivalence=tuple(equivalences),
        attribution=tuple(outcomes.attribution()),
        churn=tuple(outcomes.churn()),
        runs=tuple(outcomes.row(run) for run in runs),
    )


def _verdict(outcomes: "_Outcomes", equivalences: Sequence[EquivalenceFindings]) -> Verdict:
    """Of the worst variant; a run without a result, for whatever reason, is a failure to say so."""
    if any(result.status in ("failed", "missing") for result in outcomes.by_place.values()):
        return "failed"
    verdicts = [entry.verdict for entry in equivalences]
    return next(verdict for verdict in WORST_FIRST if verdict in (*verdicts, "parity"))


class _Outcomes:
    """The results of a study by implementation, variant and seed."""

    def __init__(self, runs: Sequence[StudyRun], results: Results) -> None:
        self.results = results
        self.runs = dict(by_place(runs))
        self.by_place = {place: results.read(run) for place, run in self.runs.items()}
        self.names = list(dict.fromkeys(name for name, _, _ in self.runs))
        self.variants = variants_of(runs)
        self.seeds = seeds_of(runs)

    def finished(self, *places: tuple[str, str]) -> list[int]:
        """The seeds whose runs of all these implementations and variants have finished."""
        return [
            seed
            for seed in self.seeds
            if all(
                (place := (name, variant, seed)) in self.by_place and self.by_place[place].status == "finished"
                for name, variant in places
            )
        ]

    def values(self, field: str, name: str, variant: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """A number of these runs, shape (seeds,)."""
        return np.array([getattr(self.by_place[name, variant, seed], field) for seed in seeds], np.float64)

    def versions(self) -> dict[str, dict[str, Any]]:
        """Backend, devices and versions of each implementation, as its runs told."""
        versions: dict[str, dict[str, Any]] = {}
        for (name, _, _), result in self.by_place.items():
            if result.versions:
                entry = versions.setdefault(
                    name, {"backend": result.backend, "devices": (), "versions": result.versions}
                )
                if result.device not in entry["devices"]:
                    entry["devices"] += (result.device,)
        return versions

    def accuracy(self, name: str, variant: str) -> AccuracyFindings:
        """Mean and spread over the seeds that have finished."""
        seeds = self.finished((name, variant))
        accuracies = self.values("test_accuracy", name, variant, seeds)
        return AccuracyFindings(
            implementation=name,
            variant=variant,
            num_seeds=len(seeds),
            mean=_mean(accuracies),
            standard_deviation=float(np.std(accuracies, ddof=1)) if len(seeds) > 1 else None,
            mean_test_loss=_mean(self.values("test_loss", name, variant, seeds)),
            median_seconds=_median(self.values("seconds", name, variant, seeds)),
        )

    def equivalence(self, other: str, variant: str, margin: float) -> EquivalenceFindings:
        """The other implementation's accuracy minus the reference's, seed by seed."""
        reference = self.names[0]
        seeds = self.finished((reference, variant), (other, variant))
        differences = self.differences("test_accuracy", other, variant, seeds)
        test = equivalence(differences, margin)
        return EquivalenceFindings(
            reference=reference,
            other=other,
            variant=variant,
            seeds=tuple(seeds),
            left_out=self._left_out(seeds),
            differences=tuple(differences.tolist()),
            **(vars(test) if test else {"verdict": "inconclusive", "num_pairs": len(seeds)}),
        )

    def differences(self, field: str, other: str, variant: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """The other implementation minus the reference, shape (seeds,)."""
        return self.values(field, other, variant, seeds) - self.values(field, self.names[0], variant, seeds)

    def attribution(self) -> list[AttributionFindings]:
        """What each variant changes, against aligned: in each implementation, and in what is between them."""
        flipped = [variant for variant in self.variants if variant not in (ALIGNED, CONTROL)]
        if ALIGNED not in self.variants:
            return []
        entries = []
        together = num_effects(len(flipped), len(self.names))
        for variant in flipped:
            for name in self.names:
                seeds = self.finished((name, ALIGNED), (name, variant))
                accuracy, loss = (
                    self.values(field, name, variant, seeds) - self.values(field, name, ALIGNED, seeds)
                    for field in ("test_accuracy", "test_loss")
                )
                entries.append(
                    AttributionFindings(
                        variant=variant,
                        of=name,
                        seeds=tuple(seeds),
                        left_out=self._left_out(seeds),
                        test_accuracy=effect(accuracy, together),
                        test_loss=effect(loss, together),
                    )
                )
            entries += [self._gap(other, variant, together) for other in self.names[1:]]
        return entries

    def _gap(self, other: str, variant: str, together: int) -> AttributionFindings:
        """What a variant does to the difference between two implementations, and to when they part."""
        reference = self.names[0]
        seeds = self.finished(*((name, v) for name in (reference, other) for v in (ALIGNED, variant)))
        accuracy, loss = (
            self.differences(field, other, variant, seeds) - self.differences(field, other, ALIGNED, seeds)
            for field in ("test_accuracy", "test_loss")
        )
        aligned, flipped = ([self._parted(other, v, seed) for seed in seeds] for v in (ALIGNED, variant))
        known = [(before, after) for before, after in zip(aligned, flipped, strict=True) if before and after]
        # Rounding grows exponentially until two runs part, so that the step's logarithm is what compares.
        parted = np.array([np.log2(after / before) for before, after in known])
        return AttributionFindings(
            variant=variant,
            of=f"{other} - {reference}",
            seeds=tuple(seeds),
            left_out=self._left_out(seeds),
            test_accuracy=effect(accuracy, together),
            test_loss=effect(loss, together),
            log2_parted_at_step=effect(parted, together),
            parted_at_step={
                ALIGNED: _median(np.array([step for step in aligned if step])),
                variant: _median(np.array([step for step in flipped if step])),
                "never": sum(1 for pair in zip(aligned, flipped, strict=True) if None in pair),
            },
        )

    def _left_out(self, seeds: Sequence[int]) -> tuple[int, ...]:
        return tuple(seed for seed in self.seeds if seed not in seeds)

    def _parted(self, other: str, variant: str, seed: int) -> int | None:
        """When the losses of the two part under a variant."""
        first, second = (self.results.step_losses(self.runs[name, variant, seed]) for name in (self.names[0], other))
        return parted_at_step(loss_difference(first, second))

    def churn(self) -> list[ChurnFindings]:
        """Test digits predicted differently: between frameworks, between seeds, and in the A/A control."""
        entries = []
        pairs: Iterable[_Pair]
        for variant in self.variants:
            for other in self.names[1:]:
                seeds = self.finished((self.names[0], variant), (other, variant))
                pairs = (((self.names[0], variant, seed), (other, variant, seed)) for seed in seeds)
                entries.append(self._churn(f"{self.names[0]} and {other}", variant, pairs))
        for name in self.names:
            for variant in self.variants:
                pairs = combinations([(name, variant, seed) for seed in self.finished((name, variant))], 2)
                entries.append(self._churn(f"seeds of {name}", variant, _thinned(list(pairs))))
            if {ALIGNED, CONTROL} <= set(self.variants):
                seeds = self.finished((name, ALIGNED), (name, CONTROL))
                pairs = (((name, ALIGNED, seed), (name, CONTROL, seed)) for seed in seeds)
                entries.append(self._churn(f"A/A of {name}", ALIGNED, pairs))
        return entries

    def _churn(self, between: str, variant: str, pairs: Iterable[_Pair]) -> ChurnFindings:
        shares = []
        for first, second in pairs:
            predicted = [self.results.predicted(self.runs[place]) for place in (first, second)]
            shares.append(float(np.not_equal(*predicted).mean()))
        values = np.array(shares)
        lowest, highest = _or_none(np.min, values), _or_none(np.max, values)
        return ChurnFindings(between, variant, len(shares), _mean(values), lowest, highest)

    def row(self, run: StudyRun) -> RunFindings:
        """One run as the findings list it."""
        result = self.by_place[run.implementation.name, run.variant, run.seed]
        return RunFindings(
            implementation=run.implementation.name,
            variant=run.variant,
            seed=run.seed,
            status=result.status,
            test_accuracy=result.test_accuracy,
            test_loss=result.test_loss,
            seconds=result.seconds,
            error=result.error,
            diverged_at=Divergence(**result.diverged_at) if result.diverged_at else None,
        )


def num_effects(num_variants: int, num_implementations: int) -> int:
    """How many effects a study states, all of which are to hold together.

    Of each variant accuracy and loss in every implementation, and accuracy, loss and the step of parting of every
    implementation against the reference.
    """
    return num_variants * (2 * num_implementations + 3 * (num_implementations - 1))


def _thinned(pairs: list[Any]) -> list[Any]:
    if len(pairs) <= _MAX_SEED_PAIRS:
        return pairs
    return [pairs[int(i)] for i in np.linspace(0, len(pairs) - 1, _MAX_SEED_PAIRS)]


def _mean(values: NDArray[np.floating]) -> float | None:
    return _or_none(np.mean, values)


def _median(values: NDArray[np.floating]) -> float | None:
    return _or_none(np.median, values)


def _or_none(function: Callable[..., Any], values: NDArray[np.floating]) -> float | None:
    return float(function(values)) if len(values) else None
