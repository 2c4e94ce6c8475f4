"""The network: convolutions where the recipe has them, hidden ReLU layers, an output for each class."""

from typing import Any

import keras
import numpy as np
from keras import layers

from recipe import Recipe
from recipe.recipe import KERNEL_SIZE, POOL_SIZE


def build_model(
    recipe: Recipe,
    *,
    softmax: bool = True,
    model_class: type[keras.Sequential] = keras.Sequential,
    dropout_class: type[layers.Dropout] = layers.Dropout,
) -> keras.Sequential:
    """The layers from images, shape (batch, pixels), to class probabilities, shape (batch, classes).

    Without `softmax` the output is the logits.
    """
    network: list[Any] = [keras.Input(shape=(recipe.images.num_pixels,))]
    if recipe.network == "cnn":
        network.append(layers.Reshape((*recipe.images.image_shape, 1), name="rows_and_columns"))
        for name, filters in zip(recipe.convolution_names, recipe.filters, strict=True):
            network.append(layers.Conv2D(filters, KERNEL_SIZE, activation=recipe.activation, name=name))
            network.append(layers.MaxPooling2D(POOL_SIZE, name=f"{name}_pooling"))
        network.append(layers.Flatten(name="flatten"))
    for name, units in zip(recipe.hidden_names, recipe.hidden_sizes, strict=True):
        network.append(layers.Dense(units, activation=recipe.activation, name=name))
        if recipe.dropout:
            network.append(dropout_class(recipe.dropout, seed=_seed(recipe, name), name=f"{name}_dropout"))
    network.append(layers.Dense(recipe.images.num_classes, activation="softmax" if softmax else None, name="output"))
    return model_class(network)


def _seed(recipe: Recipe, name: str) -> int:
    """The seed of a layer's dropout, far from the other layers': on torch, Keras adds one to it in each step."""
    layer = recipe.hidden_names.index(name)
    return int(np.random.SeedSequence((recipe.seed, layer)).generate_state(1)[0] >> 1)  # which fits in an int32
