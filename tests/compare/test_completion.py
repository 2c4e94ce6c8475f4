"""Completion in bash, of a shell that has sourced the script."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Once, run_python

SHELL = Path(__file__).with_name("completion.sh")


@pytest.fixture
def script(once: Once) -> Path:
    def make(directory: Path) -> None:
        process = run_python("-m", "compare", "completion", cwd=directory)
        assert process.returncode == 0, process.stderr
        (directory / "script").write_text(process.stdout)

    return once("completion", make) / "script"


def offered(script: Path, line: str) -> list[str]:
    process = subprocess.run(["/bin/bash", SHELL, script, line], capture_output=True, text=True, check=True)
    assert process.stderr == ""
    return process.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python -m com", ["compare"]),
        ("python -m compare al", ["align"]),
        ("python -m compare study --se", ["--seeds"]),
        ("python -m compare report --js", ["--json"]),
        ("python -m compare run --keras.backend te", ["tensorflow"]),
        ("python -m compare run --recipe.seed 3 --recipe.learn", ["--recipe.learning_rate"]),
        ("python -m compare run --recipe.adam fr", ["framework"]),
        ("python -m keras_impl fi", ["fit"]),
        ("python -m keras_impl fit --recipe.learn", ["--recipe.learning_rate"]),
        ("python -m keras_impl fit --recipe.dtype fl", ["float32", "float64"]),
        ("python -m lightning_impl val", ["validate"]),
        ("python -m lightning_impl fit --recipe.learn", ["--recipe.learning_rate"]),
        ("python -m lightning_impl test --recipe.adam fr", ["framework"]),
        ("python -m lightning_impl fit --trainer.max_e", ["--trainer.max_epochs"]),
        ("python -m lightning_impl fit --checkp", ["--checkpoints"]),
        ("python -m lightning_impl cl", ["classify"]),
        ("python -m lightning_impl export --rec", ["--record"]),
        ("mnist-compare al", ["align"]),
        ("mnist-compare run --recipe.seed 3 --recipe.learn", ["--recipe.learning_rate"]),
        ("mnist-keras cl", ["classify"]),
        ("mnist-keras fit --recipe.preset na", ["native"]),
        ("mnist-lightning fit --checkp", ["--checkpoints"]),
        ("mnist-lightning test --recipe.adam fr", ["framework"]),
        ("python -m http.server --b", []),
        ("python scri", []),
    ],
)
def test_line_is_completed(script: Path, line: str, words: list[str]) -> None:
    assert offered(script, line) == words


def test_script_is_small(script: Path) -> None:
    # With what every class takes that one may name in the Trainer's options it would be 220 MB.
    assert script.stat().st_size < 200_000


def test_without_shtab_one_line_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['shtab'] = None; sys.argv[1:] = ['completion']; "
        "from compare.__main__ import main; sys.exit(main())"
    )
    process = run_python("-c", code, cwd=tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "error: completion needs shtab; in the clone: pip install '.[completion]'\n"
