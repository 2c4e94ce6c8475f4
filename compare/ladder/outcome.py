"""The last rung: what the trained networks make of the test images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.causes.signatures import kept_in, ratio
from compare.ladder.rung import Rung, RungVerdict
from compare.ladder.trajectory import (
    MIN_CONTROLS,
    PARTED,
    Parting,
    Runs,
    as_long,
    drifted,
    farther_than_controls,
    loss_difference,
)
from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.oracle.bounds import Rounding
from compare.oracle.step import shared_masks
from compare.statistics import PairedAccuracies, paired_accuracies
from recipe import Recipe, mnist
from record.training import RunRecord, TestResults

_IMAGES_AT_ONCE = 500
"""Test images whose patches are in memory together: some 140 MB in the default cnn."""


_AS_DROPOUT_STRAYS = 0.15
"""Of `_IMAGES_AT_ONCE` images, the quartiles of the deviations under two draws of masks differ by a smaller share."""


def outcome(runs: Runs, controls: Sequence[RunRecord], digits: mnist.Digits, *, margin: float) -> Rung:
    """Test accuracy, single digits and the history; first, whether each side's results are those of its weights.

    Args:
        runs: Two runs that did not diverge.
        controls: An A/A family, which shows what chance does to an accuracy and to single digits.
        digits: Their test images decide what is right.
        margin: Accuracies closer than this are the same, whatever chance does.
    """
    predicted = {name: _test(run).predictions.argmax(axis=1) for name, run in runs.items()}
    right = [digits_of == digits.y_test for digits_of in predicted.values()]
    paired = paired_accuracies(right[0], right[1])
    chance = Chance.of(controls)
    among_controls = [
        float((_test(a).predictions.argmax(axis=1) != _test(b).predictions.argmax(axis=1)).mean())
        for a, b in combinations(controls, 2)
    ]
    bound = max(margin, chance.limit(_PARITY)) if chance else margin
    detail: dict[str, Any] = {
        "unit": "points of test accuracy",
        "paired": asdict(paired),
        "margin": margin,
        "chance": asdict(chance) if chance else None,
        "predicted_differently": float(np.not_equal(*predicted.values()).mean()),
        "controls_predict_differently": among_controls,
    }
    measured = abs(paired.difference)

    def found(verdict: RungVerdict, where: str | None = None, cause: str | None = None) -> Rung:
        return Rung("outcome", verdict, 100 * measured, 100 * bound, where, cause, detail)

    for name, run in runs.items():
        if (fault := _inconsistency(run, digits)) is not None:
            detail["own"] = True
            return found("not parity", f"{name}, {fault[0]}", fault[1])
    if (apart := _results_apart(runs, controls) or _history_apart(runs, controls)) is not None:
        return found("not parity", *apart)
    accuracies = [float(correct.mean()) for correct in right]
    where = f"test accuracy: {accuracies[0]:.2%} and {accuracies[1]:.2%}, {100 * paired.difference:+.2f} points"
    if chance is None:
        return found(*_without_controls(paired, margin, where))
    if measured <= bound:
        detail["same_run"] = _same_run(accuracies, chance, margin)
        return found("parity")
    cause = f"of two runs that differ by rounding alone, 99 in 100 end within {100 * bound:.2f} points of each other"
    return found("not parity" if measured > chance.limit(_NOT_PARITY) else "inconclusive", where, cause)


_PARITY, _NOT_PARITY = 0.99, 0.9999
"""Of two runs that chance alone parts, so many end no farther apart than the limits of the two verdicts."""


@dataclass(frozen=True)
class Chance:
    """What chance alone does to an accuracy, as an A/A family shows it.

    `standard_deviation` is that of one run, a proportion, `degrees` its degrees of freedom.
    """

    standard_deviation: float
    degrees: int

    @classmethod
    def of(cls, controls: Sequence[RunRecord]) -> "Chance | None":
        """From the validation accuracies of the last half of the epochs, which after the parting are as good as
        independent; of the last epoch alone where not all runs have parted. None of fewer than two runs.
        """  # noqa: D205 - a sentence of its own
        if len(controls) < 2:  # noqa: PLR2004 - a spread takes two
            return None
        accuracies = np.array([run.history["val_accuracy"] for run in controls])
        num_epochs = accuracies.shape[1]
        parted = [Parting.of(a, b).parted_at_step for a, b in combinations(controls, 2)]
        begin = num_epochs - 1
        if all(parted):
            latest = max(step or 0 for step in parted)
            first = max(num_epochs // 2, math.ceil(latest * num_epochs / len(controls[0].step_losses)))
            begin = min(begin, first)
        late = accuracies[:, begin:]
        return cls(float(np.sqrt(late.var(axis=0, ddof=1).mean())), (len(controls) - 1) * late.shape[1])

    def limit(self, probability: float) -> float:
        """Two runs end no farther apart than this, a proportion, with this probability."""
        from scipy.stats import t

        return float(t.ppf((1 + probability) / 2, self.degrees)) * self.standard_deviation * math.sqrt(2)


def _same_run(accuracies: Sequence[float], chance: Chance, margin: float) -> str:
    """Why two accuracies that are not the same number are those of the same run."""
    first, second = accuracies
    if first == second:
        return f"both have {first:.2%} of the test images right"
    values = f"{first:.2%} and {second:.2%} are {100 * abs(second - first):.2f} points apart"
    usual, most = (100 * size for size in (math.sqrt(2) * chance.standard_deviation, chance.limit(_PARITY)))
    if not usual:
        return f"{values}, less than the margin of {100 * margin:g}"
    told = f"one program that starts again a rounding away ends about {usual:.2f} points from itself"
    return f"{values}; {told}, and in 99 of 100 cases within {most:.2f}: that much is chance"


def _without_controls(
    paired: PairedAccuracies, margin: float, where: str
) -> tuple[RungVerdict, str | None, str | None]:
    """The verdict from the test images alone, which do not show what chance does to a training."""
    low, high = paired.interval
    if -margin < low and high < margin:
        return "parity", None, None
    interval = f"its 95% interval, {100 * low:+.2f} to {100 * high:+.2f}, is not inside ±{100 * margin:g}"
    verdict: RungVerdict = "not parity" if high < -margin or low > margin else "inconclusive"
    return (
        verdict,
        where,
        f"{interval}; without controls nobody knows what chance does: ask for at least {MIN_CONTROLS}",
    )


def _results_apart(runs: Runs, controls: Sequence[RunRecord]) -> tuple[str, str] | None:
    """Where and why final weights differ, if the losses of the steps have not parted."""
    first, second = runs.values()
    if len(controls) <= MIN_CONTROLS or not as_long(first, second):
        return None
    parting = Parting.of(first, second)
    if parting.parted_at_step is not None:
        return None
    differences = [Parting.of(a, b).weight_difference for a, b in combinations(controls, 2)]
    if farther_than_controls(parting.weight_difference, differences, first):
        largest = f"the controls' at most {max(differences):.2g}"
        where = f"final weights: ‖ΔW‖ / ‖W‖ is {parting.weight_difference:.2g}, {largest}"
        return where, "they are not what the same steps led to: averaged, of another step, or rounded, for example"
    return None


_HISTORY = {"accuracy": "training accuracy", "val_loss": "validation loss", "val_accuracy": "validation accuracy"}
"""What the history holds besides the training loss, which the trajectory looks at."""


def _history_apart(runs: Runs, controls: Sequence[RunRecord]) -> tuple[str, str] | None:
    """Where and why the numbers of an epoch differ, before the losses part or after all pairs have parted."""
    (first_name, first), (second_name, second) = runs.items()
    if len(controls) <= MIN_CONTROLS or not as_long(first, second):
        return None
    num_epochs, num_steps = len(first.history["loss"]), len(first.step_losses)
    parted = Parting.of(first, second).parted_at_step
    apart = np.flatnonzero(loss_difference(first.step_losses, second.step_losses) > _TOGETHER)
    together = int(apart[0]) * num_epochs // num_steps if apart.size else num_epochs
    for key, title in _HISTORY.items():
        count = first.recipe.images.num_training_images if key == "accuracy" else len(_test(first).predictions)
        allowed = PARTED if key == "val_loss" else max(PARTED, _FEW_IMAGES / count)
        pairs = zip(first.history[key][:together], second.history[key], strict=False)
        for epoch, (a, b) in enumerate(pairs, 1):
            if abs(a - b) > allowed:
                where = f"{title} of epoch {epoch}: {a:.6g} in {first_name}, {b:.6g} in {second_name}"
                cause = (
                    "the steps' losses agree: one validation is not of the network after the epoch, or not of the test "
                    "images as they are"
                )
                if key == "accuracy":
                    cause = "the steps' losses agree: one accuracy is not of the epoch's steps"
                return where, cause
    steps = [parted, *(Parting.of(a, b).parted_at_step for a, b in combinations(controls, 2))]
    if all(steps):
        latest = max(step or 0 for step in steps)
        for key, title in _HISTORY.items():
            drift = drifted(runs, controls, latest, title, partial(_of_history, key))
            if drift is not None:
                return drift
    return None


def _of_history(key: str, run: RunRecord) -> NDArray[np.float64]:
    """A number of every epoch, shape (epochs,)."""
    return np.array(run.history[key])


_TOGETHER = PARTED / 10
"""Where no losses of steps differ by more, the numbers of an epoch agree within `PARTED`."""

_FEW_IMAGES = 2
"""Images that may be predicted differently there, however few there are."""


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
    excess = np.abs(test.predictions - expected) - _bound(logits, error, run.recipe.dtype)
    if excess.max() > Rounding.of(run.recipe.dtype).tiny:
        image, digit = (int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
        place = f"probability of a {digit} in test image {image}"
        values = f"{test.predictions[image, digit]:.6g}, the final weights give {expected[image, digit]:.6g}"
        return f"{place}: {values}", _prediction_cause(run, images, logits)
    if (fault := _unlike_its_steps(run) or _accuracies_unlike_losses(run)) is not None:
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


def _accuracies_unlike_losses(run: RunRecord) -> tuple[str, str] | None:
    """Where an accuracy in the history is lower than the loss beside it allows.

    An image that is taken for another class has a probability of its own of at most 1/2, and so a loss of at least
    log 2. Images with a larger loss may be as many as they like, so that no accuracy is too high.
    """
    for accuracy, loss, title in (("accuracy", "loss", "training"), ("val_accuracy", "val_loss", "validation")):
        for epoch, (of_accuracy, of_loss) in enumerate(zip(run.history[accuracy], run.history[loss], strict=True), 1):
            if (1 - of_accuracy) * math.log(2) > of_loss * (1 + PARTED) + PARTED:
                lowest = 1 - of_loss / math.log(2)
                place = f"{title} accuracy of epoch {epoch}: {of_accuracy:.4f}"
                place += f", its loss of {of_loss:.4g} allows no less than {lowest:.4f}"
                return place, f"the {title} accuracy is of other images or labels than the loss"
    return None


def _prediction_cause(run: RunRecord, images: NDArray[np.floating], logits: NDArray[np.float64]) -> str:
    """Why the predictions are not those of the final weights: computed in float32, or as dropout makes them stray."""
    recorded, expected = np.asarray(_test(run).predictions, np.float64), oracle.softmax(logits)
    few = slice(_IMAGES_AT_ONCE)
    if run.recipe.dtype == "float64":
        if (kept := kept_in(recorded, double=True)) is not None:
            return f"the predictions are not computed in float64: {kept}"
        as_single = _bound(*_logits(run, images[few], "float32"), "float32")
        if (np.abs(recorded[few] - expected[few]) <= as_single).all():
            return "the predictions are not computed in float64: they are off by no more than float32 rounds"
    if run.recipe.dropout:
        masks = shared_masks(run.recipe, 0, len(images[few]))
        passed = oracle.forward(oracle.exact(run.weights), _fed(run.recipe, images[few]), masks)
        with np.errstate(divide="ignore"):
            strayed = np.log([_test(run).predictions[few], passed.activations["output"]]) - np.log(
                oracle.softmax(logits[few])
            )
        quartiles = [np.quantile(np.abs(part[np.isfinite(part)]), (0.25, 0.5, 0.75)) for part in strayed]
        if np.allclose(quartiles[0], quartiles[1], rtol=_AS_DROPOUT_STRAYS, atol=0):
            return "dropout is active in evaluation: the predictions stray from the final weights' as it makes them"
    other = _other_predictions(run, images, recorded, logits)
    unknown = "not those of the final weights on the test images: of another epoch, model or images, for example"
    return f"the predictions are {other or unknown}"


def _other_predictions(
    run: RunRecord, images: NDArray[np.floating], recorded: NDArray[np.float64], logits: NDArray[np.float64]
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
        if np.abs(recorded - predicted).max() < PARTED:
            return words
    if run.recipe.dtype == "float32" and (cause := kept_in(recorded, double=False)) is not None:
        return f"not computed in float32: {cause}"
    if np.abs(np.sort(recorded, axis=0) - np.sort(expected, axis=0)).max() < PARTED:
        return "those of the final weights in another order of the images"
    few = images[:_IMAGES_AT_ONCE]
    if (temperature := _temperature(recorded, logits)) is not None:
        return f"those of a softmax with a temperature of {temperature:.4g}"
    for words, change in _OTHER_PIXELS.items():
        changed = change(few.reshape(-1, *run.recipe.images.image_shape))
        if changed.shape[1] != changed.shape[2] and "transposed" in words:
            continue
        if np.abs(recorded[: len(few)] - oracle.softmax(_logits(run, changed.reshape(few.shape))[0])).max() < PARTED:
            return f"those of {words}"
    return None


def _temperature(recorded: NDArray[np.float64], logits: NDArray[np.float64]) -> float | None:
    """What the logits were divided by, where that makes the predictions of all images."""
    centred, few = logits - logits.mean(axis=1, keepdims=True), slice(_IMAGES_AT_ONCE)
    with np.errstate(divide="ignore"):
        logs = np.log(recorded)
    if not np.isfinite(logs[few]).all():
        return None
    slope = ratio(logs[few] - logs[few].mean(axis=1, keepdims=True), centred[few])
    if not slope > 0 or np.abs(oracle.softmax(slope * logits) - recorded).max() > PARTED:
        return None
    return 1 / slope


_OTHER_PIXELS: dict[str, Callable[[NDArray[np.floating]], NDArray[np.floating]]] = {
    "pixels that are not divided by 255": lambda maps: 255 * maps,
    "pixels that are divided by 255 twice": lambda maps: maps / 255,
    "pixels that are standardised: mean 0.1307 subtracted, divided by 0.3081": lambda maps: (maps - 0.1307) / 0.3081,
    "pixels that are brought to −1 to 1": lambda maps: 2 * maps - 1,
    "pixels that are inverted": lambda maps: 1 - maps,
    "images that are transposed": lambda maps: maps.swapaxes(1, 2),
    "images that are mirrored": lambda maps: maps[:, :, ::-1],
    **{
        f"images that are shifted by {down} rows and {right} columns": partial(
            np.roll, shift=(down, right), axis=(1, 2)
        )
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1))
    },
}
"""What the training images may have gone through, or not, and the test images not, or have."""


def _fed(recipe: Recipe, images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Images (batch, pixels) as the first layer takes them."""
    exact = images.astype(np.float64)
    return convolution.as_maps(exact, recipe.images.image_shape) if recipe.network == "cnn" else exact


def _bound(logits: NDArray[np.float64], error: NDArray[np.float64], dtype: str) -> NDArray[np.float64]:
    """By how much rounding can have moved each probability: logits off by e change it by at most exp(2e) times."""
    return oracle.softmax(logits) * np.expm1(2 * error + Rounding.of(dtype).softmax_relative(logits))


def _logits(
    run: RunRecord, images: NDArray[np.floating], dtype: str | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact logits of the final weights, and by how much rounding can have moved them, an image a row.

    In the recipe's dtype, if no other is given.
    """
    rounding, weights = Rounding.of(dtype or run.recipe.dtype), oracle.exact(run.weights)
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
