"""`compare classify`: what both trained networks make of a picture, side by side."""

import json
import subprocess
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from compare.run.process import check_ended_well, environment
from pictures.classify import bar_line, check_takes_pictures, drawing, shown_paths, write_image
from pictures.prepare import read_picture
from recipe.errors import RecordError
from recipe.own_process import own_command
from record.files import read_recipe
from record.places import RUNS, finished_trainings, newest_training, time_written

IMPLEMENTATIONS = ["keras", "lightning"]

_BAR_LENGTH = 20


def show_classifications(pictures: list[Path], comparison: Path | None, *, show: bool) -> None:
    """Prints a table for each picture, from the trainings of one comparison, by default the newest.

    Raises:
        PictureError: A picture cannot be used; no framework has been started then.
        RecordError: There is no comparison with a finished training of both, or its networks are for other images.
        RunFailedError: An implementation ended with an error of its own.
    """
    images = [read_picture(path) for path in pictures]
    shown = shown_paths(pictures) if show else {}
    comparison = comparison or _newest_comparison()
    records = {name: newest_training(name, comparison) for name in IMPLEMENTATIONS}
    for record in records.values():
        check_takes_pictures(read_recipe(record), record)
    probabilities = _ask(pictures, records)
    console = Console()
    console.print(f"Trained in {comparison}", soft_wrap=True, markup=False, highlight=False)
    for index, (path, image) in enumerate(zip(pictures, images, strict=True)):
        if path in shown:
            console.print(drawing(image), soft_wrap=True, markup=False, highlight=False)
            write_image(image, shown[path])
            console.print(f"written to {shown[path]}", soft_wrap=True, markup=False, highlight=False)
        console.print(str(path), soft_wrap=True, markup=False, highlight=False)
        console.print(prediction_table({name: rows[index] for name, rows in probabilities.items()}))


def _newest_comparison() -> Path:
    """The directory under `RUNS` that has a finished training of each, and the newest of the reference.

    Raises:
        RecordError: There is none.
    """
    newest: dict[Path, float] = {}
    for directory in RUNS.glob("*"):
        reference, *others = (finished_trainings(name, directory) for name in IMPLEMENTATIONS)
        if reference and all(others):
            newest[directory] = max(map(time_written, reference))
    if not newest:
        raise RecordError(
            f"there is no finished comparison under {RUNS}; make one with `mnist-compare run`, or name one with --from"
        )
    return max(newest, key=newest.__getitem__)


def prediction_table(probabilities: dict[str, list[float]]) -> Table:
    """One row per class, one column per implementation, with its choice in the column's title."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    choices = {name: max(range(len(row)), key=row.__getitem__) for name, row in probabilities.items()}
    for name, choice in choices.items():
        table.add_column(f"{name.capitalize()}: {choice}", min_width=len("100.00% ") + _BAR_LENGTH)
    for digit in range(len(next(iter(probabilities.values())))):
        style = "bold" if digit in choices.values() else ""
        table.add_row(str(digit), *(bar_line(row[digit], _BAR_LENGTH) for row in probabilities.values()), style=style)
    return table


def _ask(pictures: list[Path], records: dict[str, Path]) -> dict[str, list[list[float]]]:
    """Starts `classify` of every implementation at once: the class probabilities (pictures, classes) of each."""
    processes = {
        name: subprocess.Popen(
            own_command(f"{name}_impl", "classify", "--json", "--weights", record, "--", *pictures),
            env=environment(threads=1),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, record in records.items()
    }
    outputs = {name: process.communicate() for name, process in processes.items()}
    for name, (_, errors) in outputs.items():
        check_ended_well(name, processes[name].returncode, errors)
    return {name: json.loads(output.splitlines()[-1]) for name, (output, _) in outputs.items()}
