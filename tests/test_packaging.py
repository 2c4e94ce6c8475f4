"""What is installed: every room, the licences, the three programs."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from configparser import ConfigParser
from importlib.metadata import distributions, requires
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT, Once

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_INSTALLED = {"tests", "benchmarks", "examples"}
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - NOT_INSTALLED


@pytest.fixture(scope="session")
def wheel(once: Once) -> zipfile.ZipFile:
    def build(directory: Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    (path,) = once("wheel", build).glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_every_file_of_every_room(wheel: zipfile.ZipFile) -> None:
    there = (path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file())
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {str(path.relative_to(ROOT)) for path in there if "__pycache__" not in path.parts}


def test_wheel_holds_the_licences_and_the_programs(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    for path in PROJECT["project"]["license-files"]:
        assert (ROOT / path).is_file()
        assert any(name.endswith(f".dist-info/licenses/{path}") for name in names), path
    (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(entry_points).decode())
    assert dict(parser["console_scripts"]) == PROJECT["project"]["scripts"]


def test_source_distribution_and_type_checker_have_every_room() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {f"/{room}" for room in ROOMS | NOT_INSTALLED} <= set(included)
    assert set(PROJECT["tool"]["mypy"]["packages"]) >= ROOMS
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == ROOMS | {"benchmarks"}


LOCKED = (ROOT / "requirements.lock").read_text()


def test_what_is_installed_for_gpus_has_the_cuda_of_torch() -> None:
    """cuDNN and NCCL of two versions of CUDA have files of the same paths: the last one installed overwrites them."""
    of_torch = re.findall(r"^nvidia-cudnn-cu(\d+)==", LOCKED, re.MULTILINE)
    assert len(of_torch) == 1
    for line in PROJECT["project"]["optional-dependencies"]["gpu"]:
        package, extra = re.fullmatch(r"([\w-]+)\[([\w-]+)\].*", line).groups()
        asked = " ".join(wanted for wanted in requires(package) if f'extra == "{extra}"' in wanted)
        assert set(re.findall(r"-cu(?:da)?(\d+)\b", asked)) == set(of_torch), line


def test_no_library_of_nvidia_is_locked_for_two_versions_of_cuda() -> None:
    locked = re.findall(r"^(nvidia-[\w-]+?)(?:-cu\d+)?==", LOCKED, re.MULTILINE)
    assert len(locked) == len(set(locked)) > 2


def paths_of_several(installed: Iterable[Any]) -> dict[str, set[str]]:
    """The files that several packages of NVIDIA would have in the same place, with these packages."""
    owners: dict[str, set[str]] = {}
    for distribution in installed:
        if (name := distribution.metadata["Name"].lower()).startswith("nvidia"):
            for path in distribution.files or ():
                owners.setdefault(str(path), set()).add(name)
    return {path: names for path, names in owners.items() if len(names) > 1}


def test_no_two_installed_packages_of_nvidia_have_a_file_in_one_place() -> None:
    """As cuDNN of CUDA 12 and of CUDA 13 have: pip says nothing, and what was installed last is what is loaded."""
    assert paths_of_several(distributions()) == {}
    library = "nvidia/cudnn/lib/libcudnn.so.9"
    names = {"nvidia-cudnn-cu12", "nvidia-cudnn-cu13"}
    both = [SimpleNamespace(metadata={"Name": name}, files=[library]) for name in names]
    assert paths_of_several(both) == {library: names}
