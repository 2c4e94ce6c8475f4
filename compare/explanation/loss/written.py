"""A loss that is written out: the line of the steered side at which its computation leaves that of the guide.

Both sides' computations are known call by call. If putting one of the guide's values in the place of one of the
steered side's, and going on as the steered side does, gives the guide's loss at each recorded step, then what differs
is how that value is made; the first such value in the order of the computation is the one that is named.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compare.explanation.arithmetic.functions import Function, function_of, numbers_in
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.loss.words import Found, Said, named
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.words import number

_EQUAL = 1e-8
"""Constants that one framework rounds to float32 move a loss by less than this, and a fault by far more."""

_MOST_NODES = 150
_MOST_VALUES = 1_000_000
"""Of larger computations too much would have to be done again for each of the guide's values."""


@dataclass(frozen=True)
class Node:
    """One call in the computation of a loss: its function, what went in and came out."""

    name: str
    numbers: tuple[float, ...]
    inputs: tuple[Array, ...]
    sources: tuple[int | None, ...]
    output: Array
    place: Place | None
    settings: tuple[tuple[str, object], ...]

    @property
    def words(self) -> str:
        """As a sentence has it, with the numbers that it was given."""
        named = {name: numbers_in({name: value}) for name, value in self.settings}
        extra = [
            f"{'' if name.startswith('argument') else f'{name}='}{number(value)}"
            for name, values in named.items()
            for value in values
        ]
        return f"{self.name}({', '.join(extra)})" if extra else self.name

    @cached_property
    def function(self) -> Function | None:
        """What it computes, None where that is not known."""
        return function_of(self.name, self.inputs, dict(self.settings), self.output)


_Entry = tuple[str, dict[str, object], list[str | None], str | None, Place | None]
"""A call as it was written down: function, settings, the keys of its inputs and of its output, line."""


def nodes_of(observation: Observation, step: int) -> list[Node]:
    """The computation of a step's loss from the model's outputs, in its order."""
    calls = observation.loss_calls[step] if step < len(observation.loss_calls) else []
    entries: list[_Entry] = [
        (str(call.function), dict(call.kwargs), list(call.inputs), next(iter(call.outputs), None), call.place)
        for call in calls
    ]
    terms = observation.losses[step].get("terms") or [] if step < len(observation.losses) else []
    entries[:0] = [
        (
            str(term.get("function")),
            dict(term.get("settings") or {}),
            list(term.get("inputs") or []),
            term.get("output") or term.get("values"),
            place(term.get("place")),
        )
        for term in terms
    ]
    made: dict[str, int] = {}
    found: list[Node] = []
    for name, settings, keys, key, line in _ordered(entries):
        output = observation.array(key)
        pairs = [(made.get(k or ""), array) for k in keys if (array := observation.array(k)) is not None]
        if output is None or not np.isfinite(output).all():
            continue
        inputs = tuple(np.asarray(array, np.float64) for _, array in pairs)
        sources = tuple(source for source, _ in pairs)
        numbers = tuple(numbers_in(settings))
        node = Node(name, numbers, inputs, sources, np.asarray(output, np.float64), line, tuple(settings.items()))
        found.append(node)
        if key is not None:
            made[key] = len(found) - 1
    return found


def _ordered(entries: list[_Entry]) -> Iterator[_Entry]:
    """Calls after those that make their inputs: loss functions are listed apart from other calls."""
    waiting = list(entries)
    makes = {entry[3] for entry in waiting}
    done: set[str | None] = set()
    while waiting:
        ready = next((e for e in waiting if all(k not in makes or k in done for k in e[2])), waiting[0])
        waiting.remove(ready)
        done.add(ready[3])
        yield ready


def by_parting(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the value at which the steered side's computation leaves the guide's."""
    sides = []
    for step, wanted, seen in list(zip(steps, a, b, strict=True))[:2]:
        guide, steered = (nodes_of(side.observation, step) for side in (context.guide, context.steered))
        end = next((i for i in reversed(range(len(steered))) if _is(steered[i].output, seen)), None)
        if end is None or not guide or max(len(guide), len(steered)) > _MOST_NODES:
            return None
        if sum(node.output.size for node in (*guide, *steered)) > _MOST_VALUES:
            return None
        sides.append((guide, steered, end, wanted))
    if len({(len(guide), len(steered), end) for guide, steered, end, _ in sides}) != 1:
        return None
    guide, steered, end, wanted = sides[0]
    for at, source in _replacements(guide, steered, end, wanted):
        if all(_fits(side, at, source) for side in sides[1:]):
            return _said(context, guide, steered, at, source)
    return _at_the_end(context, guide, steered, end, wanted)


_Source = tuple[int, int]
"""A value of the guide's: the number of its node, and of which input, -1 for the output."""


def _values(guide: Sequence[Node]) -> list[tuple[_Source, Array]]:
    found: list[tuple[_Source, Array]] = []
    for i, node in enumerate(guide):
        found += [((i, j), array) for j, array in enumerate(node.inputs) if node.sources[j] is None]
        found.append(((i, -1), node.output))
    return found


def _value(guide: Sequence[Node], source: _Source) -> Array:
    node = guide[source[0]]
    return node.output if source[1] < 0 else node.inputs[source[1]]


def _replacements(
    guide: Sequence[Node], steered: Sequence[Node], end: int, wanted: float
) -> Iterator[tuple[int, _Source]]:
    """Where one of the guide's values in the place of one of the steered side's gives the guide's loss."""
    for at in range(end):
        if not _leads_to(steered, at, end):
            continue
        for source, array in _values(guide):
            value = _as(array, steered[at].output)
            if value is None or _same(value, steered[at].output):
                continue
            made = _again(steered, at, value, end)
            if made is not None and _is(made, wanted):
                yield at, source


def _fits(side: tuple[list[Node], list[Node], int, float], at: int, source: _Source) -> bool:
    guide, steered, end, wanted = side
    value = _as(_value(guide, source), steered[at].output)
    made = None if value is None else _again(steered, at, value, end)
    return made is not None and _is(made, wanted)


def _leads_to(steered: Sequence[Node], at: int, end: int) -> bool:
    reached = {at}
    for i in range(at + 1, end + 1):
        if any(source in reached for source in steered[i].sources):
            reached.add(i)
    return end in reached


def _again(steered: Sequence[Node], at: int, value: Array, end: int) -> Array | None:
    """The end of the steered side's computation with another value in it; None where a function is not known."""
    changed = {at: value}
    for i in range(at + 1, end + 1):
        node = steered[i]
        if not any(source in changed for source in node.sources):
            continue
        function = node.function
        if function is None:
            return None
        given = [changed.get(s, x) if s is not None else x for s, x in zip(node.sources, node.inputs, strict=True)]
        try:
            with np.errstate(all="ignore"):
                changed[i] = function(given)
        except (ValueError, IndexError, TypeError):
            return None
    return changed.get(end)


def _as(array: Array, like: Array) -> Array | None:
    """An array in the shape of another that has as many elements, None where the axes are others."""
    sizes = [tuple(size for size in x.shape if size != 1) for x in (array, like)]
    return array.reshape(like.shape) if sizes[0] == sizes[1] else None


def _same(first: Array, second: Array) -> bool:
    other = _as(first, second)
    return other is not None and bool(
        np.allclose(other, second, rtol=_EQUAL, atol=_EQUAL * float(np.abs(second).max(initial=0)))
    )


def _is(array: Array, wanted: float) -> bool:
    return array.size == 1 and abs(float(array.reshape(-1)[0]) - wanted) <= _EQUAL * max(abs(wanted), 1e-12)


def _said(context: Context, guide: Sequence[Node], steered: Sequence[Node], at: int, source: _Source) -> Found:
    """In words, how the guide makes the value that the steered side makes otherwise."""
    node = steered[at]
    value = _value(guide, source)
    if any(_same(value, array) for array in node.inputs):
        return [_extra(context, node)]
    if source[1] >= 0:
        title = context.added(f"{node.words} in the loss", "where the reference takes a value as it is")
        return [_say(context, title, "the value as it is", node.words, node.place)]
    wanted = guide[source[0]]
    said = _of_nodes(context, guide, steered, wanted, node) or _of_reduction(context, guide, steered, wanted, node)
    return [said or _other(context, wanted, node)]


def _at_the_end(
    context: Context, guide: Sequence[Node], steered: Sequence[Node], end: int, wanted: float
) -> Found | None:
    """Where it is the last call that differs, or where one of the two losses goes on from the other."""
    node = steered[end]
    last = next((other for other in reversed(guide) if _is(other.output, wanted)), None)
    if any(_is(array, wanted) for array in node.inputs):
        return [_extra(context, node)]
    if last is None:
        return None
    path = _path(guide, node.output, last)
    if path:
        return [_missing(context, guide, path, node, node.place, "at the end of the loss")]
    said = _of_nodes(context, guide, steered, last, node)
    return None if said is None else [said]


def _of_nodes(
    context: Context, guide: Sequence[Node], steered: Sequence[Node], wanted: Node, node: Node
) -> Said | None:
    """What differs between two calls that stand for each other: the function, or what was done before it."""
    path = _path(guide, node.output, wanted)
    if path:
        return _missing(context, guide, path, node, node.place, f"in the loss after {node.name}")
    apart = [i for i, array in enumerate(node.inputs) if not any(_same(array, other) for other in wanted.inputs)]
    left = [other for other in wanted.inputs if not any(_same(other, array) for array in node.inputs)]
    if not apart and not left:
        return _other(context, wanted, node)
    if not apart and all(_is_before(guide, other) for other in left):
        return _other(context, wanted, node)
    for i in apart:
        for other in left:
            maker = next((n for n in guide if _same(n.output, other)), None)
            path = [] if maker is None else _path(guide, node.inputs[i], maker)
            source = node.sources[i]
            if path:
                line = node.place if source is None else steered[source].place
                return _missing(context, guide, path, node, line, f"in the loss before {node.name}")
            own = [] if source is None else _path(steered, other, steered[source])
            if own:
                return _extra(context, *own)
    return None


def _is_before(guide: Sequence[Node], value: Array) -> bool:
    """Whether a value comes from the model or the data, and not from the computation of the loss."""
    return not any(_same(node.output, value) for node in guide)


def _path(nodes: Sequence[Node], begin: Array, end: Node) -> list[Node]:
    """The calls that make a node's output of a value, the last one included; empty if it is not made of it."""
    if any(_same(array, begin) for array in end.inputs):
        return [end]
    for source in end.sources:
        if source is not None and (path := _path(nodes, begin, nodes[source])):
            return [*path, end]
    return []


def _extra(context: Context, *nodes: Node) -> Said:
    words = " and ".join(node.words for node in nodes)
    title = context.added(words, "in the loss")
    return _say(
        context,
        title,
        "nothing there",
        words,
        nodes[0].place,
        f"leave out {words}" if context.guide_is_reference else "",
    )


def _missing(
    context: Context, guide: Sequence[Node], path: Sequence[Node], node: Node, line: Place | None, where: str
) -> Said:
    words = " and ".join(_with_operand(guide, step, (node.output, *node.inputs)) for step in path)
    title = context.missing(words, where)
    return _say(context, title, f"{words}, {_line(path[-1])}", "nothing there", line, f"add {words}")


def _with_operand(guide: Sequence[Node], node: Node, known: Sequence[Array]) -> str:
    """A call's name; of one of two values, with what makes the one that the steered side does not have there."""
    makers = [
        guide[source].name
        for source, array in zip(node.sources, node.inputs, strict=True)
        if source is not None and not any(_same(array, other) for other in known)
    ]
    return f"{node.words} of {makers[0]}" if len(node.inputs) > 1 and makers else node.words


def _line(node: Node) -> str:
    return "" if node.place is None else f"{node.place} {node.place.code}".rstrip()


def _of_reduction(
    context: Context, guide: Sequence[Node], steered: Sequence[Node], wanted: Node, node: Node
) -> Said | None:
    """A mean where the other side has a sum: the values are each other's, times the size of some of the axes."""
    ratio = _ratio(wanted.output, node.output)
    if ratio is None or ratio <= 0 or abs(ratio - 1) < _EQUAL:
        return None
    averages = guide if ratio > 1 else steered
    for mean in _made_of(averages, wanted if ratio > 1 else node):
        if mean.name not in ("mean", "reduce_mean") or not mean.inputs:
            continue
        sizes = mean.inputs[0].shape
        size = round(max(ratio, 1 / ratio))
        over = {int(np.prod(part)) for count in (1, 2, 3) for part in itertools.combinations(sizes, count)}
        if size not in over or abs(max(ratio, 1 / ratio) / size - 1) > _EQUAL:
            continue
        words = ("mean", "sum") if ratio > 1 else ("sum", "mean")
        title = context.differs(f"reduction in the loss, over {size} values:", *words)
        sums = [other for other in _made_of(steered, node) if other.name in ("sum", "reduce_sum")]
        line = mean.place if ratio < 1 else sums[-1].place if sums else node.place
        return _say(context, title, f"{words[0]}, {_line(wanted)}", words[1], line, f"{words[0]} over {size} values")
    return None


def _made_of(nodes: Sequence[Node], end: Node) -> list[Node]:
    """The calls that a value is computed by, in their order."""
    found = [end]
    for source in end.sources:
        if source is not None:
            found = [*_made_of(nodes, nodes[source]), *found]
    return found


def _other(context: Context, wanted: Node, node: Node) -> Said:
    ratio = _ratio(wanted.output, node.output)
    factor = "" if ratio is None or wanted.words != node.words else f" ({number(ratio)} times)"
    title = context.differs("in the loss", wanted.words, f"{node.words}{factor}")
    return _say(context, title, f"{wanted.words}, {_line(wanted)}", node.words, node.place, f"use {wanted.words}")


def _ratio(wanted: Array, seen: Array) -> float | None:
    other = _as(wanted, seen)
    if other is None or not other.any():
        return None
    at = int(np.abs(other).argmax())
    ratio = float(seen.reshape(-1)[at] / other.reshape(-1)[at])
    return ratio if np.allclose(other * ratio, seen, rtol=_EQUAL) else None


def _say(context: Context, title: str, guide: str, steered: str, line: Place | None, mend: str = "") -> Said:
    sides = named(context.guide.observation), named(context.steered.observation)
    return Said(title, f"{sides[0]}: {guide}", f"{sides[1]}: {steered}", title, mend, line)
