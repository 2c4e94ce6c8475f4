"""How gradients are clipped between the backward pass and the step."""

from collections import Counter
from typing import Any

import numpy as np

from compare.explanation.context import Context
from compare.explanation.findings import joined
from compare.explanation.observed.carry import parameter_pairs, sources_in
from compare.explanation.observed.observation import Observation, place
from compare.explanation.observed.values import deviation
from compare.explanation.origins import made_at
from compare.explanation.training.gradients import of_guide, ratio_of


def clipping(context: Context) -> None:
    """Finds what differs in how gradients are clipped."""
    guide, steered = _clip(context.guide.observation), _clip(context.steered.observation)
    if guide is None and steered is None:
        return
    places = (
        context.guide.observation.place("optimizer", "place"),
        made_at(
            next((place(entry.get("place")) for entry in context.steered.observation.entries("loop", "clip")), None)
            or context.steered.observation.place("optimizer", "place"),
            context.folders[1],
            "gradient_clip_val",
        ),
    )
    effect, text = _clip_effect(context)
    left = [_left_out(observation) for observation in (context.guide.observation, context.steered.observation)]
    of_part = bool(left[0]) != bool(left[1])
    if guide is None or steered is None or guide[0] != steered[0] or abs(guide[1] - steered[1]) > 1e-6 * abs(guide[1]):
        words = _clip_words(guide), _clip_words(steered)
        if guide is None:
            title = context.added(f"clipping of gradients ({words[1]})", "before the step")
        elif steered is None:
            title = context.missing(f"clipping of gradients ({words[0]})", "before the step")
        else:
            title = context.differs("gradients clipped", *words)
        context.find(
            "gradients",
            title,
            guide=words[0],
            steered=words[1],
            places=places,
            effect=effect or 0.2,
            effect_text=text,
            cause=f"clipping: {words[0]} against {words[1]}",
            mend=_clip_mend(guide),
        )
    elif effect > 1e-5 and _of_sparse(context, guide):
        context.find(
            "gradients",
            "clipping by norm of a sparse gradient (Embedding, IndexedSlices) in TensorFlow: the norm is that of the "
            "parts of a row that occurs more than once in a batch, torch's that of their sum",
            guide=_clip_words(guide),
            steered=_clip_words(steered),
            places=places,
            effect=effect,
            effect_text=text,
            cause="norm of a sparse gradient",
            severity="inherent",
        )
    elif effect > 1e-5 and guide[0] == "norm of each parameter" and _of_parts(context):
        context.find(
            "gradients",
            "clipping by norm of each parameter: what is one parameter in one framework, as a recurrent layer's bias, "
            "is several in the other, each with a norm of its own",
            guide=_clip_words(guide),
            steered=_clip_words(steered),
            places=places,
            effect=effect,
            effect_text=text,
            cause="norm of a parameter that has several parts",
            severity="inherent",
        )
    elif of_part or (
        effect > 1e-4
        and not (context.unpaired or context.has("loop", ("fault",)))
        and not context.says("two trained biases")
    ):  # where layers are not paired, the norm is of other gradients
        parts = [f"{_clip_words(guide)}{f', but not of {joined(paths)}' if paths else ''}" for paths in left]
        why = "of other parameters" if of_part else "at another place"
        context.find(
            "gradients",
            f"gradients are clipped {_clip_words(guide)} on both sides, and differ after it: clipped {why}"
            if effect
            else f"gradients are clipped {_clip_words(guide)} on both sides, {why}",
            guide=parts[0],
            steered=parts[1],
            places=places,
            effect=effect or 0.1,
            effect_text=text if effect else "nothing was clipped in the steps that were run",
            cause="clipping of other parameters" if of_part else "clipping before the gradients are there",
            mend="clip the gradients of all parameters" if of_part else "clip between backward and step",
        )
    elif "norm" in guide[0] and context.frameworks[0] != context.frameworks[1]:
        context.find(
            "gradients",
            "clipping by norm: torch adds 1e-6 to the norm, Keras does not",
            guide=_clip_words(guide),
            steered=_clip_words(steered),
            places=places,
            effect=1e-6,
            severity="inherent",
        )


Clip = tuple[str, float]


def _clip(observation: Observation) -> Clip | None:
    """How a side clips, and at what."""
    settings: dict[str, Any] = observation.part("optimizer", "settings") or {}
    for key, words in (
        ("global_clipnorm", "global norm"),
        ("clipnorm", "norm of each parameter"),
        ("clipvalue", "value"),
    ):
        if isinstance(settings.get(key), int | float):
            return words, float(settings[key])
    entries = _of_first_optimizer(observation)
    calls = [entry for entry in entries if entry.get("step") == entries[0].get("step")]
    one_each = len(calls) > 1 and all(entry.get("gradients") == 1 for entry in calls)
    for entry in entries:
        found = entry.get("settings") or {}
        function = str(entry.get("function"))
        given = [found.get(key) for key in ("max_norm", "clip_value", "clip_norm")] + list(found.get("numbers") or ())[
            -1:
        ]
        value = next((number for number in given if isinstance(number, int | float)), None)
        if value is not None:
            each = function == "clip_by_norm" or one_each
            kind = "value" if "value" in function else "norm of each parameter" if each else "global norm"
            return kind, float(value)
    return None


def _of_first_optimizer(observation: Observation) -> list[dict[str, Any]]:
    """The calls that clip gradients of the first optimizer, whose settings are compared."""
    groups = [group for group in observation.entries("optimizer", "groups") if not group.get("optimizer")]
    own = {path for group in groups for path in group.get("parameters") or ()}
    entries = observation.entries("loop", "clip")
    return [entry for entry in entries if not own or not entry.get("parameters") or own & set(entry["parameters"])]


def _left_out(observation: Observation) -> list[str]:
    """The parameters of the first optimizer whose gradients a call that clips is not given."""
    entries = _of_first_optimizer(observation)
    given = {path for entry in entries for path in entry.get("parameters") or ()}
    groups = [group for group in observation.entries("optimizer", "groups") if not group.get("optimizer")]
    return [path for group in groups for path in group.get("parameters") or () if given and path not in given]


def _clip_words(clip: Clip | None) -> str:
    return "not clipped" if clip is None else f"by {clip[0]} at {clip[1]:g}"


def _clip_mend(clip: Clip | None) -> str:
    if clip is None:
        return "leave the clipping out"
    if clip[0] == "value":
        return f"torch.nn.utils.clip_grad_value_(model.parameters(), {clip[1]:g})"
    if clip[0] == "global norm":
        return f"torch.nn.utils.clip_grad_norm_(model.parameters(), {clip[1]:g})"
    return f"for p in model.parameters(): torch.nn.utils.clip_grad_norm_(p, {clip[1]:g})"


def _of_parts(context: Context) -> bool:
    """Whether all that differs after clipping are parameters of which the other side has another number."""
    pairs = [both for pair in context.pairing.pairs for both in parameter_pairs(pair, context.frameworks)]
    parts = Counter(path for path, _ in pairs)
    single = {steered for path, steered in pairs if parts[path] == 1}
    steered = context.steered.observation
    for step in range(min(len(context.guide.observation.updates), len(steered.updates))):
        a, b = of_guide(context, step, "gradients"), steered.by_path("gradients", step)
        off = {
            path
            for path in a.keys() & b.keys()
            if a[path].shape == b[path].shape and deviation(a[path], b[path]) > 1e-5
        }
        if off & single:
            return False
    return True


def _of_sparse(context: Context, clip: Clip) -> bool:
    """Whether all that differs after clipping is a norm that was taken of a sparse gradient's parts.

    Then every gradient that the norm is of is scaled by one factor, on each side by its own.
    """
    guide, steered = context.guide.observation, context.steered.observation
    for step in range(min(len(guide.updates), len(steered.updates))):
        paths = set(guide.updates[step].get("sparse") or ())
        rows = {path for pair in context.pairing.pairs for path in sources_in(pair, paths) if paths}
        if not rows or clip[0] == "value":
            return False
        a, b = of_guide(context, step, "gradients"), steered.by_path("gradients", step)
        ratios = {path: ratio_of(a[path], b[path]) for path in a.keys() & b.keys() if np.any(a[path])}
        off = {path for path, ratio in ratios.items() if ratio is None or abs(ratio - 1) > 1e-5}
        if clip[0] == "global norm":
            known = [ratio for ratio in ratios.values() if ratio is not None]
            if len(known) < len(ratios) or np.ptp(known) > 1e-5 * abs(known[0]):
                return False
        elif not off <= rows:
            return False
    return True


def _clip_effect(context: Context) -> tuple[float, str]:
    """How far the clipped gradients are apart in the steps that were seen."""
    worst = 0.0
    for step in range(min(len(context.guide.observation.updates), len(context.steered.observation.updates))):
        a, b = of_guide(context, step, "gradients"), context.steered.observation.by_path("gradients", step)
        for path in a.keys() & b.keys():
            if a[path].shape == b[path].shape:
                worst = max(worst, deviation(a[path], b[path]))
    if worst <= 1e-5:
        return 0.0, "no gradient was large enough to be clipped otherwise in these steps"
    return min(worst, 5.0), f"gradients off by {worst:.3g}"
