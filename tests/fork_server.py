"""Processes that begin with a framework imported: forked from one that has done nothing but import it.

Importing TensorFlow or Lightning takes five seconds of CPU time, what most tests then do takes one. Until it computes
something, neither has a thread, so that its process can be forked. A fork has its own working directory, environment,
arguments, random numbers and end, as any process has; what it must not be used for are tests of what is imported, of
environment variables that a framework reads when it is imported, and of how long a start takes.
"""

import contextlib
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record.isolation import hide

PRELOADED = {
    "lightning": ("lightning.pytorch.cli", "lightning.pytorch.callbacks", "torchmetrics.classification", "safetensors"),
    "tensorflow": ("tensorflow", "keras", "safetensors"),
    "torch": ("torch", "safetensors"),
}
"""What a process of each kind imports before it is forked: nothing of this repository."""


class ForkServer:
    """Starts processes of one kind, one after the other."""

    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", kind],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python *arguments`, which begin with -m or -c.

        Raises:
            subprocess.TimeoutExpired: It took more seconds than `timeout`, and was killed.
        """
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.TemporaryDirectory() as outputs:
            request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "outputs": outputs}
            self.server.stdin.write(json.dumps(request | {"timeout": timeout}) + "\n")
            self.server.stdin.flush()
            returncode = json.loads(self.server.stdout.readline())
            if returncode is None:
                raise subprocess.TimeoutExpired(arguments, timeout)
            output, errors = ((Path(outputs) / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(arguments, returncode, output, errors)

    def close(self) -> None:
        """Ends the server."""
        self.server.communicate()


def _serve(kind: str) -> dict[str, Any] | None:
    """Answers requests until there are none; returns the request in a process that is to do it, None in the server."""
    if kind == "tensorflow":
        hide({"torch", "jax"})  # which Keras imports where it finds them
    for module in PRELOADED[kind]:
        importlib.import_module(module)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return request
        print(json.dumps(_wait(pid, request["timeout"])), flush=True)
    return None


def _wait(pid: int, timeout: float) -> int | None:
    """The exit code, negative for a signal; None if the process had to be killed after that many seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _become(request: dict[str, Any]) -> None:
    """Does what `python *arguments` does."""
    import numpy as np

    os.setsid()
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, f"{request['outputs']}/stdout", os.O_WRONLY | os.O_CREAT),
        (2, f"{request['outputs']}/stderr", os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(name, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    np.random.seed()  # noqa: NPY002 - what a process of its own would begin with
    how, what, *rest = request["arguments"]
    sys.path[0] = request["cwd"] if how == "-m" else ""
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        namespace = {"__name__": "__main__"}
        exec(compile(what, "<string>", "exec"), namespace)  # noqa: S102 - a test's own code


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if request := _serve(sys.argv[1]):
            _become(request)
