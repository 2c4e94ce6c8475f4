"""The last rung over clean pairs of the default recipe, drawn from the accuracies of the committed study."""

import json
from typing import Any

import numpy as np
import pytest

from compare.ladder.outcome import _NOT_PARITY, _PARITY, Chance
from tests.conftest import ROOT

MARGIN, NUM_DRAWS = 0.005, 20_000


@pytest.fixture(scope="module")
def accuracies() -> dict[str, Any]:
    """By implementation, those of `aligned` and `control`, which differ by chance alone."""
    runs = json.loads((ROOT / "docs/study/results.json").read_text())["runs"]
    chosen = [run for run in runs if run["variant"] in ("aligned", "control")]
    return {
        side: np.array([run["test_accuracy"] for run in chosen if run["implementation"] == side])
        for side in ("keras", "lightning")
    }


def verdicts(differences: np.ndarray, family: np.ndarray) -> tuple[float, float]:
    """The shares of draws that are parity, and that are not parity, by what decides the rung."""
    spread = family.std(axis=1, ddof=1)
    parity, not_parity = (Chance(1.0, family.shape[1] - 1).limit(level) * spread for level in (_PARITY, _NOT_PARITY))
    sizes = np.abs(differences)
    return float((sizes <= np.maximum(MARGIN, parity)).mean()), float((sizes > np.maximum(MARGIN, not_parity)).mean())


def test_clean_pairs_of_the_default_recipe_are_parity_in_99_of_100(accuracies: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    family = random.choice(accuracies["lightning"], (NUM_DRAWS, 4))
    others = random.choice(accuracies["keras"], NUM_DRAWS)
    parity, not_parity = verdicts(others - family[:, 0], family)
    assert parity >= 0.99
    # What the 9,999 in 10,000 of the limit leave, and the draws' own scatter.
    assert not_parity <= 3e-4


def test_what_costs_two_points_is_no_parity(accuracies: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    family = random.choice(accuracies["lightning"], (NUM_DRAWS, 4))
    others = random.choice(accuracies["keras"], NUM_DRAWS) - 0.02
    parity, _ = verdicts(others - family[:, 0], family)
    assert parity < 0.1
