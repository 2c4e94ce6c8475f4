"""How a difference in a stretch between two layers is said."""

import re
from collections.abc import Sequence

import numpy as np

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.model.parallel import parting
from compare.explanation.model.passes import (
    Pass,
    array_of,
    between,
    compared_keys,
    enter_position,
    line_of,
    words_of,
)
from compare.explanation.model.segments import Edit, Producers, Step, Value
from compare.explanation.observed.observation import Call
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.plan import call_pairs
from compare.explanation.observed.values import Match, match


def rounded(context: Context, steps: Sequence[Step], pair: Pair, fed: Match) -> None:
    """A constant that one of the frameworks rounds to float32."""
    known = [operation for step in steps if (operation := step.operation()) is not None]
    names = ", ".join(operation.name for operation in known if operation.family not in ("flatten", "permutation"))
    title = f"a constant is rounded to float32 in one framework{f': {names}' if names else ''}"
    same = next((found for found in context.findings if found.title == title), None)
    if same is not None or (not names and any("rounded to float32" in found.title for found in context.findings)):
        return
    context.find(
        "forward",
        title,
        guide="constants rounded to float32" if context.frameworks[0] == "keras" else "constants in float64",
        steered="constants rounded to float32" if context.frameworks[1] == "keras" else "constants in float64",
        effect=fed.deviation,
        effect_text=f"what reaches {context.name(pair)} is off by {fed.deviation:.2g}",
        cause="a constant rounded to float32",
        severity="inherent",
    )


def say_edit(one: Pass, edit: Edit, where: tuple[Pair | None, Pair], fed: Match) -> None:
    """One difference between two layers, named by the operations that the values show."""
    context = one.context
    if _is_consequence(context, edit, fed):
        return
    at = words_of(context, where)
    steered = "nothing" if edit.steered is None else edit.steered.name
    guide = "nothing" if edit.guide is None else edit.guide.name
    if edit.guide is None and edit.step is not None:
        guide = edit.step.name
    harmless = _is_flattening(edit) and not _carried(context)
    if edit.kind == "missing":
        title = context.missing(_called(edit, guide), at)
    elif edit.kind == "extra":
        title = context.added(steered, at)
    else:
        subject = "order of flattening" if _is_flattening(edit) else _subject(edit)
        title = context.differs(f"{subject} {at}:", guide, steered)
    if one.mode == "evaluation" and any(found.title == title for found in context.findings):
        return
    port_place = edit.value.place if edit.value is not None else line_of(one, where)
    far = min(max(edit.deviation if np.isfinite(edit.deviation) else 1.0, min(fed.deviation, 1.0) * 0.1), 1.0)
    context.find(
        "forward",
        title + ("" if one.mode == "training" else " (in evaluation mode)"),
        guide=f"{guide} {between(context, where)}",
        steered=f"{steered} {between(context, where)}",
        places=(None if edit.step is None else edit.step.place, port_place),
        effect=far * (0.05 if harmless else 1),
        effect_text=f"off by {far:.3g} of the largest value" + (_HARMLESS if harmless else ""),
        cause=title,
        mend=_mended(edit, steered, port_place),
        severity="minor" if harmless else "fault",
    )


_HARMLESS = "; a network that is trained from scratch learns the same up to the order of this layer's inputs"


def _is_consequence(context: Context, edit: Edit, fed: Match) -> bool:
    """Whether an edit is no difference by itself."""
    if edit.steered is None:
        return False
    across = context.frameworks[0] != context.frameworks[1]
    if edit.kind == "extra" and edit.steered.family == "permutation" and fed.aligned.ndim == 3 and across:
        return True  # (samples, time, channels) and (samples, channels, time)
    same = edit.guide is not None and edit.guide.name == edit.steered.name
    return same and context.has("forward", ("fault",))  # the other operand is off by what was found before


def _is_flattening(edit: Edit) -> bool:
    both = edit.guide is not None and edit.steered is not None
    return both and edit.guide.family == "flatten" == edit.steered.family  # type: ignore[union-attr]


def _mended(edit: Edit, steered: str, where: Place | None) -> str:
    """A line of code that makes the difference go away."""
    if edit.guide is not None and edit.guide.code:
        return _line(where if edit.kind == "missing" else None, edit.guide.code)
    return f"leave out {steered}" if edit.kind == "extra" else ""


def _line(where: Place | None, code: str) -> str:
    """A line with an operation put around what it assigns or returns."""
    found = re.fullmatch(r"(\w+\s*=\s*|return )([\w.]+\(\w+\))", where.code) if where is not None else None
    if found is None or code.count("{}") != 1:
        return f"x = {code.replace('{}', 'x')}"
    return found.group(1) + code.replace("{}", found.group(2))


def _carried(context: Context) -> bool:
    """Whether both programs begin with the same weights, so that the order of a layer's inputs matters."""
    return any("the same values" in text for text in context.same) or not context.guide.observation.losses


def _called(edit: Edit, guide: str) -> str:
    if edit.step is not None and edit.step.others:
        return f"{edit.step.name} (residual connection, {guide})"
    return guide


def _subject(edit: Edit) -> str:
    family = (edit.guide or edit.steered).family if (edit.guide or edit.steered) else "operation"  # type: ignore[union-attr]
    return {"two operands": "combination"}.get(family, family)


_WINDOW = 40
"""How many calls before a layer are looked through for the place where two computations part."""


def _was_replaced(one: Pass, pair: Pair) -> bool:
    """Whether a layer's output has the size of the guide's, so that the guide's could be put in its place."""
    for other, left, right in call_pairs(one.context.pairing, one.guide_calls, one.steered_calls):
        if other is pair:
            keys = compared_keys(left, right)
            return match(array_of(one, 0, keys[0]), array_of(one, 1, keys[1])) is not None
    return False


def say_unknown(
    one: Pass,
    pair: Pair,
    enter: Call,
    fed: Match,
    steps: Sequence[Step],
    values: Sequence[Value],
    where: tuple[Pair | None, Pair],
) -> None:
    """What reaches a layer differs, and the known operations do not say why: where the two computations part."""
    context = one.context
    if where[0] is not None and context.name(where[0]) in context.told and not _was_replaced(one, where[0]):
        return  # what the layer before should give could not be put in the place of what it gave
    if one.mode == "evaluation" and any(f"reaches {context.name(pair)}" in found.title for found in context.findings):
        return
    producers = [
        Producers(side.observation, calls, channels_last=last)
        for side, calls, last in zip(
            (context.guide, context.steered), (one.guide_calls, one.steered_calls), one.channels_last, strict=True
        )
    ]
    window = one.steered_calls[max(0, enter_position(one, enter) - _WINDOW) : enter_position(one, enter)]
    apart = parting(
        producers[0], producers[1], [call for call in window if context.pairing.of_port(call.layer) is None]
    )
    if apart is not None:
        at = f"before {context.name(pair)}, {words_of(context, where)}"
        context.find(
            "forward",
            f"{apart.words} ({at})"
            if context.guide_is_reference
            else f"{apart.guide} in the port, {apart.steered} in the reference ({at})",
            guide=apart.guide,
            steered=apart.steered,
            places=(pair.guide.place, apart.place),
            effect=min(fed.deviation, 1.0),
            effect_text=f"what reaches {context.name(pair)} is off by {fed.deviation:.3g} of its largest value",
            cause=apart.words,
        )
        return
    guide = ", ".join(op.name if (op := step.operation()) else step.name for step in steps) or "nothing in between"
    steered = ", ".join(value.name for value in values[:-1]) or "nothing in between"
    context.find(
        "forward",
        f"what reaches {context.name(pair)} differs {words_of(context, where)}; no known cause fits",
        guide=guide,
        steered=steered,
        places=(pair.guide.place, values[0].place if values else enter.place),
        effect=min(fed.deviation, 1.0),
        effect_text=f"off by {fed.deviation:.3g} of the largest value",
    )
