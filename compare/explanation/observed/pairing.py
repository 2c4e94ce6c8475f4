"""Finds which layers of the two models belong together: by the order of the computation, kinds and shapes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compare.explanation.observed.drawn import both_drawn
from compare.explanation.observed.grouping import FITS, Group, add_up, affinity, family, grouped, shapes
from compare.explanation.observed.kinds import ATTENTION, kind_of
from compare.explanation.observed.observation import Array, Layer, Parameter
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import match


@dataclass(frozen=True)
class Pair:
    """Layers that belong together: one of each side but where one side has one layer for several of the other.

    Args:
        kind: The kind of the guide's.
        guides: The layers of the side that leads.
        ports: The layers of the side that is steered.
        fits: Whether the weights have the same sizes, so that they can be carried across.
        call: Of a guide's layer that is called several times, where the steered side has a layer for each call: which.
    """

    kind: str
    guides: tuple[Layer, ...]
    ports: tuple[Layer, ...]
    fits: bool
    call: int | None = None

    @property
    def guide(self) -> Layer:
        """The last of the guide's, whose output is the pair's."""
        return self.guides[-1]

    @property
    def port(self) -> Layer:
        """The last of the steered side's."""
        return self.ports[-1]


@dataclass(frozen=True)
class Pairing:
    """The pairs in the order of the guide's computation, and the layers of either side that have none.

    Args:
        pairs: The pairs.
        guides_left: The guide's layers without one.
        ports_left: The steered side's.
        turns: Of a model that is called several times in a step, which of the guide's calls takes what each of the
            steered side's takes, where their order is another; empty where it is not.
        beside: Layers of one side that are a frozen copy of others, and are not paired.
        in_one: Layers that take the same, and the one of the other side that is all of them; none of these is paired.
    """

    pairs: tuple[Pair, ...]
    guides_left: tuple[Layer, ...]
    ports_left: tuple[Layer, ...]
    turns: tuple[int, ...] = ()
    beside: tuple[Layer, ...] = ()
    in_one: tuple[tuple[tuple[Layer, ...], Layer], ...] = ()

    def of_port(self, name: str | None) -> Pair | None:
        """The pair that a layer of the steered side is of."""
        return next((pair for pair in self.pairs if any(layer.name == name for layer in pair.ports)), None)

    def of_guide(self, name: str | None) -> Pair | None:
        """The pair that a layer of the guide is of."""
        return next((pair for pair in self.pairs if any(layer.name == name for layer in pair.guides)), None)


def pair(guide: Side, port: Side) -> Pairing:
    """Pairs the layers that have parameters."""
    if beside := _frozen_copy(guide, port):
        return replace(pair(_without(guide, beside), port), beside=beside)
    if beside := _frozen_copy(port, guide):
        return replace(pair(guide, _without(port, beside)), beside=beside)
    found = _in_their_order(guide, port)
    for left, other in ((found.ports_left, guide), (found.guides_left, port)):
        in_one = _in_one(left, other)
        if in_one is not None:
            parts, whole = in_one
            of_guide, of_port = (parts, (whole,)) if other is guide else ((whole,), parts)
            again = pair(_without(guide, of_guide), _without(port, of_port))
            if _num_left(again) < _num_left(found) - 1:  # one that is a layer too many is not the whole of others
                return replace(again, in_one=(in_one, *again.in_one))
    return found


def _num_left(found: Pairing) -> int:
    """How many layers have no counterpart, or one of other sizes."""
    return len(found.guides_left) + len(found.ports_left) + sum(not pair.fits for pair in found.pairs)


def _without(side: Side, layers: Sequence[Layer]) -> Side:
    """A side with these layers left out of the pairing."""
    return side.without(frozenset(layer.name for layer in layers))


def _in_one(left: Sequence[Layer], other: Side) -> tuple[tuple[Layer, ...], Layer] | None:
    """A dense layer that is left, and those of the other side that take the same and have its units together."""
    for whole in left:
        wanted = shapes(whole).get("kernel", ())
        if family(whole) != "dense":
            continue
        beside: dict[frozenset[str], list[Layer]] = {}
        for layer in other.with_parameters:
            if family(layer) == "dense" and shapes(layer).get("kernel", ())[1:] == wanted[1:]:
                beside.setdefault(other.sources.get(layer.name, frozenset()), []).append(layer)
        fitting = [tuple(parts) for parts in beside.values() if add_up(parts, wanted, 0)]
        if len(fitting) == 1:
            return fitting[0], whole
    return None


def _in_their_order(guide: Side, port: Side) -> Pairing:
    """Pairs the layers by the order of the computation, then by all else that tells them apart."""
    left, right = grouped((guide.with_parameters, guide.sources), (port.with_parameters, port.sources))
    chosen = _whatever_the_order(left, right, _aligned(left, right))
    pairs = [_pair(left[i], right[j]) for i, j in sorted(chosen)]
    pairs = _with_tables(_by_name(_by_making(pairs, guide, port)), guide, port)
    pairs = _by_graph(_with_lookups(pairs, guide, port), guide, port)
    pairs = _without_split_directions(pairs, port)
    pairs = _with_drawn(_with_tied(_with_copies(pairs, guide, port), guide, port), guide, port)
    guides_left = _without_counterpart(guide, [layer for found in pairs for layer in found.guides])
    ports_left = _without_counterpart(port, [layer for found in pairs for layer in found.ports])
    last = _by_weights(guides_left, ports_left)
    turns = _turns(pairs, guide, port)
    if last is None:
        return Pairing(tuple(pairs), guides_left, ports_left, turns)
    return Pairing((*pairs, last), (), (), turns)


def _frozen_copy(side: Side, other: Side) -> tuple[Layer, ...]:
    """Layers that nothing trains, of the sizes of ones that are trained: a target network, as of BYOL or DQN.

    Only where the other side has as many layers as are trained here, and trains all: what it has of that kind it calls
    outside of what is differentiated, where it is not seen.
    """

    def is_trained(layer: Layer) -> bool:
        return any(parameter.trainable for parameter in layer.parameters.values())

    frozen = tuple(layer for layer in side.with_parameters if not is_trained(layer))
    rest = [layer for layer in side.with_parameters if is_trained(layer)]
    if not frozen or len(rest) != len(other.with_parameters) or not all(map(is_trained, other.with_parameters)):
        return ()
    names = {layer.name for layer in frozen}
    if any(side.sources.get(layer.name, frozenset()) & names for layer in rest):
        return ()  # what is trained takes what it gives: a layer that is frozen, and no copy
    sizes = [Counter(tuple(sorted(shapes(layer).items())) for layer in layers) for layers in (frozen, rest)]
    return () if sizes[0] - sizes[1] else frozen


def _without_split_directions(pairs: list[Pair], port: Side) -> list[Pair]:
    """The pairs but those of a bidirectional layer and one of two layers that are its directions: neither is the whole.

    Which is which, and how they are joined, is not known.
    """
    left = _left(port, [layer for found in pairs for layer in found.ports])

    def is_split(found: Pair) -> bool:
        directions = [any(name.endswith("_reverse") for name in shapes(x)) for x in (found.guide, found.port)]
        return directions == [True, False] and any(shapes(layer) == shapes(found.port) for layer in left)

    return [found for found in pairs if not is_split(found)]


def _turns(pairs: Sequence[Pair], guide: Side, port: Side) -> tuple[int, ...]:
    """In which order the guide calls a model with what the steered side calls it with; empty where it is the same.

    Keras computes a functional model in an order of its own.
    """
    for found in pairs:
        inputs = [
            [
                side.observation.array(call.inputs[0])
                for call in side.training_calls
                if call.layer == name and call.inputs
            ]
            for side, name in ((guide, found.guides[0].name), (port, found.ports[0].name))
        ]
        if len(inputs[0]) != len(inputs[1]) or len(inputs[0]) < 2:
            continue
        order: list[int] = []
        for array in inputs[1]:
            same = (i for i, x in enumerate(inputs[0]) if i not in order and (m := match(x, array)) and m.rounded)
            order.append(next(same, len(inputs[0])))
        return tuple(order) if sorted(order) == list(range(len(order))) != order else ()
    return ()


def _whatever_the_order(left: list[Group], right: list[Group], aligned: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """An alignment whose layers of other sizes, or without a counterpart, go where they fit, as branches may."""
    chosen = [(i, j) for i, j in aligned if affinity(left[i], right[j]) >= FITS]
    rows = [i for i in range(len(left)) if i not in {i for i, _ in chosen}]
    columns = [j for j in range(len(right)) if j not in {j for _, j in chosen}]
    for i in rows:
        fitting = next((j for j in columns if affinity(left[i], right[j]) >= FITS), None)
        if fitting is not None:
            chosen.append((i, fitting))
            columns.remove(fitting)
    taken = {i for i, _ in chosen}
    return [*chosen, *((i, j) for i, j in aligned if i not in taken and j in columns)]


def _without_counterpart(side: Side, paired: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers that have weights which are no paired layer's: a function that uses those needs no layer."""
    names = {layer.name for layer in paired}
    others = [layer for layer in side.with_parameters if layer.name in names]
    return tuple(layer for layer in side.with_parameters if layer.name not in names and own_parameters(layer, others))


def _by_weights(left: Sequence[Layer], right: Sequence[Layer]) -> Pair | None:
    """The only layer that is left of each side, where both hold a table of the same size, and one is of the user's own.

    The one of the user's own does more than to look entries up, as a quantizer of vectors does: the weights belong
    together, the calls do not. It gets the name of its weight, by which it is never called.
    """
    if len(left) != 1 or len(right) != 1 or not (_is_table(left[0]) and _is_table(right[0])):
        return None
    tables = [_as_table(layer) for layer in (left[0], right[0])]
    if affinity((tables[0],), (tables[1],)) < FITS:
        return None
    first, second = (
        replace(table, name=f"{layer.name}.{next(iter(layer.parameters))}") if family(layer) == "own" else table
        for layer, table in zip((left[0], right[0]), tables, strict=True)
    )
    return _pair((first,), (second,))


def _with_tables(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Tables, too, that at least one side uses as they are: of positions, that are added to the tokens' embeddings."""
    used = {layer.name for found in pairs for layer in (*found.guides, *found.ports)}
    left, right = (
        [layer for layer in (*side.with_parameters, *side.tables) if layer.name not in used and _is_table(layer)]
        for side in (guide, port)
    )
    as_they_are = {layer.name for side in (guide, port) for layer in side.tables}
    added = []
    for layer in left:
        for other in right:
            both = [_as_table(layer), _as_table(other)]
            if {layer.name, other.name} & as_they_are and affinity((both[0],), (both[1],)) >= FITS:
                added.append(_pair((both[0],), (both[1],)))
                right.remove(other)
                break
    return [*pairs, *added]


def _with_lookups(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Dense layers of Keras's without bias, too, that take one-hot vectors where the other side looks up entries."""
    left, right = (
        _left(side, [layer for found in pairs for layer in of(found)])
        for side, of in ((guide, lambda found: found.guides), (port, lambda found: found.ports))
    )
    added = []
    for layer in left:
        for other in right:
            kinds = {family(layer), family(other)}
            both = [_as_lookup(x, side) for x, side in ((layer, guide), (other, port))]
            if kinds == {"dense", "embedding"} and affinity((both[0],), (both[1],)) >= FITS:
                added.append(_pair((both[0],), (both[1],)))
                right.remove(other)
                break
    return [*pairs, *added]


def _as_lookup(layer: Layer, side: Side) -> Layer:
    """A dense layer of Keras's that has one weight, (entries, features), as an embedding of it."""
    of_keras = side.observation.framework == "keras" and family(layer) == "dense" and len(layer.parameters) == 1
    return replace(layer, kind="Embedding", names=("Embedding",)) if of_keras else layer


def _is_table(layer: Layer) -> bool:
    return family(layer) == "embedding" or (family(layer) == "own" and len(layer.parameters) == 1)


def _as_table(layer: Layer) -> Layer:
    """A layer of the user's own that has one weight, a matrix, as an embedding of it.

    An axis of size 1 before the matrix is the samples'.
    """
    weight = next(iter(layer.parameters.values()))
    axes = len(weight.shape) - (len(weight.shape) == 3 and weight.shape[0] == 1)
    if family(layer) == "embedding" or axes != 2:
        return layer
    return replace(layer, kind="Embedding", names=("Embedding",), parameters={"weight": weight})


def _left(side: Side, used: list[Layer]) -> list[Layer]:
    names = {layer.name for layer in used}
    return [layer for layer in side.with_parameters if layer.name not in names]


def _with_copies(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Layers of the steered side, too, that stand for further calls of a layer that the guide calls several times."""
    left = _left(port, [layer for found in pairs for layer in found.ports])
    order = {layer.name: i for i, layer in enumerate(port.with_parameters)}
    made = list(pairs)
    for found in pairs:
        calls = sum(call.layer == found.guide.name for call in guide.training_calls)
        copies = [layer for layer in left if affinity(found.guides, (layer,)) >= FITS]
        if calls < 2 or len(copies) != calls - 1 or not found.fits or len(found.guides) > 1:
            continue
        ports = sorted([found.port, *copies], key=lambda layer: order[layer.name])
        made[made.index(found)] = replace(found, ports=(ports[0],), call=0)
        made += [replace(found, ports=(layer,), call=i) for i, layer in enumerate(ports) if i]
        left = [layer for layer in left if layer not in copies]
    return made


def _with_tied(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Layers, too, that use another layer's weights, by what they have beside those: an output tied to an embedding."""
    left, right = (
        [(layer, own_parameters(layer, [x for found in pairs for x in of(found)])) for layer in _left(side, used)]
        for side, used, of in (
            (guide, [x for found in pairs for x in found.guides], lambda found: found.guides),
            (port, [x for found in pairs for x in found.ports], lambda found: found.ports),
        )
    )
    added = []
    for layer, own in left:
        for other, others in right:
            tied = len(own) < len(layer.parameters) or len(others) < len(other.parameters)
            shapes_of = [sorted(parameter.shape for parameter in held.values()) for held in (own, others)]
            if tied and own and shapes_of[0] == shapes_of[1]:
                both = (replace(layer, parameters=own),), (replace(other, parameters=others),)
                added.append(Pair("own", *both, fits=True))
                right.remove((other, others))
                break
    return [*pairs, *added]


def _with_drawn(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Layers of the user's own, too, whose values are drawn once and never trained: each program draws others."""
    used = {layer.name for found in pairs for layer in (*found.guides, *found.ports)}
    left, right = ([layer for layer in _fixed(side) if layer.name not in used] for side in (guide, port))
    added = []
    for layer in left:
        for other in right:
            held = [list(x.parameters.values()) for x in (layer, other)]
            order = [sorted(parameters, key=lambda parameter: parameter.shape) for parameters in held]
            if len(order[0]) == len(order[1]) and all(
                both_drawn(guide.observation.initial.get(a.path), port.observation.initial.get(b.path))
                for a, b in zip(*order, strict=True)
            ):
                added.append(Pair("own", (layer,), (other,), fits=True))
                right.remove(other)
                break
    return [*pairs, *added]


def _fixed(side: Side) -> list[Layer]:
    """Layers of the user's own that have buffers alone, in the order of their calls."""
    order = dict.fromkeys(call.layer for call in side.training_calls if call.layer in side.layers)
    return [
        layer
        for layer in (side.layers[str(name)] for name in order)
        if family(layer) == "own" and layer.parameters and all(p.is_buffer for p in layer.parameters.values())
    ]


def own_parameters(layer: Layer, others: Sequence[Layer]) -> dict[str, Parameter]:
    """The parameters of a layer that are not those of another one."""
    shared = {parameter.path for other in others if other is not layer for parameter in other.parameters.values()}
    return {local: parameter for local, parameter in layer.parameters.items() if parameter.path not in shared}


def _by_making(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Layers of the same shapes that take the same, such as query, key and value, in the order of their making.

    Those of a pyramid, whose windows are spread by other distances, are told by these, if both sides have the same.

    That is the order of the lines that made them where a model is functional: Keras computes its layers in an order of
    its own. Elsewhere it is the order of the computation, which the user has written.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, found in enumerate(pairs):
        if found.fits and len(found.guides) == len(found.ports) == 1:
            sources = (guide.sources.get(found.guide.name), port.sources.get(found.port.name))
            alike.setdefault((family(found.guide), *sorted(shapes(found.guide).items()), *sources), []).append(i)
    for numbers in alike.values():
        held = [pairs[i].guide for i in numbers], [pairs[i].port for i in numbers]
        spread = _spread if Counter(map(_spread, held[0])) == Counter(map(_spread, held[1])) else lambda _: ()
        order = [(spread(layer), _made_at(guide, layer), i) for layer, i in zip(held[0], numbers, strict=True)]
        guides = [i for *_, i in sorted(order)]
        ports = sorted(held[1], key=lambda layer: (spread(layer), _made_at(port, layer)))
        for i, layer in zip(guides, ports, strict=True):
            pairs[i] = replace(pairs[i], ports=(layer,))
    return pairs


def _spread(layer: Layer) -> tuple[int, ...]:
    """Of a convolution how far its window moves, and how far the window's values are apart; 1 where it is not said."""
    found = []
    for names in (("stride", "strides"), ("dilation", "dilation_rate")):
        value = next((layer.settings[name] for name in names if name in layer.settings), 1)
        found.append(value if isinstance(value, int) else max((v for v in value if isinstance(v, int)), default=1))
    return tuple(found)


def _made_at(side: Side, layer: Layer) -> tuple[int, int]:
    """The line that made a layer of a functional model, 0 of others; then the position of its first call."""
    calls = side.training_calls
    first = next((i for i, call in enumerate(calls) if call.layer == layer.name), len(calls))
    functional = first < len(calls) and calls[first].place is None and layer.place is not None
    return layer.place.line if functional and layer.place is not None else 0, first


def _by_name(pairs: list[Pair]) -> list[Pair]:
    """Layers of the same shapes, among which order may choose the wrong one, by their names if those are the same."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, found in enumerate(pairs):
        if found.fits and len(found.guides) == len(found.ports) == 1:
            alike.setdefault((family(found.guide), *sorted(shapes(found.guide).items())), []).append(number)
    for numbers in alike.values():
        ports = {_last_name(pairs[i].port): pairs[i].port for i in numbers}
        if (
            len(numbers) > 1
            and len(ports) == len(numbers)
            and {_last_name(pairs[i].guide) for i in numbers} == set(ports)
        ):
            for i in numbers:
                pairs[i] = replace(pairs[i], ports=(ports[_last_name(pairs[i].guide)],))
    return pairs


def _by_graph(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Layers of the same shapes, among which order may choose the wrong one, by the layers that their inputs are of.

    Branches are computed in any order: a port is exchanged for one that takes what the guide takes.
    """
    before, after = guide.sources, port.sources
    called = {layer.name for layer in port.with_parameters}
    tables = {found.port.name for found in pairs} - called  # none of them is called
    single = [i for i, found in enumerate(pairs) if found.fits and len(found.guides) == len(found.ports) == 1]
    alike: dict[tuple[object, ...], list[int]] = {}
    for i in single:
        alike.setdefault((family(pairs[i].guide), *sorted(shapes(pairs[i].guide).items())), []).append(i)

    def fits(i: int, j: int) -> bool:
        """Whether the port of pair j takes what the guide of pair i takes, as the pairs before are now."""
        port_of = {layer.name: found.port.name for found in pairs for layer in found.guides}
        wanted = {port_of.get(name) for name in before.get(pairs[i].guide.name, ())} - tables
        return wanted == set(after.get(pairs[j].port.name, ()))

    for numbers in alike.values():
        numbers.sort()
    groups = {i: numbers for numbers in alike.values() for i in numbers}
    for i in single:  # in the order of the computation: what is before a layer has been set right
        other = next((j for j in groups[i] if j > i and fits(i, j)), None)
        if other is not None and not fits(i, i):
            _exchange(pairs, i, other)
    return pairs


def _exchange(pairs: list[Pair], i: int, j: int) -> None:
    """Gives each of two pairs the other's layers of the steered side."""
    pairs[i], pairs[j] = replace(pairs[i], ports=pairs[j].ports), replace(pairs[j], ports=pairs[i].ports)


def _last_name(layer: Layer) -> str:
    return re.split(r"[./]", layer.name)[-1].lower()


def by_targets(pairing: Pairing, guide: Side, port: Side) -> Pairing:
    """Layers of the same shapes that give a model's outputs, paired by the targets that losses hold against them."""
    first, second = _heads(guide), _heads(port)
    pairs = list(pairing.pairs)
    for target, layer in first:
        i = next((i for i, found in enumerate(pairs) if found.guide.name == layer), None)
        wanted = [name for other, name in second if _same_values(target, other)]
        if i is None or len(wanted) != 1 or pairs[i].port.name == wanted[0]:
            continue
        j = next((j for j, found in enumerate(pairs) if found.port.name == wanted[0]), None)
        if j is not None and shapes(pairs[i].guide) == shapes(pairs[j].guide):
            _exchange(pairs, i, j)
    return replace(pairing, pairs=tuple(_by_what_follows(pairs, guide, port)))


def _by_what_follows(pairs: list[Pair], guide: Side, port: Side) -> list[Pair]:
    """Layers of the same shapes that take the same, by the layers that take what they give: those of several heads."""
    pairs = list(pairs)
    for found in reversed(pairs):
        before = guide.sources.get(found.guide.name, frozenset()), port.sources.get(found.port.name, frozenset())
        i = next((i for i, other in enumerate(pairs) if {other.guide.name} == before[0]), None)
        j = next((j for j, other in enumerate(pairs) if {other.port.name} == before[1]), None)
        if i is None or j is None or i == j:
            continue
        siblings = guide.sources.get(pairs[i].guide.name) == guide.sources.get(pairs[j].guide.name)
        if siblings and shapes(pairs[i].guide) == shapes(pairs[j].guide) and len(pairs[i].ports) == len(pairs[j].ports):
            _exchange(pairs, i, j)
    return pairs


def _heads(side: Side) -> list[tuple[Array, str]]:
    """Of each loss function that was called: its target, and the last layer with parameters before its prediction."""
    observation = side.observation
    found = []
    for term in (observation.losses[0].get("terms") or []) if observation.losses else []:
        arrays = observation.arrays(term.get("inputs"))
        if len(arrays) < 2 or arrays[0] is None or arrays[1] is None:
            continue
        target, predicted = arrays[:2] if observation.framework == "keras" else arrays[1::-1]
        layer = _source(side, predicted)
        if target is not None and layer is not None:
            found.append((target, layer))
    return found


def _source(side: Side, predicted: Array | None) -> str | None:
    """The layer with parameters whose output, after operations that follow directly, is this value."""
    weighty = {layer.name for layer in side.with_parameters}
    calls = side.training_calls
    wanted = predicted
    for call in reversed(calls):
        outputs = side.observation.arrays(call.outputs[:1])
        if wanted is None or not outputs or outputs[0] is None or not _same_values(outputs[0], wanted):
            continue
        if call.layer in weighty:
            return call.layer
        wanted = next(iter(side.observation.arrays(call.inputs[:1])), None)
    return None


def _same_values(a: Array, b: Array) -> bool:
    return a.size == b.size and bool(np.allclose(a.reshape(-1), b.reshape(-1), rtol=1e-5, atol=1e-6))


def _pair(left: Group, right: Group) -> Pair:
    kinds = [kind_of(left[-1]), kind_of(right[-1])]
    written_out = any(kind == "dense" and len(group) > 1 for kind, group in zip(kinds, (left, right), strict=True))
    return Pair(
        ATTENTION if ATTENTION in kinds or written_out else kinds[0], left, right, affinity(left, right) >= FITS
    )


def _aligned(left: list[Group], right: list[Group]) -> list[tuple[int, int]]:
    """The alignment of two sequences with the highest score; a layer may stand for two neighbours of the other side."""
    rows, columns = len(left), len(right)
    best = np.zeros((rows + 1, columns + 1))
    move: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(rows, -1, -1):
        for j in range(columns, -1, -1):
            options = [((i + 1, j), 0.0)] if i < rows else []
            options += [((i, j + 1), 0.0)] if j < columns else []
            if i < rows and j < columns:
                score = affinity(left[i], right[j])
                options += [((i + 1, j + 1), score)] if score > 0 else []
            if options:
                move[i, j], gain = max(options, key=lambda option: option[1] + best[option[0]])
                best[i, j] = gain + best[move[i, j]]
    chosen, at = [], (0, 0)
    while at in move:
        if move[at] == (at[0] + 1, at[1] + 1):
            chosen.append(at)
        at = move[at]
    return chosen
