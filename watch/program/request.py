"""What a watcher is asked for, and the plan that steers it: files that the judge writes."""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open


@dataclasses.dataclass(frozen=True)
class Request:
    """What to run and how; the fields of REQUEST.json.

    Args:
        script: The user's .py or .ipynb file.
        attribute: A model, or a function that returns one, in that file; None for a script that trains.
        arguments: The script's own arguments.
        steps: After so many optimizer steps the script ends.
        dtype: "own", or "float64" for every floating-point number.
        order: "own", or "identity" where nothing is to be shuffled.
        plan: The directory in which the judge writes what to steer by; None where nothing is steered.
        wait_for_plan: Whether the plan may be written later than the process starts.
        inputs: A .npy or .npz file for a model that is only used.
        batch: How many samples of a batch to use; None for all.
        training: Whether a model that is only used is called in training mode as well.
        skip: So many trainings of the script pass unwatched before the one that is compared.
        recorded_steps: The steps whose layers' values are kept.
        max_bytes: How much of values to keep.
        working_directory: An empty directory, for the script's working directory and all that it writes.
    """

    script: Path
    working_directory: Path
    attribute: str | None = None
    arguments: tuple[str, ...] = ()
    steps: int = 10
    dtype: str = "own"
    order: str = "own"
    plan: Path | None = None
    wait_for_plan: bool = False
    inputs: Path | None = None
    batch: int | None = None
    training: bool = True
    skip: int = 0
    recorded_steps: tuple[int, ...] = (0, 1)
    max_bytes: int = 2**31

    @property
    def float64(self) -> bool:
        """Whether every floating-point number is to be one of 64 bits."""
        return self.dtype == "float64"

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Reads REQUEST.json."""
        values = json.loads(path.read_text())
        for name in ("script", "working_directory", "plan", "inputs"):
            if values.get(name) is not None:
                values[name] = Path(values[name]).absolute()
        for name in ("arguments", "recorded_steps"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)


class Plan:
    """The judge's values, by which a script is steered; read as they are needed.

    Args:
        directory: Where plan.json and plan.safetensors are.
    """

    def __init__(self, directory: Path) -> None:
        self.document: dict[str, Any] = json.loads((directory / "plan.json").read_text())
        self._tensors: Any = safe_open(directory / "plan.safetensors", framework="numpy")
        self._keys: frozenset[str] = frozenset(self._tensors.keys())

    def array(self, key: str | None) -> np.ndarray[Any, Any] | None:
        """The values of a key; None for no key, or one that the plan does not have."""
        return self._tensors.get_tensor(key) if key in self._keys else None

    def step(self, number: int) -> dict[str, Any]:
        """What is planned for a step; empty beyond the last one."""
        steps = self.document.get("steps") or []
        return steps[number] if number < len(steps) else {}

    @property
    def parameters(self) -> dict[str, str]:
        """The keys of the values that parameters and buffers begin with, by path."""
        return self.document.get("parameters") or {}


def wait_for_plan(request: Request) -> Plan | None:
    """The plan, once it is written; None where none is asked for.

    Raises:
        SystemExit: The process that would write it has gone.
    """
    if request.plan is None:
        return None
    parent = os.getppid()
    while request.wait_for_plan and not (request.plan / "plan.json").exists():
        if os.getppid() != parent:
            raise SystemExit("the process that was to write the plan has gone")
        time.sleep(0.02)
    return Plan(request.plan)
