"""Losses that a framework has as one function and that are written out elsewhere, as the steps they are made of.

By the documentation of `torch.nn.functional`, `tf.nn` and `keras.losses`; the 1e-6 that a triplet loss adds to each
difference and the 1e-7 at which Keras clips probabilities are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from compare.explanation.observed.observation import Array


@dataclass(frozen=True)
class Step:
    """One step of a loss.

    Args:
        name: As the function would be called.
        operands: Which of the loss's inputs, then of the steps before, it is given, counted through.
        function: What it computes.
        setting: The argument of the loss that it adds, empty for none.
        value: What that argument is.
    """

    name: str
    operands: tuple[int, ...]
    function: Callable[[Sequence[Array]], Array]
    setting: str = ""
    value: float = 0.0


def steps_of(name: str, settings: Mapping[str, Any]) -> list[Step]:
    """The steps of a loss by its function's name, empty for one that is not known."""
    if name in _CROSS_ENTROPIES:
        return _cross_entropy(name, settings)
    reduced = _reduced(str(settings.get("reduction")))
    margin = float(settings.get("margin") or 0.0)
    if name == "triplet_margin_loss":
        return _triplet(margin, float(settings.get("p") or 2.0), swap=settings.get("swap") is True, reduced=reduced)
    if name == "margin_ranking_loss":
        first = [Step("sub", (0, 1), _subtract), Step("mul", (3, 2), _multiply), Step("neg", (4,), _negate)]
        return [*first, _added(5, margin), Step("relu", (6,), _rectify), Step(reduced[0], (7,), reduced[1])]
    return []


_CROSS_ENTROPIES: Mapping[str, tuple[int, int, bool | None]] = {
    "cross_entropy": (0, 1, True),
    "nll_loss": (0, 1, None),
    "sparse_softmax_cross_entropy_with_logits": (1, 0, True),
    "softmax_cross_entropy_with_logits": (1, 0, True),
    "sparse_categorical_crossentropy": (1, 0, False),
    "categorical_crossentropy": (1, 0, False),
}
"""Which operand is the prediction and which the target; whether it is given logits, None for their log-softmax."""


def _cross_entropy(name: str, settings: Mapping[str, Any]) -> list[Step]:
    prediction, target, of_logits = _CROSS_ENTROPIES[name]
    axis = 1 if name in ("cross_entropy", "nll_loss") else -1
    steps, last = [], prediction
    if of_logits is not None:
        logits = of_logits or settings.get("from_logits") is True
        function = partial(special.log_softmax, axis=axis) if logits else np.log
        steps.append(Step("log_softmax" if logits else "log", (prediction,), partial(_of_first, function)))
        last = 2
    steps.append(Step("nll", (last, target), partial(_likelihood, axis)))
    if settings.get("reduction") in ("mean", "sum"):
        reduced = _reduced(str(settings["reduction"]))
        steps.append(Step(reduced[0], (1 + len(steps),), reduced[1]))
    return steps


def _of_first(function: Callable[[Array], Array], given: Sequence[Array]) -> Array:
    return function(given[0])


def _likelihood(axis: int, given: Sequence[Array]) -> Array:
    """The negative log-likelihood of each target, a class's number or a probability for each class."""
    logarithms, target = given
    axis = min(axis, logarithms.ndim - 1)
    if target.shape == logarithms.shape:
        return np.asarray(-(target * logarithms).sum(axis=axis))
    index = np.expand_dims(target.reshape(np.delete(logarithms.shape, axis)), axis).astype(np.int64)
    return np.asarray(-np.take_along_axis(logarithms, index, axis=axis)).squeeze(axis)


def _triplet(margin: float, power: float, *, swap: bool, reduced: tuple[str, Any]) -> list[Step]:
    near, far = _distance(0, 1, 3, power), _distance(0, 2, 3 + len(_distance(0, 1, 3, power)), power)
    steps = [*near, *far]
    last = 2 + len(steps)
    if swap:
        other = _distance(1, 2, last + 1, power)
        steps += [*other, Step("minimum", (last, last + len(other)), lambda given: np.minimum(given[0], given[1]))]
    at = 2 + len(near), 2 + len(steps)
    steps += [Step("sub", at, _subtract), _added(at[1] + 1, margin), Step("relu", (at[1] + 2,), _rectify)]
    return [*steps, Step(reduced[0], (at[1] + 3,), reduced[1])]


def _distance(first: int, second: int, number: int, power: float) -> list[Step]:
    """The distances of two inputs, by steps of which the first has this number."""
    raised = Step("square", (number,), lambda given: given[0] ** 2)
    root = Step("sqrt", (number + 2,), lambda given: np.sqrt(given[0]))
    if power != 2:
        raised = Step("pow", (number,), lambda given: np.abs(given[0]) ** power)
        root = Step("pow", (number + 2,), lambda given: given[0] ** (1 / power))
    total = Step("sum", (number + 1,), lambda given: given[0].sum(axis=-1))
    return [Step("sub", (first, second), _subtract), raised, total, root]


def _added(operand: int, value: float) -> Step:
    return Step("add", (operand,), partial(_plus, value), "margin", value)


def _plus(value: float, given: Sequence[Array]) -> Array:
    return given[0] + value


def _subtract(given: Sequence[Array]) -> Array:
    return given[0] - given[1]


def _multiply(given: Sequence[Array]) -> Array:
    return given[0] * given[1]


def _negate(given: Sequence[Array]) -> Array:
    return -given[0]


def _rectify(given: Sequence[Array]) -> Array:
    return np.maximum(given[0], 0)


def _reduced(reduction: str) -> tuple[str, Callable[[Sequence[Array]], Array]]:
    if reduction == "none":
        return "contiguous", lambda given: given[0]
    return (reduction, lambda given: np.asarray(given[0].sum() if reduction == "sum" else given[0].mean()))
