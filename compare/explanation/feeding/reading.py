"""Where a program reads its data, and from what."""

import re
from typing import Any

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place
from compare.explanation.origins import made_at


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


_CODE = {
    r"standardised": r"Normalize|mean|std",
    r"transposed": r"transpose|permute|\.T\b|swapaxes|moveaxis|reshape|view",
    r"channels reversed": r"::-1|flip|BGR|RGB",
    r"mirror image": r"[Ff]lip|::-1",
    r"reshaped": r"reshape|view",
    r"logarithm": r"log|exp",
    r"squared|square root": r"sqrt|square|\*\* ?",
    r"rounded": r"round|int",
    r"inverted|reversed": r"\b\d+(\.\d*)? ?- ?|::-1|flip",
    r"smoothed": r"smooth",
    r"labels off by": r"[+-] ?\d",
}
"""How lines look that do this to samples or labels."""


def lines_of(
    context: Context, places: tuple[Place | None, Place | None], words: str
) -> tuple[Place | None, Place | None]:
    """The lines that make the samples what they are, where one of the lines that lead to the batches looks so."""
    patterns = [
        rf"[/*] ?(np\.\w+\()?{re.escape(text)}(\.0*)?(?!\w)"
        for text in re.findall(r"(?:by|of) (\d+(?:\.\d+)?)\b", words)
    ]
    patterns += [pattern for kind, pattern in _CODE.items() if re.search(kind, words)]
    first, second = places
    for pattern in patterns:
        if first == places[0]:
            first = made_at(first, context.folders[0], pattern)
        if second == places[1]:
            second = made_at(second, context.folders[1], pattern)
    return first, second
