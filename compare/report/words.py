"""How findings are put into words and numbers, the same on the page and in the terminal."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from rich.text import Text

from compare.findings import Pair
from compare.ladder.rung import Rung
from recipe import Recipe
from recipe.errors import harmless


def measured(rung: Rung) -> str:
    """What a rung measured, as people read it; no step of parting is never."""
    return "never" if rung.name == "trajectory" and rung.measured is None else number(rung.measured)


def number(value: float | None) -> str:
    """A number of a rung, as people read it."""
    return "none" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def as_text(words: str, style: str = "") -> Text:
    """Words for a table in the terminal as they are: brackets in what a port says of itself are no markup of rich's."""
    return Text(harmless(words), style)


def things(recipe: Recipe) -> str:
    """What the images of the data set are called."""
    return "digits" if recipe.dataset in ("mnist", "qmnist") else "images"


def display_name(name: str) -> str:
    """An implementation's name as people read it."""
    return name.capitalize() if name in ("keras", "lightning") else name


def on_different_devices(devices: Mapping[str, Collection[str]]) -> str | None:
    """The sentence about sides that were computed on different devices, cpu or gpu; None where all were on one."""
    if len(set(chain.from_iterable(devices.values()))) < 2:  # noqa: PLR2004
        return None
    places = ", ".join(
        f"{display_name(name)} on {' and '.join(map(str.upper, used))}" for name, used in devices.items() if used
    )
    return f"Not on the same device: {places}. What differs may be the devices' arithmetic, and times say nothing."


def why_two_numbers(pair: Pair) -> str | None:
    """Why two runs that are the same end at different accuracies, in a sentence; None where nothing says so."""
    reasons = [rung.detail["same_run"] for rung in pair.rungs if rung.detail.get("same_run")]
    return f"Why two numbers: {reasons[0]}." if reasons else None


def not_seen(rungs: Sequence[Rung]) -> list[str]:
    """What no rung sees of the trainings, in sentences, each once."""
    return list(dict.fromkeys(line for rung in rungs for line in rung.detail.get("not_seen", [])))
