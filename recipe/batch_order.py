"""Seed and epoch -> which training images make up which batch."""

import numpy as np
from numpy.typing import NDArray

_STREAM = 1
"""Keeps this use of a seed apart from the initial weights' (`recipe/initial_weights.py`)."""


def epoch_order(seed: int, epoch: int, num_images: int) -> NDArray[np.int32]:
    """The order in which epoch `epoch` (from 0) visits the images: a permutation, shape (num_images,).

    Step i trains on the images `order[i * batch_size : (i + 1) * batch_size]`; the last batch may be
    smaller, and none is dropped.

    The permutation sorts one raw 64-bit Philox number per image. NumPy keeps the raw streams of its
    bit generators for good (NEP 19) but may change `Generator.permutation`, so this order is the
    same under every version of NumPy.
    """
    numbers = np.random.Philox(key=[seed, _STREAM], counter=[0, epoch, 0, 0]).random_raw(num_images)
    return np.argsort(numbers, kind="stable").astype(np.int32)
