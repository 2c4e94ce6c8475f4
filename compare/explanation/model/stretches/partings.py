"""Where two computations part that no known operation tells apart: the first value of one that the other has not."""

from collections.abc import Sequence

import numpy as np

from compare.explanation.model.stretches.parallel import alike
from compare.explanation.model.stretches.passes import Pass, array_of, line_of_call
from compare.explanation.model.stretches.segments import few
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.values import Match
from compare.explanation.words import off_by


def say_end_apart(one: Pass, key: str | None, found: Match) -> None:
    """What a model ends with differs: the lines that make it of values that both sides have.

    Args:
        one: The pass.
        key: Of what the steered side ends with.
        found: How far both ends are apart.
    """
    context = one.context
    sides = [_values(one, side, calls) for side, calls in enumerate((one.guide_calls, one.steered_calls))]
    known = [[value for _, value in values] for values in sides]
    steered = _own(one.steered_calls, [call for call, value in sides[1] if not _is_among(value, known[0])], key)
    guide = [call for call, value in sides[0] if call.layer is None and not _is_among(value, known[1])]
    if not steered:
        return
    line = line_of_call(context, steered[0])
    names = [", ".join(dict.fromkeys(call.name for call in calls)) or "nothing else" for calls in (guide, steered)]
    over_batch = _over_batch(sides)
    words = None
    if over_batch is not None:
        call, by_steered = over_batch
        name = f"{call.name} gives one number, the sum over the batch's samples as well"
        in_port = by_steered == context.guide_is_reference
        words = f"{name}; the reference has one for each sample" if in_port else f"in the reference, {name}"
        line = line_of_call(context, call) if by_steered else line
    context.find(
        "forward",
        words or "what the model ends with differs; no known cause fits",
        guide=names[0],
        steered=names[1],
        places=(guide[0].place if guide else None, line),
        effect=min(found.deviation, 1.0),
        effect_text=f"what the model ends with is {off_by(found.deviation, 'its largest value')}",
        cause=words,
    )


def _values(one: Pass, side: int, calls: Sequence[Call]) -> list[tuple[Call, Array]]:
    """Each call, and what it gives."""
    found = ((call, array_of(one, side, call.outputs[0] if call.outputs else None)) for call in calls)
    return [(call, few(value)) for call, value in found if value is not None]


def _is_among(value: Array, others: Sequence[Array]) -> bool:
    return any(value.size == other.size and alike(value.reshape(-1), other.reshape(-1)) for other in others)


def _own(calls: Sequence[Call], apart: Sequence[Call], key: str | None) -> list[Call]:
    """The calls on the way to an end that give what the other side has not, in their order.

    What one side does in another number of steps, and comes to the same, is before them.
    """
    makers = {output: call for call in calls for output in call.outputs if output is not None}
    found: list[Call] = []
    ends = [makers[key]] if key in makers else list(apart[-1:])
    while ends:
        call = ends.pop()
        if call in apart and call not in found:
            found.append(call)
            ends += [makers[k] for k in call.inputs if k in makers and makers[k] is not call]
    return sorted(found, key=lambda call: call.index)


def _over_batch(sides: Sequence[Sequence[tuple[Call, Array]]]) -> tuple[Call, bool] | None:
    """A call that gives one number, which is the sum of what the other side has of each sample; and whose it is."""
    for values, others, by_steered in ((sides[0], sides[1], False), (sides[1], sides[0], True)):
        for call, value in values:
            if value.size == 1 and any(_adds_up(value, other) for _, other in others):
                return call, by_steered
    return None


def _adds_up(value: Array, other: Array) -> bool:
    per_sample = other.size == len(other) if other.ndim else False
    return per_sample and other.size > 1 and bool(np.isclose(value.item(), other.sum(), rtol=1e-6, atol=0))


def say_exchanged(one: Pass, pair: Pair, windows: tuple[Sequence[Call], Sequence[Call]], found: Match) -> bool:
    """Entries that are taken by one of two indices where the reference takes them by the other; whether that is it.

    The ends of a graph's edges, for one: what else the exchanged indices are used for is said by that.

    Args:
        one: The pass.
        pair: The layer that is reached.
        windows: The calls before it, of the guide and of the steered side.
        found: How far what reaches it is apart.
    """
    context = one.context
    used = [index for call in windows[1] for index in _indices(one, 1, call)]
    if any(_equal(index, known) for index in used for known in context.exchanged):
        return True
    indices = [index for call in one.steered_calls for index in _indices(one, 1, call)]
    for call in windows[1]:
        for other in windows[0]:
            first, second = _taken(one, 0, other), _taken(one, 1, call)
            if first is None or second is None or not alike(first[0], second[0]) or _equal(first[1], second[1]):
                continue
            if first[1].size == second[1].size and any(_equal(first[1], index) for index in indices):
                context.exchanged += [first[1], second[1]]
                title = "entries are taken by the wrong one of two indices: the two are exchanged"
                context.find(
                    "forward",
                    f"{title} (before {context.name(pair)})",
                    guide=f"{other.name} by one index",
                    steered=f"{call.name} by the index that the other side uses elsewhere",
                    places=(other.place, call.place),
                    effect=min(found.deviation, 1.0),
                    effect_text=f"what reaches {context.name(pair)} is {off_by(found.deviation, 'its largest value')}",
                    cause=title,
                    mend="exchange the two",
                )
                return True
    return False


def _taken(one: Pass, side: int, call: Call) -> tuple[Array, Array] | None:
    """Of a call that takes entries by an index: the values that it takes them from, and the index."""
    inputs = [array for key in call.inputs if (array := array_of(one, side, key)) is not None]
    index = [array for array in inputs if _is_index(array)]
    values = [array for array in inputs if array.dtype.kind == "f" and array.ndim > 1]
    return (few(values[0]), index[0]) if call.layer is None and len(index) == len(values) == 1 else None


def _indices(one: Pass, side: int, call: Call) -> list[Array]:
    """The indices that a call is given."""
    arrays = (array_of(one, side, key) for key in call.inputs)
    return [array for array in arrays if array is not None and _is_index(array)]


def _is_index(array: Array) -> bool:
    return array.dtype.kind in "iu" and array.ndim == 1 and array.size > 1


def _equal(first: Array, second: Array) -> bool:
    return first.shape == second.shape and bool(np.array_equal(first, second))
