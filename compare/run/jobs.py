"""One run of one implementation in a process of its own -> its record; finished runs are reused."""

import contextlib
import hashlib
import json
import math
import os
import queue
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from compare.run import gpus
from compare.run.implementations import Implementation
from compare.run.process import Watchdog, ending_with_this_process, environment
from recipe import Recipe
from recipe.atomic import remove_partials
from recipe.errors import (
    BAD_INPUT,
    LONGEST_LINE,
    BadInputError,
    DamagedError,
    RecordError,
    RunFailedError,
    in_short,
)
from recipe.recipe import is_finite_number
from record.first_steps import Trace, read_trace
from record.places import record_name
from record.training import RunRecord, read_record

MAX_LOG = 10_000_000
"""Characters that a run's log keeps; docs/run-record.md states it."""

_LAST_LINES = 100
_MAX_LINE = 2**16
_MAX_WAITING = 10_000
"""Reports of progress that may wait to be shown; a run that sends more, faster than that, is not heard of each time."""

_SECONDS_BETWEEN_LOOKS = 0.5


OWN = ("keras", "lightning")
"""The implementations of this repository: what they refuse, nobody can run."""

Record = RunRecord | Trace


@dataclass(frozen=True)
class Job:
    """A run that is asked for: its implementation, its recipe, and the directory of the records.

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
        return self.records / record_name(self.implementation.name, key, trace=self.trace)

    def read(self) -> Record:
        """Reads the finished record.

        Raises:
            RecordError: It breaks the format, or is of another recipe than was asked for, under which it may be right.
        """
        record: Record = read_trace(self.directory) if self.trace else read_record(self.directory)
        for name, asked in vars(self.recipe).items():
            stated = getattr(record.recipe, name)
            if stated != asked and asked is not None:  # what the recipe leaves to the run, this may state
                raise RecordError(f"{self.directory / 'recipe.json'}: {name}: expected {asked}, found {stated}")
        return record


@dataclass(frozen=True)
class JobProgress:
    """What a run reports: `fraction` of the training is done; `fields` are the other numbers that it sent."""

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
    notify: Callable[[JobProgress | Outcome], None],
) -> list[Outcome]:
    """Runs the jobs, as many at once as the cores allow, and returns their outcomes in order.

    Args:
        jobs: What to run; a job whose record exists is not run again unless `fresh`.
        fresh: Replaces records that exist.
        silence: A run that prints nothing for this many seconds counts as hung, and is ended.
        notify: Called in this thread with progress and outcomes as they come.

    Raises:
        BadInputError: One of this repository's own implementations refused its input or broke the contract; the others
            are stopped, and no directory is left that was not there and has nothing in it but what they said. Of anyone
            else's that is an outcome like any other.
    """
    messages: queue.Queue[JobProgress | Outcome] = queue.Queue()
    stop = threading.Event()
    outcomes: dict[int, Outcome] = {}
    side_by_side = max(1, _num_cores() // max(job.threads for job in jobs))

    def tell(message: JobProgress | Outcome) -> None:
        if isinstance(message, Outcome) or messages.qsize() < _MAX_WAITING:
            messages.put(message)

    with _nothing_left_if_refused(jobs), ThreadPoolExecutor(side_by_side) as pool:
        for job in jobs:
            pool.submit(_run, job, fresh=fresh, silence=silence, notify=tell, stop=stop)
        try:
            while len(outcomes) < len(jobs):
                message = messages.get()
                if isinstance(message, Outcome):
                    outcomes[id(message.job)] = message
                    if isinstance(message.error, BadInputError) and message.job.implementation.name in OWN:
                        raise message.error
                notify(message)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return [outcomes[id(job)] for job in jobs]


@contextlib.contextmanager
def _nothing_left_if_refused(jobs: Sequence[Job]) -> Iterator[None]:
    """Removes the directories that were not there before, where a run is refused and none has left anything."""
    made = [_first_missing(job.records) for job in jobs]
    try:
        yield
    except BadInputError:
        for directory in filter(None, made):
            _remove_if_nothing_ran(directory)
        raise


def _first_missing(directory: Path) -> Path | None:
    """The topmost directory of a path that is not there yet; None where all are."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    return missing[-1] if missing else None


def _remove_if_nothing_ran(directory: Path) -> None:
    """Removes logs and locks of refused runs with their directory, unless anybody has a run or a result there."""
    if all(path.is_dir() or path.suffix in (".log", ".lock") for path in directory.rglob("*")):
        shutil.rmtree(directory, ignore_errors=True)


def _num_cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    job: Job,
    *,
    fresh: bool,
    silence: float,
    notify: Callable[[JobProgress | Outcome], None],
    stop: threading.Event,
) -> None:
    """Runs one job and passes on its outcome, whatever happens."""
    hint = "" if job.implementation.name in OWN else "; docs/run-record.md has the format"
    try:
        on_gpu = job.implementation.device == "gpu"
        job.records.mkdir(parents=True, exist_ok=True)
        with _claimed(FileLock(job.directory.with_suffix(".lock")), stop):
            if fresh:
                shutil.rmtree(job.directory, ignore_errors=True)
            if job.directory.exists():
                hint = "; --fresh runs it again"
                outcome = Outcome(job, job.read(), reused=True)
            else:
                with gpus.claimed(job.recipe, stop) if on_gpu else contextlib.nullcontext() as gpu:
                    _start_and_wait(job, silence, notify, stop, gpu)
                outcome = Outcome(job, job.read())
    except DamagedError as error:
        damaged = BadInputError(f"the record of {job.implementation.name} is damaged: {error}{hint}")
        outcome = Outcome(job, None, error=damaged)
    except RecordError as error:
        broken = BadInputError(f"the record of {job.implementation.name} breaks the contract: {error}{hint}")
        outcome = Outcome(job, None, error=broken)
    except OSError as error:
        reason = f"{error.strerror or error}; mend that, and the same command goes on"
        unfit = BadInputError(f"{job.implementation.name} cannot be run in {job.records}: {reason}")
        told_to_stop = isinstance(error, InterruptedError)
        outcome = Outcome(job, None, error=error if told_to_stop else unfit)
    except Exception as error:  # noqa: BLE001 - carried to the caller's thread, which decides
        outcome = Outcome(job, None, error=error)
    notify(outcome)


@contextlib.contextmanager
def _claimed(lock: FileLock, stop: threading.Event) -> Iterator[None]:
    """Holds the lock, after waiting for whoever does; told to stop, it raises InterruptedError."""
    while not lock.is_locked and not stop.is_set():
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=_SECONDS_BETWEEN_LOOKS)
    try:
        if stop.is_set():
            raise InterruptedError
        yield
    finally:
        lock.release()


def _start_and_wait(
    job: Job, silence: float, notify: Callable[[JobProgress], None], stop: threading.Event, gpu: str | None
) -> None:
    """Runs the command; progress lines go to `notify`, all others to the log next to the record."""
    name = job.implementation.name
    recipe_file = job.directory.with_suffix(".recipe.json")
    log_file = job.directory.with_suffix(".log")
    recipe_file.write_text(job.recipe.to_json())
    remove_partials(job.directory)
    command = [*job.implementation.command, str(recipe_file), str(job.directory)]
    command += ["--trace"] if job.trace else []
    with ending_with_this_process() as group:
        try:
            process = subprocess.Popen(
                command,
                env=environment(job.threads, gpu),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=group,
            )
        except OSError as error:
            recipe_file.unlink(missing_ok=True)
            raise BadInputError(f"{name}: {command[0]} cannot be started: {error.strerror}") from error
        watchdog = Watchdog(process, group, stop, silence)
        try:
            last_line = _copy_output(watchdog, job, log_file, notify)
        finally:
            with contextlib.suppress(OSError):  # the run may have removed it, or put something else there
                recipe_file.unlink()
            remove_partials(job.directory)
    if watchdog.timed_out:
        raise RunFailedError(f"{name} hung: it said nothing for {silence:,.0f} seconds; its log: {log_file}")
    if process.returncode == BAD_INPUT and last_line.startswith("error: "):
        raise BadInputError(f"{name}: {last_line.removeprefix('error: ')}")
    if process.returncode != 0:
        raise RunFailedError(f"{name} ended with exit code {process.returncode} ({last_line}); its log: {log_file}")
    if not job.directory.is_dir():
        raise BadInputError(f"{name} breaks the contract: it ended without leaving a record at {job.directory}")


def _copy_output(watchdog: Watchdog, job: Job, log_file: Path, notify: Callable[[JobProgress], None]) -> str:
    """Copies what the process writes to progress and log until it ends; returns the last line that is not empty."""
    last_line = ""
    with _Log(log_file) as log, contextlib.closing(watchdog.output()) as output:
        for line in _lines(output):
            fields = _progress_fields(line)
            if fields is not None:
                notify(JobProgress(job, fields.pop("fraction"), fields))
                continue
            log.write(line)
            last_line = line.strip() or last_line
    return in_short(last_line)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of an output, without their ends; one that is too long comes in parts, as it may have no end."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if len(rest) > _MAX_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


class _Log:
    """A run's log: all that it writes up to `MAX_LOG` characters, and of what comes after that the last lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.room = MAX_LOG
        self.left_out = 0
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)

    def __enter__(self) -> Self:
        """Begins the log anew."""
        self.file = self.path.open("w", encoding="utf-8")
        return self

    def write(self, line: str) -> None:
        """Adds a line."""
        self.room -= len(line) + 1
        if self.room >= 0:
            self.file.write(f"{line}\n")
            return
        self.left_out += len(line) + 1
        self.last_lines.append(line[:LONGEST_LINE])

    def __exit__(self, *_: object) -> None:
        """Ends the log; says what it lacks."""
        with self.file:
            if self.left_out:
                self.file.write(f"… {self.left_out:,} characters more, of which a log keeps the last lines:\n")
                self.file.writelines(f"{line}\n" for line in self.last_lines)


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
