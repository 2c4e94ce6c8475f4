"""The metrics of a training: loss and accuracy, added up on the device and fetched once an epoch."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

from recipe import Recipe


class MeanLoss(Metric):
    """The mean loss over images, from the mean losses of batches.

    torchmetrics' MeanMetric replaces every weight by 1 where it is told not to look for NaN, looks at
    every batch on the host otherwise, and casts to float32 after a move between devices.

    Args:
        dtype: Floating-point type that the losses are added up in.
    """

    total: Tensor
    num_images: Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype_of_sums = dtype
        self.add_state("total", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("num_images", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")

    def update(self, losses: Tensor, sizes: Tensor) -> None:
        """Counts batches: their mean losses and numbers of images, both of one shape."""
        sizes = sizes.to(self.total)
        self.total += (losses * sizes).sum()
        self.num_images += sizes.sum()

    def _apply(self, *arguments: Any, **options: Any) -> "MeanLoss":
        """Keeps the sums' type where a model is moved to half precision, in which 60,000 images are infinitely many."""
        super()._apply(*arguments, **options)
        self.total, self.num_images = self.total.to(self.dtype_of_sums), self.num_images.to(self.dtype_of_sums)
        return self

    def compute(self) -> Tensor:
        """The mean over all images so far, on all processes."""
        return self.total / self.num_images


class Metrics(nn.Module):
    """Loss, accuracy and the number of images, added up on the device and over all processes.

    Args:
        stage: "train", whose metrics carry Keras's plain names, or a prefix of them.
        recipe: Its dtype is what the losses are added up in; and the number of classes counts.
    """

    def __init__(self, stage: str, recipe: Recipe) -> None:
        super().__init__()
        self.stage = stage
        self.loss = MeanLoss(getattr(torch, recipe.dtype))
        self.accuracy = MulticlassAccuracy(recipe.images.num_classes, average="micro", validate_args=False)
        self.images = SumMetric()

    def update(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Counts a batch: logits (batch, classes), labels (batch,) and its mean loss."""
        self.loss.update(loss, torch.tensor(len(labels)))
        self.accuracy.update(logits, labels)
        if self.stage == "test":
            self.images.update(len(labels))

    def compute(self) -> dict[str, Any]:
        """The metrics since the last reset, by the names that Keras gives them."""
        prefix = "" if self.stage == "train" else f"{self.stage}_"
        values = {f"{prefix}loss": self.loss.compute(), f"{prefix}accuracy": self.accuracy.compute()}
        if self.stage == "test":
            values[f"{prefix}images"] = self.images.compute()
        return values

    def reset(self) -> None:
        """Forgets everything counted so far."""
        for metric in (self.loss, self.accuracy, self.images):
            metric.reset()
