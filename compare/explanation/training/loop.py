"""What the training loop does beside forward, backward and step, and the mode in which it does it."""

import re
from dataclasses import dataclass
from typing import Any

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place
from compare.explanation.training.optimizer.updates import alike


def loop(context: Context) -> None:
    """Finds what differs in the loops."""
    _zero_grad(context)
    _cleared(context)
    _accumulation(context)
    _precision(context)
    _loss_scale(context)
    _left_in_evaluation(context)
    _average(context)


def _places(context: Context) -> tuple[Place | None, Place | None]:
    return (
        context.guide.observation.place("optimizer", "place"),
        context.steered.observation.place("optimizer", "place"),
    )


def _loss_places(context: Context) -> tuple[Place | None, Place | None]:
    return _loss_place(context.guide.observation), _loss_place(context.look)


def _loss_place(observation: Observation) -> Place | None:
    return place(observation.losses[0].get("place")) if observation.losses else None


def _zero_grad(context: Context) -> None:
    """Gradients that are left from the step before."""
    sides = [_stale(context.guide.observation), _stale(context.look)]
    if sides[0] == sides[1]:
        return
    words = {True: "gradients of earlier steps are still there and add up", False: "gradients begin at zero"}
    missing_in_port = sides[1] == context.guide_is_reference
    title = "zero_grad is missing: gradients add up over the steps"
    context.find(
        "loop",
        title if missing_in_port else f"the reference lacks what the port does: {title}",
        guide=words[sides[0]],
        steered=words[sides[1]],
        places=_loss_places(context),
        effect=3.0,
        effect_text="each update is made from all gradients so far",
        cause="zero_grad missing, or at the wrong place",
        mend="optimizer.zero_grad()",
    )


def _stale(observation: Observation) -> bool:
    """Whether gradients of a step were there when the next one's first backward pass began."""
    flags = observation.part("loop", "stale_gradients") or []
    return len(flags) > 1 and any(flags[1:])


def _cleared(context: Context) -> None:
    """Gradients that are gone when the optimizer steps."""
    sides = [_gone(context.guide.observation), _gone(context.steered.observation)]
    if sides[0] == sides[1]:
        return
    words = {True: "no gradient is left when the optimizer steps", False: "gradients reach the step"}
    in_port = sides[1] == context.guide_is_reference
    title = "gradients are cleared (zero_grad) between backward and step: nothing is learned"
    context.find(
        "loop",
        title if in_port else f"in the reference, {title}",
        guide=words[sides[0]],
        steered=words[sides[1]],
        places=_loss_places(context),
        effect=3.0,
        cause="zero_grad at the wrong place",
        mend="optimizer.zero_grad() before backward, not after",
    )


def _gone(observation: Observation) -> bool:
    """Whether there were gradients after the backward pass and none, or nothing but zeros, at the step."""
    raw, given = observation.by_path("raw_gradients", 0), observation.by_path("gradients", 0)
    some = any(array.any() for array in raw.values())
    return some and not any(array.any() for array in given.values())


def _accumulation(context: Context) -> None:
    """How many backward passes there are to a step."""
    counts = [_backward(context.guide.observation), _backward(context.look)]
    if counts[0] == counts[1] or 0 in counts:
        return
    title = context.differs("accumulation: backward passes per step:", str(counts[0]), str(counts[1]))
    context.find(
        "loop",
        title,
        guide=f"{counts[0]} backward {'pass' if counts[0] == 1 else 'passes'} to a step",
        steered=f"{counts[1]} backward {'pass' if counts[1] == 1 else 'passes'} to a step",
        places=_loss_places(context),
        effect=1.0,
        effect_text="gradients are accumulated over several batches on one side",
        cause="accumulation of gradients",
        mend="step as often as the reference does",
    )


def _backward(observation: Observation) -> int:
    counts = [count for count in observation.part("loop", "backward") or [] if isinstance(count, int)]
    accumulate = observation.part("optimizer", "settings", "gradient_accumulation_steps")
    if isinstance(accumulate, int) and accumulate > 1:
        return accumulate
    return max(counts[:3], default=0)


def _precision(context: Context) -> None:
    """Autocast, bfloat16, mixed precision."""
    sides = [_low(context.guide.observation), _low(context.look)]
    if sides[0] == sides[1]:
        return
    autocast = context.look.part("loop", "autocast")
    where = place(autocast.get("place")) if isinstance(autocast, dict) else None
    where = where or context.look.place("data", "trainer", "place")
    title = context.differs("precision of the computation:", sides[0], sides[1])
    context.find(
        "loop",
        f"{title} (autocast, mixed precision)",
        guide=sides[0],
        steered=sides[1],
        places=(_places(context)[0], where or _places(context)[1]),
        effect=4e-3,
        effect_text="8 to 11 bits of a value's 24 are left",
        cause="mixed precision",
        mend="train in the reference's precision",
    )


def _low(observation: Observation) -> str:
    """The precision that a side computes in, and that of its weights where it is low, by its own words."""
    autocast = observation.part("loop", "autocast")
    policy = str(observation.part("dtype_policy") or "")
    weights = str(observation.part("loop", "weights_dtype") or "float32")
    computed = weights
    if isinstance(autocast, dict):
        computed = str(autocast.get("dtype")).removeprefix("torch.")
    elif "mixed" in policy:
        computed = policy.removeprefix("mixed_")
    elif policy in _HALVES:
        computed = weights = policy
    if computed not in _HALVES:
        return "float32"
    return computed if weights not in _HALVES else f"{computed}, weights too"


_HALVES = ("bfloat16", "float16")


def _loss_scale(context: Context) -> None:
    """Small gradients in float16, which a loss scale keeps from becoming zero."""
    sides = [_scales(context.guide.observation), _scales(context.look)]
    if None in sides or sides[0] == sides[1]:
        return
    words = {True: "the loss is scaled (LossScaleOptimizer, GradScaler)", False: "the loss is not scaled"}
    what = "loss scale in float16"
    context.find(
        "loop",
        context.added(what, "in the loop") if sides[1] else context.missing(what, "in the loop"),
        guide=words[bool(sides[0])],
        steered=words[bool(sides[1])],
        places=_places(context),
        effect=0.1,
        effect_text="small gradients become zero in float16",
        cause=what,
        mend="torch.amp.GradScaler()",
    )


def _scales(observation: Observation) -> bool | None:
    """Whether a side scales its loss; None where it does not compute in float16."""
    if not _low(observation).startswith("float16"):
        return None
    automatic = observation.part("dtype_policy") == "mixed_float16" and observation.part("compile", "auto_scale_loss")
    return bool(observation.part("loop", "grad_scaler") or automatic)


def modes(context: Context) -> None:
    """Layers in evaluation mode while training, where the values show it: one finding in place of one each."""
    shown = [
        found
        for found in context.findings
        if found.stage == "forward" and re.search("running statistics in place|drops nothing in training", found.title)
    ]
    flags = context.look.part("loop", "training_flags")
    if not shown or not isinstance(flags, dict):
        return
    sensitive = [name for name, layer in context.steered.layers.items() if _minds(layer.kind) and name in flags]
    off = [name for name in sensitive if flags[name] is False]
    if not off:
        return
    for found in shown:
        context.findings.remove(found)
    set_at = context.look.place("loop", "mode_places", off[0])
    which = "all layers" if len(off) == len(sensitive) else ", ".join(off)
    context.find(
        "loop",
        f"trained in evaluation mode (model.eval(), training=False): {which}"
        if context.guide_is_reference
        else f"the reference is trained in evaluation mode (model.eval()): {which}",
        guide="training mode",
        steered="evaluation mode",
        places=(_loss_places(context)[0], set_at or _loss_places(context)[1]),
        effect=max(found.effect for found in shown),
        effect_text="dropout does nothing, normalisations use running statistics",
        cause="evaluation mode while training",
        mend="model.train()",
    )


def _left_in_evaluation(context: Context) -> None:
    """A model that goes back to evaluation mode after some steps, or by its source after the first epoch."""
    texts, lines = [], []
    for observation in (context.guide.observation, context.steered.observation):
        steps = [flag for flag in observation.part("loop", "training_by_step") or [] if isinstance(flag, bool)]
        at = next((i for i, flag in enumerate(steps) if not flag and steps[0]), None)
        line = observation.place("loop", "left_in_evaluation")
        begins = not steps or steps[0]
        later = "evaluation mode from the second epoch on" if line is not None and begins else "training mode"
        texts.append(later if at is None else f"evaluation mode from step {at + 1} on")
        lines.append(line)
    if texts[0] == texts[1] or not any(_minds(layer.kind) for layer in context.steered.layers.values()):
        return
    places = _loss_places(context)
    context.find(
        "loop",
        context.differs("mode while training (model.eval() without model.train() after it):", texts[0], texts[1]),
        guide=texts[0],
        steered=texts[1],
        places=(lines[0] or places[0], lines[1] or places[1]),
        effect=0.8,
        effect_text="dropout does nothing, normalisations use running statistics",
        cause="evaluation mode while training",
        mend="model.train() at the beginning of each epoch",
    )


def _minds(kind: str) -> bool:
    return kind.startswith(
        ("Dropout", "BatchNorm", "SpatialDropout", "AlphaDropout", "GaussianDropout", "SyncBatchNorm")
    )


def _average(context: Context) -> None:
    """A moving average of the weights, and how much it keeps of the old one."""
    observations = context.guide.observation, context.steered.observation
    sides = [_averaged(observation) for observation in observations]
    if sides[0] == sides[1]:
        return
    what = "moving average of the weights (EMA)"
    for side, observation in zip(sides, observations, strict=True):
        if side is None and observation.part("loop", "names_average"):
            context.not_seen.append(f"a {what} that {observation.words}'s script seems to keep by itself")
            return
    if sides[0] is None or sides[1] is None:
        title = context.missing(what, "in the loop") if sides[1] is None else context.added(what, "in the loop")
    elif all(side.first is not None for side in sides if side) and not alike(sides[0].decay, sides[1].decay):
        title = context.differs(f"decay of the {what}:", *(_decay_words(side) for side in sides if side))
    elif sides[0].updated != sides[1].updated:
        title = context.differs(f"{what} is", sides[0].updated, sides[1].updated)
    else:
        return
    context.find(
        "loop",
        title,
        guide=_averaged_words(sides[0]),
        steered=_averaged_words(sides[1]),
        places=(_places(context)[0], _average_place(context.steered.observation) or _places(context)[1]),
        effect=0.1,
        cause="moving average of the weights",
    )


@dataclass(frozen=True)
class _Average:
    """A moving average of the weights.

    Args:
        decay: How much of the old it keeps; None where that is not the same at every step.
        first: The same at its first update, None where that is not known.
        updated: How often.
    """

    decay: float | None
    first: float | None
    updated: str


def _averaged(observation: Observation) -> _Average | None:
    settings = observation.part("optimizer", "settings") or {}
    if settings.get("use_ema"):
        momentum = _number(settings.get("ema_momentum"))
        return _Average(momentum, momentum, "updated")
    found = observation.part("loop", "ema")
    if not isinstance(found, dict):
        return None
    decay, per_epoch = _number(found.get("decay")), found.get("per") == "epoch"
    updated = "updated" if found.get("updates") else "updated once in an epoch" if per_epoch else "never updated"
    return _Average(decay, decay if decay is not None else _number(found.get("first")), updated)


def _decay_words(side: _Average) -> str:
    if side.decay is not None:
        return f"{side.decay:g}"
    return "one that changes" + ("" if side.first is None else f" from step to step, {side.first:g} at first")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _averaged_words(side: _Average | None) -> str:
    return "not averaged" if side is None else f"averaged with decay {_decay_words(side)}, {side.updated}"


def _average_place(observation: Observation) -> Place | None:
    found = observation.part("loop", "ema")
    return place(found.get("place")) if isinstance(found, dict) else None
