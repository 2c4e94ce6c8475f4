"""The samples to validate on: whether they are made as those to train on are, on both sides."""

import numpy as np

from compare.explanation.context import Context
from compare.explanation.feeding.data import say_augmented
from compare.explanation.feeding.reading import draws_samples, lines_of, reading_place
from compare.explanation.feeding.relation import Relation, relate
from compare.explanation.feeding.targets import relate_targets
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation
from compare.explanation.words import off_by

_SEEN = "seen in validation, and in what is chosen by it"


def validation(context: Context) -> None:
    """Finds what differs in the samples that both sides validate on, beyond what differs in those to train on."""
    sides = context.guide.observation, context.look
    inputs = [_arrays(observation, "inputs") for observation in sides]
    if not all(inputs):
        return
    places = _place(sides[0]), _place(sides[1])
    random = [draws_samples(observation, "validation") for observation in sides]
    if random[0] != random[1]:
        _augmented(context, random, places)
        return
    found = relate(*inputs)
    if any(random) or found.words == "other samples" or found.words.startswith("shape"):
        return
    if found.words and _as_in_training(sides, inputs):
        return
    context.same.extend(["the samples as fed in validation"] if not found.words else [])
    targets = [_arrays(observation, "targets") for observation in sides]
    labels = relate_targets(targets[0], targets[1], found.order) if all(targets) else Relation("", None, 0.0)
    for name, relation in (("inputs", found), ("targets", labels)):
        if relation.words and not (name == "targets" and context.says("^targets")):
            about_port = relation.of_guide != context.guide_is_reference
            words = relation.words if about_port else f"the reference's are {relation.words}; the port's are not"
            context.find(
                "data",
                f"validation {name}: {words}",
                guide=_range(inputs[0] if name == "inputs" else targets[0]),
                steered=_range(inputs[1] if name == "inputs" else targets[1]),
                places=lines_of(context, places, relation.words),
                effect=0.4,
                effect_text=f"{off_by(relation.deviation, 'the largest value')}; {_SEEN}",
                cause=f"validation {name}: {relation.words}",
                mend="make the samples to validate on as the reference does",
            )


def _augmented(context: Context, random: list[bool | None], places: tuple[Place | None, Place | None]) -> None:
    """Samples to validate on that only one side changes at random."""
    if None in random:
        return
    say_augmented(
        context,
        (bool(random[0]), bool(random[1])),
        "random augmentation of the samples to validate on",
        places=places,
        effect=0.4,
        seen=f"; {_SEEN}",
        mend="a data set of its own without the random transforms, for validation" if random[1] else "",
    )


def _as_in_training(sides: tuple[Observation, Observation], held: list[list[Array]]) -> bool:
    """Whether one relation makes both sides' samples of one another, those to train on and those to validate on."""
    fed = []
    for observation in sides:
        steps = [observation.arrays(entry.get("inputs"))[:1] for entry in observation.fed]
        fed.append([array for step in steps for array in step if array is not None])
    if not all(fed) or any(array.shape[1:] != part[0].shape[1:] for part in fed for array in part):
        return False
    trained = [np.concatenate(part) for part in fed]
    first, second = min(map(len, trained)), min(len(part[0]) for part in held)
    if any(a.shape[1:] != b[0].shape[1:] for a, b in zip(trained, held, strict=True)):
        return False
    both = [np.concatenate([a[:first], b[0][:second]]) for a, b in zip(trained, held, strict=True)]
    alone, together = relate([trained[0][:first]], [trained[1][:first]]).words, relate([both[0]], [both[1]]).words
    if alone == "other samples" or "of the samples" in alone:
        # Changed at random: where they are of another size as well, a model may scale them by itself.
        return not _of_one_size(*trained)
    kind = "scaled sample by sample"  # which says nothing of one sample's scale and another's
    whole = bool(together) and together != "other samples" and "of the samples" not in together
    return whole and together.startswith(kind) == alone.startswith(kind)


def _of_one_size(a: Array, b: Array) -> bool:
    spread = max(float(a.std()), 1e-30)
    return abs(float(b.std()) / spread - 1) < _NEAR and abs(float(b.mean() - a.mean())) / spread < _NEAR


_NEAR = 0.2
"""What random augmentation may make of a mean or a deviation; another scale makes more."""


def _arrays(observation: Observation, name: str) -> list[Array]:
    """The first inputs or targets of the first batch to validate on; empty where nothing was read."""
    keys = observation.entries("data", "read", "validation", name)
    arrays = observation.arrays(keys[:1])
    return [array for array in arrays if array is not None]


def _range(arrays: list[Array]) -> str:
    return f"{arrays[0].dtype} of shape {arrays[0].shape} in {arrays[0].min():.4g}..{arrays[0].max():.4g}"


def _place(observation: Observation) -> Place | None:
    return observation.place("data", "read", "validation", "place") or reading_place(observation)
