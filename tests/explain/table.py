"""Runs the zoo, or a part of it, and writes what was said as a table: `python -m tests.explain.table --help`.

One line of JSON for each pair or fault is added to a file as soon as it is known, and what is there is not run again.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recipe.errors import ParityError
from tests.explain.faults import FAULTS, Fault
from tests.explain.zoo import PAIR_NAMES, answer

NEWLINE = "\n"
BY_NAME = {fault.name: fault for fault in FAULTS}


def read(results: Path) -> dict[str, dict[str, Any]]:
    """The lines that are known, by the name of their pair or fault."""
    if not results.exists():
        return {}
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {line["name"]: line for line in lines}


def run(name: str) -> dict[str, Any]:
    """A line: what is said of a clean pair or of a fault."""
    fault = BY_NAME.get(name)
    with tempfile.TemporaryDirectory(prefix="zoo-") as directory:
        try:
            said = answer(name if fault is None else fault.pair, Path(directory), fault).to_dict()
        except ParityError as error:
            said = {"verdict": "failed", "named": [], "others": [], "error": f"{type(error).__name__}: {error}"}
    return {**said, "name": name}


def right(line: dict[str, Any]) -> bool:
    """Whether a clean pair is the same, and a fault is named."""
    return bool(line["named"]) if line["name"] in BY_NAME else line["verdict"] == "same"


def of_pair(pair: str, line: dict[str, Any]) -> str:
    """The row of a clean pair."""
    said = "; ".join(line["others"]) or line.get("error", "").split("\n")[0]
    return row(f"`{pair}`", line["verdict"], said, "<br>".join(line.get("inherent", [])))


def of_fault(fault: Fault, line: dict[str, Any]) -> str:
    """The row of a fault."""
    said = "<br>".join(line["named"]) or "**not named** " + line.get("error", "").split("\n")[0]
    return row(f"`{fault.pair}`", fault.name, said, "<br>".join(line["others"]))


def row(*cells: str) -> str:
    """A row of a table, in which a bar is no border."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def document(known: dict[str, dict[str, Any]]) -> str:
    """The page as Markdown."""
    pairs = [name for name in PAIR_NAMES if name in known]
    faults = [fault for fault in FAULTS if fault.name in known]
    same = sum(right(known[pair]) for pair in pairs)
    named = sum(right(known[fault.name]) for fault in faults)
    alone = sum(right(known[fault.name]) and not known[fault.name]["others"] for fault in faults)
    left = len(FAULTS) - len(faults)
    not_run = f"- {left} more faults of the zoo were not run for this page.{NEWLINE}" if left else ""
    versions = ", ".join(f"{package} {version(package)}" for package in ("keras", "tensorflow", "torch", "lightning"))
    return f"""# How well does `explain` name a fault?

`mnist-compare explain` is held against a zoo, in `tests/explain/`:
{len(pairs)} pairs of scripts that do the same, written as people write them, and {len(faults)} faults,
each planted in one of them by changing a line or two. Its makers know these faults: the figures say what it has
learned, and not how it does with yours.

- **{same} of {len(pairs)}** clean pairs are the same to it.
- **{named} of {len(faults)}** faults are named with their place and their cause in one call.
- Beside {alone} of them it says nothing else.
{not_run}
One run of each, with {versions}:
`python -m tests.explain.table RESULTS pairs faults --document docs/explain-zoo.md`.

## Clean pairs

*Inherent* is what the frameworks cannot be brought to agree on.

| clean pair | verdict | false alarms | inherent |
|---|---|---|---|
{NEWLINE.join(of_pair(pair, known[pair]) for pair in pairs)}

## Faults

| pair | fault | named as | also said |
|---|---|---|---|
{NEWLINE.join(of_fault(fault, known[fault.name]) for fault in faults)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="The file of lines of JSON.")
    parser.add_argument("--document", type=Path, help="Where to write the tables as Markdown.")
    parser.add_argument("names", nargs="*", help="Pairs or faults; `pairs`, `faults` for all of them.")
    options = parser.parse_args(arguments)
    groups = {"pairs": PAIR_NAMES, "faults": tuple(BY_NAME)}
    known = read(options.results)
    for name in (member for given in options.names for member in groups.get(given, (given,))):
        if name in known:
            continue
        known[name] = run(name)
        with options.results.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(known[name]) + "\n")
        print("right" if right(known[name]) else "WRONG", json.dumps(known[name]), flush=True)
    if options.document is not None:
        options.document.write_text(document(known), encoding="utf-8")


if __name__ == "__main__":
    main()
