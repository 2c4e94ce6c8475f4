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


def branches(directory: Path, order: list[str], drops: list[tuple[str, int]]) -> Side:
    """Two branches, of which one drops; layers are called in an order of one's own."""
    takes = {
        "one": ["x"],
        "two": ["out of one"],
        "other": ["x"],
        "drop": ["out of two"],
        "last": ["dropped", "out of other"],
    }
    layers = [linear(name, 8, 8) for name in ("one", "two", "other", "last")] + [layer("drop", "Dropout", {}, p=0.2)]
    gives = {"drop": "dropped"}
    calls = [call(name, takes[name], [gives.get(name, f"out of {name}")]) for name in order]
    line = {"file": "port.py", "line": 4, "code": "self.drop = nn.Dropout(0.2)"}
    noted = [
        {"layer": name, "function": "Dropout", "rate": 0.2, "active": True, "after_call": after, "place": line}
        for name, after in drops
    ]
    return Side(observation(directory, "torch", layers, calls, {}, dropout=noted))


def test_a_dropout_is_after_what_it_is_given_and_not_after_what_was_called_last(tmp_path: Path) -> None:
    guide = branches(tmp_path / "a", ["one", "two", "other", "drop", "last"], [("drop", 2)])
    port = branches(tmp_path / "b", ["other", "one", "two", "drop", "last"], [("drop", 2)])
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    dropout(context)
    assert not context.findings
    assert context.same == ["1 dropout, places and rates"]


def test_a_dropout_of_a_model_that_is_called_twice_counts_once(tmp_path: Path) -> None:
    once = side(tmp_path / "a", FUSED, [(1, 0.1)])
    twice = side(tmp_path / "b", FUSED, [(1, 0.1)])
    place = {"file": "port.py", "line": 4, "code": "x = F.dropout(x, 0.1)"}
    first = twice.observation.document["dropout"][0] | {"place": place}
    twice.observation.document["dropout"][:] = [first, dict(first)]
    context = Context(once, twice, twice.observation, pair(once, twice), guide_is_reference=True)
    dropout(context)
    assert not context.findings


@pytest.mark.parametrize(("kind", "mend"), [("Dropout", "nn.Dropout(0.1)"), ("SpatialDropout1D", "nn.Dropout1d(0.1)")])
def test_dropouts_of_one_line_are_one_finding(tmp_path: Path, kind: str, mend: str) -> None:
    layers = [linear(str(number), 8, 8) for number in range(3)]
    guide, port = side(tmp_path / "a", layers, [(0, 0.1), (1, 0.1)]), side(tmp_path / "b", layers, [])
    for entry in guide.observation.document["dropout"]:
        entry |= {"function": kind, "place": {"file": "reference.py", "line": 7, "code": f"layers.{kind}(0.1)"}}
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    dropout(context)
    (found,) = context.findings
    assert found.title == "no dropout of rate 0.1 after layers 0, 1"
    assert found.mend == mend
