"""A comparison on one screen: the few numbers that everyone asks for, and what was held against what."""

import textwrap
from collections.abc import Callable, Iterator

from compare.findings import Comparison, ImplementationFindings, Pair
from compare.ladder.rung import Rung
from compare.report.words import display_name, number, things, why_two_numbers

_WIDTH = 80

_ANSWERS = {"parity": "yes", "not parity": "NO", "inconclusive": "?"}

_COMPARED = {
    "settings": "same settings",
    "data": "same images, same order",
    "initial_weights": "same initial weights",
    "forward": "same layer outputs",
    "loss": "same loss",
    "gradients": "same gradients",
    "optimizer": "same updates",
    "trajectory": "same course of training",
    "outcome": "same results",
}


def summary_lines(findings: Comparison) -> list[str]:
    """What there is beside the verdict, of each pair: some 20 lines of 80 columns."""
    reference = next(iter(findings.implementations))
    lines: list[str] = []
    for name, pair in findings.comparisons.items():
        if pair.rungs:
            title = [f"  {reference} and {name}"] if len(findings.comparisons) > 1 else []
            lines += ["", *title, *_numbers(findings, reference, name, pair), *_ladder(pair)]
    return lines


def _numbers(findings: Comparison, reference: str, name: str, pair: Pair) -> Iterator[str]:
    """Accuracies, losses and times, and why two accuracies may differ; nothing of traces alone."""
    if not findings.trained:
        return
    sides = findings.implementations[reference], findings.implementations[name]

    def row(title: str, value: Callable[[ImplementationFindings], float | None], form: str, difference: str) -> str:
        first, second = (value(side) for side in sides)
        cells = [side.status if v is None else form.format(v) for side, v in zip(sides, (first, second), strict=True)]
        apart = "" if first is None or second is None else difference.format(second - first)
        return f"  {title:<25}{cells[0]:>14}{cells[1]:>14}{apart:>14}".rstrip()

    yield f"  {'':<25}{display_name(reference)[:13]:>14}{display_name(name)[:13]:>14}{'difference':>14}"
    yield row("test accuracy", lambda side: side.test_accuracy, "{:.2%}", "{:+.2%}")
    yield row("test loss", lambda side: side.test_loss, "{:.4f}", "{:+.4f}")
    yield row("seconds per epoch", lambda side: side.seconds_per_epoch, "{:.2f}", "{:+.2f}")
    if pair.agreement:
        alike = f"{pair.agreement.same:,} of {pair.agreement.total:,}"
        yield f"  {things(findings.recipe) + ' predicted alike':<25}{alike:>28}"
    yield ""
    if reason := why_two_numbers(pair):
        yield from _wrapped(reason, indent="  ")
        yield ""


def _ladder(pair: Pair) -> Iterator[str]:
    for rung in pair.rungs:
        follows = rung.detail.get("follows")
        evidence = f"follows from {follows}" if follows else _evidence(rung)
        yield f"  {_ANSWERS[rung.verdict]:<5}{_COMPARED[rung.name]:<25}{evidence}".rstrip()


_EXACT = {
    "settings": "as the live programs state them",
    "data": "byte for byte",
    "initial_weights": "bit for bit",
    "outcome": "as near as the same program comes to itself",
}


def _evidence(rung: Rung) -> str:
    if rung.verdict != "parity":
        return ""
    if rung.name == "trajectory":
        return _course(rung)
    return _EXACT.get(rung.name) or f"largest error {number(rung.measured)} of what rounding may do"


def _course(rung: Rung) -> str:
    """When the two part, beside when one program parts from itself."""
    parted, control = rung.measured, rung.detail.get("earliest_control")
    if parted is None:
        return "never part"
    itself = f"at {control:,}" if control else "never"
    return f"part at step {parted:,.0f}; one program from itself {itself}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
