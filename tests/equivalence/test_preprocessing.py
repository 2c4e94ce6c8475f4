from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lightning_impl.data import preprocess
from recipe import Recipe, mnist

KERAS = """
from keras_impl.data import preprocess
from recipe.mnist import load
levels = np.resize(np.arange(256, dtype=np.uint8), (1, 28, 28))
digits = load()
images = np.concatenate([levels, digits.x_test])
labels = np.concatenate([np.zeros(1, np.uint8), digits.y_test])
x, y = preprocess(images, labels, recipe)
out = {'x': x, 'y': y}
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_sides_feed_the_same_bits(in_keras: Callable[..., dict[str, Any]], dtype: str) -> None:
    keras = in_keras(KERAS, dtype=dtype)
    levels = np.resize(np.arange(256, dtype=np.uint8), (1, 28, 28))
    digits = mnist.load()
    images = np.concatenate([levels, digits.x_test])
    x, labels = preprocess(images, np.concatenate([np.zeros(1, np.uint8), digits.y_test]), Recipe(dtype=dtype))
    assert keras["x"].dtype == x.numpy().dtype == dtype
    assert keras["x"].tobytes() == x.numpy().tobytes()
    assert np.array_equal(np.unique(x[0].numpy()), np.arange(256, dtype=dtype) / np.array(255, dtype))
    # One-hot rows on one side, class indices on the other.
    assert np.array_equal(keras["y"].argmax(1), labels.numpy())
    assert np.array_equal(keras["y"].sum(1), np.ones(len(labels)))
