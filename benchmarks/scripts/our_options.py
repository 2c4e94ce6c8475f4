"""The options of the two scripts that time the project itself."""

import argparse
from typing import Any

from benchmarks.scripts.clock import options
from recipe import Recipe


def our_options(description: str | None) -> argparse.ArgumentParser:
    """The options of every script, and what the cost of an epoch grows with."""
    parser = options(description)
    parser.add_argument("--batch-size", type=int, default=Recipe.batch_size, help="images per optimizer step")
    parser.add_argument("--width", type=float, default=1, help="times the recipe's hidden sizes")
    return parser


def recipe_of(arguments: Any) -> Recipe:
    """The recipe that the options describe."""
    return Recipe(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        hidden_sizes=tuple(round(size * arguments.width) for size in Recipe.hidden_sizes),
    )
