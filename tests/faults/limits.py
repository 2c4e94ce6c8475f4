"""`python -m tests.faults.limits`: measures the smallest change that a rung catches, and writes it into docs/parity.md.

Each change is planted in the clean network of the default recipe, and its size halved between what is caught and what
is not until the two are within a tenth.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compare.ladder import arithmetic
from compare.ladder.optimizer import optimizer
from compare.ladder.rung import Rung, Sides
from recipe import Recipe
from record.first_steps import Step, Trace
from tests.faults.clean import digits, trace
from tests.faults.layered import Layered
from tests.faults.table import DOCUMENT, between_marks
from tests.faults.zoo import Array, Base

DTYPES = ("float32", "float64")
LAYER = "hidden_2"

Plant = Callable[[float], Trace]
Limits = dict[str, tuple[str, dict[str, float]]]
"""By change: the rung, and the smallest size that it catches in each dtype."""


class Changed:
    """A recipe in which the optimizer reads another number."""

    def __init__(self, recipe: Recipe, **changes: Any) -> None:
        self._recipe, self._changes = recipe, changes

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._recipe, name)


def first_step(clean: Trace, change: Callable[[Step], dict[str, Any]]) -> Trace:
    """The first step alone, with some fields changed."""
    step = clean.steps[0]
    return dataclasses.replace(clean, steps=[dataclasses.replace(step, **change(step))])


def scaled(array: Array, size: float) -> Array:
    """(1 + size) times as much, rounded once."""
    return (array.astype(np.longdouble) * (1 + np.longdouble(size))).astype(array.dtype)


def stepping(recipe: Recipe, decay: float = 0.0, **changes: Any) -> Trace:
    """Ten steps of an optimizer that reads other numbers, or decays the weights, and does not say so."""

    class Other(Base):
        def update(self, name: str, g: Array) -> Array:
            taken = super().update(name, g)
            return taken + self.real(recipe.learning_rate * decay) * self.parameters[name] if decay else taken

    net = Other(recipe, digits())
    net.num_batches, net.recipe = 12, Changed(recipe, **changes)
    return Trace(**net.trace(), **net.header())


def catches(rung: Callable[[Sides], Rung], plant: Plant, size: float) -> bool:
    """Whether the rung calls the trace with a change of this size another program."""
    found = plant(size)
    with np.errstate(all="ignore"):
        return rung({"one": found, "other": found}).verdict == "not parity"


def smallest(rung: Callable[[Sides], Rung], plant: Plant) -> float:
    """The smallest size that is caught, within a tenth."""
    low, high = 2.0**-56, 1.0
    while high / low > 1.1:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if catches(rung, plant, middle) else (middle, high)
    return high


def measured() -> Limits:
    """The limits under the default recipe."""
    found: Limits = {}
    for dtype in DTYPES:
        for name, (rung, plant) in plants(Recipe(dtype=dtype)).items():  # type: ignore[arg-type]
            found.setdefault(name, (rung.__name__, {}))[1][dtype] = smallest(rung, plant)
            print(name, dtype, found[name][1][dtype], flush=True)
    return found


def table(limits: Limits) -> str:
    """Markdown; the bits of what is only moved need no measuring."""
    lines = ["| changed, by a share of itself | rung | float32 | float64 |", "| --- | --- | ---: | ---: |"]
    lines.append("| a byte of the images or labels of an epoch | `data` | any | any |")
    lines.append("| one initial weight | `initial_weights` | one bit | one bit |")
    for name, (rung, sizes) in limits.items():
        texts = (_text(sizes[dtype], dtype, exact=not name.startswith("β")) for dtype in DTYPES)
        lines.append(f"| {name} | `{rung}` | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _text(size: float, dtype: str, *, exact: bool) -> str:
    """A size; less than half of ε of what is kept in this dtype, or in float64, is one bit where it is anything."""
    half = float(np.finfo(dtype if exact else "float64").eps) / 2
    return "one bit" if size < half else f"{size:.1g}"


def plants(recipe: Recipe) -> dict[str, tuple[Callable[[Sides], Rung], Plant]]:
    """What is planted, by what it is called; and the rung that is to catch it."""
    clean = trace(Base, recipe)
    dropping = trace(Layered, dataclasses.replace(recipe, dropout=0.2))
    beta_1, beta_2 = recipe.adam_betas
    assert recipe.epsilon

    def of_weight(size: float) -> Trace:
        """The largest weight of a layer as if it were larger, in what the layer computes."""
        kernel, step = clean.initial_weights[f"{LAYER}.kernel"], clean.steps[0]
        row, column = np.unravel_index(int(np.abs(kernel).argmax()), kernel.shape)
        z = step.preactivations[LAYER].astype(np.float64)
        z[:, column] += size * kernel[row, column] * step.activations["hidden_1"][:, row].astype(np.float64)
        z = z.astype(recipe.dtype)
        return first_step(
            clean,
            lambda step: {
                "preactivations": step.preactivations | {LAYER: z},
                "activations": step.activations | {LAYER: np.maximum(z, 0)},
            },
        )

    def of(group: str, name: str) -> Plant:
        def plant(size: float) -> Trace:
            def change(step: Step) -> dict[str, Any]:
                found = getattr(step, group)
                return {group: found | {name: scaled(found[name], size)}}

            return first_step(dropping if group == "dropped" else clean, change)

        return plant

    def rate(size: float) -> Trace:
        """What dropout keeps is scaled for a rate so much larger."""
        return of("dropped", LAYER)((1 - 0.2) / (1 - 0.2 * (1 + size)) - 1)

    return {
        f"activations of `{LAYER}`": (arithmetic.forward, of("activations", LAYER)),
        f"largest weight of `{LAYER}`, as used": (arithmetic.forward, of_weight),
        "dropout rate 0.2": (arithmetic.forward, rate),
        "loss": (arithmetic.loss, lambda size: first_step(clean, lambda step: {"loss": step.loss * (1 + size)})),
        f"gradient of `{LAYER}.kernel`": (arithmetic.gradients, of("gradients", f"{LAYER}.kernel")),
        "learning rate": (optimizer, lambda size: stepping(recipe, learning_rate=recipe.learning_rate * (1 + size))),
        "ε": (optimizer, lambda size: stepping(recipe, epsilon=recipe.epsilon * (1 + size))),
        "β₁": (optimizer, lambda size: stepping(recipe, adam_betas=(beta_1 * (1 - size), beta_2))),
        "β₂": (optimizer, lambda size: stepping(recipe, adam_betas=(beta_1, beta_2 * (1 - size)))),
        "decoupled weight decay, from none": (optimizer, lambda size: stepping(recipe, decay=size)),
    }


if __name__ == "__main__":
    DOCUMENT.write_text(between_marks(DOCUMENT.read_text(), "limits", table(measured())))
