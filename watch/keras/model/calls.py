"""The layers' calls in the order of the computation: records what goes in and comes out, and forces what is planned."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from watch.keras.model.backends import Array, Backend
from watch.keras.model.inside import dropout_rates, preactivation
from watch.keras.model.layers import LayerTree, snake
from watch.program.request import Plan
from watch.program.script import Session

# What makes or converts tensors, or asks about them, is no step of the computation.
NO_COMPUTATION = frozenset({
    "cast", "convert_to_tensor", "convert_to_numpy", "shape", "is_tensor", "cond", "scan", "while_loop", "fori_loop",
    "map", "vectorized_map", "switch", "custom_gradient", "zeros", "ones", "zeros_like", "ones_like",
    "arange", "full", "dtype", "size", "ndim", "unstack", "unravel_index", "associative_scan", "dtypes", "eye", "empty",
    "linspace", "array", "rearrange", "saturate_cast",
})  # fmt: skip


@dataclasses.dataclass(eq=False)
class Forward:
    """One call of an outermost layer, with all calls inside of it."""

    root: Any
    args: tuple[Any, ...]
    options: dict[str, Any]
    training: bool
    frame: FrameType | None
    outputs: Any = None
    calls: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    occurrences: dict[str, int] = dataclasses.field(default_factory=dict)
    flags: dict[str, bool] = dataclasses.field(default_factory=dict)
    # The keys of tensors already kept and the calls that made them, by id; the tensors are held, so that ids stay.
    keys: dict[int, tuple[str | None, int | None]] = dataclasses.field(default_factory=dict)
    held: list[Any] = dataclasses.field(default_factory=list)


def _nothing_called() -> Forward:
    return Forward(None, (), {}, training=True, frame=None)


@dataclasses.dataclass
class _Open:
    """A layer whose call is under way; `entry` is the record of a call of one that owns parameters only once built."""

    layer: Any
    name: str
    training: bool
    is_one: bool
    is_builtin: bool
    given: tuple[Any, Any] | None = None
    entry: dict[str, Any] | None = None
    within: Forward | None = None  # what a layer of the user's own with weights computes


class Calls:
    """Watches `Layer.__call__`.

    Args:
        session: The run.
        backend: The backend.
        keras: The module.
        tree: The names of the layers.
        plan: What to force.
    """

    def __init__(self, session: Session, backend: Backend, keras: Any, tree: LayerTree, plan: Plan | None) -> None:
        self._session, self._backend, self._keras, self._tree, self._plan = session, backend, keras, tree, plan
        self.forwards: list[Forward] = []
        self._after = _nothing_called()
        self.evaluation: list[Forward] | None = None  # a list while a pass in evaluation mode is recorded
        self.dropout: dict[tuple[str, str, int | None], dict[str, Any]] = {}
        self.begins: Any = lambda _layer, args: args  # told before an outermost call; returns its arguments
        self.built: Any = lambda: None  # told after a layer has been built
        self._open: list[_Open] = []
        self._off = False
        self._building = 0
        self._number = 0
        self.part = "eval"

    def building(self) -> bool:
        """Whether a layer that is built now is part of a call that is watched."""
        return bool(self._open) and not self._off and not self._symbolic()

    @property
    def recording(self) -> bool:
        """Whether values of the current step are to be kept."""
        return self.evaluation is not None or self._session.step in self._session.request.recorded_steps

    @contextlib.contextmanager
    def while_built(self) -> Iterator[None]:
        """A context in which a layer makes its weights: what is drawn there is no part of the forward pass."""
        self._building += 1
        try:
            yield
        finally:
            self._building -= 1

    @property
    def under_way(self) -> bool:
        """Whether a forward pass is under way, or has been in this step; not while a layer makes its weights."""
        return not self._building and bool(self._open or (self.forwards and self.evaluation is None))

    @property
    def inside(self) -> bool:
        """Whether a call is under way that stands for itself: not inside one of Keras's layers."""
        closed = any(opened.is_one and opened.is_builtin for opened in self._open)
        return bool(self._open) and not self._off and not closed

    def _record_of_functions(self) -> Forward:
        """What functions that are called now are a part of: the forward pass, or a layer of one's own with weights.

        A layer of one's own without any, such as one that draws a latent variable, is what its functions are.
        """
        closed = (opened for opened in self._open if opened.is_one and self._tree.owns(opened.layer))
        return next((opened.within for opened in closed if opened.within is not None), self.forward())

    def built_now(self, layer: Any) -> None:
        """A layer has been built inside of its first call: it may own parameters by now, and be one to record."""
        self.built()
        opened = self._open[-1]
        if opened.layer is layer and opened.given is not None and self._tree.is_listed(layer):
            opened.entry, _, _ = self._enter(layer, opened.name, self.forward(), *opened.given)

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """A context in which calls are no part of what is recorded."""
        before, self._off = self._off, True
        try:
            yield
        finally:
            self._off = before

    def reset(self) -> list[Forward]:
        """Takes the calls since the last time, and begins anew."""
        forwards, self.forwards, self._number = self.forwards, [], 0
        self._after = _nothing_called()
        return forwards

    @property
    def of_loss(self) -> list[dict[str, Any]]:
        """The functions that the user's own code has called after the model, on the way to the loss."""
        return self._after.calls

    @property
    def after_model(self) -> bool:
        """Whether the model has been called in this step, and what is called now may be a part of the loss."""
        return bool(self.forwards) and not self._open and not self._off and self.evaluation is None

    def forward(self) -> Forward:
        """The outermost call under way."""
        return (self.forwards if self.evaluation is None else self.evaluation)[-1]

    def call(self, original: Any, layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """One call of a layer."""
        inside_one = any(opened.is_one for opened in self._open)
        passing = self._session.trainings.passing
        if self._off or inside_one or passing or not self._is_watched(layer, args, options):
            return original(layer, *args, **options)
        training = self._training(layer, options)
        if not self._open:
            args = self._begin(layer, args, options, training)
        name = self._tree.name(layer)
        forward = self.forward()
        forward.flags[name] = training
        listed = self._tree.is_listed(layer)
        opened = _Open(
            layer,
            name,
            training,
            self._tree.is_one(layer),
            self._tree.is_builtin(layer),
            None if listed else (args, options),
        )
        opened.within = _nothing_called() if opened.is_one and not opened.is_builtin else None
        self._open.append(opened)
        try:
            outputs = self._watched(original, opened, forward, args, options)
        finally:
            self._open.pop()
        if not self._open:
            forward.outputs = outputs
        return outputs

    def _watched(
        self, original: Any, opened: _Open, forward: Forward, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """What a layer gives whose call is under way."""
        layer = opened.layer
        if opened.given is not None:
            outputs = original(layer, *args, **options)
            return outputs if opened.entry is None else self._leave(opened.entry, forward, outputs)
        entry, args, options = self._enter(layer, opened.name, forward, args, options)
        with preactivation(layer, functools.partial(self._keep_preactivation, entry), self.recording):
            outputs = original(layer, *args, **options)
        if opened.within is not None and opened.within.calls:
            entry["inside"] = opened.within.calls
        return self._leave(entry, forward, outputs)

    @contextlib.contextmanager
    def through_call(self, layer: Any) -> Iterator[None]:
        """A context in which a layer's `call` is watched: `stateless_call` does not go through `__call__`."""
        own = layer.call

        def call(*args: Any, **options: Any) -> Any:
            del vars(layer)["call"]
            return self.call(lambda _layer, *a, **o: own(*a, **o), layer, args, options)

        vars(layer)["call"] = call
        try:
            yield
        finally:
            vars(layer).pop("call", None)

    def function(self, name: str, original: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A function that the user's own code calls in a layer or a loss, or an operation of a functional model."""
        of_loss = self.after_model and self._backend.differentiating()
        if not (self.inside or of_loss) or not self.recording or self._symbolic():
            return original(*args, **options)
        forward = self._after if of_loss else self._record_of_functions()
        scalars = {key: value for key, value in options.items() if isinstance(value, bool | int | float | str)}
        rest = [value for value in args if isinstance(value, bool | int | float | str)]
        entry = self._entry(forward, None, name, scalars | ({"arguments": rest} if rest else {}))
        self._keep_inputs(entry, forward, self._tensors((args, options)))
        with self.unwatched():
            outputs = original(*args, **options)
        self._keep_outputs(entry, forward, self._tensors(outputs))
        return outputs

    def operation(self, original: Any, operation: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """One call of an operation; layers are operations as well, and come here from their own `__call__`."""
        if isinstance(operation, self._keras.Layer) or not self.inside:
            return original(operation, *args, **options)
        own = {
            key: value for key, value in vars(operation).items()
            if not key.startswith("_") and key != "name" and isinstance(value, bool | int | float | str)
        }  # fmt: skip
        name = snake(type(operation).__name__)
        if name in NO_COMPUTATION:
            return original(operation, *args, **options)
        return self.function(name, lambda *a, **_o: original(operation, *a, **options), args, own)

    def _symbolic(self) -> bool:
        from keras.src.backend.common.symbolic_scope import in_symbolic_scope

        return bool(in_symbolic_scope())

    def _is_watched(self, layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
        if self._symbolic():
            return False
        if not self._open and self.evaluation is None:
            if not self._backend.differentiating() or isinstance(layer, self._keras.Metric):
                return False
            if layer.built and not layer.trainable_variables and not layer.trainable:
                return False
            if layer.built and not layer.weights:
                return False
        tensors = self._tensors((args, options))
        return any(self._backend.values(tensor) is not None for tensor in tensors[:1])

    def _training(self, layer: Any, options: dict[str, Any]) -> bool:
        given = options.get("training")
        if given is None and self._open:
            given = self._open[-1].training
        if given is None and "training" in layer.call_signature_parameters:
            given = layer._call_signature.parameters["training"].default  # noqa: SLF001
        return given is not None and bool(given) and given is not layer._call_signature.empty  # noqa: SLF001

    def _begin(self, layer: Any, args: tuple[Any, ...], options: dict[str, Any], training: bool) -> tuple[Any, ...]:
        frame = self._frame()
        self._session.draws.forward_begins()
        forwards = self.forwards
        if self.evaluation is None:
            args = self.begins(layer, args)
        else:
            forwards = self.evaluation
        forwards.append(Forward(layer, args, options, training, frame))
        for tensor in self._tensors((args, options)):
            forwards[-1].keys[id(tensor)] = (None, -1)
            forwards[-1].held.append(tensor)
        return args

    def _enter(
        self, layer: Any, name: str, forward: Forward, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]:
        """Records the inputs and replaces those that are planned."""
        scalars = {key: value for key, value in options.items() if isinstance(value, bool | int | float | str)}
        masks = {key: value for key, value in options.items() if "mask" in key}
        rest = {key: value for key, value in options.items() if key not in masks}
        entry = self._entry(forward, name, None, scalars)
        tensors = self._tensors((args, rest))
        self._keep_inputs(entry, forward, tensors)
        self._keep_masks(entry, masks, tensors)
        self._note_dropout(layer, name, entry)
        planned = self._planned(entry, "inputs")
        if planned:
            replaced = {
                id(old): self._forced(old, values)
                for old, values in zip(tensors, planned, strict=False)
                if values is not None
            }
            args, rest = self._keras.tree.map_structure(lambda value: replaced.get(id(value), value), (args, rest))
        return entry, tuple(args), {**rest, **masks}

    def _leave(self, entry: dict[str, Any], forward: Forward, outputs: Any) -> Any:
        """Records the outputs and replaces those that are planned."""
        tensors = self._tensors(outputs)
        self._keep_outputs(entry, forward, tensors)
        planned = self._planned(entry, "outputs")
        if not planned:
            return outputs
        replaced = {
            id(old): self._forced(old, values)
            for old, values in zip(tensors, planned, strict=False)
            if values is not None
        }
        return self._keras.tree.map_structure(lambda value: replaced.get(id(value), value), outputs)

    def _forced(self, tensor: Any, values: Array) -> Any:
        from keras.src import backend

        floating = backend.is_float_dtype(backend.standardize_dtype(tensor.dtype))
        force = self._backend.straight_through if floating and backend.is_tensor(tensor) else None
        forced = force(tensor, values) if force else self._backend.tensor(values, tensor)
        mask = backend.get_keras_mask(tensor)
        if mask is not None:
            backend.set_keras_mask(forced, mask)
        return forced

    def _planned(self, entry: dict[str, Any], kind: str) -> list[Array | None]:
        if self._plan is None:
            return []
        evaluated = self.evaluation is not None and self.part == "eval"
        document = self._plan.document.get("evaluation") or {} if evaluated else self._plan.step(self._session.step)
        for call in document.get("calls") or []:
            if call["layer"] == entry["layer"] and call.get("occurrence", 0) == entry["occurrence"]:
                return [self._plan.array(key) for key in call.get(kind) or []]
        return []

    def _entry(
        self, forward: Forward, layer: str | None, function: str | None, scalars: dict[str, Any]
    ) -> dict[str, Any]:
        label = layer if layer is not None else f"function {function}"
        occurrence = forward.occurrences.get(label, 0)
        forward.occurrences[label] = occurrence + 1
        frame = self._frame()
        place = None if frame is None or frame is forward.frame else self._session.places.here(frame)
        parent = next((opened.name for opened in reversed(self._open[: -1 if layer is not None else None])), None)
        entry: dict[str, Any] = {
            "layer": layer, "function": function, "occurrence": occurrence,
            "forward": len(self.forwards if self.evaluation is None else self.evaluation) - 1,
            "inputs": [], "outputs": [], "from": [], "kwargs": scalars, "preactivation": None, "place": place,
            "parent": parent, "number": self._number,
        }  # fmt: skip
        self._number += 1
        if self.recording:
            forward.calls.append(entry)
        return entry

    def _keep(self, entry: dict[str, Any], name: str, tensor: Any) -> str | None:
        if not self.recording:
            return None
        values = self._backend.values(tensor)
        part = self.part if self.evaluation is not None else f"step{self._session.step}"
        return (
            None if values is None else self._session.observation.keep(f"{part}/call{entry['number']}/{name}", values)
        )

    def _keep_inputs(self, entry: dict[str, Any], forward: Forward, tensors: list[Any]) -> None:
        earlier = self.forwards if forward is self._after else [self.forward()]
        for index, tensor in enumerate(tensors):
            key, made_by = forward.keys.get(id(tensor), (None, None))
            if key is None:
                key = next((held.keys[id(tensor)][0] for held in earlier if id(tensor) in held.keys), None)
            if key is None:
                key = self._keep(entry, f"in{index}", tensor)
                forward.keys[id(tensor)] = (key, made_by)
                forward.held.append(tensor)
            entry["inputs"].append(key)
            entry["from"].append(made_by)

    def _keep_outputs(self, entry: dict[str, Any], forward: Forward, tensors: list[Any]) -> None:
        if not self.recording:
            return
        index_of_call = next(i for i, call in enumerate(forward.calls) if call is entry)
        for index, tensor in enumerate(tensors):
            known = forward.keys.get(id(tensor), (None, None))[0]
            key = known or self._keep(entry, f"out{index}", tensor)
            entry["outputs"].append(key)
            forward.keys[id(tensor)] = (key, index_of_call)
            forward.held.append(tensor)

    def _keep_masks(self, entry: dict[str, Any], masks: dict[str, Any], tensors: list[Any]) -> None:
        from keras.src import backend

        implicit = [backend.get_keras_mask(tensor) for tensor in tensors]
        found = {**masks, **{f"mask{i}": mask for i, mask in enumerate(implicit) if mask is not None}}
        keys = {name: self._keep(entry, name, mask) for name, mask in found.items() if mask is not None}
        if keys:
            entry["masks"] = keys

    def _note_dropout(self, layer: Any, name: str, entry: dict[str, Any]) -> None:
        for function, rate in dropout_rates(layer).items():
            calls = self.forward().calls
            before = next((i for i in range(len(calls) - 1, -1, -1) if calls[i] is not entry), None)
            known = any(key[:2] == (name, function) for key in self.dropout)
            if known and (self._session.step or self.evaluation is not None):
                continue  # its places are those of the first step
            self.dropout.setdefault((name, function, before), {
                "layer": name, "function": function, "rate": rate, "after_call": before,
                "active": self._open[-1].training and self.evaluation is None, "place": entry["place"],
            })  # fmt: skip

    def _keep_preactivation(self, entry: dict[str, Any], value: Any) -> None:
        entry["preactivation"] = self._keep(entry, "preactivation", value)

    def _tensors(self, structure: Any) -> list[Any]:
        flat = self._keras.tree.flatten(structure)
        return [value for value in flat if value is not None and self._backend.is_tensor(value)]

    def _frame(self) -> FrameType | None:
        """The innermost frame of the user's own code."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
        while frame is not None and self._session.places.file(frame.f_code) is None:
            frame = frame.f_back
        return frame
