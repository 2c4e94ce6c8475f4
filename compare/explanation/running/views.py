"""A model that one program calls for each view of a batch, and the other once for all of them put together."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compare.explanation.observed.observation import AND, Observation, part_of_key

Calls = list[dict[str, Any]]


def as_called(guide: Observation, port: Observation) -> Observation:
    """The guide as if it had called its model as often as the other side: for all views at once, or one by one.

    A model that normalises by its batch gives something else then, which is for the layers to show. The guide is
    returned as it is where neither side's inputs are the other's in one.

    Args:
        guide: The side that leads.
        port: The other side.
    """
    first, second = _lengths(guide), _lengths(port)
    whole, parts = sorted((first, second), key=len)
    times = len(parts)
    if len(whole) != 1 or times == 1 or {times * length for length in parts} != set(whole):
        return guide
    made: Callable[[Calls, int], Calls] = _in_one if parts is first else _apart
    steps = [made(calls, times) for calls in guide.part("calls")]
    evaluated = made(guide.part("evaluation_calls") or [], times)
    if not all(steps) or bool(evaluated) != bool(guide.part("evaluation_calls")):
        return guide
    fed = [entry | {"inputs": _fed(entry.get("inputs") or [], times), "further": []} for entry in guide.fed]
    return replace(guide, document={**guide.document, "calls": steps, "evaluation_calls": evaluated, "fed": fed})


def _lengths(observation: Observation) -> list[int]:
    """How many samples each input of the first step has."""
    arrays = observation.arrays(observation.fed[0].get("inputs")) if observation.fed and observation.calls else []
    return [len(array) for array in arrays if array is not None and array.ndim]


def _fed(keys: Sequence[str | None], times: int) -> list[str | None]:
    if len(keys) > 1:
        return [AND.join(map(str, keys)) if all(keys) else None]
    return [part_of_key(keys[0], number, times) for number in range(times)]


def _end_of_model(calls: Calls) -> int:
    """How many calls there are up to the last one of a layer."""
    return max((i for i, call in enumerate(calls) if call.get("layer") is not None), default=-1) + 1


def _in_one(calls: Calls, times: int) -> Calls:
    """Calls of a model that is called several times, as those of one; empty if it does not do the same each time."""
    end = _end_of_model(calls)
    count = end // times
    parts = [calls[i * count : (i + 1) * count] for i in range(times)]
    names = [[(call.get("layer"), call.get("function")) for call in part] for part in parts]
    if not count or end % times or any(name != names[0] for name in names):
        return []
    return [_joined(same) for same in zip(*parts, strict=True)] + calls[end:]


def _joined(calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One call with the samples of several; what they share, such as a constant, is there once."""

    def together(keys: Sequence[str | None]) -> str | None:
        same = len(set(keys)) == 1
        return keys[0] if same else AND.join(map(str, keys)) if all(keys) else None

    columns = {name: [together(keys) for keys in zip(*(call[name] for call in calls), strict=False)] for name in _KEYS}
    return {**calls[0], **columns, "preactivation": together([call.get("preactivation") for call in calls])}


def _apart(calls: Calls, times: int) -> Calls:
    """Calls of a model that is called once, as those of several; what is called after its last layer stays."""
    end = _end_of_model(calls)
    counts = Counter(call.get("layer") for call in calls[:end])
    made = [_part(call, number, times, counts) for number in range(times) for call in calls[:end]]
    return [*made, *calls[end:]]


def _part(call: dict[str, Any], number: int, times: int, counts: Counter[Any]) -> dict[str, Any]:
    columns = {name: [part_of_key(key, number, times) for key in call[name]] for name in _KEYS}
    occurrence = int(call.get("occurrence") or 0) + number * counts[call.get("layer")]
    before = part_of_key(call.get("preactivation"), number, times)
    return {**call, **columns, "preactivation": before, "occurrence": occurrence, "from": []}


_KEYS = ("inputs", "outputs")
