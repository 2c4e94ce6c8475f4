"""Runs a user's script up to its first optimizer steps: what a watcher needs, whatever the framework.

A watcher makes a `Session`, puts its own eyes in place, calls `session.run()`, and calls `session.end()` from wherever
the last step has been seen. What it writes is in docs/explain-format.md.
"""

import argparse
import collections
import os
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from watch.program.draws import Draws
from watch.program.failures import of_watcher, one_line, status
from watch.program.observation import Observation
from watch.program.order import Order
from watch.program.request import Plan, Request, wait_for_plan
from watch.program.trainings import Trainings
from watch.source.mirror import Mirror
from watch.source.places import Places

__all__ = ["Plan", "Request", "Session", "Stop", "arguments", "wait_for_plan"]

_LOG_LINES = 60


class Stop(BaseException):
    """Enough has been seen. A script that catches it goes on only to its next step, where the process ends."""


def arguments() -> tuple[Request, Path]:
    """The request and the directory to write to, from the command line of a watcher."""
    parser = argparse.ArgumentParser(description="Runs a script and writes down what it saw.")
    parser.add_argument("request", type=Path, help="a REQUEST.json")
    parser.add_argument("out", type=Path, help="the directory to write observed.json to")
    options = parser.parse_args()
    return Request.read(options.request), options.out.absolute()


_DRAWS = 32
"""So many are kept: a loader that draws for each sample by itself has no end of them."""


class Session:
    """One run of one script.

    Args:
        request: What to run.
        out: The directory to write to.

    Attributes:
        observation: Where to keep arrays (`keep(key, array)`) and the document to fill (`document`).
        places: `places.here()` is the innermost place in the user's own files.
        order: Notes permutations (`note(function, size)`); `order.identity` says whether to make them identities.
        mirror: `mirror.part(path)` before a library writes a file without Python's `open`.
        step: How many optimizer steps are complete; the watcher counts them.
        finishers: Called once, in turn, before everything is written, whatever way the script ended.
    """

    def __init__(self, request: Request, out: Path) -> None:
        self.request = request
        self.observation = Observation(out, request.max_bytes)
        self.mirror = Mirror(request.script, request.working_directory, Path.cwd())
        self.places = Places(self.mirror)
        self.step = 0
        self.draws = Draws(lambda: self.step)
        self.trainings = Trainings(request.skip)
        self.order = Order(self.places, lambda: f"before step {self.step}", request.order == "identity")
        self.trainings.begun += [self.order.begin, self.draws.begin]
        self.finishers: list[Callable[[], None]] = []
        self.seeds: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._log = out / "log.txt"
        self._ended = False
        self.data: dict[str, Any] = {
            "loaders": [], "fit": None, "trainer": None, "permutations": self.order.permutations, "splits": [],
            "datasets": [], "validation_overlap": None, "epochs": {"value": None, "how": None},
        }  # fmt: skip
        self.observation.document |= {
            "status": None, "steps": 0, "model": None, "calls": [], "loss_calls": [], "evaluation_calls": None,
            "losses": [], "optimizer": None, "updates": [], "initial": {"parameters": {}}, "fed": [],
            "data": self.data, "loop": {},
            "dropout": [], "noise": [], "draws": [], "seeds": self.seeds, "warnings": self.warnings,
        }  # fmt: skip

    @property
    def document(self) -> dict[str, Any]:
        """What will be observed.json."""
        return self.observation.document

    def run(self, finished: Callable[[dict[str, Any]], None] | None = None) -> NoReturn:
        """Runs the script and ends the process when it has ended, by itself or by `end`.

        Args:
            finished: Called with the script's names when it has run through.
        """
        self._prepare()
        try:
            names = self._execute()
            if finished is not None:
                finished(names)
        except Stop:
            self._finish("observed")
        except SystemExit as error:
            if error.code in {None, 0} or self.step:
                self._finish("ended")
            code = f": {error.code}" if isinstance(error.code, str) else f" with the exit code {error.code}"
            self._finish("failed", f"the script ended itself{code}", error)
        except BaseException as error:  # noqa: BLE001 whatever a script raises is reported as its failure
            outcome = "watcher_failed" if of_watcher(error, self.places) else "failed"
            self._finish(outcome, one_line(error), error)
        self._finish("observed" if self.request.attribute else "ended")

    def end(self) -> NoReturn:
        """Writes everything and ends the process: enough has been seen.

        Nothing is raised through the script: its own `finally` might take long, and its `except` might go on.
        """
        self._finish("observed")

    def fail(self, message: str, outcome: str = "failed") -> NoReturn:
        """Writes what there is with a reason in one line, and ends the process."""
        self._finish(outcome, message)

    def note_noise(self, function: str, frame: types.FrameType) -> None:
        """Notes a function by which a model draws random numbers, each place once."""
        entry = {"function": function, "place": self.places.here(frame)}
        if entry not in self.document["noise"]:
            self.document["noise"].append(entry)

    def note_draw(self, function: str, numbers: Any, frame: types.FrameType) -> None:
        """Keeps the numbers that the first training step draws before its forward pass."""
        number = len(self.document["draws"])
        if self.step or number >= _DRAWS:
            return
        key = self.observation.keep(f"draw{number}", numbers)
        self.document["draws"].append({"function": function, "values": key, "place": self.places.here(frame)})

    def told(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """What a question to the script's source gives; None where it has no answer, of which no training may fail."""
        try:
            return ask(*arguments)
        except Exception as error:  # noqa: BLE001 whatever a source has that was not thought of
            self.warn(f"the script's source does not tell {ask.__name__}: {one_line(error)}")
            return None

    def warn(self, text: str) -> None:
        """Notes what could not be seen or done as it should; each text once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def _prepare(self) -> None:
        """Standard streams, working directory, module search path and arguments as the script has them."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        empty = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((empty, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 stays open as long as the process
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.environ.setdefault("MPLBACKEND", "Agg")
        os.chdir(self.mirror.working_directory)
        sys.path.insert(0, str(self.mirror.working_directory))
        sys.argv = [str(self.mirror.script), *self.request.arguments]
        self._watch_seeds()
        self.order.steer()
        self.mirror.protect()

    def _watch_seeds(self) -> None:
        import random

        import numpy as np

        self.note_seeds(random, "seed", "random.seed")
        self.note_seeds(np.random, "seed", "np.random.seed")

    def note_seeds(self, owner: Any, name: str, called: str) -> None:
        """Notes the values with which the user's own code calls a function that seeds."""
        original = getattr(owner, name)

        def seed(*args: Any, **options: Any) -> Any:
            if self.order.of_user(sys._getframe(1)):  # noqa: SLF001
                value = next(iter([*args, *options.values()]), None)
                self.seeds.append({"function": called, "value": value if isinstance(value, int) else str(value)})
            return original(*args, **options)

        setattr(owner, name, seed)

    def _execute(self) -> dict[str, Any]:
        """Runs the file; its names."""
        path = self.mirror.script
        name = "explained" if self.request.attribute else "__main__"
        module = types.ModuleType(name)
        module.__file__ = str(path)
        module.__builtins__ = __builtins__  # type: ignore[attr-defined]
        self._watcher = sys.modules.get(name)  # its functions are needed as long as the process lasts
        sys.modules[name] = module
        if path.suffix == ".ipynb":
            self._execute_notebook(path, module)
        else:
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 the user's own program
        return module.__dict__

    def _execute_notebook(self, path: Path, module: types.ModuleType) -> None:
        from watch.source.notebook import cells

        module.__dict__["display"] = print
        for number, source in cells(path):
            filename = f"{path}#cell{number}"
            _remember_source(filename, source)
            exec(compile(source, filename, "exec"), module.__dict__)  # noqa: S102

    def _finish(self, outcome: str, message: str = "", error: BaseException | None = None) -> NoReturn:
        """Writes both files and ends the process."""
        if self._ended:  # a finisher failed
            os._exit(1)
        self._ended = True
        try:
            for finisher in self.finishers:
                finisher()
        except BaseException as broken:  # noqa: BLE001 what was seen before is written all the same
            traceback.print_exc()
            self.warn(f"the observation is not complete: {one_line(broken)}")
        if outcome == "ended":
            outcome = "no_steps" if not self.step else "ended_early" if self.step < self.request.steps else "observed"
        self.document["steps"] = self.step
        self.data["samples_drawn"] = self.order.in_samples
        self.document["status"] = status(outcome, message, error, self.places)
        sys.stdout.flush()
        sys.stderr.flush()
        self.document["log"] = self._last_lines()
        self.observation.write(hidden=f"{self.mirror.root}{os.sep}")
        os._exit(0)

    def _last_lines(self) -> str:
        with self._log.open(errors="replace") as file:
            lines = collections.deque(file, maxlen=_LOG_LINES)
        return "".join(lines).replace(f"{self.mirror.root}{os.sep}", os.sep)


def _remember_source(filename: str, source: str) -> None:
    """Lets `linecache` find the lines of a notebook's cell."""
    import linecache

    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
