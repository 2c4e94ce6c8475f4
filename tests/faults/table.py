"""`python -m tests.faults.table`: writes the table of planted faults into docs/parity.md."""

import re
from pathlib import Path

from compare.causes.signatures import UNKNOWN
from compare.ladder.rung import RUNGS
from tests.faults.zoo_unseen import FILES, ZOO

DOCUMENT = Path(__file__).parents[2] / "docs" / "parity.md"


def table() -> str:
    """The faults by rung; each cause is the part of the ladder's words that `test_faults.py` asks for."""
    lines = [
        f"{len(ZOO)} faults, each planted in a network in plain NumPy (`tests/faults/`: {', '.join(FILES)}):",
        "",
        "| fault | first rung to fail | the cause it names |",
        "| --- | --- | --- |",
    ]
    for rung in RUNGS:
        for name, fault in ZOO.items():
            if fault.rung == rung:
                words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
                cause = "*that nothing in its catalogue fits*" if fault.cause == UNKNOWN else f"… {fault.cause} …"
                lines.append(f"| {words} | `{rung}` | {cause} |".replace("|g|", "\\|g\\|"))
    return "\n".join(lines) + "\n"


def between_marks(text: str, name: str, content: str) -> str:
    """The document with this between the marks of this name."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + content + end + after


def with_table(text: str) -> str:
    """The document with the table of faults."""
    return between_marks(text, "faults", table())


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
