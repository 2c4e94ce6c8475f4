"""Other optimizers than Adam, told by how the gradients move the parameters, whatever moments the record holds.

Each rule is played from the first step on with the recorded gradients and parameters, and its own moments; its
learning rate, and its decoupled weight decay if it has one, are fitted to the first step. It is accepted only if it
then moves every parameter in every step as recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from compare.causes.signatures import see
from compare.oracle.network import Adam, Array

Moved = Sequence[tuple[Array, Array, Array]]
"""Of a parameter, by step: before, gradient, after."""

Memory = dict[str, Array]

Step = Callable[[Array, int, Memory], Array]
"""From gradient, step (from 1) and what the rule remembers of a parameter to the update at a learning rate of 1."""

_ROUNDINGS = 64
"""So many units in the last place of the largest update, a rule of some twenty operations may be off."""

_PROBE = 4000
"""So many numbers of the smallest parameters show that a rule does not fit."""


@dataclass(frozen=True)
class Rule:
    """An optimizer by name, and what it makes of a gradient.

    `details` are said only where the numbers tell them: an ε far below the roots that it is added to shows in none.
    """

    name: str
    step: Step
    details: str = ""


def of_another_optimizer(moved: Mapping[str, Moved], unit: float, adam: Adam) -> str | None:
    """Which optimizer moves the parameters as recorded; None if none of those here does."""
    if not any((before != after).any() for steps in moved.values() for before, _, after in steps):
        return None
    sizes = {name: steps[0][0].size for name, steps in moved.items() if len(steps)}
    if not sizes:
        return None
    probe: dict[str, Moved] = {}
    for name in sorted(sizes, key=lambda name: sizes[name]):
        if probe and sum(sizes[one] for one in probe) + sizes[name] > _PROBE:
            break
        probe[name] = moved[name]
    with np.errstate(all="ignore"):
        fits = (_fit(rule, probe, moved, unit) for rule in _rules(adam))
        found = [fit for fit in fits if fit is not None]
    best = min((fit.left for fit in found), default=0.0)
    by_name: dict[str, list[_Fit]] = {}
    for fit in found:
        if fit.left <= max(1.5 * best, 1e-3):
            by_name.setdefault(fit.rule.name, []).append(fit)
    return " – or ".join(_said(fits[0], told=len(fits) == 1) for fits in by_name.values()) or None


_DECAYS = (0.0, 1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 4e-3, 5e-3, 1e-2, 0.05, 0.1)
"""Weight decays that are added to the gradient, by which people choose them."""

Rates = tuple[float, float]
"""The learning rate, and the decoupled weight decay times it."""


class _Fit(NamedTuple):
    """A rule that moves the parameters as recorded, and how much of what rounding allows it leaves."""

    rule: Rule
    decay: float
    rates: Rates
    left: float


def _fit(rule: Rule, probe: Mapping[str, Moved], moved: Mapping[str, Moved], unit: float) -> _Fit | None:
    """How a rule moves the parameters as recorded, without weight decay if that does: one number less is fitted."""
    for decay in _DECAYS:
        if _left(rule, decay, probe, unit, None) is not None:
            rates = _rate(rule, decay, moved)
            left = _left(rule, decay, moved, unit, rates)
            if rates is not None and left is not None:
                return _Fit(rule, decay, rates, left)
    return None


def _said(fit: _Fit, *, told: bool) -> str:
    rate, shrink = (float(f"{number:.4g}") for number in fit.rates)
    details = fit.rule.details if told else ""
    words = f"not Adam: {fit.rule.name}{details} with a learning rate of {rate:.4g}"
    if fit.decay:
        words += f" and weight decay of {fit.decay:g}, added to the gradient{see('weight-decay-l2')}"
    if shrink:
        words += f" and decoupled weight decay of {shrink / rate:.3g}"
    return words


def _played(rule: Rule, decay: float, steps: Moved) -> Iterator[tuple[Array, Array, Array]]:
    """By step: the update at a rate of 1, the parameter before, what was subtracted from it."""
    memory: Memory = {}
    for number, (before, gradient, after) in enumerate(steps, 1):
        yield rule.step(gradient + decay * before if decay else gradient, number, memory), before, before - after


def _rate(rule: Rule, decay: float, moved: Mapping[str, Moved]) -> Rates | None:
    """The rate, and the decoupled decay if the rate alone does not do, that the first step that moves shows."""
    updates, befores, founds = [], [], []
    for steps in moved.values():
        update, before, found = next(iter(_played(rule, decay, steps)))
        updates.append(update.ravel())
        befores.append(before.ravel())
        founds.append(found.ravel())
    update, before, found = (np.concatenate(parts) for parts in (updates, befores, founds))
    if not np.isfinite(update).all() or not np.isfinite(found).all() or not (update * update).sum():
        return None
    rate = float((found * update).sum() / (update * update).sum())
    off = np.abs(found - rate * update).max()
    if off > 1e-4 * np.abs(found).max() and not decay:
        (rate, shrink), *_ = np.linalg.lstsq(np.stack([update, before], axis=1), found, rcond=None)
        return float(rate), float(shrink)
    return rate, 0.0


def _left(rule: Rule, decay: float, moved: Mapping[str, Moved], unit: float, rates: Rates | None) -> float | None:
    """How many times what rounding allows the rule is off at most; None if by more."""
    rates = rates or _rate(rule, decay, moved)
    if rates is None or rates[0] <= 0:
        return None
    rounded = [tuple(float(f"{number:.4g}") for number in rates), rates]
    best: float | None = None
    for rate, shrink in dict.fromkeys(rounded):
        worst = 0.0
        for steps in moved.values():
            for update, before, found in _played(rule, decay, steps):
                predicted = rate * update + shrink * before
                allowed = unit * np.abs(before) * 2 + _ROUNDINGS * unit * (
                    np.abs(predicted).max() + np.abs(found).max()
                )
                left = float((np.abs(found - predicted) / np.maximum(allowed, 1e-300)).max(initial=0))
                if not left <= 1:
                    worst = np.inf
                    break
                worst = max(worst, left)
            if worst == np.inf:
                break
        if worst <= 1 and (best is None or worst < best):
            best = worst
    return best


# --- the rules -------------------------------------------------------------------------------------


def _rules(adam: Adam) -> Iterator[Rule]:
    """Optimizers of torch and Keras, with their usual numbers and those of the recipe."""
    yield Rule("plain gradient descent (SGD)", lambda g, t, memory: g)
    for momentum in (0.9, 0.5, 0.8, 0.95, 0.99):
        for words, rest in (("", 1.0), (f" and dampening {momentum:g}", 1 - momentum)):
            yield Rule(
                f"SGD with momentum {momentum:g}{words}",
                partial(_momentum, momentum=momentum, rest=rest, nesterov=False),
            )
        yield Rule(
            f"SGD with Nesterov momentum {momentum:g}", partial(_momentum, momentum=momentum, rest=1.0, nesterov=True)
        )
    yield Rule("the sign of the gradient (signSGD)", lambda g, t, memory: np.sign(g))
    yield Rule(
        "the gradient scaled to length 1 for each parameter", lambda g, t, memory: g / (np.linalg.norm(g) or 1.0)
    )
    yield from _adaptive()
    betas = {(adam.beta_1, adam.beta_2), (0.9, 0.999), (0.9, 0.99), (0.95, 0.999), (0.5, 0.999), (0.9, 0.95)}
    betas |= {(0.8, 0.999), (0.0, 0.999), (0.9, 0.9), (0.99, 0.999), (0.9, 0.9999), (0.85, 0.999)}
    for beta_1, beta_2 in sorted(betas):
        yield from _of_adams_kind(beta_1, beta_2, adam.epsilon)
    for beta_1, beta_2 in ((0.9, 0.99), (0.95, 0.98), (0.9, 0.999)):
        yield Rule(f"Lion of β = {beta_1:g} and {beta_2:g}", partial(_lion, beta_1=beta_1, beta_2=beta_2))


def _momentum(g: Array, t: int, memory: Memory, *, momentum: float, rest: float, nesterov: bool) -> Array:
    """torch/optim/sgd.py; the first gradient is not dampened."""
    memory["v"] = g if t == 1 else momentum * memory["v"] + rest * g
    return g + momentum * memory["v"] if nesterov else memory["v"]


def _adaptive() -> Iterator[Rule]:
    for rho in (0.9, 0.99, 0.95, 0.999):
        for epsilon in (1e-7, 1e-8, 1e-6, 1e-10):
            said = f"of ρ = {rho:g}"
            details = f" and ε = {epsilon:g}"
            for inside in (False, True):
                where = f", inside the root{see('rmsprop-epsilon-place')}" if inside else ""
                for momentum in (0.0, 0.9):
                    for centered in (False, True):
                        words = "centered " * centered + "RMSprop"
                        words += f" with momentum {momentum:g}" if momentum else ""
                        yield Rule(
                            f"{words} {said}",
                            partial(
                                _rmsprop, rho=rho, epsilon=epsilon, inside=inside, momentum=momentum, centered=centered
                            ),
                            details + where,
                        )
            details += see("adadelta-defaults")
            yield Rule(f"Adadelta {said}", partial(_adadelta, rho=rho, epsilon=epsilon), details)
    for epsilon in (1e-10, 1e-7, 1e-8):
        for start in (0.0, 0.1):
            for inside in (False, True):
                where = ", inside the root" if inside else ""
                yield Rule(
                    f"Adagrad from {start:g}{see('adagrad-accumulator')}",
                    partial(_adagrad, start=start, epsilon=epsilon, inside=inside),
                    f" with ε = {epsilon:g}{where}",
                )


def _rmsprop(
    g: Array, t: int, memory: Memory, *, rho: float, epsilon: float, inside: bool, momentum: float, centered: bool
) -> Array:
    """torch/optim/rmsprop.py, keras/src/optimizers/rmsprop.py."""
    memory["v"] = v = rho * memory.get("v", 0 * g) + (1 - rho) * g * g
    if centered:
        memory["m"] = rho * memory.get("m", 0 * g) + (1 - rho) * g
        v = v - memory["m"] ** 2
    update = g / np.sqrt(v + epsilon) if inside else g / (np.sqrt(v) + epsilon)
    if momentum:
        memory["u"] = update = momentum * memory.get("u", 0 * g) + update
    return update


def _adadelta(g: Array, t: int, memory: Memory, *, rho: float, epsilon: float) -> Array:
    """Zeiler (2012), as both have it."""
    memory["v"] = rho * memory.get("v", 0 * g) + (1 - rho) * g * g
    moved = memory.get("d", 0 * g)
    update = np.sqrt(moved + epsilon) / np.sqrt(memory["v"] + epsilon) * g
    memory["d"] = rho * moved + (1 - rho) * update**2
    return update


def _adagrad(g: Array, t: int, memory: Memory, *, start: float, epsilon: float, inside: bool) -> Array:
    memory["v"] = memory.get("v", start + 0 * g) + g * g
    return g / np.sqrt(memory["v"] + epsilon) if inside else g / (np.sqrt(memory["v"]) + epsilon)


def _of_adams_kind(beta_1: float, beta_2: float, stated: float) -> Iterator[Rule]:
    for epsilon in dict.fromkeys((stated, 1e-7, 1e-8)):
        said, details = f"of β₁ = {beta_1:g}, β₂ = {beta_2:g}", f" and ε = {epsilon:g}"
        of: dict[str, Any] = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        for form in ("Keras", "torch", "inside"):
            words = {"Keras": "in Keras's form", "torch": "in torch's form", "inside": "with ε inside the root"}[form]
            yield Rule(f"another Adam {said}, {words}", partial(_adam, form=form, **of), details)
            yield Rule(f"AMSGrad {said}, {words}", partial(_adam, form=form, largest=True, **of), details)
        yield Rule(f"Adamax {said}{see('adamax-epsilon-place')}", partial(_adamax, **of, inside=False), details)
        yield Rule(
            f"Adamax as torch has it {said}{see('adamax-epsilon-place')}", partial(_adamax, **of, inside=True), details
        )
        for kind, decay in (("torch", 4e-3), ("Keras", 1.0)):
            yield Rule(
                f"NAdam as {kind} has it {said}{see('nadam-momentum-schedule')}",
                partial(_nadam, decay=decay, **of),
                details,
            )
        yield Rule(f"RAdam as torch has it {said}", partial(_radam, **of), details)
        yield Rule(f"AdaBelief {said}", partial(_adabelief, **of), details)
        yield Rule(f"Adam without bias correction {said}", partial(_adam, form="none", **of), details)


def _moments(g: Array, memory: Memory, beta_1: float, beta_2: float) -> tuple[Array, Array]:
    memory["m"] = beta_1 * memory.get("m", 0 * g) + (1 - beta_1) * g
    memory["v"] = beta_2 * memory.get("v", 0 * g) + (1 - beta_2) * g * g
    return memory["m"], memory["v"]


def _adam(
    g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float, epsilon: float, form: str, largest: bool = False
) -> Array:
    m, v = _moments(g, memory, beta_1, beta_2)
    if largest:
        v = memory["largest"] = np.maximum(memory.get("largest", v), v)
    first, second = 1 - beta_1**t, 1 - beta_2**t
    if form == "torch":
        return m / first / (np.sqrt(v / second) + epsilon)
    if form == "inside":
        return m / first / np.sqrt(v / second + epsilon)
    if form == "none":
        return m / (np.sqrt(v) + epsilon)
    return np.sqrt(second) / first * m / (np.sqrt(v) + epsilon)


def _adamax(g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float, epsilon: float, inside: bool) -> Array:
    memory["m"] = beta_1 * memory.get("m", 0 * g) + (1 - beta_1) * g
    memory["u"] = np.maximum(beta_2 * memory.get("u", 0 * g), np.abs(g) + (epsilon if inside else 0))
    return memory["m"] / (1 - beta_1**t) / (memory["u"] + (0 if inside else epsilon))


def _nadam(g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float, epsilon: float, decay: float) -> Array:
    m, v = _moments(g, memory, beta_1, beta_2)
    momenta = [beta_1 * (1 - 0.5 * 0.96 ** (k * decay)) for k in range(1, t + 2)]
    product = float(np.prod(momenta[:-1]))
    looked = (1 - momenta[-2]) / (1 - product) * g + momenta[-1] / (1 - product * momenta[-1]) * m
    return looked / (np.sqrt(v / (1 - beta_2**t)) + epsilon)


def _radam(g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float, epsilon: float) -> Array:
    m, v = _moments(g, memory, beta_1, beta_2)
    most = 2 / (1 - beta_2) - 1
    length = most - 2 * t * beta_2**t / (1 - beta_2**t)
    mean = m / (1 - beta_1**t)
    if length <= 5:
        return mean
    rectified = np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
    return mean * rectified * np.sqrt(1 - beta_2**t) / (np.sqrt(v) + epsilon)


def _adabelief(g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float, epsilon: float) -> Array:
    memory["m"] = m = beta_1 * memory.get("m", 0 * g) + (1 - beta_1) * g
    memory["s"] = s = beta_2 * memory.get("s", 0 * g) + (1 - beta_2) * (g - m) ** 2 + epsilon
    return m / (1 - beta_1**t) / (np.sqrt(s / (1 - beta_2**t)) + epsilon)


def _lion(g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float) -> Array:
    """Chen et al. (2023); keras/src/optimizers/lion.py."""
    m = memory.get("m", 0 * g)
    memory["m"] = beta_2 * m + (1 - beta_2) * g
    return np.sign(beta_1 * m + (1 - beta_1) * g)
