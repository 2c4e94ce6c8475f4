"""Implementations as words that mean the same on every machine of a cluster."""

import sys
from typing import Any

from compare.run.implementations import Implementation

_PYTHON = "python"
"""Stands for the interpreter that the worker itself runs in, wherever that is."""


def portable_determinants(determinants: dict[str, Any]) -> dict[str, Any]:
    """Determinants as flat text, for a message that names what differs."""
    return {"code": determinants["code"][:12], "device": determinants["device"], **determinants["versions"]}


def describe(commands: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """What this machine would run for these commands, by implementation."""
    return {
        name: portable_determinants(local_implementation(name, words).determinants) for name, words in commands.items()
    }


def portable_words(implementation: Implementation) -> tuple[str, ...]:
    """Its command, with a word that any machine understands in place of this Python."""
    executable, *rest = implementation.command
    return (_PYTHON if executable == sys.executable else executable, *rest)


def local_implementation(name: str, words: tuple[str, ...]) -> Implementation:
    """What `portable_words` made a command of, with this machine's Python."""
    executable, *rest = words
    return Implementation(name, (sys.executable if executable == _PYTHON else executable, *rest))
