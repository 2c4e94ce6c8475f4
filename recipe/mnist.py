"""The digits: the embedded archive and the proof that it is the right one."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recipe.errors import DataError

ARCHIVE = Path(__file__).with_name("mnist.npz")
SHA256 = "ee068f36682cba7f38bafdedc77b0f873ebbcf877036f7ebde566966146ac146"

IMAGE_SHAPE = (28, 28)
NUM_PIXELS = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]
NUM_CLASSES = 10
NUM_TRAINING_IMAGES = 60_000
NUM_TEST_IMAGES = 10_000


class Digits(NamedTuple):
    """The four arrays of a data set, named as Keras's own MNIST archive names them.

    `x_train` (images, rows, columns) and `x_test`: grey levels, 0 background, 255 ink; MNIST has
    60,000 and 10,000 images of 28×28. `y_train` (images,) and `y_test`: the class, in MNIST the
    digit; uint8, or uint16 where there are more than 256 classes.
    """

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.unsignedinteger[Any]]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.unsignedinteger[Any]]


def load(archive: Path = ARCHIVE) -> Digits:
    """Reads the digits after checking the archive's SHA-256.

    Raises:
        DataError: The archive cannot be read or its checksum differs; says what to do.
    """
    hint = "reinstall the package or take recipe/mnist.npz from the repository again"
    try:
        checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read the digits at {archive}: {error.strerror}; {hint}") from error
    if checksum != SHA256:
        raise DataError(f"{archive} is corrupt: its SHA-256 is {checksum}, expected {SHA256}; {hint}")
    with np.load(archive, allow_pickle=False) as arrays:
        return Digits(*(arrays[name] for name in Digits._fields))
