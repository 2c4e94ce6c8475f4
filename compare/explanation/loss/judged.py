"""The loss where it is differentiated, from the guide's own outputs."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compare.explanation.arithmetic.losses import find
from compare.explanation.context import Context
from compare.explanation.feeding.data import augments_apart
from compare.explanation.findings import Place, joined
from compare.explanation.loss.formulas import (
    by_both_formulas,
    by_factor,
    by_formula,
    by_formula_and_penalty,
    by_own_prediction,
)
from compare.explanation.loss.hand_written import by_parting
from compare.explanation.loss.outputs import other_outputs
from compare.explanation.loss.shares import by_share
from compare.explanation.loss.terms import by_terms
from compare.explanation.loss.words import loss_place, named, samples_of
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.observed.values import match
from compare.explanation.operations.learning import learn
from compare.explanation.origins import made_at
from compare.explanation.words import counted, off_by

_SAME = 1e-9


_ROUNDED = 1e-6


def loss(context: Context) -> None:
    """Finds what differs in the loss."""
    if context.says("accumulation"):
        context.not_seen.append("the loss, since a step has another number of batches")
        return
    guide, steered = _values(context.guide.observation), _values(context.steered.observation)
    count = min(len(guide), len(steered))
    apart = context.unpaired or augments_apart(context)
    if apart or context.has("forward") or context.says("evaluation mode|^inputs|^targets"):
        # Only in the first steps the outputs of layers were put in their place, whatever the inputs were.
        count = min(count, len(context.guide.observation.calls))
    steps = [i for i in range(count) if np.isfinite(guide[i]) and np.isfinite(steered[i])]
    if not steps:
        context.not_seen.append("the loss")
        return
    a, b = np.array([guide[i] for i in steps]), np.array([steered[i] for i in steps])
    far = float(np.max(_apart(a, b)))
    if far <= _SAME:
        # Labels that one side smooths and the other's loss: the same, in two places.
        context.findings = [found for found in context.findings if not _SMOOTHED.match(found.title)]
        context.same.append(f"the loss of {counted(len(steps), 'step')}, from the same outputs")
        return
    if far <= _ROUNDED:
        _inherent(context, far)
        return
    if _keras_poisson(context, steps, a, b):
        _inherent(
            context,
            far,
            "Keras's Poisson loss adds 1e-7 to what it takes the logarithm of",
        )
        return
    if context.not_compared and not _given_the_same(context):
        context.not_seen.append(f"the loss: it comes after {joined(sorted(context.not_compared))}")
        return
    kept = len(context.guide.observation.calls)
    if 0 < kept < len(steps) and float(np.max(_apart(a, b)[:kept])) <= _SAME:
        title = (
            f"the loss is the same from the same outputs in {counted(kept, 'step')}, and another afterwards: a loss "
            "that changes with the step, or layers that give something else; no known cause fits"
        )
        _unexplained(context, title, a[kept:], b[kept:])
        return
    _explain(context, steps, a, b, far)


_SMOOTHED = re.compile(r"^targets.*label smoothing")


def _apart(a: Array, b: Array) -> Array:
    """How far the losses of each step are apart, relative to the guide's, (steps,)."""
    return np.asarray(np.abs(a - b) / np.maximum(np.abs(a), 1e-12))


def _unexplained(context: Context, title: str, a: Array, b: Array) -> None:
    far = float(np.max(_apart(a, b)))
    context.find(
        "loss",
        title,
        guide=f"{named(context.guide.observation)}: {a[0]:.8g}",
        steered=f"{named(context.steered.observation)}: {b[0]:.8g}",
        places=(loss_place(context.guide.observation), loss_place(context.steered.observation)),
        effect=min(far, 10.0),
        effect_text=off_by(far, "itself"),
    )


def broadcast(context: Context) -> None:
    """Finds outputs (n, 1) held against targets (n,): torch makes (n, n) of them, which need not show at first."""
    observation = context.steered.observation
    for term in (observation.losses[0].get("terms") or []) if observation.losses else []:
        arrays = observation.arrays(term.get("inputs"))[:2]
        if observation.framework != "torch" or len(arrays) < 2 or str(term.get("function")) not in _ELEMENTWISE:
            continue
        shapes = [array.shape for array in arrays if array is not None]
        if len(shapes) == 2 and shapes[0] != shapes[1] and not context.says("broadcast"):
            size = np.broadcast_shapes(*shapes)
            context.find(
                "loss",
                f"outputs of shape {shapes[0]} against targets of shape {shapes[1]} are broadcast to {size}",
                guide="one output against one target",
                steered="each output against each target",
                places=(loss_place(context.guide.observation), place(term.get("place"))),
                effect=1.0,
                effect_text="the loss is of pairs that do not belong together, even where its first values are alike",
                cause="broadcast",
                mend="output.squeeze(1), or target.unsqueeze(1)",
            )


_ELEMENTWISE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def _values(observation: Observation) -> list[float]:
    values = [_whole_value(observation, entry) for entry in observation.losses]
    return [float(value) if isinstance(value, int | float) else float("nan") for value in values]


def _whole_value(observation: Observation, entry: dict[str, Any]) -> Any:
    """The loss of a step: of one that accumulates, of all its batches, as the optimizer adds them up."""
    several = entry.get("backward_values") or []
    if len(several) < 2 or not all(isinstance(value, int | float) for value in several):
        return entry.get("value")
    steps = observation.part("optimizer", "settings", "gradient_accumulation_steps")
    return sum(several) / len(several) if isinstance(steps, int) and steps > 1 else sum(several)


def _keras_poisson(context: Context, steps: Sequence[int], a: Array, b: Array) -> bool:
    """Whether the guide's loss is Keras's Poisson loss, and the other side's the same without its 1e-7."""
    samples = samples_of(context, steps)
    if context.frameworks[0] != "keras" or not samples or named(context.guide.observation) != "poisson":
        return False
    flat = [(sample.outputs.reshape(-1), np.asarray(sample.targets, np.float64).reshape(-1)) for sample in samples]
    if any(x.size != y.size or x.min() <= 0 for x, y in flat):
        return False
    with_epsilon, without = ([float(np.mean(x - y * np.log(x + epsilon))) for x, y in flat] for epsilon in (1e-7, 0))
    pairs = ((a[: len(flat)], with_epsilon), (b[: len(flat)], without))
    return all(np.allclose(found, wanted, rtol=_ROUNDED, atol=0) for found, wanted in pairs)


def _inherent(
    context: Context,
    far: float,
    title: str = "the loss differs by a constant rounded to float32, or by probabilities that are clipped",
) -> None:
    context.find(
        "loss",
        title,
        guide=named(context.guide.observation),
        steered=named(context.steered.observation),
        effect=far,
        effect_text=off_by(far, "itself"),
        severity="inherent",
    )


def _explain(context: Context, steps: Sequence[int], a: Array, b: Array, far: float) -> None:
    """Names the difference: by formulas, by weights of terms, by penalties, by a factor."""
    if _last_activation(context, steps, a, b) or other_outputs(context, steps):
        return
    places = (loss_place(context.guide.observation), loss_place(context.steered.observation))
    for attempt in (
        by_both_formulas,
        by_terms,
        by_formula_and_penalty,
        by_formula,
        by_parting,
        by_factor,
        by_share,
        by_own_prediction,
    ):
        found = attempt(context, steps, a, b)
        if found is None:
            continue
        for said in found:
            if said.title.startswith("label smoothing") and context.says(_SMOOTHED.pattern):
                continue  # by the labels that it was given, of which that is said
            squashes = "before a loss that applies" in said.title
            line = said.place or (_squashing_place(context) if squashes else None) or _loss_made_at(context, places[1])
            context.find(
                "loss",
                said.title,
                guide=f"{said.guide}; loss {a[0]:.6g}",
                steered=f"{said.steered}; loss {b[0]:.6g}",
                places=(places[0], line),
                effect=min(far, 10.0),
                effect_text=f"the loss is {off_by(far, 'itself')}",
                cause=said.cause,
                mend=said.mend,
            )
        return
    if context.says("evaluation mode"):
        context.not_seen.append("the loss by itself: it changes with the mode that the layers are in")
        return
    if context.says("^targets"):
        context.not_seen.append("the loss by itself: the targets differ")
        return
    if context.has("forward") and not _given_the_same(context):
        after = [found for found in context.findings if found.stage == "forward" and found.severity == "fault"]
        context.not_seen.append(f"the loss by itself: what differs before it ({after[0].title}) changes it")
        return
    outputs = "from the same outputs" if _given_the_same(context) else "and what the model ends with differs"
    _unexplained(context, f"the loss differs {outputs}; no known cause fits", a, b)


def _loss_made_at(context: Context, line: Place | None) -> Place | None:
    """Of a loss that is called as an object, the line that makes it, where its settings are; else that of the call."""
    functions = context.steered.observation.loss_functions
    if line is None or not functions or any(name in line.code for name in functions):
        return line
    return made_at(line, context.folders[1], r"Loss\(")


def _given_the_same(context: Context) -> bool:
    """Whether both losses were given the same outputs of the model, whatever differs before those."""
    guide, steered = context.guide.observation, context.steered.observation
    both = match(guide.array(guide.predicted), steered.array(steered.predicted))
    return both is not None and both.rounded


def _last_activation(context: Context, steps: Sequence[int], a: Array, b: Array) -> bool:
    """Whether all that differs is that the steered side has no activation at its end; says so."""
    samples = samples_of(context, steps)
    first, second = find(samples, list(a)), find(samples, list(b))
    if first is None or second is None or "before the last activation" not in second.on:
        return False
    if replace(second, on=first.on) != first or samples[0].logits is None:
        return False
    activation = learn(samples[0].logits, samples[0].outputs)
    pair = context.pairing.pairs[-1]
    name = "activation" if activation is None else activation.name
    if not any(f"no {name} after" in found.title or f"{name} after" in found.title for found in context.findings):
        context.find(
            "forward",
            context.missing(name, f"after {context.name(pair)}"),
            guide=f"{name} at the end",
            steered="nothing at the end",
            places=(pair.guide.place, _line_of(context, pair.port.name) or pair.port.place),
            effect=1.0,
            cause=f"no {name} at the end",
            mend=f"return {activation.code.replace('{}', 'x')}"
            if activation is not None and activation.code and context.frameworks[1] == "torch"
            else f"end with {name}",
        )
    return True


def _line_of(context: Context, name: str) -> Place | None:
    calls = context.steered.observation.calls[0] if context.steered.observation.calls else []
    return next((call.place for call in reversed(calls) if call.layer == name), None)


def _squashing_place(context: Context) -> Place | None:
    """The line of the steered side's last softmax or sigmoid."""
    calls = context.steered.observation.calls[0] if context.steered.observation.calls else []
    for call in reversed(calls):
        layer = context.steered.layers.get(call.layer or "")
        if re.search(r"softmax|sigmoid", f"{call.function} {layer.kind if layer else ''}", re.IGNORECASE):
            return call.place or (layer.place if layer else None)
    return None
