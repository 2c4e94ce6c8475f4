import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def plain(text: str) -> str:
    """The words; numbers differ from run to run, since the scripts draw their weights anew."""
    return re.sub(r"\d[\d.,e-]*", "#", " ".join(text.split()))


def test_readme_shows_what_explain_says(tmp_path: Path) -> None:
    shown = re.search(r"<!-- explain:begin -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown
    pair = [str(ROOT / "examples" / name) for name in ("tutorial_keras.py", "broken_port.py")]
    process = subprocess.run(
        [sys.executable, "-m", "compare", "explain", *pair],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    said = plain(process.stdout)
    lines = [line.rstrip("…") for line in shown[1].splitlines() if line]
    assert lines
    assert [line for line in lines if plain(line) not in said] == []
    assert not (ROOT / "examples" / "data").exists()
