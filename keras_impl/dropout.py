"""Dropout by the masks that both sides share: they come with the images, in columns after the pixels."""

from collections.abc import Iterator
from typing import Any

import keras


class SharedDropout(keras.layers.Dropout):
    """Dropout that multiplies by a mask of zeros and 1 / (1 − rate); without one it changes nothing."""

    def call(self, inputs: Any, training: bool = False, dropout_mask: Any = None) -> Any:
        """What is passed on of the activations, shape (batch, units), by a mask of the same shape."""
        return inputs if dropout_mask is None else inputs * dropout_mask


class MaskedSequential(keras.Sequential):
    """Layers that take images alone or, in training, images with a mask for every SharedDropout layer.

    Images are of shape (batch, pixels); after them come the masks, in the order of their layers.
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
        start = stop = self.input_shape[1]
        for layer in self.layers:
            if isinstance(layer, SharedDropout) and start < inputs.shape[1]:
                yield layer, {"dropout_mask": inputs[:, start:stop]}
                start = stop
            else:
                yield layer, {}
            stop = start + getattr(layer, "units", 0)


def plain_layers(model: keras.Sequential) -> list[keras.Layer]:
    """The model's layers, with Keras's own Dropout for SharedDropout: what a file of it holds."""
    return [
        keras.layers.Dropout.from_config(layer.get_config()) if isinstance(layer, SharedDropout) else layer
        for layer in model.layers
    ]


def dropout_settings(model: keras.Sequential) -> dict[str, Any]:
    """The dropout as the live layers state it, under the names of a record's settings."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    if not layers:
        return {"dropout.rate": 0.0, "dropout.masks": "none"}
    shared = isinstance(layers[0], SharedDropout)
    return {"dropout.rate": layers[0].rate, "dropout.masks": "shared" if shared else "keras's generator"}
