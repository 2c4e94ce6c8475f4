"""Many seeds in one process: the network trained from several seeds at once, by `torch.func`.

Every parameter has one axis more, the seed's, and `vmap` turns the members' small matrix products
into one batched product. Each member has its own initial weights and its own batches, and ends where
a training of its own would have, up to rounding.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from lightning_impl.data import Batch, Digits, MnistDataModule, TrainingBatches, as_it_is
from lightning_impl.model import build_model
from lightning_impl.training import STEPS_PER_EXECUTION, DigitClassifier, build_optimizer
from recipe import Recipe, RecipeError


def check_no_dropout(recipe: Recipe) -> None:
    """Refuses dropout, whose mask of each member's own `vmap` does not know.

    Raises:
        RecipeError: The recipe drops activations.
    """
    if recipe.dropout:
        raise RecipeError("many seeds at once know no dropout: set recipe.dropout to 0, or train seed by seed")


class SeedEnsemble(lightning.LightningModule):
    """Trains the networks of recipes that differ in their seeds alone.

    Args:
        recipes: One recipe a member.

    Raises:
        RecipeError: The recipes drop activations.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        super().__init__()
        check_no_dropout(recipes[0])
        self.automatic_optimization = False
        self.recipes = list(recipes)
        self.steps_per_execution = max(1, STEPS_PER_EXECUTION // len(recipes))
        members = [DigitClassifier(recipe).model for recipe in recipes]
        stacked, _ = stack_module_state(members)
        self.names = list(stacked)
        self.stacked = nn.ParameterList(nn.Parameter(tensor.detach()) for tensor in stacked.values())
        network = build_model(recipes[0]).to("meta")  # its layers without their numbers

        def logits_of(parameters: dict[str, Tensor], images: Tensor) -> Tensor:
            return functional_call(network, parameters, (images,))

        def loss_of(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits = logits_of(parameters, images)
            return functional.cross_entropy(logits, labels), logits

        self.gradients_of_all = vmap(grad_and_value(loss_of, has_aux=True))
        self.logits_of_all = vmap(logits_of, in_dims=(0, None))
        self.step_losses: list[Tensor] = []
        self.sums: dict[str, Tensor] = {}

    @property
    def by_name(self) -> dict[str, Tensor]:
        """The stacked parameters, shape (members, *parameter), by their names in the network."""
        return dict(zip(self.names, self.stacked, strict=True))

    def member(self, index: int) -> DigitClassifier:
        """A module of one member alone, with copies of its parameters."""
        module = DigitClassifier(self.recipes[index])
        module.model.load_state_dict({name: tensor[index].detach() for name, tensor in self.by_name.items()})
        return module

    setup = DigitClassifier.setup

    @property
    def recipe(self) -> Recipe:
        """What all members have in common, and the first one's seed."""
        return self.recipes[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer for all: Adam computes each number by itself."""
        return build_optimizer(self.recipe, self.parameters())

    def on_train_epoch_start(self) -> None:
        """Forgets the losses of the epoch before."""
        self.step_losses.clear()
        self.sums.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """An optimizer step on each batch of a block: images (members, n, pixels), labels (members, n)."""
        size = self.recipe.batch_size
        optimizer: Any = self.optimizers()
        for images, labels in zip(*(tensor.split(size, dim=1) for tensor in batch), strict=True):
            gradients, (losses, logits) = self.gradients_of_all(self.by_name, images, labels)
            for parameter, name in zip(self.stacked, self.names, strict=True):
                parameter.grad = gradients[name]
            optimizer.step()
            self.step_losses.append(losses.detach())
            self._count("", losses.detach() * labels.shape[1], logits.detach(), labels)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch into the validation metrics of every member."""
        self._evaluate("val_", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch into the test metrics of every member."""
        self._evaluate("test_", batch)

    on_test_epoch_start = on_train_epoch_start

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Class probabilities, shape (members, batch, classes)."""
        return self.logits_of_all(self.by_name, batch[0]).softmax(dim=2)

    def _evaluate(self, stage: str, batch: Batch) -> None:
        images, labels = batch
        logits = self.logits_of_all(self.by_name, images)
        losses = torch.stack([functional.cross_entropy(of_member, labels) for of_member in logits])
        self._count(stage, losses * len(labels), logits, labels)

    def _count(self, stage: str, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        correct = (logits.argmax(dim=2) == labels).sum(dim=1)
        sums = {"loss": losses, "accuracy": correct, "images": torch.tensor(labels.shape[-1])}
        for key, value in sums.items():
            name = f"{stage}{key}"
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def metrics(self, stage: str) -> dict[str, list[float]]:
        """Mean loss and accuracy since the epoch began, one number a member; `stage` is "", "val_" or "test_"."""
        means = {name: self.sums[name] / self.sums[f"{stage}images"] for name in (f"{stage}loss", f"{stage}accuracy")}
        return {name: mean.tolist() for name, mean in means.items()}


class BatchesOfSeeds(Sampler[Any]):
    """Every member's own batches of an epoch, in blocks: indices, int64, shape (members, images of a block)."""

    def __init__(self, recipes: Sequence[Recipe], block_size: int) -> None:
        self.recipe = recipes[0]
        self.members = [
            TrainingBatches(recipe, recipe.images.num_training_images, 0, 1, block_size) for recipe in recipes
        ]
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, counted from 0."""
        for member in self.members:
            member.set_epoch(epoch)

    def __len__(self) -> int:
        """The number of blocks in an epoch."""
        return len(self.members[0])

    def __iter__(self) -> Iterator[Tensor]:
        """A block of every member."""
        for blocks in zip(*self.members, strict=True):
            yield torch.stack(blocks)


class DigitsOfSeeds(Digits):
    """Gathers the images of several members at once."""

    def __getitems__(self, indices: Any) -> Batch:
        """Images (members, n, pixels) and labels (members, n) of indices (members, n)."""
        images, labels = super().__getitems__(indices.flatten())
        return images.view(*indices.shape, -1), labels.view(indices.shape)


class SeedsDataModule(MnistDataModule):
    """The digits in every member's own batches; evaluation is on the same test digits for all.

    Args:
        recipes: One recipe a member.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        super().__init__(recipes[0])
        self.recipes = recipes

    def train_dataloader(self) -> DataLoader[Batch]:
        """Blocks of batches: images (members, n, pixels) and labels (members, n)."""
        module: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        digits = DigitsOfSeeds(self.train_digits.images, self.train_digits.labels)
        batches = BatchesOfSeeds(self.recipes, module.steps_per_execution)
        return DataLoader(digits, batch_sampler=batches, collate_fn=as_it_is)
