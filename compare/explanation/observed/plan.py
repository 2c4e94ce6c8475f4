"""Makes the plan that steers a program: the guide's weights, batches, gradients and layers' values, step by step."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compare.explanation.observed.carry import carried
from compare.explanation.observed.kinds import ATTENTION
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.pairing import Pair, Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import placed
from record.tensors import write_tensors

Batch = tuple[Sequence[Array | None], Sequence[Array | None]]
"""Inputs and targets of a step in the steered side's form; None for what it feeds by itself as it should."""


@dataclass
class Plan:
    """A plan as it grows: its document and its arrays."""

    document: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)

    def keep(self, key: str, array: Array | None) -> str | None:
        """Keeps an array; returns its key, None for none."""
        if array is None:
            return None
        self.arrays[key] = np.asarray(array, order="C")
        return key

    def write(self, directory: Path) -> None:
        """Writes both files, plan.json last: where it is, all is."""
        directory.mkdir(parents=True, exist_ok=True)
        write_tensors(directory / "plan.safetensors", self.arrays or {"nothing": np.zeros(1)})
        partial = directory / "partial-plan.json"
        partial.write_text(json.dumps(self.document))
        partial.replace(directory / "plan.json")


def call_pairs(pairing: Pairing, guide: Sequence[Call], port: Sequence[Call]) -> list[tuple[Pair, Call, Call]]:
    """The calls that belong together, in the order of the steered side: of paired layers, the same occurrence.

    Of a pair with several layers on a side, the call is the last one's.
    """
    known = {(call.layer, call.number): call for call in guide if call.layer is not None}
    found = []
    for call in port:
        pair = pairing.of_port(call.layer)
        if pair is None or call.layer != pair.port.name:
            continue
        number = pairing.turns[call.number] if call.number < len(pairing.turns) else call.number
        other = known.get((pair.guide.name, number + (pair.call or 0)))
        if other is not None:
            found.append((pair, other, call))
    return found


def first_call(layers: Sequence[Any], last: Call, calls: Sequence[Call]) -> Call:
    """Of a pair with several layers, the call of the first one that belongs to a call of the last one."""
    name = layers[0].name
    return next((call for call in calls if call.layer == name and call.number == last.number), last)


def make_plan(guide: Side, port: Side, pairing: Pairing, batch: Callable[[int], Batch], *, steps: int) -> Plan:
    """The plan for a steered run.

    Args:
        guide: The side that leads, observed in float64.
        port: The side that will be steered, observed on its own.
        pairing: Which layers belong together.
        batch: What to feed at a step.
        steps: How many there are.
    """
    frameworks = (guide.observation.framework, port.observation.framework)
    frozen = {p.path for layer in port.layers.values() for p in layer.parameters.values() if not p.trainable}
    made_in_step = any(entry.get("made_in_step") for side in (guide, port) for entry in side.observation.fed[:1])
    plan = Plan({"zero_dropout": True, "adam_epsilon": None, "made_in_step": made_in_step, "steps": []})

    def arrays(kind: str, by_path: dict[str, Array], key: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for pair in pairing.pairs:
            for path, array in carried(pair, by_path, frameworks, gradients=kind == "gradients").items():
                if kind == "gradients" and path in frozen:
                    continue
                found[path] = plan.keep(f"{key}/{kind}/{path}", array)
        filled = _without_counterpart(pairing, found) if kind == "parameters" else {}
        return found | {path: plan.keep(f"{key}/{kind}/{path}", array) for path, array in filled.items()}

    plan.document["parameters"] = arrays("parameters", guide.observation.before(0), "initial")
    for step in range(steps):
        inputs, targets = batch(step)
        key = f"step{step}"
        entry: dict[str, Any] = {
            "parameters": arrays("parameters", guide.observation.before(step), key)
            if step
            else plan.document["parameters"],
            "inputs": [plan.keep(f"{key}/input{i}", array) for i, array in enumerate(inputs)],
            "targets": [plan.keep(f"{key}/target{i}", array) for i, array in enumerate(targets)],
            "gradients": arrays("gradients", guide.observation.by_path(_gradients(guide), step), key),
            "calls": [],
        }
        if step < len(guide.observation.calls):
            entry["calls"] = _planned_calls(plan, guide, port, pairing, guide.observation.calls[step], key)
        plan.document["steps"].append(entry)
    inputs, _ = batch(0)
    plan.document["evaluation"] = {
        "inputs": [plan.keep(f"eval/input{i}", array) for i, array in enumerate(inputs)],
        "calls": _planned_calls(plan, guide, port, pairing, guide.observation.evaluation_calls, "eval"),
    }
    return plan


def _gradients(guide: Side) -> str:
    """Which of the guide's gradients the steered side gets: those of all batches where it accumulates."""
    return "gradients" if guide.observation.accumulates else "raw_gradients"


def _without_counterpart(pairing: Pairing, found: dict[str, str | None]) -> dict[str, Array]:
    """Values that change nothing, for what the steered side has and the guide has not: a bias of zeros for one."""
    filled = {}
    for pair in pairing.pairs:
        for layer in pair.ports if pair.fits else ():
            for local, parameter in layer.parameters.items():
                if parameter.path not in found and "bias" in local and "num_batches" not in local:
                    filled[parameter.path] = np.zeros(parameter.shape)
    return filled


def _planned_calls(
    plan: Plan, guide: Side, port: Side, pairing: Pairing, calls: Sequence[Call], key: str
) -> list[dict[str, Any]]:
    """The inputs and outputs that are put in the place of the steered side's, in its layout."""
    observed, seen = guide.observation, port.observation
    across = observed.framework != seen.framework
    own = guide.calls(calls)
    taken = Counter(key for call in own for key in dict.fromkeys(call.inputs) if key is not None)
    made = {key for call in own for key in (*call.outputs, call.preactivation)}
    planned = []
    for number, (pair, left, right) in enumerate(call_pairs(pairing, own, port.training_calls)):
        if not pair.fits:
            continue
        begin, enter = first_call(pair.guides, left, own), first_call(pair.ports, right, port.training_calls)
        inputs = [
            placed(observed.array(a), _shape(seen.array(b)), pair.kind, across=across)
            for a, b in zip(_arguments(pair, begin, observed.framework, across=across), enter.inputs, strict=False)
        ]
        outputs = [
            placed(observed.array(a), _shape(seen.array(b)), pair.kind, across=across)
            for a, b in zip(_results(left, right), right.outputs, strict=False)
        ]
        names = [plan.keep(f"{key}/call{number}/in{i}", array) for i, array in enumerate(inputs)]
        results = [plan.keep(f"{key}/call{number}/out{i}", array) for i, array in enumerate(outputs)]
        for layer, key_in in zip(pair.ports[1:-1], _memory(begin), strict=False) if pair.kind == ATTENTION else ():
            call = first_call((layer,), right, port.training_calls)
            shape = _shape(seen.array(call.inputs[0] if call.inputs else None))
            array = placed(observed.array(key_in), shape, pair.kind, across=across)
            planned.append(_entry(call, [plan.keep(f"{key}/call{number}/{layer.name}", array)], []))
        entering = _entry(enter, names, results if enter is right else [])
        entering["taken_again"] = _goes_on(begin, taken, made)
        planned.append(entering)
        if enter is not right:
            planned.append(_entry(right, [], results))
    return planned


def _arguments(pair: Pair, begin: Call, framework: str, *, across: bool) -> list[str | None]:
    """The keys of what the guide's layer is given, in the steered side's order: Keras has an attention's value second.

    By `MultiHeadAttention.call(query, value, key)` and `MultiheadAttention.forward(query, key, value)`.
    """
    if pair.kind != ATTENTION or not across or len(pair.guides) + len(pair.ports) > 2:
        return list(begin.inputs)
    if framework == "keras":
        return [*begin.inputs[:1], *_memory(begin)]
    return [*begin.inputs[:1], *begin.inputs[:0:-1]]


def _memory(attention: Call) -> tuple[str | None, str | None]:
    """What the keys and the values of an attention are made of: its inputs are query, value and, if another, key."""
    inputs = (*attention.inputs, *[None] * 3)
    value = inputs[1] or inputs[0]
    return inputs[2] or value, value


def _goes_on(begin: Call, taken: Counter[str], made: set[str | None]) -> bool:
    """Whether something else takes what a layer is fed, too.

    What the operators of Python make, such as a sum of residuals in Keras, is made by no call that is seen: that it is
    taken again is likely, and not known.
    """
    key = begin.inputs[0] if begin.inputs else None
    return key is not None and (taken[key] > 1 or key not in made)


def _entry(call: Call, inputs: list[str | None], outputs: list[str | None]) -> dict[str, Any]:
    return {"layer": call.layer, "occurrence": call.occurrence, "inputs": inputs, "outputs": outputs}


def _results(guide: Call, port: Call) -> list[str | None]:
    """The keys of what comes out of a layer without the activation that only one side counts as a part of it."""
    if guide.preactivation is not None and port.preactivation is None:
        return [guide.preactivation, *guide.outputs[1:]]
    if guide.preactivation is None and port.preactivation is not None:
        return [None for _ in guide.outputs]
    return list(guide.outputs)


def _shape(array: Array | None) -> tuple[int, ...] | None:
    return None if array is None else array.shape
