"""Causes of losses and gradients: which loss it is instead, and what became of its gradients on their way."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtr

from compare.causes.loss import fitted_losses, losses
from compare.causes.loss.losses import Fed, Loss
from compare.causes.network import convolution as network_causes
from compare.causes.network import winograd
from compare.causes.signatures import (
    A_DRAWN_MASK,
    UNKNOWN,
    Accepted,
    Evidence,
    Hypothesis,
    all_accepted,
    all_kept_in,
    as_noise,
    every_accepted,
    in_steps,
    is_drawn,
    named,
    ratio,
    see,
    simplest,
    times,
)
from compare.oracle import network as oracle
from compare.oracle.bounds import ErrorBound, Rounding
from compare.oracle.network import Array, ArraysByName
from record.first_steps import Trace


class Carried(NamedTuple):
    """How far rounding can carry what is judged from weights and images alone, not from recorded activations.

    `losses` by step, from 0, `gradients` by step and parameter.
    """

    losses: Sequence[float]
    gradients: Mapping[tuple[int, str], Array]


# --- loss ------------------------------------------------------------------------------------------


def of_loss(trace: Trace, index: int, carried: Carried | None = None) -> str | None:
    """Why the loss of step `index` (from 0) differs from the mean cross-entropy of the logits.

    One number fits many causes: a cause has to fit every traced step, and where several do, the gradients tell.
    """
    steps = [Fed(trace, number) for number in range(len(trace.steps))]
    if not all(np.isfinite(fed.logits).all() for fed in steps):
        return None  # of such logits every loss is as good as another
    rounding = Rounding.of(trace.recipe.dtype)
    evidence = [
        Evidence(
            fed.index + 1,
            "loss",
            np.asarray(fed.recorded),
            np.asarray(fed.cross_entropies.mean()),
            np.asarray(carried.losses[fed.index] if carried else rounding.cross_entropy(fed.logits, fed.labels)),
            rounding.unit,
            fed,
        )
        for fed in steps
    ]
    by_cause: dict[str, Loss] = {}

    def hypotheses() -> Iterator[Hypothesis]:
        for loss in fitted_losses.catalogue(steps, index, "loss"):
            by_cause.setdefault(loss.cause, loss)
            yield Hypothesis(loss.cause, lambda one, loss=loss: np.asarray(loss.value(one.given)), loss.fitted)
        yield from _of_other_steps(steps)

    if every := every_accepted(evidence, hypotheses()):
        return _told_by_the_gradients(gradient_evidence(trace, carried), every, by_cause, one_step=len(steps) == 1)
    if carried:
        return None  # the size of a deviation says nothing of its precision where others are carried into it
    double = trace.recipe.dtype == "float64"
    return all_kept_in(evidence, double=double) or _computed_in_float32(evidence, double=double)


def _of_other_steps(steps: Sequence[Fed]) -> Iterator[Hypothesis]:
    """What is recorded as a step's loss is of other steps too."""
    means = np.array([fed.cross_entropies.mean() for fed in steps])
    if len(steps) < 3:
        return
    running = np.cumsum(means) / np.arange(1, len(means) + 1)
    yield Hypothesis(
        f"the loss is the running mean over the epoch{see('fit-loss-running')}", lambda one: running[one.step - 1]
    )
    yield Hypothesis(
        "the loss is that of the step before", lambda one: means[one.step - 2] if one.step > 1 else one.expected
    )
    after = [_after_the_update(steps, number) for number in range(len(steps) - 1)]
    yield Hypothesis(
        "the loss is computed after the step's update",
        lambda one: np.asarray(after[one.step - 1]) if one.step <= len(after) else one.as_found,
    )
    for share in (0.5, 0.9, 0.95, 0.98, 0.99):
        smooth = [means[0]]
        for mean in means[1:]:
            smooth.append(share * smooth[-1] + (1 - share) * mean)
        name = f"the loss is an exponential moving average that keeps {share:g} of the one before"
        yield Hypothesis(name, lambda one, smooth=smooth: np.asarray(smooth[one.step - 1]))
    for name, function in (
        ("the exponential (perplexity)", np.exp),
        ("the square", np.square),
        ("the root", np.sqrt),
        ("the logarithm", np.log),
    ):
        yield Hypothesis(
            f"{name} of the mean cross-entropy is taken for it", lambda one, function=function: function(one.expected)
        )
    yield Hypothesis("the losses of the steps so far are added up", lambda one: means.cumsum()[one.step - 1])


def _after_the_update(steps: Sequence[Fed], number: int) -> float:
    """The loss of a step's batch under the parameters after it."""
    images = steps[number].step.inputs[steps[number].step.layers[0]]
    return oracle.loss(steps[number + 1].step.weights, images, steps[number].labels)


def _told_by_the_gradients(
    of_gradients: Iterable[Evidence], every: list[Accepted], by_cause: dict[str, Loss], *, one_step: bool
) -> str | None:
    """The causes that the gradients do not contradict; which they are of, where it is not the loss that is recorded.

    `every` are all that explain the losses. One that the gradients speak for goes before a simpler one that they
    contradict: weights hardly change within a trace, so that the losses alone hardly tell penalties apart.
    """
    gradients = list(of_gradients)
    plain = all(one.is_right for one in gradients)
    consistent = [one for one in every if (loss := by_cause.get(one.hypothesis.cause)) and _is_of(loss, gradients)]
    if not consistent and one_step:
        return None
    found = simplest(consistent or every)
    penalties = [loss for one in found if (loss := by_cause.get(one.hypothesis.cause)) and loss.is_penalty]
    if not consistent and penalties and len(penalties) == len(found):
        evidence = found[0].holds[0]
        more = float(evidence.recorded - evidence.expected)
        what = "a penalty on weights that the gradients do not have" if plain else "as a penalty on weights adds it"
        return f"{more:.4g} is added to the loss in step {evidence.step}, {what}"
    # A factor that no gradient goes through has no other loss; only gradients speak for it.
    told = found if consistent else [one for one in found if not one.cause.endswith(losses.DETACHED)] or found
    words = " – or ".join(dict.fromkeys(one.cause for one in told))
    return words + ("; the gradients are those of the mean cross-entropy" if plain and not consistent else "")


def _is_of(loss: Loss, gradients: Sequence[Evidence]) -> bool:
    """Whether the gradients are this loss's."""
    predict = _predicting(loss.gradients)
    return all(one.left_by(predict(one)) <= 1 for one in gradients)


def _computed_in_float32(evidence: Sequence[Evidence], *, double: bool) -> str | None:
    """Whether losses in float64 are off by no more than float32 rounds, in both directions."""
    if not double:
        return None
    errors = np.array([float((one.recorded - one.expected) / one.bound) for one in evidence])
    unit = 2.0**29  # of float32, in units of float64
    if np.abs(errors).max() < unit and len(set(np.sign(errors))) > 1 and len(errors) > 7:
        return "the losses are off by no more than float32 rounds: they are computed in it"
    return None


# --- gradients -------------------------------------------------------------------------------------


def gradient_evidence(trace: Trace, carried: Carried | None = None) -> Iterator[Evidence]:
    """The gradient of every parameter in every traced step, from the recorded activations, from the output on."""
    rounding = Rounding.of(trace.recipe.dtype)
    for index in range(len(trace.steps)):
        fed = Fed(trace, index)
        delta = oracle.output_delta(fed.logits, fed.labels)
        error = ErrorBound.of(rounding.output_delta(fed.logits, delta)).probed()
        forms = zip(fed.step.backward(delta), *fed.step.backward_in_other_forms(delta), strict=True)
        for of_layer, *others in forms:
            bounds = rounding.layer_gradients(of_layer, error)
            for kind, bound in zip(("kernel", "bias"), bounds, strict=True):
                name = f"{of_layer.layer}.{kind}"
                allowed = carried.gradients[index, name] if carried else bound
                yield Evidence(
                    step=index + 1,
                    tensor=name,
                    recorded=fed.recorded_gradients[name],
                    expected=getattr(of_layer, kind),
                    bound=allowed,
                    unit=rounding.unit,
                    given=fed,
                    slack=float(allowed.mean()),
                    alternatives=tuple(getattr(other, kind) for other in others),
                )
            if of_layer.carried is not None:
                error = fed.step.error_below(of_layer, error)


def of_gradient(trace: Trace, index: int, name: str, carried: Carried | None = None) -> str | None:
    """Why the gradient of parameter `name` in step `index` (from 0) differs from back-propagation, and any other."""
    evidence = list(gradient_evidence(trace, carried))
    steps = list(dict.fromkeys(one.given for one in evidence))
    first = next(one for one in evidence if one.step == index + 1 and one.tensor == name)
    if (frozen := _zero(evidence, first)) is not None:
        return frozen
    # Where other deviations are carried into one, its size says nothing of the algorithm.
    if carried is None and (algorithm := winograd.of_kernel_gradients(evidence)):
        return algorithm
    found = all_accepted(evidence, _of_all(evidence, steps, first))
    if found:
        return " – or ".join(one.cause for one in found)
    double = trace.recipe.dtype == "float64"
    if (other := _other_masks(evidence)) is not None:
        return other
    each = _of_each(evidence, steps, first) or all_kept_in([first], double=double)
    if each is None and carried is None and trace.device == "gpu":
        each = winograd.of_kernel_gradients(evidence, even_of_few=True)
    of_first = [one for one in evidence if one.tensor == first.tensor]
    return each or as_noise(of_first, "the gradients", weights=lambda one: one.given.step.weights[one.tensor])


def _zero(evidence: Sequence[Evidence], first: Evidence) -> str | None:
    """Whether all that is wrong is that gradients are zero."""
    wrong = [one for one in evidence if not one.is_right]
    if first.recorded.any() or any(one.recorded.any() for one in wrong):
        return None
    names = list(dict.fromkeys(one.tensor for one in wrong))
    steps = {one.step for one in wrong}
    if len(steps) < len({one.step for one in evidence}) and len(steps) == 1:
        return f"the gradients of {', '.join(names)} are zero in step {first.step} only: the step is skipped"
    weight = first.given.step.weights[first.tensor]
    if names == [first.tensor] and first.tensor.endswith(".bias") and not weight.any():
        return f"{first.tensor} stays zero with a zero gradient: the layer has no bias, or it is frozen"
    late = in_steps(steps, {one.step for one in evidence} - steps)
    if len(names) > 1:
        return (
            f"the gradient of {names[0]} is zero: it is frozen, detached from the loss, or not in the network; "
            f"so are {', '.join(names[1:])}{late}"
        )
    return f"the gradient of {names[0]} is zero: it is frozen, detached from the loss, or not in the network{late}"


def _predicting(gradients: Callable[[Fed], ArraysByName]) -> Callable[[Evidence], Array]:
    """The tensor of a piece of evidence among all gradients of its step, which are computed once."""
    known: dict[int, ArraysByName] = {}

    def predict(one: Evidence) -> Array:
        if one.step not in known:
            known[one.step] = gradients(one.given)
        return known[one.step][one.tensor]

    return predict


def _of_all(evidence: Sequence[Evidence], steps: Sequence[Fed], first: Evidence) -> Iterator[Hypothesis]:
    """What one cause makes of all gradients."""
    fed: Fed = first.given
    of_bias = next(one for one in evidence if one.step == first.step and one.tensor == "output.bias")
    output = fed.step.layers[-1]
    output_is_right = all(
        one.is_right for one in evidence if one.step == first.step and one.tensor.partition(".")[0] == output
    )
    for loss in fitted_losses.catalogue(steps, fed.index, "gradients"):
        is_factor = loss.cause.startswith("the gradient is ")
        # Most losses are ruled out by the output layer alone; the backward pass of convolutions takes its time.
        possible = loss.added_gradients is not None or (
            not output_is_right and of_bias.left_by(loss.of_output_bias(of_bias.given)) <= 1
        )
        if not is_factor and possible:
            yield Hypothesis(loss.cause, _predicting(loss.gradients), loss.fitted, whole=True)
    yield from _of_steps(steps)
    yield from _at_other_weights(steps, fed)
    yield from _on_their_way(fed)
    yield from _clipped(evidence, steps)
    yield from _changed(first)
    yield from _in_every_step(evidence, first)


def _of_steps(steps: Sequence[Fed]) -> Iterator[Hypothesis]:
    """Gradients of several steps."""

    def recorded(one: Evidence, back: int) -> Array:
        if one.step - 1 < back:
            return np.zeros(one.recorded.shape)
        return steps[one.step - 1 - back].recorded_gradients[one.tensor]

    name = f"gradients are not zeroed between steps: those of the steps before are added{see('gradients-accumulate')}"
    yield Hypothesis(name, lambda one: one.expected + recorded(one, 1))
    name = "the gradients are those of the step before"
    yield Hypothesis(name, lambda one: steps[one.step - 2].gradients[one.tensor] if one.step > 1 else one.expected)
    name = "the gradients are those of the step before, and nothing in the first step: they come one step late"
    yield Hypothesis(name, lambda one: steps[one.step - 2].gradients[one.tensor] if one.step > 1 else 0 * one.expected)
    name = "the gradients of the step before are added"
    yield Hypothesis(
        name, lambda one: one.expected + (steps[one.step - 2].gradients[one.tensor] if one.step > 1 else 0)
    )
    for count in (2, 3, 4, 5, 8):
        for divided in (1, count):
            words = f", each divided by {count}" if divided > 1 else ""
            name = f"the gradients of {count} batches are accumulated{words}{see('gradient-accumulation')}"
            yield Hypothesis(
                name,
                lambda one, count=count, divided=divided: (
                    one.expected / divided + ((one.step - 1) % count != 0) * recorded(one, 1)
                ),
            )
    if [fed.index for fed in steps] == list(range(len(steps))):
        kept = _kept_back(steps)
        yield Hypothesis(
            "only some entries of a gradient are passed on, the rest is added to the next step's: error feedback",
            lambda one: np.where(one.recorded == 0, 0, one.expected + kept[one.step - 1][one.tensor]),
            fitted=A_DRAWN_MASK,
        )
    for beta in (0.5, 0.9, 0.99):
        for rest in (1.0, 1 - beta):
            name = f"the gradients are smoothed over the steps: {beta:g} of the one before is added"
            yield Hypothesis(name, lambda one, beta=beta, rest=rest: beta * recorded(one, 1) + rest * one.expected)


def _kept_back(steps: Sequence[Fed]) -> list[ArraysByName]:
    """By step, what all steps before have of the gradients more than what was passed on."""
    found: list[ArraysByName] = [{name: np.zeros(array.shape) for name, array in steps[0].gradients.items()}]
    for fed in steps[:-1]:
        found.append(
            {name: rest + fed.gradients[name] - fed.recorded_gradients[name] for name, rest in found[-1].items()}
        )
    return found


def _at_weights(weights: Callable[[Fed], ArraysByName]) -> Callable[[Fed], ArraysByName]:
    """The gradients of a step's batch at other weights than its forward pass had."""

    def gradients(fed: Fed) -> ArraysByName:
        step = fed.step
        masks = {layer: mask for layer in step.dropped if (mask := step.mask(layer)) is not None}
        return oracle.gradients(weights(fed), step.inputs[step.layers[0]], step.labels, masks)

    return gradients


def _at_other_weights(steps: Sequence[Fed], first: Fed) -> Iterator[Hypothesis]:
    """Gradients at the weights of another step, or at some that are moved."""

    def of_step(fed: Fed, by: int) -> ArraysByName:
        return steps[min(max(fed.index + by, 0), len(steps) - 1)].step.weights

    if len(steps) > 1:
        for by, words in ((-1, "of the step before: the gradients are stale"), (1, "after the step's update")):
            of = _predicting(_at_weights(lambda fed, by=by: of_step(fed, by)))
            # The weights after the last step are no step's.
            yield Hypothesis(
                f"the gradients are those at the weights {words}",
                lambda one, of=of, by=by: one.as_found if one.step - 1 + by == len(steps) else of(one),
            )
        past = _predicting(lambda fed: _past_updated_kernels(fed, of_step(fed, 1)))
        yield Hypothesis(
            "each layer is updated before the gradient passes back through it",
            lambda one: one.as_found if one.step == len(steps) else past(one),
        )

    def moved(fed: Fed, radius: float) -> ArraysByName:
        share = radius / (_norm(fed.gradients) or 1.0)
        return {name: array + share * fed.gradients[name] for name, array in fed.step.weights.items()}

    for radius in _radii(first, moved):
        yield Hypothesis(
            f"the gradients are those at weights moved by {radius:g} along the gradient: sharpness-aware (SAM)",
            _predicting(_at_weights(lambda fed, radius=radius: moved(fed, radius))),
            fitted=1,
            whole=True,
        )


def _past_updated_kernels(fed: Fed, after: ArraysByName) -> ArraysByName:
    """The gradients that pass back through the weights after the step, from the forward pass before it."""
    weights = fed.step.weights | after
    return oracle.by_parameter(
        weights, oracle.backward(weights, fed.step.inputs, fed.delta / fed.size, fed.step.through)
    )


def _radii(first: Fed, moved: Callable[[Fed, float], ArraysByName]) -> list[float]:
    """How far weights may be moved: what people choose, and what the output's bias tells."""
    from scipy.optimize import brentq

    bias = f"{first.step.layers[-1]}.bias"
    unit = int(np.abs(first.recorded_gradients[bias] - first.gradients[bias]).argmax())

    def off(radius: float) -> float:
        found = _at_weights(lambda fed: moved(fed, radius))(first)[bias][unit]
        return float(found - first.recorded_gradients[bias][unit])

    radii = [0.05, 0.1, 0.01, 0.02, 0.5]
    low, high = off(1e-3), off(1.0)
    if np.isfinite((low, high)).all() and low * high < 0:
        radii.append(float(f"{brentq(off, 1e-3, 1.0, xtol=1e-12):.3g}"))
    return list(dict.fromkeys(radii))


def _on_their_way(fed: Fed) -> Iterator[Hypothesis]:
    """What may happen to ∂loss/∂activations on the way down."""

    def by_way(through: Callable[[Fed, str, Array], Array]) -> Callable[[Evidence], Array]:
        return _predicting(
            lambda fed: fed.step.gradients(fed.delta / fed.size, lambda layer, delta: through(fed, layer, delta))
        )

    hidden = fed.step.layers[:-1]
    for chosen in [hidden, *([layer] for layer in hidden if len(hidden) > 1)]:
        which = "the hidden layers" if len(chosen) > 1 else chosen[0] if chosen else ""

        def past_relu(fed: Fed, layer: str, delta: Array, chosen: Sequence[str] = chosen) -> Array:
            if layer not in chosen or fed.step.activations[layer].ndim > 2:
                return fed.step.through(layer, delta)
            mask = fed.step.mask(layer)
            return delta if mask is None else delta * mask

        if chosen:
            name = f"the gradient passes the ReLU of {which} as if it were not there"
            yield Hypothesis(name, by_way(past_relu))
            name = f"the gradient changes its sign on its way through {which}"
            yield Hypothesis(
                name, by_way(lambda fed, layer, d, chosen=chosen: fed.step.through(layer, -d if layer in chosen else d))
            )
    for guided, words in (
        (True, ", beside where the activation is: guided back-propagation"),
        (False, ", not where the activation is"),
    ):
        name = f"the gradient passes ReLU where it is positive itself{words}"
        yield Hypothesis(name, by_way(lambda fed, layer, d, guided=guided: _rectified(fed, layer, d, guided=guided)))
    for limit in (1.0, 6.0):
        name = f"the gradient is stopped where an activation is above {limit:g}, as of a ReLU that is cut off there"
        yield Hypothesis(
            name,
            by_way(
                lambda fed, layer, d, limit=limit: fed.step.through(layer, d) * (fed.step.activations[layer] <= limit)
            ),
        )
    slope = _leak(fed, by_way)
    if slope is not None:
        yield Hypothesis(
            f"the gradient passes ReLU with a slope of {slope:.4g} where the activation is zero",
            by_way(lambda fed, layer, d: _leaky(fed, layer, d, slope)),
            fitted=1,
        )
    for words, of_other in _OTHER_SLOPES.items():
        name = f"the gradient passes ReLU with the slope of {words}"
        yield Hypothesis(name, by_way(lambda fed, layer, d, of_other=of_other: _sloping(fed, layer, d, of_other)))
    yield from network_causes.gradients_on_their_way(fed.step, by_way)
    yield from _past_other_kernels(fed)


_OTHER_SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "the sigmoid, a·(1 − a) of the activation": lambda _, a: a * (1 - a),
    "the sigmoid, σ(z)·(1 − σ(z)) of the pre-activation": lambda z, _: expit(z) * expit(-z),
    "tanh, 1 − a² of the activation": lambda _, a: 1 - a * a,
    "tanh, 1 − tanh²z of the pre-activation": lambda z, _: 1 - np.tanh(z) ** 2,
    "softplus, σ(z)": lambda z, _: expit(z),
    "SiLU": lambda z, _: expit(z) * (1 + z * expit(-z)),
    "GELU": lambda z, _: ndtr(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
    "ELU": lambda z, _: np.exp(np.minimum(z, 0)),
    "the square, 2a": lambda _, a: 2 * a,
}
"""The derivatives of other functions, which a step written by hand may multiply with, of pre-activation and
activation."""


def _past_other_kernels(fed: Fed) -> Iterator[Hypothesis]:
    """That a layer passes the gradient back through another kernel than it was computed with."""
    for layer in fed.step.layers[1:]:
        kernel = fed.step.kernel(layer)
        changes = dict(network_causes.OTHER_KERNELS) if kernel.ndim > 2 else {}
        if kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1]:
            changes["the kernel is not transposed: it is square, so the shapes still fit"] = np.transpose
        for words, change in changes.items():
            if change(kernel).shape == kernel.shape:
                yield Hypothesis(
                    f"on the way back through {layer}, {words}",
                    _predicting(lambda fed, layer=layer, change=change: _back_through(fed, layer, change)),
                )


def _back_through(fed: Fed, layer: str, change: Callable[[Array], Array]) -> ArraysByName:
    """The gradients, where one layer's kernel is changed on the way back; its own gradient is not of its numbers."""
    name = f"{layer}.kernel"
    weights = fed.step.weights | {name: change(fed.step.weights[name])}
    passes = oracle.backward(weights, fed.step.inputs, fed.delta / fed.size, fed.step.through)
    return oracle.by_parameter(weights, passes)


def _rectified(fed: Fed, layer: str, delta: Array, *, guided: bool) -> Array:
    """Past a ReLU that is applied to the gradient, as well as the activation's mask where `guided`."""
    if guided or fed.step.activations[layer].ndim > 2:
        return fed.step.through(layer, np.maximum(delta, 0))
    mask = fed.step.mask(layer)
    return np.maximum(delta if mask is None else delta * mask, 0)


def _leaky(fed: Fed, layer: str, delta: Array, slope: float) -> Array:
    """Past a ReLU that passes a share of the gradient where it passes no activation."""
    if fed.step.activations[layer].ndim > 2:
        return fed.step.through(layer, delta)
    mask = fed.step.mask(layer)
    passed = delta * np.where(fed.step.activations[layer] > 0, 1.0, slope)
    return passed if mask is None else passed * mask


def _sloping(fed: Fed, layer: str, delta: Array, of_other: Callable[[Array, Array], Array]) -> Array:
    """Past a ReLU whose derivative is another function's; convolutions keep their own."""
    activations = fed.step.activations[layer]
    if activations.ndim > 2:
        return fed.step.through(layer, delta)
    mask = fed.step.mask(layer)
    passed = delta * of_other(fed.step.preactivations[layer], activations)
    return passed if mask is None else passed * mask


def _leak(fed: Fed, by_way: network_causes.ByWay) -> float | None:
    """The slope that the last hidden layer's gradients show: they are linear in it."""
    hidden = fed.step.layers[:-1]
    if not hidden:
        return None
    name = f"{hidden[-1]}.kernel"
    gradients = fed.step.gradients(fed.delta / fed.size, lambda layer, d: _leaky(fed, layer, d, 1.0))
    slope = ratio(fed.recorded_gradients[name] - fed.gradients[name], gradients[name] - fed.gradients[name])
    return float(f"{slope:.4g}") if np.isfinite(slope) and abs(slope) > 1e-6 else None


def _clipped(evidence: Sequence[Evidence], steps: Sequence[Fed]) -> Iterator[Hypothesis]:
    """Clipping by the norm of all gradients, by each tensor's, by value; scaling to a norm."""
    recorded, exact = ([_norm(getattr(fed, kind)) for fed in steps] for kind in ("recorded_gradients", "gradients"))
    if not np.isfinite(recorded).all():
        return
    limit = max(recorded)
    shrunk = [a for a, b in zip(recorded, exact, strict=True) if a < b * (1 - 1e-5)]
    if shrunk:
        for epsilon, words in (
            (0.0, ""),
            (1e-6, f", divided by the norm + 1e-6 as torch does{see('clip-global-epsilon')}"),
        ):
            # The limit is the same in all steps that are clipped.
            c = float(f"{np.median(shrunk) * (1 + epsilon / np.median(exact)):.4g}")
            factors = [min(1.0, c / (norm + epsilon)) for norm in exact]
            name = f"gradients are clipped to a norm of {c:.4g}{words}"
            yield Hypothesis(name, lambda one, factors=factors: factors[one.step - 1] * one.expected, fitted=True)
    for words, c in (
        ("gradients are scaled to a norm of 1", 1.0),
        (f"gradients are scaled to a norm of {limit:.4g}", limit),
    ):
        yield Hypothesis(words, lambda one, c=c: c / exact[one.step - 1] * one.expected, fitted=c != 1)
    yield from _clipped_by_image(steps)
    yield from _clipped_together(evidence, steps)
    yield from _clipped_by_unit(evidence)
    norms = sorted(float(np.linalg.norm(one.recorded)) for one in evidence if not one.is_right)
    if norms:
        c = float(f"{norms[len(norms) // 2]:.4g}")
        name = f"the gradient of each parameter is clipped to a norm of {c:.4g}{see('clipnorm-each')}"
        yield Hypothesis(
            name, lambda one: min(1.0, c / float(np.linalg.norm(one.expected))) * one.expected, fitted=True
        )
    yield from _clipped_by_layer(evidence)
    bound = max(float(np.abs(one.recorded).max()) for one in evidence if not one.is_right)
    rounded = float(f"{bound:.4g}")
    yield Hypothesis(
        f"gradients are clipped to ±{rounded:.4g}", lambda one: np.clip(one.expected, -rounded, rounded), fitted=True
    )


def _clipped_by_image(steps: Sequence[Fed]) -> Iterator[Hypothesis]:
    """Each image's gradient is clipped before they are averaged, to a norm that the output's bias tells."""
    from scipy.optimize import brentq

    if steps[0].step.recipe.network != "dense" or steps[0].size == 1:
        return
    norms = {fed.index: _norms_by_image(fed) for fed in steps}
    fed = steps[0]
    recorded = fed.recorded_gradients[f"{fed.step.layers[-1]}.bias"]

    def weights(fed: Fed, limit: float) -> Array:
        shares: Array = np.minimum(1, limit / np.maximum(norms[fed.index], 1e-300)) / fed.size
        return shares[:, None]

    def off(limit: float) -> float:
        return ratio((weights(fed, limit) * fed.delta).sum(axis=0), recorded) - 1

    # Between the least and the largest of the norms it makes a difference.
    limits = np.geomspace(max(norms[fed.index].min() / 100, 1e-12), norms[fed.index].max(), 40)
    values = np.array([off(float(limit)) for limit in limits])
    for at in np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)[:4]:
        limit = float(f"{brentq(off, limits[at], limits[at + 1], xtol=1e-15):.4g}")
        name = (
            f"the gradient of each image is clipped to a norm of {limit:.4g} before the mean, as private training does"
        )
        yield Hypothesis(
            name,
            _predicting(lambda fed, limit=limit: fed.step.gradients(weights(fed, limit) * fed.delta)),
            fitted=1,
            whole=True,
        )


def _other_masks(evidence: Sequence[Evidence]) -> str | None:
    """Whether gradients pass other dropout masks than activations did, solved for layer by layer from the output.

    A layer's gradient, of as many inputs as images or more, tells ∂loss/∂pre-activations of each image; that has to be
    what comes from above, times 1 / (1 − rate) or nothing.
    """
    wrong = list(dict.fromkeys(one.given for one in evidence if not one.is_right))
    if not wrong[0].step.dropped or wrong[0].step.recipe.network != "dense":
        return None
    for fed in wrong:
        solved = _solved_masks(fed)
        if solved is None or not any((solved[layer] != fed.step.mask(layer)).any() for layer in solved):
            return None
        through = {layer: mask * (fed.step.activations[layer] > 0) for layer, mask in solved.items()}
        gradients = fed.step.gradients(fed.delta / fed.size, lambda layer, delta, of=through: delta * of[layer])
        of_step = [one for one in evidence if one.given is fed]
        if any(not one.left_by(gradients[one.tensor]) <= 1 for one in of_step):
            return None
    return (
        "the gradients pass other dropout masks than the activations did, as where a checkpoint draws them anew on "
        "the way back"
    )


def _solved_masks(fed: Fed) -> ArraysByName | None:
    """By hidden layer, the mask that its gradient speaks of; None where it speaks of none, or does not tell."""
    step, masks = fed.step, {}
    delta = fed.delta / fed.size
    for layer, above in reversed(list(pairwise(step.layers))):
        carried = delta @ step.kernel(above).T
        rows = np.hstack([step.inputs[layer], np.ones((fed.size, 1))])
        recorded = np.vstack([fed.recorded_gradients[f"{layer}.{kind}"] for kind in ("kernel", "bias")])
        if not np.isfinite(recorded).all() or np.linalg.matrix_rank(rows) < fed.size:
            return None
        found, *_ = np.linalg.lstsq(rows.T, recorded, rcond=None)
        live = (step.activations[layer] > 0) & (carried != 0)
        passed = np.abs(found) > step.scale / 2 * np.abs(carried)
        # What is dropped on the way up is zero there, and nobody can see what its gradient was multiplied with.
        masks[layer] = np.where(live, passed, step.mask(layer) != 0) * step.scale
        delta = carried * masks[layer] * (step.activations[layer] > 0)
    return masks


def _norms_by_image(fed: Fed) -> Array:
    """The norm of each image's gradient in a dense network: of a layer, it is that of its inputs times its delta's."""
    squares = np.zeros(fed.size)
    for of_layer in fed.step.backward(fed.delta):
        squares += ((of_layer.rows**2).sum(axis=1) + 1) * (of_layer.delta**2).sum(axis=1)
    return np.sqrt(squares)


def _clipped_together(evidence: Sequence[Evidence], steps: Sequence[Fed]) -> Iterator[Hypothesis]:
    """Clipping by the norm of some of the gradients, where the others are right."""
    names = list(dict.fromkeys(one.tensor for one in evidence if not one.is_right))
    if len(names) == len(steps[0].gradients) or len(names) < 2:
        return

    def norms(kind: str) -> list[float]:
        return [_norm({name: getattr(fed, kind)[name] for name in names}) for fed in steps]

    recorded, exact = norms("recorded_gradients"), norms("gradients")
    shrunk = [a for a, b in zip(recorded, exact, strict=True) if a < b * (1 - 1e-5)]
    if shrunk:
        c = float(f"{np.median(shrunk):.4g}")
        factors = dict(zip((fed.index + 1 for fed in steps), (min(1.0, c / norm) for norm in exact), strict=True))
        yield Hypothesis(
            f"gradients are clipped to a norm of {c:.4g}, which counts {_and(names)} alone",
            lambda one: (factors[one.step] if one.tensor in names else 1.0) * one.expected,
            fitted=True,
        )


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _clipped_by_unit(evidence: Sequence[Evidence]) -> Iterator[Hypothesis]:
    """Adaptive gradient clipping (Brock et al. 2021): each unit's, to a share of the norm of its weights."""

    def norms(array: Array) -> Array:
        return np.linalg.norm(array.reshape(-1, array.shape[-1]), axis=0) if array.ndim > 1 else np.abs(array)

    def weights(one: Evidence) -> Array:
        return np.maximum(norms(one.given.step.weights[one.tensor]), 1e-3)

    shares = [norms(one.recorded) / weights(one) for one in evidence if not one.is_right]
    share = float(f"{max(float(of.max()) for of in shares):.4g}")
    yield Hypothesis(
        f"the gradient of each unit is clipped to {share:.4g} of the norm of its weights: adaptive clipping",
        lambda one: one.expected * np.minimum(1, share * weights(one) / np.maximum(norms(one.expected), 1e-300)),
        fitted=True,
    )


def _clipped_by_layer(evidence: Sequence[Evidence]) -> Iterator[Hypothesis]:
    """Kernel and bias of a layer together are clipped to a norm."""

    def norm(gradients: ArraysByName, one: Evidence) -> float:
        layer = one.tensor.partition(".")[0]
        return _norm({name: array for name, array in gradients.items() if name.partition(".")[0] == layer})

    norms = sorted(norm(one.given.recorded_gradients, one) for one in evidence if not one.is_right)
    if norms:
        c = float(f"{norms[len(norms) // 2]:.4g}")
        yield Hypothesis(
            f"the gradients of each layer are clipped to a norm of {c:.4g}",
            lambda one: min(1.0, c / (norm(one.given.gradients, one) or 1.0)) * one.expected,
            fitted=True,
        )


def _norm(gradients: ArraysByName) -> float:
    """The Euclidean norm of all gradients together."""
    return float(np.sqrt(sum(float((g**2).sum()) for g in gradients.values())))


_A_FACTOR = 1e-12
"""What is smaller than this share of a gradient is what rounding has left of nothing."""


def _changed(first: Evidence) -> Iterator[Hypothesis]:
    """What may be done to a gradient by itself; numbers are fitted to the first that is wrong."""
    recorded, expected = first.recorded, first.expected
    weight = first.given.step.weights[first.tensor]
    yield Hypothesis("the gradient has the wrong sign", lambda one: -one.expected)
    name = "the gradients are quantised to int8"
    yield Hypothesis(name, lambda one: _quantised(one.expected))
    yield Hypothesis("only the signs of the gradients are used", lambda one: np.sign(one.expected))
    name = "only the signs of the gradients are used, times their mean size: one bit each"
    yield Hypothesis(name, lambda one: np.sign(one.expected) * np.abs(one.expected).mean())
    name = "the gradient of each parameter is divided by its largest entry"
    yield Hypothesis(name, lambda one: one.expected / (np.abs(one.expected).max() or 1.0))
    for power in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        if power in (2, 4, 8) and np.isclose(ratio(recorded, expected), power):
            name = f"the gradient is {power} times too large, as where the means of {power} microbatches are added up"
            yield Hypothesis(name, lambda one, power=power: power * one.expected, whole=True)
    factor = ratio(recorded, expected)
    scale = 2.0 ** round(float(np.log2(factor))) if 2**9 < factor < np.inf else 0.0
    if scale >= 2**10 and np.isclose(factor, scale, rtol=1e-4):  # float32 rounds the ratio
        name = f"the gradient is {scale:.6g} times too large: a loss scale that is not taken out again"
        yield Hypothesis(name + see("loss-scale"), lambda one: scale * one.expected)
    if abs(factor) > _A_FACTOR:
        yield Hypothesis(f"the gradient is {times(factor)}", lambda one: factor * one.expected, fitted=True)
    if recorded.ndim == 1:
        name = "the gradient of a bias is added up over the units too: one number for all of them"
        yield Hypothesis(
            name,
            lambda one: np.full(one.expected.shape, one.expected.sum()) if one.expected.ndim == 1 else one.expected,
            terms=lambda one: np.full(one.expected.shape, np.abs(one.expected).sum()),
        )
    for words, of in (
        ("an L2 penalty adds {} times the weights to the gradient", lambda w: w),
        ("an L1 penalty adds {} times the weights' signs to the gradient", np.sign),
    ):
        decay = ratio(recorded - expected, of(weight))
        for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
            yield Hypothesis(
                words.format(f"{number:.3g}"),
                lambda one, of=of, number=number: one.expected + number * of(one.given.step.weights[one.tensor]),
                fitted=True,
            )
    if recorded.ndim == 2 and recorded.shape[0] == recorded.shape[1]:
        yield Hypothesis("the gradient is transposed", lambda one: one.expected.T)
    name = "the mean over the inputs is taken from the gradient of each unit: gradient centralisation"
    yield Hypothesis(name, lambda one: one.expected - one.expected.mean(0) if one.expected.ndim > 1 else one.expected)
    yield from _masked(first)
    name = "the gradient of each parameter is scaled to a norm of 1"
    yield Hypothesis(name, lambda one: one.expected / (np.linalg.norm(one.expected) or 1.0))
    yield from network_causes.of_gradient(first)


def _masked(first: Evidence) -> Iterator[Hypothesis]:
    """Some entries are zero, the others right."""
    recorded, expected = first.recorded, first.expected
    live = expected != 0
    zero, kept = live & (recorded == 0), live & (recorded != 0)
    if not zero.any() or not kept.any():
        return
    share = float(zero.sum() / live.sum())
    why = "they are masked, or dropped"
    if np.abs(expected[kept]).min() >= np.abs(expected[zero]).max():
        why = f"only the largest {1 - share:.0%} are kept"
    elif (expected[zero] < 0).all() and (expected[kept] > 0).all():
        why = "only those above 0 are kept"
    elif not is_drawn(recorded[live] == 0, expected[live]):
        why = "which ones depends on their size"
    name = f"{share:.0%} of the gradient's entries are zero: {why}"
    yield Hypothesis(name, lambda one: np.where(one.recorded == 0, 0, one.expected))


def _quantised(gradient: Array) -> Array:
    scale = np.abs(gradient).max() / 127 or 1.0
    found: Array = np.round(gradient / scale) * scale
    return found


def _in_every_step(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """A factor that changes from step to step, the same for all parameters of a step."""
    factors = {}
    for one in evidence:
        if one.tensor == first.tensor:
            factors[one.step] = ratio(one.recorded, one.expected)
    said = ", ".join(f"{factor:.4g}" for factor in factors.values())
    if len({f"{factor:.4g}" for factor in factors.values()}) > 2:
        name = f"the gradient is multiplied by another number in every step: {said}"
        yield Hypothesis(name, lambda one: factors[one.step] * one.expected, fitted=len(factors))


def _of_each(evidence: Sequence[Evidence], steps: Sequence[Fed], first: Evidence) -> str | None:
    """Why each parameter's gradient is off, where they have different causes."""
    causes: dict[str, list[str]] = {}
    for name in dict.fromkeys(one.tensor for one in evidence if not one.is_right):
        of_tensor = [one for one in evidence if one.tensor == name]
        start = next(one for one in of_tensor if not one.is_right)
        if not any(one.recorded.any() for one in of_tensor if not one.is_right):
            cause: str | None = "it is zero: frozen, or detached from the loss"
        else:
            cause = named(of_tensor, [*_of_steps(steps), *_changed(start), *_in_every_step(of_tensor, start)])
            cause = cause or all_kept_in(of_tensor, double=first.given.step.recipe.dtype == "float64")
        causes.setdefault(cause or UNKNOWN, []).append(name)
    if set(causes) == {UNKNOWN}:
        return None
    if len(causes) == 1:
        return next(iter(causes))
    return "; ".join(f"{', '.join(names)}: {cause}" for cause, names in causes.items())
