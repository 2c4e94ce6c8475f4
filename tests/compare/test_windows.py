"""Windows: faults in the middle of a training are caught with their step and cause; clean trainings are in parity."""

import functools
from types import SimpleNamespace
from typing import Any

from compare.ladder.rung import Rung
from compare.windows.judge import judge_windows
from recipe import Recipe, datasets
from record.training import RunRecord
from tests.faults.windowed import trained
from tests.faults.zoo import Base

NET = {"epochs": 3, "batch_size": 20, "learning_rate": 3e-3, "hidden_sizes": (16, 12)}


@functools.cache
def run_of(network: type[Base], recipe: Recipe) -> RunRecord:
    return trained(network, recipe, datasets.load(recipe))


def judged(run: RunRecord, initial: Any = None, digits: Any = None) -> list[Rung]:
    """The rungs of a training alone, after those of two traces that agree."""
    trace: Any = SimpleNamespace(initial_weights=initial or run.windows[0].before.parameters)
    names = ("settings", "data", "initial_weights", "forward", "loss", "gradients", "optimizer")
    rungs = [Rung(name, "parity", 0.0, 1.0) for name in names]
    return judge_windows(rungs, {"side": trace}, {"side": run}, digits or datasets.load(run.recipe))


def first_failed(run: RunRecord, initial: Any = None) -> Rung | None:
    return next((rung for rung in judged(run, initial) if rung.verdict != "parity"), None)
