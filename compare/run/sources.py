"""The files of code that a command runs, as far as they can be told without running it."""

import contextlib
import os
from collections.abc import Sequence
from importlib.machinery import PathFinder
from itertools import pairwise
from modulefinder import Module, ModuleFinder
from pathlib import Path
from typing import Any

_NO_PYTHON = (ImportError, OSError, SyntaxError, ValueError)
"""What reading a program raises whose run will say what is wrong with it."""


def sources(command: Sequence[str]) -> list[Path]:
    """The files that a command names, and what a Python script or `-m` module imports from its own directory.

    Imports are read, not run (`modulefinder` of the standard library): what a program loads by a name that it
    computes, or from another directory, is not found.
    """
    named = {Path(word) for word in command if os.path.isfile(word)}  # noqa: PTH113 - a word too long is no file
    modules = [name for flag, name in pairwise(command) if flag == "-m"]
    imported = [_of_script(path) for path in named if path.suffix == ".py"] + [_of_module(name) for name in modules]
    return sorted(named.union(*imported))


class _Finder(ModuleFinder):
    """Takes a directory without `__init__.py` for a package, too, as Python does."""

    def determine_parent(self, caller: Any, level: int = -1) -> Any:
        """A script belongs to no package: what it imports from one may be next to it, for where that import fails."""
        try:
            return super().determine_parent(caller, level)
        except ImportError:
            return caller

    def import_module(self, partname: str, fqname: str, parent: Any) -> Module | None:
        path = parent.__path__ if parent else self.path
        spec = None if path is None else PathFinder.find_spec(partname, path)
        if spec is None or spec.origin is not None or fqname in self.modules:
            return super().import_module(partname, fqname, parent)
        module: Any = self.add_module(fqname)
        module.__path__ = list(spec.submodule_search_locations or [])
        return module


def _of_script(path: Path) -> set[Path]:
    finder = _Finder(path=[str(path.parent)])
    with contextlib.suppress(*_NO_PYTHON):
        finder.run_script(str(path))
    return _files(finder)


def _of_module(name: str) -> set[Path]:
    """The same of a module, where it is in the working directory."""
    main = ".__main__" if Path(*name.split(".")).is_dir() else ""
    finder = _Finder(path=[str(Path.cwd())])
    with contextlib.suppress(*_NO_PYTHON):
        finder.import_hook(name + main)
    return _files(finder)


def _files(finder: ModuleFinder) -> set[Path]:
    modules: list[Any] = list(finder.modules.values())
    return {Path(module.__file__) for module in modules if module.__file__}
