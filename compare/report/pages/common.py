"""What the pages of a comparison and of a study share."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any

from compare.findings import Findings

TONES = {"parity": "good", "not parity": "bad", "failed": "bad", "inconclusive": "unsure"}
"""The colour of a verdict, by its class in the style sheet."""


def common(findings: Findings, versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How to get the same result again, and the tone of the verdict.

    Args:
        findings: Of a comparison or of a study.
        versions: Versions by package, by the name of who used them.
    """
    packages = list(dict.fromkeys(chain.from_iterable(versions.values())))
    return {
        "command": findings.command,
        "recipe": [[name, _plain(value)] for name, value in asdict(findings.recipe).items()],
        "version_names": list(versions),
        "versions": [[package, *(of_side.get(package, "") for of_side in versions.values())] for package in packages],
        "tone": TONES[findings.verdict],
    }


def _plain(value: Any) -> str:
    if value is None:
        return "each framework's own"
    if isinstance(value, Mapping):
        return "; ".join(f"{words(key)} {_plain(entry)}" for key, entry in value.items() if entry is not None)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


def words(name: str) -> str:
    """A name as people write it."""
    return name.replace("_", " ")
