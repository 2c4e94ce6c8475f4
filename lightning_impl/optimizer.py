"""Adam with Keras's arithmetic, on torch's fused kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class KerasAdam(torch.optim.Adam):
    """Adam as Keras computes it (`Adam.update_step` in keras/src/optimizers/adam.py).

    With m and v the moments after step t:

        θ ← θ − α·m / (√v + ε),   α = lr·√(1 − β₂ᵗ) / (1 − β₁ᵗ)

    torch adds ε after the bias correction instead (`_single_tensor_adam` in torch/optim/adam.py):

        θ ← θ − lr/(1 − β₁ᵗ)·m / (√v/√(1 − β₂ᵗ) + ε)

    The two are one formula under torch's lr' = α·(1 − β₁ᵗ)/√(1 − β₂ᵗ) and ε' = ε/√(1 − β₂ᵗ), so each
    step sets these and lets torch's fused kernel do the work. α is computed in the parameters'
    dtype, as Keras does: in float32 1 − 0.999ᵗ has an error that is visible within 75 steps.

    Args:
        params: The parameters, all of one dtype.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: Keras's ε.
    """

    def __init__(self, params: Any, *, lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one optimizer step; the groups' `lr` and `eps` read the same before and after."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        stated = [(group["lr"], group["eps"]) for group in self.param_groups]
        try:
            for group in self.param_groups:
                group["lr"], group["eps"] = self._torch_equivalents(group)
            super().step()
        finally:
            for group, (lr, eps) in zip(self.param_groups, stated, strict=True):
                group["lr"], group["eps"] = lr, eps
        return loss

    def _torch_equivalents(self, group: dict[str, Any]) -> tuple[float, float]:
        """The lr' and ε' of the next step."""
        parameter = group["params"][0]
        state = self.state.get(parameter)
        step = 1 + (int(state["step"]) if state else 0)
        real = np.float64 if parameter.dtype == torch.float64 else np.float32
        beta_1, beta_2 = group["betas"]
        power_1, power_2 = real(beta_1) ** real(step), real(beta_2) ** real(step)
        alpha = real(group["lr"]) * np.sqrt(1 - power_2) / (1 - power_1)
        correction_1, correction_2 = 1 - beta_1**step, np.sqrt(1 - beta_2**step)
        return float(alpha) * correction_1 / correction_2, group["eps"] / correction_2
