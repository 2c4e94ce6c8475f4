"""`python -m benchmarks.measure.scale`: what a study costs, how many runs it carries, what another worker gains.

Simulated runs sleep instead of training; they are not even processes, so that what is measured is
the coordinator and Dask. Writes docs/scale.json and the figures in docs/scale.md.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import get_worker
from safetensors.numpy import save

from benchmarks import machine
from benchmarks.figures.scale import DOCUMENT, FIGURES, fill_in
from benchmarks.measure.process import ROOT
from compare.run.implementations import Implementation, keras, lightning
from compare.study import cluster, connection
from compare.study.plan import plan
from compare.study.results import FinishedRun, Results
from recipe import Recipe

SECONDS_OF_A_RUN = 10
"""Of the simulated runs by which the coordinator's own cost is told."""


def simulated(seconds: float, kill_every: int) -> Implementation:
    """An implementation whose runs sleep, and of which every so manyth kills its worker the first time; 0 is none."""
    return Implementation("simulated", ("simulated", str(seconds), str(kill_every)))


def simulate(_: str, words: tuple[str, ...], recipe: str, key: str, __: float) -> bytes:
    """Stands for `compare.study.cluster.train` on a worker."""
    _, seconds, kill_every = words
    seed = Recipe.from_json(recipe).seed
    killed_before = Path(get_worker().local_directory).parent / f"killed-{key}"
    if int(kill_every) and seed % int(kill_every) == 0 and not killed_before.exists():
        killed_before.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    killed_before.unlink(missing_ok=True)
    time.sleep(float(seconds))
    result = {"status": "finished", "test_accuracy": 0.98, "test_loss": 0.1, "seconds": float(seconds)}
    # As large as that of a training of ten epochs.
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "step_losses": np.zeros(18_750, np.float32),
        "predicted": np.zeros(10_000, np.uint8),
    }
    return save(arrays, {"result": json.dumps(result)})


def coordinate(seconds: float, runs: int, workers: int, kill_every: int) -> dict[str, Any]:
    """A study of simulated runs, in this process; its own cost, and how the runs ended."""
    cluster.train = simulate  # type: ignore[assignment]
    settled: list[FinishedRun] = []
    with tempfile.TemporaryDirectory() as directory, connection.connect(None, workers) as client:
        study = plan([simulated(seconds, kill_every)], Recipe(), ["aligned"], runs)
        results = Results(Path(directory))
        before, start = time.process_time(), time.perf_counter()
        cluster.run_study(study, results, client, 600, settled.append)
        return {
            "runs": runs,
            "workers": workers,
            "kill_every": kill_every,
            "seconds_of_a_run": seconds,
            "wall_seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - before,
            "finished": sum(results.read(run).status == "finished" for run in study),
            "failed": sum(results.read(run).status == "failed" for run in study),
            "reported": len({one.run.key for one in settled}),
        }


def _in_a_process(**options: Any) -> dict[str, Any]:
    """`coordinate` in a process of its own, with the peak of its memory, sampled: the workers are not counted."""
    command = (sys.executable, "-m", "benchmarks.measure.scale", "--coordinate", json.dumps(options))
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, watched.memory_info().rss)
        time.sleep(0.2)
    output = process.communicate()[0]
    if process.returncode != 0:
        raise SystemExit(f"error: {shlex.join(command)} ended with exit code {process.returncode}")
    return {**json.loads(output.splitlines()[-1]), "peak_memory_bytes": peak}


def _overhead(runs: int, workers: int) -> dict[str, Any]:
    """The coordinator's CPU seconds for each run of ten seconds, Dask's scheduler and nannies included."""
    found = _in_a_process(seconds=SECONDS_OF_A_RUN, runs=runs, workers=workers, kill_every=0)
    return {**found, "share": found["cpu_seconds"] / runs / SECONDS_OF_A_RUN}


def _two_workers(seeds: int) -> dict[str, Any]:
    """Seconds of one study of real trainings on one worker and on two, and their ratio."""
    implementations = [keras("tensorflow", "cpu"), lightning("cpu")]
    recipe = Recipe(epochs=1)
    seconds = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as directory, connection.connect(None, workers) as client:
            runs = plan(implementations, recipe, ["aligned"], seeds)
            results = Results(Path(directory))
            start = time.perf_counter()
            cluster.run_study(runs, results, client, 600, lambda _: None)
            seconds[workers] = time.perf_counter() - start
            if unfinished := [run.key for run in runs if results.read(run).status != "finished"]:
                raise SystemExit(f"error: these runs did not finish: {', '.join(unfinished)}")
    return {"runs": len(implementations) * seeds, "seconds": list(seconds.values()), "ratio": seconds[1] / seconds[2]}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.scale", description=__doc__)
    parser.add_argument("--only", choices=("overhead", "many", "two_workers"), help="leave the other parts as they are")
    parser.add_argument("--overhead-runs", type=int, default=60, help="simulated runs of ten seconds")
    parser.add_argument(
        "--many-runs", type=int, default=10_000, help="simulated runs of which 1 in 20 kills its worker"
    )
    parser.add_argument("--workers", type=int, default=2, help="workers of the simulated studies")
    parser.add_argument("--training-seeds", type=int, default=4, help="seeds of the study of real trainings")
    parser.add_argument("--coordinate", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measures, prints, saves."""
    options = parse()
    if options.coordinate:
        print(json.dumps(coordinate(**json.loads(options.coordinate))))
        return
    figures = json.loads((ROOT / FIGURES).read_text()) if (ROOT / FIGURES).exists() else {}
    figures["machine"] = machine.describe("distributed")
    if options.only in (None, "overhead"):
        figures["overhead"] = _overhead(options.overhead_runs, options.workers)
    if options.only in (None, "many"):
        common: dict[str, Any] = {"seconds": 0.0, "workers": options.workers, "kill_every": 20}
        figures["many"] = [_in_a_process(runs=runs, **common) for runs in (options.many_runs // 10, options.many_runs)]
    if options.only in (None, "two_workers"):
        figures["two_workers"] = _two_workers(options.training_seeds)
    (ROOT / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    document = ROOT / DOCUMENT
    document.write_text(fill_in(document.read_text(), figures))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
