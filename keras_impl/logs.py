"""Loss and accuracy of every epoch, for TensorBoard and as a CSV table."""

import csv
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from recipe.atomic import check_writable
from recipe.errors import RecordError

COLUMNS = ("epoch", "step", "loss", "accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy")
"""Of `metrics.csv`; all but `step`, the axis, are tags in TensorBoard as well. lightning_impl has the same."""


class Logs(keras.callbacks.Callback):
    """Writes the metrics of every epoch over the number of the epoch, from 0.

    Keras's own TensorBoard callback needs TensorFlow, whatever the backend, and calls the metrics
    `epoch_loss` and `epoch_accuracy` in two runs, `train` and `validation`. tensorboardX needs no
    framework; its event file is written here without the thread of its SummaryWriter, so that an
    epoch is on the disk when the next one begins.

    Args:
        directory: Where each run gets a directory of its own, `version_N`, as Lightning's have.

    Raises:
        RecordError: The directory is not writable.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        check_writable(directory)
        self.directory = _new_version(directory)
        self.table = self.directory / "metrics.csv"
        with self._full_disk_in_one_line():
            self.table.write_text(",".join(COLUMNS) + "\n")
            self.events = EventsWriter(str(self.directory / "events"))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes what Keras measured in the epoch."""
        self.write({"epoch": epoch, **(logs or {})}, epoch)

    def write(self, values: dict[str, float], step: int) -> None:
        """Adds a row to the table, and a point at `step` to the curve of each value.

        Raises:
            RecordError: They cannot be written, on a full disk for one.
        """
        with self._full_disk_in_one_line():
            with self.table.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow({"step": step, **values})
            for name, value in values.items():
                self.events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            self.events.flush()

    @contextmanager
    def _full_disk_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RecordError(f"cannot write to {self.directory}: {error.strerror}; make room there") from error


def _new_version(directory: Path) -> Path:
    """Makes the `version_N` after all that are there, also where another run does so at the same time."""
    names = (path.name.removeprefix("version_") for path in directory.glob("version_*"))
    for number in itertools.count(1 + max((int(name) for name in names if name.isdigit()), default=-1)):
        path = directory / f"version_{number}"
        with suppress(FileExistsError):
            path.mkdir()
            break
    return path
