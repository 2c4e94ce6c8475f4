"""A Keras model's layers and parameters: unique names, kinds, and settings that JSON can hold."""

import re
from collections.abc import Iterator
from typing import Any

from watch.keras.model.inside import folds_time
from watch.source.places import Place

_KERAS_OWN = "keras.src.layers."
_LISTED_LENGTH = 64  # of a list in a layer's settings
# What tells nothing about the computation.
_DROPPED = frozenset({"name", "trainable", "batch_input_shape", "build_config", "registered_name", "module"})


class LayerTree:
    """The layers of one model or of several, each by the path through the models that it lies in.

    Keras's own layers are leaves, whatever they are made of: an LSTM, a Bidirectional, a MultiHeadAttention.

    Args:
        places: Where layers were constructed, by id.
        keras: The module.
    """

    def __init__(self, places: dict[int, Place | None], keras: Any) -> None:
        self._keras = keras
        self._places = places
        self.roots: list[Any] = []
        self._names: dict[int, str] = {}
        self._layers: dict[str, Any] = {}
        self._attributes: dict[int, str | None] = {}
        self._paths: dict[int, str] = {}
        self._size = 0

    def add_root(self, layer: Any) -> None:
        """Takes a model in, unless it is there or is part of one that is."""
        if id(layer) not in self._names:
            self.roots.append(layer)
            self.refresh()

    def refresh(self) -> None:
        """Looks for layers and parameters that have been made since."""
        for number, root in enumerate(self.roots):
            self._name(root, root.name if number else "")
        self._paths = {id(variable): path for path, variable in self.parameters().items()}

    def name(self, layer: Any) -> str:
        """The unique name of a layer; that of the model itself is empty for the first one."""
        if id(layer) not in self._names:
            self.refresh()
        if id(layer) not in self._names:  # made inside a call, or not tracked: a layer that the model does not know
            self._give(layer, layer.name)
        return self._names[id(layer)]

    def is_one(self, layer: Any) -> bool:
        """Whether a layer is a leaf, or one of Keras's own that stands for all that it is made of."""
        return self.is_builtin(layer) or not any(True for _ in self._children(layer))

    def is_builtin(self, layer: Any) -> bool:
        """Whether a layer is one of Keras's own, and no model, that is called as a whole."""
        own = type(layer).__module__.startswith(_KERAS_OWN) and not isinstance(layer, self._keras.Model)
        return own and not folds_time(layer)

    def owns(self, layer: Any) -> bool:
        """Whether a layer has variables of its own, other than the state of its random numbers."""
        return bool(_own(layer))

    def is_listed(self, layer: Any) -> bool:
        """Whether a layer is one to describe and record: a leaf, or one that owns parameters itself."""
        return self.is_one(layer) or self.owns(layer)

    def layers(self) -> Iterator[tuple[str, Any]]:
        """All layers to describe, in order of definition."""
        self.refresh()
        for name, layer in self._layers.items():
            if self.is_listed(layer):
                yield name, layer

    def parameters(self) -> dict[str, Any]:
        """All trainable variables and buffers, by path."""
        found: dict[str, Any] = {}
        seen: set[int] = set()
        for name, layer in self._layers.items():
            if not self.is_listed(layer):
                continue
            for local, variable in self.local_parameters(layer).items():
                if id(variable) not in seen:
                    found[f"{name}/{local}" if name else local] = variable
                    seen.add(id(variable))
        return found

    def path(self, variable: Any) -> str | None:
        """The path of a variable of Keras's, or of the backend's variable inside it."""
        found = self._paths.get(id(variable))
        if found is None:
            self.refresh()
            self._paths |= {id(held.value): path for path, held in self.parameters().items() if hasattr(held, "value")}
            found = self._paths.get(id(variable))
        return found

    def local_parameters(self, layer: Any) -> dict[str, Any]:
        """A layer's own parameters by their names; those of its parts too where it stands for them."""
        found: dict[str, Any] = {}
        _collect(layer, "", self.is_one(layer), found)
        return found

    def describe(self, name: str, layer: Any, training: bool | None) -> dict[str, Any]:
        """A layer as observed.json has it."""
        trainable = {id(variable) for root in self.roots for variable in root.trainable_variables}
        return {
            "name": name,
            "attribute": self._attributes.get(id(layer)),
            "kind": type(layer).__name__,
            "module": type(layer).__module__,
            "bases": [base.__name__ for base in type(layer).__mro__[1:-1]],
            "settings": settings(layer),
            "parameters": {
                local: {
                    "path": self.path(variable),
                    "shape": [int(size) for size in variable.shape],
                    "trainable": id(variable) in trainable,
                    "is_buffer": any(variable is other for other in buffers(layer)),
                }
                for local, variable in self.local_parameters(layer).items()
            },
            "trainable": bool(layer.trainable),
            "training": training,
            "place": self._places.get(id(layer)),
        }

    def _name(self, layer: Any, path: str) -> None:
        if id(layer) not in self._names:
            self._give(layer, path)
        if self.is_one(layer):
            return
        own = self._names[id(layer)]
        for child in self._children(layer):
            if id(child) not in self._attributes:
                self._attributes[id(child)] = _attribute(layer, child)
            self._name(child, f"{own}/{child.name}" if own else child.name)

    def _give(self, layer: Any, path: str) -> None:
        name, number = path, 2
        while name in self._layers:
            name, number = f"{path}#{number}", number + 1
        self._names[id(layer)] = name
        self._layers[name] = layer

    def _children(self, layer: Any) -> Iterator[Any]:
        for child in layer._flatten_layers(include_self=False, recursive=False):  # noqa: SLF001
            if not isinstance(child, self._keras.layers.InputLayer):
                yield child


def buffers(layer: Any) -> list[Any]:
    """Variables that no gradient changes even where the layer is trained: running statistics."""
    found = [v for v in layer._non_trainable_variables if not _of_seed(v)]  # noqa: SLF001
    for part in layer._flatten_layers(include_self=False):  # noqa: SLF001
        found += [v for v in part._non_trainable_variables if not _of_seed(v)]  # noqa: SLF001
    return found


def settings(layer: Any) -> dict[str, Any]:
    """A layer's configuration, or its scalars where it has none."""
    try:
        config = layer.get_config()
    except Exception:  # noqa: BLE001 a user's class may not have one, and says so in many ways
        config = {}
    if not isinstance(config, dict) or "layers" in config:  # a model
        config = {}
    found = {key: readable(value) for key, value in config.items() if key not in _DROPPED}
    for key, value in vars(layer).items():
        if not key.startswith("_") and key not in _DROPPED and isinstance(value, bool | int | float | str):
            found.setdefault(key, value)
    return {key: value for key, value in found.items() if key not in {"built", "autocast", "supports_jit", "stateful"}}


def readable(value: Any) -> Any:
    """A value of a configuration without the apparatus of serialization: {"class": "L2", "l2": 0.001} for one."""
    if isinstance(value, dict) and "class_name" in value:
        config = value.get("config")
        if value["class_name"] in {"function", "lambda"} or not isinstance(config, dict):
            return config if isinstance(config, str) and len(config) <= _LISTED_LENGTH else "lambda"
        inner = {key: readable(held) for key, held in config.items() if key not in _DROPPED}
        if value["class_name"].endswith("DTypePolicy"):
            return config.get("name")
        return {"class": value["class_name"], **inner}
    if isinstance(value, dict):
        return {str(key): readable(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [readable(held) for held in value[:_LISTED_LENGTH]]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "get_config") and not isinstance(value, type):
        return readable({"class_name": type(value).__name__, "config": value.get_config()})
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    number = getattr(value, "item", None)
    return number() if number is not None and getattr(value, "size", 0) == 1 else str(value)[:200]


def snake(name: str) -> str:
    """LogSoftmax as log_softmax."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _of_seed(variable: Any) -> bool:
    return "seed_generator" in (getattr(variable, "path", None) or "")


def _own(layer: Any) -> list[Any]:
    held = [*layer._trainable_variables, *layer._non_trainable_variables]  # noqa: SLF001
    return [variable for variable in held if not _of_seed(variable)]


def _collect(layer: Any, prefix: str, parts: bool, found: dict[str, Any]) -> None:
    for variable in _own(layer):
        name = local = prefix + variable.name
        number = 2
        while name in found:
            name, number = f"{local}#{number}", number + 1
        if not any(variable is held for held in found.values()):
            found[name] = variable
    if parts:
        for part in layer._flatten_layers(include_self=False, recursive=False):  # noqa: SLF001
            _collect(part, prefix + _part_prefix(layer, part), True, found)


def _part_prefix(layer: Any, part: Any) -> str:
    """What sets the parameters of a compound layer's part apart: none where it is the only one."""
    known = {
        "_query_dense": "query/", "_key_dense": "key/", "_value_dense": "value/", "_output_dense": "output/",
        "forward_layer": "forward/", "backward_layer": "backward/", "cell": "", "layer": "",
    }  # fmt: skip
    for attribute, prefix in known.items():
        if getattr(layer, attribute, None) is part:
            return prefix
    cells = getattr(layer, "cells", None)
    if cells is not None and part in list(cells):
        return f"cell{list(cells).index(part)}/"
    return f"{part.name}/"


def _attribute(parent: Any, child: Any) -> str | None:
    """The name under which a user's class holds a layer: "fc1", "blocks[2]"."""
    if type(parent).__module__.startswith("keras.src."):
        return None
    held = {**vars(parent), **(vars(parent).get("_modules") or {})}
    for name, value in held.items():
        if value is child:
            return str(name)
        items: Any = ()
        if not name.startswith("_"):
            items = value.items() if isinstance(value, dict) else ()
            items = enumerate(value) if isinstance(value, list | tuple) else items
        for key, item in items:
            if item is child:
                return f"{name}[{key!r}]"
    return None
