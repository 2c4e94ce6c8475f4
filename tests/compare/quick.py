"""Studies of quick.sh: implementations, what they were asked to do, and what they did."""

from pathlib import Path
from typing import Any

import numpy as np

from compare.run.implementations import Implementation
from record.files import CHECKSUMS
from record.training import Status
from tests.conftest import TINY, write_canned

SCRIPT = Path(__file__).with_name("quick.sh")
VARIANTS = ("aligned", "control", "adam")
RECIPE = ("--recipe.hidden_sizes", "[2]", "--recipe.batch_size", "30000", "--recipe.epochs", "2")


def can(directory: Path) -> Path:
    """A new directory with the records that quick.sh copies."""
    directory.mkdir()
    write_canned(directory / "record")
    empty: dict[str, Any] = {key: [] for key in ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")}
    losses = np.array([2, np.inf], np.float32)
    status = Status("diverged", 1, 2)
    write_canned(directory / "diverged", TINY, history=empty, test=None, status=status, step_losses=losses)
    for record in ("record", "diverged"):
        (directory / record / CHECKSUMS).unlink()  # quick.sh puts another recipe there
    return directory


def quick(
    name: str, canned: Path | str, mode: str = "good", seed: int | str = 0, seconds: float | str = 0
) -> Implementation:
    return Implementation(name, ("/bin/sh", str(SCRIPT), str(canned), mode, str(seed), str(seconds)))


def started(canned: Path) -> list[str]:
    """The run directories of all runs started so far."""
    path = canned / "started.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def living(canned: Path) -> list[int]:
    """The process ids of everything that goes on and has the directory in its command line."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(canned).encode() in words:
                found.append(int(process.name))
    return found
