"""Looks at what a user hands in before it is read: is it a file at all, of a size that can be, and whole?

Opening a pipe waits for somebody to write into it, a device such as /dev/zero has no end, and an archive of a few
kilobytes may unpack to gigabytes.
"""

import errno
import os
import stat
import zipfile
import zlib
from pathlib import Path

from recipe.errors import RecordError

MAX_UNPACKED = 2**30
"""Bytes of what an archive unpacks to, all its members together, unless it is as large itself."""

MAX_TEXT = 2**28
"""Bytes of a text; the largest that this project writes, the results of 5,000 runs, have 2 million."""


def check_is_file(path: Path, *, most: int | None = None) -> None:
    """Looks at what is at `path`, and opens nothing.

    Args:
        path: Where a file is to be.
        most: The bytes that it may have, None for any number.

    Raises:
        OSError: There is nothing, or something else than a file, or it is too large.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Is a pipe or a device, not a file", str(path))
    if most is not None and status.st_size > most:
        raise OSError(errno.EFBIG, f"Has {status.st_size:,} bytes, at most {most:,} are read", str(path))


def read_text(path: Path) -> str:
    """Reads a text in UTF-8.

    Raises:
        OSError: It cannot be read, or is no file or too large.
        UnicodeDecodeError: It is something else.
    """
    check_is_file(path, most=MAX_TEXT)
    return path.read_text(encoding="utf-8")


def check_archive(path: Path) -> None:
    """Holds every member of a zip archive, as checkpoints are, against the size and the checksum (CRC-32) stated there.

    What reads a checkpoint may look at neither: of 600 with a single bit flipped, torch.load took 105 for whole.

    Raises:
        RecordError: It is no archive or damaged, or would unpack to more than `MAX_UNPACKED` bytes.
    """
    try:
        check_is_file(path)
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            fits = unpacked <= max(MAX_UNPACKED, path.stat().st_size)
            damaged = archive.testzip() if fits else None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    # What zipfile raises of damaged archives: of headers that ask for a password, an unknown packing, dates, names.
    except (EOFError, ArithmeticError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read: it is damaged or no checkpoint ({error})") from error
    if not fits:
        raise RecordError(f"{path}: {unpacked:,} bytes when unpacked; at most {MAX_UNPACKED:,} are read")
    if damaged is not None:
        raise RecordError(f"{path}: is damaged: its part {damaged} does not fit its checksum; take another checkpoint")
