"""The schedulers of a torch script: what they are, when they step, and the learning rates that they will give."""

import inspect
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import torch

from watch.program.rates import LONGEST, planned
from watch.source.loops import called_in_loops
from watch.torch.model.tensors import plain, settings_of
from watch.torch.watch import Watch

_SCHEDULERS = torch.optim.lr_scheduler
_WITHOUT_BASE = (_SCHEDULERS.ReduceLROnPlateau, _SCHEDULERS.SequentialLR, _SCHEDULERS.ChainedScheduler)
"""The classes that do not call the base's `__init__`."""


class Schedules:
    """Watches the schedulers that a script makes.

    Args:
        watch: What all watched functions share.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._made: dict[int, tuple[dict[str, Any], Any]] = {}
        self._wrapped: set[Any] = set()
        self._inside: set[int] = set()

    def install(self) -> None:
        """Puts everything in its place."""
        for owner in (_SCHEDULERS.LRScheduler, *_WITHOUT_BASE):
            self._watch_making(owner)

    def _watch_making(self, owner: Any) -> None:
        schedules, original = self, owner.__init__

        def init(self: Any, *args: Any, **options: Any) -> None:
            if schedules.watch.session.trainings.passing:
                original(self, *args, **options)
                return
            entry: dict[str, Any] = {
                "class": type(self).__name__, "settings": {}, "step_counts": [], "rates_after": [], "per": None,
                "irregular": False,
                "place": schedules.watch.session.places.here(sys._getframe(1)),  # noqa: SLF001
            }  # fmt: skip
            schedules.watch.document["loop"]["scheduler"].append(entry)
            schedules._made[id(self)] = entry, self
            for kind in type(self).__mro__:
                if "step" in kind.__dict__ and kind not in schedules._wrapped:
                    schedules._wrapped.add(kind)
                    schedules._count_steps(kind)
            original(self, *args, **options)
            entry |= {"step_counts": [], "rates_after": [], "irregular": False}  # its making steps once
            entry["base"] = next(iter(getattr(self, "base_lrs", None) or [None]))

        init.__signature__ = inspect.signature(original)  # type: ignore[attr-defined] # SequentialLR's is asked for
        owner.__init__ = init

    def _count_steps(self, kind: Any) -> None:
        schedules, original = self, kind.step

        def step(self: Any, *args: Any, **options: Any) -> Any:
            entry = schedules._made.get(id(self), (None,))[0]
            if entry is None or id(self) in schedules._inside:
                return original(self, *args, **options)
            entry["step_counts"].append(schedules.watch.step)
            if args or options:  # which epoch it is, for one
                entry["irregular"] = True
            schedules._inside.add(id(self))
            try:
                return original(self, *args, **options)
            finally:
                schedules._inside.discard(id(self))
                entry["rates_after"].append(_rate(self))

        kind.step = step

    def look(self, frame: FrameType | None) -> None:
        """Where the code that runs at the first optimizer step calls the schedulers' `step`."""
        known = {id(scheduler): entry for entry, scheduler in self._made.values()}
        others = 0
        for called, where in called_in_loops("step", frame, self.watch.session.places):
            entry = known.get(id(called))
            if entry is not None:
                entry["per"] = entry["per"] or where
            others += called is None
        if not others:  # each call of a `step` is known, and no scheduler is among what is called
            for entry in known.values():
                entry["per"] = entry["per"] or "never"

    def finish(self) -> None:
        """Writes down what is known at the end only."""
        self._of_trainer()
        for entry, scheduler in self._made.values():
            entry["settings"] = settings_of({
                name: plain(value) for name, value in vars(scheduler).items() if not name.startswith("_")
            })  # fmt: skip
            steps = entry["step_counts"]
            if steps and len(steps) >= max(1, self.watch.step - 1):
                entry["per"] = "step"
            elif steps:  # in the innermost loop, but not each time
                entry["per"] = None if entry["per"] == "step" else "epoch"
        self.watch.document["loop"]["rates"] = self._planned()
        for entry, _ in self._made.values():
            del entry["rates_after"]

    def _of_trainer(self) -> None:
        trainer = trainer_of(self.watch.model.roots)
        for config in getattr(trainer, "lr_scheduler_configs", []):
            entry = self._made.get(id(config.scheduler), (None,))[0]
            if entry is not None:
                entry["per"] = str(config.interval)
                entry["irregular"] = config.frequency != 1
                entry["monitor"] = config.monitor

    def _planned(self) -> dict[str, Any] | None:
        """The learning rates from the first on; None where a measured value decides, or nothing does."""
        inner = {id(part) for _, made in self._made.values() for part in getattr(made, "_schedulers", ())}
        outer = [(entry, made) for entry, made in self._made.values() if id(made) not in inner]
        updates = self.watch.document["updates"]
        pers = {entry["per"] for entry, _ in outer}
        by_value = any(isinstance(made, _WITHOUT_BASE[0]) or entry["irregular"] for entry, made in outer)
        if not outer or not updates or len(pers) > 1 or by_value:
            return None
        per = pers.pop()
        rates = [update["learning_rate"] for update in updates]
        if per == "epoch":
            rates = [rates[0]] + [
                after for entry, _ in outer[-1:]
                for count, after in zip(entry["step_counts"], entry["rates_after"], strict=True) if count
            ]  # fmt: skip
        if per not in {"step", "epoch"} or any(rate is None for rate in rates):
            return None
        steps = outer[-1][0]["step_counts"]
        each = max(1, round(len(steps) / len(rates))) if per == "step" else 1  # of a step with several batches
        if per == "step" and len(steps) >= each * len(rates):
            rates.append(_rate(outer[-1][1]))  # the step after the last optimizer step
        try:
            while len(rates) < LONGEST:
                for _ in range(each):
                    for _, made in outer:
                        made.step()
                rates.append(_rate(outer[-1][1]))
        except Exception as error:  # noqa: BLE001 beyond its end a schedule, or a function of the user's, may raise
            del error
        return planned(per, rates)


def trainer_of(roots: Iterable[Any]) -> Any:
    """Lightning's Trainer that has one of these models, None if there is none."""
    return next((trainer for root in roots if (trainer := getattr(root, "_trainer", None)) is not None), None)


def _rate(scheduler: Any) -> float:
    return float(scheduler.optimizer.param_groups[0]["lr"])
