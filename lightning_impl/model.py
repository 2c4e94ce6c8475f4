"""The network: convolutions where the recipe has them, hidden ReLU layers, an output for each class."""

from collections import OrderedDict
from math import prod

import torch
from torch import nn

from lightning_impl.dropout import MaskedSequential, SharedDropout
from recipe import Recipe
from recipe.recipe import KERNEL_SIZE, POOL_SIZE


def build_model(recipe: Recipe) -> nn.Sequential:
    """The layers from images, shape (batch, pixels), to logits, shape (batch, classes).

    The softmax belongs to the loss: `torch.nn.CrossEntropyLoss` applies it.
    """
    dtype = getattr(torch, recipe.dtype)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = recipe.images.num_pixels
    if recipe.network == "cnn":
        channels = 1
        layers["rows_and_columns"] = nn.Unflatten(1, (channels, *recipe.images.image_shape))
        for name, filters in zip(recipe.convolution_names, recipe.filters, strict=True):
            layers[name] = nn.Conv2d(channels, filters, KERNEL_SIZE, dtype=dtype)
            layers[f"{name}_activation"] = nn.ReLU()
            layers[f"{name}_pooling"] = nn.MaxPool2d(POOL_SIZE)
            channels = filters
        layers["flatten"] = nn.Flatten()
        inputs = channels * prod(recipe.feature_map_shapes[-1])
    for name, units in zip(recipe.hidden_names, recipe.hidden_sizes, strict=True):
        layers[name] = nn.Linear(inputs, units, dtype=dtype)
        layers[f"{name}_activation"] = nn.ReLU()
        if recipe.dropout:
            shared = recipe.dropout_masks == "shared"
            layers[f"{name}_dropout"] = SharedDropout(recipe.dropout) if shared else nn.Dropout(recipe.dropout)
        inputs = units
    layers["output"] = nn.Linear(inputs, recipe.images.num_classes, dtype=dtype)
    return MaskedSequential(layers, recipe.images.num_pixels) if recipe.num_mask_columns else nn.Sequential(layers)
