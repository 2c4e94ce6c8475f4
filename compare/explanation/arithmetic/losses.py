"""Losses by their formulas, to find out by value which one a program has."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import special

from compare.explanation.observed.observation import Array


@dataclass(frozen=True)
class Formula:
    """A loss by its parts; two formulas are compared part by part.

    Args:
        name: The loss.
        on: What it is given: `logits`, `probabilities`, `outputs`. Said only where it is not what the loss is for: the
            same value comes of logits and of the probabilities that they are turned into.
        smoothing: Label smoothing.
        weights: `none`, or which weights.
        reduction: How the values of the samples become one; empty for a loss that is one value of the whole batch.
        factor: What the whole is multiplied by.
    """

    name: str
    on: str = "outputs"
    smoothing: float = 0.0
    weights: str = "none"
    reduction: str = "mean over the samples"
    factor: float = 1.0

    def __str__(self) -> str:
        parts = [self.name if self.on in ("outputs", "logits") else f"{self.name} of {self.on}"]
        if self.smoothing:
            parts.append(f"label smoothing {self.smoothing:g}")
        if self.weights != "none":
            parts.append(self.weights)
        if self.reduction:
            parts.append(self.reduction)
        if self.factor != 1:
            parts.append(f"times {self.factor:g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Sample:
    """What a loss is computed from at one step.

    Args:
        outputs: Of the model, as they leave it.
        logits: Before the last activation, None where there is none.
        targets: (samples,), (samples, 1), or one-hot.
        sample_weights: (samples,) or None.
        class_weights: (classes,) or None.
        numbers: Settings that either program states of its losses: deltas, margins, exponents.
        masks: What may be left out of the mean, in words, and of each position whether it is kept.
    """

    outputs: Array
    logits: Array | None
    targets: Array
    sample_weights: Array | None = None
    class_weights: Array | None = None
    numbers: tuple[float, ...] = ()
    masks: tuple[tuple[str, Array], ...] = ()

    def settings(self, *usual: float) -> list[float]:
        """The usual values of a setting, and those that either program states."""
        return list(dict.fromkeys((*usual, *(number for number in self.numbers if 0 < number < _LARGEST_SETTING))))


_LARGEST_SETTING = 100.0


def candidates(sample: Sample) -> Iterator[tuple[Formula, float]]:
    """Formulas and their values, the most usual first."""
    for formula, values in _per_sample(sample):
        if not formula.reduction:
            yield formula, float(values.item())
            continue
        for weighted, weights in _weights(sample):
            for reduction, value in _reduced(values, weights):
                yield (
                    Formula(formula.name, formula.on, formula.smoothing, weighted, reduction),
                    float(value),
                )


def _weights(sample: Sample) -> Iterator[tuple[str, Array | None]]:
    yield "none", None
    for words, mask in sample.masks:
        yield words, np.asarray(mask, np.float64).reshape(-1)
    if sample.sample_weights is not None:
        yield "sample weights", sample.sample_weights.reshape(-1)
    if sample.class_weights is not None:
        numbers = _numbers(sample)
        if numbers is not None and numbers.max() < len(sample.class_weights):
            yield "class weights", sample.class_weights[numbers]


def _reduced(values: Array, weights: Array | None) -> Iterator[tuple[str, float]]:
    flat = values.reshape(len(values), -1)
    if weights is not None and len(weights) == len(flat):
        total = flat.mean(axis=1) * weights
        yield "mean over the samples", float(total.mean())
        yield "divided by the sum of the weights (weighted mean)", float(total.sum() / weights.sum())
        yield "sum over the samples", float(total.sum())
        return
    yield "mean over the samples", float(flat.mean())
    yield "sum over the samples (reduction sum)", float(flat.sum() if flat.shape[1] == 1 else flat.mean(axis=1).sum())
    if flat.shape[1] > 1:
        yield "sum over all elements (reduction sum)", float(flat.sum())
        yield "sum over a sample's elements, mean over the samples", float(flat.sum() / len(flat))


def _numbers(sample: Sample) -> Array | None:
    """The class of each sample, None where the targets are no classes."""
    y, z = sample.targets, sample.outputs
    if z.ndim < 2:
        return y.reshape(-1).astype(np.int64) if np.array_equal(y, np.round(y)) else None
    if y.shape == z.shape and z.shape[-1] > 1:
        return y.argmax(-1).reshape(-1) if np.isin(y, (0, 1)).all() else None
    if y.size * z.shape[-1] == z.size or z.shape[-1] == 1:
        return y.reshape(-1).astype(np.int64) if np.array_equal(y, np.round(y)) and y.min() >= 0 else None
    return None


def _per_sample(sample: Sample) -> Iterator[tuple[Formula, Array]]:
    yield from _categorical(sample)
    yield from _binary(sample)
    yield from _regression(sample)


def _inputs(sample: Sample, squash: Callable[[Array], Array], name: str) -> Iterator[tuple[str, Array]]:
    """What a loss that expects logits may be given, and how to call it."""
    z = sample.logits if sample.logits is not None else sample.outputs
    yield "logits", z
    yield f"{name}(logits), which applies {name} a second time", squash(z)
    if sample.logits is not None:
        yield "outputs of the last activation, taken for logits", sample.outputs


def _categorical(sample: Sample) -> Iterator[tuple[Formula, Array]]:
    z = sample.logits if sample.logits is not None else sample.outputs
    if z.ndim < 2 or z.shape[-1] < 2:
        return
    classes = z.shape[-1]
    numbers = _numbers(sample)
    if numbers is not None and numbers.size * classes == z.size and numbers.max() < classes:
        target = np.eye(classes)[numbers]
    elif sample.targets.shape == z.shape and np.allclose(sample.targets.sum(-1), 1):
        target = np.asarray(sample.targets, np.float64).reshape(-1, classes)
    else:
        return

    def softmax(a: Array) -> Array:
        return np.asarray(special.softmax(a, axis=-1))

    for on, values in _inputs(sample, softmax, "softmax"):
        logs = special.log_softmax(values.reshape(-1, classes), axis=-1)
        for smoothing in (0.0, 0.1, 0.05, 0.2, 0.01, 0.15, 0.3):
            smooth = target * (1 - smoothing) + smoothing / classes
            yield Formula("cross-entropy", on, smoothing), -(smooth * logs).sum(-1)
    clipped = np.clip(z.reshape(-1, classes), 1e-7, 1 - 1e-7)
    taken = "logits taken for probabilities (from_logits=False)"
    yield Formula("cross-entropy", taken), -(target * special.log_softmax(np.log(clipped), axis=-1)).sum(-1)
    shares = z.reshape(-1, classes) / z.reshape(-1, classes).sum(-1, keepdims=True)
    shares = np.clip(shares, 1e-7, 1 - 1e-7)
    yield Formula("cross-entropy", taken), -(target * np.log(shares)).sum(-1)
    chosen = softmax(z).reshape(-1, classes)
    yield Formula("negative log-likelihood without the logarithm", "probabilities"), -(target * chosen).sum(-1)
    yield Formula("negative log-likelihood without softmax", "logits"), -(target * z.reshape(-1, classes)).sum(-1)
    for gamma in sample.settings(*_EXPONENTS):
        focal = -(target * (1 - chosen) ** gamma * np.log(np.maximum(chosen, 1e-300))).sum(-1)
        yield Formula(f"focal loss (gamma {gamma:g})", "logits"), focal
        yield Formula(f"focal loss (gamma {gamma:g}, alpha 0.25)", "logits"), 0.25 * focal
    logs = special.log_softmax(z.reshape(-1, classes), axis=-1)
    kl = (special.xlogy(target, target) - target * logs).sum(-1)
    yield Formula("Kullback-Leibler divergence", "logits"), kl
    yield (
        Formula("binary cross-entropy over the classes", "logits"),
        (np.logaddexp(0, z.reshape(-1, classes)) - target * z.reshape(-1, classes)),
    )
    yield (
        Formula("mean squared error", "probabilities"),
        (chosen - target) ** 2,
    )


def _binary(sample: Sample) -> Iterator[tuple[Formula, Array]]:
    y = np.asarray(sample.targets, np.float64)
    z = sample.logits if sample.logits is not None else sample.outputs
    if y.size != z.size or y.min() < 0 or y.max() > 1:
        return
    y = y.reshape(len(z), -1)
    for on, given in _inputs(sample, special.expit, "sigmoid"):
        values = given.reshape(len(z), -1)
        for smoothing in (0.0, 0.1, 0.05, 0.2):
            smooth = y * (1 - smoothing) + smoothing / 2
            yield Formula("binary cross-entropy", on, smoothing), np.logaddexp(0, values) - smooth * values
        for factor in sample.numbers:
            if factor > 0 and factor != 1:
                weighted = factor * y * np.logaddexp(0, -values) + (1 - y) * np.logaddexp(0, values)
                yield Formula(f"binary cross-entropy, positives weighted by {factor:g} (pos_weight)", on), weighted
        p = special.expit(values)
        missed, entropy = y * (1 - p) + (1 - y) * p, np.logaddexp(0, values) - y * values
        for gamma in sample.settings(*_EXPONENTS):
            yield Formula(f"binary focal loss (gamma {gamma:g})", on), missed**gamma * entropy
            balanced = (0.25 * y + 0.75 * (1 - y)) * missed**gamma * entropy
            yield Formula(f"binary focal loss (gamma {gamma:g}, alpha 0.25)", on), balanced
        yield from _overlaps(y, p, on)
    if sample.outputs.min() >= 0 and sample.outputs.max() <= 1:
        p = np.clip(sample.outputs.reshape(len(z), -1), 1e-7, 1 - 1e-7)
        # the same as of the logits, but for outputs that have none
        yield Formula("binary cross-entropy", "probabilities"), -(y * np.log(p) + (1 - y) * np.log1p(-p))


_EXPONENTS = (2.0, 1.0, 0.5, 1.5, 3.0, 4.0, 5.0)


def _overlaps(y: Array, p: Array, on: str) -> Iterator[tuple[Formula, Array]]:
    """Dice and Jaccard losses of masks, of each sample or of the whole batch at once."""
    for where, axis in (("of each sample", 1), ("of the whole batch at once", None)):
        loss = partial(Formula, on=on) if axis else partial(Formula, on=on, reduction="")
        both, total = (y * p).sum(axis=axis).reshape(-1, 1), (y.sum(axis=axis) + p.sum(axis=axis)).reshape(-1, 1)
        squares = ((y * y).sum(axis=axis) + (p * p).sum(axis=axis)).reshape(-1, 1)
        for smooth in (1.0, 1e-6, 1e-7, 1e-5, 1e-8, 0.0, 1e-3, 0.1):
            with np.errstate(all="ignore"):
                yield loss(f"Dice loss {where} (smooth {smooth:g})"), 1 - (2 * both + smooth) / (total + smooth)
                yield loss(f"Dice loss {where} (smooth {smooth:g} below only)"), 1 - 2 * both / (total + smooth)
                squared = 1 - (2 * both + smooth) / (squares + smooth)
                yield loss(f"Dice loss {where} (of squares, smooth {smooth:g})"), squared
                jaccard = 1 - (both + smooth) / (total - both + smooth)
                yield loss(f"Jaccard (IoU) loss {where} (smooth {smooth:g})"), jaccard


_ERRORS: Mapping[str, Callable[[Array], Array]] = {
    "mean squared error": lambda d: d**2,
    "mean absolute error": np.abs,
    "log-cosh": lambda d: d + np.logaddexp(0, -2 * d) - np.log(2),
    "half the squared error": lambda d: 0.5 * d**2,
}


def _errors(sample: Sample) -> dict[str, Callable[[Array], Array]]:
    """The losses of a difference; those with a bend at each place that is usual or stated."""
    found = dict(_ERRORS)
    for at in sample.settings(1.0, 0.5, 2.0):
        found[f"Huber (delta {at:g})"] = partial(_bent, at)
        if at != 1:  # there they are the same
            found[f"smooth L1 (beta {at:g})"] = partial(_smooth, at)
    for share in (number for number in sample.numbers if 0 < number < 1):
        found[f"pinball (quantile {share:g})"] = partial(_pinball, share)
    return found


def _bent(at: float, d: Array) -> Array:
    return np.where(np.abs(d) <= at, 0.5 * d**2, at * np.abs(d) - 0.5 * at**2)


def _smooth(at: float, d: Array) -> Array:
    return _bent(at, d) / at


def _pinball(share: float, d: Array) -> Array:
    return np.maximum(-share * d, (1 - share) * d)


def _regression(sample: Sample) -> Iterator[tuple[Formula, Array]]:
    y = np.asarray(sample.targets, np.float64)
    for on, z in (("outputs", sample.outputs), ("values before the last activation", sample.logits)):
        if z is None or y.size != z.size:
            continue
        flat, target = z.reshape(len(z), -1), y.reshape(len(z), -1)
        errors = _errors(sample)
        for name, function in errors.items():
            yield Formula(name, on), function(flat - target)
        if flat.shape[1] == 1 and len(flat) <= 4096:
            spread = flat - target.reshape(1, -1)
            for name, function in errors.items():
                words = f"{name}, (n, 1) against (n,) broadcast to (n, n)"
                yield Formula(words, on), function(spread)
        root = np.sqrt(np.mean((flat - target) ** 2))
        yield Formula("root of the mean squared error", on, reduction=""), root
        norms = np.linalg.norm(flat, axis=1) * np.linalg.norm(target, axis=1)
        cosine = (flat * target).sum(1) / np.maximum(norms, 1e-300)
        yield Formula("cosine similarity, negative", on), -cosine
        yield Formula("cosine distance (1 - similarity)", on), 1 - cosine
        if flat.min() > 0:
            yield Formula("Poisson", on), flat - target * np.log(flat)
        yield Formula("Poisson of logarithms", on), np.exp(np.minimum(flat, 50)) - target * flat
        signs = np.where(target > 0, 1.0, -1.0)
        yield Formula("hinge", on), np.maximum(0, 1 - signs * flat)
        if np.isin(target, (0, 1)).all():
            yield from _contrastive(sample, flat, target, on)
        with np.errstate(all="ignore"):
            yield (
                Formula("mean absolute percentage error", on),
                100 * np.abs((target - flat) / np.maximum(np.abs(target), 1e-7)),
            )
            if flat.min() > -1 and target.min() > -1:
                yield Formula("mean squared logarithmic error", on), (np.log1p(flat) - np.log1p(target)) ** 2


def _contrastive(sample: Sample, distance: Array, alike: Array, on: str) -> Iterator[tuple[Formula, Array]]:
    """Of distances of pairs: squared where both are alike, of what is short of a margin where they are not."""
    for margin in sample.settings(1.0, 2.0, 0.5, 0.2, 1.25, 1.5):
        near, far = distance**2, np.maximum(margin - distance, 0) ** 2
        yield Formula(f"contrastive loss (margin {margin:g})", on), alike * near + (1 - alike) * far
        yield Formula(f"contrastive loss (margin {margin:g}, 0 for pairs alike)", on), (1 - alike) * near + alike * far


NEARLY = 1e-5
"""What a constant such as the ε of a distance may add to what a loss is given; of several steps no chance does it."""


def find(samples: list[Sample], values: list[float], near: float = 1e-7) -> Formula | None:
    """The formula that gives these values at all steps, None if none of those that are known does.

    Args:
        samples: What the loss is computed from at each step.
        values: The loss at each step.
        near: How far a value may be off, relative to itself.
    """
    if not samples or not values:
        return None
    for formulas in zip(*(candidates(sample) for sample in samples), strict=False):
        names = {formula for formula, _ in formulas}
        fits = all(_near(value, seen, near) for (_, value), seen in zip(formulas, values, strict=False))
        if len(names) == 1 and fits:
            return formulas[0][0]
    factors = (0.5, 2.0, 10.0, 0.1, 100.0, 0.01, -1.0)
    for formulas, factor in itertools.product(zip(*(candidates(sample) for sample in samples), strict=False), factors):
        if len({f for f, _ in formulas}) == 1 and all(
            _near(factor * value, seen, near) for (_, value), seen in zip(formulas, values, strict=False)
        ):
            first = formulas[0][0]
            return Formula(first.name, first.on, first.smoothing, first.weights, first.reduction, factor)
    return None


def _near(value: float, seen: float, near: float) -> bool:
    return abs(value - seen) <= near * max(abs(seen), 1e-12)
