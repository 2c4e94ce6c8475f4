"""The images as Keras takes them, and the batches in the order that the recipe shares."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_impl.backend import current_device
from keras_impl.blocks import StepNumber, block_function
from recipe import Recipe
from recipe.batch_order import epoch_order
from recipe.dropout_masks import dropout_masks

EVALUATION_BATCH_SIZE = 1000

Floats = NDArray[np.floating]


def preprocess(images: NDArray[np.uint8], labels: NDArray[np.integer], recipe: Recipe) -> tuple[Floats, Floats]:
    """Grey levels to [0, 1], shape (n, pixels), and labels to one-hot rows, shape (n, classes)."""
    x = images.reshape(len(images), -1).astype(recipe.dtype)
    x /= 255
    return x, _one_hot(labels, recipe)


def _one_hot(labels: NDArray[np.integer], recipe: Recipe) -> Floats:
    return keras.utils.to_categorical(labels, recipe.images.num_classes).astype(recipe.dtype)


def ordered_here(recipe: Recipe) -> bool:
    """Whether the batches are made by `OrderedBatches`, and not by `fit`, which does not tell whose masks are due."""
    return recipe.batch_order == "shared" or recipe.num_mask_columns > 0


class OrderedBatches(keras.callbacks.Callback):
    """Batches in an order that is set before each epoch, with the shared dropout masks after the pixels.

    `dataset` is what `fit` takes: images, shape (batch, pixels + mask columns), and one-hot labels.

    Args:
        recipe: Its seed, batch order, batch size and dropout count.
        images: The training images, shape (n, rows, columns).
        labels: Their classes, shape (n,).
    """

    def __init__(self, recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.integer]) -> None:
        super().__init__()
        self.recipe = recipe
        self.num_images = len(images)
        self.num_batches = math.ceil(self.num_images / recipe.batch_size)
        self.epoch = 0
        self.first_step = 0
        # On a GPU, where XLA compiles the step, Keras's own loop is left alone.
        self.in_blocks = keras.backend.backend() == "tensorflow" and current_device() == "cpu"
        order = np.arange(self.num_images, dtype=np.int32)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.device("CPU:0"):  # where tf.data gathers, whatever else there is
                self.order = tf.Variable(order)
                self.batch = _tensorflow_batch(self, images, labels)
            self.dataset: Any = _tensorflow_dataset(self.batch, self.num_batches)
        else:
            self.order = _Order(order)
            self.dataset = _GatheredBatches(self, *preprocess(images, labels, recipe))

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Has `fit` take its steps in blocks, where there are any; it asks `train_function` for every execution."""
        if self.in_blocks:
            take_block = block_function(self.model, self.batch, self.num_batches)
            self.model.train_function = lambda _: take_block(self.first_step)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leaves it to the next `fit` to make a function of its own."""
        if self.in_blocks:
            self.model.train_function = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Notes the first step of an execution; `batch` is its number in the epoch, from 0."""
        self.first_step = batch

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


def _tensorflow_batch(
    batches: OrderedBatches, images: NDArray[np.uint8], labels: NDArray[np.integer]
) -> Callable[[StepNumber], tuple[Any, Any]]:
    """Gathers the batch of a step inside the graph, and does there what `preprocess` does; reads the order anew."""
    import tensorflow as tf

    recipe, order = batches.recipe, batches.order
    # As grey levels they take a quarter of the memory, or an eighth.
    grey_levels = tf.constant(images.reshape(len(images), -1))
    # Not a constant, for TensorFlow's Grappler has a graph multiply by the rounded reciprocal of one.
    highest = tf.Variable(255, dtype=recipe.dtype, trainable=False)
    one_hot = tf.constant(_one_hot(labels, recipe))
    batch_size, num_mask_columns = recipe.batch_size, recipe.num_mask_columns

    def batch(step: StepNumber) -> tuple[Any, Any]:
        start = step * batch_size
        stop = tf.minimum(start + batch_size, len(images))
        indices = order[start:stop]
        pixels = tf.cast(tf.gather(grey_levels, indices), recipe.dtype) / highest
        if num_mask_columns:
            masks = tf.numpy_function(batches.masks, (start, stop), recipe.dtype)
            pixels = tf.concat((pixels, tf.ensure_shape(masks, (None, num_mask_columns))), 1)
        return pixels, tf.gather(one_hot, indices)

    return batch


def _tensorflow_dataset(batch: Callable[[StepNumber], tuple[Any, Any]], num_batches: int) -> Any:
    """A tf.data.Dataset of the batches of an epoch."""
    import tensorflow as tf

    # A batch is gathered in less time than another thread takes to hand it over.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
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
        return self.batches.num_batches

    def __getitem__(self, step: int) -> tuple[Floats, Floats]:
        start = step * self.batches.recipe.batch_size
        indices = self.batches.order.value[start : start + self.batches.recipe.batch_size]
        pixels = self.x[indices]
        if self.batches.recipe.num_mask_columns:
            pixels = np.concatenate((pixels, self.batches.masks(start, start + len(indices))), axis=1)
        return pixels, self.y[indices]
