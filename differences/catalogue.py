"""All entries in the order of their areas, and how to find some of them."""

from typing import get_args

from differences import (
    activation,
    attention,
    callbacks,
    convolution,
    data,
    dense,
    initialiser,
    loss,
    metrics,
    modes,
    normalisation,
    optimizer,
    pooling,
    precision,
    recurrent,
    schedule,
)
from differences.entry import Area, Difference

_MODULES = (
    activation,
    attention,
    callbacks,
    convolution,
    data,
    dense,
    initialiser,
    loss,
    metrics,
    modes,
    normalisation,
    optimizer,
    pooling,
    precision,
    recurrent,
    schedule,
)
_AREAS = get_args(Area)

CATALOGUE: tuple[Difference, ...] = tuple(
    sorted((entry for module in _MODULES for entry in module.ENTRIES), key=lambda entry: _AREAS.index(entry.area))
)

_BY_NAME = {entry.name: entry for entry in CATALOGUE}


def find(name: str) -> Difference:
    """The entry of this name.

    Raises:
        KeyError: There is none.
    """
    return _BY_NAME[name]


def search(word: str = "") -> tuple[Difference, ...]:
    """The entries whose name, area, title or text contains the word, whatever its case; all where it is empty."""
    word = word.casefold()
    return tuple(entry for entry in CATALOGUE if word in _text(entry))


def _text(entry: Difference) -> str:
    texts = (entry.name, entry.area, entry.title, entry.keras, entry.torch, entry.seen, entry.inherent)
    return "\n".join(texts).casefold()
