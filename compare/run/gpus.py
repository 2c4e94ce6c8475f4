"""The GPUs of this machine: whether a framework finds one, and which of them the next run gets."""

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock, Timeout

from recipe import Recipe
from recipe.datasets import bytes_to_train

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What NVIDIA's driver has in /dev, the same under Windows's Linux, and AMD's."""

_FINDS_ONE = {
    "tensorflow": "import tensorflow; gpu = tensorflow.config.list_physical_devices('GPU')",
    "torch": "import torch; gpu = torch.cuda.is_available()",
    "jax": "import jax; gpu = jax.default_backend() != 'cpu'",
}
"""What a framework, asked for `auto`, goes by; the judge imports none of them."""

_CONTEXT = 2 * 10**9
"""Bytes of a GPU that a run takes for context, libraries and workspace. No GPU was at hand to measure it."""

_SECONDS_BETWEEN_LOOKS = 1.0


def are_there() -> bool:
    """Whether there is a GPU that no variable hides: without one, no framework has to be asked."""
    first, _, _ = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")
    return first.strip() not in ("", "-1") and any(Path(driver).exists() for driver in _DRIVERS)


@functools.cache
def found_by(framework: str) -> Literal["cpu", "gpu"]:
    """Where a framework computes if nothing else is said; it is asked once, in a process of its own."""
    code = f"{_FINDS_ONE[framework]}; print('finds', 'gpu' if gpu else 'cpu')"
    process = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    return "gpu" if "finds gpu" in process.stdout else "cpu"


@dataclass(frozen=True)
class Gpu:
    """A GPU by the name that CUDA_VISIBLE_DEVICES has for it; its memory in bytes, 0 where it is not known."""

    name: str
    memory: int
    free: int


def visible() -> list[Gpu]:
    """The GPUs that nvidia-smi lists and CUDA_VISIBLE_DEVICES leaves, in its order; none where nothing lists them."""
    query = ("nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits")
    try:
        process = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in process.stdout.splitlines() if line.strip()]
    # Where the user names some, by these names: CUDA may count in another order than nvidia-smi.
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [uuid for _, uuid, *_ in rows] if named is None else [name.strip() for name in named.split(",")]
    gpus = []
    for name in names:
        row = next((row for row in rows if row[0] == name or row[1].startswith(name)), None)
        memory, free = (1024**2 * int(cell) if cell.isdigit() else 0 for cell in (row[2:4] if row else ("", "")))
        gpus.append(Gpu(name, memory, free))
    return gpus


def bytes_of_a_run(recipe: Recipe) -> int:
    """What a run takes of a GPU, roughly: the framework itself, the images twice while they move, and the network."""
    images = recipe.images
    values = (images.num_training_images + images.num_test_images) * images.num_pixels
    return _CONTEXT + 2 * values * np.dtype(recipe.dtype).itemsize + bytes_to_train(recipe)


@contextlib.contextmanager
def claimed(recipe: Recipe, stop: threading.Event) -> Iterator[str | None]:
    """A GPU for a run, by its name, after waiting for one with room; None where they cannot be told apart.

    A GPU takes as many runs at once as fit into its memory, and always one; the next goes to the GPU with the fewest.
    The places are locks in the system's temporary directory, which end with the process that holds them: comparisons
    and studies that run at the same time share the GPUs, too.

    Raises:
        InterruptedError: Told to stop.
    """
    gpus = visible()
    if not gpus:
        yield None
        return
    needed = bytes_of_a_run(recipe)
    claim = None
    while claim is None:
        if stop.is_set():
            raise InterruptedError
        claim = _claim(gpus, needed)
        if claim is None:
            stop.wait(_SECONDS_BETWEEN_LOOKS)
            gpus = visible() or gpus  # with the memory that is free by now
    name, lock = claim
    try:
        yield name
    finally:
        lock.release()


def _claim(gpus: Sequence[Gpu], needed: int) -> tuple[str, FileLock] | None:
    """A place on a GPU and its lock, which is held; None where all are taken or nothing more fits."""
    directory = Path(tempfile.gettempdir()) / f"mnist-parity-gpus-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for place in range(max(_places(gpu, needed) for gpu in gpus)):
        for gpu in gpus:
            if place >= _places(gpu, needed):
                continue
            lock = FileLock(directory / f"{gpu.name.replace('/', '_')}-{place}.lock")
            with contextlib.suppress(Timeout):
                lock.acquire(blocking=False)
                # The first place is always good; for the others, other people's programs may have left no room.
                if place == 0 or gpu.free >= needed:
                    return gpu.name, lock
                lock.release()
    return None


def _places(gpu: Gpu, needed: int) -> int:
    return max(1, gpu.memory // needed)
