"""The optimizer: Keras's own Adam, whose arithmetic is the shared one."""

from functools import partial
from typing import Any

import keras
from keras import ops

from keras_impl.backend import current_device
from recipe import Recipe


def build_optimizer(recipe: Recipe) -> keras.optimizers.Adam:
    """Adam with the recipe's hyperparameters; Keras's own epsilon where the recipe names none."""
    beta_1, beta_2 = recipe.adam_betas
    epsilon = {} if recipe.epsilon is None else {"epsilon": recipe.epsilon}
    adam = keras.optimizers.Adam(learning_rate=recipe.learning_rate, beta_1=beta_1, beta_2=beta_2, **epsilon)
    if keras.backend.backend() == "tensorflow" and current_device() == "cpu":
        adam._backend_update_step = partial(_update_in_few_kernels, adam)  # noqa: SLF001 - no public name
    return adam


def _update_in_few_kernels(adam: keras.optimizers.Adam, gradients: Any, variables: Any, learning_rate: Any) -> None:
    """`Adam.update_step` of every variable, bit for bit (keras/src/optimizers/adam.py), in half as many operations.

    What all variables share is computed once. The kernels are named for other optimizers; what counts is their
    arithmetic: `ResourceApplyGradientDescent` is var −= delta·alpha, and `ResourceApplyAdagradV2`, told to leave its
    accumulator alone, var −= (grad·lr) / (√accum + epsilon). TensorFlow's kernel of Adam subtracts from 1 a β that is
    rounded already, where Keras rounds 1 − β.

    Args:
        adam: Without amsgrad.
        gradients: A list, each of its variable's shape.
        variables: Those of the model, all of one dtype.
        learning_rate: A scalar.
    """
    import tensorflow as tf

    dtype = variables[0].dtype
    step = ops.cast(adam.iterations + 1, dtype)
    beta_1_power, beta_2_power = (ops.power(ops.cast(beta, dtype), step) for beta in (adam.beta_1, adam.beta_2))
    alpha = ops.cast(learning_rate, dtype) * ops.sqrt(1 - beta_2_power) / (1 - beta_1_power)
    rate_1, rate_2, epsilon = (
        ops.convert_to_tensor(number, dtype) for number in (1 - adam.beta_1, 1 - adam.beta_2, adam.epsilon)
    )
    descend = tf.raw_ops.ResourceApplyGradientDescent
    groups = (adam._momentums, adam._velocities)  # noqa: SLF001 - no public name
    for gradient, variable in zip(gradients, variables, strict=True):
        index = adam._get_variable_index(variable)  # noqa: SLF001
        m, v = (group[index].value for group in groups)
        descend(var=m.handle, alpha=rate_1, delta=m - gradient)
        descend(var=v.handle, alpha=rate_2, delta=v - tf.square(gradient))
        tf.raw_ops.ResourceApplyAdagradV2(
            var=variable.value.handle, accum=v.handle, lr=alpha, epsilon=epsilon, grad=m, update_slots=False
        )
