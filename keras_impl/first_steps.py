"""The first steps of a Keras run, each number of them, from the live model, loss and optimizer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import chain, islice
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_impl import backend
from keras_impl.data import Floats, OrderedBatches, ordered_here, preprocess
from keras_impl.metrics import RecordingSequential
from keras_impl.recording import settings
from keras_impl.training import compile_model, loss_takes_logits
from keras_impl.weights import get_weights
from recipe import Recipe
from recipe.initial_weights import Weights
from recipe.mnist import Digits
from record.first_steps import Step, Trace, hash_batches, num_traced_steps
from record.worker import versions

FedBatches = Iterator[tuple[Floats, Floats]]


def trace(recipe: Recipe, digits: Digits) -> Trace:
    """Takes the first steps of the training that the recipe describes."""
    model = compile_model(recipe)
    epochs = _batches_as_fed(recipe, digits)
    epoch = next(epochs)
    first_batches = list(islice(epoch, num_traced_steps(recipe)))
    hashes = hash_batches(_images_and_classes(chain(first_batches, epoch), recipe), keep=0)[0]
    hashes += hash_batches([next(_images_and_classes(next(epochs), recipe))], keep=0)[0]
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
        steps=[_step(model, take_step, inputs, one_hot, recipe) for inputs, one_hot in first_batches],
    )


def _batches_as_fed(recipe: Recipe, digits: Digits) -> Iterator[FedBatches]:
    """The batches of each epoch as `fit` feeds them, images with their dropout masks and one-hot labels.

    With torch's own order the epochs after the first are others than in `fit`, whose validation draws from the same
    generator between them.
    """
    x, y = preprocess(digits.x_train, digits.y_train, recipe)
    if ordered_here(recipe):
        batches = OrderedBatches(recipe, x, y)
        for epoch in range(recipe.epochs + 1):
            batches.on_epoch_begin(epoch)
            yield _numpy(batches.dataset)
        return
    iterator = _iterator_of_fit(x, y, recipe.batch_size)
    while True:
        yield (tuple(map(ops.convert_to_numpy, batch)) for _, _, batches in iterator for batch in batches)


def _iterator_of_fit(x: Floats, y: Floats, batch_size: int) -> Any:
    """What `fit` iterates once an epoch, in the state in which it begins the first; it has no public name."""
    backend_name, options = keras.backend.backend(), {}
    if backend_name == "tensorflow":
        import tensorflow as tf

        options["distribute_strategy"] = tf.distribute.get_strategy()
    trainer = import_module(f"keras.src.backend.{backend_name}.trainer")
    prefix = {"tensorflow": "TF", "torch": "Torch", "jax": "JAX"}[backend_name]
    iterator = getattr(trainer, f"{prefix}EpochIterator")(x=x, y=y, batch_size=batch_size, shuffle=True, **options)
    for _, _, batches in iterator:  # `fit` looks at one first, to build the metrics, and that may draw an order
        next(iter(batches))
        break
    iterator.reset()
    return iterator


def _numpy(dataset: Any) -> FedBatches:
    if keras.backend.backend() == "tensorflow":
        return dataset.as_numpy_iterator()
    return (dataset[step] for step in range(len(dataset)))


def _images_and_classes(batches: FedBatches, recipe: Recipe) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    for inputs, one_hot in batches:
        yield inputs[:, : recipe.images.num_pixels], one_hot.argmax(axis=1)


def _forward(model: RecordingSequential, inputs: Floats, recipe: Recipe) -> dict[str, Weights]:
    """What each layer computes before and after its activation function, and what dropout passes on."""
    found: dict[str, Weights] = {"preactivations": {}, "activations": {}, "dropped": {}}
    inputs = ops.convert_to_tensor(inputs)
    tensor = inputs[:, : recipe.images.num_pixels]
    for layer, arguments in model.layers_with_masks(inputs):
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            activation, layer.activation = layer.activation, keras.activations.linear
            before = layer(tensor)
            layer.activation = activation
            tensor = activation(before)
            found["preactivations"][layer.name] = ops.convert_to_numpy(before)
            found["activations"][layer.name] = ops.convert_to_numpy(tensor)
        elif isinstance(layer, keras.layers.Dropout):
            tensor = layer(tensor, training=True, **arguments)
            found["dropped"][layer.name.removesuffix("_dropout")] = ops.convert_to_numpy(tensor)
        else:
            tensor = layer(tensor)
    if loss_takes_logits(recipe):
        found["activations"]["output"] = ops.convert_to_numpy(ops.softmax(tensor))
    return found


@contextmanager
def _same_random_numbers_again(model: keras.Sequential) -> Iterator[None]:
    """Has Keras's dropout draw after the block what it drew in it."""
    generators = [layer.seed_generator for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    states = [np.array(ops.convert_to_numpy(generator.state)) for generator in generators]
    yield
    for generator, state in zip(generators, states, strict=True):
        generator.state.assign(state)


def _step(
    model: RecordingSequential,
    take_step: Callable[[Any, Any], Any],
    inputs: Floats,
    one_hot: Floats,
    recipe: Recipe,
) -> Step:
    with _same_random_numbers_again(model):
        forward = _forward(model, inputs, recipe)
    loss, gradients = take_step(ops.convert_to_tensor(inputs), ops.convert_to_tensor(one_hot))
    names = list(get_weights(model))
    optimizer = model.optimizer

    def by_name(values: list[Any]) -> Weights:
        arrays = (np.array(ops.convert_to_numpy(value)) for value in values)
        return dict(zip(names, arrays, strict=True))

    return Step(
        images=np.array(inputs[:, : recipe.images.num_pixels]),
        labels=one_hot.argmax(axis=1),
        **forward,
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

    def compute_loss(trainable: Any, non_trainable: Any, x: Any, y: Any) -> Any:
        y_pred, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return model.compute_loss(x, y, y_pred, training=False), non_trainable

    loss_and_gradients = jax.jit(jax.value_and_grad(compute_loss, has_aux=True))

    def take_step(x: Any, y: Any) -> Any:
        trainable, non_trainable = (
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        (loss, non_trainable), gradients = loss_and_gradients(trainable, non_trainable, x, y)
        for variable, value in zip(model.non_trainable_variables, non_trainable, strict=True):
            variable.assign(value)  # the state of the dropout's generators
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss, gradients

    return take_step
