"""Operations that order the same values otherwise, or that leave one value of many."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from compare.explanation.observed.observation import Array
from compare.explanation.operations.operation import Operation

_IMAGES = 4


def layouts(x: Array, y: Array) -> Iterator[Operation]:
    """Flattening, reshaping and permutations that may have made `y` of `x`."""
    if x.size != y.size:
        return
    shape = y.shape[1:]
    if x.ndim > 2 and y.ndim == 2:
        images = x.ndim == _IMAGES
        name = "flatten in the order (channels, height, width)" if images else "flatten"
        yield Operation(name, "flatten", partial(_shaped, (-1,)), "{}.flatten(1)")
        dims = ", ".join(map(str, [0, *range(2, x.ndim), 1]))
        name = "flatten in the order (height, width, channels)" if images else "flatten with exchanged axes"
        yield Operation(name, "flatten", _flat_with_channels_last, f"{{}}.permute({dims}).flatten(1)")
        return
    yield Operation(f"reshape to {shape}", "flatten", partial(_shaped, shape))
    for axes in itertools.permutations(range(1, x.ndim)) if 2 < x.ndim <= _IMAGES else ():
        if list(axes) != list(range(1, x.ndim)):
            name = f"permutation of the axes to {(0, *axes)}"
            yield Operation(name, "permutation", partial(_permuted, axes))
    if x.ndim == 2 and y.ndim > 2:
        moved, last = (shape[-1], *shape[:-1]), (*shape[1:], shape[0])
        yield Operation(f"reshape to {moved} and channels to the end", "flatten", partial(_moved, moved, 1, -1))
        yield Operation(f"reshape to {last} and channels to the front", "flatten", partial(_moved, last, -1, 1))


def _shaped(shape: tuple[int, ...], x: Array) -> Array:
    return x.reshape(len(x), *shape)


def _flat_with_channels_last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1).reshape(len(x), -1)


def _permuted(axes: tuple[int, ...], x: Array) -> Array:
    return np.transpose(x, (0, *axes))


def _moved(shape: tuple[int, ...], source: int, target: int, x: Array) -> Array:
    return np.moveaxis(x.reshape(len(x), *shape), source, target)


def exchanges(x: Array) -> Iterator[Operation]:
    """The halves of the last axis in the other order, an axis turned round, two axes exchanged."""
    halves = "the two halves of the last axis exchanged (directions concatenated in the other order)"
    name = "the two entries of the last axis exchanged" if x.shape[-1:] == (2,) else halves
    yield Operation(name, "permutation", _halves_exchanged)
    for axis in range(1, x.ndim):
        yield Operation(f"axis {axis} turned round (flip)", "permutation", partial(_flipped, axis))
    if x.ndim == 3 and x.shape[1] == x.shape[2]:
        yield Operation("axes 1 and 2 exchanged", "permutation", partial(_permuted, (2, 1)))


def _halves_exchanged(x: Array) -> Array:
    half = x.shape[-1] // 2
    return np.concatenate([x[..., half:], x[..., :half]], axis=-1)


def _flipped(axis: int, x: Array) -> Array:
    return np.flip(x, axis)


_REDUCTIONS: dict[str, Callable[..., Array]] = {"mean": np.mean, "max": np.max, "sum": np.sum, "min": np.min}


def reductions(x: Array, y: Array) -> Iterator[Operation]:
    """Global pooling, a mean over time, the last time step."""
    if y.size >= x.size or x.ndim < 3:
        return
    shape = y.shape[1:]
    for name, function in _REDUCTIONS.items():
        pooled = {"mean": "global average pooling", "max": "global max pooling"}.get(name, f"{name} over space")
        options: list[tuple[tuple[int, ...], str]] = [
            (tuple(range(2, x.ndim)), pooled),
            ((1,), f"{name} over time (axis 1)"),
            ((x.ndim - 1,), f"{name} over the last axis"),
        ]
        for axes, words in options:
            called = f"{pooled}, {name} over axis {axes[0]}" if x.ndim == 3 else words
            # Of sequences it is not known which axis torch's program has where.
            code = "" if x.ndim == 3 else _code(name, axes, keeps=len(shape) == x.ndim - 1)
            yield Operation(called, "reduction", partial(_reduced, function, axes, shape), code)
    for at, words in ((-1, "the last time step"), (0, "the first time step")) if x.ndim == 3 else ():
        yield Operation(words, "reduction", partial(_taken, 1, at))
        yield Operation(f"{words} (axis 2)", "reduction", partial(_taken, 2, at))


KEPT = "the positions that the mask keeps"

_MASKED: dict[str, tuple[str, str]] = {
    "mean": (f"mean over {KEPT}", "({} * (tokens != 0)[..., None]).sum(1) / (tokens != 0).sum(1, keepdim=True)"),
    "max": (f"max over {KEPT}", '{}.masked_fill((tokens == 0)[..., None], float("-inf")).amax(1)'),
    "sum": (f"sum over {KEPT}", "({} * (tokens != 0)[..., None]).sum(1)"),
    "last": (f"the last of {KEPT}", "{}[range(len({})), (tokens != 0).sum(1) - 1]"),
}


def masked_reductions(mask: Array) -> Iterator[Operation]:
    """Reductions of a sequence, (samples, positions, features), that leave out what a mask, of booleans, does not keep.

    Their code is in torch's terms for tokens of which 0 is padding.
    """
    for name, (words, code) in _MASKED.items():
        yield Operation(words, "reduction", partial(_reduced_kept, name, mask), code)


def _reduced_kept(name: str, mask: Array, x: Array) -> Array:
    x = x if x.shape[1] == mask.shape[1] else np.swapaxes(x, 1, 2)
    mask = mask[: len(x), :, None]
    if name == "max":
        return np.where(mask, x, -np.inf).max(axis=1)
    if name == "last":
        positions = np.arange(mask.shape[1])[None, :]
        return x[np.arange(len(x)), np.where(mask[..., 0], positions, -1).max(axis=1)]
    total = np.asarray((x * mask).sum(axis=1))
    return total / mask.sum(axis=1) if name == "mean" else total


def _code(name: str, axes: tuple[int, ...], *, keeps: bool) -> str:
    """A reduction as torch has it."""
    function = {"max": "amax", "min": "amin"}.get(name, name)
    return f"{{}}.{function}(dim={axes if len(axes) > 1 else axes[0]}{', keepdim=True' if keeps else ''})"


def _reduced(function: Callable[..., Array], axes: tuple[int, ...], shape: tuple[int, ...], x: Array) -> Array:
    return function(x, axis=axes).reshape(len(x), *shape)


def _taken(axis: int, at: int, x: Array) -> Array:
    return np.take(x, at, axis)
