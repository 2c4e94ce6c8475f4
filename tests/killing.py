"""Kills trainings at random moments, as a power cut or a batch system would.

`python -m tests.killing ROOM KILLS ARGUMENTS...` runs ROOM's command line over and over. Each run is a
fork of this process, which has imported the framework once: that is most of what a start costs.
"""

import importlib
import itertools
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.conftest import run_python

CHECKPOINTS = Path("checkpoints")
LONG = 600.0
"""Seconds that no training of the tests takes."""


def kill_at_random_moments(room: str, arguments: list[str], directory: Path, kills: int) -> list[Path]:
    """The checkpoints that trainings left when they ended; so many were killed in all, the first one never.

    The arguments must ask for checkpoints in `checkpoints`, and to go on from there.
    """
    process = run_python("-m", "tests.killing", room, kills, *arguments, cwd=directory, timeout=1800)
    assert process.returncode == 0, process.stderr
    return sorted(directory.glob("ended-*"))


def program(room: str) -> Callable[[list[str]], None]:
    """The command line of an implementation, its framework imported."""
    if room == "keras_impl":
        from keras_impl import backend
        from recipe import Recipe

        backend.select("tensorflow", "cpu", Recipe())
        importlib.import_module("keras_impl.checkpoints")
    module = importlib.import_module(f"{room}.__main__")

    def run(arguments: list[str]) -> None:
        sys.argv = [f"python -m {room}", *arguments]
        module.main()

    return run


def start(run: Callable[[list[str]], None], arguments: list[str]) -> int:
    """Forks a run; returns the number of its process."""
    if child := os.fork():
        return child
    failed = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        run(arguments)
        failed = 0
    finally:
        if failed:
            traceback.print_exc()
        os._exit(failed)  # nothing of this may go on in the parent's loop


def ended_within(child: int, seconds: float) -> bool:
    """Whether the process ended by itself in that time; it is killed where it did not.

    It may end between the last look and the kill: how it ended is what its status says.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, "a training failed"
    return True


def main(room: str, kills: int, arguments: list[str]) -> None:
    """Starts trainings until so many were killed, and lets the last one end."""
    run = program(room)
    began = time.monotonic()
    assert ended_within(start(run, arguments), LONG)
    duration = time.monotonic() - began
    numbers = itertools.count()

    def keep() -> None:
        CHECKPOINTS.rename(f"ended-{next(numbers)}")

    keep()
    moments = random.Random()  # noqa: S311 - no secret
    while kills:
        if ended_within(start(run, arguments), moments.uniform(0, duration)):
            keep()
        else:
            kills -= 1
    assert ended_within(start(run, arguments), LONG)
    keep()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
