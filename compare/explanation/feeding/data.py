"""The data as fed: samples, labels, batches, and the order in which they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.explanation.context import Context
from compare.explanation.feeding.reading import lines_of, reading_place
from compare.explanation.feeding.relation import Relation, functions, relate
from compare.explanation.observed.observation import Array, Call, Observation, place
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.plan import Batch
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import ROUNDED, layouts
from compare.explanation.words import off_by


@dataclass(frozen=True)
class Feeding:
    """What is known about the batches before the steered run.

    Args:
        inputs: How each of the steered side's inputs is made from the guide's.
        targets: The same of the targets.
        guide_inputs: Of each step the guide's inputs, in the steered side's order of inputs.
        guide_targets: The same of the targets.
        look_inputs: The steered side's own inputs.
        look_targets: The steered side's own targets.
        batches: The number of samples in a batch, of the guide and of the steered side.
        scaled_inside: Whether what was fed differs and what reaches the first layers does not.
    """

    inputs: tuple[Relation, ...]
    targets: tuple[Relation, ...]
    guide_inputs: tuple[tuple[Array | None, ...], ...]
    guide_targets: tuple[tuple[Array | None, ...], ...]
    look_inputs: tuple[tuple[Array | None, ...], ...]
    look_targets: tuple[tuple[Array | None, ...], ...]
    batches: tuple[int, int]
    scaled_inside: bool = False

    @property
    def same_order(self) -> bool:
        """Whether both read the same samples in the same order, whatever they made of them."""
        found = [relation for relation in self.inputs if relation.order is not None]
        return self.batches[0] == self.batches[1] and all(
            relation.order == tuple(range(len(relation.order or ()))) for relation in found
        )

    def batch(self, step: int) -> Batch:
        """What to feed to the steered side at a step in place of its own."""
        # Of what was scaled inside a model only the first step is known: the targets of the others can be fed.
        given = self.guide_inputs[step] if step < len(self.guide_inputs) and self.look_inputs else ()
        inputs = [
            None if self.scaled_inside else _in_place(array, like)
            for array, like in zip(given, self.look_inputs[0] if given else (), strict=False)
        ]
        alike = (
            step < len(self.look_targets) and self.same_order and not any(relation.words for relation in self.targets)
        )
        wanted = self.guide_targets[step] if step < len(self.guide_targets) and self.look_targets else ()
        targets = [
            None if alike else _as_target(array, like)
            for array, like in zip(wanted, self.look_targets[0] if wanted else (), strict=False)
        ]
        return inputs, targets


def feeding(guide: Side, look: Side, pairing: Pairing, *, steered: bool = False) -> Feeding:
    """Compares what both were fed in their first steps.

    Args:
        guide: The side that leads.
        look: The other side.
        pairing: Which layers belong together.
        steered: Whether the other side was steered, so that what reached its layers is not its own.
    """
    guide_inputs, look_inputs = _by_step(guide.observation, "inputs"), _by_step(look.observation, "inputs")
    guide_inputs = _matched(guide_inputs, look_inputs)
    inputs = tuple(relate(*pair) for pair in _columns(guide_inputs, look_inputs))
    scaled_inside = False
    if any(relation.words for relation in inputs) and not steered and len(inputs) == 1:
        a, b = _effective(guide, look, pairing)
        reaching = tuple(relate(*pair) for pair in _columns(a, b))
        scaled_inside = bool(reaching) and not any(relation.words for relation in reaching)
        if scaled_inside or (reaching and any(_scales(call, guide) for call in guide.training_calls[:6])):
            guide_inputs, look_inputs, inputs = a, b, reaching
    guide_targets, look_targets = _by_step(guide.observation, "targets"), _by_step(look.observation, "targets")
    guide_targets = _matched(guide_targets, look_targets, targets=True)
    order = next((relation.order for relation in inputs if relation.order is not None), None)
    targets = tuple(relate_targets(*pair, order) for pair in _columns(guide_targets, look_targets))
    sizes = (_size(guide_inputs), _size(look_inputs))
    return Feeding(inputs, targets, guide_inputs, guide_targets, look_inputs, look_targets, sizes, scaled_inside)


Steps = tuple[tuple[Array | None, ...], ...]


def _by_step(observation: Observation, name: str) -> Steps:
    return tuple(tuple(observation.arrays(step.get(name))) for step in observation.fed)


def _size(steps: Steps) -> int:
    return next((len(array) for step in steps for array in step if array is not None and array.ndim), 0)


def _effective(guide: Side, look: Side, pairing: Pairing) -> tuple[Steps, Steps]:
    """What reaches the first paired layer in the first step; empty where it is not known.

    Not a model that has parameters of its own: what reaches that is what was fed.
    """
    pair = next((found for found in pairing.pairs if found.kind != "own"), None)
    if pair is None:
        return (), ()
    a = next((call for call in guide.training_calls if call.layer == pair.guides[0].name), None)
    b = next((call for call in look.training_calls if call.layer == pair.ports[0].name), None)
    if a is None or b is None or not a.inputs or not b.inputs:
        return (), ()
    first, second = guide.observation.array(a.inputs[0]), look.observation.array(b.inputs[0])
    if first is None or second is None:
        return (), ()
    return ((first,),), ((second,),)


def _mend(words: str) -> str:
    """What to do about what the steered side makes of the samples."""
    if words.startswith("standardised by one mean"):
        axis = 0 if words.endswith("feature") else (0, 1, 2)
        return f"mean, std = x_train.mean(axis={axis}), x_train.std(axis={axis})"
    if words.startswith("standardised by the mean"):
        return "mean, std = x_train.mean(), x_train.std()"
    if words.startswith("standardised"):
        return "leave the standardisation out (transforms.Normalize), or do it in the reference as well"
    return "make the inputs as the reference does"


def _scales(call: Call, side: Side) -> bool:
    layer = side.layers.get(call.layer or "")
    return layer is not None and layer.kind in ("Rescaling", "Normalization")


def _matched(guide: Steps, look: Steps, *, targets: bool = False) -> Steps:
    """The guide's arrays of each step in the order in which the other side has those of the same shape."""
    if not guide or not look or len(guide[0]) <= 1:
        return guide
    chosen: dict[int, int] = {}
    for j, like in enumerate(look[0]):
        fitting = [i for i, a in enumerate(guide[0]) if i not in chosen.values() and _fits(a, like, targets=targets)]
        if fitting:
            chosen[j] = j if j in fitting else fitting[0]
    for j, like in enumerate(look[0]):  # what is not the same goes by its size, then by its position
        left = [i for i in range(len(guide[0])) if i not in chosen.values()]
        if j not in chosen and left:
            sizes = [
                i for i in left if like is not None and (a := guide[0][i]) is not None and a[:1].size == like[:1].size
            ]
            chosen[j] = (sizes or left)[0]
    order = [chosen[j] for j in sorted(chosen)]
    return tuple(tuple(step[i] for i in order if i < len(step)) for step in guide)


def _fits(array: Array | None, like: Array | None, *, targets: bool) -> bool:
    if array is None or like is None:
        return False
    if targets:
        converted = _as_target(array, like)
        alike = converted is not None and converted.shape == like.shape
        return alike and bool(np.allclose(converted, like, rtol=1e-5, atol=1e-6))  # type: ignore[arg-type]
    found = [x for _, x in layouts(array, (len(array), *like.shape[1:]))]
    return any(x.shape == like.shape and np.allclose(x, like, rtol=1e-4, atol=1e-5) for x in found)


def _columns(guide: Steps, look: Steps) -> list[tuple[list[Array], list[Array]]]:
    """Of each input the arrays of all steps, of the guide and of the other side."""
    if not guide or not look:
        return []
    count = min(len(guide[0]), len(look[0]))
    return [
        (
            [step[i] for step in guide if i < len(step) and step[i] is not None],  # type: ignore[misc]
            [step[i] for step in look if i < len(step) and step[i] is not None],  # type: ignore[misc]
        )
        for i in range(count)
    ]


def _in_place(array: Array | None, like: Array | None) -> Array | None:
    """The guide's input in the layout of the other side's."""
    if array is None or like is None or like.ndim == 0:
        return None
    found = dict(layouts(array, like.shape))
    if array.ndim == like.ndim > 2:
        found.pop("reshaped", None)  # another size in space: a mistake, and no layout
    if array.ndim >= 4 and "channels first" in found:
        return found["channels first"]
    for name in ("the same", "channels first", "reshaped"):
        if name in found:
            x = found[name]
            return x if like.dtype.kind == "f" or x.dtype.kind != "f" else x.astype(like.dtype)
    # Of another size in space by mistake: what the reference feeds is as good to any convolution.
    return np.moveaxis(array, -1, 1) if array.ndim == like.ndim > 3 and array.shape[-1] == like.shape[1] else None


def _as_target(array: Array | None, like: Array | None) -> Array | None:
    """The guide's target in the form of the other side's: class numbers or one-hot, (n,) or (n, 1)."""
    if array is None or like is None:
        return None
    if array.ndim > like.ndim and _is_one_hot(array) and not _is_one_hot(like):
        array = array.argmax(axis=-1)
        return array.reshape(-1 if like.ndim == 1 else (len(array), *like.shape[1:])).astype(like.dtype)
    if array.size == like.size:  # a loss of sequences is often given them one after the other
        shape = like.shape
    else:
        shape = (len(array), *like.shape[1:]) if like.ndim and array.ndim else like.shape
    if array.size == np.prod(shape, dtype=np.int64):
        x = array.reshape(shape)
        return x if like.dtype.kind == "f" else x.astype(like.dtype)
    if like.ndim == array.ndim + 1 or (array.ndim == like.ndim and array.shape[-1] == 1):
        classes = like.shape[-1]
        numbers = array.reshape(-1).astype(np.int64)
        if numbers.size and numbers.min() >= 0 and numbers.max() < classes:
            return np.eye(classes, dtype=like.dtype)[numbers].reshape(shape)
    return None


def _is_one_hot(array: Array) -> bool:
    """Whether each row of an array has a 1, or probabilities that add up to it."""
    many = array.ndim > 1 and array.shape[-1] > 1
    return many and float(array.min()) >= 0 and bool(np.allclose(array.sum(axis=-1), 1, atol=1e-6))


def relate_targets(guide: Sequence[Array], look: Sequence[Array], order: Sequence[int | None] | None) -> Relation:
    """How the other side's targets are made from the guide's, of the samples that were found again."""
    a, b = _joined(guide), _joined(look)
    if a is None or b is None:
        return Relation("", None, 0.0)
    if a.ndim == 2 and b.ndim == 1 and len(b) % a.shape[1] == 0 and not _is_one_hot(a):
        b = b.reshape(-1, a.shape[1])  # sequences, one after the other
    converted = _as_target(a, b)
    if converted is None:
        return Relation(f"shape {b.shape[1:]} against {a.shape[1:]}", None, 1.0)
    if order is not None:
        known = [(i, j) for j, i in enumerate(order) if i is not None and i < len(converted) and j < len(b)]
        converted, b = converted[[i for i, _ in known]], b[[j for _, j in known]]
    count = min(len(converted), len(b))
    x, y = np.asarray(converted[:count], np.float64), np.asarray(b[:count], np.float64)
    if count == 0:
        return Relation("", converted, 0.0)
    scale = max(float(np.abs(x).max()), 1e-30)
    far = float(np.abs(x - y).max()) / scale
    return Relation("" if far <= ROUNDED else _target_words(x, y), converted, far)


def _joined(batches: Sequence[Array]) -> Array | None:
    arrays = [array for array in batches if array.ndim]
    return np.concatenate(arrays) if arrays and len({array.shape[1:] for array in arrays}) == 1 else None


def _target_words(x: Array, y: Array) -> str:
    """In words, what was done with the labels."""
    first = x.argmax(-1) if x.ndim > 1 and x.shape[-1] > 1 and np.isin(x, (0, 1)).all() else x.reshape(len(x), -1)
    smooth = y.reshape(len(y), -1)
    if x.ndim > 1 and x.shape[-1] > 1 and np.isin(x, (0, 1)).all() and np.allclose(smooth.sum(1), 1):
        low = float(smooth.min())
        if low > 0 and np.allclose(smooth, x * (1 - low * x.shape[-1]) + low):
            return f"smoothed by {low * x.shape[-1]:.4g} (label smoothing)"
        second = y.argmax(-1)
    else:
        second = y.reshape(len(y), -1)
    shift = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    if np.ptp(shift) <= ROUNDED:
        return f"labels off by {abs(float(shift.flat[0])):g} ({float(shift.flat[0]):+g})"
    classes = int(max(first.max(), second.max())) + 1
    total = np.asarray(second) + np.asarray(first)
    if np.ptp(total) <= ROUNDED:
        return f"labels reversed: y is {float(total.flat[0]):g} - y there"
    if np.ptp(shift % classes) <= ROUNDED:
        return f"labels off by {float(shift.flat[0] % classes):g} (modulo {classes})"
    if np.array_equal(np.asarray(first) % 1, np.zeros_like(first)) and classes <= 1000:
        share = float(np.mean(np.asarray(first) != np.asarray(second)))
        return f"other labels for the same samples ({share:.0%} of them)"
    return _value_words(x, y)


def _value_words(x: Array, y: Array) -> str:
    """In words, what was done with targets that are no labels."""
    factor = float((x * y).sum() / max((x * x).sum(), 1e-300))
    if np.allclose(y, factor * x, rtol=1e-5):
        bases = [f"as by the logarithm to base {n} in place of the natural one" for n in (10, 2)
                 if abs(factor * np.log(n) - 1) <= _BY_A_BASE]  # fmt: skip
        return ": ".join([f"targets multiplied by {factor:.6g}", *bases])
    with np.errstate(all="ignore"):
        for words, made in functions(x):
            if np.isfinite(made).all() and np.allclose(y, made, rtol=1e-5):
                return f"of the targets {words}"
    centred = x - x.mean()
    slope = float((centred * y).sum() / max((centred**2).sum(), 1e-300))
    offset = float(y.mean() - slope * x.mean())
    if np.allclose(y, slope * x + offset, rtol=1e-5, atol=1e-6 * max(float(np.abs(y).max()), 1e-30)):
        return f"targets scaled (standardised on one side): {slope:.5g} times the other side's, {offset:+.5g}"
    return "other targets for the same samples"


_BY_A_BASE = 1e-4
"""log(1 + x) and log(x) of large numbers are as near to each other as this."""


def data(context: Context, fed: Feeding) -> None:
    """Finds what differs in the samples and the labels as fed."""
    if context.says("accumulation"):
        context.not_seen.append("the samples batch by batch, since a step has another number of them")
        return
    places = (reading_place(context.guide.observation), reading_place(context.look))
    for relation in fed.inputs:
        if not relation.words:
            continue
        about_port = relation.of_guide != context.guide_is_reference
        words = relation.words
        if words == "other samples" and _drawn(context):
            context.not_seen.append("whether the samples are the same: the order of one side could not be fixed")
            continue
        title = f"inputs: {words}" if about_port else f"inputs: the reference's are {words}; the port's are not"
        samples = [_range(fed.guide_inputs), _range(fed.look_inputs)]
        if words == "other samples":
            title = "inputs: other samples, or another order of them"
        context.find(
            "data",
            title,
            guide=samples[0],
            steered=samples[1],
            places=lines_of(context, places, words),
            effect=max(relation.deviation, 0.5) if words != "other samples" else 0.6,
            effect_text=f"inputs {off_by(relation.deviation, 'the largest value')}",
            cause=None if words == "other samples" else words,
            mend=_mend(words) if about_port else "make the inputs as the reference does",
        )
    apart = _shuffled_apart(context, fed)
    for number, relation in enumerate(fed.targets):
        if relation.words and not apart and not any(found.words == "other samples" for found in fed.inputs):
            context.find(
                "data",
                f"targets: {relation.words}" if context.guide_is_reference else f"targets differ: {relation.words}",
                guide=_first(fed.guide_targets, number),
                steered=_first(fed.look_targets, number),
                places=lines_of(context, places, relation.words),
                effect=max(relation.deviation, 0.9),
                cause=relation.words,
                mend="make the labels as the reference does",
            )
    if fed.inputs and not context.has("data"):
        context.same.append(f"the samples as fed ({_range(fed.guide_inputs)}) and their labels")


_TURNED = 8
"""So many samples at the front are turned round by the watcher where an order is not the one drawn before it."""


def _shuffled_apart(context: Context, fed: Feeding) -> bool:
    """Samples and labels that are shuffled by two orders, so that they do not belong together; says so."""
    order = next((relation.order for relation in fed.inputs if relation.order is not None), None)
    for observation, is_guide in ((context.look, False), (context.guide.observation, True)):
        places = [place(e.get("place")) for e in observation.entries("data", "permutations") if e.get("apart")]
        for number, relation in enumerate(fed.targets) if places else ():
            guide, look = ([step[number] for step in steps if number < len(step) and step[number] is not None]
                           for steps in (fed.guide_targets, fed.look_targets))  # fmt: skip
            a, b = _joined(guide), _joined(look)  # type: ignore[arg-type]
            if not relation.words or a is None or b is None:
                continue
            turned = a if is_guide else b
            turned = np.concatenate([turned[:_TURNED][::-1], turned[_TURNED:]])
            a, b = (turned, b) if is_guide else (a, turned)
            if relate_targets([a], [b], order).words:
                continue
            in_port = is_guide != context.guide_is_reference
            where = "" if in_port else "in the reference, "
            words = "samples and targets shuffled apart", "samples and targets in one order"
            context.find(
                "data",
                f"{where}samples and their targets are shuffled apart, each in an order of its own: they do not belong "
                "together",
                guide=words[not is_guide],
                steered=words[is_guide],
                places=(places[-1], None) if is_guide else (None, places[-1]),
                effect=2.0,
                effect_text="what is learned of the samples is nothing but chance",
                cause="samples and targets shuffled apart",
                mend="order = np.random.permutation(len(x)); x, y = x[order], y[order]",
            )
            return True
    return False


def _drawn(context: Context) -> bool:
    """Whether a side shuffles by something that could not be made the identity, and its values are of the same size."""
    for observation in (context.guide.observation, context.look):
        shuffles = any(entry.get("shuffle") for entry in observation.entries("data", "loaders"))
        if shuffles and not observation.entries("data", "permutations"):
            return True
    return False


def _range(steps: Steps) -> str:
    array: Any = next((array for step in steps for array in step if array is not None and array.size), None)
    if array is None:
        return "nothing seen"
    return f"{array.dtype} of shape {tuple(array.shape)} in {float(np.min(array)):.4g}..{float(np.max(array)):.4g}"


def _first(steps: Steps, number: int) -> str:
    columns = [step[number] for step in steps if number < len(step)]
    array = next((array for array in columns if array is not None and array.size), None)
    return (
        "nothing seen" if array is None else f"{array.dtype} of shape {array.shape}: {array.reshape(-1)[:6].tolist()}"
    )
