"""The catalogue of differences in the terminal: a table of those that match a word, or one entry as a whole."""

from rich import box
from rich.console import Console
from rich.table import Table

from differences import CATALOGUE, Difference, search
from differences.entry import Framework
from recipe.errors import BadInputError

FRAMEWORKS: dict[Framework, str] = {"keras": "Keras", "torch": "torch"}


def show_differences(word: str, console: Console) -> None:
    """Prints the entry of this name, or else a table of all that mention the word; all of them where it is empty.

    Raises:
        BadInputError: Nothing mentions it.
    """
    entries = search(word)
    if not entries:
        areas = ", ".join(dict.fromkeys(entry.area for entry in CATALOGUE))
        raise BadInputError(
            f"none of the {len(CATALOGUE)} differences mentions {word!r}; try part of a word, or an area: {areas}"
        )
    if exact := [entry for entry in entries if entry.name == word]:
        show_entry(exact[0], console)
    else:
        console.print(differences_table(entries))
        console.print(
            f"{len(entries)} of {len(CATALOGUE)}; mnist-compare differences NAME shows one with its mend and proof",
            soft_wrap=True,
        )


def differences_table(entries: tuple[Difference, ...]) -> Table:
    """One row an entry: its name, what each framework does, and whether it matters."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("Difference", "Keras", "torch", "Does it matter?"):
        table.add_column(title, ratio=1, overflow="fold")
    for entry in entries:
        name = f"{entry.title}\n[dim]{entry.name}[/dim]"
        table.add_row(name, *map(_plain, (entry.keras, entry.torch, entry.matters)))
    return table


def show_entry(entry: Difference, console: Console) -> None:
    """Prints all that an entry says, and its snippets with what they give."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in facts(entry).items():
        table.add_row(title, _plain(text))
    console.print(f"{entry.name}: {entry.title}", markup=False, highlight=False)
    console.print(table)
    for framework in FRAMEWORKS:
        console.print(f"\n{snippet(entry, framework)}", markup=False, highlight=False, soft_wrap=True)


def facts(entry: Difference) -> dict[str, str]:
    """What an entry says, by the title of each line; what it leaves open is left out."""
    lines = {
        "Keras": entry.keras,
        "torch": entry.torch,
        "How to see it": entry.seen,
        "Does it matter?": entry.matters,
        "Cost": entry.cost,
        "Alike, Keras": "\n".join(entry.mend("keras")),
        "Alike, torch": "\n".join(entry.mend("torch")),
        "What stays": entry.inherent or "nothing",
        "Since": entry.since_when,
        "Not run": entry.not_run,
        "Backend": "" if entry.backend == "tensorflow" else f"Keras on {entry.backend}",
        "Keras's source": f"{entry.keras_place.file}, {entry.keras_place.definition or 'the file'}",
        "torch's source": f"{entry.torch_place.file}, {entry.torch_place.definition or 'the file'}",
    }
    return {title: text for title, text in lines.items() if text}


def snippet(entry: Difference, framework: Framework) -> str:
    """A framework's snippet as it comes, after the lines that both have, with what it gives as a comment."""
    gives = entry.keras_gives if framework == "keras" else entry.torch_gives
    code = "\n".join(part for part in (entry.given, entry.code(framework)) if part)
    return f"{code}\n# {FRAMEWORKS[framework]}: {gives}"


def _plain(text: str) -> str:
    """Brackets of code are no markup for rich."""
    return text.replace("[", r"\[").replace("`", "")
