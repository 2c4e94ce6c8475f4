"""`python -m keras_impl.worker RECIPE.json RUN_DIR`: trains, or traces, and leaves a record for `compare`."""

import argparse
import time
from pathlib import Path
from typing import get_args

from command_line.one_line import OneLineErrors
from keras_impl import backend
from recipe import Recipe
from recipe.datasets import load
from record.first_steps import write_trace
from record.worker import main


def work(recipe: Recipe, run_directory: Path, options: argparse.Namespace) -> None:
    """Trains or traces as the recipe says and writes the record to `run_directory`."""
    start = time.perf_counter()
    digits = load(recipe)
    backend.select(options.backend, options.device, recipe)
    # These import keras, whose backend is chosen now.
    if options.trace:
        from keras_impl.first_steps import trace

        write_trace(run_directory, trace(recipe, digits))
    else:
        from keras_impl.recording import train_and_record

        train_and_record(recipe, digits, run_directory, start)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds this worker's options to those of the contract."""
    parser.add_argument("--backend", choices=get_args(backend.Backend), default="tensorflow", help="Keras's backend.")
    parser.add_argument("--device", choices=get_args(backend.Device), default="auto", help="Where to compute.")


if __name__ == "__main__":
    parser = OneLineErrors(prog="python -m keras_impl.worker", description=__doc__)
    add_device_options(parser)
    main(work, parser)
