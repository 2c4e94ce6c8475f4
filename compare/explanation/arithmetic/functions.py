"""Functions of which people write losses and layers, by what they gave: which reading of a call gives what was seen."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from compare.explanation.observed.observation import Array
from compare.explanation.operations.activations import identify

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
    "to": np.asarray, "cosh": np.cosh, "tril": np.tril, "triu": np.triu,
}  # fmt: skip

_OF_TWO: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "subtract": np.subtract, "mul": np.multiply, "multiply": np.multiply,
    "div": np.divide, "divide": np.divide, "truediv": np.divide, "true_divide": np.divide, "pow": np.power,
    "power": np.power, "maximum": np.maximum, "minimum": np.minimum, "max": np.maximum, "min": np.minimum,
    "matmul": np.matmul, "mm": np.matmul, "dot": np.matmul, "rsub": lambda a, b: b - a, "rdiv": lambda a, b: b / a,
    "rtruediv": lambda a, b: b / a, "rpow": lambda a, b: b**a, "squared_difference": lambda a, b: (a - b) ** 2,
    "bmm": np.matmul, "outer": np.outer, "gt": np.greater, "greater": np.greater, "lt": np.less, "less": np.less,
    "ge": np.greater_equal, "greater_equal": np.greater_equal, "le": np.less_equal, "less_equal": np.less_equal,
    "eq": np.equal, "equal": np.equal, "ne": np.not_equal, "not_equal": np.not_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or,
}  # fmt: skip

_REDUCING: Mapping[str, Callable[..., Array]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "amax": np.max, "amin": np.min, "prod": np.prod,
    "reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min, "var": np.var,
    "std": np.std, "logsumexp": special.logsumexp, "norm": lambda x, axis: np.sqrt(np.sum(x * x, axis=axis)),
}  # fmt: skip

_ALONG: Mapping[str, Callable[..., Array]] = {
    "softmax": special.softmax, "log_softmax": special.log_softmax, "cumsum": np.cumsum, "cumprod": np.cumprod,
    "flip": np.flip, "normalize": lambda x, axis: x / np.linalg.norm(x, axis=axis, keepdims=True),
}  # fmt: skip

_BROADCAST = frozenset({"expand", "expand_as", "broadcast_to"})

_SHAPING = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "unflatten", "expand_dims", "view_as", "reshape_as", "ravel",
})  # fmt: skip

_ELEMENTWISE_LOSSES: Mapping[str, Callable[[Array, Array], Array]] = {
    "mse_loss": lambda a, b: (a - b) ** 2,
    "l1_loss": lambda a, b: np.abs(a - b),
    "binary_cross_entropy": lambda a, b: -special.xlogy(b, a) - special.xlogy(1 - b, 1 - a),
    "binary_cross_entropy_with_logits": lambda a, b: np.logaddexp(0, a) - a * b,
}


def elementwise(name: str, inputs: Sequence[Array]) -> Array | None:
    """What a loss function gives of each value before it makes one of all; None where that is not known."""
    loss = _ELEMENTWISE_LOSSES.get(name)
    return None if loss is None else np.asarray(loss(inputs[0], inputs[1]), np.float64)


def function_of(name: str, inputs: Sequence[Array], settings: Mapping[str, Any], output: Array) -> Function | None:
    """What a call computes of its inputs, found by its output; None for a function that is not known.

    Args:
        name: The function's.
        inputs: The arrays that it was given.
        settings: Its other arguments.
        output: What it gave.
    """
    for function in itertools.chain(
        _readings(name, inputs, numbers_in(settings), output.shape), _of_settings(name, inputs, settings, output)
    ):
        try:
            with np.errstate(all="ignore"):
                made = function(inputs)
                if made.shape == output.shape and np.allclose(made, output, rtol=_EQUAL, atol=0, equal_nan=True):
                    return function
        except (ValueError, IndexError, TypeError):
            continue
    return None


def _of_settings(name: str, inputs: Sequence[Array], settings: Mapping[str, Any], output: Array) -> Iterator[Function]:
    """What a call means that says it by more than numbers, or an activation by any name."""
    if name in _SAID:
        yield from _SAID[name](inputs, settings)
    if len(inputs) == 1 and (activation := identify(inputs[0], output)) is not None:
        yield lambda given: activation(given[0])


def _einsums(_: Sequence[Array], settings: Mapping[str, Any]) -> Iterator[Function]:
    for equation in _texts(settings.values()):
        yield partial(_einsum, equation)


def _parts(_: Sequence[Array], settings: Mapping[str, Any]) -> Iterator[Function]:
    for key in settings.values():
        if (index := _index(key)) is not None:
            yield partial(_part, index)


def _choices(_: Sequence[Array], settings: Mapping[str, Any]) -> Iterator[Function]:
    for value in (*numbers_in(settings), 0.0):
        yield partial(_chosen, value)


def _fillings(_: Sequence[Array], settings: Mapping[str, Any]) -> Iterator[Function]:
    for value in numbers_in(settings):
        yield partial(_filled, value)


def _products(_: Sequence[Array], __: Mapping[str, Any]) -> Iterator[Function]:
    yield _linear


def _layer_norms(inputs: Sequence[Array], settings: Mapping[str, Any]) -> Iterator[Function]:
    shape = settings.get("normalized_shape")
    first = inputs[0].ndim - (len(shape) if isinstance(shape, list) else 1)
    yield partial(_layer_norm, first, float(settings.get("eps", 1e-5)))


_SAID: Mapping[str, Callable[[Sequence[Array], Mapping[str, Any]], Iterator[Function]]] = {
    "einsum": _einsums, "getitem": _parts, "__getitem__": _parts, "where": _choices, "masked_fill": _fillings,
    "linear": _products, "layer_norm": _layer_norms,
}  # fmt: skip


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)


def _einsum(equation: str, given: Sequence[Array]) -> Array:
    return np.asarray(np.einsum(equation, *given))


def _index(key: Any) -> Any:
    """An index as it was written down: a number, a slice, "...", a new axis, or several of them; None of others."""
    if isinstance(key, list):
        parts = [(None,) if part is None else (_index(part),) for part in key]
        known = [part is None or found[0] is not None for part, found in zip(key, parts, strict=True)]
        return tuple(found[0] for found in parts) if all(known) else None
    if isinstance(key, dict) and "slice" in key:
        return slice(*key["slice"])
    if key == "...":
        return Ellipsis
    return key if isinstance(key, int) and not isinstance(key, bool) else None


def _part(index: Any, given: Sequence[Array]) -> Array:
    return np.asarray(given[0][index])


def _filled(value: float, given: Sequence[Array]) -> Array:
    return np.where(given[1].astype(bool), value, given[0])


def _chosen(value: float, given: Sequence[Array]) -> Array:
    """The second array where the first is true, else the third or a number."""
    return np.where(given[0].astype(bool), given[1], given[2] if len(given) > 2 else value)


def _linear(given: Sequence[Array]) -> Array:
    made = given[0] @ given[1].T
    return made + given[2] if len(given) > 2 else made


def _layer_norm(first: int, epsilon: float, given: Sequence[Array]) -> Array:
    x, axes = given[0], tuple(range(first, given[0].ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    made = centred / np.sqrt(x.var(axis=axes, keepdims=True) + epsilon)
    made = made * given[1] if len(given) > 1 else made
    return made + given[2] if len(given) > 2 else made


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
    yield from _shaping(name, dimensions, shape)


def _shaping(name: str, dimensions: int, shape: tuple[int, ...]) -> Iterator[Function]:
    if name in _SHAPING:
        yield lambda given: given[0].reshape(shape)
    if name in _BROADCAST:
        yield lambda given: np.broadcast_to(given[0], shape)
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
