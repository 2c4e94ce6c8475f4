"""The runs of a study, spread over a Dask cluster: this machine's cores, or a scheduler's workers.

Dask schedules, watches its workers, and replaces those that die. A run is a process of its own that
a worker starts, so that nothing that a run does can harm the worker or another run.
"""

import contextlib
import signal
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from distributed import Client, Future, get_worker, wait
from distributed.scheduler import KilledWorker
from filelock import BaseFileLock, FileLock, Timeout

from compare.run.implementations import Implementation
from compare.run.jobs import Job, run_all
from compare.study import worker_check
from compare.study.plan import StudyRun
from compare.study.portable import local_implementation, portable_determinants, portable_words
from compare.study.results import FinishedRun, Results, condense
from recipe import Recipe
from recipe.errors import BadInputError, RecordError, in_short

ATTEMPTS = 3
"""How often a run is tried before it counts as failed."""

_SECONDS_TO_ANSWER = 60
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_FOR_A_RESULT = 10
"""A result is some 400 kB; asked for longer than this, it is probably lost with its worker."""

_LAST_LINES = 20


class SchedulerLostError(RuntimeError):
    """The scheduler went away; the message says what to do."""

    def __init__(self) -> None:
        super().__init__("the scheduler went away; the same command continues from there")


class UnwantedError(Exception):
    """Nobody waits for a run any more."""


def check_workers(client: Client, workers: Sequence[str], implementations: Sequence[Implementation]) -> list[str]:
    """Makes sure that workers run what this process would run.

    Returns:
        The addresses of those that do; of the others, the connection broke.

    Raises:
        BadInputError: A worker lacks the package, or has other code or other versions.
    """
    expected = {i.name: portable_determinants(i.determinants) for i in implementations}
    commands = {i.name: portable_words(i) for i in implementations}
    # The check travels as code, for a worker that lacks the package could not look it up by name.
    answers: dict[str, Any] = client.run(
        worker_check.described_by_value(), commands, workers=list(workers), on_error="return"
    )
    answers = {address: answer for address, answer in answers.items() if not isinstance(answer, OSError)}
    for address, answer in answers.items():
        if isinstance(answer, BaseException | str):
            raise BadInputError(f"worker {address} cannot run the study: {answer}; install this package there")
        for name, local in expected.items():
            remote = answer[name]
            differing = sorted(key for key in local.keys() | remote.keys() if local.get(key) != remote.get(key))
            if differing:
                what = "; ".join(f"{key} is {remote.get(key)} there, {local.get(key)} here" for key in differing)
                hint = "ask for --device cpu or gpu" if differing == ["device"] else "install the same there"
                raise BadInputError(f"worker {address} would not run the same {name}: {what}; {hint}")
    return list(answers)


def train(name: str, words: tuple[str, ...], recipe: str, key: str, silence: float) -> bytes | tuple[str, bool]:
    """On a worker: one run in a process of its own.

    Returns:
        The condensed result; or why there is none, and whether trying again may help.
    """
    implementation = local_implementation(name, words)
    scratch = get_worker().local_directory  # what a killed worker leaves there, Dask removes
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as directory:
        job = Job(implementation, Recipe.from_json(recipe), Path(directory))
        if job.directory.name != key:
            return f"{get_worker().address} has other code or other versions than the coordinator", True
        try:
            (outcome,) = run_all([job], silence=silence, notify=_stop_if_unwanted)
        except BadInputError as error:
            return str(error), False
        if outcome.record is not None:
            try:
                return condense(outcome.record)
            except RecordError as error:
                return f"the record of {name} breaks the contract: {error}", False
        if isinstance(outcome.error, BadInputError):
            return str(outcome.error), False
        reason = str(outcome.error).partition("; its log: ")[0]
        log = job.directory.with_suffix(".log")
        last_lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:] if log.exists() else []
        last_lines = [in_short(line) for line in last_lines]
    return "\n".join([reason, *last_lines]), True


def _stop_if_unwanted(_: object) -> None:
    """Raises where the study that sent the run has gone: each line of progress is an occasion to look."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    if task is None or task.state == "cancelled":
        raise UnwantedError


def run_study(
    runs: Sequence[StudyRun], results: Results, client: Client, silence: float, report: Callable[[FinishedRun], None]
) -> None:
    """Runs everything that has no result yet, and keeps the results as they come.

    Another study on the same directory may run at the same time: each run is claimed by a lock that
    ends with the process that holds it.

    Args:
        runs: What to run, in this order.
        results: Where the results are kept.
        client: The cluster.
        silence: A run that prints nothing for this many seconds is ended, and tried again.
        report: Called with every run that is settled, those first that were before.

    Raises:
        BadInputError: A worker lacks the package, or has other code or other versions.
        SchedulerLostError: The scheduler went away.
    """
    implementations = list({run.implementation.name: run.implementation for run in runs}.values())
    dispatch = _Dispatch(implementations, results, client, silence, report)
    for run in runs:
        if results.path(run).exists():
            results.lock_path(run).unlink(missing_ok=True)  # of a study killed just before it did this
            report(FinishedRun(run, None, done_here=False))
        else:
            dispatch.waiting.append(_Attempt(run, results.lock_path(run)))
    try:
        with _interrupts_held() as raise_held:
            while dispatch.waiting or dispatch.in_flight:
                dispatch.submit()
                dispatch.collect()
                raise_held()
    finally:
        dispatch.release()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[Callable[[], None]]:
    """Makes Ctrl-C wait for a call of the function that it yields; a second Ctrl-C does not wait.

    If it comes while a `__del__` runs, such as a Dask future's, Python only prints the KeyboardInterrupt and continues.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: None  # a program in the background ignores Ctrl-C, others do as they like
        return
    held = False

    def hold(*_: object) -> None:
        nonlocal held
        if held:
            raise KeyboardInterrupt
        held = True

    def raise_held() -> None:
        if held:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hold)
    try:
        yield raise_held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class _Attempt:
    """A run that waits or is in flight.

    It is claimed from its first attempt to its last, so that two studies together try a run no more often than one.
    """

    run: StudyRun
    lock_path: Path
    lock: BaseFileLock | None = None
    number: int = 1
    worker: str = ""

    def claim(self) -> bool:
        """Claims the run; False if another study holds it."""
        if self.lock is None:
            lock = FileLock(self.lock_path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return False
            self.lock = lock
        return True

    def release(self) -> None:
        """Lets other studies have it."""
        if self.lock is not None:
            self.lock.release()

    def settle(self) -> None:
        """Gives up the claim for good: whoever takes the lock now finds the run settled."""
        self.lock_path.unlink(missing_ok=True)
        self.release()


class _Dispatch:
    """The runs that wait and those in flight."""

    def __init__(
        self,
        implementations: Sequence[Implementation],
        results: Results,
        client: Client,
        silence: float,
        report: Callable[[FinishedRun], None],
    ) -> None:
        self.implementations, self.results, self.client = implementations, results, client
        self.silence, self.report = silence, report
        self.waiting: deque[_Attempt] = deque()
        self.in_flight: dict[Future[Any], _Attempt] = {}
        self.checked: set[str] = set()

    def submit(self) -> None:
        """Gives every free worker a run.

        Where a run goes is said here and not left to Dask, whose scheduler may give one to a worker that still
        holds the result of another: if the worker died of it, both would have to be run again.
        """
        free = self._free_workers() if self.waiting else []
        for _ in range(len(self.waiting)):
            attempt = self.waiting.popleft()
            if not free and not self.results.settled(attempt.run):
                self.waiting.appendleft(attempt)
                return
            if not attempt.claim():  # another study is running it
                self.waiting.append(attempt)
            elif self.results.settled(attempt.run):
                attempt.settle()
                self.report(FinishedRun(attempt.run, self.results.read(attempt.run).error, done_here=False))
            else:
                attempt.worker = free.pop()
                self.in_flight[self._send(attempt)] = attempt

    def _send(self, attempt: _Attempt) -> Future[Any]:
        run, implementation = attempt.run, attempt.run.implementation
        command = portable_words(implementation)
        task = (train, implementation.name, command, run.recipe.to_json(), run.key, self.silence)
        # Should that worker have gone meanwhile, any other will do.
        return self.client.submit(*task, workers=[attempt.worker], allow_other_workers=True, pure=False)

    def _free_workers(self) -> list[str]:
        """The workers' addresses, once for each thread without work, ours or another study's, or a result of ours."""
        mine = {future.key for future in self.in_flight}
        taken = Counter(attempt.worker for attempt in self.in_flight.values())
        try:
            threads = self._fit_workers()
            for worker, keys in self._asked("processing").items():
                taken[worker] += len(set(keys) - mine)
        except OSError as error:  # that it does not answer, too
            raise SchedulerLostError from error
        return [worker for worker in threads for _ in range(threads[worker] - taken[worker])]

    def _asked(self, question: str) -> Any:
        """What the scheduler answers about all workers; the client itself would wait for a frozen one without end.

        Raises:
            TimeoutError: Nothing, for so long that it is no longer busy.
        """
        return self.client.sync(
            getattr(self.client.scheduler, question), workers=None, callback_timeout=f"{_SECONDS_TO_ANSWER}s"
        )

    def _fit_workers(self) -> dict[str, int]:
        """The addresses and threads of the workers that may run this study; those that are new are checked."""
        workers: dict[str, int] = self._asked("ncores")
        if self.client.cluster is not None:  # this machine's own workers are this very installation
            return workers
        if new := workers.keys() - self.checked:
            self.checked.update(check_workers(self.client, sorted(new), self.implementations))
        return {worker: threads for worker, threads in workers.items() if worker in self.checked}

    def collect(self) -> None:
        """Keeps what has come back; waits a while for it to come."""
        for future in _finished(self.in_flight):
            if (answer := _answer(future)) is not None:
                self._settle(future, *answer)
        for future in self._stranded():
            self._settle(future, "the worker that held its result died", again=True)
            future.cancel()

    def _settle(self, future: Future[Any], answer: bytes | str, again: bool) -> None:
        """Keeps an answer, or has the run tried again."""
        if self.client.status != "running":  # then it is no fault of the run
            raise SchedulerLostError
        attempt = self.in_flight.pop(future)
        if isinstance(answer, bytes):
            self.results.write(attempt.run, answer)
        elif again and attempt.number < ATTEMPTS:
            attempt.number += 1
            self.waiting.appendleft(attempt)
            return
        else:
            self.results.write_failure(attempt.run, answer)
        attempt.settle()
        self.report(FinishedRun(attempt.run, None if isinstance(answer, bytes) else answer, done_here=True))

    def _stranded(self) -> list[Future[Any]]:
        """The futures that no worker works on, since theirs is gone.

        Dask never places such a run again if no other worker was there when its own went, with its result or before it
        began: the scheduler keeps waiting for that very address.
        """
        try:
            workers = self._asked("ncores") if self.in_flight else {}
            gone = [future for future, attempt in self.in_flight.items() if attempt.worker not in workers]
            processing = set(chain.from_iterable(self._asked("processing").values())) if gone else set()
        except OSError as error:  # that it does not answer, too
            raise SchedulerLostError from error
        return [future for future in gone if future.key not in processing and not future.done()]

    def release(self) -> None:
        """Lets other studies have what is not settled."""
        for attempt in (*self.waiting, *self.in_flight.values()):
            attempt.release()


def _finished(in_flight: dict[Future[Any], Any]) -> list[Future[Any]]:
    """The futures that have ended, after a while of waiting for one that has."""
    if not in_flight:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        return []
    with contextlib.suppress(TimeoutError, CancelledError):
        wait(list(in_flight), timeout=_SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED")
    return [future for future in in_flight if future.done()]


def _answer(future: Future[Any]) -> tuple[bytes | str, bool] | None:
    """What the worker returned; or why it could not, and whether to try again. None where its result does not come."""
    try:
        answer = future.result(timeout=_SECONDS_FOR_A_RESULT)
    except KilledWorker:
        return "the worker that ran it died", True
    except (Exception, CancelledError) as error:  # noqa: BLE001 - whatever a worker raised
        if isinstance(error, TimeoutError) and future.status != "error":
            return None  # its worker died with it, and the future is no longer done; or the scheduler says nothing
        return f"{type(error).__name__}: {error}", True
    return answer if isinstance(answer, tuple) else (answer, False)
