import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_python

FRAMEWORKS = {"torch", "tensorflow", "keras", "lightning", "jax", "torchvision", "torchmetrics"}


def test_arrows_between_the_packages_hold(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("lint-imports")
    process = subprocess.run(
        [program, "--config", ROOT / "pyproject.toml", "--cache-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    assert " 0 broken" in process.stdout


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
subprocess.run([sys.executable, "-m", "compare", "--help"], check=True, stdout=subprocess.DEVNULL)
after = resource.getrusage(resource.RUSAGE_CHILDREN)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def test_help_of_compare_takes_under_half_a_second_of_cpu(tmp_path: Path) -> None:
    # The best of five: the machine may be busy. The first also writes the compiled modules.
    assert min(float(run_python("-c", CPU_SECONDS, cwd=tmp_path).stdout) for _ in range(5)) < 0.5
