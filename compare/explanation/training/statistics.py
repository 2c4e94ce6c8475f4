"""Running statistics of normalisations: their momentum by value, and what torch's unbiased variance makes of them."""

from collections.abc import Sequence

import numpy as np
from scipy import optimize

from compare.explanation.context import Context
from compare.explanation.findings import joined
from compare.explanation.model.stretches.segments import turned
from compare.explanation.observed.carry import common_of
from compare.explanation.observed.observation import Array, Call, Observation
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.plan import call_pairs
from compare.explanation.observed.values import ROUNDED, deviation
from compare.explanation.words import counted, number


def statistics(context: Context) -> None:
    """Finds what differs in running means and variances after the first step."""
    guide, steered = context.guide.observation, context.steered.observation
    if not guide.calls or not steered.calls or not guide.updates or not steered.updates:
        return
    unbiased: list[str] = []
    compared = 0
    for pair, left, _ in call_pairs(
        context.pairing, context.guide.calls(guide.calls[0]), context.steered.calls(steered.calls[0])
    ):
        if pair.kind != "batch normalization" or not pair.fits or left.number:
            continue
        calls, others = _calls_in_a_step(context, pair)
        if len(calls) != len(others):  # each call moves them once more
            continue
        compared += 1
        before = common_of(pair.guides, guide.before(0))
        a = common_of(pair.guides, guide.by_path("parameters_after", 0))
        b = common_of(pair.ports, steered.by_path("parameters_after", 0))
        batches = [_input(context, guide, call) for call in calls]
        x = batches[0]
        if x is None or "running_mean" not in before or "running_mean" not in a or "running_mean" not in b:
            continue
        means = [_batch(batch)[0] for batch in batches if batch is not None]
        if len(means) == len(calls) and all(mean.shape == before["running_mean"].shape for mean in means):
            _momentum(context, pair, before["running_mean"], a["running_mean"], b["running_mean"], means)
        if (
            len(calls) == 1
            and deviation(a["running_mean"], b["running_mean"]) <= ROUNDED
            and deviation(a["running_var"], b["running_var"]) > 1e-10
            and _is_unbiased(before["running_var"], a["running_var"], b["running_var"], x)
        ):
            unbiased.append(context.name(pair))
    if unbiased:
        context.find(
            "forward",
            f"running variance (moving_variance, running_var) of {joined(unbiased)}: torch divides by n - 1 "
            "(unbiased), Keras by n (biased)",
            guide="divides by n" if context.frameworks[0] == "keras" else "divides by n - 1",
            steered="divides by n - 1" if context.frameworks[1] == "torch" else "divides by n",
            places=(None, context.pairing.pairs[0].port.place),
            effect=1e-5,
            effect_text="seen in evaluation only",
            cause="unbiased variance",
            severity="inherent",
        )
    if compared and not context.says("momentum of|evaluation mode"):
        context.same.append(f"running statistics of {counted(compared, 'normalisation')} after a step")


def _calls_in_a_step(context: Context, pair: Pair) -> tuple[list[Call], list[Call]]:
    """Each side's calls of a layer in the first step."""
    sides = (context.guide, pair.guide), (context.steered, pair.port)
    found = [[call for call in side.calls(side.observation.calls[0]) if call.layer == own.name] for side, own in sides]
    return found[0], found[1]


def _input(context: Context, guide: Observation, call: Call) -> Array | None:
    found = guide.array(call.inputs[0] if call.inputs else None)
    if found is None:
        return None
    x = turned(found, channels_last=context.frameworks[0] == "keras")
    if x.ndim == 3 and context.frameworks[0] == "keras":
        x = np.swapaxes(x, 1, 2)
    return x


def _batch(x: Array) -> tuple[Array, Array, int]:
    """Mean and variance of a batch by channel, and the number of values that they are of."""
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes), x.var(axis=axes), x.size // x.shape[1]


def _momentum(context: Context, pair: Pair, before: Array, a: Array, b: Array, means: Sequence[Array]) -> None:
    """The share of the old mean that is kept at each call, read from the values."""
    first, second = _kept(before, a, means), _kept(before, b, means)
    if first is None or second is None or abs(first - second) <= 1e-5:
        return
    kept = first, second
    words = [f"{value:.6g}, which torch calls {1 - value:.6g}" for value in kept]
    where = context.name(pair)
    frozen = [abs(value - 1) < 1e-9 for value in kept]
    if any(frozen) and context.says("evaluation mode"):
        return
    context.find(
        "forward",
        context.differs(f"momentum of {where} (batch normalization):", words[0], words[1]),
        guide=f"momentum {words[0]}",
        steered=f"momentum {words[1]}",
        places=(pair.guide.place, pair.port.place),
        effect=min(abs(kept[0] - kept[1]) * 2, 1.0),
        effect_text="running statistics follow the batches at another speed; seen in evaluation only",
        cause=f"momentum {words[0]} against {words[1]}",
        mend=f"{pair.port.kind}(..., momentum={number(1 - kept[0] if context.frameworks[1] == 'torch' else kept[0])})",
    )


def _kept(before: Array, after: Array, means: Sequence[Array]) -> float | None:
    if len(means) > 1:
        return _kept_by_several(before, after, means)
    (batch,) = means
    moved = before - batch
    usable = np.abs(moved) > 1e-6 * max(float(np.abs(moved).max()), 1e-30)
    if not usable.any() or float(np.abs(moved).max()) < 1e-9:
        return None
    return float(np.median((after - batch)[usable] / moved[usable]))


def _kept_by_several(before: Array, after: Array, means: Sequence[Array]) -> float | None:
    """The share that a layer which is called several times in a step keeps at each; None if no share gives the mean."""
    if np.array_equal(before, after):
        return 1.0

    def moved(kept: float) -> Array:
        running = before
        for mean in means:
            running = kept * running + (1 - kept) * mean
        return running

    found = optimize.minimize_scalar(
        lambda kept: float(((moved(kept) - after) ** 2).sum()),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(found.x) if deviation(after, moved(float(found.x))) <= ROUNDED else None


def _is_unbiased(before: Array, a: Array, b: Array, x: Array) -> bool:
    """Whether the variances differ by n / (n - 1) of the batch's and by nothing else."""
    _, variance, count = _batch(x)
    if variance.shape != a.shape or count < 2:
        return False
    moved = before - variance
    share = 1 - float(np.median((a - variance)[np.abs(moved) > 0] / moved[np.abs(moved) > 0])) if np.any(moved) else 0.0
    expected = share * variance / (count - 1)
    return deviation(expected, np.abs(b - a)) <= 1e-3
