"""Where a script's loop over epochs puts a model into evaluation mode and never back, from its source."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

from watch.source.loops import loop_nodes, names_of, object_of, tree_of, user_frames
from watch.source.places import Places

_object = partial(object_of, submodules=True)

_DEEPEST = 3
"""From function to function; what is further away is not looked at."""


class Switch(NamedTuple):
    """A call of `train` or `eval`: the model, whether it is trained from then on, the file and the line."""

    model: Any
    trains: bool
    file: str
    line: int


def evaluated_and_left(frame: FrameType | None, places: Places) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Models that an epoch puts into evaluation mode, and nothing in it into training mode.

    Args:
        frame: Where a script is, at an optimizer step.
        places: Which frames are the user's own.

    Yields:
        The model, and the place of the call of `eval`.
    """
    outermost = next((user for user in reversed(user_frames(frame, places)) if loop_nodes(user)), None)
    if outermost is None:
        return
    epoch = loop_nodes(outermost)[0]
    if not isinstance(epoch, ast.For | ast.While):
        return
    switches = list(_switches(epoch.body, outermost.f_code.co_filename, names_of(outermost), _DEEPEST))
    trained = {id(switch.model) for switch in switches if switch.trains}
    for switch in switches:
        if not switch.trains and id(switch.model) not in trained:
            yield switch.model, places.of_line(switch.file, switch.line)


def _switches(body: list[ast.stmt], file: str, names: Mapping[str, Any], depth: int) -> Iterator[Switch]:
    """The switches in some lines, and in the user's functions that are called there."""
    for node in _run(body, names):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("train", "eval"):
            model = _object(node.func.value, names)
            if hasattr(model, "parameters"):
                off = [value for value in node.args if isinstance(value, ast.Constant) and value.value is False]
                yield Switch(model, node.func.attr == "train" and not off, file, node.lineno)
                continue
        called = _function(node, file) if depth else None
        if called is not None:
            yield from _switches(called.body, file, {**names, **_arguments(node, called, names)}, depth - 1)


def _run(body: Sequence[ast.stmt], names: Mapping[str, Any]) -> Iterator[ast.AST]:
    """All that is in some lines, but for a branch that a name decides against: `if frozen:` where frozen is False."""
    nodes: list[ast.AST] = list(body)
    while nodes:
        node = nodes.pop(0)
        yield node
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and (taken := _taken(node.test, names)) is not None:
            children = [node.test, *(node.body if taken else node.orelse)]
        nodes = children + nodes


def _taken(test: ast.expr, names: Mapping[str, Any]) -> bool | None:
    """Whether a name, or its opposite, is true; None of what is not known to be true or false."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        taken = _taken(test.operand, names)
        return None if taken is None else not taken
    value = _object(test, names)
    return value if isinstance(value, bool) else None


def _function(call: ast.Call, file: str) -> ast.FunctionDef | None:
    """The function or method of the same file that a call is of, by its name."""
    tree, of_object = tree_of(file), isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    methods = [part for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body]
    return next((node for node in functions if (node in methods) == of_object), None)


def _arguments(call: ast.Call, called: ast.FunctionDef, names: Mapping[str, Any]) -> dict[str, Any]:
    """The objects that a function is given, by the names that it has for them."""
    wanted = [argument.arg for argument in called.args.args]
    given = [_object(value, names) for value in call.args]
    if isinstance(call.func, ast.Attribute) and wanted[:1] == ["self"]:
        given.insert(0, _object(call.func.value, names))
    found = dict(zip(wanted, given, strict=False))
    found |= {keyword.arg: _object(keyword.value, names) for keyword in call.keywords if keyword.arg}
    return {name: value for name, value in found.items() if value is not None}
