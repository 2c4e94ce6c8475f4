"""The optimizer: its rule and every setting, borne out by its own updates from the guide's gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.explanation.arithmetic.optimizers import ADAPTIVE, EPSILON_PLACE, Rule, rule_of, simulate
from compare.explanation.context import Context
from compare.explanation.findings import Severity
from compare.explanation.observed.observation import Array, Observation, place

_VERIFIED = 1e-5
_MINOR = 1e-3
"""What changes an update by less than this share of itself is minor."""
_MINOR_EPSILON = 0.3
"""Epsilon matters most to weights that hardly have a gradient, whose updates matter least."""


@dataclass(frozen=True)
class History:
    """The steps of one parameter: before, gradient as the optimizer got it, after; and the learning rates."""

    path: str
    before: list[Array]
    gradients: list[Array]
    after: list[Array]
    rates: list[float]

    def error(self, rule: Rule) -> float:
        """How far a rule is from the updates, relative to the largest."""
        made = simulate(rule, self.before, self.gradients, self.rates)
        moved = [a - b for a, b in zip(self.after, self.before, strict=True)]
        largest = max((float(np.abs(m).max()) for m in moved if m.size), default=0.0)
        size = max((float(np.abs(a).max()) for a in self.after if a.size), default=0.0)
        # What a parameter itself is rounded by is no error of the rule.
        floor = max(largest, size * 1e-9, 1e-30)
        return (
            max((float(np.abs(a - b).max()) for a, b in zip(made, self.after, strict=True) if a.size), default=0.0)
            / floor
        )


def optimizer(context: Context) -> None:
    """Finds what differs in the optimizer."""
    guide, steered = context.guide.observation, context.steered.observation
    if not guide.part("optimizer") or not steered.part("optimizer"):
        context.not_seen.append("the optimizer")
        return
    first, second = _rule(guide), _rule(steered)
    names = (str(guide.part("optimizer", "class")), str(steered.part("optimizer", "class")))
    places = (guide.place("optimizer", "place"), steered.place("optimizer", "place"))
    if first is None or second is None:
        if names[0].lower() != names[1].lower():
            title = context.differs("optimizer", *names)
            context.find("optimizer", title, guide=names[0], steered=names[1], places=places, effect=1.0)
        else:
            context.not_seen.append(f"the update of {names[0]}, whose rule is not known here")
        return
    if first.name != second.name:
        title = context.differs("optimizer", *names)
        context.find(
            "optimizer",
            title,
            guide=_written(names[0], first),
            steered=_written(names[1], second),
            places=places,
            effect=1.0,
            cause=title,
            mend=f"torch.optim.{names[0]}(...)",
        )
        return
    _sparse(context, first)
    _settings(context, first, second, names)
    _places_of_epsilon(context, first, second)
    if not context.has("optimizer"):
        context.same.append(f"{names[1]} and its settings, by its own updates from the reference's gradients")


def _rule(observation: Observation) -> Rule | None:
    settings = dict(observation.part("optimizer", "settings") or {})
    if isinstance(settings.get("learning_rate"), dict) or "learning_rate" not in settings:
        rates = _rates(observation)
        settings["learning_rate"] = rates[0] if rates else settings.get("lr", 0.0)
    return rule_of(observation.framework, str(observation.part("optimizer", "class")), settings)


def _rates(observation: Observation) -> list[float]:
    fallback = observation.part("optimizer", "settings", "lr")
    found = [update.get("learning_rate") for update in observation.updates]
    return [float(rate if isinstance(rate, int | float) else fallback or 0.0) for rate in found]


def _written(name: str, rule: Rule) -> str:
    shown = {key: value for key, value in rule.settings.items() if value not in (None, False, 0.0)}
    return f"{name}({', '.join(f'{key} {_text(value)}' for key, value in shown.items())})"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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
                found.append(History(path, before, gradients, after, _rates(observation)))
    return found


def _group_rule(observation: Observation, path: str, rule: Rule) -> Rule:
    """The rule with the settings of a parameter's own group."""
    for group in observation.entries("optimizer", "groups")[1:]:
        if path in (group.get("parameters") or ()):
            own = rule_of(
                observation.framework, str(observation.part("optimizer", "class")), group.get("settings") or {}
            )
            return own or rule
    return rule


def _sparse(context: Context, rule: Rule) -> None:
    """A sparse gradient's parts are squared before they are added, in TensorFlow."""
    observation = context.guide.observation
    found = {path for update in observation.updates for path in update.get("sparse") or ()}
    if not found or rule.name not in ADAPTIVE:
        return
    off = [history for history in histories(observation) if history.path in found and history.error(rule) > _VERIFIED]
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


def _settings(context: Context, first: Rule, second: Rule, names: tuple[str, str]) -> None:
    """Compares setting by setting, each with what it does to the updates."""
    guide, steered = context.guide.observation, context.steered.observation
    places = (guide.place("optimizer", "place"), steered.place("optimizer", "place"))
    own = histories(guide)[:40]
    if not _verified(context, first, second):
        return
    _schedule(context)
    keys = dict.fromkeys([*first.settings, *second.settings])
    for key in keys:
        x, y = first.settings.get(key), second.settings.get(key)
        if x is None and key != "maximize":
            continue
        if key == "weight decay" and _is_penalty(context, second, y):
            continue
        if _alike(x, y) or (key == "decoupled weight decay" and (x is None or y is None)):
            continue
        effect = _effect(own, first, key, y)
        severity: Severity = "minor" if effect < _MINOR or (key == "epsilon" and effect < _MINOR_EPSILON) else "fault"
        what = f"{names[1] if context.guide_is_reference else names[0]}'s {key}"
        guide_text, steered_text = _text(x), _text(y)
        if key == "decoupled weight decay":
            modes = {True: "decoupled from the gradient (AdamW)", False: "through the gradient (L2, coupled)"}
            what, guide_text, steered_text = f"{names[1]}'s weight decay is", modes[bool(x)], modes[bool(y)]
        title = context.differs(what, guide_text, steered_text)
        context.find(
            "optimizer",
            title,
            guide=f"{names[0]}: {key} {guide_text}",
            steered=f"{names[1]}: {key} {steered_text}",
            places=places,
            effect=min(effect, 5.0),
            effect_text=f"changes an update by {effect:.2g} of itself",
            cause=f"{key} {guide_text} against {steered_text}",
            mend=f"{names[1]}(..., {_KEYWORDS.get(key, key)}={_keyword_value(key, x)})",
            severity=severity,
        )


_KEYWORDS = {
    "learning rate": "lr", "epsilon": "eps", "rho (alpha)": "alpha", "weight decay": "weight_decay",
    "initial accumulator": "initial_accumulator_value", "momentum decay": "momentum_decay", "beta 1": "betas",
    "beta 2": "betas",
}  # fmt: skip


def _keyword_value(key: str, value: Any) -> str:
    return (
        f"({_text(value)}, ...)" if key == "beta 1" else f"(..., {_text(value)})" if key == "beta 2" else _text(value)
    )


def _alike(x: Any, y: Any) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return abs(x - y) <= 1e-6 * max(abs(x), abs(y))
    return bool(x == y)


def _effect(own: list[History], rule: Rule, key: str, value: Any) -> float:
    """What a setting changes in the guide's own updates, relative to the largest of each parameter."""
    settings = {**rule.settings, key: value}
    if key == "weight decay" and value:
        settings["decoupled weight decay"] = rule.settings.get("decoupled weight decay") or False
    effects = []
    for history in own:
        rates = history.rates if key != "learning rate" else [float(value)] * len(history.rates)
        one = simulate(rule, history.before, history.gradients, history.rates)
        other = simulate(replace(rule, settings=settings), history.before, history.gradients, rates)
        effects.append(_moved_apart(history.before, one, other))
    return max(effects, default=0.5)


def _moved_apart(before: list[Array], one: list[Array], other: list[Array]) -> float:
    """How far two updates are apart, by the root of the mean square, relative to the first."""
    apart = sum(float(((a - b) ** 2).sum()) for a, b in zip(one, other, strict=True))
    moved = sum(float(((a - b) ** 2).sum()) for a, b in zip(one, before, strict=True))
    return math.sqrt(apart / moved) if moved > 0 else 0.0


def _verified(context: Context, first: Rule, second: Rule) -> bool:
    """Whether both rules with their settings give the updates that were seen; says so if one does not."""
    good = True
    for observation, rule in ((context.guide.observation, first), (context.steered.observation, second)):
        sparse = {path for update in observation.updates for path in update.get("sparse") or ()}
        own = [history for history in histories(observation) if history.path not in sparse]
        if not own:
            context.not_seen.append(f"{observation.words}'s updates")
            continue
        errors = {history.path: history.error(_group_rule(observation, history.path, rule)) for history in own}
        off = {path: error for path, error in errors.items() if error > _VERIFIED}
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
        steered=f"off by {error:.3g} of the largest update",
        places=(
            context.guide.observation.place("optimizer", "place"),
            context.steered.observation.place("optimizer", "place"),
        ),
        effect=min(error, 1.0),
        effect_text=f"off by {error:.3g} of the largest update; no known cause fits",
    )


def _schedule(context: Context) -> None:
    """Learning rates that part after the first step."""
    guide, steered = context.guide.observation, context.steered.observation
    a, b = _rates(guide), _rates(steered)
    count = min(len(a), len(b))
    if not count or not _alike(a[0], b[0]):
        return
    first = next((i for i in range(count) if not _alike(a[i], b[i])), None)
    if first is None:
        return
    schedulers = steered.entries("loop", "scheduler") or guide.entries("loop", "scheduler")
    where = next((place(entry.get("place")) for entry in steered.entries("loop", "scheduler")), None)
    names = ", ".join(str(entry.get("class")) for entry in schedulers)
    title = context.differs(
        f"learning rate at step {first + 1} (schedule {names}, stepped per step or per epoch):",
        f"{a[first]:.6g}",
        f"{b[first]:.6g}",
    )
    context.find(
        "loop",
        title,
        guide=f"learning rates {', '.join(f'{rate:.4g}' for rate in a[:5])}, ...",
        steered=f"learning rates {', '.join(f'{rate:.4g}' for rate in b[:5])}, ...",
        places=(guide.place("optimizer", "place"), where or steered.place("optimizer", "place")),
        effect=abs(b[first] - a[first]) / max(abs(a[first]), 1e-30) + 0.1,
        effect_text=f"the learning rates part at step {first + 1}",
        cause="learning rate schedule",
        mend="step the scheduler as often as the reference does",
    )


def _is_penalty(context: Context, second: Rule, decay: Any) -> bool:
    """Whether weight decay through the gradient stands for an L2 penalty in the guide's loss."""
    if not decay or second.settings.get("decoupled weight decay"):
        return False
    penalties = [
        entry
        for losses in context.guide.observation.losses[:1]
        for entry in losses.get("penalties") or ()
        if _l2(entry)
    ]
    return bool(penalties)


def _l2(entry: Mapping[str, Any]) -> float:
    value = (entry.get("settings") or {}).get("l2")
    return float(value) if isinstance(value, int | float) else 0.0


def penalty_as_decay(context: Context) -> None:
    """An L2 penalty in the guide's loss against weight decay through the gradient: 2λ is the same."""
    second = _rule(context.steered.observation)
    if second is None or not _is_penalty(context, second, second.settings.get("weight decay")):
        return
    decay = float(second.settings["weight decay"])
    entries = [e for losses in context.guide.observation.losses[:1] for e in losses.get("penalties") or () if _l2(e)]
    lambdas = {_l2(entry) for entry in entries}
    in_loss = [f for f in context.findings if f.stage == "loss" and "L2 penalty" in f.title]
    if not in_loss:  # the penalty is in both losses, and the decay comes on top of it
        title = context.added(f"weight decay {decay:g} on top of the L2 penalty", "in the optimizer")
        context.find("optimizer", title, guide="no weight decay", steered=f"{decay:g}", effect=0.1, cause=title)
        return
    for found in in_loss:
        context.findings.remove(found)
    places = (
        context.guide.observation.place("optimizer", "place"),
        context.steered.observation.place("optimizer", "place"),
    )
    if len(lambdas) == 1 and abs(decay / (2 * next(iter(lambdas))) - 1) <= 1e-6:
        _decayed_biases(context, {str(entry.get("parameter")) for entry in entries}, decay, places)
        return
    wanted = 2 * max(lambdas)
    title = context.differs(
        "weight decay",
        f"L2({max(lambdas):g}), which is a weight decay of {wanted:g}",
        f"{decay:g}, which is L2({decay / 2:g})",
    )
    context.find(
        "optimizer",
        title,
        guide=f"L2 penalty with factor {max(lambdas):g}",
        steered=f"weight decay {decay:g}, half of it as a factor of L2",
        places=places,
        effect=abs(decay / wanted - 1),
        effect_text=f"the penalty is {decay / wanted:.3g} times as strong",
        cause="factor 2 between L2 and weight decay",
        mend=f"weight_decay={wanted:g}",
    )


def _decayed_biases(context: Context, penalised: set[str], decay: float, places: tuple[Any, Any]) -> None:
    """Weight decay on parameters that the guide does not penalise."""
    groups = context.steered.observation.entries("optimizer", "groups")
    decayed = [
        path
        for group in groups
        for path in group.get("parameters") or ()
        if (group.get("settings") or {}).get("weight_decay")
    ]
    extra = len(decayed) - len(penalised)
    if extra <= 0:
        return
    context.find(
        "optimizer",
        context.added(f"weight decay on {extra} more parameters (biases)", "in the optimizer"),
        guide=f"L2 penalty of {len(penalised)} parameters",
        steered=f"weight decay {decay:g} of {len(decayed)} parameters",
        places=places,
        effect=min(decay, 1e-2),
        effect_text="small while biases are small",
        cause="weight decay of biases",
        mend="two groups of parameters, weight_decay=0 for biases",
        severity="minor",
    )


def _places_of_epsilon(context: Context, first: Rule, second: Rule) -> None:
    """Where the frameworks add epsilon, which no setting changes."""
    if first.framework == second.framework or first.name not in EPSILON_PLACE:
        return
    in_keras, in_torch = EPSILON_PLACE[first.name]
    guide, steered = (in_keras, in_torch) if first.framework == "keras" else (in_torch, in_keras)
    own = histories(context.guide.observation)[:40]
    effect = 0.0
    for history in own:
        one = simulate(first, history.before, history.gradients, history.rates)
        other = simulate(replace(first, framework=second.framework), history.before, history.gradients, history.rates)
        effect = max(effect, _moved_apart(history.before, one, other))
    context.find(
        "optimizer",
        f"{first.name}'s epsilon (eps) is added at another place: Keras adds it {in_keras}, torch {in_torch}",
        guide=guide,
        steered=steered,
        places=(
            context.guide.observation.place("optimizer", "place"),
            context.steered.observation.place("optimizer", "place"),
        ),
        effect=effect,
        effect_text=f"changes an update by {effect:.2g} of itself, most where gradients are tiny",
        cause="where epsilon is added",
        severity="inherent",
    )
