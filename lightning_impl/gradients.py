"""Loss and gradients of the dense network, by the kernels that autograd would call and in its order.

Autograd's bookkeeping costs a third of a step of so small a network. The bits are the same, which a
test holds by comparing blocks of steps with single ones.
"""

import torch
from torch import Tensor, nn

_ATEN = torch.ops.aten
_MEAN, _IGNORED_LABEL = 1, -100  # as `torch.nn.functional.cross_entropy` passes them


class DenseGradients:
    """Forward and backward pass of Linear layers with ReLU between them and cross-entropy at the end.

    Args:
        model: Linear layers with ReLU between them.
    """

    def __init__(self, model: nn.Sequential) -> None:
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        self.kernels = [layer.weight for layer in layers]
        self.biases = [layer.bias for layer in layers]
        self.gradients = [(torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)) for layer in layers]
        self.one = torch.ones((), dtype=layers[0].weight.dtype)

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """Leaves `weight` times the mean loss's gradients in the parameters; returns that loss and the logits."""
        activations = [images]
        last = len(self.kernels) - 1
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            output = torch.addmm(bias, activations[index], kernel.t())
            activations.append(output if index == last else output.relu_())
        logits = activations.pop()
        log_probabilities = torch.log_softmax(logits, 1)
        loss, total = _ATEN.nll_loss_forward(log_probabilities, labels, None, _MEAN, _IGNORED_LABEL)
        of_loss = self.one if weight == 1 else self.one * weight
        delta = _ATEN.nll_loss_backward(of_loss, log_probabilities, labels, None, _MEAN, _IGNORED_LABEL, total)
        delta = _ATEN._log_softmax_backward_data(delta, log_probabilities, 1, logits.dtype)  # noqa: SLF001 - its name
        for index in range(last, -1, -1):
            of_kernel, of_bias = self.gradients[index]
            torch.mm(delta.t(), activations[index], out=of_kernel)
            torch.sum(delta, 0, out=of_bias)
            # Assigned anew in each step: Lightning takes all gradients away before a validation.
            self.kernels[index].grad, self.biases[index].grad = of_kernel, of_bias
            if index:
                delta = _ATEN.threshold_backward(torch.mm(delta, self.kernels[index]), activations[index], 0)
        return loss, logits
