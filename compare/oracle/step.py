"""What a trace recorded of a step, in float64 and in the shapes that the oracle takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import Error, Rounding
from compare.oracle.network import Array, Weights
from recipe import Recipe
from recipe.dropout_masks import dropout_masks
from record.first_steps import Trace


@dataclass(frozen=True)
class RecordedStep:
    """A step of a trace: the parameters before it, and what each layer made of its inputs.

    Activations are those before pooling and dropout; `dropped` is what the dropout passes on.
    """

    recipe: Recipe
    images: Array
    labels: NDArray[np.int64]
    weights: Weights
    preactivations: Weights
    activations: Weights
    dropped: Weights

    @classmethod
    def of(cls, trace: Trace, index: int) -> "RecordedStep":
        """Step `index` of a trace, from 0."""
        step = trace.steps[index]
        before = trace.initial_weights if index == 0 else trace.steps[index - 1].parameters
        groups = [oracle.exact(group) for group in (before, step.preactivations, step.activations, step.dropped)]
        return cls(trace.recipe, np.asarray(step.images, np.float64), step.labels, *groups)

    @property
    def layers(self) -> list[str]:
        """From input to output."""
        return list(self.activations)

    def kernel(self, layer: str) -> Array:
        """In the canonical layout."""
        return self.weights[f"{layer}.kernel"]

    def bias(self, layer: str) -> Array:
        """Shape (units,)."""
        return self.weights[f"{layer}.bias"]

    def below(self, layer: str) -> str | None:
        """The layer before; None of the first."""
        index = self.layers.index(layer)
        return self.layers[index - 1] if index else None

    @cached_property
    def inputs(self) -> Weights:
        """What each layer was fed, as recorded: (batch, units) or feature maps (batch, rows, columns, channels)."""
        tensor = self.images
        if self.recipe.network == "cnn":
            tensor = convolution.as_maps(tensor, self.recipe.images.image_shape)
        result = {}
        for layer, activations in self.activations.items():
            result[layer] = tensor
            pooled = layer in self.recipe.convolution_names
            tensor = convolution.max_pool(activations) if pooled else self.dropped.get(layer, activations)
        return result

    @cached_property
    def scale(self) -> float:
        """What dropout multiplies the activations with that it keeps."""
        return float(np.dtype(self.recipe.dtype).type(1 / (1 - self.recipe.dropout)))

    def mask(self, layer: str) -> Array | None:
        """What the dropout behind a layer multiplied with, as its outcome tells; None where there is none."""
        return (self.dropped[layer] != 0) * self.scale if layer in self.dropped else None

    def through(self, layer: str, delta: Array) -> Array:
        """∂loss/∂pre-activations of a hidden layer from that of what it passes on."""
        return oracle.through(delta, self.activations[layer], self.mask(layer))

    def error_through(self, layer: str, delta: Array, error: Error) -> Error:
        """How far `through` may be off for a `delta` that may be off by `error`."""
        error = error.changed(partial(self.through, layer))
        if layer in self.recipe.convolution_names:
            activations = self.activations[layer]
            open_question = convolution.undecided(delta, activations, self.inputs[layer])
            return error.plus(open_question) if open_question.any() else error
        if layer in self.dropped:
            return error.plus(Rounding.of(self.recipe.dtype).dropout(self.through(layer, delta), self.recipe.dropout))
        return error

    def gradients(self, delta: Array, through: Callable[[str, Array], Array] | None = None) -> Weights:
        """The gradients that ∂loss/∂logits gives by way of the recorded activations.

        `through` says how it passes from behind a hidden layer to that layer's pre-activations.
        """
        result: Weights = {}
        for layer in reversed(self.layers):
            kernel, inputs, below = self.kernel(layer), self.inputs[layer], self.below(layer)
            each = delta.reshape(-1, delta.shape[-1])
            result[f"{layer}.kernel"] = (convolution.rows(inputs, kernel).T @ each).reshape(kernel.shape)
            result[f"{layer}.bias"] = each.sum(axis=0)
            if below is not None:
                left, right = convolution.spread(delta, kernel)
                delta = (left @ right).reshape(inputs.shape)
                delta = (through or self.through)(below, delta)
        return result


def shared_masks(recipe: Recipe, index: int, num_images: int) -> Weights:
    """By hidden layer, what the recipe has dropout multiply the activations of step `index` (from 0) with."""
    start = index * recipe.batch_size
    masks = dropout_masks(recipe, 0, start, start + num_images).astype(np.float64)
    return dict(zip(recipe.hidden_names, np.split(masks, np.cumsum(recipe.hidden_sizes)[:-1], axis=1), strict=True))
