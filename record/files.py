"""The files of a record: written completely or not at all, read with every key checked."""

import errno
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from recipe.atomic import complete_or_absent
from recipe.datasets import with_images
from recipe.errors import DataError, RecipeError, RecordError
from recipe.recipe import Recipe, is_finite_number

FORMAT_VERSION = 2

READABLE_VERSIONS = (1, 2)
"""Version 1 has no windows, sums of what was fed, nor hashes at the epochs' borders: it is judged without them."""

Arrays = dict[str, NDArray[Any]]
Shape = tuple[int | None, ...]
"""A tensor's shape; None where any length will do."""


@contextmanager
def new_record(directory: Path) -> Iterator[Path]:
    """A place for the files of a record, which appear together at `directory` after the block, or not at all.

    A record that another process has finished in the meantime is kept, and this one dropped.

    Raises:
        RecordError: It cannot be written.
    """
    try:
        with complete_or_absent(directory) as partial:
            partial.mkdir(parents=True)
            yield partial
    except RecordError as error:
        taken = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not taken or not (directory / "record.json").exists():
            raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file; numbers that JSON cannot say, NaN and the infinities, become null."""
    path.write_text(json.dumps(json_safe(content), indent=2, allow_nan=False) + "\n")


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a safetensors file, every array in C order."""
    save_file({key: np.asarray(array, order="C") for key, array in arrays.items()}, path)


def read_recipe(directory: Path) -> Recipe:
    """Reads a record's recipe.

    Raises:
        RecordError: It is missing or not a valid recipe.
    """
    path = directory / "recipe.json"
    try:
        return with_images(Recipe.from_json(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    except (RecipeError, DataError) as error:
        raise RecordError(f"{path}: {error}") from error


def read_json(directory: Path, kind: str) -> dict[str, Any]:
    """Reads record.json and checks its version and kind.

    Raises:
        RecordError: It is missing, not a JSON object, or of another version or kind.
    """
    path = directory / "record.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, brackets 5,000 deep
        raise RecordError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: expected a JSON object, found {type(content).__name__}")
    version = content.get("format_version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        expected = " or ".join(map(str, READABLE_VERSIONS))
        raise RecordError(f"{path}: format_version: expected {expected}, found {version!r}")
    if content.get("kind") != kind:
        raise RecordError(f"{path}: kind: expected {kind!r}, found {content.get('kind')!r}")
    return content


def read_tensors(directory: Path, name: str, shapes: Mapping[str, Shape], dtype: str, *, finite: bool = True) -> Arrays:
    """Reads a safetensors file that must hold exactly these arrays, all `dtype` but labels, which are int64.

    Raises:
        RecordError: The file is missing or truncated, or a tensor is missing, unexpected, of
            another shape or dtype, or (where `finite`) holds a NaN or an infinity.
    """
    path = directory / name
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError, AttributeError, TypeError) as error:  # the last two: a dtype NumPy lacks
        raise RecordError(f"{path}: cannot be read as safetensors: {error}") from error
    for key, shape in shapes.items():
        if key not in arrays:
            raise RecordError(f"{path}: {key}: missing; the file holds {_listed(sorted(arrays))}")
        array = arrays[key]
        if array.ndim != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, array.shape, strict=True)
        ):
            expected_shape = str(shape).replace("None", "any")
            raise RecordError(f"{path}: {key}: expected shape {expected_shape}, found {array.shape}")
        expected = np.dtype(np.int64 if key.endswith("labels") else dtype)
        if array.dtype != expected:
            raise RecordError(f"{path}: {key}: expected dtype {expected}, found {array.dtype}")
        if finite and not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise RecordError(f"{path}: {key}: {array[index]} at index {index}, expected a finite number")
    if unexpected := sorted(arrays.keys() - shapes.keys()):
        raise RecordError(f"{path}: unexpected tensors: {', '.join(unexpected)}")
    return {key: arrays[key] for key in shapes}


def tensor_names(path: Path) -> set[str]:
    """What a safetensors file holds; nothing where it cannot be read, which `read_tensors` says."""
    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError):
        return set()


def _listed(names: list[str]) -> str:
    """The first few names, and how many there are."""
    few = 8
    more = f", … ({len(names):,} tensors)" if len(names) > few else ""
    return (", ".join(names[:few]) or "nothing") + more


class Fields:
    """Typed access to dotted keys of record.json, with an error that names file and key."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self.content = content

    def error(self, key: str, expected: str, value: object) -> RecordError:
        """The error that `key` should hold something else than it does."""
        return RecordError(f"{self.path}: {key}: expected {expected}, found {value!r}")

    def get(self, key: str) -> Any:
        """The value at `key`, whatever it is."""
        value: Any = self.content
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise RecordError(f"{self.path}: {key}: missing")
            value = value[part]
        return value

    def text(self, key: str) -> str:
        """The text at `key`."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.error(key, "a text", value)
        return value

    def integer(self, key: str) -> int:
        """The whole number at `key`, 0 or more."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(key, "a whole number", value)
        return value

    def count(self, key: str) -> int:
        """The whole number at `key`, 1 or more."""
        value = self.integer(key)
        if value < 1:
            raise self.error(key, "1 or more", value)
        return value

    def device(self) -> str:
        """What it says under `device`, "cpu" or "gpu": which of them decides what is a difference in arithmetic."""
        value = self.text("device")
        if value not in ("cpu", "gpu"):
            raise self.error("device", "cpu or gpu", value)
        return value

    def number(self, key: str) -> float:
        """The finite number at `key`."""
        value = self.get(key)
        if not is_finite_number(value):
            raise self.error(key, "a finite number", value)
        return float(value)

    def numbers(self, key: str) -> list[float]:
        """The list of numbers at `key`."""
        values = self.get(key)
        if not isinstance(values, list) or not all(is_finite_number(value) for value in values):
            raise self.error(key, "a list of finite numbers", values)
        return [float(value) for value in values]

    def mapping(self, key: str) -> dict[str, Any]:
        """The object at `key`."""
        value = self.get(key)
        if not isinstance(value, dict):
            raise self.error(key, "an object", value)
        return value

    def texts(self, key: str) -> dict[str, str]:
        """The object at `key`, whose values are texts."""
        value = self.mapping(key)
        if not all(isinstance(text, str) for text in value.values()):
            raise self.error(key, "an object of texts", value)
        return value


def json_safe(value: Any) -> Any:
    """The value with null for the numbers that JSON cannot say: NaN and the infinities."""
    if isinstance(value, Mapping):
        return {key: json_safe(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
