"""A layer of the user's own on both sides: the line of the steered side at which its computation leaves the guide's."""

from collections.abc import Sequence

import numpy as np

from compare.explanation.model.stretches.passes import Pass, array_of
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.values import Match
from compare.explanation.written import Told, computation, nodes_of, part


def inside(one: Pass, where: str, left: Call, right: Call, given: Match) -> Told | None:
    """What differs inside of a layer that gives something else of the same input; None where that is not known.

    Args:
        one: The pass.
        where: Of what layer it is, as a title says it.
        left: The guide's call.
        right: The steered side's.
        given: How what comes out of both fits together.
    """
    context = one.context
    guide, steered = context.guide.observation, context.steered.observation
    wanted, seen = guide.array(left.outputs[0]), array_of(one, 1, right.outputs[0])
    if wanted is None or seen is None:
        return None

    def turned(array: Array) -> Array:
        return np.moveaxis(array, -1, 1) if given.layout == "channels first" and array.ndim == wanted.ndim else array

    of_guide = nodes_of(guide, [call.entry for call in _calls(one.guide_calls, left)], turned)
    of_steered = nodes_of(steered, [call.entry for call in _calls(one.steered_calls, right)])
    return part(context, where, [computation(of_guide, of_steered, turned(wanted), seen)])


def _calls(calls: Sequence[Call], layer: Call) -> Sequence[Call]:
    """The functions that a layer's call is made of."""
    if layer.inside:
        return layer.inside
    before = [call for call in calls if call.index < layer.index]
    earlier = max((call.index for call in before if call.layer == layer.layer), default=-1)
    return [call for call in before if call.parent == layer.layer and call.index > earlier]
