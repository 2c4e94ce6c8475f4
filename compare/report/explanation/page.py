"""An explanation -> what its page shows: the differences by effect, then what is the same and what was not seen."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from compare.explanation.findings import Explanation, Finding
from compare.explanation.words import counted
from compare.report.explanation.terminal import remaining, says_both

_TONES = {"same": "good", "different": "bad", "incomplete": "unsure"}
_SEVERITIES = {"fault": "bad", "minor": "unsure", "inherent": "soft"}
_SECTIONS = (
    (
        "differences",
        "What differs",
        "The largest effect first, each judged at its own place: no difference hides another.",
    ),
    ("minor", "Minor differences", "They change an update by little, or the first values alone."),
    (
        "stated",
        "Stated, and seen only later",
        "Settings that the first steps do not show: they were read from the programs, and not tried.",
    ),
    (
        "inherent",
        "Inherent",
        (
            "What the frameworks cannot be brought to agree on, and constants that one of them rounds to float32. "
            "Nothing to mend."
        ),
    ),
)


def explanation_page(findings: Explanation) -> dict[str, Any]:
    """What the template of an explanation takes."""
    groups: dict[str, list[Finding]] = {name: [] for name, _, _ in _SECTIONS}
    for finding in findings.findings:
        groups[_group(finding)].append(finding)
    packages = list(dict.fromkeys(chain.from_iterable(findings.versions.values())))
    return {
        "title": f"{_name(findings.port)} against {_name(findings.reference)}: an explanation",
        "answer": _answer(findings),
        "lead": _lead(findings),
        "tone": _TONES[findings.verdict],
        "sections": [
            {"name": name, "title": title, "words": words, "cards": _cards(groups[name], name == "differences")}
            for name, title, words in _SECTIONS
            if groups[name]
        ],
        "lists": [
            {"name": name, "title": title, "entries": _sentences(entries)}
            for name, title, entries in (
                ("unpaired", "Not paired", findings.unpaired),
                ("same", "The same", findings.same),
                ("not-seen", "Not seen", findings.not_seen),
            )
            if entries
        ],
        "command": findings.command or f"mnist-compare explain {findings.reference} {findings.port}",
        "version_names": list(findings.versions),
        "versions": [
            [package, *(side.get(package, "") for side in findings.versions.values())] for package in packages
        ],
    }


def _name(given: str) -> str:
    """The file of a program as the user named it, without its directory and the script's own arguments."""
    return Path(given.split(maxsplit=1)[0]).name if given.strip() else given


def _lead(findings: Explanation) -> str:
    sentences = [f"{findings.ran}, in {findings.seconds:.0f} s", *([remaining(findings)] if findings.findings else [])]
    return " ".join(f"{sentence}." for sentence in _sentences(sentences))


def _answer(findings: Explanation) -> str:
    reference, port = _name(findings.reference), _name(findings.port)
    count = len(findings.differences)
    return {
        "same": f"{port} does the same as {reference}, up to rounding.",
        "different": f"{port} differs from {reference} in {counted(count, 'place')}.",
        "incomplete": f"Nothing shows {port} to differ from {reference}, but not all could be compared.",
    }[findings.verdict]


def _group(finding: Finding) -> str:
    if finding.severity == "inherent":
        return "inherent"
    if finding.stage == "stated":
        return "stated"
    return "minor" if finding.severity == "minor" else "differences"


def _cards(findings: Iterable[Finding], is_open: bool) -> list[dict[str, Any]]:
    return [_card(number, finding, is_open) for number, finding in enumerate(findings, start=1)]


def _card(number: int, finding: Finding, is_open: bool) -> dict[str, Any]:
    rows = [] if says_both(finding) and not _longer(finding) else _both(finding)
    rows += [["Effect", finding.effect_text]] if finding.effect_text else []
    return {
        "number": number,
        "title": finding.title,
        "stage": finding.stage,
        "tone": _SEVERITIES[finding.severity],
        "place": "" if finding.place is None else str(finding.place),
        "code": "" if finding.place is None else finding.place.code,
        "rows": rows,
        "mend": finding.mend,
        "open": is_open,
    }


def _both(finding: Finding) -> list[list[str]]:
    sides = (("Reference", finding.reference), ("Port", finding.port))
    return [[name, value] for name, value in sides if value]


def _longer(finding: Finding) -> bool:
    """Whether what both sides do is said by more than the values that the title has."""
    return any(value and value not in finding.title for value in (finding.reference, finding.port))


def _sentences(entries: Iterable[str]) -> list[str]:
    return [entry[:1].upper() + entry[1:] for entry in entries]
