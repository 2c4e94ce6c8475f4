import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from compare.api import start_order
from compare.run.implementations import Implementation
from compare.run.jobs import Job
from recipe import Recipe
from tests.conftest import ROOT, assert_one_line_of_error, run_python

HERE = Path(__file__).parent
STAND_IN = shlex.join([sys.executable, str(HERE / "stand_in.py")])
QUICK = ("--recipe.hidden_sizes", "[2]", "--recipe.batch_size", "30000", "--recipe.epochs", "2", "--controls", "2")


def compare(directory: Path, *arguments: str, keras: str = "good") -> subprocess.CompletedProcess:
    """`compare run` into directory/out, with stand-ins for both implementations."""
    return run_python(HERE / "driver.py", keras, "run", *QUICK, "--out", "out", *arguments, cwd=directory)


def third(mode: str) -> tuple[str, str]:
    return "--implementation", f"third={STAND_IN} --mode {mode}"


def results(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "out" / "results.json").read_text())


def started(directory: Path) -> list[str]:
    """The run directories of all stand-ins started so far."""
    return (directory / "out" / "records" / "started.txt").read_text().split()


def test_third_implementation_is_compared_then_reused_then_run_afresh(tmp_path: Path) -> None:
    process = compare(tmp_path, *third("good"))
    found = results(tmp_path)
    assert process.returncode == found["exit_code"], process.stderr
    assert found["exit_code"] in (0, 1, 3)
    assert list(found["implementations"]) == ["keras", "lightning", "third"]
    assert list(found["comparisons"]) == ["lightning", "third"]
    assert "third" in process.stdout
    assert "10,000 of 10,000" in process.stdout
    runs = started(tmp_path)
    assert len(runs) == len(set(runs)) == 3 + 3 + 2  # traces, trainings, controls

    again = compare(tmp_path, *third("good"))
    assert again.returncode == process.returncode
    assert started(tmp_path) == runs
    assert "third: reused a finished run" in again.stdout
    assert all(entry["reused"] for entry in results(tmp_path)["implementations"].values())

    compare(tmp_path, *third("good"), "--fresh")
    assert sorted(started(tmp_path)) == sorted(runs * 2)
    assert not any(entry["reused"] for entry in results(tmp_path)["implementations"].values())

    compare(tmp_path, *third("good"), "--recipe.seed", "1")
    assert len(started(tmp_path)) == 3 * len(runs)


def test_longest_runs_start_first_after_what_is_to_be_known_early(tmp_path: Path) -> None:
    def job(name: str, *, trace: bool = False) -> Job:
        return Job(Implementation(name, (name,)), Recipe(), tmp_path, trace=trace)

    names = ("keras", "lightning", "third")
    traces, trainings = ({name: job(name, trace=trace) for name in names} for trace in (True, False))
    order = start_order(traces, trainings, [job("lightning")])
    told = [f"{entry.implementation.name}{' trace' * entry.trace}" for entry in order]
    assert told == ["third trace", "keras", "lightning", "third", "lightning", "keras trace", "lightning trace"]


def test_results_have_the_keys_that_others_build_on(tmp_path: Path) -> None:
    compare(tmp_path)
    found = results(tmp_path)
    assert {"schema_version", "verdict", "exit_code", "recipe", "implementations", "difference", "agreement"} <= set(
        found
    )
    assert found["schema_version"] == 1
    assert found["recipe"]["hidden_sizes"] == [2]
    for name in ("keras", "lightning"):
        entry = found["implementations"][name]
        assert entry["test_accuracy"] == 0.1
        assert entry["test_loss"] == 2.3
        assert entry["num_parameters"] == 784 * 2 + 2 + 2 * 10 + 10
        assert entry["seconds_per_epoch"] == 0.5
        assert entry["peak_memory_bytes"] == 1000
        assert entry["history"]["val_accuracy"] == [0.5, 0.5]
        assert entry["versions"] == {"python": "3", "numpy": "2"}
        assert (tmp_path / "out" / entry["record"] / "record.json").is_file()
    assert set(found["difference"]) == {"test_accuracy", "test_loss"}
    assert found["agreement"] == {"same": 10_000, "total": 10_000}


def test_run_that_fails_is_shown_with_its_log(tmp_path: Path) -> None:
    process = compare(tmp_path, *third("fail"))
    assert process.returncode == results(tmp_path)["exit_code"] == 4
    assert results(tmp_path)["verdict"] == "failed"
    assert results(tmp_path)["compared"] == ["keras", "third"]
    (line,) = [line for line in process.stdout.splitlines() if "third failed: " in line]
    assert "exit code 1 (out of ideas)" in line
    log = tmp_path / line.rpartition("its log: ")[2].strip()
    assert log.read_text().splitlines() == ["a line for the log", "out of ideas"]
    assert results(tmp_path)["comparisons"]["lightning"]["verdict"] != "failed"


def test_trace_that_fails_is_shown_with_its_log_beside_what_was_judged(tmp_path: Path) -> None:
    process = compare(tmp_path, *third("no-trace"))
    assert process.returncode == results(tmp_path)["exit_code"] == 4
    (line,) = [line for line in process.stdout.splitlines() if "third failed: its trace: " in line]
    assert "exit code 1 (what is --trace?); its log: " in line
    entry = results(tmp_path)["implementations"]["third"]
    assert (entry["status"], entry["test_accuracy"]) == ("failed", 0.1)
    assert "trajectory" in process.stdout  # of the other pair


CRASHING = "import compare.api\ncompare.api.read = None\n"


def test_crash_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    process = run_python("-m", "compare", "report", ".", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert process.returncode == 4
    assert "Traceback" in process.stderr


def test_damaged_results_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema_version": 1}')
    process = run_python("-m", "compare", "report", ".", cwd=tmp_path)
    assert_one_line_of_error(process, "results.json is damaged: 'recipe' is missing; run the comparison again")


def test_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    compare(tmp_path)
    (tmp_path / "out" / "report.html").unlink()
    (tmp_path / "out" / "report.html").mkdir()
    assert_one_line_of_error(run_python("-m", "compare", "report", "out", cwd=tmp_path), "report.html")
    assert not list(tmp_path.rglob("partial-*"))


def test_directory_with_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    process = run_python(HERE / "driver.py", "good", "run", *QUICK, "--out", "a[/b]", cwd=tmp_path)
    assert f"Results: {Path('a[/b]') / 'results.json'}" in process.stdout, process.stderr


def test_run_that_diverges_is_shown_with_epoch_and_step(tmp_path: Path) -> None:
    process = compare(tmp_path, keras="diverge")
    assert process.returncode == 4
    assert "keras diverged: its loss is no longer finite in epoch 1, step 2." in process.stdout
    entry = results(tmp_path)["implementations"]["keras"]
    assert (entry["status"], entry["diverged_at"]) == ("diverged", {"epoch": 1, "step": 2})
    assert entry["test_accuracy"] is None
    assert compare(tmp_path, keras="diverge").returncode == 4  # also from the finished record


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("nothing", ["third", "without leaving a record"]),
        ("another", ["third", "hidden_sizes: expected (", "docs/run-record.md"]),
        ("faster", ["third", "learning_rate: expected 0.001, found 0.002", "docs/run-record.md"]),
        ("invalid", ["third", "weights.safetensors", "docs/run-record.md"]),
        ("refuse", ["third: the moon is not full"]),
    ],
)
def test_a_port_that_breaks_the_contract_is_a_finding_about_that_port(
    tmp_path: Path, mode: str, words: list[str]
) -> None:
    process = compare(tmp_path, *third(mode))
    assert process.returncode == results(tmp_path)["exit_code"] == 4, process.stderr
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("third failed: ")]
    for word in words:
        assert word in line
    found = results(tmp_path)
    assert found["implementations"]["third"]["status"] == "failed"
    assert len(found["comparisons"]["lightning"]["rungs"]) == 9, "the others are judged"
    assert not list(tmp_path.rglob("partial-*"))


def test_what_keras_refuses_nobody_can_run(tmp_path: Path) -> None:
    assert_one_line_of_error(compare(tmp_path, keras="refuse"), "keras: the moon is not full")
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_control_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "out" / "records").mkdir(parents=True)
    (tmp_path / "out" / "records" / "no-controls").touch()
    process = compare(tmp_path, "--controls", "3")
    (line,) = [line for line in process.stdout.splitlines() if "controls are too few to judge by" in line]
    assert "control 1 failed: lightning ended with exit code 1 (no control today); its log: " in line
    assert "ask for" not in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--implementation", "third=no_such_command_anywhere"], ["third", "no_such_command_anywhere"]),
        (["--implementation", f"keras={STAND_IN}"], ["keras", "taken"]),
        (["--implementation", f"a={STAND_IN}", "--implementation", f"a={STAND_IN}"], ["once"]),
        (["--implementation", "no command"], ['NAME="COMMAND"', "no command"]),
        (["--implementation", "third="], ["third="]),
        (["--implementation", "../x=python"], ["../x=python"]),
        (["--recipe.epochs", "0"], ["--recipe.epochs must be a whole number from 1 to 1,000,000, not 0; see --help"]),
        (["--recipe.learning_rate", "-1"], ["recipe.learning_rate"]),
        (["--recipe.beta_1", "1"], ["recipe.beta_1"]),
        (["--out", "/proc/nowhere"], ["/proc/nowhere", "--out"]),
        (["--out", "file/out"], ["file/out", "--out"]),
        (["--threads", "0"], ["--threads"]),
    ],
    ids=str,
)
def test_errors_are_one_line_and_starts_nothing(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "file").touch()
    assert_one_line_of_error(compare(tmp_path, *arguments), *words)
    assert not list(tmp_path.rglob("started.txt"))
    assert not list(tmp_path.rglob("results.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe.unknown", "1"],
        ["--recipe.dtype", "float16"],
        ["--recipe.epochs", "many"],
        ["--keras.backend", "numpy"],
        ["--config", "missing.yaml"],
    ],
    ids=str,
)
def test_unknown_option_is_refused_by_name(tmp_path: Path, arguments: list[str]) -> None:
    process = compare(tmp_path, *arguments)
    assert_one_line_of_error(process, arguments[0].removeprefix("--"), "; see mnist-compare run --help")
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_config_file_and_printed_config_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("recipe:\n  preset: native\n  epochs: 3\nkeras:\n  backend: jax\n")
    process = compare(tmp_path, "--config", "mine.yaml", "--recipe.epochs", "4", "--print_config")
    assert process.returncode == 0, process.stderr
    config = yaml.safe_load(process.stdout)
    assert (config["recipe"]["preset"], config["recipe"]["epochs"]) == ("native", 4)
    assert config["keras"]["backend"] == "jax"
    (tmp_path / "printed.yaml").write_text(process.stdout)
    again = run_python("-m", "compare", "run", "--config", "printed.yaml", "--print_config", cwd=tmp_path)
    assert yaml.safe_load(again.stdout) == config


def test_config_file_that_is_wrong_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("recipe:\n  epoch: 3\n")
    process = compare(tmp_path, "--config", "mine.yaml")
    assert_one_line_of_error(process, "'recipe.epoch'", "; see mnist-compare run --help")
    assert process.stderr.count("\n") == 1


def test_interrupt_leaves_nothing_half_written_and_no_process(tmp_path: Path) -> None:
    command = [sys.executable, HERE / "driver.py", "hang", "run", *QUICK, "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("partial-*-keras-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    records = tmp_path / "out" / "records"
    assert not list(records.glob("partial-*"))
    assert not list(tmp_path.rglob("results.json"))
    for record in records.iterdir():
        assert not record.is_dir() or (record / "record.json").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)

    finished = len(started(tmp_path))
    after = compare(tmp_path)
    assert after.returncode in (0, 1, 3)
    assert len(started(tmp_path)) > finished


def test_interrupt_of_the_parent_alone_leaves_no_partial_record(tmp_path: Path) -> None:
    command = [sys.executable, HERE / "driver.py", "hang-uninterrupted", "run", *QUICK, "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    while not list(tmp_path.rglob("partial-*-keras-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert not list(tmp_path.rglob("partial-*"))


def test_findings_are_printed_as_json_alone_and_shown_again_later(tmp_path: Path) -> None:
    process = compare(tmp_path, "--json")
    printed = json.loads(process.stdout)
    assert printed == results(tmp_path)
    assert process.returncode == printed["exit_code"]
    assert "report.html" in process.stderr

    (tmp_path / "out" / "report.html").unlink()
    again = run_python("-m", "compare", "report", "out", cwd=tmp_path)
    assert again.returncode == printed["exit_code"], again.stderr
    assert "Verdict: " in again.stdout
    assert (tmp_path / "out" / "report.html").exists()
    assert json.loads(run_python("-m", "compare", "report", "out", "--json", cwd=tmp_path).stdout) == printed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot read", "results.json"]),
        ("{", ["not valid JSON"]),
        ('{"schema_version": 0}', ["schema version 1"]),
    ],
    ids=["none", "broken", "another version"],
)
def test_report_of_no_findings_is_one_line(tmp_path: Path, content: str | None, words: list[str]) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    assert_one_line_of_error(run_python("-m", "compare", "report", ".", cwd=tmp_path), *words)
