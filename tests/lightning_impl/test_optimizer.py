import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lightning_impl.optimizer import KerasAdam
from recipe import Recipe

SHAPES = [(784, 16), (16,), (3, 5)]
LEARNING_RATE, EPSILON = 1e-3, 1e-7


def _gradients(num_steps: int, dtype: str) -> list[list[np.ndarray]]:
    """Gradients over many orders of magnitude, with zeros: where ε counts and where it does not."""
    random = np.random.default_rng(1)
    scale = 10.0 ** random.uniform(-10, 1, (num_steps, len(SHAPES)))
    gradients = [[random.normal(size=shape) * s for shape, s in zip(SHAPES, row, strict=True)] for row in scale]
    for row in gradients:
        row[0][:5] = 0
    return [[array.astype(dtype) for array in row] for row in gradients]


def _parameters(dtype: str) -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.normal(size=shape).astype(dtype) for shape in SHAPES]


def keras_adam(
    parameters: list[np.ndarray], gradients: list[list[np.ndarray]], betas: tuple[float, float], *, real: type
) -> list[np.ndarray]:
    """`Adam.update_step` of keras/src/optimizers/adam.py in NumPy, all in the type `real`."""
    beta_1, beta_2 = real(betas[0]), real(betas[1])
    epsilon, one = real(EPSILON), real(1)
    parameters = [array.copy() for array in parameters]
    first_moments, second_moments = ([np.zeros_like(array) for array in parameters] for _ in range(2))
    for step, row in enumerate(gradients, 1):
        alpha = real(LEARNING_RATE) * np.sqrt(one - beta_2 ** real(step)) / (one - beta_1 ** real(step))
        for i, gradient in enumerate(row):
            first_moments[i] += (gradient - first_moments[i]) * (one - beta_1)
            second_moments[i] += (gradient * gradient - second_moments[i]) * (one - beta_2)
            parameters[i] -= first_moments[i] * alpha / (np.sqrt(second_moments[i]) + epsilon)
    return parameters


def _train(
    gradients: list[list[np.ndarray]], dtype: str, make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> list[np.ndarray]:
    tensors = [nn.Parameter(torch.from_numpy(array.copy())) for array in _parameters(dtype)]
    optimizer = make(tensors)
    for row in gradients:
        for tensor, gradient in zip(tensors, row, strict=True):
            tensor.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return [tensor.detach().numpy() for tensor in tensors]


def _make(dtype: str) -> Callable[[list[nn.Parameter]], KerasAdam]:
    return lambda tensors: KerasAdam(tensors, lr=LEARNING_RATE, betas=Recipe(dtype=dtype).adam_betas, eps=EPSILON)


def _distance(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(first, second, strict=True))


def test_float64_follows_kerass_formula() -> None:
    gradients = _gradients(100, "float64")
    expected = keras_adam(_parameters("float64"), gradients, Recipe(dtype="float64").adam_betas, real=np.float64)
    # 100 steps of at most a few learning rates: each rounds by about 1e-3 · 1e-16, far below 1e-12.
    assert _distance(_train(gradients, "float64", _make("float64")), expected) <= 1e-12


def test_float64_formula_is_told_apart_from_torchs() -> None:
    """The control of the test above: its gradients and tolerance see where ε is added."""
    gradients = _gradients(100, "float64")
    betas = Recipe(dtype="float64").adam_betas
    expected = keras_adam(_parameters("float64"), gradients, betas, real=np.float64)
    torchs = _train(
        gradients, "float64", lambda tensors: torch.optim.Adam(tensors, lr=LEARNING_RATE, betas=betas, eps=EPSILON)
    )
    assert _distance(torchs, expected) > 1e-6


def test_float32_follows_kerass_formula_with_powers_in_float32() -> None:
    gradients = _gradients(100, "float32")
    expected = keras_adam(_parameters("float32"), gradients, Recipe().adam_betas, real=np.float32)
    # A parameter below 4 rounds by at most half a unit in the last place, 2^-22 / 2, in each of 100
    # steps, on either side; errors of the updates themselves, 1e-3 · a few 2^-24, vanish beside it.
    # As a random walk the sum stays near √100 of them; 2 · 100 is the bound.
    assert _distance(_train(gradients, "float32", _make("float32")), expected) <= 2 * 100 * 2.0**-23


@pytest.mark.parametrize("step", [1, 2, 10, 75, 283, 1000])
def test_float32_step_size_is_the_one_from_float32_powers(step: int) -> None:
    """All gradients but that of step `step` are zero, so that one step shows α, which a trajectory could hide."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = _make("float32")([parameter])
    for gradient in [0.0] * (step - 1) + [1.0]:
        parameter.grad = torch.full((1,), gradient)
        optimizer.step()
    f32 = np.float32
    power_1, power_2 = f32(0.9) ** f32(step), f32(0.999) ** f32(step)
    alpha = f32(LEARNING_RATE) * np.sqrt(1 - power_2) / (1 - power_1)
    expected = alpha * (1 - 0.9) / (math.sqrt(1 - 0.999) + EPSILON)
    # The kernel rounds a handful of times, each by at most 2^-24; powers in float64 miss by 1e-5 and more.
    assert math.isclose(-parameter.item(), expected, rel_tol=16 * 2.0**-24)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_groups_read_the_same_after_a_step(dtype: str) -> None:
    parameter = nn.Parameter(torch.ones(2, dtype=getattr(torch, dtype)))
    optimizer = _make(dtype)([parameter])
    for _ in range(3):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        group = optimizer.param_groups[0]
        assert (group["lr"], group["eps"]) == (LEARNING_RATE, EPSILON)


def test_groups_read_the_same_after_a_step_that_fails() -> None:
    optimizer = _make("float32")([nn.Parameter(torch.ones(2))])

    def closure() -> float:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        optimizer.step(closure)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["eps"]) == (LEARNING_RATE, EPSILON)


def test_closure_is_called_with_gradients_and_its_loss_returned() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = _make("float32")([parameter])

    def closure() -> torch.Tensor:
        loss = (parameter * 3).sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.item() == 3
    assert parameter.item() < 1


def test_state_dict_round_trip_goes_on_bit_for_bit() -> None:
    gradients = _gradients(20, "float32")
    whole = _train(gradients, "float32", _make("float32"))

    tensors = [nn.Parameter(torch.from_numpy(array.copy())) for array in _parameters("float32")]
    state = None
    for half in (gradients[:10], gradients[10:]):
        optimizer = _make("float32")(tensors)
        if state is not None:
            optimizer.load_state_dict(state)
        for row in half:
            for tensor, gradient in zip(tensors, row, strict=True):
                tensor.grad = torch.from_numpy(gradient.copy())
            optimizer.step()
        state = copy.deepcopy(optimizer.state_dict())
    assert all(np.array_equal(a, b.detach().numpy()) for a, b in zip(whole, tensors, strict=True))


def test_learning_rate_scheduler_sets_the_step_size() -> None:
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = _make("float64")([parameter])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    moved = []
    for _ in range(3):
        before = parameter.item()
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
        moved.append(before - parameter.item())
    # A constant gradient of 1 moves the parameter by lr / (1 + ε/√(1 − β₂ᵗ)), which is lr to 1e-5.
    assert np.allclose(moved, [1e-3, 1e-4, 1e-5], rtol=1e-5, atol=0)
    assert math.isclose(optimizer.param_groups[0]["lr"], 1e-6)
