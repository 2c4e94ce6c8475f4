"""Clean implementations beside the example's, and the traces and recipes that the tests of the ladder share."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe import Recipe, mnist
from recipe.images import Summary
from record.first_steps import Trace
from tests.faults.layered import Layered
from tests.faults.zoo import Array, Base, Labels, Weights

FEW_BATCHES = 12
"""Enough for ten traced steps; an epoch of them is hashed in no time."""


@functools.cache
def digits() -> mnist.Digits:
    return mnist.load()


def trace(
    network: type[Base], recipe: Recipe, *, num_batches: int | None = FEW_BATCHES, images: mnist.Digits | None = None
) -> Trace:
    """The trace of a network, whose epochs end after so many batches if not None; by default on MNIST."""
    net = network(recipe, images or digits())
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


class ReorderedLayered(TorchsForm, Layered):
    """The same with convolutions and dropout: places of the kernel and images added up in another order."""

    places = Layered.places[::-1]
    own_seed = 2

    def drop(self, layer: str, activations: Array) -> Array:
        super().drop(layer, activations)
        kept = self.masks[layer] != 0
        return np.where(kept, activations / self.real(1 - self.recipe.dropout), 0).astype(self.real)

    def undrop(self, layer: str, delta: Array) -> Array:
        return delta * (self.masks[layer] != 0) / (1 - self.real(self.recipe.dropout))

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        return Layered.backward(self, images, labels, activations)

    def over_places(self, delta: Array) -> Array:
        return delta.reshape(-1, delta.shape[-1])[::-1].sum(axis=0)


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


def random_network(seed: int) -> tuple[Recipe, mnist.Digits]:
    """A recipe drawn from small networks of both kinds, with dropout or without, and images of any shape for it."""
    random = np.random.default_rng(seed)
    shape = (int(random.integers(10, 17)), int(random.integers(10, 17)))
    num_classes, num_images = int(random.choice([2, 3, 10, 300])), 400
    # Half of the pixels are background, and some of the others as dark as can be: activations tie.
    grey = random.integers(0, 256, (num_images, *shape)) * random.integers(0, 2, (num_images, *shape))
    images = np.where(grey > 200, 255, grey).astype(np.uint8)
    images[:, :, : shape[1] // 3] = 0
    labels = random.integers(0, num_classes, num_images).astype(np.uint16)
    summary = Summary(shape, num_classes, num_images, num_images)
    network = random.choice(["dense", "cnn", "cnn"])
    recipe = random_recipe(
        seed,
        dataset="/nowhere.npz",
        images=summary,
        network=str(network),
        filters=tuple(map(int, random.integers(1, 7, 2))),
        dropout=float(random.choice([0, 0.1, 0.2, 0.5, 0.9])),
        dropout_masks=str(random.choice(["shared", "framework"])),
        batch_size=int(random.integers(1, 60)),
    )
    return recipe, mnist.Digits(images, labels, images, labels)
