"""Runs a script that uses Keras, on any backend: `python -m watch.keras_script REQUEST.json OUT_DIR`."""

import functools
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from watch.keras.model.backends import backend as backend_of
from watch.keras.model.backends import prepare_environment
from watch.program.request import Plan, Request
from watch.program.script import Session, arguments, wait_for_plan
from watch.program.use import model_of

_BACKENDS = ("tensorflow", "torch", "jax")
_SETS_BACKEND = re.compile(r"""KERAS_BACKEND["']\s*(?:\]\s*=|,)\s*["'](\w+)["']""")
_SAMPLES = 2  # of inputs that are made up
_UNKNOWN_SIZE = 16  # of a dimension that a model leaves open


def main() -> None:
    """Runs what the command line names; does not return."""
    request, out = arguments()
    session = Session(request, out)
    prepare_environment(request.float64)
    choose_backend(request)
    import keras

    from watch.keras.watcher import KerasWatcher

    plan = wait_for_plan(request)
    watcher = KerasWatcher(session, keras, backend_of(keras.config.backend()), plan)
    watcher.watch()
    session.run(functools.partial(_use, session, watcher, plan) if request.attribute else None)


def choose_backend(request: Request) -> None:
    """Sets the backend that the script itself sets before it imports Keras; the environment's else."""
    source = request.script.read_text(errors="replace")
    found = _SETS_BACKEND.findall(source)
    for path in sorted(request.script.parent.glob("*.py")) if not found else []:
        name = re.escape(path.stem)
        if re.search(rf"^\s*(?:from|import)\s+{name}\b", source, re.MULTILINE):
            found += _SETS_BACKEND.findall(path.read_text(errors="replace"))
    named = [name for name in found if name in _BACKENDS]
    asked = [value for value in request.arguments for name in _BACKENDS if value in {name, f"--backend={name}"}]
    if named and not asked:
        os.environ["KERAS_BACKEND"] = named[0]
    elif asked and found == []:
        os.environ.setdefault("KERAS_BACKEND", asked[0].removeprefix("--backend="))
    elif asked:
        os.environ["KERAS_BACKEND"] = asked[0].removeprefix("--backend=")


def _use(session: Session, watcher: Any, plan: Plan | None, names: dict[str, Any]) -> None:
    """Calls a model that is only used, in evaluation mode and as in training."""
    request = session.request
    import keras

    model = model_of(session, names, lambda found: isinstance(found, keras.Layer), "Keras model")
    inputs = _inputs(session, model, plan)
    if request.batch is not None:
        inputs = keras.tree.map_structure(lambda values: values[: request.batch], inputs)
    watcher.use(model, inputs)


def _inputs(session: Session, model: Any, plan: Plan | None) -> Any:
    """What the model is to be called on: the plan's arrays, those of a file, or made-up ones."""
    planned = [plan.array(key) for key in plan.step(0).get("inputs") or []] if plan is not None else []
    arrays = [array for array in planned if array is not None]
    path = session.request.inputs
    named: dict[str, Any] = {}
    if not arrays and path is not None:
        loaded = np.load(path, allow_pickle=False)
        named = {} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        arrays = [loaded] if isinstance(loaded, np.ndarray) else list(named.values())
    structure = getattr(model, "_inputs_struct", None)
    if type(model).__name__ == "Sequential" and getattr(model, "_functional", None) is not None:
        structure = model._functional._inputs_struct  # noqa: SLF001
    if structure is None:
        if not arrays:
            session.fail("the model does not say what it takes; give --inputs FILE.npy", "no_model")
        return arrays[0] if len(arrays) == 1 else arrays
    import keras

    flat = keras.tree.flatten(structure)
    if isinstance(structure, dict) and set(named) >= set(structure):
        return {name: named[name] for name in structure}
    if not arrays:
        arrays = [_made_up(model, tensor, number) for number, tensor in enumerate(flat)]
    return keras.tree.pack_sequence_as(structure, arrays[: len(flat)])


def _made_up(model: Any, tensor: Any, number: int) -> np.ndarray[Any, Any]:
    """Numbers of the right shape: normally distributed, or indices that every embedding has."""
    import keras

    shape = [_UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:]]
    generator = np.random.Generator(np.random.PCG64(number))
    if "int" in tensor.dtype or "bool" in tensor.dtype:
        layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]  # noqa: SLF001
        limit = min([layer.input_dim for layer in layers] or [2])
        return generator.integers(0, limit, [_SAMPLES, *shape]).astype(np.int32)
    return generator.standard_normal([_SAMPLES, *shape]).astype(np.float32)


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    main()
