"""A trace: the first optimizer steps of a run, each number of them. `docs/run-record.md` specifies it."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe.errors import RecordError
from recipe.initial_weights import Weights, weight_shapes
from recipe.recipe import Recipe
from record.files import Fields, Shape, new_record, read_tensors
from record.header import Header, read_header, write_header
from record.tensors import write_tensors

NUM_TRACED_STEPS = 10

_BY_LAYER = ("preactivations", "activations")
_BY_PARAMETER = ("gradients", "parameters", "first_moments", "second_moments")

FedImages = NDArray[np.floating]
Labels = NDArray[np.int64]
FedBatch = tuple[FedImages, Labels]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimizer step: what leads to it, and parameters and Adam's moments after it.

    `images` are as fed, shape (batch, pixels). `preactivations` and `activations` are by layer, shape
    (batch, units), of a convolution (batch, rows, columns, filters) before the pooling; the output
    layer's are the logits and the probabilities. `dropped` holds, for every hidden dense layer, the
    activations that the dropout passes on; it is empty where the recipe drops none.
    """

    images: FedImages
    labels: Labels
    preactivations: Weights
    activations: Weights
    loss: float
    gradients: Weights
    parameters: Weights
    first_moments: Weights
    second_moments: Weights
    dropped: Weights = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trace(Header):
    """The first steps of a run.

    `batch_hashes` holds what `hash_batch` says of each batch of the first epoch and of the first
    batch of the second.
    """

    batch_hashes: list[str]
    initial_weights: Weights
    steps: list[Step]

    def weights_before(self, index: int) -> Weights:
        """The parameters before step `index`, from 0."""
        return self.steps[index - 1].parameters if index else self.initial_weights

    @property
    def diverged_at_step(self) -> int | None:
        """The first step, from 1, whose loss or parameters are not finite; None if all are."""
        for number, step in enumerate(self.steps, 1):
            if not all(np.isfinite(array).all() for array in (np.array(step.loss), *step.parameters.values())):
                return number
        return None


def num_traced_steps(recipe: Recipe) -> int:
    """How many steps a trace has: ten, or an epoch if that has fewer."""
    return min(NUM_TRACED_STEPS, math.ceil(recipe.images.num_training_images / recipe.batch_size))


def hash_batch(images: FedImages, labels: Labels) -> str:
    """SHA-256 of a batch: the images' bytes as they are fed, then the labels' as int64, little-endian."""
    digest = hashlib.sha256(images.astype(images.dtype.newbyteorder("<"), copy=False).tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def hash_batches(batches: Iterable[FedBatch], *, keep: int) -> tuple[list[str], list[FedBatch]]:
    """The hash of every batch, and copies of the first `keep` batches."""
    hashes: list[str] = []
    kept: list[FedBatch] = []
    for images, labels in batches:
        hashes.append(hash_batch(images, labels))
        if len(kept) < keep:
            kept.append((np.array(images), np.array(labels, np.int64)))
    return hashes, kept


def write_trace(directory: Path, trace: Trace) -> None:
    """Writes the record of a trace.

    Raises:
        RecordError: It cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {f"initial_weights/{k}": v for k, v in trace.initial_weights.items()}
    for number, step in enumerate(trace.steps, 1):
        tensors[f"step_{number}/images"] = step.images
        tensors[f"step_{number}/labels"] = step.labels
        tensors[f"step_{number}/loss"] = np.asarray(step.loss, trace.recipe.dtype)
        for group in (*_BY_LAYER, "dropped", *_BY_PARAMETER):
            tensors |= {f"step_{number}/{group}/{name}": array for name, array in getattr(step, group).items()}
    with new_record(directory) as partial:
        write_header(partial, trace, "trace", {"batch_hashes": trace.batch_hashes})
        write_tensors(partial / "trace.safetensors", tensors)


def read_trace(directory: Path) -> Trace:
    """Reads the record of a trace and checks all of it.

    A trace may hold infinities and NaNs: the ladder says where they enter.

    Raises:
        RecordError: A file is missing, damaged, of another version, or lacks or misstates a key.
    """
    header, fields = read_header(directory, "trace")
    recipe: Recipe = header["recipe"]
    hashes = _read_hashes(fields)
    shapes = _shapes(recipe)
    tensors = read_tensors(directory, "trace.safetensors", shapes, recipe.dtype, finite=False)
    _check_batches(directory, {key: len(tensors[key]) for key, shape in shapes.items() if shape[:1] == (None,)})

    def group(prefix: str) -> Weights:
        return {key.removeprefix(prefix): array for key, array in tensors.items() if key.startswith(prefix)}

    steps = []
    for number in range(1, num_traced_steps(recipe) + 1):
        prefix = f"step_{number}/"
        labels = tensors[f"{prefix}labels"]
        if not ((labels >= 0) & (labels < recipe.images.num_classes)).all():
            path = directory / "trace.safetensors"
            raise RecordError(f"{path}: {prefix}labels: expected classes from 0 to {recipe.images.num_classes - 1}")
        steps.append(
            Step(
                images=tensors[f"{prefix}images"],
                labels=labels,
                loss=float(tensors[f"{prefix}loss"]),
                **{name: group(f"{prefix}{name}/") for name in (*_BY_LAYER, "dropped", *_BY_PARAMETER)},
            )
        )
    return Trace(**header, batch_hashes=hashes, initial_weights=group("initial_weights/"), steps=steps)


def _read_hashes(fields: Fields) -> list[str]:
    hashes = fields.get("batch_hashes")
    if not isinstance(hashes, list) or not all(isinstance(entry, str) for entry in hashes):
        raise fields.error("batch_hashes", "a list of texts", hashes)
    if len(hashes) < 2:  # noqa: PLR2004 - at least one batch of each epoch
        raise fields.error("batch_hashes", "the first epoch's and the second's first", f"{len(hashes)} entries")
    return hashes


def _check_batches(directory: Path, lengths: dict[str, int]) -> None:
    """All tensors of a step are of the same images."""
    for key, length in lengths.items():
        images = lengths[f"{key.partition('/')[0]}/images"]
        if length != images or not images:
            path = directory / "trace.safetensors"
            raise RecordError(
                f"{path}: {key}: expected an entry for each of the step's {images} images, found {length}"
            )


def _shapes(recipe: Recipe) -> dict[str, Shape]:
    """The tensors of trace.safetensors and their shapes; how long a batch is, the ladder judges."""
    parameters = weight_shapes(recipe)
    units = {name: parameters[f"{name}.bias"] for name in recipe.layer_names}
    for name, feature_map in zip(recipe.convolution_names, recipe.feature_map_shapes, strict=False):
        units[name] = (*feature_map, *units[name])
    shapes: dict[str, Shape] = {f"initial_weights/{name}": shape for name, shape in parameters.items()}
    for number in range(1, num_traced_steps(recipe) + 1):
        shapes[f"step_{number}/images"] = (None, recipe.images.num_pixels)
        shapes[f"step_{number}/labels"] = (None,)
        shapes[f"step_{number}/loss"] = ()
        for group in _BY_LAYER:
            shapes |= {f"step_{number}/{group}/{name}": (None, *units[name]) for name in recipe.layer_names}
        if recipe.dropout:
            shapes |= {f"step_{number}/dropped/{name}": (None, *units[name]) for name in recipe.hidden_names}
        for group in _BY_PARAMETER:
            shapes |= {f"step_{number}/{group}/{name}": shape for name, shape in parameters.items()}
    return shapes
