"""What both sides state of their data and loops: lengths, draws, precision; made up by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding
from compare.explanation.feeding.order import order
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.training.loop import loop
from compare.explanation.training.stated import stated
from tests.explanation.made_up import observation

FIT = {"fit": {"kind": "arrays", "epochs": 5, "batch_size": 32, "num_samples": 320}, "epochs": {"value": 5}}


def loader(**fields: Any) -> dict[str, Any]:
    return {"loaders": [{"num_samples": 320, "batch_size": 32, "num_batches": 10, "sampler": "RandomSampler"} | fields]}


def loops(*counts: int | None) -> dict[str, Any]:
    return {"epochs": {"value": next((n for n in counts if n), None), "loops": [{"count": count} for count in counts]}}


def titles(folder: Path, check: Callable[[Context], None], keras: dict[str, Any], torch: dict[str, Any]) -> list[str]:
    sides = [
        Side(observation(folder / name, name, [], [], {}, **fields))
        for name, fields in (("keras", keras), ("torch", torch))
    ]
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    check(context)
    return [found.title for found in context.findings]


@pytest.mark.parametrize(
    ("port", "title"),
    [
        (loader() | loops(5, None), ""),
        (loader() | loops(4, None), "number of epochs: 4; the reference has 5"),
        (loops(50), ""),  # steps, as many as five epochs have
        (loops(60), "number of steps: 60; the reference has 50"),
        (
            loader() | {"trainer": {"max_steps": 30}, "epochs": {"value": None}},
            "number of steps: 30; the reference has",
        ),
        ({"epochs": {"value": None, "loops": [{"count": None}]}}, ""),
    ],
)
def test_how_long_is_trained(tmp_path: Path, port: dict[str, Any], title: str) -> None:
    said = titles(tmp_path, stated, {"data": FIT}, {"data": port})
    assert [words.startswith(title) for words in said] == [True] * bool(title)


@pytest.mark.parametrize(
    ("port", "title"),
    [
        (loader(), ""),
        (loader() | {"trainer": {"limit_train_batches": 0.5}}, "batches in an epoch: 5; the reference has 10"),
        (loader(sampler="WeightedRandomSampler", replacement=True), "samples of an epoch: drawn by weights"),
        (loader(replacement=True), "samples of an epoch: drawn with replacement"),
    ],
)
def test_what_an_epoch_has(tmp_path: Path, port: dict[str, Any], title: str) -> None:
    fed = Feeding((), (), (), (), (), (), (32, 32))
    permutations = [{"function": "fit(shuffle=True)"}]
    port["loaders"][0]["shuffle"] = True
    said = titles(
        tmp_path,
        lambda context: order(context, fed),
        {"data": FIT | {"permutations": permutations}},
        {"data": port},
    )
    assert [words.startswith(title) for words in said] == [True] * bool(title)


AUTOCAST = {"autocast": {"dtype": "torch.bfloat16"}}
HALF = {"autocast": {"dtype": "torch.float16"}}
MIXED = {"dtype_policy": "mixed_float16", "compile": {"auto_scale_loss": True}}


@pytest.mark.parametrize(
    ("keras", "torch", "title"),
    [
        ({"dtype_policy": "mixed_bfloat16"}, {"loop": AUTOCAST}, ""),
        ({"dtype_policy": "mixed_bfloat16"}, {}, "precision of the computation: float32; the reference has bfloat16"),
        (
            {"dtype_policy": "mixed_bfloat16"},
            {"loop": {"weights_dtype": "bfloat16"}},
            "precision of the computation: bfloat16, weights too; the reference has bfloat16",
        ),
        ({"dtype_policy": "float32"}, {"loop": {"weights_dtype": "float64"}}, ""),
        (MIXED, {"loop": HALF | {"grad_scaler": True}}, ""),
        (MIXED, {"loop": HALF}, "no loss scale in float16"),
    ],
)
def test_precision(tmp_path: Path, keras: dict[str, Any], torch: dict[str, Any], title: str) -> None:
    said = titles(tmp_path, loop, keras, torch)
    assert [words.startswith(title) for words in said] == [True] * bool(title)


def average(**fields: Any) -> dict[str, Any]:
    return {"loop": {"ema": {"class": "AveragedModel", "decay": 0.99, "updates": 9} | fields}}


@pytest.mark.parametrize(
    ("torch", "title"),
    [
        (average(), ""),
        (average(decay=0.9), "decay of the moving average of the weights (EMA): 0.9; the reference has 0.99"),
        (average(decay=None), ""),  # by a function of the user's own
        (
            average(decay=None, first=0.2),
            "decay of the moving average of the weights (EMA): one that changes from step",
        ),
        (average(updates=0), "moving average of the weights (EMA) is never updated"),
        (average(updates=0, per="epoch"), "moving average of the weights (EMA) is updated once in an epoch"),
        ({}, "no moving average of the weights"),
        ({"loop": {"names_average": True}}, ""),  # by arithmetic that is not seen
    ],
)
def test_moving_average(tmp_path: Path, torch: dict[str, Any], title: str) -> None:
    keras = {"optimizer": {"settings": {"use_ema": True, "ema_momentum": 0.99}}}
    said = titles(tmp_path, loop, keras, torch)
    assert [words.startswith(title) for words in said] == [True] * bool(title)
