"""Why a layer gives something else than its pair from the same input and the same weights."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.explanation.arithmetic.layers import output_of
from compare.explanation.arithmetic.recurrent import attention
from compare.explanation.arithmetic.settings import Settings, settings_of
from compare.explanation.model.stretches.segments import reaches
from compare.explanation.observed.kinds import RECURRENT, Weights, gates_of, kind_of
from compare.explanation.observed.observation import Array, Layer
from compare.explanation.observed.pairing import Pair
from compare.explanation.observed.values import SAME, deviation

SAMPLES_FOR_TIME = "samples taken for time (batch_first=False)"

_NOT_SEEN = ("momentum",)
"""Settings that change nothing of a layer's output."""


@dataclass(frozen=True)
class Cause:
    """A setting that differs, with both values and what it does to the output by itself.

    Args:
        name: The setting.
        guide: Its value in the guide.
        steered: Its value in the steered side.
        effect: The deviation of the output if it alone differs.
        words: What it is, in words for a title.
    """

    name: str
    guide: str
    steered: str
    effect: float
    words: str


@dataclass(frozen=True)
class Given:
    """One layer of both sides at the same input.

    Args:
        pair: The pair.
        frameworks: The guide's and the steered side's.
        training: Whether it is a pass as in training.
        x: The input, in torch's layout.
        weights: Under common names in torch's layout.
        first: The guide's output in torch's layout.
        second: The steered side's.
        memory: Of an attention, what it takes keys and values from; None where that is the input.
        masks: Of an attention of torch's, those it is given, with True or minus infinity for what is left out: of the
            keys (samples, keys), or of each query's (queries, keys) or (samples * heads, queries, keys).
    """

    pair: Pair
    frameworks: tuple[str, str]
    training: bool
    x: Array
    weights: Weights
    first: Array
    second: Array
    memory: Array | None = None
    masks: tuple[Array, ...] = ()

    @property
    def kind(self) -> str:
        """The kind, of a bidirectional layer that of its gates."""
        return gates_of(self.pair.guide) or self.pair.kind

    def settings(self) -> tuple[Settings, Settings]:
        """Both sides' settings."""
        kernel = self.weights.get("kernel")
        window = kernel.shape[2:] if "convolution" in self.pair.kind and kernel is not None else ()
        sizes = self.x.shape[2:]
        first = settings_of(self.pair.guide, self.frameworks[0], window, sizes)
        second = settings_of(self.pair.port, self.frameworks[1], window, sizes)
        return self.in_mode(first, self.first), self.in_mode(second, self.second)

    def in_mode(self, settings: Settings, seen: Array) -> Settings:
        """The settings, a normalisation's with whether it took the batch's statistics: a frozen one has its own."""
        if "training" not in settings:
            return settings
        for training in (self.training, not self.training):
            tried = {**settings, "training": training}
            out = self.output(tried)
            if out is not None and reaches(out, seen):
                return tried
        return {**settings, "training": self.training}

    def output(
        self, settings: Mapping[str, Any], x: Array | None = None, weights: Weights | None = None
    ) -> Array | None:
        """What the layer gives under some settings."""
        out = output_of(self.kind, self.x if x is None else x, weights or self.weights, settings)
        if out is not None and self.kind in RECURRENT and self.first.ndim == 2:
            return out[:, -1]
        return out

    def shaped(self, out: Array) -> Array:
        """All outputs of a recurrent layer as far as the steered side gave them."""
        if self.second.ndim == 3:
            return out
        if not any(name.endswith("_reverse") for name in self.weights):
            return out[:, -1]
        half = out.shape[-1] // 2  # the backward direction ends at the first step
        return np.concatenate([out[:, -1, :half], out[:, 0, half:]], axis=-1)

    def is_second(self, out: Array | None) -> bool:
        """Whether this is what the steered side gave."""
        return out is not None and reaches(out, self.second)


def causes(given: Given) -> list[Cause]:
    """The settings that explain the difference, each borne out by values; empty if none does."""
    of_kind = list(_by_kind(given))
    if of_kind:
        return of_kind
    first, second = given.settings()
    base = given.output(first)
    if base is None or not reaches(base, given.first):
        return list(_by_search(given, first, base))
    merged = {**first, **{key: value for key, value in second.items() if value is not None}}
    differing = [key for key in merged if merged[key] != first.get(key) and key not in _NOT_SEEN]
    if differing and given.is_second(given.output(merged)):
        found = []
        for key in differing:
            alone = given.output({**first, key: merged[key]})
            far = 1.0 if alone is None or alone.shape != base.shape else deviation(base, alone)
            if far > SAME:
                found.append(_cause(key, first.get(key), merged[key], far))
        return found
    return list(_by_search(given, {**first, **_certain(second)}, base)) or list(_by_search(given, first, base))


def _by_kind(given: Given) -> Iterator[Cause]:
    """Normalisations of two kinds, where the steered side's gives what it gave."""
    kinds = kind_of(given.pair.guide), kind_of(given.pair.port)
    if kinds[0] == kinds[1] or not all("normalization" in kind for kind in kinds):
        return
    settings = given.in_mode(settings_of(given.pair.port, given.frameworks[1], (), given.x.shape[2:]), given.second)
    if given.is_second(output_of(kinds[1], given.x, given.weights, settings)):
        words = [kind + _groups(x) for kind, x in zip(kinds, (given.pair.guide, given.pair.port), strict=True)]
        yield Cause("kind", words[0], words[1], deviation(given.first, given.second), "kind")


def _groups(layer: Layer) -> str:
    """Over what a group normalisation goes."""
    groups = layer.settings.get("groups", layer.settings.get("num_groups"))
    if kind_of(layer) != "group normalization" or groups is None:
        return ""
    return " in 1 group, over all channels and positions" if groups == 1 else f" in {groups} groups"


def _certain(settings: Settings) -> Settings:
    return {key: value for key, value in settings.items() if value is not None and key in ("stride", "dilation")}


def _cause(key: str, guide: Any, steered: Any, effect: float) -> Cause:
    if key == "training":
        modes = {True: "batch statistics (training mode)", False: "running statistics (evaluation mode)"}
        words = "running statistics in place of the batch's, as in evaluation mode"
        if steered:
            words = "the batch's statistics in place of the running ones, as a frozen layer of Keras has"
        return Cause(key, modes[bool(guide)], modes[bool(steered)], effect, words)
    return Cause(key, _text(guide), _text(steered), effect, key)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and value and all(entry == value[0] for entry in value):
        return _text(value[0])
    return str(value)


def _by_search(given: Given, settings: Settings, base: Array | None) -> Iterator[Cause]:
    """Other values than the settings say, tried until one gives the steered side's output."""
    kind = given.kind
    options: Iterator[tuple[str, str, str, Array | None]] = iter(())
    if "convolution" in kind:
        options = _convolutions(given, settings)
    elif "normalization" in kind:
        options = _normalizations(given, settings)
    elif kind in RECURRENT:
        options = _recurrents(given, settings)
    elif kind == "dense":
        options = _denses(given)
    elif kind == "multi-head attention":
        options = _attentions(given, settings)
    wanted = base if base is not None and reaches(base, given.first) else given.first
    for words, guide, steered, out in itertools.chain(options, _anything(given)):
        if out is not None and given.is_second(out):
            far = deviation(wanted, out) if wanted.shape == out.shape else 1.0
            yield Cause(words, guide, steered, far, words)
            return


Option = tuple[str, str, str, Array | None]


def _anything(given: Given) -> Iterator[Option]:
    """What any layer may do: nothing at all, another activation inside, a bias left out."""
    from compare.explanation.operations.learning import learn

    yield "the layer is passed by", "applied", "its input comes out unchanged", given.x
    bias = given.weights.get("bias")
    if bias is not None and np.any(bias):
        shape = (1, -1, *[1] * (given.first.ndim - 2)) if "convolution" in given.kind else (-1,)
        yield "no bias", "with a bias", "without it", given.first - bias.reshape(shape)
    count = min(len(given.first), len(given.second))
    operation = learn(given.first[:count], given.second[:count])
    if operation is not None and operation.family != "identity":
        made = operation(given.first)
        yield f"{operation.name} on its output", "none", operation.name, made


def _convolutions(given: Given, settings: Settings) -> Iterator[Option]:
    kernel = given.weights["kernel"]
    count = kernel.ndim - 2
    if given.kind == "transposed convolution":
        yield from _transposed(given, settings, count)
        return
    pads = settings["padding"]
    for width in itertools.product(range(kernel.shape[2] * max(settings["dilation"])), repeat=2):
        tried = {**settings, "padding": [width] * count}
        yield "padding", _text(pads), _text(tried["padding"]), given.output(tried)
    turned = {**given.weights, "kernel": np.flip(kernel, tuple(range(2, kernel.ndim)))}
    yield "kernel flipped", "as it is", "flipped", given.output(settings, weights=turned)
    for mode in ("reflect", "replicate", "circular"):
        yield f"padding mode {mode}", "zeros", mode, given.output({**settings, "padding mode": mode})
    if kernel.ndim == 4:
        exchanged = {**given.weights, "kernel": np.swapaxes(kernel, 2, 3)}
        out = given.output(settings, weights=exchanged)
        yield "height and width exchanged", "height, width", "width, height", out
    for stride, dilation in itertools.product((1, 2, 3), repeat=2):
        tried = {**settings, "stride": [stride] * count, "dilation": [dilation] * count}
        words = f"stride {stride}, dilation {dilation}"
        yield words, f"{_text(settings['stride'])}, {_text(settings['dilation'])}", words, given.output(tried)


def _transposed(given: Given, settings: Settings, count: int) -> Iterator[Option]:
    for crop in itertools.product(range(4), repeat=2):
        for more in (0, 1):
            tried = {**settings, "cropping": [crop] * count, "output padding": [more] * count}
            words = f"padding: {crop} cut off each axis, output padding {more}"
            yield words, f"{_text(settings['cropping'])} cut off", f"{crop} cut off", given.output(tried)


def _normalizations(given: Given, settings: Settings) -> Iterator[Option]:
    epsilon = float(settings.get("epsilon") or 0)
    for tried in (1e-3, 1e-5, 1e-6, 1e-8, 1e-12, 1e-7, 1e-4, 1e-2):
        yield "epsilon", f"{epsilon:g}", f"{tried:g}", given.output({**settings, "epsilon": tried})
        if "running_mean" in given.weights:
            out = given.output({**settings, "epsilon": tried, "training": not settings.get("training", True)})
            mode = {True: "running statistics (evaluation mode)", False: "batch statistics (training mode)"}
            now = bool(settings.get("training", True))
            yield "running statistics" if now else "batch statistics", mode[not now], mode[now], out
    if "running_mean" in given.weights:
        swapped = {
            **given.weights,
            "running_mean": given.weights["running_var"],
            "running_var": given.weights["running_mean"],
        }
        out = given.output({**settings, "training": False}, weights=swapped)
        yield "running mean and variance exchanged", "mean, variance", "variance, mean", out


def _recurrents(given: Given, settings: Settings) -> Iterator[Option]:
    out = output_of(given.kind, given.x, given.weights, settings)
    if out is not None:
        words = "padding is not masked (no mask, or no packed sequence)"
        yield words, "masked steps are left out", "every step is computed, padding too", given.shaped(out)
        units = out.shape[-1]
        yield "the first time step in place of the last", "last state", "out[:, 0]", out[:, 0]
        yield "the mean over time in place of the last state", "last state", "mean over time", out.mean(axis=1)
        yield "the maximum over time in place of the last state", "last state", "maximum over time", out.max(axis=1)
        if units % 2 == 0:
            half = units // 2
            yield (
                "the last output of both directions, where the backward one has seen one step",
                "last state of each direction",
                "out[:, -1]",
                out[:, -1],
            )
            both = np.concatenate([out[:, -1, :half], out[:, 0, half:]], axis=-1)
            yield "last state of both directions", "out[:, -1]", "last state of each direction", both
    for inner, gate in itertools.product(("tanh", "relu", "sigmoid"), ("sigmoid", "hard_sigmoid", "tanh")):
        tried = {**settings, "activation": inner, "recurrent activation": gate}
        now = f"{settings.get('activation')}, {settings.get('recurrent activation')}"
        yield "activation and recurrent activation", now, f"{inner}, {gate}", given.output(tried)
    for key in ("reset after", "backwards"):
        tried = {**settings, key: not settings.get(key)}
        yield key, str(settings.get(key)), str(tried[key]), given.output(tried)
    turned = np.swapaxes(given.x, 0, 1)
    across = output_of(given.kind, turned, given.weights, settings)
    if across is not None:
        yield (
            SAMPLES_FOR_TIME,
            "(samples, time, features)",
            "(time, samples, features)",
            np.swapaxes(across, 0, 1),
        )
    yield from _gate_orders(given, settings)


def _gate_orders(given: Given, settings: Settings) -> Iterator[Option]:
    gates = RECURRENT[given.kind]
    for order in itertools.permutations(range(gates)):
        if order == tuple(range(gates)):
            continue
        moved = {name: np.concatenate([np.split(w, gates)[i] for i in order]) for name, w in given.weights.items()}
        yield "order of the gates", "as torch's", str(order), given.output(settings, weights=moved)


def _denses(given: Given) -> Iterator[Option]:
    kernel = given.weights["kernel"]
    if kernel.shape[0] == kernel.shape[1]:
        yield "kernel transposed", "x @ W", "x @ W.T", given.output({}, weights={**given.weights, "kernel": kernel.T})


NOT_MASKED = "nothing is masked (no key_padding_mask, no attn_mask)"
NOT_CAUSAL = "no causal mask (attn_mask, tgt_mask, is_causal)"
MASK_TURNED_ROUND = "mask"
OTHER_MASK = "masked positions"
MASKS = (NOT_MASKED, NOT_CAUSAL, MASK_TURNED_ROUND, OTHER_MASK)


def _attentions(given: Given, settings: Settings) -> Iterator[Option]:
    """How the guide attends, found out by its output, and how the steered side does: heads, mask, scale, softmax."""
    modes = list(_modes(given, int(settings.get("heads") or 0)))
    guide = next((mode for mode, out in modes if reaches(out, given.first)), None)
    steered = next(((mode, out) for mode, out in modes if given.is_second(out)), None)
    if steered is None:
        yield from _masked_otherwise(given, guide)
        return
    if guide is None:
        if steered[0][1:] == _USUAL:  # all as it is usual: what differs is done by the guide
            yield NOT_MASKED, "some positions are masked", "every position is attended to, padding too", steered[1]
        return
    differing = [i for i, (a, b) in enumerate(zip(guide, steered[0], strict=True)) if a != b]
    names = [NOT_CAUSAL if _ATTENTION[i] == CAUSAL and guide[i] == _AHEAD[True] else _ATTENTION[i] for i in differing]
    texts = [", ".join(str(mode[i]) for i in differing) for mode in (guide, steered[0])]
    yield " and ".join(names), texts[0], texts[1], steered[1]


def _masked_otherwise(given: Given, guide: tuple[str, ...] | None) -> Iterator[Option]:
    """An attention whose masks leave other positions out than the guide's, where all else is as it is usual."""
    heads = int(given.settings()[1].get("heads") or 0)
    memory = given.x if given.memory is None else given.memory
    size = given.weights["query.kernel"].shape[0]
    if not given.masks or not heads or size % heads or given.x.ndim != 3 or memory.ndim != 3:
        return
    shape = (len(given.x), heads, given.x.shape[1], memory.shape[1])

    def attended(masked: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return attention(given.x, memory, memory, given.weights, heads, masked=masked)

    for spread in itertools.product(*(list(_spread(mask, shape)) for mask in given.masks)):
        masked = np.logical_or.reduce(np.broadcast_arrays(*spread))
        out = attended(masked)
        if not given.is_second(out):
            continue
        if guide is not None and guide[1:] == _USUAL:
            yield OTHER_MASK, "every position is attended to", f"{masked.mean():.0%} of them are masked", out
            return
        for turned in range(len(spread)):
            others = [~mask if i == turned else mask for i, mask in enumerate(spread)]
            if reaches(attended(np.logical_or.reduce(np.broadcast_arrays(*others))), given.first):
                words = "turned round, it leaves out what should be seen"
                yield MASK_TURNED_ROUND, "one that leaves out the rest", words, out
                return
        yield OTHER_MASK, "other positions are masked", f"{masked.mean():.0%} of them, as its mask says", out
        return


def _spread(mask: Array, shape: tuple[int, int, int, int]) -> Iterator[Array]:
    """What a mask of torch's may leave out of (samples, heads, queries, keys)."""
    samples, heads, queries, keys = shape
    masked = mask if mask.dtype == bool else np.isneginf(mask)
    if masked.ndim == 2 and masked.shape[1] == keys and len(masked) >= samples:
        yield masked[:samples, None, None]
    if masked.shape == (queries, keys):
        yield masked
    if masked.ndim == 3 and masked.shape[1:] == (queries, keys) and len(masked) >= samples * heads:
        yield masked[: samples * heads].reshape(shape)


CAUSAL = "causal mask"
_ATTENTION = ("number of heads", CAUSAL, "scale of the attention", "axis of the softmax")
_AHEAD = {True: "causal, each position sees those before it", False: "each position sees those after it"}
_USUAL = (_AHEAD[False], "1 over the root of a head's size", "over the keys")


def _modes(given: Given, heads: int) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Ways to attend, in words as `_ATTENTION` lists them, and what each gives; the usual ones first."""
    size = given.weights["query.kernel"].shape[0]
    memory = given.x if given.memory is None else given.memory
    if given.x.ndim != 3 or memory.ndim != 3:
        return
    scales = {_USUAL[1]: None, "1, not divided": 1.0, "1 over the root of all features": size**-0.5}
    for number, causal, (words, scale), queries in itertools.product(
        dict.fromkeys((heads, 1, 2, 4, 8, 16, 3, 6, 12)), (False, True), scales.items(), (False, True)
    ):
        if not number or size % number or (number != heads and heads and (scale or queries)):
            continue
        if causal and given.x.shape[1] != memory.shape[1]:
            continue
        out = attention(
            given.x, memory, memory, given.weights, number, causal=causal, scale=scale, over_queries=queries
        )
        over = "over the queries" if queries else _USUAL[2]
        yield (f"{number} heads", _AHEAD[causal], words, over), out
