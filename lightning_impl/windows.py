"""Windows of the judged training: copies of single steps, and sums of what every step was fed."""

from collections.abc import Callable
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_impl.blocks import BlockDigitClassifier, Step
from lightning_impl.data import Batch
from lightning_impl.weights import get_weights, to_canonical
from recipe import Recipe
from record.windows import Fed, Keeper, State, WindowStep, num_steps_per_epoch, place_weights


class WindowedClassifier(BlockDigitClassifier):
    """A BlockDigitClassifier that keeps the windows of its recipe; blocks or single steps, the bits stay the same.

    Args:
        recipe: Every hyperparameter; see `recipe/recipe.py`.
        steps_per_execution: As `BlockDigitClassifier` takes it.
    """

    def __init__(self, recipe: Recipe, steps_per_execution: int | Literal["auto"] = "auto") -> None:
        super().__init__(recipe, steps_per_execution)
        self.keeper = Keeper(recipe)
        self.fed: list[tuple[Tensor, Tensor]] = []
        self._place_weights = torch.from_numpy(place_weights(recipe.batch_size))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Adds up what the steps are fed, then takes them."""
        self.fed.append(self._sums(*batch))
        return super().training_step(batch, batch_idx)

    def _sums(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of each batch of a block, the sum of its pixels and the weighted sum of its classes, shape (batches,)."""
        size = self.recipe.batch_size
        full = len(images) // size * size
        weights = self._place_weights.to(labels.device)
        self._place_weights = weights
        pixels = [images[:full].view(-1, size * images.shape[1]).sum(dim=1)]
        classes = [(labels[:full].view(-1, size) * weights).sum(dim=1)]
        if full < len(images):
            pixels.append(images[full:].sum().view(1))
            classes.append((labels[full:] * weights[: len(labels) - full]).sum().view(1))
        return torch.cat(pixels), torch.cat(classes)

    def fed_so_far(self, num_steps: int) -> Fed:
        """The sums of the first steps of the training."""
        pixels, classes = (torch.cat(sums)[:num_steps].cpu() for sums in zip(*self.fed, strict=True))
        return Fed(pixels.numpy(), classes.to(pixels.dtype).numpy())

    def _dense_step(self) -> Step:
        return self._watched(super()._dense_step())

    def _autograd_step(self, size: int) -> Step:
        return self._watched(super()._autograd_step(size))

    def _watched(self, take_step: Step) -> Step:
        steps_before = self.current_epoch * num_steps_per_epoch(self.recipe)
        numbers, begins = self.keeper.numbers, self.keeper.begins

        def watched(x: Tensor, y: Tensor, number: int) -> Tensor:
            step = steps_before + number + 1
            if step not in numbers:
                return take_step(x, y, number)
            if step in begins:
                self.keeper.before(step, self.state())
            logits = take_step(x, y, number)
            self.keep(step, x, y)
            return logits

        return watched

    def keep(self, step: int, images: Tensor, labels: Tensor) -> None:
        """Keeps a step that was just taken; its gradients are still there."""
        gradients = to_canonical(self.model, lambda parameter: parameter.grad)
        fed = images.cpu().numpy().copy(), labels.cpu().numpy().copy()
        self.keeper.after(WindowStep(step, *fed, gradients, self.state()))

    def state(self) -> State:
        """Copies of the parameters and of the optimizer's moments, which are zero before its first step."""
        moments = (to_canonical(self.model, self._moment(key)) for key in ("exp_avg", "exp_avg_sq"))
        return State(get_weights(self.model), *moments)

    def _moment(self, key: str) -> Callable[[Tensor], Tensor]:
        state: Any = self.trainer.optimizers[0].state
        return lambda parameter: state.get(parameter, {}).get(key, torch.zeros_like(parameter))


class BorderWatcher(Callback):
    """Notes the state right before each epoch's first step and right after its last; keeps windows of single steps."""

    takes_blocks = True
    """It looks at the first and the last step of an epoch, and at single steps where there are any."""

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Before a step, or a block of them."""
        if batch_idx == 0:
            pl_module.keeper.epoch_begins(pl_module.state())
        step = trainer.global_step + 1
        if pl_module.automatic_optimization and step in pl_module.keeper.begins:
            pl_module.keeper.before(step, pl_module.state())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After a step, or a block of them."""
        if pl_module.automatic_optimization and trainer.global_step in pl_module.keeper.numbers:
            pl_module.keep(trainer.global_step, *batch)
        if trainer.is_last_batch:
            pl_module.keeper.epoch_ends(pl_module.state())
