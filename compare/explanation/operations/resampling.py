"""Pooling, padding, cropping and interpolation that may have made one array of another."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from compare.explanation.observed.observation import Array
from compare.explanation.operations.operation import Operation
from compare.explanation.operations.windows import Pads, ends_of, pooling, same_pads

_SIZES = (2, 3, 4, 5, 7)
_STRIDES = (1, 2, 3, 4, 5, 7)
_MOST_ADDED = 16
"""The widest padding, and the widest that is cut off."""


def poolings(x: Array, y: Array) -> Iterator[Operation]:
    """What has the same channels and another size in space."""
    if x.ndim < 3 or x.ndim != y.ndim:
        return
    if x.shape[1] == y.shape[1]:
        yield from _in_space(x, y)
    if x.ndim == 3 and x.shape[2] == y.shape[2] and x.shape[1] != y.shape[1]:
        for found in _in_space(np.swapaxes(x, 1, 2), np.swapaxes(y, 1, 2)):
            yield Operation(found.name, found.family, partial(_swapped, found.function))


def _swapped(function: Callable[[Array], Array], x: Array) -> Array:
    return np.swapaxes(function(np.swapaxes(x, 1, 2)), 1, 2)


def _in_space(x: Array, y: Array) -> Iterator[Operation]:
    sizes, wanted = x.shape[2:], y.shape[2:]
    if all(a <= b for a, b in zip(sizes, wanted, strict=True)) and sizes != wanted:
        yield from _grown(sizes, wanted)
        return
    if all(a >= b for a, b in zip(sizes, wanted, strict=True)) and sizes != wanted:
        yield from _cropped(sizes, wanted)
    for kind, size, stride in itertools.product(("max", "average"), _SIZES, _STRIDES):
        yield from _pooled(kind, size, stride, sizes, wanted)


def _pooled(kind: str, size: int, stride: int, sizes: Sequence[int], wanted: tuple[int, ...]) -> Iterator[Operation]:
    """One kind, size and stride of pooling with every padding that gives the size that is wanted."""
    count = len(sizes)
    window, step = (size,) * count, (stride,) * count
    paddings: dict[str, Pads] = {
        "no padding": [(0, 0)] * count,
        "padding same": same_pads(sizes, window, step, (1,) * count),
        **{f"padding {p}": [(p, p)] * count for p in range(1, size // 2 + 1)},
    }
    for words, pads in paddings.items():
        ceiled = [
            (a, b + (stride - (n + a + b - size) % stride) % stride) for n, (a, b) in zip(sizes, pads, strict=True)
        ]
        for called, edges in ((words, pads), (f"{words}, ceil_mode", ceiled)):
            out = tuple((n + a + b - size) // stride + 1 for n, (a, b) in zip(sizes, edges, strict=True))
            if out != wanted:
                continue
            for counts in (False, True) if kind == "average" and words != "no padding" else (False,):
                name = f"{kind} pooling of size {size}, stride {stride}, {called}"
                name += ", zeros of the padding counted" if counts else ""
                code = _code(kind, size, stride, pads, ceiled=edges is not pads, counts=counts)
                yield Operation(name, "pooling", partial(_pool, kind, window, step, edges, counts), code)


_PAD = "torch.nn.functional.pad"


def _code(kind: str, size: int, stride: int, pads: Pads, *, ceiled: bool, counts: bool) -> str:
    """A pooling as torch has it; empty for one that is not a single call."""
    ends = ends_of(pads)
    function = f"torch.nn.functional.{'max' if kind == 'max' else 'avg'}_pool{len(pads)}d"
    more = ", ceil_mode=True" if ceiled else ""
    if not any(ends):
        return f"{function}({{}}, {size}, {stride}{more})"
    if kind == "average" and ceiled:  # what torch counts of a window beyond the padding is a matter of its own
        return ""
    if len(set(ends)) == 1:
        more += "" if kind == "max" or counts else ", count_include_pad=False"
        return f"{function}({{}}, {size}, {stride}, padding={ends[0]}{more})"
    if kind == "average" and not counts:
        return ""
    value = ', value=float("-inf")' if kind == "max" else ""
    return f"{function}({_PAD}({{}}, {ends}{value}), {size}, {stride}{more})"


def _pool(kind: str, window: Sequence[int], step: Sequence[int], pads: Pads, counts: bool, x: Array) -> Array:
    return pooling(x, kind, window, step, pads, padding_counts=counts)


def _places(more: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """The ways to add or cut so much of each axis: all at one end, or half at either."""
    for place in itertools.product(*({0, n // 2, n - n // 2, n} for n in more)):
        yield [(at, n - at) for at, n in zip(place, more, strict=True)]


def _grown(sizes: Sequence[int], wanted: Sequence[int]) -> Iterator[Operation]:
    """Padding, and values repeated or interpolated."""
    more = [b - a for a, b in zip(sizes, wanted, strict=True)]
    for edges in _places(more) if max(more) <= _MOST_ADDED else ():
        ends = ends_of(edges)
        zeros, reflecting = f"{_PAD}({{}}, {ends})", f'{_PAD}({{}}, {ends}, mode="reflect")'
        yield Operation(f"zero padding {edges}", "padding", partial(_padded, "constant", edges), zeros)
        yield Operation(f"reflecting padding {edges}", "padding", partial(_padded, "reflect", edges), reflecting)
    if all(b % a == 0 for a, b in zip(sizes, wanted, strict=True)):
        factors = [b // a for a, b in zip(sizes, wanted, strict=True)]
        code = f'{_INTERPOLATE}({{}}, size={tuple(wanted)}, mode="nearest")'
        yield Operation("nearest interpolation (upsampling)", "resizing", partial(_repeated, factors), code)
    kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(sizes)]
    for corners in (False, True):
        words = f"{kind} interpolation (upsampling{', align_corners' if corners else ''})"
        code = f'{_INTERPOLATE}({{}}, size={tuple(wanted)}, mode="{kind}", align_corners={corners})'
        yield Operation(words, "resizing", partial(_interpolated, wanted, corners), code)


_INTERPOLATE = "torch.nn.functional.interpolate"


def _cropped(sizes: Sequence[int], wanted: Sequence[int]) -> Iterator[Operation]:
    less = [a - b for a, b in zip(sizes, wanted, strict=True)]
    for edges in _places(less) if max(less) <= _MOST_ADDED else ():
        yield Operation(f"cropping {edges}", "padding", partial(_cut, edges), f"{_PAD}({{}}, {ends_of(edges, -1)})")


def _cut(edges: Sequence[tuple[int, int]], x: Array) -> Array:
    inside = [slice(a, n - b) for (a, b), n in zip(edges, x.shape[2:], strict=True)]
    return x[(slice(None), slice(None), *inside)]


def _padded(mode: str, edges: Sequence[tuple[int, int]], x: Array) -> Array:
    return np.asarray(np.pad(x, [(0, 0), (0, 0), *edges], mode=mode))  # type: ignore[call-overload]


def _repeated(factors: Sequence[int], x: Array) -> Array:
    for axis, factor in enumerate(factors, start=2):
        x = np.repeat(x, factor, axis=axis)
    return x


def _interpolated(sizes: Sequence[int], corners: bool, x: Array) -> Array:
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
