"""The canonical layout of the parameters, to and from this model's layers: the only place that transposes.

torch stores a Linear kernel as (units, inputs) and a convolution's as (filters, channels, rows, columns),
and computes with images of (batch, channels, rows, columns). What it flattens has the channels
outermost, the canonical layout has them innermost: in the kernel that follows, that is another order of inputs.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recipe import Recipe
from recipe.initial_weights import Weights, initial_weights, perturbed


def to_canonical(model: nn.Sequential, value: Callable[[Tensor], Tensor | None]) -> Weights:
    """Copies `value(parameter)`, a tensor of the parameter's shape, of every parameter, by canonical name."""
    weights: Weights = {}
    for name, layer, channels in _layers(model):
        kernel = _numpy(value(layer.weight))
        if kernel.ndim == 4:  # noqa: PLR2004 - of a convolution
            kernel = kernel.transpose(2, 3, 1, 0)
        else:
            units, inputs = kernel.shape
            kernel = kernel.reshape(units, channels, -1).transpose(2, 1, 0).reshape(inputs, units)
        weights[f"{name}.kernel"] = np.array(kernel, order="C")
        assert layer.bias is not None  # noqa: S101 - build_model's layers all have one
        weights[f"{name}.bias"] = np.array(_numpy(value(layer.bias)))
    return weights


def _layers(model: nn.Sequential) -> Iterator[tuple[str, nn.Linear | nn.Conv2d, int]]:
    """Every layer with parameters and its name; and how many channels were flattened before it, 1 where none."""
    channels = 1
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv2d):
            yield name, layer, 1
            channels = layer.out_channels
        elif isinstance(layer, nn.Linear):
            yield name, layer, channels
            channels = 1


def _numpy(tensor: Tensor | None) -> NDArray[np.floating]:
    if tensor is None:
        raise ValueError("a parameter has no gradient: it took no part in the loss")
    return tensor.detach().cpu().numpy()


def get_weights(model: nn.Sequential) -> Weights:
    """The model's parameters by canonical name."""
    return to_canonical(model, lambda parameter: parameter)


@torch.no_grad()
def set_weights(model: nn.Sequential, weights: Weights) -> None:
    """Overwrites the model's parameters with these."""
    for name, layer, channels in _layers(model):
        kernel = weights[f"{name}.kernel"]
        if kernel.ndim == 4:  # noqa: PLR2004 - of a convolution
            kernel = kernel.transpose(3, 2, 0, 1)
        else:
            inputs, units = kernel.shape
            kernel = kernel.reshape(-1, channels, units).transpose(2, 1, 0).reshape(units, inputs)
        layer.weight.copy_(torch.from_numpy(kernel))
        assert layer.bias is not None  # noqa: S101 - as above
        layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"]))


def initialize(model: nn.Sequential, recipe: Recipe) -> None:
    """Gives the model the weights that both sides start from; or moves its own as the recipe's perturbation says."""
    if recipe.initial_weights == "shared":
        set_weights(model, initial_weights(recipe))
    else:
        set_weights(model, perturbed(get_weights(model), recipe))


def canonical_activation(activation: Tensor) -> NDArray[np.floating]:
    """A copy of what a layer computes: (batch, units), or (batch, rows, columns, filters) of a convolution."""
    array = _numpy(activation)
    return np.array(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array, order="C")  # noqa: PLR2004
