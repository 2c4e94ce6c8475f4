"""What a layer may have been fed in place of what the one before passes on: residuals, normalisation, dropout."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from compare.causes.signatures import Evidence, ratio
from compare.oracle import network as oracle
from compare.oracle.convolution import linear
from compare.oracle.network import Array
from compare.oracle.step import ExactStep

Change = Callable[[ExactStep], Array]


def _layer_norm(epsilon: float) -> Callable[[Array], Array]:
    def normalised(x: Array) -> Array:
        axes = tuple(range(1, x.ndim))[-1:]
        mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        return (x - mean) / np.sqrt(variance + epsilon)

    return normalised


def _batch_norm(epsilon: float, ddof: int = 0) -> Callable[[Array], Array]:
    def normalised(x: Array) -> Array:
        axes = tuple(range(x.ndim - 1))
        count = x.size / x.shape[-1]
        variance = x.var(axis=axes) * (count / (count - ddof) if count > ddof else np.nan)
        return (x - x.mean(axis=axes)) / np.sqrt(variance + epsilon)

    return normalised


def _in_parts(normalise: Callable[[Array], Array], parts: int) -> Callable[[Array], Array]:
    """Of each part of a batch by itself, as ghost batches and several processes have it."""
    return lambda x: np.concatenate([normalise(part) for part in np.array_split(x, parts) if len(part)])


def _rms_norm(epsilon: float) -> Callable[[Array], Array]:
    return lambda x: x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)


def _group_norm(groups: int, epsilon: float) -> Callable[[Array], Array]:
    def normalised(x: Array) -> Array:
        if x.shape[-1] % groups or x.shape[-1] == groups:
            return np.full(x.shape, np.nan)  # there are no such groups
        parts = np.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 1).reshape(len(x), groups, -1)
        mean, variance = parts.mean(axis=2, keepdims=True), parts.var(axis=2, keepdims=True)
        normal = ((parts - mean) / np.sqrt(variance + epsilon)).reshape(len(x), groups, *x.shape[1:-1], -1)
        return np.moveaxis(normal, 1, -2).reshape(x.shape)

    return normalised


def _whole_norm(epsilon: float) -> Callable[[Array], Array]:
    """Of all that an image's feature maps hold, as `LayerNorm` over several axes, or behind a flattening, has it."""

    def normalised(x: Array) -> Array:
        return _layer_norm(epsilon)(x.reshape(len(x), -1)).reshape(x.shape)

    return lambda x: normalised(x) if x.ndim > _FLAT else np.full(x.shape, np.nan)


def _instance_norm(epsilon: float) -> Callable[[Array], Array]:
    def normalised(x: Array) -> Array:
        mean, variance = x.mean(axis=(1, 2), keepdims=True), x.var(axis=(1, 2), keepdims=True)
        return (x - mean) / np.sqrt(variance + epsilon)

    return lambda x: normalised(x) if x.ndim > _FLAT else np.full(x.shape, np.nan)


_FLAT = 2
"""Dimensions of what a dense layer is fed."""


def _unit_length(x: Array) -> Array:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


NORMALISATIONS: dict[str, Callable[[Array], Array]] = {
    **{f"batch normalisation (ε = {e:g}) by the variance over n − 1": _batch_norm(e, 1) for e in (1e-3, 1e-5)},
    **{f"batch normalisation (ε = {e:g})": _batch_norm(e) for e in (1e-3, 1e-5, 1e-6, 1e-8)},
    **{
        f"batch normalisation (ε = {e:g}) of each of {parts} parts of the batch": _in_parts(_batch_norm(e), parts)
        for parts in (2, 4)
        for e in (1e-3, 1e-5)
    },
    **{f"layer normalisation (ε = {e:g})": _layer_norm(e) for e in (1e-3, 1e-5, 1e-6, 1e-8, 1e-12)},
    **{f"RMS normalisation (ε = {e:g})": _rms_norm(e) for e in (1e-6, 1e-7, 1e-5, 1e-3, 1e-8, 2.0**-23, 2.0**-52)},
    **{
        f"group normalisation of {groups} groups (ε = {e:g})": _group_norm(groups, e)
        for groups in (2, 4, 8, 16, 32)
        for e in (1e-5, 1e-3)
    },
    **{f"layer normalisation (ε = {e:g}) of whole images": _whole_norm(e) for e in (1e-3, 1e-5, 1e-6)},
    **{f"instance normalisation (ε = {e:g})": _instance_norm(e) for e in (1e-3, 1e-5)},
    **{
        f"batch normalisation that does not know its batch, division by √(1 + {e:g}),": lambda x, e=e: (
            x / np.sqrt(1 + e)
        )
        for e in (1e-3, 1e-5)
    },
    "normalisation to length 1": _unit_length,
    "standardisation without an ε": _layer_norm(0.0),
    "batch standardisation without an ε": _batch_norm(0.0),
    "subtraction of the units' mean": lambda x: x - x.mean(axis=-1, keepdims=True),
    "subtraction of the batch's mean": lambda x: x - x.mean(axis=tuple(range(x.ndim - 1))),
}
"""By name, as both frameworks have them; the ε are their defaults and those that are common."""


def learned(
    first: Evidence,
    of: Callable[[Evidence], Array],
    change: Callable[[Array], Array],
    function: Callable[[Array], Array] = lambda x: x,
) -> Callable[[Evidence], Array]:
    """A normalisation whose scale and shift per unit, 1 and 0 in the first step, may be learned later.

    No record holds them. In a later step, each unit's are fitted to its numbers, of which a batch has more than two,
    and are taken only if they have moved no further than the learning rate brings them.
    """
    rate = first.given.recipe.learning_rate

    def predict(one: Evidence) -> Array:
        normal = change(of(one))
        predicted = function(normal)
        if one.step == 1 or first.step > 1 or len(normal) < 4 or one.left_by(predicted) <= 1:
            return predicted
        reach = 4 * rate * one.step
        live = (one.recorded != 0) if function is oracle.relu else np.ones(normal.shape, bool)
        axes = tuple(range(normal.ndim - 1))
        with np.errstate(all="ignore"):
            count = live.sum(axis=axes)
            mean_x = np.where(live, normal, 0).sum(axis=axes) / count
            mean_y = np.where(live, one.recorded, 0).sum(axis=axes) / count
            dx, dy = np.where(live, normal - mean_x, 0), np.where(live, one.recorded - mean_y, 0)
            spread = (dx**2).sum(axis=axes)
            # Of a unit that is the same for all images, the shift alone shows.
            scale = np.where(spread > 0, (dx * dy).sum(axis=axes) / spread, 1)
            shift = mean_y - scale * mean_x
        fits = (np.abs(scale - 1) <= reach) & (np.abs(shift) <= reach)
        # A unit that has no two numbers to fit from has none to contradict it either.
        few = count < 3
        fitted = function(np.where(fits, scale, 1) * normal + np.where(fits, shift, 0))
        off = np.abs(one.recorded - fitted)
        # The first step has shown that it is this; here only what has been learned is, which is known to a thousandth.
        explained = (off <= 1e-3 * reach) | (few & (np.abs(one.recorded - predicted) <= reach * (1 + np.abs(normal))))
        return np.where(explained, one.recorded, fitted)

    return predict


def terms_of(one: Evidence, of: Callable[[Evidence], Array], change: Callable[[Array], Array]) -> Array:
    """The sizes of what a normalisation subtracts from each other, after it has divided them."""
    x = of(one)
    return _terms(x, change)


def _terms(x: Array, change: Callable[[Array], Array]) -> Array:
    """It is (x − mean)·s, with an s of each unit or of each image: the ratio of what they range over."""
    normal = change(x)
    sizes = np.abs(normal)
    for axes in (tuple(range(x.ndim - 1)), (-1,)):
        with np.errstate(all="ignore"):
            scale = np.ptp(normal, axis=axes, keepdims=True) / np.ptp(x, axis=axes, keepdims=True)
        finite = np.where(np.isfinite(scale), scale, 0)
        sizes = np.maximum(sizes, finite * np.abs(x).max(axis=axes, keepdims=True) + np.abs(normal))
    return sizes


def terms_before(one: Evidence, layer: str, change: Callable[[Array], Array]) -> Array:
    """The same of what a layer is fed, behind its kernel."""
    step: ExactStep = one.given
    kernel, bias = step.kernel(layer), step.bias(layer)
    return linear(_terms(step.inputs[layer], change), np.abs(kernel), np.abs(bias))


def learned_before(
    one: Evidence, layer: str, change: Callable[[Array], Array], *, learns: bool, first: Evidence
) -> Array:
    """A normalisation of what a layer is fed, whose scale and shift may be learned after the first step.

    The first step shows that it is this; later ones have to be as near as the learning rate can bring them.
    """
    step: ExactStep = one.given
    normal, kernel = change(step.inputs[layer]), step.kernel(layer)
    predicted = linear(normal, kernel, step.bias(layer))
    if one.step == 1 or first.step > 1 or not learns:
        return predicted
    reach = 4 * step.recipe.learning_rate * one.step
    near = linear(reach * (np.abs(normal) + 1), np.abs(kernel), 0 * step.bias(layer))
    return np.where(np.abs(one.recorded - predicted) <= near, one.recorded, predicted)


def alternatives(step: ExactStep, layer: str) -> Iterator[tuple[str, Change]]:
    """What else the layer may have been fed, as functions of a step."""
    inputs, below = step.inputs[layer], step.below(layer)
    if inputs.ndim == 2:
        yield "what the layer is fed is in reverse order", lambda s: s.inputs[layer][:, ::-1]
        size = inputs.shape[1]
        for shift in sorted({1, size - 1, size // 2, size // 4, size - size // 4} - {0}):
            name = f"what the layer is fed is moved on by {shift} units, the last ones becoming the first"
            yield name, lambda s, shift=shift: np.roll(s.inputs[layer], shift, axis=1)
        for words, part in (("first", slice(size // 2)), ("second", slice(size // 2, size))):
            name = f"only the {words} half of what the layer is fed counts: the other is zero"
            yield name, lambda s, part=part: _alone(s.inputs[layer], part)
        for groups in (2, 4, 8, 16):
            if size % groups == 0:
                yield (
                    f"what the layer is fed is shuffled in {groups} groups, as ShuffleNet does",
                    _in_groups(layer, groups),
                )
    for bits in (8, 4):
        name = f"what the layer is fed is quantised to int{bits}, by its largest number"
        yield name, lambda s, bits=bits: quantised(s.inputs[layer], bits)
    if below is None:
        yield from _other_pixels(step, layer)
    else:
        yield from _other_activations(step, layer, below)


def _alone(numbers: Array, part: slice) -> Array:
    """Zeros, but for a part of the last axis."""
    left = np.zeros(numbers.shape)
    left[..., part] = numbers[..., part]
    return left


def quantised(numbers: Array, bits: int, axes: tuple[int, ...] | None = None) -> Array:
    """Rounded to the whole numbers of so many bits, the largest of all, or of these axes, being the largest of them."""
    scale = np.abs(numbers).max(axis=axes, keepdims=axes is not None) / (2 ** (bits - 1) - 1)
    rounded: Array = np.round(numbers / scale) * scale
    return rounded


def _in_groups(layer: str, groups: int) -> Change:
    def change(s: ExactStep) -> Array:
        x = s.inputs[layer]
        return x.reshape(len(x), groups, -1).swapaxes(1, 2).reshape(x.shape)

    return change


def shares(step: ExactStep, layer: str, first: Evidence) -> Iterator[tuple[str, Change, float]]:
    """What may be added to the layer's inputs, and how much of it, fitted to the first step that is off."""
    below = step.below(layer)
    if below is None:
        return
    shape = step.inputs[layer].shape
    added: dict[str, Change] = {}
    if step.inputs[below].shape == shape:
        added[f"a residual connection around {below}: its input is added to its output"] = lambda s: s.inputs[below]
    for other in step.layers[: step.layers.index(below)]:
        if other != step.below(below) and step.activations[other].shape == shape:
            name = f"a skip connection adds the activations of {other} to those of {below}"
            added[name] = lambda s, other=other: s.activations[other]
    for cause, change in added.items():
        kernel, bias = step.kernel(layer), step.bias(layer)
        share = ratio(first.recorded - first.expected, linear(change(step), kernel, 0 * bias))
        for number in dict.fromkeys((float(f"{share:.3g}"), share)) if np.isfinite(share) else ():
            yield cause, change, number


def _other_pixels(step: ExactStep, layer: str) -> Iterator[tuple[str, Change]]:
    shape = step.recipe.images.image_shape

    def maps(s: ExactStep) -> Array:
        return s.inputs[layer].reshape(-1, *shape)

    def flat(s: ExactStep, turned: Array) -> Array:
        return turned.reshape(s.inputs[layer].shape)

    fed = "in the network, before its first layer,"
    yield f"{fed} images are transposed: rows and columns are swapped", lambda s: flat(s, maps(s).swapaxes(1, 2))
    yield f"{fed} images are mirrored: left and right are swapped", lambda s: flat(s, maps(s)[:, :, ::-1])
    yield f"{fed} images are upside down", lambda s: flat(s, maps(s)[:, ::-1])
    yield f"{fed} pixels are inverted: ink is 0", lambda s: 1 - s.inputs[layer]
    yield f"{fed} pixels are brought to −1 to 1", lambda s: 2 * s.inputs[layer] - 1
    yield (
        f"{fed} pixels are standardised: mean 0.1307, divided by 0.3081",
        lambda s: (s.inputs[layer] - 0.1307) / 0.3081,
    )
    yield f"{fed} 0.5 is subtracted from the pixels", lambda s: s.inputs[layer] - 0.5
    yield f"{fed} pixels are divided by 255 once more", lambda s: s.inputs[layer] / 255
    yield f"{fed} pixels are multiplied by 255", lambda s: s.inputs[layer] * 255
    yield f"{fed} pixels are cut at a threshold of 0.5", lambda s: (s.inputs[layer] > 0.5).astype(float)
    yield f"{fed} pixels are squared", lambda s: s.inputs[layer] ** 2
    yield f"{fed} each image is standardised with the variance over n − 1", _torch_standardised(layer)


def _torch_standardised(layer: str) -> Change:
    def change(s: ExactStep) -> Array:
        x = s.inputs[layer]
        axes = tuple(range(1, x.ndim))
        return (x - x.mean(axis=axes, keepdims=True)) / x.std(axis=axes, keepdims=True, ddof=1)

    return change


def _normalised_behind(residual: str, layer: str, below: str) -> Iterator[tuple[str, Change]]:
    for cause, normalise in NORMALISATIONS.items():
        if cause.startswith(("layer normalisation", "RMS")):
            yield (
                f"{residual}, with {cause} behind it",
                lambda s, normalise=normalise: normalise(s.inputs[layer] + s.inputs[below]),
            )


def _other_activations(step: ExactStep, layer: str, below: str) -> Iterator[tuple[str, Change]]:
    shape = step.inputs[layer].shape
    if step.inputs[below].shape == shape:
        residual = f"a residual connection around {below}: its input is added to its output"
        yield residual, lambda s: s.inputs[layer] + s.inputs[below]
        yield f"{residual}, both halved", lambda s: (s.inputs[layer] + s.inputs[below]) / 2
        yield from _normalised_behind(residual, layer, below)
        yield f"{residual}, divided by √2", lambda s: (s.inputs[layer] + s.inputs[below]) / np.sqrt(2)
        yield f"the layer {below} is skipped", lambda s: s.inputs[below]
    if step.preactivations[below].shape == shape:
        yield f"the layer is fed the pre-activations of {below}", lambda s: s.preactivations[below]
        if step.dropped:
            yield f"the dropout of {below} is passed by", lambda s: s.activations[below]
    for other in step.layers:
        if other in (below, layer, step.below(below)) or step.activations[other].shape != shape:
            continue
        order = "the layers are in another order, or one is skipped"
        yield f"the layer is fed the activations of {other}: {order}", lambda s, other=other: s.activations[other]
        if step.layers.index(other) < step.layers.index(below):
            yield (
                f"a skip connection adds the activations of {other} to those of {below}",
                lambda s, other=other: s.inputs[layer] + s.activations[other],
            )
    yield (
        f"ReLU is applied to the negative of {below}",
        lambda s: (
            oracle.relu(-s.preactivations[below])
            if (s.preactivations[below].shape == s.inputs[layer].shape)
            else s.inputs[layer]
        ),
    )
    from scipy.special import erf, expit

    functions = {
        "tanh": np.tanh,
        "the sigmoid": expit,
        "SiLU": lambda z: z * expit(z),
        "GELU with erf": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
        "softplus": lambda z: np.logaddexp(0, z),
    }
    if step.preactivations[below].shape == shape:
        for name, function in functions.items():
            yield (
                f"the layer is fed {name} of {below}'s pre-activations",
                lambda s, function=function: function(s.preactivations[below]),
            )
    for name, function in functions.items():
        yield (
            f"{name} comes once more between {below} and {layer}",
            lambda s, function=function: function(s.inputs[layer]),
        )


# --- dropout that no recipe asks for ---------------------------------------------------------------

RATES = tuple(rate / 100 for rate in range(5, 100, 5))


def of_dropped_inputs(evidence: Sequence[Evidence], layer: str) -> str | None:
    """Whether the layer is fed its inputs with some of them dropped, solved for from what it makes of them.

    An image's pre-activations are as many equations as the layer has units, for as many unknown as its inputs have
    numbers that are not zero. Where these are no more, the inputs follow; each has to be zero or the one times a
    factor, and with exactly these the pre-activations have to come out.
    """
    rates: list[float] = []
    for one in evidence:
        step: ExactStep = one.given
        inputs, kernel, bias = step.inputs[layer], step.kernel(layer), step.bias(layer)
        if kernel.ndim != 2 or inputs.ndim != 2 or not np.isfinite(one.recorded).all() or not np.isfinite(kernel).all():
            return None
        if one.is_right:
            continue
        if (rate := _dropped_rate(one, inputs, kernel, bias)) is None:
            return None
        rates.append(rate)
    if not rates or max(rates) != min(rates):
        return None
    what = f"the activations of {step.below(layer)}" if step.below(layer) else "the pixels"
    return f"dropout of rate {rates[0]:.3g} on {what}, before {layer}"


def _dropped_rate(one: Evidence, inputs: Array, kernel: Array, bias: Array) -> float | None:
    """The rate of a dropout on the inputs that gives the recorded pre-activations."""
    solvable = [row for row in range(len(inputs)) if 0 < np.count_nonzero(inputs[row]) <= kernel.shape[1]]
    if len(solvable) < max(1, len(inputs) // 2):
        return None
    kept = inputs != 0
    factors = []
    for row in solvable:
        live = np.flatnonzero(inputs[row])
        fed, *_ = np.linalg.lstsq(kernel[live].T, one.recorded[row] - bias, rcond=None)
        relative = fed / inputs[row, live]
        kept[row, live] = relative > 0.5
        factors.extend(relative[relative > 0.5])
    if not factors:
        return None
    scale = float(np.median(factors))
    rate = min(RATES, key=lambda rate: abs(1 / (1 - rate) - scale))
    rows = np.array(solvable)
    predicted = linear(np.where(kept, inputs / (1 - rate), 0)[rows], kernel, bias)
    allowed = one.bound[rows] / (1 - rate) + 32 * one.unit * np.abs(predicted)
    return rate if (np.abs(predicted - one.recorded[rows]) <= allowed).all() else None


def of_dropped_logits(evidence: Sequence[Evidence], layer: str) -> str | None:
    """Whether the probabilities are the softmax of logits of which some are dropped."""
    common: set[float] = set()
    for one in evidence:
        z = one.given.preactivations[layer]
        if one.is_right:
            continue
        rates = {rate for rate in RATES if _dropped(z, one.recorded, 1 / (1 - rate), one.unit)}
        common = rates if not common else common & rates
        if not common:
            return None
    return f"dropout of rate {min(common):.3g} on the logits, before the softmax" if len(common) == 1 else None


def _dropped(z: Array, probabilities: Array, scale: float, unit: float) -> bool:
    """Whether each row is the softmax of its logits times `scale`, or 0 in their place."""
    with np.errstate(all="ignore"):
        logs = np.log(probabilities)
    tolerance = 64 * unit * (1 + np.abs(logs).max() + scale * np.abs(z).max())
    for row, log in zip(z, logs, strict=True):
        candidates = np.append(log - scale * row, log)  # log p − (its logit) is the same for all
        fits = [(np.minimum(np.abs(log - c - scale * row), np.abs(log - c)) <= tolerance).all() for c in candidates]
        if not any(fits):
            return False
    return True
