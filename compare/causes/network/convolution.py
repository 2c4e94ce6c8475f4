"""The catalogue of signatures for convolutions, pooling, and the way from them to the dense layers."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from compare.causes.signatures import Evidence, Hypothesis, see
from compare.oracle.convolution import is_convolution, linear, unpool, windows
from compare.oracle.network import Array, ArraysByName
from compare.oracle.step import ExactStep
from recipe.recipe import POOL_SIZE

Change = Callable[[ExactStep], Array]
"""What a layer is fed instead, in a step."""

ByWay = Callable[[Callable[[Any, str, Array], Array]], Callable[[Evidence], Array]]
"""From the way back past a hidden layer to the gradients that it gives."""

FLATTENED = "feature maps are flattened channel by channel, as torch lays them out, instead of row, column, channel"

OTHER_KERNELS: dict[str, Callable[[Array], Array]] = {
    "the kernel's rows and columns are swapped": lambda kernel: kernel.swapaxes(0, 1),
    "the kernel is flipped: a true convolution instead of a cross-correlation": lambda kernel: kernel[::-1, ::-1],
    "the kernel is turned by 90° to the left": lambda kernel: np.rot90(kernel, 1),
    "the kernel is turned by 90° to the right": lambda kernel: np.rot90(kernel, -1),
    "the kernel is mirrored: left and right are swapped": lambda kernel: kernel[:, ::-1],
    "the kernel is upside down": lambda kernel: kernel[::-1],
    "the kernel's channels in and filters are swapped: they are as many, so the shapes still fit": (
        lambda kernel: kernel.swapaxes(2, 3)
    ),
    "the kernel is reshaped from torch's layout where it should be transposed": (
        lambda kernel: kernel.transpose(3, 2, 0, 1).reshape(kernel.shape)
    ),
    "the kernel is reshaped into torch's layout where it should be transposed": (
        lambda kernel: kernel.reshape(kernel.shape[3], kernel.shape[2], *kernel.shape[:2]).transpose(2, 3, 1, 0)
    ),
}
"""What may have been done to a convolution's kernel."""


def in_groups(kernel: Array) -> dict[str, Callable[[Array], Array]]:
    """A kernel (rows, columns, channels in, filters) whose filters know the channels of their group alone."""
    channels, filters = kernel.shape[2:]

    def grouped(array: Array, groups: int) -> Array:
        same = np.arange(channels)[:, None] * groups // channels == np.arange(filters) * groups // filters
        return array * same

    return {
        f"the convolution has {groups} groups: a filter is fed the channels of its group alone": partial(
            grouped, groups=groups
        )
        for groups in range(2, channels + 1)
        if channels % groups == 0 and filters % groups == 0
    }


def dilated(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """A convolution whose places lie apart, over maps with zeros around them: what it gives has the same size."""
    if not is_convolution(first.given.kernel(layer)):
        return
    for dilation in (2, 3):
        yield Hypothesis(
            f"the convolution has dilation {dilation} and padding {dilation - 1}",
            partial(_dilated, layer=layer, dilation=dilation),
        )


def _dilated(one: Evidence, layer: str, dilation: int) -> Array:
    step: ExactStep = one.given
    kernel, border = step.kernel(layer), (dilation - 1, dilation - 1)
    maps = np.pad(step.inputs[layer], ((0, 0), border, border, (0, 0)))
    height, width = one.expected.shape[1:3]
    found = np.zeros(one.expected.shape)
    for row, column in np.ndindex(kernel.shape[:2]):
        top, left = row * dilation, column * dilation
        found += maps[:, top : top + height, left : left + width] @ kernel[row, column]
    return found + step.bias(layer)


def with_places_left_out(first: Evidence, layer: str) -> Iterator[Hypothesis]:
    """A convolution some of whose places are not used, as the pre-activations of the first step that is off tell."""
    step: ExactStep = first.given
    kernel = step.kernel(layer)
    if not is_convolution(kernel) or not np.isfinite(first.recorded).all():
        return
    places = list(np.ndindex(kernel.shape[:2]))
    few = slice(_FEW_IMAGES)
    off = (first.recorded - first.expected)[few].ravel()
    parts = np.stack(
        [linear(step.inputs[layer][few], _only(kernel, [place]), 0 * step.bias(layer)).ravel() for place in places],
        axis=1,
    )
    shares = -np.linalg.lstsq(parts, off, rcond=None)[0]
    missing = [place for place, share in zip(places, shares, strict=True) if abs(share - 1) < _NEAR]
    if missing and all(abs(share) < _NEAR for place, share in zip(places, shares, strict=True) if place not in missing):
        listed = ", ".join(f"row {row + 1} column {column + 1}" for row, column in missing)
        yield Hypothesis(
            f"places of the kernel are not used: {listed}, as in a masked convolution",
            lambda one: linear(
                one.given.inputs[layer],
                one.given.kernel(layer) - _only(one.given.kernel(layer), missing),
                one.given.bias(layer),
            ),
        )


_FEW_IMAGES = 8
_NEAR = 1e-2
"""A place that is used, or not, is so to rounding."""


def _only(kernel: Array, places: Sequence[tuple[int, ...]]) -> Array:
    """The kernel with zeros at all other places."""
    found = np.zeros_like(kernel)
    for place in places:
        found[place] = kernel[place]
    return found


def other_inputs(step: ExactStep, layer: str) -> Iterator[tuple[str, Change]]:
    """What else a layer near convolutions may be fed, as functions of a step; nothing far from them."""
    kernel, inputs, below = step.kernel(layer), step.inputs[layer], step.below(layer)
    if below and is_convolution(kernel):
        if inputs.shape[1] == inputs.shape[2]:
            yield "rows and columns of what the layer is fed are swapped", lambda s: s.inputs[layer].swapaxes(1, 2)
        yield from _moved_maps(layer)
    elif not is_convolution(kernel) and inputs.ndim > 2:
        yield FLATTENED + see("flatten-order"), lambda s: s.inputs[layer].transpose(0, 3, 1, 2)
        yield "feature maps are flattened columns first", lambda s: s.inputs[layer].swapaxes(1, 2)
    if below in step.recipe.convolution_names:
        for cause, pool in _OTHER_POOLING.items():
            if pool(step.activations[below]).shape == inputs.shape:
                yield cause, lambda s, pool=pool: pool(s.activations[below])
        yield (
            "the pooling comes before the ReLU, and averages",
            lambda s: np.maximum(windows(s.preactivations[below]).mean(axis=3), 0),
        )


def _moved_maps(layer: str) -> Iterator[tuple[str, Change]]:
    """Maps that are padded or cropped at another edge."""
    for rows, columns in itertools.product((0, 1, -1), repeat=2):
        if rows or columns:
            name = f"what the layer is fed is moved by {rows:+d} rows and {columns:+d} columns, zeros coming in"
            yield name, lambda s, by=(rows, columns): _moved(s.inputs[layer], *by)


def _moved(maps: Array, rows: int, columns: int) -> Array:
    """Maps (images, rows, columns, channels) that are moved down and right by one at most."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = maps.shape[1:3]
    return padded[:, 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]


def _overlapping(maps: Array) -> Array:
    if min(maps.shape[1:3]) <= POOL_SIZE:
        return maps
    return sliding_window_view(maps, (3, 3), axis=(1, 2))[:, ::POOL_SIZE, ::POOL_SIZE].max(axis=(-2, -1))


def _overlapping_means(maps: Array) -> Array:
    if min(maps.shape[1:3]) <= POOL_SIZE:
        return maps
    return sliding_window_view(maps, (3, 3), axis=(1, 2))[:, ::POOL_SIZE, ::POOL_SIZE].mean(axis=(-2, -1))


_OTHER_POOLING: dict[str, Callable[[Array], Array]] = {
    "the pooling averages instead of taking the largest": lambda maps: windows(maps).mean(axis=3),
    "the pooling adds up instead of taking the largest": lambda maps: windows(maps).sum(axis=3),
    "the pooling takes the smallest instead of the largest": lambda maps: windows(maps).min(axis=3),
    "the pooling takes the root of the mean square instead of the largest": (
        lambda maps: np.sqrt((windows(maps) ** 2).mean(axis=3))
    ),
    "the pooling takes the mean of the largest and the average instead of the largest": (
        lambda maps: (windows(maps).max(axis=3) + windows(maps).mean(axis=3)) / 2
    ),
    "the pooling takes the root of the summed squares (LPPool of p = 2) instead of the largest": (
        lambda maps: np.sqrt((windows(maps) ** 2).sum(axis=3))
    ),
    "every second activation is taken instead of the largest of four": lambda maps: windows(maps)[:, :, :, 0],
    "every second activation is taken, the last of four instead of the largest": lambda maps: windows(maps)[:, :, :, 3],
    "the pooling takes the largest of 3×3 instead of 2×2": _overlapping,
    "the pooling averages 3×3 instead of taking the largest of 2×2": _overlapping_means,
    "the pooling starts one pixel later": lambda maps: windows(np.roll(maps, (-1, -1), (1, 2))).max(axis=3),
}


def of_gradient(first: Evidence) -> Iterator[Hypothesis]:
    """What may be done to the gradient of a convolution's kernel."""
    if not is_convolution(first.expected):
        return
    for cause, change in OTHER_KERNELS.items():
        if change(first.expected).shape == first.expected.shape:
            yield Hypothesis(
                f"in the gradient, {cause}",
                lambda one, change=change: change(one.expected) if is_convolution(one.expected) else one.expected,
            )


def gradients_on_their_way(step: ExactStep, by_way: ByWay) -> Iterator[Hypothesis]:
    """What may happen to a gradient on its way through pooling and dropout."""
    if step.recipe.network == "cnn":
        for factor, words in ((1 / POOL_SIZE**2, "in equal parts"), (1.0, "in full")):
            name = f"the gradient of the pooling goes to all four {words}"
            yield Hypothesis(
                name, by_way(lambda fed, layer, delta, factor=factor: _to_all(fed.step, layer, delta, factor))
            )
    if step.dropped:
        name = "the gradient bypasses the dropout"
        yield Hypothesis(
            name, by_way(lambda fed, layer, delta: _past_dropout(fed.step, layer, delta, fed.step.activations))
        )
        name = f"the gradient is not scaled by the dropout's 1/(1 - rate) = {step.scale:.6g}"
        yield Hypothesis(
            name, by_way(lambda fed, layer, delta: _past_dropout(fed.step, layer, delta, fed.step.dropped))
        )


def _to_all(step: ExactStep, layer: str, delta: Array, factor: float) -> Array:
    """The gradient of the pooling, where it goes to all four activations, `factor` of it to each."""
    if layer not in step.recipe.convolution_names:
        return step.through(layer, delta)
    maps = step.activations[layer]
    return unpool(np.repeat(factor * delta[:, :, :, None], POOL_SIZE**2, axis=3), maps.shape) * (maps > 0)


def _past_dropout(step: ExactStep, layer: str, delta: Array, passed: ArraysByName) -> Array:
    """The gradient of the dropout, where it goes unscaled to what is positive in `passed`."""
    return delta * (passed[layer] > 0) if layer in step.dropped else step.through(layer, delta)
