"""One tensor of one side beside what the oracle expects of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compare.oracle.network import Array


@dataclass(frozen=True)
class Check:
    """One tensor of one side: what was found, what the oracle expects, how far rounding can carry it."""

    tensor: str
    found: Array
    expected: Array
    bound: Array
    explain: Callable[[], str | None]

    def ratios(self, largest: float) -> Array:
        """|found − expected| / bound, infinite where one of the two is not finite.

        Both sides of a training that diverges overflow, and should: what exceeds `largest` may be
        infinite, and all that follows from it is NaN.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            ratios = np.abs(self.found - self.expected) / self.bound
            overflows = ~np.isfinite(self.expected) | (np.abs(self.expected) > largest)
        finite = np.isfinite(self.found)
        ratios = np.where(finite & np.isfinite(self.expected), ratios, np.inf)
        return np.where(~finite & overflows, 0, ratios)
