"""Batches and the order in which they come: batch size, shuffling, the last batch, how many samples."""

from typing import Any

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding
from compare.explanation.feeding.mixing import mixing
from compare.explanation.feeding.reading import lines_like, num_batches, num_samples, reading_place, training_loader
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation
from compare.explanation.words import counted


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
    if any(side.part("data", "samples_drawn") for side in (context.guide.observation, context.look)):
        context.not_seen.append("which samples meet in a batch: a data set draws them anew whenever one is read")
    else:
        mixing(context, fed, places)
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
    if _draws_few(context, places):
        return
    sides = _drawn(context.guide.observation), _drawn(context.look)
    copied = any(_copies(observation) > 1 for observation in (context.guide.observation, context.look))
    if sides[0] == sides[1] or (None in sides and not copied):
        return
    sides = sides[0] or "as the data set gives them", sides[1] or "as the data set gives them"
    context.find(
        "data",
        context.differs("samples of an epoch:", str(sides[0]), str(sides[1])),
        guide=str(sides[0]),
        steered=str(sides[1]),
        places=places,
        effect=0.6,
        cause="how samples are drawn",
    )


def _draws_few(context: Context, places: tuple[Place | None, Place | None]) -> bool:
    """A sampler that never draws some of the samples, where the other side's draws others as well; whether said."""
    observations = context.guide.observation, context.look
    loaders = [training_loader(observation) for observation in observations]
    drawable = [
        int(loader.get("drawable") or num_samples(observation) or 0)
        for loader, observation in zip(loaders, observations, strict=True)
    ]
    number = [int(loader.get("num_samples") or count) for loader, count in zip(loaders, drawable, strict=True)]
    if 0 in drawable or drawable[0] == drawable[1]:
        return False
    fewer = [
        drawn < total and drawn < (num_samples(observation) or total)  # else the number of samples says it
        for drawn, total, observation in zip(drawable, number, observations, strict=True)
    ]
    if not any(fewer):
        return False
    texts = [_few_words(*side) for side in zip(loaders, drawable, number, strict=True)]
    port = int(context.guide_is_reference)
    subject = texts[port] if fewer[port] else f"{texts[port]}; the reference {texts[1 - port]}"
    by_class = fewer[1] and (loaders[1].get("weights") or number[1]) < number[1]
    context.find(
        "data",
        f"the sampler {subject}",
        guide=texts[0],
        steered=texts[1],
        places=lines_like(context, places, _SAMPLER),
        effect=2.0 * abs(drawable[0] - drawable[1]) / max(drawable),
        effect_text="the other samples are never trained on",
        cause="what a sampler can draw",
        mend="one weight for each sample: weights[labels]"
        if by_class
        else "draw from all the samples that the reference draws from",
    )
    return True


_SAMPLER = r"Sampler\("


def _few_words(loader: dict[str, Any], drawable: int, number: int) -> str:
    if drawable >= number:
        return f"draws from all {number:,} samples"
    words = f"draws only {drawable:,} of {number:,} samples"
    weights = loader.get("weights")
    if isinstance(weights, int) and weights < number:
        words += f", over and over: it has {weights:,} weights, as of classes, where each sample needs its own"
    return words


def _drawn(observation: Observation) -> str | None:
    loader = training_loader(observation)
    if _copies(observation) > 1:
        return f"each {_copies(observation)} times (each worker reads all of an IterableDataset: get_worker_info)"
    if loader.get("sampler") == "WeightedRandomSampler":
        return f"drawn by weights (WeightedRandomSampler){'' if loader.get('replacement') else ', each once at most'}"
    if loader.get("replacement"):
        return "drawn with replacement"
    known = ("SequentialSampler", "RandomSampler", "BatchSampler", "SubsetRandomSampler")
    plain = loader.get("sampler") in known or observation.part("data", "fit", "kind") == "arrays"
    return "each once" if plain else None


def _copies(observation: Observation) -> int:
    """How often an epoch has each sample, since every worker reads the whole data set."""
    return int(training_loader(observation).get("copies") or 1)


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
