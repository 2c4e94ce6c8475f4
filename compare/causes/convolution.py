"""The catalogue of signatures for convolutions, pooling, and the way from them to the dense layers."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from compare.causes.signatures import Signature
from compare.oracle.convolution import is_convolution, linear, unpool, windows
from compare.oracle.network import Array, ArraysByName
from compare.oracle.step import ExactStep
from recipe.recipe import POOL_SIZE

FLATTENED = "feature maps are flattened channel by channel, as torch lays them out, instead of row, column, channel"

OTHER_KERNELS: dict[str, Callable[[Array], Array]] = {
    "the kernel's rows and columns are swapped": lambda kernel: kernel.swapaxes(0, 1),
    "the kernel is flipped: a true convolution instead of a cross-correlation": lambda kernel: kernel[::-1, ::-1],
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


def of_layer(step: ExactStep, layer: str) -> Iterator[Signature]:
    """What else a layer's pre-activations may be, near convolutions; nothing far from them."""
    kernel, bias, inputs, below = step.kernel(layer), step.bias(layer), step.inputs[layer], step.below(layer)
    if is_convolution(kernel):
        for cause, change in OTHER_KERNELS.items():
            changed = change(kernel)
            if changed.shape == kernel.shape:
                yield cause, linear(inputs, changed, bias)
        if inputs.shape[1] == inputs.shape[2]:
            yield "rows and columns of what the layer is fed are swapped", linear(inputs.swapaxes(1, 2), kernel, bias)
    elif inputs.ndim > 2:  # noqa: PLR2004 - feature maps
        yield FLATTENED, linear(inputs.transpose(0, 3, 1, 2), kernel, bias)
        yield "feature maps are flattened columns first", linear(inputs.swapaxes(1, 2), kernel, bias)
    if below in step.recipe.convolution_names:
        for cause, pooled in _other_pooling(step.activations[below]):
            if pooled.shape == inputs.shape:
                yield cause, linear(pooled, kernel, bias)


def _other_pooling(maps: Array) -> Iterator[Signature]:
    yield "the pooling averages instead of taking the largest", windows(maps).mean(axis=3)
    yield "every second activation is taken instead of the largest of four", windows(maps)[:, :, :, 0]
    if min(maps.shape[1:3]) > POOL_SIZE:
        overlapping = sliding_window_view(maps, (3, 3), axis=(1, 2))[:, ::POOL_SIZE, ::POOL_SIZE]
        yield "the pooling takes the largest of 3×3 instead of 2×2", overlapping.max(axis=(-2, -1))


def of_gradient(step: ExactStep, name: str, delta: Array, expected: Array) -> Iterator[Signature]:
    """What else the gradient of a parameter may be where there are convolutions or dropout."""
    if is_convolution(expected):
        for cause, change in OTHER_KERNELS.items():
            changed = change(expected)
            if changed.shape == expected.shape:
                yield f"in the gradient, {cause}", changed
    if step.recipe.network == "cnn":
        equal = 1 / POOL_SIZE**2
        yield "the gradient of the pooling goes to all four in equal parts", _to_all(step, delta, equal)[name]
        yield "the gradient of the pooling goes to all four in full", _to_all(step, delta, 1)[name]
    if step.dropped:
        yield "the gradient bypasses the dropout", _past_dropout(step, delta, step.activations)[name]
        cause = f"the gradient is not scaled by the dropout's 1/(1 - rate) = {step.scale:.6g}"
        yield cause, _past_dropout(step, delta, step.dropped)[name]


def _to_all(step: ExactStep, delta: Array, factor: float) -> ArraysByName:
    """The gradients where that of the pooling goes to all four activations, `factor` of it to each."""

    def through(layer: str, delta: Array) -> Array:
        if layer not in step.recipe.convolution_names:
            return step.through(layer, delta)
        maps = step.activations[layer]
        return unpool(np.repeat(factor * delta[:, :, :, None], POOL_SIZE**2, axis=3), maps.shape) * (maps > 0)

    return step.gradients(delta, through)


def _past_dropout(step: ExactStep, delta: Array, passed: ArraysByName) -> ArraysByName:
    """The gradients where that of the dropout goes unscaled to what is positive in `passed`."""

    def through(layer: str, delta: Array) -> Array:
        if layer not in step.dropped:
            return step.through(layer, delta)
        return delta * (passed[layer] > 0)

    return step.gradients(delta, through)
