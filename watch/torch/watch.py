"""What is seen of a torch script: calls of modules by step, batches as fed, parameters before and after each step."""

import contextlib
import random
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from watch.program.request import Plan
from watch.program.script import Session
from watch.torch.model.calls import Calls, Group
from watch.torch.model.derived import Derived
from watch.torch.model.modules import Model, is_layer, is_loss
from watch.torch.model.tensors import LOW, array, leaves, load_values, mapped, set_values, tensor_of


class Watch:
    """The state that all watched functions share.

    Args:
        session: The run of the script.
        plan: The judge's values, if the script is steered.
    """

    def __init__(self, session: Session, plan: Plan | None) -> None:
        self.session = session
        self.plan = plan
        self.request = session.request
        self.observation = session.observation
        self.document = session.document
        self.model = Model(session.places)
        self.float64 = session.request.float64
        self.zero_dropout = self.float64 or bool(plan and plan.document.get("zero_dropout"))
        self.optimizers: list[torch.optim.Optimizer] = []
        self.depth = 0  # of calls of the model
        self.internal = False  # this process's own work on the script's tensors
        self.evaluating = False
        self.dropout_wanted = False  # in spite of that: the forward pass in training mode of a model that is only used
        self.begun = False  # the forward pass of this step
        self.full = False  # all steps have been seen
        self.calls = self._new_calls()
        planned = ((plan.document.get("evaluation") or {}).get("calls") or []) if plan else []
        self.evaluation = Calls(self.observation, "eval", True, plan, planned)
        self._evaluated: dict[int, tuple[Tensor, Any]] = {}
        self.original_call: Any = nn.Module.__call__
        self.step_losses: list[dict[str, Any]] = []
        self.step_terms: list[dict[str, Any]] = []
        self.fed_inputs: list[str | None] = []
        self.fed_places: list[Any] = []
        self.fed_targets: list[str | None] = []
        self.sample_weights: str | None = None
        self.batch_sizes: set[int] = set()
        self._own_sizes: set[int] = set()  # of the script's own batches, before the plan's took their place
        self.made: deque[tuple[Any, Any]] = deque(maxlen=64)  # before the first step, and where
        self.derived = Derived()  # of this step's batch
        self._targets: dict[int, Tensor] = {}
        self._fed: dict[int, Tensor] = {}
        self._replaced: set[int] = set()
        self.dropout: list[dict[str, Any]] = []
        self.dropout_in_evaluation: set[tuple[str | None, str, str]] = set()
        self.buffers_before: dict[str, Any] = {}

    @property
    def step(self) -> int:
        """How many optimizer steps are complete."""
        return self.session.step

    @property
    def recording(self) -> bool:
        """Whether the values of layers are kept now."""
        return self.calls.keep

    def _new_calls(self) -> Calls:
        step = self.session.step
        planned = (self.plan.step(step).get("calls") or []) if self.plan else []
        keep = step in self.request.recorded_steps
        return Calls(self.observation, f"step{step}", keep, self.plan, planned, of_step=True)

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """Within this, tensors are this process's own business: nothing is recorded or changed."""
        before, self.internal = self.internal, True
        try:
            with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
                yield
        finally:
            self.internal = before

    # Modules

    def called(self, module: nn.Module, original: Any, args: Any, options: Any) -> Any:
        """A module is called."""
        if self.internal or not self._watched(module, args, options):
            return original(module, *args, **options)
        if self.depth == 0 and not torch.is_grad_enabled() and self._is_copy(module):
            return self._unseen(module, original, args, options)
        if self.depth == 0:
            return self._called_from_outside(module, original, args, options)
        return self._called_inside(module, original, args, options)

    def _unseen(self, module: nn.Module, original: Any, args: Any, options: Any) -> Any:
        """A call that is no part of the training."""
        before, self.internal = self.internal, True
        try:
            return original(module, *args, **options)
        finally:
            self.internal = before

    def _watched(self, module: nn.Module, args: Any, options: Any) -> bool:
        if is_loss(module) or not (self.optimizers or self.evaluating or self.request.attribute):
            return False
        if self.depth:
            return True
        if self.request.attribute and not self.evaluating:
            return False
        if self.model.contains(module) or any(True for _ in module.parameters()):
            return True
        # A layer without parameters that is in no model: one of it if its input is the model's
        return any(self.calls.produced(leaf) for leaf in leaves((args, options)))

    def _called_from_outside(self, module: nn.Module, original: Any, args: Any, options: Any) -> Any:
        # Frozen layers are often called without gradients, but so is the model in an evaluation
        grad = torch.is_grad_enabled() or (not self.evaluating and not self.trained(module))
        if any(True for _ in module.parameters()):
            self.model.include_module(module)
        if not self.evaluating:
            if grad:
                self.begin_step()
            group = self.calls.open_group(grad)
            self._feed(group, module, args, options, grad)
            if self.step == 0 and grad and not self.step_losses:
                self._evaluate(group, module, args, options)
        else:
            group = self.calls.open_group(grad)
            self._feed(group, module, args, options, False)
        group.inputs = leaves((args, options))
        self.calls.untouched |= {tensor.untyped_storage().data_ptr() for tensor in self.tensors().values()}
        start = len(self.calls.pending)
        self.session.draws.forward_begins()
        output = self._called_inside(module, original, args, options)
        group.calls = self.calls.pending[start:]
        group.outputs = leaves(output)
        if len(group.evaluated) == len(group.outputs):
            for leaf, evaluated in zip(group.outputs, group.evaluated, strict=True):
                self._evaluated[id(tensor_of(leaf))] = tensor_of(leaf), evaluated
        return output

    def _called_inside(self, module: nn.Module, original: Any, args: Any, options: Any) -> Any:
        name = self.model.layer_name(module)
        layer = is_layer(module)
        if layer:
            args, options, call = self.calls.enter(name, args, options)
            call["place"] = self.session.places.here(sys._getframe(2))  # noqa: SLF001
            self._note_dropout(module, name)
        self.calls.parents.append(name)
        self.depth += 1
        try:
            with self._no_dropout(module):
                output = original(module, *args, **options)
        finally:
            self.depth -= 1
            self.calls.parents.pop()
        return self.calls.leave(call, output) if layer else output

    # Batches

    def trained(self, module: nn.Module) -> bool:
        """Whether an optimizer has one of a module's parameters."""
        known = {id(p) for made in self.optimizers for group in made.param_groups for p in group["params"]}
        return any(id(parameter) in known for parameter in module.parameters())

    def _is_copy(self, module: nn.Module) -> bool:
        """Whether a module has the parameters of a trained one: an averaged copy of it, that is evaluated."""
        if self.trained(module):  # it is inside another one, such as a LightningModule
            return False
        shapes = [parameter.shape for parameter in module.parameters()]
        return any(self.trained(root) and [p.shape for p in root.parameters()] == shapes for root in self.model.roots)

    def meets_loose(self, value: Any) -> bool:
        """Whether a parameter of no module is in a value."""
        return any(leaf is known for leaf in leaves(value) for known in self.model.loose.values())

    def feed_loose(self, tensors: list[Tensor]) -> None:
        """Takes what is fed to a model without modules."""
        self._feed(Group(grad=True), None, tensors, {}, replace=True)

    def _feed(self, group: Group, module: nn.Module | None, args: Any, options: Any, replace: bool) -> None:
        """Keeps what the script itself feeds to the model, then puts the planned values in its place."""
        loss = module is not None and not self.model.contains(module)  # a loss of the user's own: fed with targets
        planned = (self.plan.step(self.step).get("inputs") or []) if self.plan and replace else []
        for leaf in leaves((args, options)):
            tensor = tensor_of(leaf)
            if self.calls.produced(leaf) or isinstance(tensor, nn.Parameter) or tensor.ndim == 0:
                continue
            if loss and replace:
                self.target(tensor)
                continue
            if id(tensor) in self._fed or not replace:
                self.calls.feed(leaf)
                continue
            self._fed[id(tensor)] = tensor
            number = len(self.fed_inputs)
            group.fed.append(self._keep(f"step{self.step}/fed/in{number}", leaf))
            self.fed_inputs.append(group.fed[-1])
            self.fed_places.append(next((where for made, where in self.made if made is tensor), None))
            values = self.plan.array(planned[number]) if self.plan and number < len(planned) else None
            self._own_sizes.add(tensor.shape[0])
            if values is not None:
                set_values(tensor, values)
                self._replaced.add(id(tensor))
            self.calls.feed(leaf)
            self.batch_sizes.add(tensor.shape[0])

    def target(self, tensor: Tensor) -> None:
        """A target reaches the loss: it is kept, then the planned values take its place."""
        if id(tensor) in self._targets or id(self.derived.root(tensor)) in self._targets or self.evaluating:
            return
        self._targets[id(tensor)] = tensor
        number = len(self.fed_targets)
        self.fed_targets.append(self._keep(f"step{self.step}/fed/target{number}", tensor))
        planned = (self.plan.step(self.step).get("targets") or []) if self.plan else []
        values = self.plan.array(planned[number]) if self.plan and number < len(planned) else None
        if values is not None and id(tensor) not in self._replaced and not self._is_selected(tensor, values):
            set_values(tensor, values)
            with self.quietly():
                self.derived.make_again(tensor)

    def _is_selected(self, target: Tensor, values: Any) -> bool:
        """Whether a target is of some of a batch's samples only: those with a label, for one."""
        other = target.ndim > 0 and np.shape(values)[:1] != target.shape[:1]
        return other and not any(size and target.shape[0] % size == 0 for size in self._own_sizes)

    def _keep(self, key: str, leaf: Any) -> str | None:
        values = array(leaf)
        return None if values is None else self.observation.keep(key, values)

    # Steps

    def begin_step(self) -> None:
        """The model is called for the first time in a step."""
        if self.begun:
            return
        if self.full:
            self.session.end()
        self.begun = True
        self.model.forget()
        with self.quietly():
            if self.float64:
                self.convert([*self.model.parameters().values(), *self.model.buffers().values()])
            if self.step == 0:
                self.keep_initial(again=self.plan is None)
                loop = self.document["loop"]
                loop["training_flags"] = {path: module.training for path, module in self.model.modules()}
                loop["mode_places"] = self.model.mode_places()
                kinds = [str(p.dtype) for p in self.model.parameters().values() if p.dtype.is_floating_point]
                loop["weights_dtype"] = next(iter(kinds), "").removeprefix("torch.") or None
            modes = self.document["loop"].setdefault("training_by_step", [])
            modes.append(next((bool(root.training) for root in self.model.roots), None))
            self.set_parameters()
            for path, tensor in self.model.buffers().items():  # a forward pass changes them
                self.buffers_before[path] = tensor.clone()

    def keep_initial(self, again: bool = False) -> None:
        """Keeps the parameters and buffers as the script made them; `again` where it has changed them since."""
        kept = self.document["initial"]["parameters"]
        for path, tensor in self.tensors().items():
            if again or path not in kept:
                kept[path] = self._keep(f"initial/{path}", tensor)

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers of the model by path."""
        return self.model.parameters() | self.model.buffers()

    def set_parameters(self) -> None:
        """Puts the planned values into parameters and buffers, for the step that comes."""
        if self.plan is None:
            return
        planned = self.plan.step(self.step).get("parameters") or (self.plan.parameters if self.step == 0 else {})
        for path, tensor in self.tensors().items():
            values = self.plan.array(planned.get(path))
            if values is not None and not load_values(tensor, values):
                self.session.warn(f"{path} has the shape {tuple(tensor.shape)}; planned was {values.shape}")

    def convert(self, tensors: list[Tensor]) -> None:
        """Makes parameters and buffers double in place, where the script made them otherwise."""
        for tensor in tensors:
            if tensor.dtype in LOW:
                tensor.data = tensor.data.double()
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.double()

    def end_step(self) -> None:
        """An optimizer step is complete: what was seen of it is written down, and the next one begins."""
        step = self.step
        if step == 0:
            self.write_dropout(self.calls.committed)
        if self.calls.keep:
            self.document["calls"].append(self.calls.finished())
        self.document["losses"].append(self._losses())
        self.document["fed"].append({
            "inputs": self.fed_inputs, "targets": self.fed_targets, "sample_weights": self.sample_weights,
            "places": self.fed_places,
        })  # fmt: skip
        self.calls.release()
        self.session.step = step + 1
        self.begun = False
        self.step_losses, self.step_terms = [], []
        self.fed_inputs, self.fed_targets, self.sample_weights, self.fed_places = [], [], None, []
        self.made.clear()
        self.batch_sizes, self._own_sizes = set(), set()
        self._targets, self._fed, self._replaced, self.derived = {}, {}, set(), Derived()
        self.calls = self._new_calls()

    def write_dropout(self, committed: list[dict[str, Any]]) -> None:
        """Writes down the dropouts in the calls of a forward pass."""
        index = {id(call): number for number, call in enumerate(committed)}
        for entry in self.dropout:
            after, group = entry.pop("_after"), entry.pop("_group")
            if group is None or group.kept:
                known = (entry["layer"], entry["function"], str(entry["place"]))
                self.document["dropout"].append(entry | {
                    "after_call": index.get(id(after), -1), "active_in_evaluation": known in self.dropout_in_evaluation,
                })  # fmt: skip

    def _losses(self) -> dict[str, Any]:
        values = [loss["value"] for loss in self.step_losses]
        return {
            "value": values[0] if len(values) == 1 else sum(values) if values else None, "backward_values": values,
            "terms": [{k: v for k, v in term.items() if k[0] != "_"} for term in self.step_terms],
            "place": self.step_losses[0]["place"] if self.step_losses else None,
        }  # fmt: skip

    # Evaluation

    def _evaluate(self, group: Group, module: nn.Module, args: Any, options: Any) -> None:
        """Calls the model in evaluation mode on the same batch, and puts back whatever that changes."""
        args, options = mapped((args, options), lambda leaf: self._evaluated.get(id(tensor_of(leaf)), (None, leaf))[1])
        before, self.calls, self.evaluating = self.calls, self.evaluation, True
        start = len(self.calls.pending)
        try:
            with self.unchanged(module), torch.no_grad():
                module.eval()
                self._as_the_step_began(module)
                group.evaluated = leaves(self.called(module, self.original_call, args, options))
            group.evaluation = self.calls.pending[start:]
        except Exception as error:  # noqa: BLE001 a model may be unable to run twice, or in this mode
            self.session.warn(f"the model could not be called in evaluation mode: {type(error).__name__}: {error}")
        finally:
            self.calls, self.evaluating, self.depth = before, False, 0

    def _as_the_step_began(self, module: nn.Module) -> None:
        """Undoes what the calls of this step have made of a model's buffers, such as running statistics."""
        own = {id(buffer) for buffer in module.buffers()}
        with self.quietly():
            for path, buffer in self.model.buffers().items():
                before = self.buffers_before.get(path)
                if id(buffer) in own and before is not None and before.shape == buffer.shape:
                    buffer.data.copy_(before)

    def finish_evaluation(self, groups: list[Group]) -> None:
        """Writes down the evaluation of the calls of the model that the first loss depends on."""
        for group in groups:
            self.evaluation.committed += group.evaluation
        self.document["evaluation_calls"] = self.evaluation.finished() or None

    @contextlib.contextmanager
    def unchanged(self, module: nn.Module) -> Iterator[None]:
        """Puts modules' attributes, buffers and modes and the states of the random generators back afterwards."""
        states = [(part, dict(part.__dict__), dict(part._buffers), dict(part._parameters)) for part in module.modules()]  # noqa: SLF001
        values = [(buffer, buffer.clone()) for buffer in module.buffers()]
        generators = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        try:
            yield
        finally:
            for part, attributes, buffers, parameters in states:
                part.__dict__.clear()
                part.__dict__.update(attributes)
                part._buffers.clear()  # noqa: SLF001
                part._buffers.update(buffers)  # noqa: SLF001
                part._parameters.clear()  # noqa: SLF001
                part._parameters.update(parameters)  # noqa: SLF001
            with self.quietly():
                for buffer, value in values:  # through `data`: a call before may have kept the buffer for its gradient
                    buffer.data.copy_(value)
            random.setstate(generators[0])
            np.random.set_state(generators[1])  # noqa: NPY002
            torch.set_rng_state(generators[2])

    # Dropout

    def _note_dropout(self, module: nn.Module, name: str) -> None:
        rate = getattr(module, "p", None) if isinstance(module, nn.modules.dropout._DropoutNd) else None  # noqa: SLF001
        if rate is None and isinstance(module, nn.RNNBase | nn.MultiheadAttention):
            rate = module.dropout
        if rate is not None and (rate or isinstance(module, nn.modules.dropout._DropoutNd)):  # noqa: SLF001
            self.note_dropout(name, type(module).__name__, rate, module.training)

    def note_dropout(self, layer: str | None, function: str, rate: float, active: bool) -> None:
        """Notes a dropout in the first step's forward pass."""
        place = self.session.places.here(sys._getframe(1))  # noqa: SLF001
        if self.evaluating and not self.dropout_wanted and active:
            self.dropout_in_evaluation.add((layer, function, str(place)))
        if (self.evaluating and not self.dropout_wanted) or self.step:
            return
        self.dropout.append({
            "layer": layer, "function": function, "rate": rate, "active": active, "place": place,
            "_after": self.calls.pending[-1] if self.calls.pending else None,
            "_group": self.calls.groups[-1] if self.calls.groups else None,
        })  # fmt: skip

    @contextlib.contextmanager
    def _no_dropout(self, module: Any) -> Iterator[None]:
        """Within this a recurrent layer drops nothing; other dropouts are functions by themselves."""
        rate: Any = module.dropout if self.zero_dropout and isinstance(module, nn.RNNBase) else 0
        if rate:
            module.dropout = 0.0
        try:
            yield
        finally:
            if rate:
                module.dropout = rate
