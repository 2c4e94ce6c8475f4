"""`python -m compare run|align`: runs the implementations, judges them and reports."""

import dataclasses
import hashlib
import os
import sys
from pathlib import Path
from typing import Any, Literal

import jsonargparse

from compare.runner import BadInputError, Implementation, Job, Outcome, keras, lightning, other, run_all
from recipe import Recipe, RecipeError
from recipe.mnist import DataError
from recipe.record_files import RecordError, check_writable
from recipe.worker import BAD_INPUT

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended: 128 + SIGINT."""


def parser() -> jsonargparse.ArgumentParser:
    """The command line, one subcommand a job."""
    main_parser = jsonargparse.ArgumentParser(
        prog="python -m compare", description="Compares implementations of one MNIST network."
    )
    commands = main_parser.add_subcommands()
    run_parser = _common_parser("Train the implementations and compare them on all nine rungs of the ladder.")
    run_parser.add_argument(
        "--controls", type=int, default=3, help="trainings of the A/A control, which tell how far rounding carries"
    )
    run_parser.add_argument(
        "--margin", type=float, default=0.5, help="accuracies closer than this are the same, in percentage points"
    )
    commands.add_subcommand("run", run_parser)
    commands.add_subcommand(
        "align", _common_parser("Compare the first steps number by number, without a training: rungs 1 to 7.")
    )
    return main_parser


def _common_parser(description: str) -> jsonargparse.ArgumentParser:
    options = jsonargparse.ArgumentParser(description=description)
    options.add_argument("--config", action="config", help="a YAML file with any of these options")
    options.add_class_arguments(Recipe, "recipe")
    options.add_argument(
        "--keras.backend", type=Literal["tensorflow", "torch", "jax"], default="tensorflow", help="Keras's backend"
    )
    options.add_argument(
        "--implementation",
        action="append",
        default=[],
        metavar='NAME="COMMAND"',
        help="one more implementation of the contract in docs/run-record.md (repeatable)",
    )
    options.add_argument("--device", type=Literal["auto", "cpu", "gpu"], default="auto", help="where to compute")
    options.add_argument("--threads", type=int, default=1, help="CPU threads of each run; the runs go side by side")
    options.add_argument("--out", type=Path | None, default=None, help="directory of the comparison (default: runs/…)")
    options.add_argument("--fresh", action="store_true", help="run again what is finished already")
    return options


def run(options: Any) -> int:
    """Traces and trains, judges, reports; returns the exit code."""
    from rich.console import Console

    from compare.judge import judge_trainings
    from compare.report import comparison_table

    if options.controls < 0 or not 0 < options.margin < 100:  # noqa: PLR2004 - percentage points
        raise BadInputError("--controls must be 0 or more, and --margin between 0 and 100 percentage points")
    recipe, implementations, directory = _prepare(options)
    records = directory / "records"
    trainings = {i.name: Job(i, recipe, records, title=i.name) for i in implementations}
    traces = {i.name: Job(i, recipe, records, trace=True, title=f"{i.name} trace") for i in implementations}
    # Lightning's controls: an A/A family is of one implementation, and its epochs are the shorter ones.
    control = trainings["lightning"]
    controls = [
        dataclasses.replace(control, recipe=dataclasses.replace(recipe, perturbation=number), title=f"control {number}")
        for number in range(recipe.perturbation + 1, recipe.perturbation + 1 + options.controls)
    ]
    console = Console()
    outcomes = _run_all([*traces.values(), *trainings.values(), *controls], options, console)
    results = judge_trainings(
        recipe,
        {name: outcomes[job] for name, job in traces.items()},
        {name: outcomes[job] for name, job in trainings.items()},
        [outcomes[job] for job in (control, *controls)],
        directory,
        options.margin / 100,
    )
    console.print(comparison_table(results))
    return _report(results, directory, console)


def align(options: Any) -> int:
    """Traces, judges, reports; returns the exit code."""
    from rich.console import Console

    from compare.judge import judge_traces

    recipe, implementations, directory = _prepare(options)
    traces = {i.name: Job(i, recipe, directory / "records", trace=True, title=i.name) for i in implementations}
    console = Console()
    outcomes = _run_all(list(traces.values()), options, console)
    results = judge_traces(recipe, {name: outcomes[job] for name, job in traces.items()}, directory)
    return _report(results, directory, console)


def _prepare(options: Any) -> tuple[Recipe, list[Implementation], Path]:
    if options.threads < 1:
        raise BadInputError(f"--threads must be 1 or more, not {options.threads}")
    implementations = [keras(options.keras.backend, options.device), lightning(options.device)]
    implementations += [other(definition) for definition in options.implementation]
    names = [implementation.name for implementation in implementations]
    if len(set(names)) < len(names):
        raise BadInputError(f"--implementation: every name may be used once; given: {', '.join(names)}")
    directory = options.out or default_directory(options.recipe, implementations, options.subcommand)
    try:
        check_writable(directory)
    except RecordError as error:
        raise BadInputError(f"--out: {error}") from error
    return options.recipe, implementations, directory


def _run_all(jobs: list[Job], options: Any, console: Any) -> dict[Job, Outcome]:
    from compare.progress import LiveProgress

    with LiveProgress(jobs, console) as progress:
        outcomes = run_all(jobs, threads=options.threads, fresh=options.fresh, report=progress.report)
    return dict(zip(jobs, outcomes, strict=True))


def _report(results: dict[str, Any], directory: Path, console: Any) -> int:
    from compare.report import ladder_table, verdict_lines, write_results

    if results["rungs"]:
        console.print(ladder_table(results))
    for line in verdict_lines(results):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"Results: {write_results(results, directory)}", soft_wrap=True)
    return int(results["exit_code"])


def default_directory(recipe: Recipe, implementations: list[Implementation], command: str) -> Path:
    """A directory under runs/ of this command, this recipe and these implementations alone."""
    commands = [implementation.command[1:] for implementation in implementations]
    key = hashlib.sha256(f"{recipe.to_json()}{commands}".encode()).hexdigest()[:8]
    return Path("runs") / f"{command}-{recipe.preset}-{recipe.dtype}-seed{recipe.seed}-{key}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    try:
        subcommand = options.subcommand
        options = main_parser.instantiate(options)[subcommand]
        options.subcommand = subcommand
        return {"run": run, "align": align}[subcommand](options)
    except (RecipeError, BadInputError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
