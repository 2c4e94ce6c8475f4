"""One optimizer step from weights, images and labels alone: loss and gradients, and how far rounding can carry them.

Where a trace records what every layer computed, each operation is judged from its own inputs. A window records only
what a step begins with and what comes of it, so that errors are carried on: through each layer, through the softmax,
and back. A unit whose pre-activation lies within its error of zero may be on in one program and off in another, and
of activations that lie as close together any may be the largest: what depends on that is added to the bound whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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

_MOST_LOGITS = 64
"""Of so many classes the error of each logit is followed back by itself, which costs a backward pass each."""

_ON = 1e-300
"""An activation that counts as on."""


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
                error = error.changed(partial(np.multiply, mask)).plus(rounding.dropout(dropped, recipe.dropout))
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
        """Name, exact gradient and error bound of every parameter, from the output to the first layer.

        What is off in ∂loss/∂logits changes all derivatives of an image together. Such errors do not scatter on the way
        back: they are followed from each logit by themselves.
        """
        rounding = Rounding.of(self.recipe.dtype)
        delta = oracle.output_delta(self.logits, self.labels)
        own = ErrorBound.of(np.zeros_like(delta))
        of_logits = self._errors_of_logits()
        activations = self.activations
        inputs = {name: layer.inputs for name, layer in self.layers.items()}

        def through(name: str, carried: Array) -> Array:
            return oracle.through(carried, activations[name], self.masks.get(name))

        below = dict(zip(list(self.layers)[1:], self.layers, strict=False))
        for of_layer in oracle.backward(self.weights, inputs, delta, through):
            name, layer = of_layer.layer, self.layers[of_layer.layer]
            kernel, shape = self.weights[f"{name}.kernel"], of_layer.delta.shape
            taken = layer.input_error.changed(partial(convolution.rows, kernel=kernel))
            by_place = own.changed(partial(np.reshape, shape=shape))
            common = of_logits[name].reshape(shape)
            yield (
                f"{name}.kernel",
                of_layer.kernel,
                _product(of_layer.rows, taken, of_layer.delta, by_place, common, rounding).reshape(
                    of_layer.kernel.shape
                ),
            )
            ones = np.ones((len(of_layer.delta), 1))
            no_error = ErrorBound.of(np.zeros_like(ones))
            bias = _product(ones, no_error, of_layer.delta, by_place, common, rounding)[0]
            yield f"{name}.bias", of_layer.bias, bias
            if of_layer.spread is not None and of_layer.carried is not None:
                left, right = of_layer.spread
                spread = own.changed(partial(_spread, kernel=kernel))
                own = rounding.product(left, spread, right)
                own = own.changed(partial(np.reshape, shape=of_layer.carried.shape))
                own = self._error_through(below[name], of_layer.carried, own)

    def _errors_of_logits(self) -> ArraysByName:
        """By layer, how far ∂loss/∂pre-activations may be off because ∂loss/∂logits is, at most."""
        p, error = oracle.softmax(self.logits), self.layers["output"].error.bound
        own = Rounding.of(self.recipe.dtype).output_delta(self.logits, oracle.output_delta(self.logits, self.labels))
        # ∂p/∂z = p·(1 − p) changes by a factor of at most exp(2e) where the logits do by e.
        error = error * np.exp(2 * error.max(axis=1, keepdims=True)) / len(p)
        totals = {name: np.zeros_like(layer.preactivations) for name, layer in self.layers.items()}
        if p.shape[1] > _MOST_LOGITS:
            together = p * error + p * (p * error).sum(axis=1, keepdims=True) + own
            self._add_errors(totals, together, {name: np.abs(array) for name, array in self.weights.items()})
            return totals
        for logit in range(p.shape[1]):
            here = np.arange(p.shape[1]) == logit
            self._add_errors(totals, p * (here - p[:, [logit]]) * error[:, [logit]], self.weights)
            self._add_errors(totals, here * own, self.weights)
        return totals

    def _add_errors(self, totals: ArraysByName, error: Array, weights: ArraysByName) -> None:
        """Follows one error of ∂loss/∂logits back through all layers; a unit that may be on or off counts as on."""
        names = list(self.layers)
        for name, below in zip(names[::-1], [*names[-2::-1], None], strict=True):
            totals[name] += np.abs(error)
            if below is not None:
                left, right = convolution.spread(error, weights[f"{name}.kernel"])
                carried, layer = (left @ right).reshape(self.layers[name].inputs.shape), self.layers[below]
                on = np.where(_may_be_on(layer), np.maximum(layer.preactivations, _ON), 0)
                error = oracle.through(carried, on, self.masks.get(below))

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


def _spread(error: Array, kernel: Array) -> Array:
    return convolution.spread(error, kernel)[0]


def _may_be_on(layer: _Layer) -> NDArray[np.bool_]:
    """Which units an implementation may find above zero."""
    return layer.preactivations > -layer.error.bound


def _where(condition: NDArray[np.bool_], error: ErrorBound) -> ErrorBound:
    return error.changed(lambda e: np.where(condition, e, 0))


def _product(
    left: Array, left_error: ErrorBound, right: Array, right_error: ErrorBound, common: Array, rounding: Rounding
) -> Array:
    """How far `left.T @ right` may be off, where both are, whose rows are the places that are added up.

    `common` is an error of `right` that does not scatter.
    """
    magnitudes = np.abs(left) + left_error.bound, np.abs(right) + right_error.bound + common
    terms = np.count_nonzero(magnitudes[0], axis=0)[:, None] + 1
    worst = np.abs(left).T @ right_error.worst + left_error.worst.T @ (np.abs(right) + right_error.worst)
    scatter = (left**2).T @ right_error.scatter**2 + (left_error.scatter**2).T @ (right**2 + right_error.scatter**2)
    sums = [magnitude.sum(axis=0) for magnitude in magnitudes]
    # Factors and products below the smallest normal number may become zero.
    underflows = rounding.tiny * (1 + len(left) + sums[0][:, None] + sums[1])
    own = rounding.gamma(terms) * (magnitudes[0].T @ magnitudes[1]) + underflows
    return ErrorBound(worst, _root(scatter, worst)).plus(own).bound + magnitudes[0].T @ common


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
    moved = error.changed(lambda e: np.maximum(convolution.route(e, maps), to_maps(open_question * e, may_be_largest)))
    return np.maximum(routed, own), moved.plus(own) if own.any() else moved
