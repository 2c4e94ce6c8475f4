"""`python -m compare run|align|study|report|predict|convert`: runs, judges, reports; predicts and converts."""

import dataclasses
import hashlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import jsonargparse

from compare.runner import BadInputError, Implementation, Job, Outcome, RunFailedError, keras, lightning, other, run_all
from compare.study import DEFAULT_VARIANTS, Results, plan
from recipe import Recipe, RecipeError
from recipe.mnist import DataError
from recipe.picture import PictureError
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
    run_parser = _with_threads(
        _common_parser("Train the implementations and compare them on all nine rungs of the ladder.")
    )
    run_parser.add_argument(
        "--controls", type=int, default=3, help="trainings of the A/A control, which tell how far rounding carries"
    )
    run_parser.add_argument(
        "--margin", type=float, default=0.5, help="accuracies closer than this are the same, in percentage points"
    )
    commands.add_subcommand("run", run_parser)
    commands.add_subcommand(
        "align",
        _with_threads(_common_parser("Compare the first steps number by number, without a training: rungs 1 to 7.")),
    )
    commands.add_subcommand("study", _study_parser())
    report_parser = jsonargparse.ArgumentParser(description="Show the findings of a comparison or a study again.")
    report_parser.add_argument("directory", type=Path, help="where its results.json is")
    report_parser.add_argument("--json", action="store_true", help="print results.json instead of tables")
    commands.add_subcommand("report", report_parser)
    commands.add_subcommand("predict", _predict_parser())
    convert_parser = jsonargparse.ArgumentParser(
        description="Write trained weights as a file of the other framework's, bit for bit. The names' endings say "
        "what they are: .safetensors (as in a record), .keras, .weights.h5 or .ckpt (of Lightning)."
    )
    convert_parser.add_argument("source", type=Path, help="what to read; a .ckpt, or with recipe.json beside it")
    convert_parser.add_argument("target", type=Path, help="what to write; must not be there")
    commands.add_subcommand("convert", convert_parser)
    return main_parser


def _with_threads(options: jsonargparse.ArgumentParser) -> jsonargparse.ArgumentParser:
    options.add_argument("--threads", type=int, default=1, help="CPU threads of each run; the runs go side by side")
    options.add_argument("--fresh", action="store_true", help="run again what is finished already")
    return options


def _study_parser() -> jsonargparse.ArgumentParser:
    options = _common_parser(
        "Train every variant from many seeds: are they equivalent, and what does each default cost?"
    )
    options.add_argument("--seeds", type=int, default=20, help="how many seeds, from recipe.seed on")
    options.add_argument(
        "--variants",
        type=list[str],
        default=list(DEFAULT_VARIANTS),
        help="switches to flip, each alone or joined by +; aligned flips none, native all, control is the A/A control",
    )
    options.add_argument(
        "--margin", type=float, default=0.1, help="mean accuracies closer than this are the same, in percentage points"
    )
    options.add_argument(
        "--scheduler", type=str | None, default=None, help="a Dask scheduler, tcp://host:8786 (default: this machine)"
    )
    options.add_argument(
        "--workers", type=int | None, default=None, help="runs side by side here (default: one a core)"
    )
    options.add_argument(
        "--silence", type=float, default=600, help="a run that says nothing for so many seconds is tried again"
    )
    return options


def _predict_parser() -> jsonargparse.ArgumentParser:
    options = jsonargparse.ArgumentParser(description="Show what both trained networks make of a picture.")
    options.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="a picture of one digit")
    options.add_argument(
        "--from",
        dest="comparison",
        type=Path | None,
        default=None,
        metavar="DIRECTORY",
        help="the comparison that trained them (default: the newest under runs/)",
    )
    options.add_argument(
        "--show", action="store_true", help="draw what the networks saw, and write it as PICTURE-28x28.png"
    )
    return options


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
    options.add_argument("--json", action="store_true", help="print results.json instead of tables")
    options.add_argument("--out", type=Path | None, default=None, help="directory of the comparison (default: runs/…)")
    return options


def run(options: Any) -> int:
    """Traces and trains, judges, reports; returns the exit code."""
    from rich.console import Console

    from compare.judge import judge_trainings

    if options.controls < 0 or not 0 < options.margin < 100:  # noqa: PLR2004 - percentage points
        raise BadInputError("--controls must be 0 or more, and --margin between 0 and 100 percentage points")
    _check_threads(options)
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
    console = Console(stderr=options.json)
    outcomes = _run_all(start_order(traces, trainings, controls), options, console)
    results = judge_trainings(
        recipe,
        {name: outcomes[job] for name, job in traces.items()},
        {name: outcomes[job] for name, job in trainings.items()},
        [outcomes[job] for job in (control, *controls)],
        directory,
        options.margin / 100,
    )
    return _report(results, options, directory, console)


def start_order(traces: dict[str, Job], trainings: dict[str, Job], controls: list[Job]) -> list[Job]:
    """The order to start jobs in: the longest first, so that all cores are busy to the end.

    But a trace of somebody else's implementation comes before all: whether it keeps to the contract
    should be known in seconds.
    """
    own = ("keras", "lightning")
    early = [trace for name, trace in traces.items() if name not in own]
    return [*early, *trainings.values(), *controls, *(traces[name] for name in own)]


def align(options: Any) -> int:
    """Traces, judges, reports; returns the exit code."""
    from rich.console import Console

    from compare.judge import judge_traces

    _check_threads(options)
    recipe, implementations, directory = _prepare(options)
    traces = {i.name: Job(i, recipe, directory / "records", trace=True, title=i.name) for i in implementations}
    console = Console(stderr=options.json)
    outcomes = _run_all(list(traces.values()), options, console)
    results = judge_traces(recipe, {name: outcomes[job] for name, job in traces.items()}, directory)
    return _report(results, options, directory, console)


def study(options: Any) -> int:
    """Trains every combination on a cluster, judges, reports; returns the exit code."""
    try:
        from compare.cluster import Lost, connect, run_study
        from compare.study_judge import judge_study
    except ImportError as error:
        raise BadInputError(
            f"a study needs {error.name}; install what it needs with: pip install 'mnist-parity[study]'"
        ) from error
    from rich.console import Console

    from compare.progress import StudyProgress

    for name, value in (("--workers", options.workers), ("--silence", options.silence)):
        if value is not None and not value > 0:
            raise BadInputError(f"{name} must be more than 0, not {value:g}")
    if not 0 < options.margin < 100:  # noqa: PLR2004 - percentage points
        raise BadInputError(f"--margin must be between 0 and 100 percentage points, not {options.margin:g}")
    recipe, implementations, directory = _prepare(options)
    runs = plan(implementations, recipe, options.variants, options.seeds)
    results = Results(directory / "results")
    console = Console(stderr=options.json)
    if not all(results.path(run).exists() for run in runs):
        with connect(options.scheduler, options.workers) as client:
            console.print(f"{len(runs):,} runs; Dask's dashboard: {client.dashboard_link}", soft_wrap=True)
            with StudyProgress(len(runs), console) as progress:
                try:
                    run_study(runs, results, client, options.silence, progress.report)
                except Lost as error:
                    raise BadInputError(f"--scheduler: {error}") from error
    findings = judge_study(recipe, runs, results, options.margin / 100)
    return _report(findings, options, directory, console)


def report(options: Any) -> int:
    """Shows findings again and writes their page anew; returns their exit code."""
    from rich.console import Console

    from compare.page import write_page
    from compare.report import read_results, show

    try:
        results = read_results(options.directory)
        if options.json:
            print(json.dumps(results, indent=2))
        else:
            console = Console()
            show(results, console)
            console.print(f"Page: {write_page(results, options.directory)}", soft_wrap=True)
    except RecordError as error:
        raise BadInputError(str(error)) from error
    return int(results["exit_code"])


def predict(options: Any) -> int:
    """Shows what both networks make of each picture; returns the exit code."""
    from compare.judge import EXIT_CODES
    from compare.prediction import show_predictions

    try:
        show_predictions(options.pictures, options.comparison, show=options.show)
    except (PictureError, RecordError) as error:
        raise BadInputError(str(error)) from error
    except RunFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODES["failed"]
    return 0


def convert(options: Any) -> int:
    """Converts and says where to; returns the exit code."""
    from compare.convert import convert

    convert(options.source, options.target)
    print(options.target)
    return 0


def _check_threads(options: Any) -> None:
    if options.threads < 1:
        raise BadInputError(f"--threads must be 1 or more, not {options.threads}")


def _prepare(options: Any) -> tuple[Recipe, list[Implementation], Path]:
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


def _report(results: dict[str, Any], options: Any, directory: Path, console: Any) -> int:
    """Writes the findings and the page, shows them, and returns the exit code."""
    from compare.page import write_page
    from compare.report import show, write_results

    results["command"] = options.command_line
    path = write_results(results, directory)
    if options.json:
        print(path.read_text(), end="")
    else:
        show(results, console)
    console.print(f"Results: {path}\nPage: {write_page(results, directory)}", soft_wrap=True)
    return int(results["exit_code"])


def default_directory(recipe: Recipe, implementations: list[Implementation], command: str) -> Path:
    """A directory under runs/ of this command, this recipe and these implementations alone."""
    commands = [implementation.command[1:] for implementation in implementations]
    key = hashlib.sha256(f"{recipe.to_json()}{commands}".encode()).hexdigest()[:8]
    return Path("runs") / f"{command}-{recipe.preset}-{recipe.dtype}-seed{recipe.seed}-{key}"


_COMMANDS = {
    "run": run,
    "align": align,
    "study": study,
    "report": report,
    "predict": predict,
    "convert": convert,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    try:
        subcommand = options.subcommand
        options = main_parser.instantiate(options)[subcommand]
        options.subcommand = subcommand
        options.command_line = shlex.join(
            ["python", "-m", "compare", *(sys.argv[1:] if arguments is None else arguments)]
        )
        return _COMMANDS[subcommand](options)
    except (RecipeError, BadInputError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
