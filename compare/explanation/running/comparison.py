"""Runs both programs in three passes, and has every stage judge what was seen."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding, data, feeding
from compare.explanation.feeding.order import order
from compare.explanation.feeding.part import part
from compare.explanation.feeding.validation import validation
from compare.explanation.findings import ordered
from compare.explanation.loss.judged import broadcast, loss
from compare.explanation.model.dropout import dropout
from compare.explanation.model.forward import forward
from compare.explanation.model.initial import initial_weights
from compare.explanation.model.structure import structure
from compare.explanation.observed.observation import Observation
from compare.explanation.observed.pairing import Pairing, by_targets, pair
from compare.explanation.observed.plan import make_plan
from compare.explanation.observed.sides import Side
from compare.explanation.running.program import Program
from compare.explanation.running.views import as_called
from compare.explanation.running.watchers import Watcher, Watchers, watchers
from compare.explanation.training.clipping import clipping
from compare.explanation.training.gradients import gradients, trained_parameters
from compare.explanation.training.loop import loop, modes
from compare.explanation.training.optimizer.decay import penalty_as_decay
from compare.explanation.training.optimizer.judged import optimizer
from compare.explanation.training.stated import later, stated, trained_later
from compare.explanation.training.statistics import statistics
from compare.explanation.words import counted
from recipe.errors import BadInputError, RunFailedError, ScriptFailedError

_RECORDED = 4
"""The steps whose layers' values are kept: enough to tell the terms of a loss apart."""

_LOOKED_AT = 3
"""The steps that the steered side's program takes on its own."""


def compare_programs(
    reference: Program,
    port: Program,
    options: dict[str, Any],
    *,
    steps: int,
    keep: Path | None,
    timeout: float,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Runs and judges; returns the fields of an Explanation.

    Args:
        reference: The reference.
        port: The port.
        options: Further fields of the watchers' requests.
        steps: How many optimizer steps.
        keep: Where to keep what was recorded, None for nowhere.
        timeout: The seconds that each program may take.
        report: Called with a line whenever something has begun.
    """
    guide_is_reference = not (reference.framework == "torch" and port.framework == "keras")
    guide, steered = (reference, port) if guide_is_reference else (port, reference)
    with watchers(timeout, keep) as started:
        context, fed = _passes(started, guide, steered, options, steps, guide_is_reference, report)
        report("comparing")
        _judge(context, fed)
    for number in range(1, _MOST_TRAININGS):
        if not _goes_on(context, number):
            break
        with watchers(min(timeout, _PATIENCE), None if keep is None else keep / f"training{number + 1}") as started:
            _further(context, number, started, guide, steered, {**options, "skip": number}, steps, report)
    if context.guide.observation.updates:
        later(context)
    taken = len(context.steered.observation.updates)
    frameworks = _framework(context, reference=True), _framework(context, reference=False)
    ran = f"ran {reference.name} ({frameworks[0]}) and {port.name} ({frameworks[1]})"
    ran += f" for {counted(taken, 'optimizer step')}" if taken else " once, forwards"
    return {
        "reference": reference.given,
        "port": port.given,
        "ran": f"{ran}; nothing was trained, no file was changed",
        "findings": ordered(context.findings),
        "same": tuple(dict.fromkeys(context.same)),
        "not_seen": tuple(dict.fromkeys(context.not_seen)),
        "unpaired": tuple(dict.fromkeys(context.unpaired)),
        "versions": {"reference": _versions(context, reference=True), "port": _versions(context, reference=False)},
    }


_MOST_TRAININGS = 3
"""So many trainings of a script are compared, one after the other."""

_PATIENCE = 120.0
"""The seconds for a further training: those before it pass at full length, eagerly, and may be long."""


def _goes_on(context: Context, number: int) -> bool:
    """Whether both programs train further after so many trainings, by an optimizer that is made for it."""
    sides = (context.guide.observation, context.look)
    anew = all(side.begins_anew is not None for side in (context.guide.observation, context.steered.observation))
    return all(len(trained_later(side)) >= number for side in sides) or (anew and number == 1)


def _further(
    context: Context,
    number: int,
    started: Watchers,
    guide: Program,
    steered: Program,
    options: dict[str, Any],
    steps: int,
    report: Callable[[str], None],
) -> None:
    """Compares a further training, and adds what is found to what was found in those before."""
    name = ("second", "third")[number - 1]
    report(f"the {name} training")
    try:
        further, fed = _passes(started, guide, steered, options, steps, context.guide_is_reference, report)
    except (BadInputError, RunFailedError) as error:
        context.not_seen.append(f"the {name} training: {str(error).splitlines()[0]}")
        return
    _judge(further, fed)
    context.add(further, f"in the {name} training")
    context.same.append(f"the {name} training, but for what is said of it")
    context.compared_trainings = number + 1


def _observation(context: Context, *, reference: bool) -> Observation:
    return (context.guide if reference == context.guide_is_reference else context.steered).observation


def _framework(context: Context, *, reference: bool) -> str:
    observation = _observation(context, reference=reference)
    backend = observation.part("backend")
    return observation.words + (f" on {backend}" if backend else "")


def _versions(context: Context, *, reference: bool) -> dict[str, str]:
    found = _observation(context, reference=reference).part("versions")
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def _passes(
    started: Watchers,
    guide: Program,
    steered: Program,
    options: dict[str, Any],
    steps: int,
    guide_is_reference: bool,
    report: Callable[[str], None],
) -> tuple[Context, Feeding]:
    """The guide in float64, the other program on its own, then steered by the guide's values."""
    recorded = list(range(min(_RECORDED, steps)))
    leading = {**options, "steps": steps, "dtype": "float64", "order": "identity", "recorded_steps": recorded}
    looking = {**options, "steps": min(_LOOKED_AT, steps), "dtype": "own", "order": "identity", "recorded_steps": [0]}
    how = "once, forwards" if guide.attribute else f"up to {counted(steps, 'optimizer step')} of each"
    report(f"running {guide.name} and {steered.name}, {how}")
    first = started.start("guide", guide, leading)
    look = None if guide.attribute else started.start("look", steered, looking)
    last = started.start("steered", steered, {**leading, "wait_for_plan": True})
    with _only_when_watched(lambda: started.start("alone", guide, looking).result()):
        seen = first.result()
    if look is None:
        look = started.start("look", steered, {**looking, "inputs": _inputs_of(seen, started.root, steered.framework)})
    looked = look.result()
    seen = as_called(seen, looked)
    left, right = Side(seen), Side(looked)
    pairing = by_targets(pair(left, right), left, right)
    fed = feeding(left, right, pairing)
    report(f"steering {steered.name} by what {guide.name} does, layer by layer")
    plan = make_plan(left, right, pairing, fed.batch, steps=max(len(seen.updates), 1))
    plan.write(last.plan)
    del plan  # of a large model it is as large as that
    last.deadline += started.timeout
    with _only_when_watched(lambda: looked):
        observed = last.result()
    if seen.begins_anew is not None:  # what both do in the first training is compared
        observed = replace(observed, at_most=len(seen.updates))
    side = Side(observed)
    folders = guide.script.parent, steered.script.parent
    return Context(left, side, looked, pairing, guide_is_reference, folders=folders), fed


@contextlib.contextmanager
def _only_when_watched(alone: Callable[[], Observation]) -> Iterator[None]:
    """Says so where a script that runs on its own fails in float64 or with the other's values: that is our failure.

    Args:
        alone: Gives what is seen of the script on its own; raises what its failure there is.
    """
    try:
        yield
    except ScriptFailedError as error:
        alone()
        words, _, rest = str(error).partition("\n")
        name, _, message = words.partition(" fails by itself")
        raise RunFailedError(
            f"{name} runs by itself, and fails only as mnist-compare runs it, in float64{message}\n{rest}".rstrip()
        ) from error


def _inputs_of(seen: Observation, root: Path, framework: str) -> str | None:
    """What a model that is only used was called on, in a file and in the other framework's layout."""
    arrays = [array for step in seen.fed[:1] for array in seen.arrays(step.get("inputs")) if array is not None]
    if not arrays:
        return None
    if seen.framework == "keras" and framework == "torch":
        arrays = [np.moveaxis(array, -1, 1) if array.ndim >= 4 else array for array in arrays]
    path = root / "inputs.npz"
    np.savez(path, *(np.ascontiguousarray(array) for array in arrays))
    return str(path)


def _same_draws(context: Context, fed: Feeding) -> Feeding:
    """What both were fed in float64, if that is the same: random numbers drawn in float32 are others."""
    if not any(relation.words for relation in (*fed.inputs, *fed.targets)):
        return fed
    again = feeding(context.guide, context.steered, context.pairing, steered=True)
    return fed if any(relation.words for relation in (*again.inputs, *again.targets)) else again


def _judge(context: Context, fed: Feeding) -> None:
    """Every stage in the order of a training."""
    used_only = not context.guide.observation.updates
    fed = _same_draws(context, fed)
    structure(context)
    loop(context)
    if not used_only:
        data(context, fed)
        order(context, fed)
        part(context, fed)
        validation(context)
    initial_weights(context, used_only=used_only)
    forward(context)
    dropout(context)
    modes(context)
    if used_only:
        return
    statistics(context)
    loss(context)
    broadcast(context)
    trained_parameters(context)
    optimizer(context)
    penalty_as_decay(context)
    gradients(context)
    clipping(context)
    stated(context)


__all__ = ["Pairing", "Watcher", "compare_programs"]
