"""One optimizer step from weights, images and labels alone: loss and gradients, and how far rounding can carry them.

Where a trace records what every layer computed, each operation is judged from its own inputs. A window records only
what a step begins with and what comes of it, so that errors are carried on: through each layer, through the softmax,
and back. A unit whose pre-activation lies within its error of zero may be on in one program and off in another, and
of activations that lie as close together any may be the largest: what depends on that is added to the bound whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import ErrorBound, Rounding
from compare.oracle.network import Array, ArraysByName
from recipe import Recipe

_LEAST_ROOT = 1e-150
"""Squares of numbers 1e-12 times as large, which a root of this size would notice, underflow in float64."""


@dataclass(frozen=True)
class _Layer:
    """What a layer takes and computes in exact arithmetic, and how far an implementation may be off."""

    inputs: Array
    input_error: ErrorBound
    preactivations: Array
    error: ErrorBound


@dataclass(frozen=True)
class WholeStep:
    """A step's forward and backward pass.

    Args:
        recipe: Its dtype, network and dropout count.
        weights: The parameters before the step, by canonical name.
        images: As fed, shape (batch, pixels).
        labels: Their classes, shape (batch,).
        masks: What dropout multiplies with by hidden layer, shape (batch, units); None where nothing is dropped.
    """

    recipe: Recipe
    weights: ArraysByName
    labels: NDArray[np.int64]
    masks: ArraysByName
    layers: dict[str, _Layer]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        weights: ArraysByName,
        images: Array,
        labels: NDArray[np.int64],
        masks: ArraysByName | None = None,
    ) -> "WholeStep":
        """Passes the images forward."""
        rounding, masks = Rounding.of(recipe.dtype), masks or {}
        layers: dict[str, _Layer] = {}
        tensor = convolution.as_maps(images, recipe.images.image_shape) if recipe.network == "cnn" else images
        error = ErrorBound.of(np.zeros_like(tensor))
        for name in oracle.layer_names(weights):
            layer = layers[name] = _linear(tensor, error, weights[f"{name}.kernel"], weights[f"{name}.bias"], rounding)
            tensor, error = oracle.relu(layer.preactivations), _where(_may_be_on(layer), layer.error)
            if tensor.ndim > 2:  # noqa: PLR2004 - a convolution's
                tensor, error = convolution.max_pool(tensor), error.changed(convolution.max_pool)
            elif name in masks:
                mask, dropped = masks[name], tensor * masks[name]
                error = error.changed(lambda e, mask=mask: e * mask).plus(rounding.dropout(dropped, recipe.dropout))
                tensor, error = dropped, _where(mask != 0, error)
        return cls(recipe, weights, labels, masks, layers)

    @property
    def logits(self) -> Array:
        """Shape (batch, classes)."""
        return self.layers["output"].preactivations

    @property
    def activations(self) -> ArraysByName:
        """By layer, before pooling and dropout; of the output the probabilities."""
        return {
            name: oracle.softmax(layer.preactivations) if name == "output" else oracle.relu(layer.preactivations)
            for name, layer in self.layers.items()
        }

    def loss(self) -> tuple[float, float]:
        """The mean cross-entropy, and how far it may be off.

        Logits off by e change a loss by at most Σ |p − one_hot|·e at some p between, which is within exp(2e) of this.
        """
        error, rounding = self.layers["output"].error.bound, Rounding.of(self.recipe.dtype)
        slope = np.abs(oracle.output_delta(self.logits, self.labels))  # divided by the batch size already
        carried = slope * np.exp(2 * error.max(axis=1, keepdims=True)) * error
        expected = float(oracle.cross_entropies(self.logits, self.labels).mean())
        return expected, float(carried.sum()) + rounding.cross_entropy(self.logits, self.labels)

    def gradients(self) -> Iterator[tuple[str, Array, Array]]:
        """Name, exact gradient and error bound of every parameter, from the output to the first layer."""
        rounding = Rounding.of(self.recipe.dtype)
        delta = oracle.output_delta(self.logits, self.labels)
        error = self._output_error(delta)
        activations = self.activations
        inputs = {name: layer.inputs for name, layer in self.layers.items()}

        def through(name: str, carried: Array) -> Array:
            return oracle.through(carried, activations[name], self.masks.get(name))

        below = dict(zip(list(self.layers)[1:], self.layers, strict=False))
        for of_layer in oracle.backward(self.weights, inputs, delta, through):
            name, layer = of_layer.layer, self.layers[of_layer.layer]
            kernel = self.weights[f"{name}.kernel"]
            taken = layer.input_error.changed(lambda e, kernel=kernel: convolution.rows(e, kernel))
            by_place = error.changed(lambda e, of_layer=of_layer: e.reshape(of_layer.delta.shape))
            yield f"{name}.kernel", of_layer.kernel, _product(
                of_layer.rows, taken, of_layer.delta, by_place, rounding
            ).reshape(of_layer.kernel.shape)
            ones = np.ones((len(of_layer.delta), 1))
            no_error = ErrorBound.of(np.zeros_like(ones))
            yield f"{name}.bias", of_layer.bias, _product(ones, no_error, of_layer.delta, by_place, rounding)[0]
            if of_layer.spread is not None and of_layer.carried is not None:
                left, right = of_layer.spread
                spread = error.changed(lambda e, kernel=kernel: convolution.spread(e, kernel)[0])
                shape = of_layer.carried.shape
                error = rounding.product(left, spread, right).changed(lambda e, shape=shape: e.reshape(shape))
                error = self._error_through(below[name], of_layer.carried, error)

    def _output_error(self, delta: Array) -> ErrorBound:
        """Of ∂loss/∂logits: that of the softmax itself, and of logits that are off, by its derivative p·(1 − p)."""
        error, p = self.layers["output"].error, oracle.softmax(self.logits)
        slopes = np.abs(p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])) / len(p)
        between = np.exp(2 * error.bound.max(axis=1, keepdims=True))
        worst = between * np.einsum("bij,bj->bi", slopes, error.worst)
        scatter = between * _root(np.einsum("bij,bj->bi", slopes**2, error.scatter**2), worst)
        own = Rounding.of(self.recipe.dtype).output_delta(self.logits, delta)
        return ErrorBound(worst, scatter).plus(own)

    def _error_through(self, name: str, carried: Array, error: ErrorBound) -> ErrorBound:
        """Of ∂loss/∂pre-activations of a hidden layer from that of what it passes on."""
        layer = self.layers[name]
        if layer.preactivations.ndim > 2:  # noqa: PLR2004 - a convolution's
            carried, error = _error_of_routing(layer, carried, error)
        elif name in self.masks:
            mask, rounding = self.masks[name], Rounding.of(self.recipe.dtype)
            carried = carried * mask
            error = error.changed(lambda e: e * mask).plus(rounding.dropout(carried, self.recipe.dropout))
            error = _where(mask != 0, error)
        open_question = np.abs(layer.preactivations) <= layer.error.bound
        on_or_off = np.where(open_question, np.abs(carried), 0)
        error = _where(_may_be_on(layer), error)
        return error.plus(on_or_off) if on_or_off.any() else error


def _linear(inputs: Array, error: ErrorBound, kernel: Array, bias: Array, rounding: Rounding) -> _Layer:
    matrix, rows = convolution.matrix(kernel), convolution.rows(inputs, kernel)
    errors = error.changed(lambda e: convolution.rows(e, kernel))
    preactivations = convolution.linear(inputs, kernel, bias)
    worst = errors.worst @ np.abs(matrix)
    carried = ErrorBound(worst, _root(errors.scatter**2 @ matrix**2, worst))
    own = rounding.dense(np.abs(rows) + errors.bound, matrix, bias)
    total = carried.plus(own).changed(lambda e: e.reshape(preactivations.shape))
    return _Layer(inputs, error, preactivations, total)


def _may_be_on(layer: _Layer) -> NDArray[np.bool_]:
    """Which units an implementation may find above zero."""
    return layer.preactivations > -layer.error.bound


def _where(condition: NDArray[np.bool_], error: ErrorBound) -> ErrorBound:
    return error.changed(lambda e: np.where(condition, e, 0))


def _product(left: Array, left_error: ErrorBound, right: Array, right_error: ErrorBound, rounding: Rounding) -> Array:
    """How far `left.T @ right` may be off, where both are, whose rows are the places that are added up."""
    magnitudes = np.abs(left) + left_error.bound, np.abs(right) + right_error.bound
    terms = np.count_nonzero(magnitudes[0], axis=0)[:, None] + 1
    worst = np.abs(left).T @ right_error.worst + left_error.worst.T @ (np.abs(right) + right_error.worst)
    scatter = (left**2).T @ right_error.scatter**2 + (left_error.scatter**2).T @ (right**2 + right_error.scatter**2)
    own = rounding.gamma(terms) * (magnitudes[0].T @ magnitudes[1]) + rounding.tiny
    return ErrorBound(worst, _root(scatter, worst)).plus(own).bound


def _root(squares: Array, worst: Array) -> Array:
    """The root of a sum of squares; where they may have underflowed, the worst."""
    root = np.sqrt(squares)
    return np.where(root < _LEAST_ROOT, worst, root)


def _error_of_routing(layer: _Layer, carried: Array, error: ErrorBound) -> tuple[Array, ErrorBound]:
    """What reaches the maps before the pooling at most, |∂loss/∂maps|, and how far it may be off.

    Where the same patches lie under those that may be the largest, nothing comes of which of them is.
    """
    maps, allowed = oracle.relu(layer.preactivations), np.where(_may_be_on(layer), layer.error.bound, 0)
    parts, errors = convolution.windows(maps), convolution.windows(allowed)
    least = (parts - errors).max(axis=3, keepdims=True)
    may_be_largest = (parts + errors >= least) & (parts + errors > 0)
    taken = convolution.windows(convolution.patches(layer.inputs))
    open_question = np.zeros(carried.shape, bool)
    for first, second in combinations(range(parts.shape[3]), 2):
        differ = (taken[:, :, :, first] != taken[:, :, :, second]).any(axis=-1)
        open_question |= may_be_largest[:, :, :, first] & may_be_largest[:, :, :, second] & differ[..., None]

    def to_maps(tensor: Array, places: NDArray[np.bool_]) -> Array:
        return convolution.unpool(places * tensor[:, :, :, None], maps.shape)

    routed = convolution.route(np.abs(carried), maps)
    own = to_maps(open_question * np.abs(carried), may_be_largest)
    # The error goes where the derivative goes: to the largest, or to each that may be it.
    moved = error.changed(
        lambda e: np.maximum(convolution.route(e, maps), to_maps(open_question * e, may_be_largest))
    )
    return np.maximum(routed, own), moved.plus(own) if own.any() else moved
