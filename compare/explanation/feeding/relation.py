"""What both programs feed to their models: the samples themselves, and how one side's are made from the other's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.feeding.scaling import affine, by_sample
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
            words, inverse = by_sample(first, second)
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
