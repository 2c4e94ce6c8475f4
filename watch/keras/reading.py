"""What `fit` was given, read once more: the first batch of the training and of the validation data."""

from typing import Any

import numpy as np

from watch.program.reading import read_twice
from watch.program.script import Session

_ROWS = 64


def reread(session: Session, keras: Any, arguments: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first batches of what `fit` was given, in the form of `read_twice`.

    Args:
        session: The run.
        keras: The module.
        arguments: `fit`'s.
        kind: What it is fed from, see `data.fit.kind`.
    """
    x, y, given = arguments["x"], arguments["y"], arguments["validation_data"]
    found = {"training": None if kind == "arrays" else read_twice(session, "training", lambda: _batch(keras, x))}
    if kind == "arrays":
        found["training"] = {"random": False}
    fraction = arguments["validation_split"]
    if given is not None:
        found["validation"] = read_twice(session, "validation", lambda: _batch(keras, given))
    elif fraction and kind == "arrays":
        found["validation"] = read_twice(session, "validation", lambda: _split(keras, x, y, fraction))
    return {name: entry for name, entry in found.items() if entry is not None}


def _batch(keras: Any, source: Any) -> Any:
    """Inputs and targets of the first batch of arrays, of a `PyDataset`, or of a pipeline."""
    if hasattr(source, "__getitem__") and not isinstance(source, tuple | list):
        source = source[0]
    elif not isinstance(source, tuple | list):
        if hasattr(source, "__next__"):
            raise TypeError("a generator gives each batch once")
        source = next(iter(source))
    x, y = (*source, None)[:2]
    return _rows(keras, x, slice(_ROWS)), _rows(keras, y, slice(_ROWS))


def _split(keras: Any, x: Any, y: Any, fraction: float) -> Any:
    number = len(keras.tree.flatten(x)[0])
    rows = slice(int(number * (1 - fraction)), int(number * (1 - fraction)) + _ROWS)
    return _rows(keras, x, rows), _rows(keras, y, rows)


def _rows(keras: Any, structure: Any, rows: slice) -> list[Any]:
    return [np.asarray(value[rows]) for value in keras.tree.flatten(structure) if value is not None]
