"""What all causes go through: a hypothesis predicts numbers, and it is accepted only if it leaves none unexplained.

A hypothesis has to predict each recorded tensor of each step up to rounding, or the tensor has to be as it should be
there, in which case the cause says where it holds. Where several are accepted, all of them are named; where none is,
`UNKNOWN` says so.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.oracle.network import Array
from differences import find

UNKNOWN = "nothing in the catalogue of causes fits"

LOW_PRECISION = (2.0**-16, 2.0**-6)
"""From a thirtieth of float16's rounding error to four times bfloat16's, relative to the largest number."""

SINGLE_PRECISION = (2.0**-28, 2.0**-18)
"""The same around float32's rounding error."""

ENOUGH_NUMBERS = 8
"""So many numbers are not multiples of a coarse rounding unit by chance."""

ROUNDINGS = 32
"""So many units in the last place a prediction may be off: it computes otherwise than the oracle, in few operations."""

WELL_ABOVE_ROUNDING = 8
"""A number is fitted only to a deviation of so many times the rounding-error bound; smaller ones fit anything."""

_ALIKE = 1.5
"""A hypothesis that leaves less than this times what the best leaves fits as well."""

_AS_GOOD_AS_NOTHING = 1e-3
"""What is left of a rounding-error bound tells no two hypotheses apart."""


@dataclass(frozen=True)
class Evidence:
    """One recorded tensor of one step: what was found, what the recipe asks for, how far rounding can carry it.

    Args:
        step: From 1.
        tensor: Its name, such as `hidden_1.kernel`.
        recorded: The numbers found.
        expected: The oracle's.
        bound: The rung's rounding-error bound of each number.
        unit: The unit roundoff u of its dtype.
        given: What a hypothesis predicts from.
        slack: How far another prediction may be off where the expected number is zero, and rounds to nothing.
        alternatives: As right as `expected` where that is not finite, see `compare/ladder/check.py`.
    """

    step: int
    tensor: str
    recorded: Array
    expected: Array
    bound: Array
    unit: float
    given: Any = None
    slack: float = 0.0
    alternatives: tuple[Array, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether the numbers are those that the recipe asks for."""
        return bool((distance(self.recorded, self.expected) <= self.bound).all())

    @property
    def excess(self) -> float:
        """How many times the bound the largest deviation is."""
        with np.errstate(all="ignore"):
            return float((distance(self.recorded, self.expected) / self.bound).max(initial=0))

    def left_by(self, predicted: Array) -> float:
        """How many times what rounding allows the found numbers lie off the predicted ones.

        The bound grows with the numbers: a prediction ten times as large may be off by ten times as much.
        """
        if predicted.shape != self.recorded.shape or not np.isfinite(predicted).any():
            return float("inf")
        growth = max(1.0, largest(np.abs(predicted)) / (largest(np.abs(self.expected)) or 1.0))
        with np.errstate(all="ignore"):
            allowed = growth * (self.bound + self.slack) + ROUNDINGS * self.unit * np.abs(predicted)
            left = distance(self.recorded, predicted) / allowed
        return float(np.nan_to_num(left, nan=0.0, posinf=np.inf).max(initial=0))


@dataclass(frozen=True)
class Hypothesis:
    """A cause in words and, for each piece of evidence, the numbers that it would have left.

    `fitted` says how many numbers of it were fitted to the evidence: it yields to one that fits with fewer. `whole`
    says that it is about all tensors of a step: one that is right where others are not contradicts it.
    """

    cause: str
    predict: Callable[[Evidence], Array]
    fitted: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Accepted:
    """A hypothesis that explains the evidence: what it leaves, relative to rounding, and where it does not hold."""

    hypothesis: Hypothesis
    left: float
    holds: tuple[Evidence, ...]
    not_where_right: tuple[Evidence, ...]

    @property
    def cause(self) -> str:
        """In words, with the tensors and steps where it holds if it does not in all."""
        tensors = list(dict.fromkeys(one.tensor for one in self.holds))
        others = {one.tensor for one in self.not_where_right} - set(tensors)
        where = f" (of {_listed(tensors)} only)" if others else ""
        return self.hypothesis.cause + where + _steps(self.holds, self.not_where_right)


def accepted(evidence: Sequence[Evidence], hypothesis: Hypothesis) -> Accepted | None:
    """The one place where a cause is accepted: it explains all that deviates, up to rounding.

    Evidence that is right may contradict it: then it holds elsewhere only, and says so.
    """
    deviating = [one for one in evidence if not one.is_right]
    if hypothesis.fitted and max((one.excess for one in deviating), default=0) < WELL_ABOVE_ROUNDING:
        return None
    worst = 0.0
    with np.errstate(all="ignore"):
        for one in deviating:
            worst = max(worst, left := one.left_by(hypothesis.predict(one)))
            if not left <= 1:
                return None
        right = [one for one in evidence if one.is_right]
        against = tuple(one for one in right if not one.left_by(hypothesis.predict(one)) <= 1)
    if hypothesis.whole and {one.step for one in against} & {one.step for one in deviating}:
        return None
    return Accepted(hypothesis, worst, tuple(deviating), against)


_NUMBER = re.compile(r"[0-9.]+(e[+-]?[0-9]+)?")


def all_accepted(evidence: Sequence[Evidence], hypotheses: Iterable[Hypothesis]) -> list[Accepted]:
    """Those that explain the evidence with the fewest fitted numbers, and of these the ones that leave least."""
    found: dict[str, Accepted] = {}
    with np.errstate(all="ignore"):
        for hypothesis in hypotheses:
            if hypothesis.cause not in found and (one := accepted(evidence, hypothesis)) is not None:
                found[hypothesis.cause] = one
    fewest = min((int(one.hypothesis.fitted) for one in found.values()), default=0)
    simplest = [one for one in found.values() if int(one.hypothesis.fitted) == fewest]
    best = min((one.left for one in simplest), default=0.0)
    chosen = [one for one in simplest if one.left <= max(_ALIKE * best, _AS_GOOD_AS_NOTHING)]
    # A hypothesis that holds everywhere goes before one that needs an excuse, a round number before its neighbours.
    chosen = [one for one in chosen if not one.not_where_right] or chosen
    by_form: dict[str, Accepted] = {}
    for one in sorted(chosen, key=lambda one: len(one.cause)):
        by_form.setdefault(_NUMBER.sub("", one.cause), one)
    return [one for one in chosen if one in by_form.values()]


def named(evidence: Sequence[Evidence], hypotheses: Iterable[Hypothesis]) -> str | None:
    """The causes that explain the evidence, joined; None where none does."""
    return " – or ".join(one.cause for one in all_accepted(evidence, hypotheses)) or None


def _steps(holds: Sequence[Evidence], against: Sequence[Evidence]) -> str:
    steps = {one.step for one in holds}
    return in_steps(steps, {one.step for one in against} - steps)


def in_steps(steps: set[int], others: set[int]) -> str:
    """In which steps a cause holds, where the others contradict it; empty where none does."""
    if not others:
        return ""
    listed = _listed([str(step) for step in sorted(steps)])
    if len(steps) == 1 and min(steps) < max(others):
        return f", in step {listed} only"
    if min(steps) > max(others):
        return f", from step {min(steps)} on: the steps before are right"
    if max(steps) < min(others):
        return f", up to step {max(steps)} only"
    return f", in the steps {listed} only"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def see(name: str) -> str:
    """Where the catalogue of differences says the same: its entry, which `mnist-compare differences NAME` shows."""
    return f" (differences: {find(name).name})"


# --- numbers ---------------------------------------------------------------------------------------


def distance(recorded: Array, predicted: Array) -> Array:
    """|recorded − predicted|; nothing between two infinities or NaNs, infinite between one and a number."""
    with np.errstate(all="ignore"):
        same = (recorded == predicted) | (np.isnan(recorded) & np.isnan(predicted))
        return np.where(same, 0, np.nan_to_num(np.abs(recorded - predicted), nan=np.inf))


def largest(distance: Array) -> float:
    """The largest finite distance."""
    return float(np.where(np.isfinite(distance), distance, 0).max(initial=0))


def ratio(recorded: Array, expected: Array) -> float:
    """The factor r that brings r·expected closest to found, in least squares."""
    norm = float((expected * expected).sum())
    return float((recorded * expected).sum()) / norm if norm else float("nan")


def times(factor: float) -> str:
    """How a fitted factor reads."""
    return f"{factor:.6g} times {'too large' if factor > 1 else 'what it should be'}"


# --- precision -------------------------------------------------------------------------------------

DTYPES = ("float16", "bfloat16", "TF32")


def rounded(array: Array, dtype: str, *, cut: bool = False) -> Array:
    """The numbers as float32, float16, bfloat16 or TF32 would keep them; of the last two, rounded or cut off."""
    if dtype not in ("bfloat16", "TF32"):
        with np.errstate(over="ignore"):
            return array.astype(dtype).astype(np.float64)
    lost = 16 if dtype == "bfloat16" else 13
    bits = array.astype(np.float32).view(np.uint32)
    mask = np.uint32((1 << lost) - 1)
    if not cut:
        bits = bits + (mask >> np.uint32(1)) + ((bits >> np.uint32(lost)) & np.uint32(1))  # to nearest, ties to even
    return (bits & ~mask).view(np.float32).astype(np.float64)


def in_low_precision(compute: Callable[[Callable[[Array], Array]], Array]) -> Iterator[tuple[str, Array]]:
    """What `compute` gives where a function that rounds its operands is handed to it, by the lower precision."""
    for dtype in DTYPES:
        for cut in (False, True)[: 1 if dtype == "float16" else 2]:

            def lower(array: Array, dtype: str = dtype, *, cut: bool = cut) -> Array:
                return rounded(array, dtype, cut=cut)

            product = compute(lower)
            yield dtype, product
            yield dtype, lower(product)


def low_precision(recorded: Array, expected: Array, *, double: bool) -> str | None:
    """Whether the numbers are those of a lower precision, or off by its rounding errors.

    `double` says that they should be float64.
    """
    if (cause := kept_in(recorded, double=double)) is not None:
        return cause
    size = np.abs(recorded - expected).max() / np.abs(expected).max()
    if LOW_PRECISION[0] < size < LOW_PRECISION[1]:
        return f"the deviation of {size:.1g} has the size of low precision: TF32, float16 or bfloat16"
    if double and SINGLE_PRECISION[0] < size < SINGLE_PRECISION[1]:
        return f"the deviation of {size:.1g} has the size of float32's rounding errors"
    return None


_LESS_THAN_A_BIT = 0.76
"""Two operands rounded to b bits are off by 0.59·2⁻ᵇ of their product, in the root mean square: √(2/3) if each were off
by up to 2⁻ᵇ, less since that depends on where between two powers of 2 it lies."""

_FEWEST_BITS, _FEWER_THAN_FLOAT, _FLOATS_BITS = 6, 15, 24


def rounds_as(errors: Sequence[Array], scales: Sequence[Array], *, double: bool) -> str | None:
    """Which precision makes errors of this size: of both signs, everywhere in proportion to the terms added up.

    Args:
        errors: What was found less what was expected, of every step.
        scales: The root of the sum of the squared terms of each number.
        double: Whether float32 is a lower precision.
    """
    relative = [(error / scale)[scale > 0] for error, scale in zip(errors, scales, strict=True)]
    sizes = [float(np.sqrt((of_step**2).mean())) for of_step in relative if of_step.size >= _ENOUGH_ERRORS]
    if not sizes or max(sizes) > 2 * min(sizes):
        return None
    together = np.concatenate([of_step.ravel() for of_step in relative])
    size = float(np.sqrt((together**2).mean()))
    if not abs(together.mean()) < 0.2 * size or not np.abs(together).max() < 8 * size:
        # Rounding errors average out, and none of a million is eight standard deviations off.
        return None
    bits = -np.log2(size) - _LESS_THAN_A_BIT
    if bits < _FEWEST_BITS or bits > (_FLOATS_BITS + 2 if double else _FEWER_THAN_FLOAT):
        return None
    kinds = "bfloat16 has 8, TF32 and float16 have 11" + ", float32 has 24" * double
    return f"the deviations scatter as rounding what is multiplied to about {bits:.0f} significant bits does: {kinds}"


def as_noise(evidence: Sequence[Evidence]) -> str | None:
    """Whether the deviations are normally distributed, alike in all steps and around zero: noise that is added.

    This is no proof, and is said so: no rule could leave these numbers but by chance.
    """
    from scipy import stats

    wrong = [one for one in evidence if not one.is_right]
    errors = [(one.recorded - one.expected).ravel() for one in wrong]
    together = np.concatenate(errors)
    deviations = [float(of_step.std()) for of_step in errors]
    if together.size < 5 * _ENOUGH_ERRORS or not np.isfinite(together).all() or max(deviations) > 1.2 * min(deviations):
        return None
    size, deviation = together.size, float(together.std())
    # Mean, skewness and excess kurtosis of n normal numbers scatter by σ/√n, √(6/n) and √(24/n); five times is ample.
    normal = (
        abs(together.mean()) < 5 * deviation / np.sqrt(size)
        and abs(stats.skew(together)) < 5 * np.sqrt(6 / size)
        and abs(stats.kurtosis(together)) < 5 * np.sqrt(24 / size)
    )
    if not normal:
        return None
    return (
        f"the deviations look like normal noise of standard deviation {deviation:.2g} that is added: no rule fits them"
    )


_ENOUGH_ERRORS = 200
"""Whose mean square is known to 10%."""


def kept_in(recorded: Array, *, double: bool) -> str | None:
    """The lower precision that all the numbers have, if they do; or that some are no numbers."""
    if not np.isfinite(recorded).all():
        return "the numbers are not finite"
    if np.count_nonzero(recorded) < ENOUGH_NUMBERS:
        return None
    for dtype in ("bfloat16", "float16"):
        if (recorded == rounded(recorded, dtype)).all():
            return f"the numbers are kept in {dtype}"
    return "the numbers are kept in float32" if double and not is_double(recorded) else None


def all_kept_in(evidence: Sequence[Evidence], *, double: bool) -> str | None:
    """The lower precision that the numbers of every step have; or that the first ones are no numbers."""
    if not np.isfinite(evidence[0].recorded).all():
        return "the numbers are not finite"
    together = np.concatenate([one.recorded.ravel() for one in evidence if np.isfinite(one.recorded).all()])
    return kept_in(together, double=double)


def is_double(array: Array) -> bool:
    """Whether some number needs float64."""
    return bool((array != array.astype(np.float32)).any())
