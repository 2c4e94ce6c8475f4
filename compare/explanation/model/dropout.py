"""Dropout, which is set to nothing while values are compared: its places and rates as the programs state them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compare.explanation.context import Context
from compare.explanation.findings import Place, joined
from compare.explanation.observed.observation import Call, place
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.words import counted


@dataclass(frozen=True)
class _Dropout:
    """One dropout: after how many of the paired layers, its rate, whether it is active in training."""

    after: int
    rate: float
    active: bool
    kind: str
    place: Place | None


def dropout(context: Context) -> None:
    """Finds what differs in the places and rates of dropout."""
    guide = _dropouts(context.guide, context.pairing, 0)
    steered = _dropouts(Side(context.look), context.pairing, 1)
    if guide is None or steered is None:
        return
    missing: list[_Dropout] = []
    added: list[_Dropout] = []
    for after in sorted({entry.after for entry in [*guide, *steered]}):
        a = [entry for entry in guide if entry.after == after]
        b = [entry for entry in steered if entry.after == after]
        _compare(context, after, a, b)
        missing += a[len(b) :]
        added += b[len(a) :]
    if context.by_hand:  # what is counted are paired layers: after one that is not, both may stand at the same place
        for entry in list(missing):
            other = next((found for found in added if found.rate == entry.rate), None)
            if other is not None:
                missing.remove(entry)
                added.remove(other)
                context.not_seen.append(f"where the dropout of rate {entry.rate:g} stands among what is not compared")
    for entries in _of_one_line(missing):
        title = context.missing(f"dropout of rate {entries[0].rate:g}", _where(context, entries))
        _on_one_side(context, title, entries[0], of_guide=True, mend=f"nn.{_in_torch(entries[0])}")
    for entries in _of_one_line(added):
        title = context.added(f"dropout of rate {entries[0].rate:g}", _where(context, entries))
        _on_one_side(context, title, entries[0], of_guide=False, mend="leave the dropout out")
    _in_evaluation(context)
    if guide and not context.says("dropout"):
        context.same.append(f"{counted(len(guide), 'dropout')}, places and rates")


def _in_evaluation(context: Context) -> None:
    """Dropout that is active in evaluation, too."""
    sides = []
    for observation in (context.guide.observation, context.look):
        entries = [entry for entry in observation.entries("dropout") if entry.get("rate")]
        sides.append([entry for entry in entries if entry.get("active_in_evaluation") is True])
    if bool(sides[0]) == bool(sides[1]):
        return
    some = (sides[0] or sides[1])[0]
    words = "dropout is active in evaluation, too"
    in_port = bool(sides[1]) == context.guide_is_reference
    context.find(
        "forward",
        words if in_port else f"{words}, in the reference only",
        guide="active in evaluation" if sides[0] else "in training only",
        steered="active in evaluation" if sides[1] else "in training only",
        places=(place(some.get("place")), None) if sides[0] else (None, place(some.get("place"))),
        effect=float(some["rate"]),
        cause="dropout in evaluation",
        mend="F.dropout(x, p, self.training)",
    )


def _dropouts(side: Side, pairing: Pairing, number: int) -> list[_Dropout] | None:
    """The dropouts of the guide (0) or the steered side (1); None of a side of which no call was seen."""
    observation = side.observation
    if not (observation.calls or observation.evaluation_calls):
        return None
    found: list[_Dropout] = []
    of_heads = set()
    seen = set()
    times: Counter[object] = Counter()
    for entry in observation.entries("dropout"):
        rate, name = entry.get("rate"), entry.get("layer")
        times[name] += 1
        if not isinstance(rate, int | float) or rate == 0:
            continue
        own = [call for call in side.training_calls if call.layer == name and name is not None]
        after, inside = _after(entry, side, pairing, number, own[min(times[name], len(own)) - 1] if own else None)
        if inside:  # of an attention whose heads are written out, each head's own is what one for all heads is
            of_head = after, float(rate), entry.get("active", True)
            if of_head in of_heads:
                continue
            of_heads.add(of_head)
        kind = str(entry.get("function"))
        again = name, kind, after, None if name else str(entry.get("place") or len(found))
        if again in seen:  # of a model that is called several times in a step
            continue
        seen.add(again)
        layer = observation.layers.get(str(name))
        made = None if layer is None else layer.place  # its rate is set there
        line = made or place(entry.get("place"))
        found.append(_Dropout(after, float(rate), bool(entry.get("active", True)), kind, line))
    return found


def _after(entry: dict[str, Any], side: Side, pairing: Pairing, number: int, own: Call | None) -> tuple[int, bool]:
    """How many paired layers come before, and whether it is inside of one that is several layers.

    That is the position of the last pair in the order of pairs that its input is computed from, plus one.

    Args:
        entry: The dropout.
        side: Where it is.
        pairing: Which layers belong together.
        number: Which side that is.
        own: The call of the dropout itself, None of a function, whose input is what the call before gives.
    """
    names = {}
    first = {}
    for position, pair in enumerate(pairing.pairs):
        layers = pair.guides if number == 0 else pair.ports
        first[layers[0].name] = position
        for layer in layers:
            names[layer.name] = position + 1
    if entry.get("layer") in names:  # a recurrent layer's or an attention's own dropout
        name, function = entry["layer"], str(entry.get("function"))
        of_inputs = function.endswith(".dropout") and "Attention" not in function  # of Keras's recurrent layers
        return (first[name] if of_inputs and name in first else names[name]), False
    index = entry.get("after_call")
    calls = side.observation.calls[0] if side.observation.calls else side.observation.evaluation_calls
    before = calls[: index + 1] if isinstance(index, int) and index >= 0 else []
    at = own or (before[-1] if before and before[-1].layer not in names else None)
    reached = [name for name in side.before_call.get(at.index, ()) if name in names] if at is not None else []
    last = max(reached, key=names.__getitem__, default=None)
    if last is None:
        last = next((call.layer for call in reversed(before) if call.layer in names), None)
    if last is None:
        return 0, False
    pair = pairing.pairs[names[last] - 1]
    return names[last], last != (pair.guides if number == 0 else pair.ports)[-1].name


def _compare(context: Context, after: int, a: list[_Dropout], b: list[_Dropout]) -> None:
    """Of the dropouts after one layer."""
    where = "before the first layer" if after == 0 else f"after {context.name(context.pairing.pairs[after - 1])}"
    for left, right in zip(a, b, strict=False):
        places = context.set_at((left.place, right.place), (left.rate, right.rate))
        if abs(left.rate - right.rate) > 1e-6:
            kept = abs(left.rate + right.rate - 1) < 1e-6
            title = context.differs(f"dropout rate {where}:", f"{left.rate:g}", f"{right.rate:g}")
            cause = "the share that is kept taken for the share that is dropped" if kept else "dropout rate"
            effect = abs(left.rate - right.rate)
            context.find(
                "forward", title, guide=f"rate {left.rate:g}", steered=f"rate {right.rate:g}", places=places,
                effect=effect, cause=cause, mend=_with_rate(right.place, left.rate),
            )  # fmt: skip
        elif left.active != right.active:
            words = {True: "drops in training", False: "drops nothing in training"}
            title = context.differs(f"dropout {where}", words[left.active], words[right.active])
            context.find(
                "forward", title, guide=words[left.active], steered=words[right.active], places=places,
                effect=left.rate, cause="dropout in evaluation mode", mend="model.train()",
            )  # fmt: skip
        elif left.kind.removesuffix("d").lower()[:9] != right.kind.removesuffix("d").lower()[:9] and _channels(
            left
        ) != _channels(right):
            title = context.differs(f"kind of dropout {where}:", left.kind, right.kind)
            context.find(
                "forward", title, guide=left.kind, steered=right.kind, places=places, effect=left.rate * 0.5,
                cause="whole channels are dropped on one side", mend=f"use {left.kind}",
            )  # fmt: skip


def _of_one_line(entries: Sequence[_Dropout]) -> list[list[_Dropout]]:
    """Those of one rate and kind that one line makes, in a loop or a block, together."""
    found: dict[tuple[object, ...], list[_Dropout]] = {}
    for entry in entries:
        found.setdefault((entry.rate, entry.kind, entry.place or id(entry)), []).append(entry)
    return list(found.values())


def _where(context: Context, entries: Sequence[_Dropout]) -> str:
    """After which layers, as a title says it."""
    pairs = [context.pairing.pairs[entry.after - 1] for entry in entries if entry.after]
    before = ["before the first layer"] if len(pairs) < len(entries) else []
    return joined([*before, *([f"after {context.names(pairs)}"] if pairs else [])])


def _on_one_side(context: Context, title: str, entry: _Dropout, *, of_guide: bool, mend: str) -> None:
    words, nothing = f"dropout {entry.rate:g}", "no dropout"
    context.find(
        "forward",
        title,
        guide=words if of_guide else nothing,
        steered=nothing if of_guide else words,
        places=(entry.place, None) if of_guide else (None, entry.place),
        effect=entry.rate,
        cause=title,
        mend=mend,
    )


def _in_torch(entry: _Dropout) -> str:
    """A dropout of Keras's as torch has it: `SpatialDropout1D` drops whole channels, as `Dropout1d` does."""
    found = re.fullmatch(r"SpatialDropout([123])D", entry.kind)
    return f"Dropout{f'{found[1]}d' if found else ''}({entry.rate:g})"


def _with_rate(line: Place | None, rate: float) -> str:
    """How a rate is set where it is now: by an argument of what has the dropout inside, or of a dropout of its own."""
    code = "" if line is None else line.code
    found = re.search(r"\b(dropout\w*|p|rate)=", code)
    if found is None and re.search(r"(Transformer\w+|Attention|LSTM|GRU|RNN)\(", code):
        return f"dropout={rate:g}"
    return f"nn.Dropout({rate:g})" if found is None or "Dropout(" in code else f"{found[0]}{rate:g}"


def _channels(entry: _Dropout) -> bool:
    """Whether whole channels are dropped."""
    return "Spatial" in entry.kind or entry.kind.lower().endswith(("1d", "2d", "3d"))
