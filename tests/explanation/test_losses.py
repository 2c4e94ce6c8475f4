import numpy as np
import pytest
from scipy import special

from compare.explanation.arithmetic.losses import Formula, Sample, find
from compare.explanation.observed.observation import Array

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(3, 8, 4))
CLASSES = GENERATOR.integers(0, 4, size=(3, 8))
WEIGHTS = np.array([1.0, 2.0, 3.0, 0.5])
CHANCES = special.softmax(LOGITS, axis=-1)
EACH = -np.take_along_axis(special.log_softmax(LOGITS, axis=-1), CLASSES[..., None], -1)[..., 0]
TWICE = -np.take_along_axis(special.log_softmax(CHANCES, axis=-1), CLASSES[..., None], -1)[..., 0]
SAMPLES = [Sample(CHANCES[i], LOGITS[i], CLASSES[i], None, WEIGHTS) for i in range(3)]
CHOSEN = WEIGHTS[CLASSES]


def found(values: Array) -> Formula:
    formula = find(SAMPLES, [float(value) for value in values])
    assert formula is not None
    return formula


def test_the_mean_of_the_cross_entropy() -> None:
    assert str(found(EACH.mean(1))) == "cross-entropy of logits, mean over the samples"


def test_softmax_twice() -> None:
    assert "applies softmax a second time" in found(TWICE.mean(1)).on


@pytest.mark.parametrize(
    ("values", "reduction", "weights"),
    [
        (EACH.sum(1), "sum over the samples (reduction sum)", "none"),
        ((EACH * CHOSEN).mean(1), "mean over the samples", "class weights"),
        ((EACH * CHOSEN).sum(1) / CHOSEN.sum(1), "divided by the sum of the weights (weighted mean)", "class weights"),
    ],
)
def test_reductions_and_weights(values: Array, reduction: str, weights: str) -> None:
    formula = found(values)
    assert (formula.reduction, formula.weights) == (reduction, weights)


def test_label_smoothing() -> None:
    smooth = np.eye(4)[CLASSES] * 0.9 + 0.025
    assert found(-(smooth * special.log_softmax(LOGITS, -1)).sum(-1).mean(1)).smoothing == 0.1


def test_a_loss_that_is_none_of_these_has_no_name() -> None:
    assert find(SAMPLES, [1.2345, 2.3456, 3.4567]) is None


OUTPUTS = GENERATOR.normal(size=(3, 8, 1))
TARGETS = GENERATOR.normal(size=(3, 8))


def test_targets_that_are_broadcast() -> None:
    samples = [Sample(OUTPUTS[i], None, TARGETS[i]) for i in range(3)]
    formula = find(samples, [float(np.mean((OUTPUTS[i] - TARGETS[i]) ** 2)) for i in range(3)])
    assert formula is not None
    assert "broadcast" in formula.name


@pytest.mark.parametrize(("delta", "name"), [(1.0, "Huber (delta 1)"), (0.5, "Huber (delta 0.5)")])
def test_huber_and_its_delta(delta: float, name: str) -> None:
    samples = [Sample(OUTPUTS[i], None, TARGETS[i][:, None]) for i in range(3)]
    values = [float(np.mean(special.huber(delta, OUTPUTS[i, :, 0] - TARGETS[i]))) for i in range(3)]
    formula = find(samples, values)
    assert formula is not None
    assert formula.name == name
