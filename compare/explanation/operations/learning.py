"""Finds out by values which operation without parameters made one array of another, in torch's layout."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from compare.explanation.observed.observation import Array
from compare.explanation.observed.values import ROUNDED, SAME, deviation
from compare.explanation.operations.activations import Activation, identify
from compare.explanation.operations.operation import Operation
from compare.explanation.operations.rearranging import exchanges, layouts, masked_reductions, reductions
from compare.explanation.operations.resampling import poolings
from compare.explanation.words import as_written, number

ADDED = "a constant added:"
"""How the name of an operation begins that adds the same number to all values: what noise of that deviation is."""


def learn(x: Array, y: Array) -> Operation | None:
    """The operation that made `y` of `x`, (samples, ...); None if none of those that are known did.

    Of the larger one there may be fewer samples: the first ones. What is the same number everywhere teaches nothing:
    too many operations give it.
    """
    if x.ndim == 0 or y.ndim == 0:
        return None
    x, y = _as_many(x, y)
    if _is_constant(y) and not (x.shape == y.shape and deviation(x, y) <= SAME):
        return None
    if x.shape == y.shape:
        found = _same_shape(x, y)
        if found is not None:
            return found
    return _first(itertools.chain(layouts(x, y), reductions(x, y), poolings(x, y)), x, y)


def learn_masked(x: Array, mask: Array | None, y: Array) -> Operation | None:
    """The reduction of a sequence that made `y` of `x` and left masked positions out; None if none did.

    Args:
        x: The sequence, (samples, positions, features) or with the features before the positions.
        mask: Which positions count, (samples, positions); None for all.
        y: What came out, (samples, features).
    """
    if mask is None or mask.ndim != 2 or x.ndim != 3 or y.ndim != 2:
        return None
    x, y = _as_many(x, y)
    found = ((operation, operation(x)) for operation in masked_reductions(mask.astype(bool)[: len(x)]))
    return next(
        (
            operation
            for operation, made in found
            if made is not None and made.shape == y.shape and deviation(made, y) <= ROUNDED
        ),
        None,
    )


def _is_constant(x: Array) -> bool:
    return x.size > 1 and bool(np.all(x == x.flat[0]))


def over_one(called: str, x: Array, y: Array) -> Operation | None:
    """A softmax along an axis of length 1, which its name alone tells: all that it gives is ones, or logarithms of it.

    Args:
        called: The name of the function that made `y` of `x`.
        x: What went in, (samples, ...).
        y: What came out.
    """
    name = {"softmax": "softmax", "log_softmax": "log_softmax", "logsoftmax": "log_softmax"}.get(called.lower())
    axis = next((axis for axis in reversed(range(1, x.ndim)) if x.shape[axis] == 1), None)
    if name is None or axis is None or x.shape != y.shape or not np.all(y == (1 if name == "softmax" else 0)):
        return None
    where = "the last axis (dim=-1)" if axis == x.ndim - 1 else f"axis {axis} (dim={axis})"
    weights = "weights are one" if name == "softmax" else "logarithms are zero"
    words = f"{name} over {where}, which has length 1, so that all {weights}"
    return Operation(words, "activation", partial(_over, Activation(name), axis))


def _as_many(*arrays: Array) -> list[Array]:
    """As many samples of each as there are of all."""
    count = min(map(len, arrays))
    return [array[:count] for array in arrays]


def _first(operations: Iterator[Operation], x: Array, y: Array) -> Operation | None:
    for operation in operations:
        if _is_refuted(operation, x, y):
            continue
        made = operation(x)
        if made is not None and made.shape == y.shape and deviation(made, y) <= ROUNDED:
            return operation
    return None


_HEAD = 2
_ENOUGH = 64
"""With so many values to a sample, a few samples refute nearly every operation that is not the one."""


def _is_refuted(operation: Operation, x: Array, y: Array) -> bool:
    """Whether the first samples show that an operation is not the one; far cheaper than to try all of them."""
    if operation.family in _BY_CHANNEL and x.ndim == y.ndim > 3 and x.shape[1] == y.shape[1]:
        return _gives_another(operation, x[:_HEAD, :1], y[:_HEAD, :1])
    if len(x) <= 2 * _HEAD or x.ndim < 2 or x.shape[1] == _HEAD:
        return False
    return _gives_another(operation, x[:_HEAD], y[:_HEAD])


_BY_CHANNEL = frozenset({"pooling"})
"""Families that compute each channel of pictures, axis 1, from itself alone."""


def _gives_another(operation: Operation, x: Array, y: Array) -> bool:
    made = operation(x)
    if made is None or made.ndim == 0 or len(made) != len(x):
        return False
    return made.shape[1:] != y.shape[1:] or deviation(made, y) > ROUNDED


def _same_shape(x: Array, y: Array) -> Operation | None:
    if deviation(x, y) <= SAME:
        return Operation("identity", "identity", np.asarray)
    many = len(x) > 2 * _HEAD and x[0].size >= _ENOUGH
    activation = identify(x, y) if not many or identify(x[:_HEAD], y[:_HEAD]) is not None else None
    if activation is not None:
        return Operation(str(activation), "activation", activation, activation.code)
    for axis in (*range(1, x.ndim - 1), *([0] if x.ndim > 1 and len(x) > 1 else [])):
        if not _is_softmax(y, axis):
            continue
        found = identify(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1))
        if found is not None and "softmax" in found.name:
            where = "the samples" if axis == 0 else f"axis {axis}"
            code = f"torch.{found.name}({{}}, dim={axis})" if x.ndim <= 3 else ""  # of images the axes may be others
            words = f"{found.name} over {where} (dim={axis})"
            return Operation(words, "activation", partial(_over, found, axis), code)
    return _first(exchanges(x), x, y) or _scaled(x, y) or _first(_normalizations(x), x, y)


def _is_softmax(y: Array, axis: int) -> bool:
    """Whether values may be those of a softmax along an axis, or logarithms of them."""
    with np.errstate(over="ignore"):
        sums = y.sum(axis=axis), np.exp(np.minimum(y, 1)).sum(axis=axis)
    return any(float(np.abs(total - 1).max()) <= ROUNDED for total in sums)


def _over(activation: Activation, axis: int, x: Array) -> Array:
    return np.moveaxis(activation(np.moveaxis(x, axis, -1)), -1, axis)


def _scaled(x: Array, y: Array) -> Operation | None:
    """A factor and a shift, the same for all values."""
    spread = float(((x - x.mean()) ** 2).sum())
    if spread == 0:
        return None
    factor = float(((x - x.mean()) * y).sum()) / spread
    shift = float(y.mean() - factor * x.mean())
    if abs(shift) <= 1e-9 * max(float(np.abs(y).max()), 1e-30):
        shift = 0.0
    if factor == 0 or deviation(factor * x + shift, y) > ROUNDED:
        return None
    added = f" {'-' if shift < 0 else '+'} {number(abs(shift))}" if shift else ""
    if abs(factor - 1) <= 1e-9:
        return Operation(f"{ADDED} {number(shift)}", "scaling", partial(_line, 1.0, shift), f"{{}}{added}")
    words, code = _factor(factor)
    name = f"scaling by {words}{added.replace(' - ', ', minus ').replace(' + ', ', plus ')}"
    return Operation(name, "scaling", partial(_line, factor, shift), f"{{}} {code}{added}")


def _factor(value: float) -> tuple[str, str]:
    """A factor in words and in code: 1/255 and / 255, where that is what was most likely written."""
    inverse = as_written(1 / value)
    if abs(round(inverse) - inverse) <= 1e-7 * abs(inverse):
        inverse = round(inverse)
    if abs(value) < 1 and len(number(inverse).lstrip("-")) < len(number(value).lstrip("-0.")):
        return f"1/{number(inverse)}", f"/ {number(inverse)}"
    return number(value), f"* {number(value)}"


def _line(factor: float, shift: float, x: Array) -> Array:
    return factor * x + shift


def _normalizations(x: Array) -> Iterator[Operation]:
    for axis in (-1, 1) if x.ndim > 1 else ():
        yield Operation("division by the L2 norm", "normalisation", partial(_unit, axis))


def _unit(axis: int, x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=axis, keepdims=True))


_OF_TWO: dict[str, Callable[[Array, Array], Array]] = {
    "sum": np.add,
    "difference": np.subtract,
    "difference, the other way round": lambda a, b: b - a,
    "product": np.multiply,
    "mean of two": lambda a, b: (a + b) / 2,
    "maximum of two": np.maximum,
    "square of the difference": lambda a, b: (a - b) ** 2,
    "absolute difference": lambda a, b: np.abs(a - b),
}


def learn_two(x: Array, other: Array, y: Array) -> Operation | None:
    """The operation that made `y` of two arrays, as one of the first."""
    if min(x.ndim, other.ndim, y.ndim) == 0:
        return None
    x, y = _as_many(x, y)
    if _is_constant(y):
        return None
    options = [
        Operation(name, "two operands", partial(_with, of, other))
        for name, of in _OF_TWO.items()
        if name != "maximum of two" or not _is_one_of(y, (x, other))
    ]
    for axis in range(1, x.ndim):
        along = f"concatenation along axis {axis}"
        options.append(Operation(along, "two operands", partial(_joined, axis, other, first=False)))
        options.append(Operation(f"{along}, second first", "two operands", partial(_joined, axis, other, first=True)))
    return _first(iter(options), x, y)


def _is_one_of(y: Array, operands: tuple[Array, ...]) -> bool:
    """Whether a result is one of the operands as it is: then no larger value has been taken from the other."""
    return any(operand.shape == y.shape and deviation(operand, y) <= SAME for operand in operands)


def _with(function: Callable[[Array, Array], Array], other: Array, x: Array) -> Array:
    return function(x, other if len(other) <= len(x) else other[: len(x)])


def _joined(axis: int, other: Array, x: Array, *, first: bool) -> Array:
    other = other if len(other) <= len(x) else other[: len(x)]
    return np.concatenate([other, x] if first else [x, other], axis=axis)
