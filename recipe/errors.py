"""Every error whose message is for the user: one line that says what happened, what was expected and how to mend it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_LINE = 500
"""Characters that are shown of a line that another program wrote."""

BAD_INPUT = 2
"""Exit code of a program whose options, files or machine do not allow what was asked."""

RUN_FAILED = 4
"""Exit code of a program that started another one, which ended with an error of its own."""


class ParityError(Exception):
    """The base of all errors below; a program that meets one prints its message and ends with `exit_code`."""

    exit_code = BAD_INPUT


class RecipeError(ParityError, ValueError):
    """A recipe that cannot be trained; the message names the field, its value and what is allowed."""


class DataError(ParityError, ValueError):
    """A data set is not there, cannot be fetched, or is not what it should be."""


class RecordError(ParityError, ValueError):
    """A record that breaks the format; the message names the file, the key and what was expected."""


class DamagedError(RecordError):
    """A file of a record is not what was written: it is no fault of what wrote it."""


class PictureError(ParityError, ValueError):
    """A picture that cannot be used; the message names the file, what is wrong and what was expected."""


class UnavailableError(ParityError, RuntimeError):
    """The machine lacks what was asked for, such as a GPU or a backend; the message says how to get it."""


class BadInputError(ParityError, ValueError):
    """What the user asked for cannot be run; the message says why."""


class BadArgumentError(BadInputError):
    """An argument of a public function that cannot be; the message begins with its name."""


class RunFailedError(ParityError, RuntimeError):
    """A run ended without a record, or a command with an error of its own; the message says where to look."""

    exit_code = RUN_FAILED


class ScriptFailedError(RunFailedError):
    """A user's script ended with an error of its own; the message says which and where."""


@contextmanager
def errors_are_one_line() -> Iterator[None]:
    """Ends the process with one line on standard error, and the error's exit code, where the block raises one."""
    try:
        yield
    except ParityError as error:
        print(f"error: {as_one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


def harmless(text: str) -> str:
    """A text as a terminal may have it: what it would obey, or cannot print, is spelled out as Python does.

    That is control characters and with them all escape sequences, but for ends of lines and tabs; marks that turn the
    direction of writing; and the bytes of a file's name that are no UTF-8.
    """
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def as_one_line(text: object) -> str:
    """A text in one line, and harmless."""
    return harmless(" ".join(str(text).split()))


def in_short(line: str) -> str:
    """A line of another program, harmless and not longer than `LONGEST_LINE`."""
    line = harmless(line)
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def last_error(stderr: str) -> str:
    """What a program said last that ended with an error, without the words that begin such a line."""
    *_, last_line = stderr.strip().splitlines() or ["no message"]
    return in_short(last_line.removeprefix("error: "))
