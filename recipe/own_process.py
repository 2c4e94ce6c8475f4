"""Starting a module of this project in a process of its own: never one of the same name in the working directory."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The directory that the project's packages are in."""


def own_command(module: str, *words: str | Path) -> tuple[str, ...]:
    """The command that runs a module of this project.

    Python's `-P` leaves the working directory out of the search for modules, which `-m` alone puts first: a
    `recipe.py` or `numpy.py` of the user's would be run in place of ours. It is no environment variable, which a
    user's own program would inherit that counts on its script's directory.
    """
    return (sys.executable, "-P", "-m", module, *map(str, words))


def search_path() -> str:
    """PYTHONPATH for a process that is started: this project's packages, then what the user's own names.

    An empty entry, as `PYTHONPATH=$PYTHONPATH:there` makes one, would be the working directory.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([str(ROOT), *filter(None, named)])
