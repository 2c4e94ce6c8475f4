"""The data as fed: samples, labels, batches, and the order in which they come."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.explanation.context import Context, Places
from compare.explanation.feeding.drawing import Said, any_inputs, inputs_by_draws, targets_by_draws
from compare.explanation.feeding.reading import draws_samples, lines_like, lines_of, reading_place, training_loader
from compare.explanation.feeding.relation import Relation, relate
from compare.explanation.feeding.targets import as_target, joined_batches, relate_targets
from compare.explanation.observed.joining import Steps, columns, samples_first, time_first, together, where_known
from compare.explanation.observed.observation import Array, Call, Observation, place
from compare.explanation.observed.pairing import Pairing
from compare.explanation.observed.plan import Batch
from compare.explanation.observed.sides import Side
from compare.explanation.observed.values import layouts
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
        left_alone: Whether the inputs are the steered side's own in the steered run as well: what was fed differs and
            what reaches the first layers does not, or the samples are fed in a list.
        time_first: Whether the steered side's own are (time, samples, ...) where the guide's are (samples, time, ...);
            here they are like the guide's, and nothing is fed in their place: they are the same.
    """

    inputs: tuple[Relation, ...]
    targets: tuple[Relation, ...]
    guide_inputs: tuple[tuple[Array | None, ...], ...]
    guide_targets: tuple[tuple[Array | None, ...], ...]
    look_inputs: tuple[tuple[Array | None, ...], ...]
    look_targets: tuple[tuple[Array | None, ...], ...]
    batches: tuple[int, int]
    left_alone: bool = False
    time_first: bool = False

    @property
    def same_order(self) -> bool:
        """Whether both read the same samples in the same order, whatever they made of them."""
        found = [relation for relation in self.inputs if relation.order is not None]
        return self.batches[0] == self.batches[1] and all(
            relation.order == tuple(range(len(relation.order or ()))) for relation in found
        )

    def batch(self, step: int) -> Batch:
        """What to feed to the steered side at a step in place of its own."""
        if self.time_first:
            return [], []
        # Of what was scaled inside a model only the first step is known: the targets of the others can be fed.
        given = self.guide_inputs[step] if step < len(self.guide_inputs) and self.look_inputs else ()
        inputs = [
            None if self.left_alone else _in_place(array, like)
            for array, like in zip(given, self.look_inputs[0] if given else (), strict=False)
        ]
        if any(array is None for array in inputs) and _size((given,)) not in (0, self.batches[1]):
            return [], []  # a batch of another size, of which not all that goes with it is known
        words = [relation.words for relation in self.targets if relation.words]
        # Labels that one side smooths are left as they are: the other's loss may smooth them.
        smoothed = bool(words) and all("label smoothing" in text for text in words)
        alike = self.same_order and (smoothed or (step < len(self.look_targets) and not words))
        wanted = self.guide_targets[step] if step < len(self.guide_targets) and self.look_targets else ()
        targets = [
            None if alike else as_target(array, like)
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
    guide_inputs, own_inputs = _by_step(guide.observation, "inputs"), _by_step(look.observation, "inputs")
    look_inputs = together(own_inputs, guide_inputs)
    guide_inputs = together(guide_inputs, own_inputs)
    in_lists = any(len(step) != len(own) for step, own in zip(look_inputs, own_inputs, strict=True))
    times = time_first(look_inputs, guide_inputs)
    if times:
        look_inputs = samples_first(look_inputs, times)
    guide_inputs = _matched(columns(guide_inputs, look_inputs), look_inputs)
    inputs = tuple(relate(*pair) for pair in _columns(guide_inputs, look_inputs))
    scaled_inside = False
    if any(relation.words for relation in inputs) and not steered and len(inputs) == 1:
        a, b = _effective(guide, look, pairing)
        reaching = tuple(relate(*pair) for pair in _columns(a, b))
        scaled_inside = bool(reaching) and not any(relation.words for relation in reaching)
        if scaled_inside or (reaching and any(_scales(call, guide) for call in guide.training_calls[:6])):
            guide_inputs, look_inputs, inputs = a, b, reaching
    guide_targets, look_targets = _by_step(guide.observation, "targets"), _by_step(look.observation, "targets")
    if times:
        look_targets = samples_first(look_targets, times)
    wanted, known = where_known(guide_targets, look_targets)
    compared = _columns(_matched(wanted, known, targets=True), known)
    guide_targets = _matched(guide_targets, look_targets, targets=True)
    order = next((relation.order for relation in inputs if relation.order is not None), None)
    targets = tuple(relate_targets(*pair, order) for pair in compared)
    sizes = (_size(guide_inputs, guide_targets), _size(look_inputs, look_targets))
    left_alone = scaled_inside or in_lists
    return Feeding(
        inputs, targets, guide_inputs, guide_targets, look_inputs, look_targets, sizes, left_alone, times > 0
    )


def _by_step(observation: Observation, name: str) -> Steps:
    return tuple(tuple(observation.arrays(step.get(name))) for step in observation.fed)


def _size(inputs: Steps, targets: Steps = ()) -> int:
    """The number of samples in a batch: of inputs of several lengths, the one that the targets have, too."""
    lengths, others = (
        [len(x) for step in steps[:1] for x in step if x is not None and x.ndim] for steps in (inputs, targets)
    )
    return next((length for length in lengths if length in others), next(iter(lengths), 0))


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


def _target_mend(words: str) -> str:
    """What to do about what the steered side makes of the labels."""
    if words.startswith("shifted"):
        return "take each sample's own target: an index is off"
    smoothing = re.search(r"by ([\d.]+) \(label smoothing\)", words)
    if smoothing is None:
        return "make the labels as the reference does"
    if words.startswith("smoothed"):
        return "leave the smoothing out: labels of 0 and 1"
    return f"label_smoothing={smoothing[1]} in the loss, or y * {1 - float(smoothing[1]):g} + {smoothing[1]} / classes"


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
        converted = as_target(array, like)
        found = [] if converted is None else [converted]
    else:
        found = [x for _, x in layouts(array, (len(array), *like.shape[1:]))]
    found += [_turned(x) for x in found]
    return any(x.shape == like.shape and np.allclose(x, like, rtol=1e-4, atol=1e-5) for x in found)


def _turned(x: Array) -> Array:
    """Samples whose first ones were turned round by the watcher, for an order that is not the one drawn before it."""
    return np.concatenate([x[:_TURNED][::-1], x[_TURNED:]]) if x.ndim else x


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


def data(context: Context, fed: Feeding) -> None:
    """Finds what differs in the samples and the labels as fed."""
    if context.says("accumulation"):
        context.not_seen.append("the samples batch by batch, since a step has another number of them")
        return
    places = (reading_place(context.guide.observation), reading_place(context.look))
    for number, relation in enumerate(fed.inputs):
        if not relation.words:
            continue
        guide, look = (_column(steps, number) for steps in (fed.guide_inputs, fed.look_inputs))
        said = inputs_by_draws(context, guide, look, number)
        if said is None and _AT_RANDOM.search(relation.words):
            said = any_inputs(context, number)
        if said is not None:
            _find_drawn(context, "inputs", said, (_range(fed.guide_inputs), _range(fed.look_inputs)), relation)
            continue
        about_port = relation.of_guide != context.guide_is_reference
        words = relation.words
        if _AT_RANDOM.search(words) and _augmented(context, places):
            continue
        if reason := _not_compared(context, fed, words):
            context.not_seen.append(f"{_SAME_SAMPLES}: {reason}")
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
    _targets(context, fed, places)
    if fed.inputs and not context.has("data"):
        _say_same(context, fed)


def _find_drawn(context: Context, what: str, said: Said, values: tuple[str, str], relation: Relation) -> None:
    """Says what differs in what a step makes of the numbers that it draws."""
    context.find(
        "data",
        f"{what}: {said.words}",
        guide=values[0],
        steered=values[1],
        places=said.places,
        effect=min(max(relation.deviation, 0.5), 0.9),
        effect_text=f"{what} {off_by(relation.deviation, 'the largest value')}",
        cause=said.words,
        mend=said.mend,
    )


def _column(steps: Steps, number: int) -> Array | None:
    """One input or target of the first step."""
    return steps[0][number] if steps and number < len(steps[0]) else None


def _not_compared(context: Context, fed: Feeding, words: str) -> str:
    """Why it is not known whether samples are the same; empty where it is."""
    first, second = (next(iter(steps[0]), None) if steps else None for steps in (fed.guide_inputs, fed.look_inputs))
    reshaped = first is not None and second is not None and first.shape[1:] != second.shape[1:]
    counts = {len(steps[0]) for steps in (fed.guide_inputs, fed.look_inputs) if steps}
    if len(counts) > 1 and words.startswith("shape "):
        return "each side has another number of inputs"
    if context.by_hand and (words.startswith("shape ") or (words == "other samples" and reshaped)):
        return "each side has a form of its own, and layers of its own for it"
    if not context.pairing.pairs and context.by_hand:
        return "what meets the weights of a model without layers is not known to be what is fed"
    return "the order of one side could not be fixed" if _in_another_order(context, words) else ""


def _targets(context: Context, fed: Feeding, places: Places) -> None:
    """Finds what differs in the labels as fed."""
    apart = _shuffled_apart(context, fed)
    for number, relation in enumerate(fed.targets):
        if not relation.words or apart:
            continue
        if said := targets_by_draws(context, _column(fed.guide_targets, number), _column(fed.look_targets, number)):
            values = (_first(fed.guide_targets, number), _first(fed.look_targets, number))
            _find_drawn(context, "targets", said, values, relation)
            continue
        if any(found.words == "other samples" for found in fed.inputs):
            continue
        if _in_a_list(fed, number) and (relation.words.startswith("shape ") or fed.batches[0] == fed.batches[1]):
            context.not_seen.append(
                "whether the targets are the same: one side has them in a list, or of some samples alone"
            )
        else:
            context.find(
                "data",
                f"targets: {relation.words}" if context.guide_is_reference else f"targets differ: {relation.words}",
                guide=_first(fed.guide_targets, number),
                steered=_first(fed.look_targets, number),
                places=lines_of(context, places, relation.words),
                effect=max(relation.deviation, 0.9),
                cause=relation.words,
                mend=_target_mend(relation.words),
            )


def _in_a_list(fed: Feeding, number: int) -> bool:
    """Whether one side's targets of a step are not as many as its samples: those of all places that count, for one."""
    sides = (fed.guide_targets, fed.look_targets)
    columns = [step[number] for steps in sides for step in steps[:1] if number < len(step)]
    lengths = [len(x) for x in columns if x is not None and x.ndim]
    return len(lengths) == 2 and lengths[0] != lengths[1] and fed.batches[0] in lengths


def _say_same(context: Context, fed: Feeding) -> None:
    """What is the same of samples and labels in which nothing was found to differ."""
    if any(_SAME_SAMPLES in words for words in context.not_seen):
        return
    if not any("random augmentation" in words for words in context.not_seen):
        context.same.append(f"the samples as fed ({_range(fed.guide_inputs)}) and their labels")
    elif not any(relation.words for relation in fed.targets):
        context.same.append("the labels of the samples")


_SAME_SAMPLES = "whether the samples are the same"


_AT_RANDOM = re.compile("^other samples$|random augmentation")


def _augmented(context: Context, places: Places) -> bool:
    """Samples that a side changes at random, each time otherwise; says so, and whether that is what differs."""
    sides = [
        _draws_inside(side) or draws_samples(observation)
        for side, observation in ((context.guide, context.guide.observation), (context.steered, context.look))
    ]
    if not any(sides) or None in sides:
        return False
    if all(sides):
        both = "both sides change them at random"
        context.not_seen.append(AUGMENTED_APART if augments_apart(context) else f"{_AUGMENTED}: {both}")
        return True
    say_augmented(
        context,
        (bool(sides[0]), bool(sides[1])),
        "random augmentation of the samples",
        stage="inputs: ",
        places=lines_like(context, places, _CHANGES),
        effect=0.6,
        mend="leave the augmentation out" if sides[1] else "augment the samples as the reference does",
    )
    return True


def say_augmented(
    context: Context,
    random: tuple[bool, bool],
    what: str,
    *,
    stage: str = "",
    places: Places,
    effect: float,
    seen: str = "",
    mend: str,
) -> None:
    """Says that one side alone changes samples at random.

    Args:
        context: Both sides.
        random: Whether the guide does, and the steered side.
        what: Which augmentation, of which samples.
        stage: What the title begins with.
        places: Where both sides read or change them.
        effect: See `Context.find`.
        seen: Where it is seen.
        mend: What to do in the steered side.
    """
    texts = [f"samples {'changed at random, each time otherwise' if side else 'as they are'}" for side in random]
    in_port = random[1] == context.guide_is_reference
    context.find(
        "data",
        f"{stage}{what}, which the reference does not have" if in_port else f"{stage}no {what}, as the reference has",
        guide=texts[0],
        steered=texts[1],
        places=places,
        effect=effect,
        effect_text=f"the same sample is read twice and is another one each time{seen}",
        cause=what,
        mend=mend,
    )


_AUGMENTED = "what random augmentation makes of the samples"
AUGMENTED_APART = f"{_AUGMENTED}: it is inside the model on one side, in the data on the other"
"""What is said where both sides augment, each at another place."""


def augments_apart(context: Context) -> bool:
    """Whether one side augments its samples by layers of its model, and the other where it reads them."""
    inside = [_draws_inside(side) for side in (context.guide, context.steered)]
    outside = [draws_samples(observation) for observation in (context.guide.observation, context.look)]
    return inside[0] != inside[1] and outside[inside.index(False)] is True


def _draws_inside(side: Side) -> bool:
    """Whether a model of Keras's augments its samples by layers of its own."""
    return side.observation.framework == "keras" and any(augments(side, name) for name in side.layers)


def augments(side: Side, name: str) -> bool:
    """Whether a layer of this name is one that changes samples at random, such as RandomFlip."""
    layer = side.layers.get(name)
    return layer is not None and layer.kind.startswith("Random")


_CHANGES = r"[Rr]andom|rng\.|[Aa]ugment|[Ff]lip|noise"


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
            a, b = joined_batches(guide), joined_batches(look)  # type: ignore[arg-type]
            if not relation.words or a is None or b is None:
                continue
            a, b = (_turned(a), b) if is_guide else (a, _turned(b))
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


def _in_another_order(context: Context, words: str) -> bool:
    """Whether samples differ because a side draws them by weights, with replacement, or in an order not to be fixed."""
    loaders = [training_loader(observation) for observation in (context.guide.observation, context.look)]
    if any(loader.get("replacement") or loader.get("weights") for loader in loaders):
        return _AT_RANDOM.search(words) is not None
    return words == "other samples" and _drawn(context)


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
