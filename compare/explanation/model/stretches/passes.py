"""One forward pass of both sides, and where in it a layer is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.model.stretches.segments import turned
from compare.explanation.observed.observation import Array, Call, Observation
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import Match, match


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


def array_of(one: Pass, side: int, key: str | None) -> Array | None:
    """A value of the guide (side 0) or of the steered side (1), images in torch's layout."""
    observation: Observation = (one.context.guide, one.context.steered)[side].observation
    found = observation.array(key)
    return None if found is None else turned(found, channels_last=one.channels_last[side])


def neighbours(one: Pass, pair: Pair) -> tuple[Pair | None, Pair]:
    """The paired layer that the input of this one is computed from, else the one before it in order; and this one."""
    sources = one.context.guide.sources.get(pair.guides[0].name, frozenset())
    before = [found for name in sources if (found := one.context.pairing.of_guide(name)) is not None]
    if len(sources) == len(before) == 1 and before[0] is not pair:
        return before[0], pair
    pairs = list(one.context.pairing.pairs)
    at = pairs.index(pair)
    return (pairs[at - 1] if at else None), pair


def words_of(context: Context, where: tuple[Pair | None, Pair]) -> str:
    """Where a stretch is, as a title says it."""
    before, after = where
    return f"before {context.name(after)}" if before is None else f"after {context.name(before)}"


def between(context: Context, where: tuple[Pair | None, Pair]) -> str:
    """Where a stretch is, by both layers around it."""
    before, after = where
    if before is None or before is after:
        return words_of(context, where)
    return f"between {context.name(before)} and {context.name(after)}"


def made_by(context: Context, call: Call) -> Place | None:
    """The line where the layer of a call was made, and its settings are."""
    layer = context.steered.layers.get(call.layer or "")
    return None if layer is None else layer.place


def line_of_call(context: Context, call: Call) -> Place | None:
    """The line of a call; of a layer without a name there, as in a sequence, the one where the layer was made."""
    layer = context.steered.layers.get(call.layer or "")
    if layer is None or layer.place is None:
        return call.place
    name = layer.name.rpartition(".")[2]
    named = call.place is not None and not name.isdigit() and re.search(rf"\b{re.escape(name)}\b", call.place.code)
    return call.place if named else layer.place


def line_of(one: Pass, where: tuple[Pair | None, Pair]) -> Place | None:
    """The line of the layer before, in the steered side's files."""
    before = where[0] or where[1]
    call = next((call for call in one.steered_calls if call.layer == before.port.name), None)
    return (call.place if call is not None else None) or before.port.place


def enter_position(one: Pass, enter: Call) -> int:
    """The position of a call in the steered side's forward pass."""
    return next(i for i, call in enumerate(one.steered_calls) if call is enter)


def compared_keys(left: Call, right: Call) -> tuple[str | None, str | None]:
    """The keys of both outputs, without the activation where either side has it apart."""
    first, second = (call.outputs[0] if call.outputs else None for call in (left, right))
    return left.preactivation or first, right.preactivation or second


def anchors_of(context: Context) -> frozenset[str]:
    """The names of the guide's paired layers."""
    return frozenset(layer.name for other in context.pairing.pairs for layer in other.guides)


def match_states(one: Pass, pair: Pair, right: Call, first: Array, second: Array) -> Match | None:
    """Compares a recurrent layer's last state with all that the steered side has.

    Which of its states the program takes is for the next layer's input to show.

    Args:
        one: The pass.
        pair: The layers.
        right: The steered side's call.
        first: The guide's last state, (samples, units).
        second: The steered side's outputs of all steps.
    """
    batch_first = bool(pair.port.settings.get("batch_first"))
    last = second[:, -1] if batch_first else second[-1]
    half = last.shape[-1] // 2
    both = np.concatenate([last[:, :half], (second[:, 0] if batch_first else second[0])[:, half:]], axis=-1)
    options = [last, both]
    states = array_of(one, 1, right.outputs[1] if len(right.outputs) > 1 else None)
    if states is not None and states.ndim == 3:  # (levels * directions, samples, units): the end of packed ones
        options += [states[-1], np.concatenate(list(states[-2:]), axis=-1)]
    found = [match(first, option) for option in options]
    return min((entry for entry in found if entry is not None), key=lambda entry: entry.deviation, default=None)
