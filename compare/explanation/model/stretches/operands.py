"""A value that is made with another operand than on the other side, or rearranged: what the end of a stretch shows."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from compare.explanation.model.stretches.parallel import Parting, made_by
from compare.explanation.model.stretches.segments import Producers
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.values import deviation
from compare.explanation.operations.learning import learn

_CLOSE = 1e-7
"""Constants that one framework rounds to float32 move a value by less than this of the largest, and a fault by more."""


def by_other_state(steered: Producers, window: Sequence[Call], goal: Array) -> Parting | None:
    """A state of a recurrent layer of torch's that is not the last one: of another level, or of one direction.

    Args:
        steered: The steered side's forward pass.
        window: Its calls that lead there, in their order.
        goal: What it has there, (samples, units).
    """
    for call in reversed(window):
        states = steered.observation.array(call.outputs[1] if len(call.outputs) > 1 else None)
        if call.layer is None or states is None or states.ndim != 3 or goal.ndim != 2:
            continue
        found = [number for number, state in enumerate(states[:-1]) if _is(state[: len(goal)], goal)]
        if found and not _is(states[-1][: len(goal)], goal):
            words = (
                f"h_n[{found[0]}] of {call.layer}, the last state of level or direction {found[0] + 1} of {len(states)}"
            )
            return Parting(f"{words}; the last is h_n[-1]", "the last state", words, call.place)
    return None


_NEEDED: dict[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "add": ("sum", np.subtract), "mul": ("product", np.divide), "multiply": ("product", np.divide),
}  # fmt: skip
"""Of an operation of two, its name in words, and what the other operand must be, by the result and the first one."""


def by_last_operation(steered: Producers, window: Sequence[Call], wanted: Array, goal: Array) -> Parting | None:
    """What the last operation does otherwise, where its values show it; None where they do not.

    Args:
        steered: The steered side's forward pass.
        window: Its calls that lead there, in their order.
        wanted: What the guide has there, (samples, ...) in the steered side's layout.
        goal: What the steered side has.
    """
    last = next((call for call in reversed(window) if _gives(steered, call, goal)), None)
    rearranged = learn(wanted, goal) if wanted.shape == goal.shape else None
    if rearranged is not None and rearranged.family in ("permutation", "scaling"):
        place = None if last is None else last.place
        return Parting(rearranged.name, "as it is", rearranged.name, place)
    if last is None or last.layer is not None or last.name not in _NEEDED:
        return None
    operands = [array for key in last.inputs if (array := steered.array(key)) is not None]
    if len(operands) != 2 or wanted.shape != goal.shape:
        return None
    name, inverse = _NEEDED[last.name]
    for kept, other in (operands, operands[::-1]):
        with np.errstate(all="ignore"):
            needed = inverse(wanted, np.broadcast_to(kept, wanted.shape))
        if not np.isfinite(needed).all():
            continue
        words = _another_value(steered, window, other, needed) or _another_constant(other, needed)
        if words is not None:
            return Parting(f"{name} with {words[1]}; the reference has {words[0]}", *words, last.place)
    return None


def _gives(steered: Producers, call: Call, goal: Array) -> bool:
    """Whether a call makes a value; not one that passes it on, as dropout does here."""
    return _is(steered.array(call.outputs[0] if call.outputs else None), goal) and not any(
        _is(steered.array(key), goal) for key in call.inputs
    )


def _is(array: Array | None, goal: Array) -> bool:
    return array is not None and array.shape == goal.shape and deviation(array, goal) <= _CLOSE


def _another_value(steered: Producers, window: Sequence[Call], own: Array, needed: Array) -> tuple[str, str] | None:
    """Both operands by what they are the output of, where the needed one is a value that the steered side has."""
    for array in _values(steered, window):
        if _is(array, needed):
            first, second = _source(steered, array), _source(steered, own)
            return None if first == second else (first, second)
    return None


def _values(steered: Producers, window: Sequence[Call]) -> Iterator[Array]:
    for call in window:
        for key in (*call.inputs, *call.outputs):
            array = steered.array(key)
            if array is not None and array.ndim:
                yield array


def _source(steered: Producers, array: Array) -> str:
    call = made_by(steered, array)
    return "what the model is given" if call is None else f"the output of {call.name}"


def _another_constant(own: Array, needed: Array) -> tuple[str, str] | None:
    """Both operands by the axes along which they vary, where the needed one is the same for every sample."""
    own = np.broadcast_to(own, needed.shape)
    scale = float(np.abs(needed).max(initial=0)) or 1.0
    needed_axes, own_axes = _varies(needed, scale), _varies(own, scale)
    if 0 in needed_axes or not needed_axes:
        return None
    if needed_axes == own_axes:
        return "another constant", "its own constant"
    return _along(needed_axes), _along(own_axes)


def _along(axes: list[int]) -> str:
    numbers = ", ".join("0 (the samples)" if axis == 0 else str(axis) for axis in axes)
    return f"values that vary along {'axis' if len(axes) == 1 else 'axes'} {numbers}" if axes else "one number"


def _varies(array: Array, scale: float) -> list[int]:
    return [axis for axis in range(array.ndim) if float(np.ptp(array, axis=axis).max(initial=0)) > _CLOSE * scale]
