"""The catalogue of signatures for what a run is given: settings, batches, initial weights."""

import math
from collections.abc import Callable
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from compare.causes.convolution import FLATTENED, OTHER_KERNELS
from compare.causes.signatures import UNKNOWN, ratio, rounded, times
from compare.oracle.convolution import is_convolution
from recipe import Recipe, datasets
from recipe.batch_order import epoch_order
from recipe.initial_weights import initial_weights
from recipe.mnist import Digits
from record.first_steps import Trace, hash_batch

Names = tuple[str, str]

_LINEAR = 1e-3
"""Pixels within this share of their span of a linear map went through it: a quarter of a grey level."""

OTHER_IMAGES = "the batch has other images of the data set"

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
        return UNKNOWN
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
    if (fault := _pixel_fault(trace, digits)) is not None:
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


def _pixel_fault(trace: Trace, digits: Digits) -> str | None:
    """What was done to the pixels, if anything but x / 255."""
    images = trace.steps[0].images
    scaled = _as_grey(images).astype(images.dtype) / images.dtype.type(255)
    if (images == scaled).all():
        return _source_fault(_as_grey(images), digits)
    if np.abs(images - scaled).max() <= 2 * np.finfo(images.dtype).eps:
        return (
            "pixels are multiplied by the rounded number 1/255 (as Keras's Rescaling and torchvision's v2.ToDtype do) "
            "instead of divided by 255"
        )
    for dtype in ("float32", "float16", "bfloat16"):
        if (images == rounded(scaled.astype(np.float64), dtype)).all():
            return f"pixels are rounded to {dtype}"
    exact = images.astype(np.float64)
    fault = _fitted_fault(trace.recipe, exact, digits) or _linear_fault(exact, digits)
    return fault or "pixels are not those of the data set divided by 255"


def _fitted_fault(recipe: Recipe, images: NDArray[np.float64], digits: Digits) -> str | None:
    """Which linear map the pixels went through, if the images are those that the recipe asks for."""
    order = epoch_order(recipe.seed, 0, len(digits.x_train))[: len(images)]
    grey = digits.x_train[order].reshape(len(order), -1) / 255
    if grey.shape != images.shape or np.ptp(grey) == 0:
        return None
    slope, offset = map(float, np.polyfit(grey.ravel(), images.ravel(), 1))
    fits = slope > 0 and np.abs(offset + slope * grey - images).max() <= _LINEAR * slope
    return _linear_map(slope, offset) if fits else None


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
    if abs(offset) < 1e-4:  # noqa: PLR2004 - an offset put there is far larger, one from rounding far smaller
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
    "pixels are inverted: ink is 0": np.invert,
}
"""What may have been done to an image, and what undoes it."""


def _source_fault(grey: NDArray[np.uint8], digits: Digits) -> str | None:
    """Whether images come from the test set, or are turned."""
    training = {image.tobytes() for image in digits.x_train}
    missing = [image.reshape(digits.x_train.shape[1:]) for image in grey if image.tobytes() not in training]
    if not missing:
        return None
    test = {image.tobytes() for image in digits.x_test}
    if all(image.tobytes() in test for image in missing):
        return f"{len(missing)} of the {len(grey)} images of the first batch are test images"
    for fault, undo in _TURNED.items():
        if all(undo(image).tobytes() in training for image in missing):
            some = f" ({len(missing)} of the {len(grey)} of the first batch)" if len(missing) < len(grey) else ""
            return fault + some
    if np.isin(grey, (0, 255)).all():
        return "pixels are black or white: cut at a threshold"
    return f"{len(missing)} of the {len(grey)} images of the first batch are not in the data set"


def _order_fault(trace: Trace, digits: Digits) -> str | None:
    """How the batches differ from those the recipe shares, given pixels that are right."""
    recipe, step = trace.recipe, trace.steps[0]
    whole_order = epoch_order(recipe.seed, 0, len(digits.x_train))
    order = whole_order[: recipe.batch_size]
    grey = _as_grey(step.images)
    if len(grey) != len(order):
        return f"batches have {len(grey)} images instead of {len(order)}"
    if (grey == digits.x_train[order].reshape(grey.shape)).all():
        labels = digits.y_train[order]
        shift = (step.labels - labels) % recipe.images.num_classes
        if not shift.any():
            return _sequence_fault(trace, whole_order, digits)
        if (shift == shift[0]).all():
            return f"labels are off by {int(shift[0])}"
        return "images and labels do not belong together: they are shuffled apart"
    if (grey == digits.x_train[: len(grey)].reshape(grey.shape)).all():
        return "the training images are not shuffled"
    if {image.tobytes() for image in grey} == {image.tobytes() for image in digits.x_train[order]}:
        return "the images of a batch are in another order within it"
    num_batches, expected = len(trace.batch_hashes) - 1, math.ceil(len(whole_order) / recipe.batch_size)
    if num_batches < expected - 1:
        return f"an epoch has {num_batches:,} batches instead of {expected:,}: images are held back for validation"
    return "the images are shuffled in another order"


def _sequence_fault(trace: Trace, order: NDArray[np.int32], digits: Digits) -> str | None:
    """How the sequence of batches is off when the first batch is right."""
    hashes, size = trace.batch_hashes[:-1], trace.recipe.batch_size
    expected = math.ceil(len(order) / size)
    remainder = len(order) % size
    if len(hashes) == 2 * expected or any(a == b for a, b in pairwise(hashes)):
        return "batches are fed twice"
    if len(hashes) < expected:
        if len(hashes) == expected - 1 and remainder:
            return f"the last batch is dropped: it is smaller, {remainder} images"
        dropped = expected - len(hashes)
        return f"the last {'batch is' if dropped == 1 else f'{dropped} batches are'} dropped"
    if len(hashes) > expected:
        return f"an epoch has {len(hashes) - expected} batches too many"
    if remainder and hashes[-1] == _hash_of(np.append(order[-remainder:], order[: size - remainder]), trace, digits):
        return "the last batch is filled up with images fed before"
    if trace.batch_hashes[-1] == hashes[0]:
        return "every epoch visits the images in the same order"
    return None


def _hash_of(indices: NDArray[np.int32], trace: Trace, digits: Digits) -> str:
    """The hash of the batch of these training images, fed as the recipe says."""
    real = np.dtype(trace.recipe.dtype).type
    images = digits.x_train[indices].reshape(len(indices), -1).astype(real) / real(255)
    return hash_batch(images, digits.y_train[indices].astype(np.int64))


# --- initial weights -------------------------------------------------------------------------------


def of_initial_weights(first: Trace, second: Trace, names: Names, parameter: str) -> str:
    """Why `parameter`, the first that differs, is not the same on both sides."""
    if first.recipe.initial_weights == "framework":
        return (
            "each framework draws its own (recipe.initial_weights is framework): Keras's kernels are Glorot "
            "uniform, U(±√(6/(in + out))), with zero biases, torch's kernels and biases are U(±1/√in)"
        )
    expected = initial_weights(first.recipe)[parameter]
    for name, trace in zip(names, (first, second), strict=True):
        recorded = trace.initial_weights[parameter]
        if (recorded != expected).any():
            exact, wanted = recorded.astype(np.float64), expected.astype(np.float64)
            fault = _layout_fault(first.recipe, parameter, exact, wanted)
            return f"{name}: {fault or _weights_fault(parameter, exact, expected)}"
    return UNKNOWN


def _layout_fault(
    recipe: Recipe, parameter: str, recorded: NDArray[np.float64], expected: NDArray[np.float64]
) -> str | None:
    """How a kernel near convolutions was laid out otherwise."""
    if is_convolution(expected):
        for cause, change in OTHER_KERNELS.items():
            changed = change(expected)
            if changed.shape == expected.shape and (recorded == changed).all():
                return f"{parameter}: {cause}"
    elif recipe.network == "cnn" and parameter == f"{recipe.layer_names[len(recipe.filters)]}.kernel":
        maps = expected.reshape(*recipe.feature_map_shapes[-1], recipe.filters[-1], -1)
        torchs = np.moveaxis(maps, 2, 0)
        back = np.moveaxis(expected.reshape(torchs.shape), 0, 2)
        if any((recorded == changed.reshape(expected.shape)).all() for changed in (torchs, back)):
            return f"{parameter}: {FLATTENED}"
    return None


def _weights_fault(parameter: str, recorded: NDArray[np.float64], expected: NDArray[np.floating]) -> str:
    if not expected.any():
        return f"{parameter} does not start at zero"
    if recorded.ndim == 2 and recorded.shape[0] == recorded.shape[1] and (recorded == expected.T).all():  # noqa: PLR2004
        return f"{parameter} is transposed: it is square, so the shapes still fit"
    if any((recorded == reshaped).all() for reshaped in _reshaped(expected)):
        return f"{parameter} is reshaped where it should be transposed"
    if np.abs(recorded - expected).max() <= np.finfo(expected.dtype).eps * np.abs(expected).max():
        return f"{parameter} is off by rounding: one unit in the last place"
    for dtype in ("float16", "bfloat16"):
        if (recorded == rounded(expected.astype(np.float64), dtype)).all():
            return f"{parameter} is rounded to {dtype}"
    factor = ratio(recorded, expected.astype(np.float64))
    if np.allclose(recorded, factor * expected, rtol=1e-4, atol=0):
        inputs, units = _fans(recorded.shape)
        glorot = math.sqrt(6 / (inputs + units))
        named = [
            name for name, limit in _limits(inputs, units).items() if math.isclose(factor * glorot, limit, rel_tol=1e-4)
        ]
        limits = f"those of {named[0]}" if named else f"{factor:.5g} times those of the recipe"
        return f"{parameter} has other limits: {limits}"
    return _distribution_fault(parameter, recorded)


def _reshaped(kernel: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """A kernel reshaped on its way into torch's layout, and on its way out."""
    return kernel.reshape(kernel.T.shape).T, kernel.T.reshape(kernel.shape)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs and units a kernel's initialiser counts: of a convolution at every place of the kernel."""
    places = prod(shape[:-2])
    return places * shape[-2], places * shape[-1]


def _limits(inputs: int, units: int) -> dict[str, float]:
    """The limits of uniform initialisers."""
    return {
        "Glorot uniform": math.sqrt(6 / (inputs + units)),
        "torch's default U(±1/√in)": 1 / math.sqrt(inputs),
        "He uniform": math.sqrt(6 / inputs),
        "LeCun uniform": math.sqrt(3 / inputs),
        "Keras's RandomUniform": 0.05,
    }


def _deviations(inputs: int, units: int) -> dict[str, float]:
    """The standard deviations of normal initialisers."""
    return {
        "Glorot normal": math.sqrt(2 / (inputs + units)),
        "He normal": math.sqrt(2 / inputs),
        "LeCun normal": math.sqrt(1 / inputs),
        "Keras's RandomNormal": 0.05,
        "a standard normal": 1.0,
    }


def _distribution_fault(parameter: str, recorded: NDArray[np.float64]) -> str:
    """Which initialiser other numbers come from, by their largest magnitude or their spread."""
    if not recorded.any():
        return f"{parameter} is all zeros"
    largest, deviation = np.abs(recorded).max(), float(recorded.std())
    named: list[str] = []
    # A uniform distribution reaches √3 standard deviations, a truncated normal more than two.
    if largest < 2 * deviation:
        # The largest of n uniform numbers falls short of its limit by about 1/n; 1% is ample for n > 1000.
        named = [
            name
            for name, limit in _limits(*_fans(recorded.shape)).items()
            if 0.99 * limit < largest <= limit * (1 + 1e-6)
        ]
    else:
        # The estimate scatters by 1/√(2n); four times that is ample.
        tolerance = 4 / math.sqrt(2 * recorded.size)
        named = [
            name
            for name, value in _deviations(*_fans(recorded.shape)).items()
            if math.isclose(deviation, value, rel_tol=tolerance)
        ]
    if not named:
        return f"{parameter} holds other numbers, up to {largest:.4g}, from no initialiser in the catalogue"
    same = ", so only the seed or the generator differs" if named[0] == "Glorot uniform" else ""
    return f"{parameter} holds other numbers, distributed as {named[0]}{same}"
