"""How the two models are paired, and what is without a counterpart: layers, their sizes, biases."""

from compare.explanation.context import Context, called, describe, in_code
from compare.explanation.findings import joined
from compare.explanation.model.layer_mends import part_mend, size_mend
from compare.explanation.model.otherwise import drawn_once, in_other_forms, written_otherwise
from compare.explanation.observed.grouping import family, joined_shapes
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
    in_other_forms(context)
    if not context.by_hand:
        _where_it_stops(context)
    for pair in pairing.pairs:
        if not {pair.guide.name, pair.port.name} & context.by_hand:
            (_parameters if pair.fits else _sizes)(context, pair)
    drawn_once(context)
    _copies(context)
    untied = _untied(context)
    written_otherwise(context)
    said = untied | context.by_hand
    for layer in pairing.guides_left:
        if layer.name not in said:
            _left(context, layer, of_guide=True)
    for layer in pairing.ports_left:
        if layer.name not in said:
            _left(context, layer, of_guide=False)
    if pairing.pairs and not context.has("forward") and not context.unpaired:
        context.same.append(f"the sizes of {counted(len(pairing.pairs), 'layer')} with parameters")


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
