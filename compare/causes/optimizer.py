"""The catalogue of signatures for the optimizer: what a step of Adam that is off is most likely due to.

A hypothesis has to fit every step that it is shown, since different faults can look the same in the first step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from compare.causes.signatures import EXPLAINED, distance, kept_in, largest, ratio
from compare.oracle.bounds import Rounding
from compare.oracle.network import Adam, Array


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


@dataclass(frozen=True)
class Hypothesis:
    """A cause in words and, for each step, the numbers that it would have left."""

    cause: str
    predict: Callable[[OptimizerState], Array]


@dataclass(frozen=True)
class Observation:
    """Of one step: what was found, what the recipe asks for, and how far rounding can carry it."""

    state: OptimizerState
    recorded: Array
    expected: Array
    bound: Array

    def fits(self, predicted: Array) -> bool:
        """Whether these numbers were found, up to rounding or a small rest of the deviation."""
        rest = EXPLAINED * largest(distance(self.recorded, self.expected))
        return bool((distance(self.recorded, predicted) <= np.maximum(self.bound, rest)).all())

    def excess(self, predicted: Array) -> float:
        """How many times the rounding-error bound the found numbers lie off the predicted."""
        return float((distance(self.recorded, predicted) / self.bound).max(initial=0))


def all_that_fit(observations: Sequence[Observation], hypotheses: Iterator[Hypothesis]) -> str | None:
    """The cause that fits every step best; more than one where rounding hides which it is.

    Faults can look the same in the first step: without bias correction of its first moment, Adam does there
    what it does with a tenth of its learning rate.
    """
    excesses: dict[str, float] = {}
    with np.errstate(all="ignore"):
        for hypothesis in hypotheses:
            predictions = [hypothesis.predict(observation.state) for observation in observations]
            pairs = list(zip(observations, predictions, strict=True))
            if all(observation.fits(predicted) for observation, predicted in pairs):
                worst = max(observation.excess(predicted) for observation, predicted in pairs)
                excesses.setdefault(hypothesis.cause, worst)
    best = min(excesses.values(), default=0.0)
    causes = [cause for cause, excess in excesses.items() if excess <= max(1, 1.5 * best)]
    return ", or ".join(causes) + (": one step cannot tell" if causes[1:] and not observations[1:] else "") or None


def of_first_moment(*states: OptimizerState) -> str | None:
    """Why the first moment differs from β₁·m + (1 − β₁)·g; `states` are the step and any after it."""
    state = states[0]
    beta = state.adam.beta_1
    if state.gradient.any() and not state.first.any():
        later = [s.step for s in states if s.first.any()]
        if not later:
            return "the moment stays zero: the optimizer does not know the parameter"
        return f"the optimizer takes its first step in step {later[0]}: gradients of several batches are accumulated"

    def expected(s: OptimizerState) -> Array:
        return s.adam.first_moment(s.first_before, s.gradient)

    def hypotheses() -> Iterator[Hypothesis]:
        yield Hypothesis(
            "the moment is recorded after its bias correction",
            lambda s: (
                (beta * s.first_before * (1 - beta ** (s.step - 1)) + (1 - beta) * s.gradient) / (1 - beta**s.step)
            ),
        )
        if state.first_before.any():
            name = "the moments start from zero in every step: a new optimizer each time"
            yield Hypothesis(name, lambda s: (1 - beta) * s.gradient)
        rest = float(np.float32(1) - np.float32(beta))
        name = "1 − β₁ is computed in float32"
        yield Hypothesis(name, lambda s: beta * s.first_before + rest * s.gradient)

        def gradient_factor(s: OptimizerState) -> float:
            return ratio((s.first - beta * s.first_before) / (1 - beta), s.gradient)

        factor = gradient_factor(state)
        if np.isclose(_squared_gradient_factor(state), factor**2, rtol=1e-3):
            # A norm that is clipped has another factor in every step.
            name = f"the optimizer uses {factor:.6g} times the gradient" + (", as clipping does" if factor < 1 else "")
            yield Hypothesis(name, lambda s: beta * s.first_before + (1 - beta) * gradient_factor(s) * s.gradient)
        else:
            found_rest = ratio(state.first - state.first_before, state.gradient - state.first_before)
            yield from _other_number(
                "β₁", 1 - found_rest, beta, lambda s: s.first_before + found_rest * (s.gradient - s.first_before)
            )
            name = "the gradient is not multiplied by 1 − β₁"
            yield Hypothesis(name, lambda s: beta * s.first_before + s.gradient)
        decay = ratio((state.first - expected(state)) / (1 - beta), state.before)
        name = f"weight decay of {decay:.3g} is added to the gradient, as an L2 penalty"
        yield Hypothesis(name, lambda s: expected(s) + (1 - beta) * decay * s.before)

    observations = [
        Observation(s, s.first, expected(s), s.rounding.first_moment(s.first_before, s.gradient, s.adam))
        for s in states
    ]
    return all_that_fit(observations, hypotheses()) or kept_in(state.first, double=state.double)


def _squared_gradient_factor(state: OptimizerState) -> float:
    """What the second moment says of a factor in front of the gradient; NaN if there is none.

    In the first moment alone, a factor of the gradient cannot be told from another β₁.
    """
    beta = state.adam.beta_2
    expected = state.adam.second_moment(state.second_before, state.gradient)
    bound = state.rounding.second_moment(state.second_before, state.gradient, state.adam)
    if (distance(state.second, expected) <= bound).all():
        return float("nan")
    return ratio(state.second - beta * state.second_before, (1 - beta) * state.gradient**2)


def _other_number(
    name: str, recorded: float, expected: float, predict: Callable[[OptimizerState], Array]
) -> Iterator[Hypothesis]:
    """That a number is another one; nothing where the two are one in six digits."""
    found_text, expected_text = f"{recorded:.6g}", f"{expected:.6g}"
    if found_text != expected_text:
        yield Hypothesis(f"{name} is {found_text} instead of {expected_text}", predict)


def of_second_moment(*states: OptimizerState) -> str | None:
    """Why the second moment differs from β₂·v + (1 − β₂)·g²; `states` are the step and any after it."""
    state = states[0]
    beta = state.adam.beta_2

    def expected(s: OptimizerState) -> Array:
        return s.adam.second_moment(s.second_before, s.gradient)

    def hypotheses() -> Iterator[Hypothesis]:
        rest = float(np.float32(1) - np.float32(beta))
        name = "1 − β₂ is computed in float32"
        yield Hypothesis(name, lambda s: beta * s.second_before + rest * s.gradient**2)
        found_rest = ratio(state.second - state.second_before, state.gradient**2 - state.second_before)
        yield from _other_number(
            "β₂", 1 - found_rest, beta, lambda s: s.second_before + found_rest * (s.gradient**2 - s.second_before)
        )
        name = "the squared gradient is not multiplied by 1 − β₂"
        yield Hypothesis(name, lambda s: beta * s.second_before + s.gradient**2)
        name = "the second moment averages |g| instead of g²"
        yield Hypothesis(name, lambda s: beta * s.second_before + (1 - beta) * np.abs(s.gradient))
        name = "the second moment is that of AdaBelief: (g − m)²"
        yield Hypothesis(name, lambda s: beta * s.second_before + (1 - beta) * (s.gradient - s.first) ** 2)

    observations = [
        Observation(s, s.second, expected(s), s.rounding.second_moment(s.second_before, s.gradient, s.adam))
        for s in states
    ]
    return all_that_fit(observations, hypotheses()) or kept_in(state.second, double=state.double)


def of_parameter(*states: OptimizerState) -> str | None:
    """Why a parameter moved otherwise than by α·m / (√v + ε); `states` are the step and any after it."""
    if not any((state.before - state.after).any() for state in states):
        return "the parameter does not move: its update is not applied"
    observations = []
    for s in states:
        update = s.adam.update(s.first, s.second, s.step)
        bound = s.rounding.parameter(s.after, update, s.adam, s.step)
        observations.append(Observation(s, s.before - s.after, update, bound))
    cause = all_that_fit(observations, _update_hypotheses(observations))
    # With as many free numbers as steps, this fits too much to compete with the others.
    cause = cause or all_that_fit(observations, _schedule(observations))
    return cause or kept_in(states[0].after, double=states[0].double)


def _update(state: OptimizerState) -> Array:
    return state.adam.update(state.first, state.second, state.step)


def _update_hypotheses(observations: Sequence[Observation]) -> Iterator[Hypothesis]:
    """What else a step may subtract, the most specific first."""
    yield from _other_epsilons(observations[0])
    yield from _other_corrections(observations[0].state)
    yield from _other_optimizers(observations)
    yield from _fitted(observations)


def _other_epsilons(observation: Observation) -> Iterator[Hypothesis]:
    adam = observation.state.adam

    def after_correction(s: OptimizerState, epsilon: float) -> Array:
        correction_1, correction_2 = _corrections(s)
        return adam.learning_rate / correction_1 * s.first / (np.sqrt(s.second) / correction_2 + epsilon)

    def before_correction(s: OptimizerState, epsilon: float) -> Array:
        return adam._replace(epsilon=epsilon).update(s.first, s.second, s.step)

    name = "ε is added after the bias correction, as torch does, not before it as Keras does"
    for other in dict.fromkeys((adam.epsilon, 1e-8, 1e-7)):
        same = "" if other == adam.epsilon else f", and is {other:g} instead of {adam.epsilon:g}"
        yield Hypothesis(name + same, partial(after_correction, epsilon=other))
    for other in (1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1e-10, 0.0, _solve_epsilon(observation)):
        text, stated = f"{other:.3g}", f"{adam.epsilon:.3g}"
        if text != stated:
            yield Hypothesis(f"ε is {text} instead of {stated}", partial(before_correction, epsilon=other))


def _other_corrections(state: OptimizerState) -> Iterator[Hypothesis]:
    def without(s: OptimizerState, *, first: bool, second: bool) -> Array:
        correction_1, correction_2 = _corrections(s, s.adam.power_dtype)
        return _update(s) * (correction_1 if first else 1) / (correction_2 if second else 1)

    yield Hypothesis("there is no bias correction", partial(without, first=True, second=True))
    yield Hypothesis("the first moment has no bias correction", partial(without, first=True, second=False))
    yield Hypothesis("the second moment has no bias correction", partial(without, first=False, second=True))
    adam = state.adam
    rounded = adam._replace(beta_1=float(np.float32(adam.beta_1)), beta_2=float(np.float32(adam.beta_2)))
    name = "the bias correction takes β rounded to float32, as Keras does on TensorFlow in float64"
    yield Hypothesis(name, lambda s: rounded.update(s.first, s.second, s.step))
    yield Hypothesis("the step counter is off by +1", lambda s: s.adam.update(s.first, s.second, s.step + 1))
    if state.step > 1:
        yield Hypothesis("the step counter is off by -1", lambda s: s.adam.update(s.first, s.second, s.step - 1))


def _other_optimizers(observations: Sequence[Observation]) -> Iterator[Hypothesis]:
    first = observations[0].state
    rate, epsilon = first.adam.learning_rate, first.adam.epsilon
    largest, largest_second = first.second_before, {}
    for observation in observations:
        state = observation.state
        largest = largest_second[state.step] = np.maximum(np.maximum(largest, state.second_before), state.second)
    name = "the largest second moment so far is used (AMSGrad)"
    yield Hypothesis(name, lambda s: s.adam.update(s.first, largest_second[s.step], s.step))
    yield Hypothesis("the optimizer is plain gradient descent", lambda s: rate * s.gradient)
    name = "the optimizer is RMSprop: no first moment"
    yield Hypothesis(name, lambda s: rate * s.gradient / (np.sqrt(s.second) + epsilon))
    name = "the first moment looks ahead (Nesterov)"
    yield Hypothesis(name, lambda s: s.adam.update(s.adam.first_moment(s.first, s.gradient), s.second, s.step))


def _fitted(observations: Sequence[Observation]) -> Iterator[Hypothesis]:
    """Those with a free number, which is fitted to the first step that is off."""
    first = observations[0]
    rate = first.state.adam.learning_rate
    factor = ratio(first.recorded, first.expected)
    yield from _other_number("the learning rate", factor * rate, rate, lambda s: factor * _update(s))
    decay = ratio(first.recorded - first.expected, rate * first.state.before)
    name = f"decoupled weight decay of {decay:.3g} (AdamW)"
    yield Hypothesis(name, lambda s: _update(s) + rate * decay * s.before)


def _schedule(observations: Sequence[Observation]) -> Iterator[Hypothesis]:
    """Another learning rate in every step."""
    first = observations[0].state
    factors = {
        observation.state.step: ratio(observation.recorded, observation.expected) for observation in observations
    }
    rate = first.adam.learning_rate
    digits = 4 if len({f"{factor * rate:.4g}" for factor in factors.values()}) > 1 else 9
    rates = ", ".join(f"{factor * rate:.{digits}g}" for factor in factors.values())
    name = f"the learning rate changes from step to step: {rates} instead of {rate:.6g}"
    yield Hypothesis(name, lambda s: factors[s.step] * _update(s))


def _corrections(state: OptimizerState, dtype: str = "float64") -> tuple[float, float]:
    """1 − β₁ᵗ and √(1 − β₂ᵗ), the powers in a dtype: torch's are double, Keras's the parameter's."""
    real = np.dtype(dtype).type
    power_1, power_2 = (float(real(beta) ** real(state.step)) for beta in (state.adam.beta_1, state.adam.beta_2))
    return 1 - power_1, float(np.sqrt(1 - power_2))


def _solve_epsilon(observation: Observation) -> float:
    """The ε of α·m / (√v + ε) that most entries agree on."""
    state = observation.state
    with np.errstate(all="ignore"):
        alpha = state.adam.step_size(state.step)
        each = alpha * state.first / observation.recorded - np.sqrt(state.second)
    each = each[np.isfinite(each)]
    return float(np.median(each)) if each.size else 0.0
