"""The tutorial's steps: build, compile, fit, evaluate; in Lightning, hooks of the module in `module.py`."""

import math

import keras
from keras import ops

from keras_impl.data import EVALUATION_BATCH_SIZE, Floats, OrderedBatches, ordered_here, preprocess
from keras_impl.dropout import SharedDropout
from keras_impl.metrics import RecordingSequential, StepLosses
from keras_impl.model import build_model
from keras_impl.optimizer import build_optimizer
from keras_impl.weights import initialize
from recipe import Recipe
from recipe.mnist import Digits

STEPS_PER_EXECUTION = {"tensorflow": 125, "jax": 125, "torch": 1}
"""Optimizer steps in one call of the compiled function: saves the overhead of the call, changes no result.

Keras refuses more than 1 on its torch backend.
"""


def loss_takes_logits(recipe: Recipe) -> bool:
    """Whether the shared loss needs the network to end in logits.

    On TensorFlow, Keras's cross-entropy finds the logits behind the softmax and computes with them
    (`_get_logits` in keras/src/backend/tensorflow/nn.py), so the tutorial's network already has
    the shared arithmetic. On torch and JAX it would clip the probabilities to [1e-7, 1 - 1e-7].
    """
    return recipe.loss == "shared" and keras.backend.backend() != "tensorflow"


def compile_model(recipe: Recipe, model_class: type[RecordingSequential] = RecordingSequential) -> RecordingSequential:
    """The network with its initial weights, optimizer, loss and metric."""
    keras.utils.set_random_seed(recipe.seed)
    logits = loss_takes_logits(recipe)
    model = build_model(
        recipe,
        softmax=not logits,
        model_class=model_class,
        dropout_class=SharedDropout if recipe.num_mask_columns else keras.layers.Dropout,
    )
    initialize(model, recipe)
    model.compile(
        optimizer=build_optimizer(recipe),
        loss=keras.losses.CategoricalCrossentropy(from_logits=logits),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION[keras.backend.backend()],
    )
    return model


def fit(
    model: RecordingSequential,
    recipe: Recipe,
    digits: Digits,
    *,
    callbacks: list[keras.callbacks.Callback],
    epochs_done: int = 0,
    verbose: int | str = 0,
) -> None:
    """Trains for the epochs that are left, validating on the test digits after each, as the tutorial does."""
    model.step_losses = StepLosses(math.ceil(len(digits.x_train) / recipe.batch_size))
    if ordered_here(recipe):
        batches = OrderedBatches(recipe, digits.x_train, digits.y_train)
        callbacks, data = [batches, *callbacks], {"x": batches.dataset, "shuffle": False}
    else:
        x_train, y_train = preprocess(digits.x_train, digits.y_train, recipe)
        data = {"x": x_train, "y": y_train, "batch_size": recipe.batch_size}
    model.fit(
        **data,
        initial_epoch=epochs_done,
        epochs=recipe.epochs,
        validation_data=preprocess(digits.x_test, digits.y_test, recipe),
        validation_batch_size=EVALUATION_BATCH_SIZE,
        callbacks=callbacks,
        verbose=verbose,
    )


def evaluate(model: keras.Sequential, recipe: Recipe, digits: Digits) -> dict[str, float]:
    """The `loss` and `accuracy` on the test digits."""
    x_test, y_test = preprocess(digits.x_test, digits.y_test, recipe)
    return model.evaluate(x_test, y_test, EVALUATION_BATCH_SIZE, verbose=0, return_dict=True)


def predict(model: keras.Sequential, images: Floats) -> Floats:
    """Class probabilities, shape (n, classes), of images as `preprocess` gives them, shape (n, pixels)."""
    outputs = model.predict(images, EVALUATION_BATCH_SIZE, verbose=0)
    if model.loss.from_logits:
        outputs = ops.softmax(outputs)
    return ops.convert_to_numpy(outputs)
