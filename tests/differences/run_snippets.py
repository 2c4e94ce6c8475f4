"""`python -m tests.differences.run_snippets FRAMEWORK OUT.json [NAME ...]`: runs all snippets of one framework.

FRAMEWORK is tensorflow or jax, for Keras on that backend, or torch. OUT.json gets, for every entry, what the snippet
calls `out`, as it comes and with the mend; of a snippet that raises, the exception's type.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from differences import CATALOGUE
from record.isolation import hide


def main(framework: str, file: str, *names: str) -> None:
    warnings.simplefilter("ignore")
    side = "torch" if framework == "torch" else "keras"
    before_each = prepare(framework)
    results = {}
    for entry in CATALOGUE:
        if (side == "torch" or entry.backend == framework) and (not names or entry.name in names):
            results[entry.name] = [
                run(entry.given, entry.code(side, mended=mended), before_each()) for mended in (False, True)
            ]
    Path(file).write_text(json.dumps(results))


def prepare(framework: str) -> Callable[[], dict[str, Any]]:
    """Imports the framework; returns what makes the state before each snippet the same and gives its names."""
    hide({"tensorflow", "jax", "torch"} - {framework})
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if framework == "torch":
        import torch
        from torch import nn
        from torch.nn import functional

        torch.set_num_threads(1)

        def torch_again() -> dict[str, Any]:
            torch.set_default_dtype(torch.float64)
            torch.manual_seed(0)
            return {"torch": torch, "nn": nn, "F": functional}

        return torch_again

    os.environ["KERAS_BACKEND"] = framework
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_ENABLE_X64": "1"}
    import keras

    def keras_again() -> dict[str, Any]:
        keras.config.set_floatx("float64")
        keras.utils.set_random_seed(0)
        return {"keras": keras}

    return keras_again


def run(given: str, code: str, names: dict[str, Any]) -> Any:
    names |= {"np": np, "rng": np.random.default_rng(0)}
    try:
        exec(f"{given}\n{code}", names)  # noqa: S102 - the catalogue's own snippets
    except Exception as error:  # noqa: BLE001 - whatever a framework raises is its answer
        if os.environ.get("SHOW_ERRORS"):
            print(f"{type(error).__name__}: {error}"[:400], file=sys.stderr)
        return type(error).__name__
    return plain(names["out"])


def plain(value: Any) -> Any:
    """A tensor, an array or a list of them as JSON has it, flat."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        flat = [plain(item) for item in value]
        return [item for part in flat for item in (part if isinstance(part, list) else [part])]
    if hasattr(value, "detach"):
        value = value.detach()
    return np.asarray(value).ravel().tolist() if np.ndim(value) else np.asarray(value).item()


if __name__ == "__main__":
    main(*sys.argv[1:])
