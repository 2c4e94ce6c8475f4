import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recipe import Recipe, mnist
from recipe.batch_order import epoch_order
from recipe.dropout_masks import dropout_masks

InKeras = Callable[..., dict[str, Any]]

BATCHES = """
from keras_impl.data import OrderedBatches
x = np.arange(1001, dtype=recipe.dtype)[:, None]
order = OrderedBatches(recipe, x, -x)  # of images of one pixel
out = {}
for epoch in (0, 1, 0):
    order.on_epoch_begin(epoch)
    batches = [[np.asarray(part) for part in batch] for batch in iter_batches(order.dataset)]
    out[f'sizes_{epoch}'] = [len(images) for images, labels in batches]
    inputs, labels = (np.concatenate(parts) for parts in zip(*batches))
    out |= {f'images_{epoch}': inputs[:, 0], f'masks_{epoch}': inputs[:, 1:], f'labels_{epoch}': labels[:, 0]}
"""
ITERATE = {
    "tensorflow": "iter_batches = iter\n",
    "jax": "iter_batches = lambda dataset: [dataset[i] for i in range(len(dataset))]\n",
}


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_batches_follow_the_shared_order_anew_each_epoch(in_keras: InKeras, backend: str) -> None:
    out = in_keras(ITERATE[backend] + BATCHES, backend=backend, seed=4, batch_size=100, dtype="float64")
    for epoch in (0, 1):
        assert out[f"masks_{epoch}"].shape == (1001, 0)
        assert np.array_equal(out[f"images_{epoch}"], epoch_order(4, epoch, 1001))
        assert np.array_equal(out[f"labels_{epoch}"], -out[f"images_{epoch}"])
        assert out[f"sizes_{epoch}"].tolist() == [100] * 10 + [1]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("batch_order", ["shared", "framework"])
def test_shared_masks_stand_behind_the_pixels(in_keras: InKeras, backend: str, batch_order: str) -> None:
    fields = {"seed": 4, "batch_size": 100, "dropout": 0.4, "hidden_sizes": [3, 2], "batch_order": batch_order}
    out = in_keras(ITERATE[backend] + BATCHES, backend=backend, **fields)
    for epoch in (0, 1):
        masks = out[f"masks_{epoch}"]
        assert masks.dtype == np.float32
        assert np.array_equal(masks, dropout_masks(Recipe(**fields), epoch, 0, 1001))
        assert np.array_equal(out[f"labels_{epoch}"], -out[f"images_{epoch}"])
        assert np.array_equal(np.sort(out[f"images_{epoch}"]), np.arange(1001))
        shared_order = np.array_equal(out[f"images_{epoch}"], epoch_order(4, epoch, 1001))
        assert shared_order == (batch_order == "shared")
    assert not np.array_equal(out["images_0"], out["images_1"])


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
