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
    assert str(found(EACH.mean(1))) == "cross-entropy, mean over the samples"


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


MASKS = (GENERATOR.random((3, 8, 5, 5)) > 0.6).astype(float)
SHARES = GENERATOR.random((3, 8, 5, 5))


def named(outputs: Array, targets: Array, values: list[float], numbers: tuple[float, ...] = ()) -> str:
    samples = [Sample(outputs[i], None, targets[i], numbers=numbers) for i in range(3)]
    formula = find(samples, values)
    return "" if formula is None else formula.name


def test_dice_of_each_sample_and_of_the_batch_are_two_losses() -> None:
    def dice(i: int, axes: tuple[int, ...] | None) -> float:
        both, total = (MASKS[i] * SHARES[i]).sum(axes), MASKS[i].sum(axes) + SHARES[i].sum(axes)
        return float(np.mean(1 - (2 * both + 1) / (total + 1)))

    # Shares have no logits here: they are what sigmoid gave.
    logits = special.logit(SHARES)
    assert named(logits, MASKS, [dice(i, (1, 2)) for i in range(3)]) == "Dice loss of each sample (smooth 1)"
    assert named(logits, MASKS, [dice(i, None) for i in range(3)]) == "Dice loss of the whole batch at once (smooth 1)"
    # One value of the batch is no mean over its samples, and what is computed of probabilities is not of logits.
    samples = [Sample(SHARES[i], logits[i], MASKS[i]) for i in range(3)]
    for axes, words in (
        ((1, 2), "Dice loss of each sample (smooth 1), mean over the samples"),
        (None, "Dice loss of the whole batch at once (smooth 1)"),
    ):
        assert str(find(samples, [dice(i, axes) for i in range(3)])) == words


def test_the_exponent_of_a_focal_loss_is_one_that_is_usual_or_stated() -> None:
    logits, labels = LOGITS[..., :1], (CLASSES[..., None] > 1).astype(float)
    chance = special.expit(logits)
    missed = labels * (1 - chance) + (1 - labels) * chance
    entropy = np.logaddexp(0, logits) - labels * logits
    for gamma, numbers in ((1.0, ()), (2.5, (2.5,))):
        values = [float(np.mean(missed[i] ** gamma * entropy[i])) for i in range(3)]
        assert named(logits, labels, values, numbers) == f"binary focal loss (gamma {gamma:g})"
    assert named(logits, labels, [float(np.mean(missed[i] ** 2.5 * entropy[i])) for i in range(3)]) == ""


def test_a_weight_of_the_positives_that_is_stated() -> None:
    logits, labels = LOGITS[..., :1], (CLASSES[..., None] > 1).astype(float)
    each = 3 * labels * np.logaddexp(0, -logits) + (1 - labels) * np.logaddexp(0, logits)
    found = named(logits, labels, [float(each[i].mean()) for i in range(3)], (3.0,))
    assert found == "binary cross-entropy, positives weighted by 3 (pos_weight)"


def test_the_margin_of_a_contrastive_loss() -> None:
    distances, alike = np.abs(OUTPUTS), (CLASSES > 1).astype(float)

    def loss(i: int, margin: float) -> float:
        d, y = distances[i, :, 0], alike[i]
        return float(np.mean(y * d**2 + (1 - y) * np.maximum(margin - d, 0) ** 2))

    for margin in (1.0, 2.0):
        values = [loss(i, margin) for i in range(3)]
        assert named(distances, alike, values) == f"contrastive loss (margin {margin:g})"


def test_masked_positions_are_left_out_of_the_mean() -> None:
    kept = np.arange(8) < 5
    samples = [Sample(CHANCES[i], LOGITS[i], CLASSES[i], masks=(("what is masked", kept),)) for i in range(3)]
    formula = find(samples, [float(values[kept].mean()) for values in EACH])
    assert formula is not None
    assert (formula.name, formula.weights) == ("cross-entropy", "what is masked")
