"""The writer of observed.json and observed.safetensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from recipe.atomic import complete_or_absent
from record.tensors import TYPES, write_tensors

Array = np.ndarray[Any, Any]

_LISTED = 64  # values of an array that a document has; of larger ones it has the shape


class Observation:
    """What was seen: a document for observed.json, and arrays by key up to a budget.

    Args:
        directory: Where to write.
        max_bytes: No more arrays are kept beyond this.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self.document: dict[str, Any] = {"format": 1}
        self._arrays: dict[str, Array] = {}
        self._bytes_left = max_bytes
        self._left_out = 0

    def keep(self, key: str, array: Any) -> str | None:
        """Keeps a copy of an array under a key.

        Returns:
            The key; None if the budget is spent or the type is none that a file can hold.
        """
        values = np.array(array, order="C")  # a copy: frameworks change arrays in place
        if values.dtype.name not in TYPES or values.nbytes > self._bytes_left:
            self._left_out += 1
            return None
        if key not in self._arrays:
            self._bytes_left -= values.nbytes
        self._arrays[key] = values
        return key

    def discard(self, keys: list[str]) -> None:
        """Forgets what is kept under these keys, if anything is."""
        for key in keys:
            if key in self._arrays:
                self._bytes_left += self._arrays.pop(key).nbytes

    def has(self, key: str) -> bool:
        """Whether something is kept under this key."""
        return key in self._arrays

    def same(self, key: str, array: Any) -> bool:
        """Whether exactly these values are kept under a key."""
        kept = self._arrays.get(key)
        return kept is not None and kept.shape == array.shape and bool(np.array_equal(kept, array, equal_nan=True))

    def array(self, key: str) -> Array:
        """What was kept under a key."""
        return self._arrays[key]

    def write(self, hidden: str = "") -> None:
        """Writes both files, observed.json last: where it is, all is.

        Args:
            hidden: The directory of the mirror, which is left out of the paths in it.

        Raises:
            RecordError: The directory cannot be written.
        """
        self.document["arrays_left_out"] = self._left_out
        with complete_or_absent(self.directory / "observed.safetensors") as partial:
            write_tensors(partial, self._arrays)
        with complete_or_absent(self.directory / "observed.json") as partial:
            text = json.dumps(self.document, default=json_value, indent=1)
            partial.write_text(text.replace(json.dumps(hidden)[1:-1], "/") if hidden else text)


def json_value(value: Any) -> Any:
    """What JSON cannot hold by itself, as numbers where it is some and as text otherwise."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= _LISTED else f"array of shape {value.shape}"
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
