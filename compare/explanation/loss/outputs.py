"""A model with several outputs: the loss of each, where both sides have a function for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.arithmetic.losses import Sample, find
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.loss.formulas import differences
from compare.explanation.loss.words import Said
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.words import off_by

_ALIKE = 1e-6
"""What probabilities that are clipped, and constants rounded to float32, make of a loss is less."""


@dataclass(frozen=True)
class _Term:
    """The loss of one output: its function, its line, and at each step its value, target and prediction."""

    function: str
    output: str
    place: Place | None
    values: tuple[float, ...]
    targets: tuple[Array, ...]
    predictions: tuple[Array, ...]


def other_outputs(context: Context, steps: Sequence[int]) -> bool:
    """Whether the losses of some outputs are alike and those of others not; says of these what differs."""
    steps = [step for step in steps if step < len(context.guide.observation.calls)]
    guide, steered = (_terms(side.observation, steps) for side in (context.guide, context.steered))
    if len(guide) < 2 or len(guide) != len(steered) or not steps:
        return False
    pairs = [(first, _of_same_output(first, steered)) for first in guide]
    if any(second is None for _, second in pairs) or len({id(second) for _, second in pairs}) < len(guide):
        return False
    apart = [(first, second) for first, second in pairs if second is not None and not _alike(first, second)]
    if not apart or len(apart) == len(pairs):
        return False
    for first, second in apart:
        _say(context, first, second)
    return True


def _terms(observation: Observation, steps: Sequence[int]) -> list[_Term]:
    """The terms that are there at every step; empty if that is not the same number at each."""
    rows = [observation.losses[step].get("terms") or [] for step in steps]
    if not rows or len({len(row) for row in rows}) > 1:
        return []
    found = []
    for number, entry in enumerate(rows[0]):
        column = [row[number] for row in rows]
        values = [term.get("value") for term in column]
        arrays = [observation.arrays((term.get("inputs") or [])[:2]) for term in column]
        if not all(isinstance(value, int | float) for value in values):
            return []
        if not all(len(both) == 2 and both[0] is not None and both[1] is not None for both in arrays):
            return []
        at = 0 if observation.framework == "keras" else 1  # Keras's losses take the target first
        found.append(
            _Term(
                str(entry.get("function")),
                str(entry.get("output") or number + 1) if observation.framework == "keras" else str(number + 1),
                place(entry.get("place")),
                tuple(map(float, values)),
                tuple(both[at] for both in arrays),  # type: ignore[misc]
                tuple(both[1 - at] for both in arrays),  # type: ignore[misc]
            )
        )
    return found


def _of_same_output(term: _Term, others: list[_Term]) -> _Term | None:
    """The other side's term of the same target; where several have it, of the same prediction as well."""
    fitting = [other for other in others if _same(term.targets[0], other.targets[0])]
    if len(fitting) != 1:
        fitting = [other for other in fitting or others if _same(term.predictions[0], other.predictions[0])]
    return fitting[0] if len(fitting) == 1 else None


def _same(a: Array, b: Array) -> bool:
    return a.size == b.size and bool(np.allclose(a.reshape(-1), b.reshape(-1), rtol=_ALIKE, atol=1e-9))


def _alike(first: _Term, second: _Term) -> bool:
    return bool(np.allclose(first.values, second.values, rtol=_ALIKE, atol=1e-12))


def _say(context: Context, first: _Term, second: _Term) -> None:
    samples = [
        Sample(np.asarray(z, np.float64), None, np.asarray(y))
        for z, y in zip(first.predictions, first.targets, strict=True)
    ]
    formulas = find(samples, list(first.values)), find(samples, list(second.values))
    known = differences(context, formulas[0], formulas[1]) if formulas[0] and formulas[1] else []
    far = max(abs(b - a) / max(abs(a), 1e-12) for a, b in zip(first.values, second.values, strict=True))
    title = context.differs("loss function", first.function, second.function)
    for said in known or [Said(title, "", "", "", "")]:
        context.find(
            "loss",
            f"output {first.output}: {said.title}",
            guide=f"{formulas[0] or first.function}; loss {first.values[0]:.6g}",
            steered=f"{formulas[1] or second.function}; loss {second.values[0]:.6g}",
            places=(first.place, second.place),
            effect=min(far, 10.0),
            effect_text=f"the loss of this output is {off_by(far, 'itself')}, those of the other outputs are alike",
            cause=said.cause or None,
            mend=said.mend,
        )
