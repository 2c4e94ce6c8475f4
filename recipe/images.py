"""What a data set holds, as a recipe states it: pure values, read off the data set by `recipe/datasets.py`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from recipe import mnist
from recipe.errors import DataError

MAX_CLASSES = 65_536

NOT_READ = "the recipe's data set has not been read yet; recipe.datasets.with_images(recipe) reads it"


@dataclass(frozen=True)
class Summary:
    """What a recipe has to know of its images.

    `image_shape` is rows and columns; classes are counted from 0 and may be any number up to
    `MAX_CLASSES`. `sha256` is of the four arrays' bytes in the order of `Digits`; None where the
    maker's checksums speak for them.
    """

    image_shape: tuple[int, int]
    num_classes: int
    num_training_images: int
    num_test_images: int
    sha256: str | None = None

    @property
    def num_pixels(self) -> int:
        """Of one image."""
        return prod(self.image_shape)

    @classmethod
    def of(cls, fields: "Summary | Mapping[str, Any]") -> "Summary":
        """A summary from itself, or from its fields as JSON has them.

        Raises:
            TypeError: A field is missing, unknown or of another type.
            ValueError: A number is out of range.
        """
        if isinstance(fields, Summary):
            return fields
        summary = cls(**{**fields, "image_shape": tuple(fields.get("image_shape", ()))})
        numbers = [*summary.image_shape, *dataclasses.astuple(summary)[1:4]]
        if len(numbers) != 5 or any(type(number) is not int or number < 1 for number in numbers):  # noqa: PLR2004
            raise ValueError(f"expected positive whole numbers, found {dict(fields)}")
        return summary


@dataclass(frozen=True)
class _Unread:
    """Stands for a summary that nobody has read off the data set yet; whoever asks it for a number is told so."""

    def __getattr__(self, name: str) -> Any:
        if name == "num_pixels" or name in {field.name for field in dataclasses.fields(Summary)}:
            raise DataError(NOT_READ)
        raise AttributeError(name)


UNREAD: Any = _Unread()
"""The images of a recipe whose data set is a path: making a recipe reads no file."""

MNIST = Summary(mnist.IMAGE_SHAPE, mnist.NUM_CLASSES, mnist.NUM_TRAINING_IMAGES, mnist.NUM_TEST_IMAGES)

NAMED = {
    "mnist": MNIST,
    "fashion_mnist": MNIST,
    "kmnist": MNIST,
    "qmnist": dataclasses.replace(MNIST, num_test_images=60_000),
}
"""The data sets that have a name. The last three, torchvision holds against their makers' checksums when it fetches
them; what lies in the cache is held against these numbers alone."""
