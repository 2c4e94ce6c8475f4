"""What all causes go through: a hypothesis predicts numbers, and it is accepted only if it leaves none unexplained.

A hypothesis has to predict each recorded tensor of each step up to rounding, or the tensor has to be as it should be
there, in which case the cause says where it holds. Where several are accepted, all of them are named; where none is,
`UNKNOWN` says so.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.oracle.network import Array
from differences import find

UNKNOWN = "nothing in the catalogue of causes fits"

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

    @cached_property
    def is_right(self) -> bool:
        """Whether the numbers are those that the recipe asks for."""
        return bool((distance(self.recorded, self.expected) <= self.bound).all())

    @cached_property
    def excess(self) -> float:
        """How many times the bound the largest deviation is."""
        with np.errstate(all="ignore"):
            return float((distance(self.recorded, self.expected) / self.bound).max(initial=0))

    @cached_property
    def as_found(self) -> Array:
        """The numbers found, for a prediction to give where it does not say what they should be."""
        return np.array(self.recorded)

    def left_by(self, predicted: Array, terms: Array | float = 0.0) -> float:
        """How many times what rounding allows the found numbers lie off the predicted ones.

        The bound grows with the numbers: a prediction ten times as large may be off by ten times as much. `terms` are
        the sizes of what is subtracted on the way to a prediction, whose roundings stay where they cancel.
        """
        if predicted.shape != self.recorded.shape:
            return float("inf")
        finite = np.isfinite(predicted)
        if not finite.any():
            return float("inf")
        sizes = np.abs(predicted)
        growth = max(1.0, largest(sizes) / (self._largest_expected or 1.0))
        with np.errstate(all="ignore"):
            allowed = growth * (self.bound + self.slack) + ROUNDINGS * self.unit * np.maximum(sizes, terms)
            all_finite = self._is_finite and finite.all()
            off = np.abs(self.recorded - predicted) if all_finite else distance(self.recorded, predicted)
            # Nothing of nothing is nothing.
            return float(np.fmax.reduce(off / allowed, axis=None, initial=0.0))

    @cached_property
    def left_by_expected(self) -> float:
        """The same of the expected numbers, which are not quite found: a cause has to leave less."""
        return self.left_by(self.expected)

    @cached_property
    def _largest_expected(self) -> float:
        return largest(np.abs(self.expected))

    @cached_property
    def _is_finite(self) -> bool:
        return bool(np.isfinite(self.recorded).all())


@dataclass(frozen=True)
class Hypothesis:
    """A cause in words and, for each piece of evidence, the numbers that it would have left.

    `fitted` says how many numbers of it were fitted to the evidence: it yields to one that fits with fewer. `whole`
    says that it is about all tensors of a step: one that is right where others are not contradicts it. `terms` are the
    sizes of numbers that may cancel in the prediction.
    """

    cause: str
    predict: Callable[[Evidence], Array]
    fitted: int = 0
    whole: bool = False
    terms: Callable[[Evidence], Array] | None = None

    def left(self, one: Evidence) -> float:
        """How many times what rounding allows it leaves of a piece of evidence."""
        return one.left_by(self.predict(one), self.terms(one) if self.terms else 0.0)


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

    Evidence that is right may contradict it: then it holds elsewhere only, and says so. Where the slack of a prediction
    hides a deviation, it has to leave less than what is expected does: else whatever changes nothing would explain it.
    """
    deviating = [one for one in evidence if not one.is_right]
    if hypothesis.fitted and max((one.excess for one in deviating), default=0) < WELL_ABOVE_ROUNDING:
        return None
    if hypothesis.fitted and sum(one.recorded.size for one in deviating) == 1 and not _is_likely(hypothesis):
        return None
    worst = 0.0
    with np.errstate(all="ignore"):
        for one in deviating:
            worst = max(worst, left := hypothesis.left(one))
            if not left <= 1 or not left <= _left_by_nothing(one, hypothesis) / _ALIKE:
                return None
        # Where it does not say what should be found, it takes what is: of that alone nothing follows.
        if deviating and all(hypothesis.predict(one) is one.as_found for one in deviating):
            return None
        right = [one for one in evidence if one.is_right]
        against = tuple(one for one in right if not hypothesis.left(one) <= 1)
    if hypothesis.whole and {one.step for one in against} & {one.step for one in deviating}:
        return None
    return Accepted(hypothesis, worst, tuple(deviating), against)


def _left_by_nothing(one: Evidence, hypothesis: Hypothesis) -> float:
    """What the expected numbers leave where they are allowed as much as the hypothesis is."""
    return one.left_by_expected if hypothesis.terms is None else one.left_by(one.expected, hypothesis.terms(one))


def _is_likely(hypothesis: Hypothesis) -> bool:
    """Whether what is fitted to a single number is likely all the same: it is one number, and round."""
    numbers = [
        re.sub(r"e.*|[.]", "", found[0]).strip("0") for found in re.finditer(r"\d[\d.]*(e[+-]?\d+)?", hypothesis.cause)
    ]
    return hypothesis.fitted < 2 and all(len(digits) <= _ROUND for digits in numbers)


_ROUND = 2
"""Numbers that people write have so many digits."""


_NUMBER = re.compile(r"[0-9.]+(e[+-]?[0-9]+)?")


def all_accepted(evidence: Sequence[Evidence], hypotheses: Iterable[Hypothesis]) -> list[Accepted]:
    """Those that explain the evidence with the fewest fitted numbers, and of these the ones that leave least."""
    return simplest(every_accepted(evidence, hypotheses))


def every_accepted(evidence: Sequence[Evidence], hypotheses: Iterable[Hypothesis]) -> list[Accepted]:
    """All that explain the evidence, with however many numbers."""
    by_cause: dict[str, Accepted] = {}
    with np.errstate(all="ignore"):
        for hypothesis in hypotheses:
            if hypothesis.cause not in by_cause and (one := accepted(evidence, hypothesis)) is not None:
                by_cause[hypothesis.cause] = one
    return list(by_cause.values())


def simplest(fitting: Sequence[Accepted]) -> list[Accepted]:
    """Those with the fewest fitted numbers, and of these the ones that leave least."""
    fewest = min((int(one.hypothesis.fitted) for one in fitting), default=0)
    of_fewest = [one for one in fitting if int(one.hypothesis.fitted) == fewest]
    best = min((one.left for one in of_fewest), default=0.0)
    chosen = [one for one in of_fewest if one.left <= max(_ALIKE * best, _AS_GOOD_AS_NOTHING)]
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


# --- what is drawn ---------------------------------------------------------------------------------

A_DRAWN_MASK = 9
"""How many numbers a mask that is read off the record counts as fitted: it yields to any rule that needs none."""


_SELDOM = np.log(1e6)


def is_drawn(dropped: NDArray[np.bool_], of: Array) -> bool:
    """Whether which numbers are dropped knows nothing of them, as draws do and a threshold does not.

    By the rank sum of those that are dropped (Mann and Whitney 1947), of the numbers and of their sizes.
    """
    count, others = int(dropped.sum()), int((~dropped).sum())
    deviation = np.sqrt(count * others * (count + others + 1) / 12)
    for numbers in (of, np.abs(of)):
        _, place, counts = np.unique(numbers.ravel(), return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
        off = float(ranks[dropped.ravel()].sum()) - count * (count + others + 1) / 2
        # Of a clean draw, five standard deviations are exceeded once in a million.
        if deviation and abs(off) > 5 * deviation:
            return False
    # Of few that are dropped a sum of ranks says little, but that they are the least of all is as seldom.
    sizes, most = np.abs(of), min(count, others)
    are_least = count and others and sizes[dropped].max() < sizes[~dropped].min()
    return not (are_least and most * np.log((count + others) / most) > _SELDOM)


def roundest_between(low: float, high: float) -> float:
    """The number with the fewest digits from `low`, which is above 0, up to but not including `high`."""
    for digits in range(1, 17):
        step = 10.0 ** (np.floor(np.log10(high)) - digits + 1)
        number = float(f"{np.ceil(low / step) * step:.{digits}g}")
        if low <= number < high:
            return number
    return low


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
    noise = f"or as noise of {size:.1g} of it does"
    return (
        f"the deviations scatter as rounding what is multiplied to about {bits:.0f} significant bits does, {noise}: "
        f"{kinds}"
    )


def as_noise(
    evidence: Sequence[Evidence],
    what: str = "the numbers",
    where: str = "",
    weights: Callable[[Evidence], Array] | None = None,
) -> str | None:
    """Whether noise is added, or multiplied with: normally distributed, or evenly, around nothing or a factor of 1.

    This is no proof, and is said so. Sums of many terms are normally distributed too, whatever was done to the terms:
    noise, in addition, knows nothing of the numbers that it is added to, nor of its row or column, nor of the weights,
    which are drawn themselves: a multiple of those is said to be one.
    """
    wrong = [one for one in evidence if not one.is_right and np.isfinite(one.recorded).all()]
    if len(wrong) < sum(not one.is_right for one in evidence):
        return None
    added = [(one.recorded - one.expected).ravel() for one in wrong]
    if weights is not None:
        if (multiple := _of_the_weights(wrong, weights, where)) is not None:
            return multiple
        if not all(_knows_nothing_of(error, weights(one).ravel()) for error, one in zip(added, wrong, strict=True)):
            return None
    scattered = all(knows_nothing(one.recorded - one.expected, one.expected) for one in wrong)
    if scattered and (words := _noise(added)) is not None:
        return f"the deviations look like {words} that is added{where}: no rule fits them"
    # What is zero stays so; numbers that are small beside the others are known to fewer digits.
    factors = []
    for one in wrong:
        large = np.abs(one.expected) > 1e-3 * largest(np.abs(one.expected))
        if one.recorded[one.expected == 0].any():
            return None
        factor = np.where(large, one.recorded / np.where(large, one.expected, 1) - 1, 0)
        if not _knows_nothing_of(factor[large], one.expected[large]):
            return None
        factors.append(factor[large])
    if factors and (words := _noise(factors)) is not None:
        variance = float(np.concatenate(factors).var())
        drops = "normal" in words and variance > LEAST_DROPOUT
        rate = f", as Gaussian dropout of rate {variance / (1 + variance):.2g} does" if drops else ""
        return f"{what} look multiplied by 1 and {words}{rate}: no rule fits them"
    return None


def _of_the_weights(wrong: Sequence[Evidence], weights: Callable[[Evidence], Array], where: str) -> str | None:
    """A multiple of the weights that is added, another in every step, as of a kernel that is brought to a norm."""
    factors = []
    for one in wrong:
        error, of = one.recorded - one.expected, weights(one)
        factor = ratio(error, of)
        if (
            error.size < ENOUGH_NUMBERS
            or not (distance(error, factor * of) <= one.bound + one.slack + one.unit * np.abs(of)).all()
        ):
            return None
        factors.append(factor)
    listed = ", ".join(f"{factor:.3g}" for factor in dict.fromkeys(factors))
    return f"a multiple of the weights themselves is added{where}: {listed} times them" if factors else None


LEAST_DROPOUT = 1e-3
"""Nobody drops less; of a smaller variance, rounding is as likely."""


def knows_nothing(error: Array, expected: Array) -> bool:
    """Whether errors have no structure: independent of the numbers, and of the largest singular value of noise."""
    matrix = error.reshape(-1, error.shape[-1]) if error.ndim > 1 else error.reshape(1, -1)
    # Of n×p numbers of deviation 1, that is √n + √p, and seldom a tenth more (Davidson and Szarek 2001).
    edge = float(error.std()) * (np.sqrt(matrix.shape[0]) + np.sqrt(matrix.shape[1]))
    return _knows_nothing_of(error.ravel(), expected.ravel()) and bool(np.linalg.norm(matrix, 2) <= 1.1 * edge)


def _knows_nothing_of(noise: Array, numbers: Array) -> bool:
    """Whether noise correlates neither with the numbers nor with their size, by more than chance does."""
    most = 5 / np.sqrt(noise.size)
    for of in (numbers, np.abs(numbers)):
        for one in (noise, np.abs(noise)) if of is not numbers else (noise,):
            if of.std() and one.std() and abs(np.corrcoef(one, of)[0, 1]) > most:
                return False
    return True


def _noise(errors: Sequence[Array]) -> str | None:
    """Numbers of every step as noise around zero, if they are: of which form, and how large."""
    from scipy import stats

    if not errors or min(of_step.size for of_step in errors) < _ENOUGH_ERRORS:
        return None
    deviations = [float(of_step.std()) for of_step in errors]
    if not min(deviations) > 0:
        return None
    together = np.concatenate([of_step / size for of_step, size in zip(errors, deviations, strict=True)])
    size = together.size
    # Mean, skewness and excess kurtosis of n normal numbers scatter by σ/√n, √(6/n) and √(24/n); five times is ample.
    centred = abs(together.mean()) < 5 / np.sqrt(size) and abs(stats.skew(together)) < 5 * np.sqrt(6 / size)
    excess, tolerance = float(stats.kurtosis(together)), 5 * np.sqrt(24 / size)
    form = {0.0: "normal", -1.2: "uniform"}
    kind = next((name for value, name in form.items() if abs(excess - value) < tolerance), None)
    if not centred or kind is None:
        return None
    if max(deviations) <= 1.2 * min(deviations):
        return f"{kind} noise of standard deviation {np.sqrt(np.mean(np.square(deviations))):.2g}"
    listed = ", ".join(f"{one:.2g}" for one in deviations)
    return f"{kind} noise of a standard deviation of its own in every step, {listed},"


_ENOUGH_ERRORS = 200
"""Whose mean square is known to 10%."""


def kept_in(recorded: Array, *, double: bool) -> str | None:
    """The lower precision that all the numbers have, if they do; or that some are no numbers."""
    if not np.isfinite(recorded).all():
        return "the numbers are not finite"
    distinct = np.unique(np.abs(recorded[recorded != 0]))
    if len(distinct) < ENOUGH_NUMBERS:
        return None
    if (bits := _significant_bits(distinct)) < _FEWEST_OF_A_FORMAT:
        few = f"no number has more than {bits} significant bits"
        return "all numbers that are not 0 are powers of 2" if bits == 1 else few
    for dtype in ("bfloat16", "float16"):
        if (recorded == rounded(recorded, dtype)).all():
            return f"the numbers are kept in {dtype}"
    return "the numbers are kept in float32" if double and not is_double(recorded) else None


_FEWEST_OF_A_FORMAT = 7
"""bfloat16 has 8. Of 8 numbers that have as many, all have two zeros at the end once in 65,000 times."""


def _significant_bits(numbers: Array) -> int:
    """How many bits the fractions of all these finite numbers need."""
    fractions = np.unique(np.frexp(np.float64(numbers))[0])
    return next((bits for bits in range(1, _FEWEST_OF_A_FORMAT) if not np.any(np.ldexp(fractions, bits) % 1)), 53)


def all_kept_in(evidence: Sequence[Evidence], *, double: bool) -> str | None:
    """The lower precision that the numbers of every step have; or that the first ones are no numbers."""
    if not np.isfinite(evidence[0].recorded).all():
        return "the numbers are not finite"
    together = np.concatenate([one.recorded.ravel() for one in evidence if np.isfinite(one.recorded).all()])
    return kept_in(together, double=double)


def is_double(array: Array) -> bool:
    """Whether some number needs float64."""
    return bool((array != array.astype(np.float32)).any())
