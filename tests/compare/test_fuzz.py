"""No false alarm: clean recipes of every kind on every backend, each against Lightning. Only with `-m zoo`.

It takes half an hour on two cores. FUZZ_FIRST and FUZZ_COUNT choose other seeds.
"""

import dataclasses
import os
from pathlib import Path

import pytest

from compare.ladder.climb import climb
from record.first_steps import Trace, read_trace
from tests.compare.fuzz import fuzz_recipe
from tests.conftest import WORKERS, run_python

FIRST, COUNT = (int(os.environ.get(name, default)) for name, default in (("FUZZ_FIRST", "0"), ("FUZZ_COUNT", "200")))


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, own_data: str) -> Path:
    directory = tmp_path_factory.mktemp("fuzz")
    for worker in WORKERS:
        options = (worker, own_data, directory, FIRST, COUNT)
        process = run_python("-m", "tests.compare.fuzz", *options, cwd=directory, timeout=7200)
        assert process.returncode == 0, process.stderr[-2000:]
    return directory


def without_masks(trace: Trace) -> Trace:
    """A trace that does not say whose generator draws the masks, a difference where each has its own."""
    return dataclasses.replace(trace, settings={k: v for k, v in trace.settings.items() if k != "dropout.masks"})


@pytest.mark.zoo
@pytest.mark.parametrize("worker", [worker for worker in WORKERS if worker != "lightning"])
def test_clean_recipes_of_every_kind_are_in_parity(traces: Path, own_data: str, worker: str) -> None:
    alarms = []
    for seed in range(FIRST, FIRST + COUNT):
        sides = {name: read_trace(traces / f"{name}-{seed}") for name in (worker, "lightning")}
        diverging = [name for name, trace in sides.items() if trace.diverged_at_step]
        for rung in climb({name: without_masks(trace) for name, trace in sides.items()}):
            # Which side overflows first, rounding decides.
            allowed = ("parity", "inconclusive") if len(diverging) == 1 else ("parity",)
            if rung.verdict not in allowed:
                alarms.append((seed, rung.name, rung.where, rung.cause, fuzz_recipe(seed, own_data)))
    assert alarms == [], f"{len(alarms)} of {COUNT}"
