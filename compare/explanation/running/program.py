"""One of the two programs as the user names it: FILE.py, FILE.ipynb or FILE.py:NAME, with arguments in quotes."""

import ast
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from recipe.errors import BadInputError

_KERAS = frozenset({"keras", "tensorflow", "tf_keras"})
_TORCH = frozenset({"torch", "lightning", "pytorch_lightning", "torchvision", "torchmetrics"})
_DEEPEST = 4


@dataclass(frozen=True)
class Program:
    """A program.

    Args:
        given: As the user named it.
        script: The file, an absolute path.
        attribute: A model, or a function that returns one; None for a script that trains.
        arguments: The script's own.
        framework: `keras` or `torch`.
    """

    given: str
    script: Path
    attribute: str | None
    arguments: tuple[str, ...]
    framework: str

    @property
    def name(self) -> str:
        """Its file's name, with the attribute."""
        return self.script.name + (f":{self.attribute}" if self.attribute else "")

    def same_as(self, other: "Program") -> bool:
        """Whether both are the same file, by whatever path, with the same model and the same arguments."""
        rest = (self.attribute, self.arguments) == (other.attribute, other.arguments)
        return rest and self.script.samefile(other.script)


def program(given: str) -> Program:
    """Reads what the user named.

    Raises:
        BadInputError: There is no such file, or it uses neither framework.
    """
    whole = Path(given).expanduser()
    try:
        words = [given] if whole.is_file() else shlex.split(given)
    except ValueError as error:
        raise BadInputError(f"{error} in {given!r}") from error
    if not words:
        raise BadInputError("the name of a program is empty")
    path, _, attribute = words[0].partition(":") if not Path(words[0]).is_file() else (words[0], "", "")
    script = Path(path).expanduser()
    if not script.is_file():
        raise BadInputError(f"there is no file {path}")
    if script.suffix not in (".py", ".ipynb"):
        raise BadInputError(f"{path} is neither a .py file nor a notebook (.ipynb)")
    if attribute and (not attribute.isidentifier() or script.suffix != ".py"):
        raise BadInputError(f"{given}: after FILE.py: comes the name of a model or of a function that returns one")
    framework = framework_of(script.absolute())
    if framework is None:
        raise BadInputError(f"{path} imports neither Keras nor PyTorch, nor does what it imports from beside itself")
    return Program(given, script.absolute(), attribute or None, tuple(words[1:]), framework)


def framework_of(script: Path) -> str | None:
    """Which framework a script uses, by what it imports, itself or through files beside it."""
    found = _imports(script, script.parent, _DEEPEST, set())
    keras, torch = bool(found & _KERAS), bool(found & _TORCH)
    if keras and torch:
        return "torch" if _is_torch(script) else "keras"
    return "keras" if keras else "torch" if torch else None


def _is_torch(script: Path) -> bool:
    """Of a script with both: whether its models are torch's. A Keras script imports torch for the backend's sake."""
    text = _source(script)
    marks = ("nn.Module", "LightningModule", "torch.optim.", "optim.", ".backward(", "torchvision.models")
    return (
        any(mark in text for mark in marks)
        and "keras.Model" not in text
        and ".fit(" not in text.replace("trainer.fit(", "")
    )


def _imports(script: Path, folder: Path, deeper: int, seen: set[Path]) -> set[str]:
    """The names of top-level packages that are imported."""
    if script in seen:
        return set()
    seen.add(script)
    found: set[str] = set()
    for node in ast.walk(_parsed(script)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if not node.level else [node.module or alias.name for alias in node.names]
        for name in names:
            top = name.partition(".")[0]
            beside = [folder / f"{name.replace('.', '/')}.py", folder / top / "__init__.py", folder / f"{top}.py"]
            own = [path for path in beside if path.is_file()]
            found.add(top)
            for path in own if deeper and top not in _KERAS | _TORCH else ():
                found |= _imports(path, folder, deeper - 1, seen)
    return found


def _source(script: Path) -> str:
    """The code of a script; of a notebook, its cells without the lines that are no Python."""
    try:
        text = script.read_text(encoding="utf-8", errors="replace")
        if script.suffix != ".ipynb":
            return text
        cells = [cell for cell in json.loads(text).get("cells", []) if cell.get("cell_type") == "code"]
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(f"{script} cannot be read: {' '.join(str(error).split())}") from error
    lines = [line for cell in cells for line in "".join(cell.get("source", [])).splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def _parsed(script: Path) -> ast.Module:
    text = _source(script)
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):  # the run will say so; for now what can be read line by line
        good = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
        try:
            return ast.parse("\n".join(good))
        except (SyntaxError, ValueError):
            return ast.Module(body=[], type_ignores=[])
