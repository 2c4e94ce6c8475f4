"""The table of measures and targets."""

from typing import Any

from rich import box
from rich.table import Table


def table(results: dict[str, Any]) -> Table:
    """One row a measure; a ratio is judged on whole epochs, and shown for the training alone beside it."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("Measure")
    for title in ("Device, threads", "Target", "Measured", "Range", "Training alone", "CPU time"):
        shown.add_column(title, justify="right")
    shown.add_column("Met")
    place = ""
    for row in results["measures"]:
        before, place = place, f"{row['device']}, {row['threads']}" if "device" in row else ""
        if before != place:
            shown.add_section()
        if "not_measured" in row:
            shown.add_row(row["measure"], place, row["target"], f"not measured: {row['not_measured']}")
            continue
        seconds = row["seconds"]
        beside = [f"{row[key]['median']:.2f}" if key in row else "" for key in ("training_seconds", "cpu_seconds")]
        met = "[green]yes[/]" if row["met"] else "[red]no[/]"
        span = f"{seconds['lowest']:.2f} to {seconds['highest']:.2f}"
        shown.add_row(row["measure"], place, row["target"], f"{seconds['median']:.2f}", span, *beside, met)
    return shown
