"""Computations that are written out: the line of the steered side at which its own leaves that of the guide.

Both sides' computations are known call by call: of a loss, or of a layer of one's own. If putting one of the guide's
values in the place of one of the steered side's, and going on as the steered side does, gives what the guide ends
with, then what differs is how that value is made; the first such value in the order of the computation is named.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from compare.explanation.arithmetic.built_in_losses import Step, steps_of
from compare.explanation.arithmetic.functions import Function, elementwise, function_of, numbers_in
from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation
from compare.explanation.words import number

_EQUAL = 1e-8
"""Constants that one framework rounds to float32 move a value by less than this, and a fault by far more."""

_MOST_NODES = 150
_MOST_VALUES = 1_000_000
"""Of larger computations too much would have to be done again for each of the guide's values."""


@dataclass(frozen=True)
class Node:
    """One call in a computation: its function, what went in and came out."""

    name: str
    numbers: tuple[float, ...]
    inputs: tuple[Array, ...]
    sources: tuple[int | None, ...]
    output: Array
    place: Place | None
    settings: tuple[tuple[str, object], ...]
    step: Step | None = None  # of a loss that is one function

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
        return (
            self.step.function if self.step else function_of(self.name, self.inputs, dict(self.settings), self.output)
        )


Entry = tuple[str, dict[str, Any], list[str | None], str | None, Place | None]
"""A call as it was written down: function, settings, the keys of its inputs and of its output, line."""


def nodes_of(
    observation: Observation, entries: Sequence[Entry], layout: Callable[[Array], Array] = np.asarray
) -> list[Node]:
    """A computation in its order, of calls as they were written down.

    Args:
        observation: Where their values are.
        entries: The calls.
        layout: Brings a value into the layout in which both sides are compared.
    """
    made: dict[str, int] = {}
    found: list[Node] = []
    for name, settings, keys, key, line in _ordered(_linked(observation, entries)):
        output = observation.array(key)
        pairs = [(made.get(k or ""), array) for k in keys if (array := observation.array(k)) is not None]
        if output is None or not np.isfinite(output).all():
            continue
        inputs = tuple(np.asarray(layout(array), np.float64) for _, array in pairs)
        sources = tuple(source for source, _ in pairs)
        numbers = tuple(numbers_in(settings))
        node = Node(
            name, numbers, inputs, sources, np.asarray(layout(output), np.float64), line, tuple(settings.items())
        )
        found += _in_steps(node, len(found)) or [node]
        if key is not None:
            made[key] = len(found) - 1
    return found


def _linked(observation: Observation, entries: Sequence[Entry]) -> list[Entry]:
    """Calls that take what another gave by that call's key: loss functions keep their inputs by keys of their own."""
    outputs = {key: array for entry in entries if (array := observation.array(key := entry[3])) is not None}

    def maker(key: str | None, own: str | None) -> str | None:
        array = observation.array(key)
        if key in outputs or array is None or array.size < 2:
            return key
        same = (other for other, made in outputs.items() if other != own and np.array_equal(made, array))
        return next(same, key)

    return [(name, settings, [maker(k, own) for k in keys], own, line) for name, settings, keys, own, line in entries]


def _in_steps(node: Node, number: int) -> list[Node]:
    """A loss that is one function as the steps that it is made of; empty where those do not give what it gave.

    Args:
        node: The call.
        number: Which node of the computation the first step is.
    """
    values, sources = list(node.inputs), list(node.sources)
    steps = steps_of(node.name, dict(node.settings))
    found: list[Node] = []
    for step in steps:
        try:
            inputs = tuple(values[i] for i in step.operands)
            made = np.asarray(step.function(inputs), np.float64)
        except (ValueError, IndexError):
            return []
        settings = ((step.setting, step.value),) if step.setting else ()
        of_inputs = tuple(sources[i] for i in step.operands)
        found.append(
            Node(step.name, (step.value,) if step.setting else (), inputs, of_inputs, made, node.place, settings, step)
        )
        values.append(made)
        sources.append(number + len(found) - 1)
    if not found or not np.allclose(found[-1].output, node.output, rtol=_NEARLY, atol=_NEARLY):
        return []
    return [*found[:-1], replace(found[-1], output=node.output)]


_NEARLY = 1e-4
"""What a triplet loss adds to each difference of two values makes less of a loss whose values are not tiny."""


def _ordered(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Calls after those that make their inputs: loss functions are listed apart from other calls."""
    waiting = list(entries)
    makes = {entry[3] for entry in waiting}
    done: set[str | None] = set()
    while waiting:
        ready = next((e for e in waiting if all(k not in makes or k in done for k in e[2])), waiting[0])
        waiting.remove(ready)
        done.add(ready[3])
        yield ready


@dataclass(frozen=True)
class Computation:
    """The same computation of both sides at the same inputs, and what the guide ends with.

    Args:
        guide: The guide's calls.
        steered: The steered side's.
        end: Which of those gives what it ends with.
        wanted: What the guide ends with.
    """

    guide: list[Node]
    steered: list[Node]
    end: int
    wanted: Array


def computation(guide: list[Node], steered: list[Node], wanted: Array, seen: Array) -> Computation | None:
    """A computation whose ends are known; None if the steered side's is not among its values, or it is too large.

    Args:
        guide: The guide's calls.
        steered: The steered side's.
        wanted: What the guide ends with.
        seen: What the steered side ends with.
    """
    end = next((i for i in reversed(range(len(steered))) if _same(seen, steered[i].output)), None)
    if end is None or not guide or max(len(guide), len(steered)) > _MOST_NODES:
        return None
    large = sum(node.output.size for node in (*guide, *steered)) > _MOST_VALUES
    return None if large else Computation(guide, steered, end, wanted)


@dataclass(frozen=True)
class Told:
    """What differs: title, both sides' words, what to do, and the steered side's line.

    It is vague where both sides call the same function, of other values.
    """

    title: str
    guide: str
    steered: str
    mend: str
    place: Place | None
    vague: bool = False


def part(context: Context, where: str, computations: Sequence[Computation | None]) -> Told | None:
    """Where two computations part, the same at all of several batches; None where that is not known.

    Args:
        context: Both sides.
        where: Of what they are, as a title says it: in the loss.
        computations: Of each batch; of those after the first the calls are the same.
    """
    known = [found for found in computations if found is not None]
    if len(known) < len(computations) or len({(len(c.guide), len(c.steered), c.end) for c in known}) != 1:
        return None
    first, words = known[0], _Words(context, where, known[0].guide, known[0].steered)
    vague = None
    # A minimum hides what is before it: values of many kinds in there give what it gives without.
    swaps = [i for i, node in enumerate(first.steered) if node.step is not None and node.name == "minimum"]
    found = _replacements(first)
    for at, source in sorted(found, key=lambda entry: entry[0] not in swaps) if swaps else found:
        if all(_fits(other, at, source) for other in known[1:]):
            told = words.of_replacement(at, source)
            if not told.vague:
                return told
            vague = vague or told
    return vague or words.at_the_end(first.end, first.wanted)


def taken_early(steered: Sequence[Node], wanted: Array, seen: Array) -> int | None:
    """Which mean of the steered side's gives what the guide ends with if it is taken at the end instead; None if none.

    Args:
        steered: The steered side's calls.
        wanted: The one number that the guide ends with.
        seen: The one that the steered side ends with.
    """
    end = next((i for i in reversed(range(len(steered))) if _same(seen, steered[i].output)), None)
    last = None if end is None else steered[end]
    if last is not None and averages(last) and last.inputs[0].size == 1 and last.sources[0] is not None:
        end = last.sources[0]  # a mean of one value is known for one value alone
    for at, node in enumerate(steered[:end]) if end is not None and len(steered) <= _MOST_NODES else ():
        if not averages(node) or node.output.size > 1 or end is None or not _leads_to(steered, at, end):
            continue
        values = elementwise(node.name, node.inputs) if _reduction(node) else node.inputs[0]
        made = None if values is None or values.size <= 1 else _again(steered, at, values, end)
        if made is not None and np.allclose(made.mean(), wanted, rtol=_CLIPPED, atol=0):
            return at
    return None


_CLIPPED = 1e-6
"""What probabilities that a framework clips to 1e-7 make of a loss is less."""


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


def _replacements(of: Computation) -> Iterator[tuple[int, _Source]]:
    """Where one of the guide's values in the place of one of the steered side's gives what the guide ends with."""
    for at in range(of.end):
        if not _leads_to(of.steered, at, of.end):
            continue
        for source, _ in _values(of.guide):
            if _fits(of, at, source):
                yield at, source


def _fits(of: Computation, at: int, source: _Source) -> bool:
    value = _as(_value(of.guide, source), of.steered[at].output)
    if value is None or _same(value, of.steered[at].output):
        return False
    made = _again(of.steered, at, value, of.end)
    return made is not None and _same(made, of.wanted)


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


def _path(nodes: Sequence[Node], begin: Array, end: Node) -> list[Node]:
    """The calls that make a node's output of a value, the last one included; empty if it is not made of it."""
    if any(_same(array, begin) for array in end.inputs):
        return [end]
    for source in end.sources:
        if source is not None and (path := _path(nodes, begin, nodes[source])):
            return [*path, end]
    return []


def _made_of(nodes: Sequence[Node], end: Node) -> list[Node]:
    """The calls that a value is computed by, in their order."""
    found = [end]
    for source in end.sources:
        if source is not None:
            found = [*_made_of(nodes, nodes[source]), *found]
    return found


def _ratio(wanted: Array, seen: Array) -> float | None:
    other = _as(wanted, seen)
    if other is None or not other.any():
        return None
    at = int(np.abs(other).argmax())
    ratio = float(seen.reshape(-1)[at] / other.reshape(-1)[at])
    return ratio if np.allclose(other * ratio, seen, rtol=_EQUAL) else None


def _reduction(node: Node) -> str:
    """How a loss function of torch's makes one value of many; empty for what is none."""
    return str(dict(node.settings).get("reduction") or "")


_SUMMED = re.compile(r"\b(reduce_)?(sum|mean)\b")


def averages(node: Node) -> bool:
    """Whether a call makes one value of many by their mean."""
    return node.name in ("mean", "reduce_mean") or _reduction(node) == "mean"


def _adds_up(node: Node) -> bool:
    return node.name in ("sum", "reduce_sum") or _reduction(node) == "sum"


def as_sum(node: Node, size: int) -> str:
    """The line of a mean over everything with a sum over each sample's values in it; empty where that is not told."""
    line, shape = "" if node.place is None else node.place.code, node.inputs[0].shape
    if len(shape) < 2 or size != int(np.prod(shape[1:])) or node.output.size > 1:
        return ""
    if _reduction(node):
        given = re.findall(rf"\b{node.name}\((\w+), (\w+)\)", line)
        if len(given) == 1:
            before, after = (
                f"{node.name}({', '.join(given[0])})",
                f'{node.name}({", ".join(given[0])}, reduction="sum")',
            )
            return line.replace(before, f"{after} / len({given[0][0]})")
        return 'reduction="sum", divided by the number of samples'
    summed = ".sum(dim=1)" if len(shape) == 2 else ".flatten(1).sum(dim=1)"
    return line.replace(".mean()", f"{summed}.mean()") if line.count(".mean()") == 1 else ""


def _as_mean(node: Node) -> str:
    """The same of a sum that should be a mean."""
    line = "" if node.place is None else node.place.code
    if _reduction(node):
        return line.replace('reduction="sum"', 'reduction="mean"') if 'reduction="sum"' in line else 'reduction="mean"'
    return ""


def _line(node: Node) -> str:
    return "" if node.place is None else f"{node.place} {node.place.code}".rstrip()


@dataclass(frozen=True)
class _Words:
    """What differs between the computations of two sides, in words."""

    context: Context
    where: str
    guide: Sequence[Node]
    steered: Sequence[Node]

    def of_replacement(self, at: int, source: _Source) -> Told:
        """How the guide makes the value that the steered side makes otherwise."""
        node, value = self.steered[at], _value(self.guide, source)
        told = self._of_setting(node, value)
        if told is not None:
            return told
        if any(_same(value, array) for array in node.inputs):
            return self._extra(node)
        if source[1] >= 0:
            return self._of_given(node, value)
        wanted = self.guide[source[0]]
        return self._of_two(wanted, node) or self._other(wanted, node)

    def _of_given(self, node: Node, value: Array) -> Told:
        """Where the guide has a value that it was given, or that nobody saw it make."""
        given = [
            array
            for other in self.steered
            for source, array in zip(other.sources, other.inputs, strict=True)
            if source is None
        ]
        if not any(_same(value, array) for array in given):
            title = self.context.differs(f"a value {self.where} after {node.words}:", "not seen being made", "another")
            return Told(title, "a value that was not seen being made", node.words, "", node.place, vague=True)
        title = self.context.added(node.words, f"{self.where} to a value that is taken as it is")
        return Told(title, "the value as it is", node.words, f"leave out {node.words}", node.place)

    def _of_two(self, wanted: Node, node: Node) -> Told | None:
        """What differs between two calls: how many values become one, where that is all, else what is done before."""
        told, reduced = self._of_nodes(wanted, node), self._of_reduction(wanted, node)
        written_out = (
            bool(_reduction(node)) and node.name != wanted.name
        )  # of a loss function nothing is missing inside
        return reduced if reduced and (told is None or written_out or _SUMMED.search(told.title)) else told

    def _of_setting(self, node: Node, wanted: Array) -> Told | None:
        """Another value of what a built-in loss adds, such as its margin."""
        other = _as(wanted, node.output)
        if node.step is None or not node.step.setting or other is None:
            return None
        added = other - node.inputs[0]
        value = float(np.median(added))
        if not np.allclose(added, value, rtol=0, atol=_EQUAL * float(np.abs(other).max(initial=1))):
            return None
        setting, guide, steered = node.step.setting, number(round(value, 9)), number(node.step.value)
        title = self.context.differs(f"{setting} {self.where}", guide, steered)
        return Told(title, f"{setting} {guide}", f"{setting} {steered}", f"{setting}={guide}", node.place)

    def at_the_end(self, end: int, wanted: Array) -> Told | None:
        """Where it is the last call that differs, or where one computation goes on from the end of the other."""
        node = self.steered[end]
        last = next((other for other in reversed(self.guide) if _same(other.output, wanted)), None)
        if any(_same(wanted, array) for array in node.inputs):
            return self._extra(node)
        if last is None:
            return None
        path = _path(self.guide, node.output, last)
        return self._missing(path, node, node.place, "at the end") if path else self._of_two(last, node)

    def _of_nodes(self, wanted: Node, node: Node) -> Told | None:
        """What differs between two calls that stand for each other: the function, or what was done before it."""
        path = _path(self.guide, node.output, wanted)
        if path:
            return self._missing(path, node, node.place, f"after {node.name}")
        apart = [i for i, array in enumerate(node.inputs) if not any(_same(array, other) for other in wanted.inputs)]
        left = [other for other in wanted.inputs if not any(_same(other, array) for array in node.inputs)]
        made = [other for other in left if any(_same(known.output, other) for known in self.guide)]
        if not apart and not made:
            return self._other(wanted, node)
        for i, other in itertools.product(apart, left):
            maker = next((known for known in self.guide if _same(known.output, other)), None)
            path = [] if maker is None else _path(self.guide, node.inputs[i], maker)
            source = node.sources[i]
            if path:
                line = node.place if source is None else self.steered[source].place
                return self._missing(path, node, line, f"before {node.name}")
            own = [] if source is None else _path(self.steered, other, self.steered[source])
            if own:
                return self._extra(*own)
        return None

    def _extra(self, *nodes: Node) -> Told:
        words = " and ".join(node.words for node in nodes)
        title = self.context.added(words, self.where)
        if nodes[0].step is not None and nodes[0].name == "minimum":
            title = self.context.added("swap=True (the nearer of two distances)", self.where)
            return Told(title, "the negative's distance to the anchor", "the nearer", "swap=False", nodes[0].place)
        return Told(title, "nothing there", words, f"leave out {words}", nodes[0].place)

    def _missing(self, path: Sequence[Node], node: Node, line: Place | None, at: str) -> Told:
        words = " and ".join(self._with_operand(step, (node.output, *node.inputs)) for step in path)
        title = self.context.missing(words, f"{self.where} {at}")
        return Told(title, f"{words}, {_line(path[-1])}", "nothing there", f"add {words}", line)

    def _with_operand(self, node: Node, known: Sequence[Array]) -> str:
        """A call's name; of one of two values, with what makes the one that the steered side does not have there."""
        makers = [
            self.guide[source].words
            for source, array in zip(node.sources, node.inputs, strict=True)
            if source is not None and not any(_same(array, other) for other in known)
        ]
        return f"{node.words} of {makers[0]}" if len(node.inputs) > 1 and makers else node.words

    def _of_reduction(self, wanted: Node, node: Node) -> Told | None:
        """A mean where the other side has a sum: the values are each other's, times the size of some of the axes."""
        ratio = _ratio(wanted.output, node.output)
        if ratio is None or ratio <= 0 or abs(ratio - 1) < _EQUAL:
            return None
        larger = max(ratio, 1 / ratio)
        of_mean = _made_of(self.guide, wanted) if ratio > 1 else _made_of(self.steered, node)
        for mean in of_mean:
            if not averages(mean) or not mean.inputs:
                continue
            sizes, size = mean.inputs[0].shape, round(larger)
            over = {int(np.prod(axes)) for count in (1, 2, 3) for axes in itertools.combinations(sizes, count)}
            if size not in over or abs(larger / size - 1) > _EQUAL:
                continue
            words = ("mean", "sum") if ratio > 1 else ("sum", "mean")
            title = self.context.differs(f"reduction {self.where}, over {size} values:", *words)
            sums = [other for other in _made_of(self.steered, node) if _adds_up(other)]
            at = mean if ratio < 1 else sums[-1] if sums else node
            mend = _as_mean(at) if ratio > 1 else as_sum(at, size)
            mend = mend if self.context.frameworks[1] == "torch" else ""
            return Told(
                title, f"{words[0]}, {_line(wanted)}", words[1], mend or f"{words[0]} over {size} values", at.place
            )
        return None

    def _other(self, wanted: Node, node: Node) -> Told:
        ratio = _ratio(wanted.output, node.output)
        factor = "" if ratio is None or wanted.words != node.words else f" ({number(ratio)} times)"
        title = self.context.differs(self.where, wanted.words, f"{node.words}{factor}")
        same = _does_as(node, wanted)  # None where that is not known
        numbers = wanted.name == node.name and (node.step is not None or wanted.numbers == node.numbers)
        alike = not factor and (numbers if same is None or node.step is not None else same)
        mend = f"use {wanted.words.replace('axis=', 'dim=') if self.context.frameworks[1] == 'torch' else wanted.words}"
        if alike and node.step is None:
            port, reference = node.words, wanted.words
            if not self.context.guide_is_reference:
                port, reference = reference, port
            title, mend = f"{self.where}, {port} is given other values than the reference's {reference}", ""
        return Told(title, f"{wanted.words}, {_line(wanted)}", node.words, mend, node.place, alike)


def _does_as(node: Node, wanted: Node) -> bool | None:
    """Whether one call computes what another does, under another name, of what that was given: pow(2) and square.

    None where the function is not known, or takes several values, which may be given in another order.
    """
    if node.function is None or len(node.inputs) != len(wanted.inputs) or len(node.inputs) > 1:
        return None
    try:
        with np.errstate(all="ignore"):
            return _same(node.function(list(wanted.inputs)), wanted.output)
    except (ValueError, IndexError, TypeError):
        return None
