"""One run of one implementation in a process of its own -> its record; finished runs are reused."""

import contextlib
import hashlib
import json
import math
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from compare.sources import sources
from recipe import Recipe
from recipe.run_record import RecordError, RunRecord, read_record
from recipe.settings import is_finite_number
from recipe.trace import Trace, read_trace
from recipe.worker import BAD_INPUT, last_error

_SECONDS_BETWEEN_LOOKS = 0.5

_SECONDS_TO_END = 5
"""What a run has after SIGTERM before it gets SIGKILL."""

Backend = Literal["tensorflow", "torch", "jax"]
Device = Literal["auto", "cpu", "gpu"]

_ROOT = Path(__file__).parents[1]
_WORKERS = ("keras_impl.worker", "lightning_impl.worker")
_DISTRIBUTIONS = ("keras", "tensorflow", "torch", "jax", "lightning", "torchvision", "torchmetrics", "numpy")


class BadInputError(ValueError):
    """What the user asked for cannot be run; the message is one line that says why."""


class BadArgumentError(BadInputError):
    """An argument of `run`, `align` or `study` that cannot be; the message begins with its name."""


class RunFailedError(RuntimeError):
    """A run ended without a record, or a command with an error of its own; the message says where to look."""


@dataclass(frozen=True)
class Implementation:
    """An implementation of the contract: a name and the command that gets `RECIPE.json RUN_DIR` appended."""

    name: str
    command: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The command but for this Python in front of it, which is elsewhere on every machine; its version counts."""
        return self.command[1:] if self.command[0] in (sys.executable, "python", "python3") else self.command

    @cached_property
    def determinants(self) -> dict[str, Any]:
        """What a run depends on beside the recipe: the command, the code and the installed versions."""
        packages = [_ROOT / word.split(".")[0] for word in self.words if word in _WORKERS]
        files = [] if packages else sources(self.words)
        for package in [_ROOT / "recipe", *packages]:
            files += sorted(package.glob("*.py"))
        code = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        return {"command": self.words, "code": code, "versions": _installed_versions()}


def keras(backend: Backend, device: Device) -> Implementation:
    """The Keras implementation on one of its backends.

    Raises:
        BadInputError: The backend is not installed.
    """
    if find_spec(backend) is None:
        raise BadInputError(f"Keras's {backend} backend is not installed; install it with: pip install {backend}")
    options = ("--backend", backend, "--device", device)
    return Implementation("keras", (sys.executable, "-m", "keras_impl.worker", *options))


def lightning(device: Device) -> Implementation:
    """The Lightning implementation."""
    return Implementation("lightning", (sys.executable, "-m", "lightning_impl.worker", "--device", device))


def other(name: str, command: str | Sequence[str]) -> Implementation:
    """Any other implementation: its name, and its command as a line or as words.

    Raises:
        BadArgumentError: The name is unfit, or there is no such command.
    """
    try:
        words = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError as error:
        raise BadArgumentError(f"implementation {name}: {error} in {command!r}") from error
    if not name.isidentifier() or not words:
        raise BadArgumentError(
            f'implementation takes NAME="COMMAND", NAME a word of letters, digits and _; not {f"{name}={command}"!r}'
        )
    if name in ("keras", "lightning"):
        raise BadArgumentError(f"implementation: the name {name!r} is taken; choose another")
    if shutil.which(words[0]) is None:
        raise BadArgumentError(f"implementation {name}: there is no command {words[0]!r}")
    if (
        Path(words[0]).name.startswith("python")
        and words[1:]
        and words[1].endswith(".py")
        and not Path(words[1]).exists()
    ):
        raise BadArgumentError(f"implementation {name}: there is no file {words[1]}")
    return Implementation(name, words)


Record = RunRecord | Trace


@dataclass(frozen=True)
class Job:
    """A run to be had: from its implementation, its recipe and where the records of a comparison are.

    `trace` asks for the record of a trace instead of a training, `threads` is how many the run may
    use on the CPU, on which its bits depend; `title` is what people see.
    """

    implementation: Implementation
    recipe: Recipe
    records: Path
    trace: bool = False
    threads: int = 1
    title: str = ""

    @cached_property
    def directory(self) -> Path:
        """Where the record is or will be: the name holds a hash of all that determines the run.

        Taken once: it reads every file of the code, and a run must be looked for where it was begun.
        """
        determinants = {"recipe": self.recipe.to_json(), "threads": self.threads, **self.implementation.determinants}
        key = hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:16]
        return self.records / f"{self.implementation.name}{'-trace' if self.trace else ''}-{key}"

    def read(self) -> Record:
        """Reads the finished record.

        Raises:
            RecordError: It breaks the format, or is of another recipe than was asked for, under which it may be right.
        """
        record: Record = read_trace(self.directory) if self.trace else read_record(self.directory)
        for name, asked in vars(self.recipe).items():
            found = getattr(record.recipe, name)
            if found != asked and asked is not None:  # what the recipe leaves to the run, this may state
                raise RecordError(f"{self.directory / 'recipe.json'}: {name}: expected {asked}, found {found}")
        return record


@dataclass(frozen=True)
class Progress:
    """What a run reports: `fraction` of the training is done; `fields` are the numbers that it sent beside."""

    job: Job
    fraction: float
    fields: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with its record, which may have been there before, or with an error.

    `record` is a Trace or a RunRecord, as the job asked, or None.
    """

    job: Job
    record: Any
    reused: bool = False
    error: Exception | None = None


def run_all(
    jobs: Sequence[Job],
    *,
    fresh: bool = False,
    silence: float = math.inf,
    report: Callable[[Progress | Outcome], None],
) -> list[Outcome]:
    """Runs the jobs, as many side by side as the cores allow, and returns their outcomes in order.

    Args:
        jobs: What to run; a job whose record exists is not run again unless `fresh`.
        fresh: Replaces records that exist.
        silence: A run that says nothing for so many seconds hangs, and is ended.
        report: Called in this thread with progress and outcomes as they come.

    Raises:
        BadInputError: A run refused its input or broke the contract; the others are stopped.
    """
    messages: queue.Queue[Progress | Outcome] = queue.Queue()
    stop = threading.Event()
    outcomes: dict[int, Outcome] = {}
    side_by_side = max(1, _num_cores() // max(job.threads for job in jobs))
    with ThreadPoolExecutor(side_by_side) as pool:
        for job in jobs:
            pool.submit(_run, job, fresh=fresh, silence=silence, report=messages.put, stop=stop)
        try:
            while len(outcomes) < len(jobs):
                message = messages.get()
                if isinstance(message, Outcome):
                    outcomes[id(message.job)] = message
                    if isinstance(message.error, BadInputError):
                        raise message.error
                report(message)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return [outcomes[id(job)] for job in jobs]


def _num_cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    job: Job,
    *,
    fresh: bool,
    silence: float,
    report: Callable[[Progress | Outcome], None],
    stop: threading.Event,
) -> None:
    """Runs one job and reports its outcome, whatever happens."""
    hint = "" if job.implementation.name in ("keras", "lightning") else "; docs/run-record.md has the format"
    try:
        job.records.mkdir(parents=True, exist_ok=True)
        with _claimed(FileLock(job.directory.with_suffix(".lock")), stop):
            if fresh:
                shutil.rmtree(job.directory, ignore_errors=True)
            if job.directory.exists():
                hint = "; --fresh runs it again"
                outcome = Outcome(job, job.read(), reused=True)
            else:
                _start_and_wait(job, silence, report, stop)
                outcome = Outcome(job, job.read())
    except RecordError as error:
        broken = BadInputError(f"the record of {job.implementation.name} breaks the contract: {error}{hint}")
        outcome = Outcome(job, None, error=broken)
    except Exception as error:  # noqa: BLE001 - carried to the caller's thread, which decides
        outcome = Outcome(job, None, error=error)
    report(outcome)


@contextlib.contextmanager
def _claimed(lock: FileLock, stop: threading.Event) -> Iterator[None]:
    """Holds the lock, after waiting for whoever does; told to stop, it does nothing any more."""
    while not lock.is_locked and not stop.is_set():
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=_SECONDS_BETWEEN_LOOKS)
    try:
        if stop.is_set():
            raise InterruptedError
        yield
    finally:
        lock.release()


def _start_and_wait(job: Job, silence: float, report: Callable[[Progress], None], stop: threading.Event) -> None:
    """Runs the command; progress lines go to `report`, all others to the log beside the record."""
    name = job.implementation.name
    recipe_file = job.directory.with_suffix(".recipe.json")
    log_file = job.directory.with_suffix(".log")
    recipe_file.write_text(job.recipe.to_json())
    _remove_partial(job)
    command = [*job.implementation.command, str(recipe_file), str(job.directory)]
    command += ["--trace"] if job.trace else []
    with _ending_with_this_process() as group:
        try:
            process = subprocess.Popen(
                command,
                env=environment(job.threads),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                process_group=group,
            )
        except OSError as error:
            recipe_file.unlink()
            raise BadInputError(f"{name}: {command[0]} cannot be started: {error.strerror}") from error
        watchdog = _Watchdog(process, group, stop, silence)
        try:
            last_line = _follow(process, job, log_file, report, watchdog)
        finally:
            recipe_file.unlink()
            _remove_partial(job)
    if watchdog.barked:
        raise RunFailedError(f"{name} hung: it said nothing for {silence:,.0f} seconds; its log: {log_file}")
    if process.returncode == BAD_INPUT and last_line.startswith("error: "):
        raise BadInputError(f"{name}: {last_line.removeprefix('error: ')}")
    if process.returncode != 0:
        raise RunFailedError(f"{name} ended with exit code {process.returncode} ({last_line}); its log: {log_file}")
    if not job.directory.is_dir():
        raise BadInputError(f"{name} breaks the contract: it ended without leaving a record at {job.directory}")


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
def _ending_with_this_process() -> Iterator[int]:
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


def _follow(
    process: "subprocess.Popen[str]",
    job: Job,
    log_file: Path,
    report: Callable[[Progress], None],
    watchdog: "_Watchdog",
) -> str:
    """Reads the process's output until it ends; returns the last line that is not empty."""
    last_line = ""
    watching = threading.Thread(target=watchdog.watch, daemon=True)
    with log_file.open("w", encoding="utf-8") as log, process:
        watching.start()
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            watchdog.heard()
            fields = _progress_fields(line)
            if fields is not None:
                report(Progress(job, fields.pop("fraction"), fields))
                continue
            log.write(line)
            last_line = line.strip() or last_line
    watching.join()
    return last_line


def _remove_partial(job: Job) -> None:
    for partial in job.records.glob(f"{job.directory.name}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


class _Watchdog:
    """Ends a process when it is to stop, or when it says nothing for `silence` seconds.

    What the process has started ends with it: whoever holds its output open would be waited for.
    """

    def __init__(self, process: "subprocess.Popen[str]", group: int, stop: threading.Event, silence: float) -> None:
        self.process, self.group, self.stop, self.silence = process, group, stop, silence
        self.barked = False
        self.heard()

    def heard(self) -> None:
        """Takes note of a sign of life."""
        self.last_heard = time.monotonic()

    def watch(self) -> None:
        """Returns when the process has ended; told to, it has a while to end by itself before it is killed."""
        while not self._ended_within(0.1):
            self.barked = time.monotonic() - self.last_heard > self.silence
            if self.stop.is_set() or self.barked:
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


def _progress_fields(line: str) -> dict[str, float] | None:
    """The numbers of a progress line, or None if it is any other line."""
    if not line.startswith('{"progress"'):
        return None
    try:
        fields = json.loads(line)["progress"]
        numbers = {key: float(value) for key, value in fields.items() if is_finite_number(value)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return numbers if 0 <= numbers.get("fraction", -1) <= 1 else None


def environment(threads: int) -> dict[str, str]:
    """The process environment: the same number of threads for every framework."""
    return {
        # Frameworks that share a GPU must not each take all of its memory at the start.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NPROC": str(threads),  # what XLA's thread pool on the CPU goes by
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}",
    }


def _installed_versions() -> dict[str, str]:
    versions = {"python": sys.version}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
