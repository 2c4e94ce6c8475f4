"""The progress of a study: a bar, or plain lines."""

import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from compare.run.progress import Display
from compare.study.results import FinishedRun
from recipe.errors import harmless


class StudyProgress(Display):
    """Shows how far a study is: one bar over all runs, or in a file a line a run.

    Args:
        num_runs: How many runs the study has.
        console: Where to; a bar if it is a terminal.
    """

    def __init__(self, num_runs: int, console: Console) -> None:
        self.console = console
        self.num_runs = num_runs
        self.reused = self.done = self.failed = 0
        self.start = time.monotonic()
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bars.add_task("runs", total=num_runs, left="")

    def report(self, finished: FinishedRun) -> None:
        """Shows that a run is over, with a result or without."""
        run = finished.run
        if finished.done_here:
            self.done += 1
        else:
            self.reused += 1
        name = f"{run.implementation.name} {run.variant}, seed {run.seed}"
        if finished.error is not None:
            self.failed += 1
            self.console.print(f"{name} failed: {harmless(finished.error)}", markup=False, highlight=False)
        left = self._left()
        self.bars.update(self.task, completed=self.done + self.reused, left=left)
        if not self.console.is_terminal and finished.done_here:
            self.console.print(f"{self.done + self.reused:,} of {self.num_runs:,}: {name}; {left}", highlight=False)

    def _left(self) -> str:
        """The time left, from the runs that this study did itself: finished ones cost nothing."""
        parts = [f"{self.reused:,} reused"] if self.reused else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        if self.done:
            seconds = (time.monotonic() - self.start) / self.done * (self.num_runs - self.done - self.reused)
            parts.append(f"{timedelta(seconds=round(seconds))} left")
        return ", ".join(parts)
