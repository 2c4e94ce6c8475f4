"""What an operation without parameters is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compare.explanation.observed.observation import Array


@dataclass(frozen=True)
class Operation:
    """An operation by its name, with its family: those of a family may stand for each other.

    Args:
        name: What people call it, with its settings.
        family: `activation`, `pooling`, `flatten` and so on.
        function: What it does to an array, (samples, ...), in torch's layout.
        code: How it is written in torch, with {} for its input.
    """

    name: str
    family: str
    function: Callable[[Array], Array]
    code: str = ""

    def __call__(self, x: Array) -> Array | None:
        """What it makes of an array, None of one that does not fit."""
        try:
            with np.errstate(all="ignore"):
                return self.function(x)
        except (ValueError, IndexError, TypeError):
            return None
