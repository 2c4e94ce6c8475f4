"""The stretches between paired layers, and the one before the loss: what differs in them, and how it is said."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from compare.explanation.arithmetic.settings import settings_of
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.model.parallel import parting
from compare.explanation.model.passes import (
    Pass,
    anchors_of,
    array_of,
    between,
    compared_keys,
    defined,
    enter_position,
    line_of,
    match_states,
    neighbours,
    words_of,
)
from compare.explanation.model.segments import Edit, Producers, Step, Value, chain, explain_chain, few
from compare.explanation.observed.carry import common_of
from compare.explanation.observed.kinds import gates_of
from compare.explanation.observed.observation import Array, Call, Observation
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.plan import call_pairs
from compare.explanation.observed.values import Match, match
from compare.explanation.operations.learning import learn
from compare.explanation.operations.windows import pad

_SQUASHING = ("softmax", "log_softmax", "sigmoid", "log_sigmoid")
"""Activations that a loss may have inside: whether they are missing is for the loss to show."""


def ending(one: Pass, producers: Producers) -> None:
    """What lies between the last paired layer and the loss."""
    context = one.context
    keys = _predicted(context.guide.observation), _predicted(context.steered.observation)
    last = call_pairs(context.pairing, one.guide_calls, one.steered_calls)[-1]
    first, goal = array_of(one, 0, keys[0]), array_of(one, 1, keys[1])
    found = match(first, goal)
    if found is None or found.rounded or goal is None:
        return
    anchors = anchors_of(context)
    end = replace(last[1], inputs=(keys[0],))
    start, steps = chain(producers, end, len(one.guide_calls), anchors)
    place = last[2].place
    values = [Value(few(goal), "the model's output", place)]
    for call in one.steered_calls[last[2].index + 1 :]:
        array = array_of(one, 1, call.outputs[0] if call.outputs else None)
        if array is not None and array.ndim and call.layer not in anchors:
            values.insert(-1, Value(few(array), call.name, call.place or defined(context, call)))
    edits = None if start is None else explain_chain(start, steps, values, goal)
    for edit in edits or []:
        operation = edit.guide or edit.steered
        if operation is not None and operation.name.partition(" over ")[0] not in _SQUASHING:
            _edited(one, edit, (last[0], last[0]), found)


def _predicted(observation: Observation) -> str | None:
    """The key of what the first loss function was given as the model's output."""
    terms = observation.losses[0].get("terms") or [] if observation.losses else []
    inputs = terms[0].get("inputs") or [] if len(terms) == 1 else []
    at = 1 if observation.framework == "keras" else 0
    return inputs[at] if len(inputs) > at else None


def segment(one: Pass, producers: Producers, pair: Pair, begin: Call, enter: Call, fed: Match) -> None:
    """Something between the layer before and this one differs."""
    context = one.context
    position = next(i for i, call in enumerate(one.guide_calls) if call is begin)
    start, steps = chain(producers, begin, position, anchors_of(context))
    goal = array_of(one, 1, enter.inputs[0])
    if fed.rounded:
        rounded(context, steps, pair, fed)
        return
    values = _values(one, enter)
    if start is not None:
        start, steps = _from_states(one, start, steps)
        start, steps = _oriented(one, pair, start, steps)
        start, steps = _whole_output(one, enter, start, steps)
    edits = None if start is None or goal is None else explain_chain(start, steps, values, goal)
    if edits is None and start is not None and goal is not None and steps and steps[0].others:
        first = replace(steps[0], before=steps[0].others[0], others=(start, *steps[0].others[1:]))
        edits = explain_chain(first.before, [first, *steps[1:]], values, goal)
    where = neighbours(one, pair)
    if edits is None:
        _unknown_segment(one, pair, enter, fed, steps, values, where)
        return
    for edit in edits:
        _edited(one, edit, where, fed)


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
            return few(states), [Step("the last state", few(states), start, (), left.place), *steps]
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
        steps = [*steps, Step("padding", x, padded)]
    elif steps and (last := steps[-1].operation()) is not None and last.family == "padding":
        steps = steps[:-1]
    else:
        return False
    if given.rounded:
        rounded(context, steps, pair, given)
        return True
    edits = explain_chain(start, steps, _values(one, enter), goal)
    for edit in edits or []:
        _edited(one, edit, neighbours(one, pair), given)
    return bool(edits)


def _values(one: Pass, enter: Call) -> list[Value]:
    """What the steered side computed since the paired layer before, and what it gave to this one."""
    context = one.context
    position = next(i for i, call in enumerate(one.steered_calls) if call is enter)
    found: list[Value] = []
    for call in reversed(one.steered_calls[:position]):
        if context.pairing.of_port(call.layer) is not None and found:
            break
        if context.pairing.of_port(call.layer) is not None:
            if call.preactivation is not None:
                array = array_of(one, 1, call.outputs[0])
                found += [Value(few(array), call.name, call.place)] if array is not None and array.ndim else []
            break
        arrays = [array_of(one, 1, key) for key in call.outputs[:1]]
        others = tuple(few(a) for key in call.inputs if (a := array_of(one, 1, key)) is not None and a.ndim)
        place = call.place or defined(context, call)
        found += [Value(few(array), call.name, place, others) for array in arrays if array is not None and array.ndim]
    found.reverse()
    goal = array_of(one, 1, enter.inputs[0])
    if goal is not None and goal.ndim:
        last = found[-1] if found else None
        place = last.place if last is not None else enter.place
        found.append(Value(few(goal), f"the input of {enter.name}", place))
    return found


def rounded(context: Context, steps: Sequence[Step], pair: Pair, fed: Match) -> None:
    """A constant that one of the frameworks rounds to float32."""
    known = [operation for step in steps if (operation := step.operation()) is not None]
    names = ", ".join(operation.name for operation in known if operation.family not in ("flatten", "permutation"))
    title = f"a constant is rounded to float32 in one framework{f': {names}' if names else ''}"
    same = next((found for found in context.findings if found.title == title), None)
    if same is not None or (not names and any("rounded to float32" in found.title for found in context.findings)):
        return
    context.find(
        "forward",
        title,
        guide="constants rounded to float32" if context.frameworks[0] == "keras" else "constants in float64",
        steered="constants rounded to float32" if context.frameworks[1] == "keras" else "constants in float64",
        effect=fed.deviation,
        effect_text=f"what reaches {context.name(pair)} is off by {fed.deviation:.2g}",
        cause="a constant rounded to float32",
        severity="inherent",
    )


def _edited(one: Pass, edit: Edit, where: tuple[Pair | None, Pair], fed: Match) -> None:
    """One difference between two layers, named by the operations that the values show."""
    context = one.context
    if _is_consequence(context, edit, fed):
        return
    at = words_of(context, where)
    steered = "nothing" if edit.steered is None else edit.steered.name
    guide = "nothing" if edit.guide is None else edit.guide.name
    if edit.guide is None and edit.step is not None:
        guide = edit.step.name
    harmless = _is_flattening(edit) and not _carried(context)
    if edit.kind == "missing":
        title = context.missing(_called(edit, guide), at)
    elif edit.kind == "extra":
        title = context.added(steered, at)
    else:
        subject = "order of flattening" if _is_flattening(edit) else _subject(edit)
        title = context.differs(f"{subject} {at}:", guide, steered)
    if one.mode == "evaluation" and any(found.title == title for found in context.findings):
        return
    port_place = edit.value.place if edit.value is not None else line_of(one, where)
    far = min(max(edit.deviation if np.isfinite(edit.deviation) else 1.0, min(fed.deviation, 1.0) * 0.1), 1.0)
    context.find(
        "forward",
        title + ("" if one.mode == "training" else " (in evaluation mode)"),
        guide=f"{guide} {between(context, where)}",
        steered=f"{steered} {between(context, where)}",
        places=(None if edit.step is None else edit.step.place, port_place),
        effect=far * (0.05 if harmless else 1),
        effect_text=f"off by {far:.3g} of the largest value" + (_HARMLESS if harmless else ""),
        cause=title,
        mend=_mended(edit, steered, port_place),
        severity="minor" if harmless else "fault",
    )


_HARMLESS = "; a network that is trained from scratch learns the same up to the order of this layer's inputs"


def _is_consequence(context: Context, edit: Edit, fed: Match) -> bool:
    """Whether an edit is no difference by itself."""
    if edit.steered is None:
        return False
    across = context.frameworks[0] != context.frameworks[1]
    if edit.kind == "extra" and edit.steered.family == "permutation" and fed.aligned.ndim == 3 and across:
        return True  # (samples, time, channels) and (samples, channels, time)
    same = edit.guide is not None and edit.guide.name == edit.steered.name
    return same and context.has("forward", ("fault",))  # the other operand is off by what was found before


def _is_flattening(edit: Edit) -> bool:
    both = edit.guide is not None and edit.steered is not None
    return both and edit.guide.family == "flatten" == edit.steered.family  # type: ignore[union-attr]


def _mended(edit: Edit, steered: str, where: Place | None) -> str:
    """A line of code that makes the difference go away."""
    if edit.guide is not None and edit.guide.code:
        return _line(where if edit.kind == "missing" else None, edit.guide.code)
    return f"leave out {steered}" if edit.kind == "extra" else ""


def _line(where: Place | None, code: str) -> str:
    """A line with an operation put around what it assigns or returns."""
    found = re.fullmatch(r"(\w+\s*=\s*|return )([\w.]+\(\w+\))", where.code) if where is not None else None
    if found is None or code.count("{}") != 1:
        return f"x = {code.replace('{}', 'x')}"
    return found.group(1) + code.replace("{}", found.group(2))


def _carried(context: Context) -> bool:
    """Whether both programs begin with the same weights, so that the order of a layer's inputs matters."""
    return any("the same values" in text for text in context.same) or not context.guide.observation.losses


def _called(edit: Edit, guide: str) -> str:
    if edit.step is not None and edit.step.others:
        return f"{edit.step.name} (residual connection, {guide})"
    return guide


def _subject(edit: Edit) -> str:
    family = (edit.guide or edit.steered).family if (edit.guide or edit.steered) else "operation"  # type: ignore[union-attr]
    return {"two operands": "combination"}.get(family, family)


_WINDOW = 40
"""How many calls before a layer are looked through for the place where two computations part."""


def _was_replaced(one: Pass, pair: Pair) -> bool:
    """Whether a layer's output has the size of the guide's, so that the guide's could be put in its place."""
    for other, left, right in call_pairs(one.context.pairing, one.guide_calls, one.steered_calls):
        if other is pair:
            keys = compared_keys(left, right)
            return match(array_of(one, 0, keys[0]), array_of(one, 1, keys[1])) is not None
    return False


def _unknown_segment(
    one: Pass,
    pair: Pair,
    enter: Call,
    fed: Match,
    steps: Sequence[Step],
    values: Sequence[Value],
    where: tuple[Pair | None, Pair],
) -> None:
    context = one.context
    if where[0] is not None and context.name(where[0]) in context.told and not _was_replaced(one, where[0]):
        return  # what the layer before should give could not be put in the place of what it gave
    if one.mode == "evaluation" and any(f"reaches {context.name(pair)}" in found.title for found in context.findings):
        return
    producers = [
        Producers(side.observation, calls, channels_last=last)
        for side, calls, last in zip(
            (context.guide, context.steered), (one.guide_calls, one.steered_calls), one.channels_last, strict=True
        )
    ]
    window = one.steered_calls[max(0, enter_position(one, enter) - _WINDOW) : enter_position(one, enter)]
    apart = parting(
        producers[0], producers[1], [call for call in window if context.pairing.of_port(call.layer) is None]
    )
    if apart is not None:
        at = f"before {context.name(pair)}, {words_of(context, where)}"
        context.find(
            "forward",
            f"{apart.words} ({at})"
            if context.guide_is_reference
            else f"{apart.guide} in the port, {apart.steered} in the reference ({at})",
            guide=apart.guide,
            steered=apart.steered,
            places=(pair.guide.place, apart.place),
            effect=min(fed.deviation, 1.0),
            effect_text=f"what reaches {context.name(pair)} is off by {fed.deviation:.3g} of its largest value",
            cause=apart.words,
        )
        return
    guide = ", ".join(op.name if (op := step.operation()) else step.name for step in steps) or "nothing in between"
    steered = ", ".join(value.name for value in values[:-1]) or "nothing in between"
    context.find(
        "forward",
        f"what reaches {context.name(pair)} differs {words_of(context, where)}; no known cause fits",
        guide=guide,
        steered=steered,
        places=(pair.guide.place, values[0].place if values else enter.place),
        effect=min(fed.deviation, 1.0),
        effect_text=f"off by {fed.deviation:.3g} of the largest value",
    )
