"""Where a program makes a value that it uses elsewhere: read from its text, by the names that lead there."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from compare.explanation.findings import Place

_MOST_STEPS = 6
"""From name to name; what is further away is told by its use."""


def origin(where: Place | None, folder: Path, value: float) -> Place | None:
    """The line where a number stands that is used at a place; the place itself where that is not certain.

    Args:
        where: Where it is used.
        folder: Of the program.
        value: The number.
    """
    program = _program(where, folder)
    if where is None or program is None:
        return where
    if any(_is_number(node, value) for node in program.at(where.line)):
        return where
    for nodes in program.outwards(where.line):
        numbers = [node for part in nodes for node in ast.walk(part) if _is_number(node, value)]
        lines = {int(getattr(node, "lineno", 0)) for node in numbers}
        if lines:
            return program.place(where, lines.pop()) if len(lines) == 1 else where
    return where


def made_at(where: Place | None, folder: Path, pattern: str) -> Place | None:
    """The one line on the way to a place whose code has a pattern; the place itself where there are none or several.

    Args:
        where: Where values are used.
        folder: Of the program.
        pattern: A regular expression for the line.
    """
    program = _program(where, folder)
    if where is None or program is None or not pattern:
        return where
    for nodes in program.outwards(where.line):
        lines = {
            line for part in nodes for line in program.lines_of(part) if re.search(pattern, program.text[line - 1])
        }
        if lines:
            return program.place(where, lines.pop()) if len(lines) == 1 else where
    return where


def held_at(where: Place | None, folder: Path, name: str) -> Place | None:
    """The line that gives a name to the outermost part of a layer, such as tower_b of tower_b.0; None if unknown."""
    program = _program(where, folder)
    if where is None or program is None:
        return None
    first = re.escape(name.partition(".")[0])
    lines = [i for i, text in enumerate(program.text, start=1) if re.search(rf"\b{first}\s*=[^=]", text)]
    return program.place(where, lines[0]) if len(lines) == 1 else None


def _program(where: Place | None, folder: Path) -> "_Program | None":
    if where is None or where.cell is not None:
        return None
    path = Path(where.file) if Path(where.file).is_absolute() else folder / where.file
    return _parsed(path)


@lru_cache(maxsize=8)
def _parsed(path: Path) -> "_Program | None":
    try:
        return _Program(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


def _is_number(node: ast.AST, value: float) -> bool:
    held = node.value if isinstance(node, ast.Constant) else None
    return (
        isinstance(held, int | float)
        and not isinstance(held, bool)
        and abs(held - value) <= 1e-9 * max(abs(value), 1e-9)
    )


class _Program:
    """A file's text, and what its names are made of.

    Args:
        text: The file.
    """

    def __init__(self, text: str) -> None:
        self.text = text.splitlines()
        self._tree = ast.parse(text)
        self._statements = [node for node in ast.walk(self._tree) if isinstance(node, ast.stmt)]
        self._made: dict[str, list[ast.AST]] = {}
        for name, node in self._definitions():
            self._made.setdefault(name, []).append(node)

    def place(self, where: Place, line: int) -> Place:
        """A line of the file that another place is in."""
        return replace(where, line=line, code=self.text[line - 1].strip())

    def at(self, line: int) -> list[ast.AST]:
        """What stands on a line: the nodes that begin there."""
        return [node for node in ast.walk(self._tree) if getattr(node, "lineno", None) == line]

    def lines_of(self, node: ast.AST) -> range:
        """The lines of a node; of a statement with a body, the first alone."""
        first = getattr(node, "lineno", 1)
        whole = isinstance(node, ast.Lambda) or not hasattr(node, "body")
        return range(first, (getattr(node, "end_lineno", first) if whole else first) + 1)

    def outwards(self, line: int) -> Iterator[list[ast.AST]]:
        """What the names on a line are made of, then what the names in that are, and so on."""
        nodes: list[ast.AST] = [node for node in self.at(line) if isinstance(node, ast.Call | ast.stmt)]
        if not nodes:
            nodes += [node for node in self._statements if node.lineno <= line <= (node.end_lineno or 0)][-1:]
        nodes = [part for node in nodes for part in _head(node)]
        seen: set[str] = set()
        for _ in range(_MOST_STEPS):
            names = {name for node in nodes for name in _names(node)} - seen
            seen |= names
            nodes = [node for name in sorted(names) for node in self._made.get(name, ())]
            if not nodes:
                return
            yield nodes

    def _definitions(self) -> Iterator[tuple[str, ast.AST]]:
        """Names, and what is given to them: in assignments, as defaults, keys, arguments, and in bodies."""
        functions: dict[str, ast.FunctionDef] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ClassDef):
                yield from (
                    (node.name, part) for part in ast.walk(node) if isinstance(part, ast.stmt) and part is not node
                )
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        functions[node.name] = part
            elif isinstance(node, ast.FunctionDef):
                functions.setdefault(node.name, node)
                yield from (
                    (node.name, part) for part in ast.walk(node) if isinstance(part, ast.stmt) and part is not node
                )
        for node in ast.walk(self._tree):
            yield from _given(node, functions)


def _given(node: ast.AST, functions: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from ((name, node) for target in targets for name in _targets(target))
    elif isinstance(node, ast.For | ast.comprehension):
        yield from ((name, node.iter) for name in _targets(node.target))
    elif isinstance(node, ast.Dict):
        for key, held in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, held
    elif isinstance(node, ast.FunctionDef):
        yield from _defaults(node)
    elif isinstance(node, ast.Call):
        yield from _arguments(node, functions)


def _defaults(node: ast.FunctionDef) -> Iterator[tuple[str, ast.AST]]:
    """The parameters of a function that have a default."""
    positional = [*node.args.posonlyargs, *node.args.args]
    for argument, default in zip(positional[::-1], node.args.defaults[::-1], strict=False):
        yield argument.arg, default
    for argument, given in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if given is not None:
            yield argument.arg, given


def _arguments(node: ast.Call, functions: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, ast.AST]]:
    """What a call gives to the parameters of the file's own functions, and what argparse makes of an option."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called == "add_argument" and node.args and isinstance(node.args[0], ast.Constant):
        name = str(node.args[0].value).lstrip("-").replace("-", "_")
        yield from ((name, keyword.value) for keyword in node.keywords if keyword.arg == "default")
        return
    own = functions.get(called)
    if own is None:
        return
    names = [argument.arg for argument in own.args.args if argument.arg not in ("self", "cls")]
    yield from zip(names, node.args, strict=False)
    yield from ((keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg)


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Subscript):
        yield from _targets(node.value)
    elif isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            yield from _targets(part)


def _head(node: ast.AST) -> Sequence[ast.AST]:
    """A statement without its body."""
    if isinstance(node, ast.For):
        return [node.iter]
    if isinstance(node, ast.With):
        return [item.context_expr for item in node.items]
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While | ast.If | ast.Try):
        return []
    return [node]


def _names(node: ast.AST) -> Iterator[str]:
    """The names, attributes and keys that a node uses; of a class or function used as a whole, its name."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        elif (
            isinstance(part, ast.Subscript)
            and isinstance(part.slice, ast.Constant)
            and isinstance(part.slice.value, str)
        ):
            yield part.slice.value
