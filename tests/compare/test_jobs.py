import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from filelock import FileLock

from compare.run import gpus, implementations, jobs, process
from compare.run.implementations import Implementation, other
from compare.run.jobs import Job, run_all
from recipe import Recipe
from recipe.errors import BadInputError, RunFailedError
from tests.conftest import ROOT, TINY

STAND_IN = str(Path(__file__).with_name("stand_in.py"))


def stand_in(mode: str, name: str = "third") -> Implementation:
    return Implementation(name, (sys.executable, STAND_IN, "--mode", mode))


def run(*jobs: Job, **options: Any) -> tuple[list[jobs.Outcome], list[Any]]:
    messages: list[Any] = []
    return run_all(jobs, notify=messages.append, **options), messages


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


@pytest.mark.parametrize("room", ["recipe", "record"])
def test_code_that_reads_the_recipe_and_writes_the_record_counts(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(implementations, "ROOT", tmp_path)
    (tmp_path / room).mkdir()
    directories = set()
    for text in ("1", "2"):
        (tmp_path / room / "module.py").write_text(text)
        directories.add(Job(Implementation("third", ("program",)), TINY, tmp_path).directory)
    assert len(directories) == 2


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As on a machine with two GPUs of 10 GB, of which frameworks find one; nvidia-smi is a script that lists them."""
    rows = "0, GPU-aa, 10000, 10000\n1, GPU-bb, 10000, 10000"
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{rows}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "_DRIVERS", (str(program),))
    monkeypatch.setattr(gpus, "found_by", lambda framework: "gpu")
    return program


def test_auto_is_another_run_once_there_is_a_gpu(
    with_gpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(device: Any = "auto") -> set[str]:
        sides = implementations.keras("tensorflow", device), implementations.lightning(device), stand_in("good")
        return {Job(side, TINY, tmp_path).directory.name for side in sides}

    with_gpu, asked = keys(), keys("cpu") | keys("gpu")
    with monkeypatch.context() as patch:  # a framework without support for the GPU that is there
        patch.setattr(gpus, "found_by", lambda framework: "cpu" if framework == "torch" else "gpu")
        assert len(with_gpu - keys()) == 1
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not keys() & with_gpu
        assert len((keys("cpu") | keys("gpu")) - asked) == 1  # the stand-in, which is not told
    assert implementations.lightning("gpu").device == "gpu"


def test_a_framework_is_asked_for_its_gpus_in_a_process_of_its_own() -> None:
    gpus.found_by.cache_clear()
    assert gpus.found_by("torch") == ("gpu" if torch.cuda.is_available() else "cpu")


GETS_A_GPU = """
import os, sys, time
with open(sys.argv[1], "a") as file:
    file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {time.monotonic()} ")
    file.flush()
    time.sleep(0.5)
    file.write(f"{time.monotonic()}\\n")
"""


@pytest.mark.parametrize(("room", "at_once"), [(10_000, 4), (0, 2)])
def test_runs_get_the_gpus_and_no_more_at_once_than_fit(
    with_gpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, at_once: int
) -> None:
    """Two fit into 10 GB; one at least runs on each, where other people's programs have taken the memory."""
    with_gpus.write_text(with_gpus.read_text().replace("10000, 10000", f"10000, {room}"))
    monkeypatch.setattr(gpus, "_CONTEXT", 4_500 * 1024**2)
    monkeypatch.setattr(jobs, "_num_cores", lambda: 8)
    script = tmp_path / "gets.py"
    script.write_text(GETS_A_GPU)
    run(*(Job(Implementation(f"n{n}", (sys.executable, str(script), str(tmp_path / f"{n}.out"))), TINY, tmp_path)
          for n in range(6)))  # fmt: skip
    rows = [(tmp_path / f"{n}.out").read_text().split() for n in range(6)]
    assert {row[0] for row in rows} == {"GPU-aa", "GPU-bb"}
    spans = [(float(begin), float(end)) for _, begin, end in rows]
    assert max(sum(begin <= start < end for begin, end in spans) for start, _ in spans) == at_once


HOLDS_A_GPU = """
import sys, threading
from compare.run import gpus
from recipe import Recipe
with gpus.claimed(Recipe.from_json(sys.argv[1]), threading.Event()) as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""


def test_processes_share_the_gpus_and_one_that_is_killed_leaves_its_own(
    with_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the workers of a study, of which each starts its runs by itself; there is room for one run on each GPU."""
    with_gpus.write_text(with_gpus.read_text().replace("10000, 10000", "10000, 0"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-c", HOLDS_A_GPU, TINY.to_json()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holders = [subprocess.Popen(command, **pipes) for _ in range(2)]
    try:
        assert {holder.stdout.readline() for holder in holders} == {"GPU-aa\n", "GPU-bb\n"}
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(InterruptedError), gpus.claimed(TINY, stop):
            pass
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
    with gpus.claimed(TINY, threading.Event()) as gpu:
        assert gpu == "GPU-aa"


def test_of_the_gpus_a_user_names_those_are_taken(with_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for named, expected in (("1", ["1"]), ("GPU-bb,0", ["GPU-bb", "0"]), ("MIG-1", ["MIG-1"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert [gpu.name for gpu in gpus.visible()] == expected
    assert gpus.visible()[0].memory == 0  # one that nvidia-smi does not list takes one run at a time


def test_what_a_user_sets_is_in_force_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many CPUs as XLA is told to have; a file of flags has its name in place of them."""
    (tmp_path / "flags.txt").write_text("--xla_force_host_platform_device_count=3\n")
    users = {"TF_FORCE_GPU_ALLOW_GROWTH": "false", "CUDA_VISIBLE_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    for flags in ("--xla_cpu_multi_thread_eigen=true --xla_force_host_platform_device_count=3", "flags.txt"):
        monkeypatch.setenv("XLA_FLAGS", flags)
        monkeypatch.chdir(tmp_path)
        environment = process.environment(1)
        assert users.items() <= environment.items()
        count = [sys.executable, "-P", "-c", "import jax; print(len(jax.devices()))"]
        found = subprocess.run(count, env=environment, capture_output=True, text=True, check=False)
        assert found.stdout == "3\n", found.stderr
    assert process.environment(1, "GPU-bb")["CUDA_VISIBLE_DEVICES"] == "GPU-bb"


def test_backend_that_is_not_installed_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementations, "find_spec", lambda name: None)
    for backend in ("jax", "tensorflow"):
        with pytest.raises(BadInputError) as caught:
            implementations.keras(backend, "cpu")
        assert f"{backend} backend is not installed" in str(caught.value)
        assert f"pip install {backend}" in str(caught.value)


def test_command_is_split_as_a_shell_does() -> None:
    assert other("a", f"{sys.executable} 'one word' two").command == (sys.executable, "one word", "two")


def test_script_that_is_not_there_is_bad_input() -> None:
    with pytest.raises(BadInputError, match=r"implementation a: there is no file nope\.py"):
        other("a", "python nope.py")


REFUSES = "import sys; sys.stderr.write('error: no GPU'); sys.exit(2)"


@pytest.mark.parametrize("there", ["", "out", "out/records/keras-of-another.recipe.json"])
def test_a_refusal_leaves_no_directory_that_was_not_there(tmp_path: Path, there: str) -> None:
    """A run's recipe lies beside its record for as long as it runs: another comparison may have begun meanwhile."""
    refusing = Implementation("keras", (sys.executable, "-c", REFUSES))
    if there.endswith(".json"):  # it appears while this comparison runs
        code = f"import pathlib; pathlib.Path({str(tmp_path / there)!r}).touch(); {REFUSES}"
        refusing = Implementation("keras", (sys.executable, "-c", code))
    elif there:
        (tmp_path / there).mkdir()
    with pytest.raises(BadInputError, match="no GPU"):
        run(Job(refusing, TINY, tmp_path / "out" / "records"))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.suffix not in (".log", ".lock")}
    assert left == ({"out", "out/records", there} if there.endswith(".json") else {there} - {""})


def test_damaged_record_of_before_says_how_to_have_another(tmp_path: Path) -> None:
    job = Job(stand_in("good"), TINY, tmp_path)
    run(job)
    (job.directory / "record.json").write_text("{")
    (outcome,), _ = run(job)
    assert isinstance(outcome.error, BadInputError)
    words = r"the record of third is damaged: .*record.json is not what was written: .*; --fresh runs it again$"
    assert re.search(words, str(outcome.error)), outcome.error


def test_unbalanced_quote_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="No closing quotation"):
        other("a", 'python "x')


def test_command_that_cannot_be_executed_is_bad_input(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no program")
    script.chmod(0o755)
    job = Job(Implementation("a", (str(script),)), TINY, tmp_path)
    (outcome,), _ = run(job)
    assert isinstance(outcome.error, BadInputError)
    assert "cannot be started" in str(outcome.error)
    assert not list(tmp_path.rglob("*.recipe.json"))


def test_output_that_is_no_utf8_is_logged_all_the_same(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = f"subprocess.run([sys.executable, {str(STAND_IN)!r}, *sys.argv[1:]])"
    script.write_text(f"import os, subprocess, sys\nos.write(1, b'\\xff\\n')\nsys.exit({call}.returncode)\n")
    job = Job(Implementation("a", (sys.executable, str(script))), TINY, tmp_path / "records")
    (outcome,) = run_all([job], notify=lambda message: None)
    assert outcome.error is None


def script(directory: Path, text: str) -> Implementation:
    path = directory / "script.sh"
    path.write_text(text)
    return Implementation("a", ("/bin/sh", str(path)))


def test_silent_run_is_ended_and_one_that_speaks_is_not(tmp_path: Path) -> None:
    speaks = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done; exit 3"
    for text, words in ((speaks, "exit code 3"), ("echo begun; sleep 60", "hung: it said nothing for 1 seconds")):
        (outcome,), _ = run(Job(script(tmp_path, text), TINY, tmp_path / "records"), silence=1.0)
        assert isinstance(outcome.error, RunFailedError)
        assert words in str(outcome.error)


def test_silent_run_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SECONDS_TO_END", 0.2)
    start = time.monotonic()
    job = Job(script(tmp_path, "trap '' TERM; echo begun; while :; do sleep 60; done"), TINY, tmp_path / "records")
    (outcome,), _ = run(job, silence=0.5)
    assert "hung" in str(outcome.error)
    assert time.monotonic() - start < 30


def test_what_a_run_leaves_running_ends_with_it(tmp_path: Path) -> None:
    """A child that holds the run's output open would otherwise be waited for."""
    start = time.monotonic()
    (outcome,), _ = run(Job(script(tmp_path, "sleep 60 & echo $! > $1.child; exit 3"), TINY, tmp_path / "records"))
    assert "exit code 3" in str(outcome.error)
    assert time.monotonic() - start < 30
    (child,) = (tmp_path / "records").glob("*.child")
    # It has been killed by now, but on a busy machine it need not be gone yet.
    with contextlib.suppress(psutil.NoSuchProcess):
        left_running = psutil.Process(int(child.read_text()))
        while left_running.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() - start < 50
            time.sleep(0.02)


def test_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    implementation = script(tmp_path, "trap '' HUP TERM INT; echo $$ > pid; while :; do sleep 60; done")
    program = (
        "from pathlib import Path; from compare.run.jobs import *; "
        "from compare.run.implementations import *; from tests.conftest import ROOT, TINY; "
        f"run_all([Job(Implementation('a', {implementation.command!r}), TINY, Path('records'))], "
        "notify=print)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_of_its_own_counts_for_its_runs(tmp_path: Path) -> None:
    def directory(name: str) -> Path:
        return Job(other("mine", str(tmp_path / name)), TINY, tmp_path).directory

    for name in ("port_a", "port_b"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    before = directory("port_a")
    assert directory("port_b") != before
    (tmp_path / "port_a").write_text("#!/bin/sh\n# another line\n")
    assert directory("port_a") != before


def test_only_this_python_does_not_count(tmp_path: Path) -> None:
    def directory(*command: str) -> Path:
        return Job(Implementation("mine", command), TINY, tmp_path).directory

    assert directory("python", "-m", "port") == directory(sys.executable, "-m", "port")
    others = {directory(python, "-m", "port") for python in ("/other/bin/python", "./python_port")}
    assert len(others | {directory("python", "-m", "port")}) == 3


def test_a_port_may_be_called_as_the_workers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_impl").mkdir()
    directories = set()
    for text in ("", "# another line\n"):
        (tmp_path / "my_impl" / "worker.py").write_text(text)
        directories.add(Job(other("mine", "python -m my_impl.worker"), TINY, tmp_path).directory)
    assert len(directories) == 2


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('{"progress": {"fraction": 1, "epoch": 3}}', {"fraction": 1.0, "epoch": 3.0}),
        ('{"progress": {"fraction": 0.5, "loss": null, "val_accuracy": 0.9}}', {"fraction": 0.5, "val_accuracy": 0.9}),
        ('{"progress": {"fraction": NaN}}', None),
        ('{"progress": {"fraction": 1.5}}', None),
        ('{"progress": {"epoch": 1}}', None),
        ('{"progress": {"fraction": 0.5, "loss": [1], "phase": "train", "accuracy": NaN}}', {"fraction": 0.5}),
        ('{"progress": {"fraction": "0.5"}}', None),
        ('{"progress": [1]}', None),
        ('{"progress"', None),
        ("a line", None),
    ],
)
def test_only_numbers_are_progress(line: str, fields: dict[str, float] | None) -> None:
    assert jobs._progress_fields(line) == fields  # noqa: SLF001


def test_told_to_stop_it_waits_for_no_other_comparison_and_touches_nothing(tmp_path: Path) -> None:
    job, stop = Job(stand_in("good"), TINY, tmp_path), threading.Event()
    run(job)
    messages: list[Any] = []
    options: dict[str, Any] = {"fresh": True, "silence": 60, "notify": messages.append, "stop": stop}
    with FileLock(job.directory.with_suffix(".lock")):
        waiting = threading.Thread(target=jobs._run, args=(job,), kwargs=options)  # noqa: SLF001
        waiting.start()
        stop.set()
        waiting.join(30)
    assert not waiting.is_alive()
    assert isinstance(messages[-1].error, InterruptedError)
    assert job.read().recipe == TINY


def test_no_more_runs_side_by_side_than_cores_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert jobs._num_cores() == 1  # noqa: SLF001


def test_a_run_with_other_threads_is_another_run(tmp_path: Path) -> None:
    job = Job(stand_in("good"), TINY, tmp_path)
    assert dataclasses.replace(job, threads=2).directory != job.directory
    assert dataclasses.replace(job, title="another title").directory == job.directory
