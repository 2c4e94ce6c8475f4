"""Python processes that begin with a framework imported: forked from one that has done nothing but import it.

Importing TensorFlow or Lightning takes five seconds of CPU time, what most tests then do takes one. Until it computes
something, neither has a thread, so that its process can be forked. `start()` makes a program that stands in for Python:
`sys.executable` in the tests, and so in whatever the project's own programs start. Given a module of this project that
imports a framework, it has that run in a fork, with the arguments, environment, working directory, files and process
group that it was given itself, and ends as the fork does. Given anything else, it becomes Python.

What a fork must not be used for are tests of what is imported, of environment variables that a framework reads when it
is imported, and of how long a start takes. Those start `PYTHON`.
"""

import atexit
import contextlib
import importlib
import io
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from record.isolation import hide

ROOT = Path(__file__).parents[1]

PYTHON = sys.executable
"""Python itself."""

PRELOADED = {
    "compare": ("scipy.stats", "rich.live", "rich.table", "jsonargparse", "altair", "vl_convert", "jinja2"),
    "pytest": ("numpy", "pytest", "filelock"),
    "lightning": ("lightning.pytorch.cli", "lightning.pytorch.callbacks", "torchmetrics.classification", "safetensors"),
    "tensorflow": ("tensorflow", "keras", "safetensors"),
    "tensorflow-without-onednn": ("tensorflow", "keras"),
    "torch": ("torch", "safetensors"),
}
"""What a process of each kind imports before it is forked: nothing of this repository."""

_ENVIRONMENT = {
    "tensorflow": {"KERAS_BACKEND": "tensorflow"},
    "tensorflow-without-onednn": {"KERAS_BACKEND": "tensorflow", "TF_ENABLE_ONEDNN_OPTS": "0"},
}
"""What a kind's frameworks read when they are imported."""

_STAND_IN = """#!/bin/sh
case "$FORK_FROM $*" in
?*" -c "* | *"/driver.py "* | *"stand_in.py "*) ;;
*" -m compare"* | *" -m keras_impl"* | *" -m lightning_impl"* | *" -m watch."*) ;;
*) exec {python} "$@" ;;
esac
exec {python} -I -S {client} {python} {directory} "$@"
"""


@dataclass(frozen=True)
class Request:
    """What `fork_client.py` asks for: what a process inherits from the one that starts it."""

    arguments: list[str]
    environment: dict[str, str]
    program: str
    cwd: str
    group: int
    umask: int
    files: list[int]
    """Standard input, output and error, as descriptors here."""


def start() -> str:
    """Starts the server, which ends with this process; returns the path of the program that stands in for Python."""
    directory = Path(tempfile.mkdtemp(prefix="forks-"))
    client = Path(__file__).with_name("fork_client.py")
    program = directory / "python"
    program.write_text(_STAND_IN.format(python=PYTHON, client=client, directory=directory))
    program.chmod(0o755)
    server = subprocess.Popen(
        [PYTHON, "-m", "tests.fork_server", str(directory)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,
    )

    def end() -> None:
        server.communicate()  # it ends with its standard input
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(end)
    while not (directory / "session").exists():
        assert server.poll() is None
        time.sleep(0.01)
    return str(program)


def _listen(directory: Path) -> tuple[str, socket.socket] | None:
    """Waits at one socket a kind; returns a kind and its socket in a process that is to serve it, None at the end."""
    waiting = {}
    for kind in PRELOADED:
        waiting[kind] = socket.socket(socket.AF_UNIX)
        waiting[kind].bind(str(directory / kind))
        waiting[kind].listen(64)
    (directory / "partial").write_text(str(os.getsid(0)))
    (directory / "partial").rename(directory / "session")
    while True:
        ready, _, _ = select.select([sys.stdin, *waiting.values()], [], [])
        if sys.stdin in ready:
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait()
            return None
        for kind in [kind for kind, listener in waiting.items() if listener in ready]:
            if os.fork() == 0:
                return kind, waiting[kind]
            waiting.pop(kind).close()


def _import(kind: str) -> None:
    os.environ.update(_ENVIRONMENT.get(kind, {}))
    if kind.startswith("tensorflow"):
        hide({"torch", "jax"})  # which Keras imports where it finds them
    with _quiet():
        for module in PRELOADED[kind]:
            importlib.import_module(module)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow says on standard error that it has no GPU, whatever its log level."""
    errors, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(errors, 2)
        os.close(errors)
        os.close(nowhere)


def _serve(listener: socket.socket) -> Request | None:
    """Forks at each request; returns the request in the process that is to do it, None at the end."""
    callers: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([sys.stdin, listener, *callers.values()], [], [], 0.01 if callers else None)
        if sys.stdin in ready:
            return None
        for process in [process for process, caller in callers.items() if caller in ready]:
            os.kill(process, signal.SIGKILL)  # its caller never says more: it has been killed
        for process, exit_code in _ended(callers):
            with callers.pop(process) as caller:
                _tell(caller, exit_code)
        if listener not in ready:
            continue
        caller, _ = listener.accept()
        request = _received(caller)
        process = os.fork()
        if process == 0:
            for each in (caller, listener, *callers.values()):
                each.close()
            return request
        for descriptor in request.files:
            os.close(descriptor)
        callers[process] = caller
        _tell(caller, process)


def _ended(running: Collection[int]) -> Iterator[tuple[int, int]]:
    """Forks that have ended, and their exit codes, negative for a signal."""
    for process in [*running]:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            yield process, os.waitstatus_to_exitcode(status)


def _tell(caller: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # it may have been killed
        caller.sendall(b"%d\n" % number)


def _received(caller: socket.socket) -> Request:
    first, files, _, _ = socket.recv_fds(caller, 2**20, 3)
    pieces = [first]
    while not pieces[-1].endswith(b"\n"):
        pieces.append(caller.recv(2**20))
    return Request(**json.loads(b"".join(pieces)), files=files)


def _writer(descriptor: int, errors: str, *, line_buffering: bool, write_through: bool) -> io.TextIOWrapper:
    """A standard stream of its own: the server's knows of its own file whether one can seek in it."""
    buffer = open(descriptor, "wb", buffering=0 if write_through else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(buffer, "utf-8", errors=errors, line_buffering=line_buffering, write_through=write_through)


def _become(request: Request) -> None:
    """Does what `python *arguments` does."""
    import numpy as np

    for number, descriptor in enumerate(request.files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    unbuffered = bool(request.environment.get("PYTHONUNBUFFERED"))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = _writer(1, "strict", line_buffering=os.isatty(1), write_through=unbuffered)
    sys.stderr = _writer(2, "backslashreplace", line_buffering=True, write_through=unbuffered)
    with contextlib.suppress(PermissionError):  # a group of another session
        os.setpgid(0, request.group)
    os.umask(request.umask)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.executable = request.program
    sys.dont_write_bytecode = bool(request.environment.get("PYTHONDONTWRITEBYTECODE"))
    random.seed()
    np.random.seed()  # noqa: NPY002 - what a process of its own would begin with
    safe = request.arguments[0] == "-P"
    words = request.arguments[1:] if safe else request.arguments
    how, what, *rest = words if words[0] in ("-c", "-m") else (None, *words)
    named = [path for path in request.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    beginning = [] if safe else [{"-m": request.cwd, "-c": ""}.get(how, str(Path(what).parent))]
    sys.path[:] = [*beginning, *named, *(path for path in sys.path[1:] if path not in named)]
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif how is None:
        sys.argv = [what, *rest]
        runpy.run_path(what, run_name="__main__")
    else:
        sys.argv = ["-c", *rest]
        namespace = {"__name__": "__main__"}
        exec(compile(what, "<string>", "exec"), namespace)  # noqa: S102 - a test's own code


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if served := _listen(Path(sys.argv[1])):
            _import(served[0])
            if requested := _serve(served[1]):
                _become(requested)
