"""The training loop of a torch script: backward passes, gradients, optimizer steps, and what acts on them between."""

import math
import sys
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from watch.source.loops import Line, enclosing_loops, later_trainings, lines_of, names_average, sets_rate
from watch.source.modes import evaluated_and_left
from watch.source.stopping import restoring, stopping
from watch.torch.around import Around
from watch.torch.model.tensors import array, plain, scalars
from watch.torch.schedules import Schedules
from watch.torch.watch import Watch

_KERAS_EPSILON = (torch.optim.Adam, torch.optim.AdamW)
_MOVED = ("betas", "momentum", "weight_decay")
"""The settings, other than learning rates, that a schedule may move from step to step."""


class Loop:
    """Watches what a script's own loop does.

    Args:
        watch: What all watched functions share.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.session = watch.session
        self.places = watch.session.places
        self._around = Around(watch)
        self._schedules = Schedules(watch)
        self._places: dict[int, Any] = {}  # where each optimizer was made
        self._made_at: dict[int, list[Line]] = {}  # all lines that were under way
        self._stepped: dict[int, int] = {}  # steps of each optimizer
        self._own_gradients: dict[str, Tensor] = {}
        self._update: dict[str, Any] = {}
        self._epsilons: list[tuple[dict[str, Any], float]] = []
        self._zero_grads = 0
        self._stale: set[str] = set()
        self._set_to_none: bool | None = None
        self._rates: list[float] = []
        self._before_backward: dict[str, Tensor | None] = {}
        self.session.trainings.begun.append(self._begin)
        watch.document["loop"] |= {
            "zero_grad": [], "backward": [], "stale_gradients": [], "clip": [], "scheduler": [], "autocast": None,
            "grad_scaler": False, "compile": False, "training_flags": {}, "no_grad_forward": False, "ema": None,
            "set_to_none": None, "detached": [], "mode_places": {},
        }  # fmt: skip

    @property
    def loop(self) -> dict[str, Any]:
        """What is written down of the loop."""
        return self.watch.document["loop"]

    def _begin(self) -> None:
        """Forgets what a training did that passed before the one that is watched."""
        self._zero_grads = 0
        self.loop.update({"clip": [], "autocast": None, "ema": None, "grad_scaler": False})
        for loader in self.session.data["loaders"]:
            loader["iterations"].clear()

    def install(self) -> None:
        """Puts everything in its place."""
        self._watch_optimizers()
        self._watch_backward()
        self._around.install()
        self._schedules.install()

    # Optimizers

    def _watch_optimizers(self) -> None:
        loop, original = self, torch.optim.Optimizer.__init__

        def init(self: Any, params: Any, defaults: Any) -> None:
            original(self, params, defaults)
            loop._made(self, sys._getframe(1))  # noqa: SLF001

        torch.optim.Optimizer.__init__ = init  # type: ignore[method-assign]
        register_optimizer_step_pre_hook(self._before_step)
        register_optimizer_step_post_hook(self._after_step)
        for owner in (torch.optim.Optimizer, nn.Module):
            self._watch_zero_grad(owner)

    def _watch_zero_grad(self, owner: Any) -> None:
        loop, original = self, owner.zero_grad

        def zero_grad(self: Any, set_to_none: bool = True) -> None:
            loop._zero_grads += 1
            loop._set_to_none = set_to_none
            original(self, set_to_none)

        owner.zero_grad = zero_grad

    def _made(self, optimizer: Any, frame: Any) -> None:
        """An optimizer was made: its parameters tell the model, and the planned values are put into it."""
        watch = self.watch
        self.session.trainings.optimizer_made()
        if self.session.trainings.passing:
            return
        watch.optimizers.append(optimizer)
        place = self.places.here(frame)
        self._places[id(optimizer)] = place
        self._made_at[id(optimizer)] = lines_of(frame, self.places)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        watch.model.include(parameters)
        with watch.quietly():
            if watch.float64:
                watch.convert(parameters)
            watch.keep_initial()
            if watch.step == 0:
                watch.set_parameters()

    def _before_step(self, optimizer: Any, args: Any, options: Any) -> Any:
        """An optimizer's step begins; with a closure, the forward and backward pass are still to come."""
        if self.session.trainings.passing:
            return None
        closure = options.get("closure") or (args[1] if len(args) > 1 else None)
        if not callable(closure):
            self._ready(optimizer)
            return None

        def watched(*inner: Any, **inner_options: Any) -> Any:
            result = closure(*inner, **inner_options)
            self._ready(optimizer)
            return result

        if "closure" in options:
            return args, options | {"closure": watched}
        return (args[0], watched, *args[2:]), options

    def _ready(self, optimizer: Any) -> None:
        """All gradients are there: the optimizer's arithmetic is next."""
        watch = self.watch
        with watch.quietly():
            step = watch.step
            update = self._update
            update.setdefault("learning_rate", _number(optimizer.param_groups[0].get("lr")))
            update.setdefault("rates", [_number(group.get("lr")) for group in optimizer.param_groups])
            update.setdefault("settings", [_moved_settings(group) for group in optimizer.param_groups])
            before = watch.model.parameters() | watch.buffers_before
            if "parameters_before" in update:  # a closure that is called more than once
                self.session.warn("the optimizer takes several forward passes for one step: only the first is compared")
                return
            update["parameters_before"] = self._values("before", before, f"step{step - 1}/after" if step else "initial")
            update["raw_gradients"] = self._values("raw", self._own_gradients)
            gradients = {path: parameter.grad for path, parameter in watch.model.parameters().items()}
            update["gradients"] = self._values("gradient", gradients, f"step{step}/raw")
            self._set_epsilon(optimizer)

    def _values(self, name: str, tensors: dict[str, Any], same_as: str | None = None) -> dict[str, str | None]:
        """Keeps tensors; those that are kept already with the same values are not kept again."""
        result: dict[str, str | None] = {}
        observation = self.watch.observation
        for path, tensor in tensors.items():
            values = array(tensor) if isinstance(tensor, Tensor) else tensor
            other = f"{same_as}/{path}"
            if values is None:
                result[path] = None
            elif same_as and observation.same(other, values):
                result[path] = other
            else:
                result[path] = observation.keep(f"step{self.watch.step}/{name}/{path}", values)
        return result

    def _set_epsilon(self, optimizer: Any) -> None:
        """Sets Adam's epsilon to where Keras adds it, before the bias correction, if the plan says so."""
        plan = self.watch.plan
        if plan is None or not plan.document.get("adam_epsilon") or not isinstance(optimizer, _KERAS_EPSILON):
            return
        for group in optimizer.param_groups:
            first = next((p for p in group["params"] if p in optimizer.state), None)
            taken = 0 if first is None else int(optimizer.state[first].get("step", 0))
            self._epsilons.append((group, group["eps"]))
            group["eps"] = group["eps"] / math.sqrt(1 - float(group["betas"][1]) ** (taken + 1))

    def _after_step(self, optimizer: Any, args: Any, options: Any) -> None:
        """An optimizer's step is complete; with several of them, the step of all is when the first steps again."""
        del args, options
        watch = self.watch
        if not any(optimizer is made for made in watch.optimizers):
            self.session.trainings.optimizer_stepped([p for group in optimizer.param_groups for p in group["params"]])
            return
        for group, epsilon in self._epsilons:
            group["eps"] = epsilon
        self._epsilons.clear()
        self._stepped[id(optimizer)] = self._stepped.get(id(optimizer), 0) + 1
        with watch.quietly():
            self._describe(optimizer)
            if self._of_same_step():
                after = self._values("after_all", watch.tensors())
                watch.document["updates"][-1]["parameters_after"] = after
                for name in ("rates", "settings"):
                    watch.document["updates"][-1][name] += self._update.get(name) or []
                self._update = {}
                return
            self._update["parameters_after"] = self._values("after", watch.tensors())
            self._complete(optimizer)
            if len(watch.optimizers) == 1:
                watch.set_parameters()
        if watch.step >= watch.request.steps:
            if len(watch.optimizers) == 1:
                self.session.end()
            watch.full = True  # the other optimizers' steps are still to come

    def _of_same_step(self) -> bool:
        """Whether another optimizer has stepped after the same backward pass before."""
        return bool(self.watch.document["updates"]) and not self.watch.step_losses and len(self._stepped) > 1

    def _left_in_evaluation(self, frame: FrameType) -> dict[str, Any] | None:
        """Where the loop over epochs puts what is trained into evaluation mode for good."""
        left = evaluated_and_left(frame, self.places)
        return next((place for model, place in left if self.watch.trained(model)), None)

    def _complete(self, optimizer: Any) -> None:
        watch = self.watch
        if not watch.step:
            frame = sys._getframe(1)  # noqa: SLF001
            told = self.session.told
            made = self._made_at.get(id(optimizer), ())
            self.session.data |= {
                "epochs": enclosing_loops(frame, self.places, made),
                "later": told(later_trainings, frame, self.places) or [],
            }
            told(self._schedules.look, frame)
            told(self._around.look, frame)
            watch.document["loop"] |= {
                "sets_rate": told(sets_rate, self.places), "stopping": told(stopping, frame, self.places),
                "restoring": told(restoring, self.places), "names_average": told(names_average, self.places),
                "left_in_evaluation": told(self._left_in_evaluation, frame),
            }  # fmt: skip
        self._update["optimizer"] = next(i for i, made in enumerate(watch.optimizers) if made is optimizer)
        watch.document["updates"].append(self._update)
        self.loop["zero_grad"].append(self._zero_grads)
        self.loop["backward"].append(len(watch.step_losses))
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        paths = {path for path, parameter in watch.model.parameters().items() if id(parameter) in own}
        self.loop["stale_gradients"].append(bool(self._stale & paths))
        self.loop["set_to_none"] = self._set_to_none
        self._update, self._own_gradients = {}, {}
        self._zero_grads, self._stale = 0, set()
        watch.end_step()

    def _describe(self, optimizer: Any) -> None:
        """The optimizer's class, settings and parameters, as they are at its first step."""
        watch = self.watch
        known = watch.document["optimizer"]
        count = len({id(made) for made in watch.optimizers if id(made) in self._stepped})
        paths = {id(parameter): path for path, parameter in watch.model.parameters().items()}
        groups = [
            {
                "class": type(optimizer).__name__, "optimizer": count - 1, "settings": _group_settings(group),
                "parameters": [paths.get(id(parameter), "?") for parameter in group["params"]],
            }
            for group in optimizer.param_groups
        ]  # fmt: skip
        for number, group in enumerate(groups, len(known["groups"]) if known is not None else 0):
            group["rate"] = number
        if known is not None:
            if count > known["count"]:
                known["groups"] += groups
            known["count"] = count
            return
        grouped = {id(p) for made in watch.optimizers for group in made.param_groups for p in group["params"]}
        watch.document["optimizer"] = {
            "class": type(optimizer).__name__, "module": type(optimizer).__module__,
            "settings": groups[0]["settings"], "groups": groups,
            "unknown_parameters": [
                path for path, parameter in watch.model.parameters().items()
                if parameter.requires_grad and id(parameter) not in grouped
            ],
            "unregistered": watch.model.unregistered(),
            "place": self._places.get(id(optimizer)), "count": 1,
        }  # fmt: skip

    # Backward passes

    def _watch_backward(self) -> None:
        loop, backward, grad, inside = self, torch.autograd.backward, torch.autograd.grad, False

        def watched(tensors: Any, *args: Any, **options: Any) -> None:
            if loop.watch.internal or not loop.watch.optimizers:
                backward(tensors, *args, **options)
                return
            losses = [tensors] if isinstance(tensors, Tensor) else list(tensors)
            loop._before(losses, sys._getframe(1))  # noqa: SLF001
            backward(tensors, *args, **options)
            loop._after()

        def watched_grad(outputs: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            nonlocal inside
            if inside:  # under a mode for functions torch.autograd.grad calls itself once more
                return grad(outputs, inputs, *args, **options)
            inside = True
            try:
                result = grad(outputs, inputs, *args, **options)
            finally:
                inside = False
            if not loop.watch.internal and loop.watch.optimizers and not options.get("create_graph"):
                result = loop._grad(outputs, inputs, result, sys._getframe(1))  # noqa: SLF001
            return result

        torch.autograd.backward = watched
        torch.autograd.grad = watched_grad

    def _note_loss(self, losses: list[Tensor], frame: Any) -> None:
        watch = self.watch
        with watch.quietly():
            for loss in losses:
                value = float(loss) if loss.numel() == 1 else None
                watch.step_losses.append({"value": value, "place": self._place_of_loss(frame)})
            kept = watch.calls.commit(losses)
            if watch.step == 0:
                watch.finish_evaluation(kept)
                if any(not group.grad for group in kept):
                    self.loop["no_grad_forward"] = True

    def _place_of_loss(self, frame: Any) -> Any:
        """The line of the backward pass; where a trainer has it, the line on which the loss was computed."""
        caller = frame
        while caller is not None and caller.f_globals.get("__name__", "").split(".")[0] == "torch":
            caller = caller.f_back
        if caller is not None and self.places.file(caller.f_code) is None:
            made = self.watch.step_terms or [call for call in self.watch.calls.pending if call["layer"] is None]
            if made and made[-1]["place"]:
                return made[-1]["place"]
        return self.places.here(frame)

    def _before(self, losses: list[Tensor], frame: Any) -> None:
        """A backward pass begins: gradients that are there are put aside, so that its own can be told."""
        watch = self.watch
        watch.begin_step()
        self._note_loss(losses, frame)
        with watch.quietly():
            self._before_backward = {path: p.grad for path, p in watch.model.parameters().items()}
            first = len(watch.step_losses) == 1
            if first:
                old = [(path, grad) for path, grad in self._before_backward.items() if grad is not None]
                self._stale = {path for path, grad in old if bool(grad.any())}
            for parameter in watch.model.parameters().values():
                parameter.grad = None

    def _after(self) -> None:
        """A backward pass is complete: its gradients are kept, replaced by the planned ones, and added up."""
        watch = self.watch
        with watch.quietly():
            planned = (watch.plan.step(watch.step).get("gradients") or {}) if watch.plan else {}
            first = len(watch.step_losses) == 1
            for path, parameter in watch.model.parameters().items():
                before, own = self._before_backward.get(path), parameter.grad
                if own is not None:
                    seen = self._own_gradients.get(path)
                    self._own_gradients[path] = own.clone() if seen is None else seen + own
                values = watch.plan.array(planned.get(path)) if watch.plan else None
                if values is not None and values.size == parameter.numel():
                    replaced = torch.from_numpy(values.copy()).to(parameter.dtype).reshape(parameter.shape)
                    own = replaced if first or before is None else None
                parameter.grad = own if before is None else before if own is None else before.add_(own)
            self._before_backward = {}

    def _grad(self, outputs: Any, inputs: Any, result: Any, frame: Any) -> Any:
        """Gradients that are returned instead of put into the parameters."""
        watch = self.watch
        paths = {id(parameter): path for path, parameter in watch.model.parameters().items()}
        asked = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not all(id(tensor) in paths for tensor in asked):
            return result
        self._note_loss([outputs] if isinstance(outputs, Tensor) else list(outputs), frame)
        planned = (watch.plan.step(watch.step).get("gradients") or {}) if watch.plan else {}
        replaced = []
        with watch.quietly():
            for tensor, gradient in zip(asked, result, strict=True):
                path = paths[id(tensor)]
                if gradient is not None:
                    self._own_gradients[path] = gradient.clone()
                values = watch.plan.array(planned.get(path)) if watch.plan else None
                replaced.append(gradient if values is None else torch.from_numpy(values.copy()).to(tensor.dtype))
        return tuple(replaced)

    def finish(self) -> None:
        """Writes down what is known at the end only."""
        trained = {id(parameter) for parameter in self.session.trainings.trained}
        parameters = self.watch.model.parameters().items()
        self.watch.document["trained_before"] = [path for path, known in parameters if id(known) in trained]
        self._schedules.finish()
        if self.watch.step and self._own_gradients and "gradients" not in self._update:
            self.session.warn("the script ended between a backward pass and its optimizer step")


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _moved_settings(group: dict[str, Any]) -> dict[str, Any]:
    return _group_settings({name: value for name, value in group.items() if name in _MOVED})


def _group_settings(group: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in group.items():
        if name != "params":
            try:
                found[name] = scalars(plain(value))
            except TypeError:
                found[name] = str(value)
    return found
