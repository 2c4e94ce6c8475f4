"""How well layers go together: their families, and the shapes of their weights, of several that stand for one too."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from compare.explanation.observed.kinds import ATTENTION, RECURRENT, Weights, common, gates_of, kind_of
from compare.explanation.observed.observation import Layer

FITS = 10.0


Group = tuple[Layer, ...]


Sources = Mapping[str, frozenset[str]]
"""Of each layer, those that its inputs are computed from."""

Layers = tuple[Sequence[Layer], Sources]


def grouped(left: Layers, right: Layers) -> tuple[list[Group], list[Group]]:
    """Neighbours that are one layer on the other side: two convolutions of a separable one, levels of an LSTM.

    Attention that both sides write out is a group on both where one has other projections: all in one, or one a head.
    """
    return _groups(left, right), _groups(right, left)


def _groups(own: Layers, other: Layers) -> list[Group]:
    (layers, sources), (others, _) = own, other
    separable = [shapes(layer) for layer in others if kind_of(layer) == "separable convolution"]
    levels = [(family(layer), num_levels(layer)) for layer in others if num_levels(layer) > 1]
    attentions = [(0, shapes(layer)) for layer in others if kind_of(layer) == ATTENTION]
    fused = [joined_shapes(found) for found in _written_out(own) if len(found) == _FUSED]
    attentions += [(len(found), joined_shapes(found)) for found in _written_out(other, fused)]
    groups: list[Group] = []
    at = 0
    while at < len(layers):
        two = layers[at : at + 2]
        number = next((n for name, n in levels if all(family(layer) == name for layer in layers[at : at + n])), 1)
        counts = dict.fromkeys((*_counts_by_head(layers[at:]), 4, 2))
        projections = next(
            (g for n in counts if _are_projections(g := layers[at : at + n], n, attentions, sources)), None
        )
        if projections is not None:
            groups.append(_in_order(projections))
            at += len(projections)
            continue
        if len(two) == 2 and any(_is_separable(two[0], two[1], wanted) for wanted in separable):
            number = 2
        if number > 1 and len(layers) - at >= number and num_levels(layers[at]) == 1:
            groups.append(tuple(layers[at : at + number]))
            at += number
        else:
            groups.append((layers[at],))
            at += 1
    return groups


_PROJECTED = ("query", "key", "value")


def _are_projections(
    group: Sequence[Layer],
    count: int,
    attentions: Sequence[tuple[int, dict[str, tuple[int, ...]]]],
    sources: Sources,
) -> bool:
    """Whether dense layers are what an attention of the other side is made of, one layer or other projections."""
    if len(group) < count or any(family(layer) != "dense" for layer in group):
        return False
    seen = joined_shapes(_in_order(group))
    # What has no such names may be any dense layers, but where three take the same and are one on the other side.
    named = count == _FUSED or all(map(_letter, group[:-1]))
    return any(
        bool(seen)
        and (named or not number or (number == _FUSED and _take_the_same(group, sources)))
        and number != count
        and all(seen.get(n) == s for n, s in wanted.items() if "kernel" in n)
        for number, wanted in attentions
    )


def _take_the_same(group: Sequence[Layer], sources: Sources) -> bool:
    """Whether the first three of four layers take the same, and not each what the one before it gives."""
    return len(group) == _ONE_EACH and len({sources.get(layer.name) for layer in group[:-1]}) == 1


def _written_out(of: Layers, fused: Sequence[dict[str, tuple[int, ...]]] = ()) -> list[Group]:
    """Dense layers that may be the projections of an attention, by their sizes and names.

    Three without such names are, too, where they take the same and are one layer of these sizes on the other side.
    """
    layers, sources = of
    found = []
    for at in range(len(layers)):
        for count in (*_counts_by_head(layers[at:]), 4, 2):
            group = layers[at : at + count]
            if len(group) < count or any(family(layer) != "dense" for layer in group):
                continue
            named = count == _FUSED or sorted(map(_letter, group[:3])) == ["k", "q", "v"]
            unnamed = bool(fused) and _take_the_same(group, sources)
            seen = joined_shapes(_in_order(group)) if named or unnamed else {}
            seen = seen if named or seen in fused else {}
            sizes = [seen.get(f"{part}.kernel", ()) for part in (*_PROJECTED, "output")]
            if all(len(size) == 2 for size in sizes) and sizes[0] == sizes[1] and sizes[2][0] == sizes[3][1]:
                found.append(_in_order(group))
                break
    return found


_FUSED = 2
"""Query, key and value in one layer, and the output."""

_ONE_EACH = 4
"""Query, key, value and output."""


def _counts_by_head(layers: Sequence[Layer]) -> list[int]:
    """How many layers an attention has that begins with these and has a query, a key and a value for each head."""
    first = shapes(layers[0]) if layers else {}
    alike = 0
    while alike < len(layers) and _letter(layers[alike]) and shapes(layers[alike]) == first:
        alike += 1
    heads = alike // len(_PROJECTED)
    output = shapes(layers[alike]).get("kernel", ()) if alike < len(layers) else ()
    if heads < 2 or alike % len(_PROJECTED) or family(layers[0]) != "dense" or len(output) != 2:
        return []
    return [alike + 1] if output[1] == heads * first["kernel"][0] else []


def _in_order(group: Sequence[Layer]) -> Group:
    """Query, key, value and output, by names that begin or end so; those without in the order of their calls."""
    if len(group) < len(_PROJECTED):
        return tuple(group)
    letters = [_letter(layer) for layer in group[:-1]]
    heads = len(letters) // len(_PROJECTED)
    if sorted(letters) == sorted("qkv" * heads):
        ordered = sorted(zip(letters, group[:-1], strict=True), key=lambda entry: "qkv".index(entry[0]))
        return (*(layer for _, layer in ordered), group[-1])
    return tuple(group)


def _letter(layer: Layer) -> str:
    """The q of q_proj, to_q, wq, query and query_dense."""
    parts = re.split(r"[_./\d]+", re.split(r"[./]", layer.name.lower())[-1])
    words = [part.removeprefix("w") or part for part in parts if part]
    return next((word[0] for word in words if re.fullmatch(r"[qkv]|quer(y|ies)|keys?|values?", word)), "")


def _is_separable(first: Layer, second: Layer, wanted: dict[str, tuple[int, ...]]) -> bool:
    return shapes(first).get("kernel") == wanted.get("depthwise") and shapes(second).get("kernel") == wanted.get(
        "kernel"
    )


def num_levels(layer: Layer) -> int:
    """How many recurrent layers are stacked in one."""
    names = [name.removesuffix("_reverse") for name in shapes(layer) if name.startswith("weight_ih_l")]
    return len(set(names)) if names else 1


def family(layer: Layer) -> str:
    """Kinds whose layers may stand for each other."""
    kind = kind_of(layer)
    if kind == "depthwise convolution":
        return "convolution"
    if kind == "bidirectional" or kind in RECURRENT:
        return gates_of(layer) or kind
    return kind


def add_up(layers: Sequence[Layer], wanted: tuple[int, ...], axis: int) -> bool:
    """Whether the matrices (out, in) of several layers are, along an axis, one of another size."""
    kernels = [shapes(layer).get("kernel", ()) for layer in layers]
    if len(layers) < 2 or any(len(kernel) != 2 for kernel in (*kernels, wanted)):
        return False
    return {kernel[1 - axis] for kernel in kernels} == {wanted[1 - axis]} and (
        sum(kernel[axis] for kernel in kernels) == wanted[axis]
    )


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's weights under common names in torch's layout."""
    empty = {local: np.empty(parameter.shape, np.int8) for local, parameter in layer.parameters.items()}
    try:
        weights = common(layer, empty) or {}
    except (ValueError, KeyError, IndexError):
        weights = {}
    return {name: array.shape for name, array in weights.items()}


def affinity(left: Group, right: Group) -> float:
    """How well two layers go together: 10 and more where the weights can be carried across."""
    a, b = left[-1], right[-1]
    first, second = joined_shapes(left), joined_shapes(right)
    if family(a) != family(b) and len(left) == len(right):
        return _across(family(a), family(b), first, second)
    if family(a) == "own":
        return 11.0 if sorted(first.values()) == sorted(second.values()) and first else 0.0
    both = first.keys() & second.keys()
    if both and all(first[name] == second[name] for name in both):
        return 11.0 if first.keys() == second.keys() else 10.5
    return 1.0


Shapes = Mapping[str, tuple[int, ...]]


def _across(first: str, second: str, shapes: Shapes, others: Shapes) -> float:
    """How well layers of two families go together: less than those of one, 0 where they do not.

    A dense layer is a convolution with a window of 1, and a normalisation is taken for one of another kind.
    """
    kernels = [tuple(held.get("kernel", ())) for held in (shapes, others)]
    if {first, second} == {"dense", "convolution"}:
        wide, flat = sorted(kernels, key=len, reverse=True)
        alone = wide[:2] == flat and len(flat) == 2 and set(wide[2:]) == {1}
        return FITS + 0.2 if alone and ("bias" in shapes) == ("bias" in others) else 0.0
    if "normalization" in first and "normalization" in second:
        return FITS + 0.1 if kernels[0] and kernels[0] == kernels[1] else 0.0
    return 0.0


def joined_shapes(group: Group) -> dict[str, tuple[int, ...]]:
    """The shapes of a group's weights as those of one layer."""
    return {name: np.shape(array) for name, array in joined(group, [_empty(layer) for layer in group]).items()}


def _empty(layer: Layer) -> Weights:
    return {name: np.empty(shape, np.int8) for name, shape in shapes(layer).items()}


def joined(group: Group, weights: Sequence[Weights]) -> Weights:
    """The common weights of a group as those of one layer."""
    if len(group) == 1:
        return weights[0]
    if family(group[0]) == "convolution":
        return {"depthwise": weights[0].get("kernel", np.empty(0)), **weights[1]}
    if family(group[0]) == "dense":
        return _of_attention(weights)
    levels = [{name.replace("_l0", f"_l{i}"): array for name, array in w.items()} for i, w in enumerate(weights)]
    return {name: array for level in levels for name, array in level.items()}


def parted(group: Group, weights: Weights) -> list[Weights]:
    """The opposite of `joined`."""
    if len(group) == 1:
        return [weights]
    if family(group[0]) == "convolution":
        rest = {name: array for name, array in weights.items() if name != "depthwise"}
        return [{"kernel": weights["depthwise"]}, rest]
    if family(group[0]) == "dense":
        return _to_projections(len(group), weights)
    return [
        {name.replace(f"_l{i}", "_l0"): array for name, array in weights.items() if f"_l{i}" in name}
        for i in range(len(group))
    ]


def _of_attention(weights: Sequence[Weights]) -> Weights:
    """The weights of dense layers as those of the attention that they are the projections of."""
    parts = list(weights[:-1])
    if len(parts) == 1:  # query, key and value in one
        if any(len(array) % len(_PROJECTED) for array in parts[0].values()):
            return {}
        split = {name: np.split(array, len(_PROJECTED)) for name, array in parts[0].items()}
        parts = [{name: pieces[i] for name, pieces in split.items()} for i in range(len(_PROJECTED))]
    heads = len(parts) // len(_PROJECTED)
    if heads > 1:
        of_part = [parts[i * heads : (i + 1) * heads] for i in range(len(_PROJECTED))]
        parts = [{name: np.concatenate([head[name] for head in part]) for name in part[0]} for part in of_part]
    named = zip((*_PROJECTED, "output"), (*parts, weights[-1]), strict=True)
    return {f"{part}.{name}": array for part, held in named for name, array in held.items()}


def _to_projections(count: int, weights: Weights) -> list[Weights]:
    """The opposite of `_of_attention`."""
    held = [
        {name.removeprefix(f"{part}."): array for name, array in weights.items() if name.startswith(f"{part}.")}
        for part in (*_PROJECTED, "output")
    ]
    heads = (count - 1) // len(_PROJECTED)
    if heads > 1:
        split = [{name: np.split(array, heads) for name, array in part.items()} for part in held[:-1]]
        return [*({name: pieces[i] for name, pieces in part.items()} for part in split for i in range(heads)), held[-1]]
    if count > _FUSED:  # each by itself
        return held
    shared = held[0].keys() & held[1].keys() & held[2].keys()
    return [{name: np.concatenate([part[name] for part in held[:-1]]) for name in shared}, held[-1]]
