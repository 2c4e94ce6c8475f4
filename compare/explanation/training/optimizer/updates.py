"""The updates that were seen, and whether an optimizer's rule gives them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.explanation.arithmetic.optimizers import ADAPTIVE, Rule, Settings, rule_of, simulate
from compare.explanation.context import Context
from compare.explanation.observed.observation import Array, Observation
from compare.explanation.words import off_by

VERIFIED = 1e-5


@dataclass(frozen=True)
class History:
    """The steps of one parameter: before, gradient as the optimizer got it, after; learning rates, moved settings."""

    path: str
    before: list[Array]
    gradients: list[Array]
    after: list[Array]
    rates: list[float]
    moved: tuple[Settings, ...] = ()

    def error(self, rule: Rule) -> float:
        """How far a rule is from the updates, relative to the largest."""
        made = simulate(rule, self.before, self.gradients, self.rates, self.moved)
        moved = [a - b for a, b in zip(self.after, self.before, strict=True)]
        largest = max((float(np.abs(m).max()) for m in moved if m.size), default=0.0)
        size = max((float(np.abs(a).max()) for a in self.after if a.size), default=0.0)
        # What a parameter itself is rounded by is no error of the rule.
        floor = max(largest, size * 1e-9, 1e-30)
        return (
            max((float(np.abs(a - b).max()) for a, b in zip(made, self.after, strict=True) if a.size), default=0.0)
            / floor
        )


def rule_of_side(observation: Observation) -> Rule | None:
    """The rule and settings of the optimizer of one side; None for one that is not known."""
    settings = dict(observation.part("optimizer", "settings") or {})
    if isinstance(settings.get("learning_rate"), dict) or "learning_rate" not in settings:
        rates = rates_of(observation)
        settings["learning_rate"] = rates[0] if rates else settings.get("lr", 0.0)
    return rule_of(observation.framework, str(observation.part("optimizer", "class")), settings)


def rule_like(observation: Observation, other: Rule) -> Rule | None:
    """The rule of an optimizer of the user's own class, if it is another side's rule in either framework's form.

    Its settings are those that it states, or else the other side's; the updates that were seen bear it out.
    """
    own = [history for history in histories(observation) if history.before]
    settings = dict(observation.part("optimizer", "settings") or {})
    stated = rule_of(observation.framework, other.name, settings)
    rates = rates_of(observation)
    for candidate in (stated, other):
        for framework in ("keras", "torch"):
            for decoupled in (True, False):
                if candidate is None or not own or not rates:
                    continue
                weight_decay = {"decoupled weight decay": decoupled} if candidate.settings.get("weight decay") else {}
                filled = {**other.settings, **candidate.settings, **weight_decay, "learning rate": rates[0]}
                rule = Rule(other.name, framework, filled)
                if all(history.error(rule) <= VERIFIED for history in own):
                    return rule
    return None


def rates_of(observation: Observation) -> list[float]:
    """The learning rate of each step."""
    fallback = observation.part("optimizer", "settings", "lr")
    found = [update.get("learning_rate") for update in observation.updates]
    return [float(rate if isinstance(rate, int | float) else fallback or 0.0) for rate in found]


def _rates_at(observation: Observation, path: str) -> list[float]:
    """The learning rate of each step of a parameter's own group."""
    index = (group_of(observation, path) or {}).get("rate")
    own = [(update.get("rates") or [])[index : index + 1] if index else [] for update in observation.updates]
    if index and all(rates and isinstance(rates[0], int | float) for rates in own):
        return [float(rates[0]) for rates in own]
    return rates_of(observation)


def moved_settings(observation: Observation, path: str = "") -> tuple[Settings, ...]:
    """The settings at each step that are others than at the first, as where a schedule moves the momentum too.

    Args:
        observation: Of a side.
        path: A parameter, for its own group; else the first group's.

    Returns:
        Of each step the settings under common names; nothing where none ever changes.
    """
    group = group_of(observation, path) or next(iter(observation.entries("optimizer", "groups")), {})
    stated = dict(group.get("settings") or {})
    name = str(group.get("class") or observation.part("optimizer", "class"))
    steps = [(update.get("settings") or [])[group.get("rate") or 0 :][:1] for update in observation.updates]
    rules = [rule_of(observation.framework, name, {**stated, **step[0]}) for step in steps if step]
    if len(rules) < len(steps) or not rules:
        return ()
    settings = [rule.settings for rule in rules if rule is not None]
    moved = tuple({key: x for key, x in own.items() if not alike(x, settings[0].get(key))} for own in settings)
    return moved if any(moved) else ()


def group_of(observation: Observation, path: str) -> dict[str, Any] | None:
    """The group of an optimizer that has a parameter; None where none is known to."""
    groups = observation.entries("optimizer", "groups")
    return next((group for group in groups if path in (group.get("parameters") or ())), None)


def histories(observation: Observation) -> list[History]:
    """Of each parameter that got a gradient at every step, its steps."""
    count = len(observation.updates)
    tables = [
        [observation.by_path(kind, step) for step in range(count)]
        for kind in ("parameters_before", "gradients", "parameters_after")
    ]
    if not count:
        return []
    found = []
    grouped = {p for group in observation.entries("optimizer", "groups") for p in group.get("parameters") or ()}
    for path in tables[1][0]:
        if grouped and "?" not in grouped and path not in grouped:
            continue
        if all(path in table for kind in tables for table in kind):
            before, gradients, after = ([table[path] for table in kind] for kind in tables)
            if all(np.isfinite(g).all() for g in gradients):
                moved = moved_settings(observation, path)
                found.append(History(path, before, gradients, after, _rates_at(observation, path), moved))
    return found


def rule_at(observation: Observation, path: str, rule: Rule | None) -> Rule | None:
    """The rule with the settings of a parameter's own group; the first group's is the one that is given."""
    groups = observation.entries("optimizer", "groups")
    group = group_of(observation, path)
    if group is None or group is groups[0]:
        return rule
    settings = dict(group.get("settings") or {})
    rates = _rates_at(observation, path)
    if rates and "lr" not in settings:
        settings["learning_rate"] = rates[0]
    own = rule_of(observation.framework, str(group.get("class") or observation.part("optimizer", "class")), settings)
    return own or (rule if not group.get("optimizer") else None)


def sparse_rows(context: Context, rule: Rule) -> None:
    """A sparse gradient's parts are squared before they are added, in TensorFlow."""
    observation = context.guide.observation
    found = {path for update in observation.updates for path in update.get("sparse") or ()}
    if not found or rule.name not in ADAPTIVE:
        return
    off = [history for history in histories(observation) if history.path in found and history.error(rule) > VERIFIED]
    if not off:
        return
    context.find(
        "optimizer",
        f"{rule.name} on an Embedding in TensorFlow: the gradient is sparse (IndexedSlices), and a row that occurs "
        "more than once in a batch gets the sum of the squares where torch has the square of the sum",
        guide=f"{', '.join(sorted(found))}: second moment from the sum of squares of the repeated parts",
        steered="second moment from the square of the sum",
        places=(observation.place("optimizer", "place"), context.steered.observation.place("optimizer", "place")),
        effect=max(history.error(rule) for history in off),
        effect_text="these rows move otherwise from the first step on",
        cause="sparse gradient",
        severity="inherent",
    )


def alike(x: Any, y: Any) -> bool:
    """Whether two values of a setting are the same, up to rounding to float32."""
    if isinstance(x, float) and isinstance(y, float):
        return abs(x - y) <= 1e-6 * max(abs(x), abs(y))
    return bool(x == y)


def verified(context: Context, first: Rule, second: Rule) -> bool:
    """Whether both rules with their settings give the updates that were seen; says so if one does not."""
    good = True
    for observation, rule in ((context.guide.observation, first), (context.steered.observation, second)):
        sparse = {path for update in observation.updates for path in update.get("sparse") or ()}
        own = [history for history in histories(observation) if history.path not in sparse]
        if not own:
            context.not_seen.append(f"{observation.words}'s updates")
            continue
        rules = {history.path: rule_at(observation, history.path, rule) for history in own}
        errors = {history.path: history.error(rules[history.path] or rule) for history in own if rules[history.path]}
        off = {path: error for path, error in errors.items() if error > VERIFIED}
        if not off:
            continue
        good = good and len(off) < len(own)
        worst = max(off, key=lambda path: off[path])
        if observation is context.steered.observation:
            _unknown_update(context, rule, worst, off[worst], len(off), len(own))
        else:
            context.not_seen.append(f"how {observation.words}'s {rule.name} moves {worst}: not by its usual rule")
    return good


def _unknown_update(context: Context, rule: Rule, worst: str, error: float, count: int, total: int) -> None:
    if context.has("loop", ("fault",)) or error < 1e-4:
        return
    context.find(
        "optimizer",
        f"the update of {worst} is not what {rule.name} makes of its gradient"
        + (f" ({count} of {total} parameters)" if count > 1 else ""),
        guide=f"{rule.name}'s rule",
        steered=off_by(error, "the largest update"),
        places=(
            context.guide.observation.place("optimizer", "place"),
            context.steered.observation.place("optimizer", "place"),
        ),
        effect=min(error, 1.0),
        effect_text=f"{off_by(error, 'the largest update')}; no known cause fits",
    )
