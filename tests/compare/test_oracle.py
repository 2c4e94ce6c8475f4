"""The third opinion is right: its gradients against finite differences, its Adam against another statement of it."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from compare.oracle import network as oracle
from compare.oracle.network import Adam, ArraysByName

Case = tuple[ArraysByName, NDArray[np.float64], NDArray[np.int64]]


def case(*hidden_sizes: int, batch: int = 5, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    sizes = (12, *hidden_sizes, 10)
    names = [*(f"hidden_{i}" for i in range(1, len(sizes) - 1)), "output"]
    weights: ArraysByName = {}
    for name, inputs, units in zip(names, sizes[:-1], sizes[1:], strict=True):
        weights[f"{name}.kernel"] = random.normal(size=(inputs, units)) / math.sqrt(inputs)
        weights[f"{name}.bias"] = random.normal(size=units) / 10
    return weights, random.random((batch, 12)), random.integers(0, 10, batch)


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (8, 6), (5, 5, 5)])
def test_gradients_are_those_of_finite_differences(hidden_sizes: tuple[int, ...]) -> None:
    weights, images, labels = case(*hidden_sizes)
    found = oracle.gradients(weights, images, labels)
    assert list(found) == list(weights)
    # A central difference is off by h²/6 times the third derivative, of order 1 here, and by rounding,
    # u/h of a loss of order 1; h = 1e-5 makes both about 1e-11. No ReLU of these cases is within h of its kink.
    step = 1e-5
    closest = min(np.abs(z).min() for z in oracle.forward(weights, images).preactivations.values())
    assert closest > 50 * step
    for name, array in weights.items():
        for index in np.ndindex(array.shape):
            losses = []
            for moved in (array[index] + step, array[index] - step):
                changed = array.copy()
                changed[index] = moved
                losses.append(oracle.loss({**weights, name: changed}, images, labels))
            assert found[name][index] == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-9)


def test_output_delta_is_that_of_finite_differences_of_the_logits() -> None:
    random = np.random.default_rng(1)
    logits, labels, step = random.normal(size=(4, 10)), random.integers(0, 10, 4), 1e-5
    delta = oracle.output_delta(logits, labels)
    for index in np.ndindex(logits.shape):
        moved = np.zeros_like(logits)
        moved[index] = step
        difference = oracle.cross_entropies(logits + moved, labels) - oracle.cross_entropies(logits - moved, labels)
        assert delta[index] == pytest.approx(difference.mean() / (2 * step), abs=1e-9)


def test_the_forward_pass_is_what_a_loop_computes() -> None:
    weights, images, labels = case(6, batch=2)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        hidden = [
            max(0.0, math.fsum([*(image * weights["hidden_1.kernel"][:, unit]), weights["hidden_1.bias"][unit]]))
            for unit in range(6)
        ]
        logits = [
            math.fsum([*(np.array(hidden) * weights["output.kernel"][:, unit]), weights["output.bias"][unit]])
            for unit in range(10)
        ]
        passed = oracle.forward(weights, images)
        assert passed.inputs["output"][row] == pytest.approx(hidden, rel=1e-14)
        assert passed.preactivations["output"][row] == pytest.approx(logits, rel=1e-13)
        powers = [math.exp(z) for z in logits]
        assert passed.activations["output"][row] == pytest.approx([p / sum(powers) for p in powers], rel=1e-13)
        expected = math.log(sum(powers)) - logits[label]
        losses = oracle.cross_entropies(passed.preactivations["output"], labels)
        assert losses[row] == pytest.approx(expected, rel=1e-13)
    assert oracle.loss(weights, images, labels) == pytest.approx(losses.mean(), rel=1e-15)


def test_the_loss_survives_huge_logits() -> None:
    logits = np.array([[1e4, 0.0, -1e4]])
    assert oracle.cross_entropies(logits, np.array([2]))[0] == 2e4
    assert oracle.softmax(logits)[0].tolist() == [1, 0, 0]


def test_adam_is_kingma_and_bas_with_epsilon_before_the_correction() -> None:
    # Algorithm 1 of Kingma & Ba (2015) in the efficient form of its section 2, in exact fractions but for the
    # square roots: θ ← θ − α·√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m / (√v + ε̂).
    adam = Adam(0.01, 0.75, 0.9375, 2.0**-20)
    rate, beta_1, beta_2 = Fraction(0.01), Fraction(3, 4), Fraction(15, 16)
    gradients = [Fraction(1, 8), Fraction(-3, 4), Fraction(0), Fraction(5, 2)]
    m = v = Fraction(0)
    first = second = np.zeros(1)
    for step, g in enumerate(gradients, 1):
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        first = adam.first_moment(first, np.array([float(g)]))
        second = adam.second_moment(second, np.array([float(g)]))
        assert first[0] == pytest.approx(float(m), rel=1e-15)
        assert second[0] == pytest.approx(float(v), rel=1e-15)
        alpha = float(rate) * math.sqrt(1 - beta_2**step) / float(1 - beta_1**step)
        expected = alpha * float(m) / (math.sqrt(v) + 2.0**-20)
        assert adam.update(first, second, step)[0] == pytest.approx(expected, rel=1e-14)


def test_the_first_step_of_adam_moves_by_the_learning_rate() -> None:
    adam = Adam(1e-3, 0.9, 0.999, 1e-30)
    g = np.array([1e-6, -3.0, 42.0])
    zero = np.zeros(3)
    update = adam.update(adam.first_moment(zero, g), adam.second_moment(zero, g), 1)
    assert update == pytest.approx(1e-3 * np.sign(g), rel=1e-12)


def test_powers_of_beta_are_computed_in_the_dtype_asked_for() -> None:
    single, double = (Adam(1e-3, 0.9, 0.999, 1e-7, dtype) for dtype in ("float32", "float64"))
    # float32(0.999) is 1.3e-8 too large, which 1 − β₂ magnifies a thousandfold and √ halves.
    assert single.step_size(1) / double.step_size(1) - 1 == pytest.approx(-6.3e-6, rel=0.1)


def test_exact_loses_nothing() -> None:
    array = np.array([0.1, -1e-40], np.float32)
    assert oracle.exact({"a": array})["a"].tolist() == [float(array[0]), float(array[1])]
