"""The numbers of `docs/speed.md`, from `benchmarks/results.json` and `benchmarks/growth.json`; measures nothing.

`python -m benchmarks.figures.speed` rewrites each of the document's blocks, as every measurement does.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures.blocks import fill_blocks, table
from benchmarks.machine import in_a_line, versions_in_a_line

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "speed.md"
RESULTS = ROOT / "benchmarks" / "results.json"
GROWTH = ROOT / "benchmarks" / "growth.json"

Figures = dict[str, Any]


def read() -> Figures:
    """All that was measured, by file; what is not there was not measured."""
    return {path.stem: json.loads(path.read_text()) for path in (RESULTS, GROWTH) if path.exists()}


def fill_in(text: str, figures: Figures) -> str:
    """The document with every block as the figures have it."""

    def block(name: str) -> str:
        source, write = BLOCKS[name]
        return write(figures[source]) if source in figures else "Not measured yet."

    return fill_blocks(text, block)


def write() -> None:
    """Brings the document up to what was measured last."""
    DOCUMENT.write_text(fill_in(DOCUMENT.read_text(), read()))


def machine(results: Figures) -> str:
    """Command, number of rounds, machine and versions."""
    here = results["machine"]
    return (
        f"`{results['command']}`, n = {results['repetitions']} rounds, on {in_a_line(here)}; load average before it "
        f"{here['load_average_before']:.2f}. {versions_in_a_line(here['versions'])}."
    )


def targets(results: Figures) -> str:
    """Every measure against its target."""
    rows = [_row(row) for row in results["measures"]]
    return table("measure | threads | target | median | range | training alone | CPU time | met", "lrrrrrrl", rows)


def _row(row: Figures) -> list[str]:
    place = [row["measure"], f"{row['device']}, {row['threads']}" if "device" in row else ""]
    if "not_measured" in row:
        return [*place, row["target"], f"not measured: {row['not_measured']}", *[""] * 4]
    seconds = row["seconds"]
    beside = [f"{row[key]['median']:.2f}" if key in row else "" for key in ("training_seconds", "cpu_seconds")]
    span = f"{seconds['lowest']:.2f} to {seconds['highest']:.2f}"
    return [*place, row["target"], f"{seconds['median']:.2f}", span, *beside, "yes" if row["met"] else "**no**"]


def verdict(results: Figures) -> str:
    """Which targets are missed, and whether Keras's history is that of plain `fit`."""
    measured = [row for row in results["measures"] if "met" in row]
    missed = [f"{row['measure']} is {row['seconds']['median']:.2f}, not {row['target']}" for row in _missed(measured)]
    sentences = [
        f"Missed: {'; '.join(missed)}. The profiles below say where the time goes."
        if missed
        else f"All {len(measured)} targets are met."
    ]
    if same := results["same_history"]:
        identical = same["identical_history"] and same["identical_weights"]
        sentences.append(
            f"Keras's history and weights are {'' if identical else 'NOT '}those of plain `fit` to the last digit."
        )
    return " ".join(sentences)


def _missed(rows: list[Figures]) -> list[Figures]:
    return [row for row in rows if not row["met"]]


def epochs(results: Figures) -> str:
    """The seconds of an epoch of every script, the slowest first."""
    by_place = defaultdict(list)
    for run in results["runs"]:
        by_place[run["script"], run["device"], run["threads"]].append(run)
    rows = []
    for (script, device, num_threads), runs in by_place.items():
        seconds = [run["seconds"] for run in runs]
        middle, cpu = median(seconds), median(run["cpu_seconds"] for run in runs)
        span = f"{min(seconds):.2f} to {max(seconds):.2f}"
        rows.append((middle, [script, f"{device}, {num_threads}", f"{middle:.2f}", span, f"{cpu:.2f}"]))
    rows.sort(key=lambda row: -row[0])
    header = "an epoch, with its validation | threads | seconds, median | range | CPU seconds, median"
    return table(header, "lrrrr", [cells for _, cells in rows])


def threads(results: Figures) -> str:
    """Whether the tutorials would be faster with the threads that they take by themselves."""
    sentences = []
    for run in results.get("tutorials_untold", []):
        told = [one["seconds"] for one in results["runs"] if one["script"] == run["script"] and one["device"] == "cpu"]
        sentences.append(f"{run['script']} {run['seconds']:.2f} s (n = 1; the median with one is {median(told):.2f} s)")
    if not sentences:
        return "Not measured yet."
    return f"An epoch of the tutorials with the threads that they take without being told: {', '.join(sentences)}."


def profile(results: Figures) -> str:
    """Where the time of an epoch goes, on both sides."""
    if not results["profiles"]:
        return "Not measured yet."
    parts = []
    for side, found in results["profiles"].items():
        whole = found["the whole epoch"]
        rows = [[name, f"{seconds:.2f}", f"{seconds / whole:.0%}"] for name, seconds in found.items()]
        parts.append(table(f"{side} | seconds | share", "lrr", rows))
    return "\n\n".join(parts)


def growth(figures: Figures) -> str:
    """The figure, and the numbers that it shows."""
    rows = []
    for point in figures["points"]:
        if point["side"] == "Keras":
            other = next(
                p
                for p in figures["points"]
                if p["side"] != "Keras" and all(p[key] == point[key] for key in ("quantity", "value"))
            )
            sides = [
                f"{side[key]:,.{digits}f}"
                for key, digits in (("seconds", 2), ("peak_memory_mb", 0))
                for side in (point, other)
            ]
            rows.append([point["quantity"], f"{point['value']:g}", *sides])
    header = "quantity | value | Keras, s | Lightning, s | Keras, MB | Lightning, MB"
    return "\n\n".join(
        [
            "![Seconds per epoch and peak memory against batch size, width and threads, for both sides](speed.svg)",
            table(header, "lrrrrr", rows),
            (
                f"`{figures['command']}`: the median of {figures['epochs'] - 1} epochs in each of n = "
                f"{figures['repetitions']} processes a point, on {in_a_line(figures['machine'])}."
            ),
        ]
    )


def not_measured(results: Figures) -> str:
    """What could not be measured."""
    return "\n".join(f"- {line}" for line in results["not_measured"]) or "Nothing was left out."


BLOCKS: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "machine": ("results", machine),
    "targets": ("results", targets),
    "verdict": ("results", verdict),
    "epochs": ("results", epochs),
    "threads": ("results", threads),
    "profile": ("results", profile),
    "growth": ("growth", growth),
    "not_measured": ("results", not_measured),
}

if __name__ == "__main__":
    write()
