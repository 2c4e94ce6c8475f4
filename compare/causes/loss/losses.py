"""Losses: what is minimised in place of the mean cross-entropy, its value and its gradients, without a fitted number.

The rungs `loss` and `gradients` both draw on it, so that a loss which explains the one explains the other. Each loss
is stated as its value for every image; ∂loss/∂logits follows by a complex step, f(z + ih)/h, which is exact to
rounding (Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", 1998).
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.causes.signatures import rounded, see
from compare.oracle import network as oracle
from compare.oracle.network import Array, ArraysByName
from compare.oracle.step import ExactStep
from record.first_steps import Trace

Numbers = NDArray[Any]
"""Real, or complex where a derivative is taken."""

_H = 1e-30
"""The complex step: nothing is subtracted, so that it may be as small as there are numbers."""


def flat(gradients: ArraysByName) -> Array:
    """All numbers in a row."""
    return np.concatenate([array.ravel() for array in gradients.values()])


class Fed:
    """A step of a trace as a loss takes it."""

    def __init__(self, trace: Trace, index: int) -> None:
        self.index, self.recorded = index, float(trace.steps[index].loss)
        self.step = ExactStep.of(trace, index)
        self.recorded_gradients = oracle.exact(trace.steps[index].gradients)
        self.logits = self.step.preactivations[self.step.layers[-1]]
        self.labels = self.step.labels
        self._repeated: dict[int, Fed] = {}

    def times(self, count: int) -> "Fed":
        """The same batch so many times over, for what is computed image by image."""
        if (repeated := self._repeated.get(count)) is None:
            repeated = copy(self)
            repeated.labels = np.tile(self.labels, count)
            repeated.__dict__.pop("one_hot", None)
            self._repeated[count] = repeated
        return repeated

    @property
    def size(self) -> int:
        """Images in the batch."""
        return len(self.labels)

    @cached_property
    def one_hot(self) -> Array:
        """Shape (batch, classes)."""
        return np.eye(self.logits.shape[1])[self.labels]

    @cached_property
    def cross_entropies(self) -> Array:
        """Of every image."""
        return oracle.cross_entropies(self.logits, self.labels)

    @cached_property
    def delta(self) -> Array:
        """∂(sum of the cross-entropies)/∂logits."""
        return oracle.softmax(self.logits) - self.one_hot

    @cached_property
    def gradients(self) -> ArraysByName:
        """Of the mean cross-entropy."""
        return self.step.gradients(self.delta / self.size)

    @cached_property
    def deltas(self) -> ArraysByName:
        """∂(mean cross-entropy)/∂pre-activations of every layer, in their shape."""
        passes = self.step.backward(self.delta / self.size)
        return {one.layer: one.delta.reshape(self.step.preactivations[one.layer].shape) for one in passes}

    @cached_property
    def flat_gradients(self) -> tuple[Array, Array]:
        """The recorded gradients and those of the mean cross-entropy, all numbers in a row."""
        return flat({name: self.recorded_gradients[name] for name in self.gradients}), flat(self.gradients)


Each = Callable[[Numbers, Fed], Numbers]
"""The loss of every image, (batch,), from its logits."""


def mean_weights(fed: Fed) -> Array:
    """What each image's loss is multiplied with in the mean, shape (batch,)."""
    return np.full(fed.size, 1 / fed.size)


@dataclass(frozen=True)
class Loss:
    """A loss in place of the mean cross-entropy.

    Args:
        cause: In words.
        each: Of every image.
        weights: What each image's is multiplied with before they are added up.
        added: What does not follow from the logits: a penalty on weights or activations.
        added_gradients: Of it.
        fitted: Whether a number of it was fitted.
    """

    cause: str
    each: Each
    weights: Callable[[Fed], Array] = mean_weights
    added: Callable[[Fed], float] = lambda fed: 0.0
    added_gradients: Callable[[Fed], ArraysByName] | None = None
    fitted: int = 0

    @property
    def is_penalty(self) -> bool:
        """Whether a fitted multiple of what the weights alone say is added."""
        return bool(self.fitted) and self.added_gradients is not None and "penalty" in self.cause

    def value(self, fed: Fed) -> float:
        """Of a step."""
        return float((self.weights(fed) * self.each(fed.logits, fed)).sum()) + self.added(fed)

    def of_output_bias(self, fed: Fed) -> Array:
        """The gradient of the output's bias, which takes no backward pass; not of a loss with `added_gradients`."""
        return (self.weights(fed)[:, None] * slopes(self.each, fed)).sum(axis=0)

    def gradients(self, fed: Fed) -> ArraysByName:
        """By parameter."""
        of_loss = fed.step.gradients(self.weights(fed)[:, None] * slopes(self.each, fed))
        if self.added_gradients is None:
            return of_loss
        more = self.added_gradients(fed)
        return {name: array + more.get(name, 0) for name, array in of_loss.items()}


def slopes(each: Each, fed: Fed) -> Array:
    """∂each/∂logits, shape (batch, classes); of a loss that takes a batch together, of the sum over its images."""
    size, classes = fed.logits.shape
    if _takes_the_batch_together(each, fed):
        return _slopes_together(each, fed)
    moved = np.repeat(fed.logits[None].astype(complex), classes, axis=0)
    moved[np.arange(classes), :, np.arange(classes)] += 1j * _H
    # All classes at once, as a batch as many times as large.
    values = each(moved.reshape(-1, classes), fed.times(classes)).reshape(classes, size)
    derivatives: Array = np.imag(values).T / _H
    return derivatives


def slopes_of_class(each: Each, fed: Fed, unit: int) -> Array:
    """∂each/∂one logit, shape (batch,), of a loss that takes each image by itself."""
    moved = fed.logits.astype(complex)
    moved[:, unit] += 1j * _H
    derivatives: Array = np.imag(each(moved, fed)) / _H
    return derivatives


def _takes_the_batch_together(each: Each, fed: Fed) -> bool:
    """Whether an image's loss changes where the logits of another do."""
    other = fed.logits.copy()
    other[-1] = other[-1, ::-1] + 1
    return not np.allclose(np.real(each(other, fed))[:-1], np.real(each(fed.logits, fed))[:-1], rtol=1e-9)


_MOST_NUMBERS = 5000
"""So many logits are moved one by one, which takes a second."""


def _slopes_together(each: Each, fed: Fed) -> Array:
    derivatives = np.full(fed.logits.shape, np.nan)
    if fed.logits.size > _MOST_NUMBERS:
        return derivatives
    moved = fed.logits.astype(complex)
    for place in np.ndindex(moved.shape):
        moved[place] += 1j * _H
        derivatives[place] = np.imag(each(moved, fed)).sum() / _H
        moved[place] = fed.logits[place]
    return derivatives


# --- in complex numbers too ------------------------------------------------------------------------


def logs(z: Numbers) -> Numbers:
    """The logarithm of the softmax."""
    shifted = z - z.real.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def probabilities(z: Numbers) -> Numbers:
    """The softmax."""
    return np.exp(logs(z))


def at_label(values: Numbers, fed: Fed) -> Numbers:
    """Of (batch, classes) the number of each image's label, shape (batch,)."""
    return values[np.arange(fed.size), fed.labels]


def _counts(values: Numbers, fed: Fed) -> Numbers:
    """How many images have each class as their label, shape (classes,)."""
    return np.bincount(fed.labels, minlength=values.shape[1]).astype(np.float64)


def _positive(values: Numbers) -> Numbers:
    return np.where(values.real > 0, values, 0)


def magnitude(values: Numbers) -> Numbers:
    """|x| of the real part, whose sign the imaginary part takes on."""
    return np.where(values.real > 0, values, -values)


def _sigmoid(z: Numbers) -> Numbers:
    return np.where(z.real > 0, 1 / (1 + np.exp(-_positive(z))), np.exp(-_positive(-z)) / (1 + np.exp(-_positive(-z))))


def softplus(z: Numbers) -> Numbers:
    """Log(1 + exp z)."""
    return _positive(z) + np.log1p(np.exp(-magnitude(z)))


def cross_entropy(z: Numbers, fed: Fed) -> Numbers:
    """Of every image."""
    return -at_label(logs(z), fed)


def _best_other(values: Numbers, fed: Fed) -> Numbers:
    """The largest number of a wrong class."""
    others = np.where(fed.one_hot == 1, -np.inf, values.real).argmax(axis=1)
    return values[np.arange(fed.size), others]


def _binary(p: Numbers, fed: Fed) -> Numbers:
    with np.errstate(all="ignore"):
        wrong = np.where(fed.one_hot == 1, 0, np.log(1 - p))
    return -(fed.one_hot * np.log(p) + wrong)


REDUCTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "averaged over the classes": lambda values: values.mean(axis=1),
    "added up over the classes": lambda values: values.sum(axis=1),
}


def _jensen_shannon(z: Numbers, fed: Fed) -> Numbers:
    """The mean of both divergences from (p + y) / 2, of one-hot y; p·log p of nothing is nothing."""
    p = probabilities(z)
    right = at_label(p, fed)
    middle = (right + 1) / 2
    both = -np.log(middle) + right * (np.log(right) - np.log(middle))
    # Of the other classes p / (p / 2) is 2.
    return (both + (1 - right) * np.log(2)) / 2


# --- losses without a free number ------------------------------------------------------------------


def _stated() -> dict[str, Each]:
    """Losses of other kinds, by name."""
    losses: dict[str, Each] = {
        f"softmax is applied twice: such a loss never falls below 1.4612{see('cross-entropy-input')}": (
            lambda z, fed: cross_entropy(probabilities(z), fed)
        ),
        "softmax is applied three times": lambda z, fed: cross_entropy(probabilities(probabilities(z)), fed),
        f"the loss is averaged over the classes too{see('kl-divergence')}": (
            lambda z, fed: cross_entropy(z, fed) / z.shape[1]
        ),
        "the loss is measured in bits: a logarithm of base 2": lambda z, fed: cross_entropy(z, fed) / np.log(2),
        "the loss has a logarithm of base 10": lambda z, fed: cross_entropy(z, fed) / np.log(10),
        "the probability itself is taken for its logarithm": lambda z, fed: -at_label(probabilities(z), fed),
        "the logit itself is taken for the logarithm of the probability": lambda z, fed: -at_label(z, fed),
        "the loss is 1 − the probability of the label": lambda z, fed: 1 - at_label(probabilities(z), fed),
        "the loss has the wrong sign": lambda z, fed: -cross_entropy(z, fed),
        f"each image is held against every label of the batch: shapes are broadcast{see('loss-broadcast')}": (
            lambda z, fed: -logs(z) @ _counts(z, fed) / len(fed.labels)
        ),
        f"each image is held against every label of the batch, and they are added up{see('loss-broadcast')}": (
            lambda z, fed: -logs(z) @ _counts(z, fed)
        ),
        **{
            f"the loss takes the label of the image {where} in the batch": (
                lambda z, fed, by=by: -logs(z)[np.arange(fed.size), np.roll(fed.labels, by)]
            )
            for where, by in (("before", 1), ("after", -1))
        },
        "the loss is cross-entropy of the sigmoids, not the softmax": (
            lambda z, fed: np.log(1 / at_label(_sigmoid(z), fed))
        ),
        "the categorical hinge loss takes the probabilities": (
            lambda z, fed: _positive(1 + _best_other(probabilities(z), fed) - at_label(probabilities(z), fed))
        ),
        "the categorical hinge loss takes the logits": (
            lambda z, fed: _positive(1 + _best_other(z, fed) - at_label(z, fed))
        ),
        "the multi-class margin loss takes the logits": (
            lambda z, fed: (_positive(1 - at_label(z, fed)[:, None] + z).sum(axis=1) - 1) / z.shape[1]
        ),
        "the multi-class margin loss takes the probabilities": (
            lambda z, fed: (
                (_positive(1 - at_label(probabilities(z), fed)[:, None] + probabilities(z)).sum(axis=1) - 1)
                / z.shape[1]
            )
        ),
        "the loss is the negative cosine of probabilities and one-hot labels": (
            lambda z, fed: -at_label(probabilities(z), fed) / np.sqrt((probabilities(z) ** 2).sum(axis=1))
        ),
        "the loss is 1 − the cosine of probabilities and one-hot labels": (
            lambda z, fed: 1 - at_label(probabilities(z), fed) / np.sqrt((probabilities(z) ** 2).sum(axis=1))
        ),
        "the loss is Poisson's of the probabilities": (
            lambda z, fed: (probabilities(z) - fed.one_hot * np.log(probabilities(z) + 1e-7)).mean(axis=1)
        ),
        "the loss is Poisson's of the logits": lambda z, fed: (np.exp(z) - fed.one_hot * z).mean(axis=1),
        "the loss is the Jensen-Shannon divergence of probabilities and one-hot labels": _jensen_shannon,
        "the loss takes the squared cross-entropy": lambda z, fed: cross_entropy(z, fed) ** 2,
        "the loss takes the root of the cross-entropy": lambda z, fed: np.sqrt(cross_entropy(z, fed)),
        "ReLU is applied to the logits before the softmax of the loss": lambda z, fed: cross_entropy(_positive(z), fed),
        "tanh is applied to the logits before the softmax of the loss": lambda z, fed: cross_entropy(np.tanh(z), fed),
        "the sigmoid is applied to the logits before the softmax of the loss": (
            lambda z, fed: cross_entropy(_sigmoid(z), fed)
        ),
        "the softmax of the loss runs over the batch instead of the classes": (
            lambda z, fed: -at_label(logs(z.T).T, fed)
        ),
    }
    return losses


def _of_each_class() -> dict[str, Each]:
    """Losses of each class by itself, in all ways to add them up."""
    losses: dict[str, Each] = {}
    reductions = REDUCTIONS | {"half its sum over the classes": lambda values: values.sum(axis=1) / 2}
    kinds: dict[str, Each] = {
        "binary cross-entropy of the probabilities": lambda z, fed: _binary(probabilities(z), fed),
        "binary cross-entropy of the logits": lambda z, fed: softplus(z) - fed.one_hot * z,
        "the mean squared error of the probabilities": lambda z, fed: (probabilities(z) - fed.one_hot) ** 2,
        "the mean squared error of the logits": lambda z, fed: (z - fed.one_hot) ** 2,
        "the mean squared error of the sigmoids": lambda z, fed: (_sigmoid(z) - fed.one_hot) ** 2,
        "the mean absolute error of the probabilities": lambda z, fed: magnitude(probabilities(z) - fed.one_hot),
        "the mean absolute error of the logits": lambda z, fed: magnitude(z - fed.one_hot),
        "the Huber loss (smooth L1) of the logits": lambda z, fed: np.where(
            np.abs((z - fed.one_hot).real) < 1, (z - fed.one_hot) ** 2 / 2, magnitude(z - fed.one_hot) - 0.5
        ),
        "the Huber loss (smooth L1) of the probabilities": lambda z, fed: (probabilities(z) - fed.one_hot) ** 2 / 2,
        "the log-cosh of the probabilities' errors": lambda z, fed: np.log(np.cosh(probabilities(z) - fed.one_hot)),
        "the log-cosh of the logits' errors": lambda z, fed: np.log(np.cosh(z - fed.one_hot)),
        "the hinge loss of the probabilities": lambda z, fed: _positive(1 - (2 * fed.one_hot - 1) * probabilities(z)),
        "the hinge loss of the logits": lambda z, fed: _positive(1 - (2 * fed.one_hot - 1) * z),
        "the squared hinge loss of the probabilities": (
            lambda z, fed: _positive(1 - (2 * fed.one_hot - 1) * probabilities(z)) ** 2
        ),
        "the squared hinge loss of the logits": lambda z, fed: _positive(1 - (2 * fed.one_hot - 1) * z) ** 2,
        "the soft-margin loss of the logits": lambda z, fed: softplus(-(2 * fed.one_hot - 1) * z),
    }
    for kind, each in kinds.items():
        for words, reduced in reductions.items():
            losses[f"the loss is {kind}, {words}"] = lambda z, fed, each=each, reduced=reduced: reduced(each(z, fed))
    return losses


def _of_overlap() -> dict[str, Each]:
    """Dice losses."""
    losses: dict[str, Each] = {}
    for words, denominator in (
        ("", lambda p, fed, axis: (p + fed.one_hot).sum(axis=axis)),
        (", of squares", lambda p, fed, axis: (p**2 + fed.one_hot).sum(axis=axis)),
    ):
        for of, axis in (("the whole batch", None), ("each image", 1), ("each class", 0)):
            for smooth in (0.0, 1.0):
                added = f", with {smooth:g} added above and below" if smooth else ""
                losses[f"the loss is 1 − the Dice coefficient of {of}{words}{added}"] = partial(
                    _dice, denominator=denominator, axis=axis, smooth=smooth
                )
    return losses


def _of_usual_numbers() -> dict[str, Each]:
    """Losses with numbers that people choose."""
    losses: dict[str, Each] = {}
    for gamma in (1, 1.5, 2, 3):
        for alpha in (0.25, 0.5, 0.75):
            for words, reduced in REDUCTIONS.items():
                name = f"the loss is the focal loss of the sigmoids, of γ = {gamma:g} and α = {alpha:g}, {words}"
                losses[name] = lambda z, fed, gamma=gamma, alpha=alpha, reduced=reduced: reduced(
                    _sigmoid_focal(z, fed, gamma, alpha)
                )
    for gamma in (0.5, 1, 2, 3, 5):
        for alpha in (1, 0.25):
            name = f"the loss is focal, of γ = {gamma:g}" + (f" and α = {alpha:g}" if alpha != 1 else "")
            losses[name] = lambda z, fed, gamma=gamma, alpha=alpha: (
                alpha * (1 - at_label(probabilities(z), fed)) ** gamma * cross_entropy(z, fed)
            )
    for epsilon in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
        name = f"{epsilon:g} is added to the probabilities before the logarithm"
        losses[name] = lambda z, fed, epsilon=epsilon: -np.log(at_label(probabilities(z), fed) + epsilon)
    for limit in (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1):
        name = f"the probabilities are clipped to [{limit:g}, 1 - {limit:g}] before the logarithm"
        losses[name + (see("cross-entropy-clip") if limit == 1e-7 else "")] = _clipped(limit)
    for dtype in ("float16", "bfloat16"):
        losses[f"the loss takes the logits in {dtype}"] = lambda z, fed, dtype=dtype: cross_entropy(
            rounded(z.real, dtype) + (z - z.real), fed
        )
    return losses


def _sigmoid_focal(z: Numbers, fed: Fed, gamma: float, alpha: float) -> Numbers:
    """Of every class by itself, as torchvision/ops/focal_loss.py and Keras's BinaryFocalCrossentropy have it."""
    p, hot = _sigmoid(z), fed.one_hot == 1
    rest = np.where(hot, 1 - p, p) ** gamma
    return np.where(hot, alpha, 1 - alpha) * rest * (softplus(z) - fed.one_hot * z)


def _dice(
    z: Numbers, fed: Fed, denominator: Callable[[Numbers, Fed, int | None], Numbers], axis: int | None, smooth: float
) -> Numbers:
    p = probabilities(z)
    both = 2 * (p * fed.one_hot).sum(axis=axis) + smooth
    each = 1 - both / (denominator(p, fed, axis) + smooth)
    return each if axis == 1 else np.full(fed.size, np.mean(each))


def _clipped(limit: float) -> Each:
    def each(z: Numbers, fed: Fed) -> Numbers:
        real = np.dtype(fed.step.recipe.dtype).type
        low, high = limit, float(real(1 - limit))
        p = at_label(probabilities(z), fed)
        return -np.log(np.where(p.real < low, low, np.where(p.real > high, high, p)))

    return each


DETACHED = ": no gradient goes through it"
"""How causes end whose loss is that of another one."""


def _weights() -> dict[str, Callable[[Fed], Array]]:
    """Other ways to add up the images' cross-entropies."""

    def only(chosen: Callable[[Fed], Array]) -> Callable[[Fed], Array]:
        return lambda fed: chosen(fed) / chosen(fed).sum()

    weightings: dict[str, Callable[[Fed], Array]] = {
        f"the losses of the batch are summed instead of averaged{see('loss-sum-reduction')}": (
            lambda fed: np.ones(fed.size)
        ),
        "the loss is divided by the batch size twice": lambda fed: np.full(fed.size, fed.size**-2.0),
        "only the first image of the batch counts": only(lambda fed: np.eye(fed.size)[0]),
        "only the last image of the batch counts": only(lambda fed: np.eye(fed.size)[-1]),
        "the last image of the batch does not count": only(lambda fed: 1 - np.eye(fed.size)[-1]),
        "the first image of the batch does not count": only(lambda fed: 1 - np.eye(fed.size)[0]),
        "only every second image of the batch counts": only(lambda fed: (np.arange(fed.size) % 2 == 0).astype(float)),
    }
    weightings["every class of the batch counts as much: the mean of the classes' means"] = lambda fed: (
        1 / np.bincount(fed.labels)[fed.labels] / len(set(fed.labels.tolist()))
    )
    for gamma in (0.5, 1, 2, 3):
        weightings[f"the loss is focal, of γ = {gamma:g}, whose factor is detached{DETACHED}"] = (
            lambda fed, gamma=gamma: (1 - np.exp(-fed.cross_entropies)) ** gamma / fed.size
        )
    weightings[f"each image is weighted by the probability of its label{DETACHED}"] = lambda fed: (
        np.exp(-fed.cross_entropies) / fed.size
    )
    for parts in (2, 4, 8):
        for words, part in (("first", 0), ("last", parts - 1)):
            name = f"only the {words} of {parts} equal parts of the batch counts: the other microbatches are lost"
            weightings[name] = only(
                lambda fed, parts=parts, part=part: (np.arange(fed.size) * parts // fed.size == part).astype(float)
            )
            weightings[f"{name}, and it is divided by {parts}"] = lambda fed, parts=parts, part=part: (
                (np.arange(fed.size) * parts // fed.size == part) / fed.size
            )
        name = f"the loss is {parts} times too large, as where the means of {parts} microbatches are added up"
        weightings[name] = lambda fed, parts=parts: np.full(fed.size, parts / fed.size)
    return weightings


STATED: dict[str, Each] = _stated() | _of_each_class() | _of_overlap() | _of_usual_numbers()
WEIGHTS: dict[str, Callable[[Fed], Array]] = _weights()
