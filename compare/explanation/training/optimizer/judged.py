"""The optimizer: its rule and every setting, borne out by its own updates from the guide's gradients."""

import math
from dataclasses import dataclass, replace
from typing import Any

from compare.explanation.arithmetic.optimizers import EPSILON_PLACE, Rule, simulate
from compare.explanation.context import Context
from compare.explanation.findings import Place, Severity, joined
from compare.explanation.observed.carry import parameter_pairs
from compare.explanation.observed.observation import Array
from compare.explanation.training.optimizer.decay import is_penalty
from compare.explanation.training.optimizer.schedule import momentum_cycled, schedule
from compare.explanation.training.optimizer.unknown_rule import SAME_UPDATE, unknown_rule, updates_apart
from compare.explanation.training.optimizer.updates import (
    History,
    alike,
    group_of,
    histories,
    moved_settings,
    rule_at,
    rule_like,
    rule_of_side,
    sparse_rows,
    verified,
)
from compare.explanation.words import share

_MINOR = 1e-3
"""What changes an update by less than this share of itself is minor."""


_SHOWN = 40
"""The parameters whose updates show what a setting does."""

_MINOR_EPSILON = 0.3
"""Epsilon matters most to weights that hardly have a gradient, whose updates matter least."""


def optimizer(context: Context) -> None:
    """Finds what differs in the optimizer."""
    guide, steered = context.guide.observation, context.steered.observation
    if not guide.part("optimizer") or not steered.part("optimizer"):
        context.not_seen.append("the optimizer")
        return
    first, second = rule_of_side(guide), rule_of_side(steered)
    names = (str(guide.part("optimizer", "class")), str(steered.part("optimizer", "class")))
    places = (guide.place("optimizer", "place"), steered.place("optimizer", "place"))
    if first is None and second is not None:
        first = rule_like(guide, second)
    elif second is None and first is not None:
        second = rule_like(steered, first)
    if first is None or second is None:
        apart = updates_apart(context)
        if names[0].lower() != names[1].lower() and (apart is None or apart > SAME_UPDATE):
            title = context.differs("optimizer", *names)
            context.find("optimizer", title, guide=names[0], steered=names[1], places=places, effect=1.0)
            schedule(context)
        else:
            unknown_rule(context, names[0], places)
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
            mend=f"torch.optim.{'NAdam' if first.name == 'NAdam' else names[0]}(...)"
            if context.frameworks[1] == "torch"
            else f"keras.optimizers.{names[0]}(...)",
        )
        schedule(context)
        return
    sparse_rows(context, first)
    _settings(context, first, second, names)
    _places_of_epsilon(context, first, second)
    if not context.has("optimizer"):
        context.same.append(f"{names[1]} and its settings, by its own updates from the reference's gradients")


def _written(name: str, rule: Rule) -> str:
    shown = {key: value for key, value in rule.settings.items() if value not in (None, False, 0.0)}
    return f"{name}({', '.join(f'{key} {_text(value)}' for key, value in shown.items())})"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _settings(context: Context, first: Rule, second: Rule, names: tuple[str, str]) -> None:
    """Compares setting by setting, each with what it does to the updates."""
    guide, steered = context.guide.observation, context.steered.observation
    places = (guide.place("optimizer", "place"), steered.place("optimizer", "place"))
    own = histories(guide)
    if momentum_cycled(context):
        schedule(context)
        return
    if not verified(context, first, second):
        return
    scheduled = schedule(context)
    moved = _moved(context, first, second, places)
    rules = _by_parameter(context, first, second)
    _other_optimizers(context, rules, places)
    same_rule = [entry for entry in rules if entry.guide.name == entry.steered.name]
    keys = dict.fromkeys(key for entry in same_rule for rule in (entry.guide, entry.steered) for key in rule.settings)
    for key in keys:
        values: dict[tuple[Any, Any], list[_Rules]] = {}
        for entry in same_rule:
            pair = entry.guide.settings.get(key), entry.steered.settings.get(key)
            values.setdefault(next((known for known in values if _alike(known, pair)), pair), []).append(entry)
        for (x, y), entries in values.items():
            if (x is None and key != "maximize") or (key == "learning rate" and scheduled) or key in moved:
                continue
            if key == "weight decay" and is_penalty(context, entries[0].steered, y):
                continue
            if alike(x, y) or (key == "decoupled weight decay" and (x is None or y is None)):
                continue
            part = entries if len(entries) < len(same_rule) else []
            _setting(context, entries[0], key, own, names, part)


def _moved(context: Context, first: Rule, second: Rule, places: tuple[Place | None, Place | None]) -> set[str]:
    """Settings that a schedule moves beside the learning rate, compared step by step; which ones those are."""
    sides = [moved_settings(side.observation) for side in (context.guide, context.steered)]
    keys = {key for moved in sides for step in moved for key in step}
    count = min(len(side.observation.updates) for side in (context.guide, context.steered))
    for key in sorted(keys):
        a, b = (
            [step.get(key, rule.settings.get(key)) for step in moved or ({},) * count]
            for rule, moved in zip((first, second), sides, strict=True)
        )
        at = next((step for step in range(count) if not alike(a[step], b[step])), None)
        if at is None:
            continue
        title = context.differs(f"{first.name}'s {key} at step {at + 1}", _text(a[at]), _text(b[at]))
        context.find(
            "optimizer",
            title,
            guide=", ".join(_text(value) for value in a[:_FEW]) + ", ...",
            steered=", ".join(_text(value) for value in b[:_FEW]) + ", ...",
            places=places,
            effect=0.3,
            cause=f"{key} moved otherwise by a schedule",
        )
    return keys


def _alike(pair: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    return all(alike(x, y) for x, y in zip(pair, other, strict=True))


def _setting(
    context: Context, rules: "_Rules", key: str, own: list[History], names: tuple[str, str], part: list["_Rules"]
) -> None:
    """One setting that differs; `part` are the parameters for which it does, none if for all."""
    places = (
        context.guide.observation.place("optimizer", "place"),
        context.steered.observation.place("optimizer", "place"),
    )
    x, y = rules.guide.settings.get(key), rules.steered.settings.get(key)
    if part:
        groups = (
            group_of(context.guide.observation, rules.guide_path), group_of(context.steered.observation, rules.path)
        )  # fmt: skip
        first, second = (str((group or {}).get("class") or name) for group, name in zip(groups, names, strict=True))
        names = first, second
    paths = [entry.path for entry in part]
    moved = {entry.guide_path for entry in part}
    shown = [history for history in own if not moved or history.path in moved][:_SHOWN]
    effect = _effect(shown, rules.guide, key, y)
    severity: Severity = "minor" if effect < _MINOR or (key == "epsilon" and effect < _MINOR_EPSILON) else "fault"
    what = f"{names[1] if context.guide_is_reference else names[0]}'s {key}"
    guide_text, steered_text = _text(x), _text(y)
    if key == "decoupled weight decay":
        modes = {True: "decoupled from the gradient (as in AdamW)", False: "through the gradient (L2, coupled)"}
        what, guide_text, steered_text = f"{names[1]}'s weight decay is", modes[bool(x)], modes[bool(y)]
    of = f" of {_listed(paths)}" if paths else ""
    context.find(
        "optimizer",
        context.differs(f"{what}{of}", guide_text, steered_text),
        guide=f"{names[0]}: {key} {guide_text}{of}",
        steered=f"{names[1]}: {key} {steered_text}{of}",
        places=places,
        effect=min(effect, 5.0),
        effect_text=f"changes an update by {share(effect, 'itself')}",
        cause=f"{key} {guide_text} against {steered_text}{of}",
        mend=f"a group of parameters of their own, with {key} {guide_text}"
        if paths
        else mend_of(names[1], rules.guide, key, in_torch=context.frameworks[1] == "torch"),
        severity=severity,
    )


@dataclass(frozen=True)
class _Rules:
    """The rules by which both sides move one parameter, and its paths; none where the optimizer has but one group."""

    guide: Rule
    steered: Rule
    guide_path: str = ""
    path: str = ""


def _by_parameter(context: Context, first: Rule, second: Rule) -> list[_Rules]:
    """The rules of each parameter that both optimizers have."""
    guide, steered = context.guide.observation, context.steered.observation
    if all(len(side.entries("optimizer", "groups")) < 2 for side in (guide, steered)):
        return [_Rules(first, second)]
    found = []
    for pair in context.pairing.pairs:
        for a, b in parameter_pairs(pair, context.frameworks):
            if group_of(guide, a) is not None and group_of(steered, b) is not None:
                rules = rule_at(guide, a, first), rule_at(steered, b, second)
                if rules[0] is not None and rules[1] is not None:
                    found.append(_Rules(rules[0], rules[1], a, b))
    return found or [_Rules(first, second)]


def _other_optimizers(context: Context, rules: list[_Rules], places: tuple[Place | None, Place | None]) -> None:
    """Parameters that another optimizer moves on one side."""
    kinds = dict.fromkeys((r.guide.name, r.steered.name) for r in rules if r.guide.name != r.steered.name)
    for a, b in kinds:
        which = _listed([r.path for r in rules if (r.guide.name, r.steered.name) == (a, b)])
        context.find(
            "optimizer",
            context.differs(f"optimizer of {which}:", a, b),
            guide=a,
            steered=b,
            places=places,
            effect=1.0,
            cause=f"optimizer {a} against {b}",
        )


def _listed(paths: list[str]) -> str:
    return joined(paths) if len(paths) <= _FEW else f"{joined(paths[:_FEW])} and {len(paths) - _FEW} more"


_FEW = 4
"""So many parameters are named."""

_IN_TORCH = {
    "learning rate": "lr", "epsilon": "eps", "weight decay": "weight_decay",
    "initial accumulator": "initial_accumulator_value", "momentum decay": "momentum_decay",
    "learning rate decay": "lr_decay",
}  # fmt: skip
_IN_KERAS = {
    "learning rate": "learning_rate", "rho (alpha)": "rho", "weight decay": "weight_decay",
    "initial accumulator": "initial_accumulator_value", "beta 1": "beta_1", "beta 2": "beta_2",
}  # fmt: skip


def mend_of(name: str, wanted: Rule, key: str, *, in_torch: bool) -> str:
    """An optimizer of the steered side, by its class, with a setting as the guide's rule has it."""
    value = wanted.settings.get(key)
    if key == "decoupled weight decay":
        return _mend_of_decay(
            name, _text(wanted.settings.get("weight decay")), decoupled=bool(value), in_torch=in_torch
        )
    if in_torch and key in ("beta 1", "beta 2"):
        betas = ", ".join(_text(wanted.settings[beta]) for beta in ("beta 1", "beta 2"))
        return f"{name}(..., betas=({betas}))"
    if in_torch and key == "rho (alpha)":
        return f"{name}(..., {'rho' if wanted.name == 'Adadelta' else 'alpha'}={_text(value)})"
    return f"{name}(..., {(_IN_TORCH if in_torch else _IN_KERAS).get(key, key)}={_text(value)})"


_WITH_A_SWITCH = ("NAdam", "RAdam")
"""Optimizers of torch's that have `decoupled_weight_decay`; Adam has it too, and AdamW is its name."""


def _mend_of_decay(name: str, decay: str, *, decoupled: bool, in_torch: bool) -> str:
    """A weight decay that is decoupled from the gradient, or one that is a part of it."""
    if name in ("Adam", "AdamW") and (decoupled or in_torch):
        return "AdamW(...)" if decoupled else "Adam(...)"
    if in_torch and name in _WITH_A_SWITCH:
        return f"{name}(..., decoupled_weight_decay={decoupled})"
    if decoupled:
        return f"{name}(..., weight_decay=0), and p.mul_(1 - lr * {decay}) for every parameter p before each step"
    return f"{name}(...) without weight_decay, and regularizers.L2({decay} / 2) of every weight"


def _effect(own: list[History], rule: Rule, key: str, value: Any) -> float:
    """What a setting changes in the guide's own updates, relative to the largest of each parameter."""
    settings = {**rule.settings, key: value}
    if key == "weight decay" and value:
        settings["decoupled weight decay"] = rule.settings.get("decoupled weight decay") or False
    effects = []
    for history in own:
        rates = history.rates if key != "learning rate" else [float(value)] * len(history.rates)
        one = simulate(rule, history.before, history.gradients, history.rates, history.moved)
        changed = replace(rule, settings=settings)
        other = simulate(changed, history.before, history.gradients, rates, history.moved)
        effects.append(_moved_apart(history.before, one, other))
    return max(effects, default=0.5)


def _moved_apart(before: list[Array], one: list[Array], other: list[Array]) -> float:
    """How far two updates are apart, by the root of the mean square, relative to the first."""
    apart = sum(float(((a - b) ** 2).sum()) for a, b in zip(one, other, strict=True))
    moved = sum(float(((a - b) ** 2).sum()) for a, b in zip(one, before, strict=True))
    return math.sqrt(apart / moved) if moved > 0 else 0.0


def _places_of_epsilon(context: Context, first: Rule, second: Rule) -> None:
    """Where the frameworks add epsilon, which no setting changes."""
    if first.framework == second.framework or first.name not in EPSILON_PLACE:
        return
    in_keras, in_torch = EPSILON_PLACE[first.name]
    guide, steered = (in_keras, in_torch) if first.framework == "keras" else (in_torch, in_keras)
    own = histories(context.guide.observation)[:_SHOWN]
    effect = 0.0
    for history in own:
        steps = history.before, history.gradients, history.rates, history.moved
        one = simulate(first, *steps)
        other = simulate(replace(first, framework=second.framework), *steps)
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
        effect_text=f"changes an update by {share(effect, 'itself')}, most where gradients are tiny",
        cause="where epsilon is added",
        severity="inherent",
    )
