"""Loss and gradients of the dense network without autograd, which costs torch what compiling saves Keras.

They come from the kernels that autograd would call, in its order.

Autograd's bookkeeping takes a third of a step of so small a network, and what is made again in every
step, tensors and views of them, another tenth. The bits are the same, which a test holds by comparing
blocks of steps with single ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

_ATEN = torch.ops.aten
_MEAN, _IGNORED_LABEL = 1, -100  # as `torch.nn.functional.cross_entropy` passes them


class _Layer(NamedTuple):
    """A Linear layer: its parameters, their gradients, and the kernel seen as (inputs, units)."""

    kernel: Tensor
    bias: Tensor
    transposed: Tensor
    of_kernel: Tensor
    of_bias: Tensor


class _Scratch(NamedTuple):
    """What one layer computes from a batch of one size; every step overwrites it."""

    output: Tensor
    delta: Tensor
    delta_transposed: Tensor


class DenseGradients:
    """Forward and backward pass of Linear layers with ReLU between them and cross-entropy at the end.

    Args:
        model: Linear layers with ReLU between them; they must keep their tensors.
    """

    def __init__(self, model: nn.Sequential) -> None:
        linear = [layer for layer in model if isinstance(layer, nn.Linear)]
        self.parameters = [parameter for layer in linear for parameter in (layer.weight, layer.bias)]
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.layers = [
            _Layer(layer.weight, layer.bias, layer.weight.t(), of_kernel, of_bias)
            for layer, of_kernel, of_bias in zip(linear, self.gradients[::2], self.gradients[1::2], strict=True)
        ]
        self.one = linear[0].weight.new_ones(())
        self._scratch: dict[int, list[_Scratch]] = {}

    def attach(self) -> None:
        """Gives the parameters their gradients, which Lightning takes away before a validation."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """Overwrites the gradients by `weight` times those of the mean loss; returns that loss and the logits."""
        scratch = self._scratch_of(len(images))
        inputs = [images]
        for layer, of_layer in zip(self.layers[:-1], scratch, strict=False):
            inputs.append(torch.addmm(layer.bias, inputs[-1], layer.transposed, out=of_layer.output).relu_())
        logits = torch.addmm(self.layers[-1].bias, inputs[-1], self.layers[-1].transposed)
        log_probabilities = torch.log_softmax(logits, 1)
        loss, total = _ATEN.nll_loss_forward.default(log_probabilities, labels, None, _MEAN, _IGNORED_LABEL)
        of_loss = self.one if weight == 1 else self.one * weight
        delta = _ATEN.nll_loss_backward.default(of_loss, log_probabilities, labels, None, _MEAN, _IGNORED_LABEL, total)
        _ATEN._log_softmax_backward_data.out(delta, log_probabilities, 1, logits.dtype, out=scratch[-1].delta)  # noqa: SLF001 - its name
        for index in range(len(self.layers) - 1, -1, -1):
            layer, here = self.layers[index], scratch[index]
            torch.mm(here.delta_transposed, inputs[index], out=layer.of_kernel)
            torch.sum(here.delta, 0, out=layer.of_bias)
            if index:
                below = torch.mm(here.delta, layer.kernel, out=scratch[index - 1].delta)
                _ATEN.threshold_backward.grad_input(below, inputs[index], 0, grad_input=below)
        return loss, logits

    def _scratch_of(self, num_images: int) -> list[_Scratch]:
        if num_images not in self._scratch:
            self._scratch[num_images] = []
            for layer in self.layers:
                output, delta = (layer.bias.new_empty(num_images, len(layer.bias)) for _ in range(2))
                self._scratch[num_images].append(_Scratch(output, delta, delta.t()))
        return self._scratch[num_images]


def gives_its_gradients(model: nn.Sequential, loss: nn.Module) -> bool:
    """Whether `DenseGradients` does what autograd would: its layers and loss, nothing frozen, no hook that listens."""
    kinds = all(type(layer) in (nn.Linear, nn.ReLU) for layer in model)
    plain_loss = type(loss) is nn.CrossEntropyLoss and (
        (loss.weight, loss.ignore_index, loss.reduction, loss.label_smoothing) == (None, _IGNORED_LABEL, "mean", 0)
    )
    listens = any(
        getattr(module, f"_{hooks}_hooks")
        for module in (*model.modules(), loss)
        for hooks in ("forward", "forward_pre", "backward", "backward_pre")
    )
    return kinds and plain_loss and not listens and all(parameter.requires_grad for parameter in model.parameters())
