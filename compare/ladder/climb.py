"""Climbs the rungs of two traces in their order."""

from dataclasses import replace

import numpy as np

from compare.causes.signatures import UNKNOWN
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
        return mark_followers([rung(sides) for rung in rungs])


def mark_followers(rungs: list[Rung]) -> list[Rung]:
    """The same rungs; every failed one after the first failed one says which that is.

    What no cause of its own explains there may follow from the first: it is not said twice that nothing fits.
    """
    first = next((rung for rung in rungs if rung.verdict == "not parity"), None)
    if first is None:
        return rungs
    return [_follower(rung, first) if rung.verdict == "not parity" and rung is not first else rung for rung in rungs]


def _follower(rung: Rung, first: Rung) -> Rung:
    cause = rung.cause
    if cause is not None and cause.endswith(UNKNOWN):
        cause = f"no cause of its own is found: it may follow from what is off in the rung {first.name}"
    return replace(rung, cause=cause, detail=rung.detail | {"follows": first.name})
