"""One model as it is paired."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from compare.explanation.observed.kinds import RECURRENT, Weights, kind_of
from compare.explanation.observed.observation import Array, Call, Layer, Observation

_COMPOSITE = {"multi-head attention", "bidirectional", *RECURRENT}
"""Layers that are made of layers and are paired as one."""


class Side:
    """One model as it is paired: layers that are made of layers taken as one, calls of their parts left out.

    Args:
        observation: What its watcher saw.
        beside: Layers that are left out where layers are paired.
    """

    def __init__(self, observation: Observation, beside: frozenset[str] = frozenset()) -> None:
        self.observation = observation
        self._beside = beside
        self.layers, self._part_of = _whole_layers(observation)

    def without(self, names: frozenset[str]) -> "Side":
        """The same with further layers left out where layers are paired."""
        return Side(self.observation, self._beside | names)

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
        found = [self.layers[name] for name in order if name in self.layers and _weighty(self.layers[name])]
        return [layer for layer in found if layer.name not in self._containers | self._beside]

    @cached_property
    def _containers(self) -> frozenset[str]:
        """Modules of the user's own that have parameters beside the layers inside of them: a model with a table."""
        inside = {call.parent for call in self.training_calls if call.layer in self.layers and call.parent is not None}
        return frozenset(name for name in inside if name in self.layers and kind_of(self.layers[name]) == "own")

    @cached_property
    def tables(self) -> list[Layer]:
        """Weights that are used as they are, by no call of a layer: embeddings never called, a model's own parameters.

        Each parameter of a model's own is a layer of its own here, under a name of its own.
        """
        called = {layer.name for layer in self.with_parameters}
        found = [layer for layer in self.layers.values() if layer.name not in called and kind_of(layer) == "embedding"]
        for name in sorted(self._containers):
            for local, parameter in self.layers[name].parameters.items():
                if parameter.trainable:
                    part = replace(self.layers[name], name=f"{name}.{local}", parameters={local: parameter})
                    found.append(part)
        return found

    @cached_property
    def sources(self) -> dict[str, frozenset[str]]:
        """Of each layer with parameters, those that its first call's inputs are computed from, without one between."""
        weighty = {layer.name for layer in self.with_parameters}
        found: dict[str, frozenset[str]] = {}
        for call in self.training_calls:
            if call.layer in weighty:
                found.setdefault(str(call.layer), self.before_call[call.index])
        return found

    @cached_property
    def before_call(self) -> dict[int, frozenset[str]]:
        """Of each call, by its index, the layers with parameters that its inputs are computed from, none between."""
        weighty = {layer.name for layer in self.with_parameters}
        by_key: dict[str, frozenset[str]] = {}
        by_call: dict[int, frozenset[str]] = {}
        found: dict[int, frozenset[str]] = {}
        for call in self.training_calls:
            producers = (*call.producers, *[None] * len(call.inputs))
            before: frozenset[str] = frozenset()
            for key, producer in zip(call.inputs, producers, strict=False):
                known = by_call.get(producer) if producer is not None else None
                before |= known if known is not None else by_key.get(key or "", frozenset())
            found[call.index] = before
            if call.layer in weighty:
                before = frozenset({str(call.layer)})
            by_call[call.index] = before
            for key in (*call.outputs, call.preactivation):
                if key is not None:
                    by_key.setdefault(key, before)
        return found

    def weights(self, layer: Layer, arrays: dict[str, Array]) -> Weights:
        """A layer's arrays by local names, from arrays by path."""
        found = {local: parameter.path for local, parameter in layer.parameters.items()}
        return {local: arrays[path] for local, path in found.items() if path in arrays}


def _weighty(layer: Layer) -> bool:
    """Whether a layer has parameters to carry: not only a mask, or statistics of the data that it was adapted to."""
    known = kind_of(layer) != "own"
    return any(
        parameter.trainable or (parameter.shape and (known or not parameter.is_buffer))
        for parameter in layer.parameters.values()
    )


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
