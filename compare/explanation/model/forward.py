"""The forward pass, layer by layer: each from the guide's own input, so that no fault hides another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compare.explanation.arithmetic.settings import settings_of
from compare.explanation.context import Context, describe
from compare.explanation.findings import Place, Severity
from compare.explanation.model.layer_causes import Cause, Given, causes
from compare.explanation.model.parallel import parting
from compare.explanation.model.segments import (
    Edit,
    Producers,
    Step,
    Value,
    chain,
    explain_chain,
    few,
    turned,
)
from compare.explanation.observed.carry import common_of
from compare.explanation.observed.kinds import gates_of
from compare.explanation.observed.observation import Array, Call, Observation
from compare.explanation.observed.pairing import Pair, Side
from compare.explanation.observed.plan import call_pairs, first_call
from compare.explanation.observed.values import Match, match
from compare.explanation.operations.learning import learn
from compare.explanation.operations.windows import pad


@dataclass(frozen=True)
class Pass:
    """One forward pass of both sides.

    Args:
        context: Both sides.
        mode: `training` or `evaluation`.
        guide_calls: The guide's.
        steered_calls: The steered side's.
    """

    context: Context
    mode: str
    guide_calls: Sequence[Call]
    steered_calls: Sequence[Call]

    @property
    def channels_last(self) -> tuple[bool, bool]:
        """Whether images have their channels at the end, of the guide and of the steered side."""
        first, second = self.context.frameworks
        return first == "keras" and not _channels_first(self.context.guide), second == "keras"


def _channels_first(side: Side) -> bool:
    found = [layer.settings.get("data_format") for layer in side.layers.values() if "data_format" in layer.settings]
    return bool(found) and all(entry == "channels_first" for entry in found)


def forward(context: Context) -> None:
    """Compares the forward pass in training and in evaluation mode."""
    guide, steered = context.guide, context.steered
    passes = []
    if guide.observation.calls and steered.observation.calls:
        first, second = guide.observation.calls[0], steered.observation.calls[0]
        passes.append(Pass(context, "training", guide.calls(first), steered.calls(second)))
    first, second = guide.observation.evaluation_calls, steered.observation.evaluation_calls
    if first and second:
        passes.append(Pass(context, "evaluation", guide.calls(first), steered.calls(second)))
    for one in passes:
        compared = _compare(one)
        if compared and not context.has("forward"):
            context.same.append(f"{compared} layers in {one.mode} mode, each from the reference's own input")
        if not compared:
            context.not_seen.append(f"the layers' values in {one.mode} mode")
    for mode in {"training", "evaluation"} - {one.mode for one in passes}:
        context.not_seen.append(f"what the layers give in {mode} mode")


def _compare(one: Pass) -> int:
    """Compares each pair of calls; returns how many could be."""
    context = one.context
    producers = Producers(context.guide.observation, one.guide_calls, channels_last=one.channels_last[0])
    compared = 0
    for pair, left, right in call_pairs(context.pairing, one.guide_calls, one.steered_calls):
        if not pair.fits:
            continue
        begin = first_call(pair.guides, left, one.guide_calls)
        enter = first_call(pair.ports, right, one.steered_calls)
        fed = _match_inputs(one, pair, begin, enter)
        if fed is not None and not fed.same:
            _segment(one, producers, pair, begin, enter, fed)
        given = _match_outputs(one, pair, left, right)
        if given is not None:
            compared += 1
            if not given.same and not (fed is None and _padded_segment(one, producers, pair, begin, enter, given)):
                _layer(one, pair, left, right, begin, enter, given, entered=fed is not None)
        elif fed is not None:
            compared += 1
    if one.mode == "training" and compared:
        _ending(one, producers)
    return compared


_SQUASHING = ("softmax", "log_softmax", "sigmoid", "log_sigmoid")
"""Activations that a loss may have inside: whether they are missing is for the loss to show."""


def _ending(one: Pass, producers: Producers) -> None:
    """What lies between the last paired layer and the loss."""
    context = one.context
    keys = _predicted(context.guide.observation), _predicted(context.steered.observation)
    last = call_pairs(context.pairing, one.guide_calls, one.steered_calls)[-1]
    first, goal = _array(one, 0, keys[0]), _array(one, 1, keys[1])
    found = match(first, goal)
    if found is None or found.rounded or goal is None:
        return
    anchors = _anchors(context)
    end = replace(last[1], inputs=(keys[0],))
    start, steps = chain(producers, end, len(one.guide_calls), anchors)
    place = last[2].place
    values = [Value(few(goal), "the model's output", place)]
    for call in one.steered_calls[last[2].index + 1 :]:
        array = _array(one, 1, call.outputs[0] if call.outputs else None)
        if array is not None and array.ndim and call.layer not in anchors:
            values.insert(-1, Value(few(array), call.name, call.place or _defined(context, call)))
    edits = None if start is None else explain_chain(start, steps, values, goal)
    for edit in edits or []:
        operation = edit.guide or edit.steered
        if operation is not None and operation.name.partition(" over ")[0] not in _SQUASHING:
            _edited(one, last[0], edit, steps, (last[0], last[0]), found)


def _predicted(observation: Observation) -> str | None:
    """The key of what the first loss function was given as the model's output."""
    terms = observation.losses[0].get("terms") or [] if observation.losses else []
    inputs = terms[0].get("inputs") or [] if len(terms) == 1 else []
    at = 1 if observation.framework == "keras" else 0
    return inputs[at] if len(inputs) > at else None


def _array(one: Pass, side: int, key: str | None) -> Array | None:
    observation: Observation = (one.context.guide, one.context.steered)[side].observation
    found = observation.array(key)
    return None if found is None else turned(found, channels_last=one.channels_last[side])


def _match_inputs(one: Pass, pair: Pair, begin: Call, enter: Call) -> Match | None:
    if not begin.inputs or not enter.inputs or pair.kind == "embedding":
        return None
    first, second = _array(one, 0, begin.inputs[0]), _array(one, 1, enter.inputs[0])
    if gates_of(pair.guide) and first is not None and second is not None and first.shape == second.shape:
        second = _unpadded(first, second)
    return match(first, second)


def _unpadded(first: Array, second: Array) -> Array:
    """The steps of a packed sequence after each sample's end, where there is nothing, filled with the other side's."""
    if first.ndim != 3:
        return second
    there = np.any(second != 0, axis=-1)
    ends = there.sum(axis=1)
    at_the_end = np.array_equal(there, np.arange(there.shape[1])[None] < ends[:, None])
    return np.where(there[..., None], second, first) if at_the_end and not there.all() else second


def _match_outputs(one: Pass, pair: Pair, left: Call, right: Call) -> Match | None:
    """Compares what comes out; of recurrent layers, the last state wherever the steered side has it."""
    keys = _compared_keys(left, right)
    first, second = _array(one, 0, keys[0]), _array(one, 1, keys[1])
    if first is None or second is None:
        return None
    if gates_of(pair.guide) and first.ndim == 2 and second.ndim == 3:
        return _match_states(one, pair, right, first, second)
    return match(first, second)


def _compared_keys(left: Call, right: Call) -> tuple[str | None, str | None]:
    """The keys of both outputs, without the activation where either side has it apart."""
    first, second = (call.outputs[0] if call.outputs else None for call in (left, right))
    return left.preactivation or first, right.preactivation or second


def _match_states(one: Pass, pair: Pair, right: Call, first: Array, second: Array) -> Match | None:
    batch_first = bool(pair.port.settings.get("batch_first"))
    last = second[:, -1] if batch_first else second[-1]
    half = last.shape[-1] // 2
    both = np.concatenate([last[:, :half], (second[:, 0] if batch_first else second[0])[:, half:]], axis=-1)
    options = [last, both]
    states = _array(one, 1, right.outputs[1] if len(right.outputs) > 1 else None)
    if (
        states is not None and states.ndim == 3
    ):  # (levels * directions, samples, units), of packed sequences the true end
        options += [states[-1], np.concatenate(list(states[-2:]), axis=-1)]
    found = [match(first, option) for option in options]
    best = min((entry for entry in found if entry is not None), key=lambda entry: entry.deviation, default=None)
    if best is not None and best.rounded:
        return best  # which of its states the program takes is for the next layer's input to show
    return best


def _segment(one: Pass, producers: Producers, pair: Pair, begin: Call, enter: Call, fed: Match) -> None:
    """Something between the layer before and this one differs."""
    context = one.context
    position = next(i for i, call in enumerate(one.guide_calls) if call is begin)
    start, steps = chain(producers, begin, position, _anchors(context))
    goal = _array(one, 1, enter.inputs[0])
    if fed.rounded:
        _rounded(context, steps, pair, fed)
        return
    values = _values(one, enter)
    if start is not None:
        start, steps = _from_states(one, start, steps)
        start, steps = _oriented(one, pair, start, steps)
        start, steps = _whole_output(one, pair, enter, start, steps)
    edits = None if start is None or goal is None else explain_chain(start, steps, values, goal)
    if edits is None and start is not None and goal is not None and steps and steps[0].others:
        first = replace(steps[0], before=steps[0].others[0], others=(start, *steps[0].others[1:]))
        edits = explain_chain(first.before, [first, *steps[1:]], values, goal)
    where = _before(one, pair)
    if edits is None:
        _unknown_segment(one, pair, enter, fed, steps, values, where)
        return
    for edit in edits:
        _edited(one, pair, edit, steps, where, fed)


def _from_states(one: Pass, start: Array, steps: list[Step]) -> tuple[Array, list[Step]]:
    """A chain that begins with a recurrent layer's last state, begun with all the states that the steered side has."""
    context = one.context
    for pair, left, right in call_pairs(context.pairing, one.guide_calls, one.steered_calls):
        if not gates_of(pair.guide) or not left.outputs or not right.outputs:
            continue
        last, states = _array(one, 0, left.outputs[0]), _array(one, 1, right.outputs[0])
        if last is None or states is None or last.ndim != 2 or states.ndim != 3 or few(last).shape != start.shape:
            continue
        if not np.array_equal(few(last), start):
            continue
        if not pair.port.settings.get("batch_first"):
            states = np.swapaxes(states, 0, 1)
        found = _match_states(one, pair, right, last, _array(one, 1, right.outputs[0]))  # type: ignore[arg-type]
        if found is not None and found.rounded:
            return few(states), [Step("the last state", few(states), start, (), left.place), *steps]
    return start, steps


def _oriented(one: Pass, pair: Pair, start: Array, steps: list[Step]) -> tuple[Array, list[Step]]:
    """A chain of Keras's sequences (samples, time, channels) in the order that torch's convolutions have."""
    before = _before(one, pair)[0]
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


def _whole_output(one: Pass, pair: Pair, enter: Call, start: Array, steps: list[Step]) -> tuple[Array, list[Step]]:
    """A chain begun with all that the steered side's layer before gives, where the guide's gives a part of it."""
    position = enter_position(one, enter)
    earlier = [call for call in one.steered_calls[:position] if one.context.pairing.of_port(call.layer) is not None]
    output = _array(one, 1, earlier[-1].outputs[0] if earlier and earlier[-1].outputs else None)
    if output is None or output.ndim < 3 or output.shape == start.shape or len(few(output)) != len(start):
        return start, steps
    operation = learn(few(output), start)
    if operation is None or operation.family not in ("padding", "reduction"):
        return start, steps
    return few(output), [Step(operation.name, few(output), start, (), earlier[-1].place), *steps]


def _padded_segment(one: Pass, producers: Producers, pair: Pair, begin: Call, enter: Call, given: Match) -> bool:
    """The stretch before a convolution that one side pads for itself, before the layer; whether something was said."""
    context = one.context
    position = next(i for i, call in enumerate(one.guide_calls) if call is begin)
    start, steps = chain(producers, begin, position, _anchors(context))
    goal, x = _array(one, 1, enter.inputs[0] if enter.inputs else None), producers.array(begin.inputs[0])
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
        _rounded(context, steps, pair, given)
        return True
    edits = explain_chain(start, steps, _values(one, enter), goal)
    for edit in edits or []:
        _edited(one, pair, edit, steps, _before(one, pair), given)
    return bool(edits)


def _anchors(context: Context) -> frozenset[str]:
    """The names of the guide's paired layers."""
    return frozenset(layer.name for other in context.pairing.pairs for layer in other.guides)


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
                array = _array(one, 1, call.outputs[0])
                found += [Value(few(array), call.name, call.place)] if array is not None and array.ndim else []
            break
        arrays = [_array(one, 1, key) for key in call.outputs[:1]]
        others = tuple(few(a) for key in call.inputs if (a := _array(one, 1, key)) is not None and a.ndim)
        place = call.place or _defined(context, call)
        found += [Value(few(array), call.name, place, others) for array in arrays if array is not None and array.ndim]
    found.reverse()
    goal = _array(one, 1, enter.inputs[0])
    if goal is not None and goal.ndim:
        last = found[-1] if found else None
        place = last.place if last is not None else enter.place
        found.append(Value(few(goal), f"the input of {enter.name}", place))
    return found


def _defined(context: Context, call: Call) -> Place | None:
    layer = context.steered.layers.get(call.layer or "")
    return None if layer is None else layer.place


def _before(one: Pass, pair: Pair) -> tuple[Pair | None, Pair]:
    """The paired layer before this one in the guide's computation, and this one."""
    pairs = list(one.context.pairing.pairs)
    at = pairs.index(pair)
    return (pairs[at - 1] if at else None), pair


def _words(context: Context, where: tuple[Pair | None, Pair]) -> str:
    before, after = where
    return f"before {context.name(after)}" if before is None else f"after {context.name(before)}"


def _between(context: Context, where: tuple[Pair | None, Pair]) -> str:
    before, after = where
    if before is None or before is after:
        return _words(context, where)
    return f"between {context.name(before)} and {context.name(after)}"


def _rounded(context: Context, steps: Sequence[Step], pair: Pair, fed: Match) -> None:
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


def _edited(
    one: Pass, pair: Pair, edit: Edit, steps: Sequence[Step], where: tuple[Pair | None, Pair], fed: Match
) -> None:
    """One difference between two layers, named by the operations that the values show."""
    context = one.context
    if (
        edit.steered is not None
        and edit.kind == "extra"
        and edit.steered.family == "permutation"
        and fed.aligned.ndim == 3
    ):
        if context.frameworks[0] != context.frameworks[1]:
            return  # (samples, time, channels) and (samples, channels, time)
    if edit.guide is not None and edit.steered is not None and edit.guide.name == edit.steered.name:
        if context.has("forward", ("fault",)):
            return  # the other operand is off by what was found before
    at = _words(context, where)
    guide = "nothing" if edit.guide is None else edit.guide.name
    if edit.guide is None and edit.step is not None:
        guide = edit.step.name
    steered = "nothing" if edit.steered is None else edit.steered.name
    severity: Severity = "fault"
    if edit.kind == "missing":
        title = context.missing(_called(edit, guide), at)
    elif edit.kind == "extra":
        title = context.added(steered, at)
    else:
        title = context.differs(f"{_subject(edit)} {at}:", guide, steered)
        if edit.guide is not None and edit.guide.family == "flatten" == (edit.steered or edit.guide).family:
            title = context.differs(f"order of flattening {at}:", guide, steered)
            severity = "minor" if not _carried(context) else "fault"
    port_place = edit.value.place if edit.value is not None else _line_of(one, where)
    code = ""
    if edit.guide is not None and edit.guide.code:
        code = _line(port_place if edit.kind == "missing" else None, edit.guide.code)
    elif edit.kind == "extra":
        code = f"leave out {steered}"
    far = min(max(edit.deviation if np.isfinite(edit.deviation) else 1.0, min(fed.deviation, 1.0) * 0.1), 1.0)
    suffix = "" if one.mode == "training" else " (in evaluation mode)"
    if one.mode == "evaluation" and any(found.title == title for found in context.findings):
        return
    harmless = "; a network that is trained from scratch learns the same up to the order of this layer's inputs"
    context.find(
        "forward",
        title + suffix,
        guide=f"{guide} {_between(context, where)}",
        steered=f"{steered} {_between(context, where)}",
        places=(None if edit.step is None else edit.step.place, port_place),
        effect=far * (0.05 if severity == "minor" else 1),
        effect_text=f"off by {far:.3g} of the largest value" + (harmless if severity == "minor" else ""),
        cause=title,
        mend=code,
        severity=severity,
    )


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


def _line_of(one: Pass, where: tuple[Pair | None, Pair]) -> Place | None:
    """The line of the layer before, in the steered side's files."""
    before = where[0] or where[1]
    call = next((call for call in one.steered_calls if call.layer == before.port.name), None)
    return (call.place if call is not None else None) or before.port.place


_WINDOW = 40
"""How many calls before a layer are looked through for the place where two computations part."""


def enter_position(one: Pass, enter: Call) -> int:
    """The position of a call in the steered side's forward pass."""
    return next(i for i, call in enumerate(one.steered_calls) if call is enter)


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
        at = f"before {context.name(pair)}, {_words(context, where)}"
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
        f"what reaches {context.name(pair)} differs {_words(context, where)}; no known cause fits",
        guide=guide,
        steered=steered,
        places=(pair.guide.place, values[0].place if values else enter.place),
        effect=min(fed.deviation, 1.0),
        effect_text=f"off by {fed.deviation:.3g} of the largest value",
    )


def _layer(
    one: Pass, pair: Pair, left: Call, right: Call, begin: Call, enter: Call, given: Match, *, entered: bool
) -> None:
    """A layer that gives something else from the same input and the same weights."""
    context = one.context
    where = context.name(pair)
    if where in context.told:
        return
    context.told.add(where)
    if given.rounded:
        _rounded(context, [], pair, given)
        return
    found = _causes(one, pair, left, right, begin)
    if not found and _from_its_own_input(one, pair, left, right, enter):
        context.told.discard(where)
        return
    place = right.place or pair.port.place
    places = (pair.guide.place, pair.port.place or place)
    for cause in found:
        context.find(
            "forward",
            context.differs(f"{cause.words} of {where} ({pair.kind}):", cause.guide, cause.steered),
            guide=f"{describe(pair.guide)}: {cause.name} {cause.guide}",
            steered=f"{describe(pair.port)}: {cause.name} {cause.steered}",
            places=places,
            effect=min(cause.effect, 1.0),
            effect_text=f"output off by {cause.effect:.3g} of its largest value",
            cause=f"{cause.words}: {cause.guide} against {cause.steered}",
            mend=_mend(pair, cause),
        )
    if not found:
        between = "" if entered else f" (with what is {_words(context, _before(one, pair))})"
        context.find(
            "forward",
            f"output of {where} ({pair.kind}){between} differs; no known cause fits",
            guide=describe(pair.guide),
            steered=describe(pair.port),
            places=places,
            effect=min(given.deviation, 1.0),
            effect_text=f"output off by {given.deviation:.3g} of its largest value",
        )


def _causes(one: Pass, pair: Pair, left: Call, right: Call, begin: Call) -> list[Cause]:
    given = _given(one, pair, left, right, _array(one, 0, begin.inputs[0] if begin.inputs else None))
    return [] if given is None else causes(given)


def _given(one: Pass, pair: Pair, left: Call, right: Call, x: Array | None) -> Given | None:
    """A layer of both sides at one input; None of layers that stand for several."""
    context = one.context
    keys = _compared_keys(left, right)
    first, second = _array(one, 0, keys[0]), _array(one, 1, keys[1])
    if x is None or first is None or second is None or len(pair.guides) != 1 or len(pair.ports) != 1:
        return None
    if "convolution" in pair.kind and first.ndim == 3 and context.frameworks[0] == "keras":
        first = np.swapaxes(first, 1, 2)
        x = np.swapaxes(x, 1, 2) if x.shape[1:] != _fed_shape(one, right) else x
    if "normalization" not in pair.kind:
        x, first, second = few(x), few(first), few(second)
    weights = common_of(pair.guides, context.guide.observation.before(0))
    return Given(pair, context.frameworks, one.mode == "training", x, weights, first, second)


def _fed_shape(one: Pass, right: Call) -> tuple[int, ...] | None:
    found = _array(one, 1, right.inputs[0] if right.inputs else None)
    return None if found is None or one.context.frameworks[1] == "keras" else found.shape[1:]


def _from_its_own_input(one: Pass, pair: Pair, left: Call, right: Call, enter: Call) -> bool:
    """Whether a layer gives what it should from the input that it had: what differs is before it."""
    given = _given(one, pair, left, right, _array(one, 1, enter.inputs[0] if enter.inputs else None))
    return given is not None and given.is_second(given.output(given.settings()[1]))


def _mend(pair: Pair, cause: Cause) -> str:
    names = {"epsilon": "eps", "padding": "padding", "stride": "stride", "dilation": "dilation"}
    if cause.name == "padding":
        return (
            f"pad before {pair.port.name}: F.pad(x, ...) by {cause.guide}, (before, after) of each axis, and padding=0"
        )
    if cause.name in names:
        return f"{pair.port.kind}(..., {names[cause.name]}={cause.guide})"
    return f"give {pair.port.name} {cause.words} {cause.guide}"
