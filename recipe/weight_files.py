"""Weights alone, in the canonical layout: a safetensors file with the `recipe.json` of its network beside it."""

import argparse
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from recipe.initial_weights import Weights, weight_shapes
from recipe.record_files import RecordError, check_writable, on_disk, read_recipe, read_tensors
from recipe.settings import Recipe
from recipe.worker import bad_input_is_one_line


def add_export_options(parser: argparse.ArgumentParser, formats: Any) -> None:
    """Adds what both implementations' `export` take; `formats` is the Literal of what one can write."""
    parser.add_argument("--record", type=Path, required=True, help="a record's directory, as compare leaves them")
    parser.add_argument("--format", type=formats, required=True, help="what to write")
    parser.add_argument("--out", type=Path, required=True, help="where to write it; must not be there")


def convert_main(implementation: str, description: str | None, convert: Callable[[Path, Path], None]) -> None:
    """The command line of `python -m IMPLEMENTATION.convert FROM TO`.

    Bad input is one line on standard error and exit code 2, a target that is there already included.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {implementation}.convert", description=description)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    with bad_input_is_one_line():
        check_absent(options.target)
        convert(options.source, options.target)


def read_weights(path: Path) -> tuple[Recipe, Weights]:
    """Reads a safetensors file, as every training's record has one, and the recipe beside it.

    Raises:
        RecordError: One of the two is missing or damaged, or they do not belong together.
    """
    recipe = read_recipe(path.parent)
    return recipe, read_tensors(path.parent, path.name, weight_shapes(recipe), recipe.dtype)


def write_weights(path: Path, recipe: Recipe, weights: Weights) -> None:
    """Writes a safetensors file and the recipe beside it.

    Raises:
        RecordError: The directory is not writable, or holds the recipe of something else.
    """
    write_recipe(path.parent, recipe)
    with complete_or_absent(path) as partial:
        save_file({name: np.asarray(array, order="C") for name, array in weights.items()}, partial)


def write_recipe(directory: Path, recipe: Recipe) -> None:
    """Writes `recipe.json`, unless the very same is there.

    Raises:
        RecordError: The directory is not writable, or holds another recipe.
    """
    check_writable(directory)
    path = directory / "recipe.json"
    if not path.exists():
        with complete_or_absent(path) as partial:
            partial.write_text(recipe.to_json())
    elif read_recipe(directory) != recipe:
        raise RecordError(f"{path} is of something else; choose another directory")


def single_precision(recipe: Recipe, weights: Weights) -> tuple[Recipe, Weights]:
    """The same network in float32, its weights rounded where they were float64."""
    rounded = {name: array.astype(np.float32) for name, array in weights.items()}
    return dataclasses.replace(recipe, dtype="float32"), rounded


def check_absent(path: Path) -> None:
    """Refuses to write where something is.

    Raises:
        RecordError: There is a file or directory, or the directory around it is not writable.
    """
    if path.exists():
        raise RecordError(f"{path} is there already; delete it, or choose another name")
    check_writable(path.parent)


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """A place beside `path` for a file or a directory, with the same ending, that is renamed after the block.

    It is the same place each time, so that what a killed process left there is overwritten. A file is on
    the disk before it is renamed: a quota or a file system over a network may tell only then that it is full.

    Raises:
        RecordError: It cannot be written, on a full disk for one; what was at `path` is as it was.
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        if partial.is_file():
            on_disk(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RecordError(
            f"cannot write {path}: {reason}; what was there before is untouched: make room, or choose another place"
        ) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
