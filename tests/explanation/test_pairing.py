from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.model.structure import structure
from compare.explanation.observed.carry import carried, parameter_pairs
from compare.explanation.observed.grouping import shapes
from compare.explanation.observed.observation import Observation
from compare.explanation.observed.pairing import _by_what_follows, pair
from compare.explanation.observed.plan import _goes_on, call_pairs
from compare.explanation.observed.sides import Side
from recipe.errors import RunFailedError
from tests.explanation.made_up import call, layer, observation


def dense(name: str, size: tuple[int, int]) -> dict[str, object]:
    return layer(name, "Dense", {"kernel": size, "bias": (size[1],)})


def linear(name: str, size: tuple[int, int]) -> dict[str, object]:
    return layer(name, "Linear", {"weight": size[::-1], "bias": (size[1],)})


def side(directory: Path, framework: str, layers: list[dict[str, object]], order: list[str] | None = None) -> Side:
    names = order or [str(entry["name"]) for entry in layers]
    calls = [call(name, [f"in{i}"], [f"out{i}"]) for i, name in enumerate(names)]
    return Side(observation(directory, framework, layers, calls, {}))


def judged(guide: Side, port: Side) -> Context:
    """What is said of the pairing of two sides."""
    context = Context(guide, port, port.observation, pair(guide, port), guide_is_reference=True)
    structure(context)
    return context


def names(guide: Side, port: Side) -> list[tuple[str, str]]:
    return [(found.guide.name, found.port.name) for found in pair(guide, port).pairs]


def test_layers_are_paired_in_the_order_of_the_computation_not_of_the_definition(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [dense("d1", (4, 3)), dense("d2", (3, 2))])
    port = side(tmp_path / "b", "torch", [linear("last", (3, 2)), linear("first", (4, 3))], ["first", "last"])
    assert names(guide, port) == [("d1", "first"), ("d2", "last")]


def test_branches_in_another_order_are_paired_by_their_shapes(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [dense("trunk", (4, 3)), dense("digit", (3, 10)), dense("ink", (3, 1))])
    port = side(tmp_path / "b", "torch", [linear("trunk", (4, 3)), linear("ink", (3, 1)), linear("digit", (3, 10))])
    assert sorted(names(guide, port)) == [("digit", "digit"), ("ink", "ink"), ("trunk", "trunk")]


def wired(directory: Path, framework: str, layers: list[dict[str, object]], inputs: dict[str, str]) -> Side:
    """A side whose layers take what another one gives, in the order of `inputs`."""
    calls = [call(name, [f"out of {source}"], [f"out of {name}"]) for name, source in inputs.items()]
    return Side(observation(directory, framework, layers, calls, {}))


def test_branches_of_the_same_shapes_are_paired_by_what_they_are_computed_from(tmp_path: Path) -> None:
    guide_layers = [dense("long", (4, 3)), dense("short", (5, 3)), dense("norm_1", (3, 3)), dense("norm_2", (3, 3))]
    guide_wires = {"long": "x", "short": "x", "norm_1": "long", "norm_2": "short"}
    guide = wired(tmp_path / "a", "keras", guide_layers, guide_wires)
    port_layers = [linear("a", (4, 3)), linear("of_a", (3, 3)), linear("b", (5, 3)), linear("of_b", (3, 3))]
    for number, wires in enumerate(
        (
            {"a": "x", "of_a": "a", "b": "x", "of_b": "b"},
            {"b": "x", "of_b": "b", "a": "x", "of_a": "a"},
        )
    ):
        port = wired(tmp_path / str(number), "torch", port_layers, wires)
        assert {("norm_1", "of_a"), ("norm_2", "of_b"), ("long", "a")} <= set(names(guide, port)), wires


def convolution(name: str, framework: str, dilation: int) -> dict[str, object]:
    if framework == "keras":
        return layer(name, "Conv2D", {"kernel": (3, 3, 4, 4)}, dilation_rate=[dilation, dilation])
    return layer(name, "Conv2d", {"weight": (4, 4, 3, 3)}, dilation=[dilation, dilation])


@pytest.mark.parametrize(
    ("spread", "expected"),
    [((2, 3), [("a", "of_2"), ("b", "of_3")]), ((3, 3), [("a", "of_3"), ("b", "of_2")])],
)
def test_branches_whose_windows_are_spread_otherwise_are_paired_by_that_if_both_have_the_same(
    tmp_path: Path, spread: tuple[int, int], expected: list[tuple[str, str]]
) -> None:
    wires = {"a": "x", "b": "x"}
    guide = wired(
        tmp_path / "a", "keras", [convolution(name, "keras", d) for name, d in zip("ab", spread, strict=True)], wires
    )
    layers = [convolution("of_3", "torch", 3), convolution("of_2", "torch", 2)]
    port = wired(tmp_path / "b", "torch", layers, {"of_3": "x", "of_2": "x"})
    assert sorted(names(guide, port)) == expected


def test_layers_of_several_heads_are_paired_by_the_outputs_that_they_lead_to(tmp_path: Path) -> None:
    size = (4, 4)
    heads = [dense(f"{name}_hidden", size) for name in "pq"] + [dense(f"{name}_out", (4, 1)) for name in "pq"]
    guide = wired(
        tmp_path / "a", "keras", heads, {"p_hidden": "x", "q_hidden": "x", "p_out": "p_hidden", "q_out": "q_hidden"}
    )
    ports = [linear(f"{name}.0", size) for name in ("first", "second")]
    ports += [linear(f"{name}.1", (4, 1)) for name in ("first", "second")]
    wires = {"first.0": "x", "first.1": "first.0", "second.0": "x", "second.1": "second.0"}
    port = wired(tmp_path / "b", "torch", ports, wires)
    found = pair(guide, port)
    # The targets say that p is the second one.
    by = {"p_hidden": "first.0", "q_hidden": "second.0", "p_out": "second.1", "q_out": "first.1"}
    of = {layer.name: layer for other in found.pairs for layer in other.ports}
    turned = [replace(other, ports=(of[by[other.guide.name]],)) for other in found.pairs]
    again = {other.guide.name: other.port.name for other in _by_what_follows(turned, guide, port)}
    assert again == {"p_hidden": "second.0", "q_hidden": "first.0", "p_out": "second.1", "q_out": "first.1"}


def test_a_layer_too_many_is_left_over(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [dense("d1", (4, 4)), dense("d2", (4, 2))])
    port = side(tmp_path / "b", "torch", [linear("l1", (4, 4)), linear("more", (4, 4)), linear("l2", (4, 2))])
    found = pair(guide, port)
    assert [layer.name for layer in found.ports_left] in (["more"], ["l1"])
    assert found.guides_left == ()


def test_a_layer_of_another_size_is_paired_and_not_carried(tmp_path: Path) -> None:
    guide, port = (
        side(tmp_path / "a", "keras", [dense("d", (4, 3))]),
        side(tmp_path / "b", "torch", [linear("l", (4, 5))]),
    )
    (found,) = pair(guide, port).pairs
    assert not found.fits
    assert carried(found, {"d/kernel": np.ones((4, 3))}, ("keras", "torch"), gradients=False) == {}


def test_a_separable_convolution_is_two_of_torchs(tmp_path: Path) -> None:
    separable = layer(
        "s", "SeparableConv2D", {"depthwise_kernel": (3, 3, 4, 1), "pointwise_kernel": (1, 1, 4, 8), "bias": (8,)}
    )
    depthwise = layer("depth", "Conv2d", {"weight": (4, 1, 3, 3)})
    pointwise = layer("point", "Conv2d", {"weight": (8, 4, 1, 1), "bias": (8,)})
    guide, port = side(tmp_path / "a", "keras", [separable]), side(tmp_path / "b", "torch", [depthwise, pointwise])
    (found,) = pair(guide, port).pairs
    assert [layer.name for layer in found.ports] == ["depth", "point"]
    paths = {parameter.path: np.ones(parameter.shape) for parameter in found.guide.parameters.values()}
    there = carried(found, paths, ("keras", "torch"), gradients=False)
    assert {path: array.shape for path, array in there.items()} == {
        "depth.weight": (4, 1, 3, 3), "point.weight": (8, 4, 1, 1), "point.bias": (8,),
    }  # fmt: skip


def test_which_parameters_are_the_same_weight(tmp_path: Path) -> None:
    guide, port = (
        side(tmp_path / "a", "keras", [dense("d", (4, 3))]),
        side(tmp_path / "b", "torch", [linear("l", (4, 3))]),
    )
    (found,) = pair(guide, port).pairs
    assert sorted(parameter_pairs(found, ("keras", "torch"))) == [("d/bias", "l.bias"), ("d/kernel", "l.weight")]


def test_the_gradient_of_one_bias_goes_to_both_of_torchs(tmp_path: Path) -> None:
    keras = layer("k", "LSTM", {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)})
    torch = layer("t", "LSTM", {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)})
    (found,) = pair(side(tmp_path / "a", "keras", [keras]), side(tmp_path / "b", "torch", [torch])).pairs
    values = {p.path: np.ones(p.shape) for p in found.guide.parameters.values()}
    paths = {parameter: found.port.parameters[parameter].path for parameter in found.port.parameters}
    gradients = carried(found, values, ("keras", "torch"), gradients=True)
    weights = carried(found, values, ("keras", "torch"), gradients=False)
    assert gradients[paths["bias_hh_l0"]].all()
    assert not weights[paths["bias_hh_l0"]].any()


def test_a_layer_called_twice_is_paired_call_by_call(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [dense("d", (4, 4))], ["d", "d"])
    port = side(tmp_path / "b", "torch", [linear("l", (4, 4))], ["l", "l"])
    found = call_pairs(pair(guide, port), guide.training_calls, port.training_calls)
    assert [(left.index, right.index) for _, left, right in found] == [(0, 0), (1, 1)]


def test_an_observation_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "observed.json").write_text('{"format": 2}')
    with pytest.raises(RunFailedError, match="format 1"):
        Observation.read(tmp_path)
    (tmp_path / "observed.json").write_text("{")
    with pytest.raises(RunFailedError, match="cannot be read"):
        Observation.read(tmp_path)


def test_a_normalisation_over_all_axes_of_pictures_is_turned(tmp_path: Path) -> None:
    gamma = np.arange(24.0).reshape(2, 3, 4)
    keras = layer("norm", "LayerNormalization", {"gamma": (2, 3, 4)})
    torch = layer("ln", "LayerNorm", {"weight": (4, 2, 3)})
    (found,) = pair(side(tmp_path / "a", "keras", [keras]), side(tmp_path / "b", "torch", [torch])).pairs
    assert found.fits
    path = next(iter(found.guide.parameters.values())).path
    (carried_over,) = carried(found, {path: gamma}, ("keras", "torch"), gradients=False).values()
    np.testing.assert_array_equal(carried_over, np.moveaxis(gamma, -1, 0))


def test_a_model_whose_only_own_parameter_is_a_number_is_paired(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [layer("", "MyModel", {"mu": ()}), dense("d", (4, 3))])
    port = side(tmp_path / "b", "torch", [layer("net", "Net", {"mu": ()}), linear("fc", (4, 3))])
    assert names(guide, port) == [("", "net"), ("d", "fc")]


@pytest.mark.parametrize(
    ("losses", "number"),
    [([0.5, 1.5, 0.4, 1.4], 2), ([0.5, None, 0.4, None], 1), ([0.5, 0.5, 0.4, 0.4], 1)],
    ids=["as a GAN does", "of one backward pass", "of one loss"],
)
def test_optimizers_in_turn_have_losses_of_their_own(tmp_path: Path, losses: list[float | None], number: int) -> None:
    steps = {"updates": [{"optimizer": i % 2} for i in range(4)], "losses": [{"value": value} for value in losses]}
    assert observation(tmp_path, "keras", [], [], {}, **steps).optimizers_in_turn == number


@pytest.mark.parametrize(
    ("optimizers", "steps", "anew"),
    [
        ([0, 0, 0, 1, 1], 3, 4),
        ([0, 1, 0, 1], 4, None),
        ([0, 0, 1, 0], 4, None),
        ([0, 1, 1], 3, None),
        ([0, 0], 2, None),
    ],
    ids=["tuned further", "in turn", "in turn, one twice", "perhaps in turn", "one"],
)
def test_a_second_optimizer_that_takes_over_begins_another_training(
    tmp_path: Path, optimizers: list[int], steps: int, anew: int | None
) -> None:
    updates = [{"optimizer": number} for number in optimizers]
    losses = [{"value": float(number)} for number, _ in enumerate(optimizers)]
    found = observation(tmp_path, "torch", [], [], {}, updates=updates, losses=losses)
    assert (len(found.updates), len(found.losses), found.begins_anew) == (steps, steps, anew)
    assert found.optimizers_in_turn == (1 if anew or len(set(optimizers)) == 1 else 2)


def test_query_key_and_value_of_a_functional_model_go_by_the_lines_that_made_them(tmp_path: Path) -> None:
    # Keras computes them in the order query, value, key, in which its Attention takes them.
    lines = {"query": 4, "value": 6, "key": 5}
    layers = [dense(name, (4, 3)) | {"place": {"file": "k.py", "line": line}} for name, line in lines.items()]
    calls = [call(name, ["x"], [f"out of {name}"], place=None) for name in lines]
    guide = Side(observation(tmp_path / "a", "keras", layers, calls, {}))
    port = wired(tmp_path / "b", "torch", [linear(name, (4, 3)) for name in "qkv"], dict.fromkeys("qkv", "x"))
    assert sorted(names(guide, port)) == [("key", "k"), ("query", "q"), ("value", "v")]


@pytest.mark.parametrize("fused_first", [True, False])
@pytest.mark.parametrize("in_a_chain", [True, False])
def test_three_projections_without_names_are_those_of_one_layer(
    tmp_path: Path, fused_first: bool, in_a_chain: bool
) -> None:
    names_of = [f"dense_{number}" for number in range(4)]
    before = ["project", *names_of[:-1]] if in_a_chain else ["project"] * 3 + ["dense_2"]
    wires = dict(zip(["project", *names_of], ["x", *before], strict=True))
    apart = [dense("project", (5, 8)), *(dense(name, (8, 8)) for name in names_of)]
    joined = [linear("project", (5, 8)), linear("in", (8, 24)), linear("out", (8, 8))]
    one = wired(tmp_path / "a", "keras", apart, wires)
    other = wired(tmp_path / "b", "torch", joined, {"project": "x", "in": "project", "out": "in"})
    found = pair(other, one) if fused_first else pair(one, other)
    attentions = [p for p in found.pairs if p.kind == "multi-head attention"]
    assert [p.fits for p in attentions] == ([] if in_a_chain else [True])
    assert sorted(len(side) for p in attentions for side in (p.guides, p.ports)) == ([] if in_a_chain else [2, 4])


def test_a_layer_for_each_call_of_a_shared_one(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [dense("tower", (4, 3)), dense("head", (3, 1))], ["tower", "tower", "head"])
    layers = [linear("tower_a", (4, 3)), linear("tower_b", (4, 3)), linear("head", (3, 1))]
    port = side(tmp_path / "b", "torch", layers)
    found = pair(guide, port)
    assert [(p.guide.name, p.port.name, p.call) for p in found.pairs if p.call is not None] == [
        ("tower", "tower_a", 0), ("tower", "tower_b", 1),
    ]  # fmt: skip
    assert not found.ports_left
    calls = call_pairs(found, guide.training_calls, port.training_calls)
    assert [(left.number, right.layer) for _, left, right in calls] == [(0, "tower_a"), (1, "tower_b"), (0, "head")]
    context = Context(guide, port, port.observation, found, guide_is_reference=True)
    structure(context)
    (told,) = context.findings
    assert told.title.startswith("weights that are not shared: tower_a, tower_b, each")


def test_a_table_that_is_used_without_a_call_is_paired(tmp_path: Path) -> None:
    def table(name: str, size: tuple[int, int], framework: str) -> dict[str, object]:
        return layer(name, "Embedding", {"embeddings" if framework == "keras" else "weight": size})

    tables = [table("tokens", (9, 4), "keras"), table("places", (6, 4), "keras")]
    guide = side(tmp_path / "a", "keras", [*tables, dense("head", (4, 1))])
    own = [table("tokens", (9, 4), "torch"), table("place", (6, 4), "torch"), linear("head", (4, 1))]
    port = side(tmp_path / "b", "torch", own, ["tokens", "head"])
    assert ("places", "place") in names(guide, port)
    assert not pair(guide, port).guides_left


@pytest.mark.parametrize("tied", [True, False])
def test_an_output_that_uses_the_table_of_an_embedding(tmp_path: Path, tied: bool) -> None:
    table = layer("embedding", "Embedding", {"embeddings": (9, 4)})
    guide = side(tmp_path / "a", "keras", [table, layer("tied_output", "TiedOutput", {"b": (9,)})])
    out = linear("out", (4, 9))
    port = side(tmp_path / "b", "torch", [layer("emb", "Embedding", {"weight": (9, 4)}), out])
    if tied:  # torch has one parameter, under the first of its paths
        port.observation.document["model"]["layers"][1]["parameters"]["weight"]["path"] = "emb/weight"
        port = Side(Observation(port.observation.directory, port.observation.document))
    found = pair(guide, port)
    assert (("tied_output", "out") in [(p.guide.name, p.port.name) for p in found.pairs]) == tied
    context = Context(guide, port, port.observation, found, guide_is_reference=True)
    structure(context)
    titles = [finding.title for finding in context.findings]
    expected = "output layer out has a table of its own; the reference has tied_output uses the table of embedding"
    assert titles == ([] if tied else [f"{expected} (tied weights)"])


def four(names: list[str]) -> list[dict[str, object]]:
    return [linear(name, (8, 8)) for name in names]


@pytest.mark.parametrize(
    "layers",
    [
        four(["att.k_proj", "att.q_proj", "att.v_proj", "att.out"]),
        [layer("att.qkv", "Linear", {"weight": (24, 8), "bias": (24,)}), linear("att.proj", (8, 8))],
    ],
)
def test_an_attention_that_is_written_out_stands_for_a_layer(tmp_path: Path, layers: list[dict[str, object]]) -> None:
    shapes = {f"{part}/kernel": (8, 2, 4) for part in ("query", "key", "value")} | {"output/kernel": (2, 4, 8)}
    biases = {f"{part}/bias": (2, 4) for part in ("query", "key", "value")} | {"output/bias": (8,)}
    guide = side(tmp_path / "a", "keras", [layer("attention", "MultiHeadAttention", shapes | biases)])
    (found,) = pair(guide, side(tmp_path / "b", "torch", layers)).pairs
    assert found.fits
    assert found.kind == "multi-head attention"
    values = {
        parameter.path: np.random.default_rng(i).normal(size=parameter.shape)
        for i, parameter in enumerate(found.guide.parameters.values())
    }
    weights = carried(found, values, ("keras", "torch"), gradients=False)
    paths = {local: parameter.path for local, parameter in found.guide.parameters.items()}
    query = values[paths["query/kernel"]].reshape(8, 8).T
    kept = weights["att.q_proj.weight"] if len(layers) > 2 else weights["att.qkv.weight"][:8]
    np.testing.assert_array_equal(kept, query)
    assert len(weights) == 2 * len(layers)


FUSED = [layer("att.qkv", "Linear", {"weight": (24, 8), "bias": (24,)}), linear("att.proj", (8, 8))]
BY_HEAD = [
    *(linear(f"heads.{head}.{part}", (8, 4)) for head in range(2) for part in ("key", "query", "value")),
    linear("proj", (8, 8)),
]


@pytest.mark.parametrize(("first", "second"), [(BY_HEAD, FUSED), (FUSED, BY_HEAD), (four(["q", "k", "v", "o"]), FUSED)])
def test_an_attention_that_both_sides_write_out_with_other_projections(
    tmp_path: Path, first: list[dict[str, object]], second: list[dict[str, object]]
) -> None:
    """All of them in one, one for each head, or one each for query, key and value."""
    before = linear("embed", (3, 8))
    guide = side(tmp_path / "a", "torch", [before, *first])
    port = side(tmp_path / "b", "torch", [before, *second])
    found = pair(guide, port)
    assert [(p.kind, p.fits) for p in found.pairs] == [("dense", True), ("multi-head attention", True)]
    assert not found.guides_left
    assert not found.ports_left
    attention = found.pairs[1]
    values = {
        parameter.path: np.random.default_rng(i).normal(size=parameter.shape)
        for i, parameter in enumerate(p for one in attention.guides for p in one.parameters.values())
    }
    weights = carried(attention, values, ("torch", "torch"), gradients=False)
    assert sorted(weights) == sorted(p.path for one in attention.ports for p in one.parameters.values())
    if first is BY_HEAD:
        parts = [values[f"heads.{head}.{part}.weight"] for part in ("query", "key", "value") for head in range(2)]
        np.testing.assert_array_equal(weights["att.qkv.weight"], np.concatenate(parts))
    if second is BY_HEAD:
        np.testing.assert_array_equal(weights["heads.1.key.weight"], values["att.qkv.weight"][12:16])


def test_dense_layers_of_one_size_are_no_attention(tmp_path: Path) -> None:
    layers = [linear(f"fc{i}", (8, 8)) for i in range(4)]
    chain = {f"fc{i}": f"fc{i - 1}" if i else "x" for i in range(4)}
    guide, port = (wired(tmp_path / name, "torch", layers, chain) for name in "ab")
    assert {p.kind for p in pair(guide, port).pairs} == {"dense"}
    port = side(tmp_path / "c", "torch", FUSED)
    assert "multi-head attention" not in {p.kind for p in pair(guide, port).pairs}


def test_an_output_without_weights_of_its_own_needs_no_layer(tmp_path: Path) -> None:
    table, head = layer("tok", "Embedding", {"weight": (9, 4)}), layer("head", "Linear", {"weight": (9, 4)})
    head["parameters"]["weight"]["path"] = "tok/weight"  # type: ignore[index]
    guide, port = side(tmp_path / "a", "torch", [table, head]), side(tmp_path / "b", "torch", [table])
    assert pair(guide, port).guides_left == ()
    head["parameters"]["weight"]["path"] = "head.weight"  # type: ignore[index]
    (left,) = pair(side(tmp_path / "c", "torch", [table, head]), port).guides_left
    assert left.name == "head"


def fixed(directory: Path, framework: str, values: np.ndarray) -> Side:
    """A layer of the user's own that has a table and trains nothing, before a dense one."""
    name = "w" if framework == "torch" else "variable"
    features = layer("features", "Fourier", {name: values.shape})
    features["parameters"][name] |= {"trainable": False, "is_buffer": True}
    last = linear("out", (8, 2)) if framework == "torch" else dense("out", (8, 2))
    calls = [call("features", ["x"], ["z"]), call("out", ["z"], ["y"])]
    path = features["parameters"][name]["path"]
    initial = {"parameters": {path: "table"}}
    return Side(observation(directory, framework, [features, last], calls, {"table": values}, initial=initial))


DRAWN = np.random.default_rng(0).normal(size=(2, 6, 32))
SINES = np.stack([np.sin(np.arange(192) / (step + 7)).reshape(6, 32) for step in range(2)])


@pytest.mark.parametrize(
    ("tables", "paired"),
    [
        ((DRAWN[0], DRAWN[1]), True),
        ((DRAWN[0], DRAWN[0][::-1]), False),  # loaded in another order
        ((DRAWN[0], 3 * DRAWN[1]), False),
        ((DRAWN[0], np.random.default_rng(1).uniform(-1.7, 1.7, size=(6, 32)) ** 3), False),
        ((SINES[0], SINES[1]), False),  # computed
        ((DRAWN[0][:2, :8], DRAWN[1][:2, :8]), False),  # too few to tell
    ],
)
def test_values_that_are_drawn_once_are_others_on_both_sides(
    tmp_path: Path, tables: tuple[np.ndarray, np.ndarray], paired: bool
) -> None:
    guide, port = fixed(tmp_path / "a", "keras", tables[0]), fixed(tmp_path / "b", "torch", tables[1])
    found = pair(guide, port)
    assert (("features", "features") in [(p.guide.name, p.port.name) for p in found.pairs]) == paired
    context = Context(guide, port, port.observation, found, guide_is_reference=True)
    structure(context)
    assert context.findings == []
    assert any("the fixed random values of features" in text for text in context.not_seen) == paired
    if paired:
        weights = carried(found.pairs[-1], {"features.variable": tables[0]}, ("keras", "torch"), gradients=False)
        assert np.array_equal(weights["features.w"], tables[0])


def test_an_attention_without_a_bias_of_the_keys(tmp_path: Path) -> None:
    shapes = {f"{part}/{name}": shape for part in ("query", "key", "value")
              for name, shape in (("kernel", (8, 2, 4)), ("bias", (2, 4)))}  # fmt: skip
    shapes |= {"output/kernel": (2, 4, 8), "output/bias": (8,)}
    guide = side(tmp_path / "a", "keras", [layer("attention", "MultiHeadAttention", shapes)])
    layers = four(["q", "k", "v", "o"])
    layers[1] = layer("k", "Linear", {"weight": (8, 8)})
    port = side(tmp_path / "b", "torch", layers)
    context = judged(guide, port)
    assert [finding.title for finding in context.findings] == ["no bias of the key in q (multi-head attention)"]


def test_a_model_s_own_parameters_are_paired_beside_its_layers(tmp_path: Path) -> None:
    own = layer("", "Model", {"shift": (), "places": (1, 6, 4)})
    calls = [call("tokens", ["in"], ["out"], parent=""), call("", ["in"], ["end"])]
    tokens = layer("tokens", "Embedding", {"embeddings": (9, 4)})
    guide = Side(observation(tmp_path / "a", "keras", [own, tokens], calls, {}))
    layers = [layer("net", "Net", {"shift": (), "pos": (1, 6, 4)}), layer("emb", "Embedding", {"weight": (9, 4)})]
    calls = [call("emb", ["in"], ["out"], parent="net"), call("net", ["in"], ["end"])]
    port = Side(observation(tmp_path / "b", "torch", layers, calls, {}))
    found = pair(guide, port)
    expected = {(".shift", "net.shift"), (".places", "net.pos"), ("tokens", "emb")}
    assert {(p.guide.name, p.port.name) for p in found.pairs} == expected
    assert not found.guides_left
    assert not found.ports_left


@pytest.mark.parametrize(("size", "fits"), [((32, 8), True), ((8, 32), False)])
def test_the_only_table_that_is_left_of_each_side_is_carried_and_its_calls_are_not_compared(
    tmp_path: Path, size: tuple[int, int], fits: bool
) -> None:
    quantizer = layer("vq", "VectorQuantizer", {"codebook": (32, 8)})
    guide = side(tmp_path / "a", "keras", [dense("d1", (4, 8)), quantizer, dense("d2", (8, 4))])
    table = layer("vq.codebook", "Embedding", {"weight": size})
    port = side(tmp_path / "b", "torch", [linear("fc1", (4, 8)), table, linear("fc2", (8, 4))])
    pairing = pair(guide, port)
    assert (pairing.guides_left == pairing.ports_left == ()) == fits
    found = pairing.of_port("vq.codebook")
    assert (found is not None) == fits
    called = [other.port.name for other, _, _ in call_pairs(pairing, guide.training_calls, port.training_calls)]
    assert called == ["fc1", "fc2"]
    if found is not None:
        paths = parameter_pairs(found, ("keras", "torch"))
        assert paths == [(quantizer["parameters"]["codebook"]["path"], table["parameters"]["weight"]["path"])]


def test_a_normalisation_of_one_s_own_is_paired_whatever_it_calls_its_factor(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [layer("norm", "RMSNorm", {"variable_1": (4,)}), dense("d", (4, 3))])
    port = side(tmp_path / "b", "torch", [layer("norm", "RMSNorm", {"weight": (4,)}), linear("fc", (4, 3))])
    assert [(p.guide.name, p.fits) for p in pair(guide, port).pairs] == [("norm", True), ("d", True)]
    (first, _) = pair(guide, port).pairs
    values = {first.guide.parameters["variable_1"].path: np.arange(4.0)}
    assert list(carried(first, values, ("keras", "torch"), gradients=False)) == ["norm.weight"]
    own = side(tmp_path / "c", "torch", [layer("norm", "LayerNorm", {"g": (4,), "b": (4,)})])
    assert shapes(own.with_parameters[0]) == {"kernel": (4,), "bias": (4,)}


@pytest.mark.parametrize("apart_first", [True, False])
def test_dense_layers_that_are_one_on_the_other_side_are_no_fault(tmp_path: Path, apart_first: bool) -> None:
    wires = {"gate": "x", "up": "x", "down": "up"}
    apart = wired(
        tmp_path / "a", "torch", [linear("gate", (4, 6)), linear("up", (4, 6)), linear("down", (6, 4))], wires
    )
    joined = [linear("both", (4, 12)), linear("down", (6, 4))]
    whole = wired(tmp_path / "b", "torch", joined, {"both": "x", "down": "both"})
    guide, port = (apart, whole) if apart_first else (whole, apart)
    context = judged(guide, port)
    assert not context.findings
    (said,) = context.unpaired
    assert "are one layer on the other side, both" in said


def test_layers_of_branches_in_another_order_go_where_they_fit(tmp_path: Path) -> None:
    sizes = [(10, 6), (30, 6), (15, 6)]
    guide = side(tmp_path / "a", "keras", [table(f"e{n}", "embeddings", size) for n, size in enumerate(sizes)])
    port = side(tmp_path / "b", "torch", [table(f"t{n}", "weight", size) for n, size in enumerate(sizes[::-1])])
    assert sorted(names(guide, port)) == [("e0", "t2"), ("e1", "t1"), ("e2", "t0")]


def table(name: str, local: str, size: tuple[int, int]) -> dict[str, object]:
    return layer(name, "Embedding", {local: size})


def test_a_dense_layer_is_a_convolution_with_a_window_of_one(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [dense("d", (4, 3))])
    one = {"weight": (3, 4, 1, 1), "bias": (3,)}
    for window, paired in ((1, [("d", "c")]), (3, [])):
        shape = {**one, "weight": (3, 4, window, window)}
        port = side(tmp_path / str(window), "torch", [layer("c", "Conv2d", shape)])
        assert names(guide, port) == paired
    found = pair(guide, side(tmp_path / "c", "torch", [layer("c", "Conv2d", one)])).pairs[0]
    kernel = np.arange(12.0).reshape(4, 3)
    made = carried(found, {"d/kernel": kernel}, ("keras", "torch"), gradients=False)["c.weight"]
    assert (made[:, :, 0, 0] == kernel.T).all()


def test_a_dense_layer_of_one_hot_vectors_is_an_embedding(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [layer("d", "Dense", {"kernel": (12, 6)}), dense("out", (6, 2))])
    port = side(tmp_path / "b", "torch", [table("e", "weight", (12, 6)), linear("out", (6, 2))])
    assert set(names(guide, port)) == {("d", "e"), ("out", "out")}
    found = next(found for found in pair(guide, port).pairs if found.guide.name == "d")
    entries = np.arange(72.0).reshape(12, 6)
    assert (carried(found, {"d/kernel": entries}, ("keras", "torch"), gradients=False)["e/weight"] == entries).all()
    # With a bias it is none, and without a table of that size neither.
    other = side(tmp_path / "c", "keras", [dense("d", (12, 6)), dense("out", (6, 2))])
    assert ("d", "e") not in names(other, port)


def test_normalisations_of_two_kinds_are_paired_if_their_factors_fit(tmp_path: Path) -> None:
    guide = side(tmp_path / "a", "keras", [layer("n", "LayerNormalization", {"gamma": (8,), "beta": (8,)})])
    for size, paired in ((8, [("n", "g")]), (4, [])):
        port = side(tmp_path / str(size), "torch", [layer("g", "GroupNorm", {"weight": (size,), "bias": (size,)})])
        assert names(guide, port) == paired


def called_thrice(directory: Path, framework: str, one: dict[str, object], order: list[str]) -> Side:
    values = {name: np.full((2, 4), number, float) for number, name in enumerate("apn")}
    calls = [call(str(one["name"]), [name], [f"out{i}"], occurrence=i) for i, name in enumerate(order)]
    return Side(observation(directory, framework, [one], calls, values))


def test_calls_of_a_shared_model_belong_together_by_what_they_take(tmp_path: Path) -> None:
    guide = called_thrice(tmp_path / "a", "keras", dense("d", (4, 3)), ["n", "a", "p"])
    port = called_thrice(tmp_path / "b", "torch", linear("l", (4, 3)), ["a", "p", "n"])
    pairing = pair(guide, port)
    assert pairing.turns == (1, 2, 0)
    both = call_pairs(pairing, guide.training_calls, port.training_calls)
    assert [(left.inputs[0], right.inputs[0]) for _, left, right in both] == [("a", "a"), ("p", "p"), ("n", "n")]
    same = called_thrice(tmp_path / "c", "torch", linear("l", (4, 3)), ["n", "a", "p"])
    assert pair(guide, same).turns == ()


def gru(name: str, size: int) -> dict[str, object]:
    return layer(name, "GRU", {"weight_ih_l0": (24, size), "weight_hh_l0": (24, 8), "bias_ih_l0": (24,)})


BOTH_WAYS = layer(
    "bi",
    "Bidirectional",
    {
        f"{way}/gru_cell/{name}": shape
        for way in ("forward_gru", "backward_gru")
        for name, shape in (("kernel", (3, 24)), ("recurrent_kernel", (8, 24)), ("bias", (2, 24)))
    },
)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        # Two directions may be the bidirectional layer, written otherwise; one of them is not.
        (["onward", "back"], "may be the same, written otherwise"),
        (["onward"], ""),
    ],
)
def test_the_directions_of_a_bidirectional_layer_apart_are_no_fault(
    tmp_path: Path, layers: list[str], said: str
) -> None:
    guide = side(tmp_path / "a", "keras", [BOTH_WAYS, dense("out", (8, 2))])
    port = side(tmp_path / "b", "torch", [*(gru(name, 3) for name in layers), linear("out", (8, 2))])
    context = judged(guide, port)
    assert not context.findings
    assert (said in "; ".join(context.unpaired)) if said else not context.unpaired


def own(name: str, *shapes_of: tuple[int, ...]) -> dict[str, object]:
    return layer(name, "Own", {f"w{i}": shape for i, shape in enumerate(shapes_of)})


@pytest.mark.parametrize(
    ("left", "right", "faults"),
    [
        # A layer of the user's own may be what the other side has a layer for.
        ([layer("lstm", "LSTM", {"kernel": (3, 32), "recurrent_kernel": (8, 32)})], [own("hand", (3, 32), (8, 32))], 0),
        ([own("attention", (8, 4), (4,))], [own("pooling", (8, 4), (4, 1), (3,))], 0),
        ([own("highway", (8, 8), (8, 8), (8,), (8,))], [linear("both", (8, 16))], 0),
        # One that is missing is a fault, and so is one of a kind that cannot be it.
        ([own("attention", (8, 4), (4,))], [], 1),
        ([layer("norm", "BatchNormalization", {"gamma": (8,), "beta": (8,)})], [own("hand", (5, 5))], 2),
        ([own("highway", (8, 8), (8, 8))], [linear("both", (8, 15))], 2),
        ([dense("more", (8, 9))], [layer("c", "Conv2d", {"weight": (2, 8, 3, 3)})], 2),
    ],
)
def test_what_is_left_on_both_sides_may_be_written_otherwise(
    tmp_path: Path, left: list[dict[str, object]], right: list[dict[str, object]], faults: int
) -> None:
    guide = side(tmp_path / "a", "keras", [*left, dense("out", (8, 2))])
    port = side(tmp_path / "b", "torch", [*right, linear("out", (8, 2))])
    context = judged(guide, port)
    assert len(context.findings) == faults
    assert bool(context.by_hand) == (not faults)
    assert context.unpaired


def rows_of(name: str, rows: int, kind: str = "Embedding") -> dict[str, object]:
    return layer(name, kind, {"embeddings": (rows, 4)} if kind == "Embedding" else {"weight": (rows, 4)})


@pytest.mark.parametrize(
    ("left", "right", "faults"),
    [
        # One table for all fields, whose indices are shifted, is one for each field.
        ([rows_of("a", 9), rows_of("b", 5)], [layer("all", "Embedding", {"weight": (14, 4)})], 0),
        ([rows_of("a", 9), rows_of("b", 5)], [layer("all", "Embedding", {"weight": (13, 4)})], 2),
        # An EmbeddingBag takes the mean of its rows itself, and needs no row for padding.
        ([rows_of("words", 9)], [rows_of("bag", 7, "EmbeddingBag")], 0),
        ([rows_of("words", 9)], [layer("bag", "EmbeddingBag", {"weight": (7, 3)})], 2),
        ([rows_of("words", 9)], [rows_of("bag", 4, "EmbeddingBag")], 2),
        # An output that is the sum of two layers is one of both parts of what it takes.
        ([dense("joined", (8, 2))], [linear("wide", (3, 2)), linear("deep", (5, 2))], 0),
        ([dense("joined", (8, 2))], [linear("wide", (3, 2)), linear("deep", (4, 2))], 2),
    ],
    ids=["fields", "rows too few", "bag", "bag of another width", "bag of far fewer rows", "parts", "parts too few"],
)
def test_what_is_one_layer_on_the_other_side_is_no_fault(
    tmp_path: Path, left: list[dict[str, object]], right: list[dict[str, object]], faults: int
) -> None:
    guide = side(tmp_path / "a", "keras", [*left, dense("out", (2, 7))])
    port = side(tmp_path / "b", "torch", [*right, linear("out", (2, 7))])
    context = judged(guide, port)
    assert len(context.findings) == faults
    assert bool(context.by_hand) == (not faults)


def test_layers_that_are_one_on_the_other_side_do_not_take_the_place_of_others(tmp_path: Path) -> None:
    squares = [dense(name, (8, 8)) for name in ("shift_1", "block_1", "shift_2", "block_2")]
    wires = {"time": "x", "entry": "y", "shift_1": "time", "block_1": "entry", "shift_2": "time", "block_2": "block_1"}
    guide = wired(tmp_path / "a", "keras", [dense("time", (6, 8)), dense("entry", (2, 8)), *squares], wires)
    blocks = [linear("shifts", (8, 16)), linear("b1", (8, 8)), linear("b2", (8, 8))]
    wires = {"time": "x", "shifts": "time", "entry": "y", "b1": "entry", "b2": "b1"}
    port = wired(tmp_path / "b", "torch", [linear("time", (6, 8)), linear("entry", (2, 8)), *blocks], wires)
    assert sorted(names(guide, port)) == [("block_1", "b1"), ("block_2", "b2"), ("entry", "entry"), ("time", "time")]
    (found,) = pair(guide, port).in_one
    assert ([layer.name for layer in found[0]], found[1].name) == (["shift_1", "shift_2"], "shifts")


@pytest.mark.parametrize("names_of", [("mean", "deviation"), ("fc21", "fc22")], ids=["the same names", "other names"])
def test_a_layer_too_many_is_not_the_whole_of_those_that_have_their_counterparts(
    tmp_path: Path, names_of: tuple[str, str]
) -> None:
    heads = [dense("mean", (32, 16)), dense("deviation", (32, 16))]
    wires = {"h": "x", "mean": "h", "deviation": "h"}
    guide = wired(tmp_path / "a", "keras", [dense("h", (8, 32)), *heads], wires)
    own = [linear("h", (8, 32)), linear("extra", (32, 32)), *(linear(name, (32, 16)) for name in names_of)]
    port = wired(tmp_path / "b", "torch", own, {"h": "x", "extra": "h"} | dict.fromkeys(names_of, "extra"))
    found = pair(guide, port)
    assert [layer.name for layer in found.ports_left] == ["extra"]
    assert len(found.pairs) == 3
    assert not found.in_one


def test_a_frozen_layer_on_the_way_to_the_others_is_no_copy(tmp_path: Path) -> None:
    fixed = dense("fixed", (8, 8))
    for parameter in fixed["parameters"].values():  # type: ignore[attr-defined]
        parameter["trainable"] = False
    wires = {"fixed": "x", "d1": "fixed", "d2": "d1"}
    guide = wired(tmp_path / "a", "keras", [fixed, dense("d1", (8, 8)), dense("d2", (8, 2))], wires)
    port = wired(tmp_path / "b", "torch", [linear("d1", (8, 8)), linear("d2", (8, 2))], {"d1": "x", "d2": "d1"})
    assert not pair(guide, port).beside
    assert len(pair(guide, port).guides_left) == 1


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_copy_is_not_paired_with_what_is_trained(tmp_path: Path, frozen: bool) -> None:
    guide = side(tmp_path / "a", "keras", [dense("online", (4, 3)), dense("head", (3, 3))])
    target = linear("target", (4, 3))
    for parameter in target["parameters"].values() if frozen else ():  # type: ignore[attr-defined]
        parameter["trainable"] = False
    port = side(tmp_path / "b", "torch", [target, linear("online", (4, 3)), linear("head", (3, 3))])
    found = pair(guide, port)
    context = Context(guide, port, port.observation, found, guide_is_reference=True)
    structure(context)
    assert [layer.name for layer in found.beside] == (["target"] if frozen else [])
    assert (("online", "online") in [(p.guide.name, p.port.name) for p in found.pairs]) or not frozen
    assert bool(context.findings) == (not frozen)


@pytest.mark.parametrize(("right", "faults"), [([own("net", (4, 3), (3, 2))], 0), ([], 0), ([gru("g", 3)], 1)])
def test_a_model_of_weights_without_layers_is_not_compared(
    tmp_path: Path, right: list[dict[str, object]], faults: int
) -> None:
    guide, port = side(tmp_path / "a", "keras", [dense("d", (4, 3))]), side(tmp_path / "b", "torch", right)
    context = judged(guide, port)
    assert len(context.findings) == faults
    assert "no layer could be paired" in context.unpaired[0]


@pytest.mark.parametrize(
    ("calls", "goes_on"),
    [
        ([call("norm", ["x"], ["n"]), call(None, ["x", "n"], ["sum"], function="add")], True),
        ([call(None, ["s"], ["x"], function="relu"), call("norm", ["x"], ["n"])], False),
        ([call("before", ["s"], ["b"]), call("norm", ["x"], ["n"])], True),
    ],
    ids=["taken by a sum, too", "the layer's alone", "made by operators, that are not seen"],
)
def test_what_else_takes_a_layers_input_is_seen_from_the_guide(
    tmp_path: Path, calls: list[dict[str, object]], goes_on: bool
) -> None:
    seen = observation(tmp_path, "keras", [layer("norm", "LayerNormalization", {"gamma": (3,)})], calls, {}).calls[0]
    taken = Counter(key for one in seen for key in one.inputs if key is not None)
    made = {key for one in seen for key in one.outputs}
    assert _goes_on(next(one for one in seen if one.layer == "norm"), taken, made) == goes_on


def test_blocks_whose_two_layers_are_one_on_the_other_side_are_no_fault(tmp_path: Path) -> None:
    """Of several blocks each has layers that could be the other's: those that take what it takes are meant."""
    wires = {"gate_1": "x", "up_1": "x", "down_1": "up_1", "gate_2": "down_1", "up_2": "down_1", "down_2": "up_2"}
    apart = [dense(name, (8, 6) if "down" in name else (6, 8)) for name in wires]
    guide = wired(tmp_path / "a", "keras", apart, wires)
    wires = {"both_1": "x", "down_1": "both_1", "both_2": "down_1", "down_2": "both_2"}
    joined = [linear(name, (8, 6) if "down" in name else (6, 16)) for name in wires]
    port = wired(tmp_path / "b", "torch", joined, wires)
    context = judged(guide, port)
    assert not context.findings
    assert {"both_1", "both_2"} <= context.by_hand
