"""The catalogue as a whole, its pages and its command."""

import re
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from benchmarks.figures.differences import DIRECTORY, pages
from compare.__main__ import main
from differences import CATALOGUE, find, search
from differences.entry import VERSIONS, Area
from tests.conftest import ROOT, assert_one_line_of_error, run_python

NAMES = {entry.name for entry in CATALOGUE}


def test_no_entry_is_there_twice_and_every_area_has_some() -> None:
    assert len(NAMES) == len(CATALOGUE) >= 80
    assert set(Counter(entry.area for entry in CATALOGUE)) == set(get_args(Area))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in NAMES)


def test_the_versions_that_the_pages_state_are_those_that_the_snippets_run_on() -> None:
    assert {name: version(name) for name in VERSIONS} == VERSIONS


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_an_entry_names_only_entries_that_exist(entry: object) -> None:
    text = "\n".join(str(value) for name, value in vars(entry).items() if not name.endswith(("code", "mend", "place")))
    assert set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", text)) <= NAMES


def test_pages_are_those_of_the_catalogue() -> None:
    # Red: python -m benchmarks.figures.differences
    on_disk = {path.name: path.read_text() for path in (ROOT / DIRECTORY).glob("*.md")}
    assert on_disk == pages()


def test_links_of_the_table_lead_to_a_section() -> None:
    written = pages()
    links = re.findall(r"\]\((\w+\.md)#([\w-]+)\)", written["README.md"])
    assert len(links) == len(CATALOGUE)
    for file, anchor in links:
        assert f"\n## {anchor}\n" in written[file]


def test_an_entry_is_found_by_its_name_and_by_a_word() -> None:
    assert find("adam-epsilon-place").area == "optimizer"
    assert find("adam-epsilon-place") in search("ADAM")
    assert {entry.name for entry in search("reset_after")} >= {"gru-reset-after", "recurrent-two-biases"}
    assert search() == CATALOGUE
    with pytest.raises(KeyError):
        find("no-such-entry")


def test_the_command_shows_a_table_of_what_mentions_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["differences", "clipnorm"]) == 0
    shown = capsys.readouterr().out
    assert "clipnorm-each" in shown
    assert "gru-gate-order" not in shown
    assert f"of {len(CATALOGUE)}" in shown


def test_the_command_shows_one_entry_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["differences", "gru-gate-order"]) == 0
    shown = capsys.readouterr().out
    assert "kernel.T[[1, 0, 2]]" in shown, "the mend, its brackets included"
    assert "# Keras: [0.2593]" in shown
    assert "# torch: [0.7048]" in shown


def test_the_command_without_a_word_shows_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["differences"]) == 0
    assert f"{len(CATALOGUE)} of {len(CATALOGUE)}" in capsys.readouterr().out


def test_a_word_that_nothing_mentions_is_one_line_of_error(tmp_path: Path) -> None:
    process: subprocess.CompletedProcess = run_python("-m", "compare", "differences", "warp", cwd=tmp_path)
    assert_one_line_of_error(process, "'warp'", "optimizer")


def test_the_catalogue_imports_no_framework(tmp_path: Path) -> None:
    process = run_python("-c", "import differences, sys; print(*sys.modules)", cwd=tmp_path)
    assert not {"keras", "tensorflow", "jax", "torch", "numpy"} & set(process.stdout.split())
