"""Reads what a watcher wrote: observed.json and observed.safetensors (docs/explain-format.md)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from compare.explanation.findings import Place
from recipe.errors import RunFailedError

Array = NDArray[Any]
FORMAT = 1


@dataclass(frozen=True)
class Parameter:
    """A variable of a layer: its path in the model, its shape, and whether the optimizer may change it."""

    path: str
    shape: tuple[int, ...]
    trainable: bool
    is_buffer: bool


@dataclass(frozen=True)
class Layer:
    """A layer of the model, under its unique name; `names` are its class and the classes that it inherits from."""

    name: str
    kind: str
    names: tuple[str, ...]
    settings: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    training: bool
    place: Place | None


@dataclass(frozen=True)
class Call:
    """One application of a layer or of a function, with the keys of the values that went in and came out.

    `occurrence` is the watcher's count of a layer's calls, which a plan names them by; `number` is the count over the
    whole step, with all the batches of one that accumulates. `inside` are the functions of a layer of the user's own
    that has weights, where they are not listed among the other calls. `masks` are the keys of masks that Keras gave.
    """

    index: int
    layer: str | None
    function: str | None
    occurrence: int
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    kwargs: Mapping[str, Any]
    preactivation: str | None
    place: Place | None
    parent: str | None
    producers: tuple[int | None, ...]
    number: int = 0
    inside: tuple["Call", ...] = ()
    masks: tuple[str, ...] = ()

    @property
    def entry(self) -> tuple[str, dict[str, Any], list[str | None], str | None, Place | None]:
        """As one of a computation: function, settings, the keys of its inputs and of its output, line."""
        return self.name, dict(self.kwargs), list(self.inputs), next(iter(self.outputs), None), self.place

    @property
    def name(self) -> str:
        """How to call it in a sentence."""
        return self.layer or self.function or "?"


@dataclass(frozen=True)
class Observation:
    """What one run of one script showed.

    Args:
        directory: Where both files are.
        document: observed.json.
        at_most: So many of its steps are compared, None for all.
    """

    directory: Path
    document: Mapping[str, Any] = field(repr=False)
    at_most: int | None = None

    @classmethod
    def read(cls, directory: Path) -> "Observation":
        """Reads it.

        Raises:
            RunFailedError: There is none, or it is damaged.
        """
        path = directory / "observed.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunFailedError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise RunFailedError(f"{path} is not of format {FORMAT}")
        return cls(directory, document)

    def part(self, *path: str) -> Any:
        """What stands at a path of keys in the document, None where there is nothing."""
        found: Any = self.document
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def entries(self, *path: str) -> list[Any]:
        """The list at a path, empty where there is none."""
        found = self.part(*path)
        return [entry for entry in found if entry is not None] if isinstance(found, list) else []

    @property
    def framework(self) -> str:
        """`keras` or `torch`."""
        return str(self.part("framework"))

    @property
    def words(self) -> str:
        """The framework as people write it."""
        return {"keras": "Keras", "torch": "PyTorch"}.get(self.framework, self.framework)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The model's layers by name, in the order of their definition."""
        layers = [_layer(entry) for entry in self.entries("model", "layers")]
        return {layer.name: layer for layer in layers}

    @cached_property
    def calls(self) -> list[list[Call]]:
        """Of each recorded step, the calls of its forward pass."""
        return [_calls(step) for step in (self.part("calls") or [])[: self._steps]]

    @property
    def _steps(self) -> int | None:
        """How many steps are of the first training and are compared; None for all that there are."""
        first = None if self.begins_anew is None else self._first_training
        return min((count for count in (first, self.at_most) if count is not None), default=None)

    @cached_property
    def loss_calls(self) -> list[list[Call]]:
        """Of each recorded step, the functions that are called between the model's outputs and the loss."""
        if self.framework == "keras":
            return [_calls(step) for step in self.part("loss_calls") or []]
        return [self._of_loss(step) for step in self.calls]

    def _of_loss(self, step: list[Call]) -> list[Call]:
        """Torch's functions outside of the model, or in a module that is no part of it: a loss of the user's own."""
        losses = {call.layer for call in step if call.layer is not None and call.layer not in self.layers}
        losses |= {call.parent for call in step if call.layer in losses and call.parent is not None}
        return [call for call in step if call.layer is None and (call.parent is None or call.parent in losses)]

    @cached_property
    def evaluation_calls(self) -> list[Call]:
        """The calls of the forward pass in evaluation mode."""
        return _calls(self.part("evaluation_calls"))

    @cached_property
    def updates(self) -> list[dict[str, Any]]:
        """What each optimizer step saw and did."""
        return self._every_update[: self._steps]

    @cached_property
    def _every_update(self) -> list[dict[str, Any]]:
        return [entry if isinstance(entry, dict) else {} for entry in self.part("updates") or []]

    @cached_property
    def _first_training(self) -> int:
        """The steps until another optimizer takes over for good, as where a model is tuned further; else all.

        A first optimizer of one step may as well be the first of several that take turns.
        """
        made = [update.get("optimizer") for update in self._every_update]
        first = next((step for step, optimizer in enumerate(made) if optimizer != made[0]), len(made))
        return first if first > 1 and made[0] not in made[first:] else len(made)

    @property
    def begins_anew(self) -> int | None:
        """The step, from 1, at which another optimizer takes over for good; None where none does."""
        return self._first_training + 1 if self._first_training < len(self._every_update) else None

    @property
    def accumulates(self) -> bool:
        """Whether a step has several backward passes."""
        return any(len(entry.get("backward_values") or ()) > 1 for entry in self.losses[:2])

    @property
    def optimizers_in_turn(self) -> int:
        """How many optimizers step in turn, each after a loss of its own; those that share a loss count as one."""
        found: set[Any] = set()
        before = None
        for update, loss in zip(self.updates, self.losses, strict=False):
            value = loss.get("value")
            if value is not None and value != before:
                found.add(update.get("optimizer"))
                before = value
        return len(found)

    @cached_property
    def fed(self) -> list[dict[str, Any]]:
        """What the script fed at each step, all the batches of one that accumulates one after the other."""
        steps = (self.part("fed") or [])[: self._steps]
        return [_whole(entry) if isinstance(entry, dict) else {} for entry in steps]

    @cached_property
    def losses(self) -> list[dict[str, Any]]:
        """The loss of each step, and what it was made of."""
        return [entry if isinstance(entry, dict) else {} for entry in (self.part("losses") or [])[: self._steps]]

    @cached_property
    def loss_functions(self) -> list[str]:
        """The names of the functions that the first loss is made of, in their order."""
        terms = (self.losses[0].get("terms") or []) if self.losses else []
        return [str(term.get("function")) for term in terms if isinstance(term, dict)]

    @cached_property
    def predicted(self) -> str | None:
        """The key of what the first loss was given as the model's output; of one written out, its last value."""
        terms = self.losses[0].get("terms") or [] if self.losses else []
        if self.losses and not terms and self.calls:
            inside = [call for call in self.calls[0] if call.parent is not None and call.outputs]
            return inside[-1].outputs[0] if inside else None
        inputs = terms[0].get("inputs") or [] if len(terms) == 1 else []
        at = 1 if self.framework == "keras" else 0
        return inputs[at] if len(inputs) > at else None

    @cached_property
    def _tensors(self) -> Any:
        path = self.directory / "observed.safetensors"
        try:
            return safe_open(path, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise RunFailedError(f"{path} cannot be read: {' '.join(str(error).split())}") from error

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(self._tensors.keys())

    def called(self, call: Call) -> str:
        """The function that a call is of; of a layer, its kind."""
        layer = self.layers.get(call.layer or "")
        return call.function or (layer.kind if layer is not None else "")

    def array(self, key: Any) -> Array | None:
        """The values of a key, None where there are none; of several in one, their samples one after the other."""
        if not isinstance(key, str) or key in self._keys:
            return self._tensors.get_tensor(key) if isinstance(key, str) else None
        if AND in key:
            arrays = [self.array(part) for part in key.split(AND)]
            shapes = {None if array is None or not array.ndim else array.shape[1:] for array in arrays}
            return None if len(shapes) > 1 or None in shapes else np.concatenate(arrays)  # type: ignore[arg-type]
        key, _, part = key.partition(_PART)
        found = self._tensors.get_tensor(key) if key in self._keys else None
        if not part or found is None:
            return found
        number, times = map(int, part.split("/"))
        size = len(found) // times if found.ndim else 0
        return found[number * size : (number + 1) * size] if size * times and len(found) % times == 0 else found

    def arrays(self, keys: Iterable[Any] | None) -> list[Array | None]:
        """The values of several keys."""
        return [self.array(key) for key in keys or []]

    def by_path(self, kind: str, step: int) -> dict[str, Array]:
        """Of a step, the values by parameter path: `parameters_before`, `raw_gradients` and such."""
        keys = self.updates[step].get(kind) if step < len(self.updates) else None
        found = {path: self.array(key) for path, key in keys.items()} if isinstance(keys, dict) else {}
        return {path: array for path, array in found.items() if array is not None}

    def before(self, step: int) -> dict[str, Array]:
        """Parameters and buffers before a step; of a model that is only used, its own."""
        return self.by_path("parameters_before", step) or self.initial

    @cached_property
    def initial(self) -> dict[str, Array]:
        """The script's own initial values by parameter path."""
        keys = self.part("initial", "parameters")
        found = {path: self.array(key) for path, key in keys.items()} if isinstance(keys, dict) else {}
        return {path: array for path, array in found.items() if array is not None}

    def place(self, *path: str) -> Place | None:
        """The place at a path of keys."""
        return place(self.part(*path))


AND = " and "
"""Between the keys of values whose samples are put into one batch."""

_PART = " part "


def part_of_key(key: str | None, number: int, times: int) -> str | None:
    """The key of one of the equal parts of a batch; what cannot be divided is whole in each."""
    return None if key is None else f"{key}{_PART}{number}/{times}"


def place(entry: Any) -> Place | None:
    """A Place from its JSON, None where it is none."""
    if not isinstance(entry, dict) or "file" not in entry:
        return None
    line = entry.get("line")
    cell = entry.get("cell")
    return Place(
        str(entry["file"]),
        line if isinstance(line, int) else 0,
        str(entry.get("code") or ""),
        cell if isinstance(cell, int) else None,
    )


def _whole(entry: dict[str, Any]) -> dict[str, Any]:
    """What was fed in a step, with its further batches."""
    parts = [entry, *(part for part in entry.get("further") or () if isinstance(part, dict))]
    joined = {name: [key for part in parts for key in part.get(name) or ()] for name in ("inputs", "targets")}
    return {**entry, **joined}


def _layer(entry: dict[str, Any]) -> Layer:
    parameters = {
        local: Parameter(
            str(found.get("path")),
            tuple(int(size) for size in found.get("shape") or ()),
            bool(found.get("trainable")),
            bool(found.get("is_buffer")),
        )
        for local, found in (entry.get("parameters") or {}).items()
    }
    kind = str(entry.get("kind"))
    return Layer(
        str(entry.get("name")),
        kind,
        (kind, *map(str, entry.get("bases") or ())),
        entry.get("settings") or {},
        parameters,
        bool(entry.get("training", True)),
        place(entry.get("place")),
    )


def _calls(entries: Any) -> list[Call]:
    counts: dict[str | None, int] = {}
    calls = []
    for index, entry in enumerate(entries or []):
        layer = entry.get("layer")
        counts[layer] = counts.get(layer, -1) + 1
        calls.append(
            Call(
                index,
                layer,
                entry.get("function"),
                int(entry.get("occurrence") or 0),
                tuple(entry.get("inputs") or ()),
                tuple(entry.get("outputs") or ()),
                entry.get("kwargs") or {},
                entry.get("preactivation"),
                place(entry.get("place")),
                entry.get("parent"),
                tuple(entry.get("from") or ()),
                counts[layer],
                tuple(_calls(entry.get("inside"))),
                tuple((entry.get("masks") or {}).values()),
            )
        )
    return calls
