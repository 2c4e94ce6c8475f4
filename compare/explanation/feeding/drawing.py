"""What a training step makes of a batch and of the numbers that it draws, which are the same in both programs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.explanation.context import Context, Places
from compare.explanation.feeding.reading import reading_place
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation, place


@dataclass(frozen=True)
class Draw:
    """Numbers that the first training step draws before its forward pass, float64; normal ones of deviation 1."""

    values: Array
    place: Place | None


@dataclass(frozen=True)
class Said:
    """How a port's inputs or targets differ from the reference's, where to look, and how to mend it."""

    words: str
    places: Places
    mend: str


def draws_of(observation: Observation) -> list[Draw]:
    """What a program's first step draws."""
    entries = observation.entries("draws")
    found = ((observation.array(entry.get("values")), place(entry.get("place"))) for entry in entries)
    return [Draw(np.asarray(values, np.float64), where) for values, where in found if values is not None]


def inputs_by_draws(context: Context, guide: Array | None, look: Array | None, number: int) -> Said | None:
    """How an input of the first step differs by what is made of numbers that were drawn.

    Args:
        context: Both sides.
        guide: The guide's, (samples, ...).
        look: The steered side's own.
        number: Which input.

    Returns:
        None if no step draws, or nothing that a step makes of what it draws explains the difference.
    """
    drawn = [draws_of(side) for side in (context.guide.observation, context.look)]
    if guide is None or look is None or guide.shape != look.shape or not any(drawn):
        return None
    first, second = (guide, look) if context.guide_is_reference else (look, guide)
    # The port's numbers first: its lines are what is looked for.
    numbers = [*drawn[context.guide_is_reference], *drawn[not context.guide_is_reference]]
    noise = noise_apart(first, second, numbers)
    if noise is not None:
        return _of_noise(context, drawn, *noise)
    masks = masks_apart(first, second, numbers)
    if masks is not None:
        reference, port, draw = masks
        words = f"the mask drawn in the step sets {port} to 0; the reference's sets {reference} to 0"
        return Said(words, _lines(context, drawn, draw, number), f"set {reference} to 0")
    if parts_apart(first, second, numbers) is None:
        return None
    words = "each sample is made of other parts of itself and of the noise drawn in the step: another schedule of noise"
    return Said(words, _lines(context, drawn, None, number), "make the noisy samples as the reference does")


def any_inputs(context: Context, number: int) -> Said | None:
    """What is known of inputs that differ where a step draws, and no cause fits; None if none draws."""
    drawn = [draws_of(side) for side in (context.guide.observation, context.look)]
    if not any(drawn):
        return None
    words = "what the step makes of a batch and of the numbers that it draws, which were the same"
    return Said(words, _lines(context, drawn, None, number), "make the inputs of the step as the reference does")


def targets_by_draws(context: Context, guide: Array | None, look: Array | None) -> Said | None:
    """Targets that are numbers drawn in the step, or the model's inputs, on one side alone; None if they are neither.

    Args:
        context: Both sides.
        guide: The guide's targets of the first step.
        look: The steered side's own.
    """
    sides = (context.guide.observation, context.look)
    if guide is None or look is None or not any(draws_of(side) for side in sides):
        return None
    found = [_what_it_is(side, array) for side, array in zip(sides, (guide, look), strict=True)]
    reference, port = found if context.guide_is_reference else found[::-1]
    if reference == port:
        return None
    losses = [side.losses[0].get("place") if side.losses else None for side in sides]
    words = (
        f"{port}; the reference's are {reference or 'others'}" if port else f"not {reference}, as the reference's are"
    )
    mend = f"compare the outputs with {reference}" if reference else "make the targets as the reference does"
    return Said(words, (place(losses[0]), place(losses[1])), mend)


def _what_it_is(side: Observation, target: Array) -> str:
    if any(draw.values.size == target.size and _alike(_like(draw.values, target), target) for draw in draws_of(side)):
        return "the noise drawn in the step"
    inputs = side.arrays(side.fed[0].get("inputs")) if side.fed else []
    if any(x is not None and x.shape == target.shape and _alike(x, target) for x in inputs):
        return "what the model is fed"
    return ""


def _alike(first: Array | None, second: Array) -> bool:
    return first is not None and bool(np.allclose(first, second, rtol=_FLOAT32, atol=_FLOAT32))


def _of_noise(context: Context, drawn: Sequence[Sequence[Draw]], factor: float, draw: Draw) -> Said:
    reference, port = drawn if context.guide_is_reference else drawn[::-1]
    places = _lines(context, drawn, draw, 0)
    if not any(_same(draw, other) for other in port):
        return Said(f"no noise of standard deviation {abs(factor):.4g} is added, as the reference does", places,
                    "add the noise")  # fmt: skip
    if not any(_same(draw, other) for other in reference):
        return Said(f"noise of standard deviation {abs(factor):.4g} is added, which the reference does not add", places,
                    "leave the noise out")  # fmt: skip
    more = "more" if factor > 0 else "less"
    words = f"the noise has another standard deviation, {abs(factor):.4g} {more} than the reference's"
    return Said(words, places, "the reference's standard deviation")


def _lines(context: Context, drawn: Sequence[Sequence[Draw]], draw: Draw | None, number: int) -> Places:
    """Where both sides draw these numbers; without any, where they make the input, or draw last, or read the data."""
    lines = []
    for side, numbers in zip((context.guide.observation, context.look), drawn, strict=True):
        known = [other.place for other in numbers if draw is not None and _same(draw, other)]
        made = (side.fed[0].get("places") or []) if side.fed and draw is None else []
        known += [place(entry) for entry in made[number : number + 1]] + [other.place for other in numbers[::-1]]
        lines.append(next((line for line in known if line is not None), reading_place(side)))
    return lines[0], lines[1]


def _same(first: Draw, second: Draw) -> bool:
    return first.values.size == second.values.size and np.array_equal(first.values.ravel(), second.values.ravel())


def noise_apart(reference: Array, port: Array, draws: Sequence[Draw]) -> tuple[float, Draw] | None:
    """By how much more a port adds of numbers that were drawn, and of which; None if that is not what differs.

    Args:
        reference: The reference's inputs, (samples, ...).
        port: The port's, of the same shape; some of its values may be the same, those that a mask hides for one.
        draws: What was drawn.
    """
    apart = np.asarray(port, np.float64) - np.asarray(reference, np.float64)
    rounding = _FLOAT32 * max(float(np.abs(reference).max()), float(np.abs(port).max()))
    changed = np.abs(apart) > rounding
    for draw in draws:
        z = _like(draw.values, apart)
        if z is None or changed.sum() < _FEWEST or float(np.ptp(z)) == 0:
            continue
        factor = float(apart[changed] @ z[changed] / (z[changed] @ z[changed]))
        if np.abs(apart[changed] - factor * z[changed]).max() <= 2 * rounding:
            return factor, draw
    return None


def masks_apart(reference: Array, port: Array, draws: Sequence[Draw]) -> tuple[str, str, Draw] | None:
    """Which values each side sets to 0, in words, by which numbers; None if these do not tell, or both do the same.

    What both sides leave must be the same.
    """
    both = (reference != 0) & (port != 0)
    if not _alike(reference[both], port[both]):
        return None
    for draw in draws:
        numbers = _like(draw.values, reference)
        first, second = (_zeroed(array, numbers) for array in (reference, port))
        if first and second and first != second:
            return first, second, draw
    return None


def parts_apart(reference: Array, port: Array, draws: Sequence[Draw]) -> Draw | None:
    """The numbers of which each sample of a port has another part than the reference's, as with another schedule."""
    a, b = (np.asarray(array, np.float64).reshape(len(array), -1) for array in (reference, port))
    for draw in draws if a.shape[1] >= _FEWEST_OF_A_SAMPLE else ():
        z = _like(draw.values, reference)
        samples = zip(b, a, z.reshape(a.shape), strict=True) if z is not None else ()
        if z is not None and all(_is_made_of(*sample) for sample in samples):
            return draw
    return None


def _is_made_of(made: Array, *parts: Array) -> bool:
    """Whether a sample is a sum of multiples of others."""
    given = np.stack(parts, axis=1)
    factors = np.linalg.lstsq(given, made, rcond=None)[0]
    return float(np.abs(given @ factors - made).max()) <= _FLOAT32 * float(np.abs(np.stack([made, *parts])).max())


def _like(values: Array, array: Array) -> Array | None:
    """Numbers in the layout of an array, with its channels first or last."""
    for turned in (values, np.moveaxis(values, -1, 1), np.moveaxis(values, 1, -1)) if values.ndim >= 3 else (values,):
        if turned.shape == array.shape:
            return turned
    return values.reshape(array.shape) if values.size == array.size else None


def _zeroed(array: Array, numbers: Array | None) -> str:
    """Which values are 0, by the numbers drawn for them, in words; empty if these do not tell."""
    zero = array == 0
    if numbers is None or zero.all():
        return ""
    if not zero.any():
        return "nothing"
    within, outside = numbers[zero], numbers[~zero]
    if within.max() < outside.min():
        return f"what has a number below {_between(float(within.max()), float(outside.min()))}"
    if within.min() > outside.max():
        return f"what has a number from {_between(float(outside.max()), float(within.min()))} on"
    return ""


def _between(low: float, high: float) -> str:
    """The number of the fewest digits between two."""
    rounded = (round((low + high) / 2, digits) for digits in range(1, 16))
    return f"{next((number for number in rounded if low < number <= high), high):g}"


_FLOAT32 = 1e-5
"""Of the largest value: what a few roundings to float32 leave of a sum and a product."""

_FEWEST = 8
"""So many values of one factor are no chance."""

_FEWEST_OF_A_SAMPLE = 4
"""Two parts fit any two values of a sample; by chance no four."""
