"""Dropout: whether each activation is passed on as its mask says, and what it is most likely due to if not."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from compare.causes.signatures import Evidence, Hypothesis, is_drawn, kept_in, named, ratio
from compare.ladder.check import Check
from compare.oracle.bounds import Rounding
from compare.oracle.network import Array
from compare.oracle.step import ExactStep, shared_masks
from record.first_steps import Trace

_FALSE_ALARM = 1e-9
"""The probability with which a correct generator is called wrong."""


def of_layer(trace: Trace, index: int, layer: str) -> Iterator[Check]:
    """What the dropout after a hidden layer passes on in step `index` (from 0).

    Masks that a framework draws itself are taken from what it dropped. It is then checked that
    they are drawn at the rate that the recipe asks for, independently for every image and every step.
    """
    step = ExactStep.of(trace, index)
    activation, recorded = step.activations[layer], step.dropped[layer]
    if trace.recipe.dropout_masks == "shared":
        mask = shared_masks(trace.recipe, index, len(activation))[layer]
        # What has overflowed may be dropped as 0, or as the NaN that 0 times infinity is.
        expected = np.where((mask == 0) & ~np.isfinite(activation), recorded, activation * mask)
    else:
        expected = np.where(recorded != 0, activation * step.scale, 0)
    yield Check(
        f"step {index + 1}: what dropout passes on of {layer}",
        recorded,
        expected,
        Rounding.of(trace.recipe.dtype).dropout(expected, trace.recipe.dropout),
        partial(_cause, trace, index, layer, expected),
    )
    if trace.recipe.dropout_masks == "framework":
        yield from _draws(trace, index, layer)


def _draws(trace: Trace, index: int, layer: str) -> Iterator[Check]:
    """How often activations are dropped, and how often two draws agree."""
    rate = trace.recipe.dropout
    live, dropped = _decisions(trace, index, layer)
    share = dropped[live]
    another = f"the rate is another: {share.mean():.3g} of the activations are dropped" if len(share) else ""
    yield _share(f"step {index + 1}: share that dropout drops of {layer}", share, rate, another)
    agreement = rate**2 + (1 - rate) ** 2
    half = len(live) // 2
    both = live[:half] & live[half : 2 * half]
    alike = (dropped[:half] == dropped[half : 2 * half])[both]
    yield _share(
        f"step {index + 1}: agreement of two images' masks of {layer}",
        alike,
        agreement,
        _of_one_mask(live, dropped)
        if alike.all()
        else f"two images' masks agree in {_percent(alike)} of their numbers, not in the {agreement:.0%} of masks that "
        "are drawn for each image by itself",
    )
    if index:
        live_before, dropped_before = _decisions(trace, index - 1, layer)
        size = min(len(live), len(live_before))
        both = live[:size] & live_before[:size]
        alike = (dropped[:size] == dropped_before[:size])[both]
        yield _share(
            f"step {index + 1}: agreement with the masks before of {layer}",
            alike,
            agreement,
            "the same mask is used in every step"
            if alike.all()
            else f"the masks of two steps agree in {_percent(alike)} of their numbers, not in the {agreement:.0%} of "
            "masks that are drawn anew",
        )


def _of_the_first_step(trace: Trace, index: int, layer: str) -> str:
    """What a step does that uses the masks of the first: each later step does so, or they begin again with them."""
    num_images = len(trace.steps[index].activations[layer])
    masks = [shared_masks(trace.recipe, step, num_images)[layer] != 0 for step in range(len(trace.steps) - index)]
    again = []
    for step, mask in enumerate(masks):
        live, dropped = _decisions(trace, index + step, layer)
        again.append([bool((dropped == ~of[: len(live)])[live].all()) for of in (masks[0], mask)])
    if len(again) > 1 and all(begun for _, begun in again):
        return f"the masks begin again with those of step 1 in step {index + 1}"
    return "the same mask is used in every step" if all(same for same, _ in again) else "the mask is that of step 1"


def _of_one_mask(live: NDArray[np.bool_], dropped: NDArray[np.bool_]) -> str:
    """What it is if the masks of both halves of a batch are the same."""
    both = live[:-1] & live[1:]
    if (dropped[:-1] == dropped[1:])[both].all():
        return "one mask is drawn for the whole batch instead of one for each image"
    return "the masks of the second half of a batch are those of the first half"


def _percent(draws: NDArray[np.bool_]) -> str:
    return f"{draws.mean() if len(draws) else 0:.0%}"


def _decisions(trace: Trace, index: int, layer: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which activations tell whether they were dropped, for they are not zero; and which were."""
    activation = trace.steps[index].activations[layer]
    return np.isfinite(activation) & (activation != 0), trace.steps[index].dropped[layer] == 0


def _share(tensor: str, draws: NDArray[np.bool_], probability: float, cause: str) -> Check:
    """The mean of draws against Hoeffding's bound, which it exceeds with the probability `_FALSE_ALARM`."""
    bound = math.sqrt(math.log(2 / _FALSE_ALARM) / (2 * len(draws))) if len(draws) else math.inf
    recorded = draws.mean() if len(draws) else probability
    return Check(tensor, np.asarray(recorded), np.asarray(probability), np.asarray(bound), lambda: cause)


def _cause(trace: Trace, index: int, layer: str, expected: Array) -> str | None:
    step = ExactStep.of(trace, index)
    activation, recorded, rate = step.activations[layer], step.dropped[layer], trace.recipe.dropout
    kept, live = recorded != 0, np.isfinite(activation) & (activation != 0)
    if not is_drawn(~kept[live], activation[live]):
        return "which activations are dropped depends on their size: it is no mask that is drawn"

    def hypotheses() -> Iterator[Hypothesis]:
        yield Hypothesis("dropout is missing: all activations are passed on as they are", lambda one: activation)
        name = f"what dropout keeps is not scaled by 1/(1 - rate) = {step.scale:.6g}"
        yield Hypothesis(name, lambda one: np.where(kept, activation, 0))
        if not math.isclose(rate, 0.5):
            name = f"rate and keep probability are confused: {1 - rate:.3g} is dropped instead of {rate:.3g}"
            yield Hypothesis(name, lambda one: np.where(kept, activation / rate, 0))
        yield Hypothesis(
            _other_masks(trace, index, layer, kept), lambda one: np.where(kept, activation * step.scale, 0)
        )
        factor = ratio(np.where(kept, recorded, 0), np.where(kept, activation, 0))
        name = f"what dropout keeps is multiplied by {factor:.6g} instead of {step.scale:.6g}"
        dropped = 1 - kept[live].mean()
        if not dropped:
            name = f"dropout drops nothing, and all activations are multiplied by {factor:.6g}"
        elif factor > 1 and abs(dropped - (1 - 1 / factor)) < 5 * math.sqrt(dropped / live.sum()):
            name = f"the rate is {1 - 1 / factor:.3g} instead of {rate:.3g}, with other masks"
        yield Hypothesis(name, lambda one: np.where(kept, factor * activation, 0), fitted=True)

    rounding = Rounding.of(trace.recipe.dtype)
    evidence = [Evidence(index + 1, layer, recorded, expected, rounding.dropout(expected, rate), rounding.unit)]
    return named(evidence, hypotheses()) or kept_in(recorded, double=trace.recipe.dtype == "float64")


def _masks_nearby(trace: Trace, index: int, layer: str, num_images: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The recipe's masks of another layer of as many units, of another step, epoch or seed."""
    recipe, units = trace.recipe, trace.steps[index].activations[layer].shape[1]
    for other, mask in shared_masks(recipe, index, num_images).items():
        if other != layer and mask.shape[1] == units:
            yield other, mask != 0
    for step in range(max(0, index - 2), index + 3):
        if step != index:
            yield f"step {step + 1}", shared_masks(recipe, step, num_images)[layer] != 0
    yield "epoch 2", shared_masks(recipe, index, num_images, 1)[layer] != 0
    for seed in range(_FEW_SEEDS):
        if seed != recipe.seed:
            yield f"seed {seed}", shared_masks(replace(recipe, seed=seed), index, num_images)[layer] != 0


_FEW_SEEDS = 11
"""From 0 on, which people choose."""


def _other_masks(trace: Trace, index: int, layer: str, kept: NDArray[np.bool_]) -> str:
    """Which masks other than the recipe's a step used, given that what it keeps is scaled right."""
    live = trace.steps[index].activations[layer] != 0

    def fits(mask: NDArray[np.bool_]) -> bool:
        return bool((kept == mask)[live].all())

    shared = shared_masks(trace.recipe, index, len(live))[layer] != 0
    if index and fits(shared_masks(trace.recipe, 0, len(live))[layer] != 0):
        return _of_the_first_step(trace, index, layer)
    if fits(~shared):
        return "the mask is inverted: it drops what it should keep"
    for words, mask in (
        ("in reverse order of the images", shared[::-1]),
        ("in reverse order of the units", shared[:, ::-1]),
        ("of the image before in the batch", np.roll(shared, 1, axis=0)),
        ("of the image after in the batch", np.roll(shared, -1, axis=0)),
    ):
        if fits(mask):
            return f"the masks are the recipe's, {words}"
    anywhere = np.where(live, kept, False).any(axis=0)
    if len(live) > 1 and fits(np.broadcast_to(anywhere, live.shape)):
        return "one mask is drawn for the whole batch instead of one for each image"
    if other := next((words for words, mask in _masks_nearby(trace, index, layer, len(live)) if fits(mask)), None):
        return f"the mask is that of {other}"
    share = 1 - kept[live].mean()
    said = f"other activations are dropped than the recipe's masks say, {share:.3g} of all"
    return f"{said}: another generator or seed, or the same masks at other places"
