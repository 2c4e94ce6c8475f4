"""Puts the watchers of a Keras script in place, and writes what they saw into the document."""

import functools
import sys
from typing import Any

from watch.keras.data import Training
from watch.keras.model.backends import Backend, versions
from watch.keras.model.calls import Calls
from watch.keras.model.functions import Functions
from watch.keras.model.inside import fold_time
from watch.keras.model.layers import LayerTree
from watch.keras.model.losses import Losses
from watch.keras.model.noise import Noise
from watch.keras.model.precision import silence_dropout, use_float64
from watch.keras.optimizers import describe_optimizer
from watch.keras.pipelines import Pipelines, serve_datasets
from watch.keras.schedules import planned_rates
from watch.keras.steps import Steps
from watch.program.request import Plan
from watch.program.script import Session
from watch.source.loops import lines_of, names_average, sets_rate
from watch.source.places import Place
from watch.source.stopping import restoring

# Callbacks that change the learning rate, and when.
_SCHEDULERS = {"LearningRateScheduler": "epoch", "ReduceLROnPlateau": "epoch"}


class KerasWatcher:
    """All that watches one script.

    Args:
        session: The run.
        keras: The module.
        backend: Its backend.
        plan: What to steer by.
    """

    def __init__(self, session: Session, keras: Any, backend: Backend, plan: Plan | None) -> None:
        self._session, self._keras, self._backend, self._plan = session, keras, backend, plan
        self._places: dict[int, Place | None] = {}
        self.tree = LayerTree(self._places, keras)
        self.calls = Calls(session, backend, keras, self.tree, plan)
        self.losses = Losses(session, backend, self.calls)
        self.steps = Steps(session, backend, self.tree, self.calls, self.losses, plan)
        self.training = Training(session, backend, keras, self.steps)
        self._clip: list[dict[str, Any]] = []

    def watch(self) -> None:
        """Puts everything in place, before the script runs."""
        session, keras, backend = self._session, self._keras, self._backend
        still = session.request.float64 or bool(self._plan and self._plan.document.get("zero_dropout"))
        if still:
            silence_dropout(keras, backend.name)
        Noise(session, self.calls, backend, self.training.stepping, still=still).watch(keras)
        backend.eager()
        fold_time(keras)
        backend.watch_gradients(self.steps.differentiated)
        self._watch_layers()
        self._watch_losses()
        self._watch_optimizers()
        self.training.watch()
        Functions(session, self.calls, self.losses).watch(keras, backend.name)
        if session.request.float64:
            use_float64(session, keras, backend.name)
        self._watch_clipping()
        if backend.name == "tensorflow":
            Pipelines(session, self._tensorflow()).watch()
            session.note_seeds(self._tensorflow().random, "set_seed", "tf.random.set_seed")
        elif "tensorflow" not in sys.modules:
            # Keras would import TensorFlow to ask whether what it serializes is TensorFlow's.
            keras.src.utils.module_utils.tensorflow._available = False  # noqa: SLF001
        if backend.name == "torch":
            from watch.keras.torch_backend import watch_torch

            watch_torch(session, self.steps)
        self._watch_shuffle()
        session.note_seeds(keras.utils, "set_random_seed", "keras.utils.set_random_seed")
        if self._plan is not None:
            self.losses.targets = lambda y: y if self.steps.trainer is not None else self.steps.planned_targets(y)
        serve_datasets(session)
        session.document["framework"] = "keras"
        session.document["backend"] = backend.name
        session.document["floatx"] = keras.config.floatx()
        session.finishers.append(self._finish)

    def use(self, model: Any, inputs: Any) -> None:
        """Calls a model that is only used."""
        from keras.src import backend as keras_backend

        steps, session = self.steps, self._session
        tensors = self._keras.tree.map_structure(keras_backend.convert_to_tensor, inputs)
        args = (tensors,)
        if not isinstance(inputs, dict) and isinstance(inputs, list) and not hasattr(model, "_inputs_struct"):
            args = tuple(tensors)
        if not model.built:
            with self.calls.unwatched(), self._backend.paused():
                model(*args, training=False) if "training" in model.call_signature_parameters else model(*args)
        if not model.variables:
            request = session.request
            session.fail(f"the model {request.attribute} in {request.script.name} has no parameters", "no_model")
        steps.tree.add_root(model)
        steps.parameters.see()
        flat = [value for value in self._keras.tree.flatten(inputs) if value is not None]
        keys = [session.observation.keep(f"step0/fed/input{i}", values) for i, values in enumerate(flat)]
        session.document["fed"] = [{"inputs": keys, "targets": [], "sample_weights": None}]
        from watch.keras.model.calls import Forward

        forward = Forward(model, args, {}, False, None)
        before = steps.parameters.current()
        with self._backend.paused():
            steps.evaluate([forward], before, before)
            if session.request.training:
                session.document["calls"] = [steps.in_training(forward, before)]

    def _tensorflow(self) -> Any:
        import tensorflow as tf

        return tf

    def _watch_layers(self) -> None:
        keras, calls, places = self._keras, self.calls, self._places
        from keras.src.ops.operation import Operation

        make, call, operate, build = (
            keras.Layer.__new__,
            keras.Layer.__call__,
            Operation.__call__,
            keras.Layer._maybe_build,  # noqa: SLF001
        )
        here = self._session.places.here

        def new(cls: Any, *args: Any, **options: Any) -> Any:
            made = make(cls, *args, **options)
            places[id(made)] = here(sys._getframe(1))  # noqa: SLF001
            return made

        def maybe_build(layer: Any, call_spec: Any) -> Any:
            before = layer.built
            with calls.while_built():
                result = build(layer, call_spec)
            if not before and layer.built and calls.building():
                calls.built_now(layer)
            return result

        stateless = keras.Layer.stateless_call

        @functools.wraps(stateless)
        def stateless_call(layer: Any, trainable: Any, fixed: Any, *args: Any, **options: Any) -> Any:
            with calls.through_call(layer):
                result = stateless(layer, trainable, fixed, *args, **options)
            self.steps.parameters.stateless_called(layer, result[1])
            return result

        keras.Layer.stateless_call = stateless_call
        keras.Layer.__new__ = new
        keras.Layer._maybe_build = maybe_build  # noqa: SLF001
        keras.Layer.__call__ = functools.wraps(call)(
            lambda layer, *args, **options: calls.call(call, layer, args, options)
        )
        Operation.__call__ = functools.wraps(operate)(
            lambda operation, *args, **options: calls.operation(operate, operation, args, options)
        )

    def _watch_losses(self) -> None:
        from keras.src.losses.loss import Loss
        from keras.src.trainers.compile_utils import CompileLoss

        losses = self.losses
        call, compiled = Loss.__call__, CompileLoss.__call__

        @functools.wraps(call)
        def loss_call(loss: Any, *args: Any, **options: Any) -> Any:
            return losses.call(call, loss, *args, **options)

        @functools.wraps(compiled)
        def compiled_call(loss: Any, *args: Any, **options: Any) -> Any:
            first = losses.count()
            result = compiled(loss, *args, **options)
            losses.weigh(loss, first)
            return result

        Loss.__call__, CompileLoss.__call__ = loss_call, compiled_call

    def _watch_optimizers(self) -> None:  # noqa: C901 one method of Keras's after the other
        from keras.src.optimizers.base_optimizer import BaseOptimizer
        from keras.src.optimizers.loss_scale_optimizer import LossScaleOptimizer

        steps, session = self.steps, self._session
        for owner in (BaseOptimizer, LossScaleOptimizer):
            apply, scale = owner.apply, owner.scale_loss

            def watched(optimizer: Any, grads: Any, trainable_variables: Any = None, _apply: Any = apply) -> Any:
                return steps.apply(_apply, optimizer, grads, trainable_variables)

            def scaled(optimizer: Any, loss: Any, _scale: Any = scale) -> Any:
                return steps.scaled(loss, _scale(optimizer, loss))

            owner.apply = functools.wraps(apply)(watched)
            owner.scale_loss = functools.wraps(scale)(scaled)
        if self._backend.name == "jax":
            self._watch_loss_scale(LossScaleOptimizer)
        make, clip = BaseOptimizer.__init__, BaseOptimizer._clip_gradients  # noqa: SLF001
        own: dict[str, list[Any]] = {"variables": []}

        def init(optimizer: Any, *args: Any, **options: Any) -> None:
            session.trainings.optimizer_made()
            steps.made_at[id(optimizer)] = lines_of(sys._getframe(1), session.places)  # noqa: SLF001
            steps.optimizer_places[id(optimizer)] = session.places.here(sys._getframe(1))  # noqa: SLF001
            make(optimizer, *args, **options)

        def clipped(optimizer: Any, grads: Any) -> Any:
            result = clip(optimizer, grads)
            steps.clipped(result, own["variables"])
            return result

        def wrap(owner: Any) -> None:
            apply_all = owner._backend_apply_gradients  # noqa: SLF001

            def apply_gradients(optimizer: Any, grads: Any, variables: Any) -> Any:
                own["variables"] = list(variables)
                return apply_all(optimizer, grads, variables)

            owner._backend_apply_gradients = apply_gradients  # noqa: SLF001

        for base in self._keras.optimizers.Optimizer.__mro__:
            if "_backend_apply_gradients" in vars(base):
                wrap(base)
        BaseOptimizer.__init__ = functools.wraps(make)(init)
        BaseOptimizer._clip_gradients = clipped  # noqa: SLF001

    def _watch_loss_scale(self, owner: Any) -> None:
        """JAX would trace the step of the inner optimizer, to choose it by whether the gradients are finite."""
        steps = self.steps

        def stateless_apply(optimizer: Any, held: Any, grads: Any, trainable: Any) -> Any:
            steps.scaler = owner.__name__
            if bool(optimizer.check_finite(grads)):
                return optimizer._stateless_handle_finite_grads(held, grads, trainable)  # noqa: SLF001
            return optimizer._stateless_handle_non_finite_grads(held, trainable)  # noqa: SLF001

        owner.stateless_apply = stateless_apply

    def _watch_clipping(self) -> None:
        """Clipping by the user's own code."""
        owners: list[tuple[Any, str]] = []
        if self._backend.name == "tensorflow":
            owners = [(self._tensorflow(), name) for name in ("clip_by_global_norm", "clip_by_norm", "clip_by_value")]
        if self._backend.name == "torch":
            import torch

            owners = [(torch.nn.utils, name) for name in ("clip_grad_norm_", "clip_grad_value_")]
        for owner, name in owners:
            original = getattr(owner, name)

            def clip(*args: Any, _original: Any = original, _name: str = name, **options: Any) -> Any:
                frame = sys._getframe(1)  # noqa: SLF001
                if self._session.order.of_user(frame) and not self._session.trainings.passing:
                    numbers = [value for value in [*args[1:], *options.values()] if isinstance(value, int | float)]
                    entry = {
                        "function": _name, "settings": {"numbers": numbers}, "step": self._session.step,
                        "place": self._session.places.here(frame),
                    }  # fmt: skip
                    if not any(held | {"step": 0} == entry | {"step": 0} for held in self._clip):
                        self._clip.append(entry)
                return _original(*args, **options)

            setattr(owner, name, functools.wraps(original)(clip))

    def _watch_shuffle(self) -> None:
        order, random = self._session.order, self._keras.random
        original = random.shuffle

        def shuffle(x: Any, *args: Any, **options: Any) -> Any:
            if order.is_drawn_by_user(sys._getframe(1)):  # noqa: SLF001
                order.note("keras.random.shuffle", int(x.shape[0]), sys._getframe(1))  # noqa: SLF001
                if order.identity:
                    return x
            return original(x, *args, **options)

        random.shuffle = shuffle

    def _finish(self) -> None:
        """Fills the document."""
        session, document, tree = self._session, self._session.document, self.tree
        document["versions"] = versions(self._backend.name)
        document["dtype_policy"] = self._keras.config.dtype_policy().name
        document["initial"] = {"parameters": self.steps.parameters.initial}
        if tree.roots:
            root = tree.roots[0]
            layers = [tree.describe(name, layer, self.steps.flags.get(name)) for name, layer in tree.layers()]
            document["model"] = {
                "class": type(root).__name__, "name": root.name,
                "num_parameters": int(sum(v.value.shape.num_elements() if hasattr(v.shape, "num_elements") else _size(v) for v in tree.parameters().values())),  # noqa: E501
                "place": self._places.get(id(root)), "roots": [layer.name for layer in tree.roots], "layers": layers,
            }  # fmt: skip
        trained = {id(variable) for variable in session.trainings.trained}
        parameters = tree.parameters().items()
        document["trained_before"] = [path for path, known in parameters if id(known) in trained]
        document["dropout"] = list(self.calls.dropout.values())
        rates = [update["learning_rate"] for update in document["updates"]]
        document["optimizer"] = describe_optimizer(
            self.steps.optimizers, self.steps.optimizer_places, tree, next(iter(rates), None), self.steps.scaler
        )
        document["compile"] = self.training.compiled or None
        self.training.finish()
        document["loop"] = self._loop()
        if session.data["epochs"]["how"] is None and session.step:
            session.data["epochs"]["how"] = "for loop"

    def _loop(self) -> dict[str, Any]:
        document = self._session.document
        fit = self._session.data["fit"] or {"callbacks": []}
        optimizer = document["optimizer"] or {"settings": {}}
        schedulers = [
            callback | {"per": _SCHEDULERS[callback["class"]]}
            for callback in fit["callbacks"]
            if callback["class"] in _SCHEDULERS
        ]  # fmt: skip
        if optimizer.get("schedule"):
            held = dict(optimizer["schedule"])
            schedulers.append({"class": held.pop("class", None), "settings": held, "per": "step"})
        policy, told, places = document["dtype_policy"], self._session.told, self._session.places
        epochs = self._session.data["epochs"]["value"]
        rates = planned_rates(
            self._keras,
            next(iter(self.steps.optimizers), None),
            self.training.scheduler,
            self.training.first_rate,
            epochs,
        )
        return {
            "rates": rates, "sets_rate": told(sets_rate, places), "stopping": self.steps.stopping,
            "restoring": told(restoring, places), "names_average": told(names_average, places),
            "zero_grad": None, "backward": self.steps.backward_counts, "clip": self._clip, "scheduler": schedulers,
            "autocast": {"dtype": policy.removeprefix("mixed_"), "device": None} if "mixed" in policy else None,
            "grad_scaler": optimizer.get("loss_scale") is not None,
            "compile": bool(self.training.compiled.get("jit_compile") is True), "training_flags": self.steps.flags,
            "no_grad_forward": None, "set_to_none": None, "detached": [],
            "ema": {key: value for key, value in optimizer["settings"].items() if "ema" in key}
            if optimizer["settings"].get("use_ema") else None,
        }  # fmt: skip


def _size(variable: Any) -> int:
    size = 1
    for length in variable.shape:
        size *= int(length)
    return size
