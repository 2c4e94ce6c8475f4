"""Causes of settings and batches that differ. Initial weights are in `compare/causes/network/initial.py`."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from compare.causes.data import augmentation
from compare.causes.signatures import UNKNOWN, rounded, see, times
from recipe import datasets
from recipe.batch_order import epoch_order
from recipe.mnist import Digits
from record.first_steps import Trace, hash_batch

Names = tuple[str, str]

_LINEAR = 1e-3
"""Pixels within this share of their span of a linear map went through it: a quarter of a grey level."""

OTHER_IMAGES = "the batch has other images of the data set"

FROM_EPOCH_2 = "what is fed changes with epoch 2: another order, or augmentation that begins there"

_SETTINGS = {
    "optimizer.epsilon": "Adam's ε differs: Keras's default is 1e-7, torch's 1e-8",
    "optimizer.epsilon_added": "Keras adds ε before Adam's bias correction, torch after it",
    "optimizer.learning_rate": "the learning rates differ",
    "optimizer.weight_decay": "one side decays its weights",
    "loss.takes": "Keras's torch and JAX backends clip probabilities to [1e-7, 1 - 1e-7] where others take logits",
    "loss.label_smoothing": "one side smooths its labels",
    "loss.reduction": "one side sums the losses of a batch, the other averages them",
    "layers": "the networks differ",
    "dropout.rate": "dropout drops another share of the activations, or none on one side",
    "dropout.masks": "each framework draws its own dropout masks",
    "epochs": "the numbers of epochs differ",
    "batch_size": "the batch sizes differ",
    "tf32": "one side computes float32 matrix products in TF32",
}


def of_settings(key: str) -> str:
    """What a differing setting means."""
    return _SETTINGS.get(key, f"{key} is set differently")


# --- data ------------------------------------------------------------------------------------------


def of_data(first: Trace, second: Trace, names: Names) -> str:
    """Why the batches differ. Where the recipe shares the order, each side is held against the recipe."""
    digits = datasets.load(first.recipe)
    shared = first.recipe.batch_order == "shared"
    for name, trace in zip(names, (first, second), strict=True):
        if (fault := _pixel_fault(trace, digits)) is not None:
            return f"{name}: {fault}"
        if shared and (fault := _order_fault(trace, digits)) is not None:
            return f"{name}: {fault}"
    if shared:
        return _late_fault(first, second) or UNKNOWN
    cause = "each framework shuffles with its own generator (recipe.batch_order is framework)"
    for name, trace in zip(names, (first, second), strict=True):
        if trace.batch_hashes[-1] == trace.batch_hashes[0]:
            cause += f"; {name} takes the images in the same order in every epoch"
            if (trace.framework, trace.backend) == ("keras", "tensorflow"):
                cause += ", as Keras on TensorFlow does once a seed is set"
    return cause


def of_step_unlike_its_batch(trace: Trace, index: int) -> str:
    """Why a step was fed something else than the batch whose hash is stated."""
    digits = datasets.load(trace.recipe)
    step = trace.steps[index]
    if (fault := _pixel_fault(trace, digits)) is not None:
        return f"between the batches and the network, {fault}"
    if trace.recipe.batch_order == "shared":
        start = index * trace.recipe.batch_size
        order = epoch_order(trace.recipe.seed, 0, len(digits.x_train))[start : start + trace.recipe.batch_size]
        if _hash_of(order, trace, digits) == hash_batch(step.images, step.labels):
            return "the step's images and labels are right, so that the stated hash is of something else"
        shift = (np.resize(step.labels, len(order)) - digits.y_train[order]) % trace.recipe.images.num_classes
        if (shift == shift[0]).all() and shift[0]:
            return f"between the batches and the network, labels are off by {int(shift[0])}"
    return "between the batches and the network, the images or the labels become others, as augmentation has it"


def of_fed_batch(trace: Trace, batch: NDArray[np.int32], digits: Digits) -> str:
    """Why the one step of a trace was fed something else than these training images with their labels."""
    step = trace.steps[0]
    if (fault := _pixel_fault(trace, digits, batch)) is not None:
        return fault
    if len(step.images) != len(batch):
        return f"the batch has {len(step.images)} images instead of {len(batch)}"
    if not np.array_equal(_as_grey(step.images), digits.x_train[batch].reshape(len(batch), -1)):
        return OTHER_IMAGES
    shift = (step.labels - digits.y_train[batch]) % trace.recipe.images.num_classes
    return f"labels are off by {int(shift[0])}" if (shift == shift[0]).all() else "the labels are not the images' own"


def of_images_of_any_batch(trace: Trace, digits: Digits) -> str | None:
    """Why the images of a trace's one step are none of the data set, or have not their labels; None if they are."""
    if (fault := _pixel_fault(trace, digits)) is not None:
        return fault
    labels: dict[bytes, set[int]] = {}
    for image, label in zip(digits.x_train, digits.y_train, strict=True):
        labels.setdefault(image.tobytes(), set()).add(int(label))
    step = trace.steps[0]
    right = all(
        int(label) in labels[grey.tobytes()] for grey, label in zip(_as_grey(step.images), step.labels, strict=True)
    )
    return None if right else "the labels are not the images' own"


def _as_grey(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)


def _pixel_fault(trace: Trace, digits: Digits, batch: NDArray[np.int32] | None = None) -> str | None:
    """What was done to the pixels of the first step, if anything but x / 255.

    `batch` holds the training images that it was to be fed; by default those of the recipe's first batch.
    """
    images = trace.steps[0].images
    if not np.isfinite(images).all():
        return "some pixels are no numbers, or infinite"
    scaled = _as_grey(images).astype(images.dtype) / images.dtype.type(255)
    if np.abs(images - scaled).max() <= 2 * np.finfo(images.dtype).eps:
        # Of pixels that were computed otherwise, that they round otherwise says nothing.
        fault = _source_fault(trace, _as_grey(images), digits, batch)
        if fault is not None or (images == scaled).all():
            return fault
        return (
            "pixels are multiplied by the rounded number 1/255 (as Keras's Rescaling and torchvision's v2.ToDtype do) "
            "instead of divided by 255"
        )
    for dtype in ("float32", "float16", "bfloat16"):
        if (images == rounded(scaled.astype(np.float64), dtype)).all():
            return f"pixels are rounded to {dtype}"
    exact, expected = images.astype(np.float64), _expected_images(trace, digits, batch)
    fault = _fitted_fault(exact, expected) or _linear_fault(exact, digits)
    return (
        fault
        or augmentation.of_images(exact, expected, digits.x_train)
        or ("pixels are not those of the data set divided by 255")
    )


def _expected_images(
    trace: Trace, digits: Digits, batch: NDArray[np.int32] | None = None
) -> NDArray[np.float64] | None:
    """The batch as the recipe shares it, (batch, rows, columns) from 0 to 1; None if it shares no order."""
    size = len(trace.steps[0].images)
    if batch is None and trace.recipe.batch_order != "shared":
        return None
    order = epoch_order(trace.recipe.seed, 0, len(digits.x_train))[:size] if batch is None else batch
    images: NDArray[np.float64] = digits.x_train[order] / 255
    return images if len(order) == size else None


def _fitted_fault(images: NDArray[np.float64], expected: NDArray[np.float64] | None) -> str | None:
    """Which linear map the pixels went through, if the images are those that the recipe asks for."""
    if expected is None or np.ptp(expected) == 0:
        return None
    grey = expected.reshape(images.shape)
    slope, offset = map(float, np.polyfit(grey.ravel(), images.ravel(), 1))
    if slope <= 0 or np.abs(offset + slope * grey - images).max() > _LINEAR * slope:
        return None
    mean, deviation = float(grey.mean()), float(grey.std())
    if math.isclose(-offset / slope, mean, rel_tol=1e-4) and math.isclose(1 / slope, deviation, rel_tol=1e-4):
        return f"pixels are standardised by the mean and the deviation of their batch: {mean:.4f} and {deviation:.4f}"
    return _linear_map(slope, offset)


def _linear_fault(images: NDArray[np.float64], digits: Digits) -> str | None:
    """Which linear map the pixels went through, if images of the data set come out when it is undone.

    The background is 0, and some pixel of a batch is 255 or little less.
    """
    lowest, highest = float(images.min()), float(images.max())
    training = {image.tobytes() for image in digits.x_train}
    for brightest in range(255, 245, -1):
        slope = (highest - lowest) * 255 / brightest
        grey = _as_grey((images - lowest) / slope)
        if np.abs(lowest + slope * grey / 255 - images).max() > _LINEAR * slope:
            continue
        if all(image.tobytes() in training for image in grey):
            return _linear_map(slope, lowest)
    return None


def _linear_map(slope: float, offset: float) -> str:
    if abs(offset) < 1e-4:
        if math.isclose(slope, 255, rel_tol=1e-4):
            return "pixels are not divided by 255"
        if math.isclose(slope, 255 / 256, rel_tol=1e-4):
            return "pixels are divided by 256 instead of 255"
        if math.isclose(slope, 1 / 255, rel_tol=1e-4):
            return "pixels are divided by 255 twice"
        return f"pixels are {times(slope)}"
    return f"pixels are standardised: mean {-offset / slope:.4f} subtracted, divided by {1 / slope:.4f}"


_TURNED: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "images are transposed: rows and columns are swapped": lambda image: image.reshape(image.shape[::-1]).T,
    "images are mirrored: left and right are swapped": np.fliplr,
    "images are upside down": np.flipud,
    "images are turned by 90° to the left": lambda image: np.rot90(image, -1),
    "images are turned by 90° to the right": lambda image: np.rot90(image, 1),
    "images are turned by 180°": lambda image: np.rot90(image, 2),
    "pixels are inverted: ink is 0": np.invert,
}
"""What may have been done to an image, and what undoes it."""


def _source_fault(
    trace: Trace, grey: NDArray[np.uint8], digits: Digits, batch: NDArray[np.int32] | None = None
) -> str | None:
    """Whether images come from the test set, or are turned."""
    training = {image.tobytes() for image in digits.x_train}
    missing = [image.reshape(digits.x_train.shape[1:]) for image in grey if image.tobytes() not in training]
    if not missing:
        return None
    test = {image.tobytes() for image in digits.x_test}
    if all(image.tobytes() in test for image in missing):
        return f"{len(missing)} of the {len(grey)} images of the first batch are test images"
    turned = [[fault for fault, undo in _TURNED.items() if undo(image).tobytes() in training] for image in missing]
    some = f" ({len(missing)} of the {len(grey)} of the first batch)" if len(missing) < len(grey) else ""
    for fault in _TURNED:
        if all(fault in faults for faults in turned):
            return fault + some
    if all(turned):
        kinds = dict.fromkeys(faults[0].removeprefix("images are ") for faults in turned)
        return f"some images are {', others '.join(kinds)}, as augmentation has it{some}"
    expected = _expected_images(trace, digits, batch)
    if np.isin(grey, (0, 255)).all():
        return _black_or_white(grey, expected)
    kind = augmentation.of_images(grey / 255, expected, digits.x_train)
    return kind or f"{len(missing)} of the {len(grey)} images of the first batch are not in the data set"


def _black_or_white(grey: NDArray[np.uint8], expected: NDArray[np.float64] | None) -> str:
    """How pixels became black or white."""
    words = "pixels are black or white"
    if expected is None:
        return f"{words}: cut at a threshold, or drawn"
    level, white = expected.reshape(grey.shape), grey == 255
    if not white.any() or white.all() or level[~white].max() < level[white].min():
        return f"{words}: cut at a threshold"
    # Drawn ones are white as often as they are bright: of n pixels, that scatters by √(Σ p(1 − p)).
    scatter = math.sqrt(float((level * (1 - level)).sum()))
    if not white[level == 0].any() and abs(white.sum() - level.sum()) < 5 * scatter:
        return f"{words}: drawn, with the grey level as the probability"
    return f"{words}, by no threshold that is the same for all"


def _order_fault(trace: Trace, digits: Digits) -> str | None:
    """How the batches differ from those the recipe shares, given pixels that are right."""
    recipe, step = trace.recipe, trace.steps[0]
    whole_order = epoch_order(recipe.seed, 0, len(digits.x_train))
    order = whole_order[: recipe.batch_size]
    grey = _as_grey(step.images)
    place = {image.tobytes(): index for index, image in enumerate(digits.x_train)}
    # Of a later step that was fed anything else, `_late_images` speaks.
    known = [[place.get(image.tobytes()) for image in _as_grey(step.images)] for step in trace.steps]
    by_batch = [np.array(indices, np.int64) for indices in known if None not in indices]
    rule = _batches_by_rule(by_batch, whole_order) if len(by_batch) == len(known) else None
    if len(grey) != len(order):
        return f"batches have {len(grey)} images instead of {len(order)}" + (f": {rule}" if rule else "")
    if rule is not None:
        return rule
    if (grey == digits.x_train[order].reshape(grey.shape)).all():
        return _label_fault(trace, whole_order, digits) or _sequence_fault(trace, whole_order, digits)
    if (grey == digits.x_train[: len(grey)].reshape(grey.shape)).all():
        return "the training images are not shuffled" + see("shuffle-default")
    if {image.tobytes() for image in grey} == {image.tobytes() for image in digits.x_train[order]}:
        by_label = (np.diff(step.labels) >= 0).all() and np.ptp(step.labels) > 0
        return "the images of a batch are in another order within it" + ": sorted by their labels" * bool(by_label)
    taken = np.concatenate([np.empty(0, np.int64), *by_batch])
    whole = len(trace.batch_hashes) - 1 >= math.ceil(len(whole_order) / recipe.batch_size)
    if (regular := _regular_order(taken, whole_order, recipe.batch_size, whole=whole)) is not None:
        return regular
    return _other_order(trace, taken, whole_order, digits)


def _label_fault(trace: Trace, order: NDArray[np.int32], digits: Digits) -> str | None:
    """How the labels of images that are right are off, in all steps whose images are those of the recipe."""
    size, classes = trace.recipe.batch_size, trace.recipe.images.num_classes
    given, wanted = [], []
    for index, step in enumerate(trace.steps):
        own = order[index * size : (index + 1) * size]
        if len(own) == len(step.labels) and (_as_grey(step.images) == digits.x_train[own].reshape(len(own), -1)).all():
            given.append(step.labels)
            wanted.append(digits.y_train[own].astype(np.int64))
    wrong = [number for number, (a, b) in enumerate(zip(given, wanted, strict=True)) if (a != b).any()]
    if not wrong:
        return None
    begin = f", from batch {wrong[0] + 1} on" if wrong[0] else ""
    if all(number and np.array_equal(given[number], wanted[number - 1]) for number in range(wrong[0], len(given))):
        return f"images and labels do not belong together: the labels are those of the batch before{begin}"
    # All that comes before is right, and tells nothing of how the others are wrong.
    given, wanted = given[wrong[0] :], wanted[wrong[0] :]
    labels, right = np.concatenate(given), np.concatenate(wanted)
    shift = (labels - right) % classes
    if (shift == shift[0]).all():
        return f"labels are off by {int(shift[0])}{begin}"
    known = _mapped(right, labels) or _apart(wanted, given)
    return (known or _wrong(right, labels, len(given), classes)) + begin


def _mapped(right: NDArray[np.int64], labels: NDArray[np.int64]) -> str | None:
    """Whether each class became one other."""
    pairs = sorted(set(zip(right.tolist(), labels.tolist(), strict=True)))
    if len(pairs) != len({a for a, _ in pairs}):
        return None
    changed = ", ".join(f"{a} becomes {b}" for a, b in pairs if a != b)
    return f"labels are those of other classes: {changed}"


def _apart(wanted: list[NDArray[np.int64]], given: list[NDArray[np.int64]]) -> str | None:
    """Whether the labels of a batch are all there, at other images."""
    apart = "images and labels do not belong together"
    both = list(zip(wanted, given, strict=True))
    if any(all((np.roll(a, back) == b).all() for a, b in both) for back in (1, -1)):
        return f"{apart}: each image has its neighbour's label"
    if all((a[::-1] == b).all() for a, b in both):
        return f"{apart}: the labels of a batch are in reverse order"
    different = np.concatenate([a != b for a, b in both]).mean()
    if all((np.sort(a) == np.sort(b)).all() for a, b in both) and different > 0.5:
        return f"{apart}: they are shuffled apart within a batch"
    return None


def _wrong(right: NDArray[np.int64], labels: NDArray[np.int64], num_batches: int, classes: int) -> str:
    wrong = labels != right
    # Labels drawn by chance are right for one image in as many as there are classes.
    if wrong.mean() > 1 - 3 / classes:
        return "images and labels do not belong together: they are shuffled apart"
    of_classes = set(right[wrong].tolist())
    which = f", all of class {of_classes.pop()}" if len(of_classes) == 1 and wrong.sum() > 3 else ""
    of = f"{int(wrong.sum())} of the {len(labels)} labels of {num_batches} batches"
    return f"{of} are not the data set's{which}: wrong labels"


_SEEDS = (*range(100), 123, 1234, 12345, 1337, 2023, 2024, 2025, 2026, 31337)
"""Seeds that people choose."""


def _batches_by_rule(by_batch: Sequence[NDArray[np.int64]], order: NDArray[np.int32]) -> str | None:
    """How batches are cut from the recipe's order, where each is taken by one rule, and begins so far after the last.

    None where batch follows batch.
    """
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    at = [position[batch] for batch in by_batch]
    within, between = (
        np.unique(np.concatenate([np.diff(batch) for batch in at])),
        np.unique(np.diff([batch[0] for batch in at])),
    )
    if len(within) != 1 or len(between) != 1 or len({len(batch) for batch in at}) > 1:
        return None
    step, forward, taken = int(within[0]), int(between[0]), len(at[0])
    if step > 1 and forward == 1:
        return f"each batch takes every {_ordinal(step)} image of the order, and begins one image after the last batch"
    if step != 1 or forward == taken or forward < 1:
        return None
    if forward < taken:
        again = f"{taken - forward} of its images are those of the batch before"
        return f"batches overlap: each begins {forward} images after the last, so that {again}"
    left_out = f"{forward - taken} images are" if forward - taken > 1 else "one image is"
    return f"between two batches {left_out} left out"


def _regular_order(taken: NDArray[np.int64], order: NDArray[np.int32], size: int, *, whole: bool) -> str | None:
    """A rule by which images of the recipe's order, or of the data set, follow each other.

    `whole` is an epoch of as many batches as the recipe's: what its first images leave out comes later.
    """
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    at = position[taken]
    if (steps := np.diff(at)).size and (steps == steps[0]).all():
        if steps[0] == 1 and at[0]:
            begin = f": the epoch starts with batch {at[0] // size + 1}" if at[0] % size == 0 else ""
            left = "come later" if whole else "are left out"
            return f"the first {at[0]:,} images of the order {left}{begin}"
        if steps[0] == -1:
            return "the images come in the reverse of the recipe's order"
        if steps[0] > 1 and whole:
            return f"every {_ordinal(int(steps[0]))} image of the order is taken, the others later"
        if steps[0] > 1:
            return (
                f"only every {_ordinal(int(steps[0]))} image of the order is taken, as one of {steps[0]} processes does"
            )
    if (steps := np.diff(taken)).size and (steps == steps[0]).all():
        where = (
            f"from image {taken[0]:,} on"
            if steps[0] == 1
            else "in reverse"
            if steps[0] == -1
            else f"every {steps[0]}th"
        )
        not_shuffled = f"the training images are not shuffled{see('shuffle-default')}"
        return f"{not_shuffled}: they are taken in the data set's order, {where}"
    if len(steps) and (steps == 1).mean() > _MOST_FOLLOW:
        follow = "each batch holds images that follow each other in the data set"
        return f"{follow}: its parts are shuffled as wholes, not the images"
    return None


def _other_order(trace: Trace, taken: NDArray[np.int64], order: NDArray[np.int32], digits: Digits) -> str:
    """Which other order the images come in, by where they stand in the data set."""
    count = len(taken)
    own = taken == order[:count]
    if own.mean() > _FEW_OF_ITS_ORDER:
        others = int((~own).sum())
        again = " images of the same batch again," if np.isin(taken[~own], order[:count]).all() else ""
        return f"{others} of the first {count} images are not the recipe's,{again} the others are in its order"
    if (twice := count - len(np.unique(taken))) > 0:
        often = _classes_by_frequency(digits.y_train[taken], digits)
        return f"images are drawn with replacement: {twice} of the first {count} occur twice in an epoch{often}"
    if (other := _order_of_another_seed(trace, taken)) is not None:
        return other
    labels = digits.y_train[taken]
    if (np.diff(labels.astype(int)) >= 0).all():
        return "the training images are sorted by their labels"
    num_batches, expected = len(trace.batch_hashes) - 1, math.ceil(len(order) / trace.recipe.batch_size)
    whole = num_batches >= expected - 1
    if (missing := _without_classes(labels, trace.recipe.images.num_classes, whole=whole)) is not None:
        return missing
    if not whole:
        fewer = f"an epoch has {num_batches:,} batches instead of {expected:,}"
        return f"{fewer}: some are left out, as where images are held back for validation"
    reach = int(taken.max()) + 1
    if reach < len(order) / 2 and (reach / len(order)) ** count < _CHANCE:
        told = f"the first {count} images come from the first {reach:,} of {len(order):,}"
        return f"the images are shuffled within a buffer, or are few: {told}"
    if (
        all(
            (np.bincount(step.labels, minlength=10) == np.bincount(trace.steps[0].labels, minlength=10)).all()
            for step in trace.steps[1:]
        )
        and len(trace.steps) > 3
    ):
        return "each batch holds the same number of images of each class: the sampling is balanced"
    chance = math.exp(-count * (count - 1) / (2 * len(order)))
    if chance > _CHANCE:
        return (
            f"the images are shuffled in another order – or drawn with replacement: of the first {count}, none occurs "
            f"twice, of which chance gives {chance:.0%}"
        )
    return "the images are shuffled in another order"


def _without_classes(labels: NDArray[np.integer], num_classes: int, *, whole: bool) -> str | None:
    """That images of some classes are missing, of so many that it is no chance; `whole` is an epoch of all images."""
    missing = sorted(set(range(num_classes)) - set(labels.tolist()))
    # Of 320 images drawn from ten classes, that one class is missing has a probability of 2e-14.
    if not missing or len(labels) / num_classes <= _ENOUGH_OF_A_CLASS:
        return None
    listed = ", ".join(map(str, missing))
    if not whole:
        return f"images of the classes {listed} are left out"
    # An epoch as long as the recipe's has all of them, or others twice.
    return f"images of the classes {listed} are left out, or come later: none of the first {len(labels)} is of them"


def _classes_by_frequency(labels: NDArray[np.integer], digits: Digits) -> str:
    """How often classes are drawn, where that is not as often as the data set has them."""
    wanted = np.bincount(digits.y_train) * len(labels) / len(digits.y_train)
    counts = np.bincount(labels, minlength=len(wanted))
    seen = wanted > 0
    off = float(((counts - wanted)[seen] ** 2 / wanted[seen]).sum())
    # A χ² of k classes has the mean k − 1 and the variance 2(k − 1); ten deviations are no chance.
    if off < seen.sum() - 1 + 10 * math.sqrt(2 * (seen.sum() - 1)):
        return ""
    said = ", ".join(f"class {label} {counts[label] / wanted[label]:.2g}" for label in np.flatnonzero(seen)[:10])
    return f", and classes not as often as the data set has them, but so many times: {said}"


_MOST_FOLLOW = 0.8
"""Of images of batches of ten or more, nine in ten follow the one before; where all are shuffled, none does."""

_CHANCE = 0.01
_FEW_OF_ITS_ORDER = 0.1
"""Of another order, one image in thousands stands where the recipe has it."""
_ENOUGH_OF_A_CLASS = 15


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return {2: "second", 3: "third"}.get(number, f"{number:,}{ending}")


def _order_of_another_seed(trace: Trace, taken: NDArray[np.int64]) -> str | None:
    """The seed or the epoch whose order it is, by the recipe's generator or NumPy's."""
    recipe = trace.recipe
    size = recipe.images.num_training_images
    for epoch in (1, 2, recipe.epochs - 1, recipe.epochs):
        if epoch > 0 and np.array_equal(epoch_order(recipe.seed, epoch, size)[: len(taken)], taken):
            return f"the images come in the order of epoch {epoch + 1}"
    for seed in _SEEDS[:20]:
        if seed != recipe.seed and np.array_equal(epoch_order(seed, 0, size)[: len(taken)], taken):
            return f"the images are shuffled by another seed: {seed} instead of {recipe.seed}"
    return None


def _sequence_fault(trace: Trace, order: NDArray[np.int32], digits: Digits) -> str | None:
    """How the sequence of batches is off when the first batch is right."""
    hashes, size = trace.batch_hashes[:-1], trace.recipe.batch_size
    if (late := _late_images(trace, order, digits)) is not None:
        return late
    expected = math.ceil(len(order) / size)
    remainder = len(order) % size
    if len(hashes) == 2 * expected or any(a == b for a, b in pairwise(hashes)):
        return "batches are fed twice"
    if len(hashes) < expected:
        return _too_few(trace, order, digits)
    if len(hashes) > expected:
        return f"an epoch has {len(hashes) - expected} batches too many"
    if remainder and hashes[-1] == _hash_of(np.append(order[-remainder:], order[: size - remainder]), trace, digits):
        return "the last batch is filled up with images fed before"
    if trace.batch_hashes[-1] == hashes[0]:
        return "every epoch visits the images in the same order"
    return None


def _too_few(trace: Trace, order: NDArray[np.int32], digits: Digits) -> str:
    """Which batches of an epoch are missing, whose images come in the recipe's order."""
    hashes, size = trace.batch_hashes[:-1], trace.recipe.batch_size
    dropped, remainder = math.ceil(len(order) / size) - len(hashes), len(order) % size

    def is_own(number: int) -> bool:
        """Whether batch `number`, from 0, is the recipe's."""
        return bool(hashes[number] == _hash_of(order[number * size : (number + 1) * size], trace, digits))

    several = "one batch is" if dropped == 1 else f"{dropped} batches are"
    if is_own(len(hashes) - 1):
        if dropped == 1 and remainder:
            return f"the last batch is dropped: it is smaller, {remainder} images"
        return f"the last {'batch is' if dropped == 1 else f'{dropped} batches are'} dropped"
    first = bisect_left(range(len(hashes)), True, key=lambda number: not is_own(number))
    begin = (first + dropped) * size
    if hashes[first] == _hash_of(order[begin : begin + size], trace, digits):
        return f"{several} left out of an epoch, from batch {first + 1} on"
    return f"an epoch has {dropped} batches too few, and from batch {first + 1} on others than the recipe's"


def _late_fault(first: Trace, second: Trace) -> str | None:
    """That only the second epoch is other."""
    (*one, last), (*other, other_last) = first.batch_hashes, second.batch_hashes
    if one != other or last == other_last:
        return None
    return FROM_EPOCH_2


def _late_images(trace: Trace, order: NDArray[np.int32], digits: Digits) -> str | None:
    """What becomes of the images after some batches that are right."""
    size, steps = trace.recipe.batch_size, trace.steps
    own = [
        digits.x_train[order[n * size : (n + 1) * size]].reshape(-1, steps[0].images.shape[1])
        for n in range(len(steps))
    ]
    right = [np.array_equal(_as_grey(step.images), images) for step, images in zip(steps, own, strict=True)]
    if all(right) or np.array_equal(steps[min(1, len(steps) - 1)].images, steps[0].images):
        return None
    first = right.index(False)
    step = steps[first]
    wrong = [number + 1 for number, one in enumerate(right) if not one]
    begin = f"in batch {first + 1}" if len(wrong) == 1 else f"in the batches {', '.join(map(str, wrong))}"
    begin = begin if any(right[first:]) else f"from batch {first + 1} on"
    if (resized := _of_another_size(step.images, own[first])) is not None:
        return f"{resized} {begin}"
    images = _as_grey(step.images)
    if np.array_equal(images, own[first - 1]):
        if np.array_equal(step.labels, digits.y_train[order[first * size : (first + 1) * size]]):
            return f"the images of a batch are those of the batch before, with its own labels, {begin}"
        return f"a batch is fed again, {begin}"
    shape = trace.recipe.images.image_shape
    for words, axes in (("upside down", 1), ("mirrored", 2), ("upside down and mirrored", (1, 2))):
        turned = np.flip(own[first].reshape(-1, *shape), axes).reshape(own[first].shape)
        if np.array_equal(images, turned):
            return f"the images are {words} {begin}"
    training = {image.tobytes() for image in digits.x_train}
    if not all(image.tobytes() in training for image in images):
        return f"images become others {begin}, as augmentation that begins there has it"
    if len(images) > 1 and (images == images[0]).all():
        return f"one image fills the batch, {len(images)} times the same, {begin}"
    others = int((images != own[first]).any(axis=1).sum())
    if others <= len(own[first]) // 2:
        return f"{others} of the {len(own[first])} images of a batch are other ones of the training set {begin}"
    return f"the images come in another order {begin}"


def _of_another_size(images: NDArray[np.floating], own: NDArray[np.generic]) -> str | None:
    """How a batch has fewer or more images than it should; None where it has as many."""
    if len(images) == len(own):
        return None
    if len(images) < len(own) and np.array_equal(_as_grey(images), own[: len(images)]):
        return f"only the first {len(images)} of the {len(own)} images of a batch are fed"
    return f"{len(images)} images are fed instead of the {len(own)} of a batch"


def _hash_of(indices: NDArray[np.int32], trace: Trace, digits: Digits) -> str:
    """The hash of the batch of these training images, fed as the recipe says."""
    real = np.dtype(trace.recipe.dtype).type
    images = digits.x_train[indices].reshape(len(indices), -1).astype(real) / real(255)
    return hash_batch(images, digits.y_train[indices].astype(np.int64))
