"""Rungs 1 to 3: settings, data and initial weights, the two sides against each other, byte for byte."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.causes.data import inputs as input_causes
from compare.causes.network import initial as weight_causes
from compare.causes.signatures import UNKNOWN
from compare.ladder.rung import Rung, Sides
from record.first_steps import Trace, hash_batch

# --- 1. settings -----------------------------------------------------------------------------------

_ARITHMETIC = ("optimizer.", "loss.", "layers", "dropout.", "dtype", "compute_dtype", "batch_size", "epochs")


_LONGEST_TEXT = 1000
"""Characters of a setting that are shown: the layers of a network have some hundred."""


def settings(sides: Sides) -> Rung:
    """The settings that were read back from the live objects, compared."""
    (first_name, first), (second_name, second) = sides.items()
    differences: list[dict[str, Any]] = []
    for key in sorted({*first.settings, *second.settings}):
        values = [trace.settings.get(key, "not stated") for trace in (first, second)]
        if key == "optimizer.weight_decay":
            values = [0.0 if value is None else value for value in values]
        if _same_setting(*values, dtype=first.recipe.dtype):
            continue
        on_gpu = "gpu" in (first.device, second.device)
        arithmetic = key.startswith(_ARITHMETIC) or (key == "tf32" and on_gpu)
        stated = "not stated" not in values
        differences.append(
            {"key": key, first_name: values[0], second_name: values[1], "arithmetic": arithmetic and stated}
        )
    telling = [difference for difference in differences if difference["arithmetic"]]
    where = cause = None
    if telling:
        where = "; ".join(
            f"{entry['key']}: {_text(entry[first_name], entry[second_name])} in {first_name}, "
            f"{_text(entry[second_name], entry[first_name])} in {second_name}"
            for entry in telling
        )
        cause = "; ".join(input_causes.of_settings(entry["key"]) for entry in telling)
    return Rung(
        "settings",
        "not parity" if telling else "parity",
        measured=len(telling),
        bound=0,
        where=where,
        cause=cause,
        detail={"unit": "differing settings", "differences": differences},
    )


def _same_setting(first: Any, second: Any, *, dtype: str) -> bool:
    """Whether two values are the same number in the dtype that both sides compute in."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, second))
    if not numbers:
        return bool(first == second)
    try:
        return bool(np.array(first, dtype) == np.array(second, dtype))
    except OverflowError:  # JSON has integers that no float has
        return bool(first == second)


def _text(value: Any, other: Any) -> str:
    """A setting's value, cut short if long; in quotation marks where only they tell it from the other."""
    text = repr(value) if str(value) == str(other) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


# --- 2. data ---------------------------------------------------------------------------------------


def data(sides: Sides) -> Rung:
    """The batches of the first epoch and the first of the second, hash by hash; and whether the steps had them."""
    (first_name, first), (second_name, second) = sides.items()
    hashes = first.batch_hashes, second.batch_hashes
    length = max(map(len, hashes))
    padded = [[*entry[:-1], *[None] * (length - len(entry)), entry[-1]] for entry in hashes]
    different = [index for index in range(length) if padded[0][index] != padded[1][index]]
    where = cause = None
    if different:
        index = different[0]
        place = f"batch {index + 1} of epoch 1" if index < length - 1 else "batch 1 of epoch 2"
        where = f"{place}: {_hash(padded[0][index])} in {first_name}, {_hash(padded[1][index])} in {second_name}"
        cause = input_causes.of_data(first, second, (first_name, second_name))
    unlike = {name: steps for name, trace in sides.items() if (steps := _steps_unlike_their_batches(trace))}
    for name, steps in unlike.items():
        number = steps[0] + 1
        where = where or f"{name}, step {number}: images and labels are not those of batch {number}, as its hash says"
        if cause in (None, UNKNOWN):
            cause = f"{name}: {input_causes.of_step_unlike_its_batch(sides[name], steps[0])}"
    measured = len({*different}.union(*unlike.values()))
    return Rung(
        "data",
        "not parity" if measured else "parity",
        measured=measured,
        bound=0,
        where=where,
        cause=cause,
        detail={"unit": "differing batches", "batches": {n: len(t.batch_hashes) - 1 for n, t in sides.items()}}
        | ({"effect": _effect_of_data(first, second, measured / length)} if measured else {}),
    )


def _effect_of_data(first: Trace, second: Trace, share: float) -> float:
    """By how much the images of the first step differ, relative to all of them; 1 where images or labels are others.

    Where the first step is the same, the share of the batches that differ.
    """
    first_step, second_step = first.steps[0], second.steps[0]
    if first_step.images.shape != second_step.images.shape or not np.array_equal(first_step.labels, second_step.labels):
        return 1.0
    return _relative(first_step.images, second_step.images) or share


def _relative(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """‖second − first‖ / ‖first‖."""
    exact = first.astype(np.float64)
    return float(np.linalg.norm(second - exact)) / (float(np.linalg.norm(exact)) or 1.0)


def _steps_unlike_their_batches(trace: Trace) -> list[int]:
    """The traced steps, from 0, that were fed something else than the batches whose hashes are stated."""
    return [
        index
        for index, (step, stated) in enumerate(zip(trace.steps, trace.batch_hashes, strict=False))
        if hash_batch(step.images, step.labels) != stated
    ]


def _hash(value: str | None) -> str:
    return "no batch" if value is None else f"SHA-256 {value[:12]}…"


# --- 3. initial weights ----------------------------------------------------------------------------


def initial_weights(sides: Sides) -> Rung:
    """The parameters before the first step, bit for bit."""
    (first_name, first), (second_name, second) = sides.items()
    differing = 0
    where = cause = None
    for name, array in first.initial_weights.items():
        other = second.initial_weights[name]
        unequal = array.view(_bits(array)) != other.view(_bits(other))
        differing += int(unequal.sum())
        if unequal.any() and where is None:
            index = _first_index(unequal)
            values = f"{array[index]:.9g} in {first_name}, {other[index]:.9g} in {second_name}"
            where = f"{name} at {index}: {values}"
            cause = weight_causes.of_initial_weights(first, second, (first_name, second_name), name)
    return Rung(
        "initial_weights",
        "not parity" if differing else "parity",
        measured=differing,
        bound=0,
        where=where,
        cause=cause,
        detail={"unit": "differing parameters"} | ({"effect": _effect_of_weights(first, second)} if differing else {}),
    )


def _effect_of_weights(first: Trace, second: Trace) -> float:
    """By how much the initial weights differ, relative to all of them."""
    both = [np.concatenate([array.ravel() for array in t.initial_weights.values()]) for t in (first, second)]
    return _relative(both[0], both[1])


def _bits(array: NDArray[Any]) -> str:
    return f"u{array.dtype.itemsize}"


def _first_index(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])
