"""The tutorial's steps: build, compile, fit, evaluate; with the recipe's switches."""

import math
from typing import Any

import keras
from keras import ops

from keras_impl.data import Floats, OrderedBatches, ordered_here, preprocess
from keras_impl.dropout import MaskedSequential, SharedDropout, dropout_settings
from keras_impl.model import build_model
from keras_impl.weights import get_weights, layers_with_parameters, set_weights
from recipe import Recipe
from recipe.initial_weights import initial_weights, perturbed
from recipe.mnist import Digits

STEPS_PER_EXECUTION = {"tensorflow": 125, "jax": 125, "torch": 1}
"""Optimizer steps in one call of the compiled function: saves the overhead of the call, changes no result.

Keras refuses more than 1 on its torch backend.
"""

EVALUATION_BATCH_SIZE = 1000


class StepLosses(keras.metrics.Metric):
    """The loss of every training step since the epoch began, kept on the device.

    A metric, because Keras carries a metric's state through the compiled step on all backends. Its
    result is an empty dict, which adds nothing to the logs.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__(name="step_losses")
        self.losses = self.add_variable((steps_per_epoch,), initializer="zeros", name="losses")
        self.next_step = self.add_variable((), initializer="zeros", dtype="int32", name="next_step")
        self.steps_per_epoch = steps_per_epoch

    def update_state(self, loss: Any) -> None:
        """Appends one loss, a scalar; wraps around at the end of an epoch."""
        row = ops.reshape(ops.stop_gradient(loss), (1,))
        self.losses.assign(ops.scatter_update(self.losses, ops.reshape(self.next_step, (1, 1)), row))
        self.next_step.assign((self.next_step + 1) % self.steps_per_epoch)

    def result(self) -> dict[str, float]:
        """Nothing to log."""
        return {}

    def reset_state(self) -> None:
        """Keeps the losses: Keras also resets before validation, ahead of `on_epoch_end`."""


class RecordingSequential(MaskedSequential):
    """A model that hands the loss of every training step to `step_losses`."""

    step_losses: StepLosses

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes the loss as Keras does, and records it."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training:
            self.step_losses.update_state(loss)
        return loss


def loss_takes_logits(recipe: Recipe) -> bool:
    """Whether the shared loss needs the network to end in logits.

    On TensorFlow, Keras's cross-entropy finds the logits behind the softmax and computes with them
    (`_get_logits` in keras/src/backend/tensorflow/nn.py), so the tutorial's network already has
    the shared arithmetic. On torch and JAX it would clip the probabilities to [1e-7, 1 - 1e-7].
    """
    return recipe.loss == "shared" and keras.backend.backend() != "tensorflow"


def compile_model(recipe: Recipe) -> RecordingSequential:
    """The network with its initial weights, optimizer, loss and metric."""
    keras.utils.set_random_seed(recipe.seed)
    logits = loss_takes_logits(recipe)
    model = build_model(
        recipe,
        softmax=not logits,
        model_class=RecordingSequential,
        dropout_class=SharedDropout if recipe.num_mask_columns else keras.layers.Dropout,
    )
    if recipe.initial_weights == "shared":
        set_weights(model, initial_weights(recipe))
    else:
        set_weights(model, perturbed(get_weights(model), recipe))
    model.compile(
        optimizer=build_optimizer(recipe),
        loss=keras.losses.CategoricalCrossentropy(from_logits=logits),
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_EXECUTION[keras.backend.backend()],
    )
    return model


def build_optimizer(recipe: Recipe) -> keras.optimizers.Adam:
    """Adam with the recipe's hyperparameters; Keras's own epsilon where the recipe names none."""
    beta_1, beta_2 = recipe.adam_betas
    epsilon = {} if recipe.epsilon is None else {"epsilon": recipe.epsilon}
    return keras.optimizers.Adam(learning_rate=recipe.learning_rate, beta_1=beta_1, beta_2=beta_2, **epsilon)


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
    x_train, y_train = preprocess(digits.x_train, digits.y_train, recipe)
    model.step_losses = StepLosses(math.ceil(len(x_train) / recipe.batch_size))
    data: dict[str, Any] = {"x": x_train, "y": y_train, "batch_size": recipe.batch_size}
    if ordered_here(recipe):
        batches = OrderedBatches(recipe, x_train, y_train)
        callbacks = [batches, *callbacks]
        data = {"x": batches.dataset, "shuffle": False}
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


def settings(model: keras.Sequential, recipe: Recipe) -> dict[str, Any]:
    """The settings as the live objects state them, not the recipe, under names that both sides use.

    The softmax of the output counts where the loss has it. Batch size and epochs are arguments of `fit`, which keeps
    neither, so that these two are the recipe's.
    """
    from keras_impl.backend import tf32

    optimizer, layers = model.optimizer, layers_with_parameters(model)
    logits_loss = model.loss.from_logits or keras.backend.backend() == "tensorflow"
    return {
        "optimizer.name": type(optimizer).__name__.lower(),
        "optimizer.learning_rate": float(ops.convert_to_numpy(optimizer.learning_rate)),
        "optimizer.beta_1": optimizer.beta_1,
        "optimizer.beta_2": optimizer.beta_2,
        "optimizer.epsilon": optimizer.epsilon,
        "optimizer.epsilon_added": "before bias correction",
        "optimizer.weight_decay": optimizer.weight_decay or 0.0,
        "optimizer.amsgrad": optimizer.amsgrad,
        "loss.name": "categorical cross-entropy"
        if isinstance(model.loss, keras.losses.CategoricalCrossentropy)
        else type(model.loss).__name__,
        "loss.takes": "logits" if logits_loss else "probabilities clipped to [1e-07, 1 - 1e-07]",
        "loss.label_smoothing": model.loss.label_smoothing,
        "loss.reduction": "mean" if model.loss.reduction == "sum_over_batch_size" else model.loss.reduction,
        "layers": [
            {
                "name": layer.name,
                "type": "convolution" if isinstance(layer, keras.layers.Conv2D) else "dense",
                "units": layer.filters if isinstance(layer, keras.layers.Conv2D) else layer.units,
                "activation": "softmax"
                if layer is layers[-1] and model.loss.from_logits
                else layer.activation.__name__,
                "use_bias": layer.use_bias,
            }
            for layer in layers
        ],
        **dropout_settings(model),
        "dtype": layers[0].kernel.dtype,
        "compute_dtype": model.compute_dtype,
        "tf32": tf32(convolves=any(isinstance(layer, keras.layers.Conv2D) for layer in layers)),
        "batch_size": recipe.batch_size,
        "epochs": recipe.epochs,
    }
