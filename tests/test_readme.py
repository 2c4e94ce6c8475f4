import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PACKAGES = ("recipe", "record", "pictures", "keras_impl", "lightning_impl", "compare")


def tree() -> set[str]:
    """The files that the README's tree names; what stands further to the right is in the folder above it."""
    block = README.partition("## The files")[2].split("```")[1]
    found: set[str] = set()
    folders: dict[int, str] = {0: ""}
    for line in block.strip().splitlines():
        name, indent = line.split()[0], len(line) - len(line.lstrip())
        path = folders[indent] + name
        found.add(path)
        if name.endswith("/"):
            folders[indent + 2] = path
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_tree_names_every_file_and_no_other(package: str) -> None:
    paths = [path for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".npz") or path.is_dir()]
    names = {f"{path.relative_to(ROOT)}{'/' * path.is_dir()}" for path in paths if path.name != "__pycache__"}
    files = {name for name in names if not name.endswith("/__init__.py")}
    assert {name for name in tree() if name.startswith(f"{package}/")} == {f"{package}/", *files}


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_what_the_lock_file_must_not_have() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    names = re.findall(r"^([a-z0-9.-]+)==[^ ]+", lock, re.MULTILINE)
    assert names
    assert lock.count("--hash=sha256:") >= len(names)
