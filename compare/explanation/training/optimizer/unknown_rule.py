"""An optimizer whose rule is not known here: its settings as they are stated, its updates by value."""

import math
from typing import Any

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.carry import carried
from compare.explanation.observed.observation import Observation
from compare.explanation.training.optimizer.schedule import schedule
from compare.explanation.training.optimizer.updates import alike

SAME_UPDATE = 1e-6
"""Of an update; both sides computed it in float64 from the same gradients and the same weights."""

_COMMON = {
    "learning_rate": "lr", "epsilon": "eps", "initial_accumulator_value": "initial_accumulator",
    "learning_rate_power": "lr_power",
}  # fmt: skip
_OTHERWISE = frozenset({"name", "params", "foreach", "fused", "capturable", "differentiable", "jit_compile"})


def unknown_rule(context: Context, name: str, places: tuple[Place | None, Place | None]) -> None:
    """Compares an optimizer that both sides call by the same name.

    Args:
        context: Both sides.
        name: Of the optimizer.
        places: Where each was made.
    """
    scheduled = schedule(context)
    guide, steered = context.guide.observation, context.steered.observation
    first, second = _settings(guide), _settings(steered)
    apart = updates_apart(context)
    stated = [key for key in first if key in second and not alike(first[key], second[key])]
    stated = [key for key in stated if key != "lr" or not scheduled]
    for key in stated:
        context.find(
            "optimizer",
            context.differs(f"{name}'s {key}", f"{first[key]:g}", f"{second[key]:g}"),
            guide=f"{name}: {key} {first[key]:g}",
            steered=f"{name}: {key} {second[key]:g}",
            places=places,
            effect=0.5 if apart is None else min(apart, 5.0),
            effect_text="" if apart is None else f"the updates are {apart:.2g} of themselves apart",
            cause=f"{key} {first[key]:g} against {second[key]:g}",
            mend=f"{name}(..., {key}={first[key]:g})",
        )
    if stated or context.has("loop", ("fault",)):
        return
    if apart is None:
        context.not_seen.append(f"the update of {name}, whose rule is not known here")
    elif apart <= SAME_UPDATE:
        context.same.append(f"{name}: its updates from the reference's gradients, by value")
    else:
        context.find(
            "optimizer",
            f"{name}'s updates from the same gradients differ; no known cause fits",
            guide=f"{name} of {guide.words}",
            steered=f"{name} of {steered.words}",
            places=places,
            effect=min(apart, 5.0),
            effect_text=f"{apart:.2g} of themselves apart",
        )


def _settings(observation: Observation) -> dict[str, float]:
    """The numbers and switches that an optimizer states, under common names."""
    found: dict[str, Any] = observation.part("optimizer", "settings") or {}
    return {
        _COMMON.get(key, key): float(value)
        for key, value in found.items()
        if isinstance(value, int | float) and key not in _OTHERWISE
    }


def updates_apart(context: Context) -> float | None:
    """How far the updates of both sides are apart, relative to the guide's; None where they cannot be compared."""
    guide, steered = context.guide.observation, context.steered.observation
    if any("several forward passes" in str(text) for o in (guide, steered) for text in o.entries("warnings")):
        return None
    difference = moved = 0.0
    for step in range(min(len(guide.updates), len(steered.updates))):
        before, after = (guide.by_path(kind, step) for kind in ("parameters_before", "parameters_after"))
        steered_after = steered.by_path("parameters_after", step)
        trained = set(steered.by_path("gradients", step))
        for pair in context.pairing.pairs:
            begun, wanted = (carried(pair, arrays, context.frameworks, gradients=False) for arrays in (before, after))
            for path in wanted.keys() & begun.keys() & steered_after.keys() & trained:
                if wanted[path].shape == steered_after[path].shape:
                    difference += float(((wanted[path] - steered_after[path]) ** 2).sum())
                    moved += float(((wanted[path] - begun[path]) ** 2).sum())
    return math.sqrt(difference / moved) if moved > 0 else None
