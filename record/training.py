"""The record of a training: what a run leaves, written and read.

`docs/run-record.md` is the specification. A record is a directory that appears complete or not at all.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recipe.errors import RecordError
from recipe.initial_weights import Weights, weight_shapes
from recipe.recipe import Recipe
from record.consistency import check_lengths, check_numbers
from record.files import Fields, Shape, new_record, read_tensors
from record.header import Header, read_header, write_header
from record.tensors import write_tensors
from record.windows import EpochStates, Fed, Window, read_epoch_states, read_windows, write_windows

HISTORY_KEYS = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")


@dataclass(frozen=True)
class Status:
    """How a training ended: `finished`, or `diverged` at an epoch and a step, both counted from 1."""

    outcome: Literal["finished", "diverged"]
    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class TestResults:
    """How a finished training did on the test images.

    `accuracy` is a proportion, `predictions` are the class probabilities, shape (test images, classes).
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    loss: float
    accuracy: float
    predictions: NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class RunRecord(Header):
    """A training as its record tells it.

    `history` holds one number an epoch for each of `HISTORY_KEYS`, `seconds` being the wall time of
    the epoch with its validation. `step_losses` has shape (steps,). Of a diverged run, history and
    steps end where it diverged, and `test` is None. `directory` is where it was read from.
    `peak_gpu_memory_bytes` is None where no GPU computed, or nobody asked. `windows`, `fed` and `epoch_states` are what
    the judge sees of a training's middle; a run may leave them out.
    """

    history: Mapping[str, list[float]]
    test: TestResults | None
    seconds: float
    peak_memory_bytes: int
    status: Status
    step_losses: NDArray[np.floating]
    weights: Weights
    peak_gpu_memory_bytes: int | None = None
    windows: tuple[Window, ...] = ()
    fed: Fed | None = None
    epoch_states: EpochStates | None = None
    directory: Path | None = None

    @property
    def num_parameters(self) -> int:
        """How many numbers the weights are."""
        return sum(array.size for array in self.weights.values())

    @property
    def diverged(self) -> bool:
        """Whether the loss became infinite or not a number."""
        return self.status.outcome == "diverged"


def divergence(
    losses: NDArray[np.floating], metrics: Mapping[str, float], weights: Weights, epoch: int
) -> tuple[NDArray[np.floating], Status]:
    """The losses of an epoch's steps, up to the first that is not finite, and whether the training diverged.

    Args:
        losses: One a step, shape (steps,).
        metrics: Of the epoch, its validation included.
        weights: After the epoch.
        epoch: Counted from 0.
    """
    finite = np.isfinite(losses)
    steps_before = epoch * len(losses)
    if not finite.all():
        first = int(np.argmin(finite))
        return losses[: first + 1], Status("diverged", epoch + 1, steps_before + first + 1)
    numbers: list[Any] = [*metrics.values(), *weights.values()]
    if not all(np.isfinite(array).all() for array in numbers):
        # The last step broke the weights; or ReLU made zeros of NaN, and the losses show nothing.
        return losses, Status("diverged", epoch + 1, steps_before + len(losses))
    return losses, Status("finished")


def write_training(directory: Path, record: RunRecord) -> None:
    """Writes the record of a training.

    Raises:
        RecordError: It cannot be written.
    """
    test, status = record.test, record.status
    content = {
        "num_parameters": record.num_parameters,
        "history": record.history,
        "test": {"loss": test.loss, "accuracy": test.accuracy} if test else None,
        "seconds": record.seconds,
        "peak_memory_bytes": record.peak_memory_bytes,
        **({"peak_gpu_memory_bytes": on_gpu} if (on_gpu := record.peak_gpu_memory_bytes) is not None else {}),
        "status": {"outcome": status.outcome, "epoch": status.epoch, "step": status.step},
        "windows": [[window.first, window.steps[-1].number] for window in record.windows],
        **({"epoch_states": asdict(record.epoch_states)} if record.epoch_states else {}),
    }
    steps = {"loss": record.step_losses, **(vars(record.fed) if record.fed else {})}
    with new_record(directory) as partial:
        write_header(partial, record, "training", content)
        write_tensors(partial / "steps.safetensors", steps)
        write_tensors(partial / "weights.safetensors", record.weights)
        if record.windows:
            write_windows(partial, record.windows)
        if test:
            write_tensors(partial / "predictions.safetensors", {"probabilities": test.predictions})


def read_record(directory: Path) -> RunRecord:
    """Reads the record of a training and checks all of it.

    Raises:
        RecordError: A file is missing, damaged, of another version, or lacks or misstates a key.
    """
    header, fields = read_header(directory, "training")
    recipe: Recipe = header["recipe"]
    status = _read_status(fields)
    finite = status.outcome == "finished"
    step_losses, fed = _read_steps(directory, recipe, finite=finite)
    record = RunRecord(
        **header,
        directory=directory,
        history=_read_history(fields, diverged=not finite),
        test=_read_test(directory, recipe, fields) if finite else None,
        seconds=fields.number("seconds"),
        peak_memory_bytes=fields.integer("peak_memory_bytes"),
        peak_gpu_memory_bytes=fields.integer(key) if (key := "peak_gpu_memory_bytes") in fields.content else None,
        status=status,
        step_losses=step_losses,
        fed=fed,
        windows=read_windows(directory, recipe, fields, finite=finite),
        epoch_states=read_epoch_states(fields),
        weights=read_tensors(directory, "weights.safetensors", weight_shapes(recipe), recipe.dtype, finite=finite),
    )
    check_numbers(fields, record.history)
    check_lengths(fields, recipe, len(record.step_losses), len(record.history["loss"]))
    num_parameters = fields.integer("num_parameters")
    if num_parameters != record.num_parameters:
        raise fields.error("num_parameters", "the number of values in weights.safetensors", num_parameters)
    return record


def _read_status(fields: Fields) -> Status:
    outcome = fields.text("status.outcome")
    if outcome not in ("finished", "diverged"):
        raise fields.error("status.outcome", "finished or diverged", outcome)
    if outcome == "diverged":
        return Status("diverged", fields.count("status.epoch"), fields.count("status.step"))
    return Status("finished")


def _read_test(directory: Path, recipe: Recipe, fields: Fields) -> TestResults:
    shapes = {"probabilities": (recipe.images.num_test_images, recipe.images.num_classes)}
    predictions = read_tensors(directory, "predictions.safetensors", shapes, recipe.dtype)["probabilities"]
    test = TestResults(fields.number("test.loss"), fields.number("test.accuracy"), predictions)
    if not 0 <= test.accuracy <= 1:
        raise fields.error("test.accuracy", "a proportion from 0 to 1", test.accuracy)
    if predictions.min() < 0 or predictions.max() > 1 + 1e-6:  # a rounded sum may exceed 1 by its rounding
        path = directory / "predictions.safetensors"
        span = f"{predictions.min()} to {predictions.max()}"
        raise RecordError(f"{path}: probabilities: expected numbers from 0 to 1, found {span}")
    return test


def _read_history(fields: Fields, *, diverged: bool) -> dict[str, list[float]]:
    history = {key: fields.numbers(f"history.{key}") for key in HISTORY_KEYS}
    num_epochs = len(history["loss"])
    for key, values in history.items():
        if len(values) != num_epochs or not (values or diverged):
            raise fields.error(f"history.{key}", f"{num_epochs or 1} numbers, one an epoch", f"{len(values)}")
    for key, highest, expected in (
        ("accuracy", 1, "proportions from 0 to 1"),
        ("val_accuracy", 1, "proportions from 0 to 1"),
        ("seconds", math.inf, "no number below 0"),
    ):
        if not all(0 <= value <= highest for value in history[key]):
            raise fields.error(f"history.{key}", expected, history[key])
    return history


def _read_steps(directory: Path, recipe: Recipe, *, finite: bool) -> tuple[NDArray[np.floating], Fed | None]:
    """The loss of every step, and what each was fed, which may be left out."""
    path = directory / "steps.safetensors"
    sums: dict[str, Shape] = {field.name: (None,) for field in dataclass_fields(Fed)}
    steps = read_tensors(directory, path.name, {"loss": (None,)}, recipe.dtype, optional=sums, finite=finite)
    losses = steps.pop("loss")
    if not len(losses):
        raise RecordError(f"{path}: loss: expected the loss of every step, found none")
    for name, array in steps.items():
        if len(array) != len(losses):
            raise RecordError(f"{path}: {name}: expected one for each of {len(losses)} losses, found {len(array)}")
    return losses, Fed(**steps) if steps else None
