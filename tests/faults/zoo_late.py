"""Faults that begin late, or act on a part of a batch, a layer or the parameters; see `tests/faults/zoo.py`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from record.first_steps import Step
from tests.faults.layered import Layered
from tests.faults.zoo import Array, Base, Labels, Weights
from tests.faults.zoo_kinds import CNN, kind

FILE = "zoo_late.py"

# --- data ------------------------------------------------------------------------------------------


class Late(Base):
    """Batches that are changed from the fourth on."""

    def changed(self, number: int, images: Array, labels: Labels) -> tuple[Array, Labels]:
        return images, labels

    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for number, (images, labels) in enumerate(super().batches(epoch), 1):
            yield self.changed(number, images, labels)


@kind("data", "batch 4 of epoch 1", "the labels are those of the batch before, from batch 4 on", whole_epoch=True)
class LabelsOfTheBatchBefore(Late):
    def changed(self, number: int, images: Array, labels: Labels) -> tuple[Array, Labels]:
        self.held, labels = labels, self.held if number >= 4 else labels
        return images, labels


@kind("data", "batch 4 of epoch 1", "only the first 16 of the 32 images of a batch are fed from batch 4 on")
class HalfABatch(Late):
    def changed(self, number: int, images: Array, labels: Labels) -> tuple[Array, Labels]:
        return (images[:16], labels[:16]) if number >= 4 else (images, labels)


@kind("data", "batch 3 of epoch 1", "the images are upside down in the batches 3, 6, 9")
class EveryThirdBatchTurned(Late):
    def changed(self, number: int, images: Array, labels: Labels) -> tuple[Array, Labels]:
        turned = images.reshape(len(images), 28, 28)[:, ::-1].reshape(images.shape)
        return (images if number % 3 else turned), labels


# --- the forward pass ------------------------------------------------------------------------------


@kind("forward", "step 1: pre-activations of hidden_1", "the units are moved on by 8, the last ones becoming the first")
class UnitsMovedOn(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        z = super().dense(layer, inputs)
        return np.roll(z, 8, axis=1) if layer == "hidden_1" else z


@kind("forward", "step 6: pre-activations of hidden_2", "only the first half of what the layer is fed counts")
class HalfOfTheInputs(Base):
    def dense(self, layer: str, inputs: Array) -> Array:
        if layer == "hidden_2" and self.num_steps >= 5:
            inputs = inputs * (np.arange(inputs.shape[1]) < inputs.shape[1] // 2)
        return super().dense(layer, inputs)


@kind("forward", "pre-activations of convolution_2", "moved by +1 rows and +1 columns, zeros coming in", **CNN)
class MapsMoved(Layered):
    def convolve(self, layer: str, maps: Array) -> Array:
        if layer == "convolution_2":
            maps = np.pad(maps, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :-1, :-1]
        return super().convolve(layer, maps)


@kind(
    "forward", "step 6: pre-activations of hidden_1", "the layer uses the parameters after step 3: they have been put"
)
class OlderParameters(Base):
    def take_step(self, images: Array, labels: Labels) -> Step:
        if self.num_steps == 3:
            self.saved: Weights = dict(self.parameters)
        if self.num_steps == 5:
            self.parameters = dict(self.saved)
        return super().take_step(images, labels)


@kind(
    "forward",
    "agreement of two",
    "the masks of the second half of a batch are those of the first half",
    dropout=0.2,
    dropout_masks="framework",
)
class MasksOfHalves(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        kept, scale = super().mask_numbers(layer, num_images)
        return np.concatenate([kept[: num_images // 2]] * 2), scale


# --- the loss --------------------------------------------------------------------------------------


@kind("loss", "step 5: loss", "the loss takes the label of the image before in the batch, from step 5 on")
class LabelsOfNeighbours(Base):
    def rolled(self, labels: Labels) -> Labels:
        return np.roll(labels, 1) if self.num_steps >= 4 else labels

    def loss(self, logits: Array, labels: Labels) -> float:
        return float(super().loss(logits, self.rolled(labels)))

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        return super().delta(probabilities, self.rolled(labels))


# --- the optimizer ---------------------------------------------------------------------------------


@kind("optimizer", "step 1: first moment of hidden_1", "neither moments nor parameters move in the steps 1, 2, 3; the")
class FrozenForThreeSteps(Base):
    def adam(self, gradients: Weights) -> None:
        frozen = "hidden_1" if self.num_steps < 3 else "nothing"
        super().adam({name: g for name, g in gradients.items() if not name.startswith(frozen)})


@kind("optimizer", "first moment of", "move in the steps 1, 3, 5, 7, 9; the step counter stops")
class BiasesInEverySecondStep(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam({name: g for name, g in gradients.items() if name.endswith("kernel")})
        count = self.num_steps
        if count % 2 == 0:
            self.num_steps = count // 2 - 1
            super().adam({name: g for name, g in gradients.items() if name.endswith("bias")})
        self.num_steps = count


@kind("optimizer", "step 5: ", "the bias correction stays that of step 4 in all later steps")
class CorrectionStays(Base):
    def corrections(self) -> tuple[Any, Any]:
        count, self.num_steps = self.num_steps, min(self.num_steps, 4)
        found = super().corrections()
        self.num_steps = count
        return found


@kind("optimizer", "step 1: ", "ε is a floor: the update is divided by the larger of the root and ε", epsilon=1e-3)
class EpsilonIsAFloor(Base):
    def update(self, name: str, g: Array) -> Array:
        first, second = self.corrections()
        root = np.maximum(np.sqrt(self.second_moments[name]), self.real(self.recipe.epsilon))
        return self.real(self.recipe.learning_rate) * second / first * self.first_moments[name] / root


class Afterwards(Base):
    """Parameters that are changed after the update, from the fifth step on."""

    def afterwards(self) -> None:
        raise NotImplementedError

    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        if self.num_steps >= 5:
            self.afterwards()


@kind("optimizer", "step 5: output.kernel", "after the update the parameter is put back to its initial numbers")
class OutputPutBack(Afterwards):
    def afterwards(self) -> None:
        if self.num_steps == 5:
            self.parameters["output.kernel"] = self.first_kernel

    def take_step(self, images: Array, labels: Labels) -> Step:
        if not self.num_steps:
            self.first_kernel = self.parameters["output.kernel"]
        return super().take_step(images, labels)


@kind(
    "optimizer", "step 5: hidden_2.kernel", "0.25 of the parameter's numbers are set to zero after the update: pruned"
)
class UnitsPruned(Afterwards):
    def afterwards(self) -> None:
        kernel = self.parameters["hidden_2.kernel"].copy()
        kernel[:, :8] = 0
        self.parameters["hidden_2.kernel"] = kernel


@kind("optimizer", "step 5: ", "the parameter is rounded to multiples of 2^-12: it is kept in fixed point")
class InFixedPoint(Afterwards):
    def afterwards(self) -> None:
        unit = self.real(2.0**-12)
        self.parameters = {name: np.round(array / unit) * unit for name, array in self.parameters.items()}


@kind(
    "data", "batch 4 of epoch 1", "8 of the 32 images of a batch are other ones of the training set in the batches 4, 8"
)
class SomeImagesOfTheNextBatch(Base):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        before: tuple[Array, Labels] | None = None
        for number, (images, labels) in enumerate(super().batches(epoch)):
            if before is not None:
                mixed = np.concatenate([before[0][:24], images[24:]]) if number in (4, 8) else before[0]
                yield mixed, before[1]
            before = images, labels
        if before is not None:
            yield before


@kind("forward", "passes on of hidden_1", "the masks are the recipe's, in reverse order of the images", dropout=0.2)
class MasksReversed(Layered):
    def mask_numbers(self, layer: str, num_images: int) -> tuple[NDArray[np.bool_], float]:
        kept, scale = super().mask_numbers(layer, num_images)
        return kept[::-1], scale


# --- initial weights -------------------------------------------------------------------------------


@kind("initial_weights", "hidden_1.kernel at", "added to the weights into each unit: their mean is taken off")
class InitialKernelsCentred(Base):
    def initial(self, name: str, array: Array) -> Array:
        return array - array.mean(axis=0) if name.endswith("kernel") else array


@kind("initial_weights", "hidden_2.kernel at", "has a number of its own added to the weights out of each input")
class InitialRowsShifted(Base):
    def initial(self, name: str, array: Array) -> Array:
        rows = np.arange(len(array))[:, None] / 100
        return array + rows.astype(array.dtype) if name == "hidden_2.kernel" else array
