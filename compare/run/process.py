"""A process of a run: its environment, its end, and what watches over it."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

from recipe.errors import BAD_INPUT, BadInputError, RunFailedError, last_error
from recipe.own_process import search_path

_SECONDS_TO_END = 5
"""What a run has after SIGTERM before it gets SIGKILL."""


def check_ended_well(name: str, exit_code: int, stderr: str) -> None:
    """Judges a command that was to leave no record by its exit code.

    Raises:
        BadInputError: It refused its input.
        RunFailedError: It ended with an error of its own.
    """
    if exit_code == BAD_INPUT:
        raise BadInputError(f"{name}: {last_error(stderr)}")
    if exit_code != 0:
        raise RunFailedError(f"{name} ended with exit code {exit_code}: {last_error(stderr)}")


@contextlib.contextmanager
def ending_with_this_process() -> Iterator[int]:
    """A process group, by its number, that is killed when this process ends, however it ends.

    A shell leads the group and reads from a pipe that nobody else holds: when it closes, it kills
    the group, itself and whatever the run has started.
    """
    guard = subprocess.Popen(
        ["/bin/sh", "-c", "read _; kill -9 0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    with guard:  # closes the pipe, then waits
        yield guard.pid


class Watchdog:
    """Ends a process when it is to stop, or when it says nothing for `silence` seconds.

    What the process has started ends with it: whoever holds its output open would be waited for.
    """

    def __init__(self, process: "subprocess.Popen[str]", group: int, stop: threading.Event, silence: float) -> None:
        self.process, self.group, self.stop, self.silence = process, group, stop, silence
        self.timed_out = False
        self.note_output()

    def note_output(self) -> None:
        """Notes that the process has written something."""
        self.last_output = time.monotonic()

    def watch(self) -> None:
        """Returns when the process has ended; told to, it has a while to end by itself before it is killed."""
        while not self._ended_within(0.1):
            self.timed_out = time.monotonic() - self.last_output > self.silence
            if self.stop.is_set() or self.timed_out:
                self.process.terminate()
                self._ended_within(_SECONDS_TO_END)
                break
        os.killpg(self.group, signal.SIGKILL)

    def _ended_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def environment(threads: int) -> dict[str, str]:
    """The process environment: the same number of threads for every framework."""
    return {
        # Frameworks that share a GPU must not each take all of its memory at the start.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        "PYTHONPATH": search_path(),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NPROC": str(threads),  # what XLA's thread pool on the CPU goes by
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}",
    }
