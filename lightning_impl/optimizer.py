"""The optimizer: Adam with Keras's arithmetic, on torch's fused kernel, or torch's own."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipe import Recipe


def build_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Keras's Adam with the recipe's hyperparameters; torch's own where the recipe leaves Adam to the framework."""
    if recipe.adam == "shared":
        assert recipe.epsilon is not None  # noqa: S101 - the recipe fills it in for a shared Adam
        return KerasAdam(parameters, lr=recipe.learning_rate, betas=recipe.adam_betas, eps=recipe.epsilon)
    epsilon: dict[str, Any] = {} if recipe.epsilon is None else {"eps": recipe.epsilon}
    return torch.optim.Adam(parameters, lr=recipe.learning_rate, betas=recipe.adam_betas, fused=True, **epsilon)


class KerasAdam(torch.optim.Optimizer):
    """Adam as Keras computes it (`Adam.update_step` in keras/src/optimizers/adam.py).

    With m and v the moments after step t:

        θ ← θ − α·m / (√v + ε),   α = lr·√(1 − β₂ᵗ) / (1 − β₁ᵗ)

    torch adds ε after the bias correction instead (`_single_tensor_adam` in torch/optim/adam.py):

        θ ← θ − lr/(1 − β₁ᵗ)·m / (√v/√(1 − β₂ᵗ) + ε)

    Far enough in a training βᵗ is zero, and this is Keras's formula with lr for α. So each step
    tells torch's fused kernel that the training is as far, and gives it α for its learning rate.

    α is computed in the parameters' dtype, as Keras does: in float32, 1 − 0.999ᵗ has an error that
    shows within 75 steps.

    Args:
        params: The parameters, or groups of them; all of a group have one dtype and device.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: Keras's ε.
    """

    def __init__(self, params: Any, *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "step": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one optimizer step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update_of(group, parameters, [parameter.grad for parameter in parameters])()
        return loss

    def bound_to(self, parameters: list[Tensor], gradients: list[Tensor]) -> Callable[[], None]:
        """What `step` does to these parameters, which must be all of one group, with gradients that stay in place.

        Looking for parameters, gradients and moments takes a tenth of a step of so small a network;
        this looks for them once.
        """
        (group,) = self.param_groups
        return self._update_of(group, parameters, gradients)

    @torch.no_grad()
    def _update_of(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]
    ) -> Callable[[], None]:
        """A function that takes one optimizer step each time."""
        states = [self._state_of(parameter) for parameter in parameters]
        first_moments = [state["exp_avg"] for state in states]
        second_moments = [state["exp_avg_sq"] for state in states]
        far = [_far_in_training(parameters[0].device)] * len(parameters)

        @torch.no_grad()
        def update() -> None:
            group["step"] += 1
            beta_1, beta_2 = group["betas"]
            torch._fused_adam_(
                *(parameters, gradients, first_moments, second_moments, [], far),
                lr=step_size(group, parameters[0].dtype),
                beta1=beta_1,
                beta2=beta_2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

        return update

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def step_size(group: dict[str, Any], dtype: torch.dtype) -> float:
    """α of the group's current step, computed in `dtype`."""
    real = np.float64 if dtype == torch.float64 else np.float32
    power_1, power_2 = (real(beta) ** real(group["step"]) for beta in group["betas"])
    return float(real(group["lr"]) * np.sqrt(1 - power_2) / (1 - power_1))


_FAR: dict[torch.device, Tensor] = {}


def _far_in_training(device: torch.device) -> Tensor:
    """A step count at which every β < 1 - 1e-7 has β to its power equal to zero."""
    if device not in _FAR:
        _FAR[device] = torch.tensor(1e12, device=device)
    return _FAR[device]
