"""The images as Keras takes them, and the batches in the order that the recipe shares."""

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from recipe import Recipe
from recipe.batch_order import epoch_order
from recipe.dropout_masks import dropout_masks

EVALUATION_BATCH_SIZE = 1000

Floats = NDArray[np.floating]


def preprocess(images: NDArray[np.uint8], labels: NDArray[np.integer], recipe: Recipe) -> tuple[Floats, Floats]:
    """Grey levels to [0, 1], shape (n, pixels), and labels to one-hot rows, shape (n, classes)."""
    x = images.reshape(len(images), -1).astype(recipe.dtype) / 255
    y = keras.utils.to_categorical(labels, recipe.images.num_classes).astype(recipe.dtype)
    return x, y


def ordered_here(recipe: Recipe) -> bool:
    """Whether the batches are made by `OrderedBatches`, and not by `fit`, which does not tell whose masks are due."""
    return recipe.batch_order == "shared" or recipe.num_mask_columns > 0


class OrderedBatches(keras.callbacks.Callback):
    """Batches in an order that is set before each epoch, with the shared dropout masks after the pixels.

    `dataset` is what `fit` takes: images, shape (batch, pixels + mask columns), and one-hot labels.

    Args:
        recipe: Its seed, batch order, batch size and dropout count.
        x: The training images as `preprocess` gives them.
        y: Their labels.
    """

    def __init__(self, recipe: Recipe, x: Floats, y: Floats) -> None:
        super().__init__()
        self.recipe = recipe
        self.num_images = len(x)
        self.epoch = 0
        order = np.arange(self.num_images, dtype=np.int32)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self.order = tf.Variable(order)
            self.dataset: Any = _tensorflow_dataset(self, x, y)
        else:
            self.order = _Order(order)
            self.dataset = _GatheredBatches(self, x, y)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keras begins to iterate the dataset after this."""
        self.epoch = epoch
        if self.recipe.batch_order == "shared":
            order: Any = epoch_order(self.recipe.seed, epoch, self.num_images)
        else:
            order = keras.random.shuffle(np.arange(self.num_images, dtype=np.int32), seed=self.recipe.seed + epoch)
            order = keras.ops.convert_to_numpy(order)
        self.order.assign(order)

    def masks(self, start: int, stop: int) -> Floats:
        """The dropout masks of the images at these places of the epoch, shape (images, mask columns)."""
        return dropout_masks(self.recipe, self.epoch, int(start), int(stop))


def _tensorflow_dataset(batches: OrderedBatches, x: Floats, y: Floats) -> Any:
    """A tf.data.Dataset whose batches are gathered inside the graph; the order is read again in each epoch."""
    import tensorflow as tf

    images, labels, order = tf.constant(x), tf.constant(y), batches.order
    batch_size, num_mask_columns = batches.recipe.batch_size, batches.recipe.num_mask_columns

    def batch(step: Any) -> tuple[Any, Any]:
        start = step * batch_size
        stop = tf.minimum(start + batch_size, len(x))
        indices = order[start:stop]
        pixels = tf.gather(images, indices)
        if num_mask_columns:
            masks = tf.numpy_function(batches.masks, (start, stop), x.dtype)
            pixels = tf.concat((pixels, tf.ensure_shape(masks, (None, num_mask_columns))), 1)
        return pixels, tf.gather(labels, indices)

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
    def __init__(self, batches: OrderedBatches, x: Floats, y: Floats) -> None:
        super().__init__()
        self.batches, self.x, self.y = batches, x, y

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batches.recipe.batch_size)

    def __getitem__(self, step: int) -> tuple[Floats, Floats]:
        start = step * self.batches.recipe.batch_size
        indices = self.batches.order.value[start : start + self.batches.recipe.batch_size]
        pixels = self.x[indices]
        if self.batches.recipe.num_mask_columns:
            pixels = np.concatenate((pixels, self.batches.masks(start, start + len(indices))), axis=1)
        return pixels, self.y[indices]
