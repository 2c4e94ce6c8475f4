"""Writing a file or a directory completely or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from recipe.errors import RecordError


def check_absent(path: Path) -> None:
    """Refuses to write where something is.

    Raises:
        RecordError: There is a file or directory, or the directory around it is not writable.
    """
    if path.exists():
        raise RecordError(f"{path} is there already; delete it, or choose another name")
    check_writable(path.parent)


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """A place beside `path` for a file or a directory, with the same ending, that is renamed after the block.

    It is the same place each time, so that what a killed process left there is overwritten. A file is on
    the disk before it is renamed: a quota or a file system over a network may tell only then that it is full.

    Raises:
        RecordError: It cannot be written, on a full disk for one; what was at `path` is as it was.
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        if partial.is_file():
            on_disk(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RecordError(
            f"cannot write {path}: {reason}; what was there before is untouched: make room, or choose another place"
        ) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


def check_writable(directory: Path) -> None:
    """Makes the directory, if it is not there, and a file in it.

    Raises:
        RecordError: One of the two cannot be done.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise RecordError(f"cannot write to {directory}: {error.strerror}; choose another directory") from error


def on_disk(file: Path) -> None:
    """Has a file on the disk, before it is renamed: else a power cut may keep the name and lose what it names."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
