"""Makes a pair of scripts with a fault, and judges what `compare explain` says of it."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.explanation import Explanation, Finding, explain
from tests.explain.fault import Fault

PAIRS = Path(__file__).parent / "pairs"
PAIR_NAMES = tuple(sorted(path.parent.name for path in PAIRS.glob("*/port.py")))
SCRIPTS = ("reference.py", "port.py")


def script(pair: str, side: str) -> str:
    """The text of one script of a clean pair."""
    return (PAIRS / pair / f"{side}.py").read_text(encoding="utf-8")


def faulty(fault: Fault) -> str:
    """The text of the script with the fault.

    Raises:
        ValueError: The text that the fault replaces is not there exactly once.
    """
    text = script(fault.pair, fault.side)
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.name}: the text occurs {text.count(fault.old)} times in {fault.pair}/{fault.side}.py")
    return text.replace(fault.old, fault.new)


def write_pair(pair: str, directory: Path, fault: Fault | None = None) -> tuple[Path, Path]:
    """Copies a pair to a directory, with a fault if one is given, and returns the reference and the port."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in SCRIPTS:
        shutil.copy(PAIRS / pair / name, directory / name)
    if fault is not None:
        (directory / f"{fault.side}.py").write_text(faulty(fault), encoding="utf-8")
    return directory / SCRIPTS[0], directory / SCRIPTS[1]


def changed_lines(fault: Fault) -> range:
    """The lines, counted from 1, that the fault changes in its script; the one before, where it only removes some."""
    first = script(fault.pair, fault.side).split(fault.old)[0].count("\n") + 1
    return range(first, first + max(fault.new.count("\n"), fault.old.count("\n")) + 1)


def words(finding: Finding) -> str:
    """All that a finding says, as one text."""
    parts = (finding.title, finding.reference, finding.port, finding.cause, finding.effect_text, finding.mend)
    code = "" if finding.place is None else f"{finding.place} {finding.place.code}"
    return "\n".join((*(part or "" for part in parts), code))


def names(finding: Finding, fault: Fault) -> bool:
    """Whether a finding is this fault: in the right stage, with the right cause, at the right place."""
    text = words(finding)
    right = all(re.search(cause, text, re.IGNORECASE) for cause in fault.causes)
    return right and finding.stage in fault.stages and re.search(fault.place, text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Answer:
    """What was said of a pair with a fault.

    Args:
        fault: The fault, None of a clean pair.
        named: The findings that are the fault.
        others: The other findings that are not inherent: consequences, or false alarms.
        inherent: The titles of the differences that the frameworks cannot be brought to agree on.
        explanation: All that was said.
    """

    fault: Fault | None
    named: tuple[Finding, ...]
    others: tuple[Finding, ...]
    inherent: tuple[str, ...]
    explanation: Explanation

    @property
    def at_its_line(self) -> bool:
        """Whether a finding that is the fault has the very line that was changed."""
        if self.fault is None:
            return False
        lines = changed_lines(self.fault)
        places = [finding.place for finding in self.named if finding.place is not None]
        return any(Path(place.file).stem == self.fault.side and place.line in lines for place in places)

    def to_dict(self) -> dict[str, Any]:
        """A line of the table, as JSON."""
        return {
            "name": "" if self.fault is None else self.fault.name,
            "named": _sentences(self.named),
            "others": _sentences(self.others),
            "inherent": list(self.inherent),
            "at_its_line": self.at_its_line,
            "verdict": self.explanation.verdict,
            "unpaired": list(self.explanation.unpaired),
            "seconds": round(self.explanation.seconds, 1),
        }


def _sentences(findings: Iterable[Finding]) -> list[str]:
    return [f"{found.severity} {found.stage} {found.place or ''} {found.title}" for found in findings]


def answer(pair: str, directory: Path, fault: Fault | None = None) -> Answer:
    """Runs the command on a pair in a directory of its own."""
    reference, port = write_pair(pair, directory, fault)
    explanation = explain(reference, port, steps=10 if fault is None else fault.steps)
    named = tuple(found for found in explanation.differences if fault is not None and names(found, fault))
    others = tuple(found for found in explanation.differences if found not in named)
    inherent = tuple(found.title for found in explanation.findings if found.severity == "inherent")
    return Answer(fault, named, others, inherent, explanation)
