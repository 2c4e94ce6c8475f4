"""Rungs 8 and 9: the trajectory and the outcome of whole trainings, against A/A controls.

A control is the same implementation under the same recipe from initial weights one unit in the last
place away. Two runs that differ by rounding alone part sooner or later, and how far is a matter of
chance; how soon and how far, the controls show.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from compare.ladder.rung import Rung, RungVerdict, Sides
from compare.oracle.bounds import Rounding
from compare.statistics import prediction_margin
from record.training import RunRecord

PARTED = 1e-3
"""Two runs have parted at the first step whose losses differ by more than this."""

MIN_CONTROLS = 3


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
    where: str | None = None
    cause: str | None = None
    parting = Parting.of(first, second)
    pairs = [Parting.of(a, b) for a, b in combinations(controls, 2)]
    detail = {
        "unit": "step of parting",
        **asdict(parting),
        "controls": [asdict(pair) for pair in pairs],
    }
    if len(controls) <= MIN_CONTROLS:
        cause = f"{max(0, len(controls) - 1)} controls are too few to judge by; ask for at least {MIN_CONTROLS}"
        return Rung("trajectory", "inconclusive", parting.parted_at_step, None, cause=cause, detail=detail)

    never = len(first.step_losses) + 1
    parted = parting.parted_at_step or never
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
    elif parting.parted_at_step is None:
        differences = [pair.max_loss_difference for pair in pairs]
        if farther_than_controls(parting.max_loss_difference, differences, first):
            verdict = "not parity"
            largest = f"the controls' by at most {max(differences):.2g}"
            where = f"loss of a step: they differ by up to {parting.max_loss_difference:.2g}, {largest}"
            cause = "something larger than rounding comes between, such as numbers kept in float32"
    else:
        latest = max(pair.parted_at_step or never for pair in (parting, *pairs))
        verdict, where, cause = _drift(first, second, controls, latest)
    return Rung("trajectory", verdict, parting.parted_at_step, limit, where, cause, detail)


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


def _no_sooner(parted: int, controls: list[int], num_runs: int, unit: float) -> tuple[RungVerdict, float]:
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


Finding = tuple[RungVerdict, str | None, str | None]
"""A verdict, and where and why, if it is not parity."""


def farther_than_controls(value: float, controls: Sequence[float], run: RunRecord) -> bool:
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
    drift, usual = math.sqrt(float((difference**2).mean())), math.sqrt(expected / num_epochs)
    where = f"mean training loss by epoch, from epoch {begin + 1} on: they differ by {drift:.2g} (root mean square)"
    cause = f"after parting they drift further than the controls, which differ by {usual:.2g}"
    return ("inconclusive" if ratio <= limit else "not parity"), where, cause


# --- 9. outcome ------------------------------------------------------------------------------------
