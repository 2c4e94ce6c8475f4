"""Runs a small Keras script under the watcher, in a process of its own."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

PROJECT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Seen:
    document: dict[str, Any]
    arrays: dict[str, np.ndarray[Any, Any]]

    def array(self, key: str | None) -> np.ndarray[Any, Any]:
        assert key is not None
        return self.arrays[key]

    def layer(self, name: str) -> dict[str, Any]:
        return next(layer for layer in self.document["model"]["layers"] if layer["name"] == name)

    def call(self, layer: str, step: int = 0) -> dict[str, Any]:
        return next(call for call in self.document["calls"][step] if call["layer"] == layer)


def watch(directory: Path, source: str, backend: str = "tensorflow", **request: Any) -> Seen:
    """Watches three steps of a script in float64 and in the order of its data, unless asked otherwise."""
    directory.mkdir(exist_ok=True)
    out, work = directory / "out", directory / "work"
    out.mkdir()
    work.mkdir()
    script = directory / "user" / "script.py"
    script.parent.mkdir()
    script.write_text(textwrap.dedent(source))
    asked = {"script": str(script), "working_directory": str(work), "steps": 3, "dtype": "float64", "order": "identity"}
    (directory / "request.json").write_text(json.dumps(asked | request))
    command = [sys.executable, "-m", "watch.keras_script", str(directory / "request.json"), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert (out / "observed.json").exists(), done.stderr
    assert [path.name for path in script.parent.iterdir()] == ["script.py"]  # nothing is written beside it
    document = json.loads((out / "observed.json").read_text())
    return Seen(document, load_file(out / "observed.safetensors"))
