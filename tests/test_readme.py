import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ROOMS = sorted(
    str(path.parent.relative_to(ROOT))
    for path in [*ROOT.glob("*/__init__.py"), *ROOT.glob("compare/*/__init__.py")]
    if path.parent.name not in ("tests", "benchmarks", "examples")
)


def tree() -> set[str]:
    """The files that the README's tree names."""
    block = README.partition("## The files")[2].split("```")[1]
    found, folder = set(), ""
    for line in block.strip().splitlines():
        name = line.split()[0]
        if line.startswith("  "):
            found.add(folder + name)
        else:
            folder = name
    return found


@pytest.mark.parametrize("package", ROOMS)
def test_tree_names_every_file_and_no_other(package: str) -> None:
    files = {f"{package}/{path.name}" for path in (ROOT / package).iterdir() if path.suffix in (".py", ".npz")}
    files |= {f"{package}/{path.name}/" for path in (ROOT / package).iterdir() if path.name == "templates"}
    assert {name for name in tree() if name.removesuffix("/").rpartition("/")[0] == package} == files - {
        f"{package}/__init__.py"
    }


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
