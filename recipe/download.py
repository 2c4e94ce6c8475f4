"""`python -m recipe.download NAME ARCHIVE`: a data set, fetched by torchvision, as an archive for both.

`mnist-compare download` starts it, and so does every program that misses a data set.
"""

import argparse
import contextlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torchvision import datasets

from recipe.atomic import check_writable, complete_or_absent
from recipe.errors import DataError, errors_are_one_line
from recipe.mnist import Digits

SETS: dict[str, tuple[type[datasets.MNIST], dict[str, Any], dict[str, Any]]] = {
    "fashion_mnist": (datasets.FashionMNIST, {"train": True}, {"train": False}),
    "kmnist": (datasets.KMNIST, {"train": True}, {"train": False}),
    "qmnist": (datasets.QMNIST, {"what": "train"}, {"what": "test"}),
}
"""torchvision's class by the name of the data set, and its arguments for the training and the test images."""


def download(name: str, archive: Path) -> None:
    """Fetches the files, which torchvision holds against its MD5 sums, and writes them as one .npz archive.

    Raises:
        DataError: They cannot be fetched or are not what they should be.
        RecordError: The archive's directory is not writable.
    """
    check_writable(archive.parent)
    kind, *which = SETS[name]
    arrays = []
    with TemporaryDirectory(dir=archive.parent) as root:
        for arguments in which:
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    images = kind(root, download=True, **arguments)
            except (OSError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise DataError(
                    f"{name} cannot be fetched: {reason}; do it where the network is reached, with "
                    f"`mnist-compare download {name} {name}.npz`, and put the file at {archive}"
                ) from error
            # Of QMNIST's eight columns of labels, the first is the class.
            arrays += [images.data.numpy(), images.targets.numpy().reshape(len(images), -1)[:, 0].astype(np.uint8)]
    # NumPy would add ".npz" to a name, but not to an open file's.
    with complete_or_absent(archive) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **dict(zip(Digits._fields, arrays, strict=True)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m recipe.download", description=__doc__)
    parser.add_argument("name", choices=SETS)
    parser.add_argument("archive", type=Path)
    options = parser.parse_args()
    with errors_are_one_line():
        download(options.name, options.archive)
