"""How the two models are paired, and what is without a counterpart: layers, their sizes, biases."""

import math
from collections import Counter
from collections.abc import Sequence

from compare.explanation.context import Context, called, describe, in_code
from compare.explanation.findings import joined
from compare.explanation.model.layer_mends import part_mend, size_mend
from compare.explanation.observed.grouping import family, joined_shapes, shapes
from compare.explanation.observed.kinds import ATTENTION, gates_of
from compare.explanation.observed.observation import Layer
from compare.explanation.observed.pairing import Pair
from compare.explanation.origins import held_at
from compare.explanation.words import counted


def structure(context: Context) -> None:
    """Finds layers that only one model has, and layers of other sizes."""
    pairing = context.pairing
    if not pairing.pairs:
        _nothing_paired(context)
        return
    _beside(context)
    _joined_in_one(context)
    _of_other_axes(context)
    if not context.by_hand:
        _where_it_stops(context)
    for pair in pairing.pairs:
        if not {pair.guide.name, pair.port.name} & context.by_hand:
            (_parameters if pair.fits else _sizes)(context, pair)
    _drawn_once(context)
    _copies(context)
    untied = _untied(context)
    _written_otherwise(context)
    said = untied | context.by_hand
    for layer in pairing.guides_left:
        if layer.name not in said:
            _left(context, layer, of_guide=True)
    for layer in pairing.ports_left:
        if layer.name not in said:
            _left(context, layer, of_guide=False)
    if pairing.pairs and not context.has("forward") and not context.unpaired:
        context.same.append(f"the sizes of {counted(len(pairing.pairs), 'layer')} with parameters")


def _beside(context: Context) -> None:
    """Says of a frozen copy, such as a target network, that it is not compared: the other side's was not seen."""
    layers = context.pairing.beside
    if layers:
        names = joined(called(layer) for layer in layers)
        context.unpaired.append(f"{names}: a frozen copy, which the other side does not call where it differentiates")
        context.by_hand |= {layer.name for layer in layers}


def _joined_in_one(context: Context) -> None:
    """Says of layers which are one layer on the other side that they are not compared.

    Dense layers that take the same, side by side, have the units of one; those whose outputs are added, on the parts of
    what another takes, have its inputs; tables for one field each have the rows of one for all. Their weights are not
    carried across, so that nothing is known of them: that is no fault.
    """
    pairing = context.pairing
    sides = (
        (context.guide, pairing.guides_left, lambda pair: pair.guide, lambda pair: pair.port),
        (context.steered, pairing.ports_left, lambda pair: pair.port, lambda pair: pair.guide),
    )
    for side, left, apart, whole in sides:
        for pair in pairing.pairs:
            if pair.fits or pair.kind != "dense" or len(pair.guides) + len(pair.ports) > 2:
                continue
            one, wanted = apart(pair), shapes(whole(pair)).get("kernel", ())
            source = side.sources.get(one.name)
            others = [x for x in left if family(x) == "dense" and x.name not in context.by_hand]
            for axis, beside in enumerate(([x for x in others if side.sources.get(x.name) == source], others)):
                if _add_up([one, *beside], wanted, axis):
                    _not_compared_as_one(context, [one, *beside], whole(pair))
                    break
    for parts, one in pairing.in_one:
        _not_compared_as_one(context, parts, one)
    _tables_in_one(context)


def _add_up(layers: Sequence[Layer], wanted: tuple[int, ...], axis: int) -> bool:
    """Whether the matrices (out, in) of several layers are, along an axis, one of another size."""
    kernels = [shapes(layer).get("kernel", ()) for layer in layers]
    if len(layers) < 2 or any(len(kernel) != 2 for kernel in (*kernels, wanted)):
        return False
    return {kernel[1 - axis] for kernel in kernels} == {wanted[1 - axis]} and (
        sum(kernel[axis] for kernel in kernels) == wanted[axis]
    )


def _not_compared_as_one(context: Context, layers: Sequence[Layer], whole: Layer) -> None:
    names = joined(called(layer) for layer in layers)
    context.unpaired.append(f"{names} are one layer on the other side, {called(whole)}")
    found = {layer.name for layer in (*layers, whole)}
    context.by_hand |= found
    context.told |= {context.name(p) for p in context.pairing.pairs if {p.guide.name, p.port.name} & found}


def _tables_in_one(context: Context) -> None:
    """Tables of embeddings, one for each field, that have as many rows as one for all of them with shifted indices."""
    pairing = context.pairing
    apart = [pair for pair in pairing.pairs if pair.kind == "embedding" and not pair.fits]
    first = [*(pair.guide for pair in apart), *filter(_is_table, pairing.guides_left)]
    second = [*(pair.port for pair in apart), *filter(_is_table, pairing.ports_left)]
    several, single = (first, second) if len(first) > len(second) else (second, first)
    for whole in single:
        wanted = _table(whole)
        parts = [layer for layer in several if _table(layer)[1:] == wanted[1:]]
        if len(parts) > 1 and sum(_table(layer)[0] for layer in parts) == wanted[0]:
            _not_compared_as_one(context, parts, whole)
    for one, other in ((one, other) for one in first for other in second):
        bags = "EmbeddingBag" in (one.kind, other.kind) and one.kind != other.kind
        if bags and _table(one)[1:] == _table(other)[1:]:
            context.unpaired.append(f"{_named(one)} and {_named(other)} may be the same, one taking means of rows")
            context.by_hand |= {one.name, other.name}


def _is_table(layer: Layer) -> bool:
    return family(layer) == "embedding" or layer.kind == "EmbeddingBag"


def _table(layer: Layer) -> tuple[int, ...]:
    """The shape of a layer's only matrix, (rows, columns)."""
    return next((p.shape for p in layer.parameters.values() if len(p.shape) == 2), (0, 0))


def _of_other_axes(context: Context) -> None:
    """Says that convolutions over other axes are not compared, whose kernels have as many numbers.

    A window over words is (words,) to a convolution of one axis, and (words, all features) to one of two.
    """
    found = [
        pair
        for pair in context.pairing.pairs
        if not pair.fits
        and "convolution" in pair.kind
        and len(shapes(pair.guide).get("kernel", ())) != len(shapes(pair.port).get("kernel", ()))
    ]
    guides, ports = [pair.guide for pair in found], [pair.port for pair in found]
    if not found or _sizes_of(guides) != _sizes_of(ports):
        return
    names = joined(_named(x) for x in guides), joined(_named(x) for x in ports)
    reference, port = names if context.guide_is_reference else names[::-1]
    context.unpaired.append(f"{reference} of the reference and {port} of the port have other axes: may be the same")
    context.told |= {context.name(pair) for pair in found}
    context.by_hand |= {layer.name for layer in (*guides, *ports)}


def _written_otherwise(context: Context) -> None:
    """Says of what is left on both sides, where one may be the other written by hand, that it is not compared.

    That is what a layer of the user's own may be, and layers whose weights have the sizes of what the other side has
    left, such as a bidirectional one and its two directions.
    """
    first, second = (_left_over(context, number) for number in (0, 1))
    sizes = [_sizes_of(layers) for layers in (first, second)]
    own = any(family(layer) == "own" for layer in (*first, *second))
    if not first or not second or not (own or sizes[0] == sizes[1]):
        return
    excused = [
        layer
        for layers, others in ((first, sizes[1]), (second, sizes[0]))
        for layer in layers
        if family(layer) == "own" or sizes[0] == sizes[1] or not _sizes_of([layer]) - others
    ]
    said = [joined([_named(x) for x in layers if x in excused]) for layers in (first, second)]
    reference, port = said if context.guide_is_reference else said[::-1]
    if not reference or not port:
        return
    context.unpaired.append(f"{reference} of the reference and {port} of the port may be the same, written otherwise")
    context.by_hand |= {layer.name for layer in excused}


def _named(layer: Layer) -> str:
    """A layer's name and what it is; of one that says nothing of that, the name."""
    words = describe(layer)
    return called(layer) if words.endswith("()") else f"{called(layer)} {words}"


def _left_over(context: Context, number: int) -> list[Layer]:
    """What has weights without a counterpart of the guide (0) or the steered side (1): layers, and a model's own."""
    pairing, side = context.pairing, (context.guide, context.steered)[number]
    paired = {layer.name for pair in pairing.pairs for layer in (pair.guides, pair.ports)[number]}
    own = [layer for layer in side.tables if family(layer) == "own" and layer.name not in paired]
    return [*(pairing.guides_left, pairing.ports_left)[number], *own]


def _sizes_of(layers: Sequence[Layer]) -> Counter[int]:
    """The numbers of elements of layers' matrices, but for biases; of all, if there is no matrix."""
    trained = [(name, p.shape) for layer in layers for name, p in layer.parameters.items() if p.trainable]
    matrices = [shape for name, shape in trained if len(shape) > 1 and "bias" not in name]
    return Counter(math.prod(shape) for shape in matrices or [shape for _, shape in trained])


def _drawn_once(context: Context) -> None:
    """Says of values that both programs draw once and never train that they are others on both sides, and no fault."""
    drawn = [
        pair
        for pair in context.pairing.pairs
        if pair.kind == "own" and all(p.is_buffer for layer in pair.guides for p in layer.parameters.values())
    ]
    if drawn:
        context.not_seen.append(
            f"the fixed random values of {context.names(drawn)}: each program draws its own, and what follows was "
            "compared with those of one side in both"
        )


def _copies(context: Context) -> None:
    """Layers that have weights of their own where the other side calls one layer several times."""
    copies = [pair for pair in context.pairing.pairs if pair.call is not None]
    if not copies:
        return
    shared = joined(dict.fromkeys(called(pair.guide) for pair in copies))
    ports = joined(called(pair.port) for pair in copies)
    words = f"{shared}, called {1 + max(pair.call or 0 for pair in copies)} times (shared weights)"
    own = f"{ports}, each with weights of its own"
    guide_first = context.guide_is_reference
    last = copies[-1].port
    context.find(
        "forward",
        f"weights that are not shared: {own}; the reference has {words}"
        if guide_first
        else f"shared weights: {words}; the reference has {own}",
        guide=words,
        steered=own,
        places=(copies[0].guide.place, held_at(last.place, context.folders[1], last.name) or last.place),
        effect=1.0,
        effect_text="each is trained by a part of what trains the shared weights",
        cause="shared weights (one layer called several times)",
        mend=f"call {called(copies[0].port).split('.')[0]} each time",
    )


def _untied(context: Context) -> set[str]:
    """Says of an output that has a table of its own where the other side's uses an embedding's; the layers' names."""
    pairing = context.pairing
    tables = {
        tuple(sorted(parameter.shape)): pair
        for pair in pairing.pairs if pair.kind == "embedding"
        for parameter in pair.guide.parameters.values()
    }  # fmt: skip
    for guide in pairing.guides_left:
        for port in pairing.ports_left:
            shapes = [sorted(tuple(sorted(p.shape)) for p in layer.parameters.values()) for layer in (guide, port)]
            more, fewer = sorted(shapes, key=len, reverse=True)
            extra = [shape for shape in more if shape not in fewer]
            if len(extra) != 1 or extra[0] not in tables or len(more) != len(fewer) + 1:
                continue
            tied = f"uses the table of {called(tables[extra[0]].guide)} (tied weights)"
            words = [tied, "has a table of its own"]
            first, second = words if len(shapes[0]) < len(shapes[1]) else words[::-1]
            title = context.differs("output layer", f"{called(guide)} {first}", f"{called(port)} {second}")
            context.find(
                "forward",
                title,
                guide=f"{called(guide)} {first}",
                steered=f"{called(port)} {second}",
                places=(guide.place, port.place),
                effect=1.0,
                cause="tied weights (an output that uses the embedding's table)",
                mend=f"{in_code(port.name, context.model)}.weight = the embedding's weight" if first == tied else "",
            )
            context.unpaired.append(f"{called(port)} and {called(guide)}, of which one uses another layer's weights")
            return {guide.name, port.name}
    return set()


def _nothing_paired(context: Context) -> None:
    """Models that have no layer in common: no fault where one computes with weights of its own, not with layers."""
    first, second = _list(context, 0), _list(context, 1)
    words = (context.guide.observation.words, context.steered.observation.words)
    context.unpaired.append(f"no layer could be paired: {words[0]} has {first}, {words[1]} has {second}")
    sides = [side.with_parameters for side in (context.guide, context.steered)]
    if any(all(family(layer) == "own" for layer in layers) for layers in sides):
        context.by_hand |= {layer.name for layers in sides for layer in layers}
        return
    context.find(
        "forward",
        "no layer of the port could be paired with one of the reference",
        guide=first,
        steered=second,
        places=(sides[0][0].place, sides[1][0].place),
        effect=1.0,
        cause="other layers",
    )


def _where_it_stops(context: Context) -> None:
    """The first layer of either side without a counterpart, and what the other side has there."""
    pairing = context.pairing
    if not pairing.guides_left and not pairing.ports_left:
        return
    heads = []
    last = None
    paired = ({x.name for p in pairing.pairs for x in p.guides}, {x.name for p in pairing.pairs for x in p.ports})
    for side, names in zip((context.guide, context.steered), paired, strict=True):
        layers = side.with_parameters
        at = next((i for i, layer in enumerate(layers) if layer.name not in names), len(layers))
        heads.append(f"{called(layers[at])} {describe(layers[at])}" if at < len(layers) else "nothing more")
        if at and (last is None or at < last[0]):
            last = at, called(layers[at - 1])
    reference, port = heads if context.guide_is_reference else heads[::-1]
    where = "at the first layer" if last is None else f"after {last[1]}"
    context.unpaired.append(f"the pairing stops {where}: there the reference has {reference}, the port has {port}")


def _list(context: Context, side: int) -> str:
    layers = (context.guide, context.steered)[side].with_parameters
    return ", ".join(f"{called(layer)} {describe(layer)}" for layer in layers[:6]) or "weights of no layer"


def _sizes(context: Context, pair: Pair) -> None:
    """A pair of the same kind whose weights have other shapes."""
    first, second = joined_shapes(pair.guides), joined_shapes(pair.ports)
    differing = [
        f"{name} {first[name]} against {second[name]}"
        for name in first
        if name in second and first[name] != second[name]
    ]
    context.find(
        "forward",
        context.differs(f"size of {context.name(pair)} ({pair.kind}):", describe(pair.guide), describe(pair.port)),
        guide=describe(pair.guide),
        steered=describe(pair.port),
        places=(pair.guide.place, pair.port.place),
        effect=1.0,
        effect_text="; ".join(differing),
        cause="layers of other sizes",
        mend=(size_mend(pair.port, first) if context.frameworks[1] == "torch" else "")
        or f"give it the reference's size: {describe(pair.guide)}",
    )
    context.told.add(context.name(pair))
    context.unpaired.append(f"the weights of {context.name(pair)} cannot be carried across: their sizes differ")


def _parameters(context: Context, pair: Pair) -> None:
    """A bias, or a factor of a normalisation, that only one side has."""
    if pair.kind == "own":
        return
    first, second = joined_shapes(pair.guides), joined_shapes(pair.ports)
    if gates_of(pair.guide):
        first = {name.replace("_hh", "_ih"): shape for name, shape in first.items() if name.startswith("bias")}
        second = {name.replace("_hh", "_ih"): shape for name, shape in second.items() if name.startswith("bias")}
    names = {"bias": "bias", "kernel": "factor (gamma, weight)", "bias_ih_l0": "bias"}
    if pair.kind == ATTENTION:
        names = {f"{part}.bias": f"bias of the {part}" for part in ("query", "key", "value", "output")}
    for name, words in names.items():
        if (name in first) == (name in second):
            continue
        if pair.kind == "batch normalization" and name not in ("bias", "kernel"):
            continue
        where = f"in {context.name(pair)} ({pair.kind})"
        title = context.missing(words, where) if name in first else context.added(words, where)
        context.find(
            "forward",
            title,
            guide=describe(pair.guide) + (f" with a {words}" if name in first else f" without a {words}"),
            steered=describe(pair.port) + (f" with a {words}" if name in second else f" without a {words}"),
            places=(pair.guide.place, pair.port.place),
            effect=0.15,
            cause=title,
            mend=f"bias={name in first}"
            if pair.kind == ATTENTION
            else part_mend(pair, name, context.model, has=name in first, in_torch=context.frameworks[1] == "torch"),
        )


def _left(context: Context, layer: Layer, *, of_guide: bool) -> None:
    """A layer with parameters that has no counterpart."""
    what = f"{called(layer)} {describe(layer)}"
    in_port = of_guide != context.guide_is_reference
    context.find(
        "forward",
        f"{what} has no counterpart in the {'reference' if in_port else 'port'}",
        guide=what if of_guide else "no such layer",
        steered="no such layer" if of_guide else what,
        places=(layer.place, None) if of_guide else (None, layer.place),
        effect=1.0,
        cause="a layer that one side lacks",
    )
    context.unpaired.append(f"{what} of the {'port' if in_port else 'reference'} has no counterpart")
