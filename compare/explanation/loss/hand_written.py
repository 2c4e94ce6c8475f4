"""A loss that is written out: the line of the steered side at which its computation leaves that of the guide."""

from collections.abc import Sequence

import numpy as np

from compare.explanation.context import Context
from compare.explanation.loss.words import Found, Said, named
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.written import Entry, Node, computation, nodes_of, part


def by_parting(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the value at which the steered side's computation leaves the guide's."""
    computations = [
        computation(_nodes(context.guide.observation, step), _nodes(context.steered.observation, step), wanted, seen)
        for step, wanted, seen in list(zip(steps, np.asarray(a), np.asarray(b), strict=True))[:2]
    ]
    told = part(context, "in the loss", computations)
    if told is None:
        return None
    guide, steered = (named(side.observation) for side in (context.guide, context.steered))
    return [Said(told.title, f"{guide}: {told.guide}", f"{steered}: {told.steered}", told.title, told.mend, told.place)]


def _nodes(observation: Observation, step: int) -> list[Node]:
    """The computation of a step's loss from the model's outputs: functions, and the loss functions that are listed."""
    calls = observation.loss_calls[step] if step < len(observation.loss_calls) else []
    terms = observation.losses[step].get("terms") or [] if step < len(observation.losses) else []
    of_terms: list[Entry] = [
        (
            str(term.get("function")),
            dict(term.get("settings") or {}),
            list(term.get("inputs") or []),
            term.get("output") or term.get("values"),
            place(term.get("place")),
        )
        for term in terms
    ]
    return nodes_of(observation, [*of_terms, *(call.entry for call in calls)])
