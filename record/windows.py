"""Windows: single steps of the judged training itself, what each was fed, and the state at every epoch's border.

A trace shows the first steps of another run. Windows show the training that is judged, from its first step to its
last. `docs/run-record.md` specifies their files.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recipe.errors import RecordError
from recipe.initial_weights import Weights, weight_shapes
from recipe.recipe import Recipe
from record.files import Fields, Shape, read_tensors
from record.tensors import write_tensors

MAX_BYTES = 100_000_000
"""The tensors of a training's windows take no more than this, whatever its recipe."""

NUM_PLACE_WEIGHTS = 7
"""The image at place i of a batch counts 1 + i mod 7 in the sum of its classes, which so stays exact in float32."""

STATE = ("parameters", "first_moments", "second_moments")


class State(NamedTuple):
    """The parameters and both of Adam's moments, by canonical name."""

    parameters: Weights
    first_moments: Weights
    second_moments: Weights


@dataclass(frozen=True)
class WindowStep:
    """One step: its number, from 1 over the whole training; images (batch, pixels) and classes int64, as fed."""

    number: int
    images: NDArray[np.floating]
    labels: NDArray[np.int64]
    gradients: Weights
    after: State


@dataclass(frozen=True)
class Window:
    """Steps that follow each other within an epoch, and the state before the first of them."""

    before: State
    steps: tuple[WindowStep, ...]

    @property
    def first(self) -> int:
        """The number of its first step."""
        return self.steps[0].number

    def state_before(self, index: int) -> State:
        """The state before step `index` of the window, from 0."""
        return self.steps[index - 1].after if index else self.before


@dataclass(frozen=True)
class Fed:
    """What every step was fed, as two sums of a batch, shape (steps,), in the recipe's dtype.

    `pixel_sums` are over all pixels of the batch's images; `class_sums` over its classes, the image at place i of the
    batch, from 0, counting 1 + i mod 7.
    """

    pixel_sums: NDArray[np.floating]
    class_sums: NDArray[np.floating]


@dataclass(frozen=True)
class EpochStates:
    """SHA-256 of parameters and moments: right before an epoch's first step and right after its last, epoch by epoch.

    Validation and whatever else happens between two epochs lies between an end and the next begin.
    """

    weights_at_begin: list[str] = field(default_factory=list)
    weights_at_end: list[str] = field(default_factory=list)
    moments_at_begin: list[str] = field(default_factory=list)
    moments_at_end: list[str] = field(default_factory=list)


def num_steps_per_epoch(recipe: Recipe) -> int:
    """Optimizer steps in an epoch; the last may have fewer images."""
    return -(-recipe.images.num_training_images // recipe.batch_size)


def window_places(recipe: Recipe) -> list[range]:
    """The steps, from 1, that are windows of a recipe: each range lies within an epoch.

    Steps 1 and 2; the last two; the last two of epoch 1 and the first two of epoch 2; two each from four and from seven
    ninths of the training on. Those that would take more than `MAX_BYTES` are left out, the last of these first. A
    perturbed training has none: it is a control, of which the losses count.
    """
    if recipe.perturbation:
        return []
    per_epoch = num_steps_per_epoch(recipe)
    last = per_epoch * recipe.epochs
    kept: list[range] = []
    for wanted in (
        (1, 2),
        (last - 1, last),
        (per_epoch - 1, per_epoch, per_epoch + 1, per_epoch + 2),
        (last * 4 // 9, last * 4 // 9 + 1),
        (last * 7 // 9, last * 7 // 9 + 1),
    ):
        numbers = {number for place in kept for number in place} | {n for n in wanted if 1 <= n <= last}
        places = _ranges(sorted(numbers), per_epoch)
        if _num_bytes(places, recipe) <= MAX_BYTES:
            kept = places
    return kept


def _ranges(numbers: Sequence[int], per_epoch: int) -> list[range]:
    """Runs of numbers that follow each other within an epoch."""
    begins = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1 or a % per_epoch == 0)]
    return [range(begin, max(n for n in numbers if n < end) + 1) for begin, end in pairwise([*begins, numbers[-1] + 1])]


def _num_bytes(places: Sequence[range], recipe: Recipe) -> int:
    """How much the tensors of these steps take, at most."""
    size = sum(int(np.prod(shape)) for shape in weight_shapes(recipe).values())
    steps = sum(map(len, places))
    images = recipe.batch_size * recipe.images.num_pixels
    numbers = len(places) * len(STATE) * size + steps * ((len(STATE) + 1) * size + images)
    return numbers * np.dtype(recipe.dtype).itemsize + 8 * steps * recipe.batch_size


def place_weights(num_images: int) -> NDArray[np.int64]:
    """What each place of a batch counts in the sum of its classes, shape (images,)."""
    return 1 + np.arange(num_images) % NUM_PLACE_WEIGHTS


class Keeper:
    """Collects the windows of a training while it runs, and the hashes at the epochs' borders.

    It keeps what it is given: arrays that later steps change must be handed over as copies.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.places = window_places(recipe)
        self.begins = {place.start for place in self.places}
        self.numbers = {number for place in self.places for number in place}
        self.epochs = EpochStates()
        self._before: dict[int, State] = {}
        self._steps: dict[int, WindowStep] = {}

    def before(self, number: int, state: State) -> None:
        """Keeps the state before step `number`, which a window begins with."""
        self._before[number] = state

    def after(self, step: WindowStep) -> None:
        """Keeps a step of a window."""
        self._steps[step.number] = step

    def epoch_begins(self, state: State) -> None:
        """Notes the state right before the first step of an epoch."""
        self.epochs.weights_at_begin.append(hash_arrays(state.parameters))
        self.epochs.moments_at_begin.append(hash_arrays(state.first_moments, state.second_moments))

    def epoch_ends(self, state: State) -> None:
        """Notes the state right after the last step of an epoch."""
        self.epochs.weights_at_end.append(hash_arrays(state.parameters))
        self.epochs.moments_at_end.append(hash_arrays(state.first_moments, state.second_moments))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that the training reached the end of."""
        return tuple(
            Window(self._before[place.start], tuple(self._steps[number] for number in place))
            for place in self.places
            if place.start in self._before and all(number in self._steps for number in place)
        )


def hash_arrays(*groups: Weights) -> str:
    """SHA-256 of arrays: of each group in the order of the parameters, its bytes in C order, little-endian."""
    digest = hashlib.sha256()
    for group in groups:
        for array in group.values():
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def write_windows(directory: Path, windows: Sequence[Window]) -> None:
    """Writes `windows.safetensors`.

    Raises:
        RecordError: It cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for window in windows:
        tensors |= _named(f"before_{window.first}", window.before)
        for step in window.steps:
            prefix = f"step_{step.number}"
            tensors |= {f"{prefix}/images": step.images, f"{prefix}/labels": step.labels}
            tensors |= {f"{prefix}/gradients/{name}": array for name, array in step.gradients.items()}
            tensors |= _named(prefix, step.after)
    write_tensors(directory / "windows.safetensors", tensors)


def _named(prefix: str, state: State) -> dict[str, NDArray[Any]]:
    groups = zip(STATE, state, strict=True)
    return {f"{prefix}/{kind}/{name}": array for kind, group in groups for name, array in group.items()}


def read_windows(directory: Path, recipe: Recipe, fields: Fields, *, finite: bool) -> tuple[Window, ...]:
    """Reads the windows that `record.json` lists under `windows`; none where it lists none.

    Raises:
        RecordError: The file is missing or damaged, or does not hold the steps listed.
    """
    places = _read_places(recipe, fields)
    if not places:
        return ()
    shapes = _shapes(recipe, places)
    tensors = read_tensors(directory, "windows.safetensors", shapes, recipe.dtype, finite=finite)

    def group(prefix: str) -> Weights:
        return {name: tensors[f"{prefix}/{name}"] for name in weight_shapes(recipe)}

    def state(prefix: str) -> State:
        return State(*(group(f"{prefix}/{kind}") for kind in STATE))

    def step(number: int) -> WindowStep:
        prefix = f"step_{number}"
        images, labels = tensors[f"{prefix}/images"], tensors[f"{prefix}/labels"]
        _check_batch(directory, prefix, images, labels, recipe.images.num_classes)
        return WindowStep(number, images, labels, group(f"{prefix}/gradients"), state(prefix))

    return tuple(Window(state(f"before_{place.start}"), tuple(map(step, place))) for place in places)


def _read_places(recipe: Recipe, fields: Fields) -> list[range]:
    """What `record.json` lists: pairs of a window's first and last step."""
    listed = fields.content.get("windows", [])
    pairs = listed if isinstance(listed, list) else [listed]
    last = num_steps_per_epoch(recipe) * recipe.epochs
    expected = f"pairs of a window's first and last step, from 1 to {last:,}, each after the one before"
    whole = all(
        isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair)  # noqa: PLR2004
        for pair in pairs
    )
    numbers = [number for pair in pairs for number in pair] if whole else []
    ordered = all(a <= b if index % 2 == 0 else a < b for index, (a, b) in enumerate(pairwise(numbers)))
    # A port that takes steps too many may have its last window behind the recipe's last step.
    if not whole or not ordered or any(number < 1 for number in numbers):
        raise fields.error("windows", expected, listed)
    return [range(first, final + 1) for first, final in zip(numbers[::2], numbers[1::2], strict=True)]


def _shapes(recipe: Recipe, places: Iterable[range]) -> dict[str, Shape]:
    parameters = weight_shapes(recipe)
    shapes: dict[str, Shape] = {}
    for place in places:
        shapes |= _by_kind(f"before_{place.start}", STATE, parameters)
        for number in place:
            prefix = f"step_{number}"
            shapes |= {f"{prefix}/images": (None, recipe.images.num_pixels), f"{prefix}/labels": (None,)}
            shapes |= _by_kind(prefix, ("gradients", *STATE), parameters)
    return shapes


def _by_kind(prefix: str, kinds: Iterable[str], parameters: dict[str, Any]) -> dict[str, Shape]:
    return {f"{prefix}/{kind}/{name}": shape for kind in kinds for name, shape in parameters.items()}


def _check_batch(
    directory: Path, prefix: str, images: NDArray[Any], labels: NDArray[np.int64], num_classes: int
) -> None:
    path = directory / "windows.safetensors"
    if len(images) != len(labels) or not len(images):
        raise RecordError(
            f"{path}: {prefix}/labels: expected one for each of {len(images)} images, found {len(labels)}"
        )
    if not ((labels >= 0) & (labels < num_classes)).all():
        raise RecordError(f"{path}: {prefix}/labels: expected classes from 0 to {num_classes - 1}")


def read_epoch_states(fields: Fields) -> EpochStates | None:
    """The hashes at the epochs' borders; None where the record has none.

    Raises:
        RecordError: They are not lists of texts of one length.
    """
    if "epoch_states" not in fields.content:
        return None
    lists = fields.mapping("epoch_states")
    names = tuple(EpochStates.__dataclass_fields__)
    texts = all(isinstance(lists.get(name), list) and all(type(t) is str for t in lists[name]) for name in names)
    if not texts or len({len(lists[name]) for name in names}) > 1:
        raise fields.error("epoch_states", f"lists of texts of one length: {', '.join(names)}", lists)
    return EpochStates(**{name: lists[name] for name in names})
