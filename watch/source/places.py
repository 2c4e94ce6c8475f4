"""Where in the user's own files something happens."""

import linecache
import os
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from watch.source.mirror import Mirror

Place = dict[str, Any]

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}", f"{os.sep}node_modules{os.sep}")
_PROJECT = str(Path(__file__).resolve().parents[2])


class Places:
    """Looks up frames of the user's own files, innermost first.

    Args:
        mirror: The mirror from which the script runs.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._names: dict[str, str | None] = {}

    def here(self, frame: FrameType | None = None) -> Place | None:
        """The innermost place in the user's own files, from the caller or from `frame` outwards."""
        found: FrameType | None = frame or sys._getframe(1)  # noqa: SLF001
        while found is not None:
            if self.file(found.f_code) is not None:
                return self.of_line(found.f_code.co_filename, found.f_lineno)
            found = found.f_back
        return None

    def file(self, code: CodeType) -> str | None:
        """The user's name of the file of some code; None if the file is none of the user's own."""
        name = code.co_filename
        if name not in self._names:
            self._names[name] = self._user_file(name)
        return self._names[name]

    def files(self) -> list[str]:
        """The paths of the user's own files whose code has been seen."""
        return [name for name, own in self._names.items() if own is not None]

    def making(self, name: str) -> Place | None:
        """The first line of the user's own files, as far as they have been seen, that calls a class by its name."""
        for path in self.files():
            for number, line in enumerate(linecache.getlines(path), 1):
                if f"{name}(" in line and not line.lstrip().startswith(("#", "class ", "def ")):
                    return self.of_line(path, number)
        return None

    def of_line(self, filename: str, line: int) -> Place:
        """The place of a line of a file of the user's."""
        name = self._names.get(filename) or self._user_file(filename) or filename
        place: Place = {"file": name, "line": line, "code": linecache.getline(filename, line).strip()}
        if "#cell" in name:
            place["file"], cell = name.split("#cell")
            place["cell"] = int(cell)
        return place

    def _user_file(self, name: str) -> str | None:
        path = self._mirror.original(name) or name
        folder = f"{self._mirror.folder}{os.sep}"
        if name == path and (not path.startswith(folder) or self._of_project(path)):
            return None
        if any(part in path for part in _INSTALLED):
            return None
        return path.removeprefix(folder)

    @staticmethod
    def _of_project(path: str) -> bool:
        return path.startswith((f"{_PROJECT}{os.sep}watch{os.sep}", f"{_PROJECT}{os.sep}recipe{os.sep}"))
