"""Many at once, kills at any moment, and disks that are full."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.compare.quick import can
from tests.conftest import ROOT, run_python
from tests.killing import kill_at_random_moments
from tests.reliability.damaged_files import DRIVER, QUICK
from tests.reliability.experiment import experiment

STUDY_DRIVER = DRIVER.with_name("study_driver.py")
SMALL = ("--recipe.hidden_sizes", "[16]", "--recipe.batch_size", "6000", "--recipe.epochs", "3")


def _started(command: list[Any], directory: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _found(directory: Path) -> dict[str, Any]:
    """What results.json says, but for times and for who made which record."""
    results: dict[str, Any] = json.loads((directory / "results.json").read_text())
    for side in results.get("implementations", {}).values() if isinstance(results["implementations"], dict) else ():
        side.pop("reused", None)
    return results


@experiment(
    "Load",
    "30 comparisons at once in one directory",
    "each ends with the same findings, every run is made once, and nothing half-written is left",
    few=2,
    many=30,
)
def comparisons_at_once(directory: Path, n: int) -> list[str]:
    command = [DRIVER, "good", "run", *QUICK, "--out", "out"]
    processes = [_started(command, directory) for _ in range(n)]
    outputs = [process.communicate(timeout=1800)[0] for process in processes]
    codes = [process.returncode for process in processes]
    failures = [f"exit code {code}: {out[-300:]}" for code, out in zip(codes, outputs, strict=True) if code != codes[0]]
    if codes[0] not in (0, 1, 3):
        failures.append(f"exit code {codes[0]}: {outputs[0][-300:]}")
    runs = (directory / "out" / "records" / "started.txt").read_text().split()
    if len(runs) != len(set(runs)):
        failures.append(f"{len(runs)} runs were made of {len(set(runs))}")
    return failures + [f"left {path.name}" for path in directory.rglob("partial-*")]


@experiment(
    "Load",
    "10 studies at once on one cluster",
    "each ends with all its results, and every run is made once",
    few=0,
    many=10,
)
def studies_at_once(directory: Path, n: int) -> list[str]:
    from tests.compare.test_cluster import cluster, worker

    canned = can(directory / "canned")
    (directory / "worker").mkdir()
    command = [STUDY_DRIVER, canned, "good", "0", "0.05", "study", *QUICK[:-2], "--seeds", "5"]
    with cluster(directory) as address, worker(address, directory / "worker"):
        command += ["--variants", "[aligned,adam]", "--out", "out", "--scheduler", address]
        processes = [_started(command, directory) for _ in range(n)]
        outputs = [process.communicate(timeout=1800)[0] for process in processes]
    failures = [
        f"exit code {process.returncode}: {output[-300:]}"
        for process, output in zip(processes, outputs, strict=True)
        if process.returncode not in (0, 1, 3)
    ]
    runs = [line.split()[0] for line in (canned / "started.txt").read_text().splitlines()]
    if not len(runs) == len(set(runs)) == 2 * 2 * 5:
        failures.append(f"{len(runs)} runs were made, {len(set(runs))} different ones, of 20")
    return failures


@experiment(
    "Load",
    "a comparison of 20 implementations",
    "it ends, all 20 are in the terminal's table and on a page of less than 10 MB",
    few=0,
    many=20,
)
def many_implementations(directory: Path, n: int) -> list[str]:
    stand_in = shlex.join([sys.executable, str(DRIVER.with_name("stand_in.py"))])
    names = [f"port_{number}" for number in range(n - 2)]
    ports = [word for name in names for word in ("--implementation", f"{name}={stand_in} --seed {len(name)}")]
    process = run_python(
        DRIVER, "good", "run", *QUICK, *ports, "--out", "out", cwd=directory, timeout=1800, COLUMNS="700"
    )
    if process.returncode not in (0, 1, 3):
        return [f"exit code {process.returncode}: {process.stderr[-300:]}"]
    page = directory / "out" / "report.html"
    failures = [f"{name} is not shown" for name in names if name not in process.stdout or name not in page.read_text()]
    return failures if page.stat().st_size < 1e7 else [*failures, f"the page has {page.stat().st_size:,} bytes"]


@experiment(
    "Kills",
    "a comparison killed at a random moment (SIGKILL), and begun again",
    "the same command ends with the findings of one that was not killed; no process and no half-written file is left",
    few=1,
    many=24,
)
def comparison_killed(directory: Path, n: int) -> list[str]:
    command = [DRIVER, "good", "run", *QUICK, "--out", "out"]
    (directory / "whole").mkdir()
    begin = time.monotonic()
    whole = _started(command, directory / "whole")
    output, _ = whole.communicate(timeout=600)
    seconds = time.monotonic() - begin
    expected = _found(directory / "whole" / "out")
    failures, chance = [], random.Random(n)
    for number in range(n):
        place = directory / str(number)
        place.mkdir()
        process = _started(command, place)
        time.sleep(chance.uniform(0, seconds))
        process.kill()
        process.communicate()
        again = _started(command, place)
        output, _ = again.communicate(timeout=600)
        if again.returncode != whole.returncode or _comparable(_found(place / "out")) != _comparable(expected):
            failures.append(f"{number}: exit code {again.returncode}: {output[-300:]}")
        failures += [f"{number}: left {path.name}" for path in place.rglob("partial-*")]
        try:
            os.killpg(process.pid, 0)
            failures.append(f"{number}: a process is left")
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return failures


def _comparable(results: dict[str, Any]) -> dict[str, Any]:
    return {name: results[name] for name in ("verdict", "exit_code", "recipe", "compared", "difference", "agreement")}


def _bytes_of(path: Path) -> dict[str, bytes]:
    """The tensors of a checkpoint's weights, as bytes."""
    if path.suffix == ".ckpt":
        import torch

        state = torch.load(path, weights_only=True)["state_dict"]
        return {name: tensor.numpy().tobytes() for name, tensor in state.items()}
    import zipfile

    import h5py

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member, h5py.File(member, "r") as file:
        arrays: dict[str, bytes] = {}
        file["layers"].visititems(
            lambda name, entry: arrays.update({name: entry[()].tobytes()}) if isinstance(entry, h5py.Dataset) else None
        )
        return arrays


def _trainings_killed(room: str, name: str, arguments: list[str], directory: Path, n: int) -> list[str]:
    uninterrupted, *others = kill_at_random_moments(room, ["fit", *SMALL, *arguments], directory, n)
    expected = _bytes_of(uninterrupted / name)
    return [f"{other.name}: other weights" for other in others if _bytes_of(other / name) != expected]


@experiment(
    "Kills",
    "`mnist-lightning fit` killed at a random moment, and gone on with `--ckpt_path last`",
    "it ends with the weights of one that was not killed, bit for bit",
    few=0,
    many=50,
)
def lightning_killed(directory: Path, n: int) -> list[str]:
    own = ["--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    own += ["--checkpoints", "checkpoints", "--ckpt_path", "last"]
    return _trainings_killed("lightning_impl", "last.ckpt", own, directory, n)


@experiment(
    "Kills",
    "`mnist-keras fit --checkpoints` killed at a random moment, and begun again",
    "it ends with the weights of one that was not killed, bit for bit",
    few=0,
    many=50,
)
def keras_killed(directory: Path, n: int) -> list[str]:
    own = ["--device", "cpu", "--checkpoints", "checkpoints", "--logs", "null"]
    return _trainings_killed("keras_impl", "last.keras", own, directory, n)


FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@experiment(
    "Full disks",
    "the disk full while a comparison writes its logs, records, results or page",
    "exit code 2 and a line that names the file; with room, the same command goes on to the findings",
    few=2,
    many=20,
)
def full_disk(directory: Path, n: int) -> list[str]:
    command = [DRIVER, "good", "run", *QUICK, "--out", "out"]
    (directory / "whole").mkdir()
    whole = run_python(*command, cwd=directory / "whole", timeout=600)
    sizes = sorted(path.stat().st_size for path in (directory / "whole" / "out").rglob("*") if path.is_file())
    largest, failures = sizes[-1], []
    page = (directory / "whole" / "out" / "report.html").stat().st_size
    results = (directory / "whole" / "out" / "results.json").stat().st_size
    chance = random.Random(n)
    limits = [page - 1, results - 1, *(chance.randrange(1, largest) for _ in range(n))][:n]
    for number, limit in enumerate(limits):
        place = directory / str(number)
        place.mkdir()
        if limit in (page - 1, results - 1):  # the records are there already: it is these two files that do not fit
            run_python(*command, cwd=place, timeout=600)
            for name in ("report.html", "results.json"):
                (place / "out" / name).unlink()
        full = run_python("-c", FULL, limit, *command, cwd=place, timeout=600)
        last_line = full.stderr.strip().splitlines()[-1:] or [""]
        if full.returncode != whole.returncode and not (
            full.returncode == 2 and last_line[0].startswith("error: ") and "Traceback" not in full.stderr
        ):
            failures.append(f"{limit:,} bytes: exit code {full.returncode}: {full.stderr.strip()[-300:]}")
        again = run_python(*command, cwd=place, timeout=600)
        if again.returncode != whole.returncode:
            failures.append(f"{limit:,} bytes, then room: exit code {again.returncode}: {again.stderr[-300:]}")
        failures += [f"{limit:,} bytes: left {path.name}" for path in place.rglob("partial-*")]
    return failures
