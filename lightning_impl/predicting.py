"""Class probabilities of images, from weights in the canonical layout."""

import numpy as np
import torch

from lightning_impl.data import preprocess
from lightning_impl.module import DigitClassifier
from lightning_impl.weights import set_weights
from pictures.classify import Images, Probabilities
from recipe import Recipe
from recipe.initial_weights import Weights


@torch.inference_mode()
def predict_images(recipe: Recipe, weights: Weights, images: Images) -> Probabilities:
    """Class probabilities, (n, classes), of images, (n, rows, columns), by the recipe's network with these weights."""
    module = DigitClassifier(recipe)
    set_weights(module.model, weights)
    module.setup("predict")
    module.eval()
    return module.predict_step(preprocess(images, np.zeros(len(images), np.uint8), recipe), 0).numpy()
