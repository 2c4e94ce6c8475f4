"""Winograd's algorithm as a cause, against the algorithm written as loops, and against what errs as much."""

import dataclasses
from collections.abc import Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.fft

from compare.causes.learning.gradients import gradient_evidence, of_gradient
from compare.causes.network.winograd import _kernel_gradient, _winograd, of_forward_pass, of_kernel_gradients
from compare.causes.signatures import Evidence, Hypothesis, accepted, rounded
from compare.oracle import convolution
from compare.oracle.bounds import Rounding
from compare.oracle.network import Array
from recipe import Recipe
from record.first_steps import Trace
from tests.faults.clean import trace
from tests.faults.layered import Layered


def winograd_by_loops(maps: Array, kernel: Array, bias: Array) -> Array:
    """F(2×2, 3×3) in float32, square by square, after Winograd's formulas for two outputs of a filter of three."""
    found = np.zeros((len(maps), maps.shape[1] - 2, maps.shape[2] - 2, kernel.shape[3]), np.float32)

    def of_pixels(d: Array) -> Array:
        return np.stack([d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]])

    def of_kernel(g: Array) -> Array:
        half = np.float32(0.5)
        return np.stack([g[0], half * (g[0] + g[1] + g[2]), half * (g[0] - g[1] + g[2]), g[2]])

    def of_product(m: Array) -> Array:
        return np.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]])

    def both_ways(transform: Any, array: Array) -> Array:
        return transform(transform(array).swapaxes(0, 1)).swapaxes(0, 1)

    kernels = both_ways(of_kernel, kernel)
    for image, row, column in product(range(len(maps)), *(range(0, size, 2) for size in found.shape[1:3])):
        pixels = both_ways(of_pixels, maps[image, row : row + 4, column : column + 4])
        products = sum(pixels[:, :, channel, None] * kernels[:, :, channel] for channel in range(maps.shape[3]))
        found[image, row : row + 2, column : column + 2] = both_ways(of_product, products)
    return found + bias


def digits_and_kernel() -> tuple[Array, Array, Array]:
    """As in MNIST most pixels are zero; two channels, so that there is a sum over them."""
    random = np.random.default_rng(0)
    maps = random.random((8, 14, 14, 2)) * (random.random((8, 14, 14, 1)) < 0.2)
    kernel, bias = random.normal(size=(3, 3, 2, 8)), random.normal(size=8)
    return maps.astype(np.float32), kernel.astype(np.float32), 1e-3 * bias.astype(np.float32)


def evidence_of(recorded: Array, maps: Array, kernel: Array, bias: Array) -> Evidence:
    maps, kernel, bias = (array.astype(np.float64) for array in (maps, kernel, bias))
    rounding = Rounding.of("float32")
    expected = convolution.linear(maps, kernel, bias)
    bound = rounding.dense(convolution.rows(maps, kernel), convolution.matrix(kernel), bias).reshape(expected.shape)
    step = SimpleNamespace(inputs={"layer": maps}, kernel=lambda _: kernel, bias=lambda _: bias)
    return Evidence(1, "layer", recorded.astype(np.float64), expected, bound, rounding.unit, step)


def test_winograds_algorithm_is_named_by_the_size_of_its_errors() -> None:
    maps, kernel, bias = digits_and_kernel()
    one = evidence_of(winograd_by_loops(maps, kernel, bias), maps, kernel, bias)
    assert not one.is_right
    assert "Winograd's algorithm F(2×2, 3×3)" in (of_forward_pass([one], "layer") or "")


def test_what_errs_in_another_way_is_not_winograds_algorithm() -> None:
    maps, kernel, bias = digits_and_kernel()
    by_winograd = winograd_by_loops(maps, kernel, bias)
    direct = convolution.linear(maps, kernel, bias)
    random = np.random.default_rng(1)
    others = {
        "direct": direct,
        "one number off": np.where(np.arange(direct.size).reshape(direct.shape) == 99, direct + 1e-6, direct),
        "noise of the same size": direct + random.permutation((by_winograd - direct).ravel()).reshape(direct.shape),
        "ten times as much": direct + 10 * (by_winograd - direct),
        "TF32": convolution.linear(maps, np.float32(rounded(kernel, "bfloat16")), bias),
    }
    for name, recorded in others.items():
        assert of_forward_pass([evidence_of(recorded, maps, kernel, bias)], "layer") is None, name


# --- the gradient of a kernel ----------------------------------------------------------------------

NAME = "convolution_2.kernel"


@pytest.fixture(scope="module")
def clean() -> Trace:
    return trace(Layered, Recipe(network="cnn"), num_batches=2)


@pytest.fixture(scope="module")
def evidence(clean: Trace) -> list[Evidence]:
    return list(gradient_evidence(clean))


def given(one: Evidence) -> tuple[Array, Array]:
    """Feature maps and ∂loss/∂pre-activations in float32."""
    layer = one.tensor.removesuffix(".kernel")
    return one.given.step.inputs[layer].astype(np.float32), one.given.deltas[layer].astype(np.float32)


def kernel_gradient_by_loops(maps: Array, delta: Array) -> Array:
    """F(3×3, 2×2) in float32, square by square: Σ xₖ₊ᵢ·dᵢ for k = 0, 1, 2 by four products, in both directions."""

    def of_pixels(x: Array) -> Array:
        return np.stack([x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]])

    def of_delta(d: Array) -> Array:
        return np.stack([d[0], d[0] + d[1], d[0] - d[1], -d[1]])

    def of_product(m: Array) -> Array:
        half = np.float32(0.5)
        return np.stack([m[0] + half * (m[1] + m[2]), half * (m[1] - m[2]), half * (m[1] + m[2]) + m[3]])

    def both_ways(transform: Any, array: Array) -> Array:
        return transform(transform(array).swapaxes(0, 1)).swapaxes(0, 1)

    border = [(0, 0), (0, delta.shape[1] % 2), (0, delta.shape[2] % 2), (0, 0)]
    maps, delta = np.pad(maps, border), np.pad(delta, border)
    total = np.zeros((4, 4, maps.shape[3], delta.shape[3]), np.float32)
    for image, row, column in product(range(len(maps)), *(range(0, size, 2) for size in delta.shape[1:3])):
        pixels = both_ways(of_pixels, maps[image, row : row + 4, column : column + 4])
        total += pixels[..., None] * both_ways(of_delta, delta[image, row : row + 2, column : column + 2])[:, :, None]
    return both_ways(of_product, total)


def by_winograd(one: Evidence, size: int) -> Array:
    """In another order than the control's."""
    maps, delta = given(one)
    if size == 2:
        return kernel_gradient_by_loops(maps, delta)
    halves = zip(np.array_split(maps, 2), np.array_split(delta, 2), strict=True)
    return sum(_kernel_gradient(*half, size) for half in halves)


def by_fourier(one: Evidence) -> Array:
    """The same by Fourier transforms, in float32."""
    maps, delta = given(one)
    shape = maps.shape[1:3]
    left, right = scipy.fft.rfft2(maps, axes=(1, 2)), scipy.fft.rfft2(delta, s=shape, axes=(1, 2)).conj()
    return scipy.fft.irfft2(np.einsum("nijc,nijf->ijcf", left, right, optimize=True), s=shape, axes=(0, 1))[:3, :3]


def with_gradients(evidence: Sequence[Evidence], change: Any, name: str = NAME) -> list[Evidence]:
    return [
        dataclasses.replace(one, recorded=np.asarray(change(one), np.float64)) if one.tensor == name else one
        for one in evidence
    ]


@pytest.mark.parametrize("size", [2, 4])
def test_winograds_algorithm_is_named_by_what_it_leaves_in_a_kernels_gradient(
    evidence: list[Evidence], size: int
) -> None:
    made = with_gradients(evidence, lambda one: by_winograd(one, size))
    for one in made:
        # The very gradient, to what float32 keeps of sums that cancel.
        np.testing.assert_allclose(one.recorded, one.expected, atol=1e-7)
    cause = of_kernel_gradients(made)
    assert f"those of Winograd's algorithm F(3×3, {size}×{size})" in (cause or "")


def test_what_errs_in_another_way_in_a_kernels_gradient_is_not_winograds_algorithm(evidence: list[Evidence]) -> None:
    random = np.random.default_rng(1)

    def errors(one: Evidence) -> Array:
        return by_winograd(one, 4) - one.expected

    def exchanged(one: Evidence) -> Array:
        """The same errors in other places, of those alone where other algorithms leave nothing."""
        found, places = errors(one), one.expected == 0
        found[places] = random.permutation(found[places])
        return one.expected + found

    def less_where_small(one: Evidence) -> Array:
        """As of an algorithm that adds up other sizes."""
        largest = _kernel_gradient(*map(np.abs, given(one)), 4, absolute=True)
        small = largest < np.median(largest[(one.expected == 0) & (largest > 0)])
        return one.expected + errors(one) * np.where(small, 0.1, 1)

    def in_one_step(one: Evidence) -> Array:
        return by_winograd(one, 4) if one.step == 1 else one.recorded

    def one_number_off(one: Evidence) -> Array:
        number = int(np.flatnonzero(one.expected == 0)[0])
        return one.expected + 1e-9 * (np.arange(one.expected.size) == number).reshape(one.expected.shape)

    others = {
        "noise of the same size": lambda one: (
            one.expected + random.permutation(errors(one).ravel()).reshape(one.expected.shape)
        ),
        "noise of the same size, in the same places": exchanged,
        "ten times as much": lambda one: one.expected + 10 * errors(one),
        "a tenth": lambda one: one.expected + errors(one) / 10,
        "less where it is small": less_where_small,
        "in one step of two": in_one_step,
        "one number off": one_number_off,
        "Fourier transforms": by_fourier,
        "a factor": lambda one: 1.5 * one.recorded,
    }
    for name, change in others.items():
        made = with_gradients(evidence, change)
        assert not all(one.is_right for one in made), name
        assert of_kernel_gradients(made, even_of_few=True) is None, name
    made = with_gradients(evidence, lambda one: by_winograd(one, 4))
    assert (
        of_kernel_gradients(with_gradients(made, lambda one: 1.5 * one.recorded, "output.bias"), even_of_few=True)
        is None
    )
    assert of_kernel_gradients(evidence, even_of_few=True) is None


@pytest.mark.parametrize("times", [1, 10])
def test_where_too_few_numbers_tell_it_is_said_if_asked_for(evidence: list[Evidence], times: int) -> None:
    """A first convolution has one channel, and in hardly a place are all of its pixels blank."""
    name = "convolution_1.kernel"

    def change(one: Evidence) -> Array:
        return one.expected + times * (by_winograd(one, 4) - one.expected)

    made = with_gradients(evidence, change, name)
    assert of_kernel_gradients(made) is None
    assert ("too few to tell" in (of_kernel_gradients(made, even_of_few=True) or "")) == (times == 1)


def test_the_gradient_of_the_inputs_by_winograds_algorithm_stays_far_within_the_bounds(
    evidence: list[Evidence],
) -> None:
    """Why nothing has to be told of it: docs/decisions/0064-winograds-algorithm-on-the-way-back.md."""
    for one in evidence:
        if one.tensor != "convolution_1.kernel":
            continue
        step, (images, _) = one.given.step, given(one)
        delta, kernel = one.given.deltas["convolution_2"], step.kernel("convolution_2")
        padded = np.pad(delta, [(0, 0), (2, 2), (2, 2), (0, 0)]).astype(np.float32)
        carried = _winograd(padded, kernel[::-1, ::-1].swapaxes(2, 3).astype(np.float32), 4)
        through = step.through("convolution_1", carried.astype(np.float64))
        rows = convolution.rows(images.astype(np.float64), one.expected)
        found = (rows.T @ through.reshape(len(rows), -1)).reshape(one.expected.shape)
        excess = np.abs(found - one.expected) / one.bound
        assert 0 < excess.max() < 0.01


def test_the_rung_names_winograds_algorithm_and_no_cause_that_changes_nothing(clean: Trace) -> None:
    def changed(step: Any, one: Evidence) -> Any:
        gradient = by_winograd(one, 4).astype(np.float32)
        return dataclasses.replace(step, gradients={**step.gradients, NAME: gradient})

    of_kernel = [one for one in gradient_evidence(clean) if one.tensor == NAME]
    steps = [changed(step, one) for step, one in zip(clean.steps, of_kernel, strict=True)]
    cause = of_gradient(dataclasses.replace(clean, steps=steps), 0, NAME)
    assert (cause or "").startswith("the deviations have the size of those of Winograd's algorithm F(3×3, 4×4)")


def test_what_changes_nothing_explains_no_deviation_that_the_slack_hides() -> None:
    """Of numbers that are zero, and deviate by less than is allowed for in a prediction."""
    expected = np.array([1.0, 0, 0])
    one = Evidence(
        1, "kernel", np.array([1.0, 1e-9, 0]), expected, np.array([1e-6, 1e-30, 1e-30]), 2.0**-24, slack=3e-7
    )
    assert not one.is_right
    changes = {
        "nothing": lambda one: one.expected,
        "next to nothing": lambda one: one.expected * (1 + 1e-9),
        "what is off": lambda one: one.recorded,
    }
    found = [name for name, change in changes.items() if accepted([one], Hypothesis(name, change))]
    assert found == ["what is off"]
