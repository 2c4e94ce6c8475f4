import torch

from lightning_impl.metrics import Metrics
from recipe import Recipe


def test_loss_is_the_mean_over_images_not_over_batches() -> None:
    metrics = Metrics("val", Recipe(dtype="float64"))
    for loss, num_images in ((1.0, 3), (5.0, 1)):
        metrics.update(torch.zeros(num_images, 10), torch.zeros(num_images, dtype=torch.long), torch.tensor(loss))
    assert metrics.compute()["val_loss"] == 2


def test_float64_losses_are_not_rounded_to_float32_on_a_device() -> None:
    metrics = Metrics("val", Recipe(dtype="float64")).to("cpu")  # as Trainer does
    metrics.update(torch.zeros(1, 10), torch.zeros(1, dtype=torch.long), torch.tensor(0.1, dtype=torch.float64))
    assert metrics.compute()["val_loss"].item() == 0.1


def test_half_precision_counts_all_images() -> None:
    """The largest number in half precision is 65,504."""
    metrics = Metrics("train", Recipe()).to(torch.float16)  # as Lightning's precision 16-true does
    metrics.loss.update(torch.full((60,), 2.0, dtype=torch.float16), torch.full((60,), 1000))
    assert metrics.compute()["loss"] == 2
