"""The loops around a line of a script, from its source: how many epochs are planned, and what is called in them."""

import ast
import re
import sys
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import FrameType
from typing import Any

from watch.source.places import Places

_PLAIN = (
    ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Attribute, ast.BinOp, ast.operator, ast.UnaryOp,
    ast.unaryop, ast.Subscript,
)  # fmt: skip


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

_OF_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
"""What the code of a comprehension is called that has a frame of its own."""

Loop = ast.For | ast.While | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
"""A statement that goes round, or a comprehension."""


Line = tuple[str, int]
"""A file's name and the number of a line."""


def lines_of(frame: FrameType | None, places: Places) -> list[Line]:
    """The lines of the user's own code that are under way, the innermost first."""
    return [(found.f_code.co_filename, found.f_lineno) for found in user_frames(frame, places)]


def enclosing_loops(frame: FrameType | None, places: Places, made: Sequence[Line] = ()) -> dict[str, Any]:
    """The loops around the line that runs, the outermost first, and the number of epochs if it is told.

    Args:
        frame: Where a script is, at an optimizer step.
        places: Which frames are the user's own.
        made: The lines that were under way when the optimizer was made. A loop around one of them, over folds for one,
            begins another training in each round, and is left out.

    Returns:
        `value`: how often the outermost loop over a range goes round, None where there is none; `how`: "for loop";
        `loops`: of each its `count`, None where it is unknown, its `kind` and `place`.
    """
    frames = user_frames(frame, places)
    loops = [loop for found in reversed(frames) for loop in _around(found, places, made)]
    counted = next((loop for loop in loops if loop["count"] is not None), None)
    value = None if counted is None else counted["count"]
    return {"value": value, "how": None if counted is None else "for loop", "loops": loops}


def rounds_of_fit(frame: FrameType | None, places: Places) -> int | None:
    """How often the loops around a call of `fit` train the same model: 1 without any, None where that is not known.

    A loop that makes or compiles the model anew, as one over folds does, begins another training in each round.
    """
    user = next(iter(user_frames(frame, places)), None)
    if user is None:
        return 1
    rounds = 1
    for loop in reversed([node for node in loop_nodes(user) if isinstance(node, ast.For | ast.While)]):
        inside = [part for line in loop.body for part in ast.walk(line)]
        fits = [part for part in inside if isinstance(part, ast.Call) and _called(part) == "fit"]
        here = [part.func for part in fits if part.lineno <= user.f_lineno <= _end(part)]
        trained = {ast.unparse(func.value) for func in here if isinstance(func, ast.Attribute)}
        made = {ast.unparse(part) for part in inside if isinstance(getattr(part, "ctx", None), ast.Store)}
        if made & trained or any(isinstance(part, ast.Call) and _called(part) == "compile" for part in inside):
            return rounds
        count = _count(loop.iter, user) if isinstance(loop, ast.For) else None
        if count is None:
            return None
        rounds *= count
    return rounds


def counted_loop(frame: FrameType) -> ast.For | None:
    """The outermost loop around a frame's line that is known to go round a number of times."""
    return next((n for n in loop_nodes(frame) if isinstance(n, ast.For) and _count(n.iter, frame) is not None), None)


def user_frames(frame: FrameType | None, places: Places) -> list[FrameType]:
    """The frames of the user's own code, the innermost first."""
    frames = []
    while frame is not None:
        if places.file(frame.f_code) is not None:
            frames.append(frame)
        frame = frame.f_back
    return frames


def _around(frame: FrameType, places: Places, made: Sequence[Line]) -> list[dict[str, Any]]:
    found = []
    for node in loop_nodes(frame):
        if any(file == frame.f_code.co_filename and _within_lines(line, node) for file, line in made):
            continue
        iterated = _iterated(node)
        count = None if iterated is None else _count(iterated, frame)
        place = places.of_line(frame.f_code.co_filename, node.lineno)
        found.append({"kind": "while" if iterated is None else "for", "count": count, "place": place})
    return found


def loop_nodes(frame: FrameType) -> list[Loop]:
    """The loops around the line at which a frame is, the outermost first.

    A comprehension that has a frame of its own, as all have up to Python 3.11 and generators have later (PEP 709), is a
    loop around that frame's line, and not around that of the code it stands in.
    """
    own = frame.f_code.co_name in _OF_COMPREHENSIONS
    inlined = sys.version_info >= (3, 12)
    found = [
        node
        for node in ast.walk(tree_of(frame.f_code.co_filename))
        if isinstance(node, Loop)
        and frame.f_code.co_firstlineno <= node.lineno
        and _within_lines(frame.f_lineno, node)
        and (not isinstance(node, _COMPREHENSIONS) or own or (inlined and not isinstance(node, ast.GeneratorExp)))
    ]
    return sorted(found, key=lambda node: node.lineno)


def _iterated(loop: Loop) -> ast.expr | None:
    """What a loop goes over; None of `while`."""
    if isinstance(loop, ast.For):
        return loop.iter
    return None if isinstance(loop, ast.While) else loop.generators[0].iter


def _within_lines(line: int, loop: Loop) -> bool:
    """Whether a line is of what a loop repeats."""
    if isinstance(loop, _COMPREHENSIONS):
        return loop.lineno <= line <= _end(loop)
    return loop.body[0].lineno <= line <= _end(loop.body[-1])


def called_in_loops(name: str, frame: FrameType | None, places: Places) -> Iterator[tuple[Any, str]]:
    """Whose method of a name the code that runs calls.

    Args:
        name: The method's.
        frame: Where a script is.
        places: Which frames are the user's own.

    Yields:
        The object, None where the source does not tell which, and how often it is called: each `step` of the innermost
        loop around the line, or each `epoch`, outside of it.
    """
    in_step = True
    for user in user_frames(frame, places):
        loops = loop_nodes(user)
        for node in ast.walk(_function(user)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                innermost = not loops or _within(node, loops[-1])
                yield object_of(node.func.value, names_of(user)), "step" if in_step and innermost else "epoch"
        in_step = in_step and not loops


_TRAINS = frozenset({"backward", "fit", "train_on_batch", "apply_gradients", "minimize"})


def later_trainings(frame: FrameType | None, places: Places) -> list[dict[str, Any]]:
    """Where the code that runs trains once more after the training that is under way: the same call, or another loop.

    Args:
        frame: Where a script is, at an optimizer step.
        places: Which frames are the user's own.
    """
    later: list[int] = []
    users = user_frames(frame, places)
    for number in reversed(range(len(users))):
        user = users[number]
        loops, function, filename = loop_nodes(user), _function(user), user.f_code.co_filename
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        if loops:
            after = [n for n in ast.walk(function) if isinstance(n, ast.For | ast.While) and n.lineno > _end(loops[0])]
            outermost = [
                n for n in after if not any(n is not other and _within_lines(n.lineno, other) for other in after)
            ]
            later += [n.lineno for n in outermost if any(_called(c) in _TRAINS and _within(c, n) for c in calls)]
            return [places.of_line(filename, line) for line in sorted(later)]
        now = [node for node in calls if node.lineno <= user.f_lineno <= _end(node)]
        names = {users[number - 1].f_code.co_name if number else "fit"}
        names |= {"fit"} & {_called(call) for call in now}  # which calls a `train_step` of the user's own
        later = [n.lineno for n in calls if _called(n) in names and n.lineno > max(map(_end, now), default=n.lineno)]
        if later:
            return [places.of_line(filename, line) for line in sorted(later)]
    return []


def _called(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)


def _end(node: ast.stmt | ast.expr) -> int:
    return node.end_lineno or node.lineno


def _within(node: ast.expr, loop: Loop) -> bool:
    return _within_lines(node.lineno, loop)


def _function(frame: FrameType) -> ast.AST:
    """The function or comprehension that a frame runs; the whole file of a frame that is in none."""
    tree = tree_of(frame.f_code.co_filename)
    if frame.f_code.co_name in _OF_COMPREHENSIONS:
        return next(iter(loop_nodes(frame)[-1:]), tree)
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and frame.f_code.co_name == node.name
        and node.lineno <= frame.f_lineno <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno) if around else tree


def names_of(frame: FrameType) -> Mapping[str, Any]:
    """What a frame knows by name; its own names before those of its file."""
    return ChainMap(frame.f_locals, frame.f_globals)


def object_of(expression: ast.expr, names: Mapping[str, Any], *, submodules: bool = False) -> Any:
    """The object that a name, or an attribute of one, stands for; None of anything else.

    Args:
        expression: The name or the attribute.
        names: What is known by name there.
        submodules: Whether to look among a torch module's own ones too. What their methods call is not seen: who asks
            whether something is never called leaves it out.
    """
    if isinstance(expression, ast.Name):
        return names.get(expression.id)
    if isinstance(expression, ast.Attribute):
        held = getattr(object_of(expression.value, names, submodules=submodules), "__dict__", {})
        inside = held.get("_modules") if submodules else None
        return held.get(expression.attr, (inside or {}).get(expression.attr))
    return None


_SETS_RATE = re.compile(
    r"""\[\s*["']lr["']\s*\]\s*[*/+-]?=(?!=)|learning_rate\s*\.\s*assign|(?<!self)\.(learning_rate|lr)\s*[*/]?=(?!=)"""
    r"""|set_value\([^)]*\b(lr|learning_rate)\b"""
)


def sets_rate(places: Places) -> dict[str, Any] | bool:
    """The first line of the user's own code that sets an optimizer's learning rate, as far as it was seen; or False."""
    import linecache

    for name in places.files():
        for number, line in enumerate(linecache.getlines(name), 1):
            if _SETS_RATE.search(line):
                return places.of_line(name, number)
    return False


_AVERAGES = re.compile(
    r"(?<![a-z])(ema|swa|polyak|shadow|moving.?averages?|averaged?.?(weights|model))(?![a-z])", re.IGNORECASE
)


def names_average(places: Places) -> bool:
    """Whether the user's own code, as far as it was seen, names a moving average of weights."""
    import linecache

    return any(_AVERAGES.search("".join(linecache.getlines(name))) for name in places.files())


def tree_of(filename: str) -> ast.AST:
    """A file as it was read; without anything in it if it is no Python."""
    import linecache

    return _tree("".join(linecache.getlines(filename)))


@cache
def _tree(source: str) -> ast.AST:
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def _count(iterated: ast.expr, frame: FrameType) -> int | None:
    """How often a loop over `range`, `trange` or `tqdm(range(...))` goes round; None of anything else."""
    if not isinstance(iterated, ast.Call):
        return None
    name = iterated.func.id if isinstance(iterated.func, ast.Name) else getattr(iterated.func, "attr", "")
    if name in {"tqdm", "enumerate", "track"} and iterated.args:
        return _count(iterated.args[0], frame)
    if name not in {"range", "trange"}:
        return None
    values = [evaluated(argument, frame) for argument in iterated.args]
    try:
        return len(range(*values))
    except TypeError:
        return None


def evaluated(argument: ast.expr, frame: FrameType, names: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression of names, constants and arithmetic; None of any other, or where it has none.

    Args:
        argument: The expression.
        frame: Whose names it has.
        names: Further names.
    """
    expression = ast.Expression(argument)
    if not all(isinstance(part, _PLAIN) for part in ast.walk(expression)):
        return None
    try:
        return eval(compile(expression, "", "eval"), frame.f_globals, {**frame.f_locals, **(names or {})})  # noqa: S307 the user's
    except Exception:  # noqa: BLE001 whatever it raises, the value is not known
        return None
