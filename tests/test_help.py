"""`--help` of every program explains each of our options, in a line, with its unit."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compare.__main__ as compare_program
import keras_impl.__main__ as keras_program
from tests.conftest import assert_one_line_of_error, run_python

MAX_LENGTH = 160
"""Of a help text, in characters: two lines of a terminal."""

UNITS = {
    "--threads": "CPU threads",
    "--controls": "Trainings",
    "--margin": "percentage points",
    "--seeds": "seeds",
    "--workers": "Runs side by side",
    "--silence": "seconds",
    "--steps": "optimizer steps",
    "--timeout": "Seconds",
    "--batch": "samples",
}


def options_of(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Every option and every positional argument, with the subcommand before it."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        if action.dest == "subcommand":
            for name, subparser in dict(action.choices or {}).items():
                yield from options_of(subparser, f"{name} ")
        elif not {"-h", "--print_config", "--print_shtab"} & set(action.option_strings):  # jsonargparse's own
            yield path + (action.option_strings or [action.dest])[0], action


OPTIONS = [
    pytest.param(name, " ".join((action.help or "").split()), action, id=f"{program} {name}")
    for program, module in (("compare", compare_program), ("keras_impl", keras_program))
    for name, action in options_of(module.parser())
]


def test_options_are_found() -> None:
    names = {str(parameter.id) for parameter in OPTIONS}
    assert {"compare run --recipe.epochs", "compare study --silence", "compare convert source"} <= names
    assert {"keras_impl fit --checkpoints", "keras_impl export --format", "keras_impl classify pictures"} <= names
    assert {"compare download name", "keras_impl worker recipe"} <= names


def assert_explains(name: str, text: str) -> None:
    assert 8 < len(text) <= MAX_LENGTH, text
    # A recipe's field may say in a second sentence what it is where it is left out.
    assert len(re.findall(r"\w\.(?= |$)", text)) <= (2 if ".recipe." in f".{name.lstrip('-')}" else 1), text


@pytest.mark.parametrize(("name", "text", "action"), OPTIONS)
def test_option_is_explained_in_a_line_with_its_unit(name: str, text: str, action: argparse.Action) -> None:
    option = name.rpartition(" ")[2]
    assert_explains(option, text)
    number = getattr(action, "_typehint", action.type) in (int, float, int | None, float | None)
    if number and not option.startswith("--recipe."):
        assert UNITS[option] in text


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            compare_program,
            [
                "run",
                "align",
                "study",
                "explain",
                "report",
                "classify",
                "convert",
                "download",
                "differences",
                "completion",
            ],
        ),
        (keras_program, ["fit", "classify", "export", "convert", "worker"]),
    ],
    ids=["compare", "keras_impl"],
)
def test_subcommands_are_explained_where_they_are_listed(module: Any, names: list[str]) -> None:
    assert listed(module.parser().format_help()) == names == list(module.COMMANDS)


def listed(text: str) -> list[str]:
    """The commands that a program's help lists, each with a line that begins with what it does."""
    return re.findall(r"^    (\w+) +[A-Z]\w+ ", text.partition("(required)\n")[2], re.MULTILINE)


def test_lightnings_help_lists_the_trainers_commands_and_our_own(tmp_path: Path) -> None:
    process = run_python("-m", "lightning_impl", "--help", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    trainer = ["fit", "validate", "test", "predict"]
    assert listed(process.stdout) == [*trainer, "classify", "export", "convert", "worker"]


@pytest.mark.parametrize("program", ["compare", "keras_impl"])
def test_old_word_for_looking_at_pictures_says_the_new_one(program: str, tmp_path: Path) -> None:
    process = run_python("-m", program, "predict", "a b.png", cwd=tmp_path)
    assert_one_line_of_error(process, f"the command is classify: python -m {program} classify 'a b.png'")


@pytest.mark.parametrize("words", [["a.png"], ["--show", "a.png"], ["--weights=w", "a.png"]], ids=str)
def test_lightnings_predict_is_the_trainers_and_says_so_to_who_shows_it_a_picture(
    words: list[str], tmp_path: Path
) -> None:
    process = run_python("-m", "lightning_impl", "predict", *words, cwd=tmp_path)
    assert_one_line_of_error(process, f"the command is classify: python -m lightning_impl classify {' '.join(words)}")


@pytest.mark.parametrize(
    ("subcommand", "ours"),
    [
        (("fit",), r"--(?:recipe|model|data)\.\w+|--checkpoints"),
        (("classify",), r"--(?!help)\w+|PICTURE"),
        (("worker",), r"--(?!help)\w+|recipe|run_directory"),
        (("export",), r"--(?!help)\w+"),
    ],
)
def test_our_options_of_lightning_are_explained(tmp_path: Path, subcommand: tuple[str, ...], ours: str) -> None:
    process = run_python("-m", "lightning_impl", *subcommand, "--help", cwd=tmp_path, COLUMNS="1000")
    assert process.returncode == 0, process.stderr
    # An option's text stands two spaces behind it or below it, further in.
    blocks = re.findall(r"^  (\S.*(?:\n {3,}\S.*)*)", process.stdout, re.MULTILINE)
    found = [block for block in blocks if re.match(ours, block)]
    assert len(found) >= 3
    for block in found:
        name, _, text = re.sub(r"\n +", "  ", block).partition("  ")
        assert_explains(name.split()[0], re.sub(r" \(type: .*", "", text.strip()))
