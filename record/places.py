"""Where records are: each in a directory that begins with its implementation's name, anywhere under `runs/`."""

from pathlib import Path

from recipe.errors import RecordError
from record.files import read_json, read_recipe

RUNS = Path("runs")
"""Where runs are kept if no other directory is named, seen from where the user is."""


def record_name(implementation: str, key: str, *, trace: bool = False) -> str:
    """The name of a record's directory; `key` stands for all that determines the run."""
    return f"{implementation}{'-trace' if trace else ''}-{key}"


def newest_training(implementation: str, directory: Path = RUNS) -> Path:
    """The record of an implementation's newest finished training, anywhere under a directory.

    Raises:
        RecordError: There is none.
    """
    records = finished_trainings(implementation, directory)
    if not records:
        raise RecordError(
            f"there is no finished training of {implementation} under {directory}; "
            "train it with `mnist-compare run`, or name the directory where that was done"
        )
    return max(records, key=time_written)


def finished_trainings(implementation: str, directory: Path) -> list[Path]:
    """The records of an implementation's finished trainings, anywhere under a directory.

    The controls of a comparison are left out: of the records next to each other, those whose weights were perturbed
    more than the least.
    """
    perturbations: dict[Path, int] = {}
    for path in directory.rglob(f"{record_name(implementation, '*')}/weights.safetensors"):
        try:
            if read_json(path.parent, "training")["status"]["outcome"] == "finished":
                perturbations[path.parent] = read_recipe(path.parent).perturbation
        except (RecordError, KeyError, TypeError):
            continue  # somebody else's file, or of another version
    lowest: dict[Path, int] = {}
    for record, perturbation in perturbations.items():
        lowest[record.parent] = min(perturbation, lowest.get(record.parent, perturbation))
    return [record for record, perturbation in perturbations.items() if perturbation == lowest[record.parent]]


def time_written(record: Path) -> float:
    """When a training's record was written, in seconds since the epoch."""
    return (record / "weights.safetensors").stat().st_mtime
