"""Carries the weights of paired layers from one side to the other."""

from collections.abc import Collection, Mapping

import numpy as np

from compare.explanation.observed.grouping import joined, parted
from compare.explanation.observed.kinds import Weights, common, into
from compare.explanation.observed.observation import Array, Layer, Parameter
from compare.explanation.observed.pairing import Pair


def arrays_of(layer: Layer, by_path: Mapping[str, Array]) -> Weights:
    """A layer's arrays by their local names."""
    return {name: by_path[p.path] for name, p in layer.parameters.items() if p.path in by_path}


def common_of(layers: tuple[Layer, ...], by_path: Mapping[str, Array]) -> Weights:
    """The weights of one side of a pair under common names in torch's layout; empty where they are not known."""
    try:
        return joined(layers, [common(layer, arrays_of(layer, by_path)) or {} for layer in layers])
    except (ValueError, KeyError, IndexError):
        return {}


def carried(pair: Pair, by_path: Mapping[str, Array], frameworks: tuple[str, str], *, gradients: bool) -> Weights:
    """The guide's arrays in the layout of the steered side, by its paths.

    Args:
        pair: Layers whose weights fit.
        by_path: The guide's arrays: weights, or gradients of them.
        frameworks: The guide's and the steered side's.
        gradients: Whether they are gradients: those of a bias that is one here and two there are the same.
    """
    if not pair.fits:
        return {}
    if pair.kind == "own" or frameworks[0] == frameworks[1]:
        straight = _straight(pair, by_path)
        if straight is not None or frameworks[1] == "keras":
            return straight or {}
    weights = common_of(pair.guides, by_path)
    if gradients:
        weights |= {
            name.replace("_ih", "_hh"): array
            for name, array in weights.items()
            if name.startswith("bias_ih") and name.replace("_ih", "_hh") not in weights
        }
    found: Weights = {}
    for layer, part in zip(pair.ports, parted(pair.ports, weights), strict=True):
        for local, array in (into(layer, part) or {}).items():
            found[layer.parameters[local].path] = np.asarray(array, order="C")
    return found


def _straight(pair: Pair, by_path: Mapping[str, Array]) -> Weights | None:
    """By local name and shape, or by shape in the order of the definition."""
    guide, port = pair.guide, pair.port
    if len(pair.guides) != 1 or len(pair.ports) != 1:
        return None
    found: Weights = {}
    names = list(guide.parameters)
    for local, parameter in port.parameters.items():
        fitting = [name for name in names if guide.parameters[name].shape == parameter.shape]
        name = local if local in fitting else next(iter(fitting), None)
        if name is None:
            continue
        names.remove(name)
        if guide.parameters[name].path in by_path:
            found[parameter.path] = by_path[guide.parameters[name].path]
    return found or None


def sources_in(pair: Pair, paths: Collection[str]) -> set[str]:
    """The steered side's parameters of a pair if one of the guide's is among these paths."""
    if not any(parameter.path in paths for parameter in _parameters(pair.guides)):
        return set()
    return {parameter.path for parameter in _parameters(pair.ports)}


def parameter_pairs(pair: Pair, frameworks: tuple[str, str]) -> list[tuple[str, str]]:
    """Which parameters of a pair are the same weight: the guide's path and the steered side's.

    A weight of which one side has several parts is left out.
    """
    marks = {p.path: np.full(p.shape, i + 1.0, np.float32) for i, p in enumerate(_parameters(pair.guides))}
    numbers = {i + 1.0: p.path for i, p in enumerate(_parameters(pair.guides))}
    found = carried(pair, marks, frameworks, gradients=False)
    return [
        (numbers[float(array.flat[0])], path)
        for path, array in found.items()
        if array.size and array.flat[0] == array.flat[-1] and float(array.flat[0]) in numbers
    ]


def _parameters(layers: tuple[Layer, ...]) -> list[Parameter]:
    return [parameter for layer in layers for parameter in layer.parameters.values()]
