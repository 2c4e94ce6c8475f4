"""What a script on Keras's torch backend uses of torch itself: its optimizers and its loaders of data."""

import functools
import sys
from typing import Any

from watch.keras.steps import Steps
from watch.program.script import Session


class _Watch:
    """What the watcher of torch's loaders needs to know."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def step(self) -> int:
        """The number of complete steps."""
        return self.session.step


def watch_torch(session: Session, steps: Steps) -> None:
    """Watches `torch.optim` and `torch.utils.data`."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    from watch.torch.data import Data

    class Loaders(Data):
        """Without those that Keras makes for itself out of arrays."""

        def _note_loader(self, loader: Any, workers: int, frame: Any) -> None:
            if not frame.f_globals.get("__name__", "").startswith("keras."):
                super()._note_loader(loader, workers, frame)

        def _note_iteration(self, loader: Any) -> None:
            """Which pass a loader is read in is not told: Keras reads them for the user."""

    Loaders(_Watch(session)).install()  # type: ignore[arg-type]
    session.note_seeds(torch, "manual_seed", "torch.manual_seed")
    make = torch.optim.Optimizer.__init__
    begun: dict[int, dict[str, Any]] = {}

    def init(optimizer: Any, *args: Any, **options: Any) -> None:
        session.trainings.optimizer_made()
        steps.optimizer_places[id(optimizer)] = session.places.here(sys._getframe(1))  # noqa: SLF001
        make(optimizer, *args, **options)

    def before(optimizer: Any, _args: Any, _options: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if session.trainings.passing:
            session.trainings.optimizer_stepped(parameters)
            return
        gradients = [parameter.grad for parameter in parameters]
        if any(steps.tree.path(parameter) is not None for parameter in parameters):
            rate = float(optimizer.param_groups[0]["lr"])
            begun[id(optimizer)] = steps.step_begins(optimizer, parameters, gradients, rate)

    def after(optimizer: Any, _args: Any, _options: Any) -> None:
        if id(optimizer) in begun:
            steps.step_ends(begun.pop(id(optimizer)))

    torch.optim.Optimizer.__init__ = functools.wraps(make)(init)  # type: ignore[assignment,method-assign]
    register_optimizer_step_pre_hook(before)
    register_optimizer_step_post_hook(after)
