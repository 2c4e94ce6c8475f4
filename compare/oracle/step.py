"""What a trace recorded of a step, in float64 and in the shapes that the oracle takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import ErrorBound, Rounding
from compare.oracle.network import Array, ArraysByName, Backward, Through
from recipe import Recipe
from recipe.dropout_masks import dropout_masks
from record.first_steps import Trace


@dataclass(frozen=True)
class ExactStep:
    """A step of a trace: the parameters before it, and what each layer made of its inputs.

    Activations are those before pooling and dropout; `dropped` is what the dropout passes on.
    """

    recipe: Recipe
    images: Array
    labels: NDArray[np.int64]
    weights: ArraysByName
    preactivations: ArraysByName
    activations: ArraysByName
    dropped: ArraysByName

    @classmethod
    def of(cls, trace: Trace, index: int) -> "ExactStep":
        """Step `index` of a trace, from 0."""
        step = trace.steps[index]
        before = trace.weights_before(index)
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
    def inputs(self) -> ArraysByName:
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
        """What the dropout after a layer multiplied with, inferred from its output; None where there is none."""
        return (self.dropped[layer] != 0) * self.scale if layer in self.dropped else None

    def through(self, layer: str, delta: Array) -> Array:
        """∂loss/∂pre-activations of a hidden layer from that of what it passes on."""
        return oracle.through(delta, self.activations[layer], self.mask(layer))

    def _through_selecting(self, layer: str, delta: Array) -> Array:
        """The same, but a unit that does not fire passes nothing on, where `through` multiplies by 0."""
        return np.where(self.activations[layer] > 0, self.through(layer, delta), 0)

    def _through_passing_nan(self, layer: str, delta: Array) -> Array:
        """The same, but only what is known not to be above 0 passes nothing on."""
        activations = self.activations[layer]
        return np.where(activations <= 0, 0, np.where(np.isnan(activations), np.nan, self.through(layer, delta)))

    def backward(self, delta: Array) -> Iterator[Backward]:
        """Back-propagation from ∂loss/∂logits through the recorded activations, from the output to the first layer."""
        return oracle.backward(self.weights, self.inputs, delta, self.through)

    def backward_in_other_forms(self, delta: Array) -> list[Iterator[Backward]]:
        """The same as frameworks do it that do not multiply by the derivative of ReLU.

        They differ by what a dead unit makes of NaN, and so only where ∂loss/∂logits is not finite.
        """
        if np.isfinite(delta).all():
            return []
        ways = (self._through_selecting, self._through_passing_nan)
        return [oracle.backward(self.weights, self.inputs, delta, way) for way in ways]

    def gradients(self, delta: Array, through: Through | None = None) -> ArraysByName:
        """The gradients that ∂loss/∂logits gives, by parameter; `through` may replace the way past hidden layers."""
        passes = oracle.backward(self.weights, self.inputs, delta, through or self.through)
        return oracle.by_parameter(self.weights, passes)

    def error_below(self, of_layer: Backward, error: ErrorBound) -> ErrorBound:
        """How far ∂loss/∂pre-activations of the layer below may be off, from how far the layer's own may be.

        `of_layer` is not the first.
        """
        layer, below = of_layer.layer, self.below(of_layer.layer)
        if below is None or of_layer.spread is None or of_layer.carried is None:
            raise ValueError(f"there is no layer below {layer}")
        rounding, (left, right) = Rounding.of(self.recipe.dtype), of_layer.spread
        if layer in self.recipe.convolution_names:
            error = error.settled()  # sixteen probes through a convolution would take longer than all else
        error = error.changed(lambda tensor: convolution.spread(tensor, self.kernel(layer))[0])
        error = rounding.product(left, error, right).changed(partial(np.reshape, shape=self.inputs[layer].shape))
        error = error.changed(partial(self.through, below))
        if below in self.recipe.convolution_names:
            open_question = convolution.undecided(of_layer.carried, self.activations[below], self.inputs[below])
            return error.plus(open_question) if open_question.any() else error
        if below in self.dropped:
            return error.plus(rounding.dropout(self.through(below, of_layer.carried), self.recipe.dropout))
        return error


def shared_masks(recipe: Recipe, index: int, num_images: int, epoch: int = 0) -> ArraysByName:
    """By hidden layer, what the recipe has dropout multiply the activations of an epoch's step `index` with, from 0."""
    start = index * recipe.batch_size
    masks = dropout_masks(recipe, epoch, start, start + num_images).astype(np.float64)
    return dict(zip(recipe.hidden_names, np.split(masks, np.cumsum(recipe.hidden_sizes)[:-1], axis=1), strict=True))
