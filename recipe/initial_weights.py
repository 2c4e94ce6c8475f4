"""Seed -> the float arrays both networks start from, in the canonical layout.

The canonical layout is a dict from name to array, layer by layer from input to output: a dense
layer's `<layer>.kernel` has the shape (inputs, units) and its `<layer>.bias` (units,); a convolution's
kernel has the shape (rows, columns, channels in, filters) and its bias (filters,). The dense layer
after a convolution takes what the pooling leaves row by row, column by column, channels innermost.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from recipe.recipe import KERNEL_SIZE, Recipe

Weights = dict[str, NDArray[np.floating]]

_STREAM = 2
_PERTURBATION_STREAM = 3


def weight_shapes(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """The name and shape of every parameter, in the canonical order."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = recipe.images.num_pixels
    if recipe.network == "cnn":
        channels = 1
        for name, filters in zip(recipe.convolution_names, recipe.filters, strict=True):
            shapes[f"{name}.kernel"] = (KERNEL_SIZE, KERNEL_SIZE, channels, filters)
            shapes[f"{name}.bias"] = (filters,)
            channels = filters
        inputs = prod(recipe.feature_map_shapes[-1]) * channels
    sizes = (inputs, *recipe.hidden_sizes, recipe.images.num_classes)
    dense_names = (*recipe.hidden_names, recipe.layer_names[-1])
    for name, inputs, units in zip(dense_names, sizes[:-1], sizes[1:], strict=True):
        shapes[f"{name}.kernel"] = (inputs, units)
        shapes[f"{name}.bias"] = (units,)
    return shapes


def initial_weights(recipe: Recipe) -> Weights:
    """The shared initial weights, perturbed if the recipe says so; dtype `recipe.dtype`.

    Kernels are Glorot uniform (Glorot & Bengio 2010), as Keras's layers have by default:
    U(-limit, limit) with limit = √(6 / (inputs + units)); of a convolution, inputs and units count its
    channels and filters at every place of the kernel. Biases are zero.

    Layer i takes its numbers from the Philox stream with counter word i, and a number in [0, 1) is
    the upper 53 bits of a raw 64-bit number times 2⁻⁵³: the same under every version of NumPy.
    """
    weights: Weights = {}
    for index, (name, shape) in enumerate(weight_shapes(recipe).items()):
        if name.endswith(".bias"):
            weights[name] = np.zeros(shape, recipe.dtype)
            continue
        raw = np.random.Philox(key=[recipe.seed, _STREAM], counter=[0, index, 0, 0]).random_raw(prod(shape))
        uniform = (raw >> np.uint64(11)) * 2.0**-53
        limit = np.sqrt(6 / (prod(shape[:-2]) * (shape[-2] + shape[-1])))
        weights[name] = ((2 * uniform - 1) * limit).reshape(shape).astype(recipe.dtype)
    return perturbed(weights, recipe)


def perturbed(weights: Weights, recipe: Recipe) -> Weights:
    """The weights with every entry one unit in the last place up or down.

    Which way is drawn from `recipe.perturbation`; at 0 the weights come back as they are. A zero
    stays zero: the float next to it is subnormal, which is no rounding error of anything.
    """
    if recipe.perturbation == 0:
        return weights
    moved: Weights = {}
    for index, (name, array) in enumerate(weights.items()):
        key = [recipe.perturbation, _PERTURBATION_STREAM]
        raw = np.random.Philox(key=key, counter=[0, index, 0, 0]).random_raw(array.size)
        up = (raw >> np.uint64(63)).astype(bool).reshape(array.shape)
        towards = np.where(up, np.inf, -np.inf).astype(array.dtype)
        moved[name] = np.where(array == 0, array, np.nextafter(array, towards))
    return moved
