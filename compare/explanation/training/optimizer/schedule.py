"""Learning rates that change: those that the steps had, and those that a schedule is going to give."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from compare.explanation.context import Context
from compare.explanation.feeding.reading import num_batches, num_epochs, num_steps
from compare.explanation.findings import Place, joined
from compare.explanation.observed.observation import Observation, place
from compare.explanation.training.optimizer.updates import alike, rates_of
from compare.explanation.words import counted, number

_SAME = 1e-6
"""Of the largest rate: as far as constants that one framework rounds to float32 may carry a schedule."""

_FEWEST = 4
"""The steps of a schedule from which on its course is told."""

_MINOR = 1e-2
"""What never changes a learning rate by more than this share of the largest is minor."""


@dataclass(frozen=True)
class Rates:
    """The learning rates that a side is going to have.

    Args:
        per: What a step of the schedule is: a `step` of the optimizer or an `epoch`; `constant` where there is none.
        known: Some of them, by the number of the schedule's step.
        batches: How many there are in an epoch, None where that is not known.
    """

    per: str
    known: dict[int, float]
    batches: int | None

    def at(self, step: int) -> float | None:
        """The learning rate of an optimizer step, None where it is not known."""
        if self.per == "constant":
            return self.known[0]
        if self.per == "step":
            return self.known.get(step)
        return None if self.batches is None else self.known.get(step // self.batches)


def schedule(context: Context) -> bool:
    """Learning rates that are not the same at every step, where either side changes its own.

    Returns:
        Whether that settles the learning rates, so that they are not to be compared as a setting.
    """
    guide, steered = context.guide.observation, context.steered.observation
    a, b = rates_of(guide), rates_of(steered)
    count = min(len(a), len(b))
    sides = planned_rates(guide), planned_rates(steered)
    largest = max(
        (abs(rate) for rates in (a, b, *(side.known.values() for side in sides if side)) for rate in rates), default=0.0
    )
    first = next((step for step in range(count) if abs(a[step] - b[step]) > _SAME * largest), None)
    changing = any(not alike(rates[0], rate) for rates in (a[:count], b[:count]) for rate in rates)
    if first is not None and changing and not _scaled(*sides):
        _report(context, sides, first, (a[first], b[first]), None)
        return True
    if first is not None and _multiplied(context, sides):
        return True
    if sides[0] is None or sides[1] is None:
        _not_seen(context, sides)
        return False
    return _later(context, (sides[0], sides[1]))


def momentum_cycled(context: Context) -> bool:
    """A schedule that moves the momentum with the learning rate, as torch's OneCycleLR does; whether that was said."""
    sides = [_cycles(context.guide.observation), _cycles(context.steered.observation)]
    if (sides[0] is None) == (sides[1] is None):
        return False
    words = [f"{name} moves the momentum (beta 1) too" if name else "the same momentum at every step" for name in sides]
    context.find(
        "optimizer",
        context.differs("momentum:", words[0], words[1]),
        guide=words[0],
        steered=words[1],
        places=(_place(context.guide.observation), _place(context.steered.observation)),
        effect=0.3,
        cause="cycle_momentum",
        mend="cycle_momentum=False" if sides[1] else "",
    )
    return True


def _cycles(observation: Observation) -> str | None:
    for entry in observation.entries("loop", "scheduler"):
        if (entry.get("settings") or {}).get("cycle_momentum"):
            return str(entry.get("class"))
    return None


def planned_rates(observation: Observation) -> Rates | None:
    """The learning rates of a side from the first on; None where a measured value or the user's own code decides."""
    stated = observation.part("loop", "rates")
    batches = num_batches(observation)
    if isinstance(stated, dict) and stated.get("values"):
        return Rates(str(stated["per"]), dict(zip(stated["at"], stated["values"], strict=True)), batches)
    rates = rates_of(observation)
    schedulers = [entry for entry in observation.entries("loop", "scheduler") if entry.get("per") != "never"]
    own = any(callback.get("own") for callback in observation.entries("data", "fit", "callbacks"))
    if not rates or schedulers or own or observation.part("loop", "sets_rate") is not False:
        return None
    return Rates("constant", {0: rates[0]}, batches) if all(alike(rate, rates[0]) for rate in rates) else None


def _not_seen(context: Context, sides: tuple[Rates | None, Rates | None]) -> None:
    made = [
        [str(entry.get("class")) for entry in side.observation.entries("loop", "scheduler") if rates is None]
        for side, rates in zip((context.guide, context.steered), sides, strict=True)
    ]
    # A plateau is compared by its settings.
    names = [joined(classes) for classes in made if classes and made != [["ReduceLROnPlateau"]] * 2]
    names += [
        f"a line of {side.observation.words}'s script"
        for side, rates in zip((context.guide, context.steered), sides, strict=True)
        if rates is None and side.observation.part("loop", "sets_rate")
    ]
    if names:
        context.not_seen.append(f"later learning rates, which {' and '.join(names)} will give")


def _later(context: Context, sides: tuple[Rates, Rates]) -> bool:
    """What differs in the learning rates after the steps that were run; whether that settles them."""
    a, b = sides
    if "constant" in (a.per, b.per) and a.per == b.per:
        return False
    by_epoch = "step" not in (a.per, b.per)
    horizon = _horizon(context, by_epoch=by_epoch)
    if horizon is None:
        context.not_seen.append("later learning rates, for want of the number of steps")
        return False
    same_schedule = a.per != b.per and _equal(a.known, b.known, 0)
    if not by_epoch and "epoch" in (a.per, b.per) and a.batches != b.batches and not same_schedule:
        context.not_seen.append("later learning rates: one side's schedule goes by steps, the other's by epochs")
        return False
    if by_epoch:
        a, b = (Rates(side.per, side.known, 1) for side in sides)
    at = sorted({step for side in sides if side.per != "constant" for step in side.known if step < horizon})
    pairs = [(step, a.at(step), b.at(step)) for step in at]
    both = [(step, x, y) for step, x, y in pairs if x is not None and y is not None]
    largest = max((max(abs(x), abs(y)) for _, x, y in both), default=0.0)
    off = [(step, x, y) for step, x, y in both if abs(x - y) > _SAME * largest]
    if not both:
        context.not_seen.append("later learning rates, of which no step is known on both sides")
        return False
    if not off:
        context.same.append(f"the learning rates of all {counted(horizon, 'epoch' if by_epoch else 'step')}")
        return True
    if _scaled(a, b):
        return False
    _report(context, sides, off[0][0], off[0][1:], [(step, x, y) for step, x, y in both], by_epoch=by_epoch)
    return True


def _scaled(first: Rates | None, second: Rates | None) -> bool:
    """Whether one course is a multiple of the other: the same schedule from another learning rate."""
    if first is None or second is None or first.per != second.per or _shift(first, second) is not None:
        return False
    both = [(first.known[step], second.known[step]) for step in first.known if step in second.known]
    x, y = max(both, default=(0.0, 0.0))
    return bool(x) and all(abs(b - a * y / x) <= _SAME * abs(y) for a, b in both)


def _multiplied(context: Context, sides: tuple[Rates | None, Rates | None]) -> bool:
    """A function for torch's LambdaLR that gives learning rates where it should give factors; whether that was said."""
    if not _scaled(*sides) or sides[0] is None or sides[1] is None:
        return False
    step = max(sides[0].known, key=lambda step: sides[0].known[step])  # type: ignore[union-attr]
    rates = [side.known[step] for side in sides if side is not None]
    for own, side in enumerate((context.guide.observation, context.steered.observation)):
        entry = next((one for one in side.entries("loop", "scheduler") if one.get("class") == "LambdaLR"), None)
        base = entry.get("base") if entry else None
        if not isinstance(base, int | float) or alike(base, 1.0) or not alike(rates[own], base * rates[1 - own]):
            continue
        words = [f"{rate:.6g}" for rate in rates]
        words[own] += (
            f": the optimizer's {base:g} times what LambdaLR's function gives, which is a learning rate already"
        )
        context.find(
            "optimizer",
            context.differs(f"learning rate at step {step + 1}", *words),
            guide=words[0],
            steered=words[1],
            places=(_place(context.guide.observation), _place(context.steered.observation)),
            effect=1.0,
            effect_text=f"every step is {base:g} times as long" if own else f"every step is {1 / base:g} times as long",
            cause="LambdaLR multiplies the optimizer's learning rate",
            mend="lr=1.0 in the optimizer: LambdaLR multiplies its rate by what the function gives" if own else "",
        )
        return True
    return False


def _horizon(context: Context, *, by_epoch: bool) -> int | None:
    """To where both sides train; None where neither says it."""
    count = num_epochs if by_epoch else num_steps
    known = [number for side in (context.guide.observation, context.look) if (number := count(side)) is not None]
    return min(known, default=None)


def _report(
    context: Context,
    sides: tuple[Rates | None, Rates | None],
    first: int,
    rates: tuple[float, float],
    course: list[tuple[int, float, float]] | None,
    *,
    by_epoch: bool = False,
) -> None:
    guide, steered = context.guide.observation, context.steered.observation
    unit = "epoch" if by_epoch else "step"
    cause = _cause(context, sides) or _rises(context)
    names = _names(steered) or _names(guide)
    by = cause or (f"schedule {names}" if names else "set by the script itself")
    title = context.differs(f"learning rate at {unit} {first + 1} ({by}):", f"{rates[0]:.6g}", f"{rates[1]:.6g}")
    if course is None:
        apart = abs(rates[1] - rates[0]) / max(abs(rates[0]), 1e-30) + 0.1
    else:
        apart = max(abs(x - y) for _, x, y in course) / max(max(abs(x), abs(y)) for _, x, y in course)
    context.find(
        "loop",
        title,
        guide=_course(guide, sides[0]),
        steered=_course(steered, sides[1]),
        places=(guide.place("optimizer", "place"), _place(steered) or steered.place("optimizer", "place")),
        effect=apart,
        effect_text=f"the learning rates part at {unit} {first + 1}",
        cause=cause or "learning rate schedule",
        mend=_mend(cause),
        severity="minor" if course is not None and apart < _MINOR else "fault",
    )


def _cause(context: Context, sides: tuple[Rates | None, Rates | None]) -> str | None:
    """What the two courses have to do with each other, where one gives the other."""
    a, b = sides
    port, reference = (b, a) if context.guide_is_reference else (a, b)
    observation = (context.steered if context.guide_is_reference else context.guide).observation
    if port is None or reference is None:
        return None
    if port.per == "constant":
        if any(entry.get("per") == "never" for entry in observation.entries("loop", "scheduler")):
            return "the scheduler is made and never stepped"
        return "no schedule"
    if reference.per == "constant":
        return "a schedule, which the reference does not have"
    if port.per != reference.per and _equal(reference.known, port.known, 0):
        return f"schedule stepped once per {_unit(port)}, the reference's per {_unit(reference)}"
    shift = _shift(reference, port)
    if shift is not None:
        return f"schedule one {port.per} {'ahead' if shift == 1 else 'late'}"
    if port.per != reference.per:
        return None
    count = num_epochs if port.per == "epoch" else num_steps
    known = [number for side in (context.guide.observation, context.look) if (number := count(side)) is not None]
    apart = _courses_apart(reference, port, min(known, default=None))
    return None if apart is None else apart + _convention(context)


def _rises(context: Context) -> str | None:
    """A warm-up in the steps that were run: both rates rise evenly."""
    sides = [rates_of(side.observation) for side in (context.steered, context.guide)]
    slopes = [
        rates[1] - rates[0]
        for rates in sides
        if len(rates) >= _FEWEST and rates[1] > rates[0]
        and all(alike(b - a, rates[1] - rates[0]) for a, b in pairwise(rates))
    ]  # fmt: skip
    if len(slopes) < len(sides) or alike(*slopes):
        return None
    port, reference = slopes if context.guide_is_reference else slopes[::-1]
    return f"rises by {port:.4g} at each step, the reference's by {reference:.4g}: another warm-up, or another rate"


def _convention(context: Context) -> str:
    """Why one number gives two courses: what it means in each framework."""
    settings: dict[str, dict[str, Any]] = {"keras": {}, "torch": {}}
    for observation in (context.guide.observation, context.steered.observation):
        for entry in observation.entries("loop", "scheduler"):
            settings[observation.framework] |= entry.get("settings") or {}
    keras, torch = settings["keras"], settings["torch"]
    batches = [_accumulates(side.observation) for side in (context.guide, context.steered)]
    if "step" in [entry.get("per") for entry in context.guide.observation.entries("loop", "scheduler")] and any(
        batches
    ):
        return ": where Keras accumulates gradients, its schedules count batches, not steps"
    if keras.get("alpha") and alike(keras["alpha"], torch.get("eta_min")):
        return ": alpha is a share of the first rate in Keras, eta_min a rate in torch"
    if keras.get("decay_steps", 1) != 1 and "gamma" in torch and alike(keras.get("decay_rate"), torch["gamma"]):
        return f": decay_rate is for {keras['decay_steps']} steps in Keras, gamma for each step of torch's scheduler"
    return ""


def _accumulates(observation: Observation) -> bool:
    steps = observation.part("optimizer", "settings", "gradient_accumulation_steps")
    return isinstance(steps, int) and steps > 1


def _courses_apart(reference: Rates, port: Rates, horizon: int | None) -> str | None:
    """In what two courses of a schedule differ, each up to the end of the training."""
    courses = [
        [(step, rate) for step, rate in side.known.items() if horizon is None or step < horizon]
        for side in (port, reference)
    ]
    if min(len(course) for course in courses) < _FEWEST:
        return None
    factors = [_factor(course) for course in courses]
    if None not in factors and not alike(*factors):
        texts = [f"{factor:.6g} times the rate at each {port.per}" for factor in factors]
        return f"{texts[0]}; the reference's {texts[1]}"
    largest = max(rate for course in courses for _, rate in course)
    tops = [max(course, key=lambda known: known[1])[0] for course in courses]
    if all(0 < top < courses[0][-1][0] for top in tops) and tops[0] != tops[1]:
        return f"highest at {port.per} {tops[0] + 1}, the reference's at {tops[1] + 1}: a warm-up of another length"
    for where, at in (("ends", -1), ("begins", 0)):
        rates = [course[at][1] for course in courses]
        if abs(rates[0] - rates[1]) > _SAME * largest:
            return f"schedule {where} at {rates[0]:.4g}, the reference's at {rates[1]:.4g}"
    return "another course between the same ends"


def _factor(course: list[tuple[int, float]]) -> float | None:
    """By what a course multiplies the rate at each step, if that is always the same."""
    (first, begun), (last, ended) = course[0], course[-1]
    if begun <= 0 or ended <= 0:
        return None
    factor = (ended / begun) ** (1 / (last - first))
    return factor if all(abs(rate / (begun * factor ** (at - first)) - 1) <= _SAME for at, rate in course) else None


def _mend(cause: str | None) -> str:
    if cause is not None and "stepped once per" in cause:
        unit = cause.rsplit(" ", 1)[1]
        return f"scheduler.step() once per {unit}" + (', in Lightning "interval": "step"' if unit == "batch" else "")
    if cause is not None and "never stepped" in cause:
        return "scheduler.step()"
    return "a schedule with the reference's learning rates"


def _shift(reference: Rates, port: Rates) -> int | None:
    """By how many of its steps the port's schedule is ahead of the reference's, where that is all."""
    if port.per != reference.per:
        return None
    return next((shift for shift in (1, -1) if _equal(reference.known, port.known, shift)), None)


def _unit(rates: Rates) -> str:
    return "epoch" if rates.per == "epoch" else "batch"


def _equal(first: dict[int, float], second: dict[int, float], shift: int) -> bool:
    """Whether the second course is the first, so many steps ahead, over some steps in which it changes."""
    both = [(first[step + shift], second[step]) for step in second if step + shift in first and step < 100]
    largest = max((abs(x) for x, _ in both), default=0.0)
    changes = any(abs(x - both[0][0]) > _SAME * largest for x, _ in both)
    # A step late at the very beginning is where a schedule repeats its first value.
    return len(both) > 2 and changes and all(abs(x - y) <= _SAME * largest for x, y in both[1 if shift < 0 else 0 :])


def _names(observation: Observation) -> str:
    return ", ".join(_described(entry) for entry in observation.entries("loop", "scheduler"))


_UNTOLD = ("last_epoch", "base_lrs", "verbose", "name", "optimizer", "initial_lr", "lr_lambdas", "class")


def _described(entry: dict[str, object]) -> str:
    """A scheduler with its settings: CosineAnnealingLR(T_max 10, eta_min 0)."""
    settings = entry.get("settings")
    shown = [
        f"{key} {number(value) if isinstance(value, float) else value}"
        for key, value in (settings.items() if isinstance(settings, dict) else ())
        if key not in _UNTOLD and isinstance(value, int | float | str | list) and value is not False
    ]
    return f"{entry.get('class')}({', '.join(shown)})" if shown else str(entry.get("class"))


def _course(observation: Observation, rates: Rates | None) -> str:
    """A side's schedulers and their rates at some steps, in words."""
    names = _names(observation)
    if rates is None or rates.per == "constant":
        seen = rates_of(observation)
        shown = ", ".join(f"{rate:.4g}" for rate in seen[:5])
        return f"{names or 'no schedule'}: learning rates {shown}, ..." if seen else names
    at = [step for step in (0, 1, 2, 5, 10, *_spread(rates.known)) if step in rates.known]
    shown = ", ".join(f"{rates.known[step]:.4g} at {step + 1}" for step in dict.fromkeys(at))
    return f"{names or 'its own schedule'}, by {rates.per}: learning rate {shown}"


def _spread(known: Iterable[int]) -> list[int]:
    steps = sorted(known)
    return [steps[len(steps) // 2], steps[-1]]


def _place(observation: Observation) -> Place | None:
    made = next((place(entry.get("place")) for entry in observation.entries("loop", "scheduler")), None)
    return made or place(observation.part("loop", "sets_rate"))
