"""What one side has in another form: it may be the same, is not compared, and is no fault."""

import math
from collections import Counter
from collections.abc import Sequence

from compare.explanation.context import Context, called, describe
from compare.explanation.findings import joined
from compare.explanation.observed.grouping import add_up, family, shapes
from compare.explanation.observed.observation import Layer


def in_other_forms(context: Context) -> None:
    """Says of layers that are paired with nothing, or with what is only a part, that they are not compared."""
    _beside(context)
    _joined_in_one(context)
    _of_other_axes(context)


def _beside(context: Context) -> None:
    """Says of a frozen copy, such as a target network, that it is not compared: the other side's was not seen."""
    layers = context.pairing.beside
    if layers:
        names = joined(called(layer) for layer in layers)
        context.unpaired.append(f"{names}: a frozen copy, which the other side does not call where it differentiates")


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
                if add_up([one, *beside], wanted, axis):
                    _not_compared_as_one(context, [one, *beside], whole(pair))
                    break
    for parts, one in pairing.in_one:
        _not_compared_as_one(context, parts, one)
    _tables_in_one(context)


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
        rows, columns = zip(_table(one), _table(other), strict=True)
        if bags and columns[0] == columns[1] and abs(rows[0] - rows[1]) <= _ROWS_OF_NO_WORD:
            context.unpaired.append(f"{_named(one)} and {_named(other)} may be the same, one taking means of rows")
            context.by_hand |= {one.name, other.name}


_ROWS_OF_NO_WORD = 2
"""Of padding and of unknown words, which one side may do without."""


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


def written_otherwise(context: Context) -> None:
    """Says of what is left on both sides, where one may be the other written by hand, that it is not compared.

    That is what a layer of the user's own may be, and layers whose weights have the sizes of what the other side has
    left, such as a bidirectional one and its two directions; beside a layer of the user's own, as many numbers in all:
    two matrices of a highway are one to a dense layer.
    """
    first, second = (_left_over(context, number) for number in (0, 1))
    sizes = [_sizes_of(layers) for layers in (first, second)]
    own = any(family(layer) == "own" for layer in (*first, *second))
    if not first or not second or not (own or sizes[0] == sizes[1]):
        return
    totals = [sum(size * count for size, count in held.items()) for held in sizes]
    excused = [
        layer
        for layers, others in ((first, sizes[1]), (second, sizes[0]))
        for layer in layers
        if family(layer) == "own" or totals[0] == totals[1] or not _sizes_of([layer]) - others
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


def drawn_once(context: Context) -> None:
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
