"""The catalogue of signatures: what a wrong number in the arithmetic is most likely due to.

Each signature predicts the numbers that a known fault would have left; it fits if the prediction
leaves almost nothing of the deviation. Where none fits, `UNKNOWN` says so. Causes of differing
inputs are in `compare/input_causes.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from compare import oracle
from compare.oracle import Adam, Array, Weights
from recipe.trace import Trace

UNKNOWN = "nothing in the catalogue of causes fits"

EXPLAINED = 0.02
"""A signature fits when it leaves at most this share of the largest deviation."""

Signature = tuple[str, Array]
"""A cause in words and the numbers it would have left."""


def first_that_fits(found: Array, expected: Array, signatures: Iterator[Signature]) -> str | None:
    """The first cause whose numbers are those found, up to rounding and a small rest."""
    deviation = np.abs(found - expected).max(initial=0)
    with np.errstate(all="ignore"):
        for cause, predicted in signatures:
            if predicted.shape == found.shape and np.abs(found - predicted).max(initial=0) <= EXPLAINED * deviation:
                return cause
    return None


def ratio(found: Array, expected: Array) -> float:
    """The factor r that brings r·expected closest to found, in least squares."""
    norm = float((expected * expected).sum())
    return float((found * expected).sum()) / norm if norm else float("nan")


def rounded(array: Array, dtype: str) -> Array:
    """The numbers as float16 or bfloat16 would keep them."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return array.astype(np.float16).astype(np.float64)
    bits = array.astype(np.float32).view(np.uint32)
    nearest = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


# --- forward ---------------------------------------------------------------------------------------


def of_preactivations(inputs: Array, kernel: Array, bias: Array, found: Array, expected: Array) -> str | None:
    """Why a layer's pre-activations differ from `inputs @ kernel + bias`."""
    factor = ratio(found, expected)

    def signatures() -> Iterator[Signature]:
        yield "the bias is missing from the layer", inputs @ kernel
        if kernel.shape[0] == kernel.shape[1]:
            yield "the kernel is transposed: it is square, so the shapes still fit", inputs @ kernel.T + bias
        yield "the bias is added twice", expected + bias
        yield f"the pre-activations are {factor:.6g} times too large", factor * expected
        for dtype in ("float16", "bfloat16"):
            product = rounded(inputs, dtype) @ rounded(kernel, dtype) + bias
            yield f"the layer computes in {dtype}", product
            yield f"the layer computes in {dtype}", rounded(product, dtype)

    return first_that_fits(found, expected, signatures()) or _low_precision(found, expected)


def _low_precision(found: Array, expected: Array) -> str | None:
    """Whether the deviations have the size of a lower precision's rounding errors."""
    if not np.isfinite(found).all():
        return "the numbers overflow: they are not finite"
    size = np.abs(found - expected).max() / np.abs(expected).max()
    for dtype, unit in (("float16 or TF32", 2.0**-11), ("bfloat16", 2.0**-8)):
        if (found == rounded(found, dtype.partition(" ")[0])).all() or unit / 30 < size < unit * 3:
            return f"the deviation has the size of {dtype} arithmetic"
    return None


def of_activations(preactivations: Array, found: Array, expected: Array) -> str | None:
    """Why activations differ from the ReLU or the softmax of the recorded pre-activations."""
    z = preactivations

    def signatures() -> Iterator[Signature]:
        yield "softmax is applied twice", oracle.softmax(oracle.softmax(z))
        yield "the activation function is missing", z
        yield "the log of the softmax is taken for the probabilities", np.log(oracle.softmax(z))
        yield "the activation is the sigmoid", 1 / (1 + np.exp(-z))
        yield "the softmax runs over the batch instead of the classes", oracle.softmax(z.T).T
        yield "the activation is GELU instead of ReLU", z * (1 + erf(z / np.sqrt(2))) / 2
        yield "the activation is GELU (tanh) instead of ReLU", _gelu_tanh(z)
        yield "the activation is SiLU instead of ReLU", z / (1 + np.exp(-z))
        yield "the activation is tanh instead of ReLU", np.tanh(z)
        yield "the activation is ELU instead of ReLU", np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
        yield "the activation is softplus instead of ReLU", np.log1p(np.exp(z))
        yield "the activation is ReLU6 instead of ReLU", np.clip(z, 0, 6)
        slope = ratio(np.where(z < 0, found, 0), np.where(z < 0, z, 0))
        yield f"the activation is a leaky ReLU of slope {slope:.4g}", np.where(z < 0, slope * z, z)
        kept = (found != 0) & (expected != 0)
        factor = ratio(np.where(kept, found, 0), np.where(kept, expected, 0))
        if factor > 1:
            name = f"dropout of rate {1 - 1 / factor:.3g} is active"
            yield name, np.where(found != 0, factor * expected, 0)

    return first_that_fits(found, expected, signatures()) or _low_precision(found, expected)


def _gelu_tanh(z: Array) -> Array:
    return z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


# --- loss ------------------------------------------------------------------------------------------


def of_loss(trace: Trace, index: int) -> str | None:
    """Why the loss of step `index` (from 0) differs from the mean cross-entropy of the logits.

    One number fits many causes, so a signature has to fit every traced step.
    """
    logits = [np.asarray(step.preactivations["output"], np.float64) for step in trace.steps]
    labels = [step.labels for step in trace.steps]
    found = np.array([step.loss for step in trace.steps])
    probabilities = [oracle.softmax(z) for z in logits]
    expected = _means(logits, labels)
    sizes = np.array([len(step.labels) for step in trace.steps])

    def signatures() -> Iterator[Signature]:
        twice = _means(probabilities, labels)
        yield "softmax is applied twice: such a loss never falls below 1.4612", twice
        yield "the losses of the batch are summed instead of averaged", expected * sizes
        yield "the loss is averaged over the classes too", expected / logits[0].shape[1]
        yield "the loss is measured in bits: a logarithm of base 2", expected / np.log(2)
        right = [p[np.arange(len(y)), y] for p, y in zip(probabilities, labels, strict=True)]
        yield "the probability itself is taken for its logarithm", np.array([-p.mean() for p in right])
        one_hot = [np.eye(z.shape[1])[y] for z, y in zip(logits, labels, strict=True)]
        squares = [((p - y) ** 2).mean() for p, y in zip(probabilities, one_hot, strict=True)]
        yield "the loss is the mean squared error of the probabilities", np.array(squares)
        for limit in (1e-7, 1e-3, 1e-2, 0.1):
            losses = np.array([-np.log(np.clip(p, limit, 1 - limit)).mean() for p in right])
            yield f"the probabilities are clipped to [{limit:g}, 1 - {limit:g}] before the logarithm", losses
        yield "the loss is the running mean over the epoch", np.cumsum(expected) / np.arange(1, len(expected) + 1)
        yield "the loss is that of the step before", np.roll(expected, 1)
        uniform = np.array([(np.log(np.exp(z).sum(1)) - z.mean(1)).mean() for z in logits])
        smoothing = ratio(found - expected, uniform - expected)
        yield f"labels are smoothed by {smoothing:.3g}", expected + smoothing * (uniform - expected)
        norms = np.array([_squared_norm(trace, i) for i in range(len(found))])
        penalty = ratio(found - expected, norms)
        yield f"an L2 penalty of {penalty:.3g} times the squared kernels is added", expected + penalty * norms
        factor = ratio(found, expected)
        yield f"the loss is {factor:.6g} times too large", factor * expected

    cause = first_that_fits(found, expected, signatures())
    return cause or _low_precision(found[[index]], expected[[index]])


def _means(logits: list[Array], labels: list[NDArray[np.int64]]) -> Array:
    return np.array([oracle.cross_entropies(z, y).mean() for z, y in zip(logits, labels, strict=True)])


def _squared_norm(trace: Trace, index: int) -> float:
    weights = trace.initial_weights if index == 0 else trace.steps[index - 1].parameters
    return sum(float((w.astype(np.float64) ** 2).sum()) for name, w in weights.items() if name.endswith(".kernel"))


# --- gradients -------------------------------------------------------------------------------------


def of_gradient(trace: Trace, index: int, name: str, expected: Array) -> str | None:
    """Why the gradient of parameter `name` in step `index` (from 0) differs from back-propagation."""
    step = trace.steps[index]
    found = np.asarray(step.gradients[name], np.float64)
    before = trace.initial_weights if index == 0 else trace.steps[index - 1].parameters
    weight = np.asarray(before[name], np.float64)
    if not found.any():
        return f"the gradient of {name} is zero: it is frozen, detached from the loss, or not in the network"
    logits = np.asarray(step.preactivations["output"], np.float64)

    def signatures() -> Iterator[Signature]:
        size, classes = len(step.labels), logits.shape[1]
        yield f"the losses of the batch are summed instead of averaged: {size} times too large", size * expected
        yield f"the loss is averaged over the {classes} classes too", expected / classes
        yield "the gradient has the wrong sign", -expected
        yield "softmax is applied twice", _backward(trace, index, _delta_of_softmax_twice(logits, step.labels))[name]
        smoothed = _smoothing(trace, index)
        yield f"labels are smoothed by {smoothed[0]:.3g}", smoothed[1][name]
        if index > 0:
            previous = np.asarray(trace.steps[index - 1].gradients[name], np.float64)
            yield "gradients are not zeroed between steps: those of the step before are added", expected + previous
            yield "the gradients are those of the step before", previous
        norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in step.gradients.values()))
        factor = ratio(found, expected)
        if factor < 1 and abs(norm - np.round(norm, 2)) < 1e-5 * norm:
            yield f"gradients are clipped to a norm of {norm:.4g}", factor * expected
        yield f"the gradient is {factor:.6g} times too large", factor * expected
        limit = np.abs(found).max()
        yield f"gradients are clipped to ±{limit:.4g}", np.clip(expected, -limit, limit)
        decay = ratio(found - expected, weight)
        yield f"an L2 penalty adds {decay:.3g} times the weights to the gradient", expected + decay * weight
        if found.ndim == 2 and found.shape[0] == found.shape[1]:  # noqa: PLR2004
            yield "the gradient is transposed", expected.T

    return first_that_fits(found, expected, signatures()) or _low_precision(found, expected)


def _delta_of_softmax_twice(logits: Array, labels: NDArray[np.int64]) -> Array:
    """∂/∂z of the cross-entropy of softmax(softmax(z))."""
    probabilities = oracle.softmax(logits)
    delta = oracle.output_delta(probabilities, labels)
    return probabilities * (delta - (delta * probabilities).sum(axis=1, keepdims=True))


def _smoothing(trace: Trace, index: int) -> tuple[float, Weights]:
    """The label smoothing that fits the output bias's gradient best, and the gradients it gives."""
    step = trace.steps[index]
    logits = np.asarray(step.preactivations["output"], np.float64)
    plain = oracle.output_delta(logits, step.labels)
    one_hot = np.eye(logits.shape[1])[step.labels]
    direction = (one_hot - 1 / logits.shape[1]) / len(logits)
    deviation = np.asarray(step.gradients["output.bias"], np.float64) - plain.sum(axis=0)
    smoothing = ratio(deviation, direction.sum(axis=0))
    return smoothing, _backward(trace, index, plain + smoothing * direction)


def _backward(trace: Trace, index: int, delta: Array) -> Weights:
    """Back-propagates ∂loss/∂logits through the recorded activations of a step."""
    step = trace.steps[index]
    before = oracle.exact(trace.initial_weights if index == 0 else trace.steps[index - 1].parameters)
    layers = list(step.activations)
    tensors = [step.images, *(step.activations[layer] for layer in layers[:-1])]
    inputs = oracle.exact(dict(zip(layers, tensors, strict=True)))
    result: Weights = {}
    for layer in reversed(layers):
        result[f"{layer}.kernel"] = inputs[layer].T @ delta
        result[f"{layer}.bias"] = delta.sum(axis=0)
        delta = (delta @ before[f"{layer}.kernel"].T) * (inputs[layer] > 0)
    return result


# --- optimizer -------------------------------------------------------------------------------------


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


def of_first_moment(state: OptimizerState) -> str | None:
    """Why the first moment differs from β₁·m + (1 − β₁)·g."""
    m, g, beta = state.first_before, state.gradient, state.adam.beta_1
    expected = state.adam.first_moment(m, g)

    def signatures() -> Iterator[Signature]:
        found_beta = ratio(state.first - g, m - g)
        yield f"β₁ is {found_beta:.6g} instead of {beta:.6g}", found_beta * m + (1 - found_beta) * g
        yield "the gradient is not multiplied by 1 − β₁", beta * m + g
        decay = ratio((state.first - expected) / (1 - beta), state.before)
        name = f"weight decay of {decay:.3g} is added to the gradient, as an L2 penalty"
        yield name, expected + (1 - beta) * decay * state.before
        factor = ratio((state.first - beta * m) / (1 - beta), g)
        yield f"the optimizer uses {factor:.6g} times the gradient", beta * m + (1 - beta) * factor * g

    return first_that_fits(state.first, expected, signatures()) or _low_precision(state.first, expected)


def of_second_moment(state: OptimizerState) -> str | None:
    """Why the second moment differs from β₂·v + (1 − β₂)·g²."""
    v, g, beta = state.second_before, state.gradient, state.adam.beta_2
    expected = state.adam.second_moment(v, g)

    def signatures() -> Iterator[Signature]:
        found_beta = ratio(state.second - g**2, v - g**2)
        yield f"β₂ is {found_beta:.6g} instead of {beta:.6g}", found_beta * v + (1 - found_beta) * g**2
        yield "the squared gradient is not multiplied by 1 − β₂", beta * v + g**2
        yield "the second moment averages |g| instead of g²", beta * v + (1 - beta) * np.abs(g)
        yield "the second moment is that of AdaBelief: (g − m)²", beta * v + (1 - beta) * (g - state.first) ** 2

    return first_that_fits(state.second, expected, signatures()) or _low_precision(state.second, expected)


def of_parameter(state: OptimizerState) -> str | None:
    """Why a parameter moved otherwise than by α·m / (√v + ε) of its recorded moments."""
    adam, t, m, v = state.adam, state.step, state.first, state.second
    moved = state.before - state.after
    expected = adam.update(m, v, t)
    if not moved.any():
        return "the parameter does not move: it is frozen, or the optimizer does not know it"
    root, rate, epsilon = np.sqrt(v), adam.learning_rate, adam.epsilon
    correction_1, correction_2 = 1 - adam.beta_1**t, np.sqrt(1 - adam.beta_2**t)

    def signatures() -> Iterator[Signature]:
        for other in dict.fromkeys((epsilon, 1e-8, 1e-7)):
            after_correction = rate / correction_1 * m / (root / correction_2 + other)
            same = "" if other == epsilon else f", and is {other:g} instead of {epsilon:g}"
            yield (
                f"ε is added after the bias correction, as torch does, not before it as Keras does{same}",
                (after_correction),
            )
        for other in (1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1e-10, 0.0):
            yield f"ε is {other:g} instead of {epsilon:g}", adam._replace(epsilon=other).update(m, v, t)
        yield "there is no bias correction", rate * m / (root + epsilon)
        yield "the second moment has no bias correction", rate / correction_1 * m / (root + epsilon)
        yield "the first moment has no bias correction", rate * correction_2 * m / (root + epsilon)
        for offset in (1, -1):
            if t + offset > 0:
                yield f"the step counter is off by {offset:+d}", adam.update(m, v, t + offset)
        factor = ratio(moved, expected)
        yield f"the learning rate is {factor * rate:.6g} instead of {rate:.6g}", factor * expected
        decay = ratio(moved - expected, rate * state.before)
        yield f"decoupled weight decay of {decay:.3g} (AdamW)", expected + rate * decay * state.before
        yield "the optimizer is plain gradient descent", rate * state.gradient
        yield "the optimizer is RMSprop: no first moment", rate * state.gradient / (root + epsilon)
        nesterov = adam.beta_1 * m + (1 - adam.beta_1) * state.gradient
        yield "the first moment looks ahead (Nesterov)", adam.update(nesterov, v, t)
        solved = _solve_epsilon(moved, m, root, adam.step_size(t))
        yield f"ε is {solved:.3g} instead of {epsilon:g}", adam._replace(epsilon=solved).update(m, v, t)
        exact = adam._replace(power_dtype="float64")
        yield "α is computed from βᵗ in double precision", exact.update(m, v, t)

    return first_that_fits(moved, expected, signatures()) or _low_precision(state.after, state.before - expected)


def _solve_epsilon(moved: Array, m: Array, root: Array, step_size: float) -> float:
    """The ε of α·m / (√v + ε) that most entries agree on."""
    with np.errstate(all="ignore"):
        each = step_size * m / moved - root
    each = each[np.isfinite(each)]
    return float(np.median(each)) if each.size else 0.0
