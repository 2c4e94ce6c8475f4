"""What a fault in a pair of scripts is, and what the right answer to it says."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["reference", "port"]


@dataclass(frozen=True)
class Fault:
    """One change of one script of a clean pair.

    Args:
        name: Unique, in words.
        pair: The directory of the clean pair under `pairs`.
        old: The text that is replaced; it occurs exactly once.
        new: What takes its place.
        stages: The stages of `compare.explanation.findings` in which it may be reported.
        causes: Regular expressions, all found in the words of the one finding that names the fault, whatever its
            case: what a competent sentence about the cause would contain.
        place: A regular expression found in the title, the place or the values of that finding.
        side: The script that is changed.
        steps: Optimizer steps that are needed to see it.
    """

    name: str
    pair: str
    old: str
    new: str
    stages: tuple[str, ...]
    causes: tuple[str, ...]
    place: str = ""
    side: Side = "port"
    steps: int = 10
