"""A process of a run: its environment, its end, and what watches over it."""

import contextlib
import math
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from recipe.errors import BAD_INPUT, BadInputError, RunFailedError, last_error
from recipe.own_process import search_path

_SECONDS_TO_END = 5
"""What a run has after SIGTERM before it gets SIGKILL."""

_SECONDS_TO_READ = 1
"""How long the output of a run that has ended is read on, where something that it left behind holds it open."""

_SECONDS_BETWEEN_LOOKS = 0.1
_PIECE = 2**16


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
    """Reads what a process writes, and ends it when it is to stop, or says nothing for `silence` seconds.

    What the process has started in its group ends with it. What has left the group goes on, and may hold the output
    open for as long as it likes: nobody waits for that.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", group: int, stop: threading.Event, silence: float) -> None:
        self.process, self.group, self.stop, self.silence = process, group, stop, silence
        self.timed_out = False

    def output(self) -> Generator[bytes, None, None]:
        """What the process writes, piece by piece, until it has ended; close it, should you not read to the end."""
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        descriptor = self.process.stdout.fileno()
        last_output, kill_at = time.monotonic(), math.inf
        try:
            with selectors.DefaultSelector() as output:
                output.register(descriptor, selectors.EVENT_READ)
                while not self._ended_within(0 if output.get_map() else _SECONDS_BETWEEN_LOOKS):
                    for _ in output.select(_SECONDS_BETWEEN_LOOKS) if output.get_map() else ():
                        if piece := os.read(descriptor, _PIECE):
                            last_output = time.monotonic()
                            yield piece
                        else:  # it has closed its output, and may go on for long
                            output.unregister(descriptor)
                    if kill_at == math.inf:
                        kill_at = self._told_to_end(last_output)
                    if time.monotonic() > kill_at:
                        break
                self._kill_group()
                read_until = time.monotonic() + _SECONDS_TO_READ
                while output.get_map() and output.select(max(0, read_until - time.monotonic())):
                    piece = os.read(descriptor, _PIECE)
                    if not piece or time.monotonic() > read_until:
                        break
                    yield piece
        finally:
            self._kill_group()
            self.process.wait()

    def _told_to_end(self, last_output: float) -> float:
        """When to kill the process, which is told to end by itself; infinity where it may go on."""
        silent = time.monotonic() - last_output > self.silence
        if not (silent or self.stop.is_set()):
            return math.inf
        self.timed_out = silent and not self.stop.is_set()
        self.process.terminate()
        return time.monotonic() + _SECONDS_TO_END

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # a Mac's answer where all have ended
            os.killpg(self.group, signal.SIGKILL)

    def _ended_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def environment(threads: int, gpu: str | None = None) -> dict[str, str]:
    """The process environment: the same number of threads for every framework, and of the GPUs the named one alone."""
    return {
        # Frameworks that share a GPU must not each take all of its memory at the start.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # By default glibc soon serves blocks of 12 MB from its heap, which small arrays that stay then break up: over
        # ten epochs that was 240 MB.
        "MALLOC_MMAP_THRESHOLD_": str(2**22),
        **os.environ,
        "PYTHONPATH": search_path(),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NPROC": str(threads),  # what XLA's thread pool on the CPU goes by
        "XLA_FLAGS": _xla_flags(threads),
        **({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
    }


def _xla_flags(threads: int) -> str:
    """Ours, then the user's, of which XLA takes the last; it reads no further than to a word without a dash.

    What does not begin with a dash is the name of a file of flags.
    """
    users = os.environ.get("XLA_FLAGS", "").strip()
    if users and not users.startswith("-"):
        users = Path(users).read_text() if Path(users).is_file() else ""
    return f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} {users}".strip()
