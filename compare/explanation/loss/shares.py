"""A loss of which one term differs: by how much, and whether a mean counts the places that a mask leaves out."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.loss.words import Found, Said
from compare.explanation.observed.observation import Array, Call, Observation, place

_EQUAL = 1e-6
"""What probabilities that are clipped, and constants rounded to float32, make of a loss is less."""


@dataclass(frozen=True)
class _Apart:
    """The one term of the guide's that is another on the steered side, divided by its weight, at each step."""

    name: str
    guide: Array
    steered: Array
    place: Place | None
    alone: bool


def by_share(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the term that differs: as a mean over all places in place of those that a mask keeps, or the other way round.

    The only term of a loss is told by its mask alone.
    """
    observations = (context.guide.observation, context.steered.observation)
    steps = [step for step in steps if all(step < len(side.calls) for side in observations)]
    apart = _apart(context, steps, a[: len(steps)], b[: len(steps)])
    if apart is None or len(steps) < _ENOUGH:
        return None
    ratio = apart.steered / apart.guide
    for share in itertools.chain.from_iterable(_shares(side, steps) for side in observations):
        if _alike(ratio, share):
            return [_of_mask(context, apart, float(share[0]), all_by_port=context.guide_is_reference)]
        if _alike(ratio, 1 / share):
            return [_of_mask(context, apart, float(share[0]), all_by_port=not context.guide_is_reference)]
    if apart.alone:
        return None
    title = f"of the loss's terms {apart.name} alone differs; no known cause fits"
    values = [f"{apart.name}: {values[0]:.6g}" for values in (apart.guide, apart.steered)]
    return [Said(title, values[0], values[1], "", "", apart.place)]


def _of_mask(context: Context, apart: _Apart, share: float, *, all_by_port: bool) -> Said:
    over = ("over all values, those included that a mask leaves out", f"over the {share:.0%} that the mask keeps")
    port, reference = over if all_by_port else over[::-1]
    guide, steered = (reference, port) if context.guide_is_reference else (port, reference)
    title = f"the mean of {apart.name} is taken {port}; the reference's {reference}"
    mend = "(loss * mask).sum() / mask.sum()" if all_by_port else "(loss * mask).mean()"
    return Said(title, guide, steered, title, mend, apart.place)


def _apart(context: Context, steps: Sequence[int], a: Array, b: Array) -> _Apart | None:
    """The one term that differs, where the guide's terms add up to its loss; None if that is not how it is."""
    rows = [context.guide.observation.losses[step].get("terms") or [] for step in steps]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        return None
    values = [[term.get("value") for term in row] for row in rows]
    if not all(isinstance(value, int | float) for row in values for value in row):
        return None
    terms = np.array(values, np.float64)
    weights = np.array([1.0 if term.get("weight") is None else float(term["weight"]) for term in rows[0]])
    if not np.allclose(terms @ weights, a, rtol=_EQUAL, atol=0):
        return None
    scalars = list(_scalars(context.steered.observation, steps))
    unlike = [j for j in range(terms.shape[1]) if not any(_alike(column, terms[:, j]) for column, _ in scalars)]
    if len(unlike) != 1 or not (terms[:, unlike[0]] > 0).all() or not weights[unlike[0]]:
        return None
    j = unlike[0]
    others = [i for i in range(terms.shape[1]) if i != j]
    rest = (b - terms[:, others] @ weights[others]) / weights[j]
    made = next((line for column, line in scalars if _alike(column, rest)), None)
    term = rows[0][j]
    name = f"{term.get('function')} of {term['output']}" if term.get("output") else str(term.get("function"))
    return _Apart(name, terms[:, j], rest, made, alone=terms.shape[1] == 1)


def _alike(column: Array, values: Array) -> bool:
    return bool(np.allclose(column, values, rtol=_EQUAL, atol=0))


def _scalars(observation: Observation, steps: Sequence[int]) -> Iterator[tuple[Array, Place | None]]:
    """The single numbers that a loss is made of, at each step, and their lines."""
    terms = [observation.losses[step].get("terms") or [] for step in steps]
    for column in zip(*terms, strict=False):
        values = [term.get("value") for term in column]
        if all(isinstance(value, int | float) for value in values):
            yield np.array(values, np.float64), place(column[0].get("place"))
    for calls in zip(*_calls(observation, steps), strict=False):
        arrays = [observation.array(next(iter(call.outputs), None)) for call in calls]
        if all(array is not None and array.size == 1 for array in arrays):
            yield np.array([float(array.item()) for array in arrays if array is not None]), calls[0].place


def _calls(observation: Observation, steps: Sequence[int]) -> list[list[Call]]:
    """The calls of the loss at each step; Keras's may not be known."""
    return [observation.loss_calls[step] if step < len(observation.loss_calls) else [] for step in steps]


def _shares(observation: Observation, steps: Sequence[int]) -> Iterator[Array]:
    """Of each mask that meets the loss, and of targets whose gaps are negative, how much it keeps at each step."""
    for calls in zip(*_calls(observation, steps), strict=False):
        for keys in zip(*(call.inputs for call in calls), strict=False):
            shares = [_share(observation.array(key)) for key in keys]
            if all(shares):
                yield np.array(shares)
    for terms in zip(*(observation.losses[step].get("terms") or [] for step in steps), strict=False):
        for keys in zip(*(term.get("inputs") or [] for term in terms), strict=False):
            shares = [_share(observation.array(key), gaps=True) for key in keys]
            if all(shares):
                yield np.array(shares)


def _share(array: Array | None, *, gaps: bool = False) -> float:
    """How much of a mask of zeros and ones is one; with gaps, how much of whole numbers is not negative; else 0."""
    if array is None:
        return 0.0
    values = np.unique(array).tolist()
    whole = gaps and values and values[0] < 0 and all(value == round(value) for value in values)
    return float(np.mean(array != 0)) if values == [0, 1] else float(np.mean(array >= 0)) if whole else 0.0


_ENOUGH = 2
"""Of so many steps no two ratios are a mask's shares by chance."""
