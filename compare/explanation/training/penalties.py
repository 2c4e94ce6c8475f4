"""L2 penalties of the guide's weights, and the weight decay that does the same."""

from collections.abc import Mapping
from typing import Any

from compare.explanation.context import Context
from compare.explanation.observed.carry import parameter_pairs


def l2_of(entry: Mapping[str, Any]) -> float:
    """The factor of a penalty's squares, 0 of one that has none."""
    value = (entry.get("settings") or {}).get("l2")
    return float(value) if isinstance(value, int | float) else 0.0


def l2_penalties(context: Context) -> list[dict[str, Any]]:
    """Those penalties of the guide's first loss that have a factor of squares."""
    return [entry for entry in _penalties(context) if l2_of(entry)]


def _penalties(context: Context) -> list[dict[str, Any]]:
    return [entry for losses in context.guide.observation.losses[:1] for entry in losses.get("penalties") or ()]


def decayed_as_penalised(context: Context) -> bool:
    """Whether groups of parameters are decayed by twice the factor of their penalties, and no other parameter is."""
    wanted = {str(entry.get("parameter")): 2 * l2_of(entry) for entry in l2_penalties(context)}
    if not wanted or len(wanted) < len(_penalties(context)):
        return False
    counterparts = {b: a for found in context.pairing.pairs for a, b in parameter_pairs(found, context.frameworks)}
    seen = {
        counterparts.get(path, path): float((group.get("settings") or {}).get("weight_decay") or 0)
        for group in context.steered.observation.entries("optimizer", "groups")
        for path in group.get("parameters") or ()
    }
    decayed = {path: decay for path, decay in seen.items() if decay}
    return decayed.keys() == wanted.keys() and all(
        abs(decay - wanted[path]) <= 1e-6 * wanted[path] for path, decay in decayed.items()
    )
