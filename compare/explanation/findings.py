"""What `compare explain` finds, as types: what its `results.json` says, for programs to read."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from compare.results_file import RESULTS, SCHEMA_VERSION, read_results
from recipe.errors import RecordError

Stage = Literal["data", "weights", "forward", "loss", "gradients", "optimizer", "loop", "stated"]
Severity = Literal["fault", "minor", "inherent"]
Verdict = Literal["same", "different", "incomplete"]
EXIT_CODES: dict[Verdict, int] = {"same": 0, "different": 1, "incomplete": 3}

STAGES: tuple[Stage, ...] = ("data", "weights", "forward", "loss", "gradients", "optimizer", "loop", "stated")


@dataclass(frozen=True)
class Place:
    """A line in the user's own files; `cell` counts from 1 in a notebook and is None elsewhere."""

    file: str
    line: int
    code: str = ""
    cell: int | None = None

    def __str__(self) -> str:
        cell = "" if self.cell is None else f" cell {self.cell}"
        return f"{self.file}{cell}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """One difference.

    Args:
        stage: Where in a training it acts.
        title: What differs, in a few words.
        reference: What the reference does, with its value.
        port: What the port does, with its value.
        place: The line, in the port's files where it is known, else in the reference's.
        effect: The relative deviation that it causes at its own place; of what has none, a number by its class.
        effect_text: The effect in words.
        cause: What the numbers bear out; None where no known cause fits.
        mend: A line of code, or what to do.
        severity: `fault`, `minor` (a small effect, or one on average only) or `inherent` (the frameworks
            cannot be brought to agree, or a constant is rounded to float32 in one of them).
    """

    stage: Stage
    title: str
    reference: str = ""
    port: str = ""
    place: Place | None = None
    effect: float = 0.0
    effect_text: str = ""
    cause: str | None = None
    mend: str = ""
    severity: Severity = "fault"


@dataclass(frozen=True)
class Explanation:
    """What two programs do differently.

    Args:
        reference: The reference's name, as given.
        port: The port's name, as given.
        ran: What was run, in a sentence.
        findings: Differences, the largest effect first; those that are inherent are at the end.
        same: What was compared and is the same.
        not_seen: What could not be compared, and what a run of so few steps cannot show.
        unpaired: Why layers or values could not be paired; empty if all were.
        seconds: How long it took.
        versions: By `reference` and `port`, the versions of the packages that each was run with.
        command: What was typed, None where Python asked.
        directory: Where `results.json` and `report.html` were written, None if nowhere.
    """

    reference: str
    port: str
    ran: str
    findings: tuple[Finding, ...]
    same: tuple[str, ...]
    not_seen: tuple[str, ...]
    unpaired: tuple[str, ...]
    seconds: float
    versions: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    command: str | None = None
    directory: Path | None = None

    @property
    def differences(self) -> tuple[Finding, ...]:
        """The findings that could be mended."""
        return tuple(finding for finding in self.findings if finding.severity != "inherent")

    @property
    def verdict(self) -> Verdict:
        """`different` if anything could be mended, `incomplete` if all else agrees but not all could be compared."""
        if self.differences:
            return "different"
        return "incomplete" if self.unpaired else "same"

    @property
    def exit_code(self) -> int:
        """What the command line ends with: 0, 1 or 3."""
        return EXIT_CODES[self.verdict]

    @property
    def results_file(self) -> Path | None:
        """The findings as JSON, None where they were written nowhere."""
        return None if self.directory is None else self.directory / RESULTS

    @property
    def page(self) -> Path | None:
        """The findings as a page that opens from disk, None where they were written nowhere."""
        return None if self.directory is None else self.directory / "report.html"

    def to_json(self) -> dict[str, Any]:
        """What `results.json` says: every field but the directory, which is where it lies."""
        values = dataclasses.asdict(self)
        del values["directory"]
        head = {"schema_version": SCHEMA_VERSION, "kind": "explanation"}
        return {**head, "verdict": self.verdict, "exit_code": self.exit_code, **values}

    @classmethod
    def read(cls, directory: Path | str) -> Self:
        """The findings that an earlier call, or the command line, left in a directory.

        Raises:
            RecordError: There are none, or none of this kind and version.
        """
        directory = Path(directory)
        return cls.from_json(read_results(directory), directory)

    @classmethod
    def from_json(cls, results: Mapping[str, Any], directory: Path) -> Self:
        """What `to_json` made, of the results in this directory.

        Raises:
            RecordError: A key is missing or holds something else.
        """
        path = directory / RESULTS
        if results.get("kind") != "explanation":
            raise RecordError(f"{path} holds the findings of a {results.get('kind', 'comparison')}, not of explain")
        names = {field.name for field in dataclasses.fields(cls)} - {"directory"}
        try:
            values = {name: results[name] for name in names}
            values["findings"] = tuple(_finding(entry) for entry in values["findings"])
            for name in ("same", "not_seen", "unpaired"):
                values[name] = tuple(map(str, values[name]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"{path} is damaged: {type(error).__name__} {error}; run explain again") from error
        return cls(**values, directory=directory)


def _finding(entry: Mapping[str, Any]) -> Finding:
    """A finding from its JSON, which has null for an effect without limit."""
    place = None if entry["place"] is None else Place(**entry["place"])
    effect = float("inf") if entry["effect"] is None else float(entry["effect"])
    found = Finding(**{**entry, "place": place, "effect": effect})
    if found.stage not in STAGES or found.severity not in _ORDER:
        raise ValueError(f"{found.stage} {found.severity}")
    return found


_ORDER = {"fault": 0, "minor": 1, "inherent": 2}


_OF_A_LAYER = re.compile(
    r"(?P<what>.+?) (?P<where>of|after|in) (?!the |place |Keras |evaluation mode )(?P<layer>(layer (?=\d))?[^\s:,]+)"
    r"(?P<rest>( \([^)]*\))?[:,]? .*|( \([^)]*\))?)",
    re.DOTALL,
)
"""A title that says of one layer what differs: "epsilon of bn1 (batch normalization): ..."."""

_LISTED = 6


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that say the same of several layers, as one each: the largest effect's, with the names of all."""
    groups: dict[tuple[object, ...], list[tuple[str, Finding]]] = {}
    alone: list[Finding] = []
    for found in dict.fromkeys(findings):
        match = _OF_A_LAYER.fullmatch(found.title)
        if match is None or found.cause is None or found.stage not in ("forward", "optimizer"):
            alone.append(found)
            continue
        key = (found.stage, found.severity, match["what"], match["where"], match["rest"])
        groups.setdefault(key, []).append((match["layer"], found))
    return alone + [_as_one(key, entries) for key, entries in groups.items()]


_MODE = re.compile(r"(?P<layer>\S+\.(eval|train)\(\))(?P<when> after .+)")


def joined(names: Iterable[str]) -> str:
    """The names of layers in a row: layers 0, 2 for layer 0 and layer 2."""
    names = list(names)
    if len(names) > 1 and all(name.startswith("layer ") for name in names):
        return f"layers {', '.join(name.removeprefix('layer ') for name in names)}"
    return ", ".join(names)


def _as_one(key: tuple[object, ...], entries: list[tuple[str, Finding]]) -> Finding:
    largest = max((found for _, found in entries), key=lambda found: found.effect)
    names = list(dict.fromkeys(name for name, _ in entries))
    if len(names) == 1:
        return largest
    _, _, what, where, rest = key
    listed = joined(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    places = {str(found.place) for _, found in entries if found.place is not None} - {str(largest.place)}
    also = sorted(
        places, key=lambda place: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", place)]
    )
    shown = ", ".join(also[:_LISTED]) + (", ..." if len(also) > _LISTED else "")
    text = "; ".join(filter(None, (largest.effect_text, f"also at {shown}" if also else "")))
    own = next(name for name, found in entries if found is largest)
    mend = largest.mend.replace(f"before {own},", f"before {listed},")
    modes = [_MODE.fullmatch(found.mend) for _, found in entries]
    if all(modes):  # each layer has a line of its own
        mend = "; ".join(dict.fromkeys(line["layer"] for line in modes if line)) + _MODE.sub(r"\g<when>", largest.mend)
    return dataclasses.replace(largest, title=f"{what} {where} {listed}{rest}", effect_text=text, mend=mend)


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """By severity, then by effect, then in the order of a training."""
    return tuple(
        sorted(merged(findings), key=lambda found: (_ORDER[found.severity], -found.effect, STAGES.index(found.stage)))
    )
