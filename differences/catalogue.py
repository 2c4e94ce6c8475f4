"""All entries in the order of their areas, and how to find some of them."""

from differences import (
    activation,
    attention,
    callbacks,
    clipping,
    convolution,
    data,
    dense,
    dropout,
    embedding,
    initialiser,
    loss,
    metrics,
    modes,
    normalisation,
    optimizer,
    pooling,
    precision,
    recurrent,
    saving,
    schedule,
    seeds,
)
from differences.entry import Difference

_AREAS = (
    dense,
    convolution,
    pooling,
    normalisation,
    embedding,
    recurrent,
    attention,
    activation,
    dropout,
    initialiser,
    optimizer,
    loss,
    clipping,
    schedule,
    callbacks,
    data,
    metrics,
    modes,
    precision,
    seeds,
    saving,
)

CATALOGUE: tuple[Difference, ...] = tuple(entry for area in _AREAS for entry in area.ENTRIES)

_BY_NAME = {entry.name: entry for entry in CATALOGUE}


def find(name: str) -> Difference:
    """The entry of this name.

    Raises:
        KeyError: There is none.
    """
    return _BY_NAME[name]


def search(word: str = "") -> tuple[Difference, ...]:
    """The entries whose name, area, title or text contains the word, whatever its case; all where it is empty."""
    return tuple(entry for entry in CATALOGUE if word.casefold() in _text(entry))


def _text(entry: Difference) -> str:
    texts = (entry.name, entry.area, entry.title, entry.keras, entry.torch, entry.seen, entry.inherent)
    return "\n".join(texts).casefold()
