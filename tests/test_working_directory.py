"""What is run is ours, whatever files of the same names lie in the directory that the user works in."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compare.run.process import environment
from recipe.own_process import ROOT, own_command, search_path
from tests.conftest import assert_one_line_of_error, run_python

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

HOSTILE = """
import pathlib
pathlib.Path(__file__).with_suffix(".ran").touch()
raise SystemExit(0)
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory with modules that are named as ours, as NumPy and as the frameworks, and end with 0 when they run."""
    directory = tmp_path / "mine"
    directory.mkdir()
    for name in ("compare", "recipe", "record", "keras_impl", "lightning_impl", "numpy", "torch", "keras", "random"):
        (directory / f"{name}.py").write_text(HOSTILE)
    return directory


def installed(name: str, directory: Path) -> Path:
    """The console script as pip writes it; it lies in a directory of its own, as in a virtual environment."""
    module, function = SCRIPTS[name].split(":")
    (directory / "bin").mkdir(exist_ok=True)
    script = directory / "bin" / name
    script.write_text(
        f"import sys\nfrom {module} import {function}\nif __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    return script


def test_comparison_runs_nothing_of_the_working_directory(hostile: Path, tmp_path: Path) -> None:
    quick = ("--recipe.hidden_sizes", "[2]", "--recipe.batch_size", "30000", "--device", "cpu", "--out", "out")
    process = run_python(installed("mnist-compare", tmp_path), "align", *quick, cwd=hostile)
    assert process.returncode == 0, process.stderr
    assert "Verdict: parity" in process.stdout
    assert (hostile / "out" / "results.json").exists()
    assert not list(hostile.glob("*.ran"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_installed_scripts_run_ours_and_call_themselves_by_their_names(
    name: str, hostile: Path, tmp_path: Path
) -> None:
    process = run_python(installed(name, tmp_path), "no_such_command", cwd=hostile)
    assert_one_line_of_error(process, "no_such_command", f"; see {name} --help")
    assert not list(hostile.glob("*.ran"))


def test_process_of_our_own_imports_nothing_from_the_working_directory(hostile: Path) -> None:
    for entries in ("", ":", f":{hostile.parent}"):  # an empty entry would be the working directory
        process = subprocess.run(
            own_command("keras_impl.worker", "--help"),
            cwd=hostile,
            env={**environment(1), "PYTHONPATH": search_path() + entries[1:]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        assert "leaves a record" in process.stdout
        assert not list(hostile.glob("*.ran"))


def test_empty_entries_of_the_search_path_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, kept in (("", ""), (":", ""), (":/there", ":/there"), ("/here::/there:", ":/here:/there")):
        monkeypatch.setenv("PYTHONPATH", given)
        assert search_path() == f"{ROOT}{kept}"
    monkeypatch.delenv("PYTHONPATH")
    assert search_path() == str(ROOT)


def test_port_of_the_users_own_finds_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "helper.py").write_text("WORD = 'found'")
    (tmp_path / "port" / "my_port.py").write_text("import helper, recipe\nprint(helper.WORD, recipe.__file__)")
    command = [sys.executable, "port/my_port.py"]
    process = subprocess.run(command, cwd=tmp_path, env=environment(1), capture_output=True, text=True, check=False)
    assert process.stdout.split() == ["found", str(ROOT / "recipe" / "__init__.py")], process.stderr
