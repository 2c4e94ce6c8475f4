"""Which part of the data is trained on: the first samples, the last ones, or those from a certain one on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding
from compare.explanation.feeding.mixing import stages_of
from compare.explanation.feeding.reading import num_samples, reading_place, training_loader
from compare.explanation.feeding.relation import relate
from compare.explanation.feeding.targets import joined_batches
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation
from compare.explanation.origins import made_at

_EACH_EPOCH = ("fit(", "RandomSampler", "SubsetRandomSampler", "tf.data")
"""What draws an order of the samples to train on alone, so that it does not decide which ones those are."""

_SPLITS = (r"^\s*\w*train\w*\b.*(Subset\(|\[[^\]]*:)", r"Subset\(|\[[^\]]*:[^\]]*\]")
"""How lines look that take a part of the samples; first those that say that it is to train on."""

_OTHERS = "inputs: other samples"


@dataclass(frozen=True)
class Rows:
    """The samples of a data set that are trained on: `count` from the `first` on, counted from 0, `of` so many."""

    first: int
    count: int
    of: int

    def __str__(self) -> str:
        return f"samples {self.first:,} to {self.first + self.count - 1:,} of {self.of:,}, counted from 0"


def part(context: Context, fed: Feeding) -> None:
    """Finds samples to train on that are another part of the same data.

    Both sides read their samples in the order in which they lie. Where either mixes all of them before it takes a
    part, any part is as good as another.

    Args:
        context: Both sides.
        fed: What both were fed.
    """
    observations = context.guide.observation, context.look
    number = next((n for n in map(num_samples, observations) if n), None)
    mixed = any(_is_mixed_before(observation, number) for observation in observations)
    if mixed or context.says("number of training samples|sampler|shuffled apart|samples of an epoch"):
        return
    if not any(relation.order is not None for relation in fed.inputs):
        return  # the same samples
    rows = _rows(observations[0]), _rows(observations[1])
    words = _by_rows(*rows) or _by_values(context, fed)
    if words is None:
        return
    context.findings[:] = [found for found in context.findings if not found.title.startswith(_OTHERS)]
    context.same[:] = [text for text in context.same if not text.startswith("the samples as fed")]
    places = reading_place(observations[0]), reading_place(observations[1])
    in_port, in_reference = words[::-1] if context.guide_is_reference else words
    context.find(
        "data",
        f"trained on another part of the data: {in_port}; the reference: {in_reference}",
        guide=words[0],
        steered=words[1],
        places=(_split(places[0], context, 0), _split(places[1], context, 1)),
        effect=0.5,
        effect_text="the samples to validate on are others as well",
        cause="another part of the data",
        mend=f"train on {rows[0]}" if rows[0] is not None else "train on the part that the reference trains on",
    )


def _is_mixed_before(observation: Observation, number: int | None) -> bool:
    """Whether samples are put in another order before those to train on are taken from them."""
    drawn = [
        entry
        for entry in observation.entries("data", "permutations")
        if not str(entry.get("function")).startswith(_EACH_EPOCH) and entry.get("size") != number
    ]
    methods = [stage.get("method") for stage in stages_of(observation)]
    taken = max((at for at, method in enumerate(methods) if method in ("take", "skip", "shard")), default=-1)
    return bool(drawn or observation.entries("data", "splits")) or "shuffle" in methods[: taken + 1]


def _rows(observation: Observation) -> Rows | None:
    """Which samples a side trains on, where it takes a part of them in a way that is seen."""
    held = observation.part("data", "fit", "validation")
    if isinstance(held, dict) and held.get("kind") == "split":
        number, left = observation.part("data", "fit", "num_samples"), held.get("num_samples")
        known = isinstance(number, int) and isinstance(left, int)
        return Rows(0, number - left, number) if known else None
    found = training_loader(observation).get("rows")
    if not isinstance(found, dict) or found["count"] == found["of"]:
        return None  # all of a data set, which may be a part of others
    return Rows(found["first"], found["count"], found["of"])


def _by_rows(guide: Rows | None, look: Rows | None) -> tuple[str, str] | None:
    known = guide is not None and look is not None and guide.of == look.of and guide.first != look.first
    return (str(guide), str(look)) if known else None


def _by_values(context: Context, fed: Feeding) -> tuple[str, str] | None:
    """The part that one side begins with, found among the other's samples to train on or to validate on."""
    sides = context.guide.observation, context.steered.observation
    trained = [_joined(side.arrays(entry.get("inputs"))[:1] for entry in side.fed) for side in sides]
    held = [_joined([side.arrays(side.entries("data", "read", "validation", "inputs")[:1])])
            for side in (context.guide.observation, context.look)]  # fmt: skip
    own, others = "it begins with sample 0", "it begins with the other side's sample {}, counted from 0"
    ahead = next((start for relation in fed.inputs if (start := _start(relation.order, fed))), 0)
    if ahead:
        return own, others.format(ahead)
    behind = _start(_order(trained[1], trained[0]), fed)
    if behind:
        return others.format(behind), own
    for one in (0, 1):
        if _order(trained[one], held[1 - one]) == ():
            words = ["it validates on other samples", "it validates on the first samples that the other side trains on"]
            return (words[one], words[1 - one])
    return None


def _start(order: Sequence[int | None] | None, fed: Feeding) -> int:
    """The number at which samples begin among others in the same order; 0 where they do not, or are the same."""
    if not order or order[0] is None:
        return 0
    found = [number for number in order if number is not None]
    along = found == list(range(order[0], order[0] + len(found))) and None not in order[: len(found)]
    return order[0] if along and len(found) >= max(2, fed.batches[1] // 2) else 0


def _order(guide: Array | None, other: Array | None) -> Sequence[int | None] | None:
    """Of each of the other samples its number; nothing at all where they are the same from the first on."""
    if guide is None or other is None:
        return None
    relation = relate([guide], [other])
    return relation.order if relation.order is not None or relation.words else ()


def _joined(columns: Iterable[Sequence[Array | None]]) -> Array | None:
    arrays = [array for column in columns for array in column if array is not None]
    return joined_batches(arrays) if arrays else None


def _split(where: Place | None, context: Context, side: int) -> Place | None:
    """The line that takes a part of the samples, if there is one on the way to where they are read."""
    for pattern in _SPLITS:
        found = made_at(where, context.folders[side], pattern)
        if found != where:
            return found
    return where
