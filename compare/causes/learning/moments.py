"""Causes of moments that are off."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from compare.causes.learning.state import OptimizerState, by_step
from compare.causes.signatures import (
    Evidence,
    Hypothesis,
    ratio,
    see,
)
from compare.oracle.network import Array

CORRECTED = "the moment is recorded after its bias correction"


def of_first_moment(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """What may have made first moments other than Adam's; numbers are solved for at `first`, the first wrong one."""
    state: OptimizerState = first.given
    beta = state.adam.beta_1

    def h(cause: str, predict: Callable[[OptimizerState], Array], *, fitted: int = 0) -> Hypothesis:
        return Hypothesis(cause, lambda one: predict(one.given), fitted)

    yield h(
        CORRECTED,
        lambda s: (beta * s.first_before * (1 - beta ** (s.step - 1)) + (1 - beta) * s.gradient) / (1 - beta**s.step),
    )
    name = "the moments start from zero in every step: a new optimizer each time"
    yield h(name, lambda s: (1 - beta) * s.gradient)
    rest = float(np.float32(1) - np.float32(beta))
    yield h("1 − β₁ is computed in float32", lambda s: beta * s.first_before + rest * s.gradient)
    if (decimal := _as_stated(beta)) is not None:
        name = f"β₁ is {decimal:g}, not rounded to float32 as the recipe shares it{see('constants-float32')}"
        yield h(name, lambda s: decimal * s.first_before + (1 - decimal) * s.gradient)
    betas = betas_by_step(evidence)
    if len({f"{one:.4g}" for one in betas.values()}) > 2 and all(0 <= one < 1 for one in betas.values()):
        name = f"{CHANGING_BETA}, as OneCycleLR's cycle_momentum has it: {by_step(betas)}"
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
        complement = ratio(state.first - state.first_before, state.gradient - state.first_before)
        yield from _other_number(
            "β₁",
            1 - complement,
            beta,
            lambda s, other=1 - complement: other * s.first_before + (1 - other) * s.gradient,
            lambda s, other: other * s.first_before + (1 - other) * s.gradient,
        )
    decay = ratio((state.first - state.adams_first()) / (1 - beta), state.before)
    for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
        name = f"weight decay of {number:.3g} is added to the gradient, as an L2 penalty{see('weight-decay-l2')}"
        yield h(name, lambda s, number=number: s.adams_first() + (1 - beta) * number * s.before, fitted=True)
    if decay < 0:
        return
    sign = ratio((state.first - state.adams_first()) / (1 - beta), np.sign(state.before))
    for number in dict.fromkeys((float(f"{sign:.3g}"), sign)) if np.isfinite(sign) else ():
        name = f"{number:.3g} times the signs of the weights is added to the gradient, as an L1 penalty"
        yield h(name, lambda s, number=number: s.adams_first() + (1 - beta) * number * np.sign(s.before), fitted=True)


_CENTRALISED = "the optimizer takes the mean over the inputs from the gradient of each unit: gradient centralisation"


def _centralised(gradient: Array) -> Array:
    """Without the mean over all but the units; biases as they are."""
    return (
        gradient - gradient.mean(axis=tuple(range(gradient.ndim - 1)), keepdims=True) if gradient.ndim > 1 else gradient
    )


CHANGING_BETA = "β₁ changes from step to step"


def betas_by_step(evidence: Sequence[Evidence]) -> dict[int, float]:
    """The β₁ of each step, of its largest parameter; after a first step from zero it is 1 − m/g."""
    largest: dict[int, tuple[int, float]] = {}
    for one in evidence:
        s: OptimizerState = one.given
        rest = ratio(s.first - s.first_before, s.gradient - s.first_before)
        if s.gradient.size > largest.get(s.step, (0, 0.0))[0]:
            largest[s.step] = s.gradient.size, 1 - rest
    return {step: beta for step, (_, beta) in largest.items()}


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
    if (np.abs(state.second - state.adams_second()) <= state.second_bound()).all():
        return float("nan")
    return ratio(state.second - beta * state.second_before, (1 - beta) * state.gradient**2)


def _other_number(
    name: str,
    fitted_number: float,
    stated: float,
    predict: Callable[[OptimizerState], Array],
    of: Callable[[OptimizerState, float], Array],
) -> Iterator[Hypothesis]:
    """That a number is another one, in few digits if these do; nothing where the two are one in six digits."""
    for digits in (3, 6):
        text = f"{fitted_number:.{digits}g}"
        if text not in (f"{stated:.{digits}g}", f"{stated:.6g}"):
            number = float(text)
            cause = f"{name} is {text} instead of {stated:.6g}"
            yield Hypothesis(cause, lambda one, number=number: of(one.given, number), fitted=1 if digits == 3 else 2)
    if f"{fitted_number:.6g}" != f"{stated:.6g}":
        yield Hypothesis(
            f"{name} is {fitted_number:.6g} instead of {stated:.6g}", lambda one: predict(one.given), fitted=2
        )


def of_second_moment(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """The same of second moments."""
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
        "the largest second moment so far is kept (AMSGrad)", lambda s: np.maximum(s.second_before, s.adams_second())
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
        complement = ratio(state.second - state.second_before, state.gradient**2 - state.second_before)
        yield from _other_number(
            "β₂",
            1 - complement,
            beta,
            lambda s, other=1 - complement: other * s.second_before + (1 - other) * s.gradient**2,
            lambda s, other: other * s.second_before + (1 - other) * s.gradient**2,
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
