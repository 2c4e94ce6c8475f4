from pathlib import Path

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.loss.shares import by_share
from compare.explanation.loss.words import Found
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, observation

GENERATOR = np.random.default_rng(5)
LOSSES = GENERATOR.random((2, 10, 4))
MASKS = (GENERATOR.random((2, 10, 4)) < 0.4).astype(np.float64)
OTHER = np.array([3.5, 2.5])
KEPT = (LOSSES * MASKS).sum(axis=(1, 2)) / MASKS.sum(axis=(1, 2))
ALL = (LOSSES * MASKS).mean(axis=(1, 2))


def found(directory: Path, guide: Array, port: Array, *, other: bool = True) -> Found | None:
    """What is said of a masked term in two steps, beside another term of weight one half, or alone."""
    arrays = {f"mask{k}": MASKS[k] for k in (0, 1)} | {f"mean{k}": port[k] for k in (0, 1)}
    arrays |= {f"loss{k}": LOSSES[k] for k in (0, 1)}
    terms = [
        [{"function": "masked", "value": float(guide[k]), "output": "assays", "inputs": []}]
        + ([{"function": "mse", "value": float(OTHER[k]), "weight": 0.5, "inputs": []}] if other else [])
        for k in (0, 1)
    ]
    own = [[{"function": "mse_loss", "value": float(OTHER[k]), "inputs": []}] if other else [] for k in (0, 1)]
    calls = [
        [
            call(None, [f"loss{k}", f"mask{k}"], [], function="mul"),
            call(None, [], [f"mean{k}"], function="mean", place={"file": "port.py", "line": 52, "code": "x.mean()"}),
        ]
        for k in (0, 1)
    ]
    sides = (
        Side(observation(directory / "guide", "keras", [], [], {}, losses=[{"terms": row} for row in terms])),
        Side(observation(directory / "port", "torch", [], [], arrays, losses=[{"terms": row} for row in own])),
    )
    sides[0].observation.document["calls"] = [[], []]  # type: ignore[index]
    sides[1].observation.document["calls"] = calls  # type: ignore[index]
    context = Context(*sides, sides[1].observation, Pairing([], [], []), guide_is_reference=True)
    extra = 0.5 * OTHER if other else 0.0
    return by_share(context, [0, 1], guide + extra, port + extra)


@pytest.mark.parametrize("other", [True, False])
def test_a_mean_over_the_masked_values_too_is_told_by_its_mask(tmp_path: Path, other: bool) -> None:
    (said,) = found(tmp_path, KEPT, ALL, other=other) or ()
    assert "over all values, those included that a mask leaves out; the reference's over the" in said.title
    assert "masked" in said.title
    assert said.place is not None
    assert said.place.line == 52


def test_a_mean_over_those_that_are_kept_alone_is_told_the_other_way_round(tmp_path: Path) -> None:
    (said,) = found(tmp_path, ALL, KEPT) or ()
    assert "that the mask keeps; the reference's over all values" in said.title


def test_the_one_term_that_differs_is_named_without_a_cause(tmp_path: Path) -> None:
    (said,) = found(tmp_path, KEPT, KEPT * [1.3, 1.6]) or ()
    assert "masked of assays alone differs" in said.title
    assert said.cause == ""


def test_a_loss_of_one_term_that_no_mask_explains_is_left_to_others(tmp_path: Path) -> None:
    assert found(tmp_path, KEPT, KEPT * [1.3, 1.6], other=False) is None
