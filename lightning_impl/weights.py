"""The canonical layout of the parameters, to and from this model's layers: the only place that transposes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recipe.initial_weights import Weights


def to_canonical(model: nn.Sequential, value: Callable[[Tensor], Tensor | None]) -> Weights:
    """Copies `value(parameter)`, a tensor of the parameter's shape, of every parameter, by canonical name.

    A Linear weight has the shape (units, inputs), a canonical kernel (inputs, units).
    """
    weights: Weights = {}
    for name, layer in model.named_children():
        if isinstance(layer, nn.Linear):
            weights[f"{name}.kernel"] = _copy(value(layer.weight)).T.copy()
            weights[f"{name}.bias"] = _copy(value(layer.bias))
    return weights


def _copy(tensor: Tensor | None) -> NDArray[np.floating]:
    if tensor is None:
        raise ValueError("a parameter has no gradient: it took no part in the loss")
    return np.array(tensor.detach().cpu().numpy())


def get_weights(model: nn.Sequential) -> Weights:
    """The model's parameters by canonical name."""
    return to_canonical(model, lambda parameter: parameter)


@torch.no_grad()
def set_weights(model: nn.Sequential, weights: Weights) -> None:
    """Overwrites the model's parameters with these."""
    for name, layer in model.named_children():
        if isinstance(layer, nn.Linear):
            layer.weight.copy_(torch.from_numpy(weights[f"{name}.kernel"].T))
            layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"]))
