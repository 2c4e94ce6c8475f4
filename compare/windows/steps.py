"""Loss, gradients and optimizer in every window, by their rounding-error bounds."""

from collections.abc import Iterator
from functools import partial
from itertools import takewhile

import numpy as np

from compare.causes.learning import gradients as causes
from compare.causes.learning.optimizer import of_optimizer
from compare.causes.learning.state import OptimizerState
from compare.ladder.check import Check
from compare.ladder.optimizer import step_checks
from compare.windows.watched import Watched


def loss_checks(watched: Watched) -> Iterator[Check]:
    """The loss of every window's steps, from weights, images and labels."""
    losses = [taken.loss() for taken in watched.taken]
    off = [not abs(step.loss - exact) <= bound for step, (exact, bound) in zip(watched.steps, losses, strict=False)]
    for index, (expected, bound) in enumerate(losses):

        def explain(index: int = index) -> str | None:
            """Has to hold of every step that is off."""
            concerned = [later for later in range(index, len(off)) if off[later]]
            only = watched.only(concerned)
            return causes.of_loss(only, 0, _carried(only))

        recorded = np.asarray(watched.steps[index].loss)
        yield Check(f"{watched.place(index)}: loss", recorded, np.asarray(expected), np.asarray(bound), explain)


def gradient_checks(watched: Watched) -> Iterator[Check]:
    """Every gradient of every window's steps, from weights, images and labels."""
    for index, (step, taken) in enumerate(zip(watched.steps, watched.taken, strict=False)):
        for name, expected, bound in taken.gradients():
            yield Check(
                f"{watched.place(index)}: gradient of {name}",
                np.asarray(step.gradients[name], np.float64),
                expected,
                bound,
                partial(_gradient_cause, watched, index, name),
            )


def _gradient_cause(watched: Watched, index: int, name: str) -> str | None:
    """Has to hold of every step that is off."""
    off = [later for later in range(index, len(watched.steps)) if _any_gradient_off(watched, later)]
    only = watched.only(off)
    return causes.of_gradient(only, 0, name, _carried(only))


def _any_gradient_off(watched: Watched, index: int) -> bool:
    recorded = watched.steps[index].gradients
    exact = watched.taken[index].gradients()
    return any(not (np.abs(recorded[name] - expected) <= bound).all() for name, expected, bound in exact)


def _carried(watched: Watched) -> causes.Carried:
    """The bounds of losses and gradients."""
    losses = [bound for _, bound in (taken.loss() for taken in watched.taken)]
    gradients = {
        (index, name): bound for index, taken in enumerate(watched.taken) for name, _, bound in taken.gradients()
    }
    return causes.Carried(losses, gradients)


def optimizer_checks(watched: Watched) -> Iterator[Check]:
    """Moments and parameters after every window's steps, from the recorded gradients and the state before."""
    for index in range(len(watched.steps)):
        for name in watched.initial_weights:
            explain = partial(_optimizer_cause, watched, index, name)
            yield from step_checks(watched.place(index), name, watched.optimizer_state(index, name), explain)


def _optimizer_cause(watched: Watched, index: int, name: str) -> str | None:
    """Has to hold of all parameters in this step and in all later ones that are off, until the training diverges."""
    numbers = range(index, len(watched.steps))
    later = takewhile(lambda number: number == index or _finite(watched, number), numbers)
    off = [number for number in later if number == index or _any_off(watched, number)]
    states = {
        parameter: [watched.optimizer_state(number, parameter) for number in off]
        for parameter in watched.initial_weights
    }
    return of_optimizer(states, 0, name)


def _any_off(watched: Watched, index: int) -> bool:
    return any(_off(name, watched.optimizer_state(index, name)) for name in watched.initial_weights)


def _off(name: str, state: OptimizerState) -> bool:
    """Whether a moment or a parameter is not what the optimizer should make of it."""
    return any((check.ratios(np.inf) > 1).any() for check in step_checks("", name, state, lambda: None))


def _finite(watched: Watched, index: int) -> bool:
    return all(np.isfinite(gradient).all() for gradient in watched.steps[index].gradients.values())
