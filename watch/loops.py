"""The loops around a line of a script, from its source: how many epochs are planned."""

import ast
from functools import cache
from types import FrameType
from typing import Any

from watch.places import Places

_PLAIN = (
    ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Attribute, ast.BinOp, ast.operator, ast.UnaryOp,
    ast.unaryop, ast.Subscript,
)  # fmt: skip


def enclosing_loops(frame: FrameType | None, places: Places) -> dict[str, Any]:
    """The loops around the line that runs, the outermost first, and the number of epochs if it is told.

    Returns:
        `value`: how often the outermost loop over a range goes round, None where there is none; `how`: "for loop";
        `loops`: of each its `count`, None where it is unknown, its `kind` and `place`.
    """
    frames = []
    while frame is not None:
        if places.file(frame.f_code) is not None:
            frames.append(frame)
        frame = frame.f_back
    loops = [loop for found in reversed(frames) for loop in _around(found, places)]
    counted = next((loop for loop in loops if loop["count"] is not None), None)
    value = None if counted is None else counted["count"]
    return {"value": value, "how": None if counted is None else "for loop", "loops": loops}


def _around(frame: FrameType, places: Places) -> list[dict[str, Any]]:
    import linecache

    filename = frame.f_code.co_filename
    tree = _tree("".join(linecache.getlines(filename)))
    found = []
    for node in ast.walk(tree) if tree else []:
        if not isinstance(node, ast.For | ast.While):
            continue
        inside = node.body[0].lineno <= frame.f_lineno <= (node.body[-1].end_lineno or 0)
        if inside and frame.f_code.co_firstlineno <= node.lineno:
            count = _count(node.iter, frame) if isinstance(node, ast.For) else None
            place = places.of_line(filename, node.lineno)
            found.append({"kind": "for" if isinstance(node, ast.For) else "while", "count": count, "place": place})
    return sorted(found, key=lambda loop: loop["place"]["line"])


@cache
def _tree(source: str) -> ast.AST | None:
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def _count(iterated: ast.expr, frame: FrameType) -> int | None:
    """How often a loop over `range`, `trange` or `tqdm(range(...))` goes round; None of anything else."""
    if not isinstance(iterated, ast.Call):
        return None
    name = iterated.func.id if isinstance(iterated.func, ast.Name) else getattr(iterated.func, "attr", "")
    if name in {"tqdm", "enumerate", "track"} and iterated.args:
        return _count(iterated.args[0], frame)
    if name not in {"range", "trange"}:
        return None
    values = []
    for argument in iterated.args:
        expression = ast.Expression(argument)
        if not all(isinstance(part, _PLAIN) for part in ast.walk(expression)):
            return None
        try:
            values.append(eval(compile(expression, "", "eval"), frame.f_globals, frame.f_locals))  # noqa: S307 the user's
        except Exception:  # noqa: BLE001 whatever it raises, the number is not known
            return None
    try:
        return len(range(*values))
    except TypeError:
        return None
