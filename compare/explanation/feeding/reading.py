"""Where a program reads its data, and from what."""

import re
from typing import Any

from compare.explanation.context import Context, Places
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place
from compare.explanation.origins import made_at


def training_loader(observation: Observation) -> dict[str, Any]:
    """The loader that was trained from; empty if there is none."""
    loaders = [entry for entry in observation.entries("data", "loaders") if isinstance(entry, dict)]
    for entry in loaders:
        if any(iteration.get("grad") for iteration in entry.get("iterations") or ()):
            return entry
    return loaders[0] if loaders else {}


def reading_place(observation: Observation) -> Place | None:
    """Where the data are read; in a loop of one's own, the innermost loop."""
    loops = [entry for entry in observation.entries("data", "epochs", "loops") if isinstance(entry, dict)]
    found = observation.place("data", "fit", "place") or place(training_loader(observation).get("place"))
    return found or (place(loops[-1].get("place")) if loops else None)


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


def num_batches(observation: Observation) -> int | None:
    """How many batches an epoch of training has, as far as the script says."""
    fit = observation.part("data", "fit")
    loops = observation.entries("data", "epochs", "loops")
    stated = training_loader(observation).get("num_batches")
    if isinstance(fit, dict):
        size, number = fit.get("batch_size"), num_samples(observation)
        stated = fit.get("steps_per_epoch") or stated
        if stated is None and isinstance(size, int) and size > 0 and number:
            stated = -(-number // size)
    elif stated is None and len(loops) > 1:
        stated = loops[-1].get("count")
    if not isinstance(stated, int) or stated <= 0:
        return None
    limit = observation.part("data", "trainer", "limit_train_batches")
    if isinstance(limit, float):
        return int(stated * limit) or None
    return min(stated, limit) if isinstance(limit, int) and limit > 0 else stated


def num_epochs(observation: Observation) -> int | None:
    """How many epochs are planned; None of a loop over steps alone, without an epoch."""
    loops = observation.entries("data", "epochs", "loops")
    epochs = observation.part("data", "epochs", "value")
    return epochs if isinstance(epochs, int) and epochs > 0 and len(loops) != 1 else None


def num_steps(observation: Observation) -> int | None:
    """How many optimizer steps are planned in all."""
    epochs, batches = num_epochs(observation), num_batches(observation)
    most = observation.part("data", "trainer", "max_steps")
    loops = observation.entries("data", "epochs", "loops")
    if len(loops) == 1:
        count = loops[0].get("count")
        return count if isinstance(count, int) else None
    if batches is not None:
        batches = -(-batches // _accumulated(observation))
    planned = [most] if isinstance(most, int) and most > 0 else []
    planned += [] if epochs is None or batches is None else [epochs * batches]
    return min(planned, default=None)


def _accumulated(observation: Observation) -> int:
    """How many batches a step has."""
    stated = observation.part("optimizer", "settings", "gradient_accumulation_steps")
    counts = [stated, observation.part("data", "trainer", "accumulate_grad_batches")]
    counts += (observation.part("loop", "backward") or [])[:3]
    return max((count for count in counts if isinstance(count, int)), default=1) or 1


def draws_samples(observation: Observation, name: str = "training") -> bool | None:
    """Whether the batches of the training or validation data are changed at random; None where that is not known."""
    found = observation.part("data", "read", name, "random")
    return found if isinstance(found, bool) else None


_CODE = {
    r"standardised|deviation": r"\.(mean|std|var|adapt|fit|fit_transform)\(",
    r"standardised|scaled": r"Normalize|mean|std",
    r"transposed": r"transpose|permute|\.T\b|swapaxes|moveaxis|reshape|view",
    r"channels reversed": r"::-1|flip|BGR|RGB",
    r"mirror image": r"[Ff]lip|::-1",
    r"reshaped": r"reshape|view",
    r"logarithm": r"log|exp",
    r"squared|square root": r"sqrt|square|\*\* ?",
    r"rounded": r"round|int",
    r"inverted|reversed": r"\b\d+(\.\d*)? ?- ?|::-1|flip",
    r"smoothed": r"smooth",
    r"labels off by": r"[+-] ?\d",
}
"""How lines look that do this to samples or labels."""


def lines_like(context: Context, places: Places, pattern: str) -> Places:
    """Of the lines that lead to both sides' places, those that look so; where none does, the places."""
    first, second = places
    return made_at(first, context.folders[0], pattern), made_at(second, context.folders[1], pattern)


def lines_of(context: Context, places: Places, words: str) -> Places:
    """The lines that make the samples what they are, where one of the lines that lead to the batches looks so."""
    patterns = [
        rf"[/*] ?(np\.\w+\()?{re.escape(text)}(\.0*)?(?!\w)"
        for text in re.findall(r"(?:by|of) (\d+(?:\.\d+)?)\b", words)
    ]
    patterns += [pattern for kind, pattern in _CODE.items() if re.search(kind, words)]
    found = places
    for pattern in patterns:
        first, second = lines_like(context, places, pattern)
        found = found[0] if found[0] != places[0] else first, found[1] if found[1] != places[1] else second
    return found
