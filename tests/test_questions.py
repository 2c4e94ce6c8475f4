"""The pages under docs/questions: their commands are understood, their messages are ours, and all are to be found."""

import re
import shlex
from pathlib import Path

import pytest

import compare.__main__ as compare_program
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs" / "questions").glob("*.md"))
COMMANDS = [
    pytest.param(shlex.split(words, comments=True), id=f"{page.name}: {words.partition('#')[0].strip()}")
    for page in PAGES
    for words in re.findall(r"^ {4}mnist-compare (.*)$", page.read_text(), re.MULTILINE)
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("arguments", COMMANDS)
def test_command_is_understood(arguments: list[str]) -> None:
    parser = compare_program.parser()
    parser.instantiate(parser.parse_args(arguments))  # exits where it is not


def test_benchmarks_have_the_options_that_are_named() -> None:
    source = (ROOT / "benchmarks" / "__main__.py").read_text()
    for page in PAGES:
        for words in re.findall(r"^ {4}python -m benchmarks(.*)$", page.read_text(), re.MULTILINE):
            for option in re.findall(r"--\w+", words):
                assert f'"{option}"' in source


def test_messages_are_those_of_the_programs() -> None:
    sources = "".join(
        path.read_text() for name in ("keras_impl", "lightning_impl") for path in (ROOT / name).glob("*.py")
    )
    page = (ROOT / "docs" / "questions" / "no-gpu.md").read_text()
    for message in (
        "a GPU was asked for, but Keras on ",
        " finds none; ",
        "a GPU was asked for, but torch finds none; ",
        "check the driver and that torch is a CUDA build",
        "cuda_graph cannot be used: ",
        "backend is not installed; ",
    ):
        assert message in page
        assert message in sources


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_in_the_index_and_the_index_in_the_readme(page: Path) -> None:
    index = ROOT / "docs" / "questions" / "README.md"
    assert page == index or f"]({page.name})" in index.read_text()
    assert f"(docs/questions/{page.name})" in (ROOT / "README.md").read_text()
