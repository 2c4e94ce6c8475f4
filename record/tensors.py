"""A safetensors file, written array by array."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

# The names that the safetensors format has for NumPy's types; what is not here cannot be kept.
TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays one after the other: the library's own writer holds all of them twice.

    Args:
        path: The file.
        arrays: By name, contiguous, of types that `TYPES` has.
    """
    header: dict[str, Any] = {}
    offset = 0
    for key, values in arrays.items():
        end = offset + values.nbytes
        header[key] = {"dtype": TYPES[values.dtype.name], "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in arrays.values():
            file.write(values.data if values.nbytes else b"")
