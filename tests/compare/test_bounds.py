"""The bounds hold whatever the order of summation, and leave no room for a fault of one in a thousand."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from compare.oracle import network as oracle
from compare.oracle.bounds import ErrorBound, Rounding
from compare.oracle.network import Adam

FLOAT32 = Rounding.of("float32")
Single = NDArray[np.float32]
Sum = Callable[[Single], np.float32]


def sequential(terms: Single) -> np.float32:
    return np.float32(np.cumsum(terms, dtype=np.float32)[-1])


def backwards(terms: Single) -> np.float32:
    return sequential(terms[::-1])


def pairwise(terms: Single) -> np.float32:
    while len(terms) > 1:
        terms = np.append(terms, np.zeros(len(terms) % 2, np.float32))
        terms = terms[::2] + terms[1::2]
    return np.float32(terms[0])


def smallest_first(terms: Single) -> np.float32:
    return sequential(terms[np.argsort(np.abs(terms))])


SUMS = [sequential, backwards, pairwise, smallest_first]


def cancelling(random: np.random.Generator, length: int) -> Single:
    """Numbers of all sizes that cancel almost completely: the worst case of a sum."""
    half = (random.normal(size=length // 2) * 10.0 ** random.integers(-6, 7, length // 2)).astype(np.float32)
    numbers = np.concatenate([half, -half])
    random.shuffle(numbers)
    return numbers


def uniform(random: np.random.Generator, length: int) -> Single:
    return random.uniform(-1, 1, length).astype(np.float32)


def positive(random: np.random.Generator, length: int) -> Single:
    """Numbers of one sign just above a power of two, where every addition rounds upwards or downwards most."""
    return (1 + random.random(length) * 2.0**-10).astype(np.float32)


DATA = [cancelling, uniform, positive]


def exact_dot(left: Single, right: Single) -> Fraction:
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(left, right, strict=True)), Fraction(0))


@pytest.mark.parametrize("add_up", SUMS)
@pytest.mark.parametrize("draw", DATA)
def test_a_dense_layer_stays_within_its_bound(add_up: Sum, draw: Callable[..., Single]) -> None:
    random = np.random.default_rng(0)
    for length in (2, 30, 784):
        inputs, kernel, bias = draw(random, length), draw(random, length), draw(random, 2)[:1]
        found = add_up(inputs * kernel) + bias[0]
        error = abs(Fraction(float(found)) - exact_dot(inputs, kernel) - Fraction(float(bias[0])))
        bound = FLOAT32.dense(inputs[None].astype(np.float64), kernel[:, None].astype(np.float64), bias.astype(float))
        assert float(error) <= bound[0, 0]


def test_terms_that_are_zero_do_not_widen_the_bound() -> None:
    inputs = np.zeros((1, 784))
    inputs[0, :3] = 0.5
    kernel, bias = np.full((784, 1), 0.25), np.zeros(1)
    tight = FLOAT32.dense(inputs[:, :3], kernel[:3], bias)
    assert FLOAT32.dense(inputs, kernel, bias) == tight


def test_a_dense_layer_that_is_off_by_a_thousandth_exceeds_its_bound() -> None:
    random = np.random.default_rng(1)
    # As many pixels as are ink in a digit, and weights within the limits of this network's.
    inputs = random.random((8, 784)) * (random.random((8, 784)) < 0.19)
    kernel, bias = random.uniform(-0.08, 0.08, (784, 128)), np.zeros(128)
    exact = inputs @ kernel
    off = np.abs(1e-3 * exact) > FLOAT32.dense(inputs, kernel, bias)
    # In a sum that cancels almost completely, rounding may hide a thousandth of what is left.
    assert off[np.abs(exact) > 0.2 * np.abs(exact).mean()].all()


def logits_of(kind: str) -> Single:
    random = np.random.default_rng(2)
    scale = {"ordinary": 1.0, "confident": 30.0, "extreme": 1e4, "flat": 1e-6}[kind]
    return (random.normal(size=(64, 10)) * scale).astype(np.float32)


KINDS = ["ordinary", "confident", "extreme", "flat"]


def single_softmax(logits: Single) -> Single:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / np.stack([sequential(row) for row in powers])[:, None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_softmax_stays_within_its_bound(kind: str) -> None:
    logits = logits_of(kind)
    exact = oracle.softmax(logits.astype(np.longdouble))  # type: ignore[arg-type]
    found = single_softmax(logits)
    assert found.dtype == np.float32
    relative = FLOAT32.softmax_relative(logits.astype(np.float64))
    assert (np.abs(found - exact) <= relative * exact + FLOAT32.tiny).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_softmax_by_way_of_its_logarithm_stays_within_its_bound(kind: str) -> None:
    """As torch's cross-entropy has it in the gradient: a second difference is rounded."""
    logits = logits_of(kind)
    shifted = logits - logits.max(axis=1, keepdims=True)
    found = np.exp(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
    assert found.dtype == np.float32
    exact = oracle.softmax(logits.astype(np.longdouble))  # type: ignore[arg-type]
    relative = FLOAT32.softmax_relative(logits.astype(np.float64))
    assert (np.abs(found - exact) <= relative * exact + FLOAT32.tiny).all()


@pytest.mark.parametrize("kind", ["ordinary", "confident", "flat"])
def test_a_softmax_that_is_off_by_a_thousandth_exceeds_its_bound(kind: str) -> None:
    assert (FLOAT32.softmax_relative(logits_of(kind).astype(np.float64)) < 1e-3).all()


def single_loss(logits: Single, labels: NDArray[np.int64], add_up: Sum) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.stack([add_up(row) for row in np.exp(shifted)])) - shifted[np.arange(len(labels)), labels]
    assert losses.dtype == np.float32
    return float(add_up(losses) / np.float32(len(labels)))


@pytest.mark.parametrize("add_up", SUMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_stays_within_its_bound_and_a_thousandth_exceeds_it(kind: str, add_up: Sum) -> None:
    logits, labels = logits_of(kind), np.random.default_rng(3).integers(0, 10, 64)
    exact = float(oracle.cross_entropies(logits.astype(np.longdouble), labels).mean())  # type: ignore[arg-type]
    bound = FLOAT32.cross_entropy(logits.astype(np.float64), labels)
    assert abs(single_loss(logits, labels, add_up) - exact) <= bound
    assert bound < 1e-3 * exact


def test_a_loss_of_certain_digits_is_bounded_by_what_exp_can_lose() -> None:
    # Every digit is right by a wide margin: the loss is a sum of tiny numbers beside a 1 that rounds them away.
    logits = np.full((32, 10), -12, np.float32)
    labels = np.arange(32) % 10
    logits[np.arange(32), labels] = 4
    exact = float(oracle.cross_entropies(logits.astype(np.float64), labels).mean())
    assert abs(single_loss(logits, labels, sequential) - exact) <= FLOAT32.cross_entropy(logits.astype(float), labels)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_logits_stays_within_its_bound(kind: str) -> None:
    logits, labels = logits_of(kind), np.random.default_rng(4).integers(0, 10, 64)
    exact = oracle.output_delta(logits.astype(np.longdouble), labels)  # type: ignore[arg-type]
    found = single_softmax(logits)
    found[np.arange(64), labels] -= 1
    found /= np.float32(64)
    bound = FLOAT32.output_delta(logits.astype(np.float64), exact.astype(np.float64))
    assert (np.abs(found - exact) <= bound).all()


@pytest.mark.parametrize("draw", DATA)
def test_a_product_stays_within_its_bound_with_the_error_of_its_left_side(draw: Callable[..., Single]) -> None:
    random = np.random.default_rng(5)
    left, right = np.stack([draw(random, 32) for _ in range(4)]), np.stack([draw(random, 6) for _ in range(32)])
    error = np.abs(left) * np.float32(1e-5)
    moved = (left + error * random.choice([-1, 1], left.shape)).astype(np.float32)
    exact = left.astype(np.float64) @ right
    carried = ErrorBound.of(error.astype(np.float64) + 2.0**-24 * np.abs(moved))
    bound = FLOAT32.product(left.astype(np.float64), carried, right.astype(float)).worst
    for add_up in SUMS:
        found = np.array([[add_up(row * column) for column in right.T] for row in moved])
        assert (np.abs(found - exact) <= bound).all()


def test_errors_whose_squares_underflow_are_carried_on() -> None:
    double = Rounding.of("float64")
    left, right = np.full((1, 600), 1e-160), np.full((600, 1), 0.5)
    error = ErrorBound.of(np.full((1, 600), 1e-172))
    assert double.product(left, error, right).bound[0, 0] >= 300 * 1e-172


def test_what_is_flushed_to_zero_is_within_the_bound_of_a_product() -> None:
    smallest = float(np.finfo(np.float32).tiny)
    left, right = np.full((1, 600), 0.99 * smallest), np.full((600, 1), 3.0)
    assert (left @ right <= FLOAT32.product(left, ErrorBound.of(0 * left), right).bound).all()
    assert (left @ right <= FLOAT32.dense(left, right, np.zeros(1))).all()


def test_errors_that_add_up_again_two_layers_on_stay_within_their_bound() -> None:
    """Weights that are alike, as after a few steps of Adam: the errors of one number come back all of one sign."""
    random = np.random.default_rng(7)
    number, weights = np.ones((1, 1)), [np.ones((1, 400)), np.full((400, 400), 0.05), np.full((400, 1), 0.05)]
    error = ErrorBound.of(np.full((1, 1), 1e-3)).probed()
    independent = ErrorBound.of(np.full((1, 1), 1e-3))
    off = 1e-3 * random.choice([-1, 1])
    for matrix in weights:
        error, independent = (FLOAT32.product(number, carried, matrix) for carried in (error, independent))
        number, off = number @ matrix, off * matrix.sum(axis=0).max()
    assert abs(off) <= error.bound[0, 0]
    assert abs(off) > independent.bound[0, 0]


def test_probes_say_the_same_each_time() -> None:
    error = ErrorBound.of(np.ones((3, 4))).probed().plus(np.ones((3, 4)))
    again = ErrorBound.of(np.ones((3, 4))).probed().plus(np.ones((3, 4)))
    assert np.array_equal(error.bound, again.bound)


def adam_cases(beta_1: float, beta_2: float) -> tuple[Adam, dict[str, Single]]:
    random = np.random.default_rng(6)
    draw = lambda scale: (random.normal(size=4000) * 10.0 ** random.uniform(-8, 1, 4000) * scale).astype(np.float32)  # noqa: E731
    adam = Adam(1e-3, beta_1, beta_2, 1e-7, "float32")
    return adam, {"m": draw(1), "v": draw(1) ** 2, "g": draw(1), "parameter": draw(0.1)}


BETAS = [(0.9, 0.999), (0.0, 0.9), (0.99, 0.9999), (0.5, 0.0)]


@pytest.mark.parametrize(("beta_1", "beta_2"), BETAS)
def test_moments_stay_within_their_bounds_in_every_form(beta_1: float, beta_2: float) -> None:
    adam, given = adam_cases(beta_1, beta_2)
    m, v, g = given["m"], given["v"], given["g"]
    wide = {name: array.astype(np.float64) for name, array in given.items()}
    rest_1, rest_2 = np.float32(1 - beta_1), np.float32(1 - beta_2)
    first = [np.float32(beta_1) * m + rest_1 * g, m + (g - m) * rest_1]
    second = [
        np.float32(beta_2) * v + rest_2 * g * g,
        v + (g * g - v) * rest_2,
        np.float32(beta_2) * v + g * (rest_2 * g),
    ]
    for found in first:
        assert found.dtype == np.float32
        exact = adam.first_moment(wide["m"], wide["g"])
        assert (np.abs(found - exact) <= FLOAT32.first_moment(wide["m"], wide["g"], adam)).all()
    for found in second:
        assert found.dtype == np.float32
        exact = adam.second_moment(wide["v"], wide["g"])
        assert (np.abs(found - exact) <= FLOAT32.second_moment(wide["v"], wide["g"], adam)).all()


def test_moments_that_are_off_by_a_thousandth_exceed_their_bounds() -> None:
    adam, given = adam_cases(0.9, 0.999)
    zero, g = np.zeros(4000), given["g"].astype(np.float64)
    visible = np.abs(g) > 1e-15  # the square of less comes near the smallest numbers of float32
    first, second = adam.first_moment(zero, g), adam.second_moment(zero, g)
    assert (np.abs(1e-3 * first) > FLOAT32.first_moment(zero, g, adam))[visible].all()
    assert (np.abs(1e-3 * second) > FLOAT32.second_moment(zero, g, adam))[visible].all()


@pytest.mark.parametrize(("beta_1", "beta_2"), BETAS)
@pytest.mark.parametrize("step", [1, 2, 10])
def test_a_parameter_stays_within_its_bound(beta_1: float, beta_2: float, step: int) -> None:
    adam, given = adam_cases(beta_1, beta_2)
    m, v, parameter = given["m"], given["v"], given["parameter"]
    wide = {name: array.astype(np.float64) for name, array in given.items()}
    power_1, power_2 = np.float32(beta_1) ** np.float32(step), np.float32(beta_2) ** np.float32(step)
    alpha = np.float32(1e-3) * np.sqrt(1 - power_2) / (1 - power_1)
    epsilon = np.float32(1e-7)
    correction_1, correction_2 = np.float32(1 - beta_1**step), np.float32(math.sqrt(1 - beta_2**step))
    update = adam.update(wide["m"], wide["v"], step)
    for found in (
        parameter - alpha * m / (np.sqrt(v) + epsilon),
        parameter - m * alpha / (np.sqrt(v) + epsilon),
        # torch's form with Keras's ε, whose powers of β are double
        parameter - np.float32(1e-3) / correction_1 * (m / (np.sqrt(v) / correction_2 + epsilon / correction_2)),
    ):
        assert found.dtype == np.float32
        bound = FLOAT32.parameter(found.astype(np.float64), update, adam, step)
        assert (np.abs(found - (wide["parameter"] - update)) <= bound).all()


def test_an_update_that_is_off_by_a_thousandth_exceeds_its_bound() -> None:
    adam = Adam(1e-3, 0.9, 0.999, 1e-7, "float32")
    update = np.array([1e-3, -1e-3])
    parameter = np.array([0.05, -0.01])  # of the size of this network's weights
    assert (np.abs(1e-3 * update) > FLOAT32.parameter(parameter, update, adam, 1)).all()


def test_beside_float64_the_rounding_of_the_oracle_counts_too() -> None:
    assert Rounding.of("float64").unit == 2 * 2.0**-53


def test_gamma_is_highams() -> None:
    unit = 2.0**-24
    assert float(FLOAT32.gamma(784)) == 784 * unit / (1 - 784 * unit)
    assert FLOAT32.unit == unit
