"""Rung 7: the optimizer, each side's moments and parameters against the oracle's Adam, step by step."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product, takewhile

import numpy as np
from numpy.typing import NDArray

from compare.causes.learning import optimizer as causes
from compare.causes.learning.state import OptimizerState
from compare.ladder.check import Check, rung_of
from compare.ladder.rung import Rung, Sides
from compare.oracle.network import Adam, Array
from recipe import Recipe
from recipe.recipe import KERAS_EPSILON
from record.first_steps import Trace


def optimizer(sides: Sides) -> Rung:
    """Both moments and the parameters after every traced step, from the recorded gradients."""
    return rung_of("optimizer", sides, _optimizer_checks)


def reference_adam(recipe: Recipe) -> Adam:
    """Adam as a recipe shares it: Keras's arithmetic."""
    beta_1, beta_2 = recipe.adam_betas
    epsilon = KERAS_EPSILON if recipe.epsilon is None else recipe.epsilon
    return Adam(recipe.learning_rate, beta_1, beta_2, epsilon, recipe.dtype)


def _optimizer_state(trace: Trace, adam: Adam, index: int, name: str) -> OptimizerState:
    """One parameter around step `index` (from 0)."""
    step = trace.steps[index]
    zeros = np.zeros(trace.initial_weights[name].shape)
    moments = trace.steps[index - 1] if index else None
    return OptimizerState(
        adam=adam,
        step=index + 1,
        before=_exact(trace.steps[index - 1].parameters[name] if index else trace.initial_weights[name]),
        gradient=_exact(step.gradients[name]),
        first_before=_exact(moments.first_moments[name]) if moments else zeros,
        second_before=_exact(moments.second_moments[name]) if moments else zeros,
        first=_exact(step.first_moments[name]),
        second=_exact(step.second_moments[name]),
        after=_exact(step.parameters[name]),
    )


def _exact(array: NDArray[np.floating]) -> Array:
    return np.asarray(array, np.float64)


def _optimizer_checks(trace: Trace) -> Iterator[Check]:
    adam = reference_adam(trace.recipe)
    for index, name in product(range(len(trace.steps)), trace.initial_weights):
        state = _optimizer_state(trace, adam, index, name)

        yield from step_checks(f"step {index + 1}", name, state, partial(_cause, trace, adam, index, name))


def step_checks(place: str, name: str, state: OptimizerState, explain: Callable[[], str | None]) -> Iterator[Check]:
    """Both moments and one parameter after a step; `explain` says why they are off."""
    adam, rounding = state.adam, state.rounding
    yield Check(
        f"{place}: first moment of {name}",
        state.first,
        adam.first_moment(state.first_before, state.gradient),
        rounding.first_moment(state.first_before, state.gradient, adam),
        explain,
    )
    yield Check(
        f"{place}: second moment of {name}",
        state.second,
        adam.second_moment(state.second_before, state.gradient),
        rounding.second_moment(state.second_before, state.gradient, adam),
        explain,
    )
    update = adam.update(state.first, state.second, state.step)
    yield Check(
        f"{place}: {name}",
        state.after,
        state.before - update,
        rounding.parameter(state.after, update, adam, state.step) + rounding.update_underflow(state.second, adam),
        explain,
        moves=update,
    )


def _cause(trace: Trace, adam: Adam, index: int, name: str) -> str | None:
    """Has to hold of all parameters in all steps, until the training diverges."""
    numbers = range(len(trace.steps))
    finite = [all(np.isfinite(gradient).all() for gradient in step.gradients.values()) for step in trace.steps]
    until = len(list(takewhile(lambda number: number <= index or finite[number], numbers)))
    states = {
        parameter: [_optimizer_state(trace, adam, number, parameter) for number in range(until)]
        for parameter in trace.initial_weights
    }
    return causes.of_optimizer(states, index, name)
