"""Learning rates that the steps had, made up by hand."""

from pathlib import Path

import pytest

from compare.explanation.context import Context
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.training.updates import schedule
from tests.explanation.made_up import observation


@pytest.mark.parametrize(
    ("guide", "port", "title"),
    [
        ([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], ""),
        ([0.1, 0.1, 0.1], [0.2, 0.2, 0.2], ""),  # a setting, and no schedule
        ([0.1, 0.09, 0.08], [0.1, 0.1, 0.1], "learning rate at step 2"),
        ([0.1, 0.2, 0.3], [0.2, 0.4, 0.6], "learning rate at step 1"),  # a warm-up of another length
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
