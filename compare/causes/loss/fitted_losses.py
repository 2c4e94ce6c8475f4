"""Losses with numbers that are fitted or solved for, by the losses or the gradients; and `catalogue`, which has all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compare.causes.loss.losses import (
    REDUCTIONS,
    STATED,
    WEIGHTS,
    Each,
    Fed,
    Loss,
    Numbers,
    at_label,
    cross_entropy,
    flat,
    logs,
    mean_weights,
    probabilities,
    slopes,
    slopes_of_class,
    softplus,
)
from compare.causes.loss.penalties import Norm, Term, penalty, terms, terms_of_distance
from compare.causes.signatures import ratio, see, times
from compare.oracle import network as oracle
from compare.oracle.network import Array, ArraysByName

_AS_SMOOTHED = "the loss is the KL divergence from labels smoothed by"
"""Whose gradients are those of the cross-entropy with such labels."""


def _entropy_of_smoothed(z: Numbers, share: float) -> float:
    classes = z.shape[1]
    label, other = 1 - share + share / classes, share / classes
    return float(-label * np.log(label) - (classes - 1) * other * np.log(other))


def _smoothed_focal(z: Numbers, fed: Fed, gamma: float, alpha: float, share: float) -> Numbers:
    """Of every class, as Keras's CategoricalFocalCrossentropy has it with label smoothing."""
    targets = (1 - share) * fed.one_hot + share / z.shape[1]
    found: Numbers = alpha * (targets * (1 - probabilities(z)) ** gamma * -logs(z)).sum(axis=1)
    return found


def _with_numbers() -> dict[str, tuple[Callable[[float], Each], Array]]:
    """By name, losses of one number that is not a factor, and where to look for it."""
    return {
        "the loss is focal, of γ = {}": (
            lambda gamma: lambda z, fed: (1 - at_label(probabilities(z), fed)) ** gamma * cross_entropy(z, fed),
            np.linspace(0.05, 6, 40),
        ),
        f"{_AS_SMOOTHED} {{}}": (
            lambda share: (
                lambda z, fed: (
                    cross_entropy(z, fed) * (1 - share) - share * logs(z).mean(axis=1) - _entropy_of_smoothed(z, share)
                )
            ),
            np.linspace(0.01, 0.9, 40),
        ),
        **{
            f"the loss is binary cross-entropy of the logits with labels smoothed by {{}}, {words}": (
                lambda share, reduced=reduced: (
                    lambda z, fed: reduced(softplus(z) - ((1 - share) * fed.one_hot + share / 2) * z)
                ),
                np.linspace(0.005, 0.9, 30),
            )
            for words, reduced in REDUCTIONS.items()
        },
        **{
            f"the loss is binary cross-entropy of the logits with a pos_weight of {{}}, {words}": (
                lambda weight, reduced=reduced: (
                    lambda z, fed: reduced(weight * fed.one_hot * softplus(-z) + (1 - fed.one_hot) * softplus(z))
                ),
                np.geomspace(0.01, 1000, 30),
            )
            for words, reduced in REDUCTIONS.items()
        },
        "the logits are divided by a temperature of {} in the loss": (
            lambda t: lambda z, fed: cross_entropy(z / t, fed),
            np.geomspace(0.02, 50, 60),
        ),
        "the logits are divided by a temperature of {} in the loss, which is multiplied by its square": (
            lambda t: lambda z, fed: t**2 * cross_entropy(z / t, fed),
            np.geomspace(0.02, 50, 60),
        ),
        "the loss is the generalised cross-entropy (1 − p^q) / q of q = {}": (
            lambda q: lambda z, fed: (1 - at_label(probabilities(z), fed) ** q) / q,
            np.linspace(0.05, 3, 40),
        ),
        "{} is added to the probabilities before the logarithm": (
            lambda epsilon: lambda z, fed: -np.log(at_label(probabilities(z), fed) + epsilon),
            np.geomspace(1e-9, 0.5, 60),
        ),
        "the loss of each image is cut off at {}": (
            lambda limit: lambda z, fed: np.where(cross_entropy(z, fed).real < limit, cross_entropy(z, fed), limit),
            np.geomspace(0.01, 50, 60),
        ),
        **{
            f"the loss is focal, of {words}, with labels smoothed by {{}}": (
                lambda share, gamma=gamma, alpha=alpha: partial(_smoothed_focal, gamma=gamma, alpha=alpha, share=share),
                np.linspace(0.01, 0.6, 12),
            )
            for words, gamma, alpha in (("γ = 2", 2, 1), ("γ = 2 and α = 0.25", 2, 0.25), ("γ = 1", 1, 1))
        },
        "a margin of {} is subtracted from the label's logit": (
            lambda margin: lambda z, fed: cross_entropy(z - margin * fed.one_hot, fed),
            np.linspace(-3, 3, 41),
        ),
        "the logits are clipped to ±{} in the loss": (
            lambda limit: (
                lambda z, fed: cross_entropy(np.where(np.abs(z.real) < limit, z, np.clip(z.real, -limit, limit)), fed)
            ),
            np.geomspace(0.01, 20, 60),
        ),
        "the logits are capped smoothly at ±{} in the loss: c·tanh(z / c)": (
            lambda limit: lambda z, fed: cross_entropy(limit * np.tanh(z / limit), fed),
            np.geomspace(0.1, 100, 60),
        ),
    }


def catalogue(steps: Sequence[Fed], index: int, by: Literal["loss", "gradients"]) -> Iterator[Loss]:
    """All losses; a number of one is fitted to the losses of all steps, or to the gradients of step `index`."""
    yield from (Loss(cause, each) for cause, each in STATED.items())
    yield from (Loss(cause, cross_entropy, weights) for cause, weights in WEIGHTS.items())
    yield from class_weights(steps)
    yield from place_weights(steps)
    yield from other_labels(steps, index)
    yield from _hardest(steps, index, by)
    yield from _penalties_of_some(steps)
    yield from _added_to_logits(steps, index)
    yield from _two_at_once(steps, index)
    for term in (*terms(steps[index].step), *terms_of_distance(steps)):
        number = _coefficient(term, steps, index, by)
        for one in dict.fromkeys((float(f"{number:.3g}"), number)) if np.isfinite(number) and number else ():
            yield term.times(one)
    factor = 1 + _coefficient(Term("", cross_entropy), steps, index, by)
    yield Loss(
        f"the {'loss' if by == 'loss' else 'gradient'} is {times(factor)}",
        cross_entropy,
        lambda fed: factor * mean_weights(fed),
        fitted=True,
    )
    for words, (of, grid) in _with_numbers().items():
        if by == "gradients" and words.startswith(_AS_SMOOTHED):
            continue
        for number in _solutions(of, grid, steps, index, by):
            yield Loss(words.format(f"{number:.4g}"), of(number), fitted=True)


def _coefficient(term: Term, steps: Sequence[Fed], index: int, by: Literal["loss", "gradients"]) -> float:
    """The number that brings a term closest to what is found beside the cross-entropy."""
    one, zero = term.times(1.0), Loss("", cross_entropy)
    if by == "loss":
        values = np.array([one.value(fed) - zero.value(fed) for fed in steps])
        return ratio(np.array([fed.recorded - fed.cross_entropies.mean() for fed in steps]), values)
    fed = steps[index]
    recorded, plain, direction = _along(term, fed)
    return ratio(recorded - plain, direction)


def _along(term: Term, fed: Fed) -> tuple[Array, Array, Array]:
    """The recorded gradients, those of the mean cross-entropy, and what one unit of a term adds to these, each flat.

    Of a term of the logits the output layer's alone: they tell it, and take no backward pass.
    """
    if term.added_gradients is not None:
        added = term.added_gradients(fed)
        way = flat({name: added.get(name, np.zeros(array.shape)) for name, array in fed.gradients.items()})
        return (*fed.flat_gradients, way)
    layer = fed.step.layers[-1]
    names = [f"{layer}.kernel", f"{layer}.bias"]
    inputs = fed.step.inputs[layer].reshape(fed.size, -1)
    delta = (slopes(term.times(1.0).each, fed) - fed.delta) / fed.size
    return (
        flat({name: fed.recorded_gradients[name] for name in names}),
        flat({name: fed.gradients[name] for name in names}),
        np.concatenate([(inputs.T @ delta).ravel(), delta.sum(axis=0)]),
    )


def _solutions(
    of: Callable[[float], Each], grid: Array, steps: Sequence[Fed], index: int, by: Literal["loss", "gradients"]
) -> Iterator[float]:
    """The numbers for which the loss of step `index` is the recorded one, or the output's largest bias gradient."""
    from scipy.optimize import brentq

    fed = steps[index]
    if by == "loss":

        def off(number: float) -> float:
            return float(of(number)(fed.logits, fed).mean()) - fed.recorded
    else:
        recorded = fed.recorded_gradients[f"{fed.step.layers[-1]}.bias"]
        unit = int(np.abs(recorded - fed.gradients[f"{fed.step.layers[-1]}.bias"]).argmax())

        def off(number: float) -> float:
            return float(slopes_of_class(of(number), fed, unit).mean() - recorded[unit])

    values = np.array([off(float(number)) for number in grid])
    for left in np.flatnonzero(np.diff(np.sign(values)) != 0)[:4]:
        if np.isfinite(values[left : left + 2]).all():
            number = float(brentq(off, grid[left], grid[left + 1], xtol=1e-15, rtol=1e-14))
            yield from dict.fromkeys((float(f"{number:.3g}"), number))


# --- weights of classes, other labels: solved for --------------------------------------------------


def _output_parts(fed: Fed) -> tuple[Array, Array]:
    """What each image adds to the output layer's gradients, (batch, numbers), and the recorded ones."""
    layer = fed.step.layers[-1]
    inputs = np.hstack([fed.step.inputs[layer].reshape(fed.size, -1), np.ones((fed.size, 1))])
    parts = (inputs[:, :, None] * fed.delta[:, None, :]).reshape(fed.size, -1)
    gradients = fed.recorded_gradients
    return parts, np.vstack([gradients[f"{layer}.kernel"], gradients[f"{layer}.bias"]]).ravel()


def class_weights(steps: Sequence[Fed]) -> Iterator[Loss]:
    """Weights of the classes that the output's gradients speak of, in both ways to average."""
    classes = steps[0].logits.shape[1]
    seen = np.unique(np.concatenate([fed.labels for fed in steps]))
    if len(seen) < 2 or classes > _MOST_CLASSES:
        return
    divided, plain, wanted = [], [], []
    for fed in steps:
        parts, recorded = _output_parts(fed)
        if not np.isfinite(recorded).all() or not np.isfinite(parts).all():
            return
        of_class = np.array([parts[fed.labels == label].sum(axis=0) for label in seen]).T
        counts = np.array([(fed.labels == label).sum() for label in seen])
        plain.append(of_class / fed.size)
        wanted.append(recorded)
        divided.append(of_class - recorded[:, None] * counts)
    kinds = {
        f"which divides by the weights of the batch's labels, as torch does{see('class-weights-mean')}": (
            np.linalg.svd(np.vstack(divided), full_matrices=False)[2][-1],
            True,
        ),
        f"which divides by the number of images, as Keras does{see('class-weights-mean')}": (
            np.linalg.lstsq(np.vstack(plain), np.concatenate(wanted), rcond=None)[0],
            False,
        ),
    }
    for words, (solved, normalised) in kinds.items():
        # Only their ratios show; the least of them may be the round one, or the usual.
        usual = _roundest(solved) if normalised else 1.0
        relative = solved / usual
        relative = np.where(np.abs(relative) < 1e-5 * np.abs(relative).max(), 0, relative)
        rounded_weights = np.array([float(f"{number:.3g}") for number in relative])
        if not np.abs(rounded_weights - relative).max() < 1e-3 * np.abs(relative).max() or (relative < -1e-3).any():
            continue
        if np.ptp(rounded_weights) < 1e-3:
            continue
        for weights in (rounded_weights, relative):
            by_label = np.ones(classes)
            by_label[seen] = weights
            yield Loss(
                f"classes have weights in the mean, {words}: {_weighing(seen, weights)}",
                cross_entropy,
                lambda fed, by_label=by_label, normalised=normalised: (
                    by_label[fed.labels] / (by_label[fed.labels].sum() if normalised else fed.size)
                ),
                fitted=True,
            )


def _roundest(weights: Array) -> float:
    """Which of several numbers has to be 1 for all to be as round as may be."""
    choices = [float(np.median(weights)), *sorted(map(float, weights), key=abs)]

    def off(usual: float) -> float:
        relative = weights / usual
        return float(np.abs(relative - np.round(relative, 2)).max())

    choices = [one for one in choices if one]
    # The median unless another is rounder by far.
    best = min(choices, key=off, default=1.0)
    return choices[0] if choices and off(choices[0]) < 2 * off(best) + 1e-3 else best


def place_weights(steps: Sequence[Fed]) -> Iterator[Loss]:
    """Weights of the images by their place in the batch, where the output's gradients tell them in every step."""
    found = []
    for fed in steps:
        parts, recorded = _output_parts(fed)
        finite = np.isfinite(recorded).all() and np.isfinite(parts).all()
        if len(parts) > parts.shape[1] or fed.size != steps[0].size or not finite:
            return
        solved, _, rank, _ = np.linalg.lstsq(parts.T, recorded, rcond=None)
        if rank < fed.size:
            return
        found.append(solved)
    weights = np.median(found, axis=0)
    if np.abs(np.array(found) - weights).max() > 1e-3 * np.abs(weights).max() or np.ptp(weights) < 1e-3 * weights.max():
        return
    weights = np.where(np.abs(weights) < 1e-5 * np.abs(weights).max(), 0, weights)
    first, last = (float(f"{weight * len(weights):.3g}") for weight in (weights[0], weights[-1]))
    line = np.linspace(first, last, len(weights)) / len(weights)
    if np.abs(line - weights).max() < 1e-3 * np.abs(weights).max():
        said = f"images are weighted by their place in the batch, in a straight line from {first:g} to {last:g}"
        yield Loss(said, cross_entropy, lambda fed: line, fitted=True)
    listed = [f"{weight * len(weights):.3g}" for weight in weights]
    runs = [(number, len(list(group))) for number, group in groupby(listed)]
    said = ", ".join(f"{count} of {number}" if count > 1 else number for number, count in runs[:8])
    said = f"images are weighted by their place in the batch: {said}{', …' if runs[8:] else ''}"
    yield Loss(said, cross_entropy, lambda fed: weights, fitted=True)


def _hardest(steps: Sequence[Fed], index: int, by: Literal["loss", "gradients"]) -> Iterator[Loss]:
    """So many images of a batch with the largest or the smallest losses count alone; how many is told by one step."""
    fed = steps[index]
    recorded = np.array([fed.recorded]) if by == "loss" else fed.recorded_gradients[f"{fed.step.layers[-1]}.bias"]
    each = fed.cross_entropies[:, None] if by == "loss" else fed.delta
    if not np.isfinite(recorded).all() or not np.isfinite(each).all():
        return
    counts = np.arange(1, fed.size)[:, None]
    for sign, words in ((-1, "largest"), (1, "smallest")):
        sums = each[np.argsort(sign * fed.cross_entropies, kind="stable")].cumsum(axis=0)[:-1]
        for divisor, said in ((counts, ""), (np.full(counts.shape, fed.size), ", divided by the size of the batch")):
            if not len(sums):
                continue
            share = float(np.abs(sums / divisor - recorded).max(axis=1).argmin() + 1) / fed.size

            def weights(of: Fed, share: float = share, sign: int = sign, *, whole: bool = bool(said)) -> Array:
                count = max(1, round(share * of.size))
                chosen = np.argsort(sign * of.cross_entropies, kind="stable")[:count]
                return np.isin(np.arange(of.size), chosen) / (of.size if whole else count)

            count = round(share * fed.size)
            of = f"only the {count} of {fed.size} images" if count > 1 else "only the image"
            name = f"{of} of a batch with the {words} loss{'es count' if count > 1 else ' counts'}{said}"
            # Of so many counts one may come near to a single number by chance.
            yield Loss(name, cross_entropy, weights, fitted=2)


def _two_at_once(steps: Sequence[Fed], index: int) -> Iterator[Loss]:
    """A term that is added and a factor of the whole, or two penalties; both numbers are fitted to the gradients."""
    fed = steps[index]
    if not all(np.isfinite(array).all() for array in fed.recorded_gradients.values()):
        return
    along = [(term, *_along(term, fed)) for term in terms(fed.step)]
    for term, recorded, plain, direction in along:
        # A term that stands instead of a share of the cross-entropy is added to it here.
        way = direction + plain * term.instead if term.instead else direction
        (a, b) = _two_coefficients(recorded, plain, way)
        total = a + b if term.instead else a
        number = float(f"{b / total:.3g}") if total else 0.0
        factor = float(f"{total:.6g}")
        if number and abs(factor - 1) > 1e-4 and 0 < abs(number) < 100:
            one = term.times(number)
            yield replace(
                one,
                cause=f"the loss is {times(factor)}; in it, {one.cause}",
                weights=lambda fed, factor=factor: factor * mean_weights(fed),
                added=lambda fed, one=one, factor=factor: factor * one.added(fed),
                added_gradients=_scaled(one.added_gradients, factor),
                fitted=2,
            )
    yield from _two_penalties([(term, way) for term, _, _, way in along if term.added_gradients and way.any()], fed)


def _two_coefficients(wanted: Array, one: Array, other: Array) -> tuple[float, float]:
    """Of `a·one + b·other`, which comes closest to `wanted`; zeros where the two are multiples of each other."""
    squares, product = (float(one @ one), float(other @ other)), float(one @ other)
    return _solved_pair(squares, product, (float(one @ wanted), float(other @ wanted)))


def _solved_pair(squares: tuple[float, float], product: float, wanted: tuple[float, float]) -> tuple[float, float]:
    determinant = squares[0] * squares[1] - product**2
    if not determinant > 1e-10 * squares[0] * squares[1]:
        return 0.0, 0.0
    a = (squares[1] * wanted[0] - product * wanted[1]) / determinant
    return a, (squares[0] * wanted[1] - product * wanted[0]) / determinant


def _two_penalties(penalties: Sequence[tuple[Term, Array]], fed: Fed) -> Iterator[Loss]:
    """Every two penalties that together are what the gradients have beside those of the cross-entropy."""
    recorded, plain = fed.flat_gradients
    more = recorded - plain
    if not penalties or not more.any():
        return
    ways = np.stack([way for _, way in penalties])
    products, wanted = ways @ ways.T, ways @ more
    square, largest = float(more @ more), float(np.abs(more).max())
    reaches = np.abs(ways).max(axis=1)
    for one, other in combinations(range(len(penalties)), 2):
        a, b = _solved_pair(
            (products[one, one], products[other, other]), products[one, other], (wanted[one], wanted[other])
        )
        # The squares of what is left add up to this; only where it is little are the numbers worth a look.
        left = square - a * wanted[one] - b * wanted[other]
        if not left <= more.size * (_OF_WHAT_IS_LEFT * largest) ** 2 + 1e-9 * square:
            continue
        # One that adds nothing to the other is none.
        if min(abs(a) * reaches[one], abs(b) * reaches[other]) <= _OF_WHAT_IS_LEFT * largest:
            continue
        if np.abs(a * ways[one] + b * ways[other] - more).max() > _OF_WHAT_IS_LEFT * largest:
            continue
        both = [
            penalties[at][0].times(float(f"{number:.3g}"))
            for at, number in ((one, a), (other, b))
            if float(f"{number:.3g}")
        ]
        if len(both) == 2:
            yield _sum(*both)


_OF_WHAT_IS_LEFT = 1e-3
"""What two penalties leave of a gradient where they are right, in float32 too."""


def _penalties_of_some(steps: Sequence[Fed]) -> Iterator[Loss]:
    """A penalty on the parameters whose gradients speak of one, with a number for each of them."""
    fed = steps[-1]
    if not all(np.isfinite(array).all() for array in fed.recorded_gradients.values()):
        return
    slopes_of_norms: dict[Norm, tuple[Callable[[Array], Array], str]] = {
        "squares": (lambda w: 2 * w, "L2"),
        "magnitudes": (np.sign, "L1"),
    }
    for kind, (of, words) in slopes_of_norms.items():
        numbers: dict[str, float] = {}
        for name, plain in fed.gradients.items():
            more, way = fed.recorded_gradients[name] - plain, of(fed.step.weights[name])
            number = ratio(more, way)
            if np.isfinite(number) and np.abs(more - number * way).max() < _OF_WHAT_IS_ADDED * np.abs(more).max():
                numbers[name] = float(f"{number:.3g}")
        if not numbers or len(numbers) == len(fed.gradients):
            continue
        parts = [penalty("", lambda name, own=own: name == own, kind).times(number) for own, number in numbers.items()]
        squared = "squared " * (kind == "squares")
        if len(set(numbers.values())) == 1:
            said = f"{next(iter(numbers.values())):g} times the {squared}numbers of {', '.join(numbers)}"
        else:
            said = ", ".join(f"{number:g} times the {squared}numbers of {name}" for name, number in numbers.items())
        yield replace(_sum(*parts), cause=f"an {words} penalty is added: {said}", fitted=1 + len(set(numbers.values())))


_OF_WHAT_IS_ADDED = 1e-2
"""A gradient that is a penalty's is so to rounding; of small ones float32 leaves some digits."""


def _added_to_logits(steps: Sequence[Fed], index: int) -> Iterator[Loss]:
    """A number of its own for each class that is added to its logit in the loss, as the output's bias has it.

    Its gradient is that of a convex function of these numbers, whose minimum Newton's method finds.
    """
    fed = steps[index]
    recorded = fed.recorded_gradients[f"{fed.step.layers[-1]}.bias"]
    classes = len(recorded)
    if not np.isfinite(recorded).all() or not np.isfinite(fed.logits).all() or classes > _MOST_CLASSES:
        return
    numbers: Array = np.zeros(classes)
    for _ in range(50):
        p = oracle.softmax(fed.logits + numbers)
        slope = (p - fed.one_hot).mean(axis=0) - recorded
        if np.abs(slope).max() < 1e-15:
            break
        curvature = np.diag(p.mean(axis=0)) - p.T @ p / fed.size
        numbers -= np.asarray(np.clip(np.linalg.pinv(curvature, rcond=1e-9) @ slope, -2, 2), np.float64)
    numbers -= numbers.mean()
    if not np.isfinite(numbers).all() or not np.abs(numbers).max() < _LARGEST_ADDED:
        return
    listed = ", ".join(f"{number:.3g}" for number in numbers)
    yield Loss(
        f"a number for each class is added to its logit in the loss: {listed} about their mean, as logits are adjusted",
        lambda z, fed: cross_entropy(z + numbers, fed),
        fitted=classes,
    )


_LARGEST_ADDED = 50.0
_MOST_CLASSES = 100


def _scaled(gradients: Callable[[Fed], ArraysByName] | None, factor: float) -> Callable[[Fed], ArraysByName] | None:
    return (lambda fed: {name: factor * array for name, array in gradients(fed).items()}) if gradients else None


def _sum(*losses: Loss) -> Loss:
    """All that these add to the cross-entropy."""

    def gradients(fed: Fed) -> ArraysByName:
        found: ArraysByName = {}
        for one in losses:
            for name, array in (one.added_gradients(fed) if one.added_gradients else {}).items():
                found[name] = found.get(name, 0) + array
        return found

    return Loss(
        ", and ".join(one.cause for one in losses),
        cross_entropy,
        added=lambda fed: sum(one.added(fed) for one in losses),
        added_gradients=gradients,
        fitted=len(losses),
    )


def _weighing(labels: Array, weights: Array) -> str:
    usual = float(np.median(weights))
    others = [
        (label, weight) for label, weight in zip(labels, weights, strict=True) if abs(weight - usual) > 1e-3 * usual
    ]
    said = ", ".join(f"class {label} {weight:.3g}" for label, weight in others[:10])
    return f"{said}, the others {usual:.3g}" if len(others) < len(labels) else said


def other_labels(steps: Sequence[Fed], index: int) -> Iterator[Loss]:
    """Labels other than the batch's, solved for: the targets that the output layer's gradients speak of."""
    solved = {fed.index: _targets(fed) for fed in steps}
    targets = {fed.index: _wrong_one_by_one(fed) if (t := solved[fed.index]) is None else t for fed in steps}
    if not any(found is None for found in solved.values()):
        yield from _soft_labels(targets, steps[0].step.recipe.dtype)
    labels = {number: found.argmax(axis=1) for number, found in targets.items()}
    # An image's target is known the less the fewer images there are to tell it from.
    if all(np.abs(found - np.eye(found.shape[1])[labels[n]]).max() < 0.05 for n, found in targets.items()):
        own = steps[index]
        wrong = int((labels[index] != own.labels).sum())
        if wrong:
            yield Loss(
                f"the loss takes other labels than the batch's{_how(steps, labels, wrong, own)}",
                lambda z, fed: -logs(z)[np.arange(fed.size), np.resize(labels[fed.index], fed.size)],
            )


def _soft_labels(targets: dict[int, Array], recipe_dtype: str) -> Iterator[Loss]:
    """Targets that are shares of classes, if what was solved for is such."""
    together = np.concatenate(list(targets.values()))
    tolerance = 1e-2 if recipe_dtype == "float32" else 1e-6
    if np.abs(together.sum(axis=1) - 1).max() > tolerance or together.min() < -tolerance:
        return
    several = (together > tolerance).sum(axis=1)
    shares = 1 - together.max(axis=1)[several > 1]
    if not shares.size:
        return
    told = f": up to {shares.max():.3g} of another class, as mixup has it" if several.max() == 2 else ""
    for digits in (2, 3, None):
        chosen = targets if digits is None else {number: found.round(digits) for number, found in targets.items()}
        yield Loss(
            f"the loss takes soft labels, shares of classes{told}",
            lambda z, fed, chosen=chosen: -(np.resize(chosen[fed.index], z.shape) * logs(z)).sum(axis=1),
            fitted=3,
        )


def _how(steps: Sequence[Fed], labels: dict[int, NDArray[np.int64]], wrong: int, own: Fed) -> str:
    classes = own.logits.shape[1]
    pairs = {(int(a), int(b)) for fed in steps for a, b in zip(fed.labels, labels[fed.index], strict=True)}
    if len({(b - a) % classes for a, b in pairs}) == 1:
        return f": they are off by {(next(iter(pairs))[1] - next(iter(pairs))[0]) % classes}"
    if len(pairs) == len({a for a, _ in pairs}):
        changed = ", ".join(f"{a} counts as {b}" for a, b in sorted(pairs) if a != b)
        return f": {changed}"
    for shift in (1, -1):
        if all((np.roll(fed.labels, shift) == labels[fed.index]).all() for fed in steps):
            return ": each image has its neighbour's"
    if all((fed.labels[::-1] == labels[fed.index]).all() for fed in steps):
        return ": they are in reverse order"
    return f" for {wrong} of {own.size} images in step {own.index + 1}"


def _targets(fed: Fed) -> Array | None:
    """The targets t of ∂loss/∂logits = (p − t) / batch, where the output's gradients have one solution."""
    layer = fed.step.layers[-1]
    inputs = np.hstack([fed.step.inputs[layer].reshape(fed.size, -1), np.ones((fed.size, 1))])
    gradients = fed.recorded_gradients
    recorded = np.vstack([gradients[f"{layer}.kernel"], gradients[f"{layer}.bias"]])
    if not np.isfinite(recorded).all() or not np.isfinite(inputs).all():
        return None
    singular = np.linalg.svd(inputs, compute_uv=False)
    eps = np.finfo(fed.step.recipe.dtype).eps
    if len(singular) < fed.size or singular[-1] < 1e3 * eps * singular[0]:
        return None
    delta, *_ = np.linalg.lstsq(inputs.T, recorded, rcond=None)
    found: Array = oracle.softmax(fed.logits) - fed.size * delta
    return found


def _wrong_one_by_one(fed: Fed) -> Array:
    """The targets, where only a few labels are wrong: each time the one that explains most of what is left."""
    layer = fed.step.layers[-1]
    inputs = np.hstack([fed.step.inputs[layer].reshape(fed.size, -1), np.ones((fed.size, 1))]) / fed.size
    gradients, plain = fed.recorded_gradients, fed.gradients
    left = np.vstack([gradients[f"{layer}.{kind}"] - plain[f"{layer}.{kind}"] for kind in ("kernel", "bias")])
    targets, norms = fed.one_hot.copy(), (inputs**2).sum(axis=1)
    start = float((left**2).sum())
    for _ in range(fed.size // 4):
        # An image's label y that is c instead adds inputs ⊗ (e_y − e_c) to the gradient.
        along = inputs @ left
        gains = 2 * (along[np.arange(fed.size), fed.labels][:, None] - along) - 2 * norms[:, None]
        gains[targets != fed.one_hot] = -np.inf
        gains[targets.argmax(axis=1) != fed.labels] = -np.inf
        gains[np.arange(fed.size), fed.labels] = -np.inf
        image, label = np.unravel_index(int(gains.argmax()), gains.shape)
        if gains[image, label] <= 1e-9 * start:
            break
        left[:, fed.labels[image]] -= inputs[image]
        left[:, label] += inputs[image]
        targets[image] = np.eye(targets.shape[1])[label]
    return targets
