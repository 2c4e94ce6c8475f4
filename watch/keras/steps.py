"""The optimizer's steps: loss, gradients, parameters before and after; and the pass in evaluation mode."""

import sys
from typing import Any

import numpy as np

from watch.keras.model.backends import Array, Backend
from watch.keras.model.calls import Calls, Forward
from watch.keras.model.layers import LayerTree
from watch.keras.model.losses import Losses
from watch.keras.model.parameters import Parameters
from watch.program.request import Plan
from watch.program.script import Session
from watch.source.loops import Line, enclosing_loops, later_trainings
from watch.source.stopping import stopping


class Steps:
    """Counts steps and writes down what each of them did.

    Args:
        session: The run.
        backend: The backend.
        tree: The layers and parameters.
        calls: The calls of layers.
        losses: The loss functions called.
        plan: The parameters and gradients to set.
    """

    def __init__(
        self, session: Session, backend: Backend, tree: LayerTree, calls: Calls, losses: Losses, plan: Plan | None
    ) -> None:
        self._session, self._backend, self.tree, self.calls = session, backend, tree, calls
        self.losses, self.plan = losses, plan
        self.parameters = Parameters(session, backend, tree, calls, plan)
        self.optimizers: list[Any] = []
        self.optimizer_places: dict[int, Any] = {}
        self.made_at: dict[int, list[Line]] = {}  # the lines that were under way when an optimizer was made
        self.trainer: Any = None  # the model whose `fit` is at work
        self.fed: dict[str, Any] | None = None
        self.flags: dict[str, bool] = {}
        self.scale = 1.0
        self.scaler: str | None = None  # the class that took the scale out of the gradients before the optimizer
        self.backward_counts: list[int] = []
        self.stopping: dict[str, Any] | None = None  # what may end a loop of the script's own
        self._backward: list[dict[str, Any]] = []
        self._clipped: dict[str, Array | None] = {}
        self._applying = False
        self._full = False  # all steps have been seen
        self._micro_steps = 0
        self._in_training = False
        session.trainings.begun.append(self._begin)
        calls.begins = self.forward_begins
        calls.built = self.parameters.see

    def _begin(self) -> None:
        """Forgets what a training did that passed before the one that is watched."""
        self.scale, self.scaler, self.fed, self._backward = 1.0, None, None, []
        self.losses.take()

    # The forward pass

    def forward_begins(self, root: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Before an outermost call that may be trained: parameters are as the script left them."""
        if self._full:
            self._session.end()
        self.tree.add_root(root)
        self.parameters.see()
        if not self.calls.forwards:
            self.parameters.forward_begins()
        if self.plan is not None and (self.trainer is None or self.makes_inputs):
            forwards = self.calls.forwards
            if not forwards or forwards[0].root is root:
                args = self.planned_inputs(args, len(self._inputs_of(forwards)))
        return args

    @property
    def accumulating(self) -> bool:
        """Whether a loss has been differentiated since the last step."""
        return bool(self._backward)

    @property
    def makes_inputs(self) -> bool:
        """Whether the plan's inputs are those of the model, not of `train_step`."""
        return self.plan is not None and bool(self.plan.document.get("made_in_step"))

    def planned_inputs(self, args: Any, after: int = 0) -> Any:
        """The arguments with the plan's inputs in their place, but for those that calls before have taken."""
        keys = self.plan.step(self._session.step).get("inputs") if self.plan else None
        return self._replaced(args, keys[after:] if keys else keys)

    def planned_targets(self, targets: Any) -> Any:
        """The targets with the plan's in their place."""
        return self._replaced(targets, self.plan.step(self._session.step).get("targets") if self.plan else None)

    def _replaced(self, structure: Any, keys: list[str | None] | None) -> Any:
        if not keys or self.plan is None:
            return structure
        import keras

        flat = keras.tree.flatten(structure)
        arrays = [self.plan.array(key) for key in keys]
        tensors = [index for index, value in enumerate(flat) if self._backend.is_tensor(value)]
        for index, array in zip(tensors, arrays, strict=False):
            if array is not None:
                old = flat[index]
                shape = tuple(old.shape) if np.prod(old.shape) == array.size else array.shape
                flat[index] = self._backend.tensor(array.reshape(shape), old)
        return keras.tree.pack_sequence_as(structure, flat)

    # The backward pass

    def differentiated(self, target: Any, variables: Any, gradients: list[Any]) -> list[Any] | None:
        """After a differentiation; the gradients to go on with where they are planned."""
        if self._applying or self.calls.evaluation is not None or not self.tree.roots:
            return None
        if self._session.trainings.passing:
            return None
        value = self._backend.values(target)
        variables, found = self._matched(variables, gradients)
        paths = [self.tree.path(variable) for variable in variables]
        if value is None or not any(paths):
            return None
        raw = {
            path: None if gradient is None else self._unscaled(gradient)
            for path, gradient in zip(paths, found, strict=True) if path is not None
        }  # fmt: skip
        sparse = [p for p, g in zip(paths, found, strict=True) if p is not None and type(g).__name__ == "IndexedSlices"]
        self._backward.append({
            "value": float(np.sum(value)) / self.scale, "shape": list(value.shape), "raw": raw, "sparse": sparse,
            "place": self._session.places.here(sys._getframe(1)), "terms": self.losses.take(),  # noqa: SLF001
        })  # fmt: skip
        return self._planned_gradients(paths, variables, gradients)

    def _matched(self, variables: Any, gradients: list[Any]) -> tuple[list[Any], list[Any]]:
        """The variables of gradients that came without them: torch keeps them, JAX gives them in the model's order."""
        if variables is not None:
            return list(variables), gradients
        trainable = [variable for root in self.tree.roots for variable in root.trainable_variables]
        if self._backend.name == "torch":
            return trainable, [variable.value.grad for variable in trainable]
        if [tuple(v.shape) for v in trainable] != [tuple(g.shape) for g in gradients]:
            return [], []
        return trainable, gradients

    def _planned_gradients(self, paths: list[str | None], variables: list[Any], given: list[Any]) -> list[Any] | None:
        keys = self.plan.step(self._session.step).get("gradients") or {} if self.plan is not None else {}
        if not keys or len(self._backward) > 1 or self.plan is None:
            return None
        for index, (path, variable) in enumerate(zip(paths, variables, strict=True)):
            array = self.plan.array(keys.get(path or ""))
            if array is None:
                continue
            array = array.reshape(tuple(variable.shape)) * self.scale
            if self._backend.name == "torch":
                variable.value.grad = self._backend.tensor(array, variable.value)
            else:
                given[index] = self._backend.tensor(array, variable)
        return given or None

    def _unscaled(self, gradient: Any) -> Array | None:
        values = self._backend.values(gradient)
        return values if values is None or self.scale == 1.0 else values / self.scale

    # The optimizer

    def apply(self, original: Any, optimizer: Any, grads: Any, variables: Any) -> Any:
        """One call of `Optimizer.apply`: a step, unless it only accumulates."""
        grads = list(grads)
        if self._session.trainings.passing:
            result = original(optimizer, grads, variables)
            self._session.trainings.optimizer_stepped(list(getattr(optimizer, "_trainable_variables", ())))
            return result
        if self._applying or not grads or self._hidden(grads):
            return original(optimizer, grads, variables)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if variables is not None:
            variables = list(variables)
        held = list(variables if variables is not None else optimizer._trainable_variables)  # noqa: SLF001
        begun = self.step_begins(optimizer, held, grads, self._rate(inner))
        accumulate = inner.gradient_accumulation_steps
        self._applying, self._clipped = True, {}
        try:
            result = original(optimizer, grads, variables)
        finally:
            self._applying = False
        self._micro_steps += 1
        if not accumulate or self._micro_steps % accumulate == 0:
            self.step_ends(begun)
        return result

    def step_begins(self, optimizer: Any, variables: list[Any], grads: list[Any], rate: float | None) -> dict[str, Any]:
        """Before an optimizer of Keras or torch changes the variables by these gradients."""
        if not any(optimizer is known for known in self.optimizers):
            self.optimizers.append(optimizer)
        joins = self._joins(optimizer, variables)
        if not joins:
            self.parameters.see()
        pairs = [(self.tree.path(v), g) for v, g in zip(variables, grads, strict=False) if g is not None]
        return {
            "optimizer": optimizer, "joins": joins, "before": self.parameters.before(), "rate": rate,
            "gradients": {
                path: self._backend.values(g) if self.scaler else self._unscaled(g)
                for path, g in pairs if path is not None
            },
            "sparse": [path for path, g in pairs if type(g).__name__ == "IndexedSlices"],
            "penalties": self.losses.penalties(self.tree),
        }  # fmt: skip

    def step_ends(self, begun: dict[str, Any]) -> None:
        """After the step that began so."""
        gradients = {path: self._clipped.get(path, values) for path, values in begun["gradients"].items()}
        self._clipped = {}
        if begun["joins"]:
            self._join(begun, gradients)
        else:
            self._commit(begun, gradients)

    def clipped(self, gradients: list[Any], variables: list[Any]) -> None:
        """What an optimizer's own clipping made of the gradients, or the mean that it accumulated."""
        for gradient, variable in zip(gradients, variables, strict=False):
            path = self.tree.path(variable)
            values = self._backend.values(gradient) if gradient is not None else None
            if path is not None and values is not None:
                self._clipped[path] = values

    def _hidden(self, grads: list[Any]) -> bool:
        """Whether the gradients have no values: inside of a function that is traced."""
        some = next((gradient for gradient in grads if gradient is not None), None)
        return some is None or self._backend.values(some) is None

    def scaled(self, loss: Any, result: Any) -> Any:
        """Notes by what a loss was multiplied before it is differentiated."""
        before, after = self._backend.values(loss), self._backend.values(result)
        if before is not None and after is not None and before.size == 1 and float(before) and not self._applying:
            self.scale = float(after) / float(before)
        return result

    def _rate(self, optimizer: Any) -> float | None:
        values = self._backend.values(getattr(optimizer.learning_rate, "value", optimizer.learning_rate))
        try:
            return float(values if values is not None else optimizer.learning_rate)
        except (TypeError, ValueError):
            return None

    def _joins(self, optimizer: Any, variables: list[Any]) -> bool:
        """Whether an optimizer takes further variables of the step before, by the same differentiation as another."""
        updates = self._session.document["updates"]
        if not updates or self._backward or self.optimizers[updates[-1]["optimizer"]] is optimizer:
            return False
        return {self.tree.path(variable) for variable in variables} <= updates[-1]["raw_gradients"].keys()

    def _join(self, begun: dict[str, Any], gradients: dict[str, Any]) -> None:
        """Adds what a further optimizer did to the step before."""
        step, keep = self._session.step - 1, self._session.observation.keep
        update, after = self._session.document["updates"][-1], self.parameters.current()
        for path, values in gradients.items():
            key = keep(f"step{step}/after_all/{path}", after[path])
            update["parameters_after"][path] = key
            self.parameters.previous[path] = (key, after[path])
            if values is not None:
                update["gradients"][path] = keep(f"step{step}/gradient/{path}", values)
        update["sparse"] = sorted({*update["sparse"], *begun["sparse"]})
        update["rates"].append(begun["rate"])
        if self._session.step >= self._session.request.steps:
            self._session.end()

    def _commit(self, begun: dict[str, Any], gradients: dict[str, Any]) -> None:
        """Writes one step down."""
        session = self._session
        document, step, before = session.document, session.step, begun["before"]
        of_loss = self.calls.of_loss
        forwards = _of_training(self.calls.reset())
        # With several optimizers all losses may be differentiated before the first of them steps.
        own = {path for path in gradients if path is not None}
        backward = [entry for entry in self._backward if own & entry["raw"].keys()]
        several = len(self.optimizers) > 1 or any(not own & entry["raw"].keys() for entry in self._backward)
        self._backward = [entry for entry in self._backward if not own & entry["raw"].keys()] if several else []
        self.backward_counts.append(len(backward))
        if step in session.request.recorded_steps:
            while len(document["calls"]) <= session.request.recorded_steps.index(step):
                document["calls"].append([])
            document["calls"][-1] = [call for forward in forwards for call in forward.calls]
            document["loss_calls"].append(of_loss)
        if step == 0:
            for forward in forwards:
                self.flags |= forward.flags
        document["losses"].append(self._loss(backward) | {"penalties": begun["penalties"]})
        document["updates"].append(self._update(begun, gradients, backward))
        document["fed"].append(self._fed(forwards, backward))
        self.fed, self.scale = None, 1.0
        frame = sys._getframe(1)  # noqa: SLF001
        if step == 0:
            session.data["later"] = session.told(later_trainings, frame, session.places) or []
        if step == 0 and session.data["epochs"]["how"] in {None, "train_on_batch"}:
            loops = enclosing_loops(frame, session.places, self.made_at.get(id(begun["optimizer"]), ()))
            session.data["epochs"] = loops | {"how": session.data["epochs"]["how"] or "for loop"}
            self.stopping = session.told(stopping, frame, session.places)
        session.step += 1
        if step == 0:
            with self._backend.paused():
                self.evaluate(forwards, before)
        self.parameters.buffers = {}
        if session.step >= session.request.steps:
            if len(self.optimizers) == 1:
                session.end()
            self._full = True  # further optimizers may join the step

    def _loss(self, backward: list[dict[str, Any]]) -> dict[str, Any]:
        terms = [term for entry in backward for term in entry["terms"]] or self.losses.take()
        first: dict[str, Any] = backward[0] if backward else {"value": None, "shape": [], "place": None}
        return {
            "value": first["value"], "shape": first["shape"], "terms": terms,
            "backward_values": [entry["value"] for entry in backward], "place": first["place"],
        }  # fmt: skip

    def _update(
        self, begun: dict[str, Any], gradients: dict[str, Any], backward: list[dict[str, Any]]
    ) -> dict[str, Any]:
        step, keep = self._session.step, self._session.observation.keep
        number = next(index for index, known in enumerate(self.optimizers) if known is begun["optimizer"])
        raw = {path: values for entry in backward[:1] for path, values in entry["raw"].items()} or gradients
        after = self.parameters.current()
        keys: dict[str, dict[str, str | None]] = {"before": {}, "raw": {}, "gradients": {}, "after": {}}
        for path, values in begun["before"].items():
            key, held = self.parameters.previous.get(path, (None, None))
            same = held is not None and np.array_equal(held, values)
            keys["before"][path] = key if same else keep(f"step{step}/before/{path}", values)
            values_after = after.get(path, values)
            unchanged = np.array_equal(values_after, values)
            keys["after"][path] = keys["before"][path] if unchanged else keep(f"step{step}/after/{path}", values_after)
            self.parameters.previous[path] = (keys["after"][path], values_after)
        for path, values in raw.items():
            keys["raw"][path] = None if values is None else keep(f"step{step}/raw/{path}", values)
        for path, values in gradients.items():
            same = raw.get(path) is not None and values is not None and np.array_equal(raw[path], values)
            made = f"step{step}/gradient/{path}"
            keys["gradients"][path] = keys["raw"][path] if same else None if values is None else keep(made, values)
        sparse = {path for entry in (begun, *backward) for path in entry["sparse"] if path}
        return {
            "learning_rate": begun["rate"], "rates": [begun["rate"]], "optimizer": number,
            "parameters_before": keys["before"],
            "raw_gradients": keys["raw"], "gradients": keys["gradients"], "parameters_after": keys["after"],
            "sparse": sorted(sparse),
        }  # fmt: skip

    def _fed(self, forwards: list[Forward], backward: list[dict[str, Any]]) -> dict[str, Any]:
        if self.fed is not None and not self._makes_inputs(forwards):
            return self.fed
        keep = self._session.observation.keep
        keys = []
        for index, tensor in enumerate(self._inputs_of(forwards)):
            values = self._backend.values(tensor)
            keys.append(None if values is None else keep(f"step{self._session.step}/fed/input{index}", values))
        if self.fed is not None and self.fed["targets"]:
            return self.fed | {"inputs": keys, "made_in_step": True}
        terms = [term for entry in backward for term in entry["terms"]]
        return {
            "inputs": keys, "targets": [term["inputs"][0] for term in terms if term["inputs"]],
            "sample_weights": next((term["inputs"][2] for term in terms if len(term["inputs"]) > 2), None),
            "made_in_step": self.fed is not None,
        }  # fmt: skip

    def _makes_inputs(self, forwards: list[Forward]) -> bool:
        """Whether a `train_step` of the user's own makes what it gives to a model of what `fit` feeds it."""
        if self.fed is None or self.fed["further"]:
            return False
        given = [self._backend.values(tensor) for tensor in self._inputs_of(forwards)]
        fed = [key for key in (*self.fed["inputs"], *self.fed["targets"]) if key is not None]
        if not fed or not given or any(values is None for values in given):
            return False
        return not any(self._session.observation.same(key, values) for key in fed for values in given)

    def _inputs_of(self, forwards: list[Forward]) -> list[Any]:
        """The tensors that the first model is called with, in each of its calls: two views, or three samples."""
        import keras

        if not forwards:
            return []
        made = {id(value) for forward in forwards for value in keras.tree.flatten(forward.outputs)}
        calls = [forward for forward in forwards if forward.root is forwards[0].root]
        given = [value for call in calls for value in keras.tree.flatten((call.args, call.options))]
        unique = {id(value): value for value in given if self._backend.is_tensor(value) and id(value) not in made}
        return list(unique.values())

    # Evaluation

    def evaluate(self, forwards: list[Forward], before: dict[str, Array], now: dict[str, Array] | None = None) -> None:
        """Repeats the outermost calls in evaluation mode with the parameters before the step; leaves no trace.

        Args:
            forwards: The calls.
            before: The parameters to call them with.
            now: The parameters that are put back; left out, those that there are.
        """
        from keras.src import backend as keras_backend

        parameters = self.tree.parameters()
        now = self.parameters.current() if now is None else now
        jax = self._backend.name == "jax"
        mapping = [
            (variable, self._backend.tensor(before.get(path, now[path]), variable.value))
            for path, variable in parameters.items() if path in now and before is not now
        ]  # fmt: skip
        self.calls.evaluation = []
        self.calls.part = "step0" if self._in_training else "eval"
        states: list[tuple[Any, Any]] = []
        try:
            states = self._recurrent_states()
            if jax:
                with keras_backend.StatelessScope(state_mapping=mapping):
                    self._repeat(forwards)
                return
            for variable, value in mapping:
                self.parameters.assign(variable, value)
            self._repeat(forwards)
        except Exception as error:  # noqa: BLE001 a model that cannot be called so is trained all the same
            self._session.warn(f"not seen in evaluation mode: {' '.join(str(error).split())[:300]}")
        finally:
            done, self.calls.evaluation = self.calls.evaluation, None
            for state, value in states:
                state.assign(value)
            self.calls._number = 0  # noqa: SLF001
            if not jax:
                for path, variable in parameters.items():
                    if path in now:
                        self.parameters.assign(variable, self._backend.tensor(now[path], variable.value))
            self._session.document["evaluation_calls"] = [call for forward in done for call in forward.calls]

    def _recurrent_states(self) -> list[tuple[Any, Any]]:
        """Sets the states of stateful recurrent layers to zero, as at the first step; returns what they were."""
        layers = [layer for root in self.tree.roots for layer in root._flatten_layers()]  # noqa: SLF001
        stateful = [layer for layer in layers if getattr(layer, "stateful", False) and getattr(layer, "states", None)]
        states = [(state, state.numpy()) for layer in stateful for state in layer.states]
        for layer in stateful:
            layer.reset_state()
        return states

    def in_training(self, forward: Forward, before: dict[str, Array]) -> list[dict[str, Any]]:
        """The calls of a model that is only used, in training mode; its parameters are as before afterwards."""
        self.calls.reset()
        kept = self._session.document["evaluation_calls"]
        self._in_training = True
        self.evaluate([forward], before, before)
        self._in_training = False
        calls: list[dict[str, Any]] = self._session.document["evaluation_calls"]
        self._session.document["evaluation_calls"] = kept
        return calls

    def _repeat(self, forwards: list[Forward]) -> None:
        """Calls models again; one that takes what another gave takes what that gives now."""
        import keras

        now: dict[int, Any] = {}

        def renewed(value: Any) -> Any:
            return now.get(id(value), value)

        for forward in forwards:
            options = {key: value for key, value in forward.options.items() if key != "training"}
            if "training" in forward.root.call_signature_parameters:
                options["training"] = self._in_training
            args, options = keras.tree.map_structure(renewed, (forward.args, options))
            outputs = keras.tree.flatten(forward.root(*args, **options))
            before = keras.tree.flatten(forward.outputs)
            if len(before) == len(outputs):
                now.update((id(value), output) for value, output in zip(before, outputs, strict=True))


def _of_training(forwards: list[Forward]) -> list[Forward]:
    """Those in training mode, if any is: torch's backend differentiates whatever is called.

    A model of its own that is called without a mode belongs to them if one of them takes what it gives, or it takes
    what one of them gives: the head of an encoder for one.
    """
    kept = [forward for forward in forwards if forward.training]
    roots = {id(forward.root) for forward in kept}
    others = [forward for forward in forwards if id(forward.root) not in roots]
    joined = list(kept)
    while joined:
        taken = {id(value) for forward in kept for value in _flat((forward.args, forward.options))}
        given = {id(value) for forward in kept for value in _flat(forward.outputs)}
        joined = [
            forward
            for forward in others
            if any(id(value) in taken for value in _flat(forward.outputs))
            or any(id(value) in given for value in _flat((forward.args, forward.options)))
        ]
        others = [forward for forward in others if forward not in joined]
        kept += joined
    return [forward for forward in forwards if forward in kept] or forwards


def _flat(value: Any) -> list[Any]:
    """What is in a structure, but for constants, whose identity says nothing."""
    import keras

    return [part for part in keras.tree.flatten(value) if not isinstance(part, bool | int | float | str | None)]
