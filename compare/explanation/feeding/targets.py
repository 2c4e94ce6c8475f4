"""How the targets of one side are made from the other's: labels, one-hot, values."""

from collections.abc import Sequence

import numpy as np

from compare.explanation.feeding.relation import Relation, functions
from compare.explanation.observed.observation import Array
from compare.explanation.observed.values import ROUNDED


def as_target(array: Array | None, like: Array | None) -> Array | None:
    """The guide's target in the form of the other side's: class numbers or one-hot, (n,) or (n, 1)."""
    if array is None or like is None:
        return None
    if array.ndim > like.ndim and _is_one_hot(array) and not _is_one_hot(like):
        array = array.argmax(axis=-1)
        return array.reshape(-1 if like.ndim == 1 else (len(array), *like.shape[1:])).astype(like.dtype)
    if array.size == like.size:  # a loss of sequences is often given them one after the other
        shape = like.shape
    else:
        shape = (len(array), *like.shape[1:]) if like.ndim and array.ndim else like.shape
    if array.size == np.prod(shape, dtype=np.int64):
        x = array.reshape(shape)
        return x if like.dtype.kind == "f" else x.astype(like.dtype)
    if like.ndim == array.ndim + 1 or (array.ndim == like.ndim and array.shape[-1] == 1):
        classes = like.shape[-1]
        numbers = array.reshape(-1).astype(np.int64)
        if numbers.size and numbers.min() >= 0 and numbers.max() < classes:
            return np.eye(classes, dtype=like.dtype)[numbers].reshape(shape)
    return None


def _is_one_hot(array: Array) -> bool:
    """Whether each row of an array has a 1, or probabilities that add up to it."""
    many = array.ndim > 1 and array.shape[-1] > 1
    return many and float(array.min()) >= 0 and bool(np.allclose(array.sum(axis=-1), 1, atol=1e-6))


def relate_targets(guide: Sequence[Array], look: Sequence[Array], order: Sequence[int | None] | None) -> Relation:
    """How the other side's targets are made from the guide's, of the samples that were found again."""
    a, b = joined_batches(guide), joined_batches(look)
    if a is None or b is None:
        return Relation("", None, 0.0)
    if a.ndim == 2 and b.ndim == 1 and len(b) % a.shape[1] == 0 and not _is_one_hot(a):
        b = b.reshape(-1, a.shape[1])  # sequences, one after the other
    smoothing = _smoothed_by(a)
    if smoothing and (b.ndim < a.ndim or np.isin(b, (0, 1)).all()):
        return Relation(
            f"not smoothed: the other side's labels are, by {smoothing:.4g} (label smoothing)", a, smoothing
        )
    converted = as_target(a, b)
    if converted is None:
        return Relation(f"shape {b.shape[1:]} against {a.shape[1:]}", None, 1.0)
    if order is not None:
        known = [(i, j) for j, i in enumerate(order) if i is not None and i < len(converted) and j < len(b)]
        converted, b = converted[[i for i, _ in known]], b[[j for _, j in known]]
    count = min(len(converted), len(b))
    x, y = np.asarray(converted[:count], np.float64), np.asarray(b[:count], np.float64)
    if count == 0:
        return Relation("", converted, 0.0)
    scale = max(float(np.abs(x).max()), 1e-30)
    far = float(np.abs(x - y).max()) / scale
    return Relation("" if far <= ROUNDED else _shifted_words(x, y) or _target_words(x, y), converted, far)


def _shifted_words(x: Array, y: Array) -> str:
    """In words, of which other sample, or position of a sequence, each has the target; empty if that is not it."""
    near = ROUNDED * max(float(np.abs(x).max()), 1e-30)
    found = []
    for axis, of in ((0, "sample"), (1, "position"))[: x.ndim]:
        if axis and (x.shape[axis] < _LONG or _is_one_hot(x)):
            continue
        a, b = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
        for places in range(1, len(a) // 2 + 1):
            for of_first, of_second, where in ((a[places:], b[:-places], "after"), (a[:-places], b[places:], "before")):
                if of_first.size >= _ENOUGH and np.ptp(of_first) > 0 and np.abs(of_first - of_second).max() <= near:
                    found.append((of, places, where))
    if len(found) != 1:  # of targets that come again and again, several
        return ""
    of, places, where = found[0]
    which = f"the {of} {where} it" if places == 1 else f"the {of} {places} places {where} it"
    return f"shifted: each {of} has the target of {which}"


_ENOUGH = 16
"""Two labels are alike for fewer samples by chance: for 16 once in 65,000 times."""

_LONG = 5
"""Of shorter sequences, or vectors of outputs, what is left of them is alike by chance."""


def joined_batches(batches: Sequence[Array]) -> Array | None:
    """The samples of batches in one array; None where there are none or their shapes do not fit."""
    arrays = [array for array in batches if array.ndim]
    return np.concatenate(arrays) if arrays and len({array.shape[1:] for array in arrays}) == 1 else None


def _smoothed_by(y: Array) -> float:
    """By how much labels are smoothed, one-hot ones or those of two classes; 0 where they are not, or are no labels."""
    classes = y.shape[-1] if y.ndim > 1 and y.shape[-1] > 1 else 2
    hard = np.eye(classes)[y.argmax(-1)] if y.ndim > 1 and y.shape[-1] > 1 else (y > _HALF).astype(np.float64)
    smoothing = float(y.min()) * classes
    both = bool(hard.any() and (hard == 0).any())
    return smoothing if both and 0 < smoothing < 1 and np.allclose(y, hard * (1 - smoothing) + y.min()) else 0.0


_HALF = 0.5


def _target_words(x: Array, y: Array) -> str:
    """In words, what was done with the labels."""
    first = x.argmax(-1) if x.ndim > 1 and x.shape[-1] > 1 and np.isin(x, (0, 1)).all() else x.reshape(len(x), -1)
    smooth = y.reshape(len(y), -1)
    if np.isin(x, (0, 1)).all() and _smoothed_by(y):
        return f"smoothed by {_smoothed_by(y):.4g} (label smoothing)"
    if x.ndim > 1 and x.shape[-1] > 1 and np.isin(x, (0, 1)).all() and np.allclose(smooth.sum(1), 1):
        second = y.argmax(-1)
    else:
        second = y.reshape(len(y), -1)
    shift = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    if np.ptp(shift) <= ROUNDED:
        return f"labels off by {abs(float(shift.flat[0])):g} ({float(shift.flat[0]):+g})"
    classes = int(max(first.max(), second.max())) + 1
    total = np.asarray(second) + np.asarray(first)
    if np.ptp(total) <= ROUNDED:
        return f"labels reversed: y is {float(total.flat[0]):g} - y there"
    if np.ptp(shift % classes) <= ROUNDED:
        return f"labels off by {float(shift.flat[0] % classes):g} (modulo {classes})"
    if np.array_equal(np.asarray(first) % 1, np.zeros_like(first)) and classes <= 1000:
        share = float(np.mean(np.asarray(first) != np.asarray(second)))
        return f"other labels for the same samples ({share:.0%} of them)"
    return _value_words(x, y)


def _value_words(x: Array, y: Array) -> str:
    """In words, what was done with targets that are no labels."""
    factor = float((x * y).sum() / max((x * x).sum(), 1e-300))
    if np.allclose(y, factor * x, rtol=1e-5):
        bases = [f"as by the logarithm to base {n} in place of the natural one" for n in (10, 2)
                 if abs(factor * np.log(n) - 1) <= _BY_A_BASE]  # fmt: skip
        return ": ".join([f"targets multiplied by {factor:.6g}", *bases])
    with np.errstate(all="ignore"):
        for words, made in functions(x):
            if np.isfinite(made).all() and np.allclose(y, made, rtol=1e-5):
                return f"of the targets {words}"
    centred = x - x.mean()
    slope = float((centred * y).sum() / max((centred**2).sum(), 1e-300))
    offset = float(y.mean() - slope * x.mean())
    if np.allclose(y, slope * x + offset, rtol=1e-5, atol=1e-6 * max(float(np.abs(y).max()), 1e-30)):
        return f"targets scaled (standardised on one side): {slope:.5g} times the other side's, {offset:+.5g}"
    return "other targets for the same samples"


_BY_A_BASE = 1e-4
"""log(1 + x) and log(x) of large numbers are as near to each other as this."""
