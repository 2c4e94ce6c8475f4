"""Something to be done when a script imports a module, and only then."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from typing import Any


def after_import(name: str, act: Callable[[Any], None]) -> None:
    """Calls `act` with a module once it has been imported; at once if it has been already."""
    if name in sys.modules:
        act(sys.modules[name])
        return
    sys.meta_path.insert(0, _Finder(name, act))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as the others do, and acts after it has run."""

    def __init__(self, name: str, act: Callable[[Any], None]) -> None:
        self.name = name
        self.act = act

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The specification of the module, with a loader that acts afterwards."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            found = finder.find_spec(fullname, path, target)
            if found is not None and found.loader is not None:
                self._act_after(found.loader)
                return found
        return None

    def _act_after(self, loader: Any) -> None:
        run = loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            self.act(module)

        loader.exec_module = exec_module
