"""Findings -> the terminal. Computes nothing."""

from collections.abc import Callable, Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from compare.explanation.findings import Explanation
from compare.findings import Comparison, ImplementationFindings
from compare.report.explanation.terminal import explanation_text
from compare.report.study_terminal import study_tables, study_verdict_lines
from compare.report.summary import summary_lines
from compare.report.words import as_text, display_name, measured, not_seen, number, on_different_devices, things
from compare.study.findings import Study
from recipe.errors import harmless

_MAX_EPOCHS_SHOWN = 20


def show(findings: Comparison | Study | Explanation, console: Console, *, verbose: bool = False) -> None:
    """Prints the findings of a comparison, a study or an explanation; all tables of a comparison if `verbose`."""
    tables: list[Table] = []
    if isinstance(findings, Explanation):
        lines = [explanation_text(findings)]
    elif isinstance(findings, Study):
        tables, lines = study_tables(findings), study_verdict_lines(findings)
    elif not verbose:
        lines = [*verdict_lines(findings, verbose=False), *summary_lines(findings)]
    else:
        tables = [comparison_table(findings)] if findings.trained else []
        judged = any(pair.rungs for pair in findings.comparisons.values())
        tables += [ladder_table(findings)] if judged else []
        lines = verdict_lines(findings)
    if not isinstance(findings, Explanation) and (line := on_different_devices(findings.devices)):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    for table in tables:
        console.print(table)
    for line in lines:
        console.print(harmless(line), soft_wrap=True, markup=False, highlight=False)


def comparison_table(findings: Comparison) -> Table:
    """One row a finding; the reference, then for each other implementation it and the difference."""
    reference, *others = findings.implementations
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column(as_text(_title(reference, findings)), justify="right")
    for name in others:
        table.add_column(as_text(_title(name, findings)), justify="right")
        table.add_column("Difference", justify="right")

    columns = _Columns(findings, table)
    columns.numbers("Parameters", lambda side: side.num_parameters, "{:,}", difference="{:+,}")
    columns.texts("Device, threads", lambda side: side.device and f"{side.device}, {side.threads}")
    for prefix, title in (("", "Training"), ("val_", "Validation")):
        table.add_section()
        columns.epochs(prefix, title)
    table.add_section()
    columns.numbers("Test loss", lambda side: side.test_loss, "{:.4f}", difference="{:+.4f}")
    columns.numbers("Test accuracy", lambda side: side.test_accuracy, "{:.2%}", difference="{:+.2%}")
    columns.texts("  95% interval", _interval)
    columns.agreement()
    table.add_section()
    columns.numbers("Seconds per epoch", lambda side: side.seconds_per_epoch, "{:.2f}", difference="{:+.2f}")
    columns.numbers("Wall time, s", lambda side: side.seconds, "{:.1f}", difference="{:+.1f}")
    columns.texts("Peak memory, MB", lambda side: _megabytes(side.peak_memory_bytes))
    if any(side.peak_gpu_memory_bytes is not None for side in findings.implementations.values()):
        columns.texts("Peak GPU memory, MB", lambda side: _megabytes(side.peak_gpu_memory_bytes) or "none")
    columns.texts("Versions", _versions)
    return table


def ladder_table(findings: Comparison) -> Table:
    """One row a rung, for each implementation that is compared with the reference."""
    reference = next(iter(findings.implementations))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Rung", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Measured", justify="right", no_wrap=True, min_width=len("Measured"))
    table.add_column("Bound", justify="right", no_wrap=True, min_width=len("Bound"))
    table.add_column("Unit", ratio=1)
    for name, pair in findings.comparisons.items():
        if len(findings.comparisons) > 1 and pair.rungs:
            table.add_row(as_text(f"{reference} and {name}"), style="bold")
        for rung in pair.rungs:
            follows = rung.detail.get("follows")
            style = {"parity": "green", "not parity": "red"}.get(rung.verdict, "yellow")
            verdict = as_text(f"{rung.verdict}, after {follows}" if follows else rung.verdict, style)
            unit = as_text(str(rung.detail["unit"]))
            table.add_row(as_text(rung.name), verdict, measured(rung), number(rung.bound), unit)
        table.add_section()
    return table


def verdict_lines(findings: Comparison, *, verbose: bool = True) -> list[str]:
    """The verdict of every pair in a sentence, with the first place that differs and its cause."""
    reference = next(iter(findings.implementations))
    lines = []
    for name, pair in findings.comparisons.items():
        if pair.verdict == "failed":
            failures = [_failure(side, findings.implementations[side]) for side in (reference, name)]
            lines += [failure for failure in failures if failure and failure not in lines]
        else:
            names = f"{reference} and {name}"
            lines.append(f"Verdict: {pair.verdict}. {_SENTENCES[pair.verdict].format(pair=names)}")
        for rung in sorted(pair.rungs, key=lambda rung: (rung is not pair.gravest, "follows" in rung.detail)):
            if verbose and "same_run" in rung.detail and rung.verdict == "parity":
                lines.append(f"  {rung.name}: {rung.detail['same_run']}.")
            if rung.verdict != "parity":
                label = "likely cause" if rung.verdict == "not parity" else "undecided"
                lines += [f"  {rung.name}: {rung.where or rung.verdict}", f"    {label}: {rung.cause}"]
        lines += [f"  {line}" for line in not_seen(pair.rungs)]
    return lines


_SENTENCES = {
    "parity": "{pair} are the same up to rounding, on every rung.",
    "not parity": "{pair} part:",
    "inconclusive": "No rung shows {pair} to be different programs, but not every rung can be decided:",
}


def _failure(name: str, side: ImplementationFindings) -> str:
    if side.status == "diverged" and side.diverged_at:
        where = side.diverged_at
        return f"{name} diverged: its loss is no longer finite in epoch {where.epoch}, step {where.step:,}."
    return f"{name} failed: {side.error}" if side.status == "failed" else ""


def _title(name: str, findings: Comparison) -> str:
    title, backend = display_name(name), findings.implementations[name].backend
    return f"{title}\n({backend})" if backend else title


def _interval(side: ImplementationFindings) -> str | None:
    if side.test_accuracy_interval is None:
        return None
    low, high = side.test_accuracy_interval
    return f"{low:.2%} to {high:.2%}"


def _megabytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 1e6:,.0f}"


def _versions(side: ImplementationFindings) -> str | None:
    return None if side.versions is None else "\n".join(f"{name} {text}" for name, text in side.versions.items())


History = Mapping[str, tuple[float | None, ...]]


class _Columns:
    """Fills the table's rows; a failed run's cells say so."""

    def __init__(self, findings: Comparison, table: Table) -> None:
        self.reference, *self.others = findings.implementations.values()
        self.pairs = list(findings.comparisons.values())
        self.things = things(findings.recipe)
        self.table = table

    def texts(self, title: str, text: Callable[[ImplementationFindings], str | None]) -> None:
        cells = [text(self.reference) or self.reference.status]
        for side in self.others:
            cells += [text(side) or side.status, ""]
        self.table.add_row(title, *map(as_text, cells))

    def numbers(
        self, title: str, value: Callable[[ImplementationFindings], float | None], form: str, *, difference: str
    ) -> None:
        def cell(side: ImplementationFindings) -> str:
            findings = value(side)
            return side.status if findings is None else form.format(findings)

        first, cells = value(self.reference), [cell(self.reference)]
        for side in self.others:
            second = value(side)
            cells += [cell(side), "" if first is None or second is None else difference.format(second - first)]
        self.table.add_row(title, *cells)

    def epochs(self, prefix: str, title: str) -> None:
        first, *rest = (side.history or {} for side in (self.reference, *self.others))
        num_epochs = max(len(history.get("loss", ())) for history in (first, *rest))
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
        for pair in self.pairs:
            same = pair.agreement
            cells += ["", f"{same.same:,} of {same.total:,}" if same else ""]
        self.table.add_row(f"{self.things.capitalize()} predicted alike", *cells)


def _loss_and_accuracy(history: History, prefix: str, epoch: int, minus: History | None = None) -> str:
    loss, accuracy = (_at(history, f"{prefix}{key}", epoch) for key in ("loss", "accuracy"))
    if loss is None or accuracy is None:
        return ""
    if minus is None:
        return f"{loss:.4f}  {accuracy:.2%}"
    other_loss, other_accuracy = (_at(minus, f"{prefix}{key}", epoch) for key in ("loss", "accuracy"))
    if other_loss is None or other_accuracy is None:
        return ""
    return f"{loss - other_loss:+.4f}  {accuracy - other_accuracy:+.2%}"


def _at(history: History, key: str, epoch: int) -> float | None:
    """A number of an epoch, from 0; None where the training did not come that far."""
    values = history.get(key, ())
    return values[epoch] if epoch < len(values) else None
