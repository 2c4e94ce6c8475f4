"""Places and rates of dropout, on observations made up by hand."""

from pathlib import Path
from typing import Any

import pytest

from compare.explanation.context import Context
from compare.explanation.model.dropout import dropout
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation


def linear(name: str, size: int, out: int) -> dict[str, Any]:
    return layer(name, "Linear", {"weight": (out, size), "bias": (out,)})


def side(directory: Path, layers: list[dict[str, Any]], drops: list[tuple[int, float]]) -> Side:
    """A model that calls its layers in their order, with a dropout after some of the calls."""
    calls = [call(str(entry["name"]), [f"in{i}"], [f"out{i}"]) for i, entry in enumerate(layers)]
    noted = [
        {"layer": None, "function": "dropout", "rate": rate, "active": True, "after_call": after, "place": None}
        for after, rate in drops
    ]
    return Side(observation(directory, "torch", layers, calls, {}, dropout=noted))


HEADS = [
    *(linear(f"heads.{head}.{part}", 8, 4) for head in range(2) for part in ("key", "query", "value")),
    linear("proj", 8, 8),
]
FUSED = [linear("qkv", 8, 24), linear("proj", 8, 8)]


@pytest.mark.parametrize(
    ("drops", "said"),
    [
        ([(0, 0.1), (1, 0.1)], []),
        ([(0, 0.2), (1, 0.1)], ["dropout rate after qkv: 0.2; the reference has 0.1"]),
        ([(1, 0.1)], ["no dropout of rate 0.1 after qkv"]),
        ([(0, 0.1), (1, 0.1), (1, 0.1)], ["dropout of rate 0.1 after qkv, which the reference does not have"]),
    ],
)
def test_what_each_head_drops_is_what_one_dropout_for_all_heads_does(
    tmp_path: Path, drops: list[tuple[int, float]], said: list[str]
) -> None:
    guide, port = side(tmp_path / "a", HEADS, [(2, 0.1), (5, 0.1), (6, 0.1)]), side(tmp_path / "b", FUSED, drops)
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    dropout(context)
    assert [found.title for found in context.findings] == said


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        ("layer = nn.TransformerEncoderLayer(8, 2, dropout=0.2)", "dropout=0.1"),
        ("self.rnn = nn.LSTM(8, 8, 2)", "dropout=0.1"),
        ("y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.2)", "dropout_p=0.1"),
        ("self.drop = nn.Dropout(p=0.2)", "nn.Dropout(0.1)"),
    ],
)
def test_a_rate_is_mended_where_it_is_set(tmp_path: Path, code: str, mend: str) -> None:
    sides = [side(tmp_path / name, FUSED, [(1, rate)]) for name, rate in (("a", 0.1), ("b", 0.2))]
    sides[1].observation.document["dropout"][0]["place"] = {"file": "port.py", "line": 4, "code": code}
    context = Context(*sides, sides[1].observation, pair(*sides), guide_is_reference=True)
    dropout(context)
    (found,) = context.findings
    assert found.mend == mend
