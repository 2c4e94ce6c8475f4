"""Batches and the order in which they come: batch size, shuffling, the last batch, how many samples."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding
from compare.explanation.feeding.reading import num_batches, num_samples, reading_place, training_loader
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place
from compare.explanation.words import counted

_SPLITS = ("split", "train_test_split", "random_split", "KFold")


def order(context: Context, fed: Feeding) -> None:
    """Finds what differs in batches and their order.

    Args:
        context: Both sides.
        fed: What both were fed.
    """
    places = (reading_place(context.guide.observation), reading_place(context.look))
    if 0 not in fed.batches and fed.batches[0] != fed.batches[1]:
        title = context.differs("batch size", str(fed.batches[0]), str(fed.batches[1]))
        context.find(
            "data",
            title,
            guide=f"{counted(fed.batches[0], 'sample')} in a batch",
            steered=f"{counted(fed.batches[1], 'sample')} in a batch",
            places=context.set_at(places, fed.batches),
            effect=0.7,
            cause=title,
            mend=f"batch_size={fed.batches[0]}",
        )
    _shuffling(context, places)
    _last_batch(context, fed, places)
    _numbers(context, places)
    _epoch_length(context, places)
    _drawing(context, places)


def _epoch_length(context: Context, places: tuple[Place | None, Place | None]) -> None:
    """How many batches an epoch has, where the samples and the batches do not say it already."""
    a, b = num_batches(context.guide.observation), num_batches(context.look)
    if a is None or b is None or a == b or context.says("^batch size|the last batch|number of training samples"):
        return
    title = context.differs("batches in an epoch:", str(a), str(b))
    context.find(
        "data",
        title,
        guide=f"{a} in an epoch",
        steered=f"{b} in an epoch",
        places=places,
        effect=0.3 + abs(a - b) / max(a, b),
        cause=title,
    )


def _drawing(context: Context, places: tuple[Place | None, Place | None]) -> None:
    """Whether an epoch has each sample once, or samples drawn by weights or with replacement."""
    sides = _drawn(context.guide.observation), _drawn(context.look)
    if None in sides or sides[0] == sides[1]:
        return
    context.find(
        "data",
        context.differs("samples of an epoch:", str(sides[0]), str(sides[1])),
        guide=str(sides[0]),
        steered=str(sides[1]),
        places=places,
        effect=0.6,
        cause="how samples are drawn",
    )


def _drawn(observation: Observation) -> str | None:
    loader = training_loader(observation)
    if loader.get("sampler") == "WeightedRandomSampler":
        return f"drawn by weights (WeightedRandomSampler){'' if loader.get('replacement') else ', each once at most'}"
    if loader.get("replacement"):
        return "drawn with replacement"
    known = ("SequentialSampler", "RandomSampler", "BatchSampler", "SubsetRandomSampler")
    plain = loader.get("sampler") in known or observation.part("data", "fit", "kind") == "arrays"
    return "each once" if plain else None


def _shuffling(context: Context, places: tuple[Place | None, Place | None]) -> None:
    """Whether samples come in another order in each epoch."""
    states = (_state(context.guide.observation, context.folders[0]), _state(context.look, context.folders[1]))
    if states[0] == states[1] or "unknown" in states:
        return
    if set(states) == {"once", "never"}:
        return  # one fixed order or another
    texts = {
        "each epoch": "shuffled anew in each epoch",
        "once": "shuffled once: the same order in every epoch",
        "never": "not shuffled: the same order in every epoch",
    }
    port = states[1] if context.guide_is_reference else states[0]
    reference = states[0] if context.guide_is_reference else states[1]
    title = (
        f"{texts[port]}; the reference is {texts[reference]}"
        if port != "each epoch"
        else f"shuffled; the reference is {texts[reference]}"
    )
    context.find(
        "data",
        title,
        guide=texts[states[0]],
        steered=texts[states[1]],
        places=places,
        effect=0.65,
        effect_text="batches of the same samples in every epoch on one side",
        cause="order of the samples (shuffle)",
        mend="shuffle=True" if states[0] == "each epoch" else "shuffle=False",
    )


def _state(observation: Observation, folder: Path) -> str:
    """`each epoch`, `once`, `never` or `unknown`."""
    loader = training_loader(observation)
    if observation.framework == "torch" and loader.get("shuffle"):
        return "each epoch"
    found = [
        entry
        for entry in observation.entries("data", "permutations")
        if not any(mark in str(entry.get("function")) for mark in _SPLITS)
    ]
    fit = observation.part("data", "fit")
    if isinstance(fit, dict) and any("fit(" in str(entry.get("function")) for entry in found):
        return "each epoch"
    states = [_when(entry, folder) for entry in found]
    if "each epoch" in states:
        return "each epoch"
    if "once" in states:
        return "once"
    if (
        observation.framework == "torch"
        and loader
        and loader.get("sampler") not in (None, "SequentialSampler", "BatchSampler")
    ):
        return "unknown"
    if isinstance(fit, dict) and fit.get("kind") not in (None, "arrays", "tf.data", "PyDataset"):
        return "unknown"
    return "never"


def _when(entry: dict[str, Any], folder: Path) -> str:
    """Whether a permutation is drawn once or in each epoch, by where its line stands."""
    function = str(entry.get("function"))
    if function in ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler"):
        return "each epoch"
    if function.startswith("tf.data"):
        return "once" if entry.get("reshuffle_each_iteration") is False else "each epoch"
    where = place(entry.get("place"))
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


def _last_batch(context: Context, fed: Feeding, places: tuple[Place | None, Place | None]) -> None:
    """Whether the last batch, which is not full, is left out."""
    observations = (context.guide.observation, context.look)
    stated = next((size for size in map(num_samples, observations) if size), None)
    numbers = [num_samples(observation) or stated for observation in observations]
    drops = [
        number is not None and batch > 0 and _drops(observation, batch, number)
        for observation, batch, number in zip(observations, fed.batches, numbers, strict=True)
    ]
    if drops[0] == drops[1]:
        return
    number, batch = (numbers[drops.index(True)] or 0), fed.batches[drops.index(True)]
    if number % batch == 0:
        return
    words = {True: "left out (drop_last)", False: "used"}
    title = context.differs("the last batch, which is not full, is", words[drops[0]], words[drops[1]])
    context.find(
        "data",
        title,
        guide=words[drops[0]],
        steered=words[drops[1]],
        places=places,
        effect=(number % batch) / number,
        effect_text=f"{number % batch} of {number} samples in each epoch",
        cause="last batch",
        mend=f"drop_last={drops[0]}",
    )


def _drops(observation: Observation, batch: int, number: int) -> bool:
    """Whether a side leaves out what does not fill a batch; of a loop over `range`, by how often it goes round."""
    loader = training_loader(observation)
    loops = observation.entries("data", "epochs", "loops")
    if not loader and observation.part("data", "fit") is None and len(loops) > 1:
        return bool(loops[-1].get("count") == number // batch and number % batch)
    return bool(loader.get("drop_last"))


def _numbers(context: Context, places: tuple[Place | None, Place | None]) -> None:
    a, b = num_samples(context.guide.observation), num_samples(context.look)
    if a is None or b is None or a == b:
        return
    title = context.differs("number of training samples:", f"{a:,}", f"{b:,}")
    context.find(
        "data",
        f"{title} (another split of the data)",
        guide=f"{a:,} samples",
        steered=f"{b:,} samples",
        places=places,
        effect=0.3 + abs(a - b) / max(a, b),
        cause="number of training samples, or their split",
        mend="train with the samples that the reference trains with",
    )
