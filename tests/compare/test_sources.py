from pathlib import Path

import pytest

from compare.run.implementations import other
from compare.run.jobs import Job
from compare.run.sources import sources
from recipe import Recipe

FILES = {
    "port.py": "import numpy, helper\ndef late():\n    from package.part import thing\n",
    "helper.py": "raise SystemExit('it is read, not run')\n",
    "unused.py": "",
    "broken.py": "import helper\n)",
    "zeros.py": "\0",
    "package/__init__.py": "",
    "package/__main__.py": "from . import part\n",
    "package/part.py": "from .other import thing\nimport helper\n",
    "package/other.py": "thing = 1\n",
    "data.txt": "",
    "spaces.py": "import plain.part\nfrom plain import other\nimport wandb\nimport helper\n",
    "plain/part.py": "from .deeper.most import thing\n",
    "plain/other.py": "",
    "plain/unused.py": "",
    "plain/deeper/most.py": "thing = 1\n",
    "wandb/run.log": "",
    "either.py": "try:\n    from .helper import q\nexcept ImportError:\n    import helper\n",
    "dots.py": "try:\n    from . import helper\nexcept ImportError:\n    import helper\n",
    "deep.py": "from ...helper import q\nfrom .. import other\n",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("python port.py", "helper.py package/__init__.py package/other.py package/part.py port.py"),
        ("python -u {here}/port.py --lr 1", "helper.py package/__init__.py package/other.py package/part.py port.py"),
        ("python -m package", "helper.py package/__init__.py package/__main__.py package/other.py package/part.py"),
        ("python -m package.other", "package/__init__.py package/other.py"),
        ("python helper.py data.txt", "data.txt helper.py"),
        ("python broken.py", "broken.py"),
        ("python zeros.py", "zeros.py"),
        ("python -m not_there", ""),
        ("run -m", ""),
        ("python spaces.py", "helper.py plain/deeper/most.py plain/other.py plain/part.py spaces.py"),
        ("python either.py", "either.py helper.py"),
        ("python dots.py", "dots.py helper.py"),
        ("python deep.py", "deep.py helper.py"),
        (f"python -c {'x' * 300}", ""),
    ],
)
def test_sources_are_what_is_named_and_what_that_imports(here: Path, command: str, names: str) -> None:
    found = sources(command.format(here=here).split())
    assert sorted(str(path.resolve().relative_to(here)) for path in found) == names.split()


@pytest.mark.parametrize(
    ("changed", "again"), [("port.py", False), ("helper.py", False), ("package/other.py", False), ("unused.py", True)]
)
def test_a_record_of_other_code_is_not_used_again(here: Path, changed: str, again: bool) -> None:
    def directory() -> Path:
        return Job(other("mine", "python port.py"), Recipe(), here).directory

    before = directory()
    with Path(changed).open("a") as file:
        file.write("# another line\n")
    assert (directory() == before) == again
