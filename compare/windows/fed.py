"""What every step of a training was fed: two sums of each batch, and the images and labels of its windows."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from compare.causes.data import inputs as input_causes
from compare.oracle.bounds import Rounding
from compare.windows.watched import Watched, place
from recipe import Recipe, mnist
from recipe.batch_order import epoch_order
from record.training import RunRecord
from record.windows import Fed, num_steps_per_epoch, place_weights

_IMAGES_AT_ONCE = 2000
"""Training images whose pixels are in float64 together: some 13 MB of MNIST."""


class Fault(NamedTuple):
    """The first step, from 1, that was fed something else; how many were; where and why."""

    number: int
    num_steps: int
    where: str
    cause: str


class _Expected(NamedTuple):
    """The sums that the recipe's batches have, and how far rounding can carry those of the pixels; shape (steps,)."""

    pixels: NDArray[np.float64]
    bounds: NDArray[np.float64]
    classes: NDArray[np.float64]
    class_bounds: NDArray[np.float64]

    def unlike(self, fed: Fed, shift: int = 0) -> NDArray[np.bool_]:
        """Which steps have other sums than the recipe's batch `shift` steps later."""
        steps = np.arange(min(len(fed.pixel_sums), len(self.pixels)))
        of = np.clip(steps + shift, 0, len(self.pixels) - 1)
        pixels = np.abs(fed.pixel_sums[: len(steps)] - self.pixels[of]) > self.bounds[of]
        return pixels | self.other_classes(fed, shift)

    def other_classes(self, fed: Fed, shift: int = 0) -> NDArray[np.bool_]:
        """Which have other classes."""
        steps = np.arange(min(len(fed.pixel_sums), len(self.pixels)))
        of = np.clip(steps + shift, 0, len(self.pixels) - 1)
        return np.abs(fed.class_sums[: len(steps)] - self.classes[of]) > self.class_bounds[of]


def fed_fault(run: RunRecord, watched: Watched | None, digits: mnist.Digits) -> Fault | None:
    """The first step that was fed something else than the recipe's batch, if one was.

    Where each framework shuffles by itself, the recipe does not know the batches. Then the images of the windows have
    to be some of the data set's, with their labels.
    """
    of_windows = _fault_of_windows(watched, digits) if watched else None
    if run.fed is None or run.recipe.batch_order != "shared":
        return of_windows
    expected = _expected(run.recipe, digits, _orders(run.recipe))
    unlike = np.flatnonzero(expected.unlike(run.fed))
    if not len(unlike):
        return of_windows
    first = int(unlike[0])
    if of_windows and of_windows.number <= first + 1:
        cause = of_windows.cause
        if of_windows.number == first + 1 and cause == input_causes.OTHER_IMAGES:
            cause = _cause_of_sums(run, expected, first, digits)
        return of_windows._replace(num_steps=max(of_windows.num_steps, len(unlike)), cause=cause)
    where = (
        f"{place(first + 1, run.recipe)}: its pixels add up to {run.fed.pixel_sums[first]:.9g}, those of the recipe's "
        f"batch to {expected.pixels[first]:.9g}; its classes to {run.fed.class_sums[first]:.9g}, the recipe's to "
        f"{expected.classes[first]:.9g}"
    )
    return Fault(first + 1, len(unlike), where, _cause_of_sums(run, expected, first, digits))


def _orders(recipe: Recipe) -> Iterator[NDArray[np.int32]]:
    num_images = recipe.images.num_training_images
    return (epoch_order(recipe.seed, epoch, num_images) for epoch in range(recipe.epochs))


def _expected(recipe: Recipe, digits: mnist.Digits, orders: Iterable[NDArray[np.int32]]) -> _Expected:
    """The sums of every batch of epochs that visit the images in these orders."""
    rounding, real = Rounding.of(recipe.dtype), np.dtype(recipe.dtype).type
    flat = digits.x_train.reshape(len(digits.x_train), -1)
    values = (np.arange(256).astype(real) / real(255)).astype(np.float64)
    parts_of_images = [flat[begin : begin + _IMAGES_AT_ONCE] for begin in range(0, len(flat), _IMAGES_AT_ONCE)]
    sums = np.concatenate([values[part].sum(axis=1) for part in parts_of_images])
    inked = np.count_nonzero(flat, axis=1)
    starts = np.arange(0, len(flat), recipe.batch_size)
    weights = place_weights(recipe.batch_size)[np.arange(len(flat)) % recipe.batch_size]
    parts: list[list[NDArray[np.float64]]] = [[], [], [], []]
    exact_to = 2.0 ** (np.finfo(recipe.dtype).nmant + 1)
    for order in orders:
        pixels = np.add.reduceat(sums[order], starts)
        terms = np.add.reduceat(inked[order], starts) + 1
        classes = np.add.reduceat(digits.y_train[order].astype(np.float64) * weights, starts)
        sizes = np.diff([*starts, len(flat)]) + 1
        parts[0].append(pixels)
        parts[1].append(rounding.gamma(terms) * pixels + rounding.tiny)
        parts[2].append(classes)
        parts[3].append(np.where(classes < exact_to, 0, rounding.gamma(sizes) * classes))
    return _Expected(*map(np.concatenate, parts))


def _cause_of_sums(run: RunRecord, expected: _Expected, first: int, digits: mnist.Digits) -> str:
    """Why the sums of step `first`, from 0, and perhaps of later ones are others."""
    fed, per_epoch = run.fed, num_steps_per_epoch(run.recipe)
    if fed is None:
        raise ValueError("the run does not say what it was fed")
    unlike, epoch = expected.unlike(fed), first // per_epoch
    if unlike[first:].all():
        later = expected.unlike(fed, 1)[first : len(expected.pixels) - 1]
        if not later.any():
            return "one batch is left out: from here on every step has the batch of the step after"
        if not expected.unlike(fed, -1)[first:].any():
            return "a batch is fed twice: from here on every step has the batch of the step before"
    of_epoch = slice(first, (epoch + 1) * per_epoch)
    if epoch and not expected.unlike(fed, -epoch * per_epoch)[of_epoch].any():
        return f"epoch {epoch + 1} visits the images in the order of the first epoch"
    if (known := _other_order(run, epoch, first, digits)) is not None:
        return known
    others = range(epoch * per_epoch, min((epoch + 1) * per_epoch, len(expected.pixels)))
    if (other := next((index for index in others if _same(expected, fed, first, index)), None)) is not None:
        twice = ", fed twice" if other == first - 1 else ""
        return f"the batch is that of {place(other + 1, run.recipe)}{twice}"
    if not expected.other_classes(fed)[first]:
        factor = float(fed.pixel_sums[first] / expected.pixels[first])
        return f"the labels are right, the pixels are not: they add up to {factor:.6g} times what they should"
    if np.abs(fed.pixel_sums[first] - expected.pixels[first]) <= expected.bounds[first]:
        return "the images are right, their labels are not: others, in another order, or smoothed"
    return "the batch has other images, or images are missing"


def _other_order(run: RunRecord, epoch: int, first: int, digits: mnist.Digits) -> str | None:
    """In which other order the images of an epoch, from 0, come from step `first`, from 0, on."""
    fed, per_epoch = run.fed, num_steps_per_epoch(run.recipe)
    if fed is None:
        return None
    steps = slice(first - epoch * per_epoch, per_epoch)
    whole = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
    of_epoch = Fed(fed.pixel_sums[whole], fed.class_sums[whole])
    images = np.arange(run.recipe.images.num_training_images, dtype=np.int32)
    for words, order in (
        ("not shuffled: they come in the order of the data set", images),
        ("not shuffled: they come in the reverse order of the data set", images[::-1]),
        *(
            (f"those of epoch {other + 1}, in its order", epoch_order(run.recipe.seed, other, len(images)))
            for other in range(1, min(run.recipe.epochs, _FEW_EPOCHS) + 1)
            if other != epoch
        ),
    ):
        unlike = _expected(run.recipe, digits, [order]).unlike(of_epoch)[steps]
        if len(unlike) > 1 and not unlike.any():
            return f"the images of epoch {epoch + 1} are {words}"
    return None


_FEW_EPOCHS = 10


def _same(expected: _Expected, fed: Fed, step: int, other: int) -> bool:
    """Whether a step's sums are those of the recipe's batch in another one."""
    return bool(
        abs(fed.pixel_sums[step] - expected.pixels[other]) <= expected.bounds[other]
        and abs(fed.class_sums[step] - expected.classes[other]) <= expected.class_bounds[other]
    )


def _fault_of_windows(watched: Watched, digits: mnist.Digits) -> Fault | None:
    recipe, real = watched.recipe, np.dtype(watched.recipe.dtype).type
    per_epoch = num_steps_per_epoch(recipe)
    faults: list[tuple[int, str]] = []
    for index, step in enumerate(watched.steps):
        epoch, within = divmod(watched.numbers[index] - 1, per_epoch)
        one = replace(watched, steps=[step])
        if recipe.batch_order != "shared":
            if (cause := input_causes.of_images_of_any_batch(one, digits)) is not None:
                faults.append((index, cause))
            continue
        order = epoch_order(recipe.seed, epoch, len(digits.x_train))
        batch = order[within * recipe.batch_size : (within + 1) * recipe.batch_size]
        images = digits.x_train[batch].reshape(len(batch), -1).astype(real) / real(255)
        if not np.array_equal(step.images, images) or not np.array_equal(step.labels, digits.y_train[batch]):
            # Why is asked of the first alone: it takes all images of the data set.
            cause = input_causes.of_fed_batch(one, batch, digits) if not faults else ""
            faults.append((index, cause))
    if not faults:
        return None
    index, cause = faults[0]
    what = "are not those of the recipe's batch" if recipe.batch_order == "shared" else "are not the data set's"
    where = f"{watched.place(index)}: its images and labels {what}"
    return Fault(watched.numbers[index], len(faults), where, cause)
