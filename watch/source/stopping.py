"""Early stopping and the best weights, as a script writes them by itself: from its source."""

import ast
import re
from collections.abc import Iterator
from types import FrameType
from typing import Any

from watch.source.loops import counted_loop, evaluated, names_of, object_of, tree_of, user_frames
from watch.source.places import Places

_LOADS = re.compile(r"\b(load_state_dict|set_weights|load_weights|load_model|load_from_checkpoint)\s*\(|ckpt_path\s*=")
_BARE = re.compile(r"(dict\()?[\w.\[\]]+\.state_dict\(\)(\.copy\(\))?\)?")
"""A dict of the weights themselves; a copy of the dict alone has the same tensors."""


def stopping(frame: FrameType | None, places: Places) -> dict[str, Any] | None:
    """What may end the loop over the epochs before its last.

    Args:
        frame: Where the script is, at an optimizer step.
        places: Which frames are the user's own.

    Returns:
        `ends_early`: whether anything in the loop can; `patience`: after how many epochs without an improvement, None
        where that is not told; `min_delta`, `mode` (`min` or `max`) and `monitor` (the name of the value) as far as
        the source tells them; `place`. None where the loop over the epochs is not told.
    """
    for user in reversed(user_frames(frame, places)):
        loop = counted_loop(user)
        if loop is None:
            continue
        filename = user.f_code.co_filename
        exits = list(_exits(loop.body))
        known: dict[str, Any] = {"ends_early": bool(exits), "place": places.of_line(filename, loop.lineno)}
        for test, line in exits:
            told = test is not None and (_by_counter(test, loop, user) or _by_object(test, user))
            if told:
                known |= told | {"place": places.of_line(filename, line)}
                break
        return known
    return None


def restoring(places: Places) -> dict[str, Any]:
    """What becomes of the best weights that a loop keeps.

    Returns:
        `loads`: whether weights are loaded anywhere; `kept`: `references` where what is loaded is a `state_dict` that a
        loop keeps without a copy, `copies` where it copies it, None where that is not told; `place` of the keeping.
    """
    import linecache

    loads = any(_LOADS.search("".join(linecache.getlines(name))) for name in places.files())
    for name in places.files():
        tree = tree_of(name)
        loaded = {
            ast.unparse(node.args[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith("load_state_dict")
        }
        for loop in (node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)):
            for made in (node for node in ast.walk(loop) if isinstance(node, ast.Assign)):
                for target, value in _assigned(made):
                    if ast.unparse(target) in loaded and "state_dict()" in ast.unparse(value):
                        kept = "references" if _BARE.fullmatch(ast.unparse(value)) else "copies"
                        return {"loads": loads, "kept": kept, "place": places.of_line(name, made.lineno)}
    return {"loads": loads, "kept": None, "place": None}


def _exits(body: list[ast.stmt], test: ast.expr | None = None, *, inner: bool = False) -> Iterator[Any]:
    """The statements that leave a loop: of each the test that decides, None if there is none, and its line."""
    for node in body:
        if isinstance(node, ast.Return | ast.Raise) or (isinstance(node, ast.Break) and not inner):
            yield test, node.lineno
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if ast.unparse(node.value.func) in {"sys.exit", "exit", "quit", "os._exit"}:
                yield test, node.lineno
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            tested = node.test if isinstance(node, ast.If) else test
            within = inner or isinstance(node, ast.For | ast.While)
            for part in ("body", "orelse", "handlers", "finalbody"):
                held = getattr(node, part, [])
                statements = [s for h in held for s in (h.body if isinstance(h, ast.ExceptHandler) else [h])]
                yield from _exits(statements, tested, inner=within)


def _by_counter(test: ast.expr, around: ast.AST, frame: FrameType) -> dict[str, Any] | None:
    """What a test says that compares a counter of bad epochs with a limit."""
    for compared in (node for node in ast.walk(test) if isinstance(node, ast.Compare) and len(node.ops) == 1):
        counter, limit = ast.unparse(compared.left), evaluated(compared.comparators[0], frame)
        if isinstance(limit, int) and _counts(around, counter):
            reached = isinstance(compared.ops[0], ast.GtE | ast.Eq)
            if reached or isinstance(compared.ops[0], ast.Gt):
                return {"patience": limit if reached else limit + 1} | _improvement(around, counter, frame)
    return None


def _counts(around: ast.AST, counter: str) -> bool:
    """Whether a variable is counted up by one."""
    return any(
        isinstance(node, ast.AugAssign)
        and isinstance(node.op, ast.Add)
        and ast.unparse(node.target) == counter
        and ast.unparse(node.value) == "1"
        for node in ast.walk(around)
    )


def _improvement(around: ast.AST, counter: str, frame: FrameType, held: Any = None) -> dict[str, Any]:
    """What the test says under which the counter goes back to 0: `val_loss < best - 1e-3` for one."""
    for node in (node for node in ast.walk(around) if isinstance(node, ast.If)):
        sets = {
            ast.unparse(target): ast.unparse(value)
            for part in node.body if isinstance(part, ast.Assign)
            for target, value in _assigned(part)
        }  # fmt: skip
        orders = ast.Lt | ast.Gt | ast.LtE | ast.GtE
        tests = [t for t in ast.walk(node.test) if isinstance(t, ast.Compare) and isinstance(t.ops[0], orders)]
        if sets.get(counter) != "0" or len(tests) != 1 or len(tests[0].ops) != 1:
            continue
        sides = [tests[0].left, tests[0].comparators[0]]
        deltas = [evaluated(side.right, frame, {"self": held}) for side in sides if isinstance(side, ast.BinOp)]
        names = [ast.unparse(side.left if isinstance(side, ast.BinOp) else side) for side in sides]
        new = [index for index, name in enumerate(names) if name in sets.values()]
        told: dict[str, Any] = {}
        if all(isinstance(delta, int | float) for delta in deltas):
            told["min_delta"] = abs(float(sum(deltas)))
        if len(new) == 1:
            below = isinstance(tests[0].ops[0], ast.Lt | ast.LtE) == (new[0] == 0)
            told |= {"mode": "min" if below else "max", "monitor": names[new[0]]}
        return told
    return {}


def _assigned(assignment: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each name with its value, also of several in one line."""
    for target in assignment.targets:
        if isinstance(target, ast.Tuple) and isinstance(assignment.value, ast.Tuple):
            yield from zip(target.elts, assignment.value.elts, strict=False)
        else:
            yield target, assignment.value


def _by_object(test: ast.expr, frame: FrameType) -> dict[str, Any] | None:
    """What an object of the user's own class says that is asked: `if stopper(val_loss)`."""
    for node in ast.walk(test):
        held = object_of(node, names_of(frame)) if isinstance(node, ast.Name | ast.Attribute) else None
        settings = vars(held) if hasattr(held, "__dict__") and not isinstance(held, type) else {}
        patience = settings.get("patience")
        if not isinstance(patience, int):
            continue
        made = _class_of(held)
        told: dict[str, Any] = {"patience": patience + 1 if _is_strict(made) else patience}
        for counter in (name for name in settings if _counts(made, f"self.{name}")):
            told |= _improvement(made, f"self.{counter}", frame, held)
        delta = next((settings[name] for name in ("min_delta", "delta") if name in settings), 0.0)
        if isinstance(delta, int | float):
            told.setdefault("min_delta", abs(float(delta)))
        if settings.get("mode") in {"min", "max"}:
            told["mode"] = settings["mode"]
        return told
    return None


def _class_of(held: Any) -> ast.AST:
    """The class of an object of the user's own, as it is written; nothing of another."""
    code = getattr(vars(type(held)).get("__init__"), "__code__", None)
    nodes = ast.walk(tree_of(code.co_filename)) if code is not None else ()
    name = type(held).__name__
    return next((n for n in nodes if isinstance(n, ast.ClassDef) and n.name == name), ast.Module([], []))


def _is_strict(made: ast.AST) -> bool:
    """Whether a class waits for more bad epochs than its patience, and not for as many."""
    return any(
        isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Gt)
        and ast.unparse(node.comparators[0]).endswith("patience")
        for node in ast.walk(made)
    )  # fmt: skip
