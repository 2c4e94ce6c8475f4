"""Running statistics of a normalisation that is called several times in a step, on observations made up by hand."""

from pathlib import Path

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.training.statistics import statistics
from tests.explanation.made_up import call, layer, observation

BATCHES = np.random.default_rng(0).normal(1.0, 1.0, size=(2, 16, 4))


def normalised(directory: Path, framework: str, kept: float, calls: int) -> Side:
    """A batch normalisation that is called on so many batches in a step."""
    keras = framework == "keras"
    names = ["moving_mean", "moving_variance"] if keras else ["running_mean", "running_var"]
    shapes = dict.fromkeys(names, (4,))
    kind = "BatchNormalization" if keras else "BatchNorm1d"
    made = layer("bn", kind, {"gamma" if keras else "weight": (4,), "beta" if keras else "bias": (4,)} | shapes)
    for name in names:
        made["parameters"][name] |= {"trainable": False, "is_buffer": True}
    after = {"mean": np.zeros(4), "var": np.ones(4)}
    arrays = {"mean": np.zeros(4), "var": np.ones(4), "one": np.ones(4), "zero": np.zeros(4)}
    for number, batch in enumerate(BATCHES[:calls]):
        after = {
            "mean": kept * after["mean"] + (1 - kept) * batch.mean(axis=0),
            "var": kept * after["var"] + (1 - kept) * batch.var(axis=0),
        }
        arrays |= {f"x{number}": batch, f"y{number}": batch}
    arrays |= {"mean_after": after["mean"], "var_after": after["var"]}
    paths = [made["parameters"][name]["path"] for name in names]
    updates = [
        {
            "parameters_before": dict(zip(paths, ("mean", "var"), strict=True)),
            "parameters_after": dict(zip(paths, ("mean_after", "var_after"), strict=True)),
        }
    ]
    listed = [call("bn", [f"x{number}"], [f"y{number}"], occurrence=number) for number in range(calls)]
    return Side(observation(directory, framework, [made], listed, arrays, updates=updates))


@pytest.mark.parametrize(
    ("calls", "kept", "words"),
    [
        ((1, 1), 0.9, "momentum of bn (batch normalization): 0.9, which torch calls 0.1"),
        ((2, 2), 0.9, "momentum of bn (batch normalization): 0.9, which torch calls 0.1"),
        ((2, 2), 0.99, ""),
        ((2, 1), 0.99, ""),  # one tower that is shared against two
    ],
)
def test_each_call_moves_them_once(tmp_path: Path, calls: tuple[int, int], kept: float, words: str) -> None:
    guide = normalised(tmp_path / "a", "keras", 0.99, calls[0])
    port = normalised(tmp_path / "b", "torch", kept, calls[1])
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    statistics(context)
    titles = [found.title for found in context.findings]
    assert [title for title in titles if "momentum" in title] == (
        [f"{words}; the reference has 0.99, which torch calls 0.01"] if words else []
    )
