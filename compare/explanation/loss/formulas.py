"""A loss by its formula: function, smoothing, weights, reduction, factor."""

import re
from collections.abc import Sequence

import numpy as np

from compare.explanation.arithmetic.losses import NEARLY, Formula, Sample, find
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.loss.mends import (
    factor_mend,
    other_mend,
    reduction_mend,
    smoothing_mend,
    times,
    weights_mend,
)
from compare.explanation.loss.terms import REGULARISATION
from compare.explanation.loss.words import Found, Said, factor_words, named, samples_of
from compare.explanation.observed.observation import Array, place


def by_both_formulas(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formulas of both losses, where both are known."""
    samples = samples_of(context, steps)
    first = find(samples, list(a))
    second = None if first is None else find(samples, list(b)) or find(samples, list(b), NEARLY)
    return None if first is None or second is None else differences(context, first, second) or None


def by_formula_and_penalty(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formulas of both losses, of the guide's without the penalties of the weights that it has as well."""
    rows = [context.guide.observation.losses[step].get("penalties") or [] for step in steps]
    values = [[entry.get("value") for entry in row] for row in rows]
    if not any(values) or not all(isinstance(value, int | float) for row in values for value in row):
        return None
    penalties, samples = np.array([sum(row) for row in values]), samples_of(context, steps)
    first = find(samples, list(a - penalties))
    if first is None:
        return None
    for shared in (False, True):
        rest = list(b - penalties) if shared else list(b)
        second = find(samples, rest) or find(samples, rest, NEARLY)
        if second is None:
            continue
        kinds = sorted({str(entry.get("function")) for entry in rows[0]})
        title = context.missing(f"{' and '.join(kinds)} penalty of the weights ({REGULARISATION})", "in the loss")
        size = f"{penalties[0]:.6g} in the first step"
        missing = [] if shared else [Said(title, size, "0", title, "add it, or take weight decay")]
        return [*differences(context, first, second), *missing] or None
    return None


def by_own_prediction(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formulas of both losses, each of what its own side predicts: where that differs as well."""
    predicted = _own_samples(context, steps)
    first, second = find(samples_of(context, steps), list(a)), find(predicted, list(b))
    if first is None or second is None or first.name == second.name or not context.has("forward", ("fault",)):
        return None
    title = context.differs("loss function:", first.name, second.name)
    return [Said(title, str(first), str(second), title, other_mend(context, first.name, second.name))]


def _own_samples(context: Context, steps: Sequence[int]) -> list[Sample]:
    """What the steered side's one loss function was given."""
    observation = context.steered.observation
    found = []
    for step in steps:
        terms = observation.losses[step].get("terms") or [] if step < len(observation.losses) else []
        arrays = observation.arrays((terms[0].get("inputs") or [])[:2]) if len(terms) == 1 else []
        if len(arrays) < 2 or arrays[0] is None or arrays[1] is None:
            return []
        z, y = arrays if observation.framework == "torch" else arrays[::-1]
        found.append(Sample(np.asarray(z, np.float64), None, np.asarray(y)))
    return found


def by_formula(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formula of the steered side's loss alone."""
    samples = samples_of(context, steps)
    if not samples:
        return None
    second = find(samples, list(b))
    if second is None or find(samples, list(a)) is not None:
        return None
    title = f"the port's loss is {second}" if context.guide_is_reference else f"the reference's loss is {second}"
    return [Said(title, named(context.guide.observation), str(second), title, "use the reference's loss")]


def differences(context: Context, first: Formula, second: Formula) -> Found:
    """What differs between two formulas, part by part, with both values, cause and mend."""
    found: Found = []
    if first.on != second.on and "second time" in second.on:
        squash = re.match(r"(\w+)", second.on)
        name = squash.group(1) if squash else "softmax"
        title = f"{name} before a loss that applies {name} itself ({first.name} of probabilities taken for logits)"
        if not context.guide_is_reference:
            title = f"no {title}: the reference has one"
        found.append(Said(title, f"{first}", f"{second}", title, f"give the loss the values before {name}"))
    elif first.name != second.name:
        title = context.differs("loss function:", str(first), str(second))
        found.append(Said(title, str(first), str(second), title, other_mend(context, first.name, second.name)))
    elif first.on != second.on:
        title = context.differs(f"{first.name} (from_logits or not): taken of", first.on, second.on)
        found.append(Said(title, str(first), str(second), title, f"give the loss {first.on}"))
    for name, x, y in (
        ("label smoothing", f"{first.smoothing:g}", f"{second.smoothing:g}"),
        ("weights in the loss:", first.weights, second.weights),
        ("reduction of the loss:", first.reduction, second.reduction),
        ("factor of the loss:", f"{first.factor:g}", f"{second.factor:g}"),
    ):
        if name.startswith("reduction") and (first.weights != second.weights or not (x and y)):
            continue
        if x != y:
            title = context.differs(name, x, y)
            mend = {
                "label smoothing": smoothing_mend(first),
                "weights in the loss:": weights_mend(context, first),
                "reduction of the loss:": reduction_mend(context, first),
                "factor of the loss:": times(first.factor / second.factor),
            }[name]
            found.append(Said(title, str(first), str(second), title, mend))
    return found


def by_factor(context: Context, _: Sequence[int], a: Array, b: Array) -> Found | None:
    """A constant factor, the same at every step."""
    ratio = b / np.where(a == 0, np.nan, a)
    if not np.isfinite(ratio).all() or np.ptp(ratio) > 1e-7 * abs(float(ratio[0])) or len(ratio) < 2:
        return None
    value = float(ratio[0])
    words = factor_words(context, value)
    title = (
        f"the loss is {value:.6g} times the reference's"
        if context.guide_is_reference
        else f"the loss is {1 / value:.6g} times the reference's"
    )
    if words:
        title = f"{title}: {words if context.guide_is_reference else 'another reduction (sum or mean)'}"
    return [
        Said(
            title,
            named(context.guide.observation),
            named(context.steered.observation),
            words or "a constant factor",
            factor_mend(context, words, value),
            _backward_place(context) if "accumulation" in words else None,
        )
    ]


def _backward_place(context: Context) -> Place | None:
    """Where the steered side differentiates its loss, where it does so itself."""
    losses = context.steered.observation.losses
    return place(losses[0].get("place")) if losses else None
