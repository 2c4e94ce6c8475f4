"""A loss that is written out: the line of the steered side at which its computation leaves that of the guide."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from compare.explanation.arithmetic.functions import numbers_in
from compare.explanation.context import Context
from compare.explanation.loss.words import Found, Said, named
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.written import Entry, Node, computation, nodes_of, part, taken_early


def by_parting(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """By the value at which the steered side's computation leaves the guide's."""
    values = list(zip(steps, np.asarray(a), np.asarray(b), strict=True))[:2]
    early = _taken_early(context, values)
    if early is not None:
        return [early]
    told = None
    for layout in (_channels_first, np.asarray) if context.frameworks == ("keras", "torch") else (np.asarray,):
        computations = [
            computation(
                _nodes(context.guide.observation, step, layout), _nodes(context.steered.observation, step), wanted, seen
            )
            for step, wanted, seen in values
        ]
        found = part(context, "in the loss", computations)
        told = found if told is None or (found is not None and not found.vague) else told
        if told is not None and not told.vague:
            break
    if told is None:
        return None
    guide, steered = (named(side.observation) for side in (context.guide, context.steered))
    return [Said(told.title, f"{guide}: {told.guide}", f"{steered}: {told.steered}", told.title, told.mend, told.place)]


def _taken_early(context: Context, values: Sequence[tuple[int, Array, Array]]) -> Said | None:
    """A mean over the batch that is taken before what should be done with each of its values."""
    columns = [_nodes(context.steered.observation, step) for step, *_ in values]
    found = {taken_early(nodes, wanted, seen) for nodes, (_, wanted, seen) in zip(columns, values, strict=True)}
    at = found.pop() if len(found) == 1 else None
    if at is None:
        return None
    node, after = columns[0][at], next(other for other in columns[0] if at in other.sources)
    name = columns[0][node.sources[0]].name if node.step is not None and node.sources[0] is not None else node.name
    functions, code = context.steered.observation.loss_functions, node.place.code if node.place else ""
    called = next((function for function in functions if function in code), name)
    title = (
        f"in the loss, the mean over the batch is taken of {called}, before {after.name}; the reference takes it last"
    )
    if not context.guide_is_reference:
        title = f"in the loss, the mean over the batch is taken last; the reference takes it of {called}"
    guide, steered = ("the mean is taken last", f"the mean is taken before {after.name}")
    return Said(title, guide, steered, title, 'reduction="none", and the mean at the end', node.place)


def _channels_first(array: Array) -> Array:
    """Keras's images and maps in torch's layout."""
    return np.moveaxis(array, -1, 1) if array.ndim > 3 else np.asarray(array)


def _nodes(observation: Observation, step: int, layout: Callable[[Array], Array] = np.asarray) -> list[Node]:
    """The computation of a step's loss from the model's outputs: functions, and the loss functions that are listed."""
    calls = observation.loss_calls[step] if step < len(observation.loss_calls) else []
    terms = observation.losses[step].get("terms") or [] if step < len(observation.losses) else []
    of_terms: list[Entry] = [
        (
            str(term.get("function")),
            dict(term.get("settings") or {}),
            list(term.get("inputs") or []),
            term.get("output") or term.get("values"),
            place(term.get("place")),
        )
        for term in terms
    ]
    found = nodes_of(observation, [*of_terms, *(call.entry for call in calls)], layout)
    return [_with_axes(node) for node in found] if layout is _channels_first else found


def _with_axes(node: Node) -> Node:
    """A call of Keras's on images or maps, with its axes in torch's layout: the last one is the second."""
    given = dict(node.settings).get("axis")
    axes = [axis for axis in (given if isinstance(given, list | tuple) else [given]) if isinstance(axis, int)]
    if not node.inputs or node.inputs[0].ndim < 4 or not axes:
        return node
    count = node.inputs[0].ndim
    in_torch = [0, *range(2, count), 1]
    moved = [in_torch[axis % count] for axis in axes]
    changed = moved if isinstance(given, list | tuple) else moved[0]
    settings = tuple((name, changed if name == "axis" else value) for name, value in node.settings)
    return replace(node, settings=settings, numbers=tuple(numbers_in(dict(settings))))
