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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.oracle.network import Adam, Array, Backward, cross_entropies, softmax

ELEMENTARY_FUNCTION_ULPS = 4
"""The error of exp and log in the frameworks' vector libraries; Eigen, SLEEF and XLA state 1 to 4 ulp."""


_FALSE_ALARM = 1e-16
"""The probability that rounding errors add up beyond the bound of one number; a trace has 1e8 numbers."""

_DEVIATIONS = math.sqrt(2 * math.log(2 / _FALSE_ALARM))
"""By Hoeffding's inequality, the sum of independent errors stays within this many roots of their sum of squares."""


@dataclass(frozen=True)
class ErrorBound:
    """How far an array may be off after several operations.

    `worst` is reached where all rounding errors add up. From one layer to the next that grows until it
    says nothing. `scatter` is the root of the sum of squares of the worst that each operation does: of
    errors that are independent of each other it holds, times `_DEVIATIONS`, nearly always (Higham and
    Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019).
    """

    worst: Array
    scatter: Array

    @classmethod
    def of(cls, worst: Array) -> "ErrorBound":
        """Of one operation."""
        return cls(worst, worst)

    @property
    def bound(self) -> Array:
        """The smaller of the two."""
        return np.minimum(self.worst, _DEVIATIONS * self.scatter)

    def changed(self, change: Callable[[Array], Array]) -> "ErrorBound":
        """After what moves or scales each number for itself."""
        return ErrorBound(change(self.worst), change(self.scatter))

    def plus(self, worst: Array) -> "ErrorBound":
        """With the error of one more operation."""
        return ErrorBound(self.worst + worst, np.hypot(self.scatter, worst))


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
        return self.gamma(terms) * (np.abs(inputs) @ np.abs(kernel) + np.abs(bias)) + self.tiny

    def dropout(self, product: Array, rate: float) -> Array:
        """Of an activation times 1/(1 − rate), in any of its forms.

        1 − rate, its reciprocal and the product may round, and the rate itself, which 1 − rate magnifies.
        """
        return self.gamma(3 + rate / (1 - rate)) * np.abs(product) + self.tiny

    def softmax_relative(self, logits: Array) -> Array:
        """Relative error of each probability, shape (batch, classes).

        exp(z − max) has the error of exp and that of the difference, u·|z − max|; the sum and the
        division add γ. A probability that underflows is covered by `tiny` where this is used.
        """
        distance = np.abs(logits - logits.max(axis=1, keepdims=True))
        power = self.unit * (distance + ELEMENTARY_FUNCTION_ULPS)
        total = (np.exp(-distance) * power).sum(axis=1, keepdims=True) / np.exp(-distance).sum(axis=1, keepdims=True)
        return power + total + self.gamma(logits.shape[1] + 2)

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
        """Of `left @ right` where `left` carries an error and `right` none."""
        terms = np.count_nonzero(left, axis=1, keepdims=True) + 1
        carried = ErrorBound(left_error.worst @ np.abs(right), np.sqrt(left_error.scatter**2 @ right**2))
        return carried.plus(self.gamma(terms) * (np.abs(left) @ np.abs(right)) + self.tiny)

    def layer_gradients(self, of_layer: Backward, error: ErrorBound) -> tuple[Array, Array]:
        """Of ∂loss/∂kernel and ∂loss/∂bias, where ∂loss/∂pre-activations carries an error, in its own shape."""
        delta, errors = of_layer.delta.T, error.changed(lambda tensor: tensor.reshape(of_layer.delta.shape).T)
        kernel, bias = (
            self.product(delta, errors, rows).bound.T for rows in (of_layer.rows, np.ones((len(of_layer.delta), 1)))
        )
        return kernel.reshape(of_layer.kernel.shape), bias[0]

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
