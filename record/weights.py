"""Weights alone, in the canonical layout: a safetensors file next to the `recipe.json` of its network."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from command_line.one_line import OneLineErrors
from recipe.atomic import check_absent, check_writable, complete_or_absent
from recipe.errors import RecordError, errors_are_one_line
from recipe.initial_weights import Weights, weight_shapes
from recipe.recipe import Recipe
from record.files import check_finite, read_recipe, read_tensors
from record.tensors import write_tensors


def add_export_options(parser: argparse.ArgumentParser, formats: Any) -> None:
    """Adds what both implementations' `export` take; `formats` is the Literal of what one can write."""
    parser.add_argument("--record", type=Path, required=True, help="A record's directory, as compare leaves them.")
    parser.add_argument("--format", type=formats, required=True, help="What to write.")
    parser.add_argument("--out", type=Path, required=True, help="Where to write it; must not be there.")


def convert_main(implementation: str, description: str | None, convert: Callable[[Path, Path], None]) -> None:
    """The command line of `python -m IMPLEMENTATION.convert FROM TO`; bad input is one line and exit code 2."""
    parser = OneLineErrors(prog=f"python -m {implementation}.convert", description=description)
    add_convert_options(parser)
    with errors_are_one_line():
        run_convert(convert, parser.parse_args())


def add_convert_options(parser: argparse.ArgumentParser) -> None:
    """Adds what both implementations' `convert` take."""
    parser.add_argument("source", type=Path, metavar="FROM", help="What to read.")
    parser.add_argument("target", type=Path, metavar="TO", help="What to write; must not be there.")


def run_convert(convert: Callable[[Path, Path], None], options: argparse.Namespace) -> None:
    """Converts as the options say.

    Raises:
        RecordError: The target is there already, or what `convert` raises.
    """
    check_absent(options.target)
    convert(options.source, options.target)


def read_weights(path: Path) -> tuple[Recipe, Weights]:
    """Reads a safetensors file, as every training's record has one, and the recipe next to it.

    Raises:
        RecordError: One of the two is missing or damaged, or they do not belong together.
    """
    recipe = read_recipe(path.parent)
    return recipe, read_tensors(path.parent, path.name, weight_shapes(recipe), recipe.dtype)


def read_trained(record: Path) -> tuple[Recipe, Weights]:
    """Reads the network of a training's record.

    Raises:
        RecordError: It is a file, such as a checkpoint, or what `read_weights` raises.
    """
    if record.is_file():
        raise RecordError(
            f"{record} is a file, and export takes the directory of a record; of a checkpoint, "
            f"`mnist-compare convert {record} NEW/weights.safetensors` makes one: then --record NEW"
        )
    return read_weights(record / "weights.safetensors")


def write_weights(path: Path, recipe: Recipe, weights: Weights) -> None:
    """Writes a safetensors file and the recipe next to it.

    Raises:
        RecordError: A weight is no finite number, or of another type than the recipe says; the directory is not
            writable, or holds the recipe of something else.
    """
    for name, array in weights.items():
        check_finite(f"weights to convert: {name}", array)
        if array.dtype != recipe.dtype:
            raise RecordError(f"weights to convert: {name}: expected {recipe.dtype}, found {array.dtype}")
    write_recipe(path.parent, recipe)
    with complete_or_absent(path) as partial:
        write_tensors(partial, weights)


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
