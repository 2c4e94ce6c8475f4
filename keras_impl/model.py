"""The network: 784 pixels, hidden ReLU layers, ten classes."""

import keras
from keras import layers

from recipe import Recipe
from recipe.mnist import NUM_CLASSES, NUM_PIXELS


def build_model(
    recipe: Recipe, *, softmax: bool = True, model_class: type[keras.Sequential] = keras.Sequential
) -> keras.Sequential:
    """The layers from images, shape (batch, 784), to class probabilities, shape (batch, 10).

    Without `softmax` the output is the logits.
    """
    return model_class(
        [
            keras.Input(shape=(NUM_PIXELS,)),
            *(
                layers.Dense(units, activation=recipe.activation, name=name)
                for name, units in zip(recipe.layer_names[:-1], recipe.hidden_sizes, strict=True)
            ),
            layers.Dense(NUM_CLASSES, activation="softmax" if softmax else None, name=recipe.layer_names[-1]),
        ]
    )
