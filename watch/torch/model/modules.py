"""The modules of a script: where they were made, which of them is the model, what its layers and parameters are."""

import sys
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from watch.source.places import Place, Places
from watch.torch.model.tensors import settings_of

_PLACE = "_watched_place"
_WRAPPERS = {
    "_FabricModule": "_forward_module", "OptimizedModule": "_orig_mod", "DataParallel": "module",
    "DistributedDataParallel": "module",
}  # fmt: skip
_HIDDEN_SETTINGS = frozenset({"training", "call_super_init", "dump_patches", _PLACE})


class Model:
    """All modules made by a script, and among them those that an optimizer's parameters belong to.

    Args:
        places: To say where a module was made.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._made: dict[int, weakref.ref[nn.Module]] = {}  # by identity: a metric's own hash is of its state
        self.roots: list[nn.Module] = []
        self.loose: dict[str, Tensor] = {}  # parameters of no module, by the name of their variable
        self._modules: list[tuple[str, nn.Module]] | None = None
        self._names: dict[int, str] = {}
        self._mode_places: dict[int, Place | None] = {}  # by the identity of a module, of the last train() or eval()

    def watch(self) -> None:
        """From now on every module knows where it was made."""
        model, original = self, nn.Module.__init__

        def init(self: nn.Module, *args: Any, **options: Any) -> None:
            original(self, *args, **options)
            model._made[id(self)] = weakref.ref(self)
            if _PLACE not in self.__dict__:
                self.__dict__[_PLACE] = model._places.here(_maker(self, sys._getframe(1)))  # noqa: SLF001

        nn.Module.__init__ = init  # type: ignore[method-assign]
        self._watch_modes()

    def _watch_modes(self) -> None:
        model, original, inside = self, nn.Module.train, False

        def train(self: nn.Module, mode: bool = True) -> nn.Module:
            nonlocal inside
            if inside:
                return original(self, mode)
            place = model._places.here(sys._getframe(1))  # noqa: SLF001
            model._mode_places.update((id(part), place) for part in self.modules())
            inside = True
            try:
                return original(self, mode)
            finally:
                inside = False

        nn.Module.train = train  # type: ignore[method-assign,assignment]

    def mode_places(self) -> dict[str, Place]:
        """By path, the line that put a module into its mode; those that no line did are left out."""
        found = {path: self._mode_places.get(id(module)) for path, module in self.modules()}
        return {path: place for path, place in found.items() if place is not None}

    def include(self, parameters: Iterable[Tensor]) -> None:
        """Makes the outermost modules that own these parameters parts of the model."""
        wanted = {id(parameter): parameter for parameter in parameters}
        owned: set[int] = set()
        for module in self._tops():
            own = {id(parameter) for parameter in module.parameters()}
            if own & wanted.keys():
                owned |= own
                self._add(module)
        self._name_loose(parameter for number, parameter in wanted.items() if number not in owned)
        self.forget()

    def include_module(self, module: nn.Module) -> None:
        """Makes the outermost module around one that was called a part of the model."""
        if not self.contains(module):
            self._add(next((top for top in self._tops() if any(part is module for part in top.modules())), module))
            self.forget()

    def contains(self, module: nn.Module) -> bool:
        """Whether a module is in the model."""
        self.modules()
        return id(module) in self._names

    def _add(self, module: nn.Module) -> None:
        while type(module).__name__ in _WRAPPERS:
            module = getattr(module, _WRAPPERS[type(module).__name__])
        inside = {id(part) for part in module.modules()}
        self.roots = [root for root in self.roots if id(root) not in inside]
        if not any(part is module for root in self.roots for part in root.modules()):
            self.roots.append(module)

    def _tops(self) -> list[nn.Module]:
        """The modules that are in no other one, in the order of the script's making where that is known."""
        alive = (reference() for reference in self._made.values())
        made = [module for module in alive if module is not None and "_modules" in module.__dict__]
        inside = {id(child) for module in made for child in module.children() if child is not module}
        return [module for module in made if id(module) not in inside]

    def _name_loose(self, parameters: Iterator[Tensor]) -> None:
        names = {id(value): name for name, value in _globals().items() if isinstance(value, Tensor)}
        for name, value in _globals().items():
            if isinstance(value, list | tuple):
                names |= {id(part): f"{name}.{index}" for index, part in enumerate(value)}
            elif isinstance(value, dict):
                names |= {id(part): f"{name}.{key}" for key, part in value.items()}
        for parameter in parameters:
            if not any(parameter is known for known in self.loose.values()):
                name = names.get(id(parameter), f"parameter_{len(self.loose)}")
                self.loose[name] = parameter

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Paths and modules of the model, each once; unique also over several roots."""
        if self._modules is None:
            self._modules, seen = [], set()
            prefixes: list[str] = []
            for root in self.roots:
                prefix = "" if len(self.roots) == 1 else _unused(root_name(root), prefixes)
                prefixes.append(prefix)
                held = (part for path, module in _in_plain_lists(root) for part in module.named_modules(prefix=path))
                for path, module in [*root.named_modules(), *held]:
                    if id(module) not in seen:
                        seen.add(id(module))
                        self._modules.append((_joined(prefix, path), module))
            self._names = {id(module): path for path, module in self._modules}
        return self._modules

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by path; one that is used twice has the first of its paths."""
        found: dict[int, tuple[str, Tensor]] = {}
        for path, module in self.modules():
            for name, parameter in module._parameters.items():  # noqa: SLF001
                if parameter is not None and not is_lazy(parameter):
                    found.setdefault(id(parameter), (_joined(path, name), parameter))
        return dict(found.values()) | self.loose

    def buffers(self) -> dict[str, Tensor]:
        """Buffers by path."""
        return {
            _joined(path, name): buffer
            for path, module in self.modules() if not is_loss(module)
            for name, buffer in module._buffers.items() if buffer is not None and not is_lazy(buffer)  # noqa: SLF001
        }  # fmt: skip

    def unregistered(self) -> dict[str, Place | None]:
        """By path, the parameters that torch does not know of, and the lines that made what is held in a plain list."""
        known = {id(parameter) for root in self.roots for parameter in root.parameters()}
        paths = {id(parameter): path for path, parameter in self.parameters().items()}
        return {
            paths[id(parameter)]: place_of(held)
            for root in self.roots for _, held in _in_plain_lists(root)
            for parameter in held.parameters() if id(parameter) not in known
        }  # fmt: skip

    def forget(self) -> None:
        """Looks modules up anew: some may have been replaced."""
        self._modules = None

    def layer_name(self, module: nn.Module) -> str:
        """The path of a module, or the name of its variable for one that is the whole model or in none."""
        self.modules()
        return self._names.get(id(module)) or root_name(module)

    def layers(self) -> list[dict[str, Any]]:
        """What each leaf and each module with parameters of its own is, in order of definition."""
        paths = {id(tensor): path for path, tensor in [*self.parameters().items(), *self.buffers().items()]}
        found = []
        inside: set[int] = set()
        for path, module in self.modules():
            if id(module) in inside or not is_layer(module):
                continue
            if is_one_layer(module):
                inside |= {id(part) for part in module.modules()}
            found.append(self._layer(path or root_name(module), module, paths))
        return found

    def _layer(self, name: str, module: nn.Module, paths: dict[int, str]) -> dict[str, Any]:
        own = is_one_layer(module) or not list(module.children())
        tensors = [
            *((local, tensor, False) for local, tensor in module.named_parameters(recurse=own)),
            *((local, tensor, True) for local, tensor in module.named_buffers(recurse=own)),
        ]
        kind = type(module)
        return {
            "name": name, "kind": kind.__name__, "module": kind.__module__,
            "bases": [base.__name__ for base in kind.__mro__[1:-1] if base is not nn.Module],
            "settings": settings_of({
                key: value for key, value in module.__dict__.items()
                if not key.startswith("_") and key not in _HIDDEN_SETTINGS
            }),
            "parameters": {
                local: {
                    "path": paths.get(id(tensor), _joined(name, local)), "shape": list(getattr(tensor, "shape", ())),
                    "trainable": not is_buffer and tensor.requires_grad, "is_buffer": is_buffer,
                }
                for local, tensor, is_buffer in tensors
            },
            "training": module.training, "place": place_of(module),
        }  # fmt: skip


def _in_plain_lists(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules with trainable parameters that others hold in a list, a tuple or a dictionary of Python's."""
    for path, module in root.named_modules():
        for name, value in list(module.__dict__.items()):
            if name.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            for key, held in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(held, nn.Module) and any(p.requires_grad for p in held.parameters()):
                    yield _joined(path, f"{name}.{key}"), held


def _maker(module: nn.Module, frame: FrameType) -> FrameType:
    """The frame that makes a module, outside of the constructors of its own classes."""
    while frame.f_back is not None and frame.f_code.co_name == "__init__" and _is_of(frame, module):
        frame = frame.f_back
    return frame


def _is_of(frame: FrameType, module: nn.Module) -> bool:
    """Whether a frame is of a method of a module."""
    return any(frame.f_locals.get(name) is module for name in frame.f_code.co_varnames[:1])


def place_of(module: nn.Module) -> Place | None:
    """Where a module was made."""
    return module.__dict__.get(_PLACE)


def is_loss(module: nn.Module) -> bool:
    """Whether a module is a loss of torch's, or a metric: no layer."""
    names = {base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torchmetrics")}
    return isinstance(module, torch.nn.modules.loss._Loss) or "Metric" in names  # noqa: SLF001


def is_one_layer(module: nn.Module) -> bool:
    """Whether a module of torch's with modules inside counts as one layer."""
    return isinstance(module, nn.MultiheadAttention)


def is_layer(module: nn.Module) -> bool:
    """Whether a module's calls are recorded: a leaf, or one with parameters of its own."""
    if is_loss(module):
        return False
    own = any(True for _ in module.parameters(recurse=False))
    return own or is_one_layer(module) or (not any(True for _ in module.children()) and not _container(module))


def _container(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict)


def is_lazy(tensor: Tensor) -> bool:
    """Whether a parameter or buffer has no size yet."""
    return isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer)


def root_name(module: nn.Module) -> str:
    """The name of the script's variable that holds a module, or its class's name."""
    for name, value in _globals().items():
        if value is module and not name.startswith("_"):
            return name
    return type(module).__name__.lower()


def _unused(name: str, used: list[str]) -> str:
    """A name with a number where others have it: two models of one class, made inside of a function."""
    number = sum(other == name or other.startswith(f"{name}#") for other in used)
    return f"{name}#{number + 1}" if number else name


def _globals() -> dict[str, Any]:
    return dict(vars(sys.modules["__main__"])) if "__main__" in sys.modules else {}


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
