"""A study: every implementation, variant and seed trained; what is to be run, and what each run left.

A variant flips switches of a recipe whose switches are all shared. One result is one file, which holds
what the judge of a study needs and travels between machines by value.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compare.run.implementations import Implementation
from compare.run.jobs import Job
from compare.statistics import pairs_needed
from recipe import Recipe
from recipe.errors import BadArgumentError, BadInputError
from recipe.recipe import KERAS_EPSILON, SWITCHES

ALIGNED = "aligned"
NATIVE = "native"
CONTROL = "control"
"""The A/A control: aligned, from initial weights one unit in the last place away."""

DEFAULT_VARIANTS = (ALIGNED, CONTROL, NATIVE, *(switch for switch in SWITCHES if switch != "dropout_masks"))
"""What a study runs if nothing else is asked for; where the recipe has dropout, the switch of its masks too."""


def variant_recipe(base: Recipe, variant: str, seed: int) -> Recipe:
    """The recipe of a variant: aligned, control, native, a switch, or several joined by "+".

    Raises:
        BadInputError: There is no such variant, or `base` has flipped switches itself.
    """
    if flipped := [switch for switch in SWITCHES if getattr(base, switch) != "shared"]:
        raise BadInputError(
            f"a study flips the switches itself; leave recipe.preset and recipe.{flipped[0]} out and name variants"
        )
    if base.perturbation:
        raise BadInputError("a study has its own control; leave recipe.perturbation out and name the variant control")
    if variant == CONTROL:
        return dataclasses.replace(base, seed=seed, perturbation=1)
    switches = {ALIGNED: (), NATIVE: SWITCHES}.get(variant, tuple(variant.split("+")))
    if unknown := set(switches) - set(SWITCHES):
        raise BadArgumentError(
            f"variants: there is no variant {variant!r}, for there is no switch {min(unknown)!r}; "
            f"choose among {', '.join((ALIGNED, CONTROL, NATIVE, *SWITCHES))}, and switches joined by +"
        )
    fields = asdict(base) | dict.fromkeys(switches, "framework") | {"seed": seed}
    if "adam" in switches and base.epsilon == KERAS_EPSILON:
        fields["epsilon"] = None  # the framework's own, unless another was asked for
    return Recipe(**fields)


@dataclass(frozen=True)
class StudyRun:
    """One training of a study; `key` names all that determines it, and the file of its result."""

    implementation: Implementation
    variant: str
    seed: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """The name of the run's record, as `compare run` would call it."""
        return Job(self.implementation, self.recipe, Path()).directory.name


def plan(
    implementations: Sequence[Implementation], base: Recipe, variants: Sequence[str] | None, num_seeds: int
) -> list[StudyRun]:
    """Every run of a study, seed by seed, so that an unfinished study has whole seeds.

    Where `variants` is None they are `DEFAULT_VARIANTS`, and the dropout's masks where there is dropout.

    Raises:
        BadInputError: There is no seed to run, or no such variant, or one is named twice.
    """
    if num_seeds < 1:
        raise BadArgumentError(f"seeds must be 1 or more, not {num_seeds}")
    if variants is None:
        variants = (*DEFAULT_VARIANTS, "dropout_masks") if base.dropout else DEFAULT_VARIANTS
    if not variants:
        raise BadArgumentError(f"variants must name one or more of {', '.join(DEFAULT_VARIANTS)}")
    if len({frozenset(variant.split("+")) for variant in variants}) < len(variants):
        raise BadArgumentError(f"variants: every variant may be named once; given: {', '.join(variants)}")
    return [
        StudyRun(implementation, variant, seed, variant_recipe(base, variant, seed))
        for seed in range(base.seed, base.seed + num_seeds)
        for variant in variants
        for implementation in implementations
    ]


USUAL_SPREAD = 0.0022
"""The standard deviation of the accuracy difference of two equal runs of the default recipe, a proportion."""

_MARGINS = (0.0005, 0.001, 0.002, 0.005)


def power_lines(runs: Sequence[StudyRun], margin: float) -> list[str]:
    """What a study would take, and how many seeds which margin needs, before anything runs.

    Args:
        runs: The plan.
        margin: That asked for, a proportion.
    """
    num_seeds, variants = len(seeds_of(runs)), variants_of(runs)
    sides = len({run.implementation.name for run in runs})
    variants_in_words = f"{len(variants)} variants ({', '.join(variants)})"
    spread = f"{100 * USUAL_SPREAD:.2f} points of accuracy (standard deviation, default recipe, docs/study)"
    lines = [
        f"{len(runs):,} trainings: {variants_in_words} of {sides} implementations, {num_seeds} seeds.",
        f"Two equal runs differ by {spread}. Without another difference 80 of 100 studies show parity within",
    ]
    for candidate in sorted({*_MARGINS, margin}):
        needed = pairs_needed(0.0, USUAL_SPREAD, candidate)
        mark = "  (the margin asked for)" if candidate == margin else ""
        lines.append(f"  ±{100 * candidate:g} points with {needed:,} seeds{mark}")
    needed = pairs_needed(0.0, USUAL_SPREAD, margin) or 0
    enough = "enough" if num_seeds >= needed else f"too few: --seeds {needed} asks for that many"
    farther = pairs_needed(margin / 2, USUAL_SPREAD, margin) or 0
    lines.append(f"{num_seeds} seeds are {enough}. If the two differ by half the margin, it takes {farther:,}.")
    return lines


def seeds_of(runs: Sequence[StudyRun]) -> list[int]:
    """The seeds of a plan, each once, in order."""
    return list(dict.fromkeys(run.seed for run in runs))


def variants_of(runs: Sequence[StudyRun]) -> list[str]:
    """The variants of a plan, each once, in order."""
    return list(dict.fromkeys(run.variant for run in runs))


def by_place(runs: Sequence[StudyRun]) -> Iterator[tuple[tuple[str, str, int], StudyRun]]:
    """The runs by implementation's name, variant and seed."""
    return (((run.implementation.name, run.variant, run.seed), run) for run in runs)
