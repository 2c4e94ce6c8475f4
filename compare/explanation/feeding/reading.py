"""Where a program reads its data, and from what."""

from typing import Any

from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place


def training_loader(observation: Observation) -> dict[str, Any]:
    """The loader that was trained from; empty if there is none."""
    loaders = [entry for entry in observation.entries("data", "loaders") if isinstance(entry, dict)]
    for entry in loaders:
        if any(iteration.get("grad") for iteration in entry.get("iterations") or ()):
            return entry
    return loaders[0] if loaders else {}


def reading_place(observation: Observation) -> Place | None:
    """Where the data are read; in a loop of one's own, the innermost loop."""
    loops = [entry for entry in observation.entries("data", "epochs", "loops") if isinstance(entry, dict)]
    found = observation.place("data", "fit", "place") or place(training_loader(observation).get("place"))
    return found or (place(loops[-1].get("place")) if loops else None)
