"""What mends a loss: its reduction, its weights, a factor, a setting, as a line of the steered side's framework."""

import re
from typing import Any

from compare.explanation.arithmetic.losses import Formula
from compare.explanation.context import Context
from compare.explanation.loss.words import IGNORED, MASKED

MEAN, WEIGHTED_MEAN = "mean over the samples", "divided by the sum of the weights (weighted mean)"
_KERAS_REDUCTIONS = {MEAN: "sum_over_batch_size", WEIGHTED_MEAN: "mean_with_sample_weight"}


def reduction_mend(context: Context, wanted: Formula) -> str:
    """What reduces the steered side's losses as the guide does."""
    function, settings = _function(context)
    weighted, keras = wanted.weights != "none", context.frameworks[1] == "keras"
    if function and keras:
        return f"reduction='{_KERAS_REDUCTIONS.get(wanted.reduction, 'sum')}'"
    # torch's mean of weighted classes is divided by the sum of their weights, whatever else is asked for.
    divides = weighted and "weight" in settings and function in ("cross_entropy", "nll_loss")
    if wanted.reduction == MEAN:
        if divides:
            return f"reduction='none' in the loss, and .mean() of what it gives: {function}(...).mean()"
        return "reduction='mean'" if function and not weighted else ".mean() of the losses of the samples"
    if wanted.reduction == WEIGHTED_MEAN:
        return "reduction='mean'" if divides else ".sum() of the weighted losses, divided by the sum of the weights"
    if wanted.reduction == "sum over a sample's elements, mean over the samples":
        return "reduction='sum', and what it gives divided by len(x)" if function else ".flatten(1).sum(1).mean()"
    return "reduction='sum'" if function else ".sum() of the losses"


def weights_mend(context: Context, wanted: Formula) -> str:
    """What weighs the steered side's losses as the guide does, reduced as there."""
    keras = context.frameworks[1] == "keras"
    if wanted.weights == "class weights":
        if keras:
            return "fit(..., class_weight={0: ..., 1: ...}) with the reference's weights"
        if wanted.reduction == WEIGHTED_MEAN:
            return "cross_entropy(..., weight=weights)"
        # The same for losses whose mean is not divided by the sum of the weights.
        return "cross_entropy(..., weight=weights, reduction='none').mean(), weights a tensor of one for each class"
    if wanted.weights == "sample weights":
        if keras:
            return "fit(..., sample_weight=weights)"
        end = ".sum() / weights.sum()" if wanted.reduction == WEIGHTED_MEAN else ".mean()"
        return f"reduction='none', and (losses * weights){end}"
    return _WEIGHTS.get(wanted.weights, f"weights in the loss: {wanted.weights}")


_WEIGHTS = {
    "none": "leave the weights out",
    MASKED: "leave the masked positions out of the mean: ignore_index, or a mask",
    IGNORED: "leave these targets out of the mean",
}


def _function(context: Context) -> tuple[str, dict[str, Any]]:
    """The one function of the steered side's loss and its settings; empty where it is written out."""
    losses = context.steered.observation.losses
    terms = (losses[0].get("terms") or []) if losses else []
    return (str(terms[0].get("function")), terms[0].get("settings") or {}) if len(terms) == 1 else ("", {})


def factor_mend(context: Context, words: str, ratio: float) -> str:
    """What takes a factor away: the reduction, where it is one, else its inverse."""
    called = bool(_function(context)[0])
    if words.startswith("sum over"):
        return "reduction='mean'" if called else ".mean() in place of .sum()"
    if words.startswith("mean over all elements"):
        return "reduction='sum'" if called else ".sum() in place of .mean()"
    by_fit = context.frameworks[1] == "keras" and context.steered.observation.part("data", "fit") is not None
    return f"compile(..., loss_weights=[{1 / ratio:.6g}])" if by_fit else times(1 / ratio)


def times(factor: float) -> str:
    """A line that multiplies the loss; one that divides it by a whole number, where that is the same."""
    whole = round(1 / factor) if factor else 0
    if abs(whole) > 1 and abs(factor * whole - 1) < 1e-6:
        return f"loss = loss / {whole}"
    return f"loss = loss * {factor:.6g}"


def smoothing_mend(wanted: Formula) -> str:
    """How labels are smoothed; torch's binary losses have no setting for it."""
    if "binary" in wanted.name and wanted.smoothing:
        return f"target = target * {1 - wanted.smoothing:g} + {wanted.smoothing / 2:g}"
    return f"label_smoothing={wanted.smoothing:g}"


def other_mend(context: Context, wanted: str, seen: str) -> str:
    """What to do where a loss is another one, or the same with another setting, or of targets that are broadcast."""
    if seen.startswith(f"{wanted}, ") and "broadcast" in seen:
        return _unbroadcast(context)
    first, second = (_SETTING.fullmatch(name) for name in (wanted, seen))
    if first and second and first.group("loss", "setting") == second.group("loss", "setting"):
        return f"{first['setting']}={first['value']}"
    return f"use {wanted}"


_SETTING = re.compile(r"(?P<loss>.+) \((?P<setting>\w+) (?P<value>[\d.e+-]+)\)")


def _unbroadcast(context: Context) -> str:
    """What makes outputs and targets of the steered side's loss have one shape, by the shapes that it was given."""
    losses = context.steered.observation.losses
    terms = (losses[0].get("terms") or []) if losses else []
    arrays = context.steered.observation.arrays((terms[0].get("inputs") or [])[:2]) if len(terms) == 1 else []
    if context.frameworks[1] == "torch" and len(arrays) == 2 and all(array is not None for array in arrays):
        output, target = (len(array.shape) for array in arrays if array is not None)
        return "output.squeeze(1)" if output > target else "target.squeeze(1)"
    return "squeeze(1) of whichever has the shape (n, 1), output or target"
