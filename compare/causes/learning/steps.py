"""Causes of optimizer steps that are Adam's, but not one for each batch, of its gradient, with moments of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from compare.causes.learning.state import OptimizerState, States
from compare.causes.signatures import Evidence, see
from compare.oracle.network import Array


class Predicted(NamedTuple):
    """First moment, second moment, what is subtracted from the parameter; and the sizes of gradients that cancel."""

    first: Array
    second: Array
    update: Array
    cancelling: Array | float = 0.0


Predict = Callable[[OptimizerState], Predicted]


def of_other_steps(states: States, evidence: Mapping[str, Sequence[Evidence]]) -> str | None:
    """Other steps than one a batch, of its own gradient: moments and parameters in every step alike.

    Args:
        states: Of every parameter.
        evidence: Of the first moments, the second moments and the parameters, in this order.
    """
    if all(one.is_right for part in evidence.values() for one in part):
        return None
    causes = [
        cause
        for catalogue in (_repeated, _accumulated, _late, _skipped, _skipped_by_some, _shared)
        for cause, predict in catalogue(states)
        if _explains(predict, evidence)
    ]
    return " – or ".join(causes) or None


def _explains(predict: Predict, evidence: Mapping[str, Sequence[Evidence]]) -> bool:
    firsts, seconds, parameters = evidence.values()
    return (
        all(one.left_by((p := predict(one.given)).first, p.cancelling) <= 1 for one in firsts)
        and all(one.left_by((p := predict(one.given)).second, np.square(p.cancelling)) <= 1 for one in seconds)
        and all(one.left_by(predict(one.given).update) <= 1 for one in parameters)
    )


def _nothing(s: OptimizerState) -> Predicted:
    """A step in which nothing moves."""
    return Predicted(s.first_before, s.second_before, np.zeros(s.before.shape))


def _with_gradient(s: OptimizerState, gradient: Array, count: int, cancelling: Array | float = 0.0) -> Predicted:
    """Adam's step with another gradient; its update is that of the recorded moments, which are judged by themselves."""
    first = s.adam.first_moment(s.first_before, gradient)
    second = s.adam.second_moment(s.second_before, gradient)
    return Predicted(first, second, s.adam.update(s.first, s.second, count), cancelling)


def _repeated(_: States) -> Iterator[tuple[str, Predict]]:
    """More than one step a batch."""
    for count in (2, 3, 4, 5):

        def predict(s: OptimizerState, count: int = count) -> Predicted:
            first, second, update = s.first_before, s.second_before, np.zeros(s.before.shape)
            for number in range(count):
                first, second = s.adam.first_moment(first, s.gradient), s.adam.second_moment(second, s.gradient)
                update = update + s.adam.update(first, second, count * (s.step - 1) + number + 1)
            return Predicted(first, second, update)

        yield f"the optimizer takes {count} steps with the gradient of each batch", predict


def _gradients_before(states: States) -> Callable[[OptimizerState, int], Array]:
    """The gradient that a state's parameter had so many steps before; NaN where that step is not recorded."""
    by_step = {id(s): {other.step: other.gradient for other in of} for of in states.values() for s in of}
    return lambda s, back: by_step[id(s)].get(s.step - back, np.full(s.before.shape, np.nan))


def _accumulated(states: States) -> Iterator[tuple[str, Predict]]:
    """One step for several batches: of their gradients' sum or mean, or of the last one's."""
    before = _gradients_before(states)
    for count in (2, 3, 4, 5, 8, 10):
        for words, divided in (("averaged", count), ("added up", 1)):
            for every in (True, False):

                def predict(
                    s: OptimizerState, count: int = count, divided: int = divided, *, every: bool = every
                ) -> Predicted:
                    if s.step % count:
                        return _nothing(s)
                    gradients = [before(s, back) for back in range(count)]
                    sizes = np.sum(np.abs(gradients), axis=0) / divided
                    return _with_gradient(
                        s, np.sum(gradients, axis=0) / divided, s.step // count if every else s.step, sizes
                    )

                counter = "" if every else ", and the step counter counts batches"
                name = (
                    f"the optimizer takes its first step in step {count}: gradients of several batches are accumulated"
                )
                yield f"{name} and {words}{counter}{see('gradient-accumulation')}", predict
        name = f"the optimizer takes one step in {count} batches, with the gradient of the last one alone"

        def last(s: OptimizerState, count: int = count) -> Predicted:
            return _nothing(s) if s.step % count else _with_gradient(s, s.gradient, s.step // count)

        yield name, last


def _late(states: States) -> Iterator[tuple[str, Predict]]:
    """The gradient of a batch before: the optimizer steps before the backward pass."""
    before = _gradients_before(states)
    for back in (1, 2):
        for idle, words in ((True, "nothing moves"), (False, "it has a gradient of zero")):

            def predict(s: OptimizerState, back: int = back, *, idle: bool = idle) -> Predicted:
                if s.step > back:
                    return _with_gradient(s, before(s, back), s.step - back if idle else s.step)
                return _nothing(s) if idle else _with_gradient(s, np.zeros(s.before.shape), s.step)

            which = "the batch before" if back == 1 else f"{back} batches before"
            first = "step" if back == 1 else f"{back} steps"
            name = f"the optimizer steps before the backward pass, with the gradient of {which}"
            yield f"{name}; in the first {first} {words}", predict


def _skipped(states: States) -> Iterator[tuple[str, Predict]]:
    """Single steps in which nothing moves; the step counter stops with them, or does not."""
    steps = next(iter(states.values()))
    still = [
        s.step
        for number, s in enumerate(steps)
        if all((of[number].before == of[number].after).all() for of in states.values() if number < len(of))
    ]
    if not still or len(still) == len(steps):
        return
    which = f"step {still[0]} is" if len(still) == 1 else f"the steps {', '.join(map(str, still))} are"
    for stops, kept, words in (
        (True, True, ": moments and parameters stay as they were, and the step counter stops"),
        (False, True, ": moments and parameters stay as they were, and the step counter goes on"),
        (False, False, ": the moments move, the parameters do not"),
    ):

        def predict(s: OptimizerState, *, stops: bool = stops, kept: bool = kept) -> Predicted:
            if s.step in still and not kept:
                return Predicted(s.adams_first(), s.adams_second(), np.zeros(s.before.shape))
            return _resting(s, still, stops=stops)

        yield f"{which} skipped{words}", predict


def _resting(s: OptimizerState, still: Sequence[int], *, stops: bool) -> Predicted:
    """Adam's step but for some in which nothing moves; the step counter `stops` with them, or goes on."""
    if s.step in still:
        return _nothing(s)
    counted = s.step - sum(step < s.step for step in still) if stops else s.step
    return Predicted(s.adams_first(), s.adams_second(), s.adam.update(s.first, s.second, counted))


def _skipped_by_some(states: States) -> Iterator[tuple[str, Predict]]:
    """Steps in which some parameters alone stay as they are: frozen for a time, or of an optimizer that rests."""
    still = {
        name: tuple(s.step for s in steps if (s.before == s.after).all() and s.gradient.any())
        for name, steps in states.items()
    }
    resting = {name: steps for name, steps in still.items() if steps and len(steps) < len(states[name])}
    if not resting or len(set(resting.values())) > 1 or len(resting) == len(states):
        return
    when = next(iter(resting.values()))
    name_of = {id(s): name for name, steps in states.items() for s in steps}
    which = f"the step{'s' if len(when) > 1 else ''} {', '.join(map(str, when))}"
    for stops, words in ((True, "stops"), (False, "goes on")):

        def predict(s: OptimizerState, *, stops: bool = stops) -> Predicted:
            return _resting(s, when if name_of[id(s)] in resting else (), stops=stops)

        yield (
            f"{', '.join(resting)}: neither moments nor parameters move in {which}; the step counter {words}",
            predict,
        )


def _shared(states: States) -> Iterator[tuple[str, Predict]]:
    """Parameters of one shape that have moments in common: each takes them on from the one before."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, steps in states.items():
        if len(steps):
            groups.setdefault(steps[0].before.shape, []).append(name)
    shared = [names for names in groups.values() if len(names) > 1]
    if not shared or len({tuple(s.step for s in steps) for steps in states.values()}) > 1:
        return
    which = "; ".join(", ".join(names) for names in shared)
    gradients = {(name, s.step): s.gradient for name, steps in states.items() for s in steps}
    name_of = {id(s): name for name, steps in states.items() for s in steps}
    for way in (1, -1):
        order = {name: names[::way] for names in shared for name in names}

        def predict(s: OptimizerState, order: dict[str, list[str]] = order) -> Predicted:
            name = name_of[id(s)]
            first, second = s.first_before, s.second_before
            update, sizes = s.adams_update(), np.abs(first)
            for other in order.get(name, [name]):
                gradient = gradients[other, s.step]
                first, second = s.adam.first_moment(first, gradient), s.adam.second_moment(second, gradient)
                sizes = sizes + np.abs(gradient)
                if other == name:
                    update = s.adam.update(first, second, s.step)
            return Predicted(first, second, update, sizes)

        yield f"parameters of one shape share their moments: {which}", predict
