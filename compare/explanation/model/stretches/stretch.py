"""The stretches between paired layers, and the one before the loss: what differs in them, and how it is said."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compare.explanation.arithmetic.settings import settings_of
from compare.explanation.context import Context
from compare.explanation.feeding.data import AUGMENTED_APART, augments, augments_apart
from compare.explanation.findings import joined
from compare.explanation.model.stretches.parallel import alike, figures
from compare.explanation.model.stretches.partings import say_end_apart, say_exchanged
from compare.explanation.model.stretches.passes import (
    Pass,
    anchors_of,
    array_of,
    enter_position,
    line_of_call,
    made_by,
    match_states,
    neighbours,
)
from compare.explanation.model.stretches.reshapes import say_reshaped
from compare.explanation.model.stretches.segments import (
    Edit,
    Producers,
    Step,
    Value,
    chain,
    deviation_or_inf,
    explain_chain,
    few,
)
from compare.explanation.model.stretches.words import (
    LOOKED_THROUGH,
    is_vague,
    rounded,
    say_edit,
    say_last_operation,
    say_other_numbers,
    say_parting,
    say_unknown,
)
from compare.explanation.observed.carry import common_of
from compare.explanation.observed.kinds import gates_of, kind_of
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.plan import call_pairs
from compare.explanation.observed.values import ROUNDED, SAME, Match, match
from compare.explanation.operations.learning import learn
from compare.explanation.operations.operation import Operation
from compare.explanation.operations.windows import pad

_SQUASHING = ("softmax", "log_softmax", "sigmoid", "log_sigmoid")
"""Activations that a loss may have inside: whether they are missing is for the loss to show. Poisson's may have exp."""


def ending(one: Pass, producers: Producers) -> None:
    """What lies between the last paired layer and the loss; of a model that is only used, and its output."""
    context = one.context
    if context.not_compared:
        return
    trained = bool(context.guide.observation.losses)
    keys = context.guide.observation.predicted, context.steered.observation.predicted
    if not trained:
        keys = _last_output(one.guide_calls), _last_output(one.steered_calls)
    last = call_pairs(context.pairing, one.guide_calls, one.steered_calls)[-1]
    first, goal = array_of(one, 0, keys[0]), array_of(one, 1, keys[1])
    found = match(first, goal)
    if found is None or found.rounded or goal is None or _same_loss(context):
        return
    anchors = anchors_of(context)
    end = replace(last[1], inputs=(keys[0],))
    start, steps = chain(producers, end, len(one.guide_calls), anchors)
    place = last[2].place
    values = [Value(few(goal), "the model's output", place)]
    after = [call for call in one.steered_calls if call.index > last[2].index]
    for call in after:
        array = array_of(one, 1, call.outputs[0] if call.outputs else None)
        if array is not None and array.ndim and call.layer not in anchors:
            made = made_by(context, call), context.steered.observation.called(call)
            values.insert(-1, Value(few(array), call.name, line_of_call(context, call), (), *made))
    guides = [call for call in one.guide_calls if call.index >= last[1].index]
    if say_reshaped(one, last[0], guides, after, found, "the loss" if trained else "the end"):
        return
    edits = None if start is None else explain_chain(start, steps, values, goal)
    unknown = edits is None and not found.rounded and not context.has("forward", ("fault",))
    if (
        unknown
        and not say_last_operation(one, last[0], after, found, (first, goal))
        and not say_parting(one, last[0], after, found)
    ):
        say_end_apart(one, keys[1], found)
    for edit in edits or []:
        both = [operation for operation in (edit.guide, edit.steered) if operation is not None]
        over = {operation.name.partition(" over ")[2] for operation in both}
        if not trained or len(over) > 1 or not all(_in_a_loss(context, operation) for operation in both):
            say_edit(one, edit, (last[0], last[0]), found)


def _last_output(calls: Sequence[Call]) -> str | None:
    """The key of what a forward pass ends with."""
    return next((call.outputs[0] for call in reversed(calls) if call.outputs), None)


def _same_loss(context: Context) -> bool:
    """Whether both losses are the same in spite of it: the loss of one side does what the model of the other does."""
    sides = [
        [losses.get("value") for losses in side.observation.losses[: len(side.observation.calls)]]
        for side in (context.guide, context.steered)
    ]
    pairs = [(a, b) for a, b in zip(*sides, strict=False) if isinstance(a, int | float) and isinstance(b, int | float)]
    return bool(pairs) and all(abs(a - b) <= ROUNDED * abs(a) for a, b in pairs)


def _in_a_loss(context: Context, operation: Operation) -> bool:
    name = operation.name.partition(" over ")[0]
    functions = (*context.guide.observation.loss_functions, *context.steered.observation.loss_functions)
    return name in _SQUASHING or (name == "exponential" and any("poisson" in part.lower() for part in functions))


def _rearranged(one: Pass, pair: Pair, windows: tuple[Sequence[Call], Sequence[Call]], fed: Match) -> bool:
    """Whether a reshape, or entries taken by another index, is what differs; says so."""
    reshaped = say_reshaped(one, pair, windows[0], windows[1][-LOOKED_THROUGH:], fed)
    return reshaped or say_exchanged(one, pair, windows, fed)


def segment(one: Pass, producers: Producers, pair: Pair, begin: Call, enter: Call, fed: Match) -> None:
    """Something between the layer before and this one differs."""
    context = one.context
    if _is_judged(one, producers.array(begin.inputs[0]), enter):
        return
    if passed := _by_hand(context, begin, enter):
        context.not_seen.append(f"what reaches {context.name(pair)}: it passes {joined(sorted(passed))}")
        return
    position = next(i for i, call in enumerate(one.guide_calls) if call is begin)
    start, steps = chain(producers, begin, position, anchors_of(context))
    goal = array_of(one, 1, enter.inputs[0])
    if fed.rounded or (_standardises(context, steps) and fed.deviation <= _STATISTICS):
        rounded(context, steps, pair, fed)
        return
    until = position + 1, enter_position(one, enter) + 1
    windows = one.guide_calls[max(0, until[0] - LOOKED_THROUGH) : until[0]], one.steered_calls[: until[1]]
    if _rearranged(one, pair, windows, fed):
        return
    values = _values(one, enter)
    if start is not None:
        start, steps = _from_states(one, start, steps)
        start, steps = _oriented(one, pair, start, steps)
        start, steps = _whole_output(one, enter, start, steps)
    where = neighbours(one, pair)
    if _augmented_apart(context, steps, values):
        edits: list[Edit] | None = _edits_beside_augmentation(context, start, steps, values, goal)
    else:
        edits = _edits(start, steps, values, goal)
    if edits is None or any(is_vague(one, edit) for edit in edits):
        say_unknown(one, pair, (begin, enter), fed, steps, values, where)
        return
    for edit in edits:
        say_edit(one, edit, where, fed, next_line=values[0].place if len(values) > 1 else None)
        if _combines_others(edit):
            before = one.steered_calls[: enter_position(one, enter)]
            say_other_numbers(one, pair, before[-LOOKED_THROUGH:], fed)


_STATISTICS = 5e-5
"""Means and deviations that each program takes of its data in float32: a sum of n numbers errs by up to n · 2⁻²⁴, here
of 800. A deviation that divides by n - 1 in place of n is off by 1 / 2n: more than that up to 10,000 samples."""


def _standardises(context: Context, steps: Sequence[Step]) -> bool:
    """Whether Keras standardises here by what it took of the data (`Normalization.adapt`)."""
    kinds = [layer.kind for step in steps if (layer := context.guide.layers.get(step.name)) is not None]
    return "Normalization" in kinds


def _by_hand(context: Context, begin: Call, enter: Call) -> set[str]:
    """What the input of two calls passes that may be written otherwise on the other side, and is not compared."""
    before = context.guide.sources.get(begin.layer or "", frozenset())
    before |= context.steered.sources.get(enter.layer or "", frozenset())
    return set(before & context.not_compared)


def _edits(start: Array | None, steps: list[Step], values: list[Value], goal: Array | None) -> list[Edit] | None:
    """The fewest edits between two chains, whichever of its operands the guide's first operation begins with."""
    edits = None if start is None or goal is None else explain_chain(start, steps, values, goal)
    if edits is None and start is not None and goal is not None and steps and steps[0].others:
        first = replace(steps[0], before=steps[0].others[0], others=(start, *steps[0].others[1:]))
        edits = explain_chain(first.before, [first, *steps[1:]], values, goal)
    return edits


def _augmented_apart(context: Context, steps: Sequence[Step], values: Sequence[Value]) -> bool:
    """Whether layers here change the samples at random, which the other side does where it reads them; says so."""
    here = [augments(context.guide, step.name) for step in steps]
    here += [augments(context.steered, value.name) for value in values]
    if not any(here) or not augments_apart(context):
        return False
    context.not_seen += [] if AUGMENTED_APART in context.not_seen else [AUGMENTED_APART]
    return True


def _unaugmented(context: Context, start: Array, steps: Sequence[Step]) -> list[Step] | None:
    """The guide's operations as they would be without the layers that change samples at random; None if not known."""
    left: list[Step] = []
    now = start
    for step in steps:
        if augments(context.guide, step.name):
            continue
        operation = step.operation()
        after = step.after if deviation_or_inf(step.before, now) <= SAME else operation(now) if operation else None
        if after is None:
            return None
        left.append(replace(step, before=now, after=after))
        now = after
    return left


def _edits_beside_augmentation(
    context: Context, start: Array | None, steps: Sequence[Step], values: list[Value], goal: Array | None
) -> list[Edit]:
    """The edits that are of no layer that changes samples at random; none where they cannot be told from those."""
    unaugmented = None if start is None else _unaugmented(context, start, steps)
    edits = None if unaugmented is None else _edits(start, unaugmented, values, goal)
    return [edit for edit in edits or () if edit.value is None or not augments(context.steered, edit.value.name)]


def _combines_others(edit: Edit) -> bool:
    """Whether both sides join two values, and the second is another on the steered side."""
    if edit.guide is None or edit.value is None or edit.step is None or "concatenation" not in edit.guide.name:
        return False
    return not any(alike(own, other) for own in edit.value.others for other in edit.step.others)


def _is_judged(one: Pass, value: Array | None, enter: Call) -> bool:
    """Whether another layer takes the same values on both sides, and has been judged; from now on it has been."""
    both = (one.mode, () if value is None else figures(value), enter.inputs[0])
    known = value is not None and both in one.context.judged
    one.context.judged.add(both)
    return known


def _from_states(one: Pass, start: Array, steps: list[Step]) -> tuple[Array, list[Step]]:
    """A chain that begins with a recurrent layer's last state, begun with all the states that the steered side has."""
    context = one.context
    for pair, left, right in call_pairs(context.pairing, one.guide_calls, one.steered_calls):
        if not gates_of(pair.guide) or not left.outputs or not right.outputs:
            continue
        last, states = array_of(one, 0, left.outputs[0]), array_of(one, 1, right.outputs[0])
        if last is None or states is None or last.ndim != 2 or states.ndim != 3 or few(last).shape != start.shape:
            continue
        if not np.array_equal(few(last), start):
            continue
        if not pair.port.settings.get("batch_first"):
            states = np.swapaxes(states, 0, 1)
        found = match_states(one, pair, right, last, array_of(one, 1, right.outputs[0]))  # type: ignore[arg-type]
        if found is not None and found.rounded:
            # The last time step of the backward direction has read one step only.
            several = kind_of(pair.guide) == "bidirectional"
            name = "the last state of each direction (torch's h_n[-2] and h_n[-1])" if several else "the last state"
            return few(states), [Step(name, few(states), start, (), left.place), *steps]
    return start, steps


def _oriented(one: Pass, pair: Pair, start: Array, steps: list[Step]) -> tuple[Array, list[Step]]:
    """A chain of Keras's sequences (samples, time, channels) in the order that torch's convolutions have."""
    before = neighbours(one, pair)[0]
    spatial = any("convolution" in found.kind for found in (pair, before) if found is not None)
    if one.context.frameworks[0] == one.context.frameworks[1] or not spatial:
        return start, steps

    def swapped(array: Array) -> Array:
        return np.swapaxes(array, 1, 2) if array.ndim == 3 else array

    turned_steps = [
        replace(
            step, before=swapped(step.before), after=swapped(step.after), others=tuple(swapped(o) for o in step.others)
        )
        for step in steps
    ]
    return swapped(start), turned_steps


def _whole_output(one: Pass, enter: Call, start: Array, steps: list[Step]) -> tuple[Array, list[Step]]:
    """A chain begun with all that the steered side's layer before gives, where the guide's gives a part of it."""
    position = enter_position(one, enter)
    earlier = [call for call in one.steered_calls[:position] if one.context.pairing.of_port(call.layer) is not None]
    output = array_of(one, 1, earlier[-1].outputs[0] if earlier and earlier[-1].outputs else None)
    if output is None or output.ndim < 3 or output.shape == start.shape or len(few(output)) != len(start):
        return start, steps
    operation = learn(few(output), start)
    if operation is None or operation.family not in ("padding", "reduction"):
        return start, steps
    return few(output), [Step(operation.name, few(output), start, (), earlier[-1].place), *steps]


def padded_segment(one: Pass, producers: Producers, pair: Pair, begin: Call, enter: Call, given: Match) -> bool:
    """The stretch before a convolution that one side pads for itself, before the layer; whether something was said."""
    context = one.context
    position = next(i for i, call in enumerate(one.guide_calls) if call is begin)
    start, steps = chain(producers, begin, position, anchors_of(context))
    goal, x = array_of(one, 1, enter.inputs[0] if enter.inputs else None), producers.array(begin.inputs[0])
    if start is None or goal is None or x is None or "convolution" not in pair.kind or goal.ndim != x.ndim:
        return False
    if x.ndim == 3 and x.shape[1] != goal.shape[1]:
        return False
    kernel = common_of(pair.guides, context.guide.observation.before(0))["kernel"]
    pads = settings_of(pair.guide, context.frameworks[0], kernel.shape[2:], x.shape[2:]).get("padding") or []
    padded = pad(x, pads) if pads else x
    if padded.shape[1:] == goal.shape[1:] and any(map(any, pads)):
        if _is_judged(one, x, enter):
            return True
        steps = [*steps, Step("padding", x, padded)]
    elif steps and (last := steps[-1].operation()) is not None and last.family == "padding":
        steps = steps[:-1]
    else:
        return False
    if _is_judged(one, steps[-1].after if steps else start, enter):
        return True
    if given.rounded:
        rounded(context, steps, pair, given)
        return True
    edits = explain_chain(start, steps, _values(one, enter), goal)
    for edit in edits or []:
        say_edit(one, edit, neighbours(one, pair), given)
    return bool(edits)


def _values(one: Pass, enter: Call) -> list[Value]:
    """What the steered side computed since the paired layers before, and what it gave to this one."""
    context = one.context
    position = next(i for i, call in enumerate(one.steered_calls) if call is enter)
    found: list[Value] = []
    ahead = set(context.steered.sources.get(enter.layer or "", ()))  # of branches, the layer before each
    for call in reversed(one.steered_calls[:position]):
        if context.pairing.of_port(call.layer) is not None:
            if not found and call.preactivation is not None:
                array = array_of(one, 1, call.outputs[0])
                found += [Value(few(array), call.name, call.place)] if array is not None and array.ndim else []
            ahead.discard(str(call.layer))
            if not ahead:
                break
            continue
        arrays = [array_of(one, 1, key) for key in call.outputs[:1]]
        others = tuple(few(a) for key in call.inputs if (a := array_of(one, 1, key)) is not None and a.ndim)
        found += [
            Value(
                few(array),
                call.name,
                line_of_call(context, call),
                others,
                made_by(context, call),
                context.steered.observation.called(call),
            )
            for array in arrays
            if array is not None and array.ndim
        ]
    found.reverse()
    goal = array_of(one, 1, enter.inputs[0])
    if goal is not None and goal.ndim:
        last = found[-1] if found else None
        place = last.place if last is not None else enter.place
        found.append(Value(few(goal), f"the input of {enter.name}", place))
    return found
