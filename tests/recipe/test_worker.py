import subprocess
import sys

import pytest

from tests.conftest import PYTHON, ROOT

HELD = 400_000_000
PARENT = f"""
import subprocess, sys
held = b"1" * {HELD}
child = "from record.worker import peak_memory_bytes; print(peak_memory_bytes())"
print(subprocess.run([{PYTHON!r}, "-c", child], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux hands a peak on to the next program")
def test_a_workers_peak_memory_is_not_that_of_the_process_that_started_it() -> None:
    parent = subprocess.run([PYTHON, "-c", PARENT], cwd=ROOT, capture_output=True, text=True, check=True)
    peak = int(parent.stdout)
    assert 5e6 < peak < HELD / 2
