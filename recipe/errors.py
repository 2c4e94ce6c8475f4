"""Every error whose message is for the user: one line that says what happened, what was expected and how to mend it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def last_error(stderr: str) -> str:
    """What a program said last that ended with an error, without the words that begin such a line."""
    *_, last_line = stderr.strip().splitlines() or ["no message"]
    return last_line.removeprefix("error: ")
