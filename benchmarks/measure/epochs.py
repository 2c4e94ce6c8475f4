"""Seconds per epoch of every script, and their ratios."""

from collections.abc import Iterator
from importlib.util import find_spec
from statistics import median
from typing import Any

from benchmarks.measure.process import FailedError, run
from benchmarks.targets import EPOCH_RATIOS, SCRIPTS, TUTORIALS, Ratio

Run = dict[str, Any]


def scripts_here() -> dict[str, tuple[str, ...]]:
    """The scripts that can run with what is installed."""
    return {name: script for name, script in SCRIPTS.items() if script != ("jax_scan",) or find_spec("jax")}


def run_script(name: str, *options: str, threads: int | None, device: str, epochs: int = 2) -> Run:
    """Trains in a fresh process; the first epoch is a warm-up and is dropped, the others' median counts.

    On a GPU, a script that fails or finds none gives its reason under "not_measured".
    """
    script, *own_options = SCRIPTS[name]
    arguments = ("--epochs", str(epochs), "--device", device, *own_options, *options)
    try:
        process = run("-m", f"benchmarks.scripts.{script}", *arguments, threads=threads, device=device)
    except FailedError as error:
        if device == "cpu":
            raise
        return {"script": name, "threads": threads, "device": device, "not_measured": str(error).splitlines()[-1]}
    report = process.report()
    counted = report.pop("epochs")[1:]
    seconds = {key: median(epoch[key] for epoch in counted) for key in counted[0]}
    whole = {"epochs": epochs, "whole_seconds": process.seconds}
    result = {**report, "script": name, "threads": threads, "device": device, **seconds, **whole}
    return result if report["device"] == device else {**result, "not_measured": f"it ran on the {report['device']}"}


def one_round(threads: list[int], device: str, epochs: int, whole_epochs: int) -> Iterator[Run]:
    """Every script once at every number of threads; on the CPU the tutorials train for `whole_epochs`."""
    for number in threads:
        for name in scripts_here():
            whole = device == "cpu" and name in TUTORIALS
            yield run_script(name, threads=number, device=device, epochs=whole_epochs if whole else epochs)


def ratios(runs: list[Run], threads: int, device: str) -> list[dict[str, Any]]:
    """The table's rows of this number of threads on this device.

    A ratio is the median of the ratios of each round, whose runs were close together in time.
    """
    here = [one for one in runs if one["threads"] == threads and one["device"] == device]
    return [_ratio(ratio, here) | {"threads": threads, "device": device} for ratio in EPOCH_RATIOS]


def _ratio(ratio: Ratio, runs: list[Run]) -> dict[str, Any]:
    row: dict[str, Any] = {"measure": ratio.name, "target": ratio.target}
    pair = [[one for one in runs if one["script"] == name] for name in (ratio.numerator, ratio.denominator)]
    reasons = [one["not_measured"] for side in pair for one in side if "not_measured" in one]
    if reasons or not all(pair):
        return row | {"not_measured": reasons[0] if reasons else "not installed"}
    numerators, denominators = pair
    for key in ("seconds", "training_seconds", "cpu_seconds"):
        values = [a[key] / b[key] for a, b in zip(numerators, denominators, strict=True)]
        row[key] = {"median": median(values), "lowest": min(values), "highest": max(values), "n": len(values)}
    return row | {"met": ratio.met(row["seconds"]["median"])}
