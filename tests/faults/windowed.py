"""Networks in NumPy whose training leaves windows: clean ones, and what late faults build on."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from recipe import Recipe, mnist
from record.first_steps import Step
from record.training import RunRecord
from record.windows import Fed, Keeper, State, WindowStep, place_weights
from tests.faults.clean import ReorderedLayered
from tests.faults.layered import Layered
from tests.faults.zoo import Array, Base, Labels


class LeavesWindows(Base):
    """To be mixed in before a network."""

    keeper: Keeper | None = None

    def train(self) -> dict[str, Any]:
        self.keeper, self.sums = Keeper(self.stated), []
        with np.errstate(all="ignore"):
            found = super().train()
        pixels, classes = np.array(self.sums[: len(found["step_losses"])], self.real).T
        return found | {
            "windows": self.keeper.windows,
            "fed": Fed(pixels, classes),
            "epoch_states": self.keeper.epochs,
        }

    def state(self) -> State:
        return State(dict(self.parameters), dict(self.first_moments), dict(self.second_moments))

    def batches(self, epoch: int) -> Iterator[tuple[Array, Labels]]:
        if self.keeper:
            self.keeper.epoch_begins(self.state())
        yield from super().batches(epoch)
        if self.keeper:
            self.keeper.epoch_ends(self.state())

    def take_step(self, images: Array, labels: Labels) -> Step:
        number = self.num_steps + 1
        if self.keeper and number in self.keeper.begins:
            self.keeper.before(number, self.state())
        step = super().take_step(images, labels)
        if self.keeper:
            self.sums.append((images.sum(), (labels * place_weights(len(labels))).sum()))
            if number in self.keeper.numbers:
                self.keeper.after(WindowStep(number, step.images, step.labels, step.gradients, self.state()))
        return step


class Clean(LeavesWindows, Layered):
    """The clean network of every recipe."""


class CleanReordered(LeavesWindows, ReorderedLayered):
    """The same in another order of summation."""


def trained(network: type[Base], recipe: Recipe, digits: mnist.Digits) -> RunRecord:
    """What the training of a network leaves."""
    net = network(recipe, digits)
    return RunRecord(**net.train(), **net.header())
