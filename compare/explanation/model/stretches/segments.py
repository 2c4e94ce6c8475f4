"""What lies between two layers with parameters: activations, pooling, flattening, sums. Found out by values.

The guide's operations from one paired layer's output to the next one's input are a chain. The steered side had the
same output put in, and ran its own code from there. If what it gives the next layer differs, the fewest edits of the
guide's chain are looked for that give it: an operation left out, replaced or put in. Every edit must give a value
that the steered side has really computed, so that no cause is named that the numbers do not bear out.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Call, Observation
from compare.explanation.observed.values import ROUNDED, SAME, deviation
from compare.explanation.operations.learning import learn, learn_masked, learn_two, over_one
from compare.explanation.operations.operation import Operation

_LARGE = 200_000
_MOST_EDITS = 3
_MOST_SOLUTIONS = 40
_MOST_TRIED = 400
"""So many pairs of values are asked for the operation between them, then the search is given up."""


@dataclass(frozen=True)
class Step:
    """One operation of the guide's chain, in torch's layout.

    Args:
        name: How to call it.
        before: What goes in.
        after: What comes out.
        others: Its other operands.
        place: Its line.
        mask: Of sequences, which positions count, (samples, positions); None for all.
    """

    name: str
    before: Array
    after: Array
    others: tuple[Array, ...] = ()
    place: Place | None = None
    mask: Array | None = None

    def operation(self) -> Operation | None:
        """What it does, by its values; None if that is not known."""
        if self.others:
            return learn_two(self.before, self.others[0], self.after) if len(self.others) == 1 else None
        return learn(self.before, self.after) or learn_masked(self.before, self.mask, self.after)

    @property
    def is_nothing(self) -> bool:
        """Whether it changes no value."""
        return self.before.shape == self.after.shape and deviation(self.before, self.after) <= SAME


@dataclass(frozen=True)
class Value:
    """A value that the steered side computed on its way, with the place where it did.

    `made` is the place of its layer, `called` the function's name or the layer's kind.
    """

    array: Array
    name: str
    place: Place | None
    others: tuple[Array, ...] = ()
    made: Place | None = None
    called: str = ""


@dataclass(frozen=True)
class Edit:
    """One difference between two chains.

    Args:
        kind: `missing`, `replaced` or `extra`.
        guide: The guide's operation, None where there is none.
        steered: The steered side's, None where there is none.
        step: The guide's step.
        value: The steered side's value that shows it.
        after: After how many of the guide's operations it is.
        deviation: How far the two values are apart.
    """

    kind: str
    guide: Operation | None
    steered: Operation | None
    step: Step | None
    value: Value | None
    after: int
    deviation: float


def few(array: Array) -> Array:
    """The first samples of a large array: enough to tell operations apart."""
    return array if array.size <= _LARGE else array[: max(4, int(_LARGE / max(array[0].size, 1)))]


def turned(array: Array, *, channels_last: bool) -> Array:
    """An array of images or volumes in torch's layout."""
    return np.moveaxis(array, -1, 1) if channels_last and array.ndim >= 4 else array


class Producers:
    """Which call of a forward pass made which value.

    Args:
        observation: What was seen.
        calls: The forward pass.
        channels_last: Whether images are (samples, height, width, channels).
    """

    def __init__(self, observation: Observation, calls: Sequence[Call], *, channels_last: bool) -> None:
        self.observation = observation
        self.calls = calls
        self.channels_last = channels_last
        self._made: dict[object, list[tuple[int, str]]] = {}
        self._read: set[int] = set()

    def array(self, key: str | None) -> Array | None:
        """A value in torch's layout, of some samples if it is large."""
        found = self.observation.array(key)
        return None if found is None or found.ndim == 0 else few(turned(found, channels_last=self.channels_last))

    def of(self, key: str | None, before: int) -> tuple[int, str] | None:
        """The position of the call that made a value, and whether as its `output` or its `preactivation`."""
        for position, call in enumerate(self.calls[:before]):
            if position in self._read:
                continue
            self._read.add(position)
            for name, keys in (("output", call.outputs), ("preactivation", (call.preactivation,))):
                for made in keys:
                    if made is not None and not self._passes_through(call, made):
                        for mark in (made, _content(self.array(made))):
                            self._made.setdefault(mark, []).append((position, name))
        if key is None:
            return None
        for mark in (key, _content(self.array(key))):
            earlier = [found for found in self._made.get(mark, ()) if found[0] < before]
            if earlier:
                return max(earlier)
        return None

    def _passes_through(self, call: Call, made: str) -> bool:
        """Whether a call only hands on what it got, as dropout does while it is set to nothing."""
        return call.layer is not None and made in call.inputs


def _content(array: Array | None) -> tuple[object, ...]:
    if array is None:
        return (None,)
    return (array.shape, hash(np.ascontiguousarray(array).tobytes()))


def chain(producers: Producers, call: Call, position: int, anchors: frozenset[str]) -> tuple[Array | None, list[Step]]:
    """The operations that lead to a call's first input, back to the output of a layer of `anchors`.

    Args:
        producers: Of the guide's forward pass.
        call: Whose input it is.
        position: The call's position in the forward pass.
        anchors: The names of the paired layers.

    Returns:
        The value that the chain begins with, and its operations in the order of the computation.
    """
    key = call.inputs[0] if call.inputs else None
    steps: list[Step] = []
    value = producers.array(key)
    for _ in range(60):
        made = producers.of(key, position)
        if made is None or value is None:
            break
        position, what = made
        maker = producers.calls[position]
        anchored = maker.layer in anchors
        if anchored and (what == "preactivation" or maker.preactivation is None):
            break
        inside = maker.preactivation is not None and what == "output"
        keys: list[str | None] = [maker.preactivation] if inside else list(maker.inputs)
        if not keys:
            break
        key, others = _main(producers, keys, position)
        before = producers.array(key)
        if before is None:
            break
        after = value
        if maker.preactivation is not None and what == "output":
            steps.append(Step(f"activation of {maker.name}", before, after, (), maker.place))
            value = before
            if anchored:
                break
            position += 1  # its preactivation is made by itself
            continue
        mask = producers.observation.array(maker.masks[0]) if maker.masks else None
        steps.append(Step(maker.name, before, after, tuple(others), maker.place, mask))
        value = before
    return value, [step for step in reversed(steps) if not step.is_nothing]


def _main(producers: Producers, keys: list[str | None], position: int) -> tuple[str | None, list[Array]]:
    """The operand that was made last, and the others."""
    made = [(producers.of(key, position) or (-1, ""))[0] for key in keys]
    main = max(range(len(keys)), key=lambda i: made[i])
    others = [producers.array(key) for i, key in enumerate(keys) if i != main]
    return keys[main], [array for array in others if array is not None]


def explain_chain(begin: Array, steps: Sequence[Step], values: Sequence[Value], goal: Array) -> list[Edit] | None:
    """The fewest edits of the guide's chain that give what the steered side gave to its next layer.

    Args:
        begin: The value that both chains begin with, in torch's layout.
        steps: The guide's operations.
        values: What the steered side computed on its way, the goal included.
        goal: What it ended with.

    Returns:
        None if none of the edits that are known do; an empty list if the chains agree.
    """
    goal = few(goal)
    learner = _Learner(values)
    for most in range(_MOST_EDITS + 1):
        found = list(itertools.islice(_search(begin, steps, learner, goal, most, exact=True), _MOST_SOLUTIONS))
        if found:
            return min(found, key=_cost)
    return None


def _cost(edits: list[Edit]) -> float:
    """Of edits that give the same, those that a person would more likely have made cost less."""
    costs = {"replaced": 1.0, "missing": 1.1, "extra": 1.2}
    return sum(costs[edit.kind] - 0.5 * _same_name(edit) + _is_contrived(edit) for edit in edits)


def _is_contrived(edit: Edit) -> bool:
    """Whether a second operand comes from nowhere: with one of one's choice, much can be made of anything."""
    return edit.kind == "extra" and edit.steered is not None and edit.steered.family == "two operands"


def _same_name(edit: Edit) -> bool:
    """Whether an operation was replaced by itself with another setting."""
    if edit.guide is None or edit.steered is None:
        return False
    return edit.guide.name.partition("(")[0].split()[:2] == edit.steered.name.partition("(")[0].split()[:2]


def _search(
    now: Array, steps: Sequence[Step], learner: "_Learner", goal: Array, most: int, *, exact: bool, done: int = 0
) -> Iterator[list[Edit]]:
    """Depth first: go on as the guide does, or with one edit less to make."""
    if done == len(steps):
        if reaches(now, goal):
            yield []
        elif most:
            yield from _extra(now, steps, learner, goal, most, done)
        return
    step = steps[done]
    operation = step.operation()
    kept = step.after if exact else _kept(operation, step, now)
    if kept is not None:
        yield from _search(kept, steps, learner, goal, most, exact=exact, done=done + 1)
    if not most:
        return
    for value, learned, made in learner.learned(now):
        if operation is None or learned.family == operation.family or step.others:
            for rest in _search(made, steps, learner, goal, most - 1, exact=False, done=done + 1):
                far = deviation(kept, made) if kept is not None and kept.shape == made.shape else 1.0
                yield [Edit("replaced", operation, learned, step, value, done, far), *rest]
    for rest in _search(now, steps, learner, goal, most - 1, exact=exact and step.is_nothing, done=done + 1):
        far = deviation(kept, now) if kept is not None and kept.shape == now.shape else 1.0
        yield [Edit("missing", operation, None, step, None, done, far), *rest]
    yield from _extra(now, steps, learner, goal, most, done)


def _extra(
    now: Array, steps: Sequence[Step], learner: "_Learner", goal: Array, most: int, done: int
) -> Iterator[list[Edit]]:
    for value, learned, made in learner.learned(now):
        for rest in _search(made, steps, learner, goal, most - 1, exact=False, done=done):
            far = deviation(now, made) if now.shape == made.shape else 1.0
            yield [Edit("extra", None, learned, None, value, done, far), *rest]


def _kept(operation: Operation | None, step: Step, now: Array) -> Array | None:
    if deviation_or_inf(step.before, now) <= SAME:
        return step.after
    return operation(now) if operation is not None else None


def deviation_or_inf(first: Array, second: Array) -> float:
    """The deviation, infinite where shapes differ."""
    return deviation(first, second) if first.shape == second.shape else float("inf")


class _Learner:
    """The operations that would make one of the steered side's values of another value.

    Args:
        values: What the steered side computed on its way.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self._values = values
        self._tried = 0

    def learned(self, now: Array) -> Iterator[tuple[Value, Operation, Array]]:
        """What is known to make any of the values of this one; nothing more once too much has been tried."""
        for value in self._values:
            array = value.array
            if array.shape == now.shape and deviation(now, array) <= ROUNDED:
                continue
            self._tried += 1
            if self._tried > _MOST_TRIED:
                return
            operation = over_one(value.called, now, array) or learn(now, array)
            if operation is None:
                operation = next((o for other in value.others if (o := learn_two(now, other, array)) is not None), None)
            if operation is None or operation.family == "identity":
                continue
            made = operation(now)
            if made is not None:
                yield value, operation, made


def reaches(value: Array, goal: Array) -> bool:
    """Whether a value is the goal, up to axes of size 1, time first, and a constant rounded to float32."""
    if value.ndim == 0 or goal.ndim == 0:
        return False
    count = min(len(value), len(goal))
    first, second = value[:count], goal[:count]
    if first.ndim == 3 == second.ndim and first.shape != second.shape:
        options = [np.swapaxes(first, 1, 2), np.swapaxes(value, 0, 1)]
    else:
        options = [first]
        if first.ndim == 3 and first.shape[1] == first.shape[2]:
            options.append(np.swapaxes(first, 1, 2))
    return any(
        _squeezed(option) == _squeezed(second) and deviation(option.reshape(second.shape), second) <= ROUNDED
        for option in options
    )


def _squeezed(array: Array) -> tuple[int, ...]:
    return (len(array), *(size for size in array.shape[1:] if size != 1))
