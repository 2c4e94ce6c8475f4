"""What differs between Keras's backends for a watcher: concrete values, and where a loss is differentiated.

Everything runs eagerly: `tf.function`s as plain Python, JAX without `jit`. Under JAX's gradients values are tracers,
but outside of a compiled function each of them carries its concrete value.
"""

import contextlib
import functools
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Told whenever a loss was differentiated: its value, and gradients by the variables or by their order.
Differentiated = Callable[[Any, Sequence[Any] | None, list[Any]], list[Any] | None]


def plain(array: Any) -> Array:
    """An array of a type that NumPy itself has: bfloat16 becomes float32."""
    values = np.asarray(array)
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


class Backend:
    """What is common to all backends."""

    name = ""

    def is_tensor(self, value: Any) -> bool:
        """Whether something is a tensor of this backend, or an array."""
        return hasattr(value, "shape") and hasattr(value, "dtype")

    def values(self, tensor: Any) -> Array | None:
        """The concrete values of a tensor; None where it has none, inside a traced function for one."""
        raise NotImplementedError

    def differentiating(self) -> bool:
        """Whether what is computed now may be differentiated."""
        raise NotImplementedError

    def paused(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which nothing is differentiated."""
        return contextlib.nullcontext()

    def straight_through(self, output: Any, planned: Array) -> Any:
        """A tensor with the planned values, through which gradients flow as through `output`."""
        raise NotImplementedError

    def tensor(self, planned: Array, like: Any) -> Any:
        """The planned values in the type of another tensor."""
        raise NotImplementedError

    def watch_gradients(self, told: Differentiated) -> None:
        """Has `told` called after every differentiation by the user's code or by Keras."""
        raise NotImplementedError

    def eager(self) -> None:
        """Has everything run eagerly from now on."""


class TensorFlow(Backend):
    """TensorFlow, eagerly."""

    name = "tensorflow"

    def __init__(self) -> None:
        import tensorflow as tf

        self._tensorflow = tf

    def is_tensor(self, value: Any) -> bool:
        """Tensors, variables, sparse gradients and NumPy's arrays."""
        return super().is_tensor(value) and not isinstance(value, str | bytes)

    def values(self, tensor: Any) -> Array | None:
        """Of eager tensors; sparse ones become dense."""
        tf = self._tensorflow
        if isinstance(tensor, tf.IndexedSlices):
            tensor = tf.convert_to_tensor(tensor)
        elif isinstance(tensor, tf.SparseTensor):
            tensor = tf.sparse.to_dense(tensor)
        elif isinstance(tensor, tf.RaggedTensor):
            tensor = tensor.to_tensor()
        if isinstance(tensor, np.ndarray | np.generic):
            return plain(tensor)
        if not hasattr(tensor, "numpy"):  # symbolic
            return None
        found = plain(tensor.numpy())
        return None if found.dtype.kind in "OSU" else found

    def differentiating(self) -> bool:
        """Whether a tape records."""
        from tensorflow.python.eager import record

        return bool(record.could_possibly_record())

    def paused(self) -> contextlib.AbstractContextManager[Any]:
        """No tape records."""
        from tensorflow.python.eager import record

        context: contextlib.AbstractContextManager[Any] = record.stop_recording()
        return context

    def straight_through(self, output: Any, planned: Array) -> Any:
        """The identity of the gradient of `output`."""
        tf = self._tensorflow
        return output + tf.stop_gradient(tf.cast(planned.reshape(output.shape), output.dtype) - output)

    def tensor(self, planned: Array, like: Any) -> Any:
        """Of the same dtype."""
        return self._tensorflow.cast(planned, like.dtype)

    def watch_gradients(self, told: Differentiated) -> None:
        """Through `GradientTape.gradient`."""
        tf = self._tensorflow
        original = tf.GradientTape.gradient

        @functools.wraps(original)
        def gradient(tape: Any, target: Any, sources: Any, *args: Any, **options: Any) -> Any:
            found = original(tape, target, sources, *args, **options)
            flat = tf.nest.flatten(found)
            variables = tf.nest.flatten(sources)
            if len(variables) != len(flat):
                return found
            replaced = told(target, variables, flat)
            return found if replaced is None else tf.nest.pack_sequence_as(found, replaced)

        tf.GradientTape.gradient = gradient

    def eager(self) -> None:
        """`tf.function` runs Python, but in pipelines of data."""
        import warnings

        tf = self._tensorflow
        tf.config.run_functions_eagerly(True)
        tf.config.run_functions_eagerly = tf.config.experimental_run_functions_eagerly = lambda *_args: None
        warnings.filterwarnings("ignore", message="Even though the `tf.config.experimental_run_functions_eagerly`")
        # One process, one device: a mirrored strategy would only move everything to threads.
        for strategy in ("MirroredStrategy", "OneDeviceStrategy"):
            setattr(tf.distribute, strategy, lambda *_args, **_options: tf.distribute.get_strategy())


class Torch(Backend):
    """Keras on torch."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        self._torch = torch

    def values(self, tensor: Any) -> Array | None:
        """Of tensors that have some: those on the device "meta" do not."""
        torch = self._torch
        if isinstance(tensor, torch.Tensor):
            if tensor.device.type == "meta":
                return None
            tensor = tensor.detach().cpu()
            found: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
            return found
        return plain(tensor) if isinstance(tensor, np.ndarray | np.generic) else None

    def differentiating(self) -> bool:
        """Whether gradients are enabled."""
        return self._torch.is_grad_enabled()

    def paused(self) -> contextlib.AbstractContextManager[Any]:
        """No gradients."""
        return self._torch.no_grad()

    def straight_through(self, output: Any, planned: Array) -> Any:
        """The identity of the gradient of `output`."""
        return output + (self.tensor(planned.reshape(tuple(output.shape)), output) - output).detach()

    def tensor(self, planned: Array, like: Any) -> Any:
        """Of the same dtype, on the same device."""
        torch = self._torch
        made = torch.from_numpy(np.asarray(planned, order="C"))
        return made.to(like.device, like.dtype) if isinstance(like, torch.Tensor) else made

    def watch_gradients(self, told: Differentiated) -> None:
        """Through `Tensor.backward`."""
        original = self._torch.Tensor.backward

        @functools.wraps(original)
        def backward(tensor: Any, *args: Any, **options: Any) -> None:
            original(tensor, *args, **options)
            told(tensor, None, [])

        self._torch.Tensor.backward = backward  # type: ignore[assignment,method-assign]


class Jax(Backend):
    """JAX without its compiler."""

    name = "jax"

    def __init__(self) -> None:
        import jax

        self._jax = jax
        self._depth = 0

    def values(self, tensor: Any) -> Array | None:
        """Of arrays, and of tracers of a gradient that is not compiled."""
        while isinstance(tensor, self._jax.core.Tracer):
            tensor = getattr(tensor, "primal", None)
        if isinstance(tensor, self._jax.Array | np.ndarray | np.generic):
            return plain(tensor)
        return None

    def differentiating(self) -> bool:
        """Whether `grad` or `value_and_grad` is at work."""
        return self._depth > 0

    def straight_through(self, output: Any, planned: Array) -> Any:
        """The identity of the gradient of `output`."""
        values = self._jax.numpy.asarray(planned.reshape(output.shape), output.dtype)
        return output + self._jax.lax.stop_gradient(values - output)

    def tensor(self, planned: Array, like: Any) -> Any:
        """Of the same dtype."""
        return self._jax.numpy.asarray(planned, like.dtype)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def watch_gradients(self, told: Differentiated) -> None:
        """Through `jax.value_and_grad`, by which `jax.grad` is made as well."""
        jax = self._jax
        original = jax.value_and_grad

        def value_and_grad(fun: Any, argnums: Any = 0, has_aux: bool = False, *more: Any, **options: Any) -> Any:
            derived = original(fun, argnums, has_aux, *more, **options)

            @functools.wraps(fun)
            def differentiate(*args: Any, **arguments: Any) -> Any:
                with self._at_work():
                    value, gradients = derived(*args, **arguments)
                flat, structure = jax.tree.flatten(gradients)
                replaced = told(value[0] if has_aux else value, None, flat)
                return value, gradients if replaced is None else jax.tree.unflatten(structure, replaced)

            return differentiate

        def grad(fun: Any, argnums: Any = 0, has_aux: bool = False, *more: Any, **options: Any) -> Any:
            both = value_and_grad(fun, argnums, has_aux, *more, **options)

            @functools.wraps(fun)
            def differentiate(*args: Any, **arguments: Any) -> Any:
                value, gradients = both(*args, **arguments)
                return (gradients, value[1]) if has_aux else gradients

            return differentiate

        jax.value_and_grad, jax.grad = value_and_grad, grad

    def eager(self) -> None:
        """The public `jit` compiles nothing; what JAX compiles for itself stays."""
        from keras.src.backend.common import KerasVariable
        from keras.src.backend.jax import trainer

        tree = self._jax.tree

        def jit(fun: Any = None, **options: Any) -> Any:
            if fun is None:
                return lambda function: jit(function, **options)

            @functools.wraps(fun)
            def plainly(*args: Any, **arguments: Any) -> Any:
                # Variables of Keras's become arrays, as in a compiled function.
                args, arguments = tree.map(
                    lambda value: value.value if isinstance(value, KerasVariable) else value, (args, arguments)
                )
                return fun(*args, **arguments)

            return plainly

        self._jax.jit = jit

        trainer.jit = jit
        keep = trainer.JAXTrainer._get_jax_state  # noqa: SLF001

        def state(model: Any, *args: Any, **options: Any) -> Any:
            return keep(model, *args, **{**options, "purge_model_variables": False})

        trainer.JAXTrainer._get_jax_state = state  # noqa: SLF001


def backend(name: str) -> Backend:
    """The backend of this name, imported."""
    return {"tensorflow": TensorFlow, "torch": Torch, "jax": Jax}[name]()


def prepare_environment(float64: bool) -> None:
    """What the frameworks read when they are imported; what is set already stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    if float64:
        os.environ["JAX_ENABLE_X64"] = "1"
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # each operation is compiled for itself


def versions(backend: str) -> dict[str, str]:
    """Of Keras and of what it runs on."""
    found = {"python": sys.version.split()[0]}
    for name in ("keras", backend, "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
