"""Groups of parameters and further optimizers, by updates that are made up by the rules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.explanation.arithmetic.optimizers import rule_of, simulate
from compare.explanation.context import Context
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.training.clipping import _of_parts
from compare.explanation.training.gradients import of_guide
from compare.explanation.training.optimizer.judged import optimizer
from tests.explanation.made_up import call, layer, observation

SHAPES = {"weight": (2, 3), "bias": (2,)}
ADAMW = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}
SGD = {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}


def group(parameters: list[str], name: str = "AdamW", number: int = 0, **settings: Any) -> dict[str, Any]:
    held = (SGD if name == "SGD" else ADAMW) | settings
    return {"class": name, "optimizer": number, "settings": held, "parameters": [f"fc.{path}" for path in parameters]}


def side(folder: Path, groups: list[dict[str, Any]], moved: tuple[dict[str, Any], ...] = ()) -> Side:
    """Three steps of a layer by its groups' own rules, with settings of all groups that a schedule moves."""
    generator = np.random.default_rng(0)
    groups = [entry | {"rate": number} for number, entry in enumerate(groups)]
    rates = [entry["settings"]["lr"] for entry in groups]
    arrays = {"x": generator.normal(size=(4, 3)), "y": generator.normal(size=(4, 2))}
    updates: list[dict[str, Any]] = [
        {"learning_rate": rates[0], "rates": rates, "parameters_before": {}, "gradients": {}, "parameters_after": {}}
        for _ in range(3)
    ]
    for update, step in zip(updates, moved, strict=False):
        update["settings"] = [step] * len(groups)
    for name, shape in SHAPES.items():
        path = f"fc.{name}"
        own = next(entry for entry in groups if path in entry["parameters"])
        rule = rule_of("torch", own["class"], own["settings"])
        assert rule is not None
        before, gradients = (list(generator.normal(size=(3, *shape))) for _ in range(2))
        own_rules = [rule_of("torch", own["class"], own["settings"] | step) for step in moved]
        settings = [found.settings for found in own_rules if found is not None]
        after = simulate(rule, before, gradients, [own["settings"]["lr"]] * 3, settings)
        for step, values in enumerate(zip(before, gradients, after, strict=True)):
            for kind, array in zip(("parameters_before", "gradients", "parameters_after"), values, strict=True):
                updates[step][kind][path] = f"{kind}{step}/{path}"
                arrays[f"{kind}{step}/{path}"] = array
    described = {"class": groups[0]["class"], "settings": groups[0]["settings"], "groups": groups}
    calls = [call("fc", ["x"], ["y"])]
    return Side(
        observation(
            folder, "torch", [layer("fc", "Linear", SHAPES)], calls, arrays, optimizer=described, updates=updates
        )
    )


@pytest.mark.parametrize(
    ("guide", "steered", "titles"),
    [
        ([group(["weight", "bias"])], [group(["weight"]), group(["bias"])], []),
        (
            [group(["weight"]), group(["bias"], weight_decay=0.0)],
            [group(["weight", "bias"])],
            ["AdamW's weight decay of fc.bias 0.1; the reference has 0"],
        ),
        (
            [group(["weight", "bias"])],
            [group(["weight"]), group(["bias"], lr=0.02)],
            ["AdamW's learning rate of fc.bias 0.02; the reference has 0.01"],
        ),
        ([group(["weight", "bias"])], [group(["weight", "bias"], lr=0.02)], ["AdamW's learning rate 0.02; the"]),
        (
            [group(["weight"]), group(["bias"], "SGD", 1)],
            [group(["weight", "bias"])],
            ["optimizer of fc.bias: Adam; the reference has SGD"],
        ),
        (
            [group(["weight"]), group(["bias"], "SGD", 1)],
            [group(["weight"]), group(["bias"], "SGD", 1, momentum=0.0)],
            ["SGD's momentum of fc.bias 0; the reference has 0.9"],
        ),
    ],
)
def test_groups_are_compared_parameter_by_parameter(
    tmp_path: Path, guide: list[dict[str, Any]], steered: list[dict[str, Any]], titles: list[str]
) -> None:
    sides = side(tmp_path / "guide", guide), side(tmp_path / "steered", steered)
    context = Context(sides[0], sides[1], sides[1].observation, pair(*sides), guide_is_reference=True)
    optimizer(context)
    assert len(context.findings) == len(titles), [found.title for found in context.findings]
    assert all(found.title.startswith(title) for found, title in zip(context.findings, titles, strict=True))


CYCLED = tuple({"betas": [beta, 0.999]} for beta in (0.95, 0.94, 0.9))
BOTH = [group(["weight", "bias"], betas=[0.95, 0.999])]


@pytest.mark.parametrize(
    ("moved", "titles"),
    [
        (CYCLED, []),
        (({"betas": [0.95, 0.999]}, {"betas": [0.93, 0.999]}, {"betas": [0.9, 0.999]}),
         ["Adam's beta 1 at step 2 0.93; the reference has 0.94"]),
        ((), ["Adam's beta 1 at step 2 0.95; the reference has 0.94"]),
    ],
)  # fmt: skip
def test_a_momentum_that_a_schedule_moves_with_the_learning_rate_is_followed(
    tmp_path: Path, moved: tuple[dict[str, Any], ...], titles: list[str]
) -> None:
    """As torch's OneCycleLR does with Adam's first beta: the updates are what the rule makes of the moved ones."""
    sides = side(tmp_path / "guide", BOTH, CYCLED), side(tmp_path / "steered", BOTH, moved)
    context = Context(sides[0], sides[1], sides[1].observation, pair(*sides), guide_is_reference=True)
    optimizer(context)
    assert [found.title for found in context.findings] == titles
    assert not context.not_seen


GRU = {"kernel": (3, 12), "recurrent_kernel": (4, 12), "bias": (2, 12)}
TORCHS_GRU = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}


@pytest.mark.parametrize(("scaled", "of_parts"), [("bias", True), ("weight_ih", False)])
def test_a_norm_of_what_the_other_side_has_in_parts_is_no_fault(tmp_path: Path, scaled: str, of_parts: bool) -> None:
    generator = np.random.default_rng(0)
    gradients = {f"g/{name}": generator.normal(size=shape) for name, shape in GRU.items()}
    guide = Side(
        observation(
            tmp_path / "guide", "keras", [layer("gru", "GRU", GRU, reset_after=True, units=4)],
            [call("gru", ["x"], ["y"])], gradients,
            updates=[{}],
        )
    )  # fmt: skip
    paths = [parameter.path for parameter in guide.observation.layers["gru"].parameters.values()]
    guide.observation.updates[0]["gradients"] = dict(zip(paths, gradients, strict=True))
    blank = {f"s/{name}": np.zeros(shape) for name, shape in TORCHS_GRU.items()}
    made = layer("gru", "GRU", TORCHS_GRU, hidden_size=4)
    calls = [call("gru", ["x"], ["y"])]
    first = Side(observation(tmp_path / "first", "torch", [made], calls, blank))
    pairing = pair(guide, first)
    wanted = of_guide(Context(guide, first, first.observation, pairing, guide_is_reference=True), 0, "gradients")
    arrays = {path: array * (0.5 if scaled in path else 1.0) for path, array in wanted.items()}
    steered = Side(
        observation(
            tmp_path / "steered",
            "torch",
            [made],
            calls,
            arrays,
            updates=[{"gradients": {path: path for path in arrays}}],
        )
    )
    assert len(arrays) == len(TORCHS_GRU)
    context = Context(guide, steered, steered.observation, pairing, guide_is_reference=True)
    assert _of_parts(context) is of_parts
