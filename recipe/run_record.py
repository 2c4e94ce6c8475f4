"""What a run leaves behind, and how it is read again. `docs/run-record.md` is the specification.

A record is a directory that appears complete or not at all: it is written beside its place and
renamed. `RecordWriter` writes one, `read_record` reads and validates one.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recipe.initial_weights import Weights, weight_shapes
from recipe.mnist import NUM_CLASSES, NUM_TEST_IMAGES, NUM_TRAINING_IMAGES
from recipe.settings import Recipe, RecipeError

FORMAT_VERSION = 1
HISTORY_KEYS = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")

Arrays = dict[str, NDArray[Any]]


class RecordError(ValueError):
    """A record that breaks the format; the message names the file, the key and what was expected."""


@dataclass(frozen=True)
class Status:
    """How a training ended: `finished`, or `diverged` at an epoch and a step, both counted from 1."""

    outcome: Literal["finished", "diverged"]
    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class TestResults:
    """How a finished training did on the 10,000 test images.

    `accuracy` is a proportion, `predictions` are the class probabilities, shape (10000, 10).
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    loss: float
    accuracy: float
    predictions: NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A training as its record tells it.

    `history` holds one number an epoch for each of `HISTORY_KEYS`, `seconds` being the wall time of
    the epoch with its validation. `step_losses` has shape (steps,). Of a diverged run, history and
    steps end where it diverged, and `test` is None.
    """

    directory: Path
    recipe: Recipe
    framework: str
    versions: dict[str, str]
    backend: str
    device: str
    threads: int
    settings: dict[str, Any]
    num_parameters: int
    history: dict[str, list[float]]
    test: TestResults | None
    seconds: float
    peak_memory_bytes: int
    status: Status
    step_losses: NDArray[np.floating]
    weights: Weights

    @property
    def diverged(self) -> bool:
        """Whether the loss became infinite or not a number."""
        return self.status.outcome == "diverged"


class RecordWriter:
    """Writes a record's files beside `directory` and renames them into place on a clean exit.

    Used as a context manager; when the block raises, nothing is left behind. A record that
    somebody else finished in the meantime is kept and this one dropped.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.partial = directory.with_name(f"{directory.name}.partial-{os.getpid()}")

    def __enter__(self) -> Self:
        """Makes the directory to write to, and with it proves that the place is writable."""
        self.partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Renames a complete record into place, removes an incomplete one."""
        try:
            if kind is None:
                self.partial.rename(self.directory)
        except OSError:
            if not (self.directory / "record.json").exists():
                raise
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def json(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON file; numbers that JSON cannot say, NaN and the infinities, become null."""
        (self.partial / name).write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def tensors(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Writes a safetensors file."""
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, self.partial / name)


def write_training(
    directory: Path,
    *,
    recipe: Recipe,
    framework: str,
    versions: Mapping[str, str],
    backend: str,
    device: str,
    threads: int,
    settings: Mapping[str, Any],
    history: Mapping[str, list[float]],
    test: TestResults | None,
    seconds: float,
    peak_memory_bytes: int,
    status: Status,
    step_losses: NDArray[np.floating],
    weights: Weights,
) -> None:
    """Writes the record of a training; the arguments are the fields of `RunRecord`."""
    with RecordWriter(directory) as record:
        (record.partial / "recipe.json").write_text(recipe.to_json())
        record.json(
            "record.json",
            {
                "format_version": FORMAT_VERSION,
                "kind": "training",
                "framework": framework,
                "versions": versions,
                "backend": backend,
                "device": device,
                "threads": threads,
                "settings": settings,
                "num_parameters": sum(array.size for array in weights.values()),
                "history": history,
                "test": {"loss": test.loss, "accuracy": test.accuracy} if test else None,
                "seconds": seconds,
                "peak_memory_bytes": peak_memory_bytes,
                "status": {"outcome": status.outcome, "epoch": status.epoch, "step": status.step},
            },
        )
        record.tensors("steps.safetensors", {"loss": step_losses})
        record.tensors("weights.safetensors", weights)
        if test:
            record.tensors("predictions.safetensors", {"probabilities": test.predictions})


def read_record(directory: Path) -> RunRecord:
    """Reads the record of a training and checks all of it.

    Raises:
        RecordError: A file is missing, damaged, of another version, or lacks or misstates a key.
    """
    recipe = read_recipe(directory)
    content = read_json(directory, "training")
    fields = _Fields(directory / "record.json", content)
    history = {key: fields.numbers(f"history.{key}") for key in HISTORY_KEYS}
    outcome = fields.text("status.outcome")
    if outcome not in ("finished", "diverged"):
        raise fields.error("status.outcome", "finished or diverged", outcome)
    diverged = outcome == "diverged"
    if diverged:
        status = Status("diverged", fields.integer("status.epoch"), fields.integer("status.step"))
    else:
        status = Status("finished")
    for key, values in history.items():
        expected = f"{recipe.epochs} numbers, one an epoch"
        if (len(values) > recipe.epochs) if diverged else (len(values) != recipe.epochs):
            raise fields.error(f"history.{key}", expected, f"{len(values)}")
    steps_per_epoch = math.ceil(NUM_TRAINING_IMAGES / recipe.batch_size)
    num_steps = fields.integer("status.step") if diverged else recipe.epochs * steps_per_epoch
    weights = read_tensors(directory, "weights.safetensors", weight_shapes(recipe), recipe.dtype, finite=not diverged)
    num_parameters = fields.integer("num_parameters")
    if num_parameters != sum(array.size for array in weights.values()):
        raise fields.error("num_parameters", "the number of values in weights.safetensors", num_parameters)
    steps = read_tensors(directory, "steps.safetensors", {"loss": (num_steps,)}, recipe.dtype, finite=not diverged)
    test = None
    if not diverged:
        shapes = {"probabilities": (NUM_TEST_IMAGES, NUM_CLASSES)}
        predictions = read_tensors(directory, "predictions.safetensors", shapes, recipe.dtype)["probabilities"]
        test = TestResults(fields.number("test.loss"), fields.number("test.accuracy"), predictions)
    return RunRecord(
        directory=directory,
        recipe=recipe,
        framework=fields.text("framework"),
        versions=fields.texts("versions"),
        backend=fields.text("backend"),
        device=fields.text("device"),
        threads=fields.integer("threads"),
        settings=fields.mapping("settings"),
        num_parameters=num_parameters,
        history=history,
        test=test,
        seconds=fields.number("seconds"),
        peak_memory_bytes=fields.integer("peak_memory_bytes"),
        status=status,
        step_losses=steps["loss"],
        weights=weights,
    )


def read_recipe(directory: Path) -> Recipe:
    """Reads a record's recipe.

    Raises:
        RecordError: It is missing or not a valid recipe.
    """
    path = directory / "recipe.json"
    try:
        return Recipe.from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    except RecipeError as error:
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
    except json.JSONDecodeError as error:
        raise RecordError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: expected a JSON object, found {type(content).__name__}")
    for key, expected in (("format_version", FORMAT_VERSION), ("kind", kind)):
        if content.get(key) != expected:
            raise RecordError(f"{path}: {key}: expected {expected!r}, found {content.get(key)!r}")
    return content


def read_tensors(
    directory: Path, name: str, shapes: Mapping[str, tuple[int, ...]], dtype: str, *, finite: bool = True
) -> Arrays:
    """Reads a safetensors file that must hold exactly these arrays.

    Raises:
        RecordError: The file is missing or truncated, or a tensor is missing, unexpected, of
            another shape or dtype, or (where `finite`) holds a NaN or an infinity.
    """
    path = directory / name
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RecordError(f"{path}: cannot be read as safetensors: {error}") from error
    for key, shape in shapes.items():
        if key not in arrays:
            raise RecordError(f"{path}: {key}: missing; the file holds {', '.join(sorted(arrays)) or 'nothing'}")
        array = arrays[key]
        if array.shape != shape:
            raise RecordError(f"{path}: {key}: expected shape {shape}, found {array.shape}")
        if array.dtype != np.dtype(dtype):
            raise RecordError(f"{path}: {key}: expected dtype {dtype}, found {array.dtype}")
        if finite and not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise RecordError(f"{path}: {key}: {array[index]} at index {index}, expected a finite number")
    if unexpected := sorted(arrays.keys() - shapes.keys()):
        raise RecordError(f"{path}: unexpected tensors: {', '.join(unexpected)}")
    return {key: arrays[key] for key in shapes}


class _Fields:
    """Typed access to dotted keys of record.json, with an error that names file and key."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path = path
        self.content = content

    def error(self, key: str, expected: str, found: object) -> RecordError:
        return RecordError(f"{self.path}: {key}: expected {expected}, found {found!r}")

    def _get(self, key: str) -> Any:
        value: Any = self.content
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise RecordError(f"{self.path}: {key}: missing")
            value = value[part]
        return value

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self.error(key, "a text", value)
        return value

    def integer(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(key, "a whole number", value)
        return value

    def number(self, key: str) -> float:
        value = self._get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.error(key, "a finite number", value)
        return float(value)

    def numbers(self, key: str) -> list[float]:
        values = self._get(key)
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise self.error(key, "a list of numbers", values)
        return [float(value) for value in values]

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._get(key)
        if not isinstance(value, dict):
            raise self.error(key, "an object", value)
        return value

    def texts(self, key: str) -> dict[str, str]:
        value = self.mapping(key)
        if not all(isinstance(text, str) for text in value.values()):
            raise self.error(key, "an object of texts", value)
        return value


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
