"""results.json: written completely or not at all, read with its version checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from recipe.atomic import complete_or_absent
from recipe.errors import RUN_FAILED, RecordError
from recipe.plain_file import read_text
from record.files import json_safe

RESULTS = "results.json"

SCHEMA_VERSION = 1
"""Of results.json; `docs/results.md` is the specification."""

Verdict = Literal["parity", "not parity", "inconclusive", "failed"]

EXIT_CODES: dict[Verdict, int] = {"parity": 0, "not parity": 1, "inconclusive": 3, "failed": RUN_FAILED}

WORST_FIRST: tuple[Verdict, ...] = ("failed", "not parity", "inconclusive", "parity")


def results_text(results: Mapping[str, Any]) -> str:
    """What results.json holds; numbers that JSON cannot say, NaN and the infinities, are null."""
    return json.dumps(json_safe(results), indent=2, allow_nan=False) + "\n"


def write_results(results: Mapping[str, Any], directory: Path) -> Path:
    """Writes results.json, complete or not at all; returns where.

    Raises:
        RecordError: It cannot be written.
    """
    path, text = directory / RESULTS, results_text(results)
    with complete_or_absent(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def read_results(directory: Path) -> dict[str, Any]:
    """Reads results.json.

    Raises:
        RecordError: There is none, or it is no findings of this version.
    """
    path = directory / RESULTS
    try:
        results = json.loads(read_text(path))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}; expected the directory of a comparison") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema_version") != SCHEMA_VERSION:
        raise RecordError(f"{path} holds no findings of schema version {SCHEMA_VERSION}; run the comparison again")
    return results
