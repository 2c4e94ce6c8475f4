"""What every timed script shares: its options, its clock, and the line of JSON that it ends with."""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from record.worker import peak_memory_bytes


class Clock:
    """Times epochs: all of an epoch, and its training alone, without the validation.

    Args:
        synchronize: Waits for the device to finish what it was given.
    """

    def __init__(self, synchronize: Callable[[], Any] = lambda: None) -> None:
        self.epochs: list[dict[str, float]] = []
        self._synchronize = synchronize
        self._start: tuple[float, float] | None = None

    def start_epoch(self) -> None:
        """Starts an epoch's clock; what was still running is an epoch and ends here."""
        self.end_epoch()
        self._validation = 0.0
        self._start = self._now()

    def start_validation(self) -> None:
        """From here to `end_validation` is not training."""
        self._validation_start = self._now()[0]

    def end_validation(self) -> None:
        """The counterpart of `start_validation`."""
        self._validation += self._now()[0] - self._validation_start

    def end_epoch(self) -> None:
        """Stops the epoch's clock, if one is running."""
        if self._start is None:
            return
        seconds, cpu_seconds = (now - then for now, then in zip(self._now(), self._start, strict=True))
        training_seconds = seconds - self._validation
        self.epochs.append({"seconds": seconds, "training_seconds": training_seconds, "cpu_seconds": cpu_seconds})
        self._start = None

    def _now(self) -> tuple[float, float]:
        """Seconds on the wall, and of CPU over all threads."""
        self._synchronize()
        return time.perf_counter(), time.process_time()


def options(description: str | None) -> argparse.ArgumentParser:
    """The options of a script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=2, help="epochs to train; the first is a warm-up")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="where to compute")
    return parser


def report(clock: Clock, **fields: Any) -> None:
    """Ends a script: one line of JSON with its epochs, its peak memory and `fields`."""
    print()
    print(json.dumps({"epochs": clock.epochs, "peak_memory_bytes": peak_memory_bytes(), **fields}))
