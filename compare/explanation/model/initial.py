"""Initial weights: by value where both sides loaded the same, else by the distribution that they were drawn from."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from compare.explanation.arithmetic.distributions import Distribution, differ, distribution, fans
from compare.explanation.context import Context, in_code
from compare.explanation.findings import Severity
from compare.explanation.observed.carry import common_of
from compare.explanation.observed.kinds import ATTENDING, RECURRENT, Weights, gates_of
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.values import ROUNDED, deviation
from compare.explanation.words import counted, off_by

_GATES = {"LSTM": ("input", "forget", "cell", "output"), "GRU": ("reset", "update", "new"), "simple RNN": ("",)}


@dataclass(frozen=True)
class _Drawn:
    """One weight of a pair on both sides, and what both look drawn from."""

    pair: Pair
    name: str
    guide: Distribution
    steered: Distribution
    ratio: float


@dataclass(frozen=True)
class _Unequal:
    """One weight of a pair whose values are others on the two sides, and all weights of the guide's layer."""

    pair: Pair
    name: str
    guide: Array
    steered: Array
    layer: Weights


def initial_weights(context: Context, *, used_only: bool) -> None:
    """Finds what differs in the weights that both programs begin with.

    Args:
        context: Both sides.
        used_only: Whether the models are not trained, so that the weights must be the same.
    """
    unequal, carried, compared = _compared(context)
    if used_only and unequal and not carried and _of_all(context, unequal):
        return
    drawn: list[_Drawn] = []
    for one in _once_for_all_gates(unequal):
        permuted = _permuted(one.name, one.guide, one.steered, one.layer)
        if permuted is not None or used_only:
            _of_value(context, one, permuted)
            continue
        found = _drawn(one.pair, one.name, one.guide, one.steered)
        if found is not None:
            drawn.append(found)
        elif carried and _between_carried(context, one.pair, unequal):
            _of_value(context, one, None)
    _report(context, drawn)
    if compared and not context.has("weights"):
        alike = "the same values" if carried and len(unequal) == 0 else "the same distributions"
        context.same.append(f"initial weights: {alike} in {counted(len(context.pairing.pairs), 'layer')}")


def _once_for_all_gates(unequal: list[_Unequal]) -> list[_Unequal]:
    """Of a recurrent layer whose gates are in another order, one of its weights for all of them."""
    turned: dict[int, _Unequal] = {}
    for one in unequal:
        if "weight" in one.name and gates_of(one.pair.guide) and _gates_exchanged(one.guide, one.steered):
            turned.setdefault(id(one.pair), one)
    return [one for one in unequal if turned.get(id(one.pair), one) is one]


def _compared(context: Context) -> tuple[list[_Unequal], int, int]:
    """The weights that are not equal, how many were carried from one side to the other, and how many were compared."""
    unequal: list[_Unequal] = []
    carried = compared = 0
    trained = {path for side in (context.guide.observation, context.look) for path in side.entries("trained_before")}
    for pair in context.pairing.pairs:
        if any(p.path in trained for layer in (*pair.guides, *pair.ports) for p in layer.parameters.values()):
            continue  # of a training before this one, on each side its own
        a, b = _own(pair, context.guide.observation.initial, context.look.initial)
        _, again = _own(pair, {}, context.steered.observation.initial)
        for name in a.keys() & b.keys():
            if a[name].shape != b[name].shape:
                continue
            compared += 1
            if trained and not all(_looks_initial(pair, name, side[name]) for side in (a, b)):
                continue  # loaded from what a training before this one made
            # From one seed, numbers of 64 bits are others than those of 32: the steered side drew as the guide did.
            if any(deviation(a[name], own[name]) <= ROUNDED for own in (b, again) if name in own):
                carried += 1 if np.ptp(a[name]) > 0 else 0
                continue
            unequal.append(_Unequal(pair, name, a[name], b[name], a))
    return unequal, carried, compared


def _of_all(context: Context, unequal: list[_Unequal]) -> bool:
    """Of models that are only used, says once that no weight is the other side's; False where some came across."""
    kernels = [one for one in unequal if one.guide.ndim > 1]
    if not kernels or any(_permuted(one.name, one.guide, one.steered, one.layer) for one in unequal):
        return False
    layers = len({id(one.pair) for one in unequal})
    drawn = [
        all(_looks_initial(one.pair, one.name, (one.guide, one.steered)[side]) for one in unequal) for side in (0, 1)
    ]
    if all(drawn):
        context.not_seen.append(
            f"loaded weights: both models have random ones of their own in {counted(layers, 'layer')}, and what "
            "follows was compared with those of one side in both"
        )
        return True
    if layers < _MANY:
        return False
    how = ["as they were drawn at random" if random else "of a training" for random in drawn]
    context.find(
        "weights",
        f"the loaded weights of all {layers} layers are not the reference's: other values",
        guide=f"weights {how[0]}",
        steered=f"weights {how[1]}",
        places=(kernels[0].pair.guide.place, kernels[0].pair.port.place),
        effect=1.0,
        effect_text="no weight is that of the other side; what follows was compared with those of one side in both",
        cause="weights that were not loaded" if any(drawn) else None,
        mend="load the reference's weights before the model is used",
    )
    return True


_MANY = 2
"""With fewer layers than these each weight is told by itself."""

_SAMPLED = 100_000


def _looks_initial(pair: Pair, name: str, values: Array) -> bool:
    """Whether a weight looks as initialisers leave it: a constant, or drawn from a distribution that has a name."""
    gates = gates_of(pair.guide)
    units = float(values.shape[0] // RECURRENT[gates]) if gates and values.ndim > 1 else 0.0
    if values.ndim < 2:  # zeros, ones, ones at the forget gate, or torch's default
        limit = 1 / math.sqrt(float(values.size) if gates else float(pair_fan_in(pair)))
        default = "bias" in name and float(np.abs(values).max()) <= limit * (1 + 1e-6)
        return bool(np.isin(values, (0, 1)).all()) or np.ptp(values) == 0 or default
    fan_in, fan_out = fans(pair.kind, values)
    if pair.kind == "embedding":
        fan_in, fan_out = float(values.shape[0]), float(values.shape[1])
    some = values if values.size <= _SAMPLED else values.reshape(-1)[:: values.size // _SAMPLED]
    found = distribution(some, fan_in, fan_out, units)
    return bool(found.names) or found.shape in ("zeros", "ones", "constant", "orthogonal")


def _own(pair: Pair, guide: Mapping[str, Array], look: Mapping[str, Array]) -> tuple[Weights, Weights]:
    """Both sides' weights under common names; the gates of recurrent biases apart, both biases of torch's added."""
    a, b = common_of(pair.guides, guide), common_of(pair.ports, look)
    kind = gates_of(pair.guide) or ""
    if kind in RECURRENT:
        return _by_gate(kind, a), _by_gate(kind, b)
    return a, b


def _by_gate(kind: str, weights: Weights) -> Weights:
    found = {name: array for name, array in weights.items() if not name.startswith("bias")}
    for name, array in weights.items():
        if not name.startswith("bias_ih"):
            continue
        total = array + weights.get(name.replace("_ih", "_hh"), 0)
        for gate, part in zip(_GATES[kind], np.split(total, RECURRENT[kind]), strict=True):
            found[f"{gate} gate bias {name.removeprefix('bias_ih_').replace('l0', '')}".strip()] = part
    return found


def _between_carried(context: Context, pair: Pair, unequal: list[_Unequal]) -> bool:
    """Whether layers before and after this one hold the same values on both sides."""
    bad = {id(one.pair) for one in unequal}
    pairs = list(context.pairing.pairs)
    at = pairs.index(pair)
    good = [id(other) not in bad for other in pairs]
    return any(good[:at]) and any(good[at + 1 :])


def _permuted(name: str, x: Array, y: Array, others: Weights) -> str | None:
    """How the same values came into another order; None if they are others."""
    if x.size < 4 or np.ptp(x) == 0:
        return None
    if not _same_extremes(x, y) or deviation(np.sort(x.reshape(-1)), np.sort(y.reshape(-1))) > ROUNDED:
        exchanged = next((n for n, z in others.items() if n != name and z.shape == y.shape and _equal(z, y)), None)
        return f"holds the values of {exchanged}" if exchanged and np.ptp(y) > 0 else None
    return _turned(x, y) or _gates_exchanged(x, y) or "the same values in another order"


def _same_extremes(x: Array, y: Array) -> bool:
    """Whether two arrays may hold the same values: far cheaper to ask than by sorting them."""
    scale = max(abs(float(x.max())), abs(float(x.min())), 1e-30)
    ends = (float(x.max()) - float(y.max()), float(x.min()) - float(y.min()))
    return x.size == y.size and max(map(abs, ends)) <= ROUNDED * scale


def _turned(x: Array, y: Array) -> str | None:
    """Axes in another order, or a reshape in place of a permutation."""
    options: list[tuple[str, Array]] = []
    if x.ndim == 2 and x.shape[0] == x.shape[1]:
        options.append(("transposed", x.T))
    options.append(("reshaped where it should be transposed", x.T.reshape(y.shape)))
    if x.ndim > 2:
        options.append(("flipped in space", np.flip(x, tuple(range(2, x.ndim)))))
        options.append(
            ("reshaped where the axes should be permuted", np.moveaxis(x, (0, 1), (-1, -2)).reshape(y.shape))
        )
    if x.ndim == 4:
        options.append(("height and width of the kernel exchanged (transposed)", np.swapaxes(x, 2, 3)))
    return next((words for words, made in options if _equal(made, y)), None)


def _gates_exchanged(x: Array, y: Array) -> str | None:
    for gates in (4, 3):
        if x.shape[0] % gates == 0 and x.shape[0] >= gates:
            blocks = np.split(x, gates)
            for order in itertools.permutations(range(gates)):
                if _equal(np.concatenate([blocks[i] for i in order]), y):
                    return f"the gates in another order ({', '.join(map(str, order))})"
    return None


def _equal(x: Array, y: Array) -> bool:
    return x.shape == y.shape and deviation(x, y) <= ROUNDED


def _of_value(context: Context, one: _Unequal, permuted: str | None) -> None:
    """A weight that should be the same and is not."""
    pair, name, x, y = one.pair, one.name, one.guide, one.steered
    where = context.name(pair)
    how = permuted or "other values"
    context.find(
        "weights",
        f"the loaded weights of {where} ({name}) are not the reference's: {how}",
        guide=_values(x),
        steered=_values(y),
        places=(pair.guide.place, pair.port.place),
        effect=max(deviation(x, y), 0.1),
        effect_text=off_by(deviation(x, y), "the largest weight"),
        cause=permuted,
        mend=f"load {name} of {where} in the layout of its framework",
    )


def _values(x: Array) -> str:
    flat = x.reshape(-1)
    return f"mean {float(flat.mean()):.4g}, deviation {float(flat.std()):.4g}, first {float(flat[0]):.6g}"


def _drawn(pair: Pair, name: str, x: Array, y: Array) -> _Drawn | None:
    gates = gates_of(pair.guide)
    fan_in, fan_out = fans(pair.kind, x)
    if "bias" in name:
        fan_in = float(pair_fan_in(pair))
    if pair.kind == "embedding":
        fan_in, fan_out = float(x.shape[0]), float(x.shape[1])
    units = 0.0
    if gates:  # torch draws from U(±1/√units), whatever the input
        units = float(x.shape[0] // RECURRENT[gates] if "weight" in name else x.shape[0])
    first, second = distribution(x, fan_in, fan_out, units), distribution(y, fan_in, fan_out, units)
    if "bias" in name or "running" in name or "norm" in pair.kind:  # of these only torch's own default has a name
        first, second = _implied(x, _unnamed(first), fan_in), _implied(y, _unnamed(second), fan_in)
    ratio = differ(x, y, first, second)
    return None if ratio is None else _Drawn(pair, name, _as_stated(first, pair, name), second, ratio)


_STATED = {
    "GlorotUniform": "Glorot uniform", "GlorotNormal": "Glorot normal", "HeUniform": "He uniform",
    "HeNormal": "He normal", "LecunUniform": "LeCun uniform", "LecunNormal": "LeCun normal",
}  # fmt: skip


def _as_stated(found: Distribution, pair: Pair, name: str) -> Distribution:
    """A distribution under the name by which Keras's layer states it: several may look alike."""
    settings = pair.guide.settings
    stated = settings.get("embeddings_initializer" if pair.kind == "embedding" else f"{name}_initializer")
    if not isinstance(stated, dict) or not found.names:
        return found
    words = _STATED.get(str(stated.get("class")))
    if stated.get("class") == "RandomNormal":
        words = f"N(0, {float(stated.get('stddev') or 0):g})"
    return replace(found, names=(words,)) if words else found


_FEW = 64
"""With fewer values than these the shape of a distribution hardly shows."""


def _implied(values: Array, found: Distribution, fan_in: float) -> Distribution:
    """Of a few values that lie within the limits of torch's default for biases, and fill them, that default."""
    limit = 1 / math.sqrt(fan_in)
    largest = float(np.abs(values).max())
    if found.size >= _FEW or found.shape not in ("normal", "truncated normal", "uniform"):
        return found
    if not limit * (1 - 4 / max(found.size, 5)) <= largest <= limit * (1 + 1e-6):
        return found
    return Distribution("uniform", limit, ("torch's default, U(±1/√fan_in) (Kaiming uniform with a=√5)",), found.size)


def _unnamed(found: Distribution) -> Distribution:
    return replace(found, names=tuple(name for name in found.names if "torch's default" in name))


def pair_fan_in(pair: Pair) -> int:
    """The fan in of a pair's kernel."""
    shapes = [p.shape for p in pair.port.parameters.values() if len(p.shape) >= 2]
    return max(1, math.prod(shapes[0][1:])) if shapes else 1


def _report(context: Context, drawn: list[_Drawn]) -> None:
    """One finding for all layers that differ in the same way."""
    groups: dict[tuple[str, str, str], list[_Drawn]] = {}
    for entry in drawn:
        what = "bias" if "bias" in entry.name else "weights"
        if "forget gate" in entry.name:
            what = "forget gate bias"
        groups.setdefault((what, _plain(entry.guide), _plain(entry.steered)), []).append(entry)
    for (what, _, _), entries in groups.items():
        first = entries[0]
        layers = context.names(entry.pair for entry in entries)
        of_layers = list(dict.fromkeys(entry.name for entry in entries))
        names = "" if what != "weights" or of_layers == ["kernel"] else f" ({', '.join(of_layers)})"
        guide, steered = str(first.guide), str(first.steered)
        ratio = max(first.ratio, 1 / first.ratio) if first.ratio > 0 else math.inf
        severe = what == "forget gate bias" or (what == "weights" and (ratio > 4 or "zeros" in (guide, steered)))
        severity: Severity = "fault" if severe else "minor"
        title = context.differs(f"initial {what} of {layers}{names}:", guide, steered)
        context.find(
            "weights",
            title,
            guide=guide,
            steered=steered,
            places=(first.pair.guide.place, first.pair.port.place),
            effect=min(abs(math.log(ratio)) if math.isfinite(ratio) else 0.2, 2.0) + 0.01,
            effect_text=_of_deviations(float(first.ratio)),
            cause=f"initialisation: {guide} against {steered}",
            mend=_mend(context, first, what),
            severity=severity,
        )


def _of_deviations(ratio: float) -> str:
    """The ratio of two deviations in words; none where one of them is zero."""
    if not 0 < ratio < math.inf:
        return ""
    size = f"{ratio:.3g}"
    return "as large a deviation, of another distribution" if size == "1" else f"deviation {size} times as large"


def _plain(found: Distribution) -> str:
    return f"{found.shape} {found.names[0] if found.names else round(math.log(max(found.scale, 1e-30)) * 4)}"


_TORCH = {
    "Glorot uniform": "nn.init.xavier_uniform_", "Glorot normal": "nn.init.xavier_normal_",
    "He uniform": "nn.init.kaiming_uniform_", "He normal": "nn.init.kaiming_normal_",
    "orthogonal": "nn.init.orthogonal_", "zeros": "nn.init.zeros_", "ones": "nn.init.ones_",
}  # fmt: skip


def _mend(context: Context, drawn: _Drawn, what: str) -> str:
    wanted, layer = drawn.guide, in_code(drawn.pair.port.name, context.model)
    if context.frameworks[1] != "torch":
        return f"draw the {what} of {context.name(drawn.pair)} as the reference does: {wanted}"
    parameter = f"{layer}.{_attribute(drawn, what)}"
    if what == "forget gate bias":
        return f"{layer}.bias_ih_l0.data[units : 2 * units] = {wanted.scale:g}"
    function = next((code for name, code in _TORCH.items() if str(wanted).startswith(name)), None)
    if function:
        return f"{function}({parameter})"
    if wanted.shape == "uniform":
        return f"nn.init.uniform_({parameter}, -{wanted.scale:.4g}, {wanted.scale:.4g})"
    return f"draw {parameter} as the reference does: {wanted}"


def _attribute(drawn: _Drawn, what: str) -> str:
    """What torch calls the weight: of attention, one parameter may hold the kernels of query, key and value."""
    if drawn.name.startswith(("weight_", "bias_")):  # of a recurrent layer, as torch calls them
        return drawn.name
    own, suffix = drawn.pair.port.parameters, "weight" if what == "weights" else "bias"
    part, _, _ = drawn.name.partition(".")
    if part == "output" and f"out_proj.{suffix}" in own:
        return f"out_proj.{suffix}"
    if part in ATTENDING and f"in_proj_{suffix}" in own:
        return f"in_proj_{suffix}.chunk(3)[{ATTENDING.index(part)}]"
    return f"{part[0]}_proj_weight" if part in ATTENDING and f"{part[0]}_proj_weight" in own else suffix
