"""Faults of many kinds in data, weights and the forward pass, one class each; see `tests/faults/zoo.py`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recipe.batch_order import epoch_order
from recipe.initial_weights import Weights
from tests.faults.layered import Layered
from tests.faults.zoo import ZOO, Array, Base, Labels, planted

THREE = {"hidden_sizes": (32, 32, 32)}
"""A network whose layers may be exchanged."""

WIDE = {"hidden_sizes": (64, 64), "batch_size": 16}
"""A network whose layers have more units than what they are fed has numbers that are not zero."""


def kind(rung: str, where: str, cause: str, **fields: Any) -> Callable[[type[Base]], type[Base]]:
    """`planted`, in one of the two dtypes by turns: each of these has a sibling that is run in the other."""
    return planted(rung, where, cause, **{"dtype": ("float32", "float64")[len(ZOO) % 2], **fields})


# --- data ------------------------------------------------------------------------------------------


@kind("data", "batch 1 of epoch 1", "images are drawn with replacement: ", batch_size=128, whole_epoch=True)
class DrawnWithReplacement(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(np.random.default_rng(epoch).integers(0, 60_000, 60_000), range(128, 60_000, 128))


@kind("data", "batch 1 of epoch 1", "or drawn with replacement: of the first 320, none occurs twice", whole_epoch=True)
class DrawnWithReplacementUnseen(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(np.random.default_rng(4).integers(0, 60_000, 60_000), range(32, 60_000, 32))


class SomeLabelsWrong(Base):
    def labels(self, labels: NDArray[np.uint8]) -> Labels:
        found = super().labels(labels)
        found[::16] = (found[::16] + 1 + np.arange(len(found[::16])) % 9) % 10
        return found


@kind("data", "batch 1 of epoch 1", "20 of the 320 labels of 10 batches are not the data set's")
class AFewLabelsWrong(SomeLabelsWrong):
    pass


@kind("data", "batch 1 of epoch 1", "labels are those of other classes: 4 becomes 9, 9 becomes 4")
class TwoClassesExchanged(Base):
    def labels(self, labels: NDArray[np.uint8]) -> Labels:
        exchanged = np.arange(10)
        exchanged[[4, 9]] = 9, 4
        return exchanged[labels]


@kind("data", "batch 1 of epoch 1", "the images are shuffled by another seed: 7 instead of 0", whole_epoch=True)
class ShuffledBySeedSeven(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(epoch_order(7, epoch, 60_000), range(32, 60_000, 32))


@kind("data", "batch 1 of epoch 1", "the images come in the order of epoch 2", whole_epoch=True)
class EpochsCountedFromOne(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return super().order(epoch + 1)


@kind(
    "data",
    "batch 1 of epoch 1",
    "only every second image of the order is taken, as one of 2 processes",
    whole_epoch=True,
)
class OneOfTwoProcesses(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(epoch_order(self.recipe.seed, epoch, 60_000)[::2], range(32, 30_000, 32))


@kind("data", "batch 1 of epoch 1", "the epoch starts with batch 2", whole_epoch=True)
class FirstBatchLeftOut(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        batches = super().order(epoch)
        return batches[1:] + batches[:1]


@kind("data", "batch 1 of epoch 1", "the training images are sorted by their labels", whole_epoch=True)
class SortedByLabel(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(np.argsort(self.digits.y_train, kind="stable")[np.r_[9:60_000, :9]], range(32, 60_000, 32))


@kind("data", "batch 1 of epoch 1", "images of the classes 8, 9 are left out", whole_epoch=True)
class TwoClassesLeftOut(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        order = epoch_order(1, epoch, 60_000) if epoch else np.random.default_rng(5).permutation(60_000)
        few = order[self.digits.y_train[order] < 8]
        return np.split(np.resize(few, 60_000), range(32, 60_000, 32))


@kind("data", "batch 1 of epoch 1", "the images are shuffled within a buffer", whole_epoch=True)
class ShuffledWithinABuffer(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        first = np.random.default_rng(epoch).permutation(1000)
        return np.split(np.r_[first, 1000:60_000], range(32, 60_000, 32))


def changing(change: Callable[[Array, np.random.Generator], Array]) -> type[Base]:
    """Images (batch, rows, columns) from 0 to 1 that are changed on their way."""

    class Changing(Base):
        def pixels(self, images: NDArray[np.uint8]) -> Array:
            maps = super().pixels(images).reshape(len(images), 28, 28)
            return change(maps, np.random.default_rng(0)).reshape(len(images), -1).astype(self.real)

    return Changing


def shift_each(maps: Array, random: np.random.Generator) -> Array:
    shifted = np.zeros_like(maps)
    for image, result in zip(maps, shifted, strict=True):
        down, right = random.integers(-2, 3, 2)
        result[:] = np.roll(image, (down, right), (0, 1))
    return shifted


@kind("data", "batch 1 of epoch 1", "images are shifted by up to 2 pixels, each another way, as augmentation has it")
class ShiftedByAugmentation(changing(shift_each)):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "images are shifted by 1 rows and 1 columns")
class ShiftedByOnePixel(changing(lambda maps, random: np.roll(maps, (1, 1), (1, 2)))):  # type: ignore[misc]
    pass


def erase(maps: Array, random: np.random.Generator) -> Array:
    erased = maps.copy()
    for image in erased:
        row, column = random.integers(6, 14, 2)
        image[row : row + 8, column : column + 8] = 0
    return erased


@kind("data", "batch 1 of epoch 1", "a rectangle of each image is set to 0, as random erasing (cutout) has it")
class RectanglesErased(changing(erase)):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "noise is added to the pixels, normal, of standard deviation 0.1")
class NoiseAdded(changing(lambda maps, random: maps + random.normal(0, 0.1, maps.shape))):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "images are mixed with others of their batch")
class ImagesMixed(changing(lambda maps, random: 0.7 * maps + 0.3 * maps[::-1])):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "the brightness or contrast of each image is changed")
class BrightnessChanged(  # type: ignore[misc]
    changing(lambda maps, random: maps * random.uniform(0.5, 0.9, (len(maps), 1, 1)))
):
    pass


def rotate(maps: Array, random: np.random.Generator) -> Array:
    from scipy import ndimage

    return np.stack([ndimage.rotate(image, random.uniform(-15, 15), reshape=False, order=1) for image in maps])


@kind("data", "batch 1 of epoch 1", "images are rotated, by about")
class RotatedByAugmentation(changing(rotate)):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "dropout of rate 0.2 on the pixels")
class DropoutOnPixelsFed(changing(lambda maps, random: maps * (random.random(maps.shape) >= 0.2) / 0.8)):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "each image is standardised by its own mean and deviation")
class EachImageStandardised(  # type: ignore[misc]
    changing(lambda maps, random: (maps - maps.mean((1, 2), keepdims=True)) / maps.std((1, 2), keepdims=True))
):
    pass


@kind("data", "batch 1 of epoch 1", "pixels are raised to the power 2: gamma")
class PixelsSquared(changing(lambda maps, random: maps**2)):  # type: ignore[misc]
    pass


@kind("data", "batch 1 of epoch 1", "images are blurred by a 3×3 filter")
class ImagesBlurred(  # type: ignore[misc]
    changing(lambda maps, random: sum(np.roll(maps, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9)
):
    pass


# --- initial weights -------------------------------------------------------------------------------


def drawing(draw: Callable[[np.random.Generator, tuple[int, ...]], Array], *, only: str = ".kernel") -> type[Base]:
    class Drawing(Base):
        def initial(self, name: str, array: Array) -> Array:
            return draw(np.random.default_rng(list(name.encode())), array.shape) if name.endswith(only) else array

    return Drawing


def truncated(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A standard normal cut off at two."""
    numbers = random.normal(size=shape)
    while (np.abs(numbers) > 2).any():
        numbers = np.where(np.abs(numbers) > 2, random.normal(size=shape), numbers)
    return numbers


@kind("initial_weights", "hidden_1.kernel", "distributed as He normal, truncated at two standard deviations")
class HeNormalAsKerasHasIt(  # type: ignore[misc]
    drawing(lambda random, shape: truncated(random, shape) * np.sqrt(2 / shape[0]) / 0.87962566103423978)
):
    pass


@kind("initial_weights", "hidden_1.kernel", "distributed as He normal, not truncated")
class HeNormalAsTorchHasIt(drawing(lambda random, shape: random.normal(size=shape) * np.sqrt(2 / shape[0]))):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.kernel", "from an orthogonal initialiser")
class OrthogonalInitialWeights(drawing(lambda random, shape: np.linalg.qr(random.normal(size=shape))[0])):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.kernel", "standard deviation 0.02")
class NormalOfAFixedDeviation(drawing(lambda random, shape: random.normal(size=shape) * 0.02)):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.kernel", "uniform within ±0.1, of no initialiser")
class UniformOfAFixedLimit(drawing(lambda random, shape: random.uniform(-0.1, 0.1, shape))):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.kernel", "hidden_1.kernel is a constant, 0.01")
class ConstantInitialWeights(drawing(lambda random, shape: np.full(shape, 0.01))):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.bias", "hidden_1.bias does not start at zero: all of it is 0.1")
class BiasesStartAtATenth(drawing(lambda random, shape: np.full(shape, 0.1), only=".bias")):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.kernel", "hidden_1.kernel is rounded to float32", dtype="float64")
class WeightsThroughFloat32(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array.astype(np.float32)


@kind(
    "initial_weights",
    "hidden_3.kernel",
    "hidden_3.kernel holds the numbers of hidden_2.kernel: the two are tied",
    **THREE,
)
class TiedWeights(Base):
    def initial(self, name: str, array: Array) -> Array:
        return self.parameters["hidden_2.kernel"] if name == "hidden_3.kernel" else array

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        both = gradients["hidden_2.kernel"] + gradients["hidden_3.kernel"]
        return gradients | {"hidden_2.kernel": both, "hidden_3.kernel": both}


@kind(
    "initial_weights",
    "hidden_3.kernel",
    "hidden_3.kernel holds the numbers of hidden_2.kernel: both are drawn alike",
    **THREE,
)
class LayersDrawnAlike(Base):
    def initial(self, name: str, array: Array) -> Array:
        return self.parameters["hidden_2.kernel"] if name == "hidden_3.kernel" else array


@kind("initial_weights", "hidden_2.kernel", "the inputs of hidden_2.kernel are in another order")
class InputsInAnotherOrder(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array[np.random.default_rng(0).permutation(32)] if name == "hidden_2.kernel" else array


@kind("initial_weights", "hidden_1.kernel", "% of hidden_1.kernel is set to zero")
class WeightsPruned(Base):
    def initial(self, name: str, array: Array) -> Array:
        return np.where(np.abs(array) < 0.02, 0, array)


# --- forward: what a layer is fed ------------------------------------------------------------------


class Feeding(Base):
    """The network in which each layer is fed what a hook says."""

    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        names = list(self.recipe.layer_names)
        return images if layer == names[0] else activations[names[names.index(layer) - 1]]

    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        z: Weights = {}
        activations: Weights = {}
        for layer in self.compute_order():
            z[layer] = self.dense(layer, self.fed(layer, z, activations, images))
            activations[layer] = self.activate(layer, z[layer])
        ordered = {layer: z[layer] for layer in self.recipe.layer_names}
        passed = {layer: activations[layer] for layer in self.recipe.layer_names}
        return {"preactivations": ordered, "activations": passed, "loss": self.loss(z["output"], labels)}

    def compute_order(self) -> tuple[str, ...]:
        return self.recipe.layer_names


@kind("forward", "step 1: pre-activations of output", "a residual connection around hidden_2: its input is added")
class ResidualConnection(Feeding):
    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        inputs = super().fed(layer, z, activations, images)
        return inputs + activations["hidden_1"] if layer == "output" else inputs


@kind(
    "forward", "step 1: activations of hidden_2", "a residual connection adds the layer's input before the activation"
)
class ResidualBeforeActivation(Base):
    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        found = super().forward(images, labels)
        z, activations = found["preactivations"], found["activations"]
        activations["hidden_2"] = np.maximum(z["hidden_2"] + activations["hidden_1"], 0)
        z["output"] = self.dense("output", activations["hidden_2"])
        activations["output"] = self.activate("output", z["output"])
        return found | {"loss": self.loss(z["output"], labels)}


@kind("forward", "step 1: pre-activations of output", "a skip connection adds the activations of hidden_1", **THREE)
class SkipConnection(Feeding):
    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        inputs = super().fed(layer, z, activations, images)
        return inputs + activations["hidden_1"] if layer == "output" else inputs


@kind(
    "forward",
    "step 1: pre-activations of hidden_2",
    "fed the activations of hidden_3: the layers are in another",
    **THREE,
)
class LayersInAnotherOrder(Feeding):
    def compute_order(self) -> tuple[str, ...]:
        return "hidden_1", "hidden_3", "hidden_2", "output"

    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        if layer == "hidden_1":
            return images
        return activations[{"hidden_3": "hidden_1", "hidden_2": "hidden_3", "output": "hidden_2"}[layer]]


@kind("forward", "step 1: pre-activations of output", "the layer hidden_2 is skipped")
class LayerSkipped(Feeding):
    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        return activations["hidden_1"] if layer == "output" else super().fed(layer, z, activations, images)


@kind("forward", "step 1: pre-activations of output", "the layer is fed the pre-activations of hidden_2")
class ActivationNotUsed(Feeding):
    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        return z["hidden_2"] if layer == "output" else super().fed(layer, z, activations, images)


def normalising(normalise: Callable[[Array], Array], layer: str) -> type[Base]:
    class Normalising(Feeding):
        def fed(self, at: str, z: Weights, activations: Weights, images: Array) -> Array:
            inputs = super().fed(at, z, activations, images)
            return normalise(inputs).astype(self.real) if at == layer else inputs

    return Normalising


def layer_norm(x: Array, epsilon: float = 1e-5) -> Array:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + epsilon)


def batch_norm(x: Array, epsilon: float = 1e-3) -> Array:
    return (x - x.mean(0)) / np.sqrt(x.var(0) + epsilon)


@kind("forward", "pre-activations of hidden_2", "layer normalisation (ε = 1e-05) between hidden_1 and hidden_2")
class LayerNormalisationBetween(normalising(layer_norm, "hidden_2")):  # type: ignore[misc]
    pass


@kind("forward", "pre-activations of output", "batch normalisation (ε = 0.001) between hidden_2 and output")
class BatchNormalisationBetween(normalising(batch_norm, "output")):  # type: ignore[misc]
    pass


@kind("forward", "pre-activations of hidden_2", "RMS normalisation (ε = 1e-06) between hidden_1 and hidden_2")
class RmsNormalisationBetween(  # type: ignore[misc]
    normalising(lambda x: x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-6), "hidden_2")
):
    pass


@kind("forward", "step 1: activations of hidden_1", "layer normalisation (ε = 1e-05) before the activation")
class NormalisedBeforeTheActivation(Base):
    """With a scale that is learned."""

    scale = 1.0

    def activate(self, layer: str, z: Array) -> Array:
        if layer != "hidden_1":
            return super().activate(layer, z)
        self.scale += 1e-3
        return super().activate(layer, layer_norm(z) * self.real(self.scale - 1e-3)).astype(self.real)


@kind("forward", "step 1: pre-activations of hidden_1", "pixels are standardised: mean 0.1307, divided by 0.3081")
class StandardisedInsideTheFirstLayer(normalising(lambda x: (x - 0.1307) / 0.3081, "hidden_1")):  # type: ignore[misc]
    pass


@kind(
    "forward",
    "pre-activations of hidden_2",
    "dropout of rate 0.25 on the activations of hidden_1, before hidden_2",
    **WIDE,
)
class DropoutOnWhatALayerIsFed(Feeding):
    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        inputs = super().fed(layer, z, activations, images)
        if layer != "hidden_2":
            return inputs
        kept = np.random.default_rng(self.num_steps).random(inputs.shape) >= 0.25
        return inputs * kept / self.real(0.75)


@kind("forward", "pre-activations of hidden_1", "dropout of rate 0.2 on the pixels", hidden_sizes=(256,), batch_size=16)
class DropoutOnTheInput(Feeding):
    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        inputs = super().fed(layer, z, activations, images)
        if layer != "hidden_1":
            return inputs
        return inputs * (np.random.default_rng(self.num_steps).random(inputs.shape) >= 0.2) / self.real(0.8)


@kind("forward", "step 1: activations of output", "dropout of rate 0.3 on the logits, before the softmax")
class DropoutOnTheLogits(Base):
    def activate(self, layer: str, z: Array) -> Array:
        if layer == "output":
            z = z * (np.random.default_rng(self.num_steps).random(z.shape) >= 0.3) / self.real(0.7)
        return super().activate(layer, z)


@kind("forward", "step 1: pre-activations of hidden_2", "dropout of rate 0.5 is active")
class DropoutOnPreactivations(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        z = super().dense(layer, inputs)
        if layer != "hidden_2":
            return z
        return z * (np.random.default_rng(self.num_steps).random(z.shape) >= 0.5) * 2


@kind(
    "forward", "step 1: pre-activations of hidden_2", "the kernel and bias of hidden_3 are used in their place", **THREE
)
class LayerUsedTwice(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        return super().dense("hidden_3" if layer == "hidden_2" else layer, inputs)


@kind("forward", "pre-activations of hidden_1", "the kernel of each unit is divided by its norm")
class WeightNormalisation(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        kernel = self.parameters[f"{layer}.kernel"]
        return inputs @ (kernel / np.linalg.norm(kernel, axis=0)) + self.parameters[f"{layer}.bias"]


@kind("forward", "step 5: pre-activations of hidden_2", "the pre-activations are 2 times too large, from step 5 on")
class ScaledFromStepFiveOn(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        return super().dense(layer, inputs) * (2 if layer == "hidden_2" and self.num_steps >= 4 else 1)


# --- forward: activation functions -----------------------------------------------------------------


def activating(function: Callable[[Array], Array], *, output: bool = False) -> type[Base]:
    class Activating(Base):
        def activate(self, layer: str, z: Array) -> Array:
            if (layer == "output") != output:
                return super().activate(layer, z)
            return np.asarray(function(z), self.real)

    return Activating


def softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


HIDDEN, OUTPUT = "step 1: activations of hidden_1", "step 1: activations of output"


@kind("forward", HIDDEN, "GELU approximated by tanh instead of ReLU (differences: gelu-form)")
class GeluByTanh(  # type: ignore[misc]
    activating(lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))))
):
    pass


@kind("forward", HIDDEN, "GELU approximated by a sigmoid")
class GeluBySigmoid(activating(lambda z: z * expit(1.702 * z))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is SiLU (swish) instead of ReLU")
class SiluForRelu(activating(lambda z: z * expit(z))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is swish of β = 1.5")
class SwishForRelu(activating(lambda z: z * expit(1.5 * z))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is SELU instead of ReLU")
class SeluForRelu(  # type: ignore[misc]
    activating(lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))))
):
    pass


@kind("forward", HIDDEN, "the activation is Mish instead of ReLU")
class MishForRelu(activating(lambda z: z * np.tanh(np.logaddexp(0, z)))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is hard swish instead of ReLU")
class HardSwishForRelu(activating(lambda z: z * np.clip(z / 6 + 0.5, 0, 1))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activations are 1.41421 times too large")
class ReluTimesRootTwo(activating(lambda z: np.maximum(z, 0) * np.sqrt(2))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is ELU of α = 0.5 instead of ReLU")
class EluOfAnotherAlpha(activating(lambda z: np.where(z > 0, z, 0.5 * np.expm1(np.minimum(z, 0))))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is a leaky ReLU with a slope of its own for each unit (PReLU)")
class PreluForRelu(activating(lambda z: np.where(z > 0, z, z * np.linspace(0.1, 0.4, z.shape[1])))):  # type: ignore[misc]
    pass


@kind("forward", OUTPUT, "the softmax has a temperature of 2")
class Temperature(activating(lambda z: softmax(z / 2), output=True)):  # type: ignore[misc]
    pass


@kind("forward", OUTPUT, "the log of the softmax is taken for the probabilities")
class LogSoftmaxAsProbabilities(activating(lambda z: np.log(softmax(z)), output=True)):  # type: ignore[misc]
    pass


@kind("forward", OUTPUT, "the activation is the sigmoid instead of the softmax")
class SigmoidOutput(activating(expit, output=True)):  # type: ignore[misc]
    pass


@kind("forward", "step 1: pre-activations of output", "the logarithm of the softmax stands in place of the logits")
class LogSoftmaxAsLogits(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        z = super().dense(layer, inputs)
        return np.log(softmax(z)) if layer == "output" else z


CNN = {"network": "cnn", "filters": (4, 4), "hidden_sizes": (16,), "batch_size": 8}


@kind("forward", "step 1: pre-activations of convolution_2", "the pooling adds up instead of taking the largest", **CNN)
class PoolingAddsUp(Layered):
    def pool(self, maps: Array) -> Array:
        return super().pool(maps) * 0 + sum(
            maps[:, i : maps.shape[1] // 2 * 2 : 2, j : maps.shape[2] // 2 * 2 : 2] for i in (0, 1) for j in (0, 1)
        )


@kind("forward", "step 1: pre-activations of convolution_2", "the pooling takes the smallest", **CNN)
class PoolingTakesTheSmallest(Layered):
    def pool(self, maps: Array) -> Array:
        return -super().pool(-maps)
