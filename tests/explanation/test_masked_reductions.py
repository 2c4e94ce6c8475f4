"""Padding that one side counts in where Keras masks it, on observations made up by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from compare.explanation.context import Context
from compare.explanation.model.forward import forward
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from compare.explanation.operations.learning import learn_masked
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
LENGTHS = np.array([2, 3, 5, 1])
MASK = np.arange(5)[None] < LENGTHS[:, None]
TOKENS = np.where(MASK, GENERATOR.integers(1, 9, size=(4, 5)), 0)
TABLE = GENERATOR.normal(size=(9, 6))
EMBEDDED = TABLE[TOKENS]
END = GENERATOR.normal(size=(4, 3))
KEPT = {
    "mean": (EMBEDDED * MASK[..., None]).sum(axis=1) / LENGTHS[:, None],
    "max": np.where(MASK[..., None], EMBEDDED, -np.inf).max(axis=1),
    "sum": (EMBEDDED * MASK[..., None]).sum(axis=1),
    "last": EMBEDDED[np.arange(4), LENGTHS - 1],
}
ALL = {"mean": EMBEDDED.mean(axis=1), "max": EMBEDDED.max(axis=1), "sum": EMBEDDED.sum(axis=1), "last": EMBEDDED[:, -1]}


def pooled(directory: Path, framework: str, values: Array) -> Side:
    """An embedding, a reduction over its positions and a layer after it."""
    keras = framework == "keras"
    layers = [
        layer("embedding", "Embedding", {"embeddings" if keras else "weight": (9, 6)}),
        layer("fc", "Dense" if keras else "Linear", {"kernel": (6, 3)} if keras else {"weight": (3, 6)}),
    ]
    line = {"file": "port.py", "line": 41, "code": "pooled = emb.mean(dim=1)"}
    masked = {"masks": {"mask0": "mask"}} if keras else {}
    calls = [
        call("embedding", ["tokens"], ["embedded"]),
        call(None, ["embedded"], ["pooled"], function="pool", place=line, **masked),
        call("fc", ["pooled"], ["end"]),
    ]
    arrays = {"tokens": TOKENS, "embedded": EMBEDDED, "pooled": values, "end": END, "mask": MASK}
    return Side(observation(directory, framework, layers, calls, arrays))


@pytest.mark.parametrize(
    ("name", "guide_words", "words"),
    [
        ("mean", "mean over the positions that the mask keeps", "global average pooling, mean over axis 1"),
        ("max", "max over the positions that the mask keeps", "global max pooling, max over axis 1"),
        ("sum", "sum over the positions that the mask keeps", "sum over space, sum over axis 1"),
        ("last", "the last of the positions that the mask keeps", "the last time step"),
    ],
)
def test_padding_that_is_counted_in_is_named_and_mended(
    tmp_path: Path, name: str, guide_words: str, words: str
) -> None:
    guide, port = pooled(tmp_path / "a", "keras", KEPT[name]), pooled(tmp_path / "b", "torch", ALL[name])
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    (found,) = context.findings
    assert f"{words}, with the padding counted in; the reference has {guide_words}" in found.title
    assert found.place is not None
    assert found.place.line == 41
    given = {"x": torch.from_numpy(EMBEDDED), "tokens": torch.from_numpy(TOKENS), "torch": torch}
    made = eval(found.mend.removeprefix("x = "), given)  # noqa: S307  a line of our own
    np.testing.assert_allclose(made.numpy(), KEPT[name], rtol=1e-12)


def test_without_padding_or_without_a_mask_nothing_is_masked(tmp_path: Path) -> None:
    guide, port = pooled(tmp_path / "a", "keras", ALL["mean"]), pooled(tmp_path / "b", "torch", ALL["max"])
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    assert "padding" not in context.findings[0].title
    assert learn_masked(EMBEDDED, None, KEPT["mean"]) is None
    assert learn_masked(EMBEDDED, MASK, GENERATOR.normal(size=(4, 6))) is None
