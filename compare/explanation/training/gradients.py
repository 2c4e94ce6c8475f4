"""Gradients, and which parameters get any: frozen, detached, scaled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.explanation.context import Context, in_code
from compare.explanation.findings import Place, joined
from compare.explanation.observed.carry import carried, parameter_pairs
from compare.explanation.observed.observation import Array, Observation, place
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.values import deviation
from compare.explanation.training.penalties import decayed_as_penalised
from compare.explanation.words import counted, off_by

_SAME = 1e-8


@dataclass(frozen=True)
class _Cause:
    """Why gradients differ: what to say, the cause in a word or two, the steered side's line and torch's mend."""

    title: str
    word: str | None
    line: Place | None = None
    mend: str = ""


def trained_parameters(context: Context) -> None:
    """Finds what is trained on one side only."""
    guide, steered = context.guide.observation, context.steered.observation
    if not guide.updates or not steered.updates:
        return
    unknown = (
        set(steered.part("optimizer", "unknown_parameters") or ()),
        set(guide.part("optimizer", "unknown_parameters") or ()),
    )
    moved = _moved(guide), _moved(steered)
    only_guide: list[tuple[Pair, str]] = []
    only_steered: list[tuple[Pair, str]] = []
    for pair in context.pairing.pairs:
        for a, b in parameter_pairs(pair, context.frameworks):
            if _is_buffer(pair, b):
                continue
            if moved[0].get(a) and not moved[1].get(b, False):
                only_guide.append((pair, b))
            elif moved[1].get(b) and not moved[0].get(a, False):
                only_steered.append((pair, b))
    _report(context, only_guide, unknown[0], by_guide=True)
    _report(context, only_steered, unknown[1], by_guide=False)
    _two_biases(context, moved[1])


def _is_buffer(pair: Pair, path: str) -> bool:
    return any(p.is_buffer for layer in pair.ports for p in layer.parameters.values() if p.path == path)


def _moved(observation: Observation) -> dict[str, bool]:
    """Of each parameter, whether its own backward pass gave it a gradient in any step, and the optimizer knows it."""
    found: dict[str, bool] = {}
    unknown = set(observation.part("optimizer", "unknown_parameters") or ())
    for update in observation.updates:
        for path, key in (update.get("raw_gradients") or {}).items():
            found[path] = found.get(path, False) or (key is not None and path not in unknown)
    grouped = {p for group in observation.entries("optimizer", "groups") for p in group.get("parameters") or ()}
    if grouped and "?" not in grouped:
        found = {path: moved and path in grouped for path, moved in found.items()}
    return found


def _report(context: Context, entries: list[tuple[Pair, str]], unknown: set[str], *, by_guide: bool) -> None:
    """One finding for all parameters that only one side trains."""
    if not entries:
        return
    names = joined(dict.fromkeys(path if pair.kind == "own" else context.name(pair) for pair, path in entries))
    detached = by_guide and not any(path in unknown for _, path in entries) and _requires_grad(entries)
    if detached and context.has("forward", ("fault",)):
        context.not_seen.append(
            f"whether a gradient would reach {names}: what was found in the forward pass cuts it off"
        )
        return
    some = entries[0][0]
    cause = _why_untrained(context, entries, unknown, by_guide=by_guide, detached=detached)
    context.find(
        "gradients",
        f"{names}: {cause.title}",
        guide="trained" if by_guide else "frozen: no gradient, no update",
        steered="no gradient, no update" if by_guide else "trained",
        places=(some.guide.place, cause.line or (_detached_place(context) if detached else some.port.place)),
        effect=1.0,
        effect_text="these weights move on one side only",
        cause=cause.word,
        mend=cause.mend,
    )


def _why_untrained(
    context: Context, entries: list[tuple[Pair, str]], unknown: set[str], *, by_guide: bool, detached: bool
) -> _Cause:
    """Why only one side trains these parameters; the title goes on after their names."""
    paths = [path for _, path in entries]
    port_trains = by_guide != context.guide_is_reference
    if port_trains:
        title = "trained in the port, frozen in the reference (trainable=False, requires_grad)"
        return _Cause(title, "frozen in the reference only", mend=_trained(context, entries, trained=False))
    if by_guide and (lines := _unregistered(context, paths)) is not None:
        title = (
            "held in a plain list or dictionary, so that parameters() does not have these parameters and the optimizer "
            "does not know them; the reference trains them"
        )
        mend = "nn.ModuleList([...]) or nn.ModuleDict({...}) around them"
        return _Cause(title, "modules in a plain list", place(next(iter(lines.values()))), mend)
    if by_guide and any(path in unknown for path in paths):
        title = "the optimizer does not know these parameters; the reference trains them"
        layers = joined(dict.fromkeys(in_code(pair.port.name, context.model) for pair, _ in entries))
        mend = f"give the optimizer the parameters of {layers}"
        line = context.steered.observation.place("optimizer", "place")
        return _Cause(title, "parameters that no group of the optimizer has", line, mend)
    if detached:
        title = "no gradient reaches these parameters (detached, or under no_grad); the reference trains them"
        return _Cause(title, "no gradient", mend="leave out the detach or no_grad on the way to them")
    title = "frozen in the port (trainable=False, requires_grad=False), trained in the reference"
    return _Cause(title, "frozen in the port only", mend=_trained(context, entries, trained=True))


def _trained(context: Context, entries: list[tuple[Pair, str]], *, trained: bool) -> str:
    """The lines that have the port's layers trained, or not."""
    port_is_torch = context.frameworks[context.guide_is_reference] == "torch"
    line = f"requires_grad_({trained})" if port_is_torch else f"trainable = {trained}"
    layers = dict.fromkeys(in_code(context.layer(pair).name, context.model) for pair, _ in entries)
    return "; ".join(f"{layer}.{line}" for layer in layers)


def _unregistered(context: Context, paths: Sequence[str]) -> dict[str, Any] | None:
    """The lines of parameters that are of modules in a plain list, if all of these are; None if they are not."""
    found = context.steered.observation.part("optimizer", "unregistered") or {}
    return {path: found[path] for path in paths} if all(path in found for path in paths) else None


def _requires_grad(entries: Sequence[tuple[Pair, str]]) -> bool:
    return all(
        p.trainable
        for pair, path in entries
        for layer in pair.ports
        for p in layer.parameters.values()
        if p.path == path
    )


def _detached_place(context: Context) -> Place | None:
    found = context.steered.observation.entries("loop", "detached")
    first = found[0] if found else None
    return place(first.get("place") if isinstance(first, dict) and "place" in first else first)


def _two_biases(context: Context, moved: dict[str, bool]) -> None:
    """Torch's recurrent layers have two biases, whose sum moves twice as fast where Keras has one."""
    found = []
    for pair in context.pairing.pairs:
        paths = [p.path for layer in pair.ports for name, p in layer.parameters.items() if "bias_hh" in name]
        one = not any(len(p.shape) == 2 and "bias" in n for layer in pair.guides for n, p in layer.parameters.items())
        if context.frameworks == ("keras", "torch") and paths and one and all(moved.get(path) for path in paths):
            found.append(pair)
    if found:
        names = context.names(found)
        context.find(
            "gradients",
            f"{names}: two trained biases (bias_ih and bias_hh) where Keras has one",
            guide="one bias" if context.frameworks[0] == "keras" else "bias_ih and bias_hh",
            steered="bias_ih and bias_hh, whose sum moves by both updates",
            places=(found[0].guide.place, found[0].port.place),
            effect=0.05,
            effect_text="the bias moves twice as fast",
            cause="two biases",
            mend=f"nn.init.zeros_({in_code(found[0].port.name, context.model)}.bias_hh_l0).requires_grad_(False)",
            severity="minor",
        )


def gradients(context: Context) -> None:
    """Finds what differs in the gradients, where forward pass and loss are the same."""
    guide, steered = context.guide.observation, context.steered.observation
    if not guide.updates or not steered.updates or context.says("zero_grad|accumulation|evaluation mode"):
        return
    first = of_guide(context, 0, "gradients" if guide.accumulates else "raw_gradients")
    second = steered.by_path("raw_gradients", 0)
    both = [path for path in first if path in second and first[path].shape == second[path].shape]
    if not both:
        context.not_seen.append("the gradients")
        return
    far = {path: deviation(first[path], second[path]) for path in both}
    scale = max(float(np.abs(first[path]).max()) for path in both)
    # A gradient that is nothing but rounding, of a bias before a normalisation for one, is nothing to compare.
    off = [p for p in both if far[p] > _SAME and float(np.abs(first[p]).max()) > 1e-9 * scale]
    if not off:
        context.same.append(f"the gradients of {counted(len(both), 'parameter')}")
        return
    if context.has("forward") or context.has("loss", ("fault",)):
        return  # what differs before them changes them
    if context.says("^targets") and not _of_one_loss(context):
        context.not_seen.append("the gradients: the targets differ")
        return
    if context.not_compared:
        context.not_seen.append(f"the gradients: they pass {joined(sorted(context.not_compared))}")
        return
    if apart := [pair for pair in context.pairing.pairs if not pair.fits]:
        context.not_seen.append(f"the gradients: they pass {context.names(apart)}, whose weights are each side's own")
        return
    if max(far[path] for path in off) <= 1e-5:
        context.same.append(f"the gradients of {counted(len(both), 'parameter')}, up to constants rounded to float32")
        return
    _explain(context, _Apart(off, first, second), len(both), max(far[path] for path in off))


def _of_one_loss(context: Context) -> bool:
    """Whether the first losses are the same: targets that are inputs as well are not replaced by the reference's."""
    losses = (context.guide.observation.losses, context.steered.observation.losses)
    first, second = ((found[0].get("value") if found else None) for found in losses)
    return first is None or second is None or abs(first - second) <= _SAME * max(abs(first), 1e-30)


def of_guide(context: Context, step: int, kind: str = "raw_gradients") -> dict[str, Array]:
    """The guide's gradients of a step by the steered side's paths, in its layout."""
    found = context.guide.observation.by_path(kind, step)
    carried_over: dict[str, Array] = {}
    for pair in context.pairing.pairs:
        carried_over |= carried(pair, found, context.frameworks, gradients=True)
    return carried_over


@dataclass(frozen=True)
class _Apart:
    """Gradients of the first step that differ: of the parameters `paths`, each side's, in the steered side's layout."""

    paths: list[str]
    guide: dict[str, Array]
    steered: dict[str, Array]

    def ratios(self, context: Context) -> list[float | None]:
        """Of each, the factor that makes the reference's gradient the port's; None where there is none."""
        found = (ratio_of(self.guide[path], self.steered[path]) for path in self.paths)
        return [ratio if ratio is None or context.guide_is_reference else 1 / ratio for ratio in found]


def _explain(context: Context, apart: _Apart, num_parameters: int, far: float) -> None:
    before = context.steered.observation.by_path("parameters_before", 0)
    by_weights = all(
        _by_weights(apart.guide[path], apart.steered[path], before.get(path)) is not None for path in apart.paths
    )
    if by_weights and (context.has("optimizer") or decayed_as_penalised(context)):
        return  # a penalty in one loss, which stands in the other side's weight decay
    causes = (look(context, apart) for look in (_scaled, _stopped_on_one_side, _padding_row, _detached))
    unknown = _Cause(
        f"the gradients of {', '.join(apart.paths[:3])} differ from the same loss; no known cause fits", None
    )
    cause = next((cause for cause in causes if cause is not None), unknown)
    losses = context.steered.observation.losses
    context.find(
        "gradients",
        cause.title,
        guide=f"largest {max(float(np.abs(apart.guide[path]).max()) for path in apart.paths):.4g}",
        steered=f"largest {max(float(np.abs(apart.steered[path]).max()) for path in apart.paths):.4g}",
        places=(None, cause.line or (place(losses[0].get("place")) if losses else None)),
        effect=min(far, 1.0),
        effect_text=f"{off_by(far, 'the largest')}; {len(apart.paths)} of {counted(num_parameters, 'parameter')}",
        cause=cause.word,
        mend=cause.mend if context.frameworks[1] == "torch" else "",
    )


def _scaled(context: Context, apart: _Apart) -> _Cause | None:
    """One factor in all of them."""
    ratios = apart.ratios(context)
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < len(ratios) or np.ptp(known) > 1e-6 * abs(known[0]):
        return None
    return _Cause(f"the gradients are {known[0]:.6g} times the reference's", "scaled by a constant")


_STOPPED = (
    ("stopped on its way (stop_gradient, detach)", "not stopped (no stop_gradient, no detach)"),
    ("not stopped (no stop_gradient, no detach)", "stopped on its way (stop_gradient, detach)"),
)
"""What the guide and the steered side do, where the guide stops a gradient and where the steered side does."""


def _stopped_on_one_side(context: Context, apart: _Apart) -> _Cause | None:
    """A gradient that one side stops and the other does not.

    Torch's own functions detach as well: a line counts that says so itself.
    """
    lines = []
    for side in (context.guide, context.steered):
        observation = side.observation
        calls = [*observation.calls[:1], *observation.loss_calls[:1]]
        stops = (call.place for entries in calls for call in entries if call.function in ("detach", "stop_gradient"))
        lines.append(next((line for line in stops if line is not None), None))
    by_guide, by_steered = lines
    if (by_guide is None) == (by_steered is None):
        return None
    title = context.differs(
        f"the gradients of {', '.join(apart.paths[:3])} differ from the same loss: the gradient is",
        *_STOPPED[by_guide is None],
    )
    mend = "detach what the reference stops" if by_steered is None else "leave out the detach"
    return _Cause(title, "a gradient that is stopped on one side", by_steered, mend)


def _padding_row(context: Context, apart: _Apart) -> _Cause | None:
    """An embedding's row of the padding that is trained on one side only."""
    pair = next((pair for pair in context.pairing.pairs if pair.kind == "embedding" and pair.fits), None)
    row = None if pair is None else pair.port.settings.get("padding_idx")
    table = [] if pair is None else [parameter.path for parameter in pair.port.parameters.values()][:1]
    if pair is None or not isinstance(row, int) or apart.paths != table:
        return None
    wanted, seen = apart.guide[table[0]].copy(), apart.steered[table[0]]
    if np.any(seen[row]) or not np.any(wanted[row]):
        return None
    wanted[row] = 0
    if deviation(wanted, seen) > _SAME:
        return None
    what = f"row {row} of {context.name(pair)} (the padding, padding_idx={row}):"
    title = context.differs(what, "trained like the others", "not trained")
    return _Cause(title, "padding_idx", pair.port.place, "nn.Embedding without padding_idx")


def _detached(context: Context, apart: _Apart) -> _Cause | None:
    """What the steered side's model detaches on the way to the loss, or the weights of terms that it so tells apart."""
    calls = context.steered.observation.calls
    own = (call for call in (calls[0] if calls else ()) if call.layer is None and call.parent is not None)
    line = next((call.place for call in own if call.name == "detach"), None)
    if line is None:
        return None
    ratios = dict(zip(apart.paths, apart.ratios(context), strict=True))
    by_factor = [f"that of {path} is {ratio:.6g} times the reference's" for path, ratio in ratios.items() if ratio]
    others = ", ".join([path for path, ratio in ratios.items() if ratio is None][:3])
    said = "; ".join([f"the gradients of {others} differ, though the loss is the same", *by_factor[:2]])
    title = f"{said}: what is detached, or the weights of terms that are the same but for a detach"
    return _Cause(title, "what is detached", line)


def ratio_of(x: Array, y: Array) -> float | None:
    """The factor that makes the first of two arrays the second; None if there is none."""
    total = float((x * x).sum())
    ratio = float((x * y).sum()) / total if total else 0.0
    return ratio if ratio and deviation(ratio * x, y) <= 1e-6 else None


def _by_weights(x: Array, y: Array, weights: Array | None) -> float | None:
    """The factor of the weights by which two gradients differ; None if they differ otherwise."""
    if weights is None or weights.shape != x.shape:
        return None
    rest = np.asarray(x, np.float64) - y
    total = float((weights * weights).sum())
    factor = float((rest * weights).sum()) / total if total else 0.0
    return factor if float(np.abs(rest - factor * weights).max()) <= 1e-6 * max(float(np.abs(x).max()), 1e-12) else None
