"""The learning rates that a schedule is going to have: at which of its steps they are written down."""

from collections.abc import Callable
from typing import Any

LONGEST = 10_000
_EVERY = 128
_APART = 1.02


def sampled() -> list[int]:
    """Step numbers from 0 on: each of the first 128, then 2 % apart, up to 10,000; the same for every program."""
    at = list(range(_EVERY))
    while at[-1] < LONGEST:
        at.append(max(at[-1] + 1, int(at[-1] * _APART)))
    return at


def planned(per: str, rates: list[float]) -> dict[str, Any]:
    """What is written down of rates that are known from the first on, one for each step of the schedule.

    Args:
        per: What a step of the schedule is: a `step` of the optimizer, or an `epoch`.
        rates: One after the other.
    """
    at = [step for step in sampled() if step < len(rates)]
    return {"per": per, "count": len(rates), "at": at, "values": [rates[step] for step in at]}


def evaluated(per: str, rate: Callable[[int], float], count: int = LONGEST) -> dict[str, Any]:
    """The same of rates that can be asked for at any step."""
    at = [step for step in sampled() if step < count]
    return {"per": per, "count": count, "at": at, "values": [rate(step) for step in at]}
