"""Learning rates that the steps had, and that a schedule is going to give, made up by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from compare.explanation.context import Context
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.training.optimizer.schedule import _convention, schedule
from tests.explanation.made_up import observation


@pytest.mark.parametrize(
    ("guide", "port", "title"),
    [
        ([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], ""),
        ([0.1, 0.1, 0.1], [0.2, 0.2, 0.2], ""),  # a setting, and no schedule
        ([0.1, 0.09, 0.08], [0.1, 0.1, 0.1], "learning rate at step 2"),
        ([0.1, 0.2, 0.3], [0.2, 0.4, 0.6], "learning rate at step 1"),  # a warm-up of another length
        (
            [0.1, 0.2, 0.3, 0.4],
            [0.2, 0.4, 0.6, 0.8],
            "learning rate at step 1 (rises by 0.2 at each step, the reference",
        ),
    ],
)
def test_a_schedule_is_told_from_a_setting(tmp_path: Path, guide: list[float], port: list[float], title: str) -> None:
    sides = [
        Side(observation(tmp_path / name, name, [], [], {}, updates=[{"learning_rate": rate} for rate in rates]))
        for name, rates in (("keras", guide), ("torch", port))
    ]
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    assert schedule(context) == bool(title)
    assert [found.title.startswith(title) for found in context.findings] == [True] * bool(title)


@pytest.mark.parametrize(("base", "said"), [(0.003, True), (1.0, False), (0.03, False)])
def test_a_learning_rate_that_multiplies_another_is_told(tmp_path: Path, base: float, said: bool) -> None:
    rates = [0.1, 0.2, 0.3, 0.4]
    sides = []
    for name, factor in (("keras", 1.0), ("torch", 0.003)):
        own = [factor * rate for rate in rates]
        scheduler = [{"class": "LambdaLR", "base": base, "per": "step"}] if name == "torch" else []
        updates = [{"learning_rate": rate} for rate in own]
        loop = {"rates": planned("step", own), "scheduler": scheduler}
        sides.append(Side(observation(tmp_path / name, name, [], [], {}, updates=updates, loop=loop)))
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    assert schedule(context) is said
    assert ["which is a learning rate already" in found.title for found in context.findings] == [True] * said


DECAY = [0.1 * 0.99**step for step in range(200)]


def planned(per: str, values: list[float]) -> dict[str, Any]:
    return {"per": per, "count": len(values), "at": list(range(len(values))), "values": values}


def warm_up(steps: int) -> list[float]:
    return [0.1 * step / steps for step in range(steps)] + [0.1 - 0.0005 * step for step in range(100 - steps)]


def cosine(end: float) -> list[float]:
    return [end + (0.1 - end) * (1 + math.cos(math.pi * step / 99)) / 2 for step in range(100)]


@pytest.mark.parametrize(
    ("keras", "torch", "title"),
    [
        (planned("step", DECAY), planned("step", DECAY), ""),
        (planned("step", DECAY), planned("step", [rate / 2 for rate in DECAY]), ""),  # another rate to begin with
        (planned("step", [0.0, *DECAY]), planned("step", [1e-10, *DECAY]), ""),  # a warm-up from nearly nothing
        (planned("step", DECAY), planned("step", DECAY[:100] + [1.0] * 100), ""),  # past the end of the training
        (planned("step", DECAY), planned("step", DECAY[:40] + DECAY[40:41] * 160), "learning rate at step 42"),
        (planned("step", DECAY), planned("epoch", DECAY), "learning rate at step 2 (schedule stepped once per epoch"),
        (planned("step", DECAY), planned("step", DECAY[1:]), "learning rate at step 1 (schedule one step ahead)"),
        (planned("epoch", DECAY[:10]), planned("epoch", [*DECAY[:9], 1.0]), "learning rate at epoch 10"),
        (
            planned("step", DECAY),
            planned("step", [0.1 * 0.9**step for step in range(200)]),
            "learning rate at step 2 (0.9",
        ),
        (
            planned("step", warm_up(20)),
            planned("step", warm_up(10)),
            "learning rate at step 2 (highest at step 11, the",
        ),
        (planned("step", cosine(0.01)), planned("step", cosine(0.2)), "learning rate at step 2 (schedule ends at 0.2"),
        (planned("step", DECAY), None, "learning rate at step 2 (no schedule)"),
        (
            planned("epoch", [0.1] * 5 + [0.01] * 5),
            planned("epoch", [0.1] * 6 + [0.01] * 4),
            "learning rate at epoch 6",
        ),
    ],
)
def test_schedules_are_compared_beyond_the_steps_that_are_run(
    tmp_path: Path, keras: dict[str, Any], torch: dict[str, Any] | None, title: str
) -> None:
    data = {"epochs": {"value": 10, "loops": [{"count": 10}, {"count": None}]}, "loaders": [{"num_batches": 10}]}
    sides = [
        Side(
            observation(
                tmp_path / name,
                name,
                [],
                [],
                {},
                data=data,
                updates=[{"learning_rate": 0.1}],
                loop={"rates": rates, "sets_rate": False, "scheduler": []},
            )
        )
        for name, rates in (("keras", keras), ("torch", torch))
    ]
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    schedule(context)
    assert [found.title.startswith(title) for found in context.findings] == [True] * bool(title)


def test_one_schedule_by_steps_and_by_epochs_is_told_where_batches_differ_too(tmp_path: Path) -> None:
    steps = [0.1] * 50 + [0.05] * 50 + [0.025] * 50
    sides = [
        Side(
            observation(
                tmp_path / name, name, [], [], {}, updates=[{"learning_rate": 0.1}],
                data={"epochs": {"value": 10, "loops": [{"count": 10}, {}]}, "loaders": [{"num_batches": batches}]},
                loop={"rates": planned(per, steps), "sets_rate": False, "scheduler": []},
            )
        )
        for name, per, batches in (("keras", "step", 10), ("torch", "epoch", 9))
    ]  # fmt: skip
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    assert schedule(context)
    assert context.findings[0].title.startswith("learning rate at step 51 (schedule stepped once per epoch")


@pytest.mark.parametrize(
    ("keras", "torch", "words"),
    [
        ({"alpha": 0.1}, {"eta_min": 0.1}, "alpha is a share of the first rate"),
        ({"alpha": 0.1}, {"eta_min": 0.01}, ""),
        ({"decay_rate": 0.9, "decay_steps": 100}, {"gamma": 0.9}, "decay_rate is for 100 steps"),
        ({"decay_rate": 0.9, "decay_steps": 1}, {"gamma": 0.9}, ""),
    ],
)
def test_what_a_number_means_in_each_framework_is_said(
    tmp_path: Path, keras: dict[str, float], torch: dict[str, float], words: str
) -> None:
    sides = [
        Side(observation(tmp_path / name, name, [], [], {}, loop={"scheduler": [{"class": "S", "settings": settings}]}))
        for name, settings in (("keras", keras), ("torch", torch))
    ]
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    assert words in _convention(context)
    assert bool(words) == bool(_convention(context))
