"""The optimizers' rules of both frameworks, to verify by value which rule with which settings made an update.

Sources: keras/src/optimizers and torch/optim, version 3.15 and 2.15. They differ in where epsilon is added, in the
order of the learning rate and the momentum, and in whether weight decay goes through the gradient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from compare.explanation.observed.observation import Array

Settings = dict[str, Any]

ADAPTIVE = frozenset({"Adam", "Adamax", "NAdam", "RMSprop", "Adagrad"})

_NAMES = {
    "adam": "Adam", "adamw": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "adagrad": "Adagrad", "adadelta": "Adadelta",
    "adamax": "Adamax", "nadam": "NAdam", "lion": "Lion",
}  # fmt: skip

EPSILON_PLACE = {
    "Adam": ("before the bias correction, to √v", "after the bias correction, to √(v / (1 − β₂ᵗ))"),
    "RMSprop": ("under the root, √(v + ε)", "beside the root, √v + ε"),
    "Adagrad": ("under the root, √(v + ε)", "beside the root, √v + ε"),
    "Adamax": ("to the maximum, u + ε", "inside the maximum, max(β₂u, |g| + ε)"),
}
"""Where Keras and torch add epsilon; of rules that are not here both add it at the same place."""


@dataclass(frozen=True)
class Rule:
    """An optimizer: the name of its rule, the framework whose form it has, and its settings under common names."""

    name: str
    framework: str
    settings: Settings


def rule_of(framework: str, name: str, s: Mapping[str, Any]) -> Rule | None:
    """The rule of an optimizer from its class and settings; None for one that is not known."""
    known = _NAMES.get(name.lower())
    if known is None:
        return None
    keras = framework == "keras"
    number = partial(_number, s)
    betas = s.get("betas") or (0.9, 0.999)
    found: Settings = {"learning rate": number("learning_rate", "lr")}
    if known in ("Adam", "Adamax", "NAdam", "Lion"):
        found["beta 1"] = number("beta_1", default=float(betas[0]))
        found["beta 2"] = number("beta_2", default=float(betas[1]))
    if known != "SGD":
        found["epsilon"] = number("epsilon", "eps")
    found |= _own_settings(known, s, keras=keras)
    decay = number("weight_decay")
    found["weight decay"] = decay
    decoupled = keras or name.lower() == "adamw" or bool(s.get("decoupled_weight_decay"))
    found["decoupled weight decay"] = decoupled if decay else None
    if s.get("maximize"):
        found["maximize"] = True
    return Rule(known, framework, found)


def _number(s: Mapping[str, Any], *names: str, default: float = 0.0) -> float:
    return float(next((s[key] for key in names if isinstance(s.get(key), int | float)), default))


def _own_settings(known: str, s: Mapping[str, Any], *, keras: bool) -> Settings:
    """The settings that only this rule has."""
    number = partial(_number, s)
    own: dict[str, Settings] = {
        "SGD": {
            "momentum": number("momentum"),
            "nesterov": bool(s.get("nesterov")),
            "dampening": 0.0 if keras else number("dampening"),
        },
        "Adam": {"amsgrad": bool(s.get("amsgrad"))},
        "RMSprop": {
            "momentum": number("momentum"),
            "rho (alpha)": number("rho", "alpha"),
            "centered": bool(s.get("centered")),
        },
        "Adadelta": {"rho (alpha)": number("rho", "alpha")},
        "Adagrad": {
            "initial accumulator": number("initial_accumulator_value"),
            "learning rate decay": number("lr_decay"),
        },
        "NAdam": {"momentum decay": 1.0 if keras else number("momentum_decay", default=0.004)},
    }
    return own.get(known, {})


def simulate(
    rule: Rule,
    before: Sequence[Array],
    gradients: Sequence[Array],
    rates: Sequence[float],
    moved: Sequence[Settings] = (),
) -> list[Array]:
    """The parameter after each step, each from the recorded parameter before it, with the state carried on.

    Args:
        rule: The rule.
        before: The parameter before each step.
        gradients: The gradient at each step.
        rates: The learning rate at each step.
        moved: The other settings at each step that are not the rule's, as of a schedule that moves the momentum.
    """
    state, after = _State(), []
    for t, (parameter, gradient, rate) in enumerate(zip(before, gradients, rates, strict=True), start=1):
        p, g = np.asarray(parameter, np.float64), np.asarray(gradient, np.float64)
        own = replace(rule, settings={**rule.settings, **moved[t - 1]}) if moved else rule
        s = own.settings
        g = -g if s.get("maximize") else g
        kept = 1.0
        if s["weight decay"] and s["decoupled weight decay"]:
            kept = 1 - rate * s["weight decay"]
        elif s["weight decay"]:
            g = g + s["weight decay"] * p
        after.append(kept * p - _RULES[rule.name](own, state, g, rate, t))
    return after


class _State(dict[str, Array]):
    """An optimizer's running values of one parameter, zero at first."""

    def mean(self, name: str, value: Array, beta: float) -> Array:
        """Updates a running mean."""
        self[name] = beta * self.get(name, np.zeros_like(value)) + (1 - beta) * value
        return self[name]


def _sgd(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    s = rule.settings
    momentum = s["momentum"]
    if not momentum:
        return rate * g
    if rule.framework == "keras":
        new = 1.0 if t == 1 else 1 - s["dampening"]  # which Keras has not: what it would change there
        state["m"] = momentum * state.get("m", np.zeros_like(g)) - rate * new * g
        return -(momentum * state["m"] - rate * g) if s["nesterov"] else -state["m"]
    state["m"] = g if t == 1 else momentum * state["m"] + (1 - s["dampening"]) * g
    return rate * (g + momentum * state["m"] if s["nesterov"] else state["m"])


def _adam(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    s = rule.settings
    m, v = state.mean("m", g, s["beta 1"]), state.mean("v", g * g, s["beta 2"])
    if s["amsgrad"]:
        state["largest"] = v = np.maximum(state.get("largest", np.zeros_like(v)), v)
    first, second = 1 - s["beta 1"] ** t, 1 - s["beta 2"] ** t
    if rule.framework == "keras":
        return rate * np.sqrt(second) / first * m / (np.sqrt(v) + s["epsilon"])
    return rate / first * m / (np.sqrt(v / second) + s["epsilon"])


def _adamax(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    s = rule.settings
    m = state.mean("m", g, s["beta 1"])
    old = s["beta 2"] * state.get("u", np.zeros_like(g))
    if rule.framework == "keras":
        state["u"] = np.maximum(old, np.abs(g))
        return rate / (1 - s["beta 1"] ** t) * m / (state["u"] + s["epsilon"])
    state["u"] = np.maximum(old, np.abs(g) + s["epsilon"])
    return rate / (1 - s["beta 1"] ** t) * m / state["u"]


def _nadam(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    s = rule.settings
    decay = s["momentum decay"]
    now = s["beta 1"] * (1 - 0.5 * 0.96 ** (t * decay))
    later = s["beta 1"] * (1 - 0.5 * 0.96 ** ((t + 1) * decay))
    state["product"] = state.get("product", np.ones(())) * now
    product = state["product"]
    m, v = state.mean("m", g, s["beta 1"]), state.mean("v", g * g, s["beta 2"])
    mixed = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
    return rate * mixed / (np.sqrt(v / (1 - s["beta 2"] ** t)) + s["epsilon"])


def _rmsprop(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    del t
    s = rule.settings
    v = state.mean("v", g * g, s["rho (alpha)"])
    if s["centered"]:
        v = v - state.mean("g", g, s["rho (alpha)"]) ** 2
    keras = rule.framework == "keras"
    divided = g / np.sqrt(v + s["epsilon"]) if keras else g / (np.sqrt(v) + s["epsilon"])
    if not s["momentum"]:
        return rate * divided
    if keras:
        state["m"] = s["momentum"] * state.get("m", np.zeros_like(g)) + rate * divided
        return state["m"]
    state["m"] = s["momentum"] * state.get("m", np.zeros_like(g)) + divided
    return rate * state["m"]


def _adagrad(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    s = rule.settings
    state["v"] = state.get("v", np.full_like(g, s["initial accumulator"])) + g * g
    if rule.framework == "keras":
        return rate * g / np.sqrt(state["v"] + s["epsilon"])
    return rate / (1 + (t - 1) * s["learning rate decay"]) * g / (np.sqrt(state["v"]) + s["epsilon"])


def _adadelta(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    del t
    s = rule.settings
    v = state.mean("v", g * g, s["rho (alpha)"])
    moved = np.sqrt(state.get("d", np.zeros_like(g)) + s["epsilon"]) / np.sqrt(v + s["epsilon"]) * g
    state.mean("d", moved * moved, s["rho (alpha)"])
    return rate * moved


def _lion(rule: Rule, state: _State, g: Array, rate: float, t: int) -> Array:
    del t
    s = rule.settings
    m = state.get("m", np.zeros_like(g))
    moved = rate * np.sign(s["beta 1"] * m + (1 - s["beta 1"]) * g)
    state["m"] = s["beta 2"] * m + (1 - s["beta 2"]) * g
    return moved


_RULES = {
    "SGD": _sgd, "Adam": _adam, "Adamax": _adamax, "NAdam": _nadam, "RMSprop": _rmsprop, "Adagrad": _adagrad,
    "Adadelta": _adadelta, "Lion": _lion,
}  # fmt: skip
