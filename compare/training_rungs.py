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
from compare.rung import Rung, Sides, Verdict
from compare.signatures import kept_in, low_precision
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
    """How two runs drift apart: by the loss of every step, the mean loss of every epoch, and the final weights."""

    max_loss_difference: float
    parted_at_step: int | None
    epoch_difference: float
    weight_difference: float

    @classmethod
    def of(cls, first: RunRecord, second: RunRecord) -> "Parting":
        """`parted_at_step` counts from 1; `epoch_difference` is a root mean square over the epochs.

        `weight_difference` is ‖ΔW‖ / ‖W‖ of the parameter where it is largest.
        """
        difference = loss_difference(first.step_losses, second.step_losses)
        epochs = epoch_losses(first) - epoch_losses(second)
        return cls(
            float(difference.max()),
            parted_at_step(difference),
            float(np.sqrt((epochs**2).mean())),
            max(_relative_difference(second.weights[name], array) for name, array in first.weights.items()),
        )


def epoch_losses(run: RunRecord) -> NDArray[np.float64]:
    """The mean of the steps' losses in each epoch, shape (epochs,)."""
    epochs = np.array_split(run.step_losses.astype(np.float64), len(run.history["loss"]))
    return np.array([losses.mean() for losses in epochs])


def _relative_difference(array: NDArray[np.floating], of: NDArray[np.floating]) -> float:
    """‖array − of‖ / ‖of‖; 0 where they are the same."""
    exact = of.astype(np.float64)
    difference = float(np.linalg.norm(array.astype(np.float64) - exact))
    return difference / (float(np.linalg.norm(exact)) or 1.0)


def loss_difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """By how much the losses of two runs differ, for every step that both took, shape (steps,)."""
    steps = min(len(first), len(second))
    return np.abs(first[:steps].astype(np.float64) - second[:steps])


def parted_at_step(difference: NDArray[np.floating]) -> int | None:
    """The first step, from 1, at which the losses differ by more than `PARTED`; None if they never do."""
    parted = np.flatnonzero(difference > PARTED)
    return int(parted[0]) + 1 if parted.size else None


def trajectory(runs: Runs, controls: Sequence[RunRecord], sides: Sides | None = None) -> Rung:
    """The loss of every step, and when the two part.

    Args:
        runs: Two runs that did not diverge.
        controls: An A/A family: runs of one implementation that differ by perturbation alone.
        sides: The traces of the two, which tell a training that does not begin as its trace does.
    """
    (first_name, first), (second_name, second) = runs.items()
    steps = {name: len(run.step_losses) for name, run in runs.items()}
    if not _as_long(first, second):
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
        others = f"the controls part from {earliest:,} on" if earliest < never else "no control does"
        where = f"step {parted:,}: the losses differ by more than {PARTED:g}; {others}"
        cause = _unlike_its_trace(runs, sides or {}) or "the two part sooner than rounding alone explains"
        if verdict == "inconclusive":
            cause = "the two part so little sooner than the controls that more controls would have to tell"
    elif found.parted_at_step is None:
        differences = [pair.max_loss_difference for pair in pairs]
        if _farther_than_controls(found.max_loss_difference, differences, first):
            verdict = "not parity"
            largest = f"the controls' by at most {max(differences):.2g}"
            where = f"loss of a step: they differ by up to {found.max_loss_difference:.2g}, {largest}"
            cause = "something larger than rounding comes between, such as numbers kept in float32"
    else:
        latest = max(pair.parted_at_step or never for pair in (found, *pairs))
        verdict, where, cause = _drift(first, second, controls, latest)
    return Rung("trajectory", verdict, found.parted_at_step, limit, where, cause, detail)


def _as_long(first: RunRecord, second: RunRecord) -> bool:
    """Whether two runs took as many steps, in as many epochs."""
    lengths = {(len(run.step_losses), len(run.history["loss"])) for run in (first, second)}
    return len(lengths) == 1


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


def _unlike_its_trace(runs: Runs, sides: Sides) -> str | None:
    """Which side's training does not do what its own trace did, and from which step on."""
    for name, trace in sides.items():
        traced = np.array([step.loss for step in trace.steps])
        if (step := parted_at_step(loss_difference(traced, runs[name].step_losses))) is not None:
            return f"{name}: its training does not do what its trace did, from step {step} on"
    return None


Finding = tuple[Verdict, str | None, str | None]
"""A verdict, and where and why, if it is not parity."""


def _farther_than_controls(value: float, controls: Sequence[float], run: RunRecord) -> bool:
    """Whether two runs that end before they part differ by more than rounding in every step explains.

    A control begins one rounding away and rounds as its twin does; two frameworks round differently in each step, at
    worst always in one direction. (A step adds up no more numbers than there are parameters and images in a batch.)

    Where a unit lies so near zero that ReLU passes it in one run alone, the difference jumps. In float32 one run in
    ten of 1,876 steps did so, by up to 7e-5: there less than `PARTED` says nothing. In float64 that happens only once
    a difference has grown to half of the digits.
    """
    one_step = float(Rounding.of(run.recipe.dtype).gamma(run.num_parameters + run.recipe.batch_size))
    least = one_step if run.recipe.dtype == "float64" else PARTED
    return value > max(least, len(run.step_losses) * max(controls))


def _drift(first: RunRecord, second: RunRecord, controls: Sequence[RunRecord], latest: int) -> Finding:
    """Whether, once all pairs have parted, the epochs' mean losses differ by more than those of the controls do.

    By then the runs are as good as independent, and so are the epochs of a run: the ratio of the mean squares has
    the F distribution. `latest` is the step, from 1, at which the last pair parted.
    """
    from scipy.stats import f

    means = np.array([epoch_losses(run) for run in controls])
    steps_per_epoch = len(first.step_losses) / means.shape[1]
    begin = math.ceil(latest / steps_per_epoch)
    difference = (epoch_losses(first) - epoch_losses(second))[begin:]
    num_epochs = len(difference)
    expected = 2 * float(means[:, begin:].var(axis=0, ddof=1).sum())
    if not num_epochs or not expected:
        return "parity", None, None
    ratio = float((difference**2).sum()) / expected
    inconclusive, limit = (float(f.ppf(level, num_epochs, (len(controls) - 1) * num_epochs)) for level in (0.99, 0.999))
    if ratio <= inconclusive:
        return "parity", None, None
    found, usual = math.sqrt(float((difference**2).mean())), math.sqrt(expected / num_epochs)
    where = f"mean training loss by epoch, from epoch {begin + 1} on: they differ by {found:.2g} (root mean square)"
    cause = f"after parting they drift further than the controls, which differ by {usual:.2g}"
    return ("inconclusive" if ratio <= limit else "not parity"), where, cause


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
    if (apart := _results_apart(runs, controls)) is not None:
        return Rung("outcome", "not parity", measured, margin, *apart, detail)
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


def _results_apart(runs: Runs, controls: Sequence[RunRecord]) -> tuple[str, str] | None:
    """Where and why final weights or validation losses differ, if the losses of the steps have not parted."""
    (first_name, first), (second_name, second) = runs.items()
    if len(controls) <= MIN_CONTROLS or not _as_long(first, second):
        return None
    found = Parting.of(first, second)
    if found.parted_at_step is not None:
        return None
    differences = [Parting.of(a, b).weight_difference for a, b in combinations(controls, 2)]
    if _farther_than_controls(found.weight_difference, differences, first):
        largest = f"the controls' at most {max(differences):.2g}"
        where = f"final weights: ‖ΔW‖ / ‖W‖ is {found.weight_difference:.2g}, {largest}"
        return where, "they are not what the same steps led to: averaged, of another step, or rounded"
    for epoch, (a, b) in enumerate(zip(first.history["val_loss"], second.history["val_loss"], strict=True), 1):
        if abs(a - b) > PARTED:
            where = f"validation loss of epoch {epoch}: {a:.6g} in {first_name}, {b:.6g} in {second_name}"
            return where, "the steps' losses agree: one validation is not of the network after the epoch"
    return None


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
    if (fault := _unlike_its_steps(run)) is not None:
        return fault
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


def _unlike_its_steps(run: RunRecord) -> tuple[str, str] | None:
    """Where a history's training loss is not the mean of the steps' losses, weighted by the images in a batch."""
    num_images, size = run.recipe.images.num_training_images, run.recipe.batch_size
    steps_per_epoch, rest = divmod(len(run.step_losses), len(run.history["loss"]))
    if rest:
        return None  # then the trajectory has failed
    sizes = np.full(steps_per_epoch, size)
    if steps_per_epoch == math.ceil(num_images / size):
        sizes[-1] -= steps_per_epoch * size - num_images
    losses = run.step_losses.astype(np.float64).reshape(-1, steps_per_epoch)
    relative = float(Rounding.of(run.recipe.dtype).gamma(num_images))
    for epoch, of_epoch in enumerate(losses):
        value, wanted = run.history["loss"][epoch], float(np.average(of_epoch, weights=sizes))
        if not abs(value - wanted) <= relative * np.average(np.abs(of_epoch), weights=sizes):
            place = f"training loss of epoch {epoch + 1}: {value:.6g}, its steps' mean is {wanted:.6g}"
            return place, "the history's loss is not the mean of the losses of the epoch's steps"
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
    other = _other_predictions(run, images, found, logits)
    return f"the predictions are {other or 'not those of the final weights: of another epoch or model'}"


def _other_predictions(
    run: RunRecord, images: NDArray[np.floating], found: NDArray[np.float64], logits: NDArray[np.float64]
) -> str | None:
    """What else than the softmax of the logits the predictions are."""
    expected = oracle.softmax(logits)
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-logits))
    one_hot = np.eye(logits.shape[1])[logits.argmax(axis=1)]
    candidates = {
        "softmax applied twice": oracle.softmax(expected),
        "the sigmoid of the logits": sigmoid,
        "the classes as one-hot vectors, not probabilities": one_hot,
    }
    # Far above rounding in float32, far below what another softmax or epoch changes.
    for words, predicted in candidates.items():
        if np.abs(found - predicted).max() < PARTED:
            return words
    if run.recipe.dtype == "float32" and (cause := kept_in(found, double=False)) is not None:
        return f"not computed in float32: {cause}"
    if np.abs(np.sort(found, axis=0) - np.sort(expected, axis=0)).max() < PARTED:
        return "those of the final weights in another order of the images"
    few = slice(_IMAGES_AT_ONCE)
    if np.abs(found[few] - oracle.softmax(_logits(run, 255 * images[few])[0])).max() < PARTED:
        return "those of pixels that are not divided by 255"
    return None


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
