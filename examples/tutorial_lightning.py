"""MNIST in PyTorch Lightning, as a beginner's tutorial has it: `python examples/tutorial_lightning.py`."""

import struct
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

try:
    MNIST("data", download=True)
except (RuntimeError, OSError):  # no network: the same digits are in this repository, as torchvision reads them
    digits = np.load(Path(__file__).parents[1] / "recipe" / "mnist.npz")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        for array, kind in ((digits[f"x_{split}"], "images-idx3"), (digits[f"y_{split}"], "labels-idx1")):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            Path("data", "MNIST", "raw", f"{prefix}-{kind}-ubyte").write_bytes(header + array.tobytes())

train = DataLoader(MNIST("data", train=True, transform=ToTensor()), batch_size=32, shuffle=True)
test = DataLoader(MNIST("data", train=False, transform=ToTensor()), batch_size=32)


class Classifier(lightning.LightningModule):
    """The network, its loss, its optimizer and its metrics."""

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
            nn.Linear(512, 10),  # the softmax is part of cross_entropy
        )
        self.train_accuracy = MulticlassAccuracy(num_classes=10, average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes=10, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch: images (batch, 1, 28, 28), labels (batch,)."""
        x, y = batch
        logits = self.model(x)
        loss = functional.cross_entropy(logits, y)
        self.train_accuracy(logits, y)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_accuracy", self.train_accuracy, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy on the test images, over the epoch."""
        x, y = batch
        logits = self.model(x)
        self.val_accuracy(logits, y)
        self.log("val_loss", functional.cross_entropy(logits, y), prog_bar=True)
        self.log("val_accuracy", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its defaults."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


model = Classifier()
trainer = lightning.Trainer(max_epochs=10)
trainer.fit(model, train, test)
trainer.validate(model, test)
