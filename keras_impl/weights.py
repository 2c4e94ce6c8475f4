"""The canonical layout of the parameters, to and from this model's layers."""

import keras
import numpy as np

from recipe import Recipe
from recipe.initial_weights import Weights, initial_weights, perturbed


def layers_with_parameters(model: keras.Sequential) -> list[keras.Layer]:
    """The convolutions and dense layers, from the input on."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]


def get_weights(model: keras.Sequential) -> Weights:
    """The model's parameters by canonical name: Keras's layout is the canonical one."""
    weights: Weights = {}
    for layer in layers_with_parameters(model):
        weights[f"{layer.name}.kernel"] = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
        weights[f"{layer.name}.bias"] = np.asarray(keras.ops.convert_to_numpy(layer.bias))
    return weights


def set_weights(model: keras.Sequential, weights: Weights) -> None:
    """Overwrites the model's parameters with these."""
    for layer in layers_with_parameters(model):
        layer.set_weights([weights[f"{layer.name}.kernel"], weights[f"{layer.name}.bias"]])


def initialize(model: keras.Sequential, recipe: Recipe) -> None:
    """Gives the model the weights that both sides start from; or moves its own as the recipe's perturbation says."""
    if recipe.initial_weights == "shared":
        set_weights(model, initial_weights(recipe))
    else:
        set_weights(model, perturbed(get_weights(model), recipe))
