"""What a study keeps of each run: a small file each, complete or absent."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from compare.findings import RunStatus, make
from compare.study.plan import StudyRun
from recipe import Recipe, datasets
from recipe.atomic import complete_or_absent
from recipe.errors import BadInputError, DataError, RecordError
from recipe.images import Summary
from recipe.plain_file import check_is_file, read_text
from record.consistency import check_accuracy
from record.training import RunRecord, read_record


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over, with a result or an error; `done_here` says that this study ran it just now."""

    run: StudyRun
    error: str | None
    done_here: bool


@dataclass(frozen=True)
class Result:
    """What a study keeps of a run, or why there is nothing to keep.

    Accuracy is a proportion. Of a diverged run there is neither accuracy nor loss.
    """

    status: RunStatus
    error: str | None = None
    diverged_at: dict[str, int | None] | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    seconds: float | None = None
    versions: Mapping[str, str] | None = None
    backend: str | None = None
    device: str | None = None


def condense(record: RunRecord) -> bytes:
    """A result as it travels: a safetensors file of the steps' losses and the classes predicted, in few bytes.

    Raises:
        RecordError: The record states another accuracy than that of its predictions; no ladder would say so in a study.
    """
    if record.test:
        check_accuracy(record.test.accuracy, record.test.predictions, _test_labels(record.recipe))
    result = Result(
        status=record.status.outcome,
        diverged_at={"epoch": record.status.epoch, "step": record.status.step} if record.diverged else None,
        test_accuracy=record.test.accuracy if record.test else None,
        test_loss=record.test.loss if record.test else None,
        seconds=record.seconds,
        versions=record.versions,
        backend=record.backend,
        device=record.device,
    )
    arrays = {"step_losses": record.step_losses}
    if record.test:
        smallest = np.min_scalar_type(record.recipe.images.num_classes - 1)
        arrays["predicted"] = record.test.predictions.argmax(axis=1).astype(smallest)
    text = json.dumps(asdict(result))
    return save(arrays, {"result": text, "sha256": _checksum(text, arrays)})


def _test_labels(recipe: Recipe) -> NDArray[Any]:
    """The labels of a recipe's test images, which are read once: all runs of a study have the same."""
    return _labels_of(recipe.dataset, recipe.images)


@functools.lru_cache(maxsize=4)
def _labels_of(dataset: str, images: Summary) -> NDArray[Any]:
    return datasets.load(Recipe(dataset=dataset, images=images, batch_size=1)).y_test


class Results:
    """The results of a study in a directory, a file each; complete or absent.

    Failures are kept too, so that a second study at the same time does not try them as well; a study
    that starts tries again what failed before.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._failed_before = {path: _time_of(path) for path in directory.glob("*.failed.json")}

    def path(self, run: StudyRun) -> Path:
        """Where the result is or will be."""
        return self.directory / f"{run.key}.safetensors"

    def failure_path(self, run: StudyRun) -> Path:
        """The file that says why the run failed."""
        return self.directory / f"{run.key}.failed.json"

    def lock_path(self, run: StudyRun) -> Path:
        """The lock that is held by the study that is running it."""
        return self.directory / f"{run.key}.lock"

    def write(self, run: StudyRun, content: bytes) -> None:
        """Keeps the result of a run; no failure of it is remembered."""
        with complete_or_absent(self.path(run)) as partial:
            partial.write_bytes(content)
        self.failure_path(run).unlink(missing_ok=True)

    def write_failure(self, run: StudyRun, error: str) -> None:
        """Keeps the reason why a run has no result."""
        with complete_or_absent(self.failure_path(run)) as partial:
            partial.write_text(json.dumps({"error": error}))

    def take_records(self, runs: Sequence[StudyRun], comparisons: Path) -> None:
        """Keeps the results of runs that a comparison in a directory beside this study has trained already.

        A record's name says all that determines the training. One that is damaged, or that another study is just
        about to write a result of, is left alone.
        """
        trained = {file.parent.name: file.parent for file in comparisons.glob("*/records/*/record.json")}
        for run in runs:
            if run.key in trained and not self.path(run).exists():
                with (
                    contextlib.suppress(DataError, RecordError, Timeout),
                    FileLock(self.lock_path(run), blocking=False),
                ):
                    self.write(run, condense(read_record(trained[run.key])))

    def settled(self, run: StudyRun) -> bool:
        """Whether the run need not be run: it has a result, or failed since this study began."""
        failure = self.failure_path(run)
        return self.path(run).exists() or _time_of(failure) != self._failed_before.get(failure)

    def read(self, run: StudyRun) -> Result:
        """The result of a run; `missing` where there is none."""
        path = self.path(run)
        if path.exists():
            with _open(path) as file, _damage_is_named(path):
                return make(Result, json.loads(file.metadata()["result"]))
        path = self.failure_path(run)
        try:
            with _damage_is_named(path):
                return Result("failed", error=str(json.loads(read_text(path))["error"]))
        except FileNotFoundError:
            return Result("missing")

    def step_losses(self, run: StudyRun) -> NDArray[np.floating]:
        """The loss of every optimizer step, shape (steps,)."""
        with _open(self.path(run)) as file, _damage_is_named(self.path(run)):
            return np.asarray(file.get_tensor("step_losses"))

    def predicted(self, run: StudyRun) -> NDArray[np.unsignedinteger[Any]]:
        """The class predicted for every test image, shape (test images,)."""
        with _open(self.path(run)) as file, _damage_is_named(self.path(run)):
            return np.asarray(file.get_tensor("predicted"))


def _open(path: Path) -> Any:
    """A result, after its bytes were held against their checksum; those of earlier versions have none."""
    with _damage_is_named(path):
        check_is_file(path)
        file = safe_open(path, framework="numpy")
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if metadata.get("sha256", "") not in ("", _checksum(metadata["result"], arrays)):
            raise ValueError("it does not fit its checksum")
        return file


def _checksum(result: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """The SHA-256 of a result and of its arrays in the order of their names."""
    digest = hashlib.sha256(result.encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _damage_is_named(path: Path) -> Iterator[None]:
    """Raises BadInputError for what damaged files raise; that a file is not there is left to the caller."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (AttributeError, LookupError, OSError, RecursionError, SafetensorError, TypeError, ValueError) as error:
        raise BadInputError(f"{path} is damaged ({error}); delete it, and the study runs it again") from error


def _time_of(path: Path) -> int | None:
    """When the file was written, in nanoseconds; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
