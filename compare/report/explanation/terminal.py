"""An explanation as text for a terminal."""

import textwrap
from collections import Counter

from compare.explanation.findings import Explanation, Finding
from compare.explanation.words import counted

_MARGIN = 21
_WIDTH = 118


def explanation_text(explanation: Explanation) -> str:
    """The whole as plain text, the largest effect first."""
    lines = [explanation.ran, ""]
    number = 0
    for finding in explanation.findings:
        if finding.severity == "fault":
            number += 1
        lines += _finding(finding, number)
    lines += _list("the same", explanation.same)
    lines += _list("not paired", explanation.unpaired)
    lines += _list("not seen", explanation.not_seen)
    lines += ["", _verdict(explanation), *([remaining(explanation)] if explanation.findings else [])]
    return "\n".join(lines)


def _finding(finding: Finding, number: int) -> list[str]:
    head = {"fault": f"FAULT {number:2d}", "minor": "minor", "inherent": "inherent"}[finding.severity]
    place = "" if finding.place is None else f"{finding.place}  {finding.place.code}".rstrip()
    first = f"{head:<9} {finding.stage:<10} "
    lines = [first + place] if place else []
    lines += _wrapped(finding.title, first if not place else "")
    if (finding.reference or finding.port) and not says_both(finding):
        lines += _wrapped(f"reference: {finding.reference}; port: {finding.port}")
    if finding.effect_text:
        lines += _wrapped(finding.effect_text)
    if finding.mend:
        lines += _wrapped(f"mend: {finding.mend}")
    return [*lines, ""] if finding.severity == "fault" else lines


def says_both(finding: Finding) -> bool:
    """Whether the title has both values already."""
    return "; the reference has " in finding.title or ", which the reference does not have" in finding.title


def _wrapped(words: str, first: str = "") -> list[str]:
    indent = " " * _MARGIN
    return textwrap.wrap(
        words, _WIDTH, initial_indent=first or indent, subsequent_indent=indent, break_long_words=False
    ) or [first or indent]


def _list(head: str, entries: tuple[str, ...]) -> list[str]:
    return _wrapped("; ".join(entries), f"{head:<{_MARGIN}}") if entries else []


def remaining(explanation: Explanation) -> str:
    """What is left to mend: how many of each severity, and what that asks for."""
    count = Counter(finding.severity for finding in explanation.findings)
    faults = counted(count["fault"], "fault") if count["fault"] else "no fault"
    minor = f", {count['minor']} minor, of small effect" if count["minor"] else ""
    inherent = f", {count['inherent']} inherent, which nothing mends" if count["inherent"] else ""
    return f"left: {faults}{minor}{inherent}"


def _verdict(explanation: Explanation) -> str:
    count = len(explanation.differences)
    if explanation.verdict == "different":
        return f"verdict: different ({counted(count, 'difference')}), in {explanation.seconds:.0f} s"
    if explanation.verdict == "incomplete":
        return f"verdict: nothing differs, but not all could be compared, in {explanation.seconds:.0f} s"
    return f"verdict: the same, in {explanation.seconds:.0f} s"
