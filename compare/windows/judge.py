"""The rungs of two traces, and what the windows of their trainings say on each of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from compare.causes.data.inputs import FROM_EPOCH_2
from compare.causes.signatures import UNKNOWN
from compare.ladder.check import Check, rung_of
from compare.ladder.rung import Rung, Sides
from compare.windows import borders, fed, steps
from compare.windows.watched import Watched
from recipe import Recipe, mnist
from record.training import RunRecord
from record.windows import MAX_BYTES, window_places

Runs = Mapping[str, RunRecord]

_CHECKS: dict[str, Callable[[Watched], Iterator[Check]]] = {
    "loss": steps.loss_checks,
    "gradients": steps.gradient_checks,
    "optimizer": steps.optimizer_checks,
}

_SEEN_IN_WINDOWS = ("data", *_CHECKS)


def judge_windows(rungs: list[Rung], sides: Sides, runs: Runs, digits: mnist.Digits) -> list[Rung]:
    """The same rungs, judged all the way through.

    A rung that the traces fail stays as it is. One that they pass fails at the first step of a training that is off.

    Args:
        rungs: Those of the two traces.
        sides: The traces.
        runs: The trainings that there are; they may have diverged.
        digits: What both were to be fed.
    """
    watched = {name: Watched.of(run) for name, run in runs.items()}
    seen: Sides = {name: windows for name, windows in watched.items() if windows is not None}
    summary = {name: len(windows.steps) for name, windows in seen.items()}
    with np.errstate(all="ignore"):  # trainings may overflow, as traces may
        found = {
            "data": _data(runs, watched, digits),
            "initial_weights": _first_of(runs, lambda name, run: borders.other_beginning(run, sides[name])),
            **{name: rung_of(name, seen, checks) for name, checks in _CHECKS.items()},  # type: ignore[arg-type]
        }
        border = _first_of(runs, lambda _, run: borders.broken_border(run))
    if found["optimizer"].verdict == "parity" and border.verdict != "parity":
        found["optimizer"] = replace(border, name="optimizer", detail=found["optimizer"].detail)
    joined = [_joined(rung, found[rung.name]) if rung.name in found else rung for rung in rungs]
    return [
        replace(rung, detail=rung.detail | {"window_steps": summary, "not_seen": _not_seen(rung.name, runs, watched)})
        if rung.name in _SEEN_IN_WINDOWS
        else rung
        for rung in joined
    ]


def _joined(rung: Rung, of_windows: Rung) -> Rung:
    """A rung of traces with what windows say of it, which counts where the traces' is right or knows no cause."""
    tensors = of_windows.detail.get("tensors", {})
    detail = rung.detail | ({"windows": tensors} if tensors else {})
    vague = (rung.cause or "").endswith((UNKNOWN, FROM_EPOCH_2)) and not (of_windows.cause or UNKNOWN).endswith(UNKNOWN)
    if of_windows.verdict == "parity" or (rung.verdict != "parity" and not vague):
        measured = rung.measured
        if tensors and measured is not None and of_windows.measured is not None:
            measured = max(measured, of_windows.measured)
        return replace(rung, measured=measured, detail=detail)
    return replace(
        rung,
        verdict=of_windows.verdict,
        measured=of_windows.measured,
        where=of_windows.where,
        cause=of_windows.cause,
        detail=detail,
    )


def _data(runs: Runs, watched: Mapping[str, Watched | None], digits: mnist.Digits) -> Rung:
    """What every step was fed."""
    faults = {
        name: fault for name, run in runs.items() if (fault := fed.fed_fault(run, watched[name], digits)) is not None
    }
    if not faults:
        return Rung("data", "parity", 0, 0)
    name, fault = min(faults.items(), key=lambda one: one[1].number)
    count = max(fault.num_steps for fault in faults.values())
    return Rung("data", "not parity", count, 0, f"{name}, {fault.where}", f"{name}: {fault.cause}")


def _first_of(runs: Runs, fault_of: Callable[[str, RunRecord], borders.Place | None]) -> Rung:
    """The first fault of a side, as a rung that is either right or wrong."""
    for name, run in runs.items():
        if (fault := fault_of(name, run)) is not None:
            return Rung("", "not parity", None, 0, f"{name}, {fault[0]}", fault[1])
    return Rung("", "parity", 0, 0)


def _not_seen(rung: str, runs: Runs, watched: Mapping[str, Watched | None]) -> list[str]:
    """What of the trainings a rung does not see, in sentences; nothing where all that the recipe asks for is there."""
    return [f"{name}: {line}" for name, run in runs.items() for line in _gaps(rung, run, watched[name])]


def _gaps(rung: str, run: RunRecord, watched: Watched | None) -> Iterator[str]:
    recipe = run.recipe
    if watched is None:
        yield f"no single step of the training is seen, {_why_no_window(recipe)}"
    elif missing := [place for place in window_places(recipe) if not set(place) <= set(watched.numbers)]:
        yield f"steps {', '.join(f'{place[0]:,} to {place[-1]:,}' for place in missing)} are not seen: no window"
    if rung in ("loss", "gradients") and watched and not watched.taken:
        yield "loss and gradients in windows are not seen: their dropout masks are the framework's own"
    if rung == "data" and run.fed is None:
        yield "what every step was fed is not seen: the record does not say it"
    elif rung == "data" and recipe.batch_order == "framework":
        yield "which batch each step was fed is not seen: the framework shuffles by itself"
    if rung == "optimizer" and run.epoch_states is None:
        yield "the borders of the epochs are not seen: the record has no hashes"


def _why_no_window(recipe: Recipe) -> str:
    if recipe.perturbation:
        return "for a perturbed training leaves no windows"
    if not window_places(recipe):
        return f"for its windows would take more than {MAX_BYTES / 1e6:.0f} MB"
    return "for its record has no windows"
