"""The forward pass, layer by layer: each from the guide's own input, so that no fault hides another."""

import re
from dataclasses import replace

import numpy as np

from compare.explanation.context import Context, Places, describe
from compare.explanation.findings import Place
from compare.explanation.model.blocks import other_order_of_norms
from compare.explanation.model.layer_causes import MASKS, SAMPLES_FOR_TIME, Cause, Given, causes
from compare.explanation.model.layer_mends import mend_of
from compare.explanation.model.own import inside
from compare.explanation.model.stretches.passes import (
    Pass,
    array_of,
    compared_keys,
    enter_position,
    match_states,
    neighbours,
    words_of,
)
from compare.explanation.model.stretches.segments import Producers, few
from compare.explanation.model.stretches.stretch import ending, padded_segment, segment
from compare.explanation.model.stretches.words import rounded
from compare.explanation.observed.carry import common_of
from compare.explanation.observed.kinds import ATTENTION, gates_of
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.plan import call_pairs, first_call
from compare.explanation.observed.values import ROUNDED, Match, deviation, match
from compare.explanation.words import counted, off_by


def forward(context: Context) -> None:
    """Compares the forward pass in training and in evaluation mode."""
    guide, steered = context.guide, context.steered
    if other_order_of_norms(context):
        return
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
            context.same.append(f"{counted(compared, 'layer')} in {one.mode} mode, each from the reference's own input")
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
            segment(one, producers, pair, begin, enter, fed)
        given = _match_outputs(one, pair, left, right)
        if given is not None:
            compared += 1
            if not given.same and not (fed is None and padded_segment(one, producers, pair, begin, enter, given)):
                _layer(one, pair, left, right, begin, enter, given, fed)
        elif fed is not None:
            compared += 1
            # An output of another size; of a padding that is cut off afterwards nothing is to be said.
            steps = {cause.name for cause in _causes(one, pair, left, right, begin)} if fed.rounded else set()
            if ("convolution" in pair.kind and steps & {"stride", "dilation"}) or SAMPLES_FOR_TIME in steps:
                _layer(one, pair, left, right, begin, enter, Match(1.0, "of another size", fed.aligned), fed)
                context.told.add(context.name(pair))
    trained = bool(context.guide.observation.losses)
    if compared and one.mode == ("training" if trained else "evaluation"):
        ending(one, producers)
    return compared


def _match_inputs(one: Pass, pair: Pair, begin: Call, enter: Call) -> Match | None:
    if not begin.inputs or not enter.inputs or pair.kind == "embedding":
        return None
    first, second = array_of(one, 0, begin.inputs[0]), array_of(one, 1, enter.inputs[0])
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
    keys = compared_keys(left, right)
    first, second = array_of(one, 0, keys[0]), array_of(one, 1, keys[1])
    if first is None or second is None:
        return None
    if gates_of(pair.guide) and first.ndim == 2 and second.ndim == 3:
        return match_states(one, pair, right, first, second)
    return match(first, second)


def _layer(
    one: Pass, pair: Pair, left: Call, right: Call, begin: Call, enter: Call, given: Match, fed: Match | None
) -> None:
    """A layer that gives something else from the same input and the same weights."""
    context = one.context
    where = context.name(pair)
    if where in context.told:
        return
    context.told.add(where)
    if given.rounded:
        rounded(context, [], pair, given)
        return
    found = _causes(one, pair, left, right, begin)
    if not found and not (fed is not None and fed.rounded) and _from_its_own_input(one, pair, left, right, enter):
        context.told.discard(where)
        return
    extra = next((cause.guide for cause in found if cause.name == "output padding"), "0")
    if any(cause.name == "cropping" for cause in found):  # what torch calls output padding is a part of it
        found = [cause for cause in found if cause.name != "output padding"]
    found = [_with_layer_before(one, begin, cause) for cause in found]
    places = _places(one, pair, left, right, enter, found)
    for cause in found:
        context.find(
            "forward",
            context.differs(f"{cause.words} of {where} ({pair.kind}):", cause.guide, cause.steered),
            guide=f"{describe(pair.guide)}: {cause.name} {cause.guide}",
            steered=f"{describe(pair.port)}: {cause.name} {cause.steered}",
            places=places,
            effect=min(cause.effect, 1.0),
            effect_text=f"output {off_by(cause.effect, 'its largest value')}",
            cause=f"{cause.words}: {cause.guide} against {cause.steered}",
            mend=mend_of(pair, cause, context.model, in_torch=context.frameworks[1] == "torch", extra=extra),
        )
    told = inside(one, f"in {where}", left, right, given) if not found else None
    if told is not None:
        context.find(
            "forward",
            told.title,
            guide=told.guide,
            steered=told.steered,
            places=(places[0], told.place or places[1]),
            effect=min(given.deviation, 1.0),
            effect_text=f"output {off_by(given.deviation, 'its largest value')}",
            cause=told.title,
            mend=told.mend,
        )
    if not found and told is None:
        between = "" if fed is not None else f" (with what is {words_of(context, neighbours(one, pair))})"
        context.find(
            "forward",
            f"output of {where} ({pair.kind}){between} differs; no known cause fits",
            guide=describe(pair.guide),
            steered=describe(pair.port),
            places=places,
            effect=min(given.deviation, 1.0),
            effect_text=f"output {off_by(given.deviation, 'its largest value')}",
        )


_SCORES = ("scaled_dot_product_attention", "softmax")


def _line_of_scores(one: Pass, enter: Call, right: Call, found: list[Cause]) -> Place | None:
    """Of an attention that is written out, the line of its softmax, or of what scales the products before it."""
    first, last = enter_position(one, enter), enter_position(one, right)
    inside = [call for call in one.steered_calls[first:last] if call.layer is None]
    scores = next((i for i, call in enumerate(inside) if call.function in _SCORES), None)
    if scores is None:
        return None
    scaling = [call for call in inside[: scores + 1] if call.function in ("div", "truediv", "mul", "matmul")]
    scaled = any("scale" in cause.name for cause in found)
    return scaling[-1].place if scaled and scaling else inside[scores].place


def _with_layer_before(one: Pass, begin: Call, cause: Cause) -> Cause:
    """A padding that differs, where Keras's layer has a ZeroPadding layer before it: both together."""
    before = next((call for call in one.guide_calls if begin.inputs[0] in call.outputs), None)
    layer = None if before is None else one.context.guide.layers.get(before.layer or "")
    if cause.name != "padding" or layer is None or not layer.kind.startswith("ZeroPadding"):
        return cause
    own = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", cause.guide)]
    added = layer.settings.get("padding")
    added = [tuple(entry) if isinstance(entry, list) else (entry, entry) for entry in added] if added else []
    if len(own) == 1:
        own *= len(added)
    total = [(a + c, b + d) for (a, b), (c, d) in zip(own, added, strict=False)]
    words = str(total[0]) if total and all(entry == total[0] for entry in total) else str(total)
    more = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", cause.steered)]
    if len(more) == 1:
        more *= len(added)
    seen = [(a + c, b + d) for (a, b), (c, d) in zip(more, added, strict=False)]
    return replace(cause, guide=words, steered=str(seen[0]) if all(e == seen[0] for e in seen) else str(seen))


def _places(one: Pass, pair: Pair, left: Call, right: Call, enter: Call, found: list[Cause]) -> Places:
    """Where what differs in a layer is set: where it is made, called, or put into its mode."""
    context = one.context
    place = right.place or pair.port.place
    places = (pair.guide.place, pair.port.place or place)
    if any(cause.name in MASKS for cause in found):  # masks are given where a layer is called
        places = (left.place or pair.guide.place, place)
    if any(cause.name == "training" for cause in found):
        places = (places[0], context.steered.observation.place("loop", "mode_places", right.layer or "") or places[1])
    if pair.kind == ATTENTION and len(pair.ports) > 1:
        places = (places[0], _line_of_scores(one, enter, right, found) or places[1])
    return places


def _causes(one: Pass, pair: Pair, left: Call, right: Call, begin: Call) -> list[Cause]:
    if gates_of(pair.guide) and _takes_samples_for_time(one, pair, right, begin):
        return [
            Cause(SAMPLES_FOR_TIME, "(samples, time, features)", "(time, samples, features)", 1.0, SAMPLES_FOR_TIME)
        ]
    given = _given(one, pair, left, right, array_of(one, 0, begin.inputs[0] if begin.inputs else None))
    return [] if given is None else causes(given)


def _takes_samples_for_time(one: Pass, pair: Pair, right: Call, begin: Call) -> bool:
    """Whether a recurrent layer of torch's that has time first is given samples first, as Keras has them."""
    x = array_of(one, 0, begin.inputs[0] if begin.inputs else None)
    own = array_of(one, 1, right.inputs[0] if right.inputs else None)
    if one.context.frameworks != ("keras", "torch") or pair.port.settings.get("batch_first") or len(pair.ports) > 1:
        return False
    return x is not None and own is not None and x.shape == own.shape and deviation(x, own) <= ROUNDED


def _given(one: Pass, pair: Pair, left: Call, right: Call, x: Array | None) -> Given | None:
    """A layer of both sides at one input; None of layers that stand for several."""
    context = one.context
    keys = compared_keys(left, right)
    first, second = array_of(one, 0, keys[0]), array_of(one, 1, keys[1])
    attends = pair.kind == ATTENTION  # and may be several layers on one side
    if x is None or first is None or second is None:
        return None
    if not attends and (len(pair.guides) != 1 or len(pair.ports) != 1):
        return None
    if gates_of(pair.guide) and first.ndim == 2 and second.ndim == 3:
        second = _last_state(one, pair, right, first, second)
    if not gates_of(pair.guide) and first.shape != second.shape == np.swapaxes(first, 0, min(1, first.ndim - 1)).shape:
        second = np.swapaxes(second, 0, 1)  # (time, samples, channels)
    if "convolution" in pair.kind and first.ndim == 3 and context.frameworks[0] == "keras":
        first = np.swapaxes(first, 1, 2)
        x = np.swapaxes(x, 1, 2) if x.shape[1:] != _fed_shape(one, right) else x
    if "normalization" not in pair.kind:
        x, first, second = few(x), few(first), few(second)
    weights = common_of(pair.guides, context.guide.observation.before(0))
    memory = array_of(one, 0, left.inputs[1]) if attends and len(left.inputs) > 1 else None
    memory = None if memory is None else few(memory)[: len(x)]
    beside = right.inputs[3:] if attends and context.frameworks[1] == "torch" else ()
    masks = tuple(mask for key in beside if (mask := array_of(one, 1, key)) is not None)
    return Given(pair, context.frameworks, one.mode == "training", x, weights, first, second, memory, masks)


def _last_state(one: Pass, pair: Pair, right: Call, first: Array, second: Array) -> Array:
    """What of the steered side's states belongs to the guide's last one."""
    states = array_of(one, 1, right.outputs[1] if len(right.outputs) > 1 else None)
    if states is not None and states.ndim == 3:  # (levels * directions, samples, units)
        both = first.shape[1] == 2 * states.shape[2]
        return np.concatenate(list(states[-2:]), axis=-1) if both else states[-1]
    return second[:, -1] if pair.port.settings.get("batch_first") else second[-1]


def _fed_shape(one: Pass, right: Call) -> tuple[int, ...] | None:
    found = array_of(one, 1, right.inputs[0] if right.inputs else None)
    return None if found is None or one.context.frameworks[1] == "keras" else found.shape[1:]


def _from_its_own_input(one: Pass, pair: Pair, left: Call, right: Call, enter: Call) -> bool:
    """Whether a layer gives what it should from the input that it had: what differs is before it."""
    given = _given(one, pair, left, right, array_of(one, 1, enter.inputs[0] if enter.inputs else None))
    return given is not None and given.is_second(given.output(given.settings()[1]))
