"""The one way to write a file or a directory: completely or not at all."""

import errno
import os
import re
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


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """A place next to `path` for a file or a directory, with the same ending, that is renamed to it after the block.

    The place is this process's own, so that two processes may write the same path at once: the later one wins, and a
    directory is never replaced. What killed processes left for `path` is removed first. Everything is flushed to the
    disk before it is renamed: a quota or a network file system may say only then that it is full, and after a power
    cut there would be a name without content.

    Raises:
        RecordError: It cannot be written, for example on a full disk; what was at `path` is as it was.
    """
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    try:
        for left_over, process in _partials(path):
            if process == os.getpid() or not _is_running(process):
                _remove(left_over)
        yield partial
        _flush(partial)
        partial.replace(path)
        _flush_entries(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RecordError(
            f"cannot write {path}: {reason}; what was there before is untouched: make room, or choose another place"
        ) from error
    finally:
        _remove(partial)


def remove_partials(path: Path) -> None:
    """Removes what other processes began to write for `path`; the caller knows that all of them have ended."""
    for partial, _ in _partials(path):
        _remove(partial)


def _partials(path: Path) -> list[tuple[Path, int]]:
    """What `complete_or_absent` writes to before it renames it to `path`, and the number of the process that does."""
    name = re.compile(rf"partial-(\d+)-{re.escape(path.name)}")
    matches = [(partial, name.fullmatch(partial.name)) for partial in path.parent.glob("partial-*")]
    return [(partial, int(match[1])) for partial, match in matches if match]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flushes a file, or a directory with everything in it, to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
        _flush_entries(path)
    else:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _flush_entries(directory: Path) -> None:
    """Flushes the names that a directory holds, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
