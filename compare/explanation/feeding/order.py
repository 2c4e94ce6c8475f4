"""Batches and the order in which they come: batch size, shuffling, the last batch, how many samples."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding
from compare.explanation.feeding.reading import reading_place, training_loader
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
    drops, sizes = [], []
    for observation in (context.guide.observation, context.look):
        loader = training_loader(observation)
        drops.append(bool(loader.get("drop_last") or loader.get("drop_remainder")))
        sizes.append(num_samples(observation))
    number = next((size for size in sizes if size), None)
    if drops[0] == drops[1] or not number or fed.batches[0] == 0 or number % fed.batches[0] == 0:
        return
    words = {True: "left out (drop_last)", False: "used"}
    title = context.differs("the last batch, which is not full, is", words[drops[0]], words[drops[1]])
    context.find(
        "data",
        title,
        guide=words[drops[0]],
        steered=words[drops[1]],
        places=places,
        effect=(number % fed.batches[0]) / number,
        effect_text=f"{number % fed.batches[0]} of {number} samples in each epoch",
        cause="last batch",
        mend=f"drop_last={drops[0]}",
    )


def num_samples(observation: Observation) -> int | None:
    """How many samples an epoch of training has, as far as the script says."""
    loader = training_loader(observation)
    fit = observation.part("data", "fit")
    number = loader.get("num_sampled") or loader.get("num_samples")
    if isinstance(fit, dict):
        number = fit.get("num_samples") or number
        validation = fit.get("validation")
        if isinstance(validation, dict) and validation.get("kind") == "split" and isinstance(number, int):
            number -= int(validation.get("num_samples") or 0)
    return number if isinstance(number, int) else None


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
