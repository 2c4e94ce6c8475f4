"""Faults that begin in the middle of a training, where no trace looks: each is caught in a window, with its step.

On `own_data` an epoch has 16 steps; steps 1 and 2, 15 to 18, 21 and 22, 37 and 38, and 47 and 48 are windows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe.initial_weights import Weights
from record.first_steps import Step
from tests.faults.windowed import Clean
from tests.faults.zoo import Array, Labels

STEPS_PER_EPOCH = 16

LATE = {"from step 11": range(11, 10**6), "from epoch 2 on": range(17, 10**6), "in the last epoch": range(33, 10**6)}
FIRST_SEEN = {"from step 11": 15, "from epoch 2 on": 17, "in the last epoch": 37}


@dataclass(frozen=True)
class LateFault:
    """A faulty network, the rung and the step at which it is caught, and what the rung says of it."""

    network: type[Clean]
    rung: str
    where: str
    cause: str
    fields: dict[str, Any]


ZOO: dict[str, LateFault] = {}


def planted(rung: str, where: str, cause: str, **fields: Any) -> Callable[[type[Clean]], type[Clean]]:
    """Enters a fault."""

    def enter(network: type[Clean]) -> type[Clean]:
        ZOO[network.__name__] = LateFault(network, rung, where, cause, fields)
        return network

    return enter


class Late(Clean):
    """A network whose fault is there in some steps only."""

    late: range = range(11, 10**6)

    @property
    def now(self) -> bool:
        """Whether the step that is being taken has the fault; `num_steps` counts it once Adam begins."""
        return self.num_steps in self.late

    @property
    def next(self) -> bool:
        """The same before Adam begins."""
        return self.num_steps + 1 in self.late


class RateOff(Late):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(1.001 if self.now else 1)


class L2InGradients(Late):
    """A penalty in the loss, as a regulariser of the kernels adds it, of which the loss itself is not told."""

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        decay = self.real(1e-5 if self.next else 0)
        return {name: g + decay * self.parameters[name] for name, g in gradients.items()}


class L2InOptimizer(Late):
    """As torch's Adam has it with a weight_decay."""

    def adam(self, gradients: Weights) -> None:
        decay = self.real(1e-5 if self.next else 0)
        super().adam({name: g + decay * self.parameters[name] for name, g in gradients.items()})


class DecoupledDecay(Late):
    def adam(self, gradients: Weights) -> None:
        if self.next:
            rate = self.real(self.recipe.learning_rate) * self.real(1e-5)
            self.parameters = {name: array - rate * array for name, array in self.parameters.items()}
        super().adam(gradients)


class BatchDropped(Late):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        yield from self._without(super().batches(epoch), epoch)

    def _without(self, batches: Iterator[Any], epoch: int) -> Iterator[Any]:
        for index, batch in enumerate(batches, epoch * STEPS_PER_EPOCH + 1):
            if index != self.late.start:
                yield batch


class BatchDoubled(Late):
    """One batch is fed in the place of the next, too."""

    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        before = None
        for index, batch in enumerate(super().batches(epoch), epoch * STEPS_PER_EPOCH + 1):
            yield before if index == self.late.start + 1 else batch
            before = batch


@planted("optimizer", "step 15 of epoch 1: hidden_1.kernel", "the learning rate changes from step to step")
class Schedule(Late):
    """A cosine, by step."""

    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real((1 + np.cos(np.pi * self.num_steps / 48)) / 2 if self.now else 1)


@planted("optimizer", "step 17, the first of epoch 2: hidden_1.kernel", "the learning rate is 0.0003 instead of 0.003")
class ScheduleByEpoch(Late):
    late = range(17, 10**6)

    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(0.1 if self.now else 1)


@planted(
    "gradients", "step 17, the first of epoch 2: gradient of hidden_2.kernel", "the gradient of hidden_2.kernel is zero"
)
class LayerFrozen(Late):
    late = range(17, 10**6)

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        return {
            name: np.zeros_like(g) if self.next and name.startswith("hidden_2") else g for name, g in gradients.items()
        }


@planted(
    "optimizer",
    "step 17, the first of epoch 2: first moment of hidden_1.kernel",
    "clipping does that",
)
class ClippedInOptimizer(Late):
    late = range(17, 10**6)

    def adam(self, gradients: Weights) -> None:
        norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
        factor = self.real(min(1, 0.2 / norm) if self.next else 1)
        super().adam({name: g * factor for name, g in gradients.items()})


@planted(
    "gradients", "step 17, the first of epoch 2: gradient of output.kernel", "gradients are clipped to a norm of 0.2"
)
class ClippedInGradients(Late):
    late = range(17, 10**6)

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        gradients = super().backward(images, labels, activations)
        norm = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
        factor = self.real(min(1, 0.2 / norm) if self.next else 1)
        return {name: g * factor for name, g in gradients.items()}


@planted("data", "step 17, the first of epoch 2: its", "labels are off by 1")
class LabelsWrongFromEpoch2(Late):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for images, labels in super().batches(epoch):
            yield images, (labels + (epoch > 0)) % self.recipe.images.num_classes


@planted("data", "step 25, step 9 of epoch 2: its pixels", "images are right, their labels are not")
class LabelsShuffledApartOnce(Late):
    """In one step alone, which is no window."""

    def take_step(self, images: Array, labels: Labels) -> Step:
        return super().take_step(images, np.roll(labels, 1) if self.num_steps == 24 else labels)


@planted(
    "data",
    "step 25, step 9 of epoch 2: its pixels",
    "the labels are right, the pixels are not: they add up to 0.996094",
)
class PixelsDividedBy256Once(Late):
    def take_step(self, images: Array, labels: Labels) -> Step:
        factor = self.real(255 / 256 if self.num_steps == 24 else 1)
        return super().take_step(images * factor, labels)


@planted("data", "step 17, the first of epoch 2: its", "images are mirrored")
class MirroredFromEpoch2(Late):
    """Augmentation, whose sums are those of the images themselves."""

    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for images, labels in super().batches(epoch):
            turned = images.reshape(len(images), *self.recipe.images.image_shape)[:, :, ::-1].reshape(images.shape)
            yield (turned if epoch else images), labels


class BetweenEpochs(Late):
    """Something happens before epoch `before`, from 0, begins."""

    before = 1

    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        if epoch == 0:
            self.first = dict(self.parameters)
        if epoch == self.before:
            self.happens()
        return super().batches(epoch)

    def happens(self) -> None:
        raise NotImplementedError


@planted(
    "optimizer",
    "step 17, the first of epoch 2, begins with another state",
    "the weights are replaced by those that epoch 1 began with",
)
class WeightsSwapped(BetweenEpochs):
    def happens(self) -> None:
        self.parameters = dict(self.first)


@planted(
    "optimizer",
    "step 33, the first of epoch 3, begins with other weights than epoch 2 ended with",
    "replaced by those that epoch 1 began with",
)
class WeightsSwappedLater(WeightsSwapped):
    """Where no window is: the hashes show it."""

    before = 2


@planted("optimizer", "step 33, the first of epoch 3, begins with other Adam's moments", "zero again: a new optimizer")
class NewOptimizerLater(BetweenEpochs):
    before = 2

    def happens(self) -> None:
        self.first_moments = {name: np.zeros_like(array) for name, array in self.first_moments.items()}
        self.second_moments = dict(self.first_moments)


@planted(
    "optimizer", "step 17, the first of epoch 2, begins with another state", "rounded to float16 between the epochs"
)
class WeightsThroughFloat16(BetweenEpochs):
    def happens(self) -> None:
        self.parameters = {name: a.astype(np.float16).astype(self.real) for name, a in self.parameters.items()}


@planted("optimizer", "begins with another state", "rounded to float32 between the epochs", dtype="float64")
class WeightsThroughFloat32(BetweenEpochs):
    def happens(self) -> None:
        self.parameters = {name: a.astype(np.float32).astype(self.real) for name, a in self.parameters.items()}


@planted("optimizer", "final weights: ", "averaged, of another step, or rounded")
class AveragedWeightsSaved(Late):
    def train(self) -> dict[str, Any]:
        found = super().train()
        return found | {"weights": {name: self.real(0.999) * array for name, array in found["weights"].items()}}


@planted("optimizer", "final weights: ", "they are those that epoch 2 ended with")
class WeightsOfAnotherEpochSaved(Late):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        if epoch == 2:
            self.saved = dict(self.parameters)
        return super().batches(epoch)

    def train(self) -> dict[str, Any]:
        return super().train() | {"weights": self.saved}


@planted("initial_weights", "hidden_1.kernel before step 1", "begins with other weights than its trace")
class BeginsElsewhere(Late):
    def train(self) -> dict[str, Any]:
        self.parameters = {name: self.real(1.001) * array for name, array in self.parameters.items()}
        return super().train()


@planted("loss", "step 17, the first of epoch 2: loss", "labels are smoothed by 0.1")
class SmoothingFromEpoch2(Late):
    late = range(17, 10**6)

    def loss(self, z: Array, labels: Labels) -> float:
        plain = super().loss(z, labels)
        if not self.training or not self.next:
            return plain
        shifted = z - z.max(axis=1, keepdims=True)
        uniform = float((np.log(np.exp(shifted).sum(axis=1)) - shifted.mean(axis=1)).mean())
        return 0.9 * plain + 0.1 * uniform

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        one_hot = np.eye(probabilities.shape[1], dtype=self.real)[labels]
        if self.next:
            one_hot = self.real(0.9) * one_hot + self.real(0.1 / probabilities.shape[1])
        return (probabilities - one_hot) / self.real(len(labels))


@planted(
    "optimizer", "step 17, the first of epoch 2: first moment", "not Adam: plain gradient descent (SGD) with a learning"
)
class GradientDescentFromEpoch2(Late):
    late = range(17, 10**6)

    def adam(self, gradients: Weights) -> None:
        if not self.next:
            super().adam(gradients)
            return
        self.num_steps += 1
        self.parameters = {name: array - self.real(0.1) * gradients[name] for name, array in self.parameters.items()}


@planted(
    "optimizer", "step 17, the first of epoch 2: first moment", "not Adam: SGD with momentum 0.9 with a learning rate"
)
class MomentumFromEpoch2(Late):
    """Which begins from nothing."""

    late = range(17, 10**6)
    velocity: Weights

    def adam(self, gradients: Weights) -> None:
        if not self.next:
            super().adam(gradients)
            self.velocity = {name: np.zeros_like(g) for name, g in gradients.items()}
            return
        self.num_steps += 1
        self.velocity = {name: self.real(0.9) * self.velocity[name] + g for name, g in gradients.items()}
        self.parameters = {n: array - self.real(0.01) * self.velocity[n] for n, array in self.parameters.items()}


@planted(
    "optimizer", "step 15 of epoch 1: first moment", "not Adam, whose moments stay as they were while the parameters"
)
class MomentumFromStep11(MomentumFromEpoch2):
    """What it remembers from steps that are no window, nobody knows."""

    late = range(11, 10**6)


@planted(
    "optimizer",
    "step 17, the first of epoch 2: hidden_1.kernel",
    "0.0015 in the steps 17 to 22, 0.00075 in the steps 37 to 48",
)
class RateHalvedEachEpoch(Late):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(0.5 ** ((self.num_steps - 1) // STEPS_PER_EPOCH))


@planted(
    "data", "step 17, the first of epoch 2: its", "noise is added to the pixels, normal, of standard deviation 0.05"
)
class NoiseFromEpoch2(Late):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for number, (images, labels) in enumerate(super().batches(epoch)):
            noise = np.random.default_rng(number).normal(0, 0.05, images.shape) * (epoch > 0)
            yield np.asarray(images + noise, self.real), labels


@planted(
    "optimizer", "step 17, the first of epoch 2: hidden_1.kernel", "the step counter starts from 1 again in step 17"
)
class StepCounterRestarts(Late):
    """As where a checkpoint brings back the moments alone."""

    late = range(17, 10**6)

    def corrections(self) -> tuple[Any, Any]:
        own = self.num_steps
        self.num_steps = own - STEPS_PER_EPOCH if self.now else own
        found = super().corrections()
        self.num_steps = own
        return found


@planted(
    "data",
    "step 17, the first of epoch 2: its",
    "the images of epoch 2 are not shuffled: they come in the order of the data set",
)
class NotShuffledFromEpoch2(Late):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        images, size = np.arange(len(self.digits.x_train)), self.recipe.batch_size
        return np.split(images, range(size, len(images), size)) if epoch else super().order(epoch)


@planted(
    "optimizer",
    "step 17, the first of epoch 2, begins with another state",
    "the weights become 0.5 of their own and 0.5 of the initial ones",
)
class AveragedWithTheFirst(BetweenEpochs):
    def happens(self) -> None:
        self.parameters = {name: ((a + self.first[name]) / 2).astype(self.real) for name, a in self.parameters.items()}


@planted(
    "optimizer", "step 17, the first of epoch 2, begins with another state", "the weights are rounded to 3 decimals"
)
class WeightsThroughText(BetweenEpochs):
    def happens(self) -> None:
        self.parameters = {name: np.round(array, 3) for name, array in self.parameters.items()}


@planted(
    "optimizer",
    "step 17, the first of epoch 2, begins with another state",
    "the weights are changed between the epochs, as by a validation, a callback or a checkpoint",
)
class WeightsDisturbed(BetweenEpochs):
    """The state that the epoch itself begins with explains nothing."""

    def happens(self) -> None:
        noise = np.random.default_rng(0)
        self.parameters = {
            name: (a + noise.normal(0, 0.01, a.shape)).astype(self.real) for name, a in self.parameters.items()
        }
