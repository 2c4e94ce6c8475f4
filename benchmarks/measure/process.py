"""One timed process, in a terminal as a user has one: progress bars are drawn, not skipped."""

import json
import os
import pty
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.run.process import environment as environment_of_runs

ROOT = Path(__file__).parents[2]
TERMINAL = (40, 120)
"""Lines and columns of the terminal."""

_END_OF_TERMINAL = OSError


class FailedError(RuntimeError):
    """A process ended with an error; the message has its last lines."""


@dataclass(frozen=True)
class Finished:
    """What a process wrote and took: seconds on the wall, and of CPU over all threads."""

    output: str
    seconds: float
    cpu_seconds: float

    def report(self) -> dict[str, Any]:
        """The line of JSON that the scripts end with."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        return json.loads(lines[-1])


def run(*command: str, threads: int | None, device: str = "cpu", may_fail: bool = False) -> Finished:
    """Runs `python COMMAND` in the repository's root to its end.

    Args:
        command: What follows `python`.
        threads: Threads of every framework; None leaves the environment as the user has it.
        device: "cpu" hides the GPUs.
        may_fail: Any exit code will do: that of `compare` is its verdict.

    Raises:
        FailedError: It ended with another exit code than 0.
    """
    environment = dict(os.environ) if threads is None else environment_of_runs(threads)
    environment |= {"TERM": "xterm-256color"}
    if device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, TERMINAL)
    start = time.perf_counter()
    process = subprocess.Popen(
        (sys.executable, *command), cwd=ROOT, env=environment, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    output = _read_to_end(terminal)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 and not may_fail:
        last_lines = "\n".join(output.splitlines()[-5:])
        raise FailedError(f"python {' '.join(command)} ended with exit code {process.returncode}:\n{last_lines}")
    return Finished(output, seconds, usage.ru_utime + usage.ru_stime)


def _read_to_end(terminal: int) -> str:
    chunks = []
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        try:
            while chunk := stream.read(65536):
                chunks.append(chunk)
        except _END_OF_TERMINAL:
            pass  # how Linux says that nobody has the terminal open any more
    return b"".join(chunks).decode(errors="replace")
