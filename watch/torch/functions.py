"""Functions that a script calls on tensors: recorded, made double, without dropout; and the losses among them."""

import contextlib
import inspect
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 its name everywhere
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from watch.torch.averages import Averages
from watch.torch.model.tensors import LOW, leaves, scalars, settings_of
from watch.torch.noise import DRAWING, INTEGERS, of_step, without_chance
from watch.torch.watch import Watch

LOSSES = {
    getattr(F, name) for name in (
        "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss",
        "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
        "cosine_embedding_loss", "margin_ranking_loss", "soft_margin_loss", "multilabel_margin_loss", "ctc_loss",
        "multilabel_soft_margin_loss", "multi_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    )
}  # fmt: skip
_DROPOUT = {
    getattr(F, name)
    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
} | {torch.dropout, torch.alpha_dropout, torch.feature_dropout}  # fmt: skip
_ATTENTION = {F.multi_head_attention_forward: 10, F.scaled_dot_product_attention: 4}  # where their dropout is
_CASTS = {Tensor.float, Tensor.half, Tensor.bfloat16}
_MAKERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.frombuffer}
_COINS = {torch.bernoulli, Tensor.bernoulli, Tensor.bernoulli_}
_EMPTY = {"empty", "empty_like", "new_empty", "randint", "randperm"}
_DETACHING = {"detach", "data", "detach_", "item", "numpy", "tolist"}
# Between the user's line and a function there are frames of torch's own that pass it on.
_PASSED_THROUGH = frozenset({
    "torch.overrides", "torch.nn.functional", "torch.functional", "torch._tensor", "torch._jit_internal",
    "torch.nn.utils.rnn", "torch.utils._contextlib", "torch.special", "torch._ops", "torch._lowrank", "torch.linalg",
})  # fmt: skip
_TARGETS = ("target", "label", "labels", "targets", "y")


class Functions(TorchFunctionMode):
    """Sees every function of torch's that is called on tensors.

    Args:
        watch: What all watched functions share.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch
        self._averages = Averages(watch)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls a function."""
        del types
        options: dict[str, Any] = kwargs or {}
        watch = self.watch
        if watch.internal:
            return func(*args, **options)
        if watch.float64:
            func, args, options = _double(func, args, options)
        if func in _DROPOUT | _COINS:
            return self._dropout(func, args, options, sys._getframe(1))  # noqa: SLF001
        if func in _ATTENTION:
            args, options = self._attention(func, args, options, sys._getframe(1))  # noqa: SLF001
        if func in LOSSES and (watch.depth == 0 or torch.is_grad_enabled()):
            return self._loss(func, args, options, sys._getframe(1))  # noqa: SLF001
        if watch.model.loose and not watch.begun and torch.is_grad_enabled() and watch.meets_loose((args, options)):
            watch.begin_step()
        seen = watch.depth or (watch.begun and torch.is_grad_enabled())
        if func in DRAWING and watch.optimizers and _draws_itself(sys._getframe(1)):  # noqa: SLF001
            drawn = func(*args, **options)
            return self._drawn(func, drawn, args, options, sys._getframe(1), in_model=bool(seen))  # noqa: SLF001
        before = self._before(func, args, options, sys._getframe(1)) if seen else None  # noqa: SLF001
        result = func(*args, **options)
        if watch.float64 and func in _MAKERS:
            return _doubled(result)
        if seen:
            self._record(func, args, options, result, sys._getframe(1), before)  # noqa: SLF001
        else:
            self._between_steps(func, args, options, result, sys._getframe(1))  # noqa: SLF001
        return result

    def _drawn(self, func: Any, drawn: Tensor, args: Any, options: Any, frame: FrameType, *, in_model: bool) -> Tensor:
        """Random numbers: those that every program's step has, and a model's mean plus deviation."""
        watch = self.watch
        with watch.quietly():
            if not in_model or (watch.zero_dropout and func in INTEGERS):
                found, numbers = of_step(watch.session.draws, func, drawn, args, options, again=in_model)
                if not in_model:
                    watch.session.note_draw(_name(func) or "", numbers, frame)
            elif watch.zero_dropout:
                watch.session.note_noise(func.__name__, frame)
                found = without_chance(func, drawn, args, options)
            else:
                return drawn
            return drawn.copy_(found) if _in_place(func) else found.to(drawn).requires_grad_(drawn.requires_grad)

    def _between_steps(self, func: Any, args: Any, options: Any, result: Any, frame: FrameType) -> None:
        """Looks for a moving average of the weights, and for what is to be fed, in what a script does before a step."""
        if self.watch.begun or not self.watch.optimizers or not _calls_itself(frame):
            return
        if not self.watch.step:
            self.watch.made.append((result, self.watch.session.places.here(frame)))
        else:
            with self.watch.quietly():
                self._averages.seen(getattr(func, "__name__", ""), args, options, result, frame)

    def _before(self, func: Any, args: Any, options: Any, frame: FrameType) -> list[str | None] | None:
        """Takes targets among the inputs; the keys of the inputs if the function may change them in place."""
        watch = self.watch
        in_place = watch.recording and (
            _in_place(func) or options.get("inplace") or any(arg is True for arg in args[1:])
        )
        if (watch.depth and not in_place) or not _calls_itself(frame):
            return None
        given = leaves((args, options))
        with watch.quietly():
            if watch.depth == 0 and any(leaf.requires_grad for leaf in given if isinstance(leaf, Tensor)):
                self._take_operands(given)
            return watch.calls.keys_before(given) if in_place else None

    def _record(
        self, func: Any, args: Any, options: Any, result: Any, frame: FrameType, before: list[str | None] | None
    ) -> None:
        """Keeps a call that the user's own code, or a library's model, makes."""
        watch = self.watch
        name = _name(func)
        if not isinstance(result, Tensor | tuple | list) or name is None:
            return
        outputs = leaves(result)
        if not outputs or not (watch.depth or any(leaf.requires_grad for leaf in outputs)):
            if name in _DETACHING and outputs and watch.step == 0:
                self._note_detached(name, args, frame)
            self._note_derived(func, name, args, options, result)
            return
        caller = _caller(frame)
        if caller is None or _of_torch(caller) or name in _EMPTY or _only_indices(name, frame):
            return
        given = leaves((args, options))
        with watch.quietly():
            place = watch.session.places.here(caller)
            watch.calls.function(name, _settings(func, args, options), given, result, place, before)
        if name in _DETACHING:
            self._note_detached(name, args, frame)

    def _note_derived(self, func: Any, name: str, args: Any, options: Any, result: Any) -> None:
        """Notes what the script makes of a batch's tensor after the model: 1 - y is no target by itself, y is."""
        watch = self.watch
        of_batch = args and isinstance(args[0], Tensor) and not watch.calls.known(args[0])
        if watch.depth or watch.evaluating or not of_batch or not isinstance(result, Tensor) or _in_place(func):
            return
        with watch.quietly():
            watch.derived.note(name, args, result, lambda: func(*args, **options))

    def _note_detached(self, name: str, args: Any, frame: FrameType) -> None:
        caller = _caller(frame)
        if (
            caller is None
            or _of_torch(caller)
            or self.watch.evaluating
            or self.watch.step
            or not torch.is_grad_enabled()
        ):
            return
        if args and isinstance(args[0], Tensor) and args[0].requires_grad and self.watch.calls.produced(args[0]):
            found = self.watch.document["loop"].setdefault("detached", [])
            found.append({"function": name, "place": self.watch.session.places.here(caller)})

    def _take_operands(self, given: list[Any]) -> None:
        """After the model, what meets its outputs and is as long as the batch is a target or a sample's weight."""
        watch = self.watch
        if watch.meets_loose(given):  # a model without modules: what meets its parameters is fed to it
            watch.feed_loose([leaf for leaf in given if isinstance(leaf, Tensor) and not leaf.requires_grad])
            return
        if not watch.batch_sizes or not any(watch.calls.known(leaf) for leaf in given):
            return
        for leaf in given:
            if not isinstance(leaf, Tensor) or watch.calls.known(leaf) or isinstance(leaf, nn.Parameter):
                continue
            if leaf.ndim == 0 or leaf.shape[0] not in watch.batch_sizes or leaf.requires_grad:
                continue
            weighs = leaf.is_floating_point() and any(term.get("_unreduced") for term in watch.step_terms)
            if weighs and watch.sample_weights is None:
                number = len(watch.fed_targets)
                key = f"step{watch.step}/fed/sample_weights{number}"
                watch.sample_weights = watch.observation.keep(key, leaf.detach().cpu().numpy())
            elif not weighs:
                watch.target(watch.derived.root(leaf))

    # Losses

    def _loss(self, func: Any, args: Any, options: Any, frame: FrameType) -> Any:
        """A loss function: its target is kept and replaced, its arguments and value are noted."""
        watch = self.watch
        bound = _bound(func, args, options)
        inputs = [value for value in bound.values() if isinstance(value, Tensor)]
        if not watch.begun or watch.evaluating or not any(value.requires_grad for value in inputs):
            return func(*args, **options)
        with watch.quietly():
            target = next((bound[name] for name in _TARGETS if isinstance(bound.get(name), Tensor)), None)
            if target is not None and not target.requires_grad:
                watch.target(target)
            number = len(watch.step_terms)
            main = [(name, value) for name, value in bound.items() if isinstance(value, Tensor)]
            keys = [watch.calls.key(value, f"loss{number}/{name}") for name, value in main]
            weights = {
                name: value.tolist() for name, value in main
                if name in {"weight", "pos_weight"} and value.numel() <= 1000
            }  # fmt: skip
        result = func(*args, **options)
        with watch.quietly():
            reduced = result.ndim == 0
            watch.step_terms.append({
                "function": func.__name__,
                "settings": settings_of({k: v for k, v in bound.items() if not isinstance(v, Tensor)}) | weights,
                "input_names": [name for name, _ in main], "inputs": keys,
                "value": float(result) if reduced else None,
                "output": watch.calls.key(result, f"loss{number}/out"),
                "place": watch.session.places.here(frame), "_unreduced": not reduced,
            })  # fmt: skip
            watch.calls.note_result(result)
        return result

    # Dropout

    def _dropout(self, func: Any, args: Any, options: Any, frame: FrameType) -> Any:
        """A dropout, noted where it is a function of the user's own, and without effect where values are compared."""
        watch = self.watch
        if func in _COINS:
            return self._coin(func, args, options, frame)
        bound = _bound(func, args, options)
        rate = bound.get("p", 0.5)
        active = bool(bound.get("training", bound.get("train", True)))
        if _calls_itself(frame) and (watch.depth or watch.begun):
            watch.note_dropout(None, func.__name__, float(rate), active)
        result = bound["input"] if watch.zero_dropout else func(*args, **options)
        if watch.depth or (watch.begun and torch.is_grad_enabled()):
            self._record(func, args, options, result, frame, None)
        return result

    def _coin(self, func: Any, args: Any, options: Any, frame: FrameType) -> Tensor:
        """A mask of a dropout that is written out: what is kept on average, so that the division by it undoes it."""
        watch, drawn = self.watch, func(*args, **options)
        share = options.get("p", args[1] if len(args) > 1 else args[0])
        kept = torch.zeros_like(drawn) + share
        if not watch.depth or not drawn.numel() or not _calls_itself(frame):
            return drawn
        if float(kept.min()) == float(kept.max()) and 0 < float(kept.min()) < 1:
            watch.note_dropout(None, "bernoulli", round(1 - float(kept.min()), 7), active=True)
        if not watch.zero_dropout:
            return drawn
        return drawn.copy_(kept) if func is Tensor.bernoulli_ else kept

    def _attention(self, func: Any, args: Any, options: Any, frame: FrameType) -> tuple[Any, Any]:
        """Attention with its dropout: noted where a function of the user's own, and without effect as others."""
        position = _ATTENTION[func]
        rate = options.get("dropout_p", args[position] if len(args) > position else 0.0)
        if rate and _calls_itself(frame):
            self.watch.note_dropout(None, func.__name__, float(rate), active=True)
        if rate and self.watch.zero_dropout:
            if "dropout_p" in options:
                return args, options | {"dropout_p": 0.0}
            return (*args[:position], 0.0, *args[position + 1 :]), options
        return args, options


# Numbers of 64 bits


def _double(func: Any, args: Any, options: Any) -> tuple[Any, Any, Any]:
    """The same call with double in place of each shorter floating-point type."""
    if func in _CASTS:
        return Tensor.double, args[:1], {}
    if any(isinstance(arg, torch.dtype) for arg in args):
        args = tuple(torch.float64 if isinstance(arg, torch.dtype) and arg in LOW else arg for arg in args)
    elif func is Tensor.type and len(args) > 1 and isinstance(args[1], str) and _is_low_name(args[1]):
        return Tensor.double, args[:1], {}
    if options.get("dtype") in LOW:
        options = options | {"dtype": torch.float64}
    types = {leaf.dtype for leaf in leaves((args, options)) if isinstance(leaf, Tensor) and leaf.is_floating_point()}
    if torch.float64 in types and types & LOW:
        in_place = _in_place(func)
        args = tuple(arg if in_place and index == 0 else _raised(arg) for index, arg in enumerate(args))
        options = {name: value if name == "out" else _raised(value) for name, value in options.items()}
    return func, args, options


def _in_place(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name in {"__setitem__", "__set__"} or (name.startswith("__i") and name != "__invert__")
    return name.endswith("_")


def _raised(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.dtype in LOW else value
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
        return type(value)(_raised(part) for part in value) if not hasattr(value, "_fields") else value
    return value


def _doubled(result: Any) -> Any:
    """A new tensor as double; what it requires of autograd is kept."""
    if isinstance(result, Tensor) and result.dtype in LOW:
        return result.detach().double().requires_grad_(result.requires_grad)
    return result


def _is_low_name(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in {"FloatTensor", "HalfTensor", "BFloat16Tensor"}


def make_double() -> None:
    """From now on a script makes numbers of 64 bits, whatever type it asks for."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_dtype = lambda d: None  # noqa: ARG005 half precision is not wanted
    torch.set_float32_matmul_precision = lambda precision: None  # noqa: ARG005
    from_numpy, load = torch.from_numpy, torch.load
    torch.from_numpy = lambda array: _doubled(from_numpy(array))  # type: ignore[assignment]
    torch.load = lambda *args, **options: _all_double(load(*args, **options))
    torch.FloatTensor = torch.DoubleTensor  # type: ignore[misc, assignment]


def _all_double(value: Any) -> Any:
    """A file's tensors as double, in dicts as state dicts are."""
    if isinstance(value, dict):
        for name, part in value.items():
            value[name] = _all_double(part)
    return _doubled(value) if type(value) is Tensor else value


# Who calls what


def _name(func: Any) -> str | None:
    """A function's plain name, such as "add" of `__iadd__`; of a property, that of the property."""
    name: str = getattr(func, "__name__", "")
    if name == "__get__":
        name = getattr(func.__self__, "__name__", "")
        return name if name in {"T", "mT", "H", "mH", "data", "real", "imag"} else None
    if name.startswith("__"):
        name = name.strip("_")
        return {"getitem": "getitem"}.get(name, name)
    return name.strip("_") or None


def _caller(frame: FrameType | None) -> FrameType | None:
    """The frame that called a function, beyond torch's own that passed the call on."""
    while frame is not None and frame.f_globals.get("__name__") in _PASSED_THROUGH:
        frame = frame.f_back
    return frame


def _of_torch(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    if name == "torch.nn.modules.transformer":  # what it adds to its layers shows how they are put together
        return False
    return name == "torch" or name.startswith(("torch.", "torchmetrics.", "lightning.", "pytorch_lightning.", "watch."))


def _only_indices(name: str, frame: FrameType) -> bool:
    """Whether a function only sorts the lengths of packed sequences."""
    return frame.f_globals.get("__name__") == "torch.nn.utils.rnn" and "pack" not in name


def _draws_itself(frame: FrameType) -> bool:
    """Whether the user's own code draws numbers, be it through a distribution of torch's."""
    caller = _caller(frame)
    while caller is not None and caller.f_globals.get("__name__", "").startswith("torch.distributions"):
        caller = _caller(caller.f_back)
    return caller is not None and not _of_torch(caller)


def _calls_itself(frame: FrameType) -> bool:
    """Whether the user's own code, or a library's model, calls a function itself and not through a module."""
    caller = _caller(frame)
    return caller is not None and not _of_torch(caller)


@cache
def _signature(func: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(func)
    except (TypeError, ValueError):  # a function written in C
        return None


def _bound(func: Any, args: Any, options: Any) -> dict[str, Any]:
    """Arguments by name; by position where a function's names are not known."""
    signature = _signature(func)
    if signature is not None:
        with contextlib.suppress(TypeError):
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            return dict(bound.arguments)
    names = ["input", "p", "training"] if func in _DROPOUT else ["input"]
    named = {names[i] if i < len(names) else f"argument{i}": value for i, value in enumerate(args)}
    return named | options


def _settings(func: Any, args: Any, options: Any) -> dict[str, Any]:
    """What of a call's arguments can be written down and is no tensor."""
    found = {}
    for name, value in _bound(func, args, options).items():
        with contextlib.suppress(TypeError):
            if not leaves(value):
                found[name] = scalars(value)
            elif func is torch.einsum and isinstance(value[0], str):  # its equation comes with its operands
                found["equation"] = value[0]
    return found
