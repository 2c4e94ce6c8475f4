"""How the cost of an epoch grows with batch size, width and number of threads, on both sides."""

import argparse
import json
import os
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.figures.speed import DOCUMENT, GROWTH
from benchmarks.figures.speed_chart import draw_growth
from benchmarks.measure.epochs import Run, run_script
from benchmarks.targets import OURS
from recipe import Recipe

PICTURE = DOCUMENT.with_suffix(".svg")

BATCH_SIZES = (16, 32, 64, 128, 256, 512)
WIDTHS = (0.5, 1, 2, 4)
AS_IT_IS: dict[str, float] = {"batch size": Recipe.batch_size, "width": 1, "threads": 1}


def settings() -> list[dict[str, float]]:
    """Every setting once: one quantity at a time differs from `AS_IT_IS`."""
    cores = os.cpu_count() or 1
    threads = sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})
    ranges = {"batch size": BATCH_SIZES, "width": WIDTHS, "threads": threads}
    varied = [AS_IT_IS | {quantity: value} for quantity, values in ranges.items() for value in values]
    return [setting for index, setting in enumerate(varied) if setting not in varied[:index]]


def main(arguments: argparse.Namespace, console: Console) -> None:
    """Measures in rounds over all settings and both sides, saves and draws."""
    here = machine.describe()
    runs: list[Run] = []
    for number in range(1, arguments.repetitions + 1):
        for setting in settings():
            for side in OURS:
                one = _run(side, setting, arguments.epochs)
                runs.append(one | {"round": number, "setting": setting})
                shown = ", ".join(f"{quantity} {value:g}" for quantity, value in setting.items())
                console.print(f"round {number}, {side}, {shown}: {one['seconds']:.2f} s")
    results = {
        "command": arguments.command,
        "machine": here,
        "repetitions": arguments.repetitions,
        "epochs": arguments.epochs,
        "points": points(runs),
        "runs": runs,
    }
    GROWTH.write_text(json.dumps(results, indent=2) + "\n")
    draw_growth(results, PICTURE)
    console.print(f"Results: {GROWTH} and {PICTURE}", soft_wrap=True)


def _run(side: str, setting: dict[str, float], epochs: int) -> Run:
    sizes = ("--batch-size", f"{setting['batch size']:g}", "--width", f"{setting['width']:g}")
    return run_script(side, *sizes, threads=int(setting["threads"]), device="cpu", epochs=epochs)


def points(runs: list[Run]) -> list[dict[str, Any]]:
    """The medians, as the figure shows them: a point for each quantity, value and side."""
    result = []
    for quantity in AS_IT_IS:
        others = {name: value for name, value in AS_IT_IS.items() if name != quantity}
        along = [run for run in runs if others.items() <= run["setting"].items()]
        for value in sorted({run["setting"][quantity] for run in along}):
            for side in OURS:
                here = [run for run in along if run["script"] == side and run["setting"][quantity] == value]
                seconds = median(run["seconds"] for run in here)
                memory = median(run["peak_memory_bytes"] for run in here) / 1e6
                point = {"quantity": quantity, "value": value, "side": side}
                result.append(point | {"seconds": seconds, "peak_memory_mb": memory})
    return result
