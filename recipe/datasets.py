"""The data sets: what is in them, where they are, and the proof that a file is one.

Of a name but mnist's, whose archive is in the package, `recipe/download.py` fetches the files
through torchvision, once, into a cache that both implementations read.
"""

import dataclasses
import gzip
import hashlib
import os
import struct
import subprocess
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recipe import mnist
from recipe.errors import DataError, RecipeError, last_error
from recipe.images import MAX_CLASSES, NAMED, NOT_READ, UNREAD, Summary
from recipe.initial_weights import weight_shapes
from recipe.mnist import Digits
from recipe.own_process import own_command, search_path
from recipe.plain_file import check_is_file
from recipe.recipe import Recipe

MAX_BYTES = 2**30
"""Of one array, unpacked: 1.3 million images of 28×28 pixels. More would not fit in memory as floats."""

_OF_DAMAGED_FILES = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile, of an encrypted archive too, and NumPy raise on damaged files."""

_MOST_OF_HEADER = 2**14
"""Bytes of the header of an .npy file; NumPy itself refuses more than 10,000."""

_FILES = {
    "x_train": ("train", "images"),
    "y_train": ("train", "labels"),
    "x_test": ("test", "t10k", "images"),
    "y_test": ("test", "t10k", "labels"),
}
"""The words by which the name of an IDX file tells what it holds: one of the first, and the last."""


def with_images(recipe: Recipe) -> Recipe:
    """The recipe with its `images` read off its data set, whose path is then stated in full.

    A recipe that states its images already, as every one of a named data set does, is returned as it is.

    Raises:
        DataError: The data set is neither a known name nor a file or folder that holds one.
        RecipeError: Its images do not fit the recipe: fewer than a batch, or too small for the network.
    """
    if recipe.images != UNREAD:
        return recipe
    expected = f"expected one of {', '.join(NAMED)}, an .npz file or a folder"
    try:
        path = Path(recipe.dataset).expanduser().resolve()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # it may not be looked at, or cannot be a path
        raise DataError(f"cannot read the data set {recipe.dataset}: {error}; {expected}") from error
    if not exists:
        raise DataError(f"there is no data set {recipe.dataset}: {expected}")
    return dataclasses.replace(recipe, dataset=str(path), images=_summary(_read(path)))


def check_fits_memory(recipe: Recipe) -> None:
    """Refuses a network that this machine cannot train, before anything is allocated.

    Raises:
        RecipeError: It is more than the machine's memory.
    """
    needed = bytes_to_train(recipe)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        sizes = f"recipe.hidden_sizes {list(recipe.hidden_sizes)}"
        if recipe.network == "cnn":
            sizes += f" and recipe.filters {list(recipe.filters)}"
        raise RecipeError(
            f"{sizes} with recipe.batch_size {recipe.batch_size} take {needed / 1e9:,.1f} GB to train; "
            f"this machine has {memory / 1e9:,.1f}: choose smaller ones"
        )


def bytes_to_train(recipe: Recipe) -> int:
    """The least that any training holds of its network at once.

    Counted are of every parameter its value, its gradient and Adam's two moments, and of the hidden layers their
    activations of a batch, which the backward pass needs.
    """
    numbers = 4 * sum(prod(shape) for shape in weight_shapes(recipe).values())
    numbers += recipe.batch_size * sum(recipe.hidden_sizes)
    return numbers * np.dtype(recipe.dtype).itemsize


def load(recipe: Recipe) -> Digits:
    """Reads the recipe's data set, after fetching it where it has a name and is not in the cache.

    Raises:
        DataError: It cannot be read or fetched, or is not what the recipe was made for.
    """
    if recipe.dataset == "mnist":
        return mnist.load()
    if recipe.images == UNREAD:
        raise DataError(NOT_READ)
    named = recipe.dataset in NAMED
    path = cached(recipe.dataset) if named else Path(recipe.dataset)
    fetch(recipe)
    digits = _read(path)
    summary = _summary(digits)
    if named:
        summary = dataclasses.replace(summary, sha256=None)
    if summary != recipe.images:
        raise DataError(f"{path} is not what the recipe was made for: expected {recipe.images}, found {summary}")
    return digits


def fetch(recipe: Recipe) -> None:
    """Fetches the recipe's data set into the cache where it has a name and is not there.

    Raises:
        DataError: It cannot be fetched.
    """
    if recipe.dataset in NAMED and recipe.dataset != "mnist" and not cached(recipe.dataset).exists():
        download(recipe.dataset, cached(recipe.dataset))


def cached(name: str) -> Path:
    """Where the archive of a named data set is or will be; MNIST_PARITY_CACHE names another directory."""
    cache = os.environ.get("MNIST_PARITY_CACHE") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/mnist-parity"
    return Path(cache).expanduser() / f"{name}.npz"


def download(name: str, archive: Path) -> None:
    """Fetches a named data set to an .npz archive, in a process of its own, for it is torchvision that fetches.

    Raises:
        DataError: It cannot be fetched.
    """
    process = subprocess.run(
        own_command("recipe.download", name, archive),
        env={**os.environ, "PYTHONPATH": search_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise DataError(last_error(process.stderr))


def _read(path: Path) -> Digits:
    """An .npz archive with the names of `Digits`, or a folder of the four IDX files.

    Raises:
        DataError: Something is missing, damaged, too large or of another type, or images and labels disagree.
    """
    try:
        digits = _read_folder(path) if path.is_dir() else _read_archive(path)
    except DataError:
        raise
    except _OF_DAMAGED_FILES as error:
        raise DataError(f"{path}: cannot be read as a data set: {error}") from error
    for images, labels, which in ((digits[0], digits[1], "train"), (digits[2], digits[3], "test")):
        _check(path, images, labels, which)
    _check_together(path, digits)
    return Digits(digits.x_train, _labels(digits.y_train), digits.x_test, _labels(digits.y_test))


def _read_archive(path: Path) -> Digits:
    check_is_file(path)
    with zipfile.ZipFile(path) as archive:
        for name in Digits._fields:
            try:
                member = archive.getinfo(f"{name}.npy")
            except KeyError:
                raise DataError(f"{path}: {name}: missing; expected {', '.join(Digits._fields)}") from None
            # A header is read whole, whatever its length is said to be; it may have a page beside the array.
            _check_size(path, name, member.file_size - _MOST_OF_HEADER)
            with archive.open(member) as file:
                shape, dtype = _header(file)
            _check_size(path, name, prod(shape) * dtype.itemsize)
    with np.load(path, allow_pickle=False) as arrays:
        return Digits(*(arrays[name] for name in Digits._fields))


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an .npy file, before anything of it is unpacked."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(member)
    if version not in read:
        raise ValueError(f"version {version} of the .npy format")
    shape, _, dtype = read[version](member)
    return shape, dtype


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{path}: {name}: {size:,} bytes when unpacked; at most {MAX_BYTES:,} are read")


def _read_folder(path: Path) -> Digits:
    arrays = []
    for name, (*sets, kind) in _FILES.items():
        files = [
            file
            for file in sorted(path.iterdir())
            if file.is_file() and "ubyte" in file.name and kind in file.name and any(word in file.name for word in sets)
        ]
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise DataError(f"{path}: expected one IDX file of {' or '.join(sets)} {kind} for {name}, found {names}")
        try:
            with gzip.open(files[0]) if files[0].suffix == ".gz" else files[0].open("rb") as file:
                arrays.append(_read_idx(files[0], file))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{files[0]}: cannot be read: {error}") from error
    return Digits(*arrays)


def _read_idx(path: Path, file: BinaryIO | gzip.GzipFile) -> NDArray[np.uint8]:
    """An array of bytes in the IDX format (http://yann.lecun.com/exdb/mnist)."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\0\0\x08":  # noqa: PLR2004 - 0, 0, type of unsigned bytes, dimensions
        raise DataError(f"{path}: expected an IDX file of unsigned bytes, whose first bytes are 00 00 08")
    header = file.read(4 * magic[3])
    if len(header) != 4 * magic[3]:
        raise DataError(f"{path}: cut short within the header")
    shape = np.frombuffer(header, ">u4")
    size = prod(map(int, shape))
    _check_size(path, "IDX", size)
    content = file.read(size + 1)
    if len(content) != size:
        some = "more" if len(content) > size else f"{len(content):,}"
        raise DataError(f"{path}: expected {size:,} bytes after the header, found {some}: damaged or cut short")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _check(path: Path, images: NDArray[Any], labels: NDArray[Any], which: str) -> None:
    """Refuses what are no grey images with a label each."""
    if images.dtype != np.uint8 or images.ndim != 3:  # noqa: PLR2004 - images, rows, columns
        raise DataError(
            f"{path}: x_{which}: expected grey levels, uint8, of shape (images, rows, columns); "
            f"found {images.dtype} {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"{path}: y_{which}: expected whole numbers, one an image; found {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images):,} images in x_{which}, but {len(labels):,} labels in y_{which}")
    if images.size == 0:
        raise DataError(f"{path}: x_{which} is empty: its shape is {images.shape}")


def _check_together(path: Path, digits: Digits) -> None:
    """Refuses test images of another kind than the training images."""
    if digits.x_train.shape[1:] != digits.x_test.shape[1:]:
        raise DataError(
            f"{path}: training images have {digits.x_train.shape[1:]} pixels, test images {digits.x_test.shape[1:]}"
        )
    classes = np.unique(digits.y_train)
    lowest, highest = int(classes[0]), int(classes[-1])
    if lowest < 0 or highest >= MAX_CLASSES:
        raise DataError(f"{path}: y_train: labels run from {lowest} to {highest}; expected 0 to {MAX_CLASSES - 1}")
    if len(classes) != highest + 1 or highest == 0:
        missing = int(np.setdiff1d(np.arange(max(2, highest + 1)), classes)[0])
        raise DataError(
            f"{path}: y_train: no image has the label {missing}; expected labels from 0 to the number of classes - 1"
        )
    strange = np.flatnonzero((digits.y_test < 0) | (digits.y_test > highest))
    if strange.size:
        place = int(strange[0])
        raise DataError(
            f"{path}: y_test: image {place} has the label {digits.y_test[place]}; training has 0 to {highest}"
        )


def _labels(labels: NDArray[Any]) -> NDArray[Any]:
    """As MNIST has them, in bytes, where they fit."""
    return labels.astype(np.uint8 if labels.max() < 256 else np.uint16)  # noqa: PLR2004


def _summary(digits: Digits) -> Summary:
    digest = hashlib.sha256()
    for array in digits:
        digest.update(np.ascontiguousarray(array).tobytes())
    height, width = digits.x_train.shape[1:]
    num_classes = int(digits.y_train.max()) + 1
    return Summary((height, width), num_classes, len(digits.x_train), len(digits.x_test), digest.hexdigest())
