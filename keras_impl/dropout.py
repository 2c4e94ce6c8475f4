"""Dropout by the masks that both sides share: they come with the images, in columns behind the pixels."""

from collections.abc import Iterator
from typing import Any

import keras


class SharedDropout(keras.Layer):
    """Multiplies by a mask of zeros and 1 / (1 − rate); without one it changes nothing.

    Args:
        rate: Share of the activations that the masks drop.
        name: Of the layer.
    """

    def __init__(self, rate: float, name: str) -> None:
        super().__init__(name=name)
        self.rate = rate

    def build(self, input_shape: tuple[int | None, int]) -> None:
        """Keeps the number of columns that a mask has."""
        self.units = input_shape[1]

    def call(self, activations: Any, dropout_mask: Any = None) -> Any:
        """What is passed on of the activations, shape (batch, units), by a mask of the same shape."""
        return activations if dropout_mask is None else activations * dropout_mask


class MaskedSequential(keras.Sequential):
    """Layers that take images alone or, in training, images with a mask for every SharedDropout layer.

    Images are of shape (batch, pixels); behind them stand the masks, in the order of their layers.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Images, shape (batch, pixels) or (batch, pixels + mask columns), to what the last layer says."""
        if inputs.shape[1] == self.input_shape[1]:
            return super().call(inputs, training=training, mask=mask)
        tensor = inputs[:, : self.input_shape[1]]
        for layer, arguments in self.layers_with_masks(inputs):
            tensor = layer(tensor, **arguments)
        return tensor

    def layers_with_masks(self, inputs: Any) -> Iterator[tuple[keras.Layer, dict[str, Any]]]:
        """Every layer, and what it takes of these inputs besides what the layer before it gives."""
        column = self.input_shape[1]
        for layer in self.layers:
            if isinstance(layer, SharedDropout) and column < inputs.shape[1]:
                yield layer, {"dropout_mask": inputs[:, column : column + layer.units]}
                column += layer.units
            else:
                yield layer, {}


def plain_layers(model: keras.Sequential) -> list[keras.Layer]:
    """The model's layers, with Keras's own Dropout for SharedDropout: what a file of it holds."""
    return [
        keras.layers.Dropout(layer.rate, seed=index, name=layer.name) if isinstance(layer, SharedDropout) else layer
        for index, layer in enumerate(model.layers)
    ]


def dropout_settings(model: keras.Sequential) -> dict[str, Any]:
    """The dropout as the live layers state it, under the names of a record's settings."""
    layers = [layer for layer in model.layers if isinstance(layer, SharedDropout | keras.layers.Dropout)]
    if not layers:
        return {"dropout.rate": 0.0, "dropout.masks": "none"}
    shared = isinstance(layers[0], SharedDropout)
    return {"dropout.rate": layers[0].rate, "dropout.masks": "shared" if shared else "keras's generator"}
