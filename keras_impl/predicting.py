"""Class probabilities of images, from weights in the canonical layout."""

import keras
import numpy as np

from keras_impl.data import Floats, preprocess
from keras_impl.model import build_model
from keras_impl.weights import set_weights
from pictures.classify import Images
from recipe import Recipe
from recipe.initial_weights import Weights


def predict_images(recipe: Recipe, weights: Weights, images: Images) -> Floats:
    """Class probabilities, (n, classes), of images, (n, rows, columns), by the recipe's network with these weights."""
    model = build_model(recipe)
    set_weights(model, weights)
    x, _ = preprocess(images, np.zeros(len(images), np.uint8), recipe)
    return keras.ops.convert_to_numpy(model(x, training=False))
