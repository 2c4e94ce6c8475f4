"""A value that one side reshapes where the other lets its axes change places: shapes fit, and the numbers do not."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compare.explanation.model.stretches.parallel import alike
from compare.explanation.model.stretches.passes import Pass
from compare.explanation.observed.observation import Array, Call, Observation
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.values import Match, match
from compare.explanation.operations.reordering import is_reshaping, keeps_axes, reorderings
from compare.explanation.words import off_by


@dataclass(frozen=True)
class Reshaped:
    """A reshape that should have been a permutation.

    Args:
        by_guide: Whether it is the guide that reshapes.
        call: The reshape.
        shapes: What goes in and what comes out of it.
        code: What gives the other side's values, in torch, with {} for what is reshaped.
    """

    by_guide: bool
    call: Call
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    code: str

    @property
    def words(self) -> str:
        """What is reshaped to what."""
        first, second = ("(samples, " + ", ".join(map(str, shape[1:])) + ")" for shape in self.shapes)
        return f"{self.call.name} of {first} to {second}"

    def mend(self) -> str:
        """The line with axes that change places; by itself where the line cannot be told."""
        line = "" if self.call.place is None else self.call.place.code
        (found, *more) = [*_RESHAPE.finditer(line), None]
        if found is None or more != [None]:
            return self.code.format("x")
        return line[: found.start()] + self.code.format(found[1]) + line[found.end() :]


_RESHAPE = re.compile(r"([\w.\[\]]+)\.(?:view|reshape|unflatten)\((?:[^()]|\([^()]*\))*\)")


def say_reshaped(
    one: Pass, pair: Pair, guide: Sequence[Call], steered: Sequence[Call], fed: Match, reached: str = ""
) -> bool:
    """Says of a value that is reshaped where its axes should change places; whether there is one.

    Args:
        one: The pass.
        pair: The layer that is reached, or after which both go on.
        guide: The guide's calls up to there.
        steered: The steered side's.
        fed: What both come to.
        reached: What that is, in words; left out, the layer.
    """
    context = one.context
    reached = f"what reaches {reached or context.name(pair)} is in another order"
    if one.mode == "evaluation" and context.says(re.escape(reached)):
        return True
    found = reshaped(one, guide, steered)
    if found is None or context.says(re.escape(found.words)):
        return False
    own, other = f"{found.words}, which leaves the values in their order", "axes change places (permute, transpose)"
    of_port = found.by_guide != context.guide_is_reference
    title = (
        f"{found.words} where axes should change places (permute, transpose)"
        if of_port
        else f"axes change places where the reference reshapes ({found.words})"
    )
    line = found.call.place
    context.find(
        "forward",
        f"{title}: {reached}",
        guide=own if found.by_guide else other,
        steered=other if found.by_guide else own,
        places=(line, steered[-1].place) if found.by_guide else (pair.guide.place, line or pair.port.place),
        effect=min(fed.deviation, 1.0),
        effect_text=off_by(fed.deviation, "the largest value"),
        cause=title,
        mend="" if found.by_guide or context.frameworks[1] != "torch" else found.mend(),
    )
    return True


def reshaped(one: Pass, guide: Sequence[Call], steered: Sequence[Call]) -> Reshaped | None:
    """A reshape in one of the two windows whose values the other side has in another order; None if there is none.

    One that only joins or divides axes is none: what follows may go on from it as the other side does.

    Args:
        one: The pass.
        guide: The guide's calls to look at, in their order.
        steered: The steered side's.
    """
    both = one.context.guide.observation, one.context.steered.observation
    for by_guide, (own, other), calls, others in (
        (False, both[::-1], steered, guide),
        (True, both, guide, steered),
    ):
        for call in calls:
            before, after = own.array(next(iter(call.inputs), None)), own.array(next(iter(call.outputs), None))
            if before is None or after is None or not is_reshaping(before, after):
                continue
            wanted = [array for array in _values(other, others) if alike(array, after)]
            if not wanted or any(_fits(array, after) for array in wanted):
                continue
            for code, made in reorderings(before, after.shape):
                if any(_fits(array, made) for array in wanted):
                    return Reshaped(by_guide, call, (before.shape, after.shape), code)
    return None


def _values(observation: Observation, calls: Sequence[Call]) -> Iterator[Array]:
    for call in calls:
        for key in (*call.inputs, *call.outputs, call.preactivation):
            array = observation.array(key)
            if array is not None and array.ndim > 1:
                yield array


def _fits(wanted: Array, made: Array) -> bool:
    found = match(wanted, made)
    if found is None or not found.rounded:
        return False
    return found.layout != "reshaped" or keeps_axes(wanted.shape, made.shape)
