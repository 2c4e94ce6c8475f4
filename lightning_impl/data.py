"""The images as torch takes them, and the batches in the order that the recipe shares."""

import math
from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from recipe import Recipe, RecipeError, datasets
from recipe.batch_order import epoch_order

EVALUATION_BATCH_SIZE = 1000

Batch = tuple[Tensor, Tensor]


def preprocess(images: NDArray[np.uint8], labels: NDArray[np.integer], recipe: Recipe) -> Batch:
    """Grey levels to [0, 1], shape (n, pixels), and labels to class indices, int64, shape (n,)."""
    return scale(torch.from_numpy(images), recipe), torch.from_numpy(labels).long()


def scale(images: Tensor, recipe: Recipe) -> Tensor:
    """Grey levels, uint8, shape (n, rows, columns), to [0, 1], shape (n, pixels), in the recipe's dtype.

    `v2.ToDtype(scale=True)`, as in torchvision's tutorials, multiplies by the rounded number 1/255
    and so misses Keras's x / 255 by one unit in the last place for 126 of the 256 grey levels.
    """
    x = images.flatten(start_dim=1).to(getattr(torch, recipe.dtype))
    # On a GPU torch would multiply by the reciprocal of a Python number, too.
    return x.div_(x.new_full((), 255))


class Digits(Dataset[Batch]):
    """Images and labels in memory, gathered a whole batch at a time.

    Args:
        images: Grey levels, uint8, shape (n, rows, columns): a quarter of what they take when scaled, or an eighth.
        labels: Classes, int64, shape (n,).
        recipe: Its dtype is that of the batches.
    """

    def __init__(self, images: Tensor, labels: Tensor, recipe: Recipe) -> None:
        self.images, self.labels, self.recipe = images, labels, recipe

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __getitems__(self, indices: Tensor | list[int]) -> Batch:
        """What `DataLoader` calls for a batch."""
        indices = torch.as_tensor(indices, device=self.images.device)
        return scale(self.images.index_select(0, indices), self.recipe), self.labels.index_select(0, indices)


class TrainingBatches(Sampler[Any]):
    """This process's share of every batch of an epoch, in blocks of several batches.

    The batch of step i is `order[i * batch_size : (i + 1) * batch_size]` over all processes
    together; process r of n takes its entries r, r + n, r + 2n, …

    Args:
        recipe: Its seed, batch order and batch size count.
        num_images: Number of training images.
        rank: The number of this process, from 0.
        world_size: The number of processes.
        block_size: Number of batches in a block; the last block may have fewer.
    """

    def __init__(self, recipe: Recipe, num_images: int, rank: int, world_size: int, block_size: int) -> None:
        last_batch = num_images % recipe.batch_size or recipe.batch_size
        if last_batch < world_size:
            raise RecipeError(
                f"the last batch of an epoch has {last_batch} images, too few for {world_size} devices; "
                f"choose a --recipe.batch_size that divides {num_images:,}, or fewer devices"
            )
        self.recipe, self.num_images, self.rank, self.world_size = recipe, num_images, rank, world_size
        self.block_size = block_size
        self.epoch = 0
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        """The number of blocks in an epoch."""
        return math.ceil(self.num_images / (self.recipe.batch_size * self.block_size))

    def __iter__(self) -> Iterator[Any]:
        """Indices of this process's images, int64, one tensor a block."""
        if self.recipe.batch_order == "shared":
            order = torch.from_numpy(epoch_order(self.recipe.seed, self.epoch, self.num_images)).long()
        else:
            # torch's own shuffle; a seed of its own keeps the processes' orders the same
            generator = torch.Generator().manual_seed(self.recipe.seed + self.epoch)
            order = torch.randperm(self.num_images, generator=generator)
        # The place of an image within its batch decides which process takes it.
        mine = torch.arange(self.num_images) % self.recipe.batch_size % self.world_size == self.rank
        for block, of_block in zip(
            *(t.split(self.recipe.batch_size * self.block_size) for t in (order, mine)), strict=True
        ):
            yield block[of_block]


class EvaluationBatches(Sampler[Any]):
    """This process's share of the images, in their order, none repeated and none left out.

    Args:
        num_images: Number of images, over all processes.
        rank: The number of this process, from 0.
        world_size: The number of processes.
    """

    def __init__(self, num_images: int, rank: int, world_size: int) -> None:
        self.share = torch.arange(rank, num_images, world_size)

    def __len__(self) -> int:
        """The number of batches."""
        return math.ceil(len(self.share) / EVALUATION_BATCH_SIZE)

    def __iter__(self) -> Iterator[Any]:
        """Indices of images, int64, one tensor a batch."""
        yield from self.share.split(EVALUATION_BATCH_SIZE)


class MnistDataModule(lightning.LightningDataModule):
    """The data set as batches; validation is on the test images, as in the tutorial.

    Args:
        recipe: Data set, seed, batch order, batch size and dtype.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    def prepare_data(self) -> None:
        """Fetches the data set where it is not here yet; Lightning has one process do it before the others continue."""
        datasets.fetch(self.recipe)

    def setup(self, stage: str) -> None:
        """Loads the images once, and puts them where the model is: on a GPU they stay there."""
        if hasattr(self, "train_digits"):
            return
        digits = datasets.load(self.recipe)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

        def kept(images: NDArray[np.uint8], labels: NDArray[np.integer]) -> Digits:
            return Digits(torch.from_numpy(images).to(device), torch.from_numpy(labels).long().to(device), self.recipe)

        self.train_digits = kept(digits.x_train, digits.y_train)
        self.test_digits = kept(digits.x_test, digits.y_test)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Blocks of as many batches as the module takes at a time: images (n, pixels) and labels (n,)."""
        rank, world_size = self._place()
        module = self.trainer.lightning_module if self.trainer else None
        block_size = getattr(module, "steps_per_execution", 1)
        batches = TrainingBatches(self.recipe, len(self.train_digits), rank, world_size, block_size)
        return DataLoader(self.train_digits, batch_sampler=batches, collate_fn=as_it_is)

    def val_dataloader(self) -> DataLoader[Batch]:
        """This process's share of the test images, none repeated."""
        rank, world_size = self._place()
        batches = EvaluationBatches(len(self.test_digits), rank, world_size)
        return DataLoader(self.test_digits, batch_sampler=batches, collate_fn=as_it_is)

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader

    def _place(self) -> tuple[int, int]:
        """The number of this process and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def as_it_is(batch: Any) -> Any:
    """What `Digits` gathered is a batch already: nothing is left to collate."""
    return batch
