"""The catalogue of signatures: what a wrong number in the arithmetic is most likely due to.

Causes of differing inputs are in `compare/causes/inputs.py`, those of Adam's steps in
`compare/causes/optimizer.py`, what is special in convolutions and dropout in `compare/causes/convolution.py`
and `compare/ladder/dropout.py`.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from compare.causes import convolution as network_causes
from compare.causes.signatures import (
    EXPLAINED,
    Signature,
    distance,
    first_that_fits,
    fits,
    is_double,
    kept_in,
    largest,
    low_precision,
    ratio,
    rounded,
    times,
)
from compare.oracle import network as oracle
from compare.oracle.bounds import Rounding
from compare.oracle.convolution import linear
from compare.oracle.network import Array, ArraysByName
from compare.oracle.step import ExactStep
from record.first_steps import Trace

_ENOUGH_SIGNS = 7
"""So many rounding errors have the same sign with a probability of under 1%."""

# --- forward ---------------------------------------------------------------------------------------


def of_preactivations(step: ExactStep, layer: str, expected: Array) -> str | None:
    """Why a layer's pre-activations differ from `inputs @ kernel + bias`."""
    inputs, kernel, bias, recorded = (
        step.inputs[layer],
        step.kernel(layer),
        step.bias(layer),
        step.preactivations[layer],
    )
    factor = ratio(recorded, expected)

    def signatures() -> Iterator[Signature]:
        yield "the bias is missing from the layer", linear(inputs, kernel, 0 * bias)
        if kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1]:  # noqa: PLR2004
            yield "the kernel is transposed: it is square, so the shapes still fit", linear(inputs, kernel.T, bias)
        yield from network_causes.of_layer(step, layer)
        yield "the bias is added twice", expected + bias
        yield "the pre-activations are recorded after an in-place ReLU", oracle.relu(expected)
        if layer == step.layers[-1]:
            yield "the probabilities are recorded in place of the logits", oracle.softmax(expected)
        yield f"the pre-activations are {times(factor)}", factor * expected
        for dtype in ("float16", "bfloat16"):
            product = linear(rounded(inputs, dtype), rounded(kernel, dtype), bias)
            yield f"the layer computes in {dtype}", product
            yield f"the layer computes in {dtype}", rounded(product, dtype)

    cause = first_that_fits(recorded, expected, signatures())
    return cause or low_precision(recorded, expected, double=is_double(kernel))


def of_activations(preactivations: Array, recorded: Array, expected: Array) -> str | None:
    """Why activations differ from the ReLU or the softmax of the recorded pre-activations."""
    # Of a convolution each place counts as a row.
    z, recorded, expected = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (preactivations, recorded, expected))

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
        slope = ratio(np.where(z < 0, recorded, 0), np.where(z < 0, z, 0))
        yield f"the activation is a leaky ReLU of slope {slope:.4g}", np.where(z < 0, slope * z, z)
        kept = (recorded != 0) & (expected != 0)
        factor = ratio(np.where(kept, recorded, 0), np.where(kept, expected, 0))
        if factor > 1:
            name = f"dropout of rate {1 - 1 / factor:.3g} is active"
            yield name, np.where(recorded != 0, factor * expected, 0)

    return first_that_fits(recorded, expected, signatures()) or low_precision(recorded, expected, double=is_double(z))


def _gelu_tanh(z: Array) -> Array:
    return z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


# --- loss ------------------------------------------------------------------------------------------


def of_loss(trace: Trace, index: int, *, from_logits: bool = True) -> str | None:
    """Why the loss of step `index` (from 0) differs from the mean cross-entropy of the logits.

    One number fits many causes, so a signature has to fit every traced step, and one that is fitted more than one.
    Unless the loss is judged `from_logits` that were recorded, the size of its deviation says nothing of its precision.
    """
    logits = [np.asarray(step.preactivations["output"], np.float64) for step in trace.steps]
    labels = [step.labels for step in trace.steps]
    recorded = np.array([step.loss for step in trace.steps])
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
        real = np.dtype(trace.recipe.dtype).type
        for limit in (1e-7, 1e-3, 1e-2, 0.1):
            losses = np.array([-np.log(np.clip(p, limit, float(real(1 - limit)))).mean() for p in right])
            yield f"the probabilities are clipped to [{limit:g}, 1 - {limit:g}] before the logarithm", losses
        yield "the loss is the running mean over the epoch", np.cumsum(expected) / np.arange(1, len(expected) + 1)
        yield "the loss is that of the step before", np.roll(expected, 1)
        if len(recorded) == 1:
            return
        uniform = np.array([(np.log(np.exp(z).sum(1)) - z.mean(1)).mean() for z in logits])
        smoothing = ratio(recorded - expected, uniform - expected)
        if 0 < smoothing < 1:
            yield f"labels are smoothed by {smoothing:.3g}", expected + smoothing * (uniform - expected)
        yield from _added_terms(trace, index, recorded, expected)
        factor = ratio(recorded, expected)
        yield f"the loss is {times(factor)}", factor * expected

    rounding = Rounding.of(trace.recipe.dtype)
    bounds = np.array([rounding.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)])
    deviations = distance(recorded, expected)
    tolerance = np.maximum(bounds, EXPLAINED * np.where(np.isfinite(deviations), deviations, 0))
    with np.errstate(all="ignore"):
        for cause, predicted in signatures():
            if fits(recorded, predicted, tolerance):
                return cause
    if not from_logits or (len(set(np.sign(recorded - expected))) == 1 and len(recorded) > _ENOUGH_SIGNS):
        return None  # rounding errors have both signs
    return low_precision(recorded[[index]], expected[[index]], double=trace.recipe.dtype == "float64")


def _added_terms(trace: Trace, index: int, recorded: Array, expected: Array) -> Iterator[Signature]:
    """What may have been added to the loss. Ten steps hardly change the weights; which it is, a gradient tells."""
    step = ExactStep.of(trace, index)
    name = f"{step.layers[0]}.kernel"
    added = np.asarray(trace.steps[index].gradients[name], np.float64)
    added = added - step.gradients(oracle.output_delta(step.preactivations["output"], step.labels))[name]
    weights = [ExactStep.of(trace, i).weights for i in range(len(recorded))]
    kernels = [[array for key, array in of_step.items() if key.endswith(".kernel")] for of_step in weights]
    squares = np.array([sum(float((w**2).sum()) for w in of_step) for of_step in kernels])
    magnitudes = np.array([sum(float(np.abs(w).sum()) for w in of_step) for of_step in kernels])
    l2, l1 = ratio(recorded - expected, squares), ratio(recorded - expected, magnitudes)
    constant = float((recorded - expected).mean())
    terms = (
        (f"an L2 penalty of {l2:.3g} times the squared kernels is added", l2 * squares, 2 * l2 * step.weights[name]),
        (f"an L1 penalty of {l1:.3g} times the kernels is added", l1 * magnitudes, l1 * np.sign(step.weights[name])),
        (f"a constant is added: {constant:.4g}", constant + 0 * expected, 0 * added),
    )
    for cause, term, _ in sorted(terms, key=lambda one: float(np.linalg.norm(added - one[2]))):
        yield cause, expected + term


def _means(logits: list[Array], labels: list[NDArray[np.int64]]) -> Array:
    return np.array([oracle.cross_entropies(z, y).mean() for z, y in zip(logits, labels, strict=True)])


# --- gradients -------------------------------------------------------------------------------------


def of_gradient(trace: Trace, index: int, name: str, expected: Array, carried: Array | None = None) -> str | None:
    """Why the gradient of parameter `name` in step `index` (from 0) differs from back-propagation.

    Where errors of the whole step are `carried` into it, a cause need not explain more than exceeds them.
    """
    step = ExactStep.of(trace, index)
    recorded = np.asarray(trace.steps[index].gradients[name], np.float64)
    weight = step.weights[name]
    if not recorded.any() and name.endswith(".bias") and not weight.any():
        return f"{name} stays zero with a zero gradient: the layer has no bias, or it is frozen"
    if not recorded.any():
        return f"the gradient of {name} is zero: it is frozen, detached from the loss, or not in the network"
    logits = step.preactivations["output"]

    def signatures() -> Iterator[Signature]:
        size, classes = len(step.labels), logits.shape[1]
        yield f"the losses of the batch are summed instead of averaged: {size} times too large", size * expected
        yield f"the loss is averaged over the {classes} classes too", expected / classes
        yield "the gradient has the wrong sign", -expected
        yield "softmax is applied twice", step.gradients(_delta_of_softmax_twice(logits, step.labels))[name]
        smoothed = _smoothing(trace, index)
        yield f"labels are smoothed by {smoothed[0]:.3g}", smoothed[1][name]
        if index > 0:
            previous = np.asarray(trace.steps[index - 1].gradients[name], np.float64)
            yield "gradients are not zeroed between steps: those of the step before are added", expected + previous
            yield "the gradients are those of the step before", previous
        delta = oracle.output_delta(logits, step.labels)
        yield from network_causes.of_gradient(step, name, delta, expected)
        norms = [_gradient_norm(other.gradients) for other in trace.steps[index:]]
        factor = ratio(recorded, expected)
        # Clipped gradients have one norm, the largest from here on, in more than one step.
        if factor < 1 and norms[0] >= max(norms) * (1 - 1e-5) and np.isclose(norms, max(norms), 1e-5, 0).sum() > 1:
            yield f"gradients are clipped to a norm of {norms[0]:.4g}", factor * expected
        yield f"the gradient is {times(factor)}", factor * expected
        limit = np.abs(recorded).max()
        yield f"gradients are clipped to ±{limit:.4g}", np.clip(expected, -limit, limit)
        decay = ratio(recorded - expected, weight)
        yield f"an L2 penalty adds {decay:.3g} times the weights to the gradient", expected + decay * weight
        decay = ratio(recorded - expected, np.sign(weight))
        yield (
            f"an L1 penalty adds {decay:.3g} times the weights' signs to the gradient",
            expected + decay * np.sign(weight),
        )
        if recorded.ndim == 2 and recorded.shape[0] == recorded.shape[1]:  # noqa: PLR2004
            yield "the gradient is transposed", expected.T

    double = trace.recipe.dtype == "float64"
    if carried is None:
        return first_that_fits(recorded, expected, signatures()) or low_precision(recorded, expected, double=double)
    tolerance = np.maximum(carried, EXPLAINED * largest(distance(recorded, expected)))
    with np.errstate(all="ignore"):
        same_shape = (one for one in signatures() if one[1].shape == recorded.shape)
        fitting = (cause for cause, predicted in same_shape if fits(recorded, predicted, tolerance))
        return next(fitting, None) or kept_in(recorded, double=double)


def _gradient_norm(gradients: Mapping[str, NDArray[np.floating]]) -> float:
    """The Euclidean norm of all gradients together."""
    return float(np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values())))


def _delta_of_softmax_twice(logits: Array, labels: NDArray[np.int64]) -> Array:
    """∂/∂z of the cross-entropy of softmax(softmax(z))."""
    probabilities = oracle.softmax(logits)
    delta = oracle.output_delta(probabilities, labels)
    return probabilities * (delta - (delta * probabilities).sum(axis=1, keepdims=True))


def _smoothing(trace: Trace, index: int) -> tuple[float, ArraysByName]:
    """The label smoothing that fits the output bias's gradient best, and the gradients it gives."""
    step = ExactStep.of(trace, index)
    logits = step.preactivations["output"]
    plain = oracle.output_delta(logits, step.labels)
    one_hot = np.eye(logits.shape[1])[step.labels]
    direction = (one_hot - 1 / logits.shape[1]) / len(logits)
    deviation = np.asarray(trace.steps[index].gradients["output.bias"], np.float64) - plain.sum(axis=0)
    smoothing = ratio(deviation, direction.sum(axis=0))
    return smoothing, step.gradients(plain + smoothing * direction)
