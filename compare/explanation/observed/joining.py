"""What one side feeds in another form: samples one by one in a list, columns by themselves, the time first."""

import numpy as np

from compare.explanation.observed.observation import Array

Steps = tuple[tuple[Array | None, ...], ...]
"""Of each step the arrays that were fed."""


def together(steps: Steps, others: Steps) -> Steps:
    """The arrays of each step, those put into one that are the samples of one batch, each for itself.

    Behind a sample's end is what the other side's array of the same size has there, if that is one number everywhere
    (its padding), else zeros. Steps without such a list are returned as they are.

    Args:
        steps: Of each step the arrays that were fed.
        others: The same of the other side, whose first array says how many samples a batch has.
    """
    return tuple(_in_one(step, other) for step, other in zip(steps, others, strict=False)) + steps[len(others) :]


def time_first(steps: Steps, others: Steps) -> int:
    """The size of the time where each step's first array is the other side's, (time, samples, ...); 0 where it is not.

    Args:
        steps: Of each step the arrays that were fed.
        others: The same of the other side, (samples, time, ...).
    """
    pairs = [(step[0], other[0]) for step, other in zip(steps, others, strict=False) if step and other]
    exchanged = pairs and all(_exchanged(a, b) for a, b in pairs if a is not None and b is not None)
    first = pairs[0][0] if exchanged else None
    return 0 if first is None else len(first)


def _exchanged(array: Array, other: Array) -> bool:
    """Whether an array is another with its first two axes exchanged, and not the other itself."""
    if array.ndim != other.ndim or array.ndim < 2 or _alike(array, other):
        return False
    return _alike(array, np.swapaxes(other, 0, 1))


def _alike(array: Array, other: Array) -> bool:
    return array.shape == other.shape and bool(np.allclose(array, other, rtol=1e-4, atol=1e-5))


def samples_first(steps: Steps, times: int) -> Steps:
    """Arrays (time, samples, ...) as (samples, time, ...); those of one axis had both put into one.

    Args:
        steps: Of each step the arrays.
        times: The size of the axis of the time.
    """
    return tuple(tuple(_turned(array, times) for array in step) for step in steps)


def _turned(array: Array | None, times: int) -> Array | None:
    if array is None or array.ndim == 0 or len(array) % times:
        return array
    return np.swapaxes(array if array.ndim > 1 else array.reshape(times, -1), 0, 1)


def columns(steps: Steps, others: Steps) -> Steps:
    """The arrays of each step as the other side has them: columns put into one matrix, and a matrix as its columns.

    A dictionary of features on one side is often a matrix on the other, or two: of numbers and of categories.

    Args:
        steps: Of each step the arrays that were fed.
        others: The same of the other side.
    """
    if not steps or not others or any(len(step) != len(steps[0]) for step in steps):
        return steps
    for array in others[0]:
        chosen = _columns_of(array, steps[0])
        if chosen is not None:
            steps = tuple(_joined(step, chosen) for step in steps)
    for number, array in enumerate(steps[0]):
        order = _columns_of(array, others[0])
        if order is not None and len(steps[0]) - 1 + len(order) == len(others[0]):
            return tuple(_split(step, number, order) for step in steps)
    return steps


def _columns_of(matrix: Array | None, arrays: tuple[Array | None, ...]) -> list[int] | None:
    """Which arrays are the columns of a matrix, in its order; None if it has others, or but one."""
    if matrix is None or matrix.ndim != 2 or not 1 < matrix.shape[1] <= len(arrays):
        return None
    found: list[int] = []
    for column in np.asarray(matrix, np.float64).T:
        same = (
            number
            for number, array in enumerate(arrays)
            if array is not None
            and number not in found
            and array.size == len(column)
            and np.allclose(np.asarray(array, np.float64).reshape(-1), column, rtol=1e-4, atol=1e-5)
        )
        number = next(same, None)
        if number is None:
            return None
        found.append(number)
    return found


def _joined(step: tuple[Array | None, ...], chosen: list[int]) -> tuple[Array | None, ...]:
    parts = [array.reshape(len(array), 1) for number in chosen if (array := step[number]) is not None]
    whole = np.concatenate(parts, axis=1) if len(parts) == len(chosen) else None
    at = min(chosen)
    return tuple(whole if i == at else array for i, array in enumerate(step) if i == at or i not in chosen)


def _split(step: tuple[Array | None, ...], number: int, order: list[int]) -> tuple[Array | None, ...]:
    """A step with a matrix as its columns, each at the place that the other side has it."""
    matrix = step[number]
    rest = iter([array for i, array in enumerate(step) if i != number])
    return tuple(
        (None if matrix is None else matrix[:, order.index(i)]) if i in order else next(rest)
        for i in range(len(step) - 1 + len(order))
    )


def _in_one(step: tuple[Array | None, ...], other: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
    size = next((len(array) for array in other if array is not None and array.ndim), 0)
    if size < 2 or len(step) - size + 1 != len(other):
        return step
    for at in range(len(step) - size + 1):
        samples = [array for array in step[at : at + size] if array is not None and array.ndim]
        if len(samples) == size and len({array.shape[1:] for array in samples}) == 1:
            return (*step[:at], _padded(samples, other), *step[at + size :])
    return step


def _padded(samples: list[Array], other: tuple[Array | None, ...]) -> Array:
    ends = [len(sample) for sample in samples]
    shape = (len(samples), max(ends), *samples[0].shape[1:])
    like = next((x for x in other if x is not None and x.shape[:1] == shape[:1] and x.shape[2:] == shape[2:]), None)
    if like is not None and like.ndim == len(shape) and like.shape[1] > shape[1]:
        shape = like.shape
    behind = np.arange(shape[1])[None] >= np.array(ends)[:, None]
    filling = like[behind] if like is not None and like.shape == shape else np.zeros(1, samples[0].dtype)
    constant = filling.size > 0 and bool(np.all(filling == filling.flat[0]))
    made = np.full(shape, filling.flat[0] if constant else 0, samples[0].dtype)
    for row, sample in zip(made, samples, strict=True):
        row[: len(sample)] = sample
    return made


def where_known(guide: Steps, look: Steps) -> tuple[Steps, Steps]:
    """The targets of both sides, without a mask of truth values by which one side alone says which are known.

    What such a mask leaves out is taken to be what the other side has there, if that is one value, -1 for one, which it
    has nowhere else.
    """
    for steps, others in ((guide, look), (look, guide)):
        own = steps[0] if steps else ()
        found = [
            (mask, masked)
            for mask, x in enumerate(own)
            for masked, y in enumerate(own)
            if x is not None and y is not None and x.dtype == bool != y.dtype and x.shape == y.shape and x.ndim > 1
        ]
        if len(found) != 1 or not others or len(own) != len(others[0]) + 1:
            continue
        (mask, masked), filled = found[0], []
        for step, beside in zip(steps, others, strict=False):
            labels, known = step[masked], step[mask]
            like = next((x for x in beside if x is not None and labels is not None and x.shape == labels.shape), None)
            if labels is None or known is None or like is None or not _marks(known, like):
                return guide, look
            whole = np.where(known, labels, like)
            filled.append(tuple(whole if i == masked else x for i, x in enumerate(step) if i != mask))
        return (tuple(filled), others) if steps is guide else (others, tuple(filled))
    return guide, look


def _marks(known: Array, like: Array) -> bool:
    """Whether labels have one value wherever a mask is false, and there alone."""
    unknown = np.unique(like[~known])
    return len(unknown) == 1 and not (like[known] == unknown[0]).any()
