"""Finds out by values which operation without parameters made one array of another, in torch's layout."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from compare.explanation.arithmetic.activations import Activation, identify
from compare.explanation.arithmetic.windows import pooling, same_pads
from compare.explanation.observed.observation import Array
from compare.explanation.observed.values import ROUNDED, SAME, deviation


@dataclass(frozen=True)
class Operation:
    """An operation by its name, with its family: those of a family may stand for each other."""

    name: str
    family: str
    function: Callable[[Array], Array]
    code: str = ""

    def __call__(self, x: Array) -> Array | None:
        """What it makes of an array, None of one that does not fit."""
        try:
            with np.errstate(all="ignore"):
                return self.function(x)
        except (ValueError, IndexError, TypeError):
            return None


def learn(x: Array, y: Array) -> Operation | None:
    """The operation that made `y` of `x`, (samples, ...); None if none of those that are known did."""
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        return None
    if x.shape == y.shape:
        found = _same_shape(x, y)
        if found is not None:
            return found
    for operation in itertools.chain(_layouts(x, y), _reductions(x, y), _poolings(x, y)):
        made = operation(x)
        if made is not None and made.shape == y.shape and deviation(made, y) <= ROUNDED:
            return operation
    return None


def of_activation(activation: Activation) -> Operation:
    """An activation as an operation."""
    return Operation(str(activation), "activation", activation, activation.code)


def _same_shape(x: Array, y: Array) -> Operation | None:
    if deviation(x, y) <= SAME:
        return Operation("identity", "identity", lambda a: a)
    activation = identify(x, y)
    if activation is not None:
        return of_activation(activation)
    for axis in range(1, x.ndim - 1):
        found = identify(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1))
        if found is not None and "softmax" in found.name:
            return _softmax_over(found, axis)
    if x.ndim > 1 and len(x) > 1:
        found = identify(np.moveaxis(x, 0, -1), np.moveaxis(y, 0, -1))
        if found is not None and "softmax" in found.name:
            return _softmax_over(found, 0)
    return _exchanged(x, y) or _scaled(x, y) or _normalized(x, y)


def _exchanged(x: Array, y: Array) -> Operation | None:
    """The halves of the last axis in the other order, or an axis turned round."""
    half = x.shape[-1] // 2
    options = [
        Operation(
            "the two halves of the last axis exchanged (directions concatenated in the other order)",
            "permutation",
            lambda a: np.concatenate([a[..., half:], a[..., :half]], axis=-1),
        )
    ]
    for axis in range(1, x.ndim):
        options.append(Operation(f"axis {axis} turned round (flip)", "permutation", lambda a, i=axis: np.flip(a, i)))
    if x.ndim == 3 and x.shape[1] == x.shape[2]:
        options.append(Operation("axes 1 and 2 exchanged", "permutation", lambda a: np.swapaxes(a, 1, 2)))
    for option in options:
        made = option(x)
        if made is not None and deviation(made, y) <= ROUNDED:
            return option
    return None


def _softmax_over(activation: Activation, axis: int) -> Operation:
    where = "the samples" if axis == 0 else f"axis {axis}"
    return Operation(
        f"{activation.name} over {where} (dim={axis})",
        "activation",
        lambda a: np.moveaxis(activation(np.moveaxis(a, axis, -1)), -1, axis),
    )


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
    words = f"times {factor:.6g}" + (f" {shift:+.6g}" if shift else "")
    return Operation(f"scaling ({words})", "scaling", lambda a: factor * a + shift, f"{{}} * {factor:.6g}")


def _normalized(x: Array, y: Array) -> Operation | None:
    for axis in (-1, 1):
        if x.ndim > 1:
            operation = Operation(
                "division by the L2 norm",
                "normalisation",
                lambda a, axis=axis: a / np.linalg.norm(a, axis=axis, keepdims=True),
            )
            made = operation(x)
            if made is not None and deviation(made, y) <= ROUNDED:
                return operation
    return None


def _layouts(x: Array, y: Array) -> Iterator[Operation]:
    """Flattening, and other ways to order the same values."""
    if x.size != y.size:
        return
    shape = y.shape[1:]
    if x.ndim > 2 and y.ndim == 2:
        yield Operation(
            "flatten in the order (channels, height, width)" if x.ndim == 4 else "flatten",
            "flatten",
            lambda a: a.reshape(len(a), -1),
            "{}.flatten(1)",
        )
        dims = ", ".join(map(str, [0, *range(2, x.ndim), 1]))
        yield Operation(
            "flatten in the order (height, width, channels)" if x.ndim == 4 else "flatten with exchanged axes",
            "flatten",
            lambda a: np.moveaxis(a, 1, -1).reshape(len(a), -1),
            f"{{}}.permute({dims}).flatten(1)",
        )
        return
    yield Operation(f"reshape to {shape}", "flatten", lambda a: a.reshape(len(a), *shape))
    for axes in itertools.permutations(range(1, x.ndim)) if 2 < x.ndim <= 4 else ():
        if list(axes) != list(range(1, x.ndim)):
            yield Operation(
                f"permutation of the axes to {(0, *axes)}",
                "permutation",
                lambda a, axes=axes: np.transpose(a, (0, *axes)),
            )
    if x.ndim == 2 and y.ndim > 2:
        moved = (shape[-1], *shape[:-1])
        yield Operation(
            f"reshape to {moved} and channels to the end",
            "flatten",
            lambda a: np.moveaxis(a.reshape(len(a), *moved), 1, -1),
        )
        last = (*shape[1:], shape[0])
        yield Operation(
            f"reshape to {last} and channels to the front",
            "flatten",
            lambda a: np.moveaxis(a.reshape(len(a), *last), -1, 1),
        )


_REDUCTIONS: dict[str, Callable[..., Array]] = {"mean": np.mean, "max": np.max, "sum": np.sum, "min": np.min}


def _reductions(x: Array, y: Array) -> Iterator[Operation]:
    """Global pooling, a mean over time, the last time step."""
    if y.size >= x.size or x.ndim < 3:
        return
    spatial = tuple(range(2, x.ndim))
    shape = y.shape[1:]
    for name, function in _REDUCTIONS.items():
        pooled = {"mean": "global average pooling", "max": "global max pooling"}.get(name, f"{name} over space")
        for axes, words in (
            (spatial, pooled),
            ((1,), f"{name} over time (axis 1)"),
            ((x.ndim - 1,), f"{name} over the last axis"),
        ):
            called = pooled if x.ndim == 3 and name in ("mean", "max") else words
            yield Operation(
                f"{called} (axis {axes[0]})" if x.ndim == 3 else called,
                "reduction",
                lambda a, f=function, axes=axes: f(a, axis=axes).reshape(len(a), *shape),
            )
    if x.ndim == 3:
        for at, words in ((-1, "the last time step"), (0, "the first time step")):
            yield Operation(words, "reduction", lambda a, at=at: a[:, at])
            yield Operation(f"{words} (axis 2)", "reduction", lambda a, at=at: a[:, :, at])


def _poolings(x: Array, y: Array) -> Iterator[Operation]:
    """Pooling with the sizes, strides and paddings that give this shape, nearest and repeated values, padding."""
    if x.ndim < 3 or x.ndim != y.ndim:
        return
    if x.shape[1] == y.shape[1]:
        yield from _windows(x, y)
    if x.ndim == 3 and x.shape[2] == y.shape[2] and x.shape[1] != y.shape[1]:
        a, b = np.swapaxes(x, 1, 2), np.swapaxes(y, 1, 2)
        for found in _windows(a, b):
            yield Operation(
                found.name,
                found.family,
                lambda v, f=found.function: np.swapaxes(f(np.swapaxes(v, 1, 2)), 1, 2),
            )


def _windows(x: Array, y: Array) -> Iterator[Operation]:
    sizes, wanted, count = x.shape[2:], y.shape[2:], x.ndim - 2
    if all(a <= b for a, b in zip(sizes, wanted, strict=True)) and sizes != wanted:
        yield from _grown(x, y)
        return
    for kind, size, stride in itertools.product(("max", "average"), (2, 3, 4, 5, 7), (1, 2, 3, 4, 5, 7)):
        window, step = (size,) * count, (stride,) * count
        paddings = {
            "no padding": [(0, 0)] * count,
            "padding same": same_pads(sizes, window, step, (1,) * count),
            **{f"padding {p}": [(p, p)] * count for p in range(1, size // 2 + 1)},
        }
        for words, pads in paddings.items():
            ceiled = [
                (a, b + (step[0] - (n + a + b - size) % step[0]) % step[0])
                for n, (a, b) in zip(sizes, pads, strict=True)
            ]
            for called, edges in ((words, pads), (f"{words}, ceil_mode", ceiled)):
                out = tuple((n + a + b - size) // stride + 1 for n, (a, b) in zip(sizes, edges, strict=True))
                if out != wanted:
                    continue
                for counts in (False, True) if kind == "average" and words != "no padding" else (False,):
                    yield Operation(
                        f"{kind} pooling of size {size}, stride {stride}, {called}"
                        + (", zeros of the padding counted" if counts else ""),
                        "pooling",
                        lambda a, k=kind, w=window, s=step, p=edges, c=counts: pooling(a, k, w, s, p, padding_counts=c),
                    )


def _grown(x: Array, y: Array) -> Iterator[Operation]:
    """Zero padding, and values repeated."""
    sizes, wanted = x.shape[2:], y.shape[2:]
    more = [b - a for a, b in zip(sizes, wanted, strict=True)]
    if max(more) <= 16:
        for place in itertools.product(*({0, n // 2, n - n // 2, n} for n in more)):
            edges = [(0, 0), (0, 0), *((at, n - at) for at, n in zip(place, more, strict=True))]
            yield Operation(f"zero padding {edges[2:]}", "padding", lambda a, e=edges: np.pad(a, e))
            yield Operation(
                f"reflecting padding {edges[2:]}", "padding", lambda a, e=edges: np.pad(a, e, mode="reflect")
            )
    if all(b % a == 0 for a, b in zip(sizes, wanted, strict=True)):
        factors = [b // a for a, b in zip(sizes, wanted, strict=True)]
        yield Operation("nearest interpolation", "resizing", lambda a: _repeat(a, factors))
        for corners in (False, True):
            yield Operation(
                f"bilinear interpolation{' (align_corners)' if corners else ''}",
                "resizing",
                lambda a, c=corners: _linear(a, wanted, corners=c),
            )


def _repeat(x: Array, factors: list[int]) -> Array:
    for axis, factor in enumerate(factors, start=2):
        x = np.repeat(x, factor, axis=axis)
    return x


def _linear(x: Array, sizes: tuple[int, ...], *, corners: bool) -> Array:
    """Linear interpolation axis by axis, as both frameworks do it."""
    for axis, size in enumerate(sizes, start=2):
        length = x.shape[axis]
        if corners:
            at = np.linspace(0, length - 1, size)
        else:
            at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def learn_two(x: Array, other: Array, y: Array) -> Operation | None:
    """The operation that made `y` of two arrays."""
    options: list[tuple[str, Callable[[Array], Array]]] = [
        ("sum", lambda a: a + other),
        ("difference", lambda a: a - other),
        ("difference, the other way round", lambda a: other - a),
        ("product", lambda a: a * other),
        ("mean of two", lambda a: (a + other) / 2),
        ("maximum of two", lambda a: np.maximum(a, other)),
    ]
    for axis in range(1, x.ndim):
        options.append((f"concatenation along axis {axis}", lambda a, i=axis: np.concatenate([a, other], axis=i)))
        options.append(
            (f"concatenation along axis {axis}, second first", lambda a, i=axis: np.concatenate([other, a], axis=i))
        )
    for name, function in options:
        operation = Operation(name, "two operands", function)
        made = operation(x)
        if made is not None and made.shape == y.shape and deviation(made, y) <= ROUNDED:
            return operation
    return None
