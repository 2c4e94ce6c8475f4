"""Random augmentation by a layer of one side's model and in the other side's data, on observations made up by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.feeding.data import AUGMENTED_APART, Feeding, data
from compare.explanation.feeding.relation import relate
from compare.explanation.model.forward import forward
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
SAMPLES, KERNEL = GENERATOR.uniform(size=(8, 6, 6, 3)), GENERATOR.normal(size=(1, 1, 3, 4))
FLIPPED = np.where(np.arange(8)[:, None, None, None] % 2, SAMPLES, SAMPLES[:, :, ::-1])


def inside(directory: Path) -> Side:
    """A Keras model that flips its samples at random and halves them."""
    arrays = {"x": SAMPLES, "flipped": FLIPPED, "half": FLIPPED / 2, "y": FLIPPED / 2 @ KERNEL[0, 0], "k": KERNEL}
    layers = [
        layer("random_flip", "RandomFlip", {}), layer("rescaling", "Rescaling", {}, scale=0.5),
        layer("conv2d", "Conv2D", {"kernel": KERNEL.shape}),
    ]  # fmt: skip
    calls = [
        call("random_flip", ["x"], ["flipped"]), call("rescaling", ["flipped"], ["half"]),
        call("conv2d", ["half"], ["y"]),
    ]  # fmt: skip
    return side(directory, "keras", layers, calls, arrays, random=False)


def outside(directory: Path, *, random: bool, factor: float) -> Side:
    """The port, steered by the reference's weights and samples; its data set flips by itself, if `random`."""
    x = np.moveaxis(SAMPLES, -1, 1)
    made = x * factor
    y = np.moveaxis(np.moveaxis(made, 1, -1) @ KERNEL[0, 0], -1, 1)
    arrays = {"x": x, "scaled": made, "y": y, "k": np.moveaxis(KERNEL, (3, 2), (0, 1))}
    layers = [layer("conv", "Conv2d", {"weight": (4, 3, 1, 1)})]
    calls = [call(None, ["x"], ["scaled"], function="mul"), call("conv", ["scaled"], ["y"])]
    return side(directory, "torch", layers, calls, arrays, random=random)


def side(directory: Path, framework: str, layers: Any, calls: Any, arrays: Any, *, random: bool) -> Side:
    path = next(iter(layers[-1]["parameters"].values()))["path"]
    updates = [{"parameters_before": {path: "k"}, "gradients": {}, "parameters_after": {}}]
    read = {"training": {"random": random}}
    return Side(observation(directory, framework, layers, calls, arrays, data={"read": read}, updates=updates))


@pytest.mark.parametrize(
    ("random", "factor", "titles", "apart"),
    [
        (True, 0.5, [], True),
        (True, 0.25, ["scaling before conv: 1/4; the reference has 0.5"], True),
        (False, 0.5, ["no random_flip before conv"], False),
    ],
)
def test_augmentation_in_a_layer_and_in_the_data_is_no_fault(
    tmp_path: Path, random: bool, factor: float, titles: list[str], apart: bool
) -> None:
    guide, port = inside(tmp_path / "a"), outside(tmp_path / "b", random=random, factor=factor)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    own = np.moveaxis(FLIPPED if random else SAMPLES, -1, 1)
    data(context, Feeding((relate([SAMPLES], [own]),), (), ((SAMPLES,),), (), ((own,),), (), (8, 8)))
    forward(context)
    assert [found.title for found in context.findings] == titles
    assert [words for words in context.not_seen if "augmentation" in words] == [AUGMENTED_APART] * apart
