"""What the pages of a comparison and of a study share."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

TONES = {"parity": "good", "not parity": "bad", "failed": "bad", "inconclusive": "unsure"}
"""The colour of a verdict, by its class in the style sheet."""


def common(results: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How to get the same result again, and the tone of the verdict.

    Args:
        results: What `results.json` holds.
        versions: Versions by package, by the name of who used them.
    """
    packages = list(dict.fromkeys(chain.from_iterable(versions.values())))
    return {
        "command": results.get("command"),
        "recipe": [[name, _plain(value)] for name, value in results["recipe"].items()],
        "version_names": list(versions),
        "versions": [[package, *(found.get(package, "") for found in versions.values())] for package in packages],
        "tone": TONES[results["verdict"]],
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
