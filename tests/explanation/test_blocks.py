"""Blocks of a transformer that normalise at another place, on observations made up by hand."""

from pathlib import Path
from typing import Any

import pytest

from compare.explanation.context import Context
from compare.explanation.model.forward import forward
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

CODE = {
    "built in": "layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)",
    "written out": "self.norm = nn.LayerNorm(8)",
}


def attention(framework: str, name: str) -> dict[str, Any]:
    if framework == "torch":
        return layer(name, "MultiheadAttention", {"in_proj_weight": (24, 8), "out_proj.weight": (8, 8)})
    shapes = {f"{part}/kernel": (8, 2, 4) for part in ("query", "key", "value")} | {"output/kernel": (2, 4, 8)}
    return layer(name, "MultiHeadAttention", shapes)


def blocks(directory: Path, framework: str, *, first: bool, code: str = "") -> Side:
    """Two blocks, each of an attention and a dense layer, that normalise what they take, or what comes out."""
    dense, weight = ("Dense", "kernel") if framework == "keras" else ("Linear", "weight")
    norm = ("LayerNormalization", "gamma") if framework == "keras" else ("LayerNorm", "weight")
    layers: list[dict[str, Any]] = [layer("embed", dense, {weight: (8, 8)})]
    calls = [call("embed", ["x"], ["embedded"])]
    stream = "embedded"
    for part in ("att0", "ff0", "att1", "ff1"):
        body = attention(framework, part) if "att" in part else layer(part, dense, {weight: (8, 8)})
        normalizer = layer(f"norm of {part}", norm[0], {norm[1]: (8,)})
        normalizer["place"]["code"] = code
        added = [stream, part]
        if first:
            calls += [call(f"norm of {part}", [stream], [f"normed {part}"]), call(part, [f"normed {part}"], [part])]
            calls += [call(None, added, [f"sum {part}"], function="add")]
            layers += [normalizer, body]
            stream = f"sum {part}"
        else:
            calls += [call(part, [stream], [part]), call(None, added, [f"sum {part}"], function="add")]
            calls += [call(f"norm of {part}", [f"sum {part}"], [f"normed {part}"])]
            layers += [body, normalizer]
            stream = f"normed {part}"
    return Side(observation(directory, framework, layers, calls, {}))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("code", "mend"), [("built in", "norm_first="), ("written out", "x = ")])
def test_where_blocks_normalise(tmp_path: Path, first: bool, code: str, mend: str) -> None:
    guide = blocks(tmp_path / "a", "keras", first=first)
    port = blocks(tmp_path / "b", "torch", first=not first, code=CODE[code])
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    (found,) = context.findings
    words = ["after the sum with what goes by them (post-LN", "before attention and feed-forward (pre-LN"]
    assert found.title.startswith(f"normalisation {words[not first]}")
    assert f"the reference has {words[first]}" in found.title
    assert found.mend.startswith(mend)
    assert (f"={first}" in found.mend) == (code == "built in")
    assert found.effect_text == "in all blocks, of which there are 2"


@pytest.mark.parametrize("first", [True, False])
def test_blocks_that_normalise_at_the_same_place(tmp_path: Path, first: bool) -> None:
    guide, port = (blocks(tmp_path / name, name, first=first) for name in ("keras", "torch"))
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    forward(context)
    assert context.findings == []
