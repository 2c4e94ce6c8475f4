"""Random numbers that a torch script draws: the same in both frameworks. Keras's are in `watch.keras.model.noise`."""

from typing import Any

import torch
from torch import Tensor

from watch.program.draws import Draws, range_of

_NORMAL = {torch.randn, torch.randn_like, torch.normal, Tensor.normal_}
_UNIFORM = {torch.rand, torch.rand_like, Tensor.uniform_}
INTEGERS = {torch.randint, torch.randint_like}
DRAWING = _NORMAL | _UNIFORM | INTEGERS


def without_chance(func: Any, drawn: Tensor, args: Any, options: Any) -> Tensor:
    """Random numbers that are the same in every framework: mean plus deviation, or the middle of a uniform one."""
    if func in _UNIFORM:
        low, high = _range(func, args, options)
        return torch.full_like(drawn, (low + high) / 2)
    mean, deviation = _mean_and_deviation(func, args, options)
    return torch.zeros_like(drawn) + mean + deviation


def of_step(draws: Draws, func: Any, drawn: Tensor, args: Any, options: Any, *, again: bool) -> tuple[Tensor, Any]:
    """Numbers of the same distribution that every framework has, and what they are made of: those with deviation 1."""
    if func in INTEGERS:
        bounds = range_of(args[1:] if func is torch.randint_like else args, options)
        if bounds is None:
            return drawn, drawn.numpy(force=True)
        low, high = bounds
        whole = draws.integers(drawn.shape, low, high, again=again)
        return torch.from_numpy(whole), whole
    if func in _UNIFORM:
        least, most = _range(func, args, options)
        numbers = least + (most - least) * draws.uniform(drawn.shape)
        return torch.from_numpy(numbers), numbers
    mean, deviation = _mean_and_deviation(func, args, options)
    numbers = draws.normal(drawn.shape)
    return mean + deviation * torch.from_numpy(numbers).to(drawn.device), numbers


def _range(func: Any, args: Any, options: Any) -> tuple[float, float]:
    if func is not Tensor.uniform_:
        return 0.0, 1.0
    low, high = (options.get(name, args[1 + i] if len(args) > 1 + i else i) for i, name in enumerate(("from", "to")))
    return low, high


def _mean_and_deviation(func: Any, args: Any, options: Any) -> tuple[Any, Any]:
    if func not in {torch.normal, Tensor.normal_}:
        return 0.0, 1.0
    given = args[1:] if func is Tensor.normal_ else args
    mean, deviation = (options.get(name, given[i] if len(given) > i else i) for i, name in enumerate(("mean", "std")))
    return mean, deviation
