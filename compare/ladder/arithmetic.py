"""Rungs 4 to 6: forward, loss and gradients, each side against the oracle.

A side is held against the oracle from its own inputs, so that a rung speaks of one operation and
not of what came before it: the forward pass from the recorded inputs of each layer, gradients from
the recorded activations, the optimizer (`compare/ladder/optimizer.py`) from the recorded gradients and
moments. A number outside the rounding-error bound (`compare/oracle/bounds.py`) fails the rung.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from compare.causes.learning import gradients as causes
from compare.causes.network import forward as forward_causes
from compare.ladder import dropout as dropout_checks
from compare.ladder.check import Check, rung_of
from compare.ladder.rung import Rung, Sides
from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import Rounding
from compare.oracle.network import Array
from compare.oracle.step import ExactStep
from recipe.initial_weights import Weights
from record.first_steps import Trace


def forward(sides: Sides) -> Rung:
    """Pre-activations, activations and what dropout passes on of every layer, from the layer's own inputs."""
    rung = rung_of("forward", sides, _forward_checks)
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
        step = ExactStep.of(trace, index)
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
                partial(_forward_cause, trace, index, layer),
            )
            otherwise: tuple[Array, ...] = ()
            if layer == step.layers[-1]:
                expected = oracle.softmax(z)
                bound = rounding.softmax_relative(z) * expected + rounding.tiny
            else:
                expected, bound = oracle.relu(z), np.full(z.shape, rounding.tiny)
                otherwise = (np.fmax(z, 0),)  # ReLU makes NaN or 0 of NaN
            yield Check(
                f"step {index + 1}: activations of {layer}",
                activation,
                expected,
                bound,
                partial(forward_causes.of_activations, trace, index, layer),
                otherwise,
            )
            if layer in step.dropped:
                yield from dropout_checks.of_layer(trace, index, layer)


def _forward_cause(trace: Trace, index: int, layer: str) -> str | None:
    """Why a layer's pre-activations are off, or the parameters before the step, which were recorded in the last one."""
    if index > 0:
        recorded = [trace.initial_weights, *(step.parameters for step in trace.steps)]
        same = [_same_arrays(a, b) for a, b in pairwise(recorded)]
        if all(same[1:]):
            return "every step holds the same parameters: they are recorded without a copy, and later steps change them"
        if same[0]:
            return "the parameters of a step are recorded before its update"
    return forward_causes.of_preactivations(trace, index, layer)


def _same_arrays(first: Weights, second: Weights) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def loss(sides: Sides) -> Rung:
    """The mean cross-entropy of every traced batch, from the recorded logits."""
    return rung_of("loss", sides, _loss_checks)


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
    rung = rung_of("gradients", sides, _gradient_checks)
    first, second = (trace.steps[0] for trace in sides.values())
    if _same_inputs(sides):
        rung.detail["ulps"] = {
            name: max_ulps(first.gradients[name].reshape(1, -1), second.gradients[name].reshape(1, -1))
            for name in first.gradients
        }
    return rung


def _gradient_checks(trace: Trace) -> Iterator[Check]:
    for evidence in causes.gradient_evidence(trace):
        yield Check(
            f"step {evidence.step}: gradient of {evidence.tensor}",
            evidence.recorded,
            evidence.expected,
            evidence.bound,
            partial(causes.of_gradient, trace, evidence.step - 1, evidence.tensor),
            evidence.alternatives,
        )
