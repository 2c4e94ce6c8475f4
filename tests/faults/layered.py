"""The clean network of every recipe: convolutions, pooling and dropout beside what the example has.

Written without `compare/oracle/convolution.py`, which it is to prove: no patches, but a sum over the places of
the kernel.
"""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe.dropout_masks import dropout_masks
from recipe.initial_weights import Weights
from record.first_steps import Step
from tests.faults.zoo import Array, Base, Labels

PLACES = list(product(range(3), range(3)))
CORNERS = list(product(range(2), range(2)))


def under(maps: Array, place: tuple[int, int]) -> Array:
    """What lies under one place of a 3×3 kernel, shape (batch, rows − 2, columns − 2, channels)."""
    row, column = place
    return maps[:, row : maps.shape[1] - 2 + row, column : maps.shape[2] - 2 + column]


def corner(maps: Array, place: tuple[int, int]) -> Array:
    """One of the four of every 2×2 window, a view."""
    height, width = (size // 2 * 2 for size in maps.shape[1:3])
    return maps[:, place[0] : height : 2, place[1] : width : 2]


class Layered(Base):
    """Base with convolutions and dropout, in steps that a fault changes one of."""

    places = PLACES
    training = False

    def settings(self) -> dict[str, Any]:
        rate, masks = self.stated.dropout, self.stated.dropout_masks
        drawn = {"shared": "shared", "framework": "numpy's generator"}[masks] if rate else "none"
        return super().settings() | {"dropout.rate": rate, "dropout.masks": drawn}

    def take_step(self, images: Array, labels: Labels) -> Step:
        self.training, self.masks, self.dropped = True, {}, {}
        step = super().take_step(images, labels)
        self.training = False
        return step

    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        z: Weights = {}
        activations: Weights = {}
        tensor = images.reshape(len(images), *self.recipe.images.image_shape, 1)
        for layer in self.recipe.layer_names:
            convolution = layer in self.recipe.convolution_names
            z[layer] = self.convolve(layer, tensor) if convolution else self.dense(layer, self.flat(tensor))
            activations[layer] = tensor = self.activate(layer, z[layer])
            if convolution:
                tensor = self.pool(tensor)
            elif layer in self.recipe.hidden_names and self.recipe.dropout and self.dropping():
                self.dropped[layer] = tensor = self.drop(layer, tensor)
        passed = {"preactivations": z, "activations": activations, "loss": self.loss(z["output"], labels)}
        return passed | ({"dropped": dict(self.dropped)} if self.training else {})

    def dropping(self) -> bool:
        return self.training

    def used(self, layer: str) -> Array:
        """The kernel that a convolution uses."""
        return self.parameters[f"{layer}.kernel"]

    def convolve(self, layer: str, maps: Array) -> Array:
        kernel = self.used(layer)
        return sum(under(maps, place) @ kernel[place] for place in self.places) + self.parameters[f"{layer}.bias"]

    def pool(self, maps: Array) -> Array:
        return np.max([corner(maps, place) for place in CORNERS], axis=0)

    def flat(self, tensor: Array) -> Array:
        return tensor.reshape(len(tensor), -1)

    def unflat(self, delta: Array, shape: tuple[int, ...]) -> Array:
        return delta.reshape(shape)

    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        """Which activations of a layer are kept, and what they are multiplied with."""
        masks = self.all_masks(num_images)
        columns = np.cumsum((0, *self.recipe.hidden_sizes))
        index = self.recipe.hidden_names.index(layer)
        return masks[:, columns[index] : columns[index + 1]] != 0, 1 / (1 - self.recipe.dropout)

    def all_masks(self, num_images: int) -> Array:
        if self.recipe.dropout_masks == "shared":
            epoch, step = divmod(self.num_steps, -(-len(self.digits.x_train) // self.recipe.batch_size))
            start = step * self.recipe.batch_size
            return dropout_masks(self.recipe, epoch, start, start + num_images)
        random = np.random.default_rng([self.own_seed, self.num_steps])
        return random.random((num_images, sum(self.recipe.hidden_sizes))) >= self.recipe.dropout

    own_seed = 1

    def drop(self, layer: str, activations: Array) -> Array:
        kept, scale = self.mask_numbers(layer, len(activations))
        self.masks[layer] = kept * self.real(scale)
        return activations * self.masks[layer]

    def undrop(self, layer: str, delta: Array) -> Array:
        return delta * self.masks[layer]

    def unpool(self, delta: Array, maps: Array) -> Array:
        result = np.zeros_like(maps)
        waiting = np.ones(delta.shape, bool)
        largest = Layered.pool(self, maps)
        for place in CORNERS:
            chosen = waiting & (corner(maps, place) == largest)
            corner(result, place)[chosen] = delta[chosen]
            waiting &= ~chosen
        return result

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        delta = self.delta(activations["output"], labels)
        below = [None, *list(activations)[:-1]]
        gradients: Weights = {}
        for before, layer in reversed(list(zip(below, activations, strict=True))):
            inputs = self.inputs(before, images, activations)
            kernel = self.parameters[f"{layer}.kernel"]
            if kernel.ndim == 4:
                taken = [np.tensordot(under(inputs, place), delta, ([0, 1, 2], [0, 1, 2])) for place in PLACES]
                kernel_gradient, passed = np.reshape(taken, kernel.shape), np.zeros_like(inputs)
                for place in self.places:
                    under(passed, place)[:] += delta @ kernel[place].T
            else:
                kernel_gradient, passed = self.flat(inputs).T @ delta, delta @ kernel.T
                passed = self.unflat(passed, inputs.shape)
            gradients |= {f"{layer}.kernel": kernel_gradient, f"{layer}.bias": self.over_places(delta)}
            if before is not None:
                if before in self.recipe.convolution_names:
                    passed = self.unpool(passed, activations[before])
                elif before in self.masks:
                    passed = self.undrop(before, passed)
                delta = passed * (activations[before] > 0)
        return {name: gradients[name] for name in self.parameters}

    def inputs(self, before: str | None, images: Array, activations: Weights) -> Array:
        """What the layer behind `before` was fed."""
        if before is None:
            shape = (*self.recipe.images.image_shape, 1)[: 3 if self.recipe.convolution_names else 0]
            return images.reshape(len(images), *(shape or (-1,)))
        if before in self.recipe.convolution_names:
            return self.pool(activations[before])
        return self.dropped.get(before, activations[before])

    def over_places(self, delta: Array) -> Array:
        return delta.reshape(-1, delta.shape[-1]).sum(axis=0)
