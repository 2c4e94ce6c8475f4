"""The reference: the network, its loss, its gradients and Adam in plain NumPy, in float64.

It is written from the formulas, shares no code with either framework, and takes the weights in the
canonical layout (`recipe/initial_weights.py`). What is special in a convolution and in pooling is
in `compare/oracle/convolution.py`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from compare.oracle.convolution import linear, max_pool, route, rows, spread

Array = NDArray[np.float64]
ArraysByName = dict[str, Array]


def exact(arrays: dict[str, NDArray[np.floating]]) -> ArraysByName:
    """The same numbers in float64."""
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


def layer_names(weights: ArraysByName) -> list[str]:
    """The layers from input to output."""
    return [name.removesuffix(".kernel") for name in weights if name.endswith(".kernel")]


def relu(preactivations: Array) -> Array:
    """max(z, 0)."""
    return np.maximum(preactivations, 0)


def softmax(logits: Array) -> Array:
    """Class probabilities, shape (batch, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropies(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Log Σ exp(z) − z[label] of each image, shape (batch,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]


class Forward(NamedTuple):
    """A forward pass: by layer, what goes in, the pre-activations and the activations before pooling and dropout."""

    inputs: ArraysByName
    preactivations: ArraysByName
    activations: ArraysByName


def forward(weights: ArraysByName, images: Array, masks: ArraysByName | None = None) -> Forward:
    """The network: convolutions with ReLU and pooling, if any, hidden ReLU layers, then a softmax.

    Args:
        weights: The parameters by canonical name.
        images: Shape (batch, pixels), before a convolution (batch, rows, columns, 1).
        masks: What dropout multiplies the activations of hidden layers with, (batch, units) by layer.
    """
    result = Forward({}, {}, {})
    tensor = images
    *hidden, output = layer_names(weights)
    for layer in (*hidden, output):
        result.inputs[layer] = tensor
        z = result.preactivations[layer] = linear(tensor, weights[f"{layer}.kernel"], weights[f"{layer}.bias"])
        tensor = result.activations[layer] = softmax(z) if layer == output else relu(z)
        if tensor.ndim > 2:  # noqa: PLR2004 - a convolution's
            tensor = max_pool(tensor)
        elif masks and layer in masks:
            tensor = tensor * masks[layer]
    return result


def loss(weights: ArraysByName, images: Array, labels: NDArray[np.int64], masks: ArraysByName | None = None) -> float:
    """The mean cross-entropy of a batch."""
    logits = forward(weights, images, masks).preactivations[layer_names(weights)[-1]]
    return float(cross_entropies(logits, labels).mean())


def output_delta(logits: Array, labels: NDArray[np.int64]) -> Array:
    """∂loss/∂logits = (p − one_hot) / batch, shape (batch, classes)."""
    delta = softmax(logits)
    delta[np.arange(len(labels)), labels] -= 1
    return delta / len(labels)


class Backward(NamedTuple):
    """What back-propagation makes of one layer.

    Args:
        layer: Its name.
        rows: What its kernel is multiplied with, shape (places, terms): a row an image, or a place of a convolution.
        delta: ∂loss/∂pre-activations, shape (places, units).
        kernel: ∂loss/∂kernel, rowsᵀ @ delta in the kernel's shape.
        bias: ∂loss/∂bias, shape (units,).
        spread: The two matrices whose product is `carried`; None in the first layer.
        carried: ∂loss/∂inputs, in the shape of the layer's inputs; None in the first layer.
    """

    layer: str
    rows: Array
    delta: Array
    kernel: Array
    bias: Array
    spread: tuple[Array, Array] | None = None
    carried: Array | None = None


Through = Callable[[str, Array], Array]
"""How ∂loss/∂ what a hidden layer passes on becomes ∂loss/∂ its pre-activations."""


def backward(weights: ArraysByName, inputs: ArraysByName, delta: Array, through: Through) -> Iterator[Backward]:
    """Back-propagation, layer by layer from the output to the first.

    Args:
        weights: The parameters by canonical name.
        inputs: What each layer was fed, by layer from input to output.
        delta: ∂loss/∂logits, shape (batch, classes).
        through: For each hidden layer, the way back through pooling, dropout and ReLU.
    """
    layers = list(inputs)
    for below, layer in zip((None, *layers[:-1])[::-1], layers[::-1], strict=True):
        kernel, taken = weights[f"{layer}.kernel"], rows(inputs[layer], weights[f"{layer}.kernel"])
        by_place = delta.reshape(-1, delta.shape[-1])
        of_layer = Backward(
            layer=layer,
            rows=taken,
            delta=by_place,
            kernel=(taken.T @ by_place).reshape(kernel.shape),
            bias=(np.ones((1, len(by_place))) @ by_place)[0],
        )
        if below is None:
            yield of_layer
            continue
        left, right = spread(delta, kernel)
        carried = (left @ right).reshape(inputs[layer].shape)
        yield of_layer._replace(spread=(left, right), carried=carried)
        delta = through(below, carried)


def by_parameter(weights: ArraysByName, passes: Iterator[Backward]) -> ArraysByName:
    """The gradients of a backward pass by canonical name, in the order of the parameters."""
    by_name = {f"{layer.layer}.{kind}": getattr(layer, kind) for layer in passes for kind in ("kernel", "bias")}
    return {name: by_name[name] for name in weights}


def gradients(
    weights: ArraysByName, images: Array, labels: NDArray[np.int64], masks: ArraysByName | None = None
) -> ArraysByName:
    """∂loss/∂parameter of every parameter; the arguments are those of `loss`."""
    passed = forward(weights, images, masks)
    delta = output_delta(passed.preactivations[layer_names(weights)[-1]], labels)

    def back(layer: str, delta: Array) -> Array:
        return through(delta, passed.activations[layer], masks.get(layer) if masks else None)

    return by_parameter(weights, backward(weights, passed.inputs, delta, back))


def through(delta: Array, activations: Array, mask: Array | None) -> Array:
    """∂loss/∂pre-activations of a hidden layer from that of what it passes on: through pooling, dropout and ReLU."""
    if activations.ndim > 2:  # noqa: PLR2004 - a convolution's
        delta = route(delta, activations)
    elif mask is not None:
        delta = delta * mask
    return delta * (activations > 0)


class Adam(NamedTuple):
    """Adam's hyperparameters; ε is added before the bias correction, as Keras does.

    `power_dtype` is the dtype in which Keras computes βᵗ, the parameters' own.
    """

    learning_rate: float
    beta_1: float
    beta_2: float
    epsilon: float
    power_dtype: str = "float64"

    def step_size(self, step: int) -> float:
        """α = lr·√(1 − β₂ᵗ) / (1 − β₁ᵗ) of step t, from 1."""
        real = np.dtype(self.power_dtype).type
        power_1, power_2 = (float(real(beta) ** real(step)) for beta in (self.beta_1, self.beta_2))
        return float(self.learning_rate * np.sqrt(1 - power_2) / (1 - power_1))

    def first_moment(self, moment: Array, gradient: Array) -> Array:
        """M ← β₁·m + (1 − β₁)·g."""
        return self.beta_1 * moment + (1 - self.beta_1) * gradient

    def second_moment(self, moment: Array, gradient: Array) -> Array:
        """V ← β₂·v + (1 − β₂)·g²."""
        return self.beta_2 * moment + (1 - self.beta_2) * gradient**2

    def update(self, first: Array, second: Array, step: int) -> Array:
        """What step t subtracts from a parameter: α·m / (√v + ε)."""
        return self.step_size(step) * first / (np.sqrt(second) + self.epsilon)
