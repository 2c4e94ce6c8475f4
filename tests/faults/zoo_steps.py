"""Faults of when an optimizer steps, with which gradient, with whose moments, and of what passes back to it."""

import numpy as np

from recipe.initial_weights import Weights
from recipe.recipe import KERAS_EPSILON
from tests.faults.zoo import ZOO, Array, Base, Labels, planted

__all__ = ["FILE", "ZOO"]

FILE = "zoo_steps.py"

KERNEL = "step 1: hidden_1.kernel at"
MOMENT = "step 1: first moment of hidden_1.kernel at"


@planted(
    "optimizer", MOMENT, "takes its first step in step 5: gradients of several batches are accumulated and averaged"
)
class AveragedOverFiveBatches(Base):
    def adam(self, gradients: Weights) -> None:
        self.kept = [*getattr(self, "kept", []), gradients]
        if len(self.kept) == 5:
            super().adam({name: self.real(0.2) * sum(one[name] for one in self.kept[::-1]) for name in gradients})
            self.kept = []


@planted(
    "optimizer",
    MOMENT,
    "steps before the backward pass, with the gradient of the batch before; in the first step nothing moves",
)
class StepsBeforeTheBackwardPass(Base):
    def adam(self, gradients: Weights) -> None:
        before, self.before = getattr(self, "before", None), gradients
        if before:
            super().adam(before)


@planted("optimizer", MOMENT, "with the gradient of the batch before; in the first step it has a gradient of zero")
class StepsBeforeTheBackwardPassWithZeros(Base):
    def adam(self, gradients: Weights) -> None:
        before = getattr(self, "before", {name: 0 * g for name, g in gradients.items()})
        self.before = gradients
        super().adam(before)


@planted("optimizer", MOMENT, "with the gradient of 2 batches before; in the first 2 steps nothing moves")
class TwoBatchesLate(Base):
    def adam(self, gradients: Weights) -> None:
        self.kept = [*getattr(self, "kept", []), gradients]
        if len(self.kept) == 3:
            super().adam(self.kept.pop(0))


@planted(
    "optimizer",
    "step 1: first moment of hidden_1.bias at",
    "parameters of one shape share their moments: hidden_1.bias, hidden_2.bias",
)
class MomentsByShape(Base):
    def adam(self, gradients: Weights) -> None:
        self.num_steps += 1
        kept: dict[tuple[int, ...], str] = {}
        for name, g in reversed(gradients.items()):
            for moments in (self.first_moments, self.second_moments):
                moments[name] = moments[kept.get(g.shape, name)]
            kept[g.shape] = name
            self.first_moments[name], self.second_moments[name] = (
                self.first_moment(name, g),
                self.second_moment(name, g),
            )
            self.parameters[name] = self.parameters[name] - self.update(name, g)
        for name, g in gradients.items():
            for moments in (self.first_moments, self.second_moments):
                moments[name] = moments[kept[g.shape]]


@planted(
    "optimizer",
    "step 1: hidden_1.bias at",
    "the step counter goes up once for every parameter tensor, not once in a step",
)
class CountedByTensor(Base):
    def adam(self, gradients: Weights) -> None:
        counted = getattr(self, "counted", 0)
        for name, g in gradients.items():
            counted += 1
            self.num_steps = counted
            self.first_moments[name], self.second_moments[name] = (
                self.first_moment(name, g),
                self.second_moment(name, g),
            )
            self.parameters[name] = self.parameters[name] - self.update(name, g)
        self.counted = counted


@planted("optimizer", KERNEL, "the bias correction of the second moment lacks its root")
class CorrectionWithoutItsRoot(Base):
    def corrections(self) -> tuple[Array, Array]:
        first, root = super().corrections()
        return first, root**2


@planted("optimizer", KERNEL, "the bias corrections have β₁ and β₂ the other way round")
class CorrectionsOfTheOtherBeta(Base):
    def corrections(self) -> tuple[Array, Array]:
        first, root = super().corrections()
        return root**2, np.sqrt(first)


@planted("optimizer", KERNEL, "the bias corrections multiply where they should divide")
class CorrectionsTheWrongWay(Base):
    def corrections(self) -> tuple[Array, Array]:
        first, root = super().corrections()
        return 1 / first, 1 / root


@planted("optimizer", KERNEL, "the optimizer is Nadam without a schedule of its momentum, not Adam")
class NadamWithoutASchedule(Base):
    def update(self, name: str, g: Array) -> Array:
        beta, t = self.recipe.adam_betas[0], self.num_steps
        looked = beta * self.first_moments[name] / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
        root = np.sqrt(self.second_moments[name]) + (self.recipe.epsilon or KERAS_EPSILON)
        return (self.recipe.learning_rate * self.corrections()[1] * looked / root).astype(self.real)


@planted(
    "gradients",
    "gradient of hidden_2.kernel",
    "the gradient passes ReLU where it is positive itself, not where the activation is",
)
class ReluOfTheGradient(Base):
    def passed(self, delta: Array, activations: Array) -> Array:
        return np.maximum(delta, 0)


@planted(
    "gradients",
    "gradient of hidden_2.kernel",
    "where it is positive itself, beside where the activation is: guided back-propagation",
)
class GuidedBackPropagation(Base):
    def passed(self, delta: Array, activations: Array) -> Array:
        return np.maximum(delta, 0) * (activations > 0)


@planted("gradients", "gradient of hidden_2.kernel", "each layer is updated before the gradient passes back through it")
class UpdatedOnTheWayBack(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        layers = list(activations)
        inputs = dict(zip(layers, [images, *activations.values()], strict=False))
        delta = self.delta(activations["output"], labels)
        gradients: Weights = {}
        steps = self.num_steps
        for layer in reversed(layers):
            own = {f"{layer}.kernel": inputs[layer].T @ delta, f"{layer}.bias": delta.sum(axis=0)}
            self.num_steps = steps
            super().adam(own)
            gradients = {**own, **gradients}
            delta = (delta @ self.parameters[f"{layer}.kernel"].T) * (inputs[layer] > 0)
        return gradients

    def adam(self, gradients: Weights) -> None:
        """All are updated."""


@planted(
    "gradients", "step 1: gradient of hidden_", "the gradient passes ReLU with the slope of the sigmoid, a·(1 − a)"
)
class SlopeOfTheSigmoid(Base):
    def passed(self, delta: Array, activations: Array) -> Array:
        return delta * activations * (1 - activations)


@planted("gradients", "step 1: gradient of hidden_", "the gradient passes ReLU with the slope of tanh, 1 − a²")
class SlopeOfTanh(Base):
    def passed(self, delta: Array, activations: Array) -> Array:
        return delta * (1 - activations * activations)


@planted(
    "gradients", "gradient of output.kernel", "the gradient is 4096 times too large: a loss scale", dtype="float32"
)
class SmallerLossScaleLeftIn(Base):
    def delta(self, probabilities: Array, labels: Labels) -> Array:
        return self.real(4096) * super().delta(probabilities, labels)


@planted(
    "gradients", "gradient of output.kernel", "the gradient is 65536 times too large: a loss scale", dtype="float64"
)
class LargerLossScaleLeftIn(Base):
    def delta(self, probabilities: Array, labels: Labels) -> Array:
        return self.real(65536) * super().delta(probabilities, labels)
