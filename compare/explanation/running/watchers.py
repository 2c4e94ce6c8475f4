"""The processes that run the user's scripts, and their end whatever happens."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from compare.explanation.observed.observation import Observation
from compare.explanation.running.program import Program
from recipe.errors import BadInputError, RunFailedError, ScriptFailedError

_ROOT = Path(__file__).parents[3]
_TERMINATED = 143
_SECONDS_TO_END = 20
_LOG_LINES = 8


@dataclass
class Watcher:
    """A running watcher of one program.

    Args:
        program: The program.
        directory: Where its request, its output and its plan are.
        process: The process.
        deadline: When it is too late, by the monotonic clock.
        timeout: The seconds that it was given.
    """

    program: Program
    directory: Path
    process: "subprocess.Popen[bytes]"
    deadline: float
    timeout: float

    @property
    def plan(self) -> Path:
        """The directory that a plan goes to."""
        return self.directory / "plan"

    def result(self) -> Observation:
        """What it saw, after it has ended.

        Raises:
            BadInputError: The script takes no step, hangs, or needs what is not there.
            ScriptFailedError: The script failed.
            RunFailedError: The watcher failed.
        """
        while True:
            try:
                self.process.wait(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > self.deadline:
                    self.process.kill()
                    self.process.wait()
                    raise BadInputError(
                        f"{self.program.given} took no {self._wanted()} within {self.timeout:g} seconds (--timeout)"
                    ) from None
        observed = self.directory / "out" / "observed.json"
        if not observed.exists():
            raise RunFailedError(
                f"{self.program.given} ended with exit code {self.process.returncode} before anything was seen"
                f" ({self._last_line()})"
            )
        observation = Observation.read(self.directory / "out")
        _check(self.program, observation)
        return observation

    def _wanted(self) -> str:
        return "pass through its model" if self.program.attribute else "optimizer steps"

    def _last_line(self) -> str:
        for name in ("log.txt", "stderr.txt"):
            for path in (self.directory / "out" / name, self.directory / name):
                if path.exists():
                    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
                    if lines:
                        return lines[-1][:300]
        return "it said nothing"


_NOT_TO_BE_RUN = re.compile(
    r"FileNotFoundError|ModuleNotFoundError|standard input|CUDA|NVIDIA|\bGPU\b|empty parameter list|NotWrittenError"
)
"""What says that a script needs something that is not there, or has nothing to train."""


def _check(program: Program, observation: Observation) -> None:
    """Raises what the outcome of a script is, if it is not one to judge."""
    outcome = observation.part("status", "outcome")
    message = " ".join(str(observation.part("status", "message") or "").split())
    if outcome in ("observed", "ended_early"):
        if observation.optimizers_in_turn > 1:
            raise BadInputError(
                f"{program.given} trains by {observation.optimizers_in_turn} optimizers in turn, each with a loss of "
                "its own, as a GAN does; one model and its optimizer are compared: leave the other one's step out in a "
                "copy of either script, or name a model as FILE.py:NAME"
            )
        return
    if outcome == "no_steps":
        empty = " (its model has no parameters)" if observation.part("model", "num_parameters") == 0 else ""
        raise BadInputError(f"{program.given} takes no optimizer step{empty}{f': {message}' if message else ''}")
    if outcome == "no_model":
        raise BadInputError(f"{program.given}: {message or 'no model was found'}")
    where = observation.place("status", "place")
    at = f" ({where})" if where else ""
    lines = [str(line) for line in observation.entries("status", "traceback")]
    if outcome == "watcher_failed":
        raise RunFailedError(
            "\n".join([f"{program.given}{at} could not be watched, by a fault of mnist-compare: {message}", *lines])
        )
    if _NOT_TO_BE_RUN.search(message):
        raise BadInputError(f"{program.given}{at}: {message}")
    log = [line for line in str(observation.part("log") or "").splitlines() if line.strip()][-_LOG_LINES:]
    text = "\n".join(["", *lines, *(["its last output:", *log] if log else [])])
    raise ScriptFailedError(f"{program.given} fails by itself{at}: {message}{text}")


class Watchers:
    """Starts watchers in a directory that is removed with them.

    Args:
        root: The temporary directory.
        group: The process group that they are in.
        timeout: The seconds that each may take.
    """

    def __init__(self, root: Path, group: int, timeout: float) -> None:
        self.root, self.group, self.timeout = root, group, timeout
        self.started: list[Watcher] = []

    def start(self, name: str, program: Program, request: dict[str, Any], *, backend: str | None = None) -> Watcher:
        """Starts one.

        Args:
            name: Of its directory.
            program: What to run.
            request: The fields of REQUEST.json that are not the program's.
            backend: Keras's backend, None for what the script and the environment say.
        """
        directory = self.root / name
        working = directory / "work"
        working.mkdir(parents=True)
        plan = directory / "plan" if request.get("wait_for_plan") else None
        whole = {
            "script": str(program.script),
            "attribute": program.attribute,
            "arguments": list(program.arguments),
            "working_directory": str(working),
            "plan": None if plan is None else str(plan),
            **request,
        }
        (directory / "request.json").write_text(json.dumps(whole))
        command = [sys.executable, "-P", "-m", f"watch.{program.framework}_script"]
        with (directory / "stderr.txt").open("wb") as log:
            process = subprocess.Popen(
                [*command, str(directory / "request.json"), str(directory / "out")],
                env=_environment(backend),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self.group,
            )
        watcher = Watcher(program, directory, process, time.monotonic() + self.timeout, self.timeout)
        self.started.append(watcher)
        return watcher


def _environment(backend: str | None) -> dict[str, str]:
    """One thread each, no GPU, and this project's modules before the user's."""
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return found if backend is None else {**found, "KERAS_BACKEND": backend}


@contextlib.contextmanager
def watchers(timeout: float, keep: Path | None) -> Iterator[Watchers]:
    """Watchers that end with this block, or with this process, however it ends; their directory as well.

    Args:
        timeout: The seconds that each script may take.
        keep: Where to copy what they wrote, None for nowhere.
    """
    root = Path(tempfile.mkdtemp(prefix="explain-"))
    processes: list[Watcher] = []
    try:
        with _terminable(), _ending_with_this_process(root) as group:
            started = Watchers(root, group, timeout)
            processes = started.started
            try:
                yield started
            finally:
                if keep is not None:
                    _copy(root, keep)
    finally:
        for watcher in processes:  # killed by now; on a busy machine that takes a while, and until then they write
            with contextlib.suppress(subprocess.TimeoutExpired):
                watcher.process.wait(_SECONDS_TO_END)
        _remove(root)


def _copy(root: Path, keep: Path) -> None:
    for name in ("out", "plan", "request.json"):
        for found in root.glob(f"*/{name}"):
            target = keep / found.parent.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(found, target)


def _remove(root: Path) -> None:
    for _ in range(20):  # a process that was killed may be gone only in a moment
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        time.sleep(0.05)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this process as an exception does, so that what it has started is cleared away."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _ending_with_this_process(root: Path) -> Iterator[int]:
    """A process group, by its number, that is killed when this process ends, even by SIGKILL; the directory with it.

    A shell leads the group and another one is outside of it; each reads from a pipe that nobody else holds.
    """

    def waiting(then: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["/bin/sh", "-c", f"read _; {then}", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    with waiting('sleep 0.3; rm -rf "$0"') as cleaner, waiting("kill -9 0") as leader:
        try:
            yield leader.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader.pid, signal.SIGKILL)
            cleaner.kill()
