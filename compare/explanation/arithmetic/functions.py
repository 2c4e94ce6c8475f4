"""Functions of which people write losses, by what they gave: which of the ways to read a call gives what was seen."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from compare.explanation.observed.observation import Array

Function = Callable[[Sequence[Array]], Array]

_EQUAL = 1e-9
"""What float64 leaves between two ways to compute the same is less, a constant rounded to float32 aside."""

_OF_ONE: Mapping[str, Callable[[Array], Array]] = {
    "neg": np.negative, "negative": np.negative, "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "square": np.square, "abs": np.abs, "absolute": np.abs,
    "relu": lambda x: np.maximum(x, 0), "sigmoid": special.expit, "tanh": np.tanh, "sign": np.sign,
    "softplus": lambda x: np.logaddexp(0, x), "logsigmoid": lambda x: -np.logaddexp(0, -x),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x), "reciprocal": lambda x: 1 / x, "sin": np.sin, "cos": np.cos,
    "detach": np.asarray, "clone": np.asarray, "contiguous": np.asarray, "double": np.asarray, "float": np.asarray,
    "to": np.asarray, "cosh": np.cosh,
}  # fmt: skip

_OF_TWO: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "subtract": np.subtract, "mul": np.multiply, "multiply": np.multiply,
    "div": np.divide, "divide": np.divide, "truediv": np.divide, "true_divide": np.divide, "pow": np.power,
    "power": np.power, "maximum": np.maximum, "minimum": np.minimum, "max": np.maximum, "min": np.minimum,
    "matmul": np.matmul, "mm": np.matmul, "dot": np.matmul, "rsub": lambda a, b: b - a, "rdiv": lambda a, b: b / a,
    "rtruediv": lambda a, b: b / a, "rpow": lambda a, b: b**a, "squared_difference": lambda a, b: (a - b) ** 2,
}  # fmt: skip

_REDUCING: Mapping[str, Callable[..., Array]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "amax": np.max, "amin": np.min, "prod": np.prod,
    "reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min, "var": np.var,
    "std": np.std, "logsumexp": special.logsumexp, "norm": lambda x, axis: np.sqrt(np.sum(x * x, axis=axis)),
}  # fmt: skip

_ALONG: Mapping[str, Callable[..., Array]] = {"softmax": special.softmax, "log_softmax": special.log_softmax}

_SHAPING = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "expand_dims", "view_as", "reshape_as", "ravel",
})  # fmt: skip

_ELEMENTWISE_LOSSES: Mapping[str, Callable[[Array, Array], Array]] = {
    "mse_loss": lambda a, b: (a - b) ** 2,
    "l1_loss": lambda a, b: np.abs(a - b),
    "binary_cross_entropy": lambda a, b: -special.xlogy(b, a) - special.xlogy(1 - b, 1 - a),
    "binary_cross_entropy_with_logits": lambda a, b: np.logaddexp(0, a) - a * b,
}


def function_of(name: str, inputs: Sequence[Array], settings: Mapping[str, Any], output: Array) -> Function | None:
    """What a call computes of its inputs, found by its output; None for a function that is not known.

    Args:
        name: The function's.
        inputs: The arrays that it was given.
        settings: Its other arguments.
        output: What it gave.
    """
    for function in _readings(name, inputs, numbers_in(settings), output.shape):
        try:
            with np.errstate(all="ignore"):
                made = function(inputs)
                if made.shape == output.shape and np.allclose(made, output, rtol=_EQUAL, atol=0, equal_nan=True):
                    return function
        except (ValueError, IndexError, TypeError):
            continue
    return None


def numbers_in(settings: Mapping[str, Any]) -> list[float]:
    """The numbers among the arguments of a call, in their order."""
    held = [part for value in settings.values() for part in (value if isinstance(value, list) else [value])]
    return [float(value) for value in held if isinstance(value, int | float) and not isinstance(value, bool)]


def _readings(
    name: str, inputs: Sequence[Array], numbers: Sequence[float], shape: tuple[int, ...]
) -> Iterator[Function]:
    """What a call of this name may mean."""
    if name in _OF_TWO:
        yield from _of_two(_OF_TWO[name], inputs, numbers)
    if name.startswith(("clamp", "clip")):
        yield from _clamped(numbers)
    if len(inputs) == 1:
        yield from _of_one(name, inputs[0].ndim, shape)
    if name in ("stack", "cat", "concat", "concatenate"):
        for axis in range(len(shape)):
            yield partial(_put_together, np.stack if name == "stack" else np.concatenate, axis)
    if name in _ELEMENTWISE_LOSSES and len(inputs) == 2:  # prediction and target
        for reduce in (np.mean, np.sum, np.asarray):
            yield partial(_loss, _ELEMENTWISE_LOSSES[name], reduce)


def _of_one(name: str, dimensions: int, shape: tuple[int, ...]) -> Iterator[Function]:
    """What a call of this name may mean that was given one array alone."""
    if name in _OF_ONE:
        yield lambda given: _OF_ONE[name](given[0])
    if name in _REDUCING:
        for axes in _axes(dimensions):
            yield partial(_reduced, _REDUCING[name], axes, shape)
    if name in _ALONG:
        for axis in range(dimensions):
            yield partial(_along, _ALONG[name], axis)
    if name in _SHAPING:
        yield lambda given: given[0].reshape(shape)
    if name in ("transpose", "t", "T", "permute", "mT"):
        for order in itertools.permutations(range(min(dimensions, 4))):
            yield partial(_turned, order)


def _of_two(
    function: Callable[[Array, Array], Array], inputs: Sequence[Array], numbers: Sequence[float]
) -> Iterator[Function]:
    if len(inputs) == 2:
        yield lambda given: function(given[0], given[1])
        yield lambda given: function(given[1], given[0])
    if len(inputs) == 1:
        for value in numbers:
            yield partial(_with_number, function, value, first=False)
            yield partial(_with_number, function, value, first=True)


def _with_number(
    function: Callable[[Array, Array], Array], value: float, given: Sequence[Array], *, first: bool
) -> Array:
    held = np.asarray(value)
    return function(held, given[0]) if first else function(given[0], held)


def _axes(dimensions: int) -> Iterator[tuple[int, ...]]:
    yield tuple(range(dimensions))
    for count in range(1, dimensions):
        yield from itertools.combinations(range(dimensions), count)


def _reduced(
    function: Callable[..., Array], axes: tuple[int, ...], shape: tuple[int, ...], given: Sequence[Array]
) -> Array:
    return np.asarray(function(given[0], axis=axes)).reshape(shape)


def _along(function: Callable[..., Array], axis: int, given: Sequence[Array]) -> Array:
    return function(given[0], axis=axis)


def _clamped(numbers: Sequence[float]) -> Iterator[Function]:
    for value in numbers:
        yield partial(_with_number, np.maximum, value, first=False)
        yield partial(_with_number, np.minimum, value, first=False)
    if len(numbers) > 1:
        yield lambda given: np.clip(given[0], numbers[0], numbers[1])


def _turned(order: tuple[int, ...], given: Sequence[Array]) -> Array:
    return np.transpose(given[0], order)


def _put_together(function: Callable[..., Array], axis: int, given: Sequence[Array]) -> Array:
    return function(list(given), axis=axis)


def _loss(function: Callable[[Array, Array], Array], reduce: Callable[[Array], Array], given: Sequence[Array]) -> Array:
    return np.asarray(reduce(function(given[0], given[1])))
