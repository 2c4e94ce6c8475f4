"""Climbs the rungs of two traces in their order."""

from dataclasses import replace

import numpy as np

from compare.ladder.arithmetic import forward, gradients, loss
from compare.ladder.inputs import data, initial_weights, settings
from compare.ladder.optimizer import optimizer
from compare.ladder.rung import Rung, Sides


def climb(sides: Sides) -> list[Rung]:
    """The rungs from `settings` to `optimizer`.

    Raises:
        ValueError: Not exactly two traces.
    """
    if len(sides) != 2:  # noqa: PLR2004
        raise ValueError(f"a ladder compares two traces, not {len(sides)}")
    rungs = (settings, data, initial_weights, forward, loss, gradients, optimizer)
    # A trace may overflow; the checks say so, NumPy's warnings add nothing.
    with np.errstate(all="ignore"):
        return mark_followers(_one_diverges(sides, [rung(sides) for rung in rungs]))


def _one_diverges(sides: Sides, rungs: list[Rung]) -> list[Rung]:
    """The same rungs; where all are in parity and yet one side alone overflows, the last is undecided."""
    overflowing = {name: trace.diverged_at_step for name, trace in sides.items() if trace.diverged_at_step}
    if len(overflowing) != 1 or any(rung.verdict != "parity" for rung in rungs):
        return rungs
    ((name, step),) = overflowing.items()
    where = f"{name}, step {step}: its loss or its weights are no longer finite, those of the other are"
    cause = "so near to the largest number rounding decides which side overflows; a smaller learning rate would tell"
    return [*rungs[:-1], replace(rungs[-1], verdict="inconclusive", where=where, cause=cause)]


def mark_followers(rungs: list[Rung]) -> list[Rung]:
    """The same rungs; every failed one after the first failed one says which that is."""
    first = next((rung for rung in rungs if rung.verdict == "not parity"), None)
    if first is None:
        return rungs
    return [
        replace(rung, detail=rung.detail | {"follows": first.name})
        if rung.verdict == "not parity" and rung is not first
        else rung
        for rung in rungs
    ]
