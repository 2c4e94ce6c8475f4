"""The implementations that can be run: a name, a command, and what a run of it depends on."""

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from compare.run import gpus
from compare.run.sources import sources
from recipe.errors import BadArgumentError, BadInputError
from recipe.own_process import ROOT, own_command

Backend = Literal["tensorflow", "torch", "jax"]


Device = Literal["auto", "cpu", "gpu"]


_WORKERS = ("keras_impl.worker", "lightning_impl.worker")


_DISTRIBUTIONS = ("keras", "tensorflow", "torch", "jax", "lightning", "torchvision", "torchmetrics", "numpy")


@dataclass(frozen=True)
class Implementation:
    """An implementation of the contract: a name and the command that gets `RECIPE.json RUN_DIR` appended."""

    name: str
    command: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The command without this Python at its front, whose path differs between machines; its version counts."""
        return self.command[1:] if self.command[0] in (sys.executable, "python", "python3") else self.command

    @cached_property
    def device(self) -> str:
        """Where its runs are computed on this machine, "cpu" or "gpu"; somebody else's counts as if it used one."""
        options = dict(pairwise(self.words))
        own = any(word in _WORKERS for word in self.words)
        asked = options.get("--device") if own else None
        if asked in ("cpu", "gpu"):
            return asked
        if not gpus.are_there():
            return "cpu"
        if not own:
            return "gpu"
        framework = options.get("--backend", "torch")
        named = os.environ.get("KERAS_TORCH_DEVICE") if options.get("--backend") == "torch" else None
        return gpus.found_by(framework) if named is None else "cpu" if named.startswith("cpu") else "gpu"

    @cached_property
    def determinants(self) -> dict[str, Any]:
        """What a run depends on apart from the recipe: the command, the code, the versions, what `auto` finds."""
        packages = [ROOT / word.split(".")[0] for word in self.words if word in _WORKERS]
        files = [] if packages else sources(self.words)
        for package in [ROOT / "recipe", ROOT / "record", *packages]:
            files += sorted(package.glob("*.py"))
        code = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        return {"command": self.words, "code": code, "device": self.device, "versions": _installed_versions()}


def keras(backend: Backend, device: Device) -> Implementation:
    """The Keras implementation on one of its backends.

    Raises:
        BadInputError: The backend is not installed.
    """
    if find_spec(backend) is None:
        raise BadInputError(f"Keras's {backend} backend is not installed; install it with: pip install {backend}")
    options = ("--backend", backend, "--device", device)
    return Implementation("keras", own_command("keras_impl.worker", *options))


def lightning(device: Device) -> Implementation:
    """The Lightning implementation."""
    return Implementation("lightning", own_command("lightning_impl.worker", "--device", device))


def other(name: str, command: str | Sequence[str]) -> Implementation:
    """Any other implementation: its name, and its command as a line or as words.

    Raises:
        BadArgumentError: The name is unfit, or there is no such command.
    """
    try:
        words = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError as error:
        raise BadArgumentError(f"implementation {name}: {error} in {command!r}") from error
    if not name.isidentifier() or not words:
        raise BadArgumentError(
            f'implementation takes NAME="COMMAND", NAME a word of letters, digits and _; not {f"{name}={command}"!r}'
        )
    if name in ("keras", "lightning"):
        raise BadArgumentError(f"implementation: the name {name!r} is taken; choose another")
    if shutil.which(words[0]) is None:
        raise BadArgumentError(f"implementation {name}: there is no command {words[0]!r}")
    if (
        Path(words[0]).name.startswith("python")
        and words[1:]
        and words[1].endswith(".py")
        and not Path(words[1]).exists()
    ):
        raise BadArgumentError(f"implementation {name}: there is no file {words[1]}")
    return Implementation(name, words)


def _installed_versions() -> dict[str, str]:
    versions = {"python": sys.version}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
