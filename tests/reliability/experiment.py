"""What every experiment is: a fault that is tried many times, and a promise that is kept each time."""

import random
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Try = Callable[[Path, int], list[str]]
"""Tries a fault so many times in an empty directory; returns a line for each time that the promise was not kept."""


@dataclass(frozen=True)
class Experiment:
    """A row of docs/reliability.md.

    Args:
        area: What the fault is of, the table's heading.
        fault: What is done.
        promise: What holds each time.
        tries: Does it.
        few: How often by default.
        many: How often in the marked set.
    """

    area: str
    fault: str
    promise: str
    tries: Try
    few: int
    many: int


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(area: str, fault: str, promise: str, *, few: int, many: int) -> Callable[[Try], Try]:
    """Enters a function as an experiment under its name."""

    def enter(tries: Try) -> Try:
        EXPERIMENTS[tries.__name__] = Experiment(area, fault, promise, tries, few, many)
        return tries

    return enter


class HungError(Exception):
    """Something took longer than it may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises HungError in the block once that many seconds are over."""

    def stop(*_: Any) -> None:
        raise HungError(f"still at it after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_one_line(exit_code: int | None, stderr: str, *words: str) -> str | None:
    """None for exit code 2 and one line that says each of the words; else what there was."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if exit_code == 2 and len(lines) == 1 and lines[0].startswith("error: ") and all(map(lines[0].__contains__, words)):
        return None
    return f"exit code {exit_code}: {stderr.strip()[-300:] or 'nothing'}"


def ended_in_one_line(process: "subprocess.CompletedProcess[str]", *words: str) -> str | None:
    """The same of a process, whose own words on the way, of frameworks for one, do not count."""
    if process.returncode != 2 or "Traceback" in process.stderr:
        return f"exit code {process.returncode}: {process.stderr.strip()[-300:]}"
    return is_one_line(2, process.stderr.strip().splitlines()[-1], *words)


# --- damage ----------------------------------------------------------------------------------------


def flipped(content: bytes, chance: random.Random) -> bytes:
    """With one bit flipped."""
    place = chance.randrange(8 * len(content))
    damaged = bytearray(content)
    damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Damaged in one of the ways in which disks, networks and people do it."""
    size, begin = len(content), chance.randrange(len(content))
    length = chance.randrange(1, max(2, size // 4))
    return chance.choice(
        [
            lambda: flipped(content, chance),
            lambda: content[:begin],
            lambda: content[:begin] + bytes(len(content[begin : begin + length])) + content[begin + length :],
            lambda: (
                content[:begin] + chance.randbytes(len(content[begin : begin + length])) + content[begin + length :]
            ),
            lambda: content[:begin] + content[begin + length :],
            lambda: content[:begin] + content[begin : begin + length] + content[begin:],
            lambda: content + chance.randbytes(length),
            lambda: b"",
            lambda: chance.randbytes(length),
        ]
    )()


_WRONG = (None, True, -1, 1e308, 10**400, "", "text", "[/x]", "\x1b[31m", [], [[]], {}, {"a": None}, float("nan"))


def miswritten(value: Any, chance: random.Random) -> Any:
    """What JSON holds, with one entry somewhere missing, doubled or of another kind."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.2:
            return {name: entry for name, entry in value.items() if name != key}
        return {**value, key: miswritten(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        if chance.random() < 0.2:
            return value[:place] + value[place + 1 :]
        return [*value[:place], miswritten(value[place], chance), *value[place + 1 :]]
    return chance.choice(_WRONG)


def first_words(error: BaseException) -> str:
    """An error in half a line."""
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
