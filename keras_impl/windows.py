"""Windows of the judged training: copies of single steps, and sums of what every step was fed, on each backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_impl.metrics import RecordingSequential, set_rows
from keras_impl.weights import get_weights
from recipe import Recipe
from recipe.initial_weights import Weights
from record.windows import Fed, Keeper, State, WindowStep, num_steps_per_epoch, place_weights


class FedSums(keras.metrics.Metric):
    """The sum of the pixels and the weighted sum of the classes of every step's batch since the epoch began.

    Kept on the device, the way that `StepLosses` keeps the losses. It costs a step as few operations as there can be.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(name="fed_sums")
        self.num_pixels = recipe.images.num_pixels
        self.sums = self.add_variable((num_steps_per_epoch(recipe), 2), initializer="zeros", name="sums")
        classes = np.arange(recipe.images.num_classes)
        self.counts = np.outer(place_weights(recipe.batch_size), classes).astype(recipe.dtype)

    def update_state(self, x: Any, y: Any, step: Any) -> None:
        """Keeps the sums of a batch: images (batch, pixels or more columns) and one-hot labels, of a step from 0."""
        pixels = ops.sum(x if x.shape[1] == self.num_pixels else x[:, : self.num_pixels])
        classes = ops.sum(y * ops.convert_to_tensor(self.counts)[: ops.shape(y)[0]])
        row, place = ops.reshape(ops.stack([pixels, classes]), (1, 2)), ops.reshape(step, (1, 1))
        set_rows(self.sums, place, row)

    def result(self) -> dict[str, float]:
        """Nothing to log."""
        return {}

    def reset_state(self) -> None:
        """Keeps the sums: Keras also resets before validation."""


class WindowedSequential(RecordingSequential):
    """A model that adds up what every training step is fed, and lets `Windows` keep single steps."""

    fed_sums: FedSums

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes and records the loss, and adds up what it is of."""
        if training and hasattr(self, "fed_sums"):
            self.fed_sums.update_state(x, y, ops.convert_to_tensor(self.step_losses.next_step))
            self.fed_now[:] = x, y
        return super().compute_loss(x, y, y_pred, sample_weight, training)


class Windows(keras.callbacks.Callback):
    """Keeps the windows of a training, and the state right before each epoch's first step and right after its last.

    Made after the model is compiled and before it is fitted.
    """

    model: WindowedSequential

    def __init__(self, model: WindowedSequential, recipe: Recipe) -> None:
        super().__init__()
        self.recipe, self.keeper = recipe, Keeper(recipe)
        self.steps_per_epoch = num_steps_per_epoch(recipe)
        self.sums: list[NDArray[np.floating]] = []
        self.names = list(get_weights(model))
        model.fed_sums = FedSums(recipe)
        self.fed_now: list[Any] = []
        object.__setattr__(model, "fed_now", self.fed_now)
        model.optimizer.build(model.trainable_variables)
        self.optimizer = model.optimizer
        self.variables = model.trainable_variables
        self.buffer: Any = None
        if self.keeper.places:
            {"tensorflow": self._watch_tensorflow, "torch": self._watch_torch, "jax": self._watch_jax}[
                keras.backend.backend()
            ](model)

    def state(self) -> State:
        """Copies of the parameters and of Adam's moments."""
        optimizer = self.optimizer
        groups = (self.variables, optimizer._momentums, optimizer._velocities)  # noqa: SLF001 - no public name
        return State(*map(self._by_name, groups))

    def _by_name(self, values: Any) -> Weights:
        arrays = (np.array(ops.convert_to_numpy(value)) for value in values)
        return dict(zip(self.names, arrays, strict=True))

    def _fed(self, x: Any, y: Any) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """A batch without its dropout masks, and its classes."""
        images = np.array(ops.convert_to_numpy(x)[:, : self.recipe.images.num_pixels])
        return images, np.argmax(ops.convert_to_numpy(y), axis=1)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes which epoch it is."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Before the first step of an epoch; `batch` is the first of this execution, from 0."""
        if batch == 0:
            state = self.state()
            self.keeper.epoch_begins(state)
            first = self._epoch * self.steps_per_epoch + 1
            if first in self.keeper.begins:
                self.keeper.before(first, state)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """After the last step of an epoch; `batch` is the last of this execution, from 0."""
        if batch + 1 < self.steps_per_epoch:
            return
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()  # fit holds the state until the epoch ends
        self.keeper.epoch_ends(self.state())
        self.sums.append(np.array(ops.convert_to_numpy(self.model.fed_sums.sums)))
        if self.buffer is not None:
            self._empty_buffer()

    def fed(self, num_steps: int) -> Fed:
        """The sums of the first steps of the training."""
        sums = np.concatenate(self.sums)[:num_steps]
        return Fed(sums[:, 0].copy(), sums[:, 1].copy())

    # --- torch: Python runs in every step ----------------------------------------------------------

    def _watch_torch(self, model: WindowedSequential) -> None:
        apply, steps = model.optimizer.apply, _counter()

        def watched(grads: Any, trainable_variables: Any = None) -> None:
            number = steps()
            if number in self.keeper.begins:
                self.keeper.before(number, self.state())
            apply(grads, trainable_variables)
            if number in self.keeper.numbers:
                self.keeper.after(WindowStep(number, *self._fed(*self.fed_now), self._by_name(grads), self.state()))

        model.optimizer.apply = watched

    # --- JAX: Python runs between steps, and sees of a step what its compiled function returns ------

    def _watch_jax(self, model: WindowedSequential) -> None:
        optimizer = model.optimizer
        apply, steps = optimizer.apply, _counter()
        gradients = optimizer.add_optimizer_variables(model.trainable_variables, "gradient")

        def leaving_gradients(grads: Any, trainable_variables: Any = None) -> None:
            apply(grads, trainable_variables)
            for variable, gradient in zip(gradients, grads, strict=True):
                variable.assign(gradient)

        optimizer.apply = leaving_gradients
        place = {id(variable): index for index, variable in enumerate(optimizer.variables)}
        groups = (optimizer._momentums, optimizer._velocities, gradients)  # noqa: SLF001 - no public name
        places = [[place[id(variable)] for variable in group] for group in groups]

        def state_and_gradients(state: Any) -> tuple[State, Weights]:
            trainable, _, of_optimizer, _ = state
            first, second, grads = (self._by_name([of_optimizer[index] for index in group]) for group in places)
            return State(self._by_name(trainable), first, second), grads

        def watched(step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
            def take_step(state: Any, data: Any) -> Any:
                number = steps()
                if number in self.keeper.begins:
                    self.keeper.before(number, state_and_gradients(state)[0])
                logs, state = step(state, data)
                if number in self.keeper.numbers:
                    after, grads = state_and_gradients(state)
                    self.keeper.after(WindowStep(number, *self._fed(*data), grads, after))
                return logs, state

            return take_step

        make_function = model._make_function  # noqa: SLF001 - no public name
        object.__setattr__(model, "_make_function", lambda step: make_function(watched(step)))
        model.make_train_function()  # `fit` then takes this one
        object.__delattr__(model, "_make_function")

    # --- TensorFlow: many steps are one call, so that the steps themselves copy into a buffer -------

    def _watch_tensorflow(self, model: WindowedSequential) -> None:
        import tensorflow as tf

        optimizer = model.optimizer
        numbers = sorted(self.keeper.numbers | {number - 1 for number in self.keeper.begins} - {0})
        of_epoch = [[n for n in numbers if (n - 1) // self.steps_per_epoch == epoch] for epoch in self._epochs(numbers)]
        self.slots = {number: slot for epoch in of_epoch for slot, number in enumerate(epoch)}
        groups = [model.trainable_variables, optimizer._momentums, optimizer._velocities]  # noqa: SLF001
        size = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        columns = self.recipe.images.num_pixels + 1
        length = self.recipe.batch_size * columns + (1 + len(groups)) * size
        self.buffer = tf.Variable(tf.zeros((max(map(len, of_epoch)), length), self.recipe.dtype), trainable=False)
        kept, slots = tf.constant(list(self.slots), tf.int64), tf.constant(list(self.slots.values()), tf.int64)
        apply = optimizer.apply

        def keep(grads: Any) -> Any:
            x, y = self.fed_now
            fed = tf.concat([x[:, : columns - 1], tf.cast(tf.argmax(y, 1)[:, None], x.dtype)], 1)
            fed = tf.pad(fed, [[0, self.recipe.batch_size - tf.shape(fed)[0]], [0, 0]])
            values = [fed, *grads, *(variable.value for group in groups for variable in group)]
            row = tf.concat([tf.reshape(value, [-1]) for value in values], 0)
            slot = tf.reduce_max(tf.where(kept == optimizer.iterations.value, slots, 0))
            self.buffer.scatter_update(tf.IndexedSlices(row[None], slot[None]))
            return slot

        def watched(grads: Any, trainable_variables: Any = None) -> None:
            apply(grads, trainable_variables)
            due = tf.reduce_any(kept == tf.cast(optimizer.iterations.value, tf.int64))
            tf.cond(due, lambda: keep(list(grads)), lambda: tf.constant(0, tf.int64))

        optimizer.apply = watched

    def _epochs(self, numbers: list[int]) -> list[int]:
        return sorted({(number - 1) // self.steps_per_epoch for number in numbers})

    def _empty_buffer(self) -> None:
        """Hands the steps that the buffer holds to the keeper, at the end of their epoch."""
        for number, slot in self.slots.items():
            if (number - 1) // self.steps_per_epoch == self._epoch:
                # A row at a time: the whole buffer would be in memory twice.
                fed, gradients, state = self._taken_apart(self.buffer[slot].numpy(), number)
                if number in self.keeper.numbers:
                    self.keeper.after(WindowStep(number, fed[0], fed[1], gradients, state))
                if number + 1 in self.keeper.begins and number % self.steps_per_epoch:
                    self.keeper.before(number + 1, state)

    def _taken_apart(self, row: NDArray[np.floating], number: int) -> tuple[Any, Weights, State]:
        columns = self.recipe.images.num_pixels + 1
        fed, rest = np.split(row, [self.recipe.batch_size * columns])
        batch_in_epoch = (number - 1) % self.steps_per_epoch
        left = self.recipe.images.num_training_images - batch_in_epoch * self.recipe.batch_size
        fed = fed.reshape(-1, columns)[:left]
        shapes = [tuple(variable.shape) for variable in self.variables]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        gradients, *state = (
            {
                name: part.reshape(shape).copy()
                for name, part, shape in zip(self.names, np.split(group, ends), shapes, strict=True)
            }
            for group in np.split(rest, 4)
        )
        return (fed[:, :-1].copy(), fed[:, -1].astype(np.int64)), gradients, State(*state)


def _counter() -> Callable[[], int]:
    """Counts the calls, from 1."""
    count = 0

    def number() -> int:
        nonlocal count
        count += 1
        return count

    return number
