"""Findings -> the terminal and results.json. Computes nothing."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from compare.report.study_terminal import study_tables, study_verdict_lines
from compare.report.words import display_name, measured, number, things

_MAX_EPOCHS_SHOWN = 20


def show(results: dict[str, Any], console: Console) -> None:
    """Prints the findings of a comparison or of a study."""
    if results.get("kind") == "study":
        tables, lines = study_tables(results), study_verdict_lines(results)
    else:
        tables = [comparison_table(results)] if "controls" in results else []
        judged = any(comparison["rungs"] for comparison in results["comparisons"].values())
        tables += [ladder_table(results)] if judged else []
        lines = verdict_lines(results)
    for table in tables:
        console.print(table)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def comparison_table(results: dict[str, Any]) -> Table:
    """One row a finding; the reference, then for each other implementation it and the difference."""
    reference, *others = results["implementations"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column(_title(reference, results), justify="right")
    for name in others:
        table.add_column(_title(name, results), justify="right")
        table.add_column("Difference", justify="right")

    columns = _Columns(results, table)
    columns.row("Parameters", "num_parameters", "{:,}", difference="{:+,}")
    columns.row("Device, threads", lambda entry: f"{entry['device']}, {entry['threads']}")
    for prefix, title in (("", "Training"), ("val_", "Validation")):
        table.add_section()
        columns.epochs(prefix, title)
    table.add_section()
    columns.row("Test loss", "test_loss", "{:.4f}", difference="{:+.4f}")
    columns.row("Test accuracy", "test_accuracy", "{:.2%}", difference="{:+.2%}")
    columns.row("  95% interval", _interval)
    columns.agreement()
    table.add_section()
    columns.row("Seconds per epoch", "seconds_per_epoch", "{:.2f}", difference="{:+.2f}")
    columns.row("Wall time, s", "seconds", "{:.1f}", difference="{:+.1f}")
    columns.row("Peak memory, MB", lambda entry: f"{entry['peak_memory_bytes'] / 1e6:,.0f}")
    columns.row("Versions", lambda entry: "\n".join(f"{name} {text}" for name, text in entry["versions"].items()))
    return table


def ladder_table(results: dict[str, Any]) -> Table:
    """One row a rung, for each implementation that is compared with the reference."""
    reference, *others = results["implementations"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Rung", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Measured", justify="right", no_wrap=True, min_width=len("Measured"))
    table.add_column("Bound", justify="right", no_wrap=True, min_width=len("Bound"))
    table.add_column("Unit", ratio=1)
    for name in others:
        if len(others) > 1 and results["comparisons"][name]["rungs"]:
            table.add_row(f"{reference} and {name}", style="bold")
        for rung in results["comparisons"][name]["rungs"]:
            follows = rung["detail"].get("follows")
            verdict = f"{rung['verdict']}, after {follows}" if follows else rung["verdict"]
            style = {"parity": "green", "not parity": "red"}.get(rung["verdict"], "yellow")
            table.add_row(
                rung["name"], f"[{style}]{verdict}[/]", measured(rung), number(rung["bound"]), rung["detail"]["unit"]
            )
        table.add_section()
    return table


def verdict_lines(results: dict[str, Any]) -> list[str]:
    """The verdict of every comparison in a sentence, with the first place that differs and its cause."""
    reference = next(iter(results["implementations"]))
    lines = []
    for name, comparison in results["comparisons"].items():
        pair = f"{reference} and {name}"
        if comparison["verdict"] == "failed":
            failures = [_failure(side, results["implementations"][side]) for side in (reference, name)]
            lines += [failure for failure in failures if failure and failure not in lines]
        else:
            lines.append(f"Verdict: {comparison['verdict']}. {_SENTENCES[comparison['verdict']].format(pair=pair)}")
        for rung in comparison["rungs"]:
            if rung["verdict"] != "parity":
                label = "likely cause" if rung["verdict"] == "not parity" else "undecided"
                lines += [f"  {rung['name']}: {rung['where'] or rung['verdict']}", f"    {label}: {rung['cause']}"]
    return lines


_SENTENCES = {
    "parity": "{pair} are the same up to rounding, on every rung.",
    "not parity": "{pair} part:",
    "inconclusive": "No rung shows {pair} to be different programs, but not every rung can be decided:",
}


def _failure(name: str, entry: dict[str, Any]) -> str:
    if entry["status"] == "diverged":
        where = entry["diverged_at"]
        return f"{name} diverged: its loss is no longer finite in epoch {where['epoch']}, step {where['step']:,}."
    return f"{name} failed: {entry['error']}" if entry["status"] == "failed" else ""


def _title(name: str, results: dict[str, Any]) -> str:
    entry = results["implementations"][name]
    title = display_name(name)
    return f"{title}\n({entry['backend']})" if "backend" in entry else title


def _interval(entry: dict[str, Any]) -> str:
    low, high = entry["test_accuracy_interval"]
    return f"{low:.2%} to {high:.2%}"


class _Columns:
    """Fills the table's rows; a failed run's cells say so."""

    def __init__(self, results: dict[str, Any], table: Table) -> None:
        self.reference, *self.others = results["implementations"].values()
        self.comparisons = list(results["comparisons"].values())
        self.things = things(results)
        self.table = table

    def row(self, title: str, key: Any, form: str = "{}", *, difference: str = "") -> None:
        def cell(entry: dict[str, Any]) -> str:
            if callable(key):
                try:
                    return str(key(entry))
                except (KeyError, TypeError):
                    return entry["status"]
            value = entry.get(key)
            return entry["status"] if value is None else form.format(value)

        cells = [cell(self.reference)]
        for entry in self.others:
            cells.append(cell(entry))
            values = [] if callable(key) else [entry.get(key), self.reference.get(key)]
            known = difference and None not in values
            cells.append(difference.format(values[0] - values[1]) if known else "")
        self.table.add_row(title, *cells)

    def epochs(self, prefix: str, title: str) -> None:
        first, *rest = (entry.get("history", {}) for entry in (self.reference, *self.others))
        num_epochs = max(len(history.get("loss", [])) for history in (first, *rest))
        self.table.add_row(f"{title}: loss, accuracy")
        head, tail = _MAX_EPOCHS_SHOWN // 2, num_epochs - _MAX_EPOCHS_SHOWN // 2
        for epoch in range(num_epochs):
            if head <= epoch < tail:
                if epoch == head:
                    self.table.add_row("  …")
                continue
            cells = [_loss_and_accuracy(first, prefix, epoch)]
            for history in rest:
                cells.append(_loss_and_accuracy(history, prefix, epoch))
                cells.append(_loss_and_accuracy(history, prefix, epoch, minus=first))
            self.table.add_row(f"  epoch {epoch + 1}", *cells)

    def agreement(self) -> None:
        cells = [""]
        for comparison in self.comparisons:
            same = comparison["agreement"]
            cells += ["", f"{same['same']:,} of {same['total']:,}" if same else ""]
        self.table.add_row(f"{self.things.capitalize()} predicted alike", *cells)


def _loss_and_accuracy(
    history: dict[str, list[float]], prefix: str, epoch: int, minus: dict[str, list[float]] | None = None
) -> str:
    try:
        loss, accuracy = history[f"{prefix}loss"][epoch], history[f"{prefix}accuracy"][epoch]
        if minus is None:
            return f"{loss:.4f}  {accuracy:.2%}"
        return f"{loss - minus[f'{prefix}loss'][epoch]:+.4f}  {accuracy - minus[f'{prefix}accuracy'][epoch]:+.2%}"
    except (KeyError, IndexError):
        return ""
