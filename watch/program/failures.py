"""How a script failed: in one line, at which place, and whether it was the script or what watches it."""

import linecache
import re
import traceback
from pathlib import Path
from typing import Any

from watch.source.mirror import NotWrittenError
from watch.source.places import Place, Places

_HERE = str(Path(__file__).resolve().parents[1])
_TRACEBACK_LINES = 8
_FRAMEWORKS = ("keras", "tensorflow", "torch", "torchvision", "lightning", "pytorch_lightning", "jax", "optree")
# A line that passes on what the script called, to the function that it meant or to its own code.
_PASSES_ON = re.compile(r"\*args|\*\*\w|\*_?more|super\(\)|\bexec\(|(?<!\.)\b_?original\(|(?<!\.)\bfunc\(")


def one_line(error: BaseException) -> str:
    """An exception in one line, as Python's last line of a traceback has it."""
    if isinstance(error, EOFError) and "reading a line" in str(error):
        return "the script reads from standard input, which is empty here"
    return " ".join("".join(traceback.format_exception_only(error)).split())


def of_watcher(error: BaseException, places: Places) -> bool:
    """Whether the code that watches has failed, and not the script or a library that it uses.

    A watcher stands between the script and the libraries: its frames are in the traceback of nearly every error. The
    error is its own where nothing of the script or of a framework was called by its last frame, and the line there
    passes nothing on.
    """
    if isinstance(error, NotWrittenError):
        return False
    frames = list(traceback.walk_tb(error.__traceback__))
    ours = [i for i, (frame, _) in enumerate(frames) if frame.f_code.co_filename.startswith(_HERE)]
    if not ours:
        return False
    frame, line = frames[ours[-1]]
    for deeper, _ in frames[ours[-1] + 1 :]:
        package = str(deeper.f_globals.get("__name__", "")).partition(".")[0]
        if places.file(deeper.f_code) is not None or package in _FRAMEWORKS:
            return False
    return _PASSES_ON.search(linecache.getline(frame.f_code.co_filename, line)) is None


def lines(error: BaseException, *, whole: bool) -> list[str]:
    """The last lines of a traceback, without the frames of what watches unless the `whole` is asked for."""
    frames = [
        found for found in traceback.extract_tb(error.__traceback__) if whole or not found.filename.startswith(_HERE)
    ]
    text = "".join(traceback.format_list(frames) + traceback.format_exception_only(error))
    return text.splitlines()[-_TRACEBACK_LINES:]


def place_of(error: BaseException, places: Places) -> Place | None:
    """The innermost line of the user's own files in a traceback."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return places.of_line(error.filename, error.lineno)
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if places.file(frame.f_code) is not None:
            place = places.of_line(frame.f_code.co_filename, line)
    return place


def status(outcome: str, message: str, error: BaseException | None, places: Places) -> dict[str, Any]:
    """What observed.json says of how a script ended."""
    found: dict[str, Any] = {"outcome": outcome, "message": message, "traceback": [], "place": None}
    if error is not None:
        found["traceback"] = lines(error, whole=outcome == "watcher_failed")
        found["place"] = place_of(error, places)
    return found
