"""What of a training is not its recipe's, in Lightning alone: its command line takes any optimizer and scheduler."""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_impl.optimizer import build_optimizer
from recipe import Recipe, RecipeError

Departures = dict[str, str]
"""What departs, "optimizer" or "lr_scheduler", and what there is instead; empty where the recipe was followed."""

_MOVING = ("base_lrs", "best", "cooldown_counter", "last_epoch", "mode_worse", "num_bad_epochs")
"""What of a scheduler's state is not its settings, besides what begins with an underscore."""


def departures(recipe: Recipe, trainer: lightning.Trainer) -> Departures:
    """What the live optimizer and schedulers, before their first step, have that the recipe does not name."""
    recipes_own = _described(build_optimizer(recipe, [nn.Parameter(torch.zeros(1))]))
    optimizers = ", ".join(map(_described, trainer.optimizers))
    departing = {} if optimizers == recipes_own else {"optimizer": optimizers}
    schedulers = ", ".join(
        f"{_described(config.scheduler)} every {config.frequency} {config.interval}"
        for config in trainer.lr_scheduler_configs
    )
    return departing | ({"lr_scheduler": schedulers} if schedulers else {})


def _described(thing: Any) -> str:
    """An optimizer or a scheduler with its settings; those that are off are left out."""
    settings: Mapping[str, Any] = thing.defaults if isinstance(thing, torch.optim.Optimizer) else thing.state_dict()
    stated = (
        # A number is 0 from Python and 0.0 from the command line.
        f"{name}={int(value) if isinstance(value, float) and value.is_integer() else value}"
        for name, value in settings.items()
        if value is not None and value is not False and not name.startswith("_") and name not in _MOVING
    )
    return f"{type(thing).__name__}({', '.join(stated)})"


def in_words(asked: Departures) -> str:
    """The departures in half a line."""
    return ", ".join(f"{name} {value}" for name, value in asked.items()) or "the recipe's own optimizer"


def note_departures(asked: Departures, trainer: lightning.Trainer) -> None:
    """Says in the log, and among the loggers' hyperparameters, that the training departs from its recipe."""
    if asked:
        rank_zero_info(f"This training departs from its recipe: {in_words(asked)}.")
        for logger in trainer.loggers:
            logger.log_hyperparams({"departs_from_recipe": in_words(asked)})


def check_resumes(asked: Departures, trainer: lightning.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Refuses to resume from a checkpoint with another optimizer or scheduler, whose state Lightning would take over.

    Args:
        asked: What is asked for now.
        trainer: The training that resumes; its optimizers are new.
        checkpoint: Where it resumes.

    Raises:
        RecipeError: The checkpoint departs from its recipe otherwise; says how.
    """
    begun = checkpoint.get("departures")
    if begun is None:  # written before departures were noted
        states = [set(state["param_groups"][0]) for state in checkpoint["optimizer_states"]]
        same = states == [set(optimizer.param_groups[0]) for optimizer in trainer.optimizers]
        begun = asked if same else {"optimizer": "another one"}
    if begun != asked:
        raise RecipeError(
            f"the checkpoint was trained with {in_words(begun)}, and {in_words(asked)} is asked for: "
            "ask for the same with --optimizer and --lr_scheduler, or begin again without the checkpoint"
        )
