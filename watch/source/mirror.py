"""A working directory in which a script finds its own files, and from which nothing gets back to them.

The folder of the script is mirrored under a temporary directory, at its own absolute path: real directories, copies of
the programs and of small files, symbolic links to the rest, so that relative paths and those made from `__file__` work
and what the script writes stays in the mirror. An audit hook parts a link from its file before Python writes to it.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

_PROGRAMS = (".py", ".ipynb")
_SMALL = 2**20  # bytes; larger files are linked
_COPIED = 2**26  # bytes in all
_ENTRIES = 4000  # a folder with more files than these, of images for one, is linked
_LEVELS_ABOVE = 3  # for paths that begin with ../
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_PATHS_CHANGED = {
    "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
    "os.chmod": 1, "os.utime": 1, "shutil.rmtree": 1,
}  # fmt: skip


class NotWrittenError(PermissionError):
    """A script would write into its own folder by a whole path, where nothing may be written."""


class Mirror:
    """The mirror of a script's folder.

    Args:
        script: The user's file, an absolute path.
        root: An empty directory.
        elsewhere: Another directory whose entries are to be found, where the script's folder has none of that name.
    """

    def __init__(self, script: Path, root: Path, elsewhere: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 resolve() would follow links
        self.folder = script.parent
        self._entries_left, self._bytes_left = _ENTRIES, _COPIED
        self._parting = False
        self.working_directory = self.of(self.folder)
        self.script = self.of(script)
        self._fill(self.folder, self.working_directory)
        for entry in sorted(os.listdir(elsewhere)) if elsewhere != self.folder else []:  # noqa: PTH208
            _link(elsewhere / entry, self.working_directory / entry)
        self._fill_above()
        if not self.script.exists():  # a folder with very many entries
            shutil.copyfile(script, self.script)

    def of(self, path: Path) -> Path:
        """Where a path of the user's is in the mirror."""
        return self.root / str(path).lstrip(os.sep)

    def original(self, path: str) -> str | None:
        """The user's path of one in the mirror; None of one elsewhere."""
        prefix = f"{self.root}{os.sep}"
        return os.sep + path[len(prefix) :] if path.startswith(prefix) else None

    def protect(self) -> None:
        """From now on nothing that this process opens for writing is a file of the user's."""
        sys.addaudithook(self._audit)

    def part(self, path: Any) -> None:
        """Makes sure that writing to a path changes none of the user's files; for libraries that open files in C.

        Raises:
            NotWrittenError: The path is in the script's own folder.
        """
        if self._parting or not isinstance(path, str | bytes | os.PathLike):
            return
        whole = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100
        if whole.is_relative_to(self.root):
            self._parting = True
            try:
                self._part_links(whole)
            finally:
                self._parting = False
        elif whole.is_relative_to(self.folder):
            first = (*whole.relative_to(self.folder).parts, "")[0]
            if not first.startswith("."):  # the folder may be the home directory, with the caches of libraries
                raise NotWrittenError(f"not written, since nothing may be written beside the script: {whole}")

    def _fill(self, source: Path, target: Path) -> None:
        """Mirrors one directory and those in it."""
        target.mkdir(parents=True, exist_ok=True)
        with os.scandir(source) as found:
            entries = sorted(found, key=lambda entry: (entry.is_dir(), entry.name))
        self._entries_left -= len(entries)
        for entry in entries:
            place = target / entry.name
            hidden = entry.name.startswith(".") or entry.name in {"node_modules", "site-packages", "__pycache__"}
            if Path(entry.path) == self.root or self.root.is_relative_to(entry.path):
                continue
            if entry.is_dir() and not entry.is_symlink() and not hidden and self._room(entry.path):
                self._fill(Path(entry.path), place)
            elif entry.is_file() and self._copied(entry):
                shutil.copyfile(entry.path, place)
            else:
                _link(Path(entry.path), place)

    def _room(self, directory: str) -> bool:
        with os.scandir(directory) as entries:
            return sum(1 for _ in zip(entries, range(self._entries_left + 1), strict=False)) <= self._entries_left

    def _copied(self, entry: "os.DirEntry[str]") -> bool:
        """Whether a file is to be copied: programs, so that `__file__` leads into the mirror, and small ones."""
        size = entry.stat().st_size
        if entry.name.endswith(_PROGRAMS) or (size <= _SMALL and size <= self._bytes_left):
            self._bytes_left -= size
            return os.access(entry.path, os.R_OK)
        return False

    def _fill_above(self) -> None:
        """Links what is beside the script's folder and above it, a few levels up."""
        for folder in list(self.folder.parents)[:_LEVELS_ABOVE]:
            if not os.access(folder, os.R_OK) or len(entries := os.listdir(folder)) > _ENTRIES:  # noqa: PTH208
                return
            for entry in entries:
                if not self.root.is_relative_to(folder / entry):
                    _link(folder / entry, self.of(folder) / entry)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str) and not set(mode) & set("wax+"):
                return
            if isinstance(mode, str) or (isinstance(flags, int) and flags & _WRITING):
                self.part(path)
        elif event in _PATHS_CHANGED:
            for path in arguments[: _PATHS_CHANGED[event]]:
                self.part(path)

    def _part_links(self, path: Path) -> None:
        """Replaces each link on the way to a path in the mirror by a directory of links, or by a copy of the file."""
        for step in [*reversed(path.parents), path]:
            if not step.is_relative_to(self.root) or not step.is_symlink():
                continue
            original = step.resolve()
            step.unlink()
            if original.is_dir():
                step.mkdir()
                for entry in os.listdir(original):  # noqa: PTH208
                    _link(original / entry, step / entry)
            elif original.exists():
                shutil.copyfile(original, step)


def _link(source: Path, target: Path) -> None:
    """A symbolic link, unless something is there."""
    if not target.exists() and not target.is_symlink():
        target.symlink_to(source)
