"""Keeps the other frameworks out of a process: two of them in one have crashed and hung."""

import sys
from collections.abc import Collection
from typing import Any


def hide(frameworks: Collection[str]) -> None:
    """Makes these packages look as if they were not installed, to whatever imports or looks for them from now on."""
    sys.meta_path[:] = [_Without(finder, frameworks) for finder in sys.meta_path]


class _Without:
    """A finder of modules that does not find these, as if they were not installed.

    A None in `sys.modules` would do as well, but for scipy, which takes it for the module.
    """

    def __init__(self, finder: Any, names: Collection[str]) -> None:
        self.finder = finder
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The specification of a module, None of those that are to be left out."""
        return None if name.partition(".")[0] in self.names else self.finder.find_spec(name, path, target)

    def __getattr__(self, attribute: str) -> Any:
        """Everything else is the finder's: importlib.metadata looks for distributions through it."""
        return getattr(self.finder, attribute)
