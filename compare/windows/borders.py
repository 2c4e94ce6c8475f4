"""What lies between the steps: the state that an epoch ends with is the one that the next begins with, bit for bit."""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from compare.causes.signatures import ratio, rounded, times
from compare.windows.watched import place
from recipe.initial_weights import Weights
from record.first_steps import Trace
from record.training import RunRecord
from record.windows import EpochStates, State, hash_arrays, num_steps_per_epoch

Place = tuple[str, str]
"""Where, and why."""


def other_beginning(run: RunRecord, trace: Trace) -> Place | None:
    """Where and why a training begins with other weights than its trace, if it does."""
    begins = run.epoch_states.weights_at_begin[:1] if run.epoch_states else []
    window = next((window for window in run.windows if window.first == 1), None)
    if window is not None:
        for name, array in window.before.parameters.items():
            if (fault := _difference(array, trace.initial_weights[name])) is not None:
                return f"{name} before step 1{fault}", "the training begins with other weights than its trace"
    elif begins and begins[0] != hash_arrays(trace.initial_weights):
        return "the weights before step 1", "the training begins with other weights than its trace"
    return None


def broken_border(run: RunRecord) -> Place | None:
    """Where and why a state is not the one before it, if one is not: between two epochs, or after the last."""
    return next(chain(_between_windows(run), _between_epochs(run), _behind_the_last(run)), None)


def _between_windows(run: RunRecord) -> Iterator[Place]:
    """Of windows on both sides of a border, with the numbers."""
    for earlier, later in zip(run.windows, run.windows[1:], strict=False):
        last = earlier.steps[-1]
        if last.number + 1 != later.first:
            continue
        for kind, before, after in zip(State._fields, last.after, later.before, strict=True):
            for name, array in after.items():
                if (fault := _difference(array, before[name])) is not None:
                    what = name if kind == "parameters" else f"the {kind.replace('_', ' ')[:-1]} of {name}"
                    where = f"{place(later.first, run.recipe)}, begins with another state than the step before left: "
                    yield f"{where}{what}{fault}", _cause(run, kind, before, after, later.first)


def _difference(array: np.ndarray, expected: np.ndarray) -> str | None:
    """The first number that differs in its bits."""
    unequal = array.view(f"u{array.dtype.itemsize}") != expected.view(f"u{expected.dtype.itemsize}")
    if not unequal.any():
        return None
    index = tuple(int(i) for i in np.argwhere(unequal)[0])
    return f" at {index} is {array[index]:.9g}, was {expected[index]:.9g}"


def _cause(run: RunRecord, kind: str, before: Weights, after: Weights, first: int) -> str:
    """What was done to the parameters or to a moment before step `first`, from 1, which an epoch begins with."""
    name = "the weights" if kind == "parameters" else "Adam's moments"
    if not any(array.any() for array in after.values()):
        return f"{name} are zero again: a new optimizer" if kind != "parameters" else f"{name} are set to zero"
    for dtype in ("bfloat16", "float16", *(("float32",) if run.recipe.dtype == "float64" else ())):
        if all((after[key] == rounded(array.astype(np.float64), dtype)).all() for key, array in before.items()):
            return f"{name} are rounded to {dtype} between the epochs"
    for digits in range(1, 7):
        if all((after[key] == np.round(array, digits).astype(array.dtype)).all() for key, array in before.items()):
            return f"{name} are rounded to {digits} decimals between the epochs"
    if (epoch := _seen_before(run, kind, after, first)) is not None:
        return f"{name} are replaced by {epoch}"
    flat = [np.concatenate([array.ravel() for array in group.values()]).astype(np.float64) for group in (after, before)]
    factor = ratio(*flat)
    if np.allclose(flat[0], factor * flat[1], rtol=1e-4, atol=0):
        return f"{name} are {times(factor)} between the epochs"
    if kind == "parameters" and (mixed := _mixed_with_the_first(run, before, after)) is not None:
        return mixed
    return f"{name} are changed between the epochs, as by a validation, a callback or a checkpoint"


def _mixed_with_the_first(run: RunRecord, before: Weights, after: Weights) -> str | None:
    """Whether the weights are pulled back towards the initial ones: a share of the way, the same for all of them."""
    if not run.windows or run.windows[0].first != 1:
        return None
    first = run.windows[0].before.parameters
    was, now, initial = (
        np.concatenate([group[name].ravel() for name in before]).astype(np.float64) for group in (before, after, first)
    )
    share = float(f"{ratio(now - was, initial - was):.3g}")
    allowed = 8 * np.finfo(run.recipe.dtype).eps * np.maximum(np.abs(was), np.abs(initial))
    if not 0 < share < 1 or not (np.abs(was + share * (initial - was) - now) <= allowed).all():
        return None
    return f"the weights become {1 - share:.3g} of their own and {share:.3g} of the initial ones: an average of the two"


def _seen_before(run: RunRecord, kind: str, after: Weights, first: int) -> str | None:
    """Which state before step `first`, from 1, a group of parameters is."""
    if kind != "parameters":
        return None
    found = {
        hash_arrays(window.before.parameters): f"those before {place(window.first, run.recipe)}"
        for window in reversed(run.windows)
        if window.first < first
    }
    states, epochs = run.epoch_states, (first - 1) // num_steps_per_epoch(run.recipe)
    if states:
        found |= _by_hash(states.weights_at_begin[:epochs], states.weights_at_end[:epochs])
    return found.get(hash_arrays(after))


def _by_hash(begins: list[str], ends: list[str]) -> dict[str, str]:
    """The earliest state of each hash, in words."""
    found: dict[str, str] = {}
    for epoch, (begin, end) in enumerate(zip(begins, ends, strict=True), 1):
        found.setdefault(begin, f"those that epoch {epoch} began with")
        found.setdefault(end, f"those that epoch {epoch} ended with")
    return found


def _between_epochs(run: RunRecord) -> Iterator[Place]:
    """Of every epoch, by hashes."""
    states = run.epoch_states
    if states is None:
        return
    per_epoch = num_steps_per_epoch(run.recipe)
    for what, begins, ends, zeros in _pairs(run, states):
        earlier = _by_hash(begins, ends)
        for epoch, (begin, end) in enumerate(zip(begins[1:], ends, strict=False), 1):
            if begin == end:
                continue
            first = place(epoch * per_epoch + 1, run.recipe)
            where = f"{first}, begins with other {what} than epoch {epoch} ended with: SHA-256 {begin[:12]}…"
            seen = earlier[begin] if not earlier[begin].startswith(f"those that epoch {epoch + 1} began") else None
            if begin == zeros:
                cause = f"{what} are zero again: a new optimizer"
            elif seen:
                cause = f"{what} are replaced by {seen}"
            else:
                cause = f"{what} are changed between the epochs, as by a validation, a callback or a checkpoint"
            yield f"{where}, was {end[:12]}…", cause


def _pairs(run: RunRecord, states: EpochStates) -> Iterator[tuple[str, list[str], list[str], str | None]]:
    """What is hashed, at the begins and at the ends, and the hash of zeros where zeros have a meaning."""
    zeros = {name: np.zeros_like(array) for name, array in run.weights.items()}
    yield "weights", states.weights_at_begin, states.weights_at_end, None
    yield "Adam's moments", states.moments_at_begin, states.moments_at_end, hash_arrays(zeros, zeros)


def _behind_the_last(run: RunRecord) -> Iterator[Place]:
    """Of the final weights; of a training that diverged nothing is asked."""
    if run.diverged:
        return
    last = run.windows[-1].steps[-1] if run.windows else None
    cause = "they are not what the last step left: averaged, of another step, or rounded, for example"
    if last and last.number == len(run.step_losses):
        for name, array in run.weights.items():
            if (fault := _difference(array, last.after.parameters[name])) is not None:
                seen = _seen_before(run, "parameters", run.weights, len(run.step_losses))
                yield f"final weights: {name}{fault} after the last step", f"they are {seen}" if seen else cause
                return
    states = run.epoch_states
    if states and states.weights_at_end and states.weights_at_end[-1] != hash_arrays(run.weights):
        seen = _seen_before(run, "parameters", run.weights, len(run.step_losses))
        yield "final weights: not those that the last epoch ended with", f"they are {seen}" if seen else cause
