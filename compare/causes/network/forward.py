"""Causes of the forward pass: what a layer was fed, what it multiplied with, which activation function it has.

What is special in convolutions is in `compare/causes/network/convolution.py`, in the recipe's own dropout in
`compare/ladder/dropout.py`, what a layer may have been fed in `compare/causes/network/fed.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

from compare.causes.network import convolution as network_causes
from compare.causes.network import fed, winograd
from compare.causes.signatures import (
    A_DRAWN_MASK,
    ENOUGH_NUMBERS,
    LEAST_DROPOUT,
    Evidence,
    Hypothesis,
    all_kept_in,
    as_noise,
    in_low_precision,
    is_double,
    is_drawn,
    named,
    ratio,
    rounded,
    roundest_between,
    rounds_as,
    see,
    times,
)
from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import Rounding
from compare.oracle.convolution import linear
from compare.oracle.network import Array
from compare.oracle.step import ExactStep
from record.first_steps import Trace


def of_preactivations(trace: Trace, index: int, layer: str) -> str | None:
    """Why a layer's pre-activations differ from `inputs @ kernel + bias`, in step `index` (from 0) first."""
    evidence = _linear_evidence(trace, layer)
    first = evidence[index]

    def hypotheses() -> Iterator[Hypothesis]:
        yield from _other_sums(evidence, first, layer)
        yield from _other_kernels(first.given, layer)
        yield from _other_inputs(first, layer)
        yield from _after_the_sum(first, layer)
        yield from _low_precision(first, layer)
        name = "the layer uses the parameters of the step before"
        yield Hypothesis(name, lambda one: _with_weights_of(one, evidence[max(one.step - 2, 0)].given, layer))
        name = "the layer adds the bias of the step before"
        yield Hypothesis(
            name,
            lambda one: one.expected - one.given.bias(layer) + evidence[max(one.step - 2, 0)].given.bias(layer),
        )
        yield from _weights_put_back(evidence, first, layer)
        yield from _averaged_weights(evidence, first, layer)
        yield from _units_elsewhere(first)
        yield from network_causes.with_places_left_out(first, layer)
        yield from network_causes.dilated(first, layer)

    if (cause := named(evidence, hypotheses())) is not None:
        return cause
    wrong = [one for one in evidence if not one.is_right]
    if (cause := all_kept_in(wrong, double=trace.recipe.dtype == "float64")) is not None:
        kept = cause.rpartition(" ")[2]
        return f"the layer computes in {kept}: {cause}" if "kept in" in cause else cause
    cause = fed.of_dropped_inputs(evidence, layer) or winograd.of_forward_pass(evidence, layer)
    cause = cause or _rounds_as(evidence, layer, trace.recipe.dtype)
    return cause or as_noise(evidence, where=", to them or to what the layer is fed")


def _with_weights_of(one: Evidence, other: ExactStep, layer: str) -> Array:
    return linear(one.given.inputs[layer], other.kernel(layer), other.bias(layer))


def _weights_put_back(evidence: Sequence[Evidence], first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """Parameters of an earlier step: restored ones, such as the best so far, or of a checkpoint that is older."""
    for step in range(first.step - 2):
        words = "the initial parameters" if step == 0 else f"the parameters after step {step}"
        yield Hypothesis(
            f"the layer uses {words}: they have been put back",
            lambda one, step=step: _with_weights_of(one, evidence[step].given, layer),
        )


def _units_elsewhere(first: Evidence) -> Iterator[Hypothesis]:
    """The right numbers, of units in another order."""
    units = first.expected.shape[-1]
    found, wanted = first.recorded.reshape(-1, units), first.expected.reshape(-1, units)
    with np.errstate(all="ignore"):
        apart = (
            np.abs(found[:, :, None] - wanted[:, None, :]).max(axis=0) if found.size * units < _MOST_COMPARED else None
        )
    if apart is None or not np.isfinite(apart).all():
        return
    order = apart.argmin(axis=1)
    if len(set(order.tolist())) < units or (order == np.arange(units)).all():
        return
    shift = int(order[0])
    rolled = (np.roll(np.arange(units), -shift) == order).all()
    name = f"moved on by {units - shift}, the last ones becoming the first" if rolled else "in another order"
    yield Hypothesis(f"the units are {name}", lambda one: one.expected[..., order])


_MOST_COMPARED = 10_000_000
"""Of more numbers every unit is not held against every other one."""


def _averaged_weights(evidence: Sequence[Evidence], first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """An exponential moving average of the parameters, which begins with the initial ones."""
    if first.step == 1:
        return
    kept = ratio(first.recorded - first.expected, _with_weights_of(first, evidence[0].given, layer) - first.expected)
    for share in dict.fromkeys((float(f"{kept:.3g}"), kept)) if first.step == 2 and 0 < kept < 1 else ():
        kernel, bias = _of(evidence[0].given, layer)[1:]
        averages = []
        for one in evidence:
            kernel = share * kernel + (1 - share) * one.given.kernel(layer)
            bias = share * bias + (1 - share) * one.given.bias(layer)
            averages.append((kernel, bias))
        name = f"the layer uses a moving average of the parameters, which keeps {share:.4g} a step"
        yield Hypothesis(
            name,
            lambda one, averages=averages: linear(one.given.inputs[layer], *averages[one.step - 1]),
            fitted=True,
        )


def _linear_evidence(trace: Trace, layer: str) -> list[Evidence]:
    rounding = Rounding.of(trace.recipe.dtype)
    evidence = []
    for index in range(len(trace.steps)):
        step = ExactStep.of(trace, index)
        inputs, kernel, bias = step.inputs[layer], step.kernel(layer), step.bias(layer)
        recorded = step.preactivations[layer]
        bound = rounding.dense(convolution.rows(inputs, kernel), convolution.matrix(kernel), bias)
        bound = bound.reshape(recorded.shape)
        expected, slack = linear(inputs, kernel, bias), float(bound.mean())
        evidence.append(Evidence(index + 1, layer, recorded, expected, bound, rounding.unit, step, slack))
    return evidence


def _of(step: ExactStep, layer: str) -> tuple[Array, Array, Array]:
    return step.inputs[layer], step.kernel(layer), step.bias(layer)


def _other_sums(evidence: Sequence[Evidence], first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """What else is made of the inputs, the kernel and the bias, or recorded in their place."""
    step: ExactStep = first.given
    behind = all(_adds_bias_to_relu(one, layer) for one in evidence if not one.is_right)
    name = "the bias is added after the activation, not before it" if behind else "the bias is missing from the layer"
    yield Hypothesis(name, lambda one: one.expected - one.given.bias(layer))
    yield Hypothesis("the bias is added twice", lambda one: one.expected + one.given.bias(layer))
    yield Hypothesis("the bias is subtracted", lambda one: one.expected - 2 * one.given.bias(layer))
    for by, words in ((1, "the unit before it"), (-1, "the unit after it")):
        yield Hypothesis(
            f"each unit adds the bias of {words}",
            lambda one, by=by: one.expected + np.roll(one.given.bias(layer), by) - one.given.bias(layer),
        )
    last = layer == step.layers[-1]
    name = "ReLU is applied to the logits" if last else "the pre-activations are recorded after an in-place ReLU"
    yield Hypothesis(name, lambda one: oracle.relu(one.expected))
    if layer == step.layers[-1]:
        name = "the probabilities are recorded in place of the logits"
        yield Hypothesis(name, lambda one: oracle.softmax(one.expected))
        name = "the logarithm of the softmax stands in place of the logits"
        yield Hypothesis(name, lambda one: _log_softmax(one.expected))
    inputs = step.inputs[layer]
    if inputs.shape == first.recorded.shape:
        name = "a residual connection: the layer's input is added to its pre-activations"
        yield Hypothesis(name, lambda one: one.expected + one.given.inputs[layer])
    for other in step.layers:
        if other != layer and step.preactivations[other].shape == first.recorded.shape:
            name = f"the pre-activations of {other} are recorded in their place"
            yield Hypothesis(name, lambda one, other=other: one.given.preactivations[other])
            if step.layers.index(other) < step.layers.index(layer):
                name = f"a skip connection: the activations of {other} are added to the pre-activations"
                skip = lambda one, other=other: one.expected + one.given.activations[other]  # noqa: E731
                if other != step.below(layer):
                    yield Hypothesis(name, skip)


def _adds_bias_to_relu(one: Evidence, layer: str) -> bool:
    """Whether the recorded activations are those of the recorded pre-activations with the bias added."""
    recorded, bias = one.given.activations[layer], one.given.bias(layer)
    expected = oracle.relu(one.recorded) + bias
    return bool((np.abs(recorded - expected) <= 4 * one.unit * (np.abs(one.recorded) + np.abs(bias))).all())


def _other_kernels(step: ExactStep, layer: str) -> Iterator[Hypothesis]:
    kernel = step.kernel(layer)

    def with_kernel(change: Callable[[Array], Array]) -> Callable[[Evidence], Array]:
        def predict(one: Evidence) -> Array:
            inputs, kernel, bias = _of(one.given, layer)
            return linear(inputs, change(kernel), bias)

        return predict

    for other in step.layers:
        if other != layer and step.kernel(other).shape == kernel.shape:
            for words, biased in (("kernel and bias", other), ("kernel", layer)):
                yield Hypothesis(
                    f"the {words} of {other} are used in their place: the two layers are exchanged, or share them"
                    if biased == other
                    else f"the kernel of {other} is used in its place: the two layers share it",
                    lambda one, other=other, biased=biased: linear(
                        one.given.inputs[layer], one.given.kernel(other), one.given.bias(biased)
                    ),
                )
    for cause, change in (_NORMALISED_KERNELS | _other_layouts(kernel)).items():
        yield Hypothesis(cause, with_kernel(change))


def _other_layouts(kernel: Array) -> dict[str, Callable[[Array], Array]]:
    """What else may be done to a kernel of this shape when it is used."""
    gain = np.sqrt(2 / np.prod(kernel.shape[:-1]))
    found: dict[str, Callable[[Array], Array]] = {
        "the kernel is scaled by √(2 / inputs) when it is used: an equalised learning rate": lambda array: gain * array,
        "only the signs of the kernel are used": np.sign,
        "the kernel is ternary when it is used: 0 where it is small, else one size with its signs": _ternary,
        "the kernel is rounded to bfloat16, and the layer is not": partial(rounded, dtype="bfloat16"),
        "the kernel is rounded to float16, and the layer is not": partial(rounded, dtype="float16"),
    }
    of_unit = tuple(range(kernel.ndim - 1))
    found["the kernel of each unit has its mean taken off when it is used"] = (
        lambda array: array - array.mean(axis=of_unit)
    )  # fmt: skip
    for words, axes in (("", None), (", unit by unit", of_unit)):
        found[f"only the signs of the kernel are used, times the mean of its sizes{words}"] = partial(_signs, axes=axes)
        for bits in (8, 4):
            found[f"the kernel is quantised to int{bits}{words}"] = partial(fed.quantised, bits=bits, axes=axes)
    if kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1]:
        found["the kernel is made symmetric when it is used, (W + Wᵀ) / 2"] = lambda array: (array + array.T) / 2
        found[f"the kernel is transposed: it is square, so the shapes still fit{see('dense-kernel-layout')}"] = (
            np.transpose
        )
    if kernel.ndim == 4:
        changes = network_causes.OTHER_KERNELS.items()
        found |= {cause: change for cause, change in changes if change(kernel).shape == kernel.shape}
        found |= network_causes.in_groups(kernel)
    return found


def _signs(kernel: Array, axes: tuple[int, ...] | None) -> Array:
    """Rastegari et al., "XNOR-Net" (2016)."""
    return np.asarray(np.sign(kernel) * np.abs(kernel).mean(axis=axes))


def _ternary(kernel: Array) -> Array:
    """Li, Zhang and Liu, "Ternary Weight Networks" (2016), with their threshold."""
    size = np.abs(kernel)
    kept = size > 0.7 * size.mean()
    return np.sign(kernel) * kept * (size[kept].mean() if kept.any() else 0.0)


_NORMALISED_KERNELS: dict[str, Callable[[Array], Array]] = {
    "the kernel of each unit is divided by its norm: weight normalisation": (
        lambda kernel: kernel / np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
    ),
    "the kernel is divided by its largest singular value: spectral normalisation": (
        lambda kernel: kernel / np.linalg.norm(np.nan_to_num(kernel.reshape(-1, kernel.shape[-1])), 2)
    ),
    "the kernel of each unit is standardised: weight standardisation": (
        lambda kernel: (
            (kernel - kernel.mean(axis=tuple(range(kernel.ndim - 1)))) / kernel.std(axis=tuple(range(kernel.ndim - 1)))
        )
    ),
}


def _other_inputs(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """That the layer is fed something else than what the one before passes on, as recorded."""
    step: ExactStep = first.given
    for cause, change in fed.alternatives(step, layer):
        yield Hypothesis(
            cause,
            lambda one, change=change: linear(change(one.given), one.given.kernel(layer), one.given.bias(layer)),
        )
    between = f"between {step.below(layer)} and {layer}" if step.below(layer) else "of the pixels"
    for cause, normalise in fed.NORMALISATIONS.items():
        yield Hypothesis(
            f"{cause} {between}",
            partial(fed.learned_before, layer=layer, change=normalise, learns="ormalisation" in cause, first=first),
            terms=partial(fed.terms_before, layer=layer, change=normalise),
        )
    for cause, change, share in fed.shares(step, layer, first):
        yield Hypothesis(
            f"{cause}, times {share:.4g}",
            lambda one, change=change, share=share: linear(
                one.given.inputs[layer] + share * change(one.given), one.given.kernel(layer), one.given.bias(layer)
            ),
            fitted=1,
        )
    for cause, change in network_causes.other_inputs(step, layer):
        yield Hypothesis(
            cause,
            lambda one, change=change: linear(change(one.given), one.given.kernel(layer), one.given.bias(layer)),
        )


def _after_the_sum(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """What is done to the pre-activations, after the bias is added."""
    recorded, expected = first.recorded, first.expected
    for cause, change in fed.NORMALISATIONS.items():
        plain: Callable[[Evidence], Array] = lambda one, change=change: change(one.expected)  # noqa: E731
        scaled = fed.learned(first, lambda one: one.expected, change)
        yield Hypothesis(
            f"{cause} of the pre-activations",
            scaled if "ormalisation" in cause else plain,
            terms=partial(fed.terms_of, of=lambda one: one.expected, change=change),
        )
    yield from _masked(first)
    factor = ratio(recorded, expected)
    yield Hypothesis(f"the pre-activations are {times(factor)}", lambda one: factor * one.expected, fitted=True)
    inputs, kernel, bias = _of(first.given, layer)
    product = linear(inputs, kernel, 0 * bias)
    scale = ratio(recorded - bias, product)
    name = f"the kernel or what the layer is fed is {times(scale)}, and the bias is not"
    if inputs.any():
        yield Hypothesis(
            name, lambda one: scale * (one.expected - one.given.bias(layer)) + one.given.bias(layer), fitted=True
        )
    if kernel.ndim == 2:
        cosines = _cosines(first, layer)
        scale = float(f"{ratio(recorded, cosines):.4g}")
        name = f"the pre-activations are {scale:.4g} times the cosine of the layer's input and each unit's weights"
        yield Hypothesis(name, lambda one: scale * _cosines(one, layer), fitted=True)
    shift = float((recorded - expected).mean())
    yield Hypothesis(f"{shift:.6g} is added to the pre-activations", lambda one: one.expected + shift, fitted=True)
    axes = tuple(range(expected.ndim - 1))
    per_unit = (recorded * expected).sum(axis=axes) / (expected**2).sum(axis=axes)
    if expected.shape[0] > 1:
        name = "the pre-activations of each unit are multiplied by a number of its own"
        yield Hypothesis(name, lambda one: per_unit * one.expected, fitted=per_unit.size)
    for cap in _caps(recorded, expected):
        name = f"the pre-activations are capped smoothly at ±{cap:.4g}: c·tanh(z / c)"
        yield Hypothesis(name, lambda one, cap=cap: cap * np.tanh(one.expected / cap), fitted=True)
    limit = float(np.abs(recorded).max())
    yield Hypothesis(
        f"the pre-activations are clipped to ±{limit:.4g}",
        lambda one: np.clip(one.expected, -limit, limit),
        fitted=True,
    )


def _caps(recorded: Array, expected: Array) -> Iterator[float]:
    """The c of c·tanh(z / c) that gives the largest number."""
    from scipy.optimize import brentq

    place = int(np.nan_to_num(np.abs(expected)).argmax())
    found, z = abs(float(recorded.flat[place])), abs(float(expected.flat[place]))
    if 0 < found < z and np.isfinite(z):
        cap = float(brentq(lambda c: c * np.tanh(z / c) - found, found, 1e9 * z, xtol=1e-15))
        yield from dict.fromkeys((float(f"{cap:.3g}"), cap))


def _cosines(one: Evidence, layer: str) -> Array:
    inputs, kernel, _ = _of(one.given, layer)
    x, w = inputs.reshape(len(inputs), -1), kernel
    found: Array = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=0))
    return found


def _masked(first: Evidence) -> Iterator[Hypothesis]:
    """Dropout: some numbers are zero, all others multiplied by one factor."""
    recorded, expected = first.recorded, first.expected
    live = expected != 0
    kept = (recorded != 0) & live
    factor = ratio(np.where(kept, recorded, 0), np.where(kept, expected, 0))
    share = np.mean(recorded[live] == 0) if live.any() else 0.0
    if not share:
        return
    inner = tuple(range(recorded.ndim - 1))
    dead = live.any(axis=inner) & ~kept.any(axis=inner)
    if 0 < dead.sum() <= _FEW_UNITS and not (recorded == 0)[..., ~dead][live[..., ~dead]].any():
        unit, gives = ("unit", "gives") if dead.sum() == 1 else ("units", "give")
        listed = ", ".join(map(str, np.flatnonzero(dead)))
        name = f"{unit} {listed} of {dead.size}, counted from 0, {gives} 0 for every image: not computed, or masked"
        yield Hypothesis(name, lambda one: np.where(dead, 0, one.expected))
    together, dropped, sizes = _draws(recorded != 0, expected)
    if not is_drawn(dropped, sizes):
        return
    rate = 1 - 1 / factor if factor > 1 else 0.0
    if rate > LEAST_DROPOUT and abs(share - rate) < 5 * np.sqrt(share / dropped.size):
        name = f"dropout of rate {rate:.3g} is active{together}"
    elif np.isclose(factor, 1, rtol=1e-6):
        factor = 1.0
        name = f"dropout is active and does not scale what it keeps: {share:.0%} of the numbers are zero{together}"
    else:
        name = f"{share:.0%} of the numbers are dropped{together}, and those kept are multiplied by {factor:.4g}"
    yield Hypothesis(name, lambda one: np.where(one.recorded != 0, factor * one.expected, 0), fitted=A_DRAWN_MASK)


_FEW_UNITS = 3
"""More that give nothing, at other places in every step or not, are what dropout would do."""


def _draws(kept: NDArray[np.bool_], expected: Array) -> tuple[str, NDArray[np.bool_], Array]:
    """What is dropped as a whole, in words, whether each of these is, and the numbers that are dropped with it."""
    live = expected != 0
    inner = tuple(range(1, kept.ndim))
    kinds = {
        ": whole images, as stochastic depth has it": inner,
        ": whole feature maps, as spatial dropout has it": inner[:-1],
        ": the same for all images of a batch": (0,),
    }
    for words, axes in kinds.items():
        if not axes:
            continue
        seen, dropped = live.any(axis=axes), (live & ~kept).any(axis=axes)
        if seen.size > 1 and live.sum() > 2 * seen.sum() and not (dropped & (live & kept).any(axis=axes)).any():
            return words, dropped[seen], np.abs(expected).mean(axis=axes)[seen]
    return "", ~kept[live], expected[live]


def _dropped_to_another_value(first: Evidence) -> Iterator[Hypothesis]:
    """Alpha dropout: dropped numbers are −α·scale of SELU, and all are brought back to mean and variance."""
    floor = -_SELU[0] * _SELU[1]
    for rate in fed.RATES:
        scale = ((1 - rate) * (1 + rate * floor**2)) ** -0.5
        shift = -scale * floor * rate
        dropped = scale * floor + shift
        if np.isclose(first.recorded, dropped, rtol=1e-5).sum() >= ENOUGH_NUMBERS:

            def predict(one: Evidence, scale: float = scale, shift: float = shift, dropped: float = dropped) -> Array:
                return np.where(
                    np.isclose(one.recorded, dropped, rtol=1e-5), one.recorded, scale * one.expected + shift
                )

            name = f"alpha dropout of rate {rate:.3g} is active"
            yield Hypothesis(
                name, predict, A_DRAWN_MASK, terms=lambda one, shift=shift: np.full(one.expected.shape, abs(shift))
            )


def _low_precision(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    inputs, kernel, bias = _of(first.given, layer)
    if inputs.ndim > 2 and inputs.size > 1e6:
        return
    for number, (dtype, _) in enumerate(in_low_precision(lambda lower: linear(lower(inputs), lower(kernel), bias))):
        yield Hypothesis(
            f"the layer computes in {dtype}" + (see("tf32-products") if dtype == "TF32" else ""),
            partial(_lowered, layer=layer, number=number),
        )


def _lowered(one: Evidence, layer: str, number: int) -> Array:
    inputs, kernel, bias = _of(one.given, layer)
    variants = in_low_precision(lambda lower: linear(lower(inputs), lower(kernel), bias))
    return next(product for index, (_, product) in enumerate(variants) if index == number)


def _rounds_as(evidence: Sequence[Evidence], layer: str, dtype: str) -> str | None:
    errors, scales = [], []
    for one in evidence:
        inputs, kernel, bias = _of(one.given, layer)
        squares = linear(inputs**2, kernel**2, bias**2)
        errors.append(one.recorded - one.expected)
        scales.append(np.sqrt(squares))
    return rounds_as(errors, scales, double=dtype == "float64")


# --- activations -----------------------------------------------------------------------------------


def of_activations(trace: Trace, index: int, layer: str) -> str | None:
    """Why activations differ from the ReLU or the softmax of the recorded pre-activations, in step `index` first."""
    rounding = Rounding.of(trace.recipe.dtype)
    last = layer == trace.recipe.layer_names[-1]
    evidence = []
    for number in range(len(trace.steps)):
        step = ExactStep.of(trace, number)
        z, recorded = step.preactivations[layer], step.activations[layer]
        expected = oracle.softmax(z) if last else oracle.relu(z)
        bound = rounding.softmax_relative(z) * expected + rounding.tiny if last else np.full(z.shape, rounding.tiny)
        # Where other functions subtract, what they lose is relative to what goes in.
        bound = bound if (np.abs(recorded - expected) <= bound).all() else bound + 4 * rounding.unit * np.abs(z)
        evidence.append(Evidence(number + 1, layer, recorded, expected, bound, rounding.unit, step))
    first = evidence[index]

    def hypotheses() -> Iterator[Hypothesis]:
        for cause, change in (_OF_THE_OUTPUT if last else _IN_PLACE_OF_RELU).items():
            yield Hypothesis(cause, lambda one, change=change: change(one.given.preactivations[layer]))
            factor = float(f"{ratio(first.recorded, change(first.given.preactivations[layer])):.4g}")
            yield Hypothesis(
                f"{cause}, times {factor:g}",
                lambda one, change=change, factor=factor: factor * change(one.given.preactivations[layer]),
                fitted=2,
            )
        yield from _around_the_activation(first, layer)
        yield from _masked(first)
        yield from _dropped_to_another_value(first)
        yield from (_fitted_softmax if last else _fitted_relu)(first, layer)

    cause = named(evidence, hypotheses())
    if cause is None and last:
        cause = fed.of_dropped_logits(evidence, layer)
    cause = cause or all_kept_in(evidence, double=trace.recipe.dtype == "float64" and is_double(first.expected))
    return cause or as_noise(evidence, "the activations") or (None if last else _random_slopes(evidence, layer))


def _log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _sparsemax(z: Array) -> Array:
    """Martins and Astudillo (2016)."""
    ordered = -np.sort(-z, axis=-1)
    count = np.arange(1, z.shape[-1] + 1)
    sums = ordered.cumsum(axis=-1) - 1
    support = (ordered - sums / count > 0).sum(axis=-1, keepdims=True)
    return np.maximum(z - np.take_along_axis(sums, support - 1, axis=-1) / support, 0)


def _over_the_batch(z: Array) -> Array:
    powers = np.exp(z - z.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


_SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)
"""Scale and α (Klambauer et al. 2017), as both frameworks have them."""

_IN_PLACE_OF_RELU: dict[str, Callable[[Array], Array]] = {
    "the activation function is missing": lambda z: z,
    "the activation is the sigmoid instead of ReLU": expit,
    f"the activation is GELU with erf instead of ReLU{see('gelu-form')}": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    f"the activation is GELU approximated by tanh instead of ReLU{see('gelu-form')}": (
        lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    ),
    "the activation is GELU approximated by a sigmoid, z·σ(1.702 z), instead of ReLU": lambda z: z * expit(1.702 * z),
    "the activation is SiLU (swish) instead of ReLU": lambda z: z * expit(z),
    "the activation is hard swish instead of ReLU": lambda z: z * np.clip(z / 6 + 0.5, 0, 1),
    "the activation is hard swish with the hard sigmoid of Keras 2, z·(0.2 z + 0.5), instead of ReLU": (
        lambda z: z * np.clip(0.2 * z + 0.5, 0, 1)
    ),
    "the activation is softplus less log 2 instead of ReLU": lambda z: np.logaddexp(0, z) - np.log(2),
    "the activation is Serf, z·erf(softplus z), instead of ReLU": lambda z: z * erf(np.logaddexp(0, z)),
    "the activation is the hard sigmoid instead of ReLU": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "the activation is the hard sigmoid of Keras 2, 0.2 z + 0.5, instead of ReLU": lambda z: np.clip(
        0.2 * z + 0.5, 0, 1
    ),
    "the activation is Mish instead of ReLU": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "the activation is tanh instead of ReLU": np.tanh,
    "the activation is the hard tanh instead of ReLU": lambda z: np.clip(z, -1, 1),
    "the activation is z − tanh z instead of ReLU": lambda z: z - np.tanh(z),
    "the activation is ELU instead of ReLU": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "the activation is SELU instead of ReLU": (
        lambda z: _SELU[0] * np.where(z > 0, z, _SELU[1] * np.expm1(np.minimum(z, 0)))
    ),
    "the activation is softplus instead of ReLU": lambda z: np.logaddexp(0, z),
    "the activation is softsign instead of ReLU": lambda z: z / (1 + np.abs(z)),
    "the activation is the log-sigmoid instead of ReLU": lambda z: -np.logaddexp(0, -z),
    "the activation is ReLU6 instead of ReLU": lambda z: np.clip(z, 0, 6),
    "the activation is the squared ReLU instead of ReLU": lambda z: np.maximum(z, 0) ** 2,
    "the activation is the magnitude instead of ReLU": np.abs,
    "the activation is ReLU of the negative: the sign is wrong": lambda z: np.maximum(-z, 0),
    "the activation is the smaller of z and 0: ReLU's other half": lambda z: np.minimum(z, 0),
    "the activation is the exponential instead of ReLU": np.exp,
    "the activation is the sine instead of ReLU": np.sin,
    "the activation is the Gaussian exp(−z²) instead of ReLU": lambda z: np.exp(-(z**2)),
    "the activation is the square instead of ReLU": np.square,
    "the activation is tanh of the ReLU": lambda z: np.tanh(np.maximum(z, 0)),
    "the activation is log(1 + ReLU)": lambda z: np.log1p(np.maximum(z, 0)),
    "the activation is the root of the ReLU": lambda z: np.sqrt(np.maximum(z, 0)),
    "the activation is log(1 + |z|) with the sign of z": lambda z: np.sign(z) * np.log1p(np.abs(z)),
    "the activation is the arc tangent instead of ReLU": np.arctan,
    "the activation is the error function instead of ReLU": erf,
    "the activation is 1.7159·tanh(2z/3), as LeCun has it, instead of ReLU": lambda z: 1.7159 * np.tanh(2 * z / 3),
    "the activation is squareplus, (z + √(z² + 4)) / 2, instead of ReLU": lambda z: (z + np.sqrt(z**2 + 4)) / 2,
    "the activation is sparse plus instead of ReLU": lambda z: np.where(
        z <= -1, 0, np.where(z >= 1, z, (z + 1) ** 2 / 4)
    ),
    "the activation is the sparse sigmoid instead of ReLU": lambda z: np.clip((z + 1) / 2, 0, 1),
    "the activation is sparsemax over the units instead of ReLU": _sparsemax,
    "the activation is the log of a softmax over the units instead of ReLU": _log_softmax,
    "the activation is a step, 0 or 1, instead of ReLU": lambda z: (z > 0).astype(float),
    "the activation is a softmax over the units instead of ReLU": lambda z: np.exp(_log_softmax(z)),
    "the softmax runs over the batch": _over_the_batch,
}

_OF_THE_OUTPUT: dict[str, Callable[[Array], Array]] = {
    "softmax is applied twice": lambda z: oracle.softmax(oracle.softmax(z)),
    "the activation function is missing: the logits are taken for the probabilities": lambda z: z,
    "the log of the softmax is taken for the probabilities": _log_softmax,
    "the activation is the sigmoid instead of the softmax": expit,
    "the activation is the log-sigmoid instead of the softmax": lambda z: -np.logaddexp(0, -z),
    "the softmax runs over the batch instead of the classes": _over_the_batch,
    "the softmax runs over all numbers of the batch": lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(),
    "the softmax takes the negative of the logits": lambda z: oracle.softmax(-z),
    "the exponentials are not divided by their sum": np.exp,
    "the exponentials after subtracting the largest are not divided by their sum": (
        lambda z: np.exp(z - z.max(axis=1, keepdims=True))
    ),
    "the softmax takes the ReLU of the logits": lambda z: oracle.softmax(oracle.relu(z)),
    "the softmax takes the tanh of the logits": lambda z: oracle.softmax(np.tanh(z)),
    "the softmax takes the sigmoid of the logits": lambda z: oracle.softmax(expit(z)),
    "the activation is the hard choice, one-hot, instead of the softmax": lambda z: np.eye(z.shape[1])[z.argmax(1)],
    "the sigmoids are divided by their sum instead of a softmax": lambda z: expit(z) / expit(z).sum(1, keepdims=True),
    "the activation is softplus divided by its sum instead of a softmax": (
        lambda z: np.logaddexp(0, z) / np.logaddexp(0, z).sum(1, keepdims=True)
    ),
    "the activation is ReLU instead of the softmax": oracle.relu,
    "the activation is sparsemax instead of the softmax": _sparsemax,
    "powers of 2 instead of e are in the softmax": lambda z: oracle.softmax(np.log(2) * z),
}
for _cause, _change in fed.NORMALISATIONS.items():
    _OF_THE_OUTPUT[f"{_cause} of the logits, before the softmax"] = lambda z, change=_change: oracle.softmax(change(z))


def _around_the_activation(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """Residual connections and normalisation around a layer's activation function."""
    step: ExactStep = first.given
    last = layer == step.layers[-1]
    function = oracle.softmax if last else oracle.relu

    def z(one: Evidence) -> Array:
        return one.given.preactivations[layer]

    def x(one: Evidence) -> Array:
        return one.given.inputs[layer]

    if step.inputs[layer].shape == first.recorded.shape:
        name = "a residual connection adds the layer's input"
        yield Hypothesis(f"{name} after the activation", lambda one: one.expected + x(one))
        yield Hypothesis(f"{name} before the activation", lambda one: function(z(one) + x(one)))
        yield Hypothesis("a residual connection averages output and input", lambda one: (one.expected + x(one)) / 2)
        yield Hypothesis("a residual connection adds the layer's input, divided by √2", _halved(x))
        yield Hypothesis("the layer's input is passed on in its place", x)
    if last:
        return
    for cause, change in fed.NORMALISATIONS.items():
        after = fed.learned(first, lambda one: one.expected, change)
        terms = partial(fed.terms_of, of=lambda one: one.expected, change=change)
        yield Hypothesis(f"{cause} after the activation", after, terms=terms)
        before = fed.learned(first, z, change, function)
        terms = partial(fed.terms_of, of=z, change=change)
        yield Hypothesis(f"{cause} before the activation", before, terms=terms)
    for other in step.layers[: step.layers.index(layer)]:
        if step.activations[other].shape == first.recorded.shape and other != step.below(layer):
            yield Hypothesis(
                f"a skip connection adds the activations of {other}",
                lambda one, other=other: one.expected + one.given.activations[other],
            )


def _halved(x: Callable[[Evidence], Array]) -> Callable[[Evidence], Array]:
    return lambda one: (one.expected + x(one)) / np.sqrt(2)


def _fitted_relu(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """What has a number of its own in place of ReLU."""
    z, recorded = first.given.preactivations[layer], first.recorded

    def of(change: Callable[[Array], Array]) -> Callable[[Evidence], Array]:
        return lambda one: change(one.given.preactivations[layer])

    positive = z > 0
    factor = ratio(np.where(positive, recorded, 0), np.where(positive, z, 0))
    yield Hypothesis(f"the activations are {times(factor)}", of(lambda z: factor * oracle.relu(z)), fitted=True)
    slope = ratio(np.where(positive, 0, recorded), np.where(positive, 0, z))
    name = f"the activation is a leaky ReLU of slope {slope:.4g}{see('leaky-relu-slope')}"
    yield Hypothesis(name, of(lambda z: np.where(z > 0, z, slope * z)), fitted=True)
    if slope:
        name = f"the activation is a leaky ReLU of slope {slope:.4g}, times {factor:.4g}"
        yield Hypothesis(name, of(lambda z: np.where(z > 0, factor * z, slope * z)), fitted=2)
    alpha = ratio(np.where(positive, 0, recorded), np.where(positive, 0, np.expm1(np.minimum(z, 0))))
    name = f"the activation is ELU of α = {alpha:.4g} instead of ReLU"
    yield Hypothesis(name, of(lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))), fitted=True)
    for floor in dict.fromkeys((-1.0, float(recorded.min()))):  # a step may have nothing below it
        name = f"the activation is max(z, {floor:.4g}) instead of ReLU"
        yield Hypothesis(name, of(lambda z, floor=floor: np.maximum(z, floor)), fitted=floor != -1)
    limit = float(recorded.max())
    yield Hypothesis(f"ReLU is cut off at {limit:.4g}", of(lambda z: np.clip(z, 0, limit)), fitted=True)
    limit = float(np.abs(recorded).max())
    name = f"the activation is the hard tanh, z cut off at ±{limit:.4g}, instead of ReLU"
    yield Hypothesis(name, of(lambda z: np.clip(z, -limit, limit)), fitted=True)
    yield from _one_number(first, layer)
    yield from _polynomial(first, layer)
    shift = float((recorded - z)[positive & (recorded != 0)].mean()) if (positive & (recorded != 0)).any() else 0.0
    name = f"the activation is ReLU of z {'+' if shift > 0 else '−'} {abs(shift):.4g}"
    yield Hypothesis(name, of(lambda z: oracle.relu(z + shift)), fitted=True)
    name = f"{shift:.4g} is added to the activations"
    yield Hypothesis(name, of(lambda z: oracle.relu(z) + shift), fitted=True)
    threshold = _threshold(z, recorded != 0)
    name = f"the activation passes on what exceeds {threshold:.3g}"
    yield Hypothesis(name, of(lambda z: np.where(z > threshold, z, 0)), fitted=True)
    if positive.sum() != positive.size:
        with np.errstate(all="ignore"):
            slopes = np.where(positive, 0, recorded * z).sum(axis=0) / np.where(positive, 0, z**2).sum(axis=0)
        name = f"the activation is a leaky ReLU with a slope of its own for each unit (PReLU){see('prelu-slopes')}"
        rate = first.given.recipe.learning_rate
        yield Hypothesis(name, partial(_prelu, layer=layer, slopes=slopes, rate=rate), fitted=slopes.size)
    with np.errstate(all="ignore"):
        gate = recorded / z
        betas = np.log(gate / (1 - gate)) / z
    betas = betas[(gate > 0.05) & (gate < 0.95) & (np.abs(z) > 0.3)]
    if betas.size and np.isfinite(beta := float(np.median(betas))):
        for number in dict.fromkeys((float(f"{beta:.4g}"), beta)):
            name = f"the activation is swish of β = {number:.4g}, z·σ(βz), instead of ReLU"
            yield Hypothesis(name, of(lambda z, number=number: z * expit(number * z)), fitted=True)


def _polynomial(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """A polynomial of ReLU's, of the second degree: squared and scaled ReLUs with a shift."""
    r = oracle.relu(first.given.preactivations[layer])
    if not np.isfinite(r).all() or not np.isfinite(first.recorded).all():
        return
    parts = np.stack([r.ravel() ** 2, r.ravel(), np.ones(r.size)], axis=1)
    solved = np.linalg.lstsq(parts, first.recorded.ravel(), rcond=None)[0]
    for digits in (4, 9):
        factors = [float(f"{number:.{digits}g}") * bool(abs(number) > _NOTHING) for number in solved]
        if not factors[0]:
            continue
        said = " ".join(
            f"{number:+.4g}{power}" for number, power in zip(factors, (" r²", " r", ""), strict=True) if number
        )
        yield Hypothesis(
            f"the activation is {said.lstrip('+')}, where r is ReLU",
            lambda one, p=tuple(factors): (
                p[2]
                + sum(
                    factor * oracle.relu(one.given.preactivations[layer]) ** power
                    for factor, power in zip(p, (2, 1), strict=False)
                )
            ),
            fitted=3,
            terms=lambda one, c=factors[2]: np.full(one.recorded.shape, abs(c)),
        )


_NOTHING = 1e-6
"""A coefficient that rounding alone makes."""

_OF_ONE_NUMBER: dict[str, tuple[Callable[[Array, float], Array], Array]] = {
    "CELU of α = {}": (
        lambda z, a: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0) / a)),
        np.geomspace(0.05, 20, 40),
    ),
    "softplus of β = {}": (lambda z, b: np.logaddexp(0, b * z) / b, np.geomspace(0.05, 50, 40)),
    "soft shrink of λ = {}": (lambda z, c: np.sign(z) * np.maximum(np.abs(z) - c, 0), np.linspace(0.01, 3, 40)),
    "squareplus of b = {}": (lambda z, b: (z + np.sqrt(z**2 + b)) / 2, np.geomspace(0.01, 100, 40)),
    "tanh({} z)": (lambda z, b: np.tanh(b * z), np.geomspace(0.05, 20, 40)),
    "the sigmoid of {} z": (lambda z, b: expit(b * z), np.geomspace(0.05, 20, 40)),
    "{} times tanh": (lambda z, a: a * np.tanh(z), np.geomspace(0.05, 20, 40)),
    "{} times the sigmoid": (lambda z, a: a * expit(z), np.geomspace(0.05, 20, 40)),
    "the sine of {} z": (lambda z, b: np.sin(b * z), np.geomspace(0.1, 60, 400)),
    "ReLU to the power {}": (lambda z, p: np.maximum(z, 0) ** p, np.linspace(0.1, 5, 40)),
    "snake, z + sin²(a z) / a, of a = {}": (lambda z, a: z + np.sin(a * z) ** 2 / a, np.geomspace(0.05, 20, 80)),
}
"""Activation functions with a number of their own, and where to look for it."""


def _one_number(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """Those whose number gives one activation of the first step; it then has to give all."""
    from scipy.optimize import brentq

    z, recorded = first.given.preactivations[layer], first.recorded
    hard = _threshold(np.abs(z), recorded != 0)
    if hard:
        name = f"the activation is hard shrink of λ = {hard:.4g} instead of ReLU"
        yield Hypothesis(name, lambda one: _hard_shrink(one, layer, hard), fitted=True)
    # One that is neither so small nor so large that it tells nothing.
    place = int(np.abs(np.abs(z) - 1).argmin())
    below = int(np.abs(z + 1).argmin())
    for words, (of, grid) in _OF_ONE_NUMBER.items():
        for at in dict.fromkeys((place, below)):
            one_z, wanted = z.ravel()[[at]], float(recorded.ravel()[at])

            def off(number: float, one_z: Array = one_z, wanted: float = wanted, of: Any = of) -> float:
                return float(of(one_z, number)[0]) - wanted

            values = np.array([off(float(number)) for number in grid])
            for left in np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0):
                number = float(brentq(off, grid[left], grid[left + 1], xtol=1e-14))
                for one in dict.fromkeys((float(f"{number:.3g}"), number)):
                    yield Hypothesis(
                        f"the activation is {words.format(f'{one:.4g}')} instead of ReLU",
                        lambda e, of=of, one=one: of(e.given.preactivations[layer], one),
                        fitted=True,
                    )


def _threshold(numbers: Array, passes: NDArray[np.bool_]) -> float:
    """The roundest number between the largest that is not passed on and the smallest that is."""
    low, high = float(numbers[~passes].max(initial=0)), float(numbers[passes].min(initial=np.inf))
    return roundest_between(low, high) if 0 < low < high < np.inf else low


def _hard_shrink(one: Evidence, layer: str, limit: float) -> Array:
    """z, or nothing where |z| is not above a limit."""
    z = one.given.preactivations[layer]
    return np.where(np.abs(z) > limit, z, 0)


def _random_slopes(evidence: Sequence[Evidence], layer: str) -> str | None:
    """A leaky ReLU whose slopes are drawn anew for every number: evenly, within the same limits in all steps."""
    slopes = []
    for one in evidence:
        z = one.given.preactivations[layer]
        negative = z < 0
        if one.left_by(np.where(negative, one.recorded, oracle.relu(z))) > 1 or negative.sum() < _ENOUGH_SLOPES:
            return None
        slopes.append(one.recorded[negative] / z[negative])
    together = np.concatenate(slopes)
    low, high = float(together.min()), float(together.max())
    # Of n numbers drawn evenly, the mean scatters by 1/√(12 n) of their range.
    reach, number = high - low, together.size
    drawn_evenly = abs(together.mean() - (low + high) / 2) < 5 * reach / np.sqrt(12 * number)
    alike = all(np.ptp(of_step) > 0.9 * reach for of_step in slopes)
    if not drawn_evenly or not alike or low <= 0:
        return None
    return f"the activation is a leaky ReLU of random slopes between {low:.3g} and {high:.3g} (RReLU)"


_ENOUGH_SLOPES = 100


def _prelu(one: Evidence, layer: str, slopes: Array, rate: float) -> Array:
    """Leaky ReLU with the slopes of the first step; what they have learned since is fitted."""
    z = one.given.preactivations[layer]
    with np.errstate(all="ignore"):
        now = np.where(z > 0, 0, one.recorded * z).sum(axis=0) / np.where(z > 0, 0, z**2).sum(axis=0)
    moved = np.abs(now - slopes) <= 4 * rate * one.step
    return np.where(z > 0, z, np.where(moved, now, slopes) * z)


def _fitted_softmax(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """A temperature, a factor."""
    z, recorded = first.given.preactivations[layer], first.recorded
    with np.errstate(all="ignore"):
        logs = np.log(recorded)
    if np.isfinite(logs).all() and recorded.shape[1] > 1:
        centred = z - z.mean(axis=1, keepdims=True)
        slope = ratio(logs - logs.mean(axis=1, keepdims=True), centred)
        name = f"the softmax has a temperature of {1 / slope:.4g}: the logits are divided by it"
        yield Hypothesis(name, lambda one: oracle.softmax(slope * one.given.preactivations[layer]), fitted=True)
    factor = ratio(recorded, first.expected)
    yield Hypothesis(f"the probabilities are {times(factor)}", lambda one: factor * one.expected, fitted=True)
    share = ratio(recorded - first.expected, 1 / recorded.shape[1] - first.expected)
    name = f"the probabilities are mixed with {share:.4g} of a uniform distribution"
    yield Hypothesis(name, lambda one: (1 - share) * one.expected + share / one.recorded.shape[1], fitted=True)
    low, high = float(recorded.min()), float(recorded.max())
    name = f"the probabilities are clipped to [{low:.4g}, {high:.4g}]"
    yield Hypothesis(name, lambda one: np.clip(one.expected, low, high), fitted=True)
