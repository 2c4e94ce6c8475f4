"""Early stopping, the best weights and ReduceLROnPlateau, as both sides state them."""

from pathlib import Path
from typing import Any

import pytest

from compare.explanation.context import Context
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.training.callbacks import plateau, stopping
from tests.explanation.made_up import observation

FIT = {"monitor": "val_loss", "mode": "auto", "patience": 5, "min_delta": 0, "restore_best_weights": True}
OWN = {"ends_early": True, "patience": 5, "min_delta": 0.0, "mode": "min", "monitor": "loss"}
KERAS = {
    "monitor": "val_loss", "mode": "auto", "factor": 0.1, "patience": 3, "min_delta": -1e-4, "cooldown": 0,
    "min_lr": 0.0,
}  # fmt: skip
TORCH = {
    "mode": "min", "factor": 0.1, "patience": 2, "threshold": 1e-4, "threshold_mode": "abs", "cooldown": 0,
    "min_lrs": [0.0],
}  # fmt: skip


def context(folder: Path, keras: dict[str, Any], torch: dict[str, Any]) -> Context:
    sides = [
        Side(observation(folder / name, name, [], [], {}, **fields))
        for name, fields in (("keras", keras), ("torch", torch))
    ]
    return Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)


def fit(**settings: Any) -> dict[str, Any]:
    return {"data": {"fit": {"callbacks": [{"class": "EarlyStopping", "settings": FIT | settings}]}}}


def own(kept: str | None = "copies", **settings: Any) -> dict[str, Any]:
    return {"loop": {"stopping": OWN | settings, "restoring": {"loads": kept is not None, "kept": kept}}}


@pytest.mark.parametrize(
    ("keras", "torch", "titles"),
    [
        (fit(), own(), []),
        (fit(patience=0), own(patience=1), []),  # both stop after the first epoch without an improvement
        (fit(), own(patience=4), ["early stopping: patience 4; the reference has 5"]),
        (fit(), own(min_delta=0.01), ["early stopping: min_delta 0.01; the reference has 0"]),
        (fit(monitor="val_accuracy"), own(), ["early stopping: monitor loss; the reference has val_accuracy"]),
        (fit(), own(kept=None), ["the weights that the training ends with"]),
        (fit(), own(kept="references"), ["the weights that the training ends with"]),
        (fit(), {"loop": {"stopping": {"ends_early": False}}}, ["no early stopping"]),
        (fit(), {"loop": {"stopping": {"ends_early": True}}}, []),  # by something that the source does not tell
        ({"data": {"fit": {"callbacks": []}}}, own(), ["early stopping in the port"]),
        (
            {"data": {"fit": {"callbacks": []}}, "loop": {"restoring": {"loads": False}}},
            {"loop": {"stopping": {"ends_early": False}, "restoring": {"loads": True, "kept": "copies"}}},
            ["the weights that the training ends with (restore_best_weights): the best; the reference has the last"],
        ),
        ({"data": {"fit": {"callbacks": [{"class": "MyStop", "own": True}]}}}, own(), []),
    ],
)
def test_early_stopping(tmp_path: Path, keras: dict[str, Any], torch: dict[str, Any], titles: list[str]) -> None:
    compared = context(tmp_path, keras, torch)
    stopping(compared)
    assert [found.title.startswith(title) for found, title in zip(compared.findings, titles, strict=True)] == [
        True
    ] * len(titles)


@pytest.mark.parametrize(
    ("settings", "titles"),
    [
        ({}, []),
        ({"patience": 3}, ["patience 3, which lowers it after 4 bad epochs; the reference has 3, which lowers it"]),
        ({"factor": 0.5}, ["factor 0.5; the reference has 0.1"]),
        ({"min_lrs": [1e-5]}, ["min_lr 1e-05; the reference has 0"]),
        ({"threshold_mode": "rel"}, ["threshold (min_delta) 0.0001 (of the best value)"]),
        ({"mode": "max"}, ["mode max; the reference has min"]),
    ],
)
def test_plateau(tmp_path: Path, settings: dict[str, Any], titles: list[str]) -> None:
    schedulers = [
        {"loop": {"scheduler": [{"class": "ReduceLROnPlateau", "settings": held, "per": "epoch"}], "sets_rate": False}}
        for held in (KERAS, TORCH | settings)
    ]
    compared = context(tmp_path, *schedulers)
    plateau(compared)
    assert len(compared.findings) == len(titles)
    assert all(title in found.title for found, title in zip(compared.findings, titles, strict=True))


@pytest.mark.parametrize(("sets_rate", "count"), [(False, 1), (True, 0)])
def test_a_plateau_on_one_side_alone(tmp_path: Path, sets_rate: bool, count: int) -> None:
    keras = {"loop": {"scheduler": [{"class": "ReduceLROnPlateau", "settings": KERAS}], "sets_rate": False}}
    compared = context(tmp_path, keras, {"loop": {"scheduler": [], "sets_rate": sets_rate}})
    plateau(compared)
    assert len(compared.findings) == count
