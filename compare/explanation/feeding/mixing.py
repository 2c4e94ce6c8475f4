"""How samples are mixed: anew in each epoch, once or never, all of them, in a buffer, in blocks, or batches only."""

import ast
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from compare.explanation.context import Context, Places
from compare.explanation.feeding.data import Feeding
from compare.explanation.feeding.reading import num_samples, training_loader
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Array, Observation, place

_SPLITS = ("split", "train_test_split", "random_split", "KFold")
_SAMPLERS = ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler")
_BATCHING = ("batch", "padded_batch", "ragged_batch")


@dataclass(frozen=True)
class Mixing:
    """How one side mixes its samples.

    Args:
        when: `each epoch`, `once`, `never` or `unknown`.
        among: `all` samples, those of a `buffer` or of `blocks`, or `batches` as wholes.
        size: Of the buffer or of a block.
        number: Of the samples, where a buffer or blocks are of so many.
        place: Of the line that shuffles.
        mixed_before: Whether all samples were mixed once before, so that those of a buffer lie in no order.
    """

    when: str
    among: str = "all"
    size: int = 0
    number: int = 0
    place: Place | None = None
    mixed_before: bool = False

    def __str__(self) -> str:
        if self.when == "never":
            return "not shuffled: the same order in every epoch"
        if self.when == "once":
            return "shuffled once: the same order in every epoch"
        if self.among == "batches":
            return "shuffled by whole batches: each has the same samples in every epoch"
        if self.among in ("buffer", "blocks"):
            where = "a buffer" if self.among == "buffer" else "blocks"
            before = "once, then " if self.mixed_before else ""
            return f"shuffled {before}in {where} of {self.size} of {self.number or 'all'} samples"
        return "shuffled anew in each epoch"


def mixing(context: Context, fed: Feeding, places: Places) -> None:
    """Finds what differs in how samples are mixed.

    Args:
        context: Both sides.
        fed: What both were fed.
        places: Where both sides read their data.
    """
    observations = context.guide.observation, context.look
    number = next((n for n in map(_number, observations) if n), 0)
    a, b = (mixed(*side, number) for side in zip(observations, context.folders, fed.batches, strict=True))
    if "unknown" in (a.when, b.when) or (a.when, a.among, a.size) == (b.when, b.among, b.size):
        return
    partly = a.when == b.when  # both shuffle as often, among other samples
    mixed_before = partly and all(way.among == "all" or way.mixed_before for way in (a, b))
    in_order = "" if mixed_before else _in_order(context, fed)
    if {a.when, b.when} == {"once", "never"} and not in_order:
        return  # one fixed order or another
    if partly and not in_order and min(map(_share, (a, b))) >= _WELL_MIXED:
        context.same.append(f"how samples are mixed, up to the size of a buffer ({a}; {b})")
        return
    port, reference = (b, a) if context.guide_is_reference else (a, b)
    title = f"{port}; the reference is {reference}"
    if (port.when, port.among) == ("each epoch", "all") and not partly:
        title = f"shuffled; the reference is {reference}"
    effect = "batches of the same samples in every epoch on one side" if not partly else "other samples meet in a batch"
    context.find(
        "data",
        title,
        guide=str(a),
        steered=str(b),
        places=(a.place or places[0], b.place or places[1]) if partly else places,
        effect=0.65 if in_order or not partly else 0.02,
        effect_text=f"{effect}: {in_order}" if in_order else effect,
        cause="order of the samples (shuffle)",
        mend=_mend(context, a, b),
        severity="fault" if in_order or not partly else "minor",
    )


def _share(way: Mixing) -> float:
    """What share of the samples are drawn from at a time."""
    if way.among in ("buffer", "blocks"):
        return way.size / way.number if way.number else 0.0
    return float(way.among == "all")


_WELL_MIXED = 0.25
"""A buffer of a quarter of the samples mixes those that lie in no order as well as all of them do."""


def _mend(context: Context, wanted: Mixing, seen: Mixing) -> str:
    """What makes the steered side shuffle as the guide does."""
    pipeline = training_loader(context.look).get("kind") == "tf.data"
    if wanted.when == "never":
        return "leave the shuffle out" if pipeline else "shuffle=False"
    if wanted.among != "all":
        return f".shuffle({wanted.size}), or .shuffle(buffer_size=<all samples>) in the reference" if pipeline else (
            "shuffle all samples in the reference as well"
        )  # fmt: skip
    if pipeline:
        size = wanted.number or seen.number
        once = ", reshuffle_each_iteration=False" if wanted.when == "once" else ""
        return f".shuffle({size or 'number of samples'}{once}) before .batch and after .cache"
    if context.look.part("data", "fit", "kind") == "PyDataset":
        return "self.order = np.random.permutation(n) in on_epoch_end, and x[self.order[...]] in __getitem__"
    if seen.among in ("batches", "blocks"):
        return "a permutation of all samples, drawn in each epoch"
    return "shuffle=True" if wanted.when == "each epoch" else "a permutation of all samples, drawn once"


def _number(observation: Observation) -> int | None:
    """How many samples there are to train on; of a pipeline, what it says that it shuffles."""
    counts = [stage.get("of") for stage in stages_of(observation) if stage.get("method") == "shuffle"]
    return next((n for n in counts if isinstance(n, int) and n > 0), None) or num_samples(observation)


def mixed(observation: Observation, folder: Path, batch: int, number: int) -> Mixing:
    """How a side mixes its samples.

    Args:
        observation: Of the side.
        folder: Of its program.
        batch: How many samples a batch has.
        number: How many samples there are, 0 where that is unknown.
    """
    loader, fit = training_loader(observation), observation.part("data", "fit")
    if observation.framework == "torch" and loader.get("shuffle"):
        return Mixing("each epoch", number=number)
    found = [
        entry
        for entry in observation.entries("data", "permutations")
        if not any(mark in str(entry.get("function")) for mark in _SPLITS)
    ]
    stages = stages_of(observation)
    if any(stage.get("method") == "shuffle" for stage in stages):  # else a pipeline whose stages were not seen
        found = [entry for entry in found if not str(entry.get("function")).startswith("tf.data")]
    batches = {number // batch, -(-number // batch)} if batch else set()
    ways = [_of_permutation(entry, observation, folder, number, batches) for entry in found]
    ways += [_of_stages(stages, number)] if stages else []
    best = max(ways, key=_rank, default=Mixing("never"))
    if best.among != "all" and any((way.when, way.among) == ("once", "all") for way in ways):
        best = replace(best, mixed_before=True)
    by_itself = isinstance(fit, dict) and fit.get("kind") not in (None, "arrays", "tf.data", "PyDataset")
    sampler = observation.framework == "torch" and loader and loader.get("sampler")
    if best.when == "never" and (by_itself or sampler not in (False, None, {}, "SequentialSampler", "BatchSampler")):
        return Mixing("unknown")
    if loader.get("on_epoch_end") and (best.when, best.among) != ("each epoch", "all"):
        return Mixing("unknown")  # what it does there is not seen before the first epoch ends
    return best


def _rank(way: Mixing) -> tuple[int, int, int]:
    times = ("unknown", "never", "once", "each epoch").index(way.when)
    return times, ("batches", "blocks", "buffer", "all").index(way.among), way.size


def stages_of(observation: Observation) -> list[dict[str, Any]]:
    """What the `tf.data` pipeline that is trained from is made of."""
    fitted = observation.entries("data", "fit", "stages")
    return fitted or [stage for stage in training_loader(observation).get("stages") or [] if isinstance(stage, dict)]


def _of_stages(stages: list[dict[str, Any]], number: int) -> Mixing:
    """How a `tf.data` pipeline mixes: what is cached, or batched, before it is shuffled makes a difference."""
    best, batched, repeated = Mixing("never"), False, False
    for stage in stages:
        method = str(stage.get("method"))
        batched = method in _BATCHING or (batched and method != "unbatch")
        repeated = repeated or method == "repeat"
        if method == "shuffle":
            once = stage.get("reshuffle_each_iteration") is False and not repeated
            size, among = int(stage.get("buffer_size") or 0), "batches" if batched else "buffer"
            of = stage.get("of") if isinstance(stage.get("of"), int) else 0
            of = of if of and of > 0 else 0 if batched else number
            if among == "buffer" and (not of or size >= of):
                among, size = "all", 0
            way = Mixing("once" if once else "each epoch", among, size, of or number, place(stage.get("place")))
            best = max(best, way, key=_rank)
        elif method == "cache" and best.when == "each epoch":
            best = Mixing("once", best.among, best.size, best.number, best.place)
    return best


def _of_permutation(
    entry: dict[str, Any], observation: Observation, folder: Path, number: int, batches: set[int]
) -> Mixing:
    """What a permutation mixes, by its size and by where its line stands."""
    function, size = str(entry.get("function")), entry.get("size")
    size = size if isinstance(size, int) else 0
    where = place(entry.get("place"))
    if function.startswith("fit("):
        by_batches = observation.part("data", "fit", "kind") == "PyDataset" or "batch" in function
        return Mixing("each epoch", "batches" if by_batches else "all", 0, number, where)
    when = _when(function, entry, where, folder)
    if size in batches and number > size:
        return Mixing(when, "batches", 0, number, where)
    # What is shuffled in place and is no more than a part of the samples, as a list that is filled and emptied.
    in_place = when == "each epoch" and function.endswith(".shuffle")
    if in_place and 0 < size < 0.9 * number and not _is_epoch(observation, number):
        return Mixing(when, "blocks", size, number, where)
    return Mixing(when, "all", 0, number, where)


def _is_epoch(observation: Observation, number: int) -> bool:
    """Whether any permutation is of as many samples as are trained on, by the side's own words or the other's."""
    number = num_samples(observation) or number
    return any((entry.get("size") or 0) >= number for entry in observation.entries("data", "permutations"))


def _when(function: str, entry: dict[str, Any], where: Place | None, folder: Path) -> str:
    """Whether a permutation is drawn once or in each epoch, by where its line stands."""
    if function in _SAMPLERS:
        return "each epoch"
    if function.startswith("tf.data"):
        return "once" if entry.get("reshuffle_each_iteration") is False else "each epoch"
    if where is None:
        return "once"
    path = folder / where.file
    try:
        text = path.read_text(encoding="utf-8") if path.suffix == ".py" else ""
    except OSError:
        return "once"
    return "each epoch" if _repeats(text, where.line) else "once"


@cache
def _repeats(text: str, line: int) -> bool:
    """Whether a line is in a loop or in a function, which may be called in one."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    kinds = (ast.For, ast.While, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    around = [n for n in ast.walk(tree) if isinstance(n, kinds) and n.lineno <= line <= (n.end_lineno or line)]
    return any(not isinstance(node, ast.FunctionDef) or node.name not in ("main", "__init__") for node in around)


_ALIKE = 0.8
"""Neighbours whose targets correlate more come in an order; of 100 that do not, the coefficient is below 0.3."""


def _in_order(context: Context, fed: Feeding) -> str:
    """In words, in what order the samples lie before they are shuffled; empty where they lie in none."""
    arrays = [step[0] for step in fed.guide_targets if step and step[0] is not None]
    if not arrays or any(array.shape[1:] != arrays[0].shape[1:] or not array.ndim for array in arrays):
        return ""
    y: Array = np.concatenate([np.asarray(array, np.float64) for array in arrays])
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all():
        y = y.argmax(1)
    y = y.reshape(len(y), -1)
    if len(y) < _FEW or y.shape[1] != 1:
        return ""
    values, kinds = y[:, 0], np.unique(y)
    labels = len(kinds) > 1 or _has_labels(context.guide.observation)  # else a target that stands for nothing
    if labels and len(kinds) <= len(y) / 10 and np.count_nonzero(np.diff(values)) == len(kinds) - 1:
        listed = ", ".join(f"{value:g}" for value in values[np.r_[True, np.diff(values) != 0]][:6])
        return f"as they lie, the first {len(y)} samples have the labels {listed}, one after the other"
    if len(kinds) > len(y) / 2 and float(np.corrcoef(values[1:], values[:-1])[0, 1]) > _ALIKE:
        return "as they lie, neighbours have targets that are nearly alike"
    return ""


_FEW = 32


def _has_labels(observation: Observation) -> bool:
    """Whether a loss is one of classes."""
    terms = (observation.losses[0].get("terms") or []) if observation.losses else []
    return any("entropy" in str(term.get("function")) for term in terms)
