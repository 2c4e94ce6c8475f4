"""A loss as a sum of the guide's own terms: the losses of several outputs, penalties of the weights."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from compare.explanation.context import Context
from compare.explanation.loss.words import Found, Said, batch_size, factor_words
from compare.explanation.observed.kinds import kind_of
from compare.explanation.observed.observation import Array, place
from compare.explanation.words import number
from compare.explanation.written import as_sum, averages, nodes_of


def by_terms(context: Context, steps: Sequence[int], a: Array, b: Array) -> Found | None:
    """As a sum of the guide's own terms: outputs' losses, penalties of the weights. Needs more steps than terms."""
    terms = _terms(context, steps)
    if not terms:
        return None
    count = len(next(iter(terms.values())))
    a, b = a[:count], b[:count]
    main = [name for name in terms if name.startswith("the loss")]
    for count in range(len(terms) - len(main) + 1):  # no more penalties than are needed
        for penalties in itertools.combinations([name for name in terms if name not in main], count):
            found = _weighted_terms(context, steps[: len(a)], {name: terms[name] for name in (*main, *penalties)}, a, b)
            if found:
                return found
    return None


def _weighted_terms(context: Context, steps: Sequence[int], terms: dict[str, Array], a: Array, b: Array) -> Found:
    """Both losses as sums of the same terms; empty if one of them is none."""
    names = list(terms)
    columns = np.stack([terms[name] for name in names], axis=1)
    if len(a) <= len(names) or np.linalg.matrix_rank(columns / np.abs(columns).max(axis=0)) < len(names):
        return []
    main = [i for i, name in enumerate(names) if name.startswith("the loss")]
    first, second = _fewest(columns, main, a), _fewest(columns, main, b)
    if first is None or second is None:
        return []
    found: Found = []
    for name, x, y in zip(names, first, second, strict=True):
        if abs(x - y) > 1e-6 * max(abs(x), abs(y), 1e-9):
            own = _own_penalty(context, terms[name]) if "penalty" in name else _own_term(context, steps, terms[name])
            found.append(_weighed(context, name, float(x), float(y), len(names), own))
    return _rows_for_tables(context, found)


def _fewest(columns: Array, main: Sequence[int], values: Array) -> Array | None:
    """The weights of a sum of the main terms and as few others as it takes; None if it is none."""
    others = [i for i in range(columns.shape[1]) if i not in main]
    for count in range(len(others) + 1):
        for chosen in itertools.combinations(others, count):
            kept = [*main, *chosen]
            weights = _solved(columns[:, kept], values)
            if weights is not None:
                found = np.zeros(columns.shape[1])
                found[kept] = weights
                return found
    return None


def _solved(columns: Array, values: Array) -> Array | None:
    """The weights of a sum, if it is one."""
    scale = np.abs(columns).max(axis=0)
    weights = np.linalg.lstsq(columns / scale, values, rcond=None)[0] / scale
    share = np.abs(weights) * scale / max(np.abs(values).max(), 1e-30)
    weights = np.where(share < 1e-9, 0.0, weights)
    error = np.abs(columns @ weights - values).max()
    return weights if error <= 1e-8 * max(np.abs(values).max(), 1e-12) else None


def _terms(context: Context, steps: Sequence[int]) -> dict[str, Array]:
    """The values of the guide's terms by name, at each step; those that any step lacks are left out."""
    losses = context.guide.observation.losses
    keras = context.guide.observation.framework == "keras"  # torch's outputs have keys, and no names
    penalised = (losses[0].get("penalties") or []) if losses else []
    if any("activity_of" in penalty for penalty in penalised) or _tables(context, penalised):
        steps = [step for step in steps if step < len(context.guide.observation.calls)]
    rows: list[dict[str, float]] = []
    for step in steps:
        row: dict[str, float] = {}
        entry = losses[step]
        for position, term in enumerate(entry.get("terms") or []):
            if isinstance(term.get("value"), int | float):
                output = (keras and term.get("output")) or position
                row[f"the loss {term.get('function')} of output {output}"] = float(term["value"])
        for regularizer in ("L1", "L2"):
            power = 1 if regularizer == "L1" else 2
            for kind in ("weights", "biases"):
                total = _norm(context, step, power, biases=kind == "biases", only=_penalised(entry, regularizer))
                row[f"{regularizer} penalty of the {kind}"] = total
        row |= _activity(context, step, entry) | _looked_up(context, step, entry)
        rows.append(row)
    names = (
        [name for name in rows[0] if all(name in row for row in rows) and any(row[name] for row in rows)]
        if rows
        else []
    )
    main = [name for name in names if name.startswith("the loss")]
    penalties = [name for name in names if name not in main]
    wanted = main + penalties
    return {name: np.array([row[name] for row in rows]) for name in wanted} if main else {}


def _activity(context: Context, step: int, entry: dict[str, Any]) -> dict[str, float]:
    """The penalties of outputs that the guide's layers ask for, as Keras has them: divided by the batch's size."""
    observation = context.guide.observation
    calls = observation.calls[step] if step < len(observation.calls) else []
    found: dict[str, float] = {}
    for penalty in entry.get("penalties") or []:
        name, settings = penalty.get("activity_of"), penalty.get("settings")
        outputs = [observation.array(call.outputs[0]) for call in calls if call.layer == name and call.outputs]
        for power, kind in ((1, "l1"), (2, "l2")) if name and isinstance(settings, dict) else ():
            if settings.get(kind):
                total = sum(float((np.abs(y) ** power).sum()) / len(y) for y in outputs if y is not None and y.ndim)
                found[f"{kind.upper()} penalty of the output of {name}"] = total
    return found


def _tables(context: Context, penalties: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The guide's embeddings whose weights are penalised: their names and paths."""
    paths = {str(penalty.get("parameter")) for penalty in penalties}
    return {
        layer.name: parameter.path
        for layer in context.guide.layers.values()
        for parameter in layer.parameters.values()
        if kind_of(layer) == "embedding" and parameter.path in paths
    }


def _looked_up(context: Context, step: int, entry: dict[str, Any]) -> dict[str, float]:
    """Of penalised embeddings, the powers of what a batch looks up in them, as often as it does."""
    observation, tables = context.guide.observation, _tables(context, entry.get("penalties") or [])
    calls = observation.calls[step] if tables and step < len(observation.calls) else []
    found: dict[str, float] = {}
    for regularizer, power in (("L1", 1), ("L2", 2)) if tables else ():
        only = _penalised(entry, regularizer) or frozenset()
        outputs = [
            observation.array(call.outputs[0]) for call in calls if tables.get(str(call.layer)) in only and call.outputs
        ]
        total = sum(float((np.abs(np.asarray(y, np.float64)) ** power).sum()) for y in outputs if y is not None)
        found[f"{regularizer} penalty of {_ROWS}"] = total
    return found


_ROWS = "the rows that a batch looks up"


def _rows_for_tables(context: Context, found: Found) -> Found:
    """One finding in place of two where the penalty of whole tables became one of the rows of the batch."""
    missing = [said for said in found if said.steered == "0" and "penalty of the weights" in said.title]
    added = [said for said in found if said.guide == "0" and _ROWS in said.title]
    if len(missing) != 1 or len(added) != 1:
        return found
    kind = missing[0].title[missing[0].title.index(" penalty") - 2 :][:2]
    title = context.differs(
        f"{kind} penalty of embeddings:",
        "of all their weights",
        f"of {_ROWS}, as often as it does, times {float(added[0].steered):.3g}",
    )
    mend = f"take it of the weights of the layers: {kind} of layer.weight" if kind == "L1" else (
        f"{missing[0].guide} * embedding.weight.square().sum()"
    )  # fmt: skip
    both = Said(
        title,
        f"all weights, times {missing[0].guide}",
        f"the batch's rows, times {float(added[0].steered):.3g}",
        title,
        mend,
    )
    return [both, *(said for said in found if said not in (missing[0], added[0]))]


def _penalised(entry: dict[str, Any], regularizer: str) -> frozenset[str] | None:
    """The paths of the parameters that the guide penalises so; None if it penalises none."""
    paths = []
    for penalty in entry.get("penalties") or []:
        settings = penalty.get("settings") or {}
        if penalty.get("function") == regularizer or settings.get(regularizer.lower()):
            paths.append(str(penalty.get("parameter")))
    return frozenset(paths) or None


def _norm(context: Context, step: int, power: int, *, biases: bool, only: frozenset[str] | None) -> float:
    """The sum of the powers of the weights, or of the biases."""
    if power == 1 and only is None:
        return 0.0
    before = context.guide.observation.by_path("parameters_before", step)
    trainable = {
        p.path: len(p.shape)
        for layer in context.guide.layers.values()
        for p in layer.parameters.values()
        if p.trainable
    }
    total = 0.0
    for path, array in before.items():
        if path not in trainable or (trainable[path] < 2) != biases:
            continue
        if only is not None and path not in only and not biases:
            continue
        total += float((np.abs(np.asarray(array, np.float64)) ** power).sum())
    return total


REGULARISATION = "regularisation, like weight decay"


def _own_term(context: Context, steps: Sequence[int], values: Array) -> dict[str, Any]:
    """The one function of the steered side's loss that has these values at all steps; empty if not one has."""
    losses = context.steered.observation.losses
    rows = [losses[step].get("terms") or [] for step in steps]
    if len({len(row) for row in rows}) != 1:
        return {}
    columns = [[row[position].get("value") for row in rows] for position in range(len(rows[0]))]
    fitting = [position for position, column in enumerate(columns) if _are(column, values)]
    return dict(rows[0][fitting[0]]) if len(fitting) == 1 else {}


def _own_penalty(context: Context, values: Array) -> dict[str, Any]:
    """The call that first gives the steered side a penalty, up to its factor, and how many values it averages.

    Known where it is written out, and of the steps whose calls are kept.
    """
    observation = context.steered.observation
    columns = [nodes_of(observation, [call.entry for call in calls]) for calls in observation.loss_calls[: len(values)]]
    if len(columns) < _ENOUGH or len({len(column) for column in columns}) != 1:
        return {}
    for i, node in enumerate(columns[0]):
        ratios = [
            float(column[i].output.item()) / v
            for column, v in zip(columns, values, strict=False)
            if node.output.size == 1
        ]
        if ratios and ratios[0] and np.allclose(ratios, ratios[0], rtol=1e-6, atol=0):
            shape = node.inputs[0].shape if node.inputs and averages(node) else ()
            return {"made": node, "averaged": int(np.prod(shape[1:])) if len(shape) > 1 else 0}
    return {}


_ENOUGH = 2
"""Of so many steps no two values have the same ratio by chance."""


def _are(column: Sequence[Any], values: Array) -> bool:
    numbers = all(isinstance(value, int | float) for value in column)
    return numbers and bool(np.allclose(column, values, rtol=1e-6, atol=1e-12))


def _weighed(context: Context, name: str, x: float, y: float, count: int, own: dict[str, Any]) -> Said:
    """A term that the two weigh differently; its own is the steered side's function for it."""
    if "penalty" in name:
        of_output = "of the output" in name
        words = f"{name} (which Keras divides by the batch's size)" if of_output else f"{name} ({REGULARISATION})"
        if x and y:
            ratio = y / x
            size = batch_size(context)
            extra = " (one half of it)" if abs(ratio - 0.5) < 1e-6 else " (twice)" if abs(ratio - 2) < 1e-6 else ""
            if of_output and size and abs(ratio / size - 1) < 1e-6:
                extra = f" ({size} times: the sum over the batch)"
            made, averaged = own.get("made"), own.get("averaged") or 0
            if averaged > 1 and abs(ratio * averaged - 1) < 1e-6:
                extra = f" (1/{averaged} of it: the mean over {averaged} values, not their sum)"
            title = context.differs(f"factor of the {words}:", f"{x:.6g}", f"{y:.6g}{extra}")
            return Said(
                title,
                f"{x:.6g}",
                f"{y:.6g}",
                f"the factor of the {name} is {ratio:.6g} times the other",
                (as_sum(made, averaged) if made is not None and averaged > 1 else "") or f"use {x:.6g}",
                None if made is None else made.place,
            )
        title = context.missing(words, "in the loss") if x else context.added(f"{words} of {y:.6g}", "in the loss")
        return Said(title, f"{x:.6g}", f"{y:.6g}", title, f"use {x:.6g}")
    function = str(own.get("function") or "")
    called = f"{name}, {function}," if function and function not in name else name
    what = f"weight of {called.rstrip(',')}" if count > 1 else "factor of the loss"
    title = context.differs(f"{what}:", f"{x:.6g}", f"{y:.6g}")
    ratio = y / x if x else float("inf")
    size = batch_size(context)
    if count == 1 or abs(ratio - round(ratio)) > 1e-6 or size is None:
        words = factor_words(context, ratio)
        title = f"{title}: {words}" if words else title
    mend = f"multiply {called} by {number(x / y)}" if y else f"add {name}"
    return Said(title, f"weight {x:.6g}", f"weight {y:.6g}", title, mend, place(own.get("place")))
