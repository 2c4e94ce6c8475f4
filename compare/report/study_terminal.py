"""Findings of a study -> the terminal. Computes nothing."""

from rich import box
from rich.table import Table
from rich.text import Text

from compare.findings import Interval
from compare.report.words import as_text
from compare.study.findings import EquivalenceFindings, RunFindings, Study

_STYLES = {"parity": "green", "not parity": "red", "inconclusive": "yellow"}


def study_tables(findings: Study) -> list[Table]:
    """Accuracies, equivalence, attribution and churn; what could not be had has no row."""
    tables = [_accuracies(findings), _equivalence(findings)]
    if findings.attribution:
        tables.append(_attribution(findings))
    return [*tables, _churn(findings)]


def study_verdict_lines(findings: Study) -> list[str]:
    """Every run without a result by name, then the answer in a sentence for each variant."""
    lines = []
    for run in findings.runs:
        if run.status != "finished":
            place = f"{run.implementation} {run.variant}, seed {run.seed}"
            reason = why_unfinished(run)
            lines.append(f"{run.status}: {place}{': ' if reason else ''}{reason}")
    counts = ", ".join(f"{count:,} {status}" for status, count in findings.counts.items())
    lines.append(f"Runs: {counts}.")
    for entry in findings.equivalence:
        pair = f"{entry.variant}: {entry.reference} and {entry.other}"
        margin = f"±{100 * findings.margin:g} percentage points over {entry.num_pairs} seeds"
        left_out = f" (left out: seeds {', '.join(map(str, entry.left_out))})" if entry.left_out else ""
        lines.append(f"{pair}: {_SENTENCES[entry.verdict].format(margin=margin)}{left_out}.{_needed(entry)}")
    lines.append(f"Verdict: {findings.verdict}.")
    return lines


def why_unfinished(run: RunFindings) -> str:
    """Where a run diverged, or the first line of its error; empty where nothing is known."""
    if run.diverged_at:
        return f"epoch {run.diverged_at.epoch}, step {run.diverged_at.step}"
    return (run.error or "").partition("\n")[0]


_SENTENCES = {
    "parity": "parity, the mean accuracies are the same within {margin}",
    "not parity": "not parity, the mean accuracies differ by more than {margin}",
    "inconclusive": "inconclusive, neither the same nor different within {margin}",
}


def _needed(entry: EquivalenceFindings) -> str:
    if entry.verdict != "inconclusive":
        return ""
    if entry.pairs_needed:
        return f" About {entry.pairs_needed:,} seeds would show parity if the difference is the one measured."
    unreachable = " No number of seeds will show parity if the difference is the one measured."
    return "" if entry.mean is None else unreachable


def _accuracies(findings: Study) -> Table:
    table = _table("Test accuracy by seed", "Variant", "Implementation", "Seeds", "Mean", "Spread", "Loss", "Seconds")
    for entry in findings.accuracies:
        table.add_row(
            as_text(entry.variant),
            as_text(entry.implementation),
            str(entry.num_seeds),
            _form(entry.mean, "{:.3%}"),
            _form(entry.standard_deviation, "{:.3%}"),
            _form(entry.mean_test_loss, "{:.4f}"),
            _form(entry.median_seconds, "{:.1f}"),
        )
    return table


def _equivalence(findings: Study) -> Table:
    title = f"Difference of mean accuracy, percentage points; margin ±{100 * findings.margin:g}"
    table = _table(title, "Variant", "Pair", "Mean", "90% interval", "95% interval", "p (TOST)", "Verdict")
    for entry in findings.equivalence:
        verdict = as_text(entry.verdict, _STYLES[entry.verdict])
        pair = f"{entry.other} - {entry.reference}"
        mean = "" if entry.mean is None else _points(entry.mean)
        intervals = [_interval(entry.interval_90), _interval(entry.interval_95)]
        table.add_row(as_text(entry.variant), as_text(pair), mean, *intervals, _form(entry.p, "{:.2g}"), verdict)
    return table


def _attribution(findings: Study) -> Table:
    title = "What a variant changes, against aligned (95% intervals, corrected for their number)"
    table = _table(title, "Variant", "Of", "Accuracy, points", "", "Loss", "", "Parting step")
    for entry in findings.attribution:
        cells: list[str | Text] = [as_text(entry.variant), as_text(entry.of)]
        for effect, form in ((entry.test_accuracy, _points), (entry.test_loss, "{:+.4f}".format)):
            if effect is None:
                cells += ["", ""]
                continue
            low, high = effect.interval
            mark = " *" if effect.clear else ""
            cells += [f"{form(effect.mean)}{mark}", f"{form(low)} to {form(high)}"]
        parted = entry.parted_at_step
        steps = (
            [_form(parted[variant], "{:,.0f}") or "never" for variant in ("aligned", entry.variant)] if parted else []
        )
        table.add_row(*cells, " → ".join(steps))
    table.caption = "* the interval leaves out 0"
    return table


def _churn(findings: Study) -> Table:
    table = _table("Test digits predicted differently", "Between", "Variant", "Pairs", "Mean", "Lowest", "Highest")
    for entry in findings.churn:
        if entry.num_pairs:
            shares = [_form(share, "{:.2%}") for share in (entry.mean, entry.lowest, entry.highest)]
            table.add_row(as_text(entry.between), as_text(entry.variant), f"{entry.num_pairs:,}", *shares)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        words = column in ("Variant", "Implementation", "Pair", "Of", "Between", "Verdict")
        table.add_column(column, justify="left" if words else "right", no_wrap=words)
    return table


def _points(value: float) -> str:
    return f"{100 * value:+.3f}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{_points(interval[0])} to {_points(interval[1])}"


def _form(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
