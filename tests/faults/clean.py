"""Clean implementations beside the example's, and the traces and recipes that the tests of the ladder share."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe import Recipe, mnist
from recipe.trace import Trace
from tests.faults.zoo import Array, Base, Labels, Weights

FEW_BATCHES = 12
"""Enough for ten traced steps; an epoch of them is hashed in no time."""


@functools.cache
def digits() -> mnist.Digits:
    return mnist.load()


def trace(network: type[Base], recipe: Recipe, *, num_batches: int | None = FEW_BATCHES) -> Trace:
    """The trace of a network, whose epochs end after so many batches if not None."""
    net = network(recipe, digits())
    net.num_batches = num_batches
    with np.errstate(all="ignore"):  # some faults overflow
        return Trace(**net.trace(), **net.header())


class Reordered(Base):
    """The same formulas added up in another order, in other forms: a clean port in another framework."""

    def dense(self, layer: str, inputs: Array) -> Array:
        kernel = self.parameters[f"{layer}.kernel"]
        order = np.random.default_rng(self.num_steps).permutation(len(kernel))
        return self.parameters[f"{layer}.bias"] + inputs[:, order] @ kernel[order]

    def loss(self, z: Array, labels: Labels) -> float:
        largest = z.max(axis=1)
        logarithms = largest + np.log(np.exp(z - largest[:, None])[:, ::-1].sum(axis=1))
        losses = logarithms - z[np.arange(len(labels)), labels]
        return float(losses[::-1].sum() / self.real(len(labels)))

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        order = np.random.default_rng(self.num_steps).permutation(len(labels))
        reordered = {layer: tensor[order] for layer, tensor in activations.items()}
        return super().backward(images[order], labels[order], reordered)

    def first_moment(self, name: str, g: Array) -> Array:
        m = self.first_moments[name]
        return m + (g - m) * (1 - self.recipe.adam_betas[0])

    def second_moment(self, name: str, g: Array) -> Array:
        v = self.second_moments[name]
        return v + (g * g - v) * (1 - self.recipe.adam_betas[1])


class TorchsForm(Reordered):
    """Keras's update in the form of torch's kernel, as `lightning_impl/optimizer.py` brings it about."""

    def update(self, name: str, g: Array) -> Array:
        m, root = self.first_moments[name], np.sqrt(self.second_moments[name])
        correction_1, correction_2 = self.corrections()
        epsilon = self.real(self.stated.epsilon / float(correction_2))
        return m / correction_1 * self.real(self.recipe.learning_rate) / (root / correction_2 + epsilon)


def random_recipe(seed: int, **fields: Any) -> Recipe:
    """A recipe drawn from all that there are small networks of; `fields` are fixed."""
    random = np.random.default_rng(seed)

    def one_of(choices: Sequence[Any]) -> Any:
        return choices[random.integers(len(choices))]

    drawn = {
        "hidden_sizes": one_of([(), (5,), (16, 8), (32, 32)]),
        "dtype": one_of(["float32", "float64"]),
        "batch_size": int(random.integers(1, 100)),
        "learning_rate": float(10 ** random.uniform(-5, -1)),
        "beta_1": one_of([0.0, 0.5, 0.9, 0.99]),
        "beta_2": one_of([0.0, 0.9, 0.999, 0.9999]),
        "epsilon": float(10 ** random.uniform(-10, -3)),
    }
    return Recipe(**{"seed": seed, **drawn, **fields})
