"""The errors of this room, under the names that the command line knows."""

from compare.runner import BadInputError, RunFailedError


class ScriptFailedError(RunFailedError):
    """A user's script ended with an error of its own; the message says which and where."""


__all__ = ["BadInputError", "RunFailedError", "ScriptFailedError"]
