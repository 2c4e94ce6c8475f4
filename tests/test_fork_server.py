"""A fork that stands in for Python is, to whoever started it, the process that Python would have been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fork_client import FORK_FROM
from tests.fork_server import PYTHON

SAY = """
import json, os, sys
found = {"arguments": sys.argv, "path": sys.path, "directory": os.getcwd(), "group": os.getpgrp()}
found |= {"variables": dict(os.environ), "input": sys.stdin.read(), "mask": os.umask(0), "name": __name__}
json.dump(found, sys.stdout)
print("to standard error", file=sys.stderr)
sys.exit(7)
"""
FORK = {**os.environ, FORK_FROM: "pytest"}


def run(python: str, directory: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-c", code, "one", "two words"]
    return subprocess.run(
        command, cwd=directory, env=FORK, input="an input", capture_output=True, text=True, check=False
    )


def test_it_has_what_python_would_have(tmp_path: Path) -> None:
    ours, pythons = (run(python, tmp_path, SAY) for python in (sys.executable, PYTHON))
    assert ours.returncode == pythons.returncode == 7
    assert ours.stderr == pythons.stderr == "to standard error\n"
    found, expected = json.loads(ours.stdout), json.loads(pythons.stdout)
    assert expected["variables"].pop(FORK_FROM) == "pytest"
    for variables in (found["variables"], expected["variables"]):
        variables.pop("PWD", None)  # a shell keeps it true
    for name, value in expected.items():
        assert found[name] == value, name


def test_it_has_imported_what_its_kind_imports(tmp_path: Path) -> None:
    code = "import sys; print('pytest' in sys.modules)"
    assert run(sys.executable, tmp_path, code).stdout == "True\n"
    assert run(PYTHON, tmp_path, code).stdout == "False\n"


def test_its_signal_is_the_callers(tmp_path: Path) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        assert run(sys.executable, tmp_path, f"import os; os.kill(os.getpid(), {int(number)})").returncode == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_caller(tmp_path: Path, number: signal.Signals) -> None:
    code = "import os, time; open('begun', 'w').write(str(os.getpid())); time.sleep(100)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=FORK)
    fork = int(until_written(tmp_path / "begun"))
    os.kill(fork, 0)
    process.send_signal(number)
    assert process.wait(10) == -number
    for _ in range(200):
        try:
            os.kill(fork, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the fork is still there")


def until_written(path: Path) -> str:
    for _ in range(200):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(path)
