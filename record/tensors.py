"""A safetensors file, written array by array."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
        arrays: By name, of types that `TYPES` has; every array is written in C order, little-endian.
    """
    header: dict[str, Any] = {}
    offset = 0
    # The widest types first: so every array lies where its type may be read in place.
    in_order = sorted(arrays.items(), key=lambda item: -item[1].itemsize)
    for key, values in in_order:
        end = offset + values.nbytes
        header[key] = {"dtype": TYPES[values.dtype.name], "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in in_order:
            little_endian = values.dtype.newbyteorder("<")
            file.write(np.asarray(values, little_endian, order="C").data if values.nbytes else b"")
