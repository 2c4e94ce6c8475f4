"""The catalogue of signatures: what a wrong number in the arithmetic is most likely due to.

Each signature predicts the numbers that a known fault would have left; it fits if the prediction
leaves almost nothing of the deviation. Where none fits, `UNKNOWN` says so. Causes of differing
inputs are in `compare/input_causes.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from compare import oracle
from compare.bounds import Rounding
from compare.oracle import Adam, Array, Weights
from recipe.trace import Trace

UNKNOWN = "nothing in the catalogue of causes fits"

EXPLAINED = 0.02
"""A signature fits when it leaves at most this share of the largest deviation."""

LOW_PRECISION = (2.0**-16, 2.0**-6)
"""From a thirtieth of float16's rounding error to four times bfloat16's, relative to the largest number."""

SINGLE_PRECISION = (2.0**-28, 2.0**-18)
"""The same around float32's rounding error."""

ENOUGH_NUMBERS = 8
"""So many numbers are not multiples of a coarse rounding unit by chance."""

Signature = tuple[str, Array]
"""A cause in words and the numbers it would have left."""


def first_that_fits(found: Array, expected: Array, signatures: Iterator[Signature]) -> str | None:
    """The first cause whose numbers are those found, but for a small rest of the deviation."""
    tolerance = EXPLAINED * _largest(_distance(found, expected))
    with np.errstate(all="ignore"):
        for cause, predicted in signatures:
            if predicted.shape == found.shape and (_distance(found, predicted) <= tolerance).all():
                return cause
    return None


def _distance(found: Array, predicted: Array) -> Array:
    """|found − predicted|; nothing between two infinities or NaNs, infinite between one and a number."""
    with np.errstate(all="ignore"):
        same = (found == predicted) | (np.isnan(found) & np.isnan(predicted))
        return np.where(same, 0, np.nan_to_num(np.abs(found - predicted), nan=np.inf))


def _largest(distance: Array) -> float:
    """The largest finite distance."""
    return float(np.where(np.isfinite(distance), distance, 0).max(initial=0))


def ratio(found: Array, expected: Array) -> float:
    """The factor r that brings r·expected closest to found, in least squares."""
    norm = float((expected * expected).sum())
    return float((found * expected).sum()) / norm if norm else float("nan")


def rounded(array: Array, dtype: str) -> Array:
    """The numbers as float32, float16 or bfloat16 would keep them."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return array.astype(dtype).astype(np.float64)
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

    cause = first_that_fits(found, expected, signatures())
    return cause or _low_precision(found, expected, double=_is_double(kernel))


def _low_precision(found: Array, expected: Array, *, double: bool) -> str | None:
    """Whether the numbers are those of a lower precision, or off by its rounding errors.

    `double` says that they should be float64.
    """
    if not np.isfinite(found).all():
        return "the numbers are not finite"
    if (cause := _kept_in(found, double=double)) is not None:
        return cause
    size = np.abs(found - expected).max() / np.abs(expected).max()
    if LOW_PRECISION[0] < size < LOW_PRECISION[1]:
        return f"the deviation of {size:.1g} has the size of low precision: TF32, float16 or bfloat16"
    if double and SINGLE_PRECISION[0] < size < SINGLE_PRECISION[1]:
        return f"the deviation of {size:.1g} has the size of float32's rounding errors"
    return None


def _kept_in(found: Array, *, double: bool) -> str | None:
    """The lower precision that all the numbers have, if they do."""
    if np.count_nonzero(found) < ENOUGH_NUMBERS:
        return None
    for dtype in ("bfloat16", "float16"):
        if (found == rounded(found, dtype)).all():
            return f"the numbers are kept in {dtype}"
    return "the numbers are kept in float32" if double and not _is_double(found) else None


def _is_double(array: Array) -> bool:
    """Whether some number needs float64."""
    return bool((array != array.astype(np.float32)).any())


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

    return first_that_fits(found, expected, signatures()) or _low_precision(found, expected, double=_is_double(z))


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
        real = np.dtype(trace.recipe.dtype).type
        for limit in (1e-7, 1e-3, 1e-2, 0.1):
            losses = np.array([-np.log(np.clip(p, limit, float(real(1 - limit)))).mean() for p in right])
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

    rounding = Rounding.of(trace.recipe.dtype)
    bounds = np.array([rounding.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)])
    tolerance = np.maximum(bounds, EXPLAINED * _distance(found, expected))
    with np.errstate(all="ignore"):
        for cause, predicted in signatures():
            if (_distance(found, predicted) <= tolerance).all():
                return cause
    return _low_precision(found[[index]], expected[[index]], double=trace.recipe.dtype == "float64")


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
    if not found.any() and name.endswith(".bias") and not weight.any():
        return f"{name} stays zero with a zero gradient: the layer has no bias, or it is frozen"
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
        norms = [_gradient_norm(other.gradients) for other in trace.steps]
        factor = ratio(found, expected)
        # Clipped gradients have one norm, the largest of all, in more than one step.
        if factor < 1 and norms[index] >= max(norms) * (1 - 1e-5) and np.isclose(norms, max(norms), 1e-5, 0).sum() > 1:
            yield f"gradients are clipped to a norm of {norms[index]:.4g}", factor * expected
        yield f"the gradient is {factor:.6g} times too large", factor * expected
        limit = np.abs(found).max()
        yield f"gradients are clipped to ±{limit:.4g}", np.clip(expected, -limit, limit)
        decay = ratio(found - expected, weight)
        yield f"an L2 penalty adds {decay:.3g} times the weights to the gradient", expected + decay * weight
        if found.ndim == 2 and found.shape[0] == found.shape[1]:  # noqa: PLR2004
            yield "the gradient is transposed", expected.T

    cause = first_that_fits(found, expected, signatures())
    return cause or _low_precision(found, expected, double=trace.recipe.dtype == "float64")


def _gradient_norm(gradients: Mapping[str, NDArray[np.floating]]) -> float:
    """The Euclidean norm of all gradients together."""
    return float(np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values())))


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
    found: Array
    expected: Array
    bound: Array

    def fits(self, predicted: Array) -> bool:
        """Whether these numbers were found, up to rounding or a small rest of the deviation."""
        rest = EXPLAINED * _largest(_distance(self.found, self.expected))
        return bool((_distance(self.found, predicted) <= np.maximum(self.bound, rest)).all())

    def excess(self, predicted: Array) -> float:
        """How many times the rounding-error bound the found numbers lie off the predicted."""
        return float((_distance(self.found, predicted) / self.bound).max(initial=0))


def all_that_fit(observations: Sequence[Observation], hypotheses: Iterator[Hypothesis]) -> str | None:
    """The cause that fits every step best; more than one where rounding hides which it is.

    Faults can be one in the first step: without bias correction of its first moment, Adam does there
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
        return "the moment stays zero: the optimizer does not know the parameter"

    def expected(s: OptimizerState) -> Array:
        return s.adam.first_moment(s.first_before, s.gradient)

    def hypotheses() -> Iterator[Hypothesis]:
        if state.first_before.any():
            name = "the moments start from zero in every step: a new optimizer each time"
            yield Hypothesis(name, lambda s: (1 - beta) * s.gradient)
        rest = float(np.float32(1) - np.float32(beta))
        name = "1 − β₁ is computed in float32"
        yield Hypothesis(name, lambda s: beta * s.first_before + rest * s.gradient)
        factor = ratio((state.first - beta * state.first_before) / (1 - beta), state.gradient)
        if np.isclose(_squared_gradient_factor(state), factor**2, rtol=1e-3):
            name = f"the optimizer uses {factor:.6g} times the gradient" + (", as clipping does" if factor < 1 else "")
            yield Hypothesis(name, lambda s: beta * s.first_before + (1 - beta) * factor * s.gradient)
        else:
            found_rest = ratio(state.first - state.first_before, state.gradient - state.first_before)
            if (name := _other_number("β₁", 1 - found_rest, beta)) is not None:
                yield Hypothesis(name, lambda s: s.first_before + found_rest * (s.gradient - s.first_before))
            name = "the gradient is not multiplied by 1 − β₁"
            yield Hypothesis(name, lambda s: beta * s.first_before + s.gradient)
        decay = ratio((state.first - expected(state)) / (1 - beta), state.before)
        name = f"weight decay of {decay:.3g} is added to the gradient, as an L2 penalty"
        yield Hypothesis(name, lambda s: expected(s) + (1 - beta) * decay * s.before)

    observations = [
        Observation(s, s.first, expected(s), s.rounding.first_moment(s.first_before, s.gradient, s.adam))
        for s in states
    ]
    return all_that_fit(observations, hypotheses()) or _kept_in(state.first, double=state.double)


def _squared_gradient_factor(state: OptimizerState) -> float:
    """What the second moment says of a factor in front of the gradient; NaN if there is none.

    In the first moment alone, a factor of the gradient cannot be told from another β₁.
    """
    beta = state.adam.beta_2
    expected = state.adam.second_moment(state.second_before, state.gradient)
    bound = state.rounding.second_moment(state.second_before, state.gradient, state.adam)
    if (_distance(state.second, expected) <= bound).all():
        return float("nan")
    return ratio(state.second - beta * state.second_before, (1 - beta) * state.gradient**2)


def _other_number(name: str, found: float, expected: float) -> str | None:
    """That a number is another one; None where the two are one in six digits."""
    found_text, expected_text = f"{found:.6g}", f"{expected:.6g}"
    return None if found_text == expected_text else f"{name} is {found_text} instead of {expected_text}"


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
        if (name := _other_number("β₂", 1 - found_rest, beta)) is not None:
            yield Hypothesis(name, lambda s: s.second_before + found_rest * (s.gradient**2 - s.second_before))
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
    return all_that_fit(observations, hypotheses()) or _kept_in(state.second, double=state.double)


def of_parameter(*states: OptimizerState) -> str | None:
    """Why a parameter moved otherwise than by α·m / (√v + ε); `states` are the step and any after it."""
    if not any((state.before - state.after).any() for state in states):
        return "the parameter does not move: its update is not applied"
    observations = []
    for s in states:
        update = s.adam.update(s.first, s.second, s.step)
        bound = s.rounding.parameter(s.after, update, s.adam, s.step)
        observations.append(Observation(s, s.before - s.after, update, bound))
    return all_that_fit(observations, _update_hypotheses(observations[0])) or _kept_in(
        states[0].after, double=states[0].double
    )


def _update_hypotheses(observation: Observation) -> Iterator[Hypothesis]:
    """What else a step may subtract; free numbers are fitted to the first step that is off."""
    state, expected = observation.state, observation.expected
    adam, rate = state.adam, state.adam.learning_rate

    def update(s: OptimizerState) -> Array:
        return s.adam.update(s.first, s.second, s.step)

    def after_correction(s: OptimizerState, epsilon: float) -> Array:
        correction_1, correction_2 = _corrections(s)
        return rate / correction_1 * s.first / (np.sqrt(s.second) / correction_2 + epsilon)

    def without(s: OptimizerState, *, first: bool, second: bool) -> Array:
        correction_1, correction_2 = _corrections(s, adam.power_dtype)
        factor = (correction_1 if first else 1) / (correction_2 if second else 1)
        return update(s) * factor

    name = "ε is added after the bias correction, as torch does, not before it as Keras does"
    for other in dict.fromkeys((adam.epsilon, 1e-8, 1e-7)):
        same = "" if other == adam.epsilon else f", and is {other:g} instead of {adam.epsilon:g}"
        yield Hypothesis(name + same, partial(after_correction, epsilon=other))
    for other in (1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1e-10, 0.0):
        if other != adam.epsilon:
            name = f"ε is {other:g} instead of {adam.epsilon:g}"
            yield Hypothesis(name, partial(_update_with_epsilon, epsilon=other))
    yield Hypothesis("there is no bias correction", partial(without, first=True, second=True))
    yield Hypothesis("the first moment has no bias correction", partial(without, first=True, second=False))
    yield Hypothesis("the second moment has no bias correction", partial(without, first=False, second=True))
    for offset in (1, -1):
        if state.step + offset > 0:
            name = f"the step counter is off by {offset:+d}"
            yield Hypothesis(name, lambda s, o=offset: s.adam.update(s.first, s.second, s.step + o))  # type: ignore[misc]
    name = "the largest second moment so far is used (AMSGrad)"
    yield Hypothesis(name, lambda s: s.adam.update(s.first, np.maximum(s.second_before, s.second), s.step))
    yield Hypothesis("the optimizer is plain gradient descent", lambda s: rate * s.gradient)
    name = "the optimizer is RMSprop: no first moment"
    yield Hypothesis(name, lambda s: rate * s.gradient / (np.sqrt(s.second) + adam.epsilon))
    name = "the first moment looks ahead (Nesterov)"
    yield Hypothesis(name, lambda s: s.adam.update(s.adam.first_moment(s.first, s.gradient), s.second, s.step))
    factor = ratio(observation.found, expected)
    if (name := _other_number("the learning rate", factor * rate, rate)) is not None:
        yield Hypothesis(name, lambda s: factor * update(s))
    decay = ratio(observation.found - expected, rate * state.before)
    name = f"decoupled weight decay of {decay:.3g} (AdamW)"
    yield Hypothesis(name, lambda s: update(s) + rate * decay * s.before)
    solved = _solve_epsilon(observation)
    yield Hypothesis(f"ε is {solved:.3g} instead of {adam.epsilon:g}", partial(_update_with_epsilon, epsilon=solved))


def _corrections(state: OptimizerState, dtype: str = "float64") -> tuple[float, float]:
    """1 − β₁ᵗ and √(1 − β₂ᵗ), the powers in a dtype: torch's are double, Keras's the parameter's."""
    real = np.dtype(dtype).type
    power_1, power_2 = (float(real(beta) ** real(state.step)) for beta in (state.adam.beta_1, state.adam.beta_2))
    return 1 - power_1, float(np.sqrt(1 - power_2))


def _update_with_epsilon(state: OptimizerState, epsilon: float) -> Array:
    return state.adam._replace(epsilon=epsilon).update(state.first, state.second, state.step)


def _solve_epsilon(observation: Observation) -> float:
    """The ε of α·m / (√v + ε) that most entries agree on."""
    state = observation.state
    with np.errstate(all="ignore"):
        alpha = state.adam.step_size(state.step)
        each = alpha * state.first / observation.found - np.sqrt(state.second)
    each = each[np.isfinite(each)]
    return float(np.median(each)) if each.size else 0.0
