"""What the guide's loss is computed from, and how a loss, its line and a factor of it are called."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from compare.explanation.arithmetic.losses import Sample
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.observed.sides import Side


def named(observation: Observation) -> str:
    """The names of the functions that a loss is made of."""
    return " + ".join(dict.fromkeys(observation.loss_functions)) or "a loss written out"


def loss_place(observation: Observation) -> Place | None:
    """The line of the first loss function; else that of the backward pass, or of `fit`."""
    if not observation.losses:
        return None
    terms = observation.losses[0].get("terms") or []
    found = next((place(term.get("place")) for term in terms if term.get("place")), None)
    compiled = observation.place("data", "fit", "place") if observation.framework == "keras" else None
    return found or place(observation.losses[0].get("place")) or compiled


class Said(NamedTuple):
    """One difference of two losses: title, both sides' words, cause, mend, and a line of the steered side's own."""

    title: str
    guide: str
    steered: str
    cause: str
    mend: str
    place: Place | None = None


Found = list[Said]


def batch_size(context: Context) -> int | None:
    """The number of samples of the guide's first batch."""
    for step in context.guide.observation.fed[:1]:
        for array in context.guide.observation.arrays(step.get("inputs")):
            if array is not None and array.ndim:
                return len(array)
    return None


def factor_words(context: Context, ratio: float) -> str:
    """What a constant factor between two losses usually is."""
    size = batch_size(context)
    several = len((context.steered.observation.losses or [{}])[0].get("backward_values") or ())
    if several > 1 and several != size:
        if abs(ratio / several - 1) < 1e-6:
            return f"the {several} batches of a step (accumulation) are added up, not averaged"
        if abs(ratio * several - 1) < 1e-6:
            return f"the {several} batches of a step (accumulation) are averaged, not added up"
    sample = next(iter(samples_of(context, [0])), None)
    classes = sample.outputs.shape[-1] if sample is not None and sample.outputs.ndim > 1 else None
    elements = int(np.prod(sample.outputs.shape[1:])) if sample is not None else None
    for number, words in (
        (size, "sum over the batch in place of the mean (reduction sum)"),
        (classes, "sum over the classes in place of the mean"),
        (elements, "sum over a sample's elements in place of the mean"),
        (size * elements if size and elements else None, "sum over all elements in place of the mean (reduction sum)"),
    ):
        if number and number > 1 and abs(ratio / number - 1) < 1e-6:
            return words
        if number and number > 1 and abs(ratio * number - 1) < 1e-6:
            return words.replace("sum", "mean", 1).replace("in place of the mean", "in place of the sum")
    return ""


def samples_of(context: Context, steps: Sequence[int]) -> list[Sample]:
    """What the guide's loss is computed from, of a model with one output."""
    observation = context.guide.observation
    found: list[Sample] = []
    for step in steps:
        if step >= len(observation.calls) or step >= len(observation.fed):
            return found
        calls = [call for call in observation.calls[step] if call.outputs]
        target = next(iter(observation.arrays(observation.fed[step].get("targets"))), None)
        if not calls or target is None:
            return found
        last = calls[-1]
        outputs = observation.array(last.outputs[0])
        logits = observation.array(last.preactivation)
        squashes = last.function in ("sigmoid", "softmax") or _squashes(context.guide, last.layer)
        if logits is None and len(calls) > 1 and last.inputs and squashes:
            logits = observation.array(last.inputs[0])
        if outputs is None or outputs.ndim == 0:
            return found
        weights = observation.array(observation.fed[step].get("sample_weights"))
        classes = _class_weights(context, outputs.shape[-1])
        masks = _masks(context, step, target)
        found.append(Sample(outputs, logits, target, weights, classes, _stated_numbers(context), masks))
    return found


MASKED = "masked positions left out (padding, mask_zero)"
IGNORED = "targets left out (ignore_index)"


def _masks(context: Context, step: int, target: Array) -> tuple[tuple[str, Array], ...]:
    """The mask that Keras's prediction brings along, and what torch's loss is told to ignore."""
    found = []
    for observation in (context.guide.observation, context.steered.observation):
        for term in observation.losses[step].get("terms") or [] if step < len(observation.losses) else []:
            mask = observation.array(term.get("mask"))
            ignored = (term.get("settings") or {}).get("ignore_index")
            if mask is not None and mask.any() and not mask.all():
                found.append((MASKED, mask))
            elif isinstance(ignored, int) and (kept := target != ignored).any() and not kept.all():
                found.append((IGNORED, kept))
    return tuple(found)


def _stated_numbers(context: Context) -> tuple[float, ...]:
    """The numbers among the settings of both sides' loss functions."""
    terms = [
        term
        for observation in (context.guide.observation, context.steered.observation)
        for losses in observation.losses[:1]
        for term in losses.get("terms") or ()
    ]
    held = [value for term in terms for value in (term.get("settings") or {}).values()]
    values = [part for value in held for part in (value if isinstance(value, list) and len(value) == 1 else [value])]
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return tuple(dict.fromkeys(numbers))


def _squashes(side: Side, name: str | None) -> bool:
    layer = side.layers.get(name or "")
    return layer is not None and layer.kind in ("Softmax", "Sigmoid", "Activation", "LogSoftmax", "softmax", "sigmoid")


def _class_weights(context: Context, classes: int) -> Array | None:
    found = context.guide.observation.part("data", "fit", "class_weight")
    if isinstance(found, dict):
        weights = np.ones(max([classes, *(int(key) + 1 for key in found)]))
        for key, value in found.items():
            weights[int(key)] = float(value)
        return weights
    for observation in (context.guide.observation, context.steered.observation):
        for entry in observation.losses[:1]:
            for term in entry.get("terms") or []:
                listed = (term.get("settings") or {}).get("weight")
                if isinstance(listed, list) and len(listed) == classes:
                    return np.array(listed, np.float64)
                kept = observation.array(listed) if isinstance(listed, str) else None
                if kept is not None and kept.size == classes:
                    return kept
    return None
