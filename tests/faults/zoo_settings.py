"""More faults in losses, gradients and optimizers, with settings that are no default; see `tests/faults/zoo.py`."""

from typing import Any

import numpy as np
from scipy.special import expit

from recipe.initial_weights import Weights
from tests.faults.zoo import ZOO, Array, Base, Labels, planted, rounded_to_bfloat16
from tests.faults.zoo_kinds import kind, softmax
from tests.faults.zoo_training import (
    KERNEL,
    LOSS,
    Alike,
    NAdamOfTorch,
    Optimizing,
    Torchs,
    Weighted,
    changing_gradients,
    cross_entropy,
    minimising,
    momentum,
    of_label,
    one_hot,
    optimizing,
    through_softmax,
)

__all__ = ["ZOO"]

# --- losses ----------------------------------------------------------------------------------------


def softplus(z: Array) -> Array:
    return np.logaddexp(0, z)


@kind("loss", LOSS, "binary cross-entropy of the logits with a pos_weight of 9, averaged over the classes")
class PositiveWeight(  # type: ignore[misc]
    minimising(
        lambda z, y: (9 * one_hot(y) * softplus(-z) + (1 - one_hot(y)) * softplus(z)).mean(1),
        lambda z, y: (np.where(one_hot(y) == 1, 9 * (expit(z) - 1), expit(z))) / 10,
    )
):
    pass


def focal_of_sigmoids(z: Array, y: Labels) -> Array:
    p = np.where(one_hot(y) == 1, expit(z), expit(-z))
    return np.where(one_hot(y) == 1, 0.25, 0.75) * (1 - p) ** 2 * -np.log(p)


def slopes_of_sigmoids(z: Array, y: Labels) -> Array:
    p, sign = np.where(one_hot(y) == 1, expit(z), expit(-z)), 2 * one_hot(y) - 1
    by_p = 2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p
    return np.where(one_hot(y) == 1, 0.25, 0.75) * by_p * p * (1 - p) * sign


@kind("loss", LOSS, "the focal loss of the sigmoids, of γ = 2 and α = 0.25, averaged over the classes")
class FocalLossOfSigmoids(  # type: ignore[misc]
    minimising(lambda z, y: focal_of_sigmoids(z, y).mean(1), lambda z, y: slopes_of_sigmoids(z, y) / 10)
):
    pass


@kind("loss", LOSS, "the loss is the KL divergence from labels smoothed by 0.1")
class DivergenceFromSmoothedLabels(  # type: ignore[misc]
    minimising(
        lambda z, y: (
            -(np.log(softmax(z)) * (0.9 * one_hot(y) + 0.01)).sum(1) + 0.91 * np.log(0.91) + 0.09 * np.log(0.01)
        ),
        lambda z, y: softmax(z) - 0.9 * one_hot(y) - 0.01,
    )
):
    pass


@kind("loss", LOSS, "0.05 of the loss is the entropy of the predictions: soft bootstrapping")
class SoftBootstrapping(  # type: ignore[misc]
    minimising(
        lambda z, y: -((0.95 * one_hot(y) + 0.05 * softmax(z)) * np.log(softmax(z))).sum(1),
        lambda z, y: 0.95 * (softmax(z) - one_hot(y)) - 0.05 * through_softmax(softmax(z), np.log(softmax(z)) + 1),
    )
):
    pass


@kind("loss", LOSS, "class 0 0, the others 1")
class OneClassIgnored(Weighted):
    """As `ignore_index` has it."""

    weights = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])


@kind("loss", LOSS, "class 0 1, class 1 1.1, class 2 1.2, class 3 1.3, class 4 1.4, class 5 1.5", dtype="float64")
class ClassWeightsOfALine(Weighted):
    """Whose ratios to the usual one are not round, but to the least."""

    weights = 1 + np.arange(10) / 10


@kind("loss", LOSS, "every class of the batch counts as much: the mean of the classes' means")
class ClassesCountAlike(Weighted):
    def each(self, labels: Labels) -> Array:
        return 1 / np.bincount(labels, minlength=10)[labels] / len(set(labels.tolist()))


@kind("loss", LOSS, "24 of 0.889, 8 of 1.33")
class UnequalMicrobatches(Weighted):
    """Of 12, 12 and 8 images, whose means are averaged."""

    def each(self, labels: Labels) -> Array:
        return np.repeat([1 / 36, 1 / 24], [24, 8])


def shared_labels(labels: Labels) -> Array:
    return 0.8 * one_hot(labels) + 0.2 * one_hot(np.roll(labels, 1))


@kind("loss", LOSS, "soft labels, shares of classes: up to 0.2 of another class, as mixup", hidden_sizes=(32, 128))
class LabelsMixed(  # type: ignore[misc]
    minimising(lambda z, y: -(shared_labels(y) * np.log(softmax(z))).sum(1), lambda z, y: softmax(z) - shared_labels(y))
):
    """Told where the output layer has more inputs than a batch has images."""


class DiceLoss(Base):
    def loss(self, z: Array, labels: Labels) -> float:
        p = softmax(z.astype(float))
        return float(1 - 2 * (p * one_hot(labels)).sum() / ((p**2).sum() + len(labels)))

    def delta(self, probabilities: Array, labels: Labels) -> Array:
        p = probabilities.astype(float)
        above, below = 2 * (p * one_hot(labels)).sum(), (p**2).sum() + len(labels)
        return through_softmax(p, -2 * one_hot(labels) / below + above * 2 * p / below**2).astype(self.real)


@kind("loss", LOSS, "the loss is 1 − the Dice coefficient of the whole batch, of squares")
class DiceOfTheBatch(DiceLoss):
    pass


@kind("loss", LOSS, "the loss is the Huber loss (smooth L1) of the probabilities, averaged over the classes")
class HuberLoss(  # type: ignore[misc]
    minimising(
        lambda z, y: ((softmax(z) - one_hot(y)) ** 2 / 2).mean(1),
        lambda z, y: through_softmax(softmax(z), (softmax(z) - one_hot(y)) / 10),
    )
):
    pass


@kind("loss", LOSS, "0.001 times the sum of the logits' magnitudes is added")
class LogitPenalty(  # type: ignore[misc]
    minimising(
        lambda z, y: cross_entropy(z, y) + 1e-3 * np.abs(z).sum(1),
        lambda z, y: softmax(z) - one_hot(y) + 1e-3 * np.sign(z),
    )
):
    pass


@kind("loss", LOSS, "the loss is focal, of γ = 2, whose factor is detached")
class FocalFactorDetached(  # type: ignore[misc]
    minimising(
        lambda z, y: (1 - of_label(softmax(z), y)) ** 2 * cross_entropy(z, y),
        lambda z, y: ((1 - of_label(softmax(z), y)) ** 2)[:, None] * (softmax(z) - one_hot(y)),
    )
):
    pass


# --- gradients -------------------------------------------------------------------------------------


def kernels_clipped(net: Base, gradients: Weights) -> Weights:
    kernels = {name: g.astype(float) for name, g in gradients.items() if name.endswith("kernel")}
    factor = min(1, 0.3 / np.sqrt(sum(float((g**2).sum()) for g in kernels.values())))
    return gradients | {name: g * factor for name, g in kernels.items()}


@kind("gradients", "gradient of output.kernel", "gradients are clipped to a norm of 0.3, which counts output.kernel,")
class KernelsClippedTogether(changing_gradients(kernels_clipped)):  # type: ignore[misc]
    pass


def clipped_by_unit(net: Base, gradients: Weights) -> Weights:
    found = dict(gradients)
    for name, g in gradients.items():
        if g.ndim > 1:
            weights = np.maximum(np.linalg.norm(net.parameters[name].astype(float), axis=0), 1e-3)
            found[name] = g * np.minimum(1, 0.01 * weights / np.linalg.norm(g.astype(float), axis=0).clip(1e-6))
    return found


@kind("gradients", "gradient of output.kernel", "clipped to 0.01 of the norm of its weights: adaptive clipping")
class AdaptiveClipping(changing_gradients(clipped_by_unit)):  # type: ignore[misc]
    pass


@kind(
    "gradients", "gradient of output.kernel", "gradients are clipped to ±0.005 (of output.kernel and output.bias only)"
)
class OutputClippedByValue(  # type: ignore[misc]
    changing_gradients(
        lambda net, g: {n: np.clip(a, -0.005, 0.005) if n.startswith("output") else a for n, a in g.items()}
    )
):
    pass


@kind("gradients", "gradient of output.kernel", "entries are zero: only the largest")
class LargestEntriesAlone(  # type: ignore[misc]
    changing_gradients(
        lambda net, g: {n: np.where(np.abs(a) >= np.quantile(np.abs(a), 0.9), a, 0) for n, a in g.items()}
    )
):
    pass


def with_less_noise(net: Base, gradients: Weights) -> Weights:
    random, size = np.random.default_rng(net.num_steps), 0.01 / (1 + net.num_steps) ** 0.55
    return {name: g + random.normal(size=g.shape) * size for name, g in gradients.items()}


@kind("gradients", "gradient of output.kernel", "normal noise of a standard deviation of its own in every step")
class AnnealedNoise(changing_gradients(with_less_noise)):  # type: ignore[misc]
    pass


# --- optimizers ------------------------------------------------------------------------------------


def damped(net: Optimizing, name: str, g: Array) -> Array:
    kept = net.kept[name]
    kept["m"] = 0.85 * kept["m"] + 0.5 * g if "m" in kept else g
    return 0.05 * kept["m"]


@kind("optimizer", KERNEL, "not Adam: SGD with momentum 0.85 and dampening 0.5 with a learning rate of 0.05")
class DampedMomentum(optimizing(damped)):  # type: ignore[misc]
    pass


@kind("optimizer", KERNEL, "not Adam: SGD with momentum 0.9 with a learning rate that changes from step to step: 0.01,")
class MomentumWithSchedule(  # type: ignore[misc]
    optimizing(lambda net, name, g: momentum(net, name, g) * (1 + np.cos(np.pi * (net.num_steps - 1) / 20)) / 2)
):
    pass


@kind(
    "optimizer", KERNEL, "with a learning rate of 0.01 and weight decay of 0.001 of the kernels, added to the gradient"
)
class MomentumDecaysKernels(  # type: ignore[misc]
    optimizing(lambda net, name, g: momentum(net, name, g + 1e-3 * net.parameters[name] * name.endswith(".kernel")))
):
    pass


def resilient(net: Optimizing, name: str, g: Array) -> Array:
    kept = net.kept[name]
    same = np.sign(g * kept.get("g", 0 * g))
    kept["size"] = kept.get("size", 1e-3 + 0 * g) * np.choose(same.astype(int) + 1, (0.5, 1, 1.2))
    kept["g"] = np.where(same < 0, 0, g)
    return np.sign(kept["g"]) * kept["size"]


@kind("optimizer", KERNEL, "not Adam: Rprop with a learning rate of 0.001")
class RpropForAdam(optimizing(resilient)):  # type: ignore[misc]
    pass


def decaying_adagrad(net: Optimizing, name: str, g: Array) -> Array:
    kept = net.kept[name]
    kept["v"] = kept.get("v", 0 * g) + g * g
    return 1e-2 / (1 + 0.1 * (net.num_steps - 1)) * g / (np.sqrt(kept["v"]) + 1e-10)


@kind("optimizer", KERNEL, "with a learning rate that changes from step to step: 0.01, 0.009091, 0.008333")
class AdagradWithDecay(optimizing(decaying_adagrad)):  # type: ignore[misc]
    pass


def followed(net: Optimizing, name: str, g: Array) -> Array:
    """FTRL (McMahan et al. 2013), by its closed form."""
    kept, rate = net.kept[name], 1e-3
    weights, before = net.parameters[name].astype(float), kept.get("n", 0.1 + 0 * g)
    kept["n"] = before + g * g
    kept["z"] = kept.get("z", 0 * g) + g - (np.sqrt(kept["n"]) - np.sqrt(before)) / rate * weights
    return weights + rate * kept["z"] / np.sqrt(kept["n"])


@kind("optimizer", KERNEL, "not Adam: FTRL with a learning rate of 0.001")
class FtrlForAdam(optimizing(followed)):  # type: ignore[misc]
    pass


@kind("optimizer", KERNEL, "as LAMB does")
class LambForAdam(Alike):
    def update_of(self, name: str, g: Array) -> Array:
        (m, v), (beta_1, beta_2) = self.moments(name), self.recipe.adam_betas
        update = m / (1 - beta_1**self.t) / (np.sqrt(v / (1 - beta_2**self.t)) + 1e-7)
        norms = np.linalg.norm(self.parameters[name].astype(float)), np.linalg.norm(update)
        return self.rate * update * (norms[0] / norms[1] if all(norms) else 1.0)


@kind(
    "optimizer",
    KERNEL,
    "hidden_1.kernel, hidden_2.kernel, output.kernel: decoupled weight decay of 0.1 (AdamW)",
    dtype="float64",
)
class KernelsAloneDecay(Torchs):
    def update_of(self, name: str, g: Array) -> Array:
        return super().update_of(name, g) + 1e-4 * self.parameters[name] * name.endswith(".kernel")


@kind("optimizer", KERNEL, "not Adam, with a learning rate of 0.002, decoupled weight decay of 0.01")
class NAdamDecays(NAdamOfTorch):
    rate = 2e-3

    def update_of(self, name: str, g: Array) -> Array:
        return super().update_of(name, g) + 2e-5 * self.parameters[name]


@planted(
    "optimizer",
    KERNEL,
    "0.001 in the steps 4 to 10 instead of 0.001, with decoupled weight decay of 0.05",
    dtype="float32",
)
class DecayUnderAWarmUp(Torchs):
    """The parameters are rounded after the decay, and again after the update."""

    def adam(self, gradients: Weights) -> None:
        self.warm = self.real(min(0.1 + 0.3 * self.num_steps, 1))
        shrink = self.real(1 - 0.05e-3 * float(self.warm))
        self.parameters = {name: array * shrink for name, array in self.parameters.items()}
        super().adam(gradients)

    def update_of(self, name: str, g: Array) -> Array:
        return super().update_of(name, g) * float(self.warm)


@planted("optimizer", "first moment", "β₁ is 0.9, not rounded to float32 as the recipe shares it", dtype="float64")
class BetasNotRounded(Base):
    def adam(self, gradients: Weights) -> None:
        self.__dict__["recipe"] = _Plain(self.stated)
        super().adam(gradients)
        self.recipe = self.stated


class _Plain:
    """A recipe whose β are as they are written."""

    def __init__(self, recipe: Any) -> None:
        self.recipe = recipe

    def __getattr__(self, name: str) -> Any:
        return (0.9, 0.999) if name == "adam_betas" else getattr(self.recipe, name)


@kind("optimizer", "step 1: first moment", "β₁ changes from step to step, as OneCycleLR's cycle_momentum has it: 0.95,")
class MomentumCycles(Base):
    def first_moment(self, name: str, g: Array) -> Array:
        beta = self.real(0.95 - 0.01 * (self.num_steps - 1))
        return beta * self.first_moments[name] + (1 - beta) * g

    def corrections(self) -> tuple[Any, Any]:
        return 1 - self.real(0.95 - 0.01 * (self.num_steps - 1)) ** self.num_steps, super().corrections()[1]


@kind(
    "optimizer",
    "step 4: hidden_1.kernel",
    "0.0005 in the steps 4 to 6, 0.00025 in the steps 7 to 9, 0.000125 in step 10",
)
class HalvedEveryThreeSteps(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) * self.real(0.5 ** ((self.num_steps - 1) // 3))


@kind("optimizer", KERNEL, "decoupled weight decay of 1 (AdamW), 0.001 of the weights in a step")
class DecayWithoutTheRate(Base):
    def update(self, name: str, g: Array) -> Array:
        return super().update(name, g) + self.real(1e-3) * self.parameters[name]


@kind("optimizer", "step 2: hidden_1.kernel", "pulled back to their initial values, by 0.05 of the way times the rate")
class PulledBack(Base):
    start: Weights

    def update(self, name: str, g: Array) -> Array:
        self.__dict__.setdefault("start", dict(self.parameters))
        return super().update(name, g) + self.real(5e-5) * (self.parameters[name] - self.start[name])


@planted("optimizer", KERNEL, "after each update, the parameters are rounded to bfloat16", dtype="float32")
class WeightsKeptInBfloat16(Base):
    def adam(self, gradients: Weights) -> None:
        super().adam(gradients)
        self.parameters = {name: rounded_to_bfloat16(array) for name, array in self.parameters.items()}


@kind(
    "optimizer", "step 5: hidden_1.kernel", "every 5 steps the parameters become their moving average, which keeps 0.9"
)
class AverageWrittenBack(Base):
    """As Keras's `use_ema` with an `ema_overwrite_frequency` has it."""

    average: Weights

    def adam(self, gradients: Weights) -> None:
        self.__dict__.setdefault("average", dict(self.parameters))
        super().adam(gradients)
        self.average = {name: 0.9 * self.average[name] + 0.1 * array for name, array in self.parameters.items()}
        if self.num_steps % 5 == 0:
            self.parameters = {name: array.astype(self.real) for name, array in self.average.items()}
