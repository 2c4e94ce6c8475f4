"""Dropout by the masks that both sides share: they come with the images, in columns after the pixels."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipe import Recipe
from recipe.dropout_masks import dropout_masks


class SharedDropout(nn.Module):
    """Multiplies by a mask of zeros and 1 / (1 − p); without one it changes nothing.

    Args:
        p: Share of the activations that the masks drop, by `nn.Dropout`'s name for it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, activations: Tensor, mask: Tensor | None = None) -> Tensor:
        """What is passed on of the activations, shape (batch, units), by a mask of the same shape."""
        return activations if mask is None else activations * mask


class MaskedSequential(nn.Sequential):
    """Layers that take images alone or, in training, images with a mask for every SharedDropout layer.

    Args:
        layers: The layers by name, from the input on.
        num_pixels: Columns of an image; after them come the masks, in the order of their layers.
    """

    def __init__(self, layers: OrderedDict[str, nn.Module], num_pixels: int) -> None:
        super().__init__(layers)
        self.num_pixels = num_pixels

    def forward(self, inputs: Tensor) -> Tensor:
        """Images, shape (batch, pixels) or (batch, pixels + mask columns), to logits."""
        tensor, masks = inputs[:, : self.num_pixels], inputs[:, self.num_pixels :]
        for layer in self:
            if isinstance(layer, SharedDropout) and masks.shape[1]:
                units = tensor.shape[1]
                tensor, masks = layer(tensor, masks[:, :units]), masks[:, units:]
            else:
                tensor = layer(tensor)
        return tensor


def masks_of_step(recipe: Recipe, epoch: int, step: int, num_images: int) -> Tensor:
    """The shared masks of step `step` of an epoch, both from 0, shape (images, mask columns), over all processes."""
    start = step * recipe.batch_size
    return torch.from_numpy(dropout_masks(recipe, epoch, start, start + num_images))


def seed_dropout(recipe: Recipe, epoch: int, rank: int) -> None:
    """Gives torch's own dropout a stream of its own in each epoch and process, so that a restart repeats it."""
    if recipe.dropout and recipe.dropout_masks == "framework":
        stream = np.random.SeedSequence((recipe.seed, epoch, rank))
        torch.manual_seed(int(stream.generate_state(1)[0]))


def dropout_settings(model: nn.Sequential) -> dict[str, Any]:
    """The dropout as the live layers state it, under the names of a record's settings."""
    layers = [layer for layer in model if isinstance(layer, SharedDropout | nn.Dropout)]
    if not layers:
        return {"dropout.rate": 0.0, "dropout.masks": "none"}
    shared = isinstance(layers[0], SharedDropout)
    return {"dropout.rate": layers[0].p, "dropout.masks": "shared" if shared else "torch's generator"}
