"""Convolutions and pooling of 1 to 3 dimensions, in torch's layout: (samples, channels, spatial...)."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from compare.explanation.observed.observation import Array

Pads = Sequence[tuple[int, int]]


def pad(x: Array, pads: Pads, mode: str = "zeros", value: float = 0.0) -> Array:
    """Pads the spatial axes, each with (before, after)."""
    widths = [(0, 0), (0, 0), *pads]
    if mode in ("reflect", "circular", "replicate"):
        names = {"reflect": "reflect", "circular": "wrap", "replicate": "edge"}
        return np.pad(x, widths, mode=names[mode])  # type: ignore[call-overload]
    return np.pad(x, widths, constant_values=value)


def ends_of(pads: Sequence[tuple[int, int]], sign: int = 1) -> tuple[int, ...]:
    """Both ends of each axis as torch's `pad` takes them: the last axis first; with the sign -1, what is cut off."""
    return tuple(sign * end for both in reversed(pads) for end in both)


def same_pads(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Pads:
    """TensorFlow's padding "same": what is odd of it goes to the end."""
    pads = []
    for size, width, step, spread in zip(sizes, kernel, stride, dilation, strict=True):
        reach = (width - 1) * spread + 1
        total = max((-(-size // step) - 1) * step + reach - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def _windows(x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Array:
    """(samples, channels, outputs..., kernel...)."""
    axes = tuple(range(2, x.ndim))
    reach = tuple((width - 1) * spread + 1 for width, spread in zip(kernel, dilation, strict=True))
    seen = sliding_window_view(x, reach, axis=axes)
    steps = tuple(slice(None, None, step) for step in stride)
    inside = tuple(slice(None, None, spread) for spread in dilation)
    return seen[(slice(None), slice(None), *steps, *inside)]


def convolution(
    x: Array,
    kernel: Array,
    bias: Array | None,
    *,
    stride: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
    groups: int = 1,
    mode: str = "zeros",
) -> Array:
    """A convolution (as both frameworks mean it: the kernel is not turned).

    Args:
        x: (samples, in, spatial...).
        kernel: (out, in / groups, spatial...).
        bias: (out,) or None.
        stride: A number per spatial axis.
        pads: (before, after) per spatial axis.
        dilation: A number per spatial axis.
        groups: How many groups of channels do not see each other.
        mode: torch's `padding_mode`.
    """
    dimensions = kernel.ndim - 2
    seen = _windows(pad(x, pads, mode), kernel.shape[2:], stride, dilation)
    axes = list(range(2 + dimensions, 2 + 2 * dimensions))
    parts = [
        np.tensordot(part, weights, axes=([1, *axes], [1, *range(2, 2 + dimensions)]))
        for part, weights in zip(np.split(seen, groups, axis=1), np.split(kernel, groups), strict=True)
    ]
    out = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
    return out if bias is None else out + bias.reshape(1, -1, *[1] * dimensions)


def transposed_convolution(
    x: Array,
    kernel: Array,
    bias: Array | None,
    *,
    stride: Sequence[int],
    crops: Pads,
    dilation: Sequence[int],
    extra: Sequence[int],
) -> Array:
    """A transposed convolution without groups: each input value adds the kernel to the output.

    Args:
        x: (samples, in, spatial...).
        kernel: (in, out, spatial...).
        bias: (out,) or None.
        stride: A number per spatial axis.
        crops: What is cut off, (before, after) per spatial axis.
        dilation: A number per spatial axis.
        extra: Zeros after the end, torch's `output_padding`.
    """
    dimensions = kernel.ndim - 2
    sizes = [
        (size - 1) * step + (width - 1) * spread + 1 + more
        for size, step, width, spread, more in zip(x.shape[2:], stride, kernel.shape[2:], dilation, extra, strict=True)
    ]
    out = np.zeros((x.shape[0], kernel.shape[1], *sizes))
    for place in np.ndindex(*kernel.shape[2:]):
        part = np.moveaxis(np.tensordot(x, kernel[(slice(None), slice(None), *place)], axes=([1], [0])), -1, 1)
        where = tuple(
            slice(at * spread, at * spread + (size - 1) * step + 1, step)
            for at, spread, size, step in zip(place, dilation, x.shape[2:], stride, strict=True)
        )
        out[(slice(None), slice(None), *where)] += part
    cut = tuple(slice(before, size - after) for (before, after), size in zip(crops, sizes, strict=True))
    out = out[(slice(None), slice(None), *cut)]
    return out if bias is None else out + bias.reshape(1, -1, *[1] * dimensions)


def pooling(
    x: Array, kind: str, size: Sequence[int], stride: Sequence[int], pads: Pads, *, padding_counts: bool = False
) -> Array:
    """Pooling by `max` or `average`; whether zeros of the padding count in an average is a setting of torch's."""
    ones = [1] * len(size)
    if kind == "max":
        seen = _windows(pad(x, pads, value=-np.inf), size, stride, ones)
        return seen.max(axis=tuple(range(x.ndim, seen.ndim)))
    seen = _windows(pad(x, pads), size, stride, ones)
    axes = tuple(range(x.ndim, seen.ndim))
    if padding_counts:
        return seen.mean(axis=axes)
    count = _windows(pad(np.ones_like(x[:1, :1]), pads), size, stride, ones)
    return seen.sum(axis=axes) / count.sum(axis=axes)
