"""Implementations with one planted porting fault each: the proof that the ladder would notice.

Each is the clean network of `examples/numpy_network.py` with one hook broken. None confesses: what
it states as its settings is what the recipe says, except where the fault lies in the settings.

`python tests/faults/zoo.py NAME RECIPE.json RUN_DIR [--trace]`
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from examples.numpy_network import Network
from recipe import Recipe, datasets, mnist
from recipe.batch_order import epoch_order
from recipe.initial_weights import Weights
from recipe.recipe import KERAS_EPSILON
from record.first_steps import Trace, write_trace
from record.training import RunRecord, write_training
from record.worker import main

Array = NDArray[np.floating]
Labels = NDArray[np.int64]

SMALL = {"hidden_sizes": (32, 32), "batch_size": 32}
"""A recipe under which a trace is quick and one kernel is square."""


class Base(Network):
    """The clean network in finer steps, so that a fault changes one of them; it is clean itself."""

    num_batches: int | None = None
    """Where not None, an epoch ends after so many batches: what a test of the first steps does not need."""

    def __init__(self, recipe: Recipe, digits: mnist.Digits) -> None:
        super().__init__(recipe, digits)
        self.stated = recipe
        self.parameters = {
            name: self.initial(name, array).astype(array.dtype) for name, array in self.parameters.items()
        }

    def settings(self) -> dict[str, Any]:
        recipe = self.stated
        layers = [(name, "relu") for name in recipe.layer_names[:-1]] + [("output", "softmax")]
        return {
            "optimizer.name": "adam",
            "optimizer.learning_rate": recipe.learning_rate,
            "optimizer.beta_1": recipe.adam_betas[0],
            "optimizer.beta_2": recipe.adam_betas[1],
            "optimizer.epsilon": recipe.epsilon or KERAS_EPSILON,
            "optimizer.epsilon_added": "before bias correction",
            "optimizer.weight_decay": 0.0,
            "loss.name": "categorical cross-entropy",
            "loss.label_smoothing": 0.0,
            "loss.reduction": "mean",
            "loss.takes": "logits",
            "layers": [{"name": name, "activation": activation, "use_bias": True} for name, activation in layers],
            "dtype": recipe.dtype,
            "batch_size": recipe.batch_size,
            "epochs": recipe.epochs,
        }

    def header(self) -> dict[str, Any]:
        machine = {"framework": "numpy", "backend": "numpy", "device": "cpu", "threads": 1}
        return {"recipe": self.stated, "versions": {"numpy": np.__version__}, "settings": self.settings(), **machine}

    def initial(self, name: str, array: Array) -> Array:
        return array

    def order(self, epoch: int) -> list[NDArray[Any]]:
        """Which images make up which batch."""
        order = epoch_order(self.recipe.seed, epoch, len(self.digits.x_train))
        return np.split(order, range(self.recipe.batch_size, len(order), self.recipe.batch_size))

    def labels(self, labels: NDArray[np.uint8]) -> Labels:
        return labels.astype(np.int64)

    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for batch in self.order(epoch)[: self.num_batches]:
            yield self.pixels(self.digits.x_train[batch]), self.labels(self.digits.y_train[batch])

    def dense(self, layer: str, inputs: Array) -> Array:
        return inputs @ self.parameters[f"{layer}.kernel"] + self.parameters[f"{layer}.bias"]

    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        z: Weights = {}
        activations: Weights = {}
        tensor = images
        for layer in self.recipe.layer_names:
            z[layer] = self.dense(layer, tensor)
            activations[layer] = tensor = self.activate(layer, z[layer])
        return {"preactivations": z, "activations": activations, "loss": self.loss(z["output"], labels)}

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        """∂loss/∂logits."""
        one_hot = np.eye(self.recipe.images.num_classes, dtype=self.real)[labels]
        return (probabilities - one_hot) / self.real(len(labels))

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        layers = list(activations)
        inputs = dict(zip(layers, [images, *activations.values()], strict=False))
        delta = self.delta(activations["output"], labels)
        gradients: Weights = {}
        for layer in reversed(layers):
            gradients = {f"{layer}.kernel": inputs[layer].T @ delta, f"{layer}.bias": delta.sum(axis=0), **gradients}
            delta = self.passed(delta @ self.parameters[f"{layer}.kernel"].T, inputs[layer])
        return gradients

    def passed(self, delta: Array, activations: Array) -> Array:
        """What of a gradient passes the ReLU that gave the activations."""
        return delta * (activations > 0)

    def first_moment(self, name: str, g: Array) -> Array:
        beta = self.recipe.adam_betas[0]
        return beta * self.first_moments[name] + (1 - beta) * g

    def second_moment(self, name: str, g: Array) -> Array:
        beta = self.recipe.adam_betas[1]
        return beta * self.second_moments[name] + (1 - beta) * g * g

    def corrections(self) -> tuple[Any, Any]:
        """1 − β₁ᵗ and √(1 − β₂ᵗ)."""
        power_1, power_2 = (self.real(beta) ** self.real(self.num_steps) for beta in self.recipe.adam_betas)
        return 1 - power_1, np.sqrt(1 - power_2)

    def update(self, name: str, g: Array) -> Array:
        """What a step subtracts from a parameter; the moments are those after it."""
        m, root = self.first_moments[name], np.sqrt(self.second_moments[name])
        correction_1, correction_2 = self.corrections()
        alpha = self.real(self.recipe.learning_rate) * correction_2 / correction_1
        return alpha * m / (root + (self.recipe.epsilon or KERAS_EPSILON))

    def adam(self, gradients: Weights) -> None:
        self.num_steps += 1
        for name, g in gradients.items():
            self.first_moments[name] = self.first_moment(name, g)
            self.second_moments[name] = self.second_moment(name, g)
            self.parameters[name] = self.parameters[name] - self.update(name, g)


@dataclass(frozen=True)
class Fault:
    """A faulty implementation, the rung that must catch it, and what the rung must say."""

    network: type[Base]
    rung: str
    where: str
    cause: str
    whole_epoch: bool
    fields: dict[str, Any]

    @property
    def kind(self) -> str:
        """`run` for what only a whole training shows, else `trace`."""
        return "run" if self.rung in ("trajectory", "outcome") else "trace"


ZOO: dict[str, Fault] = {}


def planted(
    rung: str, where: str, cause: str, *, whole_epoch: bool = False, **fields: Any
) -> Callable[[type[Base]], type[Base]]:
    """Enters a fault into the zoo: the rung where it is caught, and phrases of `where` and `cause` there.

    `whole_epoch` says that only all batches of an epoch show it.
    """

    def enter(network: type[Base]) -> type[Base]:
        ZOO[network.__name__] = Fault(network, rung, where, cause, whole_epoch, {**SMALL, **fields})
        return network

    return enter


# --- data ------------------------------------------------------------------------------------------


@planted("data", "batch 1 of epoch 1", "pixels are divided by 256 instead of 255")
class PixelsDividedBy256(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(images) * self.real(255) / self.real(256)


@planted("data", "batch 1 of epoch 1", "pixels are not divided by 255")
class PixelsNotScaled(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return images.reshape(len(images), -1).astype(self.real)


@planted("data", "batch 1 of epoch 1", "pixels are standardised: mean 0.1307 subtracted, divided by 0.3081")
class PixelsStandardised(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return (super().pixels(images) - self.real(0.1307)) / self.real(0.3081)


@planted("data", "batch 1 of epoch 1", "pixels are standardised: mean 0.5000 subtracted, divided by 0.5000")
class PixelsFromMinusOneToOne(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(images) * 2 - 1


@planted("data", "batch 1 of epoch 1", "pixels are multiplied by the rounded number 1/255")
class PixelsMultipliedByRoundedReciprocal(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return images.reshape(len(images), -1).astype(self.real) * self.real(1 / 255)


@planted("data", "batch 1 of epoch 1", "pixels are inverted: ink is 0")
class PixelsInverted(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(255 - images)


@planted("data", "batch 1 of epoch 1", "pixels are rounded to float16")
class PixelsInFloat16(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(images).astype(np.float16).astype(self.real)


@planted("data", "batch 1 of epoch 1", "pixels are black or white: cut at a threshold")
class PixelsBinarised(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return (super().pixels(images) > 0.5).astype(self.real)


@planted("data", "batch 1 of epoch 1", "images are transposed: rows and columns are swapped")
class ImagesTransposed(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(images.swapaxes(1, 2))


@planted("data", "batch 1 of epoch 1", "labels are off by 1")
class LabelsOffByOne(Base):
    def labels(self, labels: NDArray[np.uint8]) -> Labels:
        return super().labels((labels + 1) % 10)


@planted("data", "batch 1 of epoch 1", "images and labels do not belong together")
class ImagesAndLabelsShuffledApart(Base):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for images, labels in super().batches(epoch):
            yield images, np.roll(labels, 1)


@planted("data", "batch 1 of epoch 1", "the training images are not shuffled")
class NotShuffled(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        images = np.arange(len(self.digits.x_train))
        return np.split(images, range(32, len(images), 32))


@planted("data", "batch 1 of epoch 1", "the images are shuffled in another order", whole_epoch=True)
class ShuffledByAnotherSeed(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(np.random.default_rng(1).permutation(60_000), range(32, 60_000, 32))


@planted("data", "batch 1 of epoch 1", "images are held back for validation", whole_epoch=True)
class ImagesHeldBackForValidation(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return np.split(epoch_order(self.recipe.seed, epoch, 54_000), range(32, 54_000, 32))


@planted("data", "batch 1 of epoch 1", "left and right are swapped (")
class SomeImagesMirrored(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(np.concatenate([images[:12, :, ::-1], images[12:]]))


@planted("data", "step 1: images and labels are", "between the batches and the network, pixels are", whole_epoch=True)
class PixelsStandardisedInTheNetwork(Base):
    def take_step(self, images: Array, labels: Labels) -> Any:
        return super().take_step((images - self.real(0.1307)) / self.real(0.3081), labels)


@planted("data", "step 1: images and labels are", "between the batches and the network, labels are", whole_epoch=True)
class LabelsOffByOneInTheStep(Base):
    def take_step(self, images: Array, labels: Labels) -> Any:
        return super().take_step(images, (labels + 1) % 10)


@planted("data", "step 2: images and labels are not those of batch 2", "as augmentation has it", whole_epoch=True)
class BatchesOfAnotherOrderInTheSteps(Base):
    def take_step(self, images: Array, labels: Labels) -> Any:
        return super().take_step(images[:: (-1) ** self.num_steps], labels)


@planted("data", "batch 1 of epoch 2", "every epoch visits the images in the same order", whole_epoch=True)
class SameOrderEveryEpoch(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return super().order(0)


@planted("data", "batch 938 of epoch 1", "the last batch is dropped: it is smaller", whole_epoch=True, batch_size=64)
class LastBatchDropped(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return super().order(epoch)[:-1]


@planted("data", "batch 938 of epoch 1", "the last batch is filled up with images", whole_epoch=True, batch_size=64)
class LastBatchFilledUp(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        *full, last = super().order(epoch)
        return [*full, np.concatenate([last, full[0]])[: self.recipe.batch_size]]


@planted("data", "batch 2 of epoch 1", "batches are fed twice", whole_epoch=True)
class BatchFedTwice(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return [batch for batch in super().order(epoch) for _ in range(2)]


@planted("data", "batch 1 of epoch 1", "batches have 64 images instead of 32")
class AnotherBatchSize(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        batches = super().order(epoch)
        return [np.concatenate(batches[start : start + 2]) for start in range(0, len(batches), 2)]


@planted("data", "batch 1 of epoch 1", "images of the first batch are test images")
class TestImagesInTraining(Base):
    def __init__(self, recipe: Recipe, digits: mnist.Digits) -> None:
        x, y = (np.concatenate(pair) for pair in ((digits.x_train, digits.x_test), (digits.y_train, digits.y_test)))
        super().__init__(recipe, digits._replace(x_train=x, y_train=y))


@planted("data", "batch 1 of epoch 1", "the images of a batch are in another order within it")
class BatchSorted(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return [np.sort(batch) for batch in super().order(epoch)]


# --- initial weights -------------------------------------------------------------------------------


@planted("initial_weights", "hidden_1.kernel", "other limits: those of torch's default U(±1/√in)")
class TorchsInitialLimits(Base):
    def initial(self, name: str, array: Array) -> Array:
        if array.ndim == 1:
            return array
        return array * np.sqrt(1 / array.shape[0]) / np.sqrt(6 / sum(array.shape))


@planted("initial_weights", "hidden_1.kernel", "other numbers, distributed as torch's default U(±1/√in)")
class TorchsInitialWeights(Base):
    def initial(self, name: str, array: Array) -> Array:
        inputs = self.parameters[name.replace("bias", "kernel")].shape[0]
        return np.random.default_rng(0).uniform(-1, 1, array.shape) / np.sqrt(inputs)


@planted("initial_weights", "hidden_1.kernel", "other numbers, distributed as He uniform")
class HeInitialWeights(Base):
    def initial(self, name: str, array: Array) -> Array:
        if array.ndim == 1:
            return array
        return np.random.default_rng(0).uniform(-1, 1, array.shape) * np.sqrt(6 / array.shape[0])


@planted("initial_weights", "hidden_1.kernel", "Glorot uniform, so only the seed or the generator differs")
class InitialWeightsOfAnotherSeed(Base):
    def __init__(self, recipe: Recipe, digits: mnist.Digits) -> None:
        super().__init__(dataclasses.replace(recipe, seed=recipe.seed + 1), digits)
        self.recipe = self.stated = recipe


@planted("initial_weights", "hidden_1.kernel", "other numbers, distributed as Glorot normal")
class GlorotNormalInitialWeights(Base):
    def initial(self, name: str, array: Array) -> Array:
        if array.ndim == 1:
            return array
        return np.random.default_rng(0).normal(size=array.shape) * np.sqrt(2 / sum(array.shape))


@planted("initial_weights", "hidden_1.bias", "hidden_1.bias does not start at zero")
class BiasesInitialisedNonzero(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array + 0.01 if array.ndim == 1 else array


@planted("initial_weights", "hidden_2.kernel", "hidden_2.kernel is transposed: it is square, so the shapes still fit")
class SquareKernelLoadedTransposed(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array.T if name == "hidden_2.kernel" else array


@planted("initial_weights", "hidden_1.kernel", "hidden_1.kernel is reshaped where it should be transposed")
class KernelReshaped(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array.T.reshape(array.shape)


@planted("initial_weights", "hidden_1.kernel", "hidden_1.kernel is rounded to float16")
class InitialWeightsThroughFloat16(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array.astype(np.float16)


# --- forward ---------------------------------------------------------------------------------------


@planted("forward", "step 1: pre-activations of hidden_2", "the kernel is transposed: it is square")
class SquareKernelUsedTransposed(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        if layer != "hidden_2":
            return super().dense(layer, inputs)
        return inputs @ self.parameters["hidden_2.kernel"].T + self.parameters["hidden_2.bias"]


@planted("forward", "step 2: pre-activations of hidden_2", "the bias is missing from the layer")
class BiasNotAdded(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        if layer != "hidden_2":
            return super().dense(layer, inputs)
        return inputs @ self.parameters["hidden_2.kernel"]


@planted("forward", "step 1: pre-activations of hidden_2", "the layer computes in float16")
class LayerInFloat16(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        if layer != "hidden_2":
            return super().dense(layer, inputs)
        kernel, bias = (self.parameters[f"{layer}.{kind}"].astype(np.float16) for kind in ("kernel", "bias"))
        return (inputs.astype(np.float16) @ kernel + bias).astype(self.real)


@planted("forward", "step 1: pre-activations of hidden_1", "bfloat16")
class LayerInBfloat16(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        kernel = _to_bfloat16(self.parameters[f"{layer}.kernel"])
        return _to_bfloat16(_to_bfloat16(inputs) @ kernel + self.parameters[f"{layer}.bias"]).astype(self.real)


def _to_bfloat16(array: Array) -> Array:
    """By cutting the lower half off, as some hardware does."""
    return (array.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@planted(
    "forward",
    "step 1: activations of hidden_1",
    "the activation is GELU with erf instead of ReLU (differences: gelu-form)",
)
class GeluForRelu(Base):
    def activate(self, layer: str, z: Array) -> Array:
        if layer == "output":
            return super().activate(layer, z)
        return (z * (1 + erf(z / np.sqrt(2))) / 2).astype(self.real)


@planted("forward", "step 1: activations of hidden_1", "leaky ReLU of slope 0.01")
class LeakyReluForRelu(Base):
    def activate(self, layer: str, z: Array) -> Array:
        return super().activate(layer, z) if layer == "output" else np.where(z > 0, z, z * self.real(0.01))


@planted("forward", "step 1: activations of hidden_2", "the activation function is missing")
class ActivationMissing(Base):
    def activate(self, layer: str, z: Array) -> Array:
        return z if layer == "hidden_2" else super().activate(layer, z)


@planted("forward", "step 1: activations of hidden_1", "dropout of rate 0.2 is active")
class DropoutLeftActive(Base):
    def activate(self, layer: str, z: Array) -> Array:
        if layer == "output":
            return super().activate(layer, z)
        kept = np.random.default_rng(self.num_steps).random(z.shape) >= 0.2
        return super().activate(layer, z) * kept / self.real(0.8)


@planted("forward", "step 1: activations of output", "softmax is applied twice")
class SoftmaxTwiceInTheNetwork(Base):
    def activate(self, layer: str, z: Array) -> Array:
        activations = super().activate(layer, z)
        return super().activate(layer, activations) if layer == "output" else activations


@planted("forward", "step 1: activations of output", "the softmax runs over the batch instead of the classes")
class SoftmaxOverTheBatch(Base):
    def activate(self, layer: str, z: Array) -> Array:
        return super().activate(layer, z.T).T if layer == "output" else super().activate(layer, z)


@planted("forward", "step 1: activations of hidden_1", "nothing in the catalogue of causes fits")
class WavesForRelu(Base):
    """No signature knows this one."""

    def activate(self, layer: str, z: Array) -> Array:
        return super().activate(layer, z) if layer == "output" else np.sin(3 * z) + np.cos(z)


# --- loss ------------------------------------------------------------------------------------------


@planted("loss", "step 1: loss", "softmax is applied twice: such a loss never falls below 1.4612")
class SoftmaxTwice(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        return super().loss(self.activate("output", z), labels)

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        delta = super().delta(self.activate("output", probabilities), labels)
        return probabilities * (delta - (delta * probabilities).sum(axis=1, keepdims=True))


@planted("loss", "step 1: loss", "the losses of the batch are summed instead of averaged")
class SumInsteadOfMean(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        return super().loss(z, labels) * len(labels)

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        return super().delta(probabilities, labels) * self.real(len(labels))


def clipping_at(limit: float) -> type[Base]:
    """The cross-entropy of clipped probabilities, as Keras's torch and JAX backends compute it."""

    class Clipping(Base):
        def loss(self, z: Array, labels: Labels) -> float:
            right = self.activate("output", z)[np.arange(len(labels)), labels]
            return float(-np.log(np.clip(right, self.real(limit), self.real(1 - limit))).mean())

    return Clipping


@planted("loss", "loss", "the probabilities are clipped to [1e-07, 1 - 1e-07] before the logarithm", learning_rate=0.1)
class ProbabilitiesClipped(clipping_at(1e-7)):  # type: ignore[misc]
    pass


@planted("loss", "loss", "the probabilities are clipped to [0.01, 1 - 0.01] before the logarithm", learning_rate=0.1)
class ProbabilitiesClippedVisibly(clipping_at(1e-2)):  # type: ignore[misc]
    pass


@planted("loss", "step 1: loss", "labels are smoothed by 0.1")
class LabelSmoothing(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        every_class = [super(LabelSmoothing, self).loss(z, np.full(len(labels), digit)) for digit in range(10)]
        return 0.9 * super().loss(z, labels) + 0.1 * float(np.mean(every_class))

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        targets = 0.9 * np.eye(mnist.NUM_CLASSES, dtype=self.real)[labels] + self.real(0.01)
        return (probabilities - targets) / self.real(len(labels))


@planted("loss", "step 1: loss", "an L2 penalty of 0.001 times the squared kernels is added")
class KernelRegulariser(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        kernels = [array for array in self.parameters.values() if array.ndim == 2]
        return super().loss(z, labels) + 1e-3 * sum(float((kernel**2).sum()) for kernel in kernels)

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return {
            name: g + self.real(2e-3) * self.parameters[name] if g.ndim == 2 else g for name, g in gradients.items()
        }


@planted("loss", "step 1: loss", "the loss is measured in bits")
class LossInBits(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        return super().loss(z, labels) / np.log(2)


@planted("loss", "step 1: loss", "an L1 penalty of 0.0001 times the kernels is added")
class L1PenaltyInLoss(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        kernels = [array for name, array in self.parameters.items() if name.endswith(".kernel")]
        return super().loss(z, labels) + 1e-4 * sum(float(np.abs(kernel).sum()) for kernel in kernels)

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return {
            name: gradient + self.real(1e-4) * np.sign(self.parameters[name]) * name.endswith(".kernel")
            for name, gradient in gradients.items()
        }


@planted("loss", "step 1: loss", "a constant is added: 0.003")
class ConstantAddedToLoss(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        return super().loss(z, labels) + 0.003


@planted("loss", "step 2: loss", "the loss is the running mean over the epoch")
class RunningMeanForLoss(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        self.losses = [*getattr(self, "losses", []), super().loss(z, labels)]
        return float(np.mean(self.losses))


@planted("loss", "step 1: loss", "the loss is focal, of γ = 2; the gradients are those of the mean cross-entropy")
class FocalLoss(Base):
    """As it is reported; what is trained on is the cross-entropy."""

    def loss(self, z: Array, labels: Labels) -> float:
        right = self.activate("output", z)[np.arange(len(labels)), labels]
        return float((-((1 - right) ** 2) * np.log(right)).mean())


# --- gradients -------------------------------------------------------------------------------------


@planted("gradients", "step 1: gradient of output.kernel", "the losses of the batch are summed instead of averaged")
class GradientsSummed(Base):
    def delta(self, probabilities: Array, labels: Labels) -> Array:
        return super().delta(probabilities, labels) * self.real(len(labels))


@planted("gradients", "step 2: gradient of output.kernel", "gradients are not zeroed between steps")
class GradientsNotZeroed(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        before = getattr(self, "before", None)
        self.before = {name: g + before[name] for name, g in gradients.items()} if before else gradients
        return self.before


@planted("gradients", "step 1: gradient of hidden_2.kernel", "the gradient of hidden_2.kernel is zero: it is frozen")
class LayerFrozen(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return {name: 0 * g if name.startswith("hidden_2") else g for name, g in gradients.items()}


@planted("gradients", "step 1: gradient of hidden_2.bias", "hidden_2.bias stays zero with a zero gradient")
class BiasMissing(Base):
    """The layer has no bias; its record holds zeros for it."""

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return gradients | {"hidden_2.bias": 0 * gradients["hidden_2.bias"]}


@planted("gradients", "step 1: gradient of output.kernel", "gradients are clipped to a norm of 0.5")
class GradientNormClipped(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
        return {name: g * self.real(min(1, 0.5 / norm)) for name, g in gradients.items()}


@planted("gradients", "gradient of output.kernel", "gradients are clipped to ±0.02")
class GradientValuesClipped(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return {name: np.clip(g, -0.02, 0.02).astype(self.real) for name, g in gradients.items()}


@planted("gradients", "step 1: gradient of output.kernel", "labels are smoothed by 0.1")
class LabelSmoothingOfGradientsOnly(LabelSmoothing):
    loss = Base.loss


@planted("gradients", "step 1: gradient of output.kernel", "softmax is applied twice")
class SoftmaxTwiceInGradientsOnly(SoftmaxTwice):
    loss = Base.loss


@planted("gradients", "step 1: gradient of output.kernel", "float16")
class GradientsInFloat16(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return {name: g.astype(np.float16).astype(self.real) for name, g in gradients.items()}


@planted("gradients", "step 1: gradient of output.kernel", "look like normal noise of standard deviation 0.0")
class GradientNoise(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        noise = np.random.default_rng(0)
        return {
            name: g + noise.normal(size=g.shape).astype(self.real) * self.real(0.1) for name, g in gradients.items()
        }


# --- optimizer -------------------------------------------------------------------------------------


def reading(**misread: Any) -> type[Base]:
    """Adam with other hyperparameters than the recipe's."""

    class Misreading(Base):
        def adam(self, gradients: Weights) -> None:
            self.recipe = dataclasses.replace(self.stated, **misread)
            super().adam(gradients)
            self.recipe = self.stated

    return Misreading


@planted("optimizer", "step 1: hidden_1.kernel", "the learning rate is 1e+18 instead of 0.001")
class LearningRateThatDiverges(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(1e21)


@planted("optimizer", "step 1: first moment of", "gradients of several batches are accumulated")
class GradientsAccumulated(Base):
    def adam(self, gradients: Weights) -> None:
        kept = self.__dict__.pop("kept", None)
        if kept is None:
            self.kept = gradients
        else:
            super().adam({name: (gradient + kept[name]) / 2 for name, gradient in gradients.items()})


@planted("optimizer", "step 1: hidden_1.kernel", "ε is 1e-08 instead of 1e-07")
class WrongEpsilon(reading(epsilon=1e-8)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: hidden_1.kernel", "ε is 1e-10 instead of 1e-07")
class TinyEpsilon(reading(epsilon=1e-10)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: hidden_1.kernel", "ε is 0.002 instead of 1e-07")
class WrongUnusualEpsilon(reading(epsilon=2e-3)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: first moment of hidden_1.kernel", "β₁ is 0.95 instead of 0.9")
class WrongBeta1(reading(beta_1=0.95)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: second moment of hidden_1.kernel", "β₂ is 0.99 instead of 0.999")
class WrongBeta2(reading(beta_2=0.99)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: hidden_1.kernel", "the learning rate is 0.00101 instead of 0.001")
class LearningRateOnePercentOff(reading(learning_rate=1.01e-3)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: hidden_1.kernel", "the learning rate is 0.0001 instead of 0.001")
class LearningRateTenTimesTooSmall(reading(learning_rate=1e-4)):  # type: ignore[misc]
    pass


@planted("optimizer", "step 1: hidden_1.kernel", "ε is added after the bias correction, as torch does")
class EpsilonAfterBiasCorrection(Base):
    def update(self, name: str, g: Array) -> Array:
        m, root = self.first_moments[name], np.sqrt(self.second_moments[name])
        correction_1, correction_2 = self.corrections()
        return self.real(self.recipe.learning_rate) / correction_1 * m / (root / correction_2 + self.epsilon)

    @property
    def epsilon(self) -> float:
        return self.recipe.epsilon or KERAS_EPSILON


@planted("optimizer", "step 1: hidden_1.kernel", "ε is added after the bias correction, as torch does, not before")
class TorchsAdam(EpsilonAfterBiasCorrection):
    epsilon = 1e-8  # type: ignore[assignment]


@planted("optimizer", "step 1: hidden_1.kernel", "there is no bias correction")
class NoBiasCorrection(Base):
    def corrections(self) -> tuple[Any, Any]:
        return self.real(1), self.real(1)


@planted("optimizer", "step 1: hidden_1.kernel", "the first moment has no bias correction")
class NoBiasCorrectionOfFirstMoment(Base):
    def corrections(self) -> tuple[Any, Any]:
        return self.real(1), super().corrections()[1]


@planted("optimizer", "step 1: hidden_1.kernel", "the second moment has no bias correction")
class NoBiasCorrectionOfSecondMoment(Base):
    def corrections(self) -> tuple[Any, Any]:
        return super().corrections()[0], self.real(1)


@planted(
    "optimizer",
    "step 1: hidden_1.kernel",
    "the bias correction takes β rounded to float32",
    dtype="float64",
    adam="framework",
)
class BiasCorrectionOfRoundedBetas(Base):
    def corrections(self) -> tuple[Any, Any]:
        power_1, power_2 = (float(np.float32(beta)) ** self.num_steps for beta in self.recipe.adam_betas)
        return 1 - power_1, np.sqrt(1 - power_2)


@planted("optimizer", "step 1: hidden_1.kernel", "the step counter is off by +1")
class StepCounterOffByOne(Base):
    def update(self, name: str, g: Array) -> Array:
        self.num_steps += 1
        update = super().update(name, g)
        self.num_steps -= 1
        return update


@planted("optimizer", "step 1: first moment of hidden_1.kernel", "weight decay of 0.01 is added to the gradient")
class L2WeightDecay(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam({name: g + self.real(0.01) * self.parameters[name] for name, g in gradients.items()})


@planted("optimizer", "step 1: hidden_1.kernel", "decoupled weight decay of 0.01 (AdamW)")
class DecoupledWeightDecay(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) + self.real(self.recipe.learning_rate * 0.01) * self.parameters[name]


@planted("optimizer", "step 1: first moment of hidden_2.kernel", "the moment stays zero: the optimizer does not know")
class LayerUnknownToOptimizer(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam({name: g for name, g in gradients.items() if not name.startswith("hidden_2")})


@planted("optimizer", "step 1: hidden_2.kernel", "the parameter does not move")
class UpdateNotApplied(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * (not name.startswith("hidden_2"))


@planted("optimizer", "step 1: first moment of hidden_1.kernel", "the optimizer uses 0.5 times the gradient")
class OptimizerHalvesGradients(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam({name: g / 2 for name, g in gradients.items()})


@planted("optimizer", "step 2: first moment of hidden_1.kernel", "the moments start from zero in every step")
class NewOptimizerEveryStep(Base):
    def adam(self, gradients: Weights) -> None:
        self.first_moments = {name: np.zeros_like(g) for name, g in gradients.items()}
        self.second_moments = dict(self.first_moments)
        super().adam(gradients)


@planted("optimizer", "step 1: first moment of hidden_1.kernel", "1 − β₁ is computed in float32", dtype="float32")
class BetasInFloat32(Base):
    def first_moment(self, name: str, g: Array) -> Array:
        beta = np.float32(self.recipe.beta_1)
        return beta * self.first_moments[name] + (1 - beta) * g


@planted("optimizer", "step 1: second moment of hidden_1.kernel", "1 − β₂ is computed in float32", dtype="float32")
class Beta2InFloat32(Base):
    def second_moment(self, name: str, g: Array) -> Array:
        beta = np.float32(self.recipe.beta_2)
        return beta * self.second_moments[name] + (1 - beta) * g * g


@planted("optimizer", "step 1: second moment of hidden_1.kernel", "the second moment averages |g| instead of g²")
class SecondMomentOfMagnitudes(Base):
    def second_moment(self, name: str, g: Array) -> Array:
        beta = self.recipe.adam_betas[1]
        return beta * self.second_moments[name] + (1 - beta) * np.abs(g)


@planted("optimizer", "step 1: hidden_1.kernel", "the optimizer is plain gradient descent")
class PlainGradientDescent(Base):
    def update(self, name: str, g: Array) -> Array:
        return self.real(self.recipe.learning_rate) * g


@planted("optimizer", "step 1: hidden_1.kernel", "the first moment looks ahead (Nesterov)")
class Nesterov(Base):
    def update(self, name: str, g: Array) -> Array:
        beta, m = self.recipe.adam_betas[0], self.first_moments[name]
        self.first_moments[name] = beta * m + (1 - beta) * g
        update = super().update(name, g)
        self.first_moments[name] = m
        return update


@planted("optimizer", "hidden_1.kernel", "the largest second moment so far is used (AMSGrad)")
class AmsGrad(Base):
    def update(self, name: str, g: Array) -> Array:
        v, largest = self.second_moments[name], self.__dict__.setdefault("largest", {})
        self.second_moments[name] = largest[name] = np.maximum(largest.get(name, v), v)
        update = super().update(name, g)
        self.second_moments[name] = v
        return update


@planted("optimizer", "step 1: hidden_1.kernel", "changes from step to step, in a straight line: 0.0001, 0.0002,")
class LearningRateWarmsUp(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(self.num_steps / 10)


@planted("optimizer", "step 1: hidden_1.kernel", "nothing in the catalogue of causes fits")
class UpdateWithRandomSigns(Base):
    """No signature knows this one."""

    def update(self, name: str, g: Array) -> Array:
        signs = np.random.default_rng(0).choice([-1, 1], g.shape)
        return super().update(name, g) * signs.astype(self.real)


# --- settings: these do confess --------------------------------------------------------------------


@planted("settings", "optimizer.epsilon: 1e-07 in clean, 1e-08 in faulty", "Adam's ε differs")
class WrongEpsilonStated(WrongEpsilon):  # type: ignore[misc]
    def settings(self) -> dict[str, Any]:
        return super().settings() | {"optimizer.epsilon": 1e-8}


@planted("settings", "loss.takes", "clip probabilities")
class ProbabilitiesClippedStated(ProbabilitiesClipped):  # type: ignore[misc]
    def settings(self) -> dict[str, Any]:
        return super().settings() | {"loss.takes": "probabilities clipped to [1e-07, 1 - 1e-07]"}


@planted("settings", "loss.label_smoothing: 0.0 in clean, 0.1 in faulty", "one side smooths its labels")
class LabelSmoothingStated(LabelSmoothing):
    def settings(self) -> dict[str, Any]:
        return super().settings() | {"loss.label_smoothing": 0.1}


@planted("settings", "layers", "the networks differ")
class BiasMissingStated(BiasMissing):
    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        return settings | {
            "layers": [{**layer, "use_bias": layer["name"] != "hidden_2"} for layer in settings["layers"]]
        }


def rounded_to_bfloat16(array: Array) -> Array:
    """To the nearest, ties to even."""
    bits = array.astype(np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


# --- what is recorded ------------------------------------------------------------------------------


@planted("forward", "step 2: pre-activations of hidden_1", "recorded without a copy, and later steps change them")
class RecordedWithoutACopy(Base):
    def trace(self) -> dict[str, Any]:
        found = super().trace()
        last = {key: getattr(self, key) for key in ("parameters", "first_moments", "second_moments")}
        return found | {"steps": [dataclasses.replace(step, **last) for step in found["steps"]]}


@planted("forward", "step 2: pre-activations of hidden_1", "the parameters of a step are recorded before its update")
class ParametersRecordedBeforeTheUpdate(Base):
    def take_step(self, images: Array, labels: Labels) -> Any:
        before = dict(self.parameters)
        return dataclasses.replace(super().take_step(images, labels), parameters=before)


@planted("forward", "step 1: pre-activations of hidden_1", "recorded after an in-place ReLU")
class RecordedAfterInPlaceReLU(Base):
    def activate(self, layer: str, z: Array) -> Array:
        if layer == "output":
            return super().activate(layer, z)
        return np.maximum(z, 0, out=z)


@planted("forward", "step 1: pre-activations of output", "probabilities are recorded in place of the logits")
class ProbabilitiesRecordedAsLogits(Base):
    def take_step(self, images: Array, labels: Labels) -> Any:
        step = super().take_step(images, labels)
        recorded = step.preactivations | {"output": step.activations["output"]}
        return dataclasses.replace(step, preactivations=recorded)


@planted("optimizer", "step 1: first moment of", "recorded after its bias correction")
class MomentsRecordedAfterCorrection(Base):
    def take_step(self, images: Array, labels: Labels) -> Any:
        step = super().take_step(images, labels)
        beta = self.recipe.adam_betas[0] ** self.num_steps
        corrected = {name: (m / (1 - beta)).astype(self.real) for name, m in step.first_moments.items()}
        return dataclasses.replace(step, first_moments=corrected)


# --- whole runs ------------------------------------------------------------------------------------


@planted("trajectory", "optimizer steps", "trains 1 epoch too many")
class AnEpochTooMany(Base):
    def train(self) -> dict[str, Any]:
        self.recipe = dataclasses.replace(self.stated, epochs=self.stated.epochs + 1)
        return super().train()


@planted("trajectory", "step 42: the losses differ", "from the second step of epoch 2 on: what changes with the epoch?")
class LearningRateDecayedAfterFirstEpoch(Base):
    def update(self, name: str, g: Array) -> Array:
        epoch = (self.num_steps - 1) // len(self.order(0))
        return super().update(name, g) * self.real(0.1**epoch)


@planted("outcome", "probability of a", "the predictions are not those of the final weights")
class PredictionsOfAnotherEpoch(Base):
    def train(self) -> dict[str, Any]:
        shorter = Base(dataclasses.replace(self.recipe, epochs=self.recipe.epochs - 1), self.digits).train()
        run = super().train()
        return run | {"test": dataclasses.replace(run["test"], predictions=shorter["test"].predictions)}


@planted("outcome", "test accuracy", "not that of the final weights on the test images")
class TestMetricsOfAnotherModel(Base):
    def train(self) -> dict[str, Any]:
        other = Base(dataclasses.replace(self.recipe, seed=self.recipe.seed + 1), self.digits).train()
        run = super().train()
        return run | {"test": dataclasses.replace(other["test"], predictions=run["test"].predictions)}


@planted("outcome", "probability of a", "the predictions are not those of the final weights")
class WeightsOfAnotherEpochSaved(Base):
    def train(self) -> dict[str, Any]:
        shorter = Base(dataclasses.replace(self.recipe, epochs=self.recipe.epochs - 1), self.digits).train()
        return super().train() | {"weights": shorter["weights"]}


@planted("outcome", "probability of a", "the predictions are softmax applied twice")
class PredictionsAreSoftmaxTwice(Base):
    def train(self) -> dict[str, Any]:
        run = super().train()
        powers = np.exp(run["test"].predictions)
        twice = powers / powers.sum(axis=1, keepdims=True)
        return run | {"test": dataclasses.replace(run["test"], predictions=twice)}


@planted("outcome", "probability of a", "those of the final weights in another order of the images")
class PredictionsInAnotherOrder(Base):
    def train(self) -> dict[str, Any]:
        run = super().train()
        return run | {"test": dataclasses.replace(run["test"], predictions=run["test"].predictions[::-1].copy())}


@planted("outcome", "training loss of epoch 1", "not the mean of the losses of the epoch's steps")
class HistoryOfTheLastBatch(Base):
    def train(self) -> dict[str, Any]:
        run = super().train()
        losses = run["step_losses"].reshape(self.recipe.epochs, -1)[:, -1]
        return run | {"history": run["history"] | {"loss": losses.tolist()}}


@planted("outcome", "final weights: ‖ΔW‖ / ‖W‖", "not what the same steps led to: averaged")
class AveragedWeightsEvaluated(Base):
    """An exponential moving average, as some trainers keep: what is evaluated and saved, but not trained with."""

    def train(self) -> dict[str, Any]:
        self.averages = dict(self.parameters)
        return super().train() | {"weights": self.averages}

    def take_step(self, images: Array, labels: Labels) -> Any:
        step = super().take_step(images, labels)
        self.averages = {name: 0.9 * average + 0.1 * self.parameters[name] for name, average in self.averages.items()}
        return step

    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        if len(images) <= self.recipe.batch_size or not hasattr(self, "averages"):
            return super().forward(images, labels)
        trained, self.parameters = self.parameters, self.averages
        found = super().forward(images, labels)
        self.parameters = trained
        return found


@planted("trajectory", "loss of a step: they differ by up to", "such as numbers kept in float32")
class WeightsKeptInFloat32BetweenEpochs(Base):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        if epoch:
            self.parameters = {
                name: array.astype(np.float32).astype(self.real) for name, array in self.parameters.items()
            }
        return super().batches(epoch)


@planted("outcome", "validation loss of epoch 1", "one validation is not of the network after the epoch")
class ValidationBeforeTheEpoch(Base):
    def train(self) -> dict[str, Any]:
        run = super().train()
        shifted = [np.log(10), *run["history"]["val_loss"]]
        return run | {"history": run["history"] | {"val_loss": [*shifted[:-2], shifted[-1]]}}


def work(recipe: Recipe, run_directory: Path, options: argparse.Namespace) -> None:
    """Speaks the contract for the fault named on the command line."""
    network = ZOO[options.name].network(recipe, datasets.load(recipe))
    if options.trace:
        write_trace(run_directory, Trace(**network.trace(), **network.header()))
    else:
        write_training(run_directory, RunRecord(**network.train(), **network.header()))


def start(description: str | None) -> None:
    """The command line; the faults are those entered so far."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("name", choices=ZOO, metavar="NAME", help=f"the fault: {', '.join(ZOO)}")
    main(work, parser)


if __name__ == "__main__":
    start(__doc__)
