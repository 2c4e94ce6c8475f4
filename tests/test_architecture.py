import os
import re
import shutil
import subprocess
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.conftest import ROOT, run_python
from tests.fork_server import PYTHON

FRAMEWORKS = {"torch", "tensorflow", "keras", "lightning", "jax", "torchvision", "torchmetrics"}


def lint_imports(root: Path, cache: Path) -> subprocess.CompletedProcess:
    """Holds the packages in `root` against the contracts in its pyproject.toml."""
    program = Path(PYTHON).with_name("lint-imports")
    return subprocess.run(
        [program, "--config", root / "pyproject.toml", "--cache-dir", cache],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_arrows_between_and_inside_the_packages_hold(tmp_path: Path) -> None:
    process = lint_imports(ROOT, tmp_path)
    assert process.returncode == 0, process.stdout
    assert " 0 broken" in process.stdout


LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
(ACYCLIC,) = (contract for contract in LINTER["contracts"] if contract["type"] == "acyclic_siblings")


def test_contracts_are_of_every_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(LINTER["root_packages"]) == packages
    assert set(ACYCLIC["ancestors"]) == packages


def test_a_contract_holds_the_arrows_inside_every_room() -> None:
    containers = {name for contract in LINTER["contracts"] for name in contract.get("containers", ())}
    rooms = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in LINTER["root_packages"]
        for path in (ROOT / package).rglob("__init__.py")
        if len([module for module in path.parent.glob("*.py") if module.name != "__init__.py"]) > 1
    }
    assert rooms <= containers


def test_no_circle_leads_through_a_package_itself() -> None:
    """A package that imports its modules is no sibling of theirs, so that the contract does not look at it."""
    graph = grimp.build_graph(*LINTER["root_packages"], cache_dir=None)
    for arrow in ACYCLIC.get("ignore_imports", []):
        importer, imported = arrow.split(" -> ")
        graph.remove_import(importer=importer, imported=imported)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert "recipe.recipe" in imports["recipe"]
    TopologicalSorter(imports).prepare()


PLANTED = {
    "the ladder imports the API late": ("compare/ladder/climb.py", "def late():\n    from compare.api import run\n"),
    "the oracle imports the causes": ("compare/oracle/network.py", "from compare.causes import signatures\n"),
    "findings import the report for types": (
        "compare/findings.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from compare.report import page\n",
    ),
    "the record imports the judge late": ("record/files.py", "def late():\n    import compare.judge\n"),
    "a room inside benchmarks turns round": (
        "benchmarks/figures/blocks.py",
        "from benchmarks.measure import process\n",
    ),
    "the judge imports a framework late": ("compare/judge.py", "def late():\n    import torch\n"),
    "one twin imports the other": ("keras_impl/model.py", "from lightning_impl import model\n"),
    "the plain module imports the fast path late": (
        "lightning_impl/module.py",
        "def late():\n    from lightning_impl import cuda_graph\n",
    ),
    "what explain observed imports what is asked of it": (
        "compare/explanation/observed/values.py",
        "from compare.explanation.training import loop\n",
    ),
    "what every watcher uses imports one of them late": (
        "watch/source/places.py",
        "def late():\n    from watch.keras import watcher\n",
    ),
    "the tutorial imports what records it": ("keras_impl/training.py", "from keras_impl import recording\n"),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and their contracts, to break."""
    root = tmp_path_factory.mktemp("copied")
    shutil.copy(ROOT / "pyproject.toml", root)
    for path in ROOT.glob("*/__init__.py"):
        ignored = shutil.ignore_patterns("__pycache__", "*.npz")
        shutil.copytree(path.parent, root / path.parent.name, ignore=ignored)
    return root


@pytest.mark.parametrize(("file", "planted"), PLANTED.values(), ids=PLANTED)
def test_planted_back_arrow_turns_the_contracts_red(copied: Path, tmp_path: Path, file: str, planted: str) -> None:
    path = copied / file
    text = path.read_text()
    try:
        path.write_text(f"{text}\n\n{planted}")
        process = lint_imports(copied, tmp_path)
    finally:
        path.write_text(text)
    assert process.returncode == 1, process.stdout
    assert " 0 broken" not in process.stdout
    assert re.search(rf"\.{path.stem}\b", process.stdout), process.stdout


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["-m", "compare", "--help"], FRAMEWORKS),
        (["-m", "compare", "run", "--help"], FRAMEWORKS),
        (["-c", "import record.training, recipe.batch_order, record.worker"], {*FRAMEWORKS, "scipy", "rich"}),
        (["-c", "import lightning_impl.recording"], {"keras", "tensorflow", "jax"}),
        (["-m", "keras_impl.worker", "--help"], FRAMEWORKS),
        (["-m", "lightning_impl.worker", "--help"], FRAMEWORKS),
    ],
    ids=["compare", "compare run", "recipe", "lightning_impl", "keras worker", "lightning worker"],
)
def test_no_framework_is_loaded_that_is_not_needed(tmp_path: Path, arguments: list[str], forbidden: set[str]) -> None:
    process = run_python("-X", "importtime", *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    loaded = set(re.findall(r"^import time: .*\| +(\w+)", process.stderr, re.MULTILINE))
    assert "numpy" in loaded
    assert not loaded & forbidden


CPU_SECONDS = """
import resource, subprocess, sys
before = resource.getrusage(resource.RUSAGE_CHILDREN)
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
after = resource.getrusage(resource.RUSAGE_CHILDREN)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def test_help_of_compare_takes_little_more_than_the_imports_that_it_cannot_do_without(tmp_path: Path) -> None:
    # By turns, and the best of five of each, for the machine may be busy; the first also writes the compiled modules.
    # Measured 1.9 to 2.2 on a Xeon; scipy.stats, imported by the way, makes it 5.
    seconds: dict[str, list[float]] = {"needed": [], "help": []}
    for _ in range(5):
        for name, arguments in (
            ("needed", ["-c", "import numpy, jsonargparse"]),
            ("help", ["-m", "compare", "--help"]),
        ):
            seconds[name].append(float(run_python("-c", CPU_SECONDS, *arguments, cwd=tmp_path).stdout))
    assert min(seconds["help"]) < 3 * min(seconds["needed"]), seconds
