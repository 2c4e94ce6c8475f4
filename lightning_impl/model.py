"""The network: 784 pixels, hidden ReLU layers, ten classes."""

from collections import OrderedDict

import torch
from torch import nn

from recipe import Recipe
from recipe.mnist import NUM_CLASSES, NUM_PIXELS


def build_model(recipe: Recipe) -> nn.Sequential:
    """The layers from images, shape (batch, 784), to logits, shape (batch, 10).

    The softmax belongs to the loss: `torch.nn.functional.cross_entropy` applies it.
    """
    dtype = getattr(torch, recipe.dtype)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = NUM_PIXELS
    for name, units in zip(recipe.layer_names[:-1], recipe.hidden_sizes, strict=True):
        layers[name] = nn.Linear(inputs, units, dtype=dtype)
        layers[f"{name}_activation"] = nn.ReLU()
        inputs = units
    layers[recipe.layer_names[-1]] = nn.Linear(inputs, NUM_CLASSES, dtype=dtype)
    return nn.Sequential(layers)
