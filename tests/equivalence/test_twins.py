"""Two editor panes show the difference between the frameworks and nothing else."""

import ast
import re

import pytest

from tests.conftest import ROOT

KERAS, LIGHTNING = ({path.name for path in (ROOT / room).glob("*.py")} for room in ("keras_impl", "lightning_impl"))
ALONE = [f"keras_impl/{name}" for name in KERAS - LIGHTNING] + [f"lightning_impl/{name}" for name in LIGHTNING - KERAS]


def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def public_names(path: str) -> list[str]:
    """What a module defines, from top to bottom."""
    names: list[str] = []
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


@pytest.mark.parametrize("name", sorted(KERAS & LIGHTNING))
def test_what_both_sides_have_is_in_one_order(name: str) -> None:
    keras, lightning = (public_names(f"{room}/{name}") for room in ("keras_impl", "lightning_impl"))
    assert [one for one in keras if one in lightning] == [one for one in lightning if one in keras]


@pytest.mark.parametrize("path", sorted(ALONE))
def test_what_one_side_has_alone_says_why_in_its_first_line(path: str) -> None:
    first_line = (ast.get_docstring(tree(path)) or "").partition("\n")[0]
    assert re.search(r"Lightning|module\.py" if path.startswith("keras") else r"Keras|Lightning", first_line)


@pytest.mark.parametrize(("path", "lines"), [("lightning_impl/module.py", 150), ("keras_impl/training.py", 110)])
def test_the_two_trainings_are_short(path: str, lines: int) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= lines


def test_the_module_knows_nothing_of_the_fast_path() -> None:
    source = (ROOT / "lightning_impl" / "module.py").read_text()
    assert not re.search("block|graph|manual_backward|automatic_optim|per_execution", source, re.IGNORECASE)


def test_modules_of_lightning_import_one_another_in_one_direction() -> None:
    """Late imports included; a circle would be seen here, whatever order the modules are loaded in."""
    arrows = {
        path.stem: {
            node.module.removeprefix("lightning_impl.")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lightning_impl.")
        }
        for path in (ROOT / "lightning_impl").glob("*.py")
    }
    while leaves := [name for name, imports in arrows.items() if not imports & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert not arrows
