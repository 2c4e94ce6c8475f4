"""A bare torch loop, as someone who knows torch writes it: fused Adam, tensors in memory, no metrics while training.

Denormal numbers are flushed to zero, without which it is slower: the stronger baseline.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.scripts.clock import Clock, options, report
from benchmarks.scripts.lightning_clock import synchronize
from recipe import mnist

BATCH_SIZE, EVALUATION_BATCH_SIZE = 32, 1000


def main() -> None:
    """Loads, builds, trains and validates."""
    arguments = options(__doc__).parse_args()
    torch.set_flush_denormal(True)
    device = torch.device("cuda" if arguments.device == "gpu" else "cpu")

    digits = mnist.load()
    x_train = (torch.from_numpy(digits.x_train).view(-1, 784).float() / 255).to(device)
    y_train = torch.from_numpy(digits.y_train).long().to(device)
    x_test = (torch.from_numpy(digits.x_test).view(-1, 784).float() / 255).to(device)
    y_test = torch.from_numpy(digits.y_test).long().to(device)
    model = nn.Sequential(
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.ReLU(),
        nn.Linear(256, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    ).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    clock = Clock(synchronize)
    for _ in range(arguments.epochs):
        clock.start_epoch()
        for indices in torch.randperm(len(x_train), device=device).split(BATCH_SIZE):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x_train[indices]), y_train[indices])
            loss.backward()
            optimizer.step()
        clock.start_validation()
        loss, accuracy = evaluate(model, x_test, y_test)
        clock.end_validation()
        clock.end_epoch()
        print(f"val_loss {loss:.4f}, val_accuracy {accuracy:.2%}")
    report(clock, device=arguments.device)


@torch.inference_mode()
def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss and accuracy."""
    loss, correct = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
    for images, labels in zip(x.split(EVALUATION_BATCH_SIZE), y.split(EVALUATION_BATCH_SIZE), strict=True):
        logits = model(images)
        loss += functional.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(dim=1) == labels).sum()
    return loss / len(x), correct / len(x)


if __name__ == "__main__":
    main()
