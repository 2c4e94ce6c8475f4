"""The first steps of a Keras run, each number of them, from the live model, loss and optimizer."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_impl import backend
from keras_impl.data import Floats, SharedOrder, preprocess
from keras_impl.training import RecordingSequential, compile_model, loss_takes_logits, settings
from keras_impl.weights import get_weights
from recipe import Recipe
from recipe.initial_weights import Weights
from recipe.mnist import Digits
from recipe.trace import Step, Trace, hash_batches, num_traced_steps
from recipe.worker import versions

FedBatches = Iterator[tuple[Floats, Floats]]


def trace(recipe: Recipe, digits: Digits) -> Trace:
    """Takes the first steps of the training that the recipe describes."""
    model = compile_model(recipe)
    epochs = _batches_as_fed(recipe, digits)
    hashes, first_batches = hash_batches(_with_classes(next(epochs)), keep=num_traced_steps(recipe))
    hashes += hash_batches([next(_with_classes(next(epochs)))], keep=0)[0]
    initial_weights = get_weights(model)
    take_step = _step_function(model)
    return Trace(
        recipe=recipe,
        framework="keras",
        versions=versions("keras", keras.backend.backend(), "numpy"),
        backend=keras.backend.backend(),
        device=backend.current_device(),
        threads=backend.num_threads(),
        settings=settings(model, recipe),
        batch_hashes=hashes,
        initial_weights=initial_weights,
        steps=[_step(model, take_step, images, labels, recipe) for images, labels in first_batches],
    )


def _batches_as_fed(recipe: Recipe, digits: Digits) -> Iterator[FedBatches]:
    """The batches of each epoch as `fit` feeds them, images and one-hot labels."""
    x, y = preprocess(digits.x_train, digits.y_train, recipe.dtype)
    if recipe.batch_order == "shared":
        shared_order = SharedOrder(recipe, x, y)
        for epoch in range(recipe.epochs + 1):
            shared_order.on_epoch_begin(epoch)
            yield _numpy(shared_order.dataset)
    # The iterator inside `fit` has no public name.
    from keras.src.trainers.epoch_iterator import EpochIterator

    iterator = EpochIterator(x, y, batch_size=recipe.batch_size, shuffle=True)
    while True:
        yield (batch for _, _, batches in iterator for batch in batches)


def _numpy(dataset: Any) -> FedBatches:
    if keras.backend.backend() == "tensorflow":
        return dataset.as_numpy_iterator()
    return (dataset[step] for step in range(len(dataset)))


def _with_classes(batches: FedBatches) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    for images, one_hot in batches:
        yield np.asarray(images), np.asarray(one_hot).argmax(axis=1)


def _forward(model: keras.Sequential, images: Floats, recipe: Recipe) -> tuple[Weights, Weights]:
    """What each layer computes before and after its activation function."""
    preactivations: Weights = {}
    activations: Weights = {}
    tensor = ops.convert_to_tensor(images)
    for layer in model.layers:
        activation, layer.activation = layer.activation, keras.activations.linear
        before = layer(tensor)
        layer.activation = activation
        tensor = activation(before)
        preactivations[layer.name] = ops.convert_to_numpy(before)
        activations[layer.name] = ops.convert_to_numpy(tensor)
    if loss_takes_logits(recipe):
        activations[model.layers[-1].name] = ops.convert_to_numpy(ops.softmax(tensor))
    return preactivations, activations


def _step(
    model: RecordingSequential,
    take_step: Callable[[Any, Any], Any],
    images: Floats,
    labels: NDArray[np.int64],
    recipe: Recipe,
) -> Step:
    preactivations, activations = _forward(model, images, recipe)
    one_hot = keras.utils.to_categorical(labels, model.output_shape[-1]).astype(images.dtype)
    loss, gradients = take_step(ops.convert_to_tensor(images), ops.convert_to_tensor(one_hot))
    names = list(get_weights(model))
    optimizer = model.optimizer

    def by_name(values: list[Any]) -> Weights:
        arrays = (np.array(ops.convert_to_numpy(value)) for value in values)
        return dict(zip(names, arrays, strict=True))

    return Step(
        images=images,
        labels=labels,
        preactivations=preactivations,
        activations=activations,
        loss=float(ops.convert_to_numpy(loss)),
        gradients=by_name(gradients),
        parameters=by_name(model.trainable_variables),
        first_moments=by_name(optimizer._momentums),  # noqa: SLF001 - no public name
        second_moments=by_name(optimizer._velocities),  # noqa: SLF001
    )


def _step_function(model: RecordingSequential) -> Callable[[Any, Any], Any]:
    """What `train_step` of the backend does with a batch, but it returns the loss and the gradients."""
    return {"tensorflow": _tensorflow_step, "torch": _torch_step, "jax": _jax_step}[keras.backend.backend()](model)


def _loss(model: RecordingSequential, x: Any, y: Any) -> Any:
    # Not `training`, which would ask for the step to be recorded and changes nothing else here.
    return model.compute_loss(x, y, model(x, training=True), training=False)


def _tensorflow_step(model: RecordingSequential) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def take_step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = _loss(model, x, y)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss, gradients

    return take_step


def _torch_step(model: RecordingSequential) -> Callable[[Any, Any], Any]:
    import torch

    def take_step(x: Any, y: Any) -> Any:
        model.zero_grad()
        loss = _loss(model, x, y)
        loss.backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        with torch.no_grad():
            model.optimizer.apply(gradients, model.trainable_variables)
        return loss, gradients

    return take_step


def _jax_step(model: RecordingSequential) -> Callable[[Any, Any], Any]:
    import jax

    def compute_loss(trainable: Any, x: Any, y: Any) -> Any:
        y_pred, _ = model.stateless_call(trainable, [], x, training=True)
        return model.compute_loss(x, y, y_pred, training=False)

    loss_and_gradients = jax.jit(jax.value_and_grad(compute_loss))

    def take_step(x: Any, y: Any) -> Any:
        loss, gradients = loss_and_gradients([v.value for v in model.trainable_variables], x, y)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss, gradients

    return take_step
