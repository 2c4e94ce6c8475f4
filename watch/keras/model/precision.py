"""Makes a Keras script compute in float64 whatever it asks for, and its dropout do nothing.

TensorFlow does not promote float32 to float64: what the user's own code makes of constants and of its data would not
go with a model in float64. Its operators are made to promote, and what it asks for in float32 it gets in float64.
"""

import functools
import inspect
import sys
from typing import Any

from watch.program.script import Session

_LOW = frozenset({"float32", "float16", "bfloat16", "half", "single"})
# Functions that make or convert tensors, by the names under which users call them.
_MAKERS = (
    "cast", "constant", "convert_to_tensor", "zeros", "ones", "fill", "eye", "one_hot", "linspace", "range", "Variable",
    "zeros_like", "ones_like", "random.normal", "random.uniform", "random.truncated_normal",
)  # fmt: skip
_COMBINERS = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "matmul", "pow", "where", "concat", "stack",
    "tensordot", "einsum", "math.add", "math.subtract", "math.multiply", "math.divide",
    "math.maximum", "math.minimum", "math.squared_difference", "math.divide_no_nan", "math.multiply_no_nan",
    "linalg.matmul", "clip_by_value",
)  # fmt: skip
_OPERATORS = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "matmul", "rmatmul", "pow", "rpow", "lt", "le",
    "gt", "ge",
)  # fmt: skip


def use_float64(session: Session, keras: Any, backend: str) -> None:
    """From now on every layer, loss and optimizer computes in float64."""
    keras.config.set_floatx("float64")
    for module in (keras.config, keras.backend, keras.src.backend, keras.src.backend.config):
        module.set_floatx = lambda value: session.warn(f"the script sets floatx to {value}; float64 is used here")
    # On torch and JAX Keras takes float64 back to float32 wherever it promotes types.
    keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    _widen_policies(keras)
    _widen_inputs(keras)
    if backend == "torch":
        import torch

        torch.set_default_dtype(torch.float64)
        torch.set_default_dtype = lambda _dtype: None
    if backend == "tensorflow":
        _promote(session)
        _pool_volumes(keras)
        _convolve_in_groups(keras)
    _tolerate_metrics(session, keras)
    widen_functions(session, keras.ops, ("cast", "convert_to_tensor", "zeros", "ones", "full", "arange", "eye"))


def _convolve_in_groups(keras: Any) -> None:
    """TensorFlow differentiates a grouped convolution on a CPU only if it is compiled: one for each group instead."""
    import tensorflow as tf

    module = keras.src.backend.nn
    original = module.conv

    @functools.wraps(original)
    def conv(inputs: Any, kernel: Any, *args: Any, **options: Any) -> Any:
        given = inspect.signature(original).bind(inputs, kernel, *args, **options).arguments
        last = (given.get("data_format") or keras.config.image_data_format()) == "channels_last"
        axis = -1 if last else 1
        groups = (inputs.shape[axis] or 0) // kernel.shape[-2]
        if groups <= 1:
            return original(inputs, kernel, *args, **options)
        parts = zip(tf.split(inputs, groups, axis), tf.split(tf.convert_to_tensor(kernel), groups, -1), strict=True)
        return tf.concat([original(x, part, *args, **options) for x, part in parts], axis)

    module.conv = conv


def _pool_volumes(keras: Any) -> None:
    """TensorFlow has no maximum over volumes in float64: the same over areas, then over the depth."""
    import tensorflow as tf

    module = keras.src.backend.nn
    original = module.max_pool

    def max_pool(
        inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
    ) -> Any:
        x = tf.convert_to_tensor(inputs)
        last = (data_format or keras.config.image_data_format()) == "channels_last"
        if x.dtype != tf.float64 or len(x.shape) != 5 or not last:
            return original(inputs, pool_size, strides, padding, data_format)
        size = [pool_size] * 3 if isinstance(pool_size, int) else list(pool_size)
        step = size if strides is None else [strides] * 3 if isinstance(strides, int) else list(strides)
        n, depth, height, width, channels = tf.unstack(tf.shape(x))
        x = tf.reshape(x, [n * depth, height, width, x.shape[-1]])
        x = tf.nn.max_pool2d(x, size[1:], step[1:], padding.upper())
        height, width = tf.unstack(tf.shape(x)[1:3])
        x = tf.reshape(x, [n, depth, height * width, channels])
        x = tf.nn.max_pool2d(x, [size[0], 1], [step[0], 1], padding.upper())
        return tf.reshape(x, [n, tf.shape(x)[1], height, width, channels])

    module.max_pool = max_pool


def _tolerate_metrics(session: Session, keras: Any) -> None:
    """A metric that cannot be computed in float64 must not end the training; none of them is compared."""
    math = keras.src.backend.math
    in_top_k = math.in_top_k
    math.in_top_k = lambda targets, predictions, k: in_top_k(targets, keras.ops.cast(predictions, "float32"), k)
    compiled = keras.src.trainers.compile_utils.CompileMetrics
    update = compiled.update_state

    def update_state(metrics: Any, *args: Any, **options: Any) -> Any:
        try:
            return update(metrics, *args, **options)
        except Exception as error:  # noqa: BLE001 whatever a user's metric raises
            session.warn(f"a metric cannot be computed in float64: {' '.join(str(error).split())[:200]}")
            return None

    compiled.update_state = update_state


def _widen_policies(keras: Any) -> None:
    """Any policy of dtypes means float64; its name stays, so that it can be told."""
    policy = keras.src.dtype_policies.dtype_policy.DTypePolicy
    original = policy._parse_name  # noqa: SLF001

    def parse(held: Any, name: Any) -> Any:
        return tuple("float64" if dtype in _LOW else dtype for dtype in original(held, name))

    policy._parse_name = parse  # noqa: SLF001


def _widen_inputs(keras: Any) -> None:
    """`Input(dtype="float32")` and `add_weight(dtype="float32")` as well."""
    for owner, name in ((keras.layers.InputLayer, "__init__"), (keras.Layer, "add_weight")):
        original = getattr(owner, name)

        def widened(held: Any, *args: Any, _original: Any = original, **options: Any) -> Any:
            return _original(held, *args, **{key: wide(value) for key, value in options.items()})

        # Keras reads the signature without following wrappers.
        widened.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        setattr(owner, name, functools.wraps(original)(widened))


def wide(value: Any) -> Any:
    """A name or object of a lower floating-point dtype as the one of float64; anything else as it is."""
    if isinstance(value, str):
        return "float64" if value in _LOW else value
    if type(value).__name__ == "DType" and getattr(value, "name", None) in _LOW:
        return type(value)(2)  # TensorFlow's number of float64
    return value


def widen_functions(session: Session, module: Any, names: tuple[str, ...]) -> None:
    """Functions that make tensors make float64 where the user's own code asks for less, or does not ask."""
    for name in names:
        owner = module
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part)
        last = name.rpartition(".")[2]
        original = getattr(owner, last, None)
        if original is None or isinstance(original, type):
            continue
        setattr(owner, last, _widened(session, original))


def _widened(session: Session, original: Any) -> Any:
    @functools.wraps(original)
    def made(*args: Any, **options: Any) -> Any:
        if not called_by_user(session, sys._getframe(1)):  # noqa: SLF001
            return original(*args, **options)
        result = original(*[wide(value) for value in args], **{key: wide(value) for key, value in options.items()})
        asked = any(
            getattr(v, "name", v) == "float64"
            for v in (*map(wide, args), *map(wide, options.values()))
            if v is not None and not hasattr(v, "shape")
        )
        if asked or getattr(getattr(result, "dtype", None), "name", None) != "float32" or _holds_float32(args):
            return result
        import tensorflow as tf

        return tf.cast(result, tf.float64) if isinstance(result, tf.Tensor) else result

    return made


def called_by_user(session: Session, frame: Any) -> bool:
    """Whether the user's own code calls; watchers around watchers do not count."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("watch."):
        frame = frame.f_back
    return frame is not None and session.order.of_user(frame)


def _holds_float32(args: tuple[Any, ...]) -> bool:
    """Whether an argument is an array of float32, which the result is like."""
    return any(str(getattr(getattr(value, "dtype", None), "name", "")) == "float32" for value in args)


def _promote(session: Session) -> None:
    """TensorFlow's operators, and the functions that users combine tensors by, promote float32 to float64."""
    import tensorflow as tf

    widen_functions(session, tf, _MAKERS)
    for name in _COMBINERS:
        owner: Any = tf
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part)
        last = name.rpartition(".")[2]
        setattr(owner, last, _promoted(session, getattr(owner, last)))
    for name in _OPERATORS:
        setattr(tf.Tensor, f"__{name}__", _promoted(session, getattr(tf.Tensor, f"__{name}__")))


def _promoted(session: Session, original: Any) -> Any:
    import tensorflow as tf

    @functools.wraps(original)
    def combined(*args: Any, **options: Any) -> Any:
        if not called_by_user(session, sys._getframe(1)):  # noqa: SLF001
            return original(*args, **options)
        flat = [value for value in tf.nest.flatten((args, options)) if hasattr(value, "dtype")]
        if not any(value.dtype == tf.float64 for value in flat):
            return original(*args, **options)
        low = (tf.float32, tf.float16, tf.bfloat16)
        args, options = tf.nest.map_structure(
            lambda value: tf.cast(value, tf.float64) if hasattr(value, "dtype") and value.dtype in low else value,
            (args, options),
        )
        return original(*args, **options)

    return combined


def silence_dropout(keras: Any, backend: str) -> None:
    """Dropout does nothing; its rates stay in the layers' settings."""
    random = keras.src.backend.random

    def kept(inputs: Any, *_args: Any, **_options: Any) -> Any:
        return inputs

    random.dropout = kept
    if hasattr(keras.random, "dropout"):
        keras.random.dropout = kept
    for name in ("GaussianDropout", "AlphaDropout"):
        getattr(keras.layers, name).call = lambda _layer, inputs, *_args, **_options: inputs
    if backend == "tensorflow":
        import tensorflow as tf

        tf.nn.dropout = kept
    if backend == "torch":
        import torch

        torch.nn.functional.dropout = kept  # type: ignore[assignment]
