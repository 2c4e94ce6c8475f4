"""The door that `compare` opens: `COMMAND RECIPE.json RUN_DIR` trains and leaves a record.

With `--trace` after the two, it takes a few steps and records each number of them instead.

Both implementations' `worker.py` run through `main`; any other implementation may.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recipe.atomic import check_writable
from recipe.datasets import check_fits_memory, with_images
from recipe.errors import RecipeError, errors_are_one_line
from recipe.plain_file import read_text
from recipe.recipe import Recipe

_SECONDS_BETWEEN_REPORTS = 0.2


Worker = Callable[[Recipe, Path, Any], None]
"""Trains or traces: recipe, where the record is to appear, options."""


def main(worker: Worker, parser: argparse.ArgumentParser) -> None:
    """The command line of a worker: `[OPTIONS] RECIPE.json RUN_DIR [--trace]`.

    Parses the command line, runs `worker(recipe, run_directory, options)` and reports bad input.

    Bad input and what the machine lacks end as one line on standard error and exit code 2; any
    other error ends the process with a traceback, which `compare` keeps as the run's log.
    """
    add_contract_options(parser)
    with errors_are_one_line():
        run_worker(worker, parser.parse_args())


def add_contract_options(parser: argparse.ArgumentParser) -> None:
    """Adds what the contract of docs/run-record.md asks of every worker."""
    parser.add_argument("--trace", action="store_true", help="Record the first steps in full instead of training.")
    parser.add_argument("recipe", type=Path, help="Recipe file (JSON).")
    parser.add_argument("run_directory", type=Path, help="Where the record appears when it is complete.")


def run_worker(worker: Worker, options: argparse.Namespace) -> None:
    """Reads the recipe and runs the worker.

    Raises:
        RecipeError: The recipe cannot be read, or is not valid.
        RecordError: The place of the record is not writable.
    """
    try:
        text = read_text(options.recipe)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"cannot read the recipe {options.recipe}: {reason}") from error
    recipe = with_images(Recipe.from_json(text))
    check_fits_memory(recipe)
    check_writable(options.run_directory.parent)
    worker(recipe, options.run_directory, options)


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of these installed packages."""
    return {"python": sys.version.split()[0]} | {package: version(package) for package in packages}


def peak_memory_bytes() -> int:
    """The largest resident set of this program so far.

    On Linux from `/proc/self/status` where that says it: there `ru_maxrss` begins at what the process that started
    this one held (`exec_mmap` in `fs/exec.c` hands it on), a judge with a training's windows in memory for one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux


class Progress:
    """Tells `compare` how far a training is: one line of JSON on standard output.

    The line is `{"progress": {"epoch": 3, "epochs": 10, "fraction": 0.25, "loss": 0.04, ...}}`, the
    epoch counted from 1 and the fraction over the whole training. Lines closer together than a
    fifth of a second are dropped, except at the end of an epoch, which also tells its metrics.
    """

    def __init__(self, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self._last = 0.0

    def step(self, epoch: int, step: int) -> None:
        """Reports that `step` steps of epoch `epoch` (from 0) are done."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_REPORTS:
            self._last = now
            self._print(epoch, epoch + step / self.steps_per_epoch, {})

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Reports the end of epoch `epoch` (from 0) and its metrics."""
        self._print(epoch, epoch + 1, metrics)

    def _print(self, epoch: int, epochs_done: float, metrics: dict[str, float]) -> None:
        fields = {"epoch": epoch + 1, "epochs": self.epochs, "fraction": epochs_done / self.epochs, **metrics}
        os.write(1, (json.dumps({"progress": fields}) + "\n").encode())
