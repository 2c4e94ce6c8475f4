"""Rungs 8 and 9: the trajectory and the outcome of whole trainings, against A/A controls.

A control is the same implementation under the same recipe from initial weights one unit in the last
place away. Two runs that differ by rounding alone part sooner or later, and how far is a matter of
chance; how soon and how far, the controls show.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare import convolution, oracle
from compare.bounds import Rounding
from compare.recorded import shared_masks
from compare.rung import Rung, Verdict
from compare.signatures import low_precision
from compare.statistics import paired_accuracies, prediction_margin
from recipe import Recipe, mnist
from recipe.run_record import RunRecord, TestResults

PARTED = 1e-3
"""Two runs have parted at the first step whose losses differ by more than this."""

MIN_CONTROLS = 3

_IMAGES_AT_ONCE = 500
"""Test images whose patches are in memory together: some 140 MB in the default cnn."""

_AS_DROPOUT_STRAYS = 0.1
"""Medians of so many images' deviations under two draws of the masks differ by less than this share."""

Runs = dict[str, RunRecord]
"""The two implementations' runs by name, the reference first."""


# --- 8. trajectory ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parting:
    """How two runs drift apart: by the loss of every step, and by the mean loss of every epoch."""

    max_loss_difference: float
    parted_at_step: int | None
    epoch_difference: float

    @classmethod
    def of(cls, first: RunRecord, second: RunRecord) -> "Parting":
        """`parted_at_step` counts from 1; `epoch_difference` is a root mean square over the epochs."""
        difference = loss_difference(first.step_losses, second.step_losses)
        epochs = np.subtract(*(np.array(run.history["loss"]) for run in (first, second)))
        return cls(
            float(difference.max()),
            parted_at_step(difference),
            float(np.sqrt((epochs**2).mean())),
        )


def loss_difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """By how much the losses of two runs differ, for every step that both took, shape (steps,)."""
    steps = min(len(first), len(second))
    return np.abs(first[:steps].astype(np.float64) - second[:steps])


def parted_at_step(difference: NDArray[np.floating]) -> int | None:
    """The first step, from 1, at which the losses differ by more than `PARTED`; None if they never do."""
    parted = np.flatnonzero(difference > PARTED)
    return int(parted[0]) + 1 if parted.size else None


def trajectory(runs: Runs, controls: Sequence[RunRecord]) -> Rung:
    """The loss of every step, and when the two part.

    Args:
        runs: Two runs that did not diverge.
        controls: An A/A family: runs of one implementation that differ by perturbation alone.
    """
    (first_name, first), (second_name, second) = runs.items()
    steps = {name: len(run.step_losses) for name, run in runs.items()}
    if len(set(steps.values())) > 1 or len(first.history["loss"]) != len(second.history["loss"]):
        return Rung(
            "trajectory",
            "not parity",
            measured=abs(steps[first_name] - steps[second_name]),
            bound=0,
            where=f"{first_name} took {steps[first_name]:,} optimizer steps, {second_name} {steps[second_name]:,}",
            cause=_step_count_cause(runs),
            detail={"unit": "steps more or fewer", "steps": steps},
        )
    where: str | None = None
    cause: str | None = None
    found = Parting.of(first, second)
    pairs = [Parting.of(a, b) for a, b in combinations(controls, 2)]
    detail = {
        "unit": "step of parting",
        **asdict(found),
        "controls": [asdict(pair) for pair in pairs],
    }
    if len(controls) <= MIN_CONTROLS:
        cause = f"{max(0, len(controls) - 1)} controls are too few to judge by; ask for at least {MIN_CONTROLS}"
        return Rung("trajectory", "inconclusive", found.parted_at_step, None, cause=cause, detail=detail)

    never = len(first.step_losses) + 1
    parted = found.parted_at_step or never
    earliest = min(pair.parted_at_step or never for pair in pairs)
    unit = Rounding.of(first.recipe.dtype).unit
    verdict, limit = _no_sooner(parted, [pair.parted_at_step or never for pair in pairs], len(controls), unit)
    detail["earliest_control"] = earliest if earliest < never else None
    if verdict != "parity":
        where = f"step {parted:,}: the losses differ by more than {PARTED:g}; the controls part from {earliest:,} on"
        cause = "the two part sooner than rounding alone explains"
        if verdict == "inconclusive":
            cause = "the two part so little sooner than the controls that more controls would have to tell"
    elif found.parted_at_step and (drift := _drift(found, pairs, len(controls))) != "parity":
        verdict = drift
        where = f"mean training loss by epoch: they differ by {found.epoch_difference:.2g} (root mean square)"
        largest = max(pair.epoch_difference for pair in pairs)
        cause = f"after parting they drift further than the controls, whose largest difference is {largest:.2g}"
    return Rung("trajectory", verdict, found.parted_at_step, limit, where, cause, detail)


def _step_count_cause(runs: Runs) -> str:
    (_, first), (second_name, second) = runs.items()
    epochs = len(second.history["loss"]) - len(first.history["loss"])
    if epochs:
        return (
            f"{second_name} trains {abs(epochs)} epoch{'s' * (abs(epochs) > 1)} too {'many' if epochs > 0 else 'few'}"
        )
    return f"{second_name} takes another number of steps an epoch"


def _no_sooner(parted: int, controls: list[int], num_runs: int, unit: float) -> tuple[Verdict, float]:
    """Parity if not sooner than the controls part, allowing for the rounding errors that they lack.

    Rounding errors grow exponentially, so that the step's logarithm is what scatters evenly. A
    control starts from one rounding of every weight and then rounds as its twin does; two frameworks
    round differently in each of t steps, which adds up like a random walk to √t as much. Growing
    from the unit roundoff u to 1e-3 in T steps, a difference √T times as large arrives sooner by
    T·ln √T / ln(1e-3 / u). In step 1 no error has grown yet, whatever the controls do.
    """
    earliest = min(controls)
    if parted >= earliest:
        return "parity", float(earliest)
    sooner = max(0.0, 1 - 0.5 * math.log(earliest) / math.log(PARTED / unit))
    logs = np.log(controls)
    limits = [
        max(2.0, min(earliest, math.exp(logs.mean() - prediction_margin(logs, num_runs, level))) * sooner)
        for level in (0.99, 0.999)
    ]
    if parted >= limits[0]:
        return "parity", limits[0]
    return ("inconclusive" if parted >= limits[1] else "not parity"), limits[1]


def _drift(found: Parting, pairs: list[Parting], num_runs: int) -> Verdict:
    """Whether the epochs' mean losses differ by more than those of the controls do."""
    logs = np.log([max(pair.epoch_difference, 1e-300) for pair in pairs])
    excess = math.log(max(found.epoch_difference, 1e-300)) - logs.mean()
    if excess <= prediction_margin(logs, num_runs, 0.99):
        return "parity"
    return "inconclusive" if excess <= prediction_margin(logs, num_runs, 0.999) else "not parity"


# --- 9. outcome ------------------------------------------------------------------------------------


def outcome(runs: Runs, controls: Sequence[RunRecord], digits: mnist.Digits, *, margin: float) -> Rung:
    """Test accuracy and single digits; first, whether each side's results are those of its weights.

    Args:
        runs: Two runs that did not diverge.
        controls: An A/A family, whose disagreement on single digits stands beside.
        digits: Their test images decide what is right.
        margin: The accuracies are the same if the 95% interval of their difference lies within it.
    """
    predicted = {name: _test(run).predictions.argmax(axis=1) for name, run in runs.items()}
    right = [digits_of == digits.y_test for digits_of in predicted.values()]
    paired = paired_accuracies(right[0], right[1])
    different = float(np.not_equal(*predicted.values()).mean())
    among_controls = [
        float((_test(a).predictions.argmax(axis=1) != _test(b).predictions.argmax(axis=1)).mean())
        for a, b in combinations(controls, 2)
    ]
    low, high = paired.interval
    detail = {
        "unit": "accuracy difference",
        "paired": asdict(paired),
        "margin": margin,
        "predicted_differently": different,
        "controls_predict_differently": among_controls,
    }
    measured = max(abs(low), abs(high))
    where: str | None = None
    cause: str | None = None
    for name, run in runs.items():
        if (fault := _inconsistency(run, digits)) is not None:
            where, cause = fault
            return Rung("outcome", "not parity", measured, margin, f"{name}, {where}", cause, detail)
    verdict: Verdict = "inconclusive"
    if -margin < low and high < margin:
        verdict = "parity"
    elif high < -margin or low > margin:
        verdict = "not parity"
    if verdict != "parity":
        where = (
            f"test accuracy: {paired.difference * 100:+.2f} percentage points, {low * 100:+.2f} to {high * 100:+.2f}"
        )
        cause = f"the interval does not lie inside the margin of ±{margin * 100:g} percentage points"
    return Rung("outcome", verdict, measured, margin, where, cause, detail)


def _test(run: RunRecord) -> TestResults:
    if run.test is None:
        raise ValueError(f"{run.directory} holds a run that diverged; it has no outcome to judge")
    return run.test


def _inconsistency(run: RunRecord, digits: mnist.Digits) -> tuple[str, str] | None:
    """Where a run's results are not those of its final weights, and why, if they are not."""
    test = _test(run)
    real = run.recipe.dtype
    images = (digits.x_test.reshape(len(digits.x_test), -1) / 255).astype(real)
    parts = [_logits(run, images[i : i + _IMAGES_AT_ONCE]) for i in range(0, len(images), _IMAGES_AT_ONCE)]
    logits, error = (np.concatenate(part) for part in zip(*parts, strict=True))
    expected = oracle.softmax(logits)
    # Logits off by e change each probability by a factor of at most exp(2e).
    bound = expected * np.expm1(2 * error + Rounding.of(run.recipe.dtype).softmax_relative(logits))
    excess = np.abs(test.predictions - expected) - bound
    if excess.max() > Rounding.of(run.recipe.dtype).tiny:
        image, digit = (int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
        place = f"probability of a {digit} in test image {image}"
        values = f"{test.predictions[image, digit]:.6g}, the final weights give {expected[image, digit]:.6g}"
        return f"{place}: {values}", _prediction_cause(run, images, logits)
    half_an_image = 0.5 / len(images)
    accuracy = float((test.predictions.argmax(axis=1) == digits.y_test).mean())
    labels = digits.y_test.astype(np.int64)
    loss = oracle.cross_entropies(logits, labels)
    loss_bound = 2 * float(error.mean()) + Rounding.of(run.recipe.dtype).cross_entropy(logits, labels)
    for title, value, wanted, allowed in (
        ("test accuracy", test.accuracy, accuracy, half_an_image),
        ("test loss", test.loss, float(loss.mean()), loss_bound),
        ("last validation accuracy", run.history["val_accuracy"][-1], accuracy, half_an_image),
        ("last validation loss", run.history["val_loss"][-1], float(loss.mean()), loss_bound),
    ):
        if not abs(value - wanted) <= allowed:
            place = f"{title}: {value:.6g}, the final weights give {wanted:.6g}"
            return place, f"the {title} is not that of the final weights on the test images"
    return None


def _prediction_cause(run: RunRecord, images: NDArray[np.floating], logits: NDArray[np.float64]) -> str:
    """Why the predictions are not those of the final weights: computed in float32, or as dropout makes them stray."""
    found, expected = np.asarray(_test(run).predictions, np.float64), oracle.softmax(logits)
    if run.recipe.dtype == "float64" and (precision := low_precision(found, expected, double=True)) is not None:
        return f"the predictions are not computed in float64: {precision}"
    few = slice(_IMAGES_AT_ONCE)
    if run.recipe.dropout:
        masks = shared_masks(run.recipe, 0, len(images[few]))
        passed = oracle.forward(oracle.exact(run.weights), _fed(run.recipe, images[few]), masks)
        with np.errstate(divide="ignore"):
            strayed = np.log([_test(run).predictions[few], passed.activations["output"]]) - np.log(
                oracle.softmax(logits[few])
            )
        by_run, by_dropout = (float(np.median(np.abs(part[np.isfinite(part)]))) for part in strayed)
        if math.isclose(by_run, by_dropout, rel_tol=_AS_DROPOUT_STRAYS):
            return "dropout is active in evaluation: the predictions stray from the final weights' as it makes them"
    return "the predictions are not those of the final weights: of another epoch or model"


def _fed(recipe: Recipe, images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Images (batch, pixels) as the first layer takes them."""
    exact = images.astype(np.float64)
    return convolution.as_maps(exact, recipe.images.image_shape) if recipe.network == "cnn" else exact


def _logits(run: RunRecord, images: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact logits of the final weights, and by how much rounding can have moved them, an image a row."""
    rounding, weights = Rounding.of(run.recipe.dtype), oracle.exact(run.weights)
    tensor = _fed(run.recipe, images)
    error: Any = np.zeros_like(tensor)
    for layer in oracle.layer_names(weights):
        kernel, bias = weights[f"{layer}.kernel"], weights[f"{layer}.bias"]
        matrix, rows, errors = convolution.matrix(kernel), *(convolution.rows(t, kernel) for t in (tensor, error))
        preactivations = convolution.linear(tensor, kernel, bias)
        error = rounding.dense(np.abs(rows) + errors, matrix, bias) + errors @ np.abs(matrix)
        error = error.reshape(preactivations.shape)
        tensor = oracle.relu(preactivations)
        if convolution.is_convolution(kernel):
            tensor, error = convolution.max_pool(tensor), convolution.max_pool(error)
    return preactivations, error.max(axis=1, keepdims=True)
