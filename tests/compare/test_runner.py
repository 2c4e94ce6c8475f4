import sys
from pathlib import Path
from typing import Any

import pytest

from compare import runner
from compare.runner import BadInputError, Implementation, Job, RunFailedError, other, run_all
from recipe import Recipe
from tests.conftest import TINY

STAND_IN = str(Path(__file__).with_name("stand_in.py"))


def stand_in(mode: str, name: str = "third") -> Implementation:
    return Implementation(name, (sys.executable, STAND_IN, "--mode", mode))


def run(*jobs: Job, **options: Any) -> tuple[list[runner.Outcome], list[Any]]:
    messages: list[Any] = []
    return run_all(jobs, threads=1, report=messages.append, **options), messages


def test_progress_and_outcomes_are_reported_as_they_come(tmp_path: Path) -> None:
    job = Job(stand_in("good"), TINY, tmp_path)
    (outcome,), messages = run(job)
    assert outcome.record.recipe == TINY
    assert not outcome.reused
    progress, last = messages  # the broken progress line is an ordinary line
    assert (progress.fraction, progress.fields["loss"]) == (0.5, 1.0)
    assert last is outcome
    assert job.directory.with_suffix(".log").read_text().startswith("a line for the log\n")


def test_outcomes_keep_the_order_of_the_jobs(tmp_path: Path) -> None:
    jobs = [
        Job(stand_in(mode, name), TINY, tmp_path) for name, mode in (("a", "good"), ("b", "fail"), ("c", "diverge"))
    ]
    (a, b, c), _ = run(*jobs)
    assert a.record.status.outcome == "finished"
    assert b.record is None
    assert isinstance(b.error, RunFailedError)
    assert c.record.diverged


def test_failed_run_is_tried_again(tmp_path: Path) -> None:
    job = Job(stand_in("fail"), TINY, tmp_path)
    run(job)
    run(job)
    assert len((tmp_path / "started.txt").read_text().split()) == 2


def test_directory_is_keyed_by_all_that_determines_a_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("1")
    command = (sys.executable, str(script))

    def directory(recipe: Recipe = TINY, words: tuple[str, ...] = command, name: str = "third", **fields: Any) -> Path:
        return Job(Implementation(name, words), recipe, tmp_path, **fields).directory

    first = directory()
    assert directory() == first
    others = {
        directory(recipe=Recipe()),
        directory(words=(*command, "--option")),
        directory(name="fourth"),
        directory(trace=True),
    }
    script.write_text("2")
    others.add(directory())
    assert len(others - {first}) == 5


def test_backend_that_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    for backend, extra in (("jax", "[jax]"), ("tensorflow", "")):
        with pytest.raises(BadInputError) as caught:
            runner.keras(backend, "cpu")
        assert f"{backend} backend is not installed" in str(caught.value)
        assert f"pip install 'mnist-parity{extra}'" in str(caught.value)


def test_command_is_split_as_a_shell_does() -> None:
    assert other(f"a={sys.executable} 'one word' two").command == (sys.executable, "one word", "two")


def test_unbalanced_quote_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="No closing quotation"):
        other('a=python "x')


def test_command_that_cannot_be_executed_is_bad_input(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no program")
    script.chmod(0o755)
    job = Job(Implementation("a", (str(script),)), TINY, tmp_path)
    with pytest.raises(BadInputError, match="cannot be started"):
        run_all([job], threads=1, report=lambda message: None)


def test_output_that_is_no_utf8_is_logged_all_the_same(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = f"subprocess.run([sys.executable, {str(STAND_IN)!r}, *sys.argv[1:]])"
    script.write_text(f"import os, subprocess, sys\nos.write(1, b'\\xff\\n')\nsys.exit({call}.returncode)\n")
    job = Job(Implementation("a", (sys.executable, str(script))), TINY, tmp_path / "records")
    (outcome,) = run_all([job], threads=1, report=lambda message: None)
    assert outcome.error is None
