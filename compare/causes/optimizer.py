"""Causes of an optimizer step that is off: what of Adam is otherwise, or which optimizer it is instead.

A cause of one of the three, first moment, second moment and parameter, counts only if what is wrong with the other two
is explained too. Optimizers that keep other moments than Adam are in `compare/causes/rules.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np

from compare.causes.rules import of_another_optimizer
from compare.causes.signatures import (
    ENOUGH_NUMBERS,
    ROUNDINGS,
    Evidence,
    Hypothesis,
    all_accepted,
    all_kept_in,
    as_noise,
    ratio,
    rounded,
    see,
)
from compare.oracle.bounds import Rounding
from compare.oracle.network import Adam, Array
from recipe.recipe import KERAS_EPSILON


@dataclass(frozen=True)
class OptimizerState:
    """One parameter around one optimizer step, all in float64; `adam` is what the recipe asks for."""

    adam: Adam
    step: int
    before: Array
    gradient: Array
    first_before: Array
    second_before: Array
    first: Array
    second: Array
    after: Array

    @property
    def rounding(self) -> Rounding:
        """The rounding of the parameter's dtype, in which Adam computes powers too."""
        return Rounding.of(self.adam.power_dtype)

    @property
    def double(self) -> bool:
        """Whether the parameter should be float64."""
        return self.adam.power_dtype == "float64"


States = Mapping[str, Sequence[OptimizerState]]
"""By parameter, the state of every step until the training diverges."""


def of_optimizer(states: States, index: int, name: str) -> str | None:
    """Why moments or parameters are off; those of `name` in step `index` (from 0) are the first."""
    all_states = [state for of_parameter in states.values() for state in of_parameter]
    evidence = {
        "first moment": _evidence(states, lambda s: s.first, _first_moment, _first_bound),
        "second moment": _evidence(states, lambda s: s.second, _second_moment, _second_bound),
        "parameter": _evidence(states, lambda s: s.before - s.after, _update, _update_bound),
    }
    state = states[name][min(index, len(states[name]) - 1)]
    if not np.isfinite(state.first).all() or not np.isfinite(state.after).all():
        return "the numbers are not finite"
    if (still := _not_moving(states, evidence)) is not None:
        return still
    if (several := _several_steps(states, evidence)) is not None:
        return several
    resting = _moments_rest(all_states)
    causes = None if resting else _of_adam(states, evidence)
    if causes is None:
        # What a rule remembers is known as long as step follows step.
        moved = {name: [(s.before, s.gradient, s.after) for s in _in_a_row(of)] for name, of in states.items()}
        causes = of_another_optimizer(moved, state.rounding.unit, state.adam)
    if causes is None and resting:
        causes = (
            "not Adam, whose moments stay as they were while the parameters move; these steps do not tell what else"
        )
    if causes is None:
        wrong = next((part for part in evidence.values() if any(not one.is_right for one in part)), None)
        kept = wrong and all_kept_in([one for one in wrong if not one.is_right], double=all_states[0].double)
        causes = kept or None
        if not kept and wrong is evidence["parameter"]:
            # A parameter is off by as much as its update is; a few hundred numbers of the largest tell noise.
            largest = max((one for one in wrong if not one.is_right), key=lambda one: one.recorded.size).tensor
            causes = as_noise([one for one in wrong if one.tensor == largest], "the updates", " to the updates")
    return causes


def _moments_rest(states: Sequence[OptimizerState]) -> bool:
    """Whether no moment changes, in steps that have gradients and move parameters."""
    return (
        all((s.first == s.first_before).all() and (s.second == s.second_before).all() for s in states)
        and any(s.gradient.any() for s in states)
        and any((s.before != s.after).any() for s in states)
    )


def _in_a_row(states: Sequence[OptimizerState]) -> Sequence[OptimizerState]:
    """The first states, up to a step that is not recorded."""
    count = next((n for n in range(1, len(states)) if states[n].step != states[n - 1].step + 1), len(states))
    return states[:count]


# --- what Adam would have done ---------------------------------------------------------------------


def _first_moment(s: OptimizerState) -> Array:
    return s.adam.first_moment(s.first_before, s.gradient)


def _second_moment(s: OptimizerState) -> Array:
    return s.adam.second_moment(s.second_before, s.gradient)


def _update(s: OptimizerState) -> Array:
    return s.adam.update(s.first, s.second, s.step)


def _first_bound(s: OptimizerState) -> Array:
    return s.rounding.first_moment(s.first_before, s.gradient, s.adam)


def _second_bound(s: OptimizerState) -> Array:
    return s.rounding.second_moment(s.second_before, s.gradient, s.adam)


def _update_bound(s: OptimizerState) -> Array:
    """Of the update that is larger, the one found or Adam's: another optimizer rounds as much of its own."""
    update = np.maximum(np.abs(_update(s)), np.abs(s.before - s.after))
    return s.rounding.parameter(s.after, update, s.adam, s.step)


def _evidence(
    states: States,
    recorded: Callable[[OptimizerState], Array],
    expected: Callable[[OptimizerState], Array],
    bound: Callable[[OptimizerState], Array],
) -> list[Evidence]:
    return [
        Evidence(s.step, name, recorded(s), expected(s), bound(s), s.rounding.unit, s)
        for name, of_parameter in states.items()
        for s in of_parameter
    ]


# --- steps that are not taken, or more than one ----------------------------------------------------


def _not_moving(states: States, evidence: Mapping[str, Sequence[Evidence]]) -> str | None:
    """Parameters that the optimizer leaves alone in all steps, if all the others are right."""
    moved = {name: any((s.before != s.after).any() for s in of_parameter) for name, of_parameter in states.items()}
    still = [name for name, moves in moved.items() if not moves and any(s.gradient.any() for s in states[name])]
    if not still:
        return None
    if any(not one.is_right for part in evidence.values() for one in part if one.tensor not in still):
        return None
    zero = [name for name in still if not any(s.first.any() for s in states[name])]
    which = "" if len(still) == 1 else f" ({', '.join(still)})"
    if len(zero) == len(still):
        return f"the moment stays zero: the optimizer does not know the parameter{which}"
    return f"the parameter does not move: its update is not applied{which}"


def _several_steps(states: States, evidence: Mapping[str, Sequence[Evidence]]) -> str | None:
    """More than one step a batch, or one for several batches: first, second moment and parameter alike."""
    found = [
        cause
        for cause, predict in [*_repeated(states), *_accumulated(states), *_skipped(states)]
        if all(
            one.left_by(predict(one.given)[number]) <= 1
            for number, part in enumerate(evidence.values())
            for one in part
        )
        and any(not one.is_right for part in evidence.values() for one in part)
    ]
    return " – or ".join(found) or None


Predict = Callable[[OptimizerState], tuple[Array, Array, Array]]
"""First moment, second moment and what is subtracted from the parameter."""


def _repeated(states: States) -> Iterator[tuple[str, Predict]]:
    for count in (2, 3, 4, 5):

        def predict(s: OptimizerState, count: int = count) -> tuple[Array, Array, Array]:
            first, second, update = s.first_before, s.second_before, np.zeros(s.before.shape)
            for number in range(count):
                first, second = s.adam.first_moment(first, s.gradient), s.adam.second_moment(second, s.gradient)
                update = update + s.adam.update(first, second, count * (s.step - 1) + number + 1)
            return first, second, update

        yield f"the optimizer takes {count} steps with the gradient of each batch", predict
    _ = states


def _accumulated(states: States) -> Iterator[tuple[str, Predict]]:
    """One step for several batches, of their gradients' sum or mean."""
    of = {id(s): of_parameter for of_parameter in states.values() for s in of_parameter}
    for count in (2, 3, 4, 5, 8, 10):
        for words, divided in (("averaged", count), ("added up", 1)):
            for every in (True, False):

                def predict(
                    s: OptimizerState, count: int = count, divided: int = divided, *, every: bool = every
                ) -> tuple[Array, Array, Array]:
                    if s.step % count:
                        return s.first_before, s.second_before, np.zeros(s.before.shape)
                    gradients = [other.gradient for other in of[id(s)][s.step - count : s.step]]
                    gradient = np.sum(gradients, axis=0) / divided
                    first = s.adam.first_moment(s.first_before, gradient)
                    second = s.adam.second_moment(s.second_before, gradient)
                    return first, second, s.adam.update(first, second, s.step // count if every else s.step)

                counter = "" if every else ", and the step counter counts batches"
                name = (
                    f"the optimizer takes its first step in step {count}: gradients of several batches are accumulated"
                )
                yield f"{name} and {words}{counter}{see('gradient-accumulation')}", predict
        name = f"the optimizer takes one step in {count} batches, with the gradient of the last one alone"

        def last(s: OptimizerState, count: int = count) -> tuple[Array, Array, Array]:
            if s.step % count:
                return s.first_before, s.second_before, np.zeros(s.before.shape)
            first, second = _first_moment(s), _second_moment(s)
            return first, second, s.adam.update(first, second, s.step // count)

        yield name, last


def _skipped(states: States) -> Iterator[tuple[str, Predict]]:
    """Single steps in which nothing moves; the step counter stops with them, or does not."""
    steps = next(iter(states.values()))
    still = [
        s.step
        for number, s in enumerate(steps)
        if all((of[number].before == of[number].after).all() for of in states.values() if number < len(of))
    ]
    if not still or len(still) == len(steps):
        return
    which = f"step {still[0]} is" if len(still) == 1 else f"the steps {', '.join(map(str, still))} are"
    for stops, kept, words in (
        (True, True, ": moments and parameters stay as they were, and the step counter stops"),
        (False, True, ": moments and parameters stay as they were, and the step counter goes on"),
        (False, False, ": the moments move, the parameters do not"),
    ):

        def predict(s: OptimizerState, *, stops: bool = stops, kept: bool = kept) -> tuple[Array, Array, Array]:
            if s.step in still:
                zero = np.zeros(s.before.shape)
                return (s.first_before, s.second_before, zero) if kept else (_first_moment(s), _second_moment(s), zero)
            counted = s.step - sum(step < s.step for step in still) if stops else s.step
            return _first_moment(s), _second_moment(s), s.adam.update(s.first, s.second, counted)

        yield f"{which} skipped{words}", predict


# --- Adam with something of it otherwise -----------------------------------------------------------


def _of_adam(states: States, evidence: Mapping[str, Sequence[Evidence]]) -> str | None:
    """What of Adam is otherwise; None where one of first moment, second moment and parameter stays unexplained."""
    causes: list[str] = []
    betas: Betas = {}
    for part, hypotheses in (("first moment", _of_first_moment), ("second moment", _of_second_moment)):
        if all(one.is_right for one in evidence[part]):
            continue
        cause = _named(evidence[part], hypotheses)
        if cause is None:
            return None
        if cause not in causes:
            causes.append(cause)
        betas |= _found_beta(part, cause, evidence[part])
    parameter = evidence["parameter"]
    corrected = any(cause.startswith(_CORRECTED) for cause in causes)
    if corrected or (betas and any(not one.is_right for one in parameter)):
        others = {name: [_as_found(s, betas, corrected=corrected) for s in of] for name, of in states.items()}
        parameter = _evidence(others, lambda s: s.before - s.after, _update, _update_bound)
    if any(not one.is_right for one in parameter):
        cause = _named(parameter, _of_parameter)
        if cause is None:
            return None
        causes.append(cause)
    return "; ".join(_once(causes)) or None


Betas = dict[str, float | Mapping[int, float]]
"""By name, a β that was found otherwise than the recipe has it, or one for each step."""


def _once(causes: Sequence[str]) -> list[str]:
    """Without what is said of both moments."""
    return list(dict.fromkeys(causes))


_CORRECTED = "the moment is recorded after its bias correction"


def _as_found(s: OptimizerState, betas: Betas, *, corrected: bool) -> OptimizerState:
    """A state with the β that the moments have, and the first moment as it was before it was corrected."""
    now = {name: found if isinstance(found, float) else found[s.step] for name, found in betas.items()}
    adam = s.adam._replace(beta_1=now.get("beta_1", s.adam.beta_1), beta_2=now.get("beta_2", s.adam.beta_2))
    first = s.first * (1 - adam.beta_1**s.step) if corrected else s.first
    return replace(s, adam=adam, first=first)


def _found_beta(part: str, cause: str, evidence: Sequence[Evidence]) -> Betas:
    """The β that a cause speaks of, as exactly as the evidence has it."""
    symbol, key = ("β₁", "beta_1") if part == "first moment" else ("β₂", "beta_2")
    if cause.startswith(_CHANGING_BETA):
        return {"beta_1": _betas_by_step(evidence)}
    if not cause.startswith(f"{symbol} is "):
        return {}
    said = float(cause.split()[2].rstrip(",;"))
    if not 0 <= said < 1:
        return {}

    def taken_in(s: OptimizerState) -> tuple[Array, Array, Array]:
        """The moment before and after the step, and what it takes in."""
        return (s.first_before, s.first, s.gradient) if key == "beta_1" else (s.second_before, s.second, s.gradient**2)

    def left(beta: float) -> float:
        parts = [(one, *taken_in(one.given)) for one in evidence]
        return max(one.left_by(beta * before + (1 - beta) * taken) for one, before, _, taken in parts)

    # What the words round matters in float64: a β may be the decimal number, that in float32, or none of the two.
    before, after, taken = taken_in(max(evidence, key=lambda one: one.recorded.size).given)
    return {key: min((said, float(np.float32(said)), 1 - ratio(after - before, taken - before)), key=left)}


def _named(
    evidence: Sequence[Evidence], hypotheses: Callable[[Sequence[Evidence], Evidence], Iterator[Hypothesis]]
) -> str | None:
    """The cause of all that deviates, or those of each parameter."""
    wrong = [one for one in evidence if not one.is_right]
    # The first step that is off, of its largest parameter: what numbers are fitted to.
    first = max((one for one in wrong if one.step == wrong[0].step), key=lambda one: one.recorded.size)
    if found := all_accepted(evidence, hypotheses(evidence, first)):
        return _joined([one.cause for one in found], one_step=len({one.step for one in evidence}) == 1)
    by_cause: dict[str, list[str]] = {}
    for name in dict.fromkeys(one.tensor for one in wrong):
        of_tensor = [one for one in evidence if one.tensor == name]
        start = next(one for one in of_tensor if not one.is_right)
        found = all_accepted(of_tensor, hypotheses(of_tensor, start))
        if not found:
            return None
        by_cause.setdefault(_joined([one.cause for one in found], one_step=len(of_tensor) == 1), []).append(name)
    if len(by_cause) == 1:
        return next(iter(by_cause))
    return "; ".join(f"{', '.join(names)}: {cause}" for cause, names in by_cause.items())


def _joined(causes: Sequence[str], *, one_step: bool) -> str:
    return " – or ".join(causes) + (": one step cannot tell" if causes[1:] and one_step else "")


def _of_first_moment(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    state: OptimizerState = first.given
    beta = state.adam.beta_1

    def h(cause: str, predict: Callable[[OptimizerState], Array], *, fitted: int = 0) -> Hypothesis:
        return Hypothesis(cause, lambda one: predict(one.given), fitted)

    yield h(
        _CORRECTED,
        lambda s: (beta * s.first_before * (1 - beta ** (s.step - 1)) + (1 - beta) * s.gradient) / (1 - beta**s.step),
    )
    name = "the moments start from zero in every step: a new optimizer each time"
    yield h(name, lambda s: (1 - beta) * s.gradient)
    rest = float(np.float32(1) - np.float32(beta))
    yield h("1 − β₁ is computed in float32", lambda s: beta * s.first_before + rest * s.gradient)
    if (decimal := _as_stated(beta)) is not None:
        name = f"β₁ is {decimal:g}, not rounded to float32 as the recipe shares it{see('constants-float32')}"
        yield h(name, lambda s: decimal * s.first_before + (1 - decimal) * s.gradient)
    betas = _betas_by_step(evidence)
    if len({f"{one:.4g}" for one in betas.values()}) > 2 and all(0 <= one < 1 for one in betas.values()):
        name = f"{_CHANGING_BETA}, as OneCycleLR's cycle_momentum has it: {_by_step(betas)}"
        yield h(name, lambda s: betas[s.step] * s.first_before + (1 - betas[s.step]) * s.gradient, fitted=len(betas))
    yield h("the gradient is not multiplied by 1 − β₁", lambda s: beta * s.first_before + s.gradient)
    yield h("the moment is of the opposite sign", lambda s: beta * s.first_before - (1 - beta) * s.gradient)
    yield h("the moments are those of the step before", lambda s: s.first_before)
    yield Hypothesis(
        _CENTRALISED,
        lambda one: beta * one.given.first_before + (1 - beta) * _centralised(one.given.gradient),
        terms=lambda one: np.full(one.recorded.shape, (1 - beta) * np.abs(one.given.gradient).mean()),
    )
    largest = float(f"{max(np.abs(_implied_gradient(one.given)).max() for one in evidence):.4g}")
    name = f"the optimizer uses gradients that are clipped to ±{largest:.4g}"
    clipped = h(
        name, lambda s: beta * s.first_before + (1 - beta) * np.clip(s.gradient, -largest, largest), fitted=True
    )
    yield clipped
    factors = {one.step: _gradient_factor(one.given) for one in evidence if one.tensor == first.tensor}
    factor = factors[first.step]
    if np.isclose(_squared_gradient_factor(state), factor**2, rtol=1e-3):
        # A norm that is clipped has another factor in every step.
        name = f"the optimizer uses {factor:.6g} times the gradient"
        if len({f"{one:.4g}" for one in factors.values()}) > 1:
            name += ", and another factor in other steps" + (": clipping does that" if factor < 1 else "")
        yield h(name, lambda s: beta * s.first_before + (1 - beta) * factors[s.step] * s.gradient, fitted=True)
    else:
        found_rest = ratio(state.first - state.first_before, state.gradient - state.first_before)
        yield from _other_number(
            "β₁",
            1 - found_rest,
            beta,
            lambda s, found=1 - found_rest: found * s.first_before + (1 - found) * s.gradient,
            lambda s, found: found * s.first_before + (1 - found) * s.gradient,
        )
    decay = ratio((state.first - _first_moment(state)) / (1 - beta), state.before)
    for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
        name = f"weight decay of {number:.3g} is added to the gradient, as an L2 penalty{see('weight-decay-l2')}"
        yield h(name, lambda s, number=number: _first_moment(s) + (1 - beta) * number * s.before, fitted=True)
    if decay < 0:
        return
    sign = ratio((state.first - _first_moment(state)) / (1 - beta), np.sign(state.before))
    for number in dict.fromkeys((float(f"{sign:.3g}"), sign)) if np.isfinite(sign) else ():
        name = f"{number:.3g} times the signs of the weights is added to the gradient, as an L1 penalty"
        yield h(name, lambda s, number=number: _first_moment(s) + (1 - beta) * number * np.sign(s.before), fitted=True)


_CENTRALISED = "the optimizer takes the mean over the inputs from the gradient of each unit: gradient centralisation"


def _centralised(gradient: Array) -> Array:
    """Without the mean over all but the units; biases as they are."""
    return (
        gradient - gradient.mean(axis=tuple(range(gradient.ndim - 1)), keepdims=True) if gradient.ndim > 1 else gradient
    )


_CHANGING_BETA = "β₁ changes from step to step"


def _betas_by_step(evidence: Sequence[Evidence]) -> dict[int, float]:
    """The β₁ of each step, of its largest parameter; after a first step from zero it is 1 − m/g."""
    found: dict[int, tuple[int, float]] = {}
    for one in evidence:
        s: OptimizerState = one.given
        rest = ratio(s.first - s.first_before, s.gradient - s.first_before)
        if s.gradient.size > found.get(s.step, (0, 0.0))[0]:
            found[s.step] = s.gradient.size, 1 - rest
    return {step: beta for step, (_, beta) in found.items()}


def _as_stated(beta: float) -> float | None:
    """The decimal number that a β was rounded from to float32, if it was."""
    decimal = float(f"{beta:.6g}")
    return decimal if decimal != beta and float(np.float32(decimal)) == beta else None


def _implied_gradient(s: OptimizerState) -> Array:
    """The gradient that the first moment has taken in."""
    return (s.first - s.adam.beta_1 * s.first_before) / (1 - s.adam.beta_1)


def _gradient_factor(s: OptimizerState) -> float:
    beta = s.adam.beta_1
    return ratio((s.first - beta * s.first_before) / (1 - beta), s.gradient)


def _squared_gradient_factor(state: OptimizerState) -> float:
    """What the second moment says of a factor in front of the gradient; NaN if there is none.

    In the first moment alone, a factor of the gradient cannot be told from another β₁.
    """
    beta = state.adam.beta_2
    if (np.abs(state.second - _second_moment(state)) <= _second_bound(state)).all():
        return float("nan")
    return ratio(state.second - beta * state.second_before, (1 - beta) * state.gradient**2)


def _other_number(
    name: str,
    found: float,
    stated: float,
    predict: Callable[[OptimizerState], Array],
    of: Callable[[OptimizerState, float], Array],
) -> Iterator[Hypothesis]:
    """That a number is another one, in few digits if these do; nothing where the two are one in six digits."""
    for digits in (3, 6):
        text = f"{found:.{digits}g}"
        if text not in (f"{stated:.{digits}g}", f"{stated:.6g}"):
            number = float(text)
            cause = f"{name} is {text} instead of {stated:.6g}"
            yield Hypothesis(cause, lambda one, number=number: of(one.given, number), fitted=1 if digits == 3 else 2)
    if f"{found:.6g}" != f"{stated:.6g}":
        yield Hypothesis(f"{name} is {found:.6g} instead of {stated:.6g}", lambda one: predict(one.given), fitted=2)


def _of_second_moment(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    state: OptimizerState = first.given
    beta = state.adam.beta_2

    def h(cause: str, predict: Callable[[OptimizerState], Array], *, fitted: int = 0) -> Hypothesis:
        return Hypothesis(cause, lambda one: predict(one.given), fitted)

    rest = float(np.float32(1) - np.float32(beta))
    yield h("1 − β₂ is computed in float32", lambda s: beta * s.second_before + rest * s.gradient**2)
    if (decimal := _as_stated(beta)) is not None:
        name = f"β₂ is {decimal:g}, not rounded to float32 as the recipe shares it{see('constants-float32')}"
        yield h(name, lambda s: decimal * s.second_before + (1 - decimal) * s.gradient**2)
    yield h("the squared gradient is not multiplied by 1 − β₂", lambda s: beta * s.second_before + s.gradient**2)
    yield Hypothesis(
        _CENTRALISED,
        lambda one: beta * one.given.second_before + (1 - beta) * _centralised(one.given.gradient) ** 2,
        # (g − mean)² is off by 2·|g − mean| times what the mean is.
        terms=lambda one: 2 * (1 - beta) * np.abs(_centralised(one.given.gradient)) * np.abs(one.given.gradient).mean(),
    )
    name = "the second moment averages |g| instead of g²"
    yield h(name, lambda s: beta * s.second_before + (1 - beta) * np.abs(s.gradient))
    name = "the second moment is that of AdaBelief: (g − m)²"
    yield h(name, lambda s: beta * s.second_before + (1 - beta) * (s.gradient - s.first) ** 2)
    for epsilon in (1e-16, 1e-8):
        yield h(
            f"the second moment is that of AdaBelief: (g − m)² + {epsilon:g}",
            lambda s, e=epsilon: beta * s.second_before + (1 - beta) * (s.gradient - s.first) ** 2 + e,
        )
    name = "the second moment is that of Yogi: v − (1 − β₂)·sign(v − g²)·g²"
    yield h(
        name,
        lambda s: s.second_before - (1 - beta) * np.sign(s.second_before - s.gradient**2) * s.gradient**2,
    )
    name = "the second moment takes the square of the first moment, not of the gradient"
    yield h(name, lambda s: beta * s.second_before + (1 - beta) * s.first**2)
    name = "the second moment takes the mean of a tensor's squares: one number a tensor"
    yield h(name, lambda s: beta * s.second_before + (1 - beta) * (s.gradient**2).mean())
    yield h(
        "the largest second moment so far is kept (AMSGrad)", lambda s: np.maximum(s.second_before, _second_moment(s))
    )
    yield h(
        "the second moment is recorded after its bias correction",
        lambda s: (
            (beta * s.second_before * (1 - beta ** (s.step - 1)) + (1 - beta) * s.gradient**2) / (1 - beta**s.step)
        ),
    )
    yield h(
        "the square root of the second moment is recorded in its place",
        lambda s: np.sqrt(beta * s.second_before**2 + (1 - beta) * s.gradient**2),
    )
    name = "the moments start from zero in every step: a new optimizer each time"
    yield h(name, lambda s: (1 - beta) * s.gradient**2)
    largest = float(f"{max(np.abs(_implied_gradient(one.given)).max() for one in evidence):.4g}")
    name = f"the optimizer uses gradients that are clipped to ±{largest:.4g}"
    yield h(
        name, lambda s: beta * s.second_before + (1 - beta) * np.clip(s.gradient, -largest, largest) ** 2, fitted=True
    )
    factors = {
        one.step: ratio(one.given.second - beta * one.given.second_before, (1 - beta) * one.given.gradient**2)
        for one in evidence
        if one.tensor == first.tensor
    }
    root = np.sqrt(max(factors[first.step], 0))
    if np.isclose(_gradient_factor(state), root, rtol=1e-3):
        name = f"the optimizer uses {root:.6g} times the gradient"
        if len({f"{one:.4g}" for one in factors.values()}) > 1:
            name += ", and another factor in other steps" + (": clipping does that" if root < 1 else "")
        yield h(name, lambda s: beta * s.second_before + (1 - beta) * factors[s.step] * s.gradient**2, fitted=True)
    else:
        found_rest = ratio(state.second - state.second_before, state.gradient**2 - state.second_before)
        yield from _other_number(
            "β₂",
            1 - found_rest,
            beta,
            lambda s, found=1 - found_rest: found * s.second_before + (1 - found) * s.gradient**2,
            lambda s, found: found * s.second_before + (1 - found) * s.gradient**2,
        )
    gradient = (state.first - state.adam.beta_1 * state.first_before) / (1 - state.adam.beta_1)
    for of, words in (
        (lambda s: s.before, "weight decay of {} is added to the gradient, as an L2 penalty" + see("weight-decay-l2")),
        (lambda s: np.sign(s.before), "{} times the signs of the weights is added to the gradient, as an L1 penalty"),
    ):
        decay = ratio(gradient - state.gradient, of(state))
        for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
            yield h(
                words.format(f"{number:.3g}"),
                lambda s, number=number, of=of: (
                    beta * s.second_before + (1 - beta) * (s.gradient + number * of(s)) ** 2
                ),
                fitted=True,
            )


# --- the parameter ---------------------------------------------------------------------------------


def _of_parameter(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """What else a step may subtract, given the moments."""

    def h(cause: str, predict: Callable[[OptimizerState], Array], *, fitted: int = 0) -> Hypothesis:
        return Hypothesis(cause, lambda one: predict(one.given), fitted)

    yield from (h(*one) for one in _other_epsilons(first))
    yield from (h(*one) for one in _other_corrections(first.given))
    largest_second: dict[tuple[str, int], Array] = {}
    for one in sorted(evidence, key=lambda one: one.step):
        before = largest_second.get((one.tensor, one.step - 1), one.given.second_before)
        largest_second[one.tensor, one.step] = np.maximum(before, one.given.second)
    for form in (_keras, _torch):
        for epsilon in dict.fromkeys((first.given.adam.epsilon, 1e-8, 1e-7)):
            words = (
                ""
                if form is _keras and epsilon == first.given.adam.epsilon
                else f", in {_form(form)}'s form with ε = {epsilon:g}"
            )
            yield Hypothesis(
                f"the largest second moment so far is used (AMSGrad){words}",
                lambda one, form=form, epsilon=epsilon: form(
                    one.given, one.given.first, largest_second[one.tensor, one.step], epsilon
                ),
            )
    largest_corrected: dict[tuple[str, int], Array] = {}
    for one in sorted(evidence, key=lambda one: one.step):
        before = largest_corrected.get((one.tensor, one.step - 1), 0 * one.given.second)
        largest_corrected[one.tensor, one.step] = np.maximum(before, one.given.second / _corrections(one.given)[1] ** 2)
    for epsilon in dict.fromkeys((first.given.adam.epsilon, 1e-8, 1e-7)):
        yield Hypothesis(
            f"the largest corrected second moment so far is used (AMSGrad), with ε = {epsilon:g} behind the root",
            lambda one, epsilon=epsilon: (
                one.given.adam.learning_rate
                / _corrections(one.given)[0]
                * one.given.first
                / (np.sqrt(largest_corrected[one.tensor, one.step]) + epsilon)
            ),
        )
    yield from (h(*one) for one in _other_optimizers(first.given))
    for cause, predict in _fitted(first):
        terms = _twice_rounded if "decay" in cause else None
        yield Hypothesis(cause, lambda one, predict=predict: predict(one.given), _numbers(cause), terms=terms)
    yield from _lookahead(evidence, first)
    yield from _averaged(evidence, first)
    yield from _schedules(evidence, first)


def _twice_rounded(one: Evidence) -> Array:
    """Of a decoupled decay: the parameter is rounded after it, and again after the update (torch/optim/adamw.py)."""
    found: Array = 2 * np.abs(one.given.before) / ROUNDINGS
    return found


def _numbers(cause: str) -> int:
    """How many things are chosen to fit: the optimizer or its form, its rate, its decay; more digits are one more."""
    choices = ("rate is", "rate of", "decay of", "not Adam", "form", "inside the root", "after the update")
    chosen = sum(word in cause for word in choices)
    rate = re.search(r"rate is ([\d.e+-]+)", cause)
    return chosen + (rate is not None and float(f"{float(rate[1]):.3g}") != float(rate[1]))


Named = tuple[str, Callable[[OptimizerState], Array]]


def _corrections(state: OptimizerState, dtype: str = "float64") -> tuple[float, float]:
    """1 − β₁ᵗ and √(1 − β₂ᵗ), the powers in a dtype: torch's are double, Keras's the parameter's."""
    real = np.dtype(dtype).type
    power_1, power_2 = (float(real(beta) ** real(state.step)) for beta in (state.adam.beta_1, state.adam.beta_2))
    return 1 - power_1, float(np.sqrt(1 - power_2))


def _keras(s: OptimizerState, first: Array, second: Array, epsilon: float) -> Array:
    return s.adam._replace(epsilon=epsilon).update(first, second, s.step)


def _torch(s: OptimizerState, first: Array, second: Array, epsilon: float) -> Array:
    correction_1, correction_2 = _corrections(s)
    return s.adam.learning_rate / correction_1 * first / (np.sqrt(second) / correction_2 + epsilon)


def _form(form: Callable[..., Array]) -> str:
    return "torch" if form is _torch else "Keras"


def _other_epsilons(first: Evidence) -> Iterator[Named]:
    adam = first.given.adam

    def after(s: OptimizerState, epsilon: float) -> Array:
        return _torch(s, s.first, s.second, epsilon)

    def before(s: OptimizerState, epsilon: float) -> Array:
        return _keras(s, s.first, s.second, epsilon)

    def inside(s: OptimizerState, epsilon: float) -> Array:
        return s.adam.step_size(s.step) * s.first / np.sqrt(s.second + epsilon)

    def inside_corrected(s: OptimizerState, epsilon: float) -> Array:
        correction_1, correction_2 = _corrections(s)
        return adam.learning_rate / correction_1 * s.first / np.sqrt(s.second / correction_2**2 + epsilon)

    for form, words in (
        (
            after,
            "ε is added after the bias correction, as torch does, not before it as Keras does"
            + see("adam-epsilon-place"),
        ),
        (inside, "ε is added inside the root, √(v + ε), not behind it"),
        (inside_corrected, "ε is added inside the root of the corrected moment, not behind it"),
    ):
        for other in dict.fromkeys((adam.epsilon, *_USUAL_EPSILONS)):
            same = "" if other == adam.epsilon else f", and is {other:g} instead of {adam.epsilon:g}"
            yield words + same, partial(form, epsilon=other)
    solved = _solve_epsilon(first)
    for other in dict.fromkeys(
        (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-10, 1e-12, 0.0, float(f"{solved:.3g}"), solved)
    ):
        text, stated = f"{other:.3g}", f"{adam.epsilon:.3g}"
        if text != stated and other >= 0:
            said = see("adam-epsilon") if {text, stated} == {"1e-08", "1e-07"} else ""
            yield f"ε is {text} instead of {stated}{said}", partial(before, epsilon=other)


def _solve_epsilon(first: Evidence) -> float:
    """The ε of α·m / (√v + ε) that most entries agree on."""
    state: OptimizerState = first.given
    with np.errstate(all="ignore"):
        alpha = state.adam.step_size(state.step)
        each = alpha * state.first / first.recorded - np.sqrt(state.second)
    each = each[np.isfinite(each)]
    return float(np.median(each)) if each.size else 0.0


def _other_corrections(state: OptimizerState) -> Iterator[Named]:
    def without(s: OptimizerState, *, first: bool, second: bool) -> Array:
        correction_1, correction_2 = _corrections(s, s.adam.power_dtype)
        return _update(s) * (correction_1 if first else 1) / (correction_2 if second else 1)

    yield "there is no bias correction", partial(without, first=True, second=True)
    yield "the first moment has no bias correction", partial(without, first=True, second=False)
    yield "the second moment has no bias correction", partial(without, first=False, second=True)
    adam = state.adam
    rounded = adam._replace(beta_1=float(np.float32(adam.beta_1)), beta_2=float(np.float32(adam.beta_2)))
    name = "the bias correction takes β rounded to float32, as Keras does on TensorFlow in float64"
    yield name + see("constants-float32"), lambda s: rounded.update(s.first, s.second, s.step)
    for offset in (1, -1, 2, 10):
        yield (
            f"the step counter is off by {offset:+d}",
            lambda s, offset=offset: s.adam.update(s.first, s.second, max(s.step + offset, 1)),
        )
    if state.step > 1:
        again = state.step - 1
        name = f"the step counter starts from 1 again in step {state.step}"
        yield name, lambda s: s.adam.update(s.first, s.second, s.step - again if s.step > again else s.step)
    yield "the step counter stays at 1", lambda s: s.adam.update(s.first, s.second, 1)

    def without_root(s: OptimizerState) -> Array:
        correction_1, correction_2 = _corrections(s)
        return adam.learning_rate / correction_1 * s.first / (s.second / correction_2**2 + adam.epsilon)

    yield "the root of the second moment is not taken", without_root
    yield "the parameters go up the gradient: the update has the wrong sign", lambda s: -_update(s)


def _other_optimizers(state: OptimizerState) -> Iterator[Named]:
    """Optimizers that keep Adam's two moments and make another update of them."""
    adam = state.adam
    rate = adam.learning_rate
    yield (
        "the update takes the first moment of the step before",
        lambda s: adam.update(s.first_before, s.second, s.step),
    )
    yield "the optimizer is plain gradient descent", lambda s: rate * s.gradient
    yield "the optimizer is gradient descent with the first moment", lambda s: rate * s.first
    yield "the optimizer takes the sign of the first moment", lambda s: rate * np.sign(s.first)
    yield "the optimizer takes the sign of the gradient", lambda s: rate * np.sign(s.gradient)
    for epsilon in dict.fromkeys((adam.epsilon, 1e-8, 1e-7)):
        words = "" if epsilon == adam.epsilon else f", with ε = {epsilon:g}"
        name = f"the optimizer is RMSprop: no first moment{words}"
        yield name, lambda s, e=epsilon: rate * s.gradient / (np.sqrt(s.second) + e)
        name = f"the optimizer is RMSprop as Keras has it, with ε inside the root{words}{see('rmsprop-epsilon-place')}"
        yield name, lambda s, e=epsilon: rate * s.gradient / np.sqrt(s.second + e)
        for form in (_keras, _torch):
            said = f"{words}, in {_form(form)}'s form" if form is _torch else words
            yield (
                f"the first moment looks ahead (Nesterov){said}",
                lambda s, e=epsilon, form=form: form(s, s.adam.first_moment(s.first, s.gradient), s.second, e),
            )
            yield (
                f"the update takes the gradient in place of the first moment{said}",
                lambda s, e=epsilon, form=form: form(s, s.gradient, s.second, e),
            )
        yield (
            f"the optimizer is NAdam as torch has it, not Adam{words}{see('nadam-momentum-schedule')}",
            partial(_nadam, epsilon=epsilon, decay=4e-3),
        )
        yield (
            f"the optimizer is NAdam as Keras has it, not Adam{words}{see('nadam-momentum-schedule')}",
            partial(_nadam, epsilon=epsilon, decay=1.0),
        )
        yield f"the optimizer is RAdam as torch has it, not Adam{words}", partial(_radam, epsilon=epsilon)


def _nadam(s: OptimizerState, epsilon: float, decay: float) -> Array:
    """NAdam (torch/optim/nadam.py, keras/src/optimizers/nadam.py): the momentum grows as 1 − 0.96^(t·decay) / 2."""
    beta_1 = s.adam.beta_1
    momenta = [beta_1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, s.step + 2)]
    product = float(np.prod(momenta[:-1]))
    looked = (1 - momenta[-2]) / (1 - product) * s.gradient + momenta[-1] / (1 - product * momenta[-1]) * s.first
    _, correction_2 = _corrections(s)
    return s.adam.learning_rate * looked / (np.sqrt(s.second) / correction_2 + epsilon)


def _radam(s: OptimizerState, epsilon: float) -> Array:
    """RAdam (Liu et al. 2020; torch/optim/radam.py): rectified once the variance of its rate is known."""
    correction_1, correction_2 = _corrections(s)
    power = s.adam.beta_2**s.step
    most = 2 / (1 - s.adam.beta_2) - 1
    length = most - 2 * s.step * power / (1 - power)
    mean = s.adam.learning_rate * s.first / correction_1
    if length <= 5:
        return mean
    rectified = np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
    return mean * rectified * correction_2 / (np.sqrt(s.second) + epsilon)


_USUAL_EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def _inside(s: OptimizerState, first: Array, second: Array, epsilon: float) -> Array:
    return s.adam.step_size(s.step) * first / np.sqrt(second + epsilon)


def _with(form: Callable[..., Array], s: OptimizerState, epsilon: float) -> Array:
    return form(s, s.first, s.second, epsilon)


_LARGE_DECAY = 0.2
"""Nobody chooses a larger one, but where the learning rate does not multiply it."""


def _fitted(first: Evidence) -> Iterator[Named]:
    """Those with a free number, which is fitted to the first step that is off."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    if not np.isfinite(first.recorded).all() or not np.isfinite(first.expected).all():
        return
    yield from _of_forms(first)
    yield from _of_other_kinds(first)
    for epsilon in dict.fromkeys((state.adam.epsilon, 1e-6)):
        name = (
            f"each parameter's update is scaled to its own norm times the learning rate, as LAMB does, ε = {epsilon:g}"
        )
        yield name, partial(_to_own_norm, epsilon=epsilon)
    yield from _projected(state)
    factor = ratio(first.recorded, rate * state.gradient)
    if np.isfinite(factor) and factor > 0:
        number = float(f"{factor * rate:.3g}")
        name = f"the optimizer is plain gradient descent, not Adam, with a learning rate of {number:.3g}"
        yield name, lambda s: number * s.gradient
    clip = float(f"{np.abs(first.recorded).max():.4g}")
    yield f"updates are clipped to ±{clip:.4g}", lambda s: np.clip(_update(s), -clip, clip)


def _of_forms(first: Evidence) -> Iterator[Named]:
    """Adam in its forms, with another rate, a decay, or both."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    forms: list[tuple[str, Callable[[OptimizerState], Array]]] = [("", _update)]
    for epsilon in dict.fromkeys((state.adam.epsilon, *_USUAL_EPSILONS)):
        if epsilon != state.adam.epsilon:
            forms.append((f", in Keras's form with ε = {epsilon:g}", partial(_with, _keras, epsilon=epsilon)))
        forms.append((f", in torch's form with ε = {epsilon:g}", partial(_with, _torch, epsilon=epsilon)))
        forms.append((f", with ε = {epsilon:g} inside the root", partial(_with, _inside, epsilon=epsilon)))
    for words, update in forms:
        expected = update(state)
        factor = ratio(first.recorded, expected)
        yield from _rates(factor, rate, words, update)
        decay = ratio(first.recorded - expected, rate * state.before)
        for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
            share = f", {number * rate:.3g} of the weights in a step" if number > _LARGE_DECAY else ""
            name = f"decoupled weight decay of {number:.3g} (AdamW){share}{words}{see('adamw-decay')}"
            yield name, lambda s, number=number, update=update: update(s) + rate * number * s.before
        decay = ratio(first.recorded - expected, rate * (state.before - expected))
        for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
            name = (
                f"decoupled weight decay of {number:.3g} (AdamW), applied after the update{words}{see('adamw-decay')}"
            )
            yield name, lambda s, d=rate * number, update=update: update(s) + d * (s.before - update(s))
        # Both at once: what a rate and a decay of its own leave.
        number, decayed = _rate_and_decay(first, expected)
        if decayed:
            name = f"the learning rate is {number:.3g}, with decoupled weight decay of {decayed:.3g} (AdamW){words}"
            yield (
                name + see("adamw-decay"),
                lambda s, update=update, f=number / rate, d=number * decayed: f * update(s) + d * s.before,
            )


def _rate_and_decay(first: Evidence, update: Array) -> tuple[float, float]:
    """The rate of an update and the decoupled weight decay that together come closest, in few digits."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    parts = np.stack([update.ravel(), state.before.ravel()], axis=1)
    if not np.isfinite(parts).all():
        return 0.0, 0.0
    (found, shrink), *_ = np.linalg.lstsq(parts, first.recorded.ravel(), rcond=None)
    return float(f"{found * rate:.3g}"), float(f"{shrink / (found * rate):.3g}") if found else 0.0


def _of_other_kinds(first: Evidence) -> Iterator[Named]:
    """Optimizers with Adam's moments, with a rate and a decay of their own."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    for epsilon in dict.fromkeys((state.adam.epsilon, 1e-8)):
        for words, of in (
            ("NAdam as torch has it", partial(_nadam, epsilon=epsilon, decay=4e-3)),
            ("NAdam as Keras has it", partial(_nadam, epsilon=epsilon, decay=1.0)),
            ("RAdam as torch has it", partial(_radam, epsilon=epsilon)),
            ("RMSprop: no first moment", lambda s, e=epsilon: rate * s.gradient / (np.sqrt(s.second) + e)),
        ):
            number = float(f"{ratio(first.recorded, of(state)) * rate:.3g}")
            yield (
                f"the optimizer is {words}, not Adam, with a learning rate of {number:.3g} and ε = {epsilon:g}",
                lambda s, of=of, f=number / rate: f * of(s),
            )
            number, decay = _rate_and_decay(first, of(state))
            if decay:
                said = (
                    f"with a learning rate of {number:.3g}, decoupled weight decay of {decay:.3g} and ε = {epsilon:g}"
                )
                yield (
                    f"the optimizer is {words}, not Adam, {said}",
                    lambda s, of=of, f=number / rate, d=number * decay: f * of(s) + d * s.before,
                )


def _to_own_norm(s: OptimizerState, epsilon: float) -> Array:
    """keras/src/optimizers/lamb.py; of a parameter that is zero, Adam's update stays."""
    update = _torch(s, s.first, s.second, epsilon)
    norms = float(np.linalg.norm(s.before)), float(np.linalg.norm(update))
    return update * (s.adam.learning_rate * norms[0] / norms[1] if all(norms) else 1.0)


def _projected(state: OptimizerState) -> Iterator[Named]:
    """What may be done to the parameters after the update: constraints on the weights."""

    def limited(weights: Array, limit: float, axis: int, *, keras: bool = False) -> Array:
        if weights.ndim != 2:
            return weights
        norms = np.linalg.norm(weights, axis=axis, keepdims=True)
        if keras:  # keras/src/constraints/constraints.py
            return weights * (np.minimum(norms, limit) / (norms + KERAS_EPSILON))
        return weights * np.minimum(1, limit / np.maximum(norms, 1e-300))

    constraints: dict[str, Callable[[Array], Array]] = {}
    if state.after.ndim == 2:
        for axis, words in ((0, "of the weights into each unit"), (1, "of the weights out of each input")):
            limit = float(f"{np.linalg.norm(state.after, axis=axis).max():.4g}")
            name = f"after each update, the norm {words} is limited to {limit:.4g}"
            constraints[name] = partial(limited, limit=limit, axis=axis)
            if state.double:  # float32 does not tell Keras's form
                constraints[f"{name}, as Keras's MaxNorm does"] = partial(limited, limit=limit, axis=axis, keras=True)
    largest = float(f"{np.abs(state.after).max():.4g}")
    name = f"after each update, the weights are clipped to ±{largest:.4g}"
    constraints[name] = lambda weights: np.clip(weights, -largest, largest)
    constraints["after each update, negative weights are set to zero"] = lambda weights: np.maximum(weights, 0)
    for name, constraint in constraints.items():
        yield name, partial(_constrained, constraint=constraint, sums="norm" in name)
    for dtype in ("bfloat16", "float16", *(("float32",) if state.double else ())):
        if (state.after == rounded(state.after, dtype)).all() and np.count_nonzero(state.after) >= ENOUGH_NUMBERS:
            name = f"after each update, the parameters are rounded to {dtype}"
            yield name, partial(_rounded_after, dtype=dtype)


def _constrained(s: OptimizerState, constraint: Callable[[Array], Array], *, sums: bool) -> Array:
    """What is subtracted in all; a constraint rounds the weights themselves some more times, and its sums, if any."""
    predicted, found = s.before - constraint(s.before - _update(s)), s.before - s.after
    roundings = 8 + max(s.after.shape) * sums
    rounds_to = np.abs(predicted - found) <= roundings * s.rounding.unit * np.abs(s.after)
    return np.where(rounds_to, found, predicted)


def _rounded_after(s: OptimizerState, dtype: str) -> Array:
    """What is subtracted in all; a number that lies between two of the dtype may be rounded to either."""
    exact = s.before - _update(s)
    nearest = rounded(exact, dtype)
    reach = np.abs(nearest) * {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}[dtype] + s.rounding.tiny
    fits = (s.after == rounded(s.after, dtype)) & (np.abs(s.after - exact) <= reach * (1 + 2**-6) + 2.0**-24)
    return s.before - np.where(fits, s.after, nearest)


def _averaged(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """What is pulled towards the initial weights, or is their moving average every so many steps."""
    before = {(one.tensor, one.step): one.given.before for one in evidence}
    if (first.tensor, 1) not in before or first.step == 1:
        return
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    away = state.before - before[first.tensor, 1]
    pull = ratio(first.recorded - first.expected, rate * away) if away.any() else 0.0
    for number in dict.fromkeys((float(f"{pull:.2g}"), float(f"{pull:.3g}"), pull)) if pull else ():
        yield Hypothesis(
            f"the parameters are pulled back to their initial values, by {number:.3g} of the way times the rate: L2-SP",
            lambda one, number=number: one.expected + rate * number * (one.given.before - before[one.tensor, 1]),
            fitted=1,
        )
    count = first.step
    moved = {(one.tensor, one.step): one.given.before - _update(one.given) for one in evidence}
    for share in (0.9, 0.95, 0.99, 0.999):

        def predict(one: Evidence, share: float = share) -> Array:
            s: OptimizerState = one.given
            if s.step % count:
                return _update(s)
            average = before[one.tensor, 1]
            for step in range(1, s.step + 1):
                average = share * average + (1 - share) * moved[one.tensor, step]
            return s.before - average

        name = f"every {count} steps the parameters become their moving average, which keeps {share:g} a step"
        # Each step of the average rounds once more, which later steps shrink.
        yield Hypothesis(name, predict, terms=lambda one: 2 * _twice_rounded(one))


def _lookahead(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """Every so many steps, the parameters go back part of the way to where they were so many steps ago."""
    before = {(one.tensor, one.step): one.given.before for one in evidence}
    count = first.step
    if count < 2 or (first.tensor, 1) not in before:
        return
    start = before[first.tensor, 1]
    state: OptimizerState = first.given
    share = float(f"{ratio(state.after - start, state.before - _update(state) - start):.3g}")

    def predict(one: Evidence) -> Array:
        s: OptimizerState = one.given
        moved = s.before - _update(s)
        if s.step % count:
            return _update(s)
        slow = before[one.tensor, s.step - count + 1]
        return s.before - (slow + share * (moved - slow))

    if 0 < share < 1:
        name = f"every {count} steps the parameters go back to {share:.3g} of their way since: Lookahead"
        yield Hypothesis(name, predict, fitted=1)


def _rates(factor: float, rate: float, words: str, update: Callable[[OptimizerState], Array]) -> Iterator[Named]:
    for digits in (3, 6, 17):
        number = float(f"{factor * rate:.{digits}g}") if np.isfinite(factor) else rate
        if f"{number:.6g}" != f"{rate:.6g}":
            name = f"the learning rate is {number:.6g} instead of {rate:.6g}{words}"
            yield name, lambda s, f=number / rate: f * update(s)


def _schedules(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """Another learning rate in every step, the same for all parameters."""
    state: OptimizerState = first.given
    for words, update in (
        ("", _update),
        (", in torch's form with ε = 1e-08", lambda s: _torch(s, s.first, s.second, 1e-8)),
        (", in torch's form", lambda s: _torch(s, s.first, s.second, s.adam.epsilon)),
    ):
        _, decay = _rate_and_decay(first, update(state))
        # Of the first rates of a warm-up, rounding leaves few digits of a decay.
        for number in dict.fromkeys((0.0, *(float(f"{decay:.{digits}g}") for digits in (1, 2, 3)))):
            yield from _scheduled(evidence, first, words, partial(_decayed, update=update, decay=number), number)


def _decayed(s: OptimizerState, update: Callable[[OptimizerState], Array], decay: float) -> Array:
    return update(s) + s.adam.learning_rate * decay * s.before if decay else update(s)


def _scheduled(
    evidence: Sequence[Evidence],
    first: Evidence,
    words: str,
    update: Callable[[OptimizerState], Array],
    decay: float,
) -> Iterator[Hypothesis]:
    rate = first.given.adam.learning_rate
    factors = {one.step: ratio(one.recorded, update(one.given)) for one in evidence if one.tensor == first.tensor}
    rates = _by_step({step: factor * rate for step, factor in factors.items()})
    # One rate from some step on is no schedule; in windows, only the steps that are off are seen.
    numbers = np.array([1.0, *factors.values()])
    different = 1 + int((np.diff(np.sort(numbers)) > 1e-6 * np.abs(numbers).max()).sum())
    if np.isfinite(numbers).all() and different > 2:
        law = _law(list(factors.values()))
        name = f"the learning rate changes from step to step{law}: {rates} instead of {rate:.6g}"
        decays = f", with decoupled weight decay of {decay:.3g} (AdamW)" if decay else ""
        yield Hypothesis(
            name + decays + words,
            lambda one: factors[one.step] * update(one.given),
            fitted=len(factors) + bool(decay),
            terms=_twice_rounded if decay else None,
        )


def _by_step(numbers: Mapping[int, float]) -> str:
    """The numbers of all steps; where they stay the same for some, with the steps."""
    digits = 4 if len({f"{number:.4g}" for number in numbers.values()}) > 1 else 9
    groups = [(text, list(steps)) for text, steps in groupby(numbers, lambda step: f"{numbers[step]:.{digits}g}")]
    in_a_row = max(numbers) - min(numbers) + 1 == len(numbers)
    if len(groups) > len(numbers) / 2 and in_a_row:
        return ", ".join(f"{number:.{digits}g}" for number in numbers.values())
    return ", ".join(
        f"{text} in the steps {steps[0]:,} to {steps[-1]:,}" if steps[1:] else f"{text} in step {steps[0]:,}"
        for text, steps in groups
    )


def _law(factors: Sequence[float]) -> str:
    """How a schedule's rates follow each other."""
    numbers = np.array(factors)
    if len(numbers) < 4 or not (numbers > 0).all():
        return ""
    steps = np.diff(numbers)
    if np.ptp(steps) < 1e-3 * np.abs(steps).max() and abs(steps.mean()) > 1e-6:
        return ", in a straight line"
    ratios = numbers[1:] / numbers[:-1]
    if np.ptp(ratios) < 1e-4 and abs(ratios.mean() - 1) > 1e-6:
        return f", by a factor of {ratios.mean():.4g} each"
    inverse = np.diff(1 / numbers)
    if np.ptp(inverse) < 1e-3 * np.abs(inverse).max() and abs(inverse.mean()) > 1e-6:
        return ", as the inverse of the step"
    return ""
