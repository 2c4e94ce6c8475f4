"""Convolution and max pooling, forwards and backwards: every layer as one product of matrices.

A convolution is a dense layer over patches: at each place of an image the kernel meets the 3×3 pixels
there, of all channels, in one row. So what holds of a dense layer, its rounding-error bounds too,
holds of the rows of patches. Written from the formulas, in NumPy; images and feature maps have the
shape (batch, rows, columns, channels), kernels (rows, columns, channels in, filters).
"""

from itertools import combinations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from recipe.recipe import KERNEL_SIZE, POOL_SIZE

Array = NDArray[np.float64]


def as_maps(images: Array, image_shape: tuple[int, int]) -> Array:
    """Images (batch, pixels) as a convolution takes them, (batch, rows, columns, 1)."""
    return images.reshape(len(images), *image_shape, 1)


def is_convolution(kernel: Array) -> bool:
    """Whether a kernel is a convolution's, not a dense layer's (inputs, units)."""
    return kernel.ndim == 4  # noqa: PLR2004


def patches(maps: Array) -> Array:
    """The pixels under the kernel at each of its places, shape (batch, rows − 2, columns − 2, 9 · channels)."""
    windows = sliding_window_view(maps, (KERNEL_SIZE, KERNEL_SIZE), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)


def rows(inputs: Array, kernel: Array) -> Array:
    """What is multiplied with `matrix(kernel)`: a row a place of the kernel, or an image as a dense layer takes it.

    Feature maps are flattened row by row, column by column, channels innermost.
    """
    if is_convolution(kernel):
        taken = patches(inputs)
        return taken.reshape(-1, taken.shape[-1])
    return inputs.reshape(len(inputs), -1)


def matrix(kernel: Array) -> Array:
    """A kernel as a matrix, shape (terms of a sum, units)."""
    return kernel.reshape(-1, kernel.shape[-1])


def linear(inputs: Array, kernel: Array, bias: Array) -> Array:
    """A layer's pre-activations: (batch, units), or of a convolution (batch, rows, columns, filters)."""
    product = rows(inputs, kernel) @ matrix(kernel) + bias
    if is_convolution(kernel):
        shape = [size - KERNEL_SIZE + 1 for size in inputs.shape[1:3]]
        return product.reshape(len(inputs), *shape, -1)
    return product


def spread(delta: Array, kernel: Array) -> tuple[Array, Array]:
    """The two matrices whose product, in the inputs' shape, is ∂loss/∂inputs, from ∂loss/∂pre-activations.

    An input takes part at every place of the kernel that covers it, so that of a convolution they are
    the patches of `delta`, with zeros around it, and the kernel flipped in both directions.
    """
    if not is_convolution(kernel):
        return delta, kernel.T
    border = (KERNEL_SIZE - 1, KERNEL_SIZE - 1)
    taken = patches(np.pad(delta, ((0, 0), border, border, (0, 0))))
    return taken.reshape(-1, taken.shape[-1]), matrix(kernel[::-1, ::-1].swapaxes(2, 3))


def windows(maps: Array) -> Array:
    """The four of each 2×2 window, row by row: shape (batch, rows // 2, columns // 2, 4, channels)."""
    batch, height, width, channels = maps.shape
    height, width = height // POOL_SIZE, width // POOL_SIZE
    cut = maps[:, : height * POOL_SIZE, : width * POOL_SIZE]
    parts = cut.reshape(batch, height, POOL_SIZE, width, POOL_SIZE, channels)
    return parts.swapaxes(2, 3).reshape(batch, height, width, POOL_SIZE**2, channels)


def max_pool(maps: Array) -> Array:
    """The largest of each 2×2 window; a rest at the border is left out."""
    return windows(maps).max(axis=3)


def unpool(parts: Array, shape: tuple[int, ...]) -> Array:
    """What `windows` took apart, put together in `shape`, zeros where the pooling left a rest out."""
    batch, height, width, _, channels = parts.shape
    pairs = parts.reshape(batch, height, width, POOL_SIZE, POOL_SIZE, channels).swapaxes(2, 3)
    maps = np.zeros(shape)
    maps[:, : height * POOL_SIZE, : width * POOL_SIZE] = pairs.reshape(
        batch, height * POOL_SIZE, width * POOL_SIZE, channels
    )
    return maps


def route(delta: Array, maps: Array) -> Array:
    """∂loss/∂maps from that of the pooled: each goes to the largest of its window, to the first where several are."""
    parts = windows(maps)
    routed = np.zeros_like(parts)
    np.put_along_axis(routed, parts.argmax(axis=3, keepdims=True), delta[:, :, :, None], axis=3)
    return unpool(routed, maps.shape)


def undecided(delta: Array, maps: Array, inputs: Array) -> Array:
    """How far `route` may be off where a window has several largest activations: each may get all or nothing.

    Which of them is no question of rounding, and implementations may differ. Where the same patches of
    the layer's `inputs` lie under them, as in the background, nothing comes of it, and nothing is allowed.
    """
    parts = windows(maps)
    tied = (parts == parts.max(axis=3, keepdims=True)) & (parts > 0)
    taken = windows(patches(inputs))
    open_question = np.zeros(delta.shape, bool)
    for first, second in combinations(range(POOL_SIZE**2), 2):
        differ = (taken[:, :, :, first] != taken[:, :, :, second]).any(axis=-1)
        open_question |= tied[:, :, :, first] & tied[:, :, :, second] & differ[..., None]
    return unpool(tied * (open_question * np.abs(delta))[:, :, :, None], maps.shape)
