"""Tries every fault, or those that are named, and writes docs/reliability.md: `python -m tests.reliability.table`."""

import argparse
import importlib
import json
import platform
import re
import signal
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.reliability.experiment import EXPERIMENTS, Experiment, first_words

DOCUMENT = ROOT / "docs" / "reliability.md"
_FIGURES = re.compile(r"<!-- figures: (.*) -->")

HEAD = """# What goes wrong, and what then holds

Every fault below was made on purpose, so many times, by `python -m tests.reliability.table`, which writes this page;
`pytest -m zoo tests/reliability` tries the same and fails where a promise is not kept. A few tries of nearly every row
are among the tests that always run.
"""


def known(document: Path) -> dict[str, dict[str, Any]]:
    """The figures that a document holds, by experiment."""
    if not document.exists():
        return {}
    found = _FIGURES.search(document.read_text(encoding="utf-8"))
    figures: dict[str, dict[str, Any]] = json.loads(found[1]) if found else {}
    return {name: figure for name, figure in figures.items() if name in EXPERIMENTS}


def measured(name: str, n: int) -> dict[str, Any]:
    """How often a promise was kept, of n tries, and what was not."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as directory:
        begin = time.monotonic()
        try:
            failures = EXPERIMENTS[name].tries(Path(directory), n)
        except Exception as error:
            failures = [first_words(error)] * n
        return {"tried": n, "failed": min(n, len(failures)), "seconds": round(time.monotonic() - begin), "of": failures}


def row(one: Experiment, figure: dict[str, Any]) -> str:
    """A row of the table."""
    kept = figure["tried"] - figure["failed"]
    return f"| {one.fault} | {figure['tried']:,} | {kept:,} | {one.promise} |"


def text(figures: dict[str, dict[str, Any]]) -> str:
    """The document."""
    areas: dict[str, list[str]] = defaultdict(list)
    for name, one in EXPERIMENTS.items():
        if name in figures:
            areas[one.area].append(row(one, figures[name]))
    machine = f"{platform.system()}, {platform.machine()}, Python {platform.python_version()}"
    tables = [
        f"## {area}\n\n| fault | tried | kept | the promise |\n|---|---:|---:|---|\n" + "\n".join(rows) + "\n"
        for area, rows in areas.items()
    ]
    total = sum(figure["tried"] for figure in figures.values())
    kept = total - sum(figure["failed"] for figure in figures.values())
    numbers = {
        name: {key: figure[key] for key in ("tried", "failed", "seconds")} for name, figure in sorted(figures.items())
    }
    sentence = f"Of {total:,} tries, {kept:,} kept the promise ({machine}).\n"
    return "\n".join([HEAD, sentence, *tables, f"<!-- figures: {json.dumps(numbers)} -->\n"])


def main() -> None:
    """Tries what is asked for and writes the document, after each row, so that nothing is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="The experiments; all, if none is named.")
    parser.add_argument("--share", type=float, default=1.0, help="This share of the marked set's tries.")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, and by what it starts, if in the background
    for module in ("damaged_files", "hostile", "load", "options"):
        importlib.import_module(f"tests.reliability.{module}")
    figures = known(DOCUMENT)
    for name in options.names or EXPERIMENTS:
        one = EXPERIMENTS[name]
        fixed = one.few == one.many  # a list of cases, all of which are tried
        figures[name] = measured(name, one.many if fixed else max(1, round(one.many * options.share)))
        print(f"{name}: {figures[name]['failed']} of {figures[name]['tried']} failed, {figures[name]['seconds']} s")
        print("\n".join(f"  {line}" for line in figures[name]["of"][:20]), flush=True)
        DOCUMENT.write_text(text(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
