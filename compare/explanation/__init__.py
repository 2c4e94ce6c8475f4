"""Finds out why a port differs from its reference, from the two programs as they are. No framework is imported here.

docs/explain-format.md has what the watchers write, and the plan that steers a program.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compare.explanation.findings import Explanation, Finding, Place
from recipe.errors import BadInputError

__all__ = ["Explanation", "Finding", "Place", "explain"]


def explain(
    reference: str | Path,
    port: str | Path,
    *,
    steps: int = 10,
    keep: Path | None = None,
    timeout: float = 300.0,
    inputs: Path | None = None,
    batch: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Explanation:
    """Runs two programs up to their first optimizer steps and says what they do differently.

    `compare.explain` calls this, describes its arguments and errors, and writes the files.
    """
    from compare.explanation.running.comparison import compare_programs
    from compare.explanation.running.program import program

    began = time.monotonic()
    first, second = program(str(reference)), program(str(port))
    if first.same_as(second):
        raise BadInputError(f"{first.given} is named twice; name the reference, then the port")
    if bool(first.attribute) != bool(second.attribute):
        raise BadInputError("either both programs are scripts that train, or both name a model as FILE.py:NAME")
    if steps < 1:
        raise BadInputError(f"steps must be at least 1, not {steps}")
    if inputs is not None and not inputs.is_file():
        raise BadInputError(f"there is no file {inputs}")
    options: dict[str, Any] = {"inputs": None if inputs is None else str(inputs.absolute()), "batch": batch}
    found = compare_programs(first, second, options, steps=steps, keep=keep, timeout=timeout, report=report)
    return Explanation(**found, seconds=time.monotonic() - began)
