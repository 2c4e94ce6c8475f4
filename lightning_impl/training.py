"""The LightningModule: loss, optimizer and metrics around the network."""

from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_impl.data import Batch
from lightning_impl.model import build_model
from lightning_impl.optimizer import KerasAdam
from lightning_impl.weights import get_weights, set_weights
from recipe import Recipe
from recipe.initial_weights import initial_weights, perturbed
from recipe.mnist import NUM_CLASSES, NUM_TRAINING_IMAGES


class DigitClassifier(lightning.LightningModule):
    """Trains the network of a recipe.

    Args:
        recipe: Every hyperparameter; see `recipe/settings.py`.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = build_model(recipe)
        if recipe.initial_weights == "shared":
            set_weights(self.model, initial_weights(recipe))
        else:
            set_weights(self.model, perturbed(get_weights(self.model), recipe))
        self.train_metrics = Metrics("train", recipe.dtype)
        self.val_metrics = Metrics("val", recipe.dtype)
        self.test_metrics = Metrics("test", recipe.dtype)

    def setup(self, stage: str) -> None:
        """Pins float32 matrix products to full precision where the recipe shares that."""
        if self.recipe.matmul_precision == "shared":
            torch.set_float32_matmul_precision("highest")

    def forward(self, images: Tensor) -> Tensor:
        """Images, shape (batch, 784), to logits, shape (batch, 10)."""
        return self.model(images)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Keras's Adam, or torch's own where the recipe leaves Adam to the framework."""
        recipe = self.recipe
        if recipe.adam == "shared":
            assert recipe.epsilon is not None  # noqa: S101 - the recipe fills it in for a shared Adam
            return KerasAdam(self.parameters(), lr=recipe.learning_rate, betas=recipe.adam_betas, eps=recipe.epsilon)
        epsilon: dict[str, Any] = {} if recipe.epsilon is None else {"eps": recipe.epsilon}
        return torch.optim.Adam(
            self.parameters(), lr=recipe.learning_rate, betas=recipe.adam_betas, fused=True, **epsilon
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch: the mean over its images on all devices."""
        images, labels = batch
        logits = self(images)
        loss = functional.cross_entropy(logits, labels)
        self.train_metrics.update(logits.detach(), labels, loss.detach())
        if self.trainer.world_size > 1:
            # DDP averages gradients over processes, whose shares of a batch may differ by one image.
            loss = loss * (len(images) * self.trainer.world_size / self.global_batch_size(batch_idx))
        return loss

    def global_batch_size(self, batch_idx: int) -> int:
        """The number of images in batch `batch_idx` of an epoch, on all devices together."""
        return min(self.recipe.batch_size, NUM_TRAINING_IMAGES - batch_idx * self.recipe.batch_size)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch into the validation metrics."""
        self._evaluate(self.val_metrics, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch into the test metrics."""
        self._evaluate(self.test_metrics, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities, shape (batch, 10)."""
        return self(batch[0]).softmax(dim=1)

    def _evaluate(self, metrics: "Metrics", batch: Batch) -> None:
        images, labels = batch
        logits = self(images)
        metrics.update(logits, labels, functional.cross_entropy(logits, labels))

    def on_train_epoch_end(self) -> None:
        """Logs the running training metrics: the mean over the epoch while it trained, as in Keras."""
        self._log_and_reset(self.train_metrics, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss` and `val_accuracy`."""
        self._log_and_reset(self.val_metrics, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Logs `test_loss`, `test_accuracy` and the number of images they are over."""
        self._log_and_reset(self.test_metrics)

    def _log_and_reset(self, metrics: "Metrics", *, prog_bar: bool = False) -> None:
        self.log_dict(metrics.compute(), prog_bar=prog_bar)
        metrics.reset()


class Metrics(nn.Module):
    """Loss, accuracy and the number of images, added up on the device and over all processes.

    Args:
        stage: "train", whose metrics carry Keras's plain names, or a prefix of them.
        dtype: Floating-point type that the losses are added up in.
    """

    def __init__(self, stage: str, dtype: str) -> None:
        super().__init__()
        self.stage = stage
        self.loss = MeanMetric(nan_strategy="disable").set_dtype(getattr(torch, dtype))
        self.accuracy = MulticlassAccuracy(NUM_CLASSES, average="micro", validate_args=False)
        self.images = SumMetric()

    def update(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Counts a batch: logits (batch, 10), labels (batch,) and its mean loss."""
        self.loss.update(loss, weight=len(labels))
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
