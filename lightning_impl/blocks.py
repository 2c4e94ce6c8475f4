"""The fast path, which Keras has built in: several optimizer steps in one `training_step`, with single steps' bits."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_impl.counters import check_counts_steps, ends_an_epoch, in_blocks, in_steps
from lightning_impl.cuda_graph import GraphedGradients, check_graph_works
from lightning_impl.data import Batch
from lightning_impl.gradients import DenseGradients, gives_its_gradients
from lightning_impl.module import DigitClassifier
from lightning_impl.optimizer import KerasAdam
from lightning_impl.single_steps import looks_at_steps, needs_single_steps, prefers_single_steps, schedules_steps
from recipe import Recipe

STEPS_PER_EXECUTION = 125
"""Optimizer steps in one `training_step`: an epoch of 1,875 steps then reports progress 15 times."""

Step = Callable[[Tensor, Tensor, int], Tensor]
"""An optimizer step on images (batch, pixels) and labels (batch,), by its number in the epoch, from 0 -> the logits."""


class BlockDigitClassifier(DigitClassifier):
    """A DigitClassifier whose batches are blocks of several, with an optimizer step on each.

    Lightning's loop costs about as much as a step of so small a network. Weights, step losses and
    metrics are those of single steps bit for bit. Where something counts or schedules single steps,
    such as --trainer.max_steps, "auto" is 1, and a number is refused.

    Args:
        recipe: Every hyperparameter; see `recipe/recipe.py`.
        steps_per_execution: Optimizer steps in one `training_step`; auto is 125 where nothing can tell
            these from single steps, else 1; never more than an epoch has.
        cuda_graph: Launches forward and backward pass of each step of a block as a CUDA graph; not yet tried on a GPU.
    """

    def __init__(
        self, recipe: Recipe, steps_per_execution: int | Literal["auto"] = "auto", *, cuda_graph: bool = False
    ) -> None:
        super().__init__(recipe)
        if steps_per_execution != "auto" and steps_per_execution < 1:
            raise MisconfigurationException(
                f'steps_per_execution must be "auto", or 1 or more, not {steps_per_execution}'
            )
        self.asked_steps = steps_per_execution
        self.cuda_graph = cuda_graph
        self.dense_gradients: DenseGradients | None = None
        self._take(1 if steps_per_execution == "auto" else steps_per_execution)

    def _take(self, steps: int) -> None:
        self.steps_per_execution = min(steps, self.steps_per_epoch)
        self.automatic_optimization = self.steps_per_execution == 1

    def _choose_steps(self) -> str | None:
        """Takes as many steps at a time as was asked for, or as goes; returns what rules out "auto" blocks.

        Raises:
            MisconfigurationException: Blocks were asked for by their size, and something counts single steps.
        """
        against = needs_single_steps(self)
        if self.asked_steps == "auto":
            against = against or prefers_single_steps(self)
            self._take(1 if against else STEPS_PER_EXECUTION)
        elif self.asked_steps > 1 and against:
            raise self._refusal(against)
        return against

    def _refusal(self, against: str) -> MisconfigurationException:
        return MisconfigurationException(
            f"steps_per_execution {self.asked_steps} cannot be combined with {against}: "
            "set --model.steps_per_execution 1, or leave it out"
        )

    def configure_callbacks(self) -> list[lightning.Callback]:
        """Refuses what cannot be combined, in the first hook that knows the trainer."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            against = self._choose_steps()
            if self.cuda_graph:
                check_graph_works(self, against)
        return []

    def setup(self, stage: str) -> None:
        """Decides, now that all callbacks are known, how many steps to take at a time, and says so."""
        super().setup(stage)
        if self.trainer and self.trainer.state.fn == TrainerFn.FITTING:
            self._say_steps(self._choose_steps())

    def _say_steps(self, against: str | None) -> None:
        if self.asked_steps == "auto":
            reason = f"because of {against}" if against else "as nothing can tell them from single steps"
            rank_zero_info(f"steps_per_execution auto: {self.steps_per_execution}, {reason}.")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes single steps from where within an epoch a checkpoint was written; else counts in blocks from here."""
        super().on_load_checkpoint(checkpoint)
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        check_counts_steps(checkpoint)
        if self.steps_per_execution == 1:
            return
        if ends_an_epoch(checkpoint, self.steps_per_epoch):
            in_blocks(checkpoint, self.steps_per_epoch, self.steps_per_execution)
        elif self.asked_steps == "auto":
            self._take(1)
            self._say_steps("a checkpoint from within an epoch")
        else:
            raise self._refusal("a checkpoint from within an epoch")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the counters that single steps would have left: who resumes may take single ones."""
        super().on_save_checkpoint(checkpoint)
        if not self.automatic_optimization and "loops" in checkpoint:
            in_steps(checkpoint, self.steps_per_epoch, self.steps_per_execution)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-self.recipe.images.num_training_images // self.recipe.batch_size)

    def on_fit_start(self) -> None:
        """Refuses a scheduler, which Lightning would not let step in blocks."""
        super().on_fit_start()
        if not self.automatic_optimization and (against := schedules_steps(self.trainer)):
            raise self._refusal(against)

    def on_train_start(self) -> None:
        """Chooses how gradients are computed."""
        if self.automatic_optimization:
            return
        # On a CPU, and in full precision, autograd is not needed for the bits that it gives.
        plain = str(self.trainer.precision) in ("32-true", "64-true") and self.device.type == "cpu"
        plain = plain and gives_its_gradients(self.model, self.loss_function) and not looks_at_steps(self)
        self.dense_gradients = DenseGradients(self.model) if plain else None
        if self.cuda_graph:
            self.graphed_gradients = GraphedGradients(self, self.recipe.batch_size)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """An optimizer step on each batch of a block."""
        if self.automatic_optimization:
            return super().training_step(batch, batch_idx)
        if self.trainer.world_size > 1:
            # DDP expects one backward pass for each forward pass, which here is a whole block, whose gradients
            # `_average_gradients` sends. In every block anew: Lightning turns it on again behind each.
            ddp: Any = self.trainer.model
            ddp.require_backward_grad_sync = False
        images, labels = batch
        size = len(range(self.trainer.global_rank, self.recipe.batch_size, self.trainer.world_size))
        take_step = self._dense_step() if self.dense_gradients else self._autograd_step(size)
        numbers = itertools.count(batch_idx * self.steps_per_execution)
        logits = [take_step(x, y, n) for x, y, n in zip(images.split(size), labels.split(size), numbers, strict=False)]
        self.train_metrics.accuracy.update(torch.cat(logits), labels)
        # The axis of what callbacks log; Lightning adds the last one itself.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped += len(logits) - 1  # noqa: SLF001 - no public name
        return None

    def _autograd_step(self, size: int) -> Step:
        """By autograd, or by a CUDA graph of it on batches of `size` images."""
        optimizer: Any = self.optimizers()

        def take_step(x: Tensor, y: Tensor, number: int) -> Tensor:
            if self.cuda_graph and len(x) == size:
                loss, logits = self.graphed_gradients(self, self.with_masks(x, number), y)
                self.step_losses.append(loss)
            else:
                loss, logits = self.loss_and_logits(self.with_masks(x, number), y, number)
                optimizer.zero_grad()
                self.manual_backward(loss)
            if self.trainer.world_size > 1:
                self._average_gradients()
            optimizer.step()
            return logits

        return take_step

    def _dense_step(self) -> Step:
        """Without autograd and without what Lightning does around each step."""
        assert self.dense_gradients is not None  # noqa: S101 - asked for only where it is there
        gradients = self.dense_gradients
        gradients.attach()
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        update = optimizer.step
        if isinstance(optimizer, KerasAdam):
            update = optimizer.bound_to(gradients.parameters, gradients.gradients)
        # `trainer.global_step`, which Lightning's wrapper of the optimizer would count.
        count: Any = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        several_processes = self.trainer.world_size > 1

        def take_step(x: Tensor, y: Tensor, number: int) -> Tensor:
            loss, logits = gradients(x, y, self.loss_weight(len(x), number) if several_processes else 1.0)
            if several_processes:
                self._average_gradients()
            count.increment_ready()
            update()
            count.increment_completed()
            self.step_losses.append(loss)
            return logits

        return take_step

    def _average_gradients(self) -> None:
        """What DDP would do, in one message."""
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.view(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.trainer.world_size
        for part, gradient in zip(flat.split([g.numel() for g in gradients]), gradients, strict=True):
            gradient.copy_(part.view_as(gradient))
