"""Live progress of several runs: bars in a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from compare.run.jobs import Job, JobProgress, Outcome


class Display:
    """Bars that are shown while the block runs, and stay on the screen."""

    bars: Bars

    def __enter__(self) -> Self:
        """Starts the display."""
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the display."""
        self.bars.stop()


class LiveProgress(Display):
    """Shows what `run_all` reports.

    Args:
        jobs: What will be run.
        console: Where to; bars if it is a terminal.
    """

    def __init__(self, jobs: list[Job], console: Console) -> None:
        self.console = console
        self.bars = Bars(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TextColumn("epoch"),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.tasks: dict[int, TaskID] = {}
        for job in jobs:
            self.tasks[id(job)] = self.bars.add_task(job.title, total=job.recipe.epochs, metrics="waiting")

    def report(self, message: JobProgress | Outcome) -> None:
        """Shows one message of a run."""
        job = message.job
        name, epochs = job.title, job.recipe.epochs
        if isinstance(message, JobProgress):
            if {"epoch", "loss", "val_accuracy"} <= message.fields.keys():
                metrics = f"loss {message.fields['loss']:.4f}  validation accuracy {message.fields['val_accuracy']:.2%}"
                if not self.console.is_terminal:
                    self.console.print(f"{name}: epoch {message.fields['epoch']:.0f} of {epochs}, {metrics}")
                self.bars.update(self.tasks[id(job)], metrics=metrics)
            self.bars.update(self.tasks[id(job)], completed=int(message.fraction * epochs))
            return
        done = epochs if message.record else None
        if message.record is None:
            text = "failed"
        elif message.reused:
            text = "reused a finished run (--fresh runs it again)"
        elif job.trace:
            text = "done"
        else:
            text = f"{message.record.status.outcome} in {message.record.seconds:.1f} s"
            done = len(message.record.history["loss"])
        self.bars.update(self.tasks[id(job)], completed=done, metrics=text)
        if not self.console.is_terminal:
            self.console.print(f"{name}: {text}")
