"""Loss, gradients and optimizer in every window, by their rounding-error bounds."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile

import numpy as np

from compare.causes import arithmetic as causes
from compare.causes.optimizer import OptimizerState
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
            return causes.of_loss(watched.only(concerned), 0, from_logits=False)

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
                partial(causes.of_gradient, watched, index, name, expected, bound),
            )


def optimizer_checks(watched: Watched) -> Iterator[Check]:
    """Moments and parameters after every window's steps, from the recorded gradients and the state before."""
    for index in range(len(watched.steps)):
        for name in watched.initial_weights:

            def explain(cause: Callable[..., str | None], index: int = index, name: str = name) -> str | None:
                """Has to hold of this step and of all later ones that are off, until the training diverges."""
                states = (watched.optimizer_state(later, name) for later in range(index, len(watched.steps)))
                finite = takewhile(lambda later: np.isfinite(later.gradient).all(), states)
                return cause(next(states), *(later for later in finite if _off(name, later)))

            yield from step_checks(watched.place(index), name, watched.optimizer_state(index, name), explain)


def _off(name: str, state: OptimizerState) -> bool:
    """Whether a moment or a parameter is not what the optimizer should make of it."""
    return any((check.ratios(np.inf) > 1).any() for check in step_checks("", name, state, lambda _: None))
