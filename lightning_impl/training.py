"""The LightningModule: loss, optimizer and metrics around the network."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from lightning_impl.checkpoints import check_recipe
from lightning_impl.cuda_graph import GraphedGradients, check_graph_works
from lightning_impl.data import Batch
from lightning_impl.gradients import DenseGradients
from lightning_impl.metrics import Metrics
from lightning_impl.model import build_model
from lightning_impl.optimizer import KerasAdam
from lightning_impl.weights import get_weights, set_weights
from recipe import Recipe
from recipe.dropout_masks import dropout_masks
from recipe.initial_weights import initial_weights, perturbed

STEPS_PER_EXECUTION = 125
"""Optimizer steps in one `training_step`: an epoch of 1,875 steps then reports progress 15 times."""


class DigitClassifier(lightning.LightningModule):
    """Trains the network of a recipe.

    Lightning's loop costs about as much as a step of so small a network. With
    `steps_per_execution` > 1 the module therefore optimizes manually: `training_step` gets a block
    of several batches and takes an optimizer step on each. Weights, step losses and metrics are the
    same bit for bit; what Lightning counts as a batch, `--trainer.limit_train_batches` for one, is
    then a block. Callbacks that look at single backward passes or optimizer steps hear of each, but
    take the shortest way through a block from it.

    Args:
        recipe: Every hyperparameter; see `recipe/recipe.py`.
        steps_per_execution: Optimizer steps in one `training_step`; 1 is automatic optimization.
        cuda_graph: Launches forward and backward pass of each step of a block as a CUDA graph.
    """

    def __init__(
        self, recipe: Recipe, steps_per_execution: int = STEPS_PER_EXECUTION, *, cuda_graph: bool = False
    ) -> None:
        super().__init__()
        if steps_per_execution < 1:
            raise MisconfigurationException(f"steps_per_execution must be 1 or more, not {steps_per_execution}")
        self.recipe = recipe
        self.steps_per_execution = steps_per_execution
        self.cuda_graph = cuda_graph
        self.automatic_optimization = steps_per_execution == 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = build_model(recipe)
        if recipe.initial_weights == "shared":
            set_weights(self.model, initial_weights(recipe))
        else:
            set_weights(self.model, perturbed(get_weights(self.model), recipe))
        self.loss_function = nn.CrossEntropyLoss()
        self.step_losses: list[Tensor] = []
        self.dense_gradients: DenseGradients | None = None
        self.train_metrics = Metrics("train", recipe)
        self.val_metrics = Metrics("val", recipe)
        self.test_metrics = Metrics("test", recipe)

    def configure_callbacks(self) -> list[lightning.Callback]:
        """Refuses what blocks of steps cannot be combined with: the first hook that knows the trainer."""
        if not self.automatic_optimization:
            _check_blocks_work(self.trainer)
        if self.cuda_graph:
            check_graph_works(self)
        return []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Writes the recipe into the checkpoint."""
        checkpoint["recipe"] = self.recipe.to_json()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another recipe before anything of it is used."""
        check_recipe(self.recipe, checkpoint, resumes=self.trainer.state.fn == TrainerFn.FITTING)

    def setup(self, stage: str) -> None:
        """Sets the process's arithmetic."""
        if self.recipe.matmul_precision == "shared":
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False  # of convolutions, which by default may
        # Adam's moments of the pixels that are always blank decay into denormal numbers, on which a
        # CPU is slow. TensorFlow and XLA flush them to zero as well; no weight changes by one bit.
        torch.set_flush_denormal(True)

    def forward(self, images: Tensor) -> Tensor:
        """Images, shape (batch, pixels), in training with their dropout masks behind, to logits, (batch, classes)."""
        return self.model(images)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Keras's Adam, or torch's own where the recipe leaves Adam to the framework."""
        return build_optimizer(self.recipe, self.parameters())

    def on_train_start(self) -> None:
        """Takes over from DDP where a block of steps would outrun it."""
        if not self.automatic_optimization and self.trainer.world_size > 1:
            # DDP expects one backward pass for each forward pass, which here is a whole block.
            ddp: Any = self.trainer.model
            ddp.require_backward_grad_sync = False
        # Where arithmetic is as stated, on the CPU, autograd is not needed for the bits that it gives.
        plain = str(self.trainer.precision) in ("32-true", "64-true") and self.device.type == "cpu"
        dense = self.recipe.network == "dense" and not self.recipe.dropout
        blocks = not self.automatic_optimization and not _wants_every_step(self.trainer)
        self.dense_gradients = DenseGradients(self.model) if plain and dense and blocks else None
        if self.cuda_graph:
            self.graphed_gradients = GraphedGradients(self, self.recipe.batch_size)

    def on_train_epoch_start(self) -> None:
        """Forgets the losses of the epoch before."""
        self.step_losses.clear()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Gives torch's own dropout a stream of its own in each epoch and process, so that a restart repeats it.

        Not earlier: the iterators that Lightning makes before draw from the same generator.
        """
        if batch_idx == 0 and self.recipe.dropout and self.recipe.dropout_masks == "framework":
            stream = np.random.SeedSequence((self.recipe.seed, self.current_epoch, self.global_rank))
            torch.manual_seed(int(stream.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """The loss of a batch; or, on a block of batches, an optimizer step on each."""
        images, labels = batch
        if self.automatic_optimization:
            loss, logits = self.loss_and_logits(self.with_masks(images, batch_idx), labels, batch_idx)
            self.train_metrics.accuracy.update(logits, labels)
            return loss

        batches = zip(
            images.split(self.local_batch_size),
            labels.split(self.local_batch_size),
            itertools.count(batch_idx * self.steps_per_execution),
        )
        steps = self._dense_steps if self.dense_gradients else self._steps
        self.train_metrics.accuracy.update(torch.cat(list(steps(batches))), labels)
        return None

    def _steps(self, batches: Iterable[tuple[Tensor, Tensor, int]]) -> Iterator[Tensor]:
        """Takes an optimizer step on each batch, given with its number in the epoch; yields the logits."""
        optimizer: Any = self.optimizers()
        for x, y, step in batches:
            if self.cuda_graph and len(x) == self.local_batch_size:
                loss, logits = self.graphed_gradients(self, self.with_masks(x, step), y)
                self.step_losses.append(loss)
            else:
                loss, logits = self.loss_and_logits(self.with_masks(x, step), y, step)
                optimizer.zero_grad()
                self.manual_backward(loss)
            if self.trainer.world_size > 1:
                self._average_gradients()
            optimizer.step()
            yield logits

    def _dense_steps(self, batches: Iterable[tuple[Tensor, Tensor, int]]) -> Iterator[Tensor]:
        """The same without autograd and without what Lightning does around each step."""
        assert self.dense_gradients is not None  # noqa: S101 - asked for only where it is there
        gradients = self.dense_gradients
        gradients.attach()
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        take_step = optimizer.step
        if isinstance(optimizer, KerasAdam):
            take_step = optimizer.bound_to(gradients.parameters, gradients.gradients)
        # `trainer.global_step`, which Lightning's wrapper of the optimizer would count.
        count: Any = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        several_processes = self.trainer.world_size > 1
        for x, y, step in batches:
            loss, logits = gradients(x, y, self.loss_weight(len(x), step) if several_processes else 1.0)
            if several_processes:
                self._average_gradients()
            count.increment_ready()
            take_step()
            count.increment_completed()
            self.step_losses.append(loss)
            yield logits

    def with_masks(self, images: Tensor, step: int) -> Tensor:
        """This process's images in step `step` of an epoch, from 0, with their dropout masks behind, where shared."""
        if not self.recipe.num_mask_columns:
            return images
        start = step * self.recipe.batch_size
        masks = dropout_masks(self.recipe, self.current_epoch, start, start + self.global_batch_size(step))
        mine = torch.from_numpy(masks[self.trainer.global_rank :: self.trainer.world_size])
        return torch.cat([images, mine.to(images)], dim=1)

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

    @property
    def local_batch_size(self) -> int:
        """This process's share of a full batch."""
        return len(range(self.trainer.global_rank, self.recipe.batch_size, self.trainer.world_size))

    def _average_gradients(self) -> None:
        """What DDP would do, in one message."""
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.view(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.trainer.world_size
        for part, gradient in zip(flat.split([g.numel() for g in gradients]), gradients, strict=True):
            gradient.copy_(part.view_as(gradient))

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

    def on_train_epoch_end(self) -> None:
        """Logs the training metrics: means over the epoch while it trained, as in Keras."""
        self._log_and_reset(self.training_metrics(), prog_bar=True)

    def training_metrics(self) -> Metrics:
        """The epoch's training metrics; the first call adds up the step losses, in one way for all block sizes."""
        metrics = self.train_metrics
        if not metrics.loss.update_called:
            losses = torch.stack(self.step_losses)
            sizes = [
                len(range(self.trainer.global_rank, self.global_batch_size(step), self.trainer.world_size))
                for step in range(len(losses))
            ]
            metrics.loss.update(losses, torch.tensor(sizes))
        return metrics

    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss` and `val_accuracy`."""
        self._log_and_reset(self.val_metrics, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Logs `test_loss`, `test_accuracy` and the number of images they are over."""
        self._log_and_reset(self.test_metrics)

    def _log_and_reset(self, metrics: Metrics, *, prog_bar: bool = False) -> None:
        values = metrics.compute()
        fits = self.trainer.state.fn == TrainerFn.FITTING
        # compute() has summed over the processes already; sync_dist keeps Lightning from doubting it.
        self.log_dict(values, prog_bar=prog_bar, sync_dist=True, logger=not fits)
        if fits and not self.trainer.sanity_checking:
            self._write_epoch(values)
        metrics.reset()

    def _write_epoch(self, values: dict[str, Tensor]) -> None:
        """Hands metrics to the loggers, over the number of the epoch, from 0, as Keras does.

        Lightning would write them over the number of training batches, which here are blocks of several.
        """
        epoch = self.trainer.current_epoch
        for logger in self.loggers:
            logger.log_metrics({"epoch": epoch, **{name: value.item() for name, value in values.items()}}, step=epoch)
            logger.save()


def _wants_every_step(trainer: Any) -> bool:
    """Whether a callback or the module looks at single backward passes or optimizer steps."""
    hooks = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
    hearers: list[tuple[Any, Any]] = [(callback, lightning.Callback) for callback in trainer.callbacks]
    hearers.append((trainer.lightning_module, lightning.LightningModule))
    return any(is_overridden(hook, hearer, parent) for hook in hooks for hearer, parent in hearers)


def build_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Keras's Adam, or torch's own where the recipe leaves Adam to the framework."""
    if recipe.adam == "shared":
        assert recipe.epsilon is not None  # noqa: S101 - the recipe fills it in for a shared Adam
        return KerasAdam(parameters, lr=recipe.learning_rate, betas=recipe.adam_betas, eps=recipe.epsilon)
    epsilon: dict[str, Any] = {} if recipe.epsilon is None else {"eps": recipe.epsilon}
    return torch.optim.Adam(parameters, lr=recipe.learning_rate, betas=recipe.adam_betas, fused=True, **epsilon)


def _check_blocks_work(trainer: lightning.Trainer) -> None:
    """Raises MisconfigurationException for what needs automatic optimization."""
    mend = "set --model.steps_per_execution 1"
    if trainer.gradient_clip_val:
        raise MisconfigurationException(f"gradient_clip_val needs automatic optimization: {mend}")
    if trainer.accumulate_grad_batches != 1:
        raise MisconfigurationException(f"accumulate_grad_batches needs automatic optimization: {mend}")
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        strategy = type(trainer.strategy).__name__
        raise MisconfigurationException(
            f"several steps in one execution work on one device or under ddp, not {strategy}: {mend}"
        )
