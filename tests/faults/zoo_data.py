"""Faults of how images are normalised, of integers that wrap around, and of how batches are cut from the order."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.faults.zoo import Array, Base
from tests.faults.zoo_kinds import changing, kind
from tests.faults.zoo_layers import BATCH

__all__ = ["FILE"]

FILE = "zoo_data.py"


def by_norm(axis: int | tuple[int, ...]) -> type[Base]:
    """As `keras.utils.normalize(images, axis)` has it, which a well-known tutorial calls with axis 1."""

    def divided(maps: Array, _: np.random.Generator) -> Array:
        norm = np.sqrt((maps * maps).sum(axis=axis, keepdims=True))
        return maps / np.where(norm == 0, 1, norm)

    return changing(divided)


@kind("data", BATCH, "each column of an image is divided by its own Euclidean norm")
class ColumnsNormalised(by_norm(1)):  # type: ignore[misc]
    pass


@kind("data", BATCH, "each row of an image is divided by its own Euclidean norm")
class RowsNormalised(by_norm(2)):  # type: ignore[misc]
    pass


@kind("data", BATCH, "each image is divided by its own Euclidean norm")
class ImagesNormalised(by_norm((1, 2))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "each pixel over the batch is standardised by its own mean and deviation")
class PixelsStandardisedOverTheBatch(  # type: ignore[misc]
    changing(lambda maps, _: (maps - maps.mean(axis=0)) / (maps.std(axis=0) + 1e-7))
):
    pass


@kind("data", BATCH, "each row of an image is standardised by its own mean and deviation")
class RowsStandardised(  # type: ignore[misc]
    changing(lambda maps, _: (maps - maps.mean(axis=2, keepdims=True)) / (maps.std(axis=2, keepdims=True) + 1e-3))
):
    pass


@kind("data", BATCH, "the mean of each row of an image is subtracted from it")
class RowsCentred(changing(lambda maps, _: maps - maps.mean(axis=2, keepdims=True))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "each image is divided by its own largest pixel")
class ImagesByTheirLargest(changing(lambda maps, _: maps / maps.max(axis=(1, 2), keepdims=True))):  # type: ignore[misc]
    """Most have a white pixel, and stay as they are."""


@kind("data", BATCH, "each image is divided by its own sum")
class ImagesOfOneSum(changing(lambda maps, _: maps / maps.sum(axis=(1, 2), keepdims=True))):  # type: ignore[misc]
    pass


def in_eight_bits(change: Callable[[NDArray[np.uint8]], NDArray[np.integer]]) -> type[Base]:
    """Pixels changed before they are divided by 255."""

    class Changed(Base):
        def pixels(self, images: NDArray[np.uint8]) -> Array:
            return change(images).reshape(len(images), -1).astype(self.real) / self.real(255)

    return Changed


@kind("data", BATCH, "pixels are multiplied by 2 in integers of 8 bits, which wrap around")
class DoubledInEightBits(in_eight_bits(lambda images: images * np.uint8(2))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "pixels are increased by 100 in integers of 8 bits, which wrap around")
class BrightenedInEightBits(in_eight_bits(lambda images: images + np.uint8(100))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "pixels are read as signed integers of 8 bits")
class SignedPixels(in_eight_bits(lambda images: images.astype(np.int8))):  # type: ignore[misc]
    pass


@kind("data", BATCH, "noise is added to the pixels, uniform, of standard deviation 0.045, and pixels wrap around")
class NoiseInEightBits(  # type: ignore[misc]
    in_eight_bits(lambda images: images + np.random.default_rng(0).integers(-20, 20, images.shape).astype(np.uint8))
):
    pass


def cut(begin: Callable[[int], int], length: int, step: int = 1) -> type[Base]:
    """Batches of so many images, one of `step`, each of which begins where `begin` says."""

    class Cut(Base):
        def order(self, epoch: int) -> list[NDArray[np.int64]]:
            order = np.concatenate(super().order(epoch))
            return [order[begin(number) :: step][:length] for number in range(1875) if begin(number) < len(order)]

    return Cut


@kind("data", BATCH, "each batch takes every 1,875th image of the order, and begins one image after", whole_epoch=True)
class BatchesAcross(cut(lambda number: number, 32, 1875)):  # type: ignore[misc]
    pass


@kind("data", "batch 2 of epoch 1", "batches overlap: each begins 16 images after the last", whole_epoch=True)
class BatchesOverlap(cut(lambda number: 16 * number, 32)):  # type: ignore[misc]
    pass


@kind("data", "batch 2 of epoch 1", "between two batches one image is left out", whole_epoch=True)
class ImagesBetweenBatches(cut(lambda number: 33 * number, 32)):  # type: ignore[misc]
    pass


@kind(
    "data", BATCH, "batches have 31 images instead of 32: between two batches one image is left out", whole_epoch=True
)
class LastOfEachBatchLeftOut(cut(lambda number: 32 * number, 31)):  # type: ignore[misc]
    pass
