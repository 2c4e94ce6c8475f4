"""A loss by its formula: function, smoothing, weights, reduction, factor."""

import re
from collections.abc import Sequence

import numpy as np

from compare.explanation.arithmetic.losses import Formula, find
from compare.explanation.context import Context
from compare.explanation.loss.words import Found, factor_words, named, samples_of
from compare.explanation.observed.observation import Array


def by_both_formulas(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formulas of both losses, where both are known."""
    samples = samples_of(context, steps)
    first, second = find(samples, list(a)), find(samples, list(b))
    return None if first is None or second is None else differences(context, first, second) or None


def by_formula(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formula of the steered side's loss alone."""
    samples = samples_of(context, steps)
    if not samples:
        return None
    second = find(samples, list(b))
    if second is None or find(samples, list(a)) is not None:
        return None
    title = f"the port's loss is {second}" if context.guide_is_reference else f"the reference's loss is {second}"
    return [(title, named(context.guide.observation), str(second), title, "use the reference's loss")]


def differences(context: Context, first: Formula, second: Formula) -> Found:
    """What differs between two formulas, part by part, with both values, cause and mend."""
    found: Found = []
    if first.on != second.on and "second time" in second.on:
        squash = re.match(r"(\w+)", second.on)
        name = squash.group(1) if squash else "softmax"
        title = f"{name} before a loss that applies {name} itself ({first.name} of probabilities taken for logits)"
        if not context.guide_is_reference:
            title = f"no {title}: the reference has one"
        found.append((title, f"{first}", f"{second}", title, f"give the loss the values before {name}"))
    elif first.name != second.name:
        title = context.differs("loss function:", str(first), str(second))
        found.append((title, str(first), str(second), title, f"use {first.name}"))
    elif first.on != second.on:
        title = context.differs(f"{first.name} (from_logits or not): taken of", first.on, second.on)
        found.append((title, str(first), str(second), title, f"give the loss {first.on}"))
    for name, x, y in (
        ("label smoothing", f"{first.smoothing:g}", f"{second.smoothing:g}"),
        ("weights in the loss:", first.weights, second.weights),
        ("reduction of the loss:", first.reduction, second.reduction),
        ("factor of the loss:", f"{first.factor:g}", f"{second.factor:g}"),
    ):
        if x != y and not (name.startswith("reduction") and first.weights != second.weights):
            title = context.differs(name, x, y)
            found.append((title, str(first), str(second), title, f"{name.rstrip(':')} {x}"))
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
        (
            title,
            named(context.guide.observation),
            named(context.steered.observation),
            words or "a constant factor",
            "reduction='mean'" if "sum" in words else f"multiply it by {1 / value:.6g}",
        )
    ]
