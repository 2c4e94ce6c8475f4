"""The figures of `docs/scale.md`, from `docs/scale.json`; measures nothing.

`fill_in` rewrites each of the document's blocks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures.blocks import fill_blocks, table
from benchmarks.machine import in_a_line, versions_in_a_line

DOCUMENT = Path("docs/scale.md")
FIGURES = Path("docs/scale.json")

Figures = dict[str, Any]


def fill_in(text: str, figures: Figures) -> str:
    """The document with every block as the figures have it."""
    return fill_blocks(text, lambda name: BLOCKS[name](figures[name]) if name in figures else "Not measured yet.")


def overhead(figure: Figures) -> str:
    """What the coordinator takes for each run."""
    return (
        f"{figure['cpu_seconds'] / figure['runs']:.3f} CPU seconds a run, {figure['share']:.1%} of a run of "
        f"{figure['seconds_of_a_run']:g} seconds (n = {figure['runs']}, {figure['workers']} workers)."
    )


def many(figures: list[Figures]) -> str:
    """Studies of many runs, some of which kill their worker."""
    header = "runs | killed their worker | finished | failed | wall time, s | coordinator's peak memory, MB"
    rows = [
        [
            f"{figure['runs']:,}",
            f"{-(-figure['runs'] // figure['kill_every']):,}",
            f"{figure['finished']:,}",
            f"{figure['failed']:,}",
            f"{figure['wall_seconds']:,.0f}",
            f"{figure['peak_memory_bytes'] / 1e6:,.0f}",
        ]
        for figure in figures
    ]
    return table(header, "rrrrrr", rows)


def two_workers(figure: Figures) -> str:
    """One worker against two."""
    one, two = figure["seconds"]
    return f"{figure['ratio']:.2f} times as fast: {one:,.0f} s and {two:,.0f} s for {figure['runs']} trainings."


BLOCKS: dict[str, Callable[[Any], str]] = {
    "overhead": overhead,
    "many": many,
    "two_workers": two_workers,
    "machine": lambda machine: f"n = 1, measured on {in_a_line(machine)}; {versions_in_a_line(machine['versions'])}.",
}
