"""The windows of a training in the form of a trace, so that rungs and causes take them as they take a trace."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.causes.learning.state import OptimizerState
from compare.ladder.optimizer import reference_adam
from compare.oracle.network import ArraysByName, exact
from compare.oracle.step import shared_masks
from compare.oracle.whole_step import WholeStep
from recipe import Recipe
from recipe.initial_weights import Weights
from record.first_steps import Step, Trace
from record.header import HEADER_KEYS
from record.training import RunRecord
from record.windows import State, WindowStep, num_steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class Watched(Trace):
    """Every step of every window, one behind the other.

    `numbers` are the steps' numbers in the training, from 1, `before` the states that they begin with. `taken` is what
    the oracle makes of each, whose activations stand for those that a window does not record; it is empty where
    dropout masks are the framework's own, for then nobody knows them.
    """

    numbers: tuple[int, ...]
    before: tuple[State, ...]
    taken: tuple[WholeStep, ...]

    @classmethod
    def of(cls, run: RunRecord) -> "Watched | None":
        """None where the training left no window.

        Steps that overflow are left out: what programs make of NaN is their own, and that they diverge is said anyway.
        """
        found = [
            (window.state_before(index), step)
            for window in run.windows
            for index, step in enumerate(window.steps)
            if step.number <= len(run.step_losses) and _finite(window.state_before(index), step)
        ]
        if not found:
            return None
        unknown_masks = run.recipe.hidden_names and run.recipe.dropout and run.recipe.dropout_masks == "framework"
        taken = [] if unknown_masks else [_whole_step(run.recipe, before.parameters, step) for before, step in found]
        header: dict[str, Any] = {key: getattr(run, key) for key in ("recipe", *HEADER_KEYS)}
        return cls(
            **header,
            batch_hashes=[],
            initial_weights=found[0][0].parameters,
            steps=[
                _step(step, float(run.step_losses[step.number - 1]), taken[index] if taken else None)
                for index, (_, step) in enumerate(found)
            ],
            numbers=tuple(step.number for _, step in found),
            before=tuple(before for before, _ in found),
            taken=tuple(taken),
        )

    def weights_before(self, index: int) -> Weights:
        """The parameters before step `index` of the windows, from 0."""
        return self.before[index].parameters

    def only(self, indices: Sequence[int]) -> "Watched":
        """The same of some steps alone, from 0."""
        return replace(
            self,
            steps=[self.steps[index] for index in indices],
            numbers=tuple(self.numbers[index] for index in indices),
            before=tuple(self.before[index] for index in indices),
            taken=tuple(self.taken[index] for index in indices) if self.taken else (),
        )

    def place(self, index: int) -> str:
        """Where step `index` lies in the training."""
        return place(self.numbers[index], self.recipe)

    def optimizer_state(self, index: int, name: str) -> OptimizerState:
        """One parameter around step `index`, from 0."""
        before, step = self.before[index], self.steps[index]
        groups = (
            before.parameters,
            step.gradients,
            # No optimizer has moments before its first step, whatever is recorded.
            before.first_moments if self.numbers[index] > 1 else _zeros(before.parameters),
            before.second_moments if self.numbers[index] > 1 else _zeros(before.parameters),
            step.first_moments,
            step.second_moments,
            step.parameters,
        )
        arrays = (np.asarray(group[name], np.float64) for group in groups)
        return OptimizerState(reference_adam(self.recipe), self.numbers[index], *arrays)


def place(number: int, recipe: Recipe) -> str:
    """A step, from 1 over the whole training, in words."""
    per_epoch = num_steps_per_epoch(recipe)
    epoch, step = divmod(number - 1, per_epoch)
    if within := {0: "the first", per_epoch - 1: "the last"}.get(step):
        return f"step {number:,}, {within} of epoch {epoch + 1}"
    return f"step {number:,} of epoch 1" if epoch == 0 else f"step {number:,}, step {step + 1:,} of epoch {epoch + 1}"


def _finite(before: State, step: WindowStep) -> bool:
    groups = (*before, step.gradients, *step.after)
    return all(np.isfinite(array).all() for group in groups for array in group.values())


def _whole_step(recipe: Recipe, weights: Weights, step: WindowStep) -> WholeStep:
    masks: ArraysByName | None = None
    if recipe.dropout and recipe.hidden_names:
        epoch, index = divmod(step.number - 1, num_steps_per_epoch(recipe))
        masks = shared_masks(recipe, index, len(step.labels), epoch)
    return WholeStep.of(recipe, exact(weights), np.asarray(step.images, np.float64), step.labels, masks)


def _step(step: WindowStep, loss: float, taken: WholeStep | None) -> Step:
    layers = taken.layers if taken else {}
    activations: Weights = {**taken.activations} if taken else {}
    return Step(
        images=step.images,
        labels=step.labels,
        preactivations={name: layer.preactivations for name, layer in layers.items()},
        activations=activations,
        dropped={name: activations[name] * mask for name, mask in (taken.masks if taken else {}).items()},
        loss=loss,
        gradients=step.gradients,
        parameters=step.after.parameters,
        first_moments=step.after.first_moments,
        second_moments=step.after.second_moments,
    )


def _zeros(weights: Weights) -> Weights:
    return {name: np.zeros_like(array) for name, array in weights.items()}
