"""The canonical layout of the parameters, to and from this model's layers."""

import keras
import numpy as np

from recipe.initial_weights import Weights


def get_weights(model: keras.Sequential) -> Weights:
    """The model's parameters by canonical name; a Dense kernel already has the shape (inputs, units)."""
    weights: Weights = {}
    for layer in model.layers:
        weights[f"{layer.name}.kernel"] = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
        weights[f"{layer.name}.bias"] = np.asarray(keras.ops.convert_to_numpy(layer.bias))
    return weights


def set_weights(model: keras.Sequential, weights: Weights) -> None:
    """Overwrites the model's parameters with these."""
    for layer in model.layers:
        layer.set_weights([weights[f"{layer.name}.kernel"], weights[f"{layer.name}.bias"]])
