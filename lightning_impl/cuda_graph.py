"""Forward and backward pass as a CUDA graph, launched at once; on Keras's side XLA compiles the step."""

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_impl.module import DigitClassifier

NOT_TRIED = (
    "cuda_graph has not run on a GPU yet: hold the losses of a few epochs against those of a training without it"
)


class GraphedGradients:
    """The loss of a batch of one size and every parameter's gradient.

    Warm-up and capture follow "Whole-network capture" in torch's notes on CUDA graphs. A replay
    overwrites the gradients, so they need no zeroing; the optimizer steps outside, one fused kernel.

    Args:
        module: On one CUDA device, in its recipe's dtype, without gradients.
        batch_size: Images in every batch.
    """

    def __init__(self, module: DigitClassifier, batch_size: int) -> None:
        parameter = next(module.parameters())
        width = module.recipe.images.num_pixels + module.recipe.num_mask_columns
        self.images = torch.zeros(batch_size, width, dtype=parameter.dtype, device=parameter.device)
        self.labels = torch.zeros(batch_size, dtype=torch.int64, device=parameter.device)
        side = torch.cuda.Stream(parameter.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                module.zero_grad()
                module.loss_function(module(self.images), self.labels).backward()
        torch.cuda.current_stream().wait_stream(side)
        module.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = module(self.images)
            self.loss = module.loss_function(self.logits, self.labels)
            self.loss.backward()
        self.gradients = [parameter.grad for parameter in module.parameters()]

    def __call__(self, module: DigitClassifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Leaves the gradients in the module's parameters and returns the loss and the logits."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        # A smaller last batch goes without the graph and leaves other tensors in their place.
        for parameter, gradient in zip(module.parameters(), self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss.detach().clone(), self.logits.detach().clone()


def check_graph_works(module: DigitClassifier, against: str | None) -> None:
    """Refuses a CUDA graph where it cannot be, and says of one that it has not been tried.

    Args:
        module: Knows its trainer, and whether it takes blocks of steps.
        against: What rules out blocks.

    Raises:
        MisconfigurationException: Not on one CUDA device, or not in blocks of steps.
    """
    trainer = module.trainer
    why = f"and there is {against}" if against else "set --model.steps_per_execution to 2 or more"
    reasons = {
        "it needs a GPU: use --trainer.accelerator gpu": trainer.strategy.root_device.type != "cuda",
        "it works on one device: use --trainer.devices 1": trainer.world_size > 1,
        f"it needs blocks of steps, {why}": module.automatic_optimization,
        "it works without automatic mixed precision": "mixed" in str(trainer.precision),
    }
    for reason, applies in reasons.items():
        if applies:
            raise MisconfigurationException(f"cuda_graph cannot be used: {reason}")
    rank_zero_warn(NOT_TRIED)
