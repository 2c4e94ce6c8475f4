import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_impl.data import EvaluationBatches, MnistDataModule, TrainingBatches, preprocess, scale
from recipe import Recipe, mnist
from recipe.batch_order import epoch_order
from tests.conftest import recipe_of


@pytest.mark.parametrize("batch_order", ["shared", "framework"])
@pytest.mark.parametrize(
    ("num_images", "batch_size", "world_size", "block_size"),
    [(60_000, 32, 1, 1), (60_000, 32, 4, 25), (1000, 7, 3, 1), (1000, 7, 3, 4), (1000, 999, 1, 2)],
)
def test_shares_of_the_ranks_partition_each_batch(
    num_images: int, batch_size: int, world_size: int, block_size: int, batch_order: str
) -> None:
    recipe = Recipe(batch_size=batch_size, batch_order=batch_order)
    ranks = [TrainingBatches(recipe, num_images, rank, world_size, block_size) for rank in range(world_size)]
    alone = list(TrainingBatches(recipe, num_images, 0, 1, 1))
    num_blocks = math.ceil(math.ceil(num_images / batch_size) / block_size)
    assert {len(rank) for rank in ranks} == {num_blocks}
    blocks = list(zip(*ranks, strict=True))
    assert len(blocks) == num_blocks
    for index, shares in enumerate(blocks):
        whole = alone[index * block_size : (index + 1) * block_size]
        assert sorted(torch.cat(shares).tolist()) == sorted(torch.cat(whole).tolist())
        # A share of a block is the shares of its batches, one after another.
        for rank, share in enumerate(shares):
            assert torch.equal(share, torch.cat([batch[rank::world_size] for batch in whole]))
    assert sorted(torch.cat(alone).tolist()) == list(range(num_images))


@pytest.mark.parametrize("epoch", [0, 3])
def test_batches_follow_the_shared_order(epoch: int) -> None:
    batches = TrainingBatches(Recipe(seed=5), 60_000, 0, 1, 1)
    batches.set_epoch(epoch)
    assert np.array_equal(torch.cat(list(batches)).numpy(), epoch_order(5, epoch, 60_000))
    assert {len(batch) for batch in batches} == {32}


def test_own_shuffle_differs_by_epoch_and_from_the_shared_order() -> None:
    batches = TrainingBatches(recipe_of(preset="native"), 1000, 0, 1, 1)
    first = torch.cat(list(batches))
    assert torch.equal(first, torch.cat(list(batches)))
    batches.set_epoch(1)
    assert not torch.equal(first, torch.cat(list(batches)))
    assert not np.array_equal(first.numpy(), epoch_order(0, 0, 1000))


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("num_images", [10_000, 8, 2001])
def test_evaluation_shares_partition_the_images(num_images: int, world_size: int) -> None:
    ranks = [EvaluationBatches(num_images, rank, world_size) for rank in range(world_size)]
    batches = [list(rank) for rank in ranks]
    indices = torch.cat([batch for rank in batches for batch in rank])
    assert sorted(indices.tolist()) == list(range(num_images))
    assert max(len(batch) for rank in batches for batch in rank) <= 1000
    for rank, rank_batches in zip(ranks, batches, strict=True):
        assert len(rank) == len([batch for batch in rank_batches if len(batch)])


@pytest.mark.parametrize(("batch_size", "world_size"), [(59_999, 2), (7, 4), (1, 2)])
def test_last_batch_too_small_for_the_devices_is_refused(batch_size: int, world_size: int) -> None:
    last = 60_000 % batch_size or batch_size
    with pytest.raises(ValueError, match=f"has {last} images, too few for {world_size} devices; .*recipe.batch_size"):
        TrainingBatches(Recipe(batch_size=batch_size), 60_000, 0, world_size, 1)


def test_last_batch_of_an_image_a_device_is_taken() -> None:
    batches = TrainingBatches(Recipe(batch_size=59_998), 60_000, 1, 2, 1)
    assert [len(share) for share in batches] == [29_999, 1]


@pytest.fixture(scope="module", params=["float32", "float64"])
def digits(request: pytest.FixtureRequest) -> MnistDataModule:
    module = MnistDataModule(Recipe(dtype=request.param, batch_size=7000))
    module.setup("fit")
    return module


def test_loader_gives_the_orders_images_with_their_labels(digits: MnistDataModule) -> None:
    raw = mnist.load()
    order = epoch_order(0, 0, 60_000)
    batches = list(digits.train_dataloader())
    assert [len(images) for images, _ in batches] == [7000] * 8 + [4000]
    for step, (images, labels) in enumerate(batches):
        indices = order[step * 7000 : (step + 1) * 7000]
        assert images.dtype == getattr(torch, digits.recipe.dtype)
        assert images.shape == (len(indices), 784)
        assert torch.equal(images, preprocess(raw.x_train[indices], raw.y_train[indices], digits.recipe)[0])
        assert torch.equal(labels, torch.from_numpy(raw.y_train[indices]).long())


def test_images_are_kept_as_grey_levels(digits: MnistDataModule) -> None:
    """Scaled they would be 188 MB in float32, and a copy of them more while they are scaled."""
    for kept in (digits.train_digits, digits.test_digits):
        assert kept.images.dtype == torch.uint8


class _Divisors(TorchDispatchMode):
    """Collects what tensors are divided by."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "div" in function.__name__:
            self.seen.append(args[1])
        return function(*args, **(kwargs or {}))


def test_images_are_divided_by_a_number_of_their_device() -> None:
    """Of a number of Python's, or of the CPU's, torch multiplies by the rounded reciprocal on a GPU."""
    images = torch.zeros((2, 3, 3), dtype=torch.uint8, device="meta")
    with _Divisors() as divisors:
        scale(images, Recipe())
    (divisor,) = divisors.seen
    assert isinstance(divisor, torch.Tensor)
    assert divisor.device == images.device


def test_all_evaluation_is_on_every_test_digit_once(digits: MnistDataModule) -> None:
    expected = torch.from_numpy(mnist.load().y_test).long()
    for loader in (digits.val_dataloader(), digits.test_dataloader(), digits.predict_dataloader()):
        assert torch.equal(torch.cat([labels for _, labels in loader]), expected)
