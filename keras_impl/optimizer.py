"""The optimizer: Keras's own Adam, whose arithmetic is the shared one."""

import keras

from recipe import Recipe


def build_optimizer(recipe: Recipe) -> keras.optimizers.Adam:
    """Adam with the recipe's hyperparameters; Keras's own epsilon where the recipe names none."""
    beta_1, beta_2 = recipe.adam_betas
    epsilon = {} if recipe.epsilon is None else {"epsilon": recipe.epsilon}
    return keras.optimizers.Adam(learning_rate=recipe.learning_rate, beta_1=beta_1, beta_2=beta_2, **epsilon)
