"""Rungs 4 to 7: forward, loss, gradients, optimizer, each side against the oracle.

A side is held against the oracle from its own inputs, so that a rung speaks of one operation and
not of what came before it: the forward pass from the recorded inputs of each layer, gradients from
the recorded activations, the optimizer from the recorded gradients and moments. A number outside
the rounding-error bound (`compare/oracle/bounds.py`) fails the rung.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product, takewhile

import numpy as np
from numpy.typing import NDArray

from compare.causes import arithmetic as causes
from compare.ladder import dropout as dropout_checks
from compare.ladder.check import Check
from compare.ladder.rung import Rung, Sides
from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import Error, Rounding
from compare.oracle.network import Adam, Array
from compare.oracle.step import RecordedStep
from recipe import Recipe
from recipe.initial_weights import Weights
from recipe.recipe import KERAS_EPSILON
from record.first_steps import Trace


def _overflows_from(recipe: Recipe) -> float:
    """Sums whose terms are below the dtype's largest number by a factor of 1/eps may overflow on their way."""
    info = np.finfo(recipe.dtype)
    return float(info.max * info.eps)


def _rung(name: str, sides: Sides, checks: Callable[[Trace], Iterator[Check]]) -> Rung:
    """Fails at the first tensor, in the order of computation, with a number out of bounds."""
    largest = 0.0
    where = cause = None
    by_tensor: dict[str, dict[str, float]] = {}
    for side, trace in sides.items():
        for check in checks(trace):
            ratios = check.ratios(_overflows_from(trace.recipe))
            worst = float(ratios.max(initial=0))
            kind = check.tensor.partition(": ")[2]
            side_ratios = by_tensor.setdefault(kind, {})
            side_ratios[side] = max(side_ratios.get(side, 0.0), worst)
            largest = max(largest, worst)
            if worst > 1 and where is None:
                index = tuple(int(i) for i in np.unravel_index(int(ratios.argmax()), ratios.shape))
                found, expected = float(check.found[index]), float(check.expected[index])
                place = f" at {index}" if index else ""
                where = f"{side}, {check.tensor}{place}: {found:.9g}, expected {expected:.9g}"
                cause = check.explain() or causes.UNKNOWN
                break
    return Rung(
        name,
        "parity" if where is None else "not parity",
        measured=largest if np.isfinite(largest) else None,
        bound=1.0,
        where=where,
        cause=cause,
        detail={"unit": "error / bound", "tensors": by_tensor},
    )


def forward(sides: Sides) -> Rung:
    """Pre-activations, activations and what dropout passes on of every layer, from the layer's own inputs."""
    rung = _rung("forward", sides, _forward_checks)
    first, second = (trace.steps[0] for trace in sides.values())
    if _same_inputs(sides):
        rung.detail["ulps"] = {
            layer: max_ulps(first.preactivations[layer], second.preactivations[layer]) for layer in first.preactivations
        }
    return rung


def _same_inputs(sides: Sides) -> bool:
    """Whether the first step of both is of the same images, weights and dropout, so that only rounding is between."""
    first, second = sides.values()
    if first.recipe.dropout and first.recipe.dropout_masks == "framework":
        return False
    weights = [(first.initial_weights[name], second.initial_weights[name]) for name in first.initial_weights]
    return all(np.array_equal(a, b) for a, b in [(first.steps[0].images, second.steps[0].images), *weights])


def max_ulps(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """The largest difference in units in the last place of the larger tensor entry, over a tensor.

    The unit is that of the largest magnitude in its row, an image's: near a zero crossing the unit of
    the number itself would say nothing but that it is small.
    """
    first, second = (array.reshape(len(array), -1) for array in (first, second))
    scale = np.maximum(np.abs(first).max(axis=1, keepdims=True), np.finfo(first.dtype).tiny)
    difference = np.abs(first.astype(np.float64) - second)
    return float((difference / np.spacing(scale)).max())


def _forward_checks(trace: Trace) -> Iterator[Check]:
    rounding = Rounding.of(trace.recipe.dtype)
    for index in range(len(trace.steps)):
        step = RecordedStep.of(trace, index)
        for layer in step.layers:
            inputs, kernel, bias = step.inputs[layer], step.kernel(layer), step.bias(layer)
            z, activation = step.preactivations[layer], step.activations[layer]
            expected = convolution.linear(inputs, kernel, bias)
            rows = convolution.rows(inputs, kernel)
            yield Check(
                f"step {index + 1}: pre-activations of {layer}",
                z,
                expected,
                rounding.dense(rows, convolution.matrix(kernel), bias).reshape(z.shape),
                partial(_forward_cause, trace, index, layer, expected),
            )
            if layer == step.layers[-1]:
                expected = oracle.softmax(z)
                bound = rounding.softmax_relative(z) * expected + rounding.tiny
            else:
                expected, bound = oracle.relu(z), np.full(z.shape, rounding.tiny)
            yield Check(
                f"step {index + 1}: activations of {layer}",
                activation,
                expected,
                bound,
                partial(causes.of_activations, z, activation, expected),
            )
            if layer in step.dropped:
                yield from dropout_checks.of_layer(trace, index, layer)


def _forward_cause(trace: Trace, index: int, layer: str, expected: Array) -> str | None:
    """Why a layer's pre-activations are off, or the parameters before the step, which were recorded in the last one."""
    if index > 0:
        recorded = [trace.initial_weights, *(step.parameters for step in trace.steps)]
        same = [_same_arrays(a, b) for a, b in pairwise(recorded)]
        if all(same[1:]):
            return "every step holds the same parameters: they are recorded without a copy, and later steps change them"
        if same[0]:
            return "the parameters of a step are recorded before its update"
    return causes.of_preactivations(RecordedStep.of(trace, index), layer, expected)


def _same_arrays(first: Weights, second: Weights) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def loss(sides: Sides) -> Rung:
    """The mean cross-entropy of every traced batch, from the recorded logits."""
    return _rung("loss", sides, _loss_checks)


def _loss_checks(trace: Trace) -> Iterator[Check]:
    rounding = Rounding.of(trace.recipe.dtype)
    for index, step in enumerate(trace.steps):
        logits = np.asarray(step.preactivations["output"], np.float64)
        expected = oracle.cross_entropies(logits, step.labels).mean()
        yield Check(
            f"step {index + 1}: loss",
            np.asarray(step.loss),
            np.asarray(expected),
            np.asarray(rounding.cross_entropy(logits, step.labels)),
            partial(causes.of_loss, trace, index),
        )


def gradients(sides: Sides) -> Rung:
    """The gradient of every parameter in every traced step, from the recorded activations."""
    rung = _rung("gradients", sides, _gradient_checks)
    first, second = (trace.steps[0] for trace in sides.values())
    if _same_inputs(sides):
        rung.detail["ulps"] = {
            name: max_ulps(first.gradients[name].reshape(1, -1), second.gradients[name].reshape(1, -1))
            for name in first.gradients
        }
    return rung


def _gradient_checks(trace: Trace) -> Iterator[Check]:
    rounding = Rounding.of(trace.recipe.dtype)
    for index, recorded in enumerate(trace.steps):
        step = RecordedStep.of(trace, index)
        logits = step.preactivations["output"]
        delta = oracle.output_delta(logits, step.labels)
        error = Error.of(rounding.output_delta(logits, delta))
        for layer in reversed(step.layers):
            inputs, kernel, below = step.inputs[layer], step.kernel(layer), step.below(layer)
            transposed, each = convolution.rows(inputs, kernel).T, _by_place(delta)
            ones = np.ones((1, len(each)))
            expected = {"kernel": (transposed @ each).reshape(kernel.shape), "bias": (ones @ each)[0]}
            errors = error.changed(_by_place)
            bound = {
                "kernel": _outer_bound(rounding, transposed, each, errors).reshape(kernel.shape),
                "bias": _outer_bound(rounding, ones, each, errors)[0],
            }
            for kind in ("kernel", "bias"):
                name = f"{layer}.{kind}"
                yield Check(
                    f"step {index + 1}: gradient of {name}",
                    np.asarray(recorded.gradients[name], np.float64),
                    expected[kind],
                    bound[kind],
                    partial(causes.of_gradient, trace, index, name, expected[kind]),
                )
            if below is not None:
                left, right = convolution.spread(delta, kernel)
                errors = error.changed(partial(_spread, kernel=kernel))
                error = rounding.product(left, errors, right).changed(partial(np.reshape, shape=inputs.shape))
                delta = (left @ right).reshape(inputs.shape)
                error = step.error_through(below, delta, error)
                delta = step.through(below, delta)


def _by_place(tensor: Array) -> Array:
    """Shape (images, or places of a kernel; units)."""
    return tensor.reshape(-1, tensor.shape[-1])


def _spread(delta: Array, kernel: Array) -> Array:
    return convolution.spread(delta, kernel)[0]


def _outer_bound(rounding: Rounding, left: Array, delta: Array, error: Error) -> Array:
    """Of `left @ delta` where `delta` carries an error and `left` none."""
    return rounding.product(delta.T, error.changed(np.transpose), left.T).bound.T


def optimizer(sides: Sides) -> Rung:
    """Both moments and the parameters after every traced step, from the recorded gradients."""
    return _rung("optimizer", sides, _optimizer_checks)


def reference_adam(recipe: Recipe) -> Adam:
    """Adam as a recipe shares it: Keras's arithmetic."""
    beta_1, beta_2 = recipe.adam_betas
    epsilon = KERAS_EPSILON if recipe.epsilon is None else recipe.epsilon
    return Adam(recipe.learning_rate, beta_1, beta_2, epsilon, recipe.dtype)


def _optimizer_state(trace: Trace, adam: Adam, index: int, name: str) -> causes.OptimizerState:
    """One parameter around step `index` (from 0)."""
    step = trace.steps[index]
    zeros = np.zeros(trace.initial_weights[name].shape)
    moments = trace.steps[index - 1] if index else None
    return causes.OptimizerState(
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
    rounding = Rounding.of(trace.recipe.dtype)
    adam = reference_adam(trace.recipe)
    for index, name in product(range(len(trace.steps)), trace.initial_weights):
        state = _optimizer_state(trace, adam, index, name)

        def explain(cause: Callable[..., str | None], index: int = index, name: str = name) -> str | None:
            """Has to hold of this step and of all that follow, until the training diverges."""
            states = (_optimizer_state(trace, adam, later, name) for later in range(index, len(trace.steps)))
            return cause(next(states), *takewhile(lambda later: np.isfinite(later.gradient).all(), states))

        yield Check(
            f"step {index + 1}: first moment of {name}",
            state.first,
            adam.first_moment(state.first_before, state.gradient),
            rounding.first_moment(state.first_before, state.gradient, adam),
            partial(explain, causes.of_first_moment),
        )
        yield Check(
            f"step {index + 1}: second moment of {name}",
            state.second,
            adam.second_moment(state.second_before, state.gradient),
            rounding.second_moment(state.second_before, state.gradient, adam),
            partial(explain, causes.of_second_moment),
        )
        update = adam.update(state.first, state.second, index + 1)
        yield Check(
            f"step {index + 1}: {name}",
            state.after,
            state.before - update,
            rounding.parameter(state.after, update, adam, index + 1),
            partial(explain, causes.of_parameter),
        )
