"""`python -m tests.examples.notebook`: runs the notebook and writes its outputs into it."""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import ROOT
from tests.fork_client import ACROSS_SESSIONS

NOTEBOOK = ROOT / "examples" / "why_is_my_port_different.ipynb"


def execute(directory: Path) -> NotebookNode:
    """The notebook with the outputs that it has now, run in `directory`."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
    )
    startup = directory / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "python.py").write_text(f"import sys\nsys.executable = {sys.executable!r}\n")  # in the tests a stand-in
    own = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "IPYTHONDIR": str(startup.parents[1])}
    client.execute(env={**os.environ, **own, ACROSS_SESSIONS: "1"})
    notebook.metadata["language_info"] = {"name": "python"}  # and not this machine's version of it
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        nbformat.write(execute(Path(name)), NOTEBOOK)
