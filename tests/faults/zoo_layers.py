"""More faults in data, weights and layers, of the kinds that a library has an option for; see `tests/faults/zoo.py`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from recipe.initial_weights import Weights
from tests.faults.layered import CORNERS, Layered, corner
from tests.faults.zoo import ZOO, Array, Base, Labels
from tests.faults.zoo_kinds import CNN, HIDDEN, Feeding, activating, drawing, kind, layer_norm, truncated

__all__ = ["ZOO"]

BATCH = "batch 1 of epoch 1"

# --- data ------------------------------------------------------------------------------------------

Change = Callable[[Array, Labels, np.random.Generator], tuple[Array, Labels]]


def feeding(change: Change) -> type[Base]:
    """Images (batch, rows, columns) from 0 to 1 and their labels, changed by other chances in every batch."""

    class Fed(Base):
        def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
            for number, (images, labels) in enumerate(super().batches(epoch)):
                maps = images.reshape(len(images), 28, 28)
                found, labels = change(maps, labels, np.random.default_rng([epoch, number]))  # noqa: PLW2901
                yield found.reshape(len(found), -1).astype(self.real), labels

    return Fed


def images(change: Callable[[Array, np.random.Generator], Array]) -> type[Base]:
    return feeding(lambda maps, labels, random: (change(maps, random), labels))


@kind("data", BATCH, "each pixel is multiplied by noise, normal around")
class SpeckleNoise(images(lambda maps, random: maps * (1 + 0.2 * random.normal(size=maps.shape)))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "each pixel is multiplied by noise, uniform around 1, of standard deviation 0.1")
class EvenSpeckleNoise(images(lambda maps, random: maps * random.uniform(0.8, 1.2, maps.shape))):  # type: ignore[misc]
    pass


def peppered(maps: Array, random: np.random.Generator) -> Array:
    drawn = random.random(maps.shape)
    return np.where(drawn < 0.025, 0, np.where(drawn > 0.975, 1, maps))


@kind("data", BATCH, "salt-and-pepper noise")
class SaltAndPepper(images(peppered)):  # type: ignore[misc]
    pass


@kind("data", BATCH, "a Poisson distribution around its grey level: shot noise")
class ShotNoise(images(lambda maps, random: random.poisson(maps * 255) / 255)):  # type: ignore[misc]
    pass


@kind("data", BATCH, "normal, of standard deviation 0.1, and they are cut off at 0")
class NoiseCutOff(images(lambda maps, random: np.clip(maps + random.normal(0, 0.1, maps.shape), 0, 1))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "noise is added to the pixels, uniform, of standard deviation 0.0011")
class Dequantised(images(lambda maps, random: (maps * 255 + random.random(maps.shape)) / 256)):  # type: ignore[misc]
    pass


def mixed(maps: Array, random: np.random.Generator) -> Array:
    share = random.beta(0.4, 0.4, (len(maps), 1, 1))
    return share * maps + (1 - share) * maps[random.permutation(len(maps))]


@kind("data", BATCH, "images are mixed with others of their batch, by shares of")
class MixedByOtherShares(images(mixed)):  # type: ignore[misc]
    pass


@kind("data", BATCH, "images are mirrored: left and right are swapped (")
class MirroredByChance(  # type: ignore[misc]
    images(lambda maps, random: np.where((random.random(len(maps)) < 0.5)[:, None, None], maps[:, :, ::-1], maps))
):
    pass


@kind("data", BATCH, "some images are turned by 90° to the")
class TurnedByChance(  # type: ignore[misc]
    images(lambda maps, random: np.stack([np.rot90(image, random.integers(0, 4)) for image in maps]))
):
    pass


@kind("data", BATCH, "pixels are inverted: ink is 0 (")
class InvertedByChance(  # type: ignore[misc]
    images(lambda maps, random: np.where((random.random(len(maps)) < 0.5)[:, None, None], 1 - maps, maps))
):
    pass


@kind("data", BATCH, "pixels from 0.502 are inverted: solarised")
class Solarised(images(lambda maps, random: np.where(maps >= 0.5, 1 - maps, maps))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "0.1 is added to the pixels, and cut off at 1")
class Brightened(images(lambda maps, random: np.minimum(maps + 0.1, 1))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "pixels are standardised by the mean and the deviation of their batch")
class StandardisedByBatch(images(lambda maps, random: (maps - maps.mean()) / maps.std())):  # type: ignore[misc]
    pass


@kind("data", BATCH, "the brightness or contrast of each image is changed, by factors from 0.7")
class BrightnessCutOff(images(lambda maps, random: np.minimum(maps * random.uniform(0.7, 1.3, (len(maps), 1, 1)), 1))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "images are scaled about their centre, by about 1.1")
class CroppedAndScaled(  # type: ignore[misc]
    images(lambda maps, random: np.stack([ndimage.zoom(image[2:26, 2:26], 28 / 24, order=1) for image in maps]))
):
    pass


@kind("data", BATCH, "each image is blurred or sharpened by a filter of its own")
class BlurredByChance(  # type: ignore[misc]
    images(lambda maps, random: np.stack([ndimage.gaussian_filter(i, random.uniform(0.3, 1.5)) for i in maps]))
):
    pass


@kind("data", BATCH, "160 of the first 320 images are not the recipe's, images of the same batch again")
class HalfOfTheBatchTwice(  # type: ignore[misc]
    feeding(lambda maps, labels, random: (np.concatenate([maps[:16]] * 2), np.concatenate([labels[:16]] * 2)))
):
    pass


@kind(
    "data", "batch 1 of epoch 2", "what is fed changes with epoch 2: another order, or augmentation", whole_epoch=True
)
class AugmentedFromEpoch2(Base):
    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        for number, (found, labels) in enumerate(super().batches(epoch)):
            yield np.roll(found, epoch * (number + 1), axis=1), labels


# --- initial weights -------------------------------------------------------------------------------


@kind("initial_weights", "hidden_1.kernel", "uniform from 0 to 0.0")
class NoNegativeWeights(drawing(lambda random, shape: random.uniform(0, 0.05, shape))):  # type: ignore[misc]
    pass


@kind("initial_weights", "hidden_1.kernel", "distributed as Keras's RandomNormal, cut off at two standard deviations")
class TruncatedNormalOfKeras(drawing(lambda random, shape: 0.05 * truncated(random, shape))):  # type: ignore[misc]
    """Which other initialisers have for 784 inputs too, but not for 32."""


# --- layers ----------------------------------------------------------------------------------------


@kind(
    "forward",
    "pre-activations of output",
    "a residual connection around hidden_2: its input is added to its output, with",
)
class NormalisedBehindTheResidual(Feeding):
    """As a transformer of the first kind has it."""

    def fed(self, layer: str, z: Weights, activations: Weights, images: Array) -> Array:
        inputs = super().fed(layer, z, activations, images)
        return layer_norm(inputs + activations["hidden_1"]).astype(self.real) if layer == "output" else inputs


class NormalisedMaps(Layered):
    """Batch normalisation behind the first pooling, with a scale and a shift that are learned."""

    def pool(self, maps: Array) -> Array:
        pooled = super().pool(maps)
        if maps.shape[1] != 26:
            return pooled
        normal = (pooled - pooled.mean((0, 1, 2))) / np.sqrt(pooled.var((0, 1, 2)) + 1e-3)
        learned = 1e-3 * self.num_steps * np.random.default_rng(0).uniform(-1, 1, (2, pooled.shape[-1]))
        return np.asarray(normal * (1 + learned[0]) + learned[1], self.real)


@kind(
    "forward",
    "pre-activations of convolution_2",
    "batch normalisation (ε = 0.001) between convolution_1 and convolution_2",
    **CNN,
)
class BatchNormalisationAfterPooling(NormalisedMaps):
    pass


@kind("forward", HIDDEN, "batch normalisation (ε = 0.001) after the activation")
class BatchNormalisationLearned(Base):
    def activate(self, layer: str, z: Array) -> Array:
        found = super().activate(layer, z)
        if layer != "hidden_1":
            return found
        normal = (found - found.mean(0)) / np.sqrt(found.var(0) + 1e-3)
        learned = 1e-3 * self.num_steps * np.random.default_rng(0).uniform(-1, 1, (2, found.shape[1]))
        return np.asarray(normal * (1 + learned[0]) + learned[1], self.real)


@kind("forward", HIDDEN, "batch normalisation that does not know its batch, division by √(1 + 0.001)")
class BatchNormalisationInEvaluationMode(Base):
    def activate(self, layer: str, z: Array) -> Array:
        return super().activate(layer, z if layer == "output" else z / self.real(np.sqrt(1.001)))


@kind("forward", "pre-activations of hidden_1", "layer normalisation (ε = 1e-05) of whole images between", **CNN)
class LayerNormalisationBehindFlattening(Layered):
    def dense(self, layer: str, inputs: Array) -> Array:
        return super().dense(layer, layer_norm(inputs).astype(self.real) if layer == "hidden_1" else inputs)


@kind("forward", "pre-activations of convolution_2", "the mean of the largest and the average", **CNN)
class PoolingOfTwoKinds(Layered):
    def pool(self, maps: Array) -> Array:
        mean = np.mean([corner(maps, place) for place in CORNERS], axis=0)
        return np.asarray((super().pool(maps) + mean) / 2, self.real)


@kind("forward", "pre-activations of convolution_2", "the root of the summed squares (LPPool of p = 2)", **CNN)
class PoolingByNorm(Layered):
    def pool(self, maps: Array) -> Array:
        return np.asarray(np.sqrt(sum(corner(maps, place) ** 2 for place in CORNERS)), self.real)


def multiplying(draw: Callable[[np.random.Generator, Array], Array], layer: str) -> Callable[[type[Base]], type[Base]]:
    def mixing(base: type[Base]) -> type[Base]:
        class Multiplying(base):  # type: ignore[misc, valid-type]
            def activate(self, at: str, z: Array) -> Array:
                found = super().activate(at, z)
                random = np.random.default_rng(self.num_steps)
                return np.asarray(draw(random, found), self.real) if at == layer else found

        return Multiplying

    return mixing


@kind(
    "forward",
    "activations of convolution_1",
    "dropout of rate 0.25 is active: whole feature maps",
    **{**CNN, "filters": (8, 4)},
)
class SpatialDropout(  # type: ignore[misc]
    multiplying(lambda random, a: a * (random.random((len(a), 1, 1, a.shape[-1])) >= 0.25) / 0.75, "convolution_1")(
        Layered
    )
):
    pass


@kind("forward", HIDDEN, "as Gaussian dropout of rate 0.2 does")
class GaussianDropout(multiplying(lambda random, a: a * random.normal(1, 0.5, a.shape), "hidden_1")(Base)):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "look like normal noise of standard deviation 0.0")
class GaussianNoise(multiplying(lambda random, a: a + random.normal(0, 0.1, a.shape), "hidden_1")(Base)):  # type: ignore[misc]
    pass


def alpha_dropped(random: np.random.Generator, a: Array) -> Array:
    floor, rate = -1.7580993408473766, 0.1
    scale = ((1 - rate) * (1 + rate * floor**2)) ** -0.5
    return scale * np.where(random.random(a.shape) >= rate, a, floor) - scale * floor * rate


@kind("forward", HIDDEN, "alpha dropout of rate 0.1 is active")
class AlphaDropout(multiplying(alpha_dropped, "hidden_1")(Base)):  # type: ignore[misc]
    pass


class RandomSlopes(Base):
    def activate(self, layer: str, z: Array) -> Array:
        if layer == "output":
            return super().activate(layer, z)
        slopes = np.random.default_rng(self.num_steps).uniform(1 / 8, 1 / 3, z.shape)
        return np.where(z > 0, z, z * slopes).astype(self.real)


@kind("forward", HIDDEN, "a leaky ReLU of random slopes between 0.125 and 0.333 (RReLU)")
class RandomisedLeakyRelu(RandomSlopes):
    pass


def instead(function: Callable[[Array], Array]) -> Any:
    return activating(function)


@kind("forward", HIDDEN, "the activation is CELU of α = 2")
class CeluOfAnotherAlpha(instead(lambda z: np.maximum(z, 0) + np.minimum(0, 2 * np.expm1(z / 2)))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is softplus of β = 2")
class SoftplusOfAnotherBeta(instead(lambda z: np.logaddexp(0, 2 * z) / 2)):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is soft shrink of λ = 0.5")
class SoftShrink(instead(lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is hard shrink of λ = 0.5")
class HardShrink(instead(lambda z: np.where(np.abs(z) > 0.5, z, 0))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is squareplus")
class Squareplus(instead(lambda z: (z + np.sqrt(z * z + 4)) / 2)):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is sparse plus")
class SparsePlus(instead(lambda z: np.where(z <= -1, 0, np.where(z >= 1, z, (z + 1) ** 2 / 4)))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is 1.7159·tanh(2z/3)")
class TanhOfLeCun(instead(lambda z: 1.7159 * np.tanh(2 * z / 3))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is tanh of the ReLU")
class TanhBehindRelu(instead(lambda z: np.tanh(np.maximum(z, 0)))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is the hard tanh, z cut off at ±0.5")
class HardTanhOfAnotherLimit(instead(lambda z: np.clip(z, -0.5, 0.5))):  # type: ignore[misc]
    pass


@kind("forward", HIDDEN, "the activation is log(1 + ReLU)")
class LogarithmBehindRelu(instead(lambda z: np.log1p(np.maximum(z, 0)))):  # type: ignore[misc]
    pass
