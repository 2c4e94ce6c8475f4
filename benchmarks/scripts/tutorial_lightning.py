"""Tutorial-style Lightning, as beginners write it, with a clock."""

import struct
import tempfile
from pathlib import Path

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from benchmarks.scripts.clock import options, report
from benchmarks.scripts.lightning_clock import EpochClock
from recipe import mnist

UNSIGNED_BYTES = 0x08
"""The code of the type in the magic number of an IDX file."""


class Classifier(lightning.LightningModule):
    """The network, its loss and its metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 128),
            nn.ReLU(),
            nn.Linear(128, 256),
            nn.ReLU(),
            nn.Linear(256, 512),
            nn.ReLU(),
            nn.Linear(512, 10),
        )
        self.train_accuracy = MulticlassAccuracy(num_classes=10, average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes=10, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One batch: loss and accuracy, logged each step."""
        x, y = batch
        logits = self.model(x)
        loss = functional.cross_entropy(logits, y)
        self.train_accuracy(logits, y)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_accuracy", self.train_accuracy, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One batch of validation, logged over the epoch."""
        x, y = batch
        logits = self.model(x)
        self.val_accuracy(logits, y)
        self.log("val_loss", functional.cross_entropy(logits, y), prog_bar=True)
        self.log("val_accuracy", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its defaults."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def write_idx_files(root: Path) -> None:
    """Writes the digits as the four files that torchvision's MNIST reads."""
    digits = mnist.load()
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_idx(raw / "train-images-idx3-ubyte", digits.x_train)
    write_idx(raw / "train-labels-idx1-ubyte", digits.y_train)
    write_idx(raw / "t10k-images-idx3-ubyte", digits.x_test)
    write_idx(raw / "t10k-labels-idx1-ubyte", digits.y_test)


def write_idx(path: Path, array: NDArray[np.integer]) -> None:
    """Writes an IDX file: magic number, sizes, both big-endian, and the bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, UNSIGNED_BYTES, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def main() -> None:
    """Loads, builds, fits and validates."""
    arguments = options(__doc__).parse_args()
    clock = EpochClock()
    with tempfile.TemporaryDirectory() as root:
        write_idx_files(Path(root))
        train = DataLoader(MNIST(root, train=True, transform=ToTensor()), batch_size=32, shuffle=True)
        test = DataLoader(MNIST(root, train=False, transform=ToTensor()), batch_size=32)
        module = Classifier()
        trainer = lightning.Trainer(
            max_epochs=arguments.epochs, accelerator=arguments.device, default_root_dir=root, callbacks=[clock]
        )
        trainer.fit(module, train, test)
        trainer.validate(module, test)
    report(clock.clock, device=arguments.device)


if __name__ == "__main__":
    main()
