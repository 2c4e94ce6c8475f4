"""What one rung of the ladder found."""

from dataclasses import dataclass, field
from typing import Any, Literal

from record.first_steps import Trace

RungVerdict = Literal["parity", "not parity", "inconclusive"]
RUNGS = (
    "settings",
    "data",
    "initial_weights",
    "forward",
    "loss",
    "gradients",
    "optimizer",
    "trajectory",
    "outcome",
)


@dataclass(frozen=True)
class Rung:
    """What one rung found.

    `measured` and `bound` are in one unit, which `detail["unit"]` names; `where` is the first place
    that differs, `cause` the likely reason of it.
    """

    name: str
    verdict: RungVerdict
    measured: float | None
    bound: float | None
    where: str | None = None
    cause: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


Sides = dict[str, Trace]
"""The two implementations' traces by name, the reference first."""
