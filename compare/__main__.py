"""`mnist-compare`, or `python -m compare`: the command line, over `compare/api.py`."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

from command_line.table import Command, Parser, add_recipe_options, make_parser, program_name, run_command
from compare import api
from compare.explanation import command as explanation
from compare.results_file import EXIT_CODES, results_text
from compare.run.implementations import Backend
from recipe import RecipeError
from recipe.errors import (
    BAD_INPUT,
    BadArgumentError,
    BadInputError,
    DataError,
    ParityError,
    PictureError,
    RecordError,
    RunFailedError,
    as_one_line,
    harmless,
)
from recipe.images import NAMED

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended: 128 + SIGINT."""


def add_judged_options(function: Callable[..., Any], options: Parser) -> None:
    """Adds the options of a function of the API: types, defaults and help are those of its arguments, but for a few."""
    options.add_argument("--config", action="config", help="A YAML file with any of these options.")
    add_recipe_options(options)
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
    if function is api.study:
        options.add_argument(
            "--plan", action="store_true", help="Run nothing; say how many seeds show parity within which margin."
        )
    _add_output_options(options, tables=function is not api.study)


def add_report_options(options: Parser) -> None:
    """Adds the options of `report`."""
    options.add_argument("directory", type=Path, help="Where its results.json is.")
    _add_output_options(options)


def _add_output_options(options: Parser, *, tables: bool = True) -> None:
    if tables:
        options.add_argument("--verbose", action="store_true", help="Print all tables, not what fits one screen.")
    options.add_argument("--json", action="store_true", help="Print results.json instead.")


def add_classify_options(options: Parser) -> None:
    """Adds the options of `classify`."""
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


def add_convert_options(options: Parser) -> None:
    """Adds the options of `convert`."""
    options.add_argument("source", type=Path, help="What to read; a .ckpt, or with recipe.json beside it.")
    options.add_argument("target", type=Path, help="What to write; must not be there.")


def add_download_options(options: Parser) -> None:
    """Adds the options of `download`."""
    names = [name for name in NAMED if name != "mnist"]
    options.add_argument("name", choices=names, help=f"The data set: {', '.join(names)}.")
    options.add_argument("archive", type=Path, help="The .npz file to write.")


def judge(function: Callable[..., Any], options: Any) -> int:
    """Has a function of the API do the job, shows what it found, and returns the exit code."""
    from rich.console import Console

    if "plan" in options and options.plan:
        return plan(options)
    console = Console(stderr=options.json)
    arguments = {name: options[name] for name in signature(function).parameters if name in options}
    findings = function(
        **arguments,
        implementations=_named_commands(options.implementation),
        keras_backend=options.keras.backend,
        console=console,
        command=options.command_line,
    )
    if options.json:
        print(results_text(findings.to_json()), end="")
    else:
        api.show(findings, console, verbose=options.get("verbose", False))
    console.print(
        f"Results: {findings.results_file}\nPage: {findings.page}", soft_wrap=True, markup=False, highlight=False
    )
    return findings.exit_code


def plan(options: Any) -> int:
    """Shows what a study would take; returns 0."""
    arguments = {name: options[name] for name in signature(api.study_plan).parameters if name in options}
    implementations = _named_commands(options.implementation)
    print(*api.study_plan(**arguments, implementations=implementations, keras_backend=options.keras.backend), sep="\n")
    return 0


def _named_commands(definitions: list[str]) -> dict[str, str]:
    """The commands of `--implementation NAME=COMMAND` by their names."""
    commands: dict[str, str] = {}
    for definition in definitions:
        name, _, command = definition.partition("=")
        if name in commands:
            raise BadArgumentError(f"implementation: every name may be used once; {name} is used again")
        commands[name] = command
    return commands


def explain(options: Any) -> int:
    """Explains, shows what was found, and returns the exit code."""
    from rich.console import Console

    arguments = {name: options[name] for name in signature(api.explain).parameters if name in options}
    findings = api.explain(
        **arguments,
        report=lambda line: print(line, file=sys.stderr, flush=True),
        command=options.command_line,
    )
    console = Console(stderr=options.json)
    if options.json:
        print(results_text(findings.to_json()), end="")
    else:
        api.show(findings, console)
    if findings.directory is not None:
        console.print(
            f"Results: {findings.results_file}\nPage: {findings.page}", soft_wrap=True, markup=False, highlight=False
        )
    return findings.exit_code


def report(options: Any) -> int:
    """Shows findings again and writes their page again; returns their exit code."""
    from rich.console import Console

    findings = api.read(options.directory)
    if options.json:
        print(results_text(findings.to_json()), end="")
        return findings.exit_code
    console = Console()
    with _what_does_not_fit_is_named(findings.results_file or options.directory):
        with console.capture() as shown:
            api.show(findings, console, verbose=options.verbose)
        page = api.rewrite_page(findings)
    print(shown.get(), end="")
    console.print(f"Page: {page}", soft_wrap=True, markup=False, highlight=False)
    return findings.exit_code


@contextlib.contextmanager
def _what_does_not_fit_is_named(results_file: Path) -> Iterator[None]:
    """Names the file where findings cannot be shown: each kind of rung has details of its own, which none has typed.

    Raises:
        RecordError: Something is missing from them, or is of another kind.
    """
    try:
        yield
    except ParityError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RecordError(
            f"{results_file} cannot be shown ({reason}): it is damaged or of another version; run the comparison again"
        ) from error


def classify(options: Any) -> None:
    """Shows what both networks make of each picture."""
    from compare.classify import show_classifications

    try:
        show_classifications(options.pictures, options.comparison, show=options.show)
    except (PictureError, RecordError) as error:
        raise BadInputError(str(error)) from error


def convert(options: Any) -> None:
    """Converts and says where to."""
    from compare.convert import convert

    convert(options.source, options.target)
    print(options.target)


def download(options: Any) -> None:
    """Fetches a data set and says where it is."""
    from recipe.datasets import download

    download(options.name, options.archive)
    print(options.archive)


def add_differences_options(options: Parser) -> None:
    """Adds the options of `differences`."""
    options.add_argument(
        "word", nargs="?", default="", metavar="WORD", help="Part of a name, an area or any word (default: all)."
    )


def differences(options: Any) -> None:
    """Shows the differences that mention the word."""
    from rich.console import Console

    from compare.report.differences_table import show_differences

    show_differences(options.word, Console())


def completion(_: Any) -> None:
    """Prints the completion script."""
    from compare.completion import script

    print(script())


def _judged(function: Callable[..., Any]) -> Command:
    description = (function.__doc__ or "").partition("\n")[0]
    return Command(description, partial(add_judged_options, function), partial(judge, function))


COMMANDS = {
    "run": _judged(api.run),
    "align": _judged(api.align),
    "study": _judged(api.study),
    "explain": Command(explanation.DESCRIPTION, explanation.add_options, explain),
    "report": Command(
        "Shows the findings of a comparison, a study or an explanation again.", add_report_options, report
    ),
    "classify": Command("Shows which digit both trained networks see in a picture.", add_classify_options, classify),
    "convert": Command(
        "Writes trained weights as a file of the other framework's, bit for bit. The names' endings say "
        "what they are: .safetensors (as in a record), .keras, .weights.h5 or .ckpt (of Lightning).",
        add_convert_options,
        convert,
    ),
    "download": Command(
        "Fetches a named data set to a file; where there is a network, the other commands do it by themselves.",
        add_download_options,
        download,
    ),
    "differences": Command(
        "Shows what Keras and PyTorch do differently, and how to make them alike.", add_differences_options, differences
    ),
    "completion": Command(
        "Prints a bash script that completes the command lines of all three programs.", lambda _: None, completion
    ),
}
GO_ON = ("run", "align", "study")
"""The commands that keep what is finished when they are interrupted."""


def parser() -> Parser:
    """The command line."""
    return make_parser(
        program_name("compare", "mnist-compare"), "Compares implementations of one MNIST network.", COMMANDS
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        return run_command(parser(), COMMANDS, words)
    except (RecipeError, BadInputError, DataError, RecordError, OSError) as error:
        dashes = "--" if isinstance(error, BadArgumentError) else ""
        print(f"error: {dashes}{as_one_line(str(error) or type(error).__name__)}", file=sys.stderr)
        return BAD_INPUT
    except RunFailedError as error:
        print(f"error: {harmless(str(error))}", file=sys.stderr)
        return EXIT_CODES["failed"]
    except KeyboardInterrupt:
        continues = "; finished runs are kept, the same command continues from there" if words[0] in GO_ON else ""
        print(f"interrupted{continues}", file=sys.stderr)
        return INTERRUPTED


def start() -> NoReturn:
    """Runs the command line and ends the process: with 4 after a crash, for 1 says "not parity"."""
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001 - it is printed
        traceback.print_exc()
        sys.exit(EXIT_CODES["failed"])


if __name__ == "__main__":
    start()
