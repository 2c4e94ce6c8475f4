"""Documents whose numbers come from a file: blocks between `<!-- figures:begin NAME -->` and `<!-- figures:end -->`."""

import re
from collections.abc import Callable, Iterable
from typing import Any

BLOCK = re.compile(r"(<!-- figures:begin (\w+) -->\n).*?(<!-- figures:end -->)", re.DOTALL)


def fill_blocks(text: str, block: Callable[[str], str]) -> str:
    """The document with every block rewritten; `block` gives its lines by its name."""
    return BLOCK.sub(lambda match: f"{match[1]}{block(match[2])}\n{match[3]}", text)


def table(header: str, alignment: str, rows: Iterable[Iterable[Any]]) -> str:
    """A table; the header's cells stand between bars, `alignment` has a letter a column, l or r."""
    rule = " | ".join({"l": "---", "r": "---:"}[letter] for letter in alignment)
    lines = [header, rule, *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)
