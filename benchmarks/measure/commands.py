"""Whole commands, from the shell to their end."""

import tempfile
from statistics import median
from typing import Any

from benchmarks.measure.process import run
from benchmarks.targets import COMPARE_ALIGN, COMPARE_HELP, COMPARE_RUN, KERAS_HELP, LIGHTNING_HELP, Limit

Times = dict[str, float]


def one_round(epochs: int) -> Times:
    """Seconds of every command, each with the threads that its user gets without asking."""
    with tempfile.TemporaryDirectory() as out:
        compare_run = run(
            *("-m", "compare", "run", "--recipe.epochs", str(epochs), "--device", "cpu", "--out", out),
            threads=None,
            may_fail=True,
        )
    with tempfile.TemporaryDirectory() as out:
        align = run("-m", "compare", "align", "--device", "cpu", "--out", out, threads=None, may_fail=True)
    for command in (compare_run, align):
        if "Results: " not in command.output:
            raise RuntimeError(f"compare ended without results:\n{command.output[-2000:]}")
    return {
        "compare run": compare_run.seconds,
        "compare align": align.seconds,
        "compare --help": run("-m", "compare", "--help", threads=None).cpu_seconds,
        "keras_impl --help": run("-m", "keras_impl", "--help", threads=None).cpu_seconds,
        "lightning_impl --help": run("-m", "lightning_impl", "--help", threads=None).cpu_seconds,
        "import lightning": run("-c", "import lightning", threads=None).cpu_seconds,
    }


def rows(rounds: list[Times], tutorials: list[float]) -> list[dict[str, Any]]:
    """The table's rows; `tutorials` has the seconds of both tutorials, whole, for each round, or is empty."""
    compare_run = [times["compare run"] / both for times, both in zip(rounds, tutorials, strict=False)]
    return [
        *([_row(COMPARE_RUN, compare_run)] if compare_run else []),
        _row(COMPARE_ALIGN, [times["compare align"] for times in rounds]),
        _row(COMPARE_HELP, [times["compare --help"] for times in rounds]),
        _row(KERAS_HELP, [times["keras_impl --help"] for times in rounds]),
        _row(LIGHTNING_HELP, [times["lightning_impl --help"] - times["import lightning"] for times in rounds]),
    ]


def _row(limit: Limit, values: list[float]) -> dict[str, Any]:
    return {
        "measure": limit.name,
        "target": f"≤ {limit.limit:g} {limit.unit}".strip(),
        "seconds": {"median": median(values), "lowest": min(values), "highest": max(values), "n": len(values)},
        "met": median(values) <= limit.limit,
    }
