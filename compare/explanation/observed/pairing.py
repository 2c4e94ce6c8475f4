"""Finds which layers of the two models belong together: by the order of the computation, kinds and shapes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compare.explanation.observed.kinds import RECURRENT, Weights, common, gates_of, kind_of
from compare.explanation.observed.observation import Array, Call, Layer, Observation

_COMPOSITE = {"multi-head attention", "bidirectional", *RECURRENT}
"""Layers that are made of layers and are paired as one."""


class Side:
    """One model as it is paired: layers that are made of layers taken as one, calls of their parts left out.

    Args:
        observation: What its watcher saw.
    """

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        self.layers, self._part_of = _whole_layers(observation)

    def calls(self, calls: Sequence[Call]) -> list[Call]:
        """The calls but for those inside of a composite layer."""
        return [call for call in calls if self._outside(call)]

    def _outside(self, call: Call) -> bool:
        if call.layer in self._part_of:
            return False
        return not (call.layer is None and (call.parent in self._part_of or self._composite(call.parent)))

    def _composite(self, name: str | None) -> bool:
        layer = self.layers.get(name or "")
        return layer is not None and kind_of(layer) in _COMPOSITE

    @cached_property
    def training_calls(self) -> list[Call]:
        """The calls of the first step's forward pass, or of the evaluation where nothing was trained."""
        calls = self.observation.calls
        return self.calls(calls[0] if calls and calls[0] else self.observation.evaluation_calls)

    @cached_property
    def with_parameters(self) -> list[Layer]:
        """The layers that have parameters and are called, in the order of their first call; then those never called."""
        order = dict.fromkeys(call.layer for call in self.training_calls if call.layer is not None)
        return [self.layers[name] for name in order if name in self.layers and _weighty(self.layers[name])]

    def weights(self, layer: Layer, arrays: dict[str, Array]) -> Weights:
        """A layer's arrays by local names, from arrays by path."""
        found = {local: parameter.path for local, parameter in layer.parameters.items()}
        return {local: arrays[path] for local, path in found.items() if path in arrays}


def _weighty(layer: Layer) -> bool:
    """Whether a layer has parameters to carry: not only a mask, or statistics of the data that it was adapted to."""
    known = kind_of(layer) != "own"
    return any(parameter.shape and (known or not parameter.is_buffer) for parameter in layer.parameters.values())


def _whole_layers(observation: Observation) -> tuple[dict[str, Layer], dict[str, str]]:
    """The layers with the parts of composite ones merged into them, and which part is of which."""
    part_of: dict[str, str] = {}
    layers = dict(observation.layers)
    for name, layer in observation.layers.items():
        if kind_of(layer) not in _COMPOSITE or name in part_of:
            continue
        parameters = dict(layer.parameters)
        for other in observation.layers.values():
            if other.name.startswith((f"{name}.", f"{name}/")):
                part_of[other.name] = name
                layers.pop(other.name, None)
                prefix = other.name[len(name) + 1 :]
                known = {parameter.path for parameter in parameters.values()}
                parameters |= {f"{prefix}.{k}": p for k, p in other.parameters.items() if p.path not in known}
        layers[name] = replace(layer, parameters=parameters)
    return layers, part_of


@dataclass(frozen=True)
class Pair:
    """Layers that belong together: one of each side but where one side has one layer for several of the other.

    Args:
        kind: The kind of the guide's.
        guides: The layers of the side that leads.
        ports: The layers of the side that is steered.
        fits: Whether the weights have the same sizes, so that they can be carried across.
    """

    kind: str
    guides: tuple[Layer, ...]
    ports: tuple[Layer, ...]
    fits: bool

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
    """The pairs in the order of the guide's computation, and the layers of either side that have none."""

    pairs: tuple[Pair, ...]
    guides_left: tuple[Layer, ...]
    ports_left: tuple[Layer, ...]

    def of_port(self, name: str | None) -> Pair | None:
        """The pair that a layer of the steered side is of."""
        return next((pair for pair in self.pairs if any(layer.name == name for layer in pair.ports)), None)

    def of_guide(self, name: str | None) -> Pair | None:
        """The pair that a layer of the guide is of."""
        return next((pair for pair in self.pairs if any(layer.name == name for layer in pair.guides)), None)


def pair(guide: Side, port: Side) -> Pairing:
    """Pairs the layers that have parameters."""
    left, right = _grouped(guide.with_parameters, port.with_parameters)
    chosen = _aligned(left, right)
    used = {j for _, j in chosen}
    missing = [i for i in range(len(left)) if i not in {i for i, _ in chosen}]
    for i in missing:  # order of computation is free where branches are
        fitting = [j for j in range(len(right)) if j not in used and _score(left[i], right[j]) >= _FITS]
        if fitting:
            chosen.append((i, fitting[0]))
            used.add(fitting[0])
    pairs = _by_name([_pair(left[i], right[j]) for i, j in sorted(chosen)])
    guides = {layer.name for pair in pairs for layer in pair.guides}
    ports = {layer.name for pair in pairs for layer in pair.ports}
    return Pairing(
        tuple(pairs),
        tuple(layer for layer in guide.with_parameters if layer.name not in guides),
        tuple(layer for layer in port.with_parameters if layer.name not in ports),
    )


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
            pairs[i], pairs[j] = replace(pairs[i], ports=pairs[j].ports), replace(pairs[j], ports=pairs[i].ports)
    return replace(pairing, pairs=tuple(pairs))


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


_FITS = 10.0

_Group = tuple[Layer, ...]


def _grouped(left: Sequence[Layer], right: Sequence[Layer]) -> tuple[list[_Group], list[_Group]]:
    """Neighbours that are one layer on the other side: two convolutions of a separable one, levels of an LSTM."""
    return _groups(left, right), _groups(right, left)


def _groups(layers: Sequence[Layer], others: Sequence[Layer]) -> list[_Group]:
    separable = [shapes(layer) for layer in others if kind_of(layer) == "separable convolution"]
    levels = [(family(layer), num_levels(layer)) for layer in others if num_levels(layer) > 1]
    groups: list[_Group] = []
    at = 0
    while at < len(layers):
        two = layers[at : at + 2]
        number = next((n for name, n in levels if all(family(layer) == name for layer in layers[at : at + n])), 1)
        if len(two) == 2 and any(_is_separable(two[0], two[1], wanted) for wanted in separable):
            number = 2
        if number > 1 and len(layers) - at >= number and num_levels(layers[at]) == 1:
            groups.append(tuple(layers[at : at + number]))
            at += number
        else:
            groups.append((layers[at],))
            at += 1
    return groups


def _is_separable(first: Layer, second: Layer, wanted: dict[str, tuple[int, ...]]) -> bool:
    return shapes(first).get("kernel") == wanted.get("depthwise") and shapes(second).get("kernel") == wanted.get(
        "kernel"
    )


def num_levels(layer: Layer) -> int:
    """How many recurrent layers are stacked in one."""
    names = [name.removesuffix("_reverse") for name in shapes(layer) if name.startswith("weight_ih_l")]
    return len(set(names)) if names else 1


def _pair(left: _Group, right: _Group) -> Pair:
    return Pair(kind_of(left[-1]), left, right, _score(left, right) >= _FITS)


def _aligned(left: list[_Group], right: list[_Group]) -> list[tuple[int, int]]:
    """The alignment of two sequences with the highest score; a layer may stand for two neighbours of the other side."""
    rows, columns = len(left), len(right)
    best = np.zeros((rows + 1, columns + 1))
    move: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(rows, -1, -1):
        for j in range(columns, -1, -1):
            options = [((i + 1, j), 0.0)] if i < rows else []
            options += [((i, j + 1), 0.0)] if j < columns else []
            if i < rows and j < columns:
                score = _score(left[i], right[j])
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


def family(layer: Layer) -> str:
    """Kinds whose layers may stand for each other."""
    kind = kind_of(layer)
    if kind == "depthwise convolution":
        return "convolution"
    if kind == "bidirectional" or kind in RECURRENT:
        return gates_of(layer) or kind
    return kind


def shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's weights under common names in torch's layout."""
    empty = {local: np.empty(parameter.shape, np.int8) for local, parameter in layer.parameters.items()}
    try:
        weights = common(layer, empty) or {}
    except (ValueError, KeyError, IndexError):
        weights = {}
    return {name: array.shape for name, array in weights.items()}


def _score(left: _Group, right: _Group) -> float:
    """How well two layers go together: 10 and more where the weights can be carried across."""
    a, b = left[-1], right[-1]
    if family(a) != family(b) and len(left) == len(right):
        return 0.0
    first, second = joined_shapes(left), joined_shapes(right)
    if family(a) == "own":
        return 11.0 if sorted(first.values()) == sorted(second.values()) and first else 0.0
    both = first.keys() & second.keys()
    if both and all(first[name] == second[name] for name in both):
        return 11.0 if first.keys() == second.keys() else 10.5
    return 1.0


def joined_shapes(group: _Group) -> dict[str, tuple[int, ...]]:
    """The shapes of a group's weights as those of one layer."""
    return {name: np.shape(array) for name, array in joined(group, [_empty(layer) for layer in group]).items()}


def _empty(layer: Layer) -> Weights:
    return {name: np.empty(shape, np.int8) for name, shape in shapes(layer).items()}


def joined(group: _Group, weights: Sequence[Weights]) -> Weights:
    """The common weights of a group as those of one layer."""
    if len(group) == 1:
        return weights[0]
    if family(group[0]) == "convolution":
        return {"depthwise": weights[0].get("kernel", np.empty(0)), **weights[1]}
    levels = [{name.replace("_l0", f"_l{i}"): array for name, array in w.items()} for i, w in enumerate(weights)]
    return {name: array for level in levels for name, array in level.items()}


def parted(group: _Group, weights: Weights) -> list[Weights]:
    """The opposite of `joined`."""
    if len(group) == 1:
        return [weights]
    if family(group[0]) == "convolution":
        rest = {name: array for name, array in weights.items() if name != "depthwise"}
        return [{"kernel": weights["depthwise"]}, rest]
    return [
        {name.replace(f"_l{i}", "_l0"): array for name, array in weights.items() if f"_l{i}" in name}
        for i in range(len(group))
    ]
