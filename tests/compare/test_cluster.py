"""Studies on a Dask cluster, with runs that take no time: every way to lose a run, a worker or the coordinator."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from compare.run.implementations import Implementation
from compare.study import cluster as cluster_module
from compare.study import connection
from compare.study.cluster import ATTEMPTS, run_study
from compare.study.connection import connect
from compare.study.judge import judge_study
from compare.study.plan import StudyRun, plan
from compare.study.results import FinishedRun, Results
from recipe.errors import BadInputError
from tests.compare.quick import RECIPE, VARIANTS, can, living, quick, started
from tests.conftest import ROOT, TINY, assert_one_line_of_error, run_python

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def here() -> Iterator[Client]:
    """Two workers on this machine."""
    with connect(None, 2) as client:
        yield client


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers that share no directory with the study."""
    directory = tmp_path_factory.mktemp("cluster")
    with cluster(directory) as address, worker(address, directory), worker(address, directory):
        yield address


@contextlib.contextmanager
def background(directory: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen]:
    """Runs Python in its own session; kills all of it at the end."""
    with (directory / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """A scheduler of its own; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    command = ("-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard", "--no-show")
    with background(directory, *command):
        yield address


def worker(address: str, directory: Path, **environment: str) -> contextlib.AbstractContextManager[subprocess.Popen]:
    """A worker in a directory of its own."""
    arguments = ("--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", str(directory))
    return background(directory, "-m", "distributed.cli.dask_worker", address, *arguments, **environment)


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def study(
    client: Client,
    directory: Path,
    implementations: Sequence[Implementation],
    seeds: int = 2,
    silence: float = 30,
    results: Results | None = None,
) -> tuple[list[StudyRun], Results, list[FinishedRun]]:
    """Runs a plan of these implementations; what was settled comes in that order."""
    runs = plan(implementations, TINY, VARIANTS, seeds)
    results = results or Results(directory / "results")
    settled: list[FinishedRun] = []
    run_study(runs, results, client, silence, settled.append)
    assert Counter(one.run.key for one in settled) == Counter(run.key for run in runs)
    assert not [path for path in results.directory.iterdir() if path.suffix not in (".safetensors", ".json")]
    return runs, results, settled


def test_runs_are_done_once_and_reused(here: Client, tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    implementations = [quick("first", canned), quick("second", canned, "diverge", 1)]
    runs, results, settled = study(here, tmp_path, implementations)
    assert len(runs) == 12
    assert all(one.done_here and one.error is None for one in settled)
    assert {run.key for run in runs} == set(started(canned))
    statuses = {run.key: results.read(run).status for run in runs}
    assert Counter(statuses.values()) == {"finished": 9, "diverged": 3}
    assert results.read(runs[-1]).diverged_at == {"epoch": 1, "step": 2}
    assert results.predicted(runs[0]).shape == (10_000,)
    assert results.step_losses(runs[0]).shape == (4,)

    _, _, again = study(here, tmp_path, implementations)
    assert not any(one.done_here for one in again)
    results.path(runs[3]).unlink()
    _, _, third = study(here, tmp_path, implementations)
    assert [one.run.key for one in third if one.done_here] == [runs[3].key]
    assert len(started(canned)) == 12 + 1


@pytest.mark.parametrize(
    ("mode", "attempts", "reason"),
    [
        ("fail", ATTEMPTS, "exit code 1 (out of ideas)"),
        ("killed", ATTEMPTS, "exit code -9"),
        ("kills-worker", ATTEMPTS, "the worker that ran it died"),
        ("hang", ATTEMPTS, "hung: it said nothing for 3 seconds"),
        ("refuse", 1, "the moon is not full"),
        ("fails-twice", ATTEMPTS, None),
        ("kills-worker-once", 2, None),
        ("hang-once", 2, None),
    ],
)
def test_trouble_costs_that_run_alone(
    here: Client, tmp_path: Path, mode: str, attempts: int, reason: str | None
) -> None:
    canned = can(tmp_path / "canned")
    silence = 3 if "hang" in mode else 60  # a busy machine may keep a good run silent for seconds
    runs, results, settled = study(here, tmp_path, [quick("first", canned, mode, 1)], silence=silence)
    times = Counter(started(canned))
    # Both variants of the seed kill a worker once. On a busy machine the second attempt of one can be lost with the
    # worker that the other kills, which costs it a third.
    most = ATTEMPTS if mode == "kills-worker-once" else attempts
    for run in runs:
        assert attempts <= times[run.key] <= most if run.seed == 1 else times[run.key] == 1
        found = results.read(run)
        if run.seed == 1 and reason:
            assert found.status == "failed"
            assert reason in (found.error or "")
        else:
            assert (found.status, found.error) == ("finished", None)
    assert {one.run.seed for one in settled if one.error} == ({1} if reason else set())
    assert not living(canned)


def test_log_of_a_failed_run_is_kept(here: Client, tmp_path: Path) -> None:
    runs, results, _ = study(here, tmp_path, [quick("first", can(tmp_path / "canned"), "fail", 1)])
    assert (results.read(runs[-1]).error or "").splitlines()[-1] == "out of ideas"


def test_what_failed_is_tried_again_by_the_next_study(here: Client, tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    implementation = quick("first", canned, "fails-twice", 1)
    for number in ("1", "2"):  # so that the first study fails, as if it had been tried more often
        for run in plan([implementation], TINY, VARIANTS, 2):
            if run.seed == 1:
                (canned / f"{number}-{run.key}").mkdir()
                Results(tmp_path / "results").write_failure(run, "out of memory")
    runs, results, settled = study(here, tmp_path, [implementation])
    assert all(one.done_here for one in settled)
    assert {results.read(run).status for run in runs} == {"finished"}
    assert not list(results.directory.glob("*.failed.json"))


def program(directory: Path, canned: Path, *arguments: str, mode: str = "good", seconds: str = "0.05") -> list[str]:
    """The command of a study of stand-ins: 3 seeds, 3 variants, 2 implementations."""
    words = [HERE / "study_driver.py", canned, mode, "1", seconds, "study", *RECIPE, "--out", directory / "out"]
    return [*map(str, words), "--variants", json.dumps(VARIANTS), "--seeds", "3", *arguments]


NUM_RUNS = 18


def start(directory: Path, *command: str) -> subprocess.Popen:
    """Starts Python as a terminal does, in a process group of its own; all that it starts has STUDY_OF set."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "STUDY_OF": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def descendants(directory: Path) -> list[psutil.Process]:
    """Whatever `start` started in this directory, or what that started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("STUDY_OF") == str(directory):
                found.append(process)
    return found


def found_in(directory: Path) -> dict[str, Any]:
    """What results.json says, but for the command, which names the directory."""
    content = json.loads((directory / "out" / "results.json").read_text())
    assert content.pop("command").startswith("mnist-compare study ")
    return content


@pytest.fixture(scope="module")
def uninterrupted(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The findings of a study that nobody disturbs."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    canned = can(directory / "canned")
    process = run_python(*program(directory, canned, "--scheduler", scheduler), cwd=directory)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert len(started(canned)) == NUM_RUNS
    assert not living(canned)
    return found_in(directory)


def assert_resumes(directory: Path, scheduler: str, expected: dict[str, Any], seconds: str = "0.05") -> None:
    """The same study goes on, computes what is missing alone, and finds the same."""
    canned, out = directory / "canned", directory / "out"
    until(lambda: not living(canned), 10)
    missing = NUM_RUNS - len(list(out.glob("results/*.safetensors")))
    before = len(started(canned))
    process = run_python(*program(directory, canned, "--scheduler", scheduler, seconds=seconds), cwd=directory)
    assert process.returncode == 0, process.stderr
    assert len(started(canned)) - before == missing
    assert found_in(directory) == expected
    assert {path.suffix for path in (out / "results").iterdir()} == {".safetensors"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=str)
def test_interrupted_coordinator_goes_on(
    scheduler: str, uninterrupted: dict[str, Any], tmp_path: Path, how: signal.Signals
) -> None:
    draw = random.Random(int(how))  # noqa: S311 - not for secrets
    canned, seconds = can(tmp_path / "canned"), "0.3"  # a study that does not end before it is interrupted
    for _ in range(2):  # interrupted, and the one that goes on as well
        process = start(tmp_path, *program(tmp_path, canned, "--scheduler", scheduler, seconds=seconds))
        runs_before, more = len(started(canned)) + draw.randrange(1, NUM_RUNS // 3), draw.random() / 10
        until(lambda number=runs_before: len(started(canned)) >= number)
        time.sleep(more)
        os.killpg(process.pid, how)
        _, errors = process.communicate(timeout=20)
        if how == signal.SIGINT:
            assert process.returncode == 130
            assert errors == "interrupted; finished runs are kept, the same command continues from there\n"
        assert not (tmp_path / "out" / "results.json").exists()
    assert_resumes(tmp_path, scheduler, uninterrupted, seconds)


class Interrupting:
    """Ctrl-C just as this goes away; a KeyboardInterrupt raised there would be printed and forgotten."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_no_interrupt_is_lost(here: Client, tmp_path: Path) -> None:
    runs = plan([quick("first", can(tmp_path / "canned"))], TINY, VARIANTS, 2)
    settled: list[FinishedRun] = []

    def report(one: FinishedRun) -> None:
        settled.append(one)
        if len(settled) == 1:
            Interrupting()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_study(runs, Results(tmp_path / "results"), here, 30, report)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert 1 <= len(settled) <= len(here.nthreads())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=str)
def test_nothing_goes_on_on_this_machine(tmp_path: Path, how: signal.Signals) -> None:
    canned = can(tmp_path / "canned")
    process = start(tmp_path, *program(tmp_path, canned, "--workers", "2", mode="hang"))
    until(lambda: len(descendants(tmp_path)) > 5 and len(started(canned)) > NUM_RUNS // 3)
    if how == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, how)
    _, errors = process.communicate(timeout=20)
    until(lambda: not descendants(tmp_path), 10)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors == "interrupted; finished runs are kept, the same command continues from there\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=str)
def test_nothing_goes_on_at_a_scheduler(scheduler: str, tmp_path: Path, how: signal.Signals) -> None:
    canned = can(tmp_path / "canned")
    process = start(tmp_path, *program(tmp_path, canned, "--scheduler", scheduler, mode="tell"))
    until(lambda: len(started(canned)) > NUM_RUNS // 3)
    process.send_signal(how)
    process.communicate(timeout=20)
    until(lambda: not living(canned), 10)


def findings(runs: Sequence[StudyRun], results: Results) -> str:
    return json.dumps(judge_study(TINY, runs, results, Path(), margin=0.001).to_json())


@pytest.mark.parametrize("victim", ["run", "worker"])
def test_killed_run_or_worker_changes_nothing(
    here: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    monkeypatch.setattr(cluster_module, "ATTEMPTS", 1000)  # chance may hit the same run again and again
    draw = random.Random(victim)  # noqa: S311 - not for secrets
    canned = can(tmp_path / "canned")
    killed: list[int] = []

    def kill_some() -> None:
        try:
            while len(killed) < (8 if victim == "run" else 3):
                if victim == "run":
                    time.sleep(draw.uniform(0, 0.2))
                    pids = living(canned)
                else:
                    until(lambda: len(here.nthreads()) == 2)
                    time.sleep(draw.uniform(0, 1))
                    pids = list(here.run(os.getpid, on_error="ignore").values())
                with contextlib.suppress(IndexError, ProcessLookupError):  # there is none just now
                    pid = draw.choice(pids)
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        finally:
            (canned / "enough").touch()

    implementations = [quick(name, canned, "until-enough", 3, seconds=0.1) for name in ("first", "second")]
    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        runs, results, settled = study(here, tmp_path, implementations, seeds=4, silence=600)
    finally:
        killer.join()
    assert len(killed) == len(set(killed)) > 2
    assert all(one.error is None for one in settled)
    until(lambda: not living(canned), 10)

    (tmp_path / "quiet").mkdir()
    expected = findings(*study(here, tmp_path / "quiet", [quick(n, canned) for n in ("first", "second")], seeds=4)[:2])
    assert findings(runs, results) == expected


def test_result_lost_with_the_only_worker_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask alone would wait for the dead worker's address: no other worker was there when it died."""
    find_finished = cluster_module._finished  # noqa: SLF001
    monkeypatch.setattr(cluster_module, "_SECONDS_FOR_A_RESULT", 0.5)
    settled: list[FinishedRun] = []
    with connect(None, 1) as client:
        (first_worker,) = client.nthreads()

        def kill_first_worker(in_flight: dict[Any, Any]) -> list[Any]:
            futures: list[Any] = find_finished(in_flight)
            if futures and first_worker in client.nthreads():
                os.kill(client.run(os.getpid)[first_worker], signal.SIGKILL)
                until(lambda: client.nthreads().keys() not in ({first_worker}, set()))
            return futures

        def run() -> None:
            implementations = [quick(name, can(tmp_path / name)) for name in ("first", "second")]
            settled.extend(study(client, tmp_path, implementations)[2])

        monkeypatch.setattr(cluster_module, "_finished", kill_first_worker)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(60)
    assert settled
    assert all(one.error is None for one in settled)


def test_two_studies_at_once_share_the_work(scheduler: str, uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    both = [start(tmp_path, *program(tmp_path, canned, "--scheduler", scheduler, seconds="0.2")) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, ""), output
    assert len(started(canned)) == len(set(started(canned))) == NUM_RUNS
    assert found_in(tmp_path) == uninterrupted
    assert {path.suffix for path in (tmp_path / "out" / "results").iterdir()} == {".safetensors"}


def test_two_studies_at_once_try_a_failure_once(here: Client, tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    implementations = [quick("first", canned, "fail", 1, seconds=0.1)]
    both = [Results(tmp_path / "results") for _ in range(2)]  # both begin before the first failure
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda results: study(here, tmp_path, implementations, results=results), both)
    times = Counter(started(canned))
    assert all(times[run.key] == (ATTEMPTS if run.seed == 1 else 1) for run in first[0])
    for runs, results, settled in (first, second):
        assert len([one for one in settled if one.error]) == 3
        assert json.loads(findings(runs, results))["counts"] == {"finished": 3, "failed": 3}


def other_package(directory: Path) -> Path:
    """A copy of the packages whose recipe differs by a comment."""
    directory.mkdir()
    for package in ("compare", "recipe"):
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("*.npz", "__pycache__"))
    with (directory / "recipe" / "settings.py").open("a") as file:
        file.write("# another version\n")
    return directory


def no_package(directory: Path) -> Path:
    """A directory in whose presence there is no package `compare`."""
    directory.mkdir()
    (directory / "compare.py").write_text("raise ImportError(\"No module named 'compare'\")\n")
    return directory


@pytest.mark.parametrize(
    ("package", "words"),
    [(no_package, "No module named 'compare'; install"), (other_package, "code is .* there, .* here; install")],
)
def test_unfit_worker_is_refused_before_any_run(scheduler: str, tmp_path: Path, package: Any, words: str) -> None:
    canned = can(tmp_path / "canned")
    path = str(package(tmp_path / "package"))
    with Client(scheduler) as client, worker(scheduler, tmp_path, PYTHONPATH=path):
        good = set(client.nthreads())
        until(lambda: len(client.nthreads()) == 3)
        (unfit,) = set(client.nthreads()) - good
        with pytest.raises(BadInputError, match=f"worker {unfit} .*{words}"):
            study(client, tmp_path, [quick("first", canned)])
        assert not started(canned)
    with Client(scheduler) as client:
        until(lambda: len(client.nthreads()) == 2)


def test_workers_may_join_late_if_they_are_fit(tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    package = str(other_package(tmp_path / "package"))
    with ExitStack() as stack:
        address = stack.enter_context(cluster(tmp_path))
        client = stack.enter_context(Client(address, timeout=30))

        def report(_: FinishedRun) -> None:
            if len(list(tmp_path.glob("results/*.safetensors"))) == 3:
                stack.enter_context(worker(address, tmp_path, PYTHONPATH=package))

        threading.Timer(0.5, lambda: stack.enter_context(worker(address, tmp_path))).start()
        runs = plan([quick("first", canned, "tell", 1)], TINY, VARIANTS, 2)  # three that end, three that never do
        with pytest.raises(BadInputError, match="would not run the same first"):
            run_study(runs, Results(tmp_path / "results"), client, 60, report)
        assert len(list(tmp_path.glob("results/*.safetensors"))) == 3
        client.close()
        until(lambda: not living(canned), 10)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_scheduler_that_goes_away_ends_the_study(
    tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_SECONDS_TO_ANSWER", "3")
    canned = can(tmp_path / "canned")
    with cluster(tmp_path) as address, worker(address, tmp_path):
        process = start(tmp_path, *program(tmp_path, canned, "--scheduler", address, mode="hang"))
        until(lambda: len(started(canned)) > NUM_RUNS // 3)
        (leader,) = [p for p in psutil.process_iter() if _listens(p, address)]
        leader.send_signal(how)
        output, errors = process.communicate(timeout=20)
        leader.kill()
    assert_one_line_of_error(
        subprocess.CompletedProcess([], process.returncode, output, errors), "went away", "continues"
    )
    assert errors.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.failed.json"))
    until(lambda: not living(canned), 10)


def test_assertion_of_dasks_while_connecting_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(connection, "rpc", fail)
    with pytest.raises(BadInputError, match=r"^scheduler: no Dask scheduler answers at tcp://a:1 \(AssertionError\)"):
        connect("tcp://a:1", None)


def _listens(process: psutil.Process, address: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return "distributed.cli.dask_scheduler" in process.cmdline() and address in process.cmdline()
    return False


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "no such thing", "http://127.0.0.1:1", "foo://a:1"]
)
def test_unreachable_scheduler_is_bad_input(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert connection.SECONDS_TO_CONNECT <= 4  # the package takes seconds to load, and ten are all there are
    monkeypatch.setattr(connection, "SECONDS_TO_CONNECT", 0.3)
    with pytest.raises(BadInputError, match=r"^scheduler: no Dask scheduler answers at"):
        connect(address, None)
