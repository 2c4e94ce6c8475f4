"""One parameter around one optimizer step, and what the files that explain it share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from compare.causes.signatures import (
    ROUNDINGS,
    Evidence,
)
from compare.oracle.bounds import Rounding
from compare.oracle.network import Adam, Array


@dataclass(frozen=True)
class OptimizerState:
    """One parameter around one optimizer step, all in float64; `adam` is what the recipe asks for."""

    adam: Adam
    step: int
    before: Array
    gradient: Array
    first_before: Array
    second_before: Array
    first: Array
    second: Array
    after: Array

    @property
    def rounding(self) -> Rounding:
        """The rounding of the parameter's dtype, in which Adam computes powers too."""
        return Rounding.of(self.adam.power_dtype)

    @property
    def double(self) -> bool:
        """Whether the parameter should be float64."""
        return self.adam.power_dtype == "float64"

    def adams_first(self) -> Array:
        """The first moment that Adam would have made."""
        return self.adam.first_moment(self.first_before, self.gradient)

    def adams_second(self) -> Array:
        """The second moment that Adam would have made."""
        return self.adam.second_moment(self.second_before, self.gradient)

    def adams_update(self) -> Array:
        """What Adam would have subtracted, from the moments as they are recorded."""
        return self.adam.update(self.first, self.second, self.step)

    def first_bound(self) -> Array:
        """The rounding error bound of the first moment."""
        return self.rounding.first_moment(self.first_before, self.gradient, self.adam)

    def second_bound(self) -> Array:
        """The rounding error bound of the second moment."""
        return self.rounding.second_moment(self.second_before, self.gradient, self.adam)

    def update_bound(self) -> Array:
        """Of the update that is larger, the one recorded or Adam's: another optimizer rounds as much of its own."""
        update = np.maximum(np.abs(self.adams_update()), np.abs(self.before - self.after))
        return self.rounding.parameter(self.after, update, self.adam, self.step)


States = Mapping[str, Sequence[OptimizerState]]
"""By parameter, the state of every step until the training diverges."""


Betas = dict[str, float | Mapping[int, float]]
"""By name, a β that was found otherwise than the recipe has it, or one for each step."""


def twice_rounded(one: Evidence) -> Array:
    """Of a decoupled decay: the parameter is rounded after it, and again after the update (torch/optim/adamw.py)."""
    found: Array = 2 * np.abs(one.given.before) / ROUNDINGS
    return found


def by_step(numbers: Mapping[int, float]) -> str:
    """The numbers of all steps; where they stay the same for some, with the steps."""
    digits = 4 if len({f"{number:.4g}" for number in numbers.values()}) > 1 else 9
    groups = [(text, list(steps)) for text, steps in groupby(numbers, lambda step: f"{numbers[step]:.{digits}g}")]
    in_a_row = max(numbers) - min(numbers) + 1 == len(numbers)
    if len(groups) > len(numbers) / 2 and in_a_row:
        return ", ".join(f"{number:.{digits}g}" for number in numbers.values())
    return ", ".join(
        f"{text} in the steps {steps[0]:,} to {steps[-1]:,}" if steps[1:] else f"{text} in step {steps[0]:,}"
        for text, steps in groups
    )
