"""What the page of a comparison shows of the test images: where they disagree, the confusion, the networks."""

import base64
import io
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.report.pages.plots import COLORS
from compare.report.words import display_name
from recipe import datasets, mnist
from recipe.images import Summary
from record.training import RunRecord

_MAX_DISPUTED = 60
_MAX_NETWORK_BYTES = 4_300_000
"""Of all weights together, as base64 of float32: with them the page stays under 5 MB."""

_MAX_CLASSES_SHOWN = 20
"""Of more, the page shows the pairs most often confused instead of a table, and no bar for each."""

_IMAGE_PIXELS = 84
"""Of the longer side of a test image, on the page."""


def digits_part(finished: Mapping[str, RunRecord], thing: str) -> dict[str, Any]:
    """What the template takes of the test images.

    Args:
        finished: The records of the trainings, by implementation.
        thing: What an image shows: "digit", or "image".
    """
    recipe = next(iter(finished.values())).recipe
    digits, num_classes = datasets.load(recipe), recipe.images.num_classes
    probabilities = {name: record.test.predictions for name, record in finished.items() if record.test}
    predicted = {name: of_side.argmax(axis=1) for name, of_side in probabilities.items()}
    disputed = np.flatnonzero(np.ptp(np.stack(list(predicted.values())), axis=0))
    # First those of which the sides are surest, each in its own way.
    certainty = np.min([of_side[disputed].max(axis=1) for of_side in probabilities.values()], axis=0)
    order = disputed[np.argsort(-certainty, kind="stable")]
    shown = order[:_MAX_DISPUTED]
    networks, sizes = _networks(finished)
    no_networks = _why_no_networks(recipe.images, sizes)
    right = np.array([classes[disputed] == digits.y_test[disputed] for classes in predicted.values()])
    scores = ", ".join(f"{display_name(n)} is right on {int(r.sum()):,}" for n, r in zip(predicted, right, strict=True))
    bars = (
        f" The small bars are the probabilities of 0 to {num_classes - 1}." if num_classes <= _MAX_CLASSES_SHOWN else ""
    )
    return {
        "disputed": [_disputed(int(index), digits, probabilities) for index in shown],
        "disputed_sentence": (
            f"{len(disputed):,} of {len(digits.y_test):,} test {thing}s; {scores}. "
            f"Shown: the {len(shown)} on which both are surest.{bars}"
        ),
        "num_classes": num_classes,
        "confusions": [
            {"name": display_name(n), **_confusion(classes, digits.y_test, num_classes)}
            for n, classes in predicted.items()
        ],
        "networks": [] if no_networks else networks,
        "samples": [] if no_networks else [_base64(digits.x_test[index].tobytes()) for index in shown],
        "no_networks": no_networks,
    }


def _why_no_networks(images: Summary, sizes: int) -> str | None:
    """Why the page has no drawing area, if it has none."""
    if images.image_shape != mnist.IMAGE_SHAPE:
        rows, columns = images.image_shape
        return f"Drawing is for images of 28×28 pixels, prepared as MNIST's were; these have {rows}×{columns}."
    if images.num_classes > _MAX_CLASSES_SHOWN:
        return f"Drawing is for up to {_MAX_CLASSES_SHOWN} classes; here are {images.num_classes:,}."
    if sizes > _MAX_NETWORK_BYTES:
        return (
            f"The weights of these networks would make the page {sizes / 1e6:.0f} MB larger; try "
            "`mnist-compare classify my_digit.png` instead."
        )
    return None


def _disputed(index: int, digits: mnist.Digits, probabilities: Mapping[str, NDArray[np.floating]]) -> dict[str, Any]:
    image = digits.x_test[index]
    height, width = (max(1, round(_IMAGE_PIXELS * side / max(image.shape))) for side in image.shape)
    return {
        "index": index,
        "label": int(digits.y_test[index]),
        "image": _png(image),
        "height": height,
        "width": width,
        "sides": [
            {
                "name": display_name(name),
                "color": color,
                "predicted": int(of_side[index].argmax()),
                "probability": f"{of_side[index].max():.0%}",
                "probabilities": [round(100 * float(share)) for share in of_side[index]]
                if of_side.shape[1] <= _MAX_CLASSES_SHOWN
                else [],
            }
            for (name, of_side), color in zip(probabilities.items(), itertools.cycle(COLORS), strict=False)
        ],
    }


def _confusion(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], num_classes: int
) -> dict[str, list[list[Any]]]:
    """Rows of a table of all classes, or the pairs most often confused: class, what it was taken for, how often."""
    if num_classes > _MAX_CLASSES_SHOWN:
        wrong = predicted != labels
        pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_MAX_CLASSES_SHOWN]
        return {"rows": [], "pairs": [[*map(str, pairs[i]), f"{counts[i]:,}"] for i in most]}
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, predicted), 1)
    mistakes = counts - np.diag(np.diag(counts))
    shades = np.round(80 * mistakes / max(1, mistakes.max())).astype(int)
    rows = [
        [{"count": int(count), "shade": int(shade)} for count, shade in zip(*row, strict=True)]
        for row in zip(counts, shades, strict=True)
    ]
    return {"rows": rows, "pairs": []}


def _networks(finished: Mapping[str, RunRecord]) -> tuple[list[dict[str, Any]], int]:
    """The weights by layer as base64 of little-endian float32, in C order of the canonical layout; and their size."""
    networks: list[dict[str, Any]] = []
    size = 0
    for name, record in finished.items():
        layers = []
        for layer in record.recipe.layer_names:
            parts = {
                part: _base64(record.weights[f"{layer}.{part}"].astype("<f4").tobytes()) for part in ("kernel", "bias")
            }
            size += sum(map(len, parts.values()))
            layers.append({**parts, "convolution": layer in record.recipe.convolution_names})
        networks.append({"name": display_name(name), "layers": layers})
    return networks, size


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _png(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{_base64(buffer.getvalue())}"
