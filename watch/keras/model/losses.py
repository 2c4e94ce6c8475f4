"""Loss functions as they are called, and the penalties that a model's layers ask for."""

import sys
from typing import Any

import numpy as np

from watch.keras.model.backends import Backend
from watch.keras.model.calls import Calls
from watch.keras.model.layers import LayerTree, readable
from watch.program.script import Session


class Losses:
    """Watches `keras.losses.Loss.__call__` and loss functions that the user's own code calls.

    Args:
        session: The run.
        backend: The backend.
        calls: The calls of layers.
    """

    def __init__(self, session: Session, backend: Backend, calls: Calls) -> None:
        self._session, self._backend, self._calls = session, backend, calls
        self._terms: list[dict[str, Any]] = []
        self._depth = 0
        self._number = 0
        self.targets: Any = None  # replaces planned targets in loops of the user's own

    def take(self) -> list[dict[str, Any]]:
        """The terms since the last time."""
        terms, self._terms = self._terms, []
        return terms

    def call(self, original: Any, loss: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """One call of a loss object."""
        if not self._is_watched():
            return original(loss, y_true, y_pred, sample_weight)
        if self.targets is not None:
            y_true = self.targets(y_true)
        inputs = [y_true, y_pred] + ([] if sample_weight is None else [sample_weight])
        function = getattr(loss, "fn", None)
        name = type(loss).__name__
        if name == "LossFunctionWrapper":
            name = getattr(function, "__name__", name)
        return self._record(name, _settings(loss), inputs, original, (loss, y_true, y_pred, sample_weight), {})

    def _is_watched(self) -> bool:
        apart = self._depth or self._calls.evaluation is not None or self._session.trainings.passing
        return not apart and self._backend.differentiating()

    def function(self, name: str, original: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A loss function that the user's own code calls: `keras.losses.mean_squared_error`, `tf.nn....`."""
        if not self._is_watched():
            return original(*args, **options)
        settings = {key: value for key, value in options.items() if isinstance(value, bool | int | float | str)}
        named = [options[key] for key in ("y_true", "labels", "target", "y_pred", "logits", "output") if key in options]
        inputs = [value for value in [*args, *named] if self._backend.is_tensor(value)]
        return self._record(name, settings, inputs, original, args, options)

    def weigh(self, compiled: Any, first: int) -> None:
        """Gives the terms of a compiled loss their outputs and weights."""
        flat = getattr(compiled, "_flat_losses", None) or []
        for term, part in zip(self._terms[first:], flat, strict=False):
            weight = part.loss_weights
            term["weight"] = 1.0 if weight is None else float(weight)
            term["output"] = part.name

    def count(self) -> int:
        """How many terms there are."""
        return len(self._terms)

    def penalties(self, tree: LayerTree) -> list[dict[str, Any]]:
        """What the regularizers of the layers amount to, whether the loss contains them or not."""
        found = []
        for path, variable in tree.parameters().items():
            regularizer = getattr(variable, "regularizer", None)
            if regularizer is None:
                continue
            with self._backend.paused():
                values = self._backend.values(regularizer(variable.value))
            config = regularizer.get_config() if hasattr(regularizer, "get_config") else {}
            found.append({
                "function": type(regularizer).__name__, "settings": {key: readable(v) for key, v in config.items()},
                "parameter": path, "value": None if values is None else float(values),
            })  # fmt: skip
        for name, layer in tree.layers():
            if getattr(layer, "activity_regularizer", None) is not None:
                regularizer = layer.activity_regularizer
                found.append({
                    "function": type(regularizer).__name__, "settings": readable(regularizer), "activity_of": name,
                    "value": None,
                })  # fmt: skip
        return found

    def _record(
        self, name: str, settings: dict[str, Any], inputs: list[Any], original: Any, args: Any, options: Any
    ) -> Any:
        step, keep = self._session.step, self._session.observation.keep
        recording = self._calls.recording or step == 0
        term: dict[str, Any] = {"function": name, "settings": settings, "inputs": [], "value": None}
        term["place"] = self._session.places.here(sys._getframe(2))  # noqa: SLF001
        for index, tensor in enumerate(inputs if recording else []):
            values = self._backend.values(self._tensor(tensor))
            key = f"step{step}/loss{self._number}/in{index}"
            term["inputs"].append(None if values is None else keep(key, values))
        mask = next((held for tensor in inputs[1:2] if (held := self._mask(tensor)) is not None), None)
        if recording and mask is not None:
            term["mask"] = keep(f"step{step}/loss{self._number}/mask", mask)
        self._number += 1
        self._terms.append(term)
        self._depth += 1
        try:
            result = original(*args, **options)
        finally:
            self._depth -= 1
        values = self._backend.values(result)
        if values is not None:
            term["value"] = float(values) if values.size == 1 else None
            term["shape"] = list(values.shape)
            if values.size > 1 and recording:
                term["values"] = keep(f"step{step}/loss{self._number - 1}/out", values)
        return result

    def _mask(self, tensor: Any) -> Any:
        """The mask that a prediction brings along; a loss object leaves out what it masks."""
        from keras.src import backend

        mask = backend.get_keras_mask(tensor) if self._backend.is_tensor(tensor) else None
        return None if mask is None else self._backend.values(mask)

    def _tensor(self, value: Any) -> Any:
        return np.asarray(value) if isinstance(value, list | tuple | int | float) else value


def _settings(loss: Any) -> dict[str, Any]:
    """A loss's reduction and numbers; those that a wrapped function was given too."""
    try:
        config = loss.get_config()
    except Exception:  # noqa: BLE001 a user's class may not have one
        config = {"reduction": getattr(loss, "reduction", None)}
    held = {key: readable(value) for key, value in config.items() if key not in {"name", "fn"}}
    for key, value in (getattr(loss, "_fn_kwargs", None) or {}).items():
        held.setdefault(key, readable(value))
    return held
