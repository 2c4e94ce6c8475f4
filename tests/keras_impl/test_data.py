import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recipe import mnist
from recipe.batch_order import epoch_order

InKeras = Callable[..., dict[str, Any]]

BATCHES = """
from keras_impl.data import OrderedBatches
x = np.arange(1001, dtype=recipe.dtype)[:, None]
order = OrderedBatches(recipe, x, -x)
out = {}
for epoch in (0, 1, 0):
    order.on_epoch_begin(epoch)
    batches = [[np.asarray(part) for part in batch] for batch in iter_batches(order.dataset)]
    out[f'sizes_{epoch}'] = [len(images) for images, labels in batches]
    out[f'images_{epoch}'], out[f'labels_{epoch}'] = (np.concatenate(parts)[:, 0] for parts in zip(*batches))
"""
ITERATE = {
    "tensorflow": "iter_batches = iter\n",
    "jax": "iter_batches = lambda dataset: [dataset[i] for i in range(len(dataset))]\n",
}


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_batches_follow_the_shared_order_anew_each_epoch(in_keras: InKeras, backend: str) -> None:
    out = in_keras(ITERATE[backend] + BATCHES, backend=backend, seed=4, batch_size=100, dtype="float64")
    for epoch in (0, 1):
        assert np.array_equal(out[f"images_{epoch}"], epoch_order(4, epoch, 1001))
        assert np.array_equal(out[f"labels_{epoch}"], -out[f"images_{epoch}"])
        assert out[f"sizes_{epoch}"].tolist() == [100] * 10 + [1]


def test_labels_are_one_hot(in_keras: InKeras) -> None:
    out = in_keras(
        "from keras_impl.data import preprocess\nfrom recipe.mnist import load\ndigits = load()\n"
        "x, y = preprocess(digits.x_test, digits.y_test, recipe)\nout = {'x': x, 'y': y}"
    )
    labels = mnist.load().y_test
    assert out["y"].dtype == out["x"].dtype == np.float32
    assert np.array_equal(out["y"], np.eye(10, dtype=np.float32)[labels])
    assert out["x"].shape == (len(labels), math.prod(mnist.IMAGE_SHAPE))
    assert (out["x"].min(), out["x"].max()) == (0, 1)
