"""Does a record of a training contradict itself? What it does otherwise than its recipe says, the ladder tells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipe.errors import RecordError
from recipe.recipe import Recipe
from record.files import Fields

LOWEST_LOSS = -1e-3
"""A cross-entropy is 0 or more. Rounding may carry that of an image below, by the spacing of floats at its logits:
6e-5 at logits of 1,000 in float32."""


def check_numbers(fields: Fields, history: Mapping[str, Sequence[float]]) -> None:
    """Refuses losses and times that no training has.

    Raises:
        RecordError: A cross-entropy or a time is below 0.
    """
    for key in ("loss", "val_loss"):
        if min(history[key], default=0.0) < LOWEST_LOSS:
            expected = "no number below 0, as a cross-entropy has none"
            raise fields.error(f"history.{key}", expected, list(history[key]))
    if fields.number("seconds") < 0:
        raise fields.error("seconds", "no number below 0", fields.number("seconds"))
    if fields.get("test") is not None and fields.number("test.loss") < LOWEST_LOSS:
        raise fields.error("test.loss", "no number below 0, as a cross-entropy has none", fields.number("test.loss"))


def check_lengths(fields: Fields, recipe: Recipe, num_steps: int, num_epochs: int) -> None:
    """Holds the number of steps against that of the epochs, and both against where a training diverged.

    How many steps an epoch should have, and how many epochs there should be, is left to the ladder: a dropped last
    batch is a fault of a port and has a name there.

    Raises:
        RecordError: There are fewer steps than epochs, or more in an epoch than there are images; or a training that
            diverged ends elsewhere than it says.
    """
    diverged = fields.get("status.outcome") == "diverged"
    begun = max(1, num_epochs + diverged)
    if not num_epochs <= num_steps <= begun * recipe.images.num_training_images:
        raise fields.error("history.loss", f"as many epochs as {num_steps:,} steps can be", f"{num_epochs:,}")
    if diverged:
        step, epoch = fields.count("status.step"), fields.count("status.epoch")
        if step != num_steps:
            raise fields.error("status.step", f"{num_steps:,}, the number of losses in steps.safetensors", step)
        if epoch != num_epochs + 1:
            raise fields.error("status.epoch", f"{num_epochs + 1:,}, the one after the history's last", epoch)


def check_accuracy(stated: float, predictions: NDArray[np.floating], labels: NDArray[Any]) -> None:
    """Holds the test accuracy against the predictions; half an image is what a float32 may have lost of it.

    Raises:
        RecordError: They do not belong together.
    """
    accuracy = float((predictions.argmax(axis=1) == labels).mean())
    if abs(stated - accuracy) > 0.5 / len(labels):
        raise RecordError(f"test.accuracy: expected {accuracy:.6g}, which the predictions give, found {stated:.6g}")
