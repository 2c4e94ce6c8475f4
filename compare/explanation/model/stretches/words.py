"""How a difference in a stretch between two layers is said."""

import re
from collections.abc import Sequence

import numpy as np

from compare.explanation.context import Context, called
from compare.explanation.findings import Place, joined
from compare.explanation.model.stretches.operands import by_last_operation, by_other_state
from compare.explanation.model.stretches.parallel import Parting, alike, made_by, of_other_numbers, parting
from compare.explanation.model.stretches.passes import (
    Pass,
    array_of,
    between,
    compared_keys,
    enter_position,
    line_of,
    words_of,
)
from compare.explanation.model.stretches.segments import Edit, Producers, Step, Value, few
from compare.explanation.observed.observation import Array, Call
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.plan import call_pairs
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import Match, match
from compare.explanation.operations.learning import ADDED
from compare.explanation.operations.rearranging import KEPT
from compare.explanation.words import off_by

_OF_TWO = 2 * 2.0**-24
"""What two constants rounded to float32 move a value by: of more than that, few digits may be the reason as well."""


def rounded(context: Context, steps: Sequence[Step], pair: Pair, fed: Match) -> None:
    """A constant that one of the frameworks rounds to float32, or that one of the programs has with few digits."""
    known = [operation for step in steps if (operation := step.operation()) is not None]
    names = ", ".join(operation.name for operation in known if operation.family not in ("flatten", "permutation"))
    by_framework = fed.deviation <= _OF_TWO
    how = "to float32 in one framework" if by_framework else "to float32, or to few digits, on one side"
    title = f"a constant is rounded {how}{f': {names}' if names else ''}"
    same = next((found for found in context.findings if found.title == title), None)
    if same is not None or (not names and any("rounded to float32" in found.title for found in context.findings)):
        return
    context.find(
        "forward",
        title,
        guide=_constants(context.frameworks[0]) if by_framework else "",
        steered=_constants(context.frameworks[1]) if by_framework else "",
        effect=fed.deviation,
        effect_text=f"what reaches {context.name(pair)} is {off_by(fed.deviation, 'its largest value')}",
        cause="a constant rounded to float32" if by_framework else "a rounded constant",
        severity="inherent",
    )


def _constants(framework: str) -> str:
    return "constants rounded to float32" if framework == "keras" else "constants in float64"


def say_edit(
    one: Pass, edit: Edit, where: tuple[Pair | None, Pair], fed: Match, next_line: Place | None = None
) -> None:
    """One difference between two layers, named by the operations that the values show.

    Args:
        one: The pass.
        edit: The difference.
        where: The layers before and after.
        fed: How far the values are apart that reach the layer after.
        next_line: The first line that computes something in between, where a missing part of a formula belongs.
    """
    context = one.context
    operands = _operands(one, edit)
    if operands is None and _is_consequence(context, edit, fed):
        return
    at = words_of(context, where)
    steered = "nothing" if edit.steered is None else _noise_or(one, edit.steered.name)
    guide = "nothing" if edit.guide is None else _noise_or(one, edit.guide.name)
    if edit.guide is None and edit.step is not None:
        guide = edit.step.name
    if KEPT in guide and edit.steered is not None and KEPT not in steered:
        steered += ", with the padding counted in"
    if operands is not None:
        guide, steered = f"{guide} with {operands[0]}", f"{steered} with {operands[1]}"
    harmless = _is_flattening(edit) and not _carried(context)
    harm = _HARMLESS if context.guide.observation.losses else _OF_CARRYING
    if edit.kind == "missing":
        title = context.missing(_called(edit, guide), at)
    elif edit.kind == "extra":
        title = context.added(steered, at)
    else:
        subject = "order of flattening" if _is_flattening(edit) else _subject(edit)
        subject = "noise" if all(name.startswith(_NOISE) for name in (guide, steered)) else subject
        values = [name.removeprefix(f"{subject} by ") for name in (guide, steered)]
        title = context.differs(f"{subject} {at}:", *values)
    if any(found.title == title for found in context.findings):
        return  # in the other mode, or before another layer that takes the same value
    port_place = edit.value.place if edit.value is not None else line_of(one, where)
    if edit.kind == "replaced" and edit.value is not None:
        port_place = edit.value.made or port_place
    if edit.value is None and edit.guide is not None and edit.guide.family in ("scaling", "two operands"):
        port_place = next_line or port_place
    far = min(max(edit.deviation if np.isfinite(edit.deviation) else 1.0, min(fed.deviation, 1.0) * 0.1), 1.0)
    context.find(
        "forward",
        title + ("" if one.mode == "training" else " (in evaluation mode)"),
        guide=f"{guide} {between(context, where)}",
        steered=f"{steered} {between(context, where)}",
        places=(None if edit.step is None else edit.step.place, port_place),
        effect=far * (0.05 if harmless else 1),
        effect_text=off_by(far, "the largest value") + (harm if harmless else ""),
        cause=title,
        mend=(_not_in_place(one, edit) if operands is not None else "")
        or _mended(edit, guide, steered, port_place, in_torch=context.frameworks[1] == "torch"),
        severity=("minor" if context.guide.observation.losses else "inherent") if harmless else "fault",
    )


_HARMLESS = "; a network that is trained from scratch learns the same up to the order of this layer's inputs"
_OF_CARRYING = "; weights that are carried over to the next layer need their columns in that order"


_NOISE = "Gaussian noise"


def _noise_or(one: Pass, name: str) -> str:
    """An operation's name; of a constant added where a model draws numbers, what it stands for."""
    drawn = any(side.observation.entries("noise") for side in (one.context.guide, one.context.steered))
    if not name.startswith(ADDED) or not drawn:
        return name
    return f"{_NOISE} of deviation {name.removeprefix(ADDED).strip()}"


def is_vague(one: Pass, edit: Edit) -> bool:
    """Whether both sides do the same with another value, of which is not known where it comes from."""
    same = edit.guide is not None and edit.steered is not None and edit.guide.name == edit.steered.name
    return same and _operands(one, edit) is None and not one.context.has("forward", ("fault",))


def _is_consequence(context: Context, edit: Edit, fed: Match) -> bool:
    """Whether an edit is no difference by itself."""
    if edit.steered is None:
        return False
    across = context.frameworks[0] != context.frameworks[1]
    turned = edit.steered.family == "permutation" and "axes" in edit.steered.name
    if edit.kind == "extra" and turned and fed.aligned.ndim == 3 and across:
        return True  # (samples, time, channels) and (samples, channels, time)
    same = edit.guide is not None and edit.guide.name == edit.steered.name
    return same and context.has("forward", ("fault",))  # the other operand is off by what was found before


def _operands(one: Pass, edit: Edit) -> tuple[str, str] | None:
    """The other operands of both sides, where both do the same with another value that the guide has, too."""
    if edit.guide is None or edit.steered is None or edit.guide.name != edit.steered.name:
        return None
    if edit.step is None or not edit.step.others or edit.value is None:
        return None
    both = _producers(one)
    wanted = edit.step.others[0]
    others = [array for array in edit.value.others if not alike(array, edit.step.before)]
    if len(others) != 1 or alike(others[0], wanted) or made_by(both[0], others[0]) is None:
        return None
    first, second = made_by(both[0], wanted), made_by(both[1], others[0])
    return tuple(
        _output_of(one.context, call) + _overwriting(side, call)
        for side, call in zip((one.context.guide, one.context.steered), (first, second), strict=True)
    )  # type: ignore[return-value]


def _overwriting(side: Side, call: Call | None) -> str:
    if call is None or not _in_place(side, call):
        return ""
    layer = side.layers.get(call.layer or "")
    return f" ({call.name if layer is None else layer.kind} in place, which has overwritten its input)"


def _in_place(side: Side, call: Call) -> bool:
    """Whether a call changes what it is given, by its layer's setting or by how it is written."""
    layer = side.layers.get(call.layer or "")
    stated = call.kwargs if layer is None else layer.settings
    line = "" if call.place is None or layer is not None else call.place.code
    return stated.get("inplace") is True or re.search(rf"\b{re.escape(call.name)}_\(", line) is not None


def _not_in_place(one: Pass, edit: Edit) -> str:
    """What leaves a value as it is that the steered side overwrites before it is used again; empty if it does not."""
    if edit.value is None or edit.step is None:
        return ""
    others = [array for array in edit.value.others if not alike(array, edit.step.before)]
    call = made_by(_producers(one)[1], others[0]) if len(others) == 1 else None
    if call is None or not _in_place(one.context.steered, call):
        return ""
    layer = one.context.steered.layers.get(call.layer or "")
    if layer is not None:
        return f"{layer.kind}(inplace=False) for {called(layer)}"
    return f"{call.name}, not {call.name}_ or inplace=True"


def _output_of(context: Context, call: Call | None) -> str:
    if call is None:
        return "the model's input"
    pair = context.pairing.of_guide(call.layer) or context.pairing.of_port(call.layer)
    return f"the output of {context.name(pair) if pair is not None else call.name}"


def _is_flattening(edit: Edit) -> bool:
    both = edit.guide is not None and edit.steered is not None
    return both and edit.guide.family == "flatten" == edit.steered.family  # type: ignore[union-attr]


def _mended(edit: Edit, guide: str, steered: str, where: Place | None, *, in_torch: bool) -> str:
    """A line of code that makes the difference go away; for Keras, in words."""
    if edit.guide is not None and edit.guide.code and not in_torch:
        return f"use {guide}"
    if edit.guide is not None and edit.guide.code:
        return _line(where if edit.kind == "missing" else None, edit.guide.code)
    return {"extra": f"leave out {steered}", "replaced": f"use {guide}"}.get(edit.kind, "")


def _line(where: Place | None, code: str) -> str:
    """A line with an operation put around what it assigns or returns."""
    found = re.fullmatch(r"(\w+\s*=\s*|return )([\w.]+\(\w+\))", where.code) if where is not None else None
    if found is None or code.count("{}") != 1:
        return f"x = {code.replace('{}', 'x')}"
    return found.group(1) + code.replace("{}", found.group(2))


def _carried(context: Context) -> bool:
    """Whether both programs begin with the same weights, so that the order of a layer's inputs matters."""
    if any(text.startswith("loaded weights: both") for text in context.not_seen):
        return False
    return any("the same values" in text for text in context.same) or not context.guide.observation.losses


def _called(edit: Edit, guide: str) -> str:
    if edit.step is not None and edit.step.others:
        return f"{edit.step.name} (residual connection, {guide})"
    return guide


def _subject(edit: Edit) -> str:
    family = (edit.guide or edit.steered).family if (edit.guide or edit.steered) else "operation"  # type: ignore[union-attr]
    return {"two operands": "combination"}.get(family, family)


LOOKED_THROUGH = 40
"""How many calls before a layer are looked through for the place where two computations part."""


def _was_replaced(one: Pass, pair: Pair) -> bool:
    """Whether a layer's output has the size of the guide's, so that the guide's could be put in its place."""
    for other, left, right in call_pairs(one.context.pairing, one.guide_calls, one.steered_calls):
        if other is pair and pair.fits:
            keys = compared_keys(left, right)
            return match(array_of(one, 0, keys[0]), array_of(one, 1, keys[1])) is not None
    return False


def say_unknown(
    one: Pass,
    pair: Pair,
    calls: tuple[Call, Call],
    fed: Match,
    steps: Sequence[Step],
    values: Sequence[Value],
    where: tuple[Pair | None, Pair],
) -> None:
    """What reaches a layer differs, and the known operations do not say why: where the two computations part."""
    enter = calls[1]
    context = one.context
    unsteered = where[0] is not None and not _was_replaced(one, where[0])
    if unsteered and context.not_compared:  # it has come from what is not compared
        context.not_seen.append(f"what reaches {context.name(pair)}: it passes {joined(sorted(context.not_compared))}")
        return
    if unsteered and where[0] is not None and context.name(where[0]) in context.told:
        return  # what the layer before should give could not be put in the place of what it gave
    if where[0] is None and context.says("augmentation"):
        return  # the samples themselves are changed at random, and that was said
    if one.mode == "evaluation" and any(f"reaches {context.name(pair)}" in found.title for found in context.findings):
        return
    window = one.steered_calls[max(0, enter_position(one, enter) - LOOKED_THROUGH) : enter_position(one, enter)]
    at = f"before {context.name(pair)}, {words_of(context, where)}"
    both = array_of(one, 0, calls[0].inputs[0]), array_of(one, 1, enter.inputs[0])
    if say_last_operation(one, pair, window, fed, both, at) or say_parting(one, pair, window, fed, at):
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
        effect_text=off_by(fed.deviation, "the largest value"),
    )


def say_last_operation(
    one: Pass, pair: Pair, window: Sequence[Call], fed: Match, both: tuple[Array | None, Array | None], at: str = ""
) -> bool:
    """What the last operation of a stretch does otherwise; whether that was found, and said.

    Args:
        one: The pass.
        pair: The layer that is reached, or after which both go on.
        window: The steered side's calls to look through.
        fed: What both come to.
        both: What the guide and the steered side come to.
        at: Where, in words; left out, after the layer and before the loss.
    """
    goal = both[1]
    if goal is None or goal.ndim == 0 or fed.aligned.ndim == 0:
        return False
    steered = _producers(one)[1]
    other = by_other_state(steered, window, few(goal))
    if other is not None:
        _say_apart(one, pair, other, fed, at)
        return True
    for wanted in (both[0], fed.aligned):  # as it is, and in the layout that is nearest
        apart = None if wanted is None else by_last_operation(steered, window, few(wanted), few(goal))
        if apart is not None:
            _say_apart(one, pair, apart, fed, at)
            return True
    return False


def say_parting(one: Pass, pair: Pair, window: Sequence[Call], fed: Match, at: str = "") -> bool:
    """Where two computations part that are not chains; whether that was found, and said.

    Args:
        one: The pass.
        pair: The layer that is reached, or after which both go on.
        window: The steered side's calls to look through.
        fed: What both come to.
        at: Where, in words; left out, after the layer and before the loss.
    """
    context = one.context
    producers = _producers(one)
    apart = parting(
        producers[0], producers[1], [call for call in window if context.pairing.of_port(call.layer) is None]
    )
    if apart is None:
        return False
    _say_apart(one, pair, apart, fed, at)
    return True


def say_other_numbers(one: Pass, pair: Pair, window: Sequence[Call], fed: Match) -> None:
    """A value that reaches a layer beside others, and is the guide's, scaled and shifted; nothing if there is none."""
    apart = of_other_numbers(*_producers(one), window)
    if apart is not None and not any(found.place == apart.place for found in one.context.findings):
        _say_apart(one, pair, apart, fed, f"before {one.context.name(pair)}")


def _say_apart(one: Pass, pair: Pair, apart: Parting, fed: Match, at: str) -> None:
    context = one.context
    reached = f"what reaches {context.name(pair)}" if at else "what reaches the loss"
    at = at or f"after {context.name(pair)}, before the loss"
    context.find(
        "forward",
        f"{apart.words} ({at})"
        if context.guide_is_reference
        else f"{apart.guide} in the port, {apart.steered} in the reference ({at})",
        guide=apart.guide,
        steered=apart.steered,
        places=(pair.guide.place, apart.place),
        effect=min(fed.deviation, 1.0),
        effect_text=f"{reached} is {off_by(fed.deviation, 'its largest value')}",
        cause=apart.words,
        mend=_line(None, apart.code) if apart.code and context.frameworks[1] == "torch" else "",
    )


def _producers(one: Pass) -> tuple[Producers, Producers]:
    """Which call made which value, of the guide and of the steered side."""
    first, second = one.channels_last
    return (
        Producers(one.context.guide.observation, one.guide_calls, channels_last=first),
        Producers(one.context.steered.observation, one.steered_calls, channels_last=second),
    )
