"""The files of a record: written completely or not at all, read with every key checked."""

import errno
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from recipe.atomic import complete_or_absent
from recipe.datasets import with_images
from recipe.errors import DamagedError, DataError, RecipeError, RecordError
from recipe.plain_file import check_is_file, read_text
from recipe.recipe import Recipe, is_finite_number

FORMAT_VERSION = 2

READABLE_VERSIONS = (1, 2)
"""Version 1 has no windows, sums of what was fed, nor hashes at the epochs' borders: it is judged without them."""

CHECKSUMS = "SHA256SUMS"
"""The file of a record that holds the checksums of the others."""

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32"}
"""The names of types in a safetensors file, and NumPy's; of others, its own name is shown."""

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
            _write_checksums(partial)
    except RecordError as error:
        taken = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not taken or not (directory / "record.json").exists():
            raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file; numbers that JSON cannot say, NaN and the infinities, become null."""
    path.write_text(json.dumps(json_safe(content), indent=2, allow_nan=False) + "\n")


def _write_checksums(directory: Path) -> None:
    """Writes the SHA-256 of every file, as `sha256sum --check SHA256SUMS` reads them."""
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(directory.iterdir()) if path.is_file()]
    (directory / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_unchanged(path: Path) -> None:
    """Holds a file of a record against the checksum that was written with it.

    A record without checksums is not one that this package wrote; a file that they do not name came later.

    Raises:
        DamagedError: It is not what was written.
        OSError: The file, or the checksums, cannot be read.
    """
    sums = path.with_name(CHECKSUMS)
    if not sums.exists():
        return
    try:
        lines = read_text(sums).splitlines()
    except UnicodeDecodeError as error:
        raise DamagedError(f"{sums} is damaged: {error}") from error
    stated = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    check_is_file(path)
    if path.name in stated and stated[path.name] != _sha256(path):
        raise DamagedError(f"{path} is not what was written: it does not fit its checksum in {CHECKSUMS}")


def read_recipe(directory: Path) -> Recipe:
    """Reads a record's recipe.

    Raises:
        RecordError: It is missing or not a valid recipe.
    """
    path = directory / "recipe.json"
    try:
        check_unchanged(path)
        return with_images(Recipe.from_json(read_text(path)))
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
        check_unchanged(path)
        content = json.loads(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    except DamagedError:
        raise
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


def read_tensors(
    directory: Path,
    name: str,
    shapes: Mapping[str, Shape],
    dtype: str,
    *,
    optional: Mapping[str, Shape] | None = None,
    finite: bool = True,
) -> Arrays:
    """Reads a safetensors file that must hold exactly these arrays, all `dtype` but labels, which are int64.

    Those that are `optional` are all there or none is.

    Raises:
        RecordError: The file is missing or truncated, or a tensor is missing, unexpected, of
            another shape or dtype, or (where `finite`) holds a NaN or an infinity.
    """
    path = directory / name
    try:
        check_unchanged(path)
        check_is_file(path)
        with safe_open(path, framework="numpy") as file:
            if optional and optional.keys() & file.keys():
                shapes = {**shapes, **optional}
            _check_stated(path, file, shapes, dtype)  # before anything of it is in memory
            arrays = {key: file.get_tensor(key) for key in shapes}
    except (OSError, SafetensorError, AttributeError, TypeError) as error:  # the last two: a dtype NumPy lacks
        raise RecordError(f"{path}: cannot be read as safetensors: {error}") from error
    if finite:
        for key, array in arrays.items():
            check_finite(f"{path}: {key}", array)
    return arrays


def _check_stated(path: Path, file: Any, shapes: Mapping[str, Shape], dtype: str) -> None:
    """Holds what the header of a safetensors file says against what it must hold."""
    names = set(file.keys())
    for key, shape in shapes.items():
        if key not in names:
            raise RecordError(f"{path}: {key}: missing; the file holds {_listed(sorted(names))}")
        stated = file.get_slice(key)
        sizes = tuple(stated.get_shape())
        if len(sizes) != len(shape) or any(want not in (None, have) for want, have in zip(shape, sizes, strict=True)):
            expected_shape = str(shape).replace("None", "any")
            raise RecordError(f"{path}: {key}: expected shape {expected_shape}, found {sizes}")
        expected = "int64" if key.endswith("labels") else dtype
        found_dtype = _DTYPES.get(stated.get_dtype(), stated.get_dtype())
        if found_dtype != expected:
            raise RecordError(f"{path}: {key}: expected dtype {expected}, found {found_dtype}")
    if unexpected := sorted(names - shapes.keys()):
        raise RecordError(f"{path}: unexpected tensors: {_listed(unexpected)}")


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Refuses NaN and the infinities.

    Raises:
        RecordError: There is one; the message begins with the name and says where.
    """
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise RecordError(f"{name}: {array[index]} at index {index}, expected a finite number")


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
