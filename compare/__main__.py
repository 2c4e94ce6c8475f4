"""`python -m compare run|align|study|report|predict|convert|differences|completion`: the command line."""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import jsonargparse

from compare import api
from compare.results_file import EXIT_CODES
from compare.run.implementations import Backend
from recipe import Recipe, RecipeError
from recipe.errors import (
    BAD_INPUT,
    BadArgumentError,
    BadInputError,
    DataError,
    PictureError,
    RecordError,
    RunFailedError,
)

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended: 128 + SIGINT."""


def parser() -> jsonargparse.ArgumentParser:
    """The command line, one subcommand a job."""
    main_parser = jsonargparse.ArgumentParser(
        prog="python -m compare", description="Compares implementations of one MNIST network."
    )
    subparsers = {name: _judged_parser(function) for name, function in _JUDGED.items()}
    report_parser = jsonargparse.ArgumentParser(description="Shows the findings of a comparison or a study again.")
    report_parser.add_argument("directory", type=Path, help="Where its results.json is.")
    report_parser.add_argument("--json", action="store_true", help="Print results.json instead of tables.")
    subparsers["report"] = report_parser
    subparsers["predict"] = _predict_parser()
    convert_parser = jsonargparse.ArgumentParser(
        description="Writes trained weights as a file of the other framework's, bit for bit. The names' endings say "
        "what they are: .safetensors (as in a record), .keras, .weights.h5 or .ckpt (of Lightning)."
    )
    convert_parser.add_argument("source", type=Path, help="What to read; a .ckpt, or with recipe.json beside it.")
    convert_parser.add_argument("target", type=Path, help="What to write; must not be there.")
    subparsers["convert"] = convert_parser
    subparsers["differences"] = jsonargparse.ArgumentParser(
        description="Shows what Keras and PyTorch do differently, and how to make them alike."
    )
    subparsers["differences"].add_argument(
        "word", nargs="?", default="", metavar="WORD", help="Part of a name, an area or any word (default: all)."
    )
    subparsers["completion"] = jsonargparse.ArgumentParser(
        description="Prints a bash script that completes the command lines of compare, keras_impl and lightning_impl."
    )
    commands = main_parser.add_subcommands()
    for name, subparser in subparsers.items():
        commands.add_subcommand(name, subparser, help=subparser.description)
    return main_parser


def _predict_parser() -> jsonargparse.ArgumentParser:
    options = jsonargparse.ArgumentParser(description="Shows what both trained networks make of a picture.")
    options.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="A picture of one digit.")
    options.add_argument(
        "--from",
        dest="comparison",
        type=Path | None,
        default=None,
        metavar="DIRECTORY",
        help="The comparison that trained them (default: the newest under runs/).",
    )
    options.add_argument(
        "--show", action="store_true", help="Draw what the networks saw, and write it as PICTURE-28x28.png."
    )
    return options


def _judged_parser(function: Callable[..., Any]) -> jsonargparse.ArgumentParser:
    """The options of a function of the API: types, defaults and help are those of its arguments, but for a few."""
    options = jsonargparse.ArgumentParser(description=(function.__doc__ or "").partition("\n")[0])
    options.add_argument("--config", action="config", help="A YAML file with any of these options.")
    options.add_class_arguments(Recipe, "recipe", skip={"images"})
    options.add_argument("--keras.backend", type=Backend, default="tensorflow", help="Keras's backend.")
    options.add_argument(
        "--implementation",
        action="append",
        default=[],
        metavar='NAME="COMMAND"',
        help="One more implementation of the contract in docs/run-record.md (repeatable).",
    )
    by_hand: set[str | int] = {"recipe", "implementations", "keras_backend", "fresh", "console", "command"}
    options.add_function_arguments(function, skip=by_hand, as_group=False)
    if "fresh" in signature(function).parameters:
        options.add_argument("--fresh", action="store_true", help="Run again what is finished already.")
    options.add_argument("--json", action="store_true", help="Print results.json instead of tables.")
    return options


def judge(options: Any) -> int:
    """Does the job, shows what it found, and returns the exit code."""
    from rich.console import Console

    console = Console(stderr=options.json)
    function = _JUDGED[options.subcommand]
    arguments = {name: options[name] for name in signature(function).parameters if name in options}
    found = function(
        **arguments,
        implementations=_named_commands(options.implementation),
        keras_backend=options.keras.backend,
        console=console,
        command=options.command_line,
    )
    if options.json:
        print(found.results_file.read_text(), end="")
    else:
        found.show(console)
    console.print(f"Results: {found.results_file}\nPage: {found.page}", soft_wrap=True, markup=False, highlight=False)
    return found.exit_code


def _named_commands(definitions: list[str]) -> dict[str, str]:
    """The commands of `--implementation NAME=COMMAND` by their names."""
    commands: dict[str, str] = {}
    for definition in definitions:
        name, _, command = definition.partition("=")
        if name in commands:
            raise BadArgumentError(f"implementation: every name may be used once; {name} is used again")
        commands[name] = command
    return commands


def report(options: Any) -> int:
    """Shows findings again and writes their page anew; returns their exit code."""
    from rich.console import Console

    from compare.report.page import write_page
    from compare.report.terminal import show
    from compare.results_file import read_results

    try:
        results = read_results(options.directory)
        if options.json:
            print(json.dumps(results, indent=2))
        else:
            console = Console()
            show(results, console)
            page = write_page(results, options.directory)
            console.print(f"Page: {page}", soft_wrap=True, markup=False, highlight=False)
    except RecordError as error:
        raise BadInputError(str(error)) from error
    return int(results["exit_code"])


def predict(options: Any) -> int:
    """Shows what both networks make of each picture; returns the exit code."""
    from compare.predict import show_predictions

    try:
        show_predictions(options.pictures, options.comparison, show=options.show)
    except (PictureError, RecordError) as error:
        raise BadInputError(str(error)) from error
    return 0


def convert(options: Any) -> int:
    """Converts and says where to; returns the exit code."""
    from compare.convert import convert

    convert(options.source, options.target)
    print(options.target)
    return 0


def differences(options: Any) -> int:
    """Shows the differences that mention the word; returns the exit code."""
    from rich.console import Console

    from compare.report.differences_table import show_differences

    show_differences(options.word, Console())
    return 0


def completion(options: Any) -> int:  # noqa: ARG001 - it has none
    """Prints the completion script; returns the exit code."""
    from compare.completion import script

    print(script())
    return 0


_JUDGED: dict[str, Callable[..., Any]] = {"run": api.run, "align": api.align, "study": api.study}
_COMMANDS = {
    **dict.fromkeys(_JUDGED, judge),
    "report": report,
    "predict": predict,
    "convert": convert,
    "differences": differences,
    "completion": completion,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    subcommand = options.subcommand
    try:
        options = main_parser.instantiate(options)[subcommand]
        options.subcommand = subcommand
        options.command_line = shlex.join(
            ["python", "-m", "compare", *(sys.argv[1:] if arguments is None else arguments)]
        )
        return _COMMANDS[subcommand](options)
    except (RecipeError, BadInputError, DataError, OSError) as error:
        dashes = "--" if isinstance(error, BadArgumentError) else ""
        print(f"error: {dashes}{str(error) or type(error).__name__}", file=sys.stderr)
        return BAD_INPUT
    except RunFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODES["failed"]
    except KeyboardInterrupt:
        goes_on = "; finished runs are kept, the same command goes on from there" if subcommand in _JUDGED else ""
        print(f"interrupted{goes_on}", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001 - a crash must not end as 1, which says "not parity"
        traceback.print_exc()
        sys.exit(EXIT_CODES["failed"])
