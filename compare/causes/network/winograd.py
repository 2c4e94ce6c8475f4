"""Winograd's algorithm as a cause, in a convolution's forward pass and in the gradient of its kernel.

It is what a bound of sums of products does not hold of: it adds pixels up before it multiplies. The control is the
algorithm itself in the record's precision, with the transforms of Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks" (2016).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from compare.causes.signatures import Evidence
from compare.oracle.convolution import is_convolution
from compare.oracle.network import Array


def of_forward_pass(evidence: Sequence[Evidence], layer: str) -> str | None:
    """Whether a convolution errs as by Winograd's algorithm: nowhere by more than that may, and as much as it does.

    It is named F(2×2, 3×3) or F(4×4, 3×3), by the size of the squares that come out.
    """
    if not is_convolution(evidence[0].given.kernel(layer)):
        return None
    for size in _WINOGRAD:
        if all(_errs_alike(one, layer, size) for one in evidence):
            return (
                f"the deviations have the size of those of Winograd's algorithm F({size}×{size}, 3×3), which cuDNN may "
                "choose: it adds pixels up before it multiplies, and rounds more than any order of the sum does"
            )
    return None


def _errs_alike(one: Evidence, layer: str, size: int) -> bool:
    step = one.given
    inputs, kernel, bias = step.inputs[layer], step.kernel(layer), step.bias(layer)
    dtype = np.float64 if one.unit < _FLOAT32_UNIT else np.float32
    control = np.abs(_winograd(inputs.astype(dtype), kernel.astype(dtype), size) + bias.astype(dtype) - one.expected)
    found = np.abs(one.recorded - one.expected)
    largest = _winograd(np.abs(inputs), np.abs(kernel), size, absolute=True) + np.abs(bias)
    if not (found <= _gamma(kernel.shape[2] + 1, size, one.unit) * largest).all():
        return False
    # Where few pixels are under the kernel, but more are in its square, other algorithms err by next to nothing.
    order = np.argsort((one.bound / np.maximum(largest, np.finfo(float).tiny)).ravel(), kind="stable")
    quarters = zip(*(np.array_split(errors.ravel()[order], 4) for errors in (found, control)), strict=True)
    # Mean squares of a thousand errors or more: another order of the same sums changes them by some tenths.
    return all(_root_mean_square(a) < 2 * _root_mean_square(b) < 4 * _root_mean_square(a) for a, b in quarters)


_FLOAT32_UNIT = 2.0**-24


def _gamma(terms: int, size: int, unit: float) -> float:
    """γₙ, which a sum of n products carries of their absolute values at most: of `terms`, and every transform twice."""
    n = terms + 6 * (size + 2) + 1
    return n * unit / (1 - n * unit)


def _root_mean_square(errors: Array) -> float:
    return float(np.sqrt((errors**2).mean()))


_WINOGRAD = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
            *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
        ],
        [
            *([1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6]),
            *([1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]),
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}
"""By the size of the squares that come out: Bᵀ for the pixels, G for the kernel and Aᵀ for their product."""


def _winograd(inputs: Array, kernel: Array, size: int, *, absolute: bool = False) -> Array:
    """The convolution of (images, rows, columns, channels) by 3×3, the border left out, in the inputs' precision.

    Where `absolute`, the sum of the absolute values that the algorithm adds up.
    """
    matrices = [np.array(matrix, inputs.dtype) for matrix in _WINOGRAD[size]]
    of_pixels, of_kernel, of_product = map(np.abs, matrices) if absolute else matrices
    rows, columns = inputs.shape[1] - 2, inputs.shape[2] - 2
    padded = np.pad(inputs, [(0, 0), (0, -rows % size), (0, -columns % size), (0, 0)])
    tiles = sliding_window_view(padded, (size + 2, size + 2), axis=(1, 2))[:, ::size, ::size]
    pixels = of_pixels @ tiles @ of_pixels.T  # (images, tiles, tiles, channels, size + 2, size + 2)
    transformed = of_kernel @ kernel.transpose(3, 2, 0, 1) @ of_kernel.T  # (filters, channels, size + 2, size + 2)
    products = pixels.transpose(4, 5, 0, 1, 2, 3) @ transformed.transpose(2, 3, 1, 0)[:, :, None, None]
    squares = of_product @ products.transpose(2, 3, 4, 5, 0, 1) @ of_product.T
    images, down, across, filters = squares.shape[:4]
    maps = squares.transpose(0, 1, 4, 2, 5, 3).reshape(images, down * size, across * size, filters)
    return np.asarray(maps[:, :rows, :columns])


class _Roundings(NamedTuple):
    """Of a step, the numbers whose bound allows for no rounding of Winograd's algorithm, each relative to `scale`.

    Args:
        found: What was recorded less what was expected.
        control: The algorithm's, less what was expected.
        scale: One rounding of the sum of the absolute values that the algorithm adds up.
    """

    found: Array
    control: Array
    scale: Array


def of_kernel_gradients(evidence: Sequence[Evidence], *, even_of_few: bool = False) -> str | None:
    """Whether nothing is off but gradients of convolutions' kernels, and these as by Winograd's algorithm.

    Their bound is a thousand times what that algorithm errs by, but where all products are zero, or nearly: there every
    order of their sum is exact, and the algorithm leaves roundings of the pixels around. So these numbers are looked
    at, whether they are as large as the algorithm's own, from the smallest to some that are a million times as large.

    Of the gradient of a convolution's inputs nothing is said: by Winograd's algorithm it stays within the bounds of the
    layers before, far inside (docs/decisions/0064-winograds-algorithm-on-the-way-back.md).

    Args:
        evidence: Every gradient of every step; `given` has the step and ∂loss/∂logits.
        even_of_few: Whether to say, where they are too few to tell, that the algorithm may be why.
    """
    names = dict.fromkeys(one.tensor for one in evidence if not one.is_right)
    wrong = [[one for one in evidence if one.tensor == name] for name in names]
    if not wrong or not all(is_convolution(of_tensor[0].expected) for of_tensor in wrong):
        return None
    algorithm = "which cuDNN may choose for the gradient of a kernel"
    few = False
    for size in _WINOGRAD:
        told = [_roundings(of_tensor, size) for of_tensor in wrong]
        if any(of_tensor is None for of_tensor in told):
            continue
        alike = [_are_alike(of_tensor) for of_tensor in told if of_tensor is not None]
        if all(one is not False for one in alike):
            if any(alike):
                return (
                    f"the deviations have the size of those of Winograd's algorithm F(3×3, {size}×{size}), {algorithm}:"
                    " it adds pixels up before it multiplies, and rounds where all products are zero, or nearly"
                )
            few = True
    if few and even_of_few:
        return (
            "the deviations are where all products are zero, or nearly, and too few to tell their cause by their size: "
            f"Winograd's algorithm, {algorithm}, rounds there by as much, as Fourier transforms do, "
            "and no order of the sum does"
        )
    return None


def _roundings(of_tensor: Sequence[Evidence], size: int) -> list[_Roundings] | None:
    """Step by step; None where some number is off by more than the algorithm may."""
    found = []
    for one in of_tensor:
        layer = one.tensor.removesuffix(".kernel")
        inputs, delta = one.given.step.inputs[layer], one.given.deltas[layer]
        dtype = np.float64 if one.unit < _FLOAT32_UNIT else np.float32
        control = _kernel_gradient(inputs.astype(dtype), delta.astype(dtype), size) - one.expected
        largest = _kernel_gradient(np.abs(inputs), np.abs(delta), size, absolute=True)
        tiles = len(inputs) * -(-delta.shape[1] // size) * -(-delta.shape[2] // size)
        errors, scale = one.recorded - one.expected, one.unit * largest
        if not (np.abs(errors) <= one.bound + _gamma(tiles, size, one.unit) * largest).all():
            return None
        telling = one.bound < _LARGEST * scale
        if not telling[np.abs(errors) > one.bound].all():
            return None
        found.append(_Roundings(errors[telling] / scale[telling], control[telling] / scale[telling], scale[telling]))
    return found


def _are_alike(steps: Sequence[_Roundings]) -> bool | None:
    """Whether errors are as large as the control's, in every step and from the small to the large; None of too few."""
    found, control, scale = (np.concatenate(arrays) for arrays in zip(*steps, strict=True))
    if np.abs(found).max(initial=0) > _LARGEST or not _is_as_large(found, control):
        return False
    if len(found) < _ENOUGH:
        return None
    order = np.argsort(scale, kind="stable")
    quarters = zip(*(np.array_split(errors[order], 4) for errors in (found, control)), strict=True)
    by_step = ((of_step.found, of_step.control) for of_step in steps if len(of_step.found) >= _ENOUGH_OF_A_STEP)
    return all(_is_as_large(*pair) for pair in (*quarters, *by_step))


def _is_as_large(found: Array, control: Array) -> bool:
    a, b = (_root_mean_square(errors) if errors.size else 0.0 for errors in (found, control))
    return a <= _ORDERS * b and b <= _ORDERS * a


_ENOUGH, _ENOUGH_OF_A_STEP = 200, 30
"""Whose mean square is known to 10%, or to a third: most of these numbers are zero, or nearly."""

_ORDERS = 3
"""In which order the sum over images is taken changes the size: to 0.4 to 1.6 of the control's, as measured."""

_LARGEST = 4
"""Roundings of a number; of ten thousand numbers of the control the largest had 1.6."""


def _kernel_gradient(inputs: Array, delta: Array, size: int, *, absolute: bool = False) -> Array:
    """∂loss/∂kernel (3, 3, channels in, filters) by F(3×3, m×m), whose matrices are those of F(m×m, 3×3), transposed.

    Args:
        inputs: (images, rows, columns, channels in).
        delta: ∂loss/∂pre-activations (images, rows − 2, columns − 2, filters).
        size: m, the rows and columns of delta that are taken at a time.
        absolute: Whether to return the sum of the absolute values that the algorithm adds up.
    """
    matrices = [np.array(matrix, inputs.dtype) for matrix in _WINOGRAD[size]]
    of_pixels, of_kernel, of_product = map(np.abs, matrices) if absolute else matrices
    border = [(0, 0), (0, -delta.shape[1] % size), (0, -delta.shape[2] % size), (0, 0)]
    pixels, squares = (
        sliding_window_view(np.pad(array, border), (width, width), axis=(1, 2))[:, ::size, ::size]
        for array, width in ((inputs, size + 2), (delta, size))
    )
    pixels = of_pixels @ pixels @ of_pixels.T  # (images, tiles, tiles, channels in, size + 2, size + 2)
    squares = of_product.T @ squares @ of_product  # (images, tiles, tiles, filters, size + 2, size + 2)
    left, right = (array.reshape(-1, *array.shape[3:]).transpose(2, 3, 0, 1) for array in (pixels, squares))
    products = left.swapaxes(2, 3) @ right  # (size + 2, size + 2, channels in, filters)
    found = of_kernel.T @ products.transpose(2, 3, 0, 1) @ of_kernel
    return np.asarray(found.transpose(2, 3, 0, 1))
