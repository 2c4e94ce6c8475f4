"""Faults of many kinds in losses, gradients and optimizers, one class each; see `tests/faults/zoo.py`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from recipe.initial_weights import Weights
from record.first_steps import Step
from tests.faults.zoo import ZOO, Array, Base, Labels, planted
from tests.faults.zoo_kinds import THREE, kind, softmax

__all__ = ["ZOO"]

# --- losses ----------------------------------------------------------------------------------------

LOSS = "step 1: loss"


def minimising(loss: Callable[[Array, Labels], Array], slopes: Callable[[Array, Labels], Array]) -> type[Base]:
    """A loss stated as its value for every image, and its derivative by the logits, both averaged over the batch."""

    class Minimising(Base):
        def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
            found = super().forward(images, labels)
            self.logits = found["preactivations"]["output"]
            return found

        def loss(self, z: Array, labels: Labels) -> float:
            return float(loss(z, labels).mean())

        def delta(self, probabilities: Array, labels: Labels) -> Array:
            return np.asarray(slopes(self.logits, labels) / len(labels), self.real)

    return Minimising


def one_hot(labels: Labels) -> Array:
    return np.eye(10)[labels]


def of_label(values: Array, labels: Labels) -> Array:
    return values[np.arange(len(labels)), labels]


def through_softmax(p: Array, slopes: Array) -> Array:
    """From ∂/∂probabilities to ∂/∂logits."""
    return p * (slopes - (slopes * p).sum(1, keepdims=True))


def cross_entropy(z: Array, labels: Labels) -> Array:
    return -of_label(np.log(softmax(z)), labels)


@kind("loss", LOSS, "the loss is binary cross-entropy of the logits, averaged over the classes")
class BinaryCrossEntropyOfLogits(  # type: ignore[misc]
    minimising(
        lambda z, y: (np.logaddexp(0, z) - one_hot(y) * z).mean(1), lambda z, y: (expit(z) - one_hot(y)) / z.shape[1]
    )
):
    pass


@kind("loss", LOSS, "the loss is binary cross-entropy of the probabilities, added up over the classes")
class BinaryCrossEntropyOfProbabilities(  # type: ignore[misc]
    minimising(
        lambda z, y: -np.where(one_hot(y) == 1, np.log(softmax(z)), np.log1p(-softmax(z))).sum(1),
        lambda z, y: through_softmax(softmax(z), np.where(one_hot(y) == 1, -1 / softmax(z), 1 / (1 - softmax(z)))),
    )
):
    pass


@kind("loss", LOSS, "the loss is the mean squared error of the probabilities, averaged over the classes")
class MeanSquaredError(  # type: ignore[misc]
    minimising(
        lambda z, y: ((softmax(z) - one_hot(y)) ** 2).mean(1),
        lambda z, y: through_softmax(softmax(z), 2 * (softmax(z) - one_hot(y)) / 10),
    )
):
    pass


@kind("loss", LOSS, "the loss is the mean squared error of the logits, averaged over the classes")
class MeanSquaredErrorOfLogits(  # type: ignore[misc]
    minimising(lambda z, y: ((z - one_hot(y)) ** 2).mean(1), lambda z, y: 2 * (z - one_hot(y)) / 10)
):
    pass


def focal(gamma: float) -> type[Base]:
    def slopes(z: Array, y: Labels) -> Array:
        p = of_label(softmax(z), y)[:, None]
        by_p = gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p
        return by_p * p * (one_hot(y) - softmax(z))

    return minimising(lambda z, y: (1 - of_label(softmax(z), y)) ** gamma * cross_entropy(z, y), slopes)


@kind("loss", LOSS, "the loss is focal, of γ = 2")
class FocalLossTrainedOn(focal(2)):  # type: ignore[misc]
    pass


@kind("loss", LOSS, "the loss is focal, of γ = 1.7")
class FocalLossOfAnotherGamma(focal(1.7)):  # type: ignore[misc]
    pass


class Weighted(Base):
    """Class weights, averaged as torch or as Keras does."""

    weights = np.ones(10)
    by_weights = True

    def each(self, labels: Labels) -> Array:
        weights = self.weights[labels]
        return weights / (weights.sum() if self.by_weights else len(labels))

    def loss(self, z: Array, labels: Labels) -> float:
        return float((self.each(labels) * cross_entropy(z, labels)).sum())

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        return np.asarray(self.each(labels)[:, None] * (probabilities - one_hot(labels)), self.real)


@kind("loss", LOSS, "divides by the weights of the batch's labels, as torch does (differences: class-weights-mean)")
class ClassWeightsOfTorch(Weighted):
    weights = np.array([1, 5, 1, 1, 1, 1, 1, 1, 1, 1])


@kind("loss", LOSS, "divides by the number of images, as Keras does (differences: class-weights-mean)")
class ClassWeightsOfKeras(Weighted):
    weights = np.array([1, 5, 1, 1, 1, 1, 1, 2, 1, 0.5])
    by_weights = False


@kind("loss", LOSS, "each image is held against every label of the batch: shapes are broadcast")
class LabelsBroadcast(  # type: ignore[misc]
    minimising(
        lambda z, y: -np.log(softmax(z))[:, y].mean(1), lambda z, y: softmax(z) - one_hot(y).mean(0, keepdims=True)
    )
):
    pass


@kind("loss", LOSS, "the loss takes other labels than the batch's for 2 of 32 images in step 1", dtype="float64")
class AFewLabelsWrongInTheLoss(  # type: ignore[misc]
    minimising(
        lambda z, y: cross_entropy(z, np.r_[(y[:2] + 3) % 10, y[2:]]),
        lambda z, y: softmax(z) - one_hot(np.r_[(y[:2] + 3) % 10, y[2:]]),
    )
):
    pass


def at_temperature(t: float) -> type[Base]:
    return minimising(lambda z, y: cross_entropy(z / t, y), lambda z, y: (softmax(z / t) - one_hot(y)) / t)


@kind("loss", LOSS, "the logits are divided by a temperature of 3 in the loss")
class TemperatureInTheLoss(at_temperature(3)):  # type: ignore[misc]
    pass


@kind("loss", LOSS, "0.01 times the negative entropy of the predictions is added: a confidence penalty")
class ConfidencePenalty(  # type: ignore[misc]
    minimising(
        lambda z, y: cross_entropy(z, y) + 0.01 * (softmax(z) * np.log(softmax(z))).sum(1),
        lambda z, y: softmax(z) - one_hot(y) + 0.01 * through_softmax(softmax(z), np.log(softmax(z)) + 1),
    )
):
    pass


def logsumexp(z: Array) -> Array:
    return np.log(np.exp(z).sum(1))


@kind("loss", LOSS, "0.001 times the squared log of the softmax's denominator is added: a z-loss")
class ZLoss(  # type: ignore[misc]
    minimising(
        lambda z, y: cross_entropy(z, y) + 1e-3 * logsumexp(z) ** 2,
        lambda z, y: softmax(z) - one_hot(y) + 2e-3 * logsumexp(z)[:, None] * softmax(z),
    )
):
    pass


class ActivityRegularised(Base):
    def forward(self, images: Array, labels: Labels) -> dict[str, Any]:
        found = super().forward(images, labels)
        return found | {
            "loss": found["loss"] + 1e-3 * float((found["activations"]["hidden_2"] ** 2).sum()) / len(labels)
        }


@kind("loss", LOSS, "0.001 times the squared activations of hidden_2 is added")
class ActivityPenalty(ActivityRegularised):
    pass


@kind("loss", LOSS, "4 times too large, as where the means of 4 microbatches are added up")
class MicrobatchesAddedUp(  # type: ignore[misc]
    minimising(lambda z, y: 4 * cross_entropy(z, y), lambda z, y: 4 * (softmax(z) - one_hot(y)))
):
    pass


@kind("loss", LOSS, "the loss is computed after the step's update")
class LossAfterTheUpdate(Base):
    def take_step(self, images: Array, labels: Labels) -> Step:
        import dataclasses

        step = super().take_step(images, labels)
        return dataclasses.replace(step, loss=super().forward(images, labels)["loss"])


@kind("loss", "loss", "1e-05 is added to the probabilities before the logarithm")
class EpsilonInTheLogarithm(  # type: ignore[misc]
    minimising(
        lambda z, y: -np.log(of_label(softmax(z), y) + 1e-5),
        lambda z, y: (of_label(softmax(z), y) / (of_label(softmax(z), y) + 1e-5))[:, None] * (softmax(z) - one_hot(y)),
    )
):
    pass


# --- gradients -------------------------------------------------------------------------------------


def changing_gradients(change: Callable[[Base, Weights], Weights]) -> type[Base]:
    class Changing(Base):
        def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
            found = change(self, super().backward(images, labels, activations))
            return {name: np.asarray(array, self.real) for name, array in found.items()}

    return Changing


@kind(
    "gradients",
    "gradient of hidden_2.kernel",
    "0.1 times what it should be (of hidden_2.kernel and hidden_2.bias only)",
)
class OneLayersGradientATenth(  # type: ignore[misc]
    changing_gradients(lambda net, g: {n: a * 0.1 if n.startswith("hidden_2") else a for n, a in g.items()})
):
    pass


@kind("gradients", "gradient of output.kernel", "the gradient of each parameter is clipped to a norm of 0.1")
class EachGradientsNormClipped(  # type: ignore[misc]
    changing_gradients(
        lambda net, g: {n: a * min(1, 0.1 / float(np.linalg.norm(a.astype(float)))) for n, a in g.items()}
    )
):
    pass


@kind("gradients", "gradient of output.kernel", "a loss scale that is not taken out again (differences: loss-scale)")
class LossScaleLeftIn(changing_gradients(lambda net, g: {n: a * 65536 for n, a in g.items()})):  # type: ignore[misc]
    pass


@kind("gradients", "gradient of hidden_2.kernel", "gradient centralisation")
class GradientsCentralised(  # type: ignore[misc]
    changing_gradients(lambda net, g: {n: a - a.mean(0) if n == "hidden_2.kernel" else a for n, a in g.items()})
):
    pass


@kind("gradients", "gradient of output.kernel", "an L2 penalty adds 0.001 times the weights to the gradient")
class DecayInTheGradient(  # type: ignore[misc]
    changing_gradients(
        lambda net, g: {n: a + 1e-3 * net.parameters[n] if n.endswith("kernel") else a for n, a in g.items()}
    )
):
    pass


@kind("gradients", "step 4: gradient of output.kernel", "step 4 only: the step is skipped")
class GradientsOfOneStepZero(  # type: ignore[misc]
    changing_gradients(lambda net, g: {n: 0 * a if net.num_steps == 3 else a for n, a in g.items()})
):
    pass


@kind("gradients", "gradient of hidden_2.kernel", "the gradient passes the ReLU of hidden_2 as if it were not there")
class GradientPassesRelu(Base):
    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        found = super().backward(images, labels, activations)
        delta = self.delta(activations["output"], labels) @ self.parameters["output.kernel"].T
        found |= {"hidden_2.kernel": activations["hidden_1"].T @ delta, "hidden_2.bias": delta.sum(0)}
        delta = (delta @ self.parameters["hidden_2.kernel"].T) * (activations["hidden_1"] > 0)
        return found | {"hidden_1.kernel": images.T @ delta, "hidden_1.bias": delta.sum(0)}


@kind("gradients", "gradient of output.kernel", "only the last of 2 equal parts of the batch counts")
class OnlyTheLastMicrobatch(Base):
    def delta(self, probabilities: Array, labels: Labels) -> Array:
        last = np.arange(len(labels))[:, None] >= len(labels) // 2
        return super().delta(probabilities, labels) * last * self.real(2)


@kind("gradients", "gradient of output.kernel", "the gradients of 2 batches are accumulated, each divided by 2")
class GradientsOfTwoBatches(Base):
    kept: Weights

    def backward(self, images: Array, labels: Labels, activations: Weights) -> Weights:
        half = {name: g / 2 for name, g in super().backward(images, labels, activations).items()}
        if self.num_steps % 2:
            half = {name: g + self.kept[name] for name, g in half.items()}
        self.kept = half
        return half


# --- optimizers ------------------------------------------------------------------------------------

KERNEL = "hidden_1.kernel"


def optimizing(step: Callable[["Optimizing", str, Array], Array]) -> type[Base]:
    class Special(Optimizing):
        def update_of(self, name: str, g: Array) -> Array:
            return step(self, name, g)

    return Special


class Optimizing(Base):
    """Another optimizer, which keeps Adam's moments beside it or none."""

    keeps_moments = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kept: dict[str, dict[str, Array]] = {name: {} for name in self.parameters}

    def smooth(self, name: str, key: str, value: Array, rate: float) -> Array:
        kept = self.kept[name]
        kept[key] = rate * kept.get(key, 0 * value) + (1 - rate) * value
        return kept[key]

    def update_of(self, name: str, g: Array) -> Array:
        raise NotImplementedError

    def adam(self, gradients: Weights) -> None:
        self.num_steps += 1
        for name, gradient in gradients.items():
            g = gradient.astype(float)
            if self.keeps_moments:
                self.first_moments[name] = self.first_moment(name, gradient)
                self.second_moments[name] = self.second_moment(name, gradient)
            update = np.asarray(self.update_of(name, g), self.real)
            self.parameters[name] = self.parameters[name] - update


def adadelta(net: Optimizing, name: str, g: Array) -> Array:
    v = net.smooth(name, "v", g * g, 0.95)
    update = np.sqrt(net.kept[name].get("d", 0 * g) + 1e-7) / np.sqrt(v + 1e-7) * g
    net.smooth(name, "d", update**2, 0.95)
    return update


@kind("optimizer", KERNEL, "not Adam: Adadelta of ρ = 0.95 and ε = 1e-07")
class AdadeltaForAdam(optimizing(adadelta)):  # type: ignore[misc]
    """Whose two accumulators are recorded as Adam's moments."""

    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        self.first_moments = {name: np.asarray(kept["d"], self.real) for name, kept in self.kept.items()}
        self.second_moments = {name: np.asarray(kept["v"], self.real) for name, kept in self.kept.items()}


def momentum(net: Optimizing, name: str, g: Array) -> Array:
    net.kept[name]["m"] = 0.9 * net.kept[name].get("m", 0 * g) + g
    return 0.01 * net.kept[name]["m"]


@kind("optimizer", KERNEL, "not Adam: SGD with momentum 0.9 with a learning rate of 0.01")
class SgdWithZeroMoments(optimizing(momentum)):  # type: ignore[misc]
    pass


@kind("optimizer", KERNEL, "not Adam: SGD with momentum 0.9 with a learning rate of 0.01 and weight decay of 0.0005")
class SgdWithDecay(  # type: ignore[misc]
    optimizing(lambda net, name, g: momentum(net, name, g + 5e-4 * net.parameters[name]))
):
    pass


def rmsprop(net: Optimizing, name: str, g: Array) -> Array:
    return 1e-3 * g / (np.sqrt(net.smooth(name, "v", g * g, 0.99)) + 1e-8)


@kind("optimizer", KERNEL, "not Adam: RMSprop of ρ = 0.99 and ε = 1e-08 with a learning rate of 0.001")
class RmspropForAdam(optimizing(rmsprop)):  # type: ignore[misc]
    pass


def adagrad(net: Optimizing, name: str, g: Array) -> Array:
    net.kept[name]["v"] = net.kept[name].get("v", 0.1 + 0 * g) + g * g
    return 1e-2 * g / np.sqrt(net.kept[name]["v"] + 1e-7)


@kind("optimizer", KERNEL, "not Adam: Adagrad from 0.1")
class AdagradForAdam(optimizing(adagrad)):  # type: ignore[misc]
    pass


def adamax(net: Optimizing, name: str, g: Array) -> Array:
    m = net.smooth(name, "m", g, 0.9)
    kept = net.kept[name]
    kept["u"] = np.maximum(0.999 * kept.get("u", 0 * g), np.abs(g))
    return 1e-3 / (1 - 0.9**net.num_steps) * m / (kept["u"] + 1e-7)


@kind("optimizer", KERNEL, "not Adam: Adamax of β₁ = 0.9, β₂ = 0.999")
class AdamaxForAdam(optimizing(adamax)):  # type: ignore[misc]
    """The largest gradient so far is recorded as the second moment."""

    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        self.first_moments = {name: np.asarray(kept["m"], self.real) for name, kept in self.kept.items()}
        self.second_moments = {name: np.asarray(kept["u"], self.real) for name, kept in self.kept.items()}


def lion(net: Optimizing, name: str, g: Array) -> Array:
    m = net.kept[name].get("m", 0 * g)
    net.kept[name]["m"] = 0.99 * m + 0.01 * g
    return 1e-4 * np.sign(0.9 * m + 0.1 * g)


@kind("optimizer", KERNEL, "not Adam: Lion of β = 0.9 and 0.99 with a learning rate of 0.0001")
class LionForAdam(optimizing(lion)):  # type: ignore[misc]
    pass


class Alike(Optimizing):
    """An optimizer that keeps Adam's moments."""

    keeps_moments = True
    rate = 1e-3
    epsilon = 1e-8

    @property
    def t(self) -> int:
        return self.num_steps

    def moments(self, name: str) -> tuple[Array, Array]:
        return self.first_moments[name].astype(float), self.second_moments[name].astype(float)


@kind("optimizer", KERNEL, "the optimizer is NAdam as torch has it, not Adam")
class NAdamOfTorch(Alike):
    def update_of(self, name: str, g: Array) -> Array:
        m, v = self.moments(name)
        beta = self.recipe.adam_betas
        mu = [beta[0] * (1 - 0.5 * 0.96 ** (k * 4e-3)) for k in range(1, self.t + 2)]
        product = np.prod(mu[:-1])
        looked = (1 - mu[-2]) / (1 - product) * g + mu[-1] / (1 - product * mu[-1]) * m
        return self.rate * looked / (np.sqrt(v / (1 - beta[1] ** self.t)) + self.epsilon)


@kind("optimizer", KERNEL, "the optimizer is RAdam as torch has it, not Adam")
class RAdamOfTorch(Alike):
    def update_of(self, name: str, g: Array) -> Array:
        m, v = self.moments(name)
        beta_1, beta_2 = self.recipe.adam_betas
        power = beta_2**self.t
        most = 2 / (1 - beta_2) - 1
        length = most - 2 * self.t * power / (1 - power)
        mean = self.rate * m / (1 - beta_1**self.t)
        if length <= 5:
            return mean
        rectified = np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
        return mean * rectified * np.sqrt(1 - power) / (np.sqrt(v) + self.epsilon)


class Torchs(Alike):
    decay = 0.0
    largest: dict[str, Array]

    def update_of(self, name: str, g: Array) -> Array:
        m, v = self.moments(name)
        beta_1, beta_2 = self.recipe.adam_betas
        v = self.of_second(name, v)
        update = self.rate / (1 - beta_1**self.t) * m / (np.sqrt(v / (1 - beta_2**self.t)) + self.epsilon)
        return update + self.rate * self.decay * self.parameters[name]

    def of_second(self, name: str, v: Array) -> Array:
        return v


@kind("optimizer", KERNEL, "decoupled weight decay of 0.01 (AdamW), in torch's form with ε = 1e-08")
class AdamWOfTorch(Torchs):
    decay = 0.01


@kind("optimizer", KERNEL, "the largest second moment so far is used (AMSGrad), in torch's form with ε = 1e-08")
class AmsGradOfTorch(Torchs):
    def of_second(self, name: str, v: Array) -> Array:
        self.kept[name]["largest"] = np.maximum(self.kept[name].get("largest", v), v)
        return self.kept[name]["largest"]


@kind("optimizer", KERNEL, "ε is added inside the root, √(v + ε), not behind it")
class EpsilonInsideTheRoot(Alike):
    def update_of(self, name: str, g: Array) -> Array:
        m, v = self.moments(name)
        beta_1, beta_2 = self.recipe.adam_betas
        return self.rate * np.sqrt(1 - beta_2**self.t) / (1 - beta_1**self.t) * m / np.sqrt(v + 1e-7)


@kind("optimizer", KERNEL, "the optimizer takes 2 steps with the gradient of each batch")
class TwoStepsPerBatch(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        super().adam(gradients)


@kind("optimizer", "step 6: first moment", "step 6 is skipped: moments and parameters stay as they were")
class StepSkipped(Base):
    skipped = False

    def adam(self, gradients: Weights) -> None:
        if self.num_steps == 5 and not self.skipped:
            self.skipped = True
        else:
            super().adam(gradients)


@kind("optimizer", "step 6: hidden_1.kernel", "the learning rate is 0.0005 instead of 0.001, from step 6 on")
class LearningRateHalvedInStepSix(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(0.5 if self.num_steps >= 6 else 1)


@kind("optimizer", KERNEL, "the learning rate changes from step to step, by a factor of 0.9 each")
class LearningRateDecaysEachStep(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(0.9 ** (self.num_steps - 1))


@kind(
    "optimizer", "step 1: hidden_2.kernel", "the learning rate is 0.0001 instead of 0.001 (of hidden_2.kernel", **THREE
)
class OneLayersLearningRate(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(0.1 if name.startswith("hidden_2") else 1)


@kind("optimizer", "step 1: hidden_1.kernel", "the parameters go up the gradient: the update has the wrong sign")
class GradientAscent(Base):
    def update(self, name: str, g: Array) -> Array:
        return -super().update(name, g)


@planted("optimizer", "step 1: second moment", "the second moment is that of AdaBelief", dtype="float64")
class AdaBelief(Base):
    def second_moment(self, name: str, g: Array) -> Array:
        return super().second_moment(name, g - self.first_moments[name])


@planted(
    "optimizer", "step 1: first moment of hidden_1.kernel", "β₁ is 0.95 instead of 0.9; β₂ is 0.99 instead of 0.999"
)
class BothBetasWrong(Base):
    betas = (0.95, 0.99)

    def adam(self, gradients: Weights) -> None:
        import dataclasses

        self.recipe = dataclasses.replace(self.stated, beta_1=0.95, beta_2=0.99)
        super().adam(gradients)
        self.recipe = self.stated
