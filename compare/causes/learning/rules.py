"""Other optimizers than Adam, told by how the gradients move the parameters, whatever moments the record holds.

Each rule is played from the first step on with the recorded gradients and parameters, and its own moments; its
learning rate, and its decoupled weight decay if it has one, are fitted to the first step, or a learning rate to each
step. It is accepted only if it then moves every parameter in every step as recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from compare.causes.signatures import see
from compare.oracle.network import Adam, Array

Moved = Sequence[tuple[Array, Array, Array]]
"""Of a parameter, by step: before, gradient, after."""

Memory = dict[str, Array]

Step = Callable[[Array, int, Memory], Array]
"""From gradient, step (from 1) and what the rule remembers of a parameter to the update at a learning rate of 1.

It finds the parameter itself as `parameter`, and leaves as `fixed` what it subtracts at whatever rate.
"""

_ROUNDINGS = 64
"""So many units in the last place of the largest update, a rule of some twenty operations may be off."""

_PROBE = 4000
"""So many numbers of the smallest parameters show that a rule does not fit."""


@dataclass(frozen=True)
class Rule:
    """An optimizer by name, and what it makes of a gradient; `numbers` of its own were chosen.

    `details` are said only where the numbers tell them: an ε far below the roots that it is added to shows in none.
    """

    name: str
    step: Step
    details: str = ""
    numbers: int = 2


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
        possible = (rule for rule in _rules(adam, moved) if _begins_so(rule, moved, unit))
        fits = (_fit(rule, probe, moved, unit) for rule in possible)
        fitting = [fit for fit in fits if fit is not None]
    # Of rules that do, those with the fewest numbers of their own, and of these the ones that leave least.
    fewest = min((fit.numbers for fit in fitting), default=0)
    fitting = [fit for fit in fitting if fit.numbers == fewest]
    best = min((fit.left for fit in fitting), default=0.0)
    by_name: dict[str, list[_Fit]] = {}
    for fit in fitting:
        if fit.left <= max(1.5 * best, 1e-3):
            by_name.setdefault(fit.rule.name, []).append(fit)
    return " – or ".join(_said(fits[0], told=len(fits) == 1) for fits in by_name.values()) or None


_DECAYS = (1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 4e-3, 5e-3, 1e-2, 0.05, 0.1)
"""Weight decays that are added to the gradient, by which people choose them."""

Rates = tuple[float, float]
"""The learning rate, and the decoupled weight decay times it."""


class _Decay(NamedTuple):
    """Weight decay that is added to the gradient."""

    number: float
    of: str = ""
    """How the names of the parameters end that have it."""


class _Fit(NamedTuple):
    """A rule that moves the parameters as recorded, and how much of what rounding allows it leaves."""

    rule: Rule
    decay: _Decay
    rates: Rates
    left: float
    by_step: tuple[float, ...] = ()

    @property
    def numbers(self) -> int:
        """How many it has beside one learning rate."""
        return (
            self.rule.numbers + bool(self.decay.number) + bool(self.decay.of) + bool(self.rates[1]) + bool(self.by_step)
        )


def _begins_so(rule: Rule, moved: Mapping[str, Moved], unit: float) -> bool:
    """Whether a rule can take the first step of the parameters that are zero, as biases are: no decay moves those.

    Each has a rate of its own here, which all that the parameters have in common makes no worse.
    """
    for name, steps in moved.items():
        if len(steps) == 0 or steps[0][0].any():
            continue
        update, before, change = next(_played(rule, _Decay(0.0), name, steps))
        square = float((update * update).sum())
        rate = float((change * update).sum()) / square if square else 0.0
        # The rate that fits best in the mean may leave √n times as much of one number as the one that all share.
        if np.isfinite(rate) and _off(rate * update, before, change, unit) > 1 + np.sqrt(update.size):
            return False
    return True


def _fit(rule: Rule, probe: Mapping[str, Moved], moved: Mapping[str, Moved], unit: float) -> _Fit | None:
    """How a rule moves the parameters as recorded, without weight decay if that does: one number less is fitted."""
    for decay in [_Decay(0.0), *(_Decay(number, of) for number in _DECAYS for of in ("", ".kernel"))]:
        if _left(rule, decay, probe, unit) is not None and (both := _left(rule, decay, moved, unit)) is not None:
            rates, left = both
            return _Fit(rule, decay, rates, left)
    if _scheduled(rule, probe, unit) is not None and (scheduled := _scheduled(rule, moved, unit)) is not None:
        by_step, left = scheduled
        return _Fit(rule, _Decay(0.0), (by_step[0], 0.0), left, by_step)
    return None


_ANOTHER_ADAM = "another Adam"
"""One whose moments are not those that were recorded."""


def _said(fit: _Fit, *, told: bool) -> str:
    rate, shrink = (float(f"{number:.4g}") for number in fit.rates)
    details = fit.rule.details if told else ""
    instead = "" if fit.rule.name.startswith(_ANOTHER_ADAM) else "not Adam: "
    words = f"{instead}{fit.rule.name}{details} with a learning rate "
    if fit.by_step:
        return f"{words}that changes from step to step: {', '.join(f'{number:.4g}' for number in fit.by_step)}"
    words += f"of {rate:.4g}"
    if fit.decay.number:
        which = " of the kernels" if fit.decay.of else ""
        words += f" and weight decay of {fit.decay.number:g}{which}, added to the gradient{see('weight-decay-l2')}"
    if shrink:
        words += f" and decoupled weight decay of {shrink / rate:.3g}"
    return words


def _played(rule: Rule, decay: _Decay, name: str, steps: Moved) -> Iterator[tuple[Array, Array, Array]]:
    """By step: the update at a rate of 1, the parameter before, what was subtracted from it with the rate."""
    memory: Memory = {}
    decays = decay.number and name.endswith(decay.of)
    for number, (before, gradient, after) in enumerate(steps, 1):
        memory["parameter"] = before
        update = rule.step(gradient + decay.number * before if decays else gradient, number, memory)
        yield update, before, before - after - memory.get("fixed", 0)


def _rate(rule: Rule, decay: _Decay, moved: Mapping[str, Moved], unit: float) -> Rates | None:
    """The rate, and the decoupled decay if the rate alone does not do, of the first step; None if these do not do."""
    updates, befores, changes = [], [], []
    for name, steps in moved.items():
        update, before, change = next(iter(_played(rule, decay, name, steps)))
        updates.append(update.ravel())
        befores.append(before.ravel())
        changes.append(change.ravel())
    update, before, change = (np.concatenate(parts) for parts in (updates, befores, changes))
    if not np.isfinite(update).all() or not np.isfinite(change).all() or not (update * update).sum():
        return None
    rate, shrink = float((change * update).sum() / (update * update).sum()), 0.0
    off = np.abs(change - rate * update).max()
    if off > 1e-4 * np.abs(change).max() and not decay.number:
        (rate, shrink), *_ = np.linalg.lstsq(np.stack([update, before], axis=1), change, rcond=None)
    # What no rate does for the first step, no round one will; the fit is off by what the largest weights round.
    heaviest = np.full(before.shape, np.abs(before).max())
    return (float(rate), float(shrink)) if _off(rate * update + shrink * before, heaviest, change, unit) <= 1 else None


def _left(rule: Rule, decay: _Decay, moved: Mapping[str, Moved], unit: float) -> tuple[Rates, float] | None:
    """With which rates the rule moves the parameters, and how many times what rounding allows it is off at most."""
    fitted = _rate(rule, decay, moved, unit)
    if fitted is None or fitted[0] <= 0:
        return None
    # People choose round numbers; where weights hide most of an update, the fit knows the rate to few digits.
    choices: list[Rates] = []
    for shrink in dict.fromkeys((0.0, fitted[1])):
        choices += [(float(f"{fitted[0]:.{digits}g}"), float(f"{shrink:.{digits}g}")) for digits in (2, 3, 4)]
        choices.append((fitted[0], shrink))
    for rate, shrink in dict.fromkeys(choices):
        worst = 0.0
        for update, before, change in chain.from_iterable(_played(rule, decay, *one) for one in moved.items()):
            worst = max(worst, _off(rate * update + shrink * before, before, change, unit))
            if not worst <= 1:
                break
        if worst <= 1:
            return (rate, shrink), worst
    return None


def _off(predicted: Array, before: Array, change: Array, unit: float) -> float:
    """How many times what rounding allows an update is off."""
    allowed = unit * np.abs(before) * 2 + _ROUNDINGS * unit * (np.abs(predicted).max() + np.abs(change).max())
    return float(np.nan_to_num(np.abs(change - predicted) / np.maximum(allowed, 1e-300), nan=np.inf).max(initial=0))


def _scheduled(rule: Rule, moved: Mapping[str, Moved], unit: float) -> tuple[tuple[float, ...], float] | None:
    """A learning rate for each step, the same for all parameters, and what is left; None where that does not do."""
    played = [_played(rule, _Decay(0.0), name, steps) for name, steps in moved.items()]
    rates, worst = [], 0.0
    for parts in zip(*played, strict=False):
        update, change = (np.concatenate([part[at].ravel() for part in parts]) for at in (0, 2))
        square = float((update * update).sum())
        if not square or not np.isfinite(square) or not np.isfinite(change).all():
            return None
        fitted = float((change * update).sum()) / square
        for rate in dict.fromkeys((float(f"{fitted:.2g}"), float(f"{fitted:.4g}"), fitted)):
            left = max(_off(rate * update, before, change, unit) for update, before, change in parts)
            if left <= 1 and rate > 0:
                break
        else:
            return None
        rates.append(rate)
        worst = max(worst, left)
    return (tuple(rates), worst) if len(rates) > 2 else None


# --- the rules -------------------------------------------------------------------------------------


def _rules(adam: Adam, moved: Mapping[str, Moved]) -> Iterator[Rule]:
    """Optimizers of torch and Keras, with their usual numbers and those of the recipe."""
    yield Rule("plain gradient descent (SGD)", lambda g, t, memory: g, numbers=0)
    yield Rule("ASGD as torch has it", lambda g, t, memory: g + 1e-4 * memory["parameter"], numbers=1)
    yield from _solved_momentum(moved)
    yield Rule("Rprop", _rprop, numbers=1)
    for library, floor in (("torch", float(np.finfo(np.float32).eps) ** 2), ("Keras", 1e-30)):
        yield Rule(
            f"Adafactor as {library} has it", partial(_adafactor, floor=floor, in_square=library == "Keras"), numbers=1
        )
    yield Rule("FTRL", _ftrl, numbers=1)
    for momentum in (0.9, 0.5, 0.8, 0.95, 0.99):
        for words, rest in (("", 1.0), (f" and dampening {momentum:g}", 1 - momentum)):
            yield Rule(
                f"SGD with momentum {momentum:g}{words}",
                partial(_momentum, momentum=momentum, rest=rest, nesterov=False),
                numbers=1 + (rest < 1),
            )
        yield Rule(
            f"SGD with Nesterov momentum {momentum:g}",
            partial(_momentum, momentum=momentum, rest=1.0, nesterov=True),
            numbers=1,
        )
    yield Rule("the sign of the gradient (signSGD)", lambda g, t, memory: np.sign(g), numbers=0)
    yield Rule(
        "the gradient scaled to length 1 for each parameter",
        lambda g, t, memory: g / (np.linalg.norm(g) or 1.0),
        numbers=0,
    )
    for momentum in (0.9, 0.0):
        for words, biases in (("", True), (", of the kernels alone", False)):
            yield Rule(
                f"LARS of momentum {momentum:g} with a trust of 0.001{words}",
                partial(_lars, momentum=momentum, trust=1e-3, biases=biases),
            )
    yield from _adaptive()
    betas = {(adam.beta_1, adam.beta_2), (0.9, 0.999), (0.9, 0.99), (0.95, 0.999), (0.5, 0.999), (0.9, 0.95)}
    betas |= {(0.8, 0.999), (0.0, 0.999), (0.9, 0.9), (0.99, 0.999), (0.9, 0.9999), (0.85, 0.999)}
    for beta_1, beta_2 in sorted(betas):
        yield from _of_adams_kind(beta_1, beta_2, adam.epsilon)
    for beta_1, beta_2 in ((0.9, 0.99), (0.95, 0.98), (0.9, 0.999)):
        yield Rule(f"Lion of β = {beta_1:g} and {beta_2:g}", partial(_lion, beta_1=beta_1, beta_2=beta_2))


def _solved_momentum(moved: Mapping[str, Moved]) -> Iterator[Rule]:
    """The momentum, and the dampening, that the second step shows where the first is a multiple of the gradient."""
    steps = max(moved.values(), key=lambda steps: steps[0][0].size)
    if len(steps) < 2:
        return
    (before, first, after), (before_2, second, after_2) = steps[:2]
    square = float((first**2).sum())
    rate = float(((before - after) * first).sum()) / square if square else 0.0
    parts = np.stack([first.ravel(), second.ravel()], axis=1)
    if not rate or not np.isfinite(parts).all():
        return
    (of_first, of_second), *_ = np.linalg.lstsq(parts, (before_2 - after_2).ravel() / rate, rcond=None)
    for digits in (2, 3):
        momentum, rest = (round(float(number), digits) for number in (of_first, of_second))
        if 0 < momentum < 1 and 0 < rest <= 1:
            words = f" and dampening {round(1 - rest, digits):g}" if rest < 1 else ""
            yield Rule(
                f"SGD with momentum {momentum:g}{words}",
                partial(_momentum, momentum=momentum, rest=rest, nesterov=False),
                numbers=1 + (rest < 1),
            )
        # Nesterov's first step is 1 + µ gradients, its second those and µ² of the first.
        nesterov = round(float(of_first + np.sqrt(of_first**2 + 4 * max(of_first, 0))) / 2, digits)
        if 0 < nesterov < 1:
            yield Rule(
                f"SGD with Nesterov momentum {nesterov:g}",
                partial(_momentum, momentum=nesterov, rest=1.0, nesterov=True),
                numbers=1,
            )


def _rprop(g: Array, t: int, memory: Memory) -> Array:
    """torch/optim/rprop.py, whose steps grow by 1.2 and shrink by 0.5; the first is the learning rate."""
    same = np.sign(g * memory.get("g", 0 * g))
    memory["size"] = memory.get("size", 1 + 0 * g) * np.where(same > 0, 1.2, np.where(same < 0, 0.5, 1))
    memory["g"] = np.where(same < 0, 0, g)
    return np.sign(memory["g"]) * memory["size"]


def _lars(g: Array, t: int, memory: Memory, *, momentum: float, trust: float, biases: bool) -> Array:
    """You, Gitman and Ginsburg (2017): momentum of gradients as long as a share of the weights; 1 of weights of 0."""
    norms = float(np.linalg.norm(memory["parameter"])), float(np.linalg.norm(g))
    scale = trust * norms[0] / norms[1] if all(norms) and (biases or g.ndim > 1) else 1.0
    memory["m"] = momentum * memory.get("m", 0 * g) + scale * g
    return memory["m"]


def _adafactor(g: Array, t: int, memory: Memory, *, floor: float, in_square: bool) -> Array:
    """torch/optim/_adafactor.py, keras/src/optimizers/adafactor.py, at a rate below 1/√t; kernels are factored."""
    rest, parameter, square = t**-0.8, memory["parameter"], g * g + in_square * floor
    if g.ndim > 1:
        for axis, key in ((-1, "rows"), (-2, "columns")):
            mean = square.mean(axis=axis, keepdims=True)
            memory[key] = (1 - rest) * memory.get(key, 0 * mean) + rest * mean
        rows = memory["rows"]
        v = rows * memory["columns"] / np.maximum(rows.mean(axis=-2, keepdims=True), floor)
    else:
        memory["v"] = v = (1 - rest) * memory.get("v", 0 * g) + rest * square
    update = g / np.sqrt(np.maximum(v, floor))
    scale = max(1e-3, float(np.sqrt((parameter**2).mean())))
    return scale * update / max(1.0, float(np.sqrt((update**2).mean())))


def _ftrl(g: Array, t: int, memory: Memory) -> Array:
    """keras/src/optimizers/ftrl.py without penalties, from an accumulator of 0.1."""
    parameter, before = memory["parameter"], memory.get("n", 0.1 + 0 * g)
    memory["n"] = before + g * g
    root = np.sqrt(memory["n"])
    memory["sum"] = memory.get("sum", 0 * g) + g
    memory["w"] = memory.get("w", 0 * g) + (root - np.sqrt(before)) * parameter
    memory["fixed"] = parameter - memory["w"] / root
    return memory["sum"] / root


def _lamb(g: Array, t: int, memory: Memory, *, beta_1: float, beta_2: float, epsilon: float) -> Array:
    """keras/src/optimizers/lamb.py: Adam's update brought to the parameter's norm."""
    update = _adam(g, t, memory, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, form="torch")
    norms = float(np.linalg.norm(memory["parameter"])), float(np.linalg.norm(update))
    return update * (norms[0] / norms[1] if all(norms) else 1.0)


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
            yield Rule(f"{_ANOTHER_ADAM} {said}, {words}", partial(_adam, form=form, **of), details)
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
        yield Rule(f"LAMB {said}", partial(_lamb, **of), details)
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
