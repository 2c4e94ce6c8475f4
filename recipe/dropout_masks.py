"""Seed, epoch and place in it -> which activations dropout drops, so that both sides drop the same."""

import math

import numpy as np
from numpy.typing import NDArray

from recipe.recipe import Recipe

_STREAM = 4
"""Keeps this use of a seed apart from the batch order's, the initial weights' and the perturbation's."""

_NUMBERS_PER_COUNT = 4
"""Of 64 bits, that one count of Philox's counter yields."""


def dropout_masks(recipe: Recipe, epoch: int, start: int, stop: int) -> NDArray[np.floating]:
    """What to multiply the hidden activations by: 0, or 1 / (1 − dropout) for those that are kept.

    Inverted dropout (Srivastava et al. 2014, section 10), as both frameworks have it: nothing is to be
    done when the network is used.

    Args:
        recipe: Its seed, hidden sizes, dropout and dtype count.
        epoch: Counted from 0.
        start: Place in the epoch's order of the first image, from 0.
        stop: Place after that of the last image.

    Returns:
        Shape (stop − start, units of all hidden layers, from the input on), of the recipe's dtype.

    Each layer draws from the Philox stream with its number, from 0, in the counter's third word; image
    by image it takes one raw number a unit, whose upper 53 bits times 2⁻⁵³ lie below the dropout
    where the activation is dropped.
    """
    masks = np.empty((stop - start, sum(recipe.hidden_sizes)), recipe.dtype)
    # (raw >> 11)·2⁻⁵³ < dropout, in whole numbers.
    threshold = np.uint64(math.ceil(recipe.dropout * 2**53) << 11)
    column = 0
    for layer, units in enumerate(recipe.hidden_sizes):
        raw = _raw_numbers(recipe.seed, epoch, layer, start * units, stop * units)
        masks[:, column : column + units] = raw.reshape(-1, units) >= threshold
        column += units
    masks *= masks.dtype.type(1 / (1 - recipe.dropout))
    return masks


def _raw_numbers(seed: int, epoch: int, layer: int, start: int, stop: int) -> NDArray[np.uint64]:
    """The numbers from `start` to `stop` of a layer's stream."""
    skipped, rest = divmod(start, _NUMBERS_PER_COUNT)
    raw = np.random.Philox(key=[seed, _STREAM], counter=[skipped, epoch, layer, 0]).random_raw(stop - start + rest)
    return raw[rest:]
