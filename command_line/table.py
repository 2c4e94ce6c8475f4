"""A program's commands in one table, from which its help, its completion and its dispatch are made."""

import io
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import jsonargparse.typing
from jsonargparse.typing import class_from_function

from command_line.one_line import OneLineErrors
from recipe.datasets import check_fits_memory, with_images
from recipe.errors import BadInputError, RecipeError
from recipe.recipe import SWITCHES, Recipe


class Parser(OneLineErrors, jsonargparse.ArgumentParser):
    """jsonargparse's parser, but for its errors, and for options that it would complete by itself."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, allow_abbrev=False, **options)


@dataclass(frozen=True)
class Command:
    """A command of a program.

    Args:
        description: What it does, in a line.
        add_options: Adds its options to a parser.
        run: Does it, from the parsed options; returns the exit code, None for 0.
    """

    description: str
    add_options: Callable[[Any], object]
    run: Callable[[Any], int | None]

    def parser(self, program: str | None = None) -> Parser:
        """A parser of this command alone."""
        parser = Parser(prog=program, description=self.description)
        self.add_options(parser)
        return parser


Commands = Mapping[str, Command]


def program_name(room: str, script: str) -> str:
    """What the user calls the program: the installed script, or `python -m ROOM` where it was started so."""
    return f"python -m {room}" if Path(sys.argv[0]).name == "__main__.py" else script


def make_parser(program: str, description: str, commands: Commands) -> Parser:
    """The command line of a program, one subcommand for each command of the table."""
    parser = Parser(prog=program, description=description)
    subcommands = parser.add_subcommands()
    for name, command in commands.items():
        subcommands.add_subcommand(name, command.parser(), help=command.description)
    return parser


def run_command(parser: Parser, commands: Commands, arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, by default the process's own, and runs the command that they name; returns its exit code.

    Raises:
        BadInputError: The first word is what looking at pictures was once called, or one is no text.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    check_words(words)
    if words[:1] == ["predict"] and "predict" not in commands:
        raise BadInputError(called_classify(parser.prog, words[1:]))
    options = parser.parse_args(words)
    chosen = parser.instantiate(options)[options.subcommand]
    chosen.command_line = shlex.join([*parser.prog.split(), *words])
    return commands[options.subcommand].run(chosen) or 0


def check_words(words: Sequence[str]) -> None:
    """Refuses bytes that are no UTF-8: what is written about them could be printed nowhere.

    Names that programs meet by themselves, such as the working directory's, are printed with their bytes spelled out.

    Raises:
        BadInputError: A word holds such bytes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise BadInputError(f"{word}: no text in UTF-8; write it in UTF-8, or choose another name") from error


def path_of_text(text: str) -> Path:
    """The path of an option; an empty one, which Python takes for the working directory, is a slip.

    Raises:
        ValueError: It is empty.
    """
    if not str(text):
        raise ValueError("empty")
    return Path(text)


# The type by which all three programs know paths; jsonargparse brings one of its own.
jsonargparse.typing.register_type(Path, str, path_of_text, type_check=isinstance)


def called_classify(program: str, words: Sequence[str]) -> str:
    """The line for who asks `predict` to look at pictures."""
    return f"to have a picture looked at, the command is classify: {program} classify {shlex.join(words) or 'PICTURE'}"


def add_recipe_options(parser: jsonargparse.ArgumentParser) -> None:
    """Adds `--recipe.*`, from which the parser makes a recipe whose data set has been read."""
    recipe_type = class_from_function(_recipe_of_options, func_return=Recipe)
    parser.add_class_arguments(recipe_type, "recipe", skip={"images"})
    # What nobody asked for is as the preset says.
    parser.set_defaults({f"recipe.{switch}": None for switch in SWITCHES})


def _recipe_of_options(**fields: Any) -> Recipe:
    """The recipe: every hyperparameter of a run"""
    with _option_is_named():
        recipe = with_images(Recipe.from_preset(**fields))
        check_fits_memory(recipe)
        return recipe


def check_recipe_options(fields: Mapping[str, Any]) -> None:
    """Makes a recipe of the options for its errors alone, and reads nothing.

    Raises:
        RecipeError: The message begins with the option.
    """
    with _option_is_named():  # of a file of the recipe alone, jsonargparse notes the path under a name of its own
        Recipe.from_preset(**{name: value for name, value in fields.items() if not name.startswith("__")})


@contextmanager
def _option_is_named() -> Iterator[None]:
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"--{error}; see --help") from error
