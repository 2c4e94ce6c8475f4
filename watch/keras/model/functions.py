"""Functions that a user's own Keras code calls inside of layers and losses: found by the caller's frame."""

import functools
import sys
from typing import Any

from watch.keras.model.calls import NO_COMPUTATION, Calls
from watch.keras.model.losses import Losses
from watch.keras.model.precision import called_by_user
from watch.program.script import Session

_TENSORFLOW = (
    "reshape", "transpose", "concat", "stack", "reduce_mean", "reduce_sum", "reduce_max", "matmul", "einsum", "squeeze",
    "expand_dims", "pad", "exp", "sqrt", "square", "tanh", "sigmoid", "tile", "split", "gather", "where", "add",
    "multiply", "subtract", "divide", "pow", "abs", "maximum", "minimum", "reduce_min", "clip_by_value", "norm", "sign",
    "linalg.norm", "math.reduce_mean", "math.reduce_sum", "math.reduce_max", "math.reduce_min", "math.exp", "math.log",
    "math.log1p", "math.sqrt", "math.square", "math.abs", "math.pow", "math.maximum", "math.minimum", "math.rsqrt",
    "math.squared_difference", "math.log_sigmoid", "math.reduce_std", "math.reduce_variance", "math.reduce_logsumexp",
    "math.add", "math.subtract", "math.multiply", "math.divide", "math.tanh", "math.sigmoid", "math.softplus",
    "math.l2_normalize", "nn.relu", "nn.relu6", "nn.elu", "nn.selu", "nn.gelu", "nn.silu", "nn.swish", "nn.leaky_relu",
    "nn.softmax", "nn.log_softmax", "nn.sigmoid", "nn.tanh", "nn.softplus", "nn.softsign", "nn.max_pool",
    "nn.max_pool2d", "nn.avg_pool", "nn.avg_pool2d", "nn.conv2d", "nn.bias_add", "nn.l2_normalize", "nn.dropout",
    "nn.batch_normalization", "nn.embedding_lookup", "image.resize", "stop_gradient",
)  # fmt: skip
_TENSORFLOW_LOSSES = (
    "nn.sparse_softmax_cross_entropy_with_logits", "nn.softmax_cross_entropy_with_logits",
    "nn.sigmoid_cross_entropy_with_logits", "nn.weighted_cross_entropy_with_logits",
)  # fmt: skip
_JAX = (
    "relu", "relu6", "elu", "selu", "gelu", "silu", "swish", "leaky_relu", "softmax", "log_softmax", "sigmoid", "tanh",
    "softplus", "one_hot",
)  # fmt: skip
_OPERATORS = (
    "add", "sub", "mul", "truediv", "matmul", "pow", "neg", "abs", "radd", "rsub", "rmul", "rtruediv", "rpow",
    "getitem",
)  # fmt: skip


class Functions:
    """Takes the place of the functions through which user code computes.

    Args:
        session: The run.
        calls: To be told of functions inside of layers.
        losses: To be told of loss functions.
    """

    def __init__(self, session: Session, calls: Calls, losses: Losses) -> None:
        self._session, self._calls, self._losses = session, calls, losses

    def watch(self, keras: Any, backend: str) -> None:  # noqa: C901 a catalogue
        """Wraps what the backend and Keras offer."""
        for module in (keras.ops, keras.activations):
            for name, value in list(vars(module).items()):
                skipped = name.startswith("_") or name in NO_COMPUTATION or name in {"get", "serialize", "deserialize"}
                if callable(value) and not skipped and not isinstance(value, type) and hasattr(value, "__code__"):
                    setattr(module, name, self._call(value, name))
        for name, value in list(vars(keras.losses).items()):
            if hasattr(value, "__code__") and name not in {"get", "serialize", "deserialize"}:
                setattr(keras.losses, name, self._loss(value, name))
        for name in ("categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy"):
            setattr(keras.ops, name, self._loss(getattr(keras.ops, name), name))
        if backend == "tensorflow":
            self._watch_tensorflow()
        if backend == "jax":
            import jax

            for name in _JAX:
                setattr(jax.nn, name, self._call(getattr(jax.nn, name), name))
            jax.lax.stop_gradient = self._call(jax.lax.stop_gradient, "stop_gradient")
        if backend == "torch":
            self._watch_torch()

    def _watch_tensorflow(self) -> None:
        import tensorflow as tf

        for names, wrap in ((_TENSORFLOW, self._call), (_TENSORFLOW_LOSSES, self._loss)):
            for path in names:
                owner: Any = tf
                *parts, last = path.split(".")
                for part in parts:
                    owner = getattr(owner, part)
                if hasattr(owner, last):
                    setattr(owner, last, wrap(getattr(owner, last), last))
        for name in _OPERATORS:
            method = f"__{name}__"
            setattr(tf.Tensor, method, self._call(getattr(tf.Tensor, method), name.removeprefix("r")))

    def _watch_torch(self) -> None:
        import torch

        functional = torch.nn.functional
        for name in (*_JAX, "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "normalize", "pad", "interpolate"):
            if hasattr(functional, name):
                setattr(functional, name, self._call(getattr(functional, name), name))
        for name in ("relu", "sigmoid", "tanh", "softmax", "cat", "flatten", "stack"):
            setattr(torch, name, self._call(getattr(torch, name), name))
        for name in ("cross_entropy", "nll_loss", "mse_loss", "l1_loss", "binary_cross_entropy", "huber_loss",
                     "binary_cross_entropy_with_logits", "smooth_l1_loss", "kl_div"):  # fmt: skip
            setattr(functional, name, self._loss(getattr(functional, name), name, torch_module=True))

    def _call(self, original: Any, name: str) -> Any:
        session, calls = self._session, self._calls

        @functools.wraps(original)
        def function(*args: Any, **options: Any) -> Any:
            if not (calls.inside or calls.after_model) or not called_by_user(session, sys._getframe(1)):  # noqa: SLF001
                return original(*args, **options)
            return calls.function(name, original, args, options)

        return function

    def _loss(self, original: Any, name: str, torch_module: bool = False) -> Any:
        session, losses = self._session, self._losses

        @functools.wraps(original)
        def function(*args: Any, **options: Any) -> Any:
            frame = sys._getframe(1)  # noqa: SLF001
            of_module = torch_module and frame.f_globals.get("__name__") == "torch.nn.modules.loss"
            if not of_module and not session.order.of_user(frame):
                return original(*args, **options)
            return losses.function(name, original, args, options)

        return function
