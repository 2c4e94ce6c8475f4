"""Where two computations part that are not chains: the first value of the steered side that the guide has nowhere.

Values are found again whatever their layout, by figures that do not depend on the order of an array's elements.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from compare.explanation.feeding.scaling import affine
from compare.explanation.findings import Place
from compare.explanation.model.stretches.segments import Producers
from compare.explanation.observed.observation import Array, Call
from compare.explanation.operations.learning import learn, over_one

_CLOSE = 1e-7
_PARTS = ("pad", "getitem", "chunk", "split", "unbind", "select", "narrow", "stack", "cat", "embedding")
"""Functions that take or add values without computing any: the guide may have no value like theirs."""
_MASKS = ("where", "masked_fill", "mask", "tril", "triu")


@dataclass(frozen=True)
class Parting:
    """Where the two part.

    Args:
        words: What the steered side does otherwise.
        guide: The guide's operation on the same values.
        steered: The steered side's.
        place: The steered side's line.
        code: The guide's operation as torch has it, with {} for its input; empty where it is not known.
    """

    words: str
    guide: str
    steered: str
    place: Place | None
    code: str = ""


def parting(guide: Producers, steered: Producers, window: Sequence[Call]) -> Parting | None:
    """The first call of the steered side whose inputs the guide has and whose output it has not.

    Args:
        guide: The guide's forward pass.
        steered: The steered side's.
        window: The steered side's calls to look at, in their order.
    """
    known = [(figures(array), call) for call in guide.calls for array in _outputs(guide, call)]
    for call in window:
        if any(mark in call.name for mark in _PARTS):
            continue
        outputs = _outputs(steered, call)
        inputs = [array for key in call.inputs if (array := steered.array(key)) is not None and array.size > 1]
        if not outputs or not inputs or _find(figures(outputs[0]), known) is not None:
            continue
        made = [found for array in inputs if (found := _find(figures(array), known)) is not None]
        if len(made) == len(inputs):
            later = [array for other in window for array in _outputs(steered, other)[:1]]
            return _of_attention(guide, call, inputs, later) or _named((guide, steered), call, inputs[0], outputs[0])
    return of_other_numbers(guide, steered, window)


def of_other_numbers(guide: Producers, steered: Producers, window: Sequence[Call]) -> Parting | None:
    """The last value of the steered side that is the guide's, scaled and shifted: by other means and deviations."""
    known = [(figures(array), call) for call in guide.calls for array in _outputs(guide, call)]
    for call in reversed(window):
        made = next(iter(_outputs(steered, call)), None)
        if (
            call.layer is not None
            or made is None
            or made.ndim < 2
            or made.dtype.kind != "f"
            or _find(figures(made), known) is not None
        ):
            continue
        for other in guide.calls:
            wanted = next(iter(_outputs(guide, other)), None)
            same = wanted is not None and wanted.shape == made.shape and wanted.dtype.kind == "f"
            words = affine(wanted, made) if same and wanted is not None else None
            if words:
                return Parting(f"{call.name}: {words}", other.name, f"{call.name}, {words}", call.place)
    return None


def _of_attention(guide: Producers, call: Call, inputs: Sequence[Array], made: Sequence[Array]) -> Parting | None:
    """Attention that is written out where Keras has a layer for it: how scores are scaled, what softmax goes over."""
    for other in guide.calls:
        layer = guide.observation.layers.get(other.layer or "")
        arrays = [array for key in other.inputs if (array := guide.array(key)) is not None and array.ndim == 3]
        if layer is None or layer.kind != "Attention" or len(arrays) < 2 or not alike(arrays[0], inputs[0]):
            continue
        query, value, key = arrays[0], arrays[1], arrays[-1] if len(arrays) > 2 else arrays[1]
        scores, size = query @ np.swapaxes(key, 1, 2), query.shape[-1]
        for (scaled, factor), (over, axis) in itertools.product(
            (("", 1.0), (f"scores divided by √{size}", size**-0.5), (f"scores divided by {size}", 1 / size)),
            (("", -1), ("softmax over the queries (dim=1), not over the keys", 1)),
        ):
            found = special.softmax(factor * scores, axis=axis) @ value
            if (scaled or over) and any(alike(found, array) for array in made):
                words = " and ".join(filter(None, (scaled and f"{scaled}, which {layer.kind} of Keras does not", over)))
                return Parting(words, f"{other.name}, {layer.kind}", f"{words} at {call.name}", call.place)
    return None


def figures(array: Array) -> tuple[float, ...]:
    """Figures of an array that do not depend on the order of its elements."""
    x = np.asarray(array, np.float64).reshape(-1)
    if x.size == 0 or not np.isfinite(x).all():
        return (float(x.size), float("nan"))
    return float(x.size), float(x.sum()), float((x * x).sum()), float(x.max()), float(x.min()), float((x**3).sum())


def alike(first: Array, second: Array) -> bool:
    """Whether two arrays hold the same values, in whatever layout."""
    return _near(figures(first), figures(second))


def made_by(producers: Producers, array: Array) -> Call | None:
    """The first call of a forward pass that gives these values, in whatever layout."""
    wanted = figures(array)
    return next(
        (call for call in producers.calls for made in _outputs(producers, call) if _near(figures(made), wanted)), None
    )


def _outputs(producers: Producers, call: Call) -> list[Array]:
    keys = [*call.outputs, call.preactivation]
    return [array for key in keys if (array := producers.array(key)) is not None]


def _find(wanted: tuple[float, ...], known: list[tuple[tuple[float, ...], Call]]) -> Call | None:
    return next((call for seen, call in known if _near(seen, wanted)), None)


def _near(seen: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
    return len(seen) == len(wanted) and all(
        abs(a - b) <= _CLOSE * max(abs(a), abs(b), 1e-9 * max(map(abs, wanted)))
        for a, b in zip(seen, wanted, strict=True)
    )


def _scale(first: tuple[float, ...], second: tuple[float, ...]) -> float | None:
    """By what one array was multiplied to give another, in whatever order; None if it was not."""
    if len(first) != len(second) or len(first) < 3 or first[0] != second[0] or first[2] == 0:
        return None
    size = (second[2] / first[2]) ** 0.5
    for ratio in (size, -size):
        high, low = (3, 4) if ratio > 0 else (4, 3)
        expected = (first[1] * ratio, first[high] * ratio, first[low] * ratio, first[5] * ratio**3)
        seen = (second[1], second[3], second[4], second[5])
        scale = max(abs(second[3]), abs(second[4]), 1e-300)
        if all(abs(a - b) <= 1e-6 * max(abs(a), abs(b), scale) for a, b in zip(expected, seen, strict=True)):
            return ratio if abs(ratio - 1) > 1e-9 else None
    return None


def _named(both: tuple[Producers, Producers], call: Call, before: Array, after: Array) -> Parting:
    """Says what the guide does with the same value."""
    guide, steered = both
    wanted = figures(before)
    for other in guide.calls:
        inputs = [array for key in other.inputs if (array := guide.array(key)) is not None]
        outputs = _outputs(guide, other)
        if not outputs or not any(_find(wanted, [(figures(array), other)]) for array in inputs):
            continue
        first = outputs[0]
        name = other.name
        if any(mark in name for mark in _MASKS):
            words = f"no mask ({name}) before {call.name}"
            return Parting(words, f"{name}, a mask", f"{call.name} without it", call.place)
        ratio = _scale(figures(first), figures(after))
        if ratio is not None:
            words = f"another scale at {call.name}: {ratio:.6g} times the reference's scores or values"
            return Parting(words, name, f"{call.name}, {ratio:.6g} times the reference's", call.place)
        made = next((learn(array, first) for array in inputs if alike(array, before)), None)
        own = over_one(steered.observation.called(call), before, after) or learn(before, after)
        if made is not None and own is not None and made.name != own.name:
            comma = "," if "," in own.name else ""
            words = f"{own.name}{comma} where the reference has {made.name}"
            return Parting(words, made.name, own.name, call.place, made.code)
        return Parting(f"{call.name} where the reference has {name}", name, call.name, call.place)
    return Parting(f"{call.name} of values that the reference uses otherwise", "nothing like it", call.name, call.place)
