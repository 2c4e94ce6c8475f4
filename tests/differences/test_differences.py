"""Every entry of the catalogue is true: its snippets differ as it says, agree with its mend, and its sources say so."""

import ast
import importlib.util
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from differences import CATALOGUE, Difference, Place
from tests.conftest import Once, run_python

ENTRIES = [pytest.param(entry, id=entry.name) for entry in CATALOGUE]
PROCESSES = ("torch", "tensorflow", "jax")
Results = dict[str, dict[str, list[Any]]]


@pytest.fixture(scope="module")
def results(once: Once) -> Results:
    """What the snippets of each framework gave, by entry: as it comes, and with the mend; a process each."""

    def make(directory: Path) -> None:
        def run(framework: str) -> subprocess.CompletedProcess:
            snippets = "tests.differences.run_snippets"
            return run_python("-m", snippets, framework, f"{framework}.json", cwd=directory, timeout=900)

        with ThreadPoolExecutor() as threads:
            for process in threads.map(run, PROCESSES):
                assert process.returncode == 0, process.stderr

    directory = once("differences", make)
    torch, tensorflow, jax = (json.loads((directory / f"{name}.json").read_text()) for name in PROCESSES)
    return {"torch": torch, "keras": tensorflow | jax}


def deviation(one: Any, other: Any) -> float:
    """The largest difference of two results as a share of the largest number; 1 where they are no numbers."""
    one, other = ([value] if not isinstance(value, list) else value for value in (one, other))
    if len(one) != len(other):
        return 1
    if any(isinstance(value, str) for value in [*one, *other]):
        return float(one != other)
    largest = max((abs(value) for value in [*one, *other]), default=0)
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0) / largest if largest else 0


def assert_is(found: Any, stated: Any, within: float) -> None:
    found, stated = ([value] if not isinstance(value, list) else value for value in (found, stated))
    assert len(found) == len(stated), found
    for one, other in zip(found, stated, strict=True):
        assert one == other if isinstance(other, str) else one == pytest.approx(other, rel=within, abs=1e-12), found


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_framework_gives_what_the_entry_says(results: Results, entry: Difference) -> None:
    assert_is(results["keras"][entry.name][0], entry.keras_gives, entry.within)
    assert_is(results["torch"][entry.name][0], entry.torch_gives, entry.within)


@pytest.mark.parametrize("entry", ENTRIES)
def test_as_they_come_they_differ(results: Results, entry: Difference) -> None:
    apart = deviation(results["keras"][entry.name][0], results["torch"][entry.name][0])
    assert apart > 10 * entry.after


@pytest.mark.parametrize("entry", ENTRIES)
def test_with_the_mend_they_agree(results: Results, entry: Difference) -> None:
    assert deviation(results["keras"][entry.name][1], results["torch"][entry.name][1]) <= entry.after
    assert entry.keras_mend or entry.torch_mend
    if entry.after > 1e-12:
        assert entry.inherent, "what stays apart has to be said"


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_mend_has_one_or_two_lines_on_its_side(entry: Difference) -> None:
    assert len(entry.mend("keras")) == 0 if entry.keras_mend is None else 1 <= len(entry.mend("keras")) <= 2
    assert len(entry.mend("torch")) == 0 if entry.torch_mend is None else 1 <= len(entry.mend("torch")) <= 2


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_sources_say_so(entry: Difference) -> None:
    for place in (entry.keras_place, entry.torch_place):
        assert without_spaces(place.says) in without_spaces(source_of(place)), place


def without_spaces(text: str) -> str:
    """A statement that the source breaks over lines is found all the same."""
    return re.sub(r"\s+", "", text)


@cache
def definitions(file: str) -> dict[str, str]:
    """The source of every function and class of an installed package's file, by its name; none of it is imported."""
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / rest).read_text()
    found, lines = {"": text}, text.splitlines()

    def collect(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found[prefix + child.name] = "\n".join(lines[child.lineno - 1 : child.end_lineno])
                collect(child, f"{prefix}{child.name}.")

    if file.endswith(".py"):
        collect(ast.parse(text), "")
    return found


def source_of(place: Place) -> str:
    assert place.definition in definitions(place.file), f"{place.file} has no {place.definition}"
    return definitions(place.file)[place.definition]
