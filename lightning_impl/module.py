"""The LightningModule: loss, optimizer and metrics around the network; in Keras, the steps in `training.py`."""

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from lightning_impl.backend import set_arithmetic
from lightning_impl.checkpoints import KeepsRecipe
from lightning_impl.data import Batch
from lightning_impl.dropout import masks_of_step, seed_dropout
from lightning_impl.logs import log_epoch
from lightning_impl.metrics import Metrics
from lightning_impl.model import build_model
from lightning_impl.optimizer import build_optimizer
from lightning_impl.weights import initialize
from recipe import Recipe


class DigitClassifier(KeepsRecipe):
    """Trains the network of a recipe.

    Args:
        recipe: Every hyperparameter; see `recipe/recipe.py`.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = build_model(recipe)
        initialize(self.model, recipe)
        self.loss_function = nn.CrossEntropyLoss()
        self.step_losses: list[Tensor] = []
        self.train_metrics = Metrics("train", recipe)
        self.val_metrics = Metrics("val", recipe)
        self.test_metrics = Metrics("test", recipe)

    def setup(self, stage: str) -> None:
        """Sets the process's arithmetic."""
        set_arithmetic(self.recipe)

    def forward(self, images: Tensor) -> Tensor:
        """Images, shape (batch, pixels), in training followed by their dropout masks, to logits, (batch, classes)."""
        return self.model(images)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's Adam."""
        return build_optimizer(self.recipe, self.parameters())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """The loss of a batch: images (batch, pixels), labels (batch,)."""
        images, labels = batch
        loss, logits = self.loss_and_logits(self.with_masks(images, batch_idx), labels, batch_idx)
        self.train_metrics.accuracy.update(logits, labels)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch into the validation metrics."""
        self._evaluate(self.val_metrics, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch into the test metrics."""
        self._evaluate(self.test_metrics, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities, shape (batch, classes)."""
        return self(batch[0]).softmax(dim=1)

    def _evaluate(self, metrics: Metrics, batch: Batch) -> None:
        images, labels = batch
        logits = self(images)
        metrics.update(logits, labels, self.loss_function(logits, labels))

    def on_train_epoch_start(self) -> None:
        """Forgets the losses of the epoch before."""
        self.step_losses.clear()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds torch's own dropout; not earlier, for the iterators that Lightning makes draw from the same numbers."""
        if batch_idx == 0:
            seed_dropout(self.recipe, self.current_epoch, self.global_rank)

    def on_train_epoch_end(self) -> None:
        """Logs the training metrics: means over the epoch while it trained, as in Keras."""
        if self.step_losses:  # none in the epoch that a Trainer may end at once when it resumes from its end
            self._log_and_reset(self.training_metrics(), prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss` and `val_accuracy`."""
        self._log_and_reset(self.val_metrics, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Logs `test_loss`, `test_accuracy` and the number of images they are over."""
        self._log_and_reset(self.test_metrics)

    def training_metrics(self) -> Metrics:
        """The epoch's training metrics; the first call adds up the step losses."""
        if not self.train_metrics.loss.update_called:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            steps = range(len(self.step_losses))
            sizes = [len(range(rank, self.global_batch_size(step), world_size)) for step in steps]
            self.train_metrics.loss.update(torch.stack(self.step_losses), torch.tensor(sizes))
        return self.train_metrics

    def _log_and_reset(self, metrics: Metrics, *, prog_bar: bool = False) -> None:
        values = metrics.compute()
        fits = self.trainer.state.fn == TrainerFn.FITTING
        # compute() has summed over the processes already; sync_dist keeps Lightning from doubting it.
        self.log_dict(values, prog_bar=prog_bar, sync_dist=True, logger=not fits)
        if fits and not self.trainer.sanity_checking:
            log_epoch(self.loggers, self.current_epoch, values)
        metrics.reset()

    def loss_and_logits(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy of a batch, to differentiate, and its logits.

        DDP averages gradients over processes, whose shares of a batch may differ by one image; the
        loss is weighted so that this is the mean over the images of all processes.
        """
        logits = self(images)
        loss = self.loss_function(logits, labels)
        self.step_losses.append(loss.detach())
        if self.trainer.world_size > 1:
            loss = loss * self.loss_weight(len(images), step)
        return loss, logits.detach()

    def loss_weight(self, num_images: int, step: int) -> float:
        """What this process's mean loss counts in the mean over processes; 1 if all have as many images."""
        return num_images * self.trainer.world_size / self.global_batch_size(step)

    def global_batch_size(self, step: int) -> int:
        """The number of images in step `step` of an epoch, from 0, on all devices together."""
        return min(self.recipe.batch_size, self.recipe.images.num_training_images - step * self.recipe.batch_size)

    def with_masks(self, images: Tensor, step: int) -> Tensor:
        """This process's images in step `step` of an epoch, from 0, followed by their dropout masks, where shared."""
        if not self.recipe.num_mask_columns:
            return images
        masks = masks_of_step(self.recipe, self.current_epoch, step, self.global_batch_size(step))
        mine = masks[self.trainer.global_rank :: self.trainer.world_size]
        return torch.cat([images, mine.to(images)], dim=1)
