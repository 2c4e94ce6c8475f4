"""What a Keras script says about its data and training: `fit`'s and `compile`'s arguments, pipelines, data sets."""

import functools
import inspect
import sys
from typing import Any

import numpy as np

from watch.keras.model.backends import Backend
from watch.keras.model.layers import readable
from watch.keras.reading import reread
from watch.keras.steps import Steps
from watch.program.script import Session
from watch.source.loops import rounds_of_fit

_COMPILE = ("loss_weights", "metrics", "weighted_metrics", "run_eagerly", "steps_per_execution", "jit_compile")


class Training:
    """Watches `compile`, `fit` and `train_on_batch`.

    Args:
        session: The run.
        backend: The backend.
        keras: The module.
        steps: The steps, to be told of batches.
    """

    def __init__(self, session: Session, backend: Backend, keras: Any, steps: Steps) -> None:
        self._session, self._backend, self._keras, self._steps = session, backend, keras, steps
        self.compiled: dict[str, Any] = {}
        self.compile_places: dict[int, Any] = {}
        self.scheduler: Any = None  # the `LearningRateScheduler` that `fit` was given
        self.first_rate: float | None = None  # before `fit` began
        self._depth = 0
        self._fitted: dict[str, Any] | None = None  # what the first `fit` was given

    def watch(self) -> None:
        """Takes the place of the methods of Keras's trainer."""
        from keras.src.trainers.trainer import Trainer

        of_backend = next(base for base in self._keras.Model.__mro__ if base.__name__.endswith("Trainer"))
        self._wrap(Trainer, "compile", self._compile)
        self._wrap(of_backend, "fit", self._fit)
        self._wrap(of_backend, "train_on_batch", self._train_on_batch)

    def _wrap(self, owner: Any, name: str, replacement: Any) -> None:
        original = owner.__dict__[name]
        signature = inspect.signature(original)

        @functools.wraps(original)
        def wrapped(model: Any, *args: Any, **options: Any) -> Any:
            try:
                bound = signature.bind(model, *args, **options)
            except TypeError:
                return original(model, *args, **options)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            arguments.pop("self", None)
            extra = arguments.pop("kwargs", {})
            return replacement(original, model, {**arguments, **extra})

        setattr(owner, name, wrapped)

    def _compile(self, original: Any, model: Any, arguments: dict[str, Any]) -> Any:
        place = self._session.places.here(sys._getframe(2))  # noqa: SLF001
        self.compile_places[id(model)] = place
        self.compiled = {key: readable(arguments.get(key)) for key in _COMPILE} | {
            "loss": readable(arguments.get("loss")), "auto_scale_loss": arguments.get("auto_scale_loss"),
            "place": place,
        }  # fmt: skip
        if self._backend.name == "jax":
            arguments |= {"run_eagerly": True, "jit_compile": False}
        if self._backend.name == "torch":
            arguments["jit_compile"] = False
        result = original(model, **arguments)
        if id(model.optimizer) not in self._steps.optimizer_places:
            self._steps.optimizer_places[id(model.optimizer)] = place
        return result

    def _fit(self, original: Any, model: Any, arguments: dict[str, Any]) -> Any:
        frame = sys._getframe(2)  # noqa: SLF001
        if self._session.trainings.passing:
            return original(model, **arguments | {"shuffle": self._shuffle(arguments)})
        place = self._session.places.here(frame)
        self._note_fit(arguments, place, rounds_of_fit(frame, self._session.places))
        self._note_schedule(model, arguments["callbacks"])
        self._enter(model)
        arguments["shuffle"] = self._shuffle(arguments)
        try:
            return original(model, **arguments)
        finally:
            self._steps.trainer = None

    def _train_on_batch(self, original: Any, model: Any, arguments: dict[str, Any]) -> Any:
        if self._session.trainings.passing:
            return original(model, **arguments)
        place = self._session.places.here(sys._getframe(2))  # noqa: SLF001
        data = self._session.data
        if data["fit"] is None and data["epochs"]["how"] is None:
            data["epochs"] = {"value": None, "how": "train_on_batch"}
            x = _first(arguments["x"], self._keras)
            data["train_on_batch"] = {
                "batch_size": None if x is None else len(x), "place": place,
                "class_weight": readable(arguments["class_weight"]),
                "sample_weight": arguments["sample_weight"] is not None,
            }  # fmt: skip
        self._enter(model)
        try:
            return original(model, **arguments)
        finally:
            self._steps.trainer = None

    def _enter(self, model: Any) -> None:
        """Before the trainer takes the model: its parameters are as the script left them."""
        self._steps.trainer = model
        self._steps.tree.add_root(model)
        self._steps.parameters.see()
        owner = next(base for base in type(model).__mro__ if "train_step" in base.__dict__)
        if not getattr(owner.__dict__["train_step"], "_is_watched", False):
            self._wrap_train_step(owner)

    def stepping(self) -> bool:
        """Whether what is computed now may be a part of a training step: `fit` computes much around it."""
        if self._session.trainings.passing:
            return False
        return bool(self._steps.optimizer_places) and (self._depth > 0 or self._steps.trainer is None)

    def _wrap_train_step(self, owner: Any) -> None:
        original = owner.__dict__["train_step"]
        training = self

        @functools.wraps(original)
        def train_step(model: Any, *args: Any) -> Any:
            if training._depth or not args:
                return original(model, *args)
            training._depth += 1
            try:
                return original(model, *training._batch(model, args))
            finally:
                training._depth -= 1

        train_step._is_watched = True  # type: ignore[attr-defined] # noqa: SLF001
        owner.train_step = train_step

    def _batch(self, model: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keeps a batch as it was fed; the arguments of `train_step` with what is planned in their place."""
        from keras.src.trainers.data_adapters import data_adapter_utils

        steps = self._steps
        if not steps.accumulating:
            steps.calls.reset()
            steps.losses.take()
        *state, data = args
        try:
            x, y, weights = data_adapter_utils.unpack_x_y_sample_weight(data)
        except ValueError:  # a user's own kind of batch
            x, y, weights = data, None, None
            packed = False
        else:
            packed = not isinstance(data, dict)
        batch = self._session.request.batch
        if batch is not None and packed:
            x, y, weights = self._keras.tree.map_structure(
                lambda value: value[:batch] if value is not None and len(value.shape) else value, (x, y, weights)
            )
        more = len(steps.fed["further"]) + 1 if steps.fed is not None else 0
        prefix = f"micro{more}/" if more else ""
        fed = {
            "inputs": self._keep(f"{prefix}input", x), "targets": self._keep(f"{prefix}target", y),
            "sample_weights": next(iter(self._keep(f"{prefix}sample_weight", weights)), None),
        }  # fmt: skip
        if steps.fed is None:
            steps.fed = {**fed, "further": []}
        else:  # the gradients of several batches make one step
            steps.fed["further"].append(fed)
        if steps.plan is not None:
            x = x if steps.makes_inputs else steps.planned_inputs(x)
            y = steps.planned_targets(y)
            if state and isinstance(state[0], tuple):  # JAX
                steps.parameters.see()  # of a model that `fit` has built: what JAX differentiates by must be the plan's
                trainable, fixed, *others = state[0]
                trainable = steps.parameters.planned_state(trainable, model.trainable_variables)
                fixed = steps.parameters.planned_state(fixed, model.non_trainable_variables)
                state = [(trainable, fixed, *others)]
        if packed:
            data = data_adapter_utils.pack_x_y_sample_weight(x, y, weights)
        return (*state, data)

    def _keep(self, name: str, structure: Any) -> list[str | None]:
        keys = []
        tensors = [tensor for tensor in self._keras.tree.flatten(structure) if tensor is not None]
        for index, tensor in enumerate(tensors):
            values = self._backend.values(tensor)
            key = f"step{self._session.step}/fed/{name}{index}"
            keys.append(None if values is None else self._session.observation.keep(key, values))
        return keys

    # What fit is asked for

    def _note_fit(self, arguments: dict[str, Any], place: Any, rounds: int | None) -> None:
        data = self._session.data
        if data["fit"] is not None:
            data.setdefault("further_fits", []).append({"epochs": arguments["epochs"], "place": place})
            return
        x = _first(arguments["x"], self._keras)
        batch_size = arguments["batch_size"]
        if batch_size is None and isinstance(x, np.ndarray):
            batch_size = 32
        data["fit"] = {
            "epochs": arguments["epochs"], "batch_size": batch_size, "shuffle": arguments["shuffle"],
            "steps_per_epoch": arguments["steps_per_epoch"], "validation": self._validation(arguments),
            "callbacks": [
                _callback(callback) | {"place": self._session.places.making(type(callback).__name__)}
                for callback in self._callbacks(arguments["callbacks"])
            ],
            "class_weight": readable(arguments["class_weight"]),
            "sample_weight": arguments["sample_weight"] is not None, "num_samples": _length(x),
            "initial_epoch": arguments["initial_epoch"], "validation_freq": arguments["validation_freq"],
            "stages": getattr(arguments["x"], "_watched_stages", []),
            "kind": _kind(arguments["x"]), "dtypes": self._dtypes(arguments), "place": place,
        }  # fmt: skip
        data["epochs"] = {"value": None if rounds is None else rounds * arguments["epochs"], "how": "fit"}
        self._fitted = dict(arguments)
        data["validation_overlap"] = self._overlap(arguments)
        self._note_loader(arguments["x"], place)

    def finish(self) -> None:
        """Reads once more what `fit` was given."""
        if self._fitted is not None and self._steps.plan is None:
            read = reread(self._session, self._keras, self._fitted, self._session.data["fit"]["kind"])
            self._session.data["read"] = read

    def _callbacks(self, given: Any) -> list[Any]:
        held = getattr(given, "callbacks", given)
        return list(held) if isinstance(held, list | tuple) else [] if held is None else [held]

    def _note_schedule(self, model: Any, callbacks: Any) -> None:
        """Keeps what sets the learning rate of each epoch, to be asked when the script has ended."""
        for callback in self._callbacks(callbacks):
            if isinstance(callback, self._keras.callbacks.LearningRateScheduler) and self.scheduler is None:
                self.scheduler = callback
                rate = self._backend.values(getattr(model.optimizer.learning_rate, "value", None))
                self.first_rate = None if rate is None else float(rate)

    def _dtypes(self, arguments: dict[str, Any]) -> dict[str, list[str]]:
        return {
            name: [
                str(getattr(value, "dtype", type(value).__name__))
                for value in self._keras.tree.flatten(arguments[name])
                if value is not None
            ]
            for name in ("x", "y") if not hasattr(arguments[name], "element_spec")
        }  # fmt: skip

    def _validation(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        given = arguments["validation_data"]
        if given is not None:
            x = _first(given[0] if isinstance(given, tuple | list) else given, self._keras)
            return {"kind": "data", "num_samples": _length(x), "fraction": None}
        fraction = arguments["validation_split"]
        if not fraction:
            return None
        number = _length(_first(arguments["x"], self._keras))
        return {
            "kind": "split", "fraction": fraction,
            "num_samples": None if number is None else number - int(number * (1 - fraction)),
        }  # fmt: skip

    def _overlap(self, arguments: dict[str, Any]) -> float | None:
        """The fraction of the validation samples that are training samples as well."""
        given = arguments["validation_data"]
        train = self._rows(arguments["x"])
        held = self._rows(given[0]) if isinstance(given, tuple | list) else None
        if train is None or not held or len(set(train)) < len(train):
            return None  # samples that come twice among those to train on may be alike by chance in both
        known = set(train)
        return sum(row in known for row in held) / len(held)

    def _rows(self, x: Any) -> list[int] | None:
        """A number for each sample that equal samples share, over all inputs; None of what is not in memory."""
        arrays = [value for value in self._keras.tree.flatten(x) if value is not None]
        if not arrays or not all(isinstance(array, np.ndarray) and array.ndim for array in arrays):
            return None
        if len({len(array) for array in arrays}) > 1:
            return None
        return [hash(tuple(array[i].tobytes() for array in arrays)) for i in range(len(arrays[0]))]

    def _shuffle(self, arguments: dict[str, Any]) -> Any:
        """False where the order is to be the identity; notes what `fit` would have drawn."""
        kind = _kind(arguments["x"])
        if not arguments["shuffle"] or kind not in {"arrays", "PyDataset"}:
            return arguments["shuffle"]
        number = _length(_first(arguments["x"], self._keras)) if kind == "arrays" else None
        fraction = arguments["validation_split"]
        if number is not None and fraction and arguments["validation_data"] is None:
            number = int(number * (1 - fraction))
        if number is None:
            number = getattr(arguments["x"], "num_batches", None) or 0
        self._session.order.note(f"fit(shuffle={arguments['shuffle']!r})", number, sys._getframe(3))  # noqa: SLF001
        return False if self._session.order.identity else arguments["shuffle"]

    def _note_loader(self, x: Any, place: Any) -> None:
        if _kind(x) == "PyDataset":
            self._session.data["loaders"].append({
                "kind": type(x).__name__, "settings": settings_of(x), "batch_size": getattr(x, "batch_size", None),
                "shuffle": None, "num_workers": x.workers, "use_multiprocessing": x.use_multiprocessing,
                "num_batches": x.num_batches, "place": place,
                "on_epoch_end": type(x).on_epoch_end is not self._keras.utils.PyDataset.on_epoch_end,
            })  # fmt: skip
            x.workers, x.use_multiprocessing = 1, False


def settings_of(value: Any) -> dict[str, Any]:
    """An object's own scalars."""
    return {
        key: held for key, held in vars(value).items()
        if not key.startswith("_") and isinstance(held, bool | int | float | str)
    }  # fmt: skip


def _callback(callback: Any) -> dict[str, Any]:
    held = settings_of(callback)
    schedule = getattr(callback, "schedule", None)
    if callable(schedule):
        held["schedule"] = getattr(schedule, "__name__", str(schedule))
    own = not type(callback).__module__.startswith("keras.")
    return {"class": type(callback).__name__, "own": own, "settings": held}


def _kind(x: Any) -> str:
    """What `fit` is fed from."""
    module = type(x).__module__
    if any(base.__name__ in {"PyDataset", "Sequence"} and "keras" in base.__module__ for base in type(x).__mro__):
        return "PyDataset"
    if module.startswith("tensorflow.") and hasattr(x, "element_spec"):
        return "tf.data"
    if any(base.__module__.startswith("torch.utils.data") for base in type(x).__mro__):
        return "DataLoader"
    if inspect.isgenerator(x) or (hasattr(x, "__next__") and not hasattr(x, "shape")):
        return "generator"
    return "arrays"


def _first(structure: Any, keras: Any) -> Any:
    """The first array of a structure, or what is no structure of arrays itself."""
    flat = [value for value in keras.tree.flatten(structure) if value is not None]
    return flat[0] if flat else None


def _length(x: Any) -> int | None:
    shape = getattr(x, "shape", None)
    if shape is not None and len(shape):
        return int(shape[0])
    return None
