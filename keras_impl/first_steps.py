"""The first steps of a Keras run, each number of them, from the live model, loss and optimizer."""

from collections.abc import Callable, Iterator
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
    take_step = _step_function(model, recipe)
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
    if ordered_here(recipe):
        batches = OrderedBatches(recipe, digits.x_train, digits.y_train)
        for epoch in range(recipe.epochs + 1):
            batches.on_epoch_begin(epoch)
            yield _numpy(batches.dataset)
        return
    x, y = preprocess(digits.x_train, digits.y_train, recipe)
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


Passed = dict[str, dict[str, Any]]
"""By what `Step` calls them: what each layer computes before and after its activation, and what dropout passes on."""


def _forward(model: RecordingSequential, inputs: Any, recipe: Recipe) -> tuple[Any, Passed]:
    """What the model says in training, and what its layers pass on the way there.

    It is part of the step that computes the gradients. In a pass of its own, compiled in another way, a unit near
    zero may end on the other side of its ReLU.
    """
    passed: Passed = {"preactivations": {}, "activations": {}, "dropped": {}}
    tensor = inputs[:, : recipe.images.num_pixels]
    for layer, arguments in model.layers_with_masks(inputs):
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            activation, layer.activation = layer.activation, keras.activations.linear
            before = layer(tensor)
            layer.activation = activation
            tensor = activation(before)
            passed["preactivations"][layer.name] = before
            passed["activations"][layer.name] = tensor
        elif isinstance(layer, keras.layers.Dropout):
            tensor = layer(tensor, training=True, **arguments)
            passed["dropped"][layer.name.removesuffix("_dropout")] = tensor
        else:
            tensor = layer(tensor)
    if loss_takes_logits(recipe):
        passed["activations"]["output"] = ops.softmax(tensor)
    return tensor, passed


def _step(
    model: RecordingSequential,
    take_step: Callable[[Any, Any], Any],
    inputs: Floats,
    one_hot: Floats,
    recipe: Recipe,
) -> Step:
    loss, passed, gradients = take_step(ops.convert_to_tensor(inputs), ops.convert_to_tensor(one_hot))
    names = list(get_weights(model))
    optimizer = model.optimizer

    def by_name(values: list[Any]) -> Weights:
        return dict(zip(names, map(_copy, values), strict=True))

    forward = {kind: {layer: _copy(tensor) for layer, tensor in by_layer.items()} for kind, by_layer in passed.items()}
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


def _copy(tensor: Any) -> NDArray[Any]:
    return np.array(ops.convert_to_numpy(tensor))


def _step_function(model: RecordingSequential, recipe: Recipe) -> Callable[[Any, Any], Any]:
    """What `train_step` of the backend does with a batch, but it returns the loss, what was passed, and the gradients.

    It is compiled as `fit` compiles the step, by XLA where that does: the arithmetic that is judged is the trained one.
    `compute_loss` is not told that it trains: that would ask for the step to be recorded and changes nothing else here.
    """
    make = {"tensorflow": _tensorflow_step, "torch": _torch_step, "jax": _jax_step}[keras.backend.backend()]
    return make(model, recipe)


def _tensorflow_step(model: RecordingSequential, recipe: Recipe) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    @tf.function(reduce_retracing=True, jit_compile=model.jit_compile)  # type: ignore[untyped-decorator]
    def take_step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            y_pred, passed = _forward(model, x, recipe)
            loss = model.compute_loss(x, y, y_pred, training=False)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss, passed, gradients

    return take_step


def _torch_step(model: RecordingSequential, recipe: Recipe) -> Callable[[Any, Any], Any]:
    import torch

    def take_step(x: Any, y: Any) -> Any:
        model.zero_grad()
        y_pred, passed = _forward(model, x, recipe)
        loss = model.compute_loss(x, y, y_pred, training=False)
        loss.backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        with torch.no_grad():
            model.optimizer.apply(gradients, model.trainable_variables)
        return loss, passed, gradients

    return take_step


def _jax_step(model: RecordingSequential, recipe: Recipe) -> Callable[[Any, Any], Any]:
    import jax

    def compute_loss(trainable: Any, non_trainable: Any, x: Any, y: Any) -> Any:
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = zip(variables, [*trainable, *non_trainable], strict=True)
        with keras.StatelessScope(state_mapping=list(values)) as scope:
            y_pred, passed = _forward(model, x, recipe)
        non_trainable = [scope.get_current_value(variable) for variable in model.non_trainable_variables]
        return model.compute_loss(x, y, y_pred, training=False), (passed, non_trainable)

    def step(trainable: Any, non_trainable: Any, of_optimizer: Any, x: Any, y: Any) -> Any:
        differentiate = jax.value_and_grad(compute_loss, has_aux=True)
        (loss, (passed, non_trainable)), gradients = differentiate(trainable, non_trainable, x, y)
        trainable, of_optimizer = model.optimizer.stateless_apply(of_optimizer, gradients, trainable)
        return (loss, passed, gradients), (trainable, non_trainable, of_optimizer)

    compiled = jax.jit(step)
    model.optimizer.build(model.trainable_variables)
    groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)

    def take_step(x: Any, y: Any) -> Any:
        outputs, state = compiled(*([variable.value for variable in group] for group in groups), x, y)
        for variable, value in zip(chain(*groups), chain(*state), strict=True):
            variable.assign(value)
        return outputs

    return take_step
