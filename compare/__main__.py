"""`python -m compare run`: trains the implementations, judges them and reports."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import jsonargparse

from compare.runner import BadInputError, Implementation
from recipe import Recipe, RecipeError
from recipe.mnist import DataError
from recipe.worker import BAD_INPUT

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended: 128 + SIGINT."""


def parser() -> jsonargparse.ArgumentParser:
    """The command line, one subcommand a job."""
    run = jsonargparse.ArgumentParser(description="Train both implementations and compare them.")
    run.add_argument("--config", action="config", help="a YAML file with any of these options")
    run.add_class_arguments(Recipe, "recipe")
    run.add_argument(
        "--keras.backend", type=Literal["tensorflow", "torch", "jax"], default="tensorflow", help="Keras's backend"
    )
    run.add_argument(
        "--implementation",
        action="append",
        default=[],
        metavar='NAME="COMMAND"',
        help="one more implementation of the contract in docs/run-record.md (repeatable)",
    )
    run.add_argument("--device", type=Literal["auto", "cpu", "gpu"], default="auto", help="where to compute")
    run.add_argument("--threads", type=int, default=1, help="CPU threads of each run; the runs go side by side")
    run.add_argument("--out", type=Path | None, default=None, help="directory of the comparison (default: runs/…)")
    run.add_argument("--fresh", action="store_true", help="train again what is finished already")

    main_parser = jsonargparse.ArgumentParser(
        prog="python -m compare", description="Compares implementations of one MNIST network.", version=None
    )
    commands = main_parser.add_subcommands()
    commands.add_subcommand("run", run)
    return main_parser


def run(options: Any, recipe: Recipe) -> int:
    """Trains, judges, reports; returns the exit code."""
    from rich.console import Console

    from compare.judge import judge
    from compare.progress import LiveProgress
    from compare.report import comparison_table, verdict_lines, write_results
    from compare.runner import Job, keras, lightning, other, run_all

    implementations = [keras(options.keras.backend, options.device), lightning(options.device)]
    implementations += [other(definition) for definition in options.implementation]
    directory = options.out or default_directory(recipe, implementations)
    check_writable(directory)

    console = Console()
    jobs = [Job(implementation, recipe, directory / "records") for implementation in implementations]
    with LiveProgress(jobs, console) as progress:
        outcomes = run_all(jobs, threads=options.threads, fresh=options.fresh, report=progress.report)

    results = judge(recipe, outcomes, directory)
    console.print(comparison_table(results))
    for line in verdict_lines(results):
        console.print(line, soft_wrap=True)
    console.print(f"Results: {write_results(results, directory)}", soft_wrap=True)
    return results["exit_code"]


def default_directory(recipe: Recipe, implementations: list[Implementation]) -> Path:
    """A directory under runs/ of this recipe and these implementations alone."""
    commands = [implementation.command[1:] for implementation in implementations]
    key = hashlib.sha256(f"{recipe.to_json()}{commands}".encode()).hexdigest()[:8]
    return Path("runs") / f"{recipe.preset}-{recipe.dtype}-seed{recipe.seed}-{key}"


def check_writable(directory: Path) -> None:
    """Makes the directory.

    Raises:
        BadInputError: It cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise BadInputError(f"cannot write to {directory}: {error.strerror}; choose another --out") from error


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    try:
        options = main_parser.instantiate(options)[options.subcommand]
        return run(options, options.recipe)
    except (RecipeError, BadInputError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
