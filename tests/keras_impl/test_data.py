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
from keras_impl.data import OrderedBatches, preprocess
numbers = np.arange(1001)
images = np.stack(np.divmod(numbers, 256), axis=1).astype(np.uint8)[:, None]  # of two pixels, which tell their number
order = OrderedBatches(recipe, images, numbers % 10)
out = dict(zip(('x', 'y'), preprocess(images, numbers % 10, recipe)))
for epoch in (0, 1, 0):
    order.on_epoch_begin(epoch)
    batches = [[np.asarray(part) for part in batch] for batch in iter_batches(order.dataset)]
    out[f'sizes_{epoch}'] = [len(images) for images, labels in batches]
    inputs, labels = (np.concatenate(parts) for parts in zip(*batches))
    out[f'order_{epoch}'] = np.round(inputs[:, :2].astype('float64') * 255 @ [256, 1]).astype(int)
    out |= {f'images_{epoch}': inputs[:, :2], f'masks_{epoch}': inputs[:, 2:], f'labels_{epoch}': labels}
"""
ITERATE = {
    "tensorflow": "iter_batches = iter\n",
    "jax": "iter_batches = lambda dataset: [dataset[i] for i in range(len(dataset))]\n",
}


def check_batches_are_preprocessed(out: dict[str, Any], epoch: int) -> None:
    """To the last bit, though TensorFlow does it batch by batch, in its graph."""
    order = out[f"order_{epoch}"]
    assert out[f"images_{epoch}"].dtype == out["x"].dtype
    assert np.array_equal(out[f"images_{epoch}"], out["x"][order])
    assert np.array_equal(out[f"labels_{epoch}"], out["y"][order])


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_batches_follow_the_shared_order_anew_each_epoch(in_keras: InKeras, backend: str) -> None:
    out = in_keras(ITERATE[backend] + BATCHES, backend=backend, seed=4, batch_size=100, dtype="float64")
    for epoch in (0, 1):
        assert out[f"masks_{epoch}"].shape == (1001, 0)
        assert np.array_equal(out[f"order_{epoch}"], epoch_order(4, epoch, 1001))
        check_batches_are_preprocessed(out, epoch)
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
        check_batches_are_preprocessed(out, epoch)
        assert np.array_equal(np.sort(out[f"order_{epoch}"]), np.arange(1001))
        shared_order = np.array_equal(out[f"order_{epoch}"], epoch_order(4, epoch, 1001))
        assert shared_order == (batch_order == "shared")
    assert not np.array_equal(out["order_0"], out["order_1"])


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


ON_A_SECOND_DEVICE = """
import tensorflow as tf
cpu, = tf.config.list_physical_devices('CPU')
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_impl.data import OrderedBatches
variables, make = [], tf.Variable
tf.Variable = lambda *arguments, **options: variables.append(make(*arguments, **options)) or variables[-1]
with tf.device('CPU:1'):  # as where there is a GPU, which takes all that is not told where to be
    OrderedBatches(recipe, np.zeros((20, 1, 2), np.uint8), np.arange(20) % 10)
out = {'devices': [variable.device for variable in variables]}
"""


def test_what_batches_are_gathered_from_is_where_tf_data_gathers(in_keras: InKeras) -> None:
    """TensorFlow refuses to read a GPU's variable on the CPU."""
    devices = in_keras(ON_A_SECOND_DEVICE, batch_size=8)["devices"].tolist()
    assert len(devices) > 1
    assert all(device.endswith("CPU:0") for device in devices)
