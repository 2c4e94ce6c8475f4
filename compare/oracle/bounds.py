"""How far rounding alone can carry one pass from the exact result: bounds, element by element.

All are first-order running error bounds from Higham, "Accuracy and Stability of Numerical
Algorithms" (2nd ed., 2002), section 3.1: a sum of n products carries at most γₙ = n·u / (1 − n·u)
of the sum of their absolute values, in whatever order it is added up. A product with an exact zero
adds no rounding error, so n counts the terms that are not zero. Every function takes what the
implementation itself had as inputs, so that no bound contains the errors of earlier operations.

A convolution is a dense layer over patches, and its bounds are those of one. They hold of every
algorithm that adds up the products, in whatever order: direct ones, and those by way of patches. They
do not hold of Winograd's algorithm nor of Fourier transforms, which add pixels up before they multiply
and so may err by more (Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving the
Accuracy of Winograd Convolution for Deep Neural Networks", 2020).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.oracle.network import Adam, Array, Backward, cross_entropies, softmax

ELEMENTARY_FUNCTION_ULPS = 4
"""The error of exp and log in the frameworks' vector libraries; Eigen, SLEEF and XLA state 1 to 4 ulp."""


_FALSE_ALARM = 1e-16
"""The probability that rounding errors add up beyond the bound of one number; a trace has 1e8 numbers."""

_NO_UNDERFLOW = 1e-280
"""A sum of squares above this has lost nothing that counts to squares that underflow."""

_DEVIATIONS = math.sqrt(2 * math.log(2 / _FALSE_ALARM))
"""By Hoeffding's inequality, the sum of independent errors stays within this many roots of their sum of squares."""


_NUM_PROBES = 16
"""Draws of all rounding errors: of 16 the root mean square is under a quarter of the true one in 1 of 10⁷."""


@dataclass(frozen=True)
class ErrorBound:
    """How far an array may be off after several operations.

    `worst` is reached where all rounding errors add up. From one layer to the next that grows until it
    says nothing. The root of the sum of squares of the worst that each operation does is what errors
    that are independent of each other stay within, times `_DEVIATIONS`, nearly always (Higham and
    Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019).

    `scatter` takes that root from layer to layer, as if what arrives in a layer were independent too.
    It is not where weights are alike, as after a few steps of Adam: then errors of one operation add
    up again further on. Each of `probes` is one draw, of random signs, of all errors so far, carried
    on exactly; their root mean square is right whatever the weights.
    """

    worst: Array
    scatter: Array
    probes: tuple[Array, ...] = ()

    @classmethod
    def of(cls, worst: Array) -> "ErrorBound":
        """Of one operation."""
        return cls(worst, worst)

    def probed(self) -> "ErrorBound":
        """The same with probes, of one operation."""
        return replace(self, probes=tuple(_signs(number, self.worst) * self.worst for number in range(_NUM_PROBES)))

    def settled(self) -> "ErrorBound":
        """The same without probes, whose root mean square is kept."""
        return ErrorBound(self.worst, np.maximum(self.scatter, _root_mean_square(self.probes)))

    @property
    def bound(self) -> Array:
        """The smaller of the two."""
        return np.minimum(self.worst, _DEVIATIONS * self.settled().scatter)

    def changed(self, change: Callable[[Array], Array]) -> "ErrorBound":
        """After what moves or scales each number for itself."""
        return ErrorBound(change(self.worst), change(self.scatter), tuple(change(probe) for probe in self.probes))

    def plus(self, worst: Array) -> "ErrorBound":
        """With the error of one more operation."""
        probes = tuple(probe + _signs(number, probe) * worst for number, probe in enumerate(self.probes))
        return ErrorBound(self.worst + worst, np.hypot(self.scatter, worst), probes)


def _signs(number: int, probe: Array) -> Array:
    """1 or −1 for each number of a probe; others in another probe, or where an operation is of other size or values."""
    seed = np.frombuffer(np.float64(np.abs(probe).sum()).tobytes(), np.uint32)
    random = np.random.default_rng([number, *seed.tolist()])
    return np.where(random.integers(0, 2, probe.shape, np.int8), 1.0, -1.0)


def _root_mean_square(probes: Iterable[Array]) -> Array | float:
    """Of each number over the probes; 0 of none."""
    squares: Array | float = 0.0
    for probe in probes:
        squares = squares + probe**2 / _NUM_PROBES
    return np.sqrt(squares)


@dataclass(frozen=True)
class Rounding:
    """A floating-point type: its unit roundoff u, and what a few underflows may cost.

    The oracle computes in float64. Compared with float32, its own rounding errors are negligible; compared with
    float64, they obey the same bounds, so that the two differ by at most twice as much: u counts double.
    """

    unit: float
    tiny: float

    @classmethod
    def of(cls, dtype: str) -> "Rounding":
        """The rounding of float32 or float64."""
        info = np.finfo(dtype)
        oracles = 2 if dtype == "float64" else 1
        return cls(unit=oracles * float(info.eps) / 2, tiny=4 * float(info.tiny))

    def gamma(self, n: NDArray[Any] | float) -> Array:
        """γₙ = n·u / (1 − n·u)."""
        return np.asarray(n * self.unit / (1 - n * self.unit))

    def dense(self, inputs: Array, kernel: Array, bias: Array) -> Array:
        """Of `inputs @ kernel + bias`, shape (batch, units)."""
        terms = np.count_nonzero(inputs, axis=1, keepdims=True) + 1
        sums = np.abs(inputs) @ np.abs(kernel) + np.abs(bias)
        return self.gamma(terms) * sums + self.underflows(inputs, kernel)

    def underflows(self, left: Array, right: Array) -> Array:
        """What `left @ right` may lose where factors or products below the smallest normal number become zero."""
        factors = np.abs(left).sum(axis=1, keepdims=True) + np.abs(right).sum(axis=0, keepdims=True)
        return self.tiny * (1 + left.shape[1] + factors)

    def dropout(self, product: Array, rate: float) -> Array:
        """Of an activation times 1/(1 − rate), in any of its forms.

        1 − rate, its reciprocal and the product may round, and the rate itself, which 1 − rate magnifies.
        """
        return self.gamma(3 + rate / (1 - rate)) * np.abs(product) + self.tiny

    def softmax_relative(self, logits: Array) -> Array:
        """Relative error of each probability, shape (batch, classes), in either of its two forms.

        exp(z − max) has the error of exp and that of the difference, u·|z − max|; the sum and the
        division add γ. The other form, exp((z − max) − log Σ), rounds a second difference, which is
        larger by log Σ, and has the error of the logarithm instead of the division's. A probability
        that underflows is covered by `tiny` where this is used.
        """
        distance = np.abs(logits - logits.max(axis=1, keepdims=True))
        powers = np.exp(-distance)
        sums = powers.sum(axis=1, keepdims=True)
        power = self.unit * (distance + ELEMENTARY_FUNCTION_ULPS)
        second = self.unit * (distance + (1 + ELEMENTARY_FUNCTION_ULPS) * np.log(sums))
        total = (powers * power).sum(axis=1, keepdims=True) / sums
        return power + second + total + self.gamma(logits.shape[1] + 2)

    def cross_entropy(self, logits: Array, labels: NDArray[np.int64]) -> float:
        """Of the mean cross-entropy of a batch, from its logits."""
        relative = self.softmax_relative(logits)[np.arange(len(labels)), labels]
        losses = cross_entropies(logits, labels)
        each = relative + ELEMENTARY_FUNCTION_ULPS * self.unit * (1 + losses)
        return float(each.mean() + self.gamma(len(labels) + 1) * losses.mean() + self.tiny)

    def output_delta(self, logits: Array, delta: Array) -> Array:
        """Of ∂loss/∂logits = (p − one_hot) / batch."""
        probabilities = softmax(logits)
        error = self.softmax_relative(logits) * probabilities / len(logits)
        return error + 3 * self.unit * np.abs(delta) + self.tiny

    def product(self, left: Array, left_error: ErrorBound, right: Array) -> ErrorBound:
        """Of `left @ right` where `left` carries an error and `right` none.

        Squares of numbers below 1e-154 underflow. Where they might count, the worst case takes their place, which is
        never less.
        """
        terms = np.count_nonzero(left, axis=1, keepdims=True) + 1
        worst, squares = left_error.worst @ np.abs(right), left_error.scatter**2 @ right**2
        probes = tuple(probe @ right for probe in left_error.probes)
        carried = ErrorBound(worst, np.where(squares > _NO_UNDERFLOW, np.sqrt(squares), worst), probes)
        return carried.plus(self.gamma(terms) * (np.abs(left) @ np.abs(right)) + self.underflows(left, right))

    def layer_gradients(self, of_layer: Backward, error: ErrorBound) -> tuple[Array, Array]:
        """Of ∂loss/∂kernel and ∂loss/∂bias, where ∂loss/∂pre-activations carries an error, in its own shape."""
        delta, errors = of_layer.delta.T, error.changed(lambda tensor: tensor.reshape(of_layer.delta.shape).T)
        kernel, bias = (
            self._gradient(delta, errors, rows).T for rows in (of_layer.rows, np.ones((len(of_layer.delta), 1)))
        )
        return kernel.reshape(of_layer.kernel.shape), bias[0]

    def _gradient(self, delta: Array, errors: ErrorBound, rows: Array) -> Array:
        """Of `delta @ rows`; of the probes, which take a gradient's memory each, one after the other."""
        product = self.product(delta, replace(errors, probes=()), rows)
        carried = _root_mean_square(probe @ rows for probe in errors.probes)
        return replace(product, scatter=np.maximum(product.scatter, carried)).bound

    def first_moment(self, moment: Array, gradient: Array, adam: Adam) -> Array:
        """Of m ← β₁·m + (1 − β₁)·g in any of its forms; β₁ itself is rounded."""
        return 4 * self.unit * (np.abs(moment) + (1 - adam.beta_1) * np.abs(gradient)) + self.tiny

    def second_moment(self, moment: Array, gradient: Array, adam: Adam) -> Array:
        """Of v ← β₂·v + (1 − β₂)·g² in any of its forms; β₂ itself is rounded."""
        return 5 * self.unit * (np.abs(moment) + (1 - adam.beta_2) * gradient**2) + self.tiny

    def parameter(self, parameter: Array, update: Array, adam: Adam, step: int) -> Array:
        """Of θ ← θ − α·m/(√v + ε).

        βᵗ carries t roundings of β and that of the power; 1 − βᵗ magnifies them by βᵗ/(1 − βᵗ),
        which for β₂ and the first step is a thousandfold.
        """
        alpha = 4.0
        for beta, weight in ((adam.beta_1, 1.0), (adam.beta_2, 0.5)):
            alpha += weight * (step + 2) * beta**step / (1 - beta**step)
        return self.unit * (np.abs(parameter) + (alpha + 8) * np.abs(update)) + self.tiny

    def update_underflow(self, second: Array, adam: Adam) -> Array:
        """What an update may lose where α·m underflows to zero before it is divided by √v + ε."""
        return self.tiny / (np.sqrt(second) + adam.epsilon)
