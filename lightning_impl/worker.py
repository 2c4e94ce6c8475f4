"""`python -m lightning_impl.worker RECIPE.json RUN_DIR`: trains, or traces, and leaves a record for `compare`."""

import argparse
import time
from pathlib import Path

from command_line.one_line import OneLineErrors
from recipe import Recipe
from record.first_steps import write_trace
from record.worker import main


def work(recipe: Recipe, run_directory: Path, options: argparse.Namespace) -> None:
    """Trains or traces as the recipe says and writes the record to `run_directory`."""
    start = time.perf_counter()

    # These import torch, for which --help need not wait.
    from lightning_impl.backend import accelerator_of
    from lightning_impl.first_steps import trace
    from lightning_impl.recording import train_and_record

    accelerator = accelerator_of(options.device)
    if options.trace:
        write_trace(run_directory, trace(recipe, accelerator=accelerator))
    else:
        train_and_record(recipe, run_directory, start, accelerator=accelerator)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds this worker's option to those of the contract."""
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="Where to compute.")


if __name__ == "__main__":
    parser = OneLineErrors(prog="python -m lightning_impl.worker", description=__doc__)
    add_device_options(parser)
    main(work, parser)
