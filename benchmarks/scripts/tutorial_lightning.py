"""The tutorial's Lightning code, `examples/tutorial_lightning.py` as it is, with a clock."""

import os
import tempfile
from typing import Any

import lightning

from benchmarks.scripts.clock import options, report
from benchmarks.scripts.example import run_example
from benchmarks.scripts.lightning_clock import EpochClock


def main() -> None:
    """Runs the example with its epochs as many as asked for, and timed."""
    arguments = options(__doc__).parse_args()
    clock = EpochClock()
    stock = lightning.Trainer

    def timed(**chosen: Any) -> lightning.Trainer:
        asked = {"max_epochs": arguments.epochs, "accelerator": arguments.device, "callbacks": [clock]}
        return stock(**{**chosen, **asked})

    setattr(lightning, "Trainer", timed)  # noqa: B010 - mypy would not have a class replaced
    with tempfile.TemporaryDirectory() as root:
        os.chdir(root)  # the example leaves its data and its logs where it runs
        run_example("tutorial_lightning")
        os.chdir("/")
    report(clock.clock, device=arguments.device)


if __name__ == "__main__":
    main()
