"""The loss where it is differentiated, from the guide's own outputs."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compare.explanation.arithmetic.losses import Formula, Sample, find
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.observed.pairing import Side
from compare.explanation.operations.learning import learn

_SAME = 1e-9
_ROUNDED = 1e-6


def loss(context: Context) -> None:
    """Finds what differs in the loss."""
    if context.says("accumulation"):
        context.not_seen.append("the loss, since a step has another number of batches")
        return
    guide, steered = _values(context.guide.observation), _values(context.steered.observation)
    count = min(len(guide), len(steered))
    if context.has("forward") or context.unpaired or context.says("evaluation mode"):
        # Only in the first steps the outputs of layers were put in their place.
        count = min(count, len(context.guide.observation.calls))
    steps = [i for i in range(count) if np.isfinite(guide[i]) and np.isfinite(steered[i])]
    if not steps:
        context.not_seen.append("the loss")
        return
    a, b = np.array([guide[i] for i in steps]), np.array([steered[i] for i in steps])
    scale = np.maximum(np.abs(a), 1e-12)
    far = float(np.max(np.abs(a - b) / scale))
    if far <= _SAME:
        context.same.append(f"the loss of {len(steps)} steps, from the same outputs")
        return
    if far <= _ROUNDED:
        _inherent(context, far)
        return
    _explain(context, steps, a, b, far)


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
                places=(_loss_place(context.guide.observation), place(term.get("place"))),
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


def _inherent(context: Context, far: float) -> None:
    context.find(
        "loss",
        "the loss differs by a constant rounded to float32, or by probabilities that are clipped",
        guide=_named(context.guide.observation),
        steered=_named(context.steered.observation),
        effect=far,
        effect_text=f"off by {far:.2g}",
        severity="inherent",
    )


def _named(observation: Observation) -> str:
    terms = (observation.losses[0].get("terms") or []) if observation.losses else []
    names = [str(term.get("function")) for term in terms if isinstance(term, dict)]
    return " + ".join(dict.fromkeys(names)) or "a loss written out"


def _loss_place(observation: Observation) -> Place | None:
    if not observation.losses:
        return None
    terms = observation.losses[0].get("terms") or []
    found = next((place(term.get("place")) for term in terms if term.get("place")), None)
    compiled = observation.place("data", "fit", "place") if observation.framework == "keras" else None
    return found or place(observation.losses[0].get("place")) or compiled


def _explain(context: Context, steps: Sequence[int], a: Array, b: Array, far: float) -> None:
    """Names the difference: by formulas, by weights of terms, by penalties, by a factor."""
    if _last_activation(context, steps, a, b):
        return
    places = (_loss_place(context.guide.observation), _loss_place(context.steered.observation))
    for attempt in (_by_both_formulas, _by_terms, _by_formula, _by_factor):
        found = attempt(context, steps, a, b)
        if found is None:
            continue
        squashed = _squashing_place(context) if "before a loss that applies" in found[0][0] else None
        if squashed is not None:
            places = (places[0], squashed)
        for title, guide, steered, cause, mend in found:
            context.find(
                "loss",
                title,
                guide=f"{guide}; loss {a[0]:.6g}",
                steered=f"{steered}; loss {b[0]:.6g}",
                places=places,
                effect=min(far, 10.0),
                effect_text=f"the loss is off by {far:.3g} of itself",
                cause=cause,
                mend=mend,
            )
        return
    if context.says("evaluation mode"):
        context.not_seen.append("the loss by itself: it changes with the mode that the layers are in")
        return
    if context.has("forward"):
        after = [found for found in context.findings if found.stage == "forward" and found.severity == "fault"]
        context.not_seen.append(f"the loss by itself: what differs before it ({after[0].title}) changes it")
        return
    context.find(
        "loss",
        "the loss differs from the same outputs; no known cause fits",
        guide=f"{_named(context.guide.observation)}: {a[0]:.8g}",
        steered=f"{_named(context.steered.observation)}: {b[0]:.8g}",
        places=places,
        effect=min(far, 10.0),
        effect_text=f"off by {far:.3g} of itself",
    )


def _last_activation(context: Context, steps: Sequence[int], a: Array, b: Array) -> bool:
    """Whether all that differs is that the steered side has no activation at its end; says so."""
    samples = _samples(context, steps)
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
            mend=f"return {activation.code.replace('{}', 'x')}" if activation is not None and activation.code else "",
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


Found = list[tuple[str, str, str, str, str]]


def _by_terms(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """As a sum of the guide's own terms: outputs' losses, penalties of the weights. Needs more steps than terms."""
    terms = _terms(context, steps)
    if not terms:
        return None
    main = [name for name in terms if name.startswith("the loss")]
    for count in range(len(terms) - len(main) + 1):  # no more penalties than are needed
        for penalties in itertools.combinations([name for name in terms if name not in main], count):
            found = _weighted_terms(context, {name: terms[name] for name in (*main, *penalties)}, a, b)
            if found:
                return found
    return None


def _weighted_terms(context: Context, terms: dict[str, Array], a: Array, b: Array) -> Found:
    """Both losses as sums of the same terms; empty if one of them is none."""
    names = list(terms)
    columns = np.stack([terms[name] for name in names], axis=1)
    if len(a) <= len(names) or np.linalg.matrix_rank(columns / np.abs(columns).max(axis=0)) < len(names):
        return []
    first, second = _solved(columns, a), _solved(columns, b)
    if first is None or second is None:
        return []
    found: Found = []
    for name, x, y in zip(names, first, second, strict=True):
        if abs(x - y) > 1e-6 * max(abs(x), abs(y), 1e-9):
            found.append(_weighed(context, name, float(x), float(y), len(names)))
    return found


def _solved(columns: Array, values: Array) -> Array | None:
    """The weights of a sum, if it is one."""
    scale = np.abs(columns).max(axis=0)
    weights = np.linalg.lstsq(columns / scale, values, rcond=None)[0] / scale
    share = np.abs(weights) * scale / max(np.abs(values).max(), 1e-30)
    weights = np.where(share < 1e-9, 0.0, weights)
    error = np.abs(columns @ weights - values).max()
    return weights if error <= 1e-8 * max(np.abs(values).max(), 1e-12) else None


def _terms(context: Context, steps: Sequence[int]) -> dict[str, Array]:
    """The values of the guide's terms by name, at each step; those that any step lacks are left out."""
    losses = context.guide.observation.losses
    rows: list[dict[str, float]] = []
    for step in steps:
        row: dict[str, float] = {}
        entry = losses[step]
        for number, term in enumerate(entry.get("terms") or []):
            if isinstance(term.get("value"), int | float):
                row[f"the loss {term.get('function')} of output {term.get('output') or number}"] = float(term["value"])
        for regularizer in ("L1", "L2"):
            power = 1 if regularizer == "L1" else 2
            for kind in ("weights", "biases"):
                total = _norm(context, step, power, biases=kind == "biases", only=_penalised(entry, regularizer))
                row[f"{regularizer} penalty of the {kind}"] = total
        rows.append(row)
    names = (
        [name for name in rows[0] if all(name in row for row in rows) and any(row[name] for row in rows)]
        if rows
        else []
    )
    main = [name for name in names if name.startswith("the loss")]
    penalties = [name for name in names if name not in main]
    wanted = main + penalties
    return {name: np.array([row[name] for row in rows]) for name in wanted} if main else {}


def _penalised(entry: dict[str, Any], regularizer: str) -> frozenset[str] | None:
    """The paths of the parameters that the guide penalises so; None if it penalises none."""
    paths = []
    for penalty in entry.get("penalties") or []:
        settings = penalty.get("settings") or {}
        if penalty.get("function") == regularizer or settings.get(regularizer.lower()):
            paths.append(str(penalty.get("parameter")))
    return frozenset(paths) or None


def _norm(context: Context, step: int, power: int, *, biases: bool, only: frozenset[str] | None) -> float:
    """The sum of the powers of the weights, or of the biases."""
    if power == 1 and only is None:
        return 0.0
    before = context.guide.observation.by_path("parameters_before", step)
    trainable = {
        p.path: len(p.shape)
        for layer in context.guide.layers.values()
        for p in layer.parameters.values()
        if p.trainable
    }
    total = 0.0
    for path, array in before.items():
        if path not in trainable or (trainable[path] < 2) != biases:
            continue
        if only is not None and path not in only and not biases:
            continue
        total += float((np.abs(np.asarray(array, np.float64)) ** power).sum())
    return total


def _weighed(context: Context, name: str, x: float, y: float, count: int) -> tuple[str, str, str, str, str]:
    """A term that the two weigh differently."""
    if "penalty" in name:
        words = f"{name} (regularisation, like weight decay)"
        if x and y:
            ratio = y / x
            extra = " (one half of it)" if abs(ratio - 0.5) < 1e-6 else " (twice)" if abs(ratio - 2) < 1e-6 else ""
            title = context.differs(f"factor of the {words}:", f"{x:.6g}", f"{y:.6g}{extra}")
            return (
                title,
                f"{x:.6g}",
                f"{y:.6g}",
                f"the factor of the {name} is {ratio:.6g} times the other",
                f"use {x:.6g}",
            )
        title = context.missing(words, "in the loss") if x else context.added(f"{words} of {y:.6g}", "in the loss")
        return title, f"{x:.6g}", f"{y:.6g}", title, f"use {x:.6g}"
    what = f"weight of {name}" if count > 1 else "factor of the loss"
    title = context.differs(f"{what}:", f"{x:.6g}", f"{y:.6g}")
    ratio = y / x if x else float("inf")
    size = _batch_size(context)
    if count == 1 or abs(ratio - round(ratio)) > 1e-6 or size is None:
        words = _factor_words(context, ratio)
        title = f"{title}: {words}" if words else title
    return title, f"weight {x:.6g}", f"weight {y:.6g}", title, f"multiply {name} by {x / y:.6g}" if y else f"add {name}"


def _batch_size(context: Context) -> int | None:
    for step in context.guide.observation.fed[:1]:
        for array in context.guide.observation.arrays(step.get("inputs")):
            if array is not None and array.ndim:
                return len(array)
    return None


def _factor_words(context: Context, ratio: float) -> str:
    """What a constant factor between two losses usually is."""
    size = _batch_size(context)
    sample = next(iter(_samples(context, [0])), None)
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


def _samples(context: Context, steps: Sequence[int]) -> list[Sample]:
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
        if logits is None and len(calls) > 1 and last.inputs and _squashes(context.guide, last.layer):
            logits = observation.array(last.inputs[0])
        if outputs is None:
            return found
        weights = observation.array(observation.fed[step].get("sample_weights"))
        found.append(Sample(outputs, logits, target, weights, _class_weights(context, outputs.shape[-1])))
    return found


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


def _by_both_formulas(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formulas of both losses, where both are known."""
    samples = _samples(context, steps)
    first, second = find(samples, list(a)), find(samples, list(b))
    return None if first is None or second is None else _differences(context, first, second) or None


def _by_formula(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the formula of the steered side's loss alone."""
    samples = _samples(context, steps)
    if not samples:
        return None
    second = find(samples, list(b))
    if second is None or find(samples, list(a)) is not None:
        return None
    title = f"the port's loss is {second}" if context.guide_is_reference else f"the reference's loss is {second}"
    return [(title, _named(context.guide.observation), str(second), title, "use the reference's loss")]


def _differences(context: Context, first: Formula, second: Formula) -> Found:
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


def _by_factor(context: Context, _: Sequence[int], a: Array, b: Array) -> Found | None:
    """A constant factor, the same at every step."""
    ratio = b / np.where(a == 0, np.nan, a)
    if not np.isfinite(ratio).all() or np.ptp(ratio) > 1e-7 * abs(float(ratio[0])) or len(ratio) < 2:
        return None
    value = float(ratio[0])
    words = _factor_words(context, value)
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
            _named(context.guide.observation),
            _named(context.steered.observation),
            words or "a constant factor",
            "reduction='mean'" if "sum" in words else f"multiply it by {1 / value:.6g}",
        )
    ]
