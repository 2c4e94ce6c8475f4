"""The digits as Keras takes them, and the batches in the order that the recipe shares."""

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from recipe import Recipe
from recipe.batch_order import epoch_order
from recipe.mnist import NUM_CLASSES, NUM_PIXELS

Floats = NDArray[np.floating]


def preprocess(images: NDArray[np.uint8], labels: NDArray[np.uint8], dtype: str) -> tuple[Floats, Floats]:
    """Grey levels to [0, 1], shape (n, 784), and digits to one-hot rows, shape (n, 10)."""
    x = images.reshape(len(images), NUM_PIXELS).astype(dtype) / 255
    y = keras.utils.to_categorical(labels, NUM_CLASSES).astype(dtype)
    return x, y


class SharedOrder(keras.callbacks.Callback):
    """Puts the recipe's order of the current epoch where the batches of `dataset` are gathered from."""

    def __init__(self, recipe: Recipe, x: Floats, y: Floats) -> None:
        super().__init__()
        self.seed = recipe.seed
        self.num_images = len(x)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self.order = tf.Variable(np.arange(self.num_images, dtype=np.int32))
            self.dataset: Any = _tensorflow_dataset(x, y, self.order, recipe.batch_size)
        else:
            self.order = _Order(np.arange(self.num_images, dtype=np.int32))
            self.dataset = _GatheredBatches(x, y, self.order, recipe.batch_size)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras begins to iterate the dataset after this."""
        self.order.assign(epoch_order(self.seed, epoch, self.num_images))


def _tensorflow_dataset(x: Floats, y: Floats, order: Any, batch_size: int) -> Any:
    """A tf.data.Dataset whose batches are gathered inside the graph; the order is read anew each epoch."""
    import tensorflow as tf

    images, labels = tf.constant(x), tf.constant(y)

    def batch(step: Any) -> tuple[Any, Any]:
        indices = order[step * batch_size : (step + 1) * batch_size]
        return tf.gather(images, indices), tf.gather(labels, indices)

    # A batch is gathered in less time than another thread takes to hand it over.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    num_batches = math.ceil(len(x) / batch_size)
    return tf.data.Dataset.range(num_batches, output_type=tf.int32).map(batch).with_options(options)


class _Order:
    """Holds an array the way that a tf.Variable does."""

    def __init__(self, order: NDArray[np.int32]) -> None:
        self.value = order

    def assign(self, order: NDArray[np.int32]) -> None:
        self.value = order


class _GatheredBatches(keras.utils.PyDataset):
    def __init__(self, x: Floats, y: Floats, order: _Order, batch_size: int) -> None:
        super().__init__()
        self.x, self.y, self.order, self.batch_size = x, y, order, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, step: int) -> tuple[Floats, Floats]:
        indices = self.order.value[step * self.batch_size : (step + 1) * self.batch_size]
        return self.x[indices], self.y[indices]
