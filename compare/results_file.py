"""results.json: written whole, read with every key checked."""

import json
import os
from pathlib import Path
from typing import Any, Literal

from recipe.errors import RUN_FAILED, RecordError
from record.files import json_safe

RESULTS = "results.json"

SCHEMA_VERSION = 1
"""Of results.json; `docs/results.md` is the specification."""

Verdict = Literal["parity", "not parity", "inconclusive", "failed"]

EXIT_CODES: dict[Verdict, int] = {"parity": 0, "not parity": 1, "inconclusive": 3, "failed": RUN_FAILED}

WORST_FIRST: tuple[Verdict, ...] = ("failed", "not parity", "inconclusive", "parity")


def write_results(results: dict[str, Any], directory: Path) -> Path:
    """Writes results.json, complete or not at all."""
    return write_whole(directory / RESULTS, json.dumps(json_safe(results), indent=2, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> Path:
    """Writes a file complete or not at all, beside others that may be writing it too; returns where."""
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_results(directory: Path) -> dict[str, Any]:
    """Reads results.json.

    Raises:
        RecordError: There is none, or it is no findings of this version.
    """
    path = directory / RESULTS
    try:
        results = json.loads(path.read_text())
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}; expected the directory of a comparison") from error
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        raise RecordError(f"{path} holds no findings of schema version {SCHEMA_VERSION}; run the comparison again")
    return results
