"""`python -m benchmarks.figures.differences`: writes `docs/differences/`, a page an area, from the catalogue."""

from itertools import groupby
from pathlib import Path

from benchmarks.figures.blocks import table
from compare.report.differences_table import FRAMEWORKS, facts, snippet
from differences import CATALOGUE, Difference
from differences.entry import VERSIONS

DIRECTORY = Path("docs/differences")

INTRODUCTION = f"""\
# Every known difference between Keras 3 and PyTorch

{{count}} differences, each once, by area. Search this page for the layer, optimizer, loss or argument you use. Each
link leads to how to see the difference, what it costs, how to make both alike in at most two lines, and where it is in
the sources of Keras {VERSIONS["keras"]} and torch {VERSIONS["torch"]}.

    python -m compare differences              # this table
    python -m compare differences momentum     # those that mention a word
    python -m compare differences gru-gate-order   # one, with its proof

Each entry has two snippets, one for each framework, which `tests/differences/` runs in float64 on the same inputs: as
they come they give the numbers stated below them; with the mend they agree to 1e-12, or up to what the entry says
stays. Keras runs on TensorFlow unless an entry says otherwise. "Not measured" means that nobody has trained networks to
see what it costs; [framework-differences.md](../framework-differences.md) has what the defaults cost one network over
20 seeds. Written by `python -m benchmarks.figures.differences` from `differences/`.
"""


def pages() -> dict[str, str]:
    """The text of every page by its file's name."""
    written = {"README.md": readme()}
    for area, entries in groupby(CATALOGUE, key=lambda entry: entry.area):
        sections = "\n".join(section(entry) for entry in entries)
        back = "What Keras 3 and PyTorch do differently, from [the table of all differences](README.md)."
        written[f"{area}.md"] = f"# {area.capitalize()}\n\n{back}\n\n{sections}"
    return written


def readme() -> str:
    """The table of all entries."""
    rows = [
        (
            f"[{entry.title}]({entry.area}.md#{entry.name}) `{entry.name}`",
            *map(_cell, (entry.keras, entry.torch, entry.matters)),
        )
        for entry in CATALOGUE
    ]
    return (
        INTRODUCTION.format(count=len(CATALOGUE))
        + "\n"
        + table("Difference | Keras | torch | Does it matter?", "llll", rows)
        + "\n"
    )


def section(entry: Difference) -> str:
    """All that an entry says, with its snippets."""
    lines = facts(entry)
    for framework, title in FRAMEWORKS.items():
        if mend := entry.mend(framework):
            lines[f"Alike, {title}"] = "<br>".join(map(_code, mend))
        place = entry.keras_place if framework == "keras" else entry.torch_place
        where = _code(place.file) + (f", {_code(place.definition)}" if place.definition else "")
        lines[f"{title}'s source"] = f"{where}: {_code(place.says)}"
    rows = [
        (title, text if title.startswith("Alike") or "source" in title else _cell(text))
        for title, text in lines.items()
    ]
    code = "\n".join(f"```python\n{snippet(entry, framework)}\n```" for framework in FRAMEWORKS)
    return f"## {entry.name}\n\n{entry.title}\n\n{table(' | ', 'll', rows)}\n\n{code}\n"


def _code(text: str) -> str:
    """Code in a cell; two backticks where it has one itself."""
    quote = "``" if "`" in text else "`"
    return f"{quote}{_cell(text)}{quote}"


def _cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Writes all pages and removes those of areas that are gone."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    written = pages()
    for path in DIRECTORY.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    main()
