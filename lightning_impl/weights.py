"""The canonical layout of the parameters, to and from this model's layers: the only place that transposes."""

import numpy as np
import torch
from torch import nn

from recipe.initial_weights import Weights


def get_weights(model: nn.Sequential) -> Weights:
    """The model's parameters by canonical name; a Linear weight has the shape (units, inputs)."""
    weights: Weights = {}
    for name, layer in model.named_children():
        if isinstance(layer, nn.Linear):
            weights[f"{name}.kernel"] = np.ascontiguousarray(layer.weight.detach().cpu().numpy().T)
            weights[f"{name}.bias"] = layer.bias.detach().cpu().numpy().copy()
    return weights


@torch.no_grad()
def set_weights(model: nn.Sequential, weights: Weights) -> None:
    """Overwrites the model's parameters with these."""
    for name, layer in model.named_children():
        if isinstance(layer, nn.Linear):
            layer.weight.copy_(torch.from_numpy(weights[f"{name}.kernel"].T))
            layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"]))
