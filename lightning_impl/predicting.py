"""Class probabilities of images, from weights in the canonical layout."""

import numpy as np
import torch

from lightning_impl.data import preprocess
from lightning_impl.training import DigitClassifier
from lightning_impl.weights import set_weights
from recipe import Recipe
from recipe.initial_weights import Weights
from recipe.prediction import Images, Probabilities


@torch.inference_mode()
def predict_images(recipe: Recipe, weights: Weights, images: Images) -> Probabilities:
    """Class probabilities, shape (n, 10), of images, shape (n, 28, 28), by the recipe's network with these weights."""
    module = DigitClassifier(recipe)
    set_weights(module.model, weights)
    module.setup("predict")
    return module.predict_step(preprocess(images, np.zeros(len(images), np.uint8), recipe.dtype), 0).numpy()
