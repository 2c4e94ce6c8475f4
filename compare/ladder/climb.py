"""Climbs the rungs of two traces in their order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from compare.causes.signatures import UNKNOWN
from compare.ladder.arithmetic import forward, gradients, loss
from compare.ladder.inputs import data, initial_weights, settings
from compare.ladder.optimizer import optimizer
from compare.ladder.rung import RUNGS, Rung, Sides

TRACED = (settings, data, initial_weights, forward, loss, gradients, optimizer)
"""The rungs that judge two traces, in their order."""


def climb(sides: Sides) -> list[Rung]:
    """The rungs from `settings` to `optimizer`.

    Raises:
        ValueError: Not exactly two traces.
    """
    if len(sides) != 2:  # noqa: PLR2004
        raise ValueError(f"a ladder compares two traces, not {len(sides)}")
    # A trace may overflow; the checks say so, NumPy's warnings add nothing.
    with np.errstate(all="ignore"):
        return mark_followers(_one_diverges(sides, [rung(sides) for rung in TRACED]))


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
    """The same rungs; every failed one that follows from another says from which.

    The rungs judge one operation each, from recorded inputs, so that few follow: what the settings state shows in the
    numbers, the gradients are those of a wrong forward pass or loss, and trajectory and outcome are what all of it
    leads to, the gravest fault first.
    """
    failed = {rung.name: rung for rung in rungs if rung.verdict == "not parity"}
    follows = {name: source for name in failed if (source := _source(name, failed)) is not None}
    own = [rung for name, rung in failed.items() if name not in follows]
    if (first := _gravest(own, follows, failed)) is not None:
        ends = [name for name in ("trajectory", "outcome") if name in failed and not failed[name].detail.get("own")]
        follows |= {name: first for name in ends if first != name}
    explained = next((name for name, rung in failed.items() if not _is_unexplained(rung)), None)
    return [_marked(rung, follows.get(rung.name), explained) if rung.name in failed else rung for rung in rungs]


def _is_unexplained(rung: Rung) -> bool:
    return rung.cause is not None and rung.cause.endswith(UNKNOWN)


def _marked(rung: Rung, follows: str | None, explained: str | None) -> Rung:
    """A failed rung that says what it follows from; behind one that is explained it is not said that nothing fits."""
    detail = rung.detail | ({"follows": follows} if follows else {})
    source = follows or explained
    behind = source is not None and RUNGS.index(source) < RUNGS.index(rung.name)
    if not _is_unexplained(rung) or not behind:
        return replace(rung, detail=detail)
    cause = f"no cause of its own is found: it may follow from what is off in the rung {source}"
    return replace(rung, cause=cause, detail=detail)


def gravest(rungs: Sequence[Rung]) -> str | None:
    """Of the failed rungs that follow from no other, the one that changes the training most; None where all hold."""
    failed = {rung.name: rung for rung in rungs if rung.verdict == "not parity"}
    follows = {name: rung.detail["follows"] for name, rung in failed.items() if "follows" in rung.detail}
    return _gravest([rung for name, rung in failed.items() if name not in follows], follows, failed)


_STATED = {
    "forward": ("layers", "dropout.", "dtype", "compute_dtype", "tf32"),
    "loss": ("loss.",),
    "gradients": ("loss.", "layers", "dropout.", "dtype", "compute_dtype", "tf32"),
    "optimizer": ("optimizer.",),
    "data": ("batch_size",),
}
"""The settings that show on a rung, by the beginning of their keys."""

_OF_GRADIENTS_ALONE = ("gradients are ", "the gradients are those of the step before")
"""How causes begin that no forward pass and no loss has."""


def _source(name: str, failed: Mapping[str, Rung]) -> str | None:
    """From which failed rung another one of them follows."""
    if "settings" in failed and name in _STATED:
        differences = failed["settings"].detail.get("differences", [])
        keys = [entry["key"] for entry in differences if entry["arithmetic"]]
        if any(key.startswith(_STATED[name]) for key in keys):
            return "settings"
    cause = failed[name].cause or ""
    if name == "gradients" and not cause.startswith(_OF_GRADIENTS_ALONE) and "it is frozen" not in cause:
        return next((source for source in ("forward", "loss") if source in failed), None)
    return None


def _gravest(own: Sequence[Rung], follows: Mapping[str, str], failed: Mapping[str, Rung]) -> str | None:
    """Which of these has the largest effect, its own or that of what follows from it; the first of several."""

    def effect(rung: Rung) -> float:
        rungs = [rung, *(failed[name] for name, source in follows.items() if source == rung.name)]
        known = [entry.detail["effect"] for entry in rungs if "effect" in entry.detail]
        return max((math.inf if value is None else value for value in known), default=0.0)

    causes = [rung for rung in own if rung.name not in ("trajectory", "outcome")] or list(own)
    return max(causes, key=effect).name if causes else None
