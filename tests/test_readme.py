import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ROOMS = {
    f"{path.parent.relative_to(ROOT)}/"
    for pattern in ("*/__init__.py", "compare/**/__init__.py", "watch/**/__init__.py", "benchmarks/*/__init__.py")
    for path in ROOT.glob(pattern)
}


def test_contributing_names_every_room_and_no_other() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("## The rooms")[2].split("```")[1]
    named = {line.split()[0] for line in tree.strip().splitlines()}
    assert {name for name in named if (ROOT / name / "__init__.py").exists()} == ROOMS
    assert not {name for name in named if not (ROOT / name).is_dir()}


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("docs/questions/*.md")), ids=str)
def test_documentation_lists_every_page(page: Path) -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert page in {*listed, index, ROOT / "docs" / "questions" / "README.md"}


def test_what_the_lock_file_must_not_have() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    names = re.findall(r"^([a-z0-9.-]+)==[^ ]+", lock, re.MULTILINE)
    assert names
    assert lock.count("--hash=sha256:") >= len(names)


SHOWN = [ROOT / name for name in ("examples/tutorial_keras.py", "keras_impl/training.py", "lightning_impl/module.py")]


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_code_that_is_shown_is_the_code(block: str) -> None:
    assert any(block in path.read_text() for path in SHOWN)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180
