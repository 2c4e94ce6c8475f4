"""Observations made up by hand, in the format of the watchers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from compare.explanation.observed.observation import Array, Observation


def layer(name: str, kind: str, shapes: Mapping[str, Sequence[int]], **settings: Any) -> dict[str, Any]:
    separator = "/" if kind[0].isupper() and kind.endswith(("D", "se", "ion", "ing", "LSTM", "GRU")) else "."
    parameters = {
        local: {
            "path": f"{name}{separator}{local}",
            "shape": list(shape),
            "trainable": True,
            "is_buffer": "running" in local,
        }
        for local, shape in shapes.items()
    }
    return {
        "name": name, "kind": kind, "module": "", "bases": [], "settings": settings, "parameters": parameters,
        "training": True, "place": {"file": "script.py", "line": 1, "code": f"{name} = {kind}()"},
    }  # fmt: skip


def call(name: str | None, inputs: Sequence[str], outputs: Sequence[str], **fields: Any) -> dict[str, Any]:
    return {
        "layer": name, "function": None, "occurrence": 0, "inputs": list(inputs), "outputs": list(outputs),
        "kwargs": {},
        "preactivation": None, "place": {"file": "script.py", "line": 2, "code": f"x = self.{name}(x)"}, "parent": None,
        **fields,
    }  # fmt: skip


def observation(
    directory: Path,
    framework: str,
    layers: Sequence[dict[str, Any]],
    calls: Sequence[dict[str, Any]],
    arrays: Mapping[str, Array],
    **fields: Any,
) -> Observation:
    directory.mkdir(parents=True, exist_ok=True)
    document = {
        "format": 1, "framework": framework, "status": {"outcome": "observed"}, "steps": 1,
        "model": {"layers": list(layers)}, "calls": [list(calls)], "evaluation_calls": None, **fields,
    }  # fmt: skip
    (directory / "observed.json").write_text(json.dumps(document))
    save_file(
        {key: np.ascontiguousarray(array) for key, array in arrays.items()} or {"none": np.zeros(1)},
        directory / "observed.safetensors",
    )
    return Observation.read(directory)
