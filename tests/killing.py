"""Kills trainings, as a power cut or a batch system would."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def kill_after_each_new_checkpoint(command: list[str], directory: Path, last: Path, kills: int) -> None:
    """Runs the command `kills` + 1 times; all but the last are killed a random while after `last` changed."""
    moments = random.Random(0)  # noqa: S311 - no secret
    for _ in range(kills):
        before = last.stat().st_ino if last.exists() else 0
        with subprocess.Popen(
            [sys.executable, *command], cwd=directory, env=ENVIRONMENT, stdout=subprocess.DEVNULL
        ) as process:
            while not last.exists() or last.stat().st_ino == before:
                assert process.poll() is None, "it ended before it could be killed: train for more epochs"
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.1))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    subprocess.run([sys.executable, *command], cwd=directory, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
