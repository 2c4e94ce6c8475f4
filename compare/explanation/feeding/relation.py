"""What both programs feed to their models: the samples themselves, and how one side's are made from the other's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.observed.observation import Array
from compare.explanation.observed.values import ROUNDED, deviation, layouts


@dataclass(frozen=True)
class Relation:
    """How an array of samples of the steered side is made from the guide's.

    Args:
        words: In words, empty where they are the same.
        aligned: The guide's samples in the steered side's layout, in the order of the guide.
        deviation: How far they are from each other as they are, relative to the guide's largest value.
        order: Of each of the steered side's samples its number among the guide's; None where it was not found.
        of_guide: Whether the words are about the guide's, made from the steered side's.
    """

    words: str
    aligned: Array | None
    deviation: float
    order: tuple[int | None, ...] | None = None
    of_guide: bool = False


def relate(guide: Sequence[Array], steered: Sequence[Array]) -> Relation:
    """Finds the steered side's samples among the guide's.

    Args:
        guide: The first batches, each (samples, ...).
        steered: The same of the other side.
    """
    a, b = _joined(guide), _joined(steered)
    if a is None or b is None:
        return Relation("", None, 0.0)
    count = min(len(a), len(b))
    found = _orientations(a, b.shape)
    if not found:
        return Relation(f"shape {_shape(b)} against {_shape(a)}", None, 1.0)
    if any(name == "channels first" for name, _ in found) and a.ndim >= 3 and a.shape[-1] > 1:
        found = [(_RESHAPED if name == "reshaped" else name, x) for name, x in found]
    distances = [(deviation(x[:count], b[:count]), name, x) for name, x in found]
    distance, name, x = min(distances, key=lambda entry: entry[0])
    if distance <= ROUNDED and name not in _SUSPECT:
        return Relation("", x, distance)
    if distance <= ROUNDED:
        return Relation(name, found[0][1], distances[0][0])
    plain = found[0][1]
    for name, x in found:
        order = list(range(count)) if affine(x[:count], b[:count]) is not None else _order(x, b)
        known = [(i, j) for j, i in enumerate(order) if i is not None]
        if len(known) < max(2, 0.6 * len(b)) and len(known) < count * 0.6:
            continue
        first, second = x[[i for i, _ in known]], b[[j for _, j in known]]
        inverse = _usual(second) and not _usual(first)
        words = affine(second, first) if inverse else affine(first, second)
        if words is None:
            continue
        said = [name] if name in _SUSPECT else []
        said += [words] if words else []
        return Relation(", ".join(said), plain, deviation(first, second), tuple(order), inverse)
    return _partly(plain, b, distances[0][0])


def _partly(plain: Array, b: Array, distance: float) -> Relation:
    """Samples of which only some are found again, or whose values are made otherwise than by a scale and a shift."""
    count = min(len(plain), len(b))
    x, y = np.asarray(plain[:count], np.float64), np.asarray(b[:count], np.float64)
    with np.errstate(all="ignore"):
        for words, made in functions(x):
            if deviation(made, y) <= 1e-5:
                return Relation(words, plain, distance, tuple(range(len(b))))
    equal = [deviation(x[i], y[i]) <= ROUNDED for i in range(count)]
    if any(equal):
        words = f"{1 - sum(equal) / count:.0%} of the samples are changed, as by random augmentation"
        flipped = [axis for axis in range(1, x.ndim) if _some_flipped(x, y, equal, axis)]
        if flipped:
            words += f" (flipped along axis {flipped[0]}, a mirror image)"
        return Relation(words, plain, distance, tuple(range(len(b))))
    return Relation("other samples", plain, distance, tuple([None] * len(b)))


def functions(x: Array) -> Iterator[tuple[str, Array]]:
    """What may have been done to one side only, and what that gives."""
    yield "the logarithm log(1 + x) is not taken", np.expm1(x)
    yield "the logarithm is not taken", np.exp(x)
    yield "the logarithm log(1 + x) is taken", np.log1p(x)
    yield "the logarithm is taken", np.log(x)
    yield "squared", x * x
    yield "the square root is taken", np.sqrt(x)
    yield "absolute values", np.abs(x)
    yield "rounded to whole numbers", np.round(x)


def _some_flipped(x: Array, y: Array, equal: list[bool], axis: int) -> bool:
    return any(not same and deviation(np.flip(x[i], axis - 1), y[i]) <= ROUNDED for i, same in enumerate(equal))


_RESHAPED = "reshaped where the axes should be permuted: the values of the channels are mixed"
_SUSPECT = frozenset({
    "height and width exchanged (transposed)", "the order of the channels reversed (RGB and BGR)", "reversed",
    _RESHAPED,
})  # fmt: skip


def _joined(batches: Sequence[Array]) -> Array | None:
    arrays = [array for array in batches if array.ndim]
    if not arrays or any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        return arrays[0] if arrays else None
    return np.concatenate(arrays)


def _shape(array: Array) -> str:
    return str(tuple(array.shape[1:]))


def _orientations(a: Array, shape: Sequence[int]) -> list[tuple[str, Array]]:
    """The guide's samples in the steered side's layout, first as they are meant, then as they may be by mistake."""
    meant = [(name, x) for name, x in layouts(a, (len(a), *shape[1:]))]
    if a.ndim >= 4 or (a.ndim == 3 and len(shape) == 4):
        meant.sort(key=lambda entry: entry[0] != "channels first")
    found = list(meant)
    images = a if a.ndim == 4 else a[..., None] if a.ndim == 3 else None
    if images is None and a.ndim == 2 and round(a.shape[1] ** 0.5) ** 2 == a.shape[1]:
        images = a.reshape(len(a), round(a.shape[1] ** 0.5), -1, 1)
    if a.ndim == len(shape) > 2 and sorted(a.shape[1:]) == sorted(shape[1:]) and "channels first" not in dict(meant):
        meant = [entry for entry in meant if entry[0] != "reshaped"]
        found = list(meant)
    for _, x in meant[:1]:
        channels = 1 if x.ndim == 4 and x.shape[1] == 3 else -1 if x.ndim >= 3 and x.shape[-1] == 3 else None
        if channels is not None:
            found.append(("the order of the channels reversed (RGB and BGR)", np.flip(x, channels)))
    if images is not None:
        turned = np.swapaxes(images, 1, 2)
        for _, x in layouts(turned, (len(a), *shape[1:])):
            found.append(("height and width exchanged (transposed)", x))
    if a.ndim == 2:
        found += [("reversed", x[:, ::-1]) for _, x in meant[:1] if x.ndim == 2]
    return found


def _order(x: Array, b: Array) -> list[int | None]:
    """Of each sample of `b` the number of the sample of `x` that it is, up to a scale and a shift."""
    first, second = _normal(x), _normal(b)
    products = np.abs(second @ first.T)
    best = products.argmax(axis=1)
    return [int(i) if products[j, i] > 1 - 1e-6 else None for j, i in enumerate(best)]


def _normal(x: Array) -> Array:
    """Samples of mean 0 and length 1; of images each channel, which may be scaled by itself."""
    channels = 3 if x.ndim == 4 and x.shape[3] <= 4 < x.shape[1] else 1
    whole = np.moveaxis(x, channels, 1) if x.ndim == 4 else x
    parts = x.shape[channels] if x.ndim == 4 else 1
    flat = np.asarray(whole, np.float64).reshape(len(x), parts, -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    length = np.sqrt((flat**2).sum(axis=2, keepdims=True))
    return (flat / np.where(length > 0, length, 1)).reshape(len(x), -1) / np.sqrt(parts)


def _usual(x: Array) -> bool:
    """Whether values are in 0..1, as most people scale images."""
    return float(x.min()) >= 0 and float(x.max()) <= 1


def affine(x: Array, y: Array) -> str | None:
    """In words, how `y` is made from `x`: of all values alike, by channel, or by feature; None if not so."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all() and y.any()):
        return None
    whole = _fit(x.reshape(1, -1), y.reshape(1, -1))
    if whole is not None:
        return _scale_words(float(whole[0][0]), float(whole[1][0]), x)
    if x.ndim == 4:
        for axis in (1, 3):
            fitted = _fit(
                np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1), np.moveaxis(y, axis, 0).reshape(x.shape[axis], -1)
            )
            if fitted is not None:
                means, deviations = -fitted[1] / fitted[0], 1 / fitted[0]
                return f"standardised by channel: mean {_list(means)}, deviation {_list(deviations)}"
    if x.ndim == 2 and len(x) > 3:
        fitted = _fit(x.T, y.T)
        if fitted is not None:
            return "scaled feature by feature (standardised by other means or deviations)"
    return None


def _fit(x: Array, y: Array) -> tuple[Array, Array] | None:
    """Of each row the factor and the shift that make `y` from `x`, if all rows are made so."""
    centred = x - x.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1)
    usable = variance > 0
    factor = np.ones(len(x))
    factor[usable] = (centred * y).mean(axis=1)[usable] / variance[usable]
    shift = y.mean(axis=1) - factor * x.mean(axis=1)
    error = np.abs(factor[:, None] * x + shift[:, None] - y).max()
    return (factor, shift) if error <= 1e-5 * max(float(np.abs(y).max()), 1e-30) and usable.any() else None


def _list(values: Array) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _scale_words(factor: float, shift: float, x: Array) -> str:
    """The usual ways to scale, by name."""
    low, high = float(x.min()), float(x.max())
    largest = max(abs(low), abs(high))
    if abs(factor - 1) <= ROUNDED and abs(shift) <= ROUNDED * max(largest, 1):
        return ""
    if abs(shift) <= 1e-6 * abs(factor) * max(abs(high), 1e-30):
        return _factor_words(factor, high)
    if abs(factor - 2) <= 1e-5 and abs(shift + 1) <= 1e-5:
        return "scaled to -1..1 instead of 0..1"
    if abs(factor + 1) <= 1e-5:
        return "inverted: each value taken from the largest"
    if factor < 0:
        return f"{factor:.5g} times the other side's values, {shift:+.5g}"
    if low < 0:
        return f"scaled otherwise (standardised on one side): {factor:.5g} times the other side's, {shift:+.5g}"
    mean, spread = -shift / factor, 1 / factor
    return f"standardised (normalised): mean {mean:.4f} subtracted, divided by the deviation {spread:.4f}"


def _factor_words(factor: float, high: float) -> str:
    """A factor without a shift."""
    for number in (255.0, 256.0, 127.5, 128.0, 16.0):
        if abs(factor / number - 1) <= 1e-5:
            return f"not divided by {number:g}: values reach {factor * high:.4g}, the other side's {high:.4g}"
        if abs(factor * number - 1) <= 1e-5:
            return f"divided by {number:g} once more: values reach {factor * high:.4g}, the other side's {high:.4g}"
    for first, second in ((256, 255), (255, 256)):
        if abs(factor * first / second - 1) <= 1e-5:
            return f"divided by {first} instead of {second}"
    for share, words in ((factor**2, "by n - 1 in place of n"), (1 / factor**2, "by n in place of n - 1")):
        number = 1 / (1 - share) if 0.9 < share < 1 else 0.0  # of the samples, where it is (n - 1) / n
        if number and abs(number - round(number)) <= _NEAR_A_NUMBER:
            return f"multiplied by {factor:.6g}: divided by a deviation of {round(number)} samples, {words} (ddof)"
    return f"multiplied by {factor:.6g}"


_NEAR_A_NUMBER = 0.01
"""One factor near 1 in fifty looks so by chance; that it is one factor for all values and features is no chance."""
