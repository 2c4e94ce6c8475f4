"""What a figure was measured on: hardware, versions, date, and how busy the machine was."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from record.worker import versions

PACKAGES = ("keras", "tensorflow", "torch", "lightning", "torchvision", "torchmetrics", "numpy")

_FIND_GPU = """
import json, torch
name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
print(json.dumps(name))
"""


def describe(*more: str) -> dict[str, Any]:
    """The machine, as a figure states it; `more` are packages that this figure depends on as well."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": gpu_name(),
        "load_average_before": os.getloadavg()[0],
        "versions": versions(*PACKAGES, *(("jax",) if find_spec("jax") else ()), *more),
    }


def in_a_line(machine: dict[str, Any]) -> str:
    """The hardware and the date, for a caption."""
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
    gpu = machine["gpu"] or "no GPU"
    return f"{machine['cpu']}, {machine['cores']} cores, {memory}, {gpu}; {machine['date'][:10]}"


def versions_in_a_line(versions: Mapping[str, str]) -> str:
    """The versions, for a caption."""
    return ", ".join(f"{package} {number}" for package, number in versions.items())


def cpu_model() -> str:
    """The CPU's name as the system gives it."""
    if sys.platform == "darwin":
        command = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str | None:
    """The GPU that torch finds, or None; asked in a process of its own."""
    found = subprocess.run((sys.executable, "-c", _FIND_GPU), capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])
