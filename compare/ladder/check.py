"""One tensor of one side against what the oracle expects of it, and the rung that many of them make."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from compare.causes.signatures import UNKNOWN
from compare.ladder.rung import Rung, Sides
from compare.oracle.network import Array
from record.first_steps import Trace


@dataclass(frozen=True)
class Check:
    """One tensor of one side: what was recorded, what the oracle expects, how far rounding can carry it.

    `alternatives` are as right as `expected` where that is not finite: what one makes of 0 times NaN is its own.
    """

    tensor: str
    recorded: Array
    expected: Array
    bound: Array
    explain: Callable[[], str | None]
    alternatives: tuple[Array, ...] = ()
    moves: Array | None = None

    @property
    def effect(self) -> float:
        """‖recorded − expected‖ relative to `moves`, what a step changes here, or else to what is expected.

        Infinite where a number is not finite.
        """
        size = float(np.linalg.norm(self.expected if self.moves is None else self.moves))
        off = float(np.linalg.norm(self.recorded - self.expected))
        return off / size if size and np.isfinite(off / size) else float("inf")

    def ratios(self, largest: float) -> Array:
        """|recorded − expected| / bound, infinite where one of the two is not finite.

        Both sides of a training that diverges overflow, and should: what exceeds `largest` may be
        infinite, and all that follows from it is NaN.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            ratios = np.abs(self.recorded - self.expected) / self.bound
            overflows = ~np.isfinite(self.expected) | (np.abs(self.expected) > largest)
            others = [np.abs(self.recorded - other) / self.bound for other in self.alternatives]
        # Behind NaN there is no bound: whether a number may stand there is all that can be said.
        others = [
            np.where(np.isnan(self.bound) & np.isfinite(other), 0, off)
            for other, off in zip(self.alternatives, others, strict=True)
        ]
        finite, expected_finite = np.isfinite(self.recorded), np.isfinite(self.expected)
        ratios = np.where(finite & expected_finite, ratios, np.inf)
        for other in others:
            ratios = np.where(finite & ~expected_finite, np.fmin(ratios, other), ratios)
        return np.where(~finite & overflows, 0, ratios)


def rung_of(name: str, sides: Sides, checks: Callable[[Trace], Iterator[Check]]) -> Rung:
    """Fails at the first tensor, in the order of computation, that holds a number out of bounds."""
    largest = effect = 0.0
    where = cause = None
    by_tensor: dict[str, dict[str, float]] = {}
    for side, trace in sides.items():
        for check in checks(trace):
            ratios = check.ratios(_overflows_from(trace.recipe.dtype))
            worst = float(ratios.max(initial=0))
            kind = check.tensor.partition(": ")[2]
            side_ratios = by_tensor.setdefault(kind, {})
            side_ratios[side] = max(side_ratios.get(side, 0.0), worst)
            largest = max(largest, worst)
            if worst > 1:
                effect = max(effect, check.effect)
            if worst > 1 and where is None:
                index = tuple(int(i) for i in np.unravel_index(int(ratios.argmax()), ratios.shape))
                recorded, expected = float(check.recorded[index]), float(check.expected[index])
                place = f" at {index}" if index else ""
                where = f"{side}, {check.tensor}{place}: {recorded:.9g}, expected {expected:.9g}"
                cause = _explained(check) or UNKNOWN
                break
    return Rung(
        name,
        "parity" if where is None else "not parity",
        measured=largest if np.isfinite(largest) else None,
        bound=1.0,
        where=where,
        cause=cause,
        detail={"unit": "error / bound", "tensors": by_tensor} | ({"effect": effect} if where else {}),
    )


def _explained(check: Check) -> str | None:
    try:
        return check.explain()
    except np.linalg.LinAlgError:  # of numbers that overflow, nothing can be solved for
        return None


def _overflows_from(dtype: str) -> float:
    """Sums whose terms are below the dtype's largest number by a factor of 1/eps may overflow on their way."""
    info = np.finfo(dtype)
    return float(info.max * info.eps)
