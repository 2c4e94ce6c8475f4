"""The activations of both frameworks, and which one turned one array into another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from compare.explanation.observed.observation import Array
from compare.explanation.observed.values import ROUNDED, SAME, deviation
from compare.explanation.words import as_written

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True)
class Activation:
    """An activation under its usual name, with its setting if it has one."""

    name: str
    setting: str = ""
    value: float = 0.0

    def __call__(self, x: Array) -> Array:
        """The activation of an array; softmax goes over the last axis."""
        function = FUNCTIONS[self.name]
        return function(x, self.value) if self.setting else function(x)

    def __str__(self) -> str:
        return f"{self.name}({self.setting}={self.value:g})" if self.setting else self.name

    @property
    def code(self) -> str:
        """How it is written in torch."""
        return _CODE.get(self.name, f"{self.name.lower()}({{}})").replace("VALUE", f"{self.value:g}")


def _softmax(x: Array) -> Array:
    return np.asarray(special.softmax(x, axis=-1))


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + special.erf(x / np.sqrt(2)))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "LeakyReLU": lambda x, slope: np.where(x > 0, x, slope * x),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "softmax": _softmax,
    "GELU (erf)": _gelu,
    "GELU (tanh approximation)": _gelu_tanh,
    "SiLU (swish)": lambda x: x * special.expit(x),
    "ELU": _elu,
    "SELU": lambda x: SELU_SCALE * _elu(x, SELU_ALPHA),
    "CELU": _celu,
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_softmax": lambda x: np.asarray(special.log_softmax(x, axis=-1)),
    "log_sigmoid": lambda x: -_softplus(-x),
    "hard sigmoid": _hard_sigmoid,
    "hard sigmoid (0.2 x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard swish": lambda x: x * _hard_sigmoid(x),
    "hard tanh": lambda x: np.clip(x, -1, 1),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "exponential": lambda x: np.exp(np.minimum(x, 700)),
    "quick GELU": lambda x: x * special.expit(1.702 * x),
    "tanh shrink": lambda x: x - np.tanh(x),
    "soft shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "hard shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "square": lambda x: x * x,
}

_CODE = {
    "ReLU": "torch.relu({})",
    "LeakyReLU": "torch.nn.functional.leaky_relu({}, VALUE)",
    "sigmoid": "torch.sigmoid({})",
    "tanh": "torch.tanh({})",
    "softmax": "torch.softmax({}, dim=-1)",
    "log_softmax": "torch.log_softmax({}, dim=-1)",
    "GELU (erf)": "torch.nn.functional.gelu({})",
    "GELU (tanh approximation)": 'torch.nn.functional.gelu({}, approximate="tanh")',
    "SiLU (swish)": "torch.nn.functional.silu({})",
    "ELU": "torch.nn.functional.elu({}, VALUE)",
    "CELU": "torch.nn.functional.celu({}, VALUE)",
    "SELU": "torch.nn.functional.selu({})",
    "ReLU6": "torch.nn.functional.relu6({})",
    "softplus": "torch.nn.functional.softplus({})",
    "softsign": "torch.nn.functional.softsign({})",
    "hard sigmoid": "torch.nn.functional.hardsigmoid({})",
    "hard swish": "torch.nn.functional.hardswish({})",
    "mish": "torch.nn.functional.mish({})",
}

_KERAS_NAMES = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "sigmoid": "sigmoid", "tanh": "tanh", "softmax": "softmax",
    "gelu": "GELU (erf)", "silu": "SiLU (swish)", "swish": "SiLU (swish)", "elu": "ELU", "selu": "SELU",
    "celu": "CELU", "relu6": "ReLU6", "softplus": "softplus", "softsign": "softsign", "log_softmax": "log_softmax",
    "log_sigmoid": "log_sigmoid", "logsigmoid": "log_sigmoid", "hard_sigmoid": "hard sigmoid",
    "hardsigmoid": "hard sigmoid", "hard_silu": "hard swish", "hard_swish": "hard swish", "hardswish": "hard swish",
    "hard_tanh": "hard tanh", "hardtanh": "hard tanh", "mish": "mish", "exponential": "exponential",
    "exp": "exponential",
}  # fmt: skip


def by_name(name: str) -> Activation | None:
    """The activation that a program calls so, where the name alone says it."""
    usual = _KERAS_NAMES.get(name.lower())
    return None if usual is None or usual in ("LeakyReLU", "ELU", "CELU") else Activation(usual)


def identify(x: Array, y: Array) -> Activation | None:
    """Which activation turned `x` into `y`, element by element; None if none does, or `y` is `x`.

    Both in one layout. Of several that fit, the first of the table: for positive values alone, ReLU and others do
    nothing, and nothing is named.
    """
    if x.shape != y.shape or x.size == 0 or deviation(x, y) <= SAME:
        return None
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    with np.errstate(all="ignore"):
        found = [(deviation(activation(x), y), activation) for activation in _candidates(x, y)]
    exact = next((activation for error, activation in found if error <= SAME), None)
    if exact is not None:
        return exact
    error, nearest = min(found, key=lambda entry: entry[0])
    return nearest if error <= ROUNDED else None


def _candidates(x: Array, y: Array) -> Iterator[Activation]:
    yield Activation("ReLU")
    yield from _with_setting(x, y)
    yield from (Activation(name) for name in FUNCTIONS if name not in ("ReLU", "LeakyReLU", "ELU", "CELU"))


def _with_setting(x: Array, y: Array) -> Iterator[Activation]:
    """Those whose one setting can be read from the negative values."""
    below = x < -1e-3 * np.max(np.abs(x))
    if not below.any() or deviation(x[x > 0], y[x > 0]) > ROUNDED:
        return
    a, b = x[below], y[below]
    slope = float(np.median(b / a))
    if slope > 0:
        yield Activation("LeakyReLU", "slope", as_written(slope))
    alpha = float(np.median(b / np.expm1(a)))
    if alpha > 0:
        yield Activation("ELU", "alpha", as_written(alpha))
