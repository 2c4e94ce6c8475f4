"""Trained weights from one framework's file to the other's, by way of the canonical layout, bit for bit."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from compare.run.process import check_ended_well, environment
from recipe.errors import BadInputError
from recipe.own_process import own_command

CANONICAL = ".safetensors"
ENDINGS = {".ckpt": "lightning_impl", ".keras": "keras_impl", ".weights.h5": "keras_impl"}
"""The endings of files, and the implementation that reads and writes them."""


def convert(source: Path, target: Path) -> None:
    """Writes the weights of `source` to `target`; the endings of the names say what they are.

    A Lightning checkpoint holds its recipe, any other file has it in `recipe.json`, in the same directory.

    Raises:
        BadInputError: An ending is unknown, the source cannot be read, or the target is there already.
        RunFailedError: An implementation ended with an error of its own.
    """
    reader, writer = _implementation(source), _implementation(target)
    if reader is None and writer is None:
        raise BadInputError(f"{source} and {target} are both canonical weights: copy the file")
    with TemporaryDirectory() as directory:
        canonical = Path(directory) / f"weights{CANONICAL}"
        if reader:
            _start(reader, source, canonical if writer else target)
        if writer:
            _start(writer, canonical if reader else source, target)


def _implementation(path: Path) -> str | None:
    """The implementation that a file belongs to; None for canonical weights."""
    for ending, implementation in ENDINGS.items():
        if path.name.endswith(ending):
            return implementation
    if path.suffix != CANONICAL:
        raise BadInputError(f"{path}: the name must end in one of {', '.join((CANONICAL, *ENDINGS))}")
    return None


def _start(implementation: str, source: Path, target: Path) -> None:
    command = own_command(f"{implementation}.convert", source, target)
    process = subprocess.run(command, env=environment(threads=1), capture_output=True, text=True, check=False)
    check_ended_well(implementation, process.returncode, process.stderr)
