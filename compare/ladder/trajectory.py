"""Rung 8: the trajectory of whole trainings, beside A/A controls.

A control is the same implementation under the same recipe from initial weights one unit in the last
place away. Two runs that differ by rounding alone part sooner or later, and when is a matter of
chance. So the rung describes, and judges where chance is known: before any control parts, and the
epochs after all have.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.ladder.rung import Rung, RungVerdict, Sides
from compare.oracle.bounds import Rounding
from record.training import RunRecord

PARTED = 1e-3
"""Two runs have parted at the first step whose losses differ by more than this."""

MIN_CONTROLS = 3

_FALSE_ALARM = 1e-6
"""The probability with which one number of the epochs of a clean pair is called different."""

_FEW_CROSSINGS = 1e-3
"""Units that may lie on the other side of their ReLU in one of two runs; below, there is none."""

_JUMP = 1e3
"""How many times the difference may grow at once where a unit crosses zero: from rounding to a thousandth of a loss."""


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


def trajectory(
    runs: Runs, controls: Sequence[RunRecord], sides: Sides | None = None, *, missing: str | None = None
) -> Rung:
    """The loss of every step, and when the two part.

    Args:
        runs: Two runs that did not diverge.
        controls: An A/A family: runs of one implementation that differ by perturbation alone.
        sides: The traces of the two, which tell a training that does not begin as its trace does.
        missing: Which controls that were asked for are not among them, and why.
    """
    (first_name, first), (second_name, second) = runs.items()
    steps = {name: len(run.step_losses) for name, run in runs.items()}
    if not as_long(first, second):
        return Rung(
            "trajectory",
            "not parity",
            measured=abs(steps[first_name] - steps[second_name]),
            bound=0,
            where=f"{first_name} took {steps[first_name]:,} optimizer steps, {second_name} {steps[second_name]:,}",
            cause=_step_count_cause(runs),
            detail={"unit": "steps more or fewer", "steps": steps},
        )
    parting = Parting.of(first, second)
    pairs = [Parting.of(a, b) for a, b in combinations(controls, 2)]
    detail: dict[str, Any] = {
        "unit": "step of parting",
        **asdict(parting),
        "controls": [asdict(pair) for pair in pairs],
    }
    if len(controls) <= MIN_CONTROLS:
        why = _too_few(len(controls), missing)
        return Rung("trajectory", "inconclusive", parting.parted_at_step, None, cause=why, detail=detail)

    never = len(first.step_losses) + 1
    earliest = min(pair.parted_at_step or never for pair in pairs)
    detail["earliest_control"] = earliest if earliest < never else None
    detail["judged_steps"] = min(earliest, never) - 1
    where: str | None
    cause: str | None
    where, cause = _before_parting(runs, controls, earliest - 1)
    if where is not None:
        cause = _unlike_its_trace(runs, sides or {}) or cause
    elif parting.parted_at_step is not None:
        latest = max(pair.parted_at_step or never for pair in (parting, *pairs))
        if (apart := drifted(runs, controls, latest, "training loss", epoch_losses)) is not None:
            where, cause = apart
    verdict: RungVerdict = "parity" if where is None else "not parity"
    return Rung("trajectory", verdict, parting.parted_at_step, None, where, cause, detail)


def _too_few(num_runs: int, missing: str | None) -> str:
    """Why there is nothing to compare with, and what to do about it."""
    too_few = f"{max(0, num_runs - 1)} controls are too few to judge by"
    return f"{too_few}: {missing}" if missing else f"{too_few}; ask for at least {MIN_CONTROLS}"


def _before_parting(runs: Runs, controls: Sequence[RunRecord], num_steps: int) -> tuple[str | None, str | None]:
    """Where and why the losses differ by more than rounding explains, within the steps before any control parts.

    A control begins one rounding away and rounds as its twin does; two frameworks round differently in each step, at
    worst always in one direction: t steps may bring them t times as far apart. A step adds up no more numbers than
    there are parameters and images in a batch, so that less than γ of these says nothing.

    That holds until a unit may lie so near zero that ReLU passes it in one run alone, when the difference jumps. Of
    so many units and images, each with a pre-activation near 1, as many as their number times the difference do so
    in a step. From where a thousandth of a unit is to be expected, which in float32 is the first step, a jump is
    allowed for, and less than `PARTED` says nothing.
    """
    first, second = runs.values()
    recipe = first.recipe
    rounding = Rounding.of(recipe.dtype)
    of_pair = _so_far(first, second)[:num_steps]
    of_controls = np.max([_so_far(a, b)[:num_steps] for a, b in combinations(controls, 2)], axis=0)
    units = (
        recipe.images.num_classes
        + sum(recipe.hidden_sizes)
        + sum(
            filters * height * width
            for filters, (height, width) in zip(recipe.filters, recipe.feature_map_shapes, strict=False)
            if recipe.network == "cnn"
        )
    )
    crossings = units * recipe.batch_size * np.cumsum(np.maximum(of_controls, rounding.unit))
    may_jump = crossings > _FEW_CROSSINGS
    one_step = float(rounding.gamma(first.num_parameters + recipe.batch_size))
    reach = np.arange(1, len(of_controls) + 1) * of_controls
    allowed = np.where(may_jump, np.maximum(PARTED, _JUMP * reach), np.maximum(one_step, reach))
    beyond = np.flatnonzero(of_pair > allowed)
    if not beyond.size:
        return None, None
    step = int(beyond[0])
    values = f"the losses differ by {of_pair[step]:.2g}, the controls' by at most {of_controls[step]:.2g}"
    if of_pair[-1] > PARTED:
        cause = f"the two part sooner than rounding alone explains{_with_an_epoch(first, step)}"
        return f"step {step + 1:,}: {values}", cause
    largest = f"they differ by up to {of_pair[-1]:.2g}, the controls' by at most {of_controls[-1]:.2g}"
    cause = "something larger than rounding comes between, such as numbers kept in float32"
    return f"loss of a step: {largest}; first beyond rounding in step {step + 1:,}", cause


def _with_an_epoch(run: RunRecord, step: int) -> str:
    """What a beginning in step `step`, from 0, speaks of, where it is the first of an epoch or the one after it.

    What is computed otherwise shows in the loss of its own step, another update in that of the next.
    """
    epoch, within = divmod(step, len(run.step_losses) // len(run.history["loss"]))
    if not epoch or within > 1:
        return ""
    which = "second" if within else "first"
    changes = "a schedule or a callback" if within else "the order, the loss, or what is done between epochs"
    return f", from the {which} step of epoch {epoch + 1} on: what changes with the epoch? {changes}"


def _so_far(first: RunRecord, second: RunRecord) -> NDArray[np.float64]:
    """The largest loss difference up to each step, shape (steps,)."""
    return np.maximum.accumulate(loss_difference(first.step_losses, second.step_losses))


def as_long(first: RunRecord, second: RunRecord) -> bool:
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


def _unlike_its_trace(runs: Runs, sides: Sides) -> str | None:
    """Which side's training does not do what its own trace did, and from which step on."""
    for name, trace in sides.items():
        traced = np.array([step.loss for step in trace.steps])
        if (step := parted_at_step(loss_difference(traced, runs[name].step_losses))) is not None:
            return f"{name}: its training does not do what its trace did, from step {step} on"
    return None


def farther_than_controls(value: float, controls: Sequence[float], run: RunRecord) -> bool:
    """Whether two runs that end before they part differ by more than rounding in every step explains.

    As in `_before_parting`, of one number. In float32 one run in ten of 1,876 steps jumped, by up to 7e-5: there less
    than `PARTED` says nothing. In float64 that happens only once a difference has grown to half of the digits.
    """
    one_step = float(Rounding.of(run.recipe.dtype).gamma(run.num_parameters + run.recipe.batch_size))
    least = one_step if run.recipe.dtype == "float64" else PARTED
    return value > max(least, len(run.step_losses) * max(controls))


def drifted(
    runs: Runs,
    controls: Sequence[RunRecord],
    latest: int,
    title: str,
    by_epoch: Callable[[RunRecord], NDArray[np.float64]],
) -> tuple[str, str] | None:
    """Where and why, once all pairs have parted, a number of every epoch differs by more than those of the controls do.

    By then the runs are as good as independent, and so are the epochs of a run: the ratio of the mean squares has
    the F distribution.

    Args:
        runs: The two.
        controls: The A/A family.
        latest: The step, from 1, at which the last pair parted.
        title: What the number is called.
        by_epoch: The number of a run, shape (epochs,).
    """
    from scipy.stats import f

    first, second = runs.values()
    numbers = np.array([by_epoch(run) for run in controls])
    begin = math.ceil(latest * numbers.shape[1] / len(first.step_losses))
    difference = (by_epoch(first) - by_epoch(second))[begin:]
    num_epochs = len(difference)
    expected = 2 * float(numbers[:, begin:].var(axis=0, ddof=1).sum())
    if not num_epochs or not expected:
        return None
    ratio = float((difference**2).sum()) / expected
    if ratio <= float(f.isf(_FALSE_ALARM, num_epochs, (len(controls) - 1) * num_epochs)):
        return None
    drift, usual = math.sqrt(float((difference**2).mean())), math.sqrt(expected / num_epochs)
    where = f"mean {title} by epoch, from epoch {begin + 1} on: they differ by {drift:.2g} (root mean square)"
    return where, f"after parting they drift further than the controls, which differ by {usual:.2g}"
