"""The faults of convolutions and of dropout, planted in `tests/faults/layered.py`; `ZOO` holds all of all files.

`python tests/faults/zoo_networks.py NAME RECIPE.json RUN_DIR [--trace]`
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe.initial_weights import Weights
from tests.faults import zoo_kinds, zoo_layers, zoo_settings, zoo_training
from tests.faults.layered import CORNERS, Layered, corner
from tests.faults.zoo import ZOO, Array, Labels, planted, start

__all__ = ["ZOO"]

FILES = (
    "zoo.py",
    *(f"{module.__name__.rpartition('.')[2]}.py" for module in (zoo_kinds, zoo_training, zoo_layers, zoo_settings)),
    "zoo_networks.py",
)
"""Where the faults are planted."""

CNN: dict[str, Any] = {"network": "cnn", "filters": (4, 4), "hidden_sizes": (16,), "batch_size": 8}
"""A recipe under which the second convolution has as many channels in as filters."""

DROPOUT: dict[str, Any] = {"dropout": 0.2}
OWN_MASKS: dict[str, Any] = {"dropout": 0.2, "dropout_masks": "framework"}
KERNEL = "convolution_2.kernel"


# --- initial weights -------------------------------------------------------------------------------


@planted("initial_weights", KERNEL, f"{KERNEL}: the kernel's rows and columns are swapped", **CNN)
class ConvolutionLoadedWithRowsAndColumnsSwapped(Layered):
    def initial(self, name: str, array: Array) -> Array:
        return array.swapaxes(0, 1) if name == KERNEL else array


@planted("initial_weights", KERNEL, f"{KERNEL}: the kernel is flipped", **CNN)
class ConvolutionLoadedFlipped(Layered):
    def initial(self, name: str, array: Array) -> Array:
        return array[::-1, ::-1] if name == KERNEL else array


@planted("initial_weights", KERNEL, f"{KERNEL}: the kernel's channels in and filters are swapped", **CNN)
class ConvolutionLoadedWithChannelsSwapped(Layered):
    def initial(self, name: str, array: Array) -> Array:
        return array.swapaxes(2, 3) if name == KERNEL else array


@planted("initial_weights", "convolution_1.kernel", "reshaped from torch's layout", **CNN)
class ConvolutionLoadedReshaped(Layered):
    def initial(self, name: str, array: Array) -> Array:
        return array.transpose(3, 2, 0, 1).reshape(array.shape) if array.ndim == 4 else array


@planted("initial_weights", "hidden_1.kernel", "feature maps are flattened channel by channel", **CNN)
class DenseKernelLoadedInTorchsOrder(Layered):
    def initial(self, name: str, array: Array) -> Array:
        if name != "hidden_1.kernel":
            return array
        maps = array.reshape(*self.recipe.feature_map_shapes[-1], self.recipe.filters[-1], -1)
        return np.moveaxis(maps, 2, 0).reshape(array.shape)


@planted(
    "initial_weights", "convolution_1.kernel", "distributed as torch's default U(±1/√in)", **CNN | {"filters": (64, 4)}
)
class TorchsInitialWeightsOfConvolution(Layered):
    def initial(self, name: str, array: Array) -> Array:
        if name != "convolution_1.kernel":
            return array
        return np.random.default_rng(0).uniform(-1, 1, array.shape) / np.sqrt(array[..., 0].size)


# --- forward: convolutions and pooling -------------------------------------------------------------


@planted("forward", "step 1: pre-activations of convolution_1", "the kernel's rows and columns are swapped", **CNN)
class ConvolutionUsedWithRowsAndColumnsSwapped(Layered):
    def used(self, layer: str) -> Array:
        return super().used(layer).swapaxes(0, 1)


@planted(
    "forward", "step 1: pre-activations of convolution_1", "a true convolution instead of a cross-correlation", **CNN
)
class TrueConvolution(Layered):
    def used(self, layer: str) -> Array:
        return super().used(layer)[::-1, ::-1]


@planted("forward", "step 1: pre-activations of convolution_2", "channels in and filters are swapped", **CNN)
class ConvolutionUsedWithChannelsSwapped(Layered):
    def used(self, layer: str) -> Array:
        return super().used(layer).swapaxes(2, 3) if layer == "convolution_2" else super().used(layer)


@planted(
    "forward",
    "step 1: pre-activations of convolution_1",
    "images are transposed: rows and columns are swapped",
    **CNN,
)
class ImagesFedColumnsFirst(Layered):
    def convolve(self, layer: str, maps: Array) -> Array:
        return super().convolve(layer, maps.swapaxes(1, 2) if layer == "convolution_1" else maps)


@planted("forward", "step 2: pre-activations of convolution_2", "the bias is missing from the layer", **CNN)
class ConvolutionWithoutBias(Layered):
    def convolve(self, layer: str, maps: Array) -> Array:
        bias = self.parameters["convolution_2.bias"] if layer == "convolution_2" else self.real(0)
        return super().convolve(layer, maps) - bias


@planted("forward", "step 1: pre-activations of convolution_1", "float16", **CNN)
class ConvolutionInFloat16(Layered):
    def convolve(self, layer: str, maps: Array) -> Array:
        rounded = super().convolve(layer, maps.astype(np.float16).astype(self.real))
        return rounded.astype(np.float16).astype(self.real)


@planted("forward", "step 1: activations of convolution_1", "the activation function is missing", **CNN)
class ConvolutionWithoutActivation(Layered):
    def activate(self, layer: str, z: Array) -> Array:
        return z if layer == "convolution_1" else super().activate(layer, z)


@planted("forward", "step 1: pre-activations of convolution_2", "the pooling averages", **CNN)
class AveragePooling(Layered):
    def pool(self, maps: Array) -> Array:
        return np.mean([corner(maps, place) for place in CORNERS], axis=0, dtype=self.real)


@planted("forward", "step 1: pre-activations of convolution_2", "every second activation is taken", **CNN)
class StridesForPooling(Layered):
    def pool(self, maps: Array) -> Array:
        return corner(maps, (0, 0))


@planted("forward", "step 1: pre-activations of hidden_1", "the largest of 3×3 instead of 2×2", **CNN)
class OverlappingPooling(Layered):
    def pool(self, maps: Array) -> Array:
        pooled = super().pool(maps)
        if maps.shape[1] != 11:
            return pooled
        return np.max([maps[:, i : i + 9 : 2, j : j + 9 : 2] for i in range(3) for j in range(3)], axis=0)


@planted(
    "forward", "step 1: pre-activations of hidden_1", "flattened channel by channel, as torch lays them out", **CNN
)
class FlattenedAsTorchDoes(Layered):
    def flat(self, tensor: Array) -> Array:
        return super().flat(tensor.transpose(0, 3, 1, 2) if tensor.ndim == 4 and tensor.shape[-1] > 1 else tensor)


@planted(
    "forward",
    "step 1: pre-activations of output",
    "feature maps are flattened columns first",
    **CNN | {"hidden_sizes": ()},
)
class FlattenedColumnsFirst(Layered):
    def flat(self, tensor: Array) -> Array:
        return super().flat(tensor.swapaxes(1, 2) if tensor.ndim == 4 else tensor)


# --- forward: dropout ------------------------------------------------------------------------------


@planted("forward", "step 1: what dropout passes on of hidden_1", "dropout is missing", **DROPOUT)
class DropoutMissing(Layered):
    def drop(self, layer: str, activations: Array) -> Array:
        self.masks[layer] = np.ones_like(activations)
        return activations


@planted("forward", "step 1: what dropout passes on of hidden_1", "is not scaled by 1/(1 - rate) = 1.25", **DROPOUT)
class DropoutNotScaled(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        return super().mask_numbers(layer, num_images)[0], 1.0


class ConfusingRates(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        stated = self.recipe
        self.recipe = dataclasses.replace(stated, dropout=1 - stated.dropout)
        numbers = super().mask_numbers(layer, num_images)
        self.recipe = stated
        return numbers


@planted("forward", "step 1: what dropout passes on of hidden_1", "rate and keep probability are confused", **DROPOUT)
class RateAndKeepProbabilityConfused(ConfusingRates):
    pass


@planted("forward", "step 1: what dropout passes on of hidden_1", "rate and keep probability are confused", **OWN_MASKS)
class RateAndKeepProbabilityConfusedInOwnMasks(ConfusingRates):
    pass


class Repeating(Layered):
    def all_masks(self, num_images: int) -> Array:
        steps, self.num_steps = self.num_steps, 0
        masks = super().all_masks(num_images)
        self.num_steps = steps
        return masks


@planted("forward", "step 2: what dropout passes on of hidden_1", "the same mask is used in every step", **DROPOUT)
class SameMaskEveryStep(Repeating):
    pass


@planted(
    "forward", "step 2: agreement with the masks before of hidden_1", "the same mask is used in every step", **OWN_MASKS
)
class SameOwnMaskEveryStep(Repeating):
    pass


class OneForAll(Layered):
    def all_masks(self, num_images: int) -> Array:
        masks = super().all_masks(num_images)
        return np.broadcast_to(masks[0], masks.shape)


@planted("forward", "step 1: what dropout passes on of hidden_1", "one mask is drawn for the whole batch", **DROPOUT)
class MaskPerBatch(OneForAll):
    pass


@planted(
    "forward",
    "step 1: agreement of two images' masks of hidden_1",
    "one mask is drawn for the whole batch",
    **OWN_MASKS,
)
class OwnMaskPerBatch(OneForAll):
    pass


@planted("forward", "step 1: what dropout passes on of hidden_1", "the mask is inverted", **DROPOUT)
class MaskInverted(Layered):
    def all_masks(self, num_images: int) -> Array:
        return super().all_masks(num_images) == 0


@planted("forward", "step 1: what dropout passes on of hidden_1", "another generator or seed", **DROPOUT)
class MasksOfAnotherGenerator(Layered):
    def all_masks(self, num_images: int) -> Array:
        random = np.random.default_rng(self.num_steps)
        return random.random((num_images, sum(self.recipe.hidden_sizes))) >= self.recipe.dropout


@planted("forward", "step 1: share that dropout drops of hidden_1", "the rate is another", **OWN_MASKS)
class OwnMasksOfAnotherRate(Layered):
    """But scaled as the recipe's rate asks for."""

    def all_masks(self, num_images: int) -> Array:
        random = np.random.default_rng(self.num_steps)
        return random.random((num_images, sum(self.recipe.hidden_sizes))) >= 0.4


# --- gradients -------------------------------------------------------------------------------------


@planted("gradients", "step 1: gradient of convolution_2.kernel", "goes to all four in equal parts", **CNN)
class PoolingGradientShared(Layered):
    def unpool(self, delta: Array, maps: Array) -> Array:
        result = np.zeros_like(maps)
        for place in CORNERS:
            corner(result, place)[:] = delta / 4
        return result


@planted("gradients", "step 1: gradient of convolution_2.kernel", "in the gradient, the kernel is flipped", **CNN)
class GradientOfFlippedKernel(Layered):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return gradients | {KERNEL: gradients[KERNEL][::-1, ::-1]}


@planted("gradients", "step 1: gradient of convolution_2.kernel", "it is frozen", **CNN)
class ConvolutionFrozen(Layered):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return gradients | {KERNEL: 0 * gradients[KERNEL]}


@planted("gradients", "step 1: gradient of hidden_2.kernel", "the gradient bypasses the dropout", **DROPOUT)
class GradientBypassesDropout(Layered):
    def undrop(self, layer: str, delta: Array) -> Array:
        return delta


@planted(
    "gradients", "step 1: gradient of hidden_2.kernel", "not scaled by the dropout's 1/(1 - rate) = 1.25", **DROPOUT
)
class GradientOfDropoutNotScaled(Layered):
    def undrop(self, layer: str, delta: Array) -> Array:
        return delta * (self.masks[layer] != 0)


# --- settings and whole runs -----------------------------------------------------------------------


@planted("settings", "dropout.rate: 0.2 in clean, 0.5 in faulty", "dropout drops another share", **DROPOUT)
class AnotherRateStated(Layered):
    def settings(self) -> dict[str, Any]:
        return super().settings() | {"dropout.rate": 0.5}


@planted("settings", "dropout.masks", "each framework draws its own dropout masks", **OWN_MASKS)
class OwnMasksStated(Layered):
    def settings(self) -> dict[str, Any]:
        return super().settings() | {"dropout.masks": "torch's generator"}


@planted("outcome", "probability of a", "dropout is active in evaluation", **DROPOUT)
class DropoutActiveInEvaluation(Layered):
    def dropping(self) -> bool:
        self.masks, self.dropped = ({}, {}) if not self.training else (self.masks, self.dropped)
        return True

    def all_masks(self, num_images: int) -> Array:
        if self.training:
            return super().all_masks(num_images)
        random = np.random.default_rng(0)
        return random.random((num_images, sum(self.recipe.hidden_sizes))) >= self.recipe.dropout


if __name__ == "__main__":
    start(__doc__)
