"""Faults that the judge had not seen when it was held against them, and that it has learned since; `ZOO` holds all.

`python tests/faults/zoo_unseen.py NAME RECIPE.json RUN_DIR [--trace]`
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe import Recipe, mnist
from recipe.batch_order import epoch_order
from recipe.initial_weights import Weights
from tests.faults import zoo_data, zoo_late, zoo_networks, zoo_steps
from tests.faults.layered import Layered
from tests.faults.zoo import ZOO, Array, Base, Labels, planted, start
from tests.faults.zoo_kinds import HIDDEN, THREE, WIDE, Feeding, activating, batch_norm, drawing, kind, softmax
from tests.faults.zoo_layers import BATCH, images
from tests.faults.zoo_networks import CNN, DROPOUT
from tests.faults.zoo_training import (
    KERNEL,
    LOSS,
    Alike,
    Optimizing,
    changing_gradients,
    cross_entropy,
    minimising,
    of_label,
    one_hot,
    optimizing,
    through_softmax,
)

__all__ = ["CNN", "THREE", "ZOO"]

FILES = (*zoo_networks.FILES, zoo_steps.FILE, zoo_data.FILE, zoo_late.FILE, "zoo_unseen.py")
"""Where the faults are planted."""

# --- data ------------------------------------------------------------------------------------------


def in_batches(order: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(order, range(32, len(order), 32))


@kind("data", BATCH, "its parts are shuffled as wholes, not the images", whole_epoch=True)
class BatchesShuffledAsWholes(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        parts = in_batches(np.arange(60_000))
        return [parts[place] for place in np.random.default_rng(epoch).permutation(len(parts))]


@kind("data", BATCH, "classes not as often as the data set has them, but so many times: class 0 3", whole_epoch=True)
class SampledByClass(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        weights = np.where(self.digits.y_train < 2, 10.0, 1.0)
        return in_batches(np.random.default_rng(epoch).choice(60_000, 60_000, p=weights / weights.sum()))


@kind("data", BATCH, "are left out, or come later: none of the first 320 is of them", whole_epoch=True)
class SortedByInk(Base):
    """All classes come in the epoch; of the images with the least ink most are ones and sevens."""

    def order(self, epoch: int) -> list[NDArray[Any]]:
        return in_batches(np.argsort(self.digits.x_train.sum(axis=(1, 2), dtype=int), kind="stable"))


@kind("data", BATCH, "every second image of the order is taken, the others later", whole_epoch=True)
class EvenPlacesFirst(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        order = epoch_order(self.recipe.seed, epoch, 60_000)
        return in_batches(np.concatenate([order[::2], order[1::2]]))


@kind("data", "batch 701 of epoch 1", "one batch is left out of an epoch, from batch 701 on", whole_epoch=True)
class BatchInTheMiddleLeftOut(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        batches = super().order(epoch)
        return [*batches[:700], *batches[701:]]


def equalised(maps: Array, random: np.random.Generator) -> Array:
    found = []
    for image in np.rint(maps * 255).astype(int):
        counts = np.bincount(image.ravel(), minlength=256).cumsum()
        found.append((counts[image] - counts[counts > 0][0]) / (image.size - counts[counts > 0][0]))
    return np.round(np.stack(found) * 255) / 255


@kind("data", BATCH, "go through a function of its own, as where its histogram is equalised")
class HistogramsEqualised(images(equalised)):  # type: ignore[misc]
    pass


@kind("data", BATCH, "pixels are black or white: drawn, with the grey level as the probability")
class PixelsDrawn(images(lambda maps, random: (random.random(maps.shape) < maps).astype(float))):  # type: ignore[misc]
    pass


# --- initial weights -------------------------------------------------------------------------------


@kind("initial_weights", KERNEL, "distributed as He uniform by the number of units in place of inputs (fan_out)")
class HeUniformByUnits(drawing(lambda random, shape: random.uniform(-1, 1, shape) * np.sqrt(6 / shape[1]))):  # type: ignore[misc]
    pass


@kind("initial_weights", KERNEL, "by no noise: they were changed, or trained already")
class TrainedAlready(Base):
    def __init__(self, recipe: Recipe, digits: mnist.Digits) -> None:
        super().__init__(recipe, digits)
        other = Base(recipe, digits)
        other.num_batches = 20
        for batch in other.batches(epoch=5):
            other.take_step(*batch)
        self.parameters = dict(other.parameters)


@kind("initial_weights", KERNEL, "weights into each unit multiplied by a number of their own, to a length of 1")
class UnitsScaledToLengthOne(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array / np.linalg.norm(array, axis=0) if array.ndim > 1 else array


# --- forward ---------------------------------------------------------------------------------------


@kind("forward", HIDDEN, "the activation passes on what exceeds 0.5")
class ThresholdedRelu(activating(lambda z: np.where(z > 0.5, z, 0))):  # type: ignore[misc]
    """No dropout, though the others are zero."""


@kind("forward", "step 2: pre-activations of hidden_1", "a moving average of the parameters, which keeps 0.9 a step")
class AveragedWeightsUsed(Base):
    averages: Weights | None = None

    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        trained, before = self.parameters, self.averages or self.parameters
        self.averages = {name: self.real(0.9) * before[name] + self.real(0.1) * a for name, a in trained.items()}
        self.parameters = self.averages
        found = super().forward(images, labels)
        self.parameters = trained
        return found


class FedOtherwise(Feeding):
    """`layer` is fed what `change` makes of its inputs."""

    layer = "hidden_2"

    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        x = super().fed(layer, z, activations, images)
        return np.asarray(self.change(x, activations), self.real) if layer == self.layer else x

    def change(self, x: Array, activations: Weights) -> Array:
        raise NotImplementedError


@kind("forward", "pre-activations of hidden_1", "that is added, to them or to what the layer is fed")
class NoiseOnThePixels(FedOtherwise):
    layer = "hidden_1"

    def change(self, x: Array, activations: Weights) -> Array:
        return x + np.random.default_rng(self.num_steps).normal(0, 0.1, x.shape)


@kind("forward", "pre-activations of hidden_2", "what the layer is fed is quantised to int8", dtype="float64")
class ActivationsQuantised(FedOtherwise):
    def change(self, x: Array, activations: Weights) -> Array:
        scale = np.abs(x).max() / 127
        return np.round(x / scale) * scale


@kind("forward", "pre-activations of hidden_2", "batch normalisation (ε = 0.001) of each of 2 parts of the batch")
class NormalisedByHalves(FedOtherwise):
    def change(self, x: Array, activations: Weights) -> Array:
        return np.concatenate([batch_norm(part) for part in np.split(x, 2)])


@kind("forward", "step 2: pre-activations of hidden_1", "the bias is added after the activation, not before it")
class BiasBehindTheActivation(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        return super().dense(layer, inputs) if layer == "output" else inputs @ self.parameters[f"{layer}.kernel"]

    def activate(self, layer: str, z: Array) -> Array:
        found = super().activate(layer, z)
        return found if layer == "output" else found + self.parameters[f"{layer}.bias"]


@kind("forward", "pre-activations of convolution_2", "the convolution has 2 groups", **CNN)
class GroupedConvolution(Layered):
    def used(self, layer: str) -> Array:
        kernel = super().used(layer).copy()
        if layer == "convolution_2":
            kernel[:, :, :2, 2:] = kernel[:, :, 2:, :2] = 0
        return kernel


@kind("forward", "pre-activations of convolution_2", "row 3 column 3, as in a masked convolution", **CNN)
class MaskedConvolution(Layered):
    def used(self, layer: str) -> Array:
        kernel = super().used(layer).copy()
        if layer == "convolution_2":
            kernel[1, 2:] = kernel[2] = 0
        return kernel


@kind("forward", "pre-activations of output", "the pre-activations are capped smoothly at ±2: c·tanh(z / c)")
class LogitsCapped(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        z = super().dense(layer, inputs)
        return np.asarray(2 * np.tanh(z / 2), self.real) if layer == "output" else z


@kind("forward", "pre-activations of hidden_1", "the kernel is ternary when it is used")
class TernaryKernels(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        kernel = self.parameters[f"{layer}.kernel"].astype(float)
        kept = np.abs(kernel) > 0.7 * np.abs(kernel).mean()
        used = np.sign(kernel) * kept * np.abs(kernel[kept]).mean()
        return np.asarray(inputs @ used + self.parameters[f"{layer}.bias"], self.real)


@kind("forward", HIDDEN, "the activation is 0.8944 r² -0.4472, where r is ReLU")
class StarRelu(activating(lambda z: 0.8944 * np.maximum(z, 0) ** 2 - 0.4472)):  # type: ignore[misc]
    pass


@kind("forward", "what dropout passes on of hidden_1", "the mask is that of hidden_2", **DROPOUT)
class MasksExchanged(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        return super().mask_numbers({"hidden_1": "hidden_2", "hidden_2": "hidden_1"}[layer], num_images)


@kind("forward", "passes on of hidden_1", "dropout drops nothing, and all activations are multiplied by 0.8", **DROPOUT)
class ScaledInPlaceOfDropout(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        kept, _ = super().mask_numbers(layer, num_images)
        return np.ones_like(kept), 0.8


@kind("forward", "passes on of hidden_1", "which activations are dropped depends on their size", **DROPOUT)
class LargestActivationsKept(Layered):
    def drop(self, layer: str, activations: Array) -> Array:
        kept = activations >= np.quantile(activations, 0.6, axis=1, keepdims=True)
        self.masks[layer] = kept * self.real(1.25)
        return activations * self.masks[layer]


# --- losses ----------------------------------------------------------------------------------------


class Penalised(Base):
    """A penalty on weights, by parameter its value and its gradient."""

    def penalties(self) -> dict[str, tuple[float, Array]]:
        raise NotImplementedError

    def loss(self, z: Array, labels: Labels) -> float:
        return super().loss(z, labels) + sum(value for value, _ in self.penalties().values())

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        added = {name: slope for name, (_, slope) in self.penalties().items()}
        found = super().backward(images, labels, activations)
        return {name: np.asarray(g + added.get(name, 0), self.real) for name, g in found.items()}


@kind("loss", LOSS, "an L2 penalty is added: 0.005 times the squared numbers of output.kernel, output.bias")
class OutputLayerDecays(Penalised):
    def penalties(self) -> dict[str, tuple[float, Array]]:
        own = {name: a.astype(float) for name, a in self.parameters.items() if name.startswith("output")}
        return {name: (5e-3 * float((a**2).sum()), 1e-2 * a) for name, a in own.items()}


@kind("loss", LOSS, "0.01 times ‖WᵀW − I‖² of hidden_2.kernel is added")
class OrthogonalityPenalty(Penalised):
    def penalties(self) -> dict[str, tuple[float, Array]]:
        kernel = self.parameters["hidden_2.kernel"].astype(float)
        off = kernel.T @ kernel - np.eye(32)
        return {"hidden_2.kernel": (0.01 * float((off**2).sum()), 0.04 * kernel @ off)}


@kind("loss", "step 2: loss", "0.01 times the squared distance of the kernels from their initial values")
class PenaltyOfDistance(Penalised):
    initial_kernels: Weights | None = None

    def penalties(self) -> dict[str, tuple[float, Array]]:
        kernels = {name: a.astype(float) for name, a in self.parameters.items() if a.ndim > 1}
        self.initial_kernels = self.initial_kernels or kernels
        moved = {name: a - self.initial_kernels[name] for name, a in kernels.items()}
        return {name: (0.01 * float((a**2).sum()), 0.02 * a) for name, a in moved.items()}


@kind("loss", LOSS, "a penalty of 0.0046 times the norms of the kernels is added, not squared")
class NormsNotSquared(Penalised):
    def penalties(self) -> dict[str, tuple[float, Array]]:
        kernels = {name: a.astype(float) for name, a in self.parameters.items() if a.ndim > 1}
        norms = {name: float(np.linalg.norm(a)) for name, a in kernels.items()}
        return {name: (0.0046 * norms[name], 0.0046 * a / norms[name]) for name, a in kernels.items()}


@kind("loss", LOSS, "a penalty of 0.0021 times the norm of all kernels and biases together is added, not squared")
class NormOfAllNotSquared(Penalised):
    def penalties(self) -> dict[str, tuple[float, Array]]:
        numbers = {name: a.astype(float) for name, a in self.parameters.items()}
        norm = float(np.sqrt(sum((a**2).sum() for a in numbers.values())))
        return {name: (0.0021 * norm / len(numbers), 0.0021 * a / norm) for name, a in numbers.items()}


@planted(
    "initial_weights", "hidden_1.kernel at", "hidden_1.kernel has the same sign everywhere, the magnitudes are right"
)
class MagnitudesToBeginWith(Base):
    def initial(self, name: str, array: Array) -> Array:
        return np.abs(array)


def hardest(z: Array, y: Labels) -> Array:
    """Weights of the images, 19 of 32."""
    weights = np.zeros(len(y))
    weights[np.argsort(-cross_entropy(z, y))[:19]] = len(y) / 19
    return weights


@kind("loss", LOSS, "only the 19 of 32 images of a batch with the largest losses count")
class HardestImagesCount(  # type: ignore[misc]
    minimising(
        lambda z, y: hardest(z, y) * cross_entropy(z, y),
        lambda z, y: hardest(z, y)[:, None] * (softmax(z) - one_hot(y)),
    )
):
    pass


PRIOR = np.log([0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])


@kind("loss", LOSS, "a number for each class is added to its logit in the loss: 1.34, 0.93, 0.237,")
class LogitsAdjusted(  # type: ignore[misc]
    minimising(lambda z, y: cross_entropy(z + PRIOR, y), lambda z, y: softmax(z + PRIOR) - one_hot(y))
):
    pass


def divergences(z: Array, y: Labels) -> Array:
    p, middle = softmax(z), (softmax(z) + one_hot(y)) / 2
    return ((p * np.log(p / middle)).sum(axis=1) - np.log(of_label(middle, y))) / 2


@kind("loss", LOSS, "the loss is the Jensen-Shannon divergence of probabilities and one-hot labels")
class JensenShannon(  # type: ignore[misc]
    minimising(
        divergences,
        lambda z, y: through_softmax(softmax(z), np.log(2 * softmax(z) / (softmax(z) + one_hot(y))) / 2),
    )
):
    pass


@kind("loss", LOSS, "the loss of each image is cut off at 2.3")
class LossesCutOff(  # type: ignore[misc]
    minimising(
        lambda z, y: np.minimum(cross_entropy(z, y), 2.3),
        lambda z, y: (cross_entropy(z, y) < 2.3)[:, None] * (softmax(z) - one_hot(y)),
    )
):
    pass


def smoothed(y: Labels) -> Array:
    return 0.9 * one_hot(y) + 0.01


@kind("loss", LOSS, "the loss is focal, of γ = 2 and α = 0.25, with labels smoothed by 0.1")
class FocalLossOfSmoothedLabels(  # type: ignore[misc]
    minimising(
        lambda z, y: -0.25 * (smoothed(y) * (1 - softmax(z)) ** 2 * np.log(softmax(z))).sum(axis=1),
        lambda z, y: through_softmax(
            softmax(z),
            0.25 * smoothed(y) * (2 * (1 - softmax(z)) * np.log(softmax(z)) - (1 - softmax(z)) ** 2 / softmax(z)),
        ),
    )
):
    pass


# --- gradients -------------------------------------------------------------------------------------

OUTPUT_GRADIENT = "gradient of output.kernel"


@kind("gradients", OUTPUT_GRADIENT, "and nothing in the first step: they come one step late")
class GradientsOneStepLate(Base):
    late: Weights | None = None

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        found = super().backward(images, labels, activations)
        passed = self.late or {name: 0 * g for name, g in found.items()}
        self.late = found
        return passed


class Elsewhere(Base):
    """Gradients at other weights than the forward pass had."""

    def elsewhere(self, weights: Weights, images: Array, labels: Labels) -> Weights:
        own, self.parameters = self.parameters, weights
        found = super().backward(images, labels, self.forward(images, labels)["activations"])
        self.parameters = own
        return found


@kind("gradients", OUTPUT_GRADIENT, "at the weights of the step before: the gradients are stale")
class GradientsOfStaleWeights(Elsewhere):
    stale: Weights | None = None

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        found = self.elsewhere(self.stale or self.parameters, images, labels)
        self.stale = dict(self.parameters)
        return found


@kind("gradients", OUTPUT_GRADIENT, "at weights moved by 0.05 along the gradient: sharpness-aware (SAM)")
class SharpnessAware(Elsewhere):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        g = super().backward(images, labels, activations)
        share = self.real(0.05 / np.sqrt(sum(float((a.astype(float) ** 2).sum()) for a in g.values())))
        return self.elsewhere({name: a + share * g[name] for name, a in self.parameters.items()}, images, labels)


@kind("gradients", OUTPUT_GRADIENT, "the gradient of each image is clipped to a norm of 1 before the mean")
class EachImagesGradientClipped(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        whole = super().backward(images, labels, activations)
        total = {name: 0 * g for name, g in whole.items()}
        for row in range(len(labels)):
            own = slice(row, row + 1)
            one = super().backward(images[own], labels[own], {name: a[own] for name, a in activations.items()})
            norm = np.sqrt(sum(float((g.astype(float) ** 2).sum()) for g in one.values()))
            total = {name: g + one[name] * self.real(min(1, 1 / norm) / len(labels)) for name, g in total.items()}
        return total


@kind("gradients", "gradient of hidden_2.kernel", "other dropout masks than the activations did", **DROPOUT, **WIDE)
class MasksDrawnAnewOnTheWayBack(Layered):
    def undrop(self, layer: str, delta: Array) -> Array:
        kept = np.random.default_rng([7, self.num_steps]).random(delta.shape) >= 0.2
        return np.asarray(delta * kept / self.real(0.8), self.real)


@kind(
    "gradients",
    "gradient of convolution_1.kernel",
    "on the way back through convolution_2, the kernel is",
    **CNN,
)
class KernelNotTurnedOnTheWayBack(Layered):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        right, own = super().backward(images, labels, activations), self.parameters
        self.parameters = own | {"convolution_2.kernel": own["convolution_2.kernel"][::-1, ::-1]}
        turned = super().backward(images, labels, activations)
        self.parameters = own
        return {name: (turned if name.startswith("convolution_1") else right)[name] for name in right}


@kind("gradients", "gradient of hidden_1.kernel", "the gradient is stopped where an activation is above 1")
class StoppedAboveOne(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        found = super().backward(images, labels, activations)
        delta = self.delta(activations["output"], labels)
        for layer, below in (("output", "hidden_2"), ("hidden_2", "hidden_1")):
            a = activations[below]
            delta = (delta @ self.parameters[f"{layer}.kernel"].T) * ((a > 0) & (a <= 1))
            fed = activations["hidden_1"] if below == "hidden_2" else images
            found |= {f"{below}.kernel": fed.T @ delta, f"{below}.bias": delta.sum(axis=0)}
        return found


@kind("gradients", OUTPUT_GRADIENT, "the rest is added to the next step's: error feedback")
class ErrorFeedback(Base):
    kept_back: Weights | None = None

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        found = super().backward(images, labels, activations)
        rest = self.kept_back or {name: 0 * g for name, g in found.items()}
        whole = {name: g + rest[name] for name, g in found.items()}
        sent = {name: np.where(np.abs(g) >= np.quantile(np.abs(g), 0.9), g, 0) for name, g in whole.items()}
        self.kept_back = {name: g - sent[name] for name, g in whole.items()}
        return sent


@kind("gradients", OUTPUT_GRADIENT, "the gradient of each parameter is divided by its largest entry")
class DividedByLargest(changing_gradients(lambda net, g: {n: a / np.abs(a).max() for n, a in g.items()})):  # type: ignore[misc]
    pass


@kind("gradients", OUTPUT_GRADIENT, "only the signs of the gradients are used, times their mean size: one bit each")
class OneBitGradients(  # type: ignore[misc]
    changing_gradients(lambda net, g: {n: np.sign(a) * np.abs(a).mean(dtype=float) for n, a in g.items()})
):
    pass


# --- optimizers ------------------------------------------------------------------------------------


@kind("optimizer", "first moment of hidden_1.kernel", "β₁ is 0.999 instead of 0.9; β₂ is 0.9 instead", dtype="float64")
class BetasExchanged(Base):
    """Rounded to float32 as the recipe shares them, which is no fault of the bias correction."""

    def adam(self, gradients: Weights) -> None:
        self.recipe = dataclasses.replace(self.stated, beta_1=0.999, beta_2=0.9)
        super().adam(gradients)
        self.recipe = self.stated


@kind("optimizer", KERNEL, "the largest corrected second moment so far is used (AMSGrad)")
class AmsGradOfCorrectedMoments(Alike):
    epsilon = 1e-7

    def update_of(self, name: str, g: Array) -> Array:
        m, v = self.moments(name)
        beta_1, beta_2 = self.recipe.adam_betas
        kept = self.kept[name]
        kept["largest"] = np.maximum(kept.get("largest", 0 * v), v / (1 - beta_2**self.t))
        return self.rate * m / (1 - beta_1**self.t) / (np.sqrt(kept["largest"]) + self.epsilon)


@kind("optimizer", KERNEL, "norm of the weights into each unit is limited to 1, as Keras's MaxNorm", dtype="float64")
class NormOfUnitsLimited(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        for name, array in self.parameters.items():
            if array.ndim > 1:
                norms = np.linalg.norm(array, axis=0)
                self.parameters[name] = array * (np.minimum(norms, 1) / (norms + 1e-7))


def layerwise_adaptive(net: Optimizing, name: str, g: Array) -> Array:
    norms = np.linalg.norm(net.parameters[name].astype(float)), np.linalg.norm(g)
    trust = 1e-3 * norms[0] / norms[1] if all(norms) else 1.0
    net.kept[name]["m"] = 0.9 * net.kept[name].get("m", 0 * g) + trust * g
    return 0.1 * net.kept[name]["m"]


@kind("optimizer", KERNEL, "not Adam: LARS of momentum 0.9 with a trust of 0.001 with a learning rate of 0.1")
class LarsForAdam(optimizing(layerwise_adaptive)):  # type: ignore[misc]
    pass


@kind("optimizer", KERNEL, "decoupled weight decay of 0.1 (AdamW), applied after the update", dtype="float64")
class DecayAfterTheUpdate(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        share = self.real(1 - 0.1 * self.recipe.learning_rate)
        self.parameters = {name: array * share for name, array in self.parameters.items()}


@kind("optimizer", KERNEL, "look like normal noise of standard deviation 0.0001 that is added to the updates")
class NoiseOnUpdates(Base):
    def update(self, name: str, g: Array) -> Array:
        noise = np.random.default_rng([self.num_steps, len(name)]).normal(0, 1e-4, g.shape)
        return np.asarray(super().update(name, g) + noise, self.real)


@kind("optimizer", KERNEL, "learning rate is 4.08163e-05 instead of 0.001 (of hidden_1.kernel only)", dtype="float64")
class RateByInputs(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(32 / 784 if name == KERNEL else 1)


@kind("optimizer", KERNEL, "the update takes the first moment of the step before")
class MomentOfTheStepBefore(Base):
    def adam(self, gradients: Weights) -> None:
        self.before = dict(self.first_moments)
        super().adam(gradients)

    def update(self, name: str, g: Array) -> Array:
        own, self.first_moments[name] = self.first_moments[name], self.before[name]
        found = super().update(name, g)
        self.first_moments[name] = own
        return found


@kind("optimizer", "first moment of hidden_1.kernel", "gradient centralisation")
class CentralisedInTheOptimizer(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam({name: g - g.mean(axis=0) if g.ndim > 1 else g for name, g in gradients.items()})


# --- whole runs ------------------------------------------------------------------------------------


@planted("outcome", "probability of a", "the predictions are those of a softmax with a temperature of 1.5")
class PredictionsOfAnotherTemperature(Base):
    def train(self) -> dict[str, Any]:
        run = super().train()
        powers = run["test"].predictions ** (1 / 1.5)
        found = powers / powers.sum(axis=1, keepdims=True)
        return run | {"test": dataclasses.replace(run["test"], predictions=found)}


class TestImagesChanged(Base):
    """Only the test images; batches of training images are smaller."""

    def change(self, images: Array) -> Array:
        raise NotImplementedError

    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        return super().forward(self.change(images) if len(images) > self.recipe.batch_size else images, labels)


@planted("outcome", "probability of a", "those of images that are shifted by 0 rows and 1 columns")
class TestImagesShifted(TestImagesChanged):
    def change(self, images: Array) -> Array:
        return np.roll(images.reshape(-1, 28, 28), 1, axis=2).reshape(images.shape)


@planted("outcome", "probability of a", "not those of the final weights on the test images")
class TestImagesBrighter(TestImagesChanged):
    def change(self, images: Array) -> Array:
        return images * self.real(1.5)


# --- of the plainest kind --------------------------------------------------------------------------


@kind("forward", "passes on of hidden_1", "the rate is 0.25 instead of 0.2, with other masks", **DROPOUT)
class DropoutOfAnotherRate(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        kept, _ = super().mask_numbers(layer, num_images)
        return np.random.default_rng([5, self.num_steps, len(layer)]).random(kept.shape) >= 0.25, 1 / 0.75


@kind("forward", HIDDEN, "the activation is a leaky ReLU of slope 0.2 (differences: leaky-relu-slope)")
class LeakyReluOfAnotherSlope(activating(lambda z: np.where(z > 0, z, 0.2 * z))):  # type: ignore[misc]
    """One slope for all units, which is fewer numbers than one for each."""


# --- what was taken for something else -------------------------------------------------------------


@kind("forward", "pre-activations of hidden_1", "unit 5 of 32, counted from 0, gives 0 for every image")
class UnitNeverComputed(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        z = super().dense(layer, inputs)
        return np.where(np.arange(z.shape[1]) == 5, 0, z) if layer == "hidden_1" else z


@kind("gradients", "gradient of output.kernel", "a multiple of the weights themselves is added")
class GradientsWithoutTheirPartAlongTheWeights(Base):
    def backward(self, *arguments: Any) -> Weights:
        found = super().backward(*arguments)
        kernels = {name: self.parameters[name] for name in found if name.endswith("kernel")}
        along = {name: w * ((w * found[name]).sum() / (w * w).sum()) for name, w in kernels.items()}
        return {name: gradient - along.get(name, 0) for name, gradient in found.items()}


@kind("optimizer", "hidden_2.kernel at", "a multiple of the weights themselves is added to the updates")
class KernelBroughtBackToItsNorm(Base):
    def adam(self, gradients: Weights) -> None:
        wanted = np.linalg.norm(self.parameters["hidden_2.kernel"])
        super().adam(gradients)
        kernel = self.parameters["hidden_2.kernel"]
        self.parameters["hidden_2.kernel"] = kernel * self.real(wanted / np.linalg.norm(kernel))


@kind("gradients", "gradient of output.kernel", "all numbers that are not 0 are powers of 2")
class GradientsAsPowersOfTwo(Base):
    def backward(self, *arguments: Any) -> Weights:
        found = super().backward(*arguments)
        return {name: np.ldexp(np.sign(g), np.frexp(g)[1]).astype(g.dtype) for name, g in found.items()}


@kind("forward", "passes on of hidden_1", "the masks begin again with those of step 1 in step 4", **DROPOUT)
class MasksFromTheBeginning(Layered):
    def all_masks(self, num_images: int) -> Array:
        steps, self.num_steps = self.num_steps, self.num_steps - 3 * (self.num_steps >= 3)
        masks = super().all_masks(num_images)
        self.num_steps = steps
        return masks


@kind("forward", "pre-activations of convolution_2", "the convolution has dilation 2 and padding 1", **CNN)
class ConvolutionDilated(Layered):
    def convolve(self, layer: str, maps: Array) -> Array:
        if layer != "convolution_2":
            return super().convolve(layer, maps)
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = maps.shape[1] - 2, maps.shape[2] - 2
        kernel, bias = self.used(layer), self.parameters[f"{layer}.bias"]
        places = ((row, column) for row in range(3) for column in range(3))
        return sum(padded[:, 2 * r : 2 * r + height, 2 * c : 2 * c + width] @ kernel[r, c] for r, c in places) + bias


@kind("forward", "step 2: pre-activations of hidden_1", "the layer adds the bias of the step before")
class BiasOfTheStepBefore(Base):
    def forward(self, images: Array, labels: Labels) -> Any:
        own = self.parameters["hidden_1.bias"]
        self.parameters["hidden_1.bias"], self.held = getattr(self, "held", own), own
        try:
            return super().forward(images, labels)
        finally:
            self.parameters["hidden_1.bias"] = own


@kind("forward", "step 2: pre-activations of hidden_1", "each unit adds the bias of the unit before it")
class BiasOfTheUnitBefore(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        bias = self.parameters[f"{layer}.bias"]
        return super().dense(layer, inputs) + (np.roll(bias, 1) - bias if layer == "hidden_1" else 0)


def using(change: Any) -> type[Base]:
    """The second layer uses a kernel that is changed."""

    class Using(Base):
        def dense(self, layer: str, inputs: Array) -> Array:
            kernel, bias = self.parameters[f"{layer}.kernel"], self.parameters[f"{layer}.bias"]
            return inputs @ change(kernel) + bias if layer == "hidden_2" else super().dense(layer, inputs)

    return Using


@kind("forward", "pre-activations of hidden_2", "the kernel is made symmetric when it is used", **WIDE)
class KernelMadeSymmetric(using(lambda kernel: (kernel + kernel.T) / 2)):  # type: ignore[misc]
    pass


@kind("forward", "pre-activations of hidden_2", "only the signs of the kernel are used, times the mean of its sizes")
class SignsOfTheKernel(using(lambda kernel: np.sign(kernel) * np.abs(kernel).mean())):  # type: ignore[misc]
    pass


@kind("forward", "convolution_1 at", "the kernel of each unit has its mean taken off when it is used", **CNN)
class FiltersCentredWhenUsed(Layered):
    """Of a dense layer that is the same as to take the mean off what it is fed."""

    def used(self, layer: str) -> Array:
        kernel = super().used(layer)
        return kernel - kernel.mean(axis=(0, 1, 2))


@kind("forward", HIDDEN, "the activation is max(z, -1) instead of ReLU")
class ActivationCutOffAtMinusOne(activating(lambda z: np.maximum(z, -1))):  # type: ignore[misc]
    pass


@kind("data", "batch 4 of epoch 1", "one image fills the batch, 32 times the same, in batch 4", batch_size=32)
class OneImageFillsABatch(zoo_late.Late):
    def changed(self, number: int, images: Array, labels: Labels) -> tuple[Array, Labels]:
        return (images, labels) if number != 4 else (np.repeat(images[:1], 32, axis=0), np.repeat(labels[:1], 32))


if __name__ == "__main__":
    start(__doc__)
