"""The cells of a notebook, as a program."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

_COMMAND = re.compile(r"^(\s*)[%!].*$|^(\s*)\S.*\?$")
_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun")


def cells(path: Path) -> Iterator[tuple[int, str]]:
    """The code of each cell, numbered from 1 over all cells, without what only IPython understands.

    A line with a command (`%matplotlib inline`, `!pip install`, `help?`) is replaced by `pass`, so that lines keep
    their numbers; a cell in another language (`%%bash`) is left out.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(document.get("cells", []), start=1):
        source = cell.get("source", "")
        text = source if isinstance(source, str) else "".join(source)
        if cell.get("cell_type") != "code" or not text.strip():
            continue
        if text.lstrip().startswith("%%"):
            if not text.lstrip().startswith(_PYTHON_CELLS):
                continue
            text = re.sub(r"%%.*", "pass", text, count=1)
        lines = [_COMMAND.sub(lambda found: f"{found[1] or found[2] or ''}pass", line) for line in text.split("\n")]
        yield number, "\n".join(lines)
