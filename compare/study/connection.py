"""The way to a study's Dask cluster: this machine's cores, or a scheduler at an address."""

import asyncio
import contextlib
import logging
import queue
import signal
import threading
from collections.abc import Iterator

import dask
from distributed import Client
from distributed.core import rpc

from recipe.errors import BadArgumentError, BadInputError

SECONDS_TO_CONNECT = 3

_OF_NO_SCHEDULER = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError),
)
"""What Dask raises of an address that is none, or of another protocol's: words that are no message of its own, a
certificate that is not there. A bare assertion failed on a busy machine."""

_CONFIGURATION = {
    # This module counts the attempts.
    "distributed.scheduler.allowed-failures": 0,
    # A worker is started again however often it dies. After this time, Dask looks once whether it is alive, and if it
    # is just then starting after another death, it is given up for good.
    "distributed.deploy.lost-worker-timeout": "1000h",
    # Memory is what the runs take, and those are not Dask's processes.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


def connect(scheduler: str | None, workers: int | None) -> Client:
    """A client of the scheduler at this address, or of a cluster of this machine's cores.

    Args:
        scheduler: Such as tcp://host:8786; None starts a local cluster.
        workers: Runs side by side on the local cluster; None is one a core.

    Raises:
        BadInputError: The local cluster does not start.
        BadArgumentError: No scheduler answers at that address within 3 seconds, or it has no such form.
    """
    dask.config.set(_CONFIGURATION)
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] == "distributed":  # what goes wrong, this module says in a line
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # which says tracebacks, too
    if scheduler is None:
        with _ignoring_interrupts():
            try:
                # A cluster that its client started ends with it.
                return Client(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
            except RuntimeError as error:
                raise BadInputError(
                    f"the workers on this machine do not start ({error}); "
                    "a script must call study under `if __name__ == '__main__':`"
                ) from error
    _ask(scheduler)
    try:
        return Client(scheduler, timeout=SECONDS_TO_CONNECT)
    except _OF_NO_SCHEDULER as error:
        raise _no_scheduler(scheduler, error) from error


def _ask(scheduler: str) -> None:
    """Asks the scheduler who it is, in a thread of its own that can be left behind.

    Dask's client waits without end for an address that accepts a connection and says nothing, or another protocol's
    words, and Ctrl-C does not end that.

    Raises:
        BadArgumentError: No scheduler answers within `SECONDS_TO_CONNECT`.
    """
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    async def identity() -> None:
        async with rpc(scheduler) as connection:
            await connection.identity()

    def ask() -> None:
        try:
            asyncio.run(asyncio.wait_for(identity(), SECONDS_TO_CONNECT))
        except BaseException as error:  # noqa: BLE001 - judged by who waits
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=ask, daemon=True).start()
    error: BaseException | None
    try:
        error = answers.get(timeout=2 * SECONDS_TO_CONNECT)
    except queue.Empty:
        error = TimeoutError()
    if isinstance(error, _OF_NO_SCHEDULER):
        raise _no_scheduler(scheduler, error) from error
    if error is not None:
        raise error


def _no_scheduler(scheduler: str, error: BaseException) -> BadArgumentError:
    reason = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        reason = f"no answer within {SECONDS_TO_CONNECT} seconds"
    return BadArgumentError(
        f"scheduler: no Dask scheduler answers at {scheduler} ({reason}); start one with `dask scheduler`, "
        "or leave it out to use this machine's cores"
    )


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Makes processes that are started meanwhile ignore Ctrl-C: a terminal sends it to all, and this one ends the rest.

    Python lets only the main thread say so; in any other, as in a server, there is no terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
