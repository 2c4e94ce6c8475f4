"""Chooses torch's device and arithmetic."""

import lightning
import torch

from recipe import Recipe
from recipe.errors import UnavailableError


def accelerator_of(device: str) -> str:
    """Lightning's name of a device, which is "auto", "cpu" or "gpu": CUDA if there is a GPU, else the CPU.

    Lightning's own "auto" would take a Mac's GPU, which has no float64; as Keras's implementation, this one does not.

    Raises:
        UnavailableError: "gpu" was asked for, and torch finds none.
    """
    if device == "gpu" and not torch.cuda.is_available():
        raise UnavailableError(
            "a GPU was asked for, but torch finds none; check the driver and that torch is a CUDA "
            "build, or ask for --device cpu"
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def set_arithmetic(recipe: Recipe) -> None:
    """Makes torch compute in this process as the recipe says."""
    if recipe.matmul_precision == "shared":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False  # of convolutions, which by default may
    # Adam's moments of the pixels that are always blank decay into denormal numbers, on which a
    # CPU is slow. TensorFlow and XLA flush them to zero as well; no weight changes by one bit.
    torch.set_flush_denormal(True)


def current_device(trainer: lightning.Trainer) -> str:
    """The kind of device that the Trainer computes on, "cpu" or "gpu"; its module is back on the CPU after a fit."""
    return "cpu" if trainer.strategy.root_device.type == "cpu" else "gpu"


def peak_gpu_memory_bytes(trainer: lightning.Trainer) -> int | None:
    """The most of the GPU's memory that torch's allocator has given out; None where the Trainer computes on none."""
    device = trainer.strategy.root_device
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def num_threads() -> int:
    """How many threads one operation may use on the CPU."""
    return torch.get_num_threads()


def tf32(*, convolves: bool) -> bool:
    """Whether float32 matrix products, or convolutions, may be computed in TF32 where the GPU has it."""
    return torch.get_float32_matmul_precision() != "highest" or (convolves and torch.backends.cudnn.allow_tf32)
