"""What a Keras layer does inside of its own call that is looked at apart: its activation, its dropout."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

_OWN_DROPOUT = ("dropout", "recurrent_dropout")  # rates inside of recurrent layers and of attention
_NOISE = frozenset({
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout",
})  # fmt: skip

_ON_THE_LAST_AXIS = frozenset({"Dense", "Activation", "Dropout"})  # however many axes there are before it


def dropout_rates(layer: Any) -> dict[str, Any]:
    """The rates of a layer that is dropout, or has some inside, by what they are called."""
    kind = type(layer).__name__
    rates = {kind: getattr(layer, "rate", None)} if kind in _NOISE else {}
    for attribute in _OWN_DROPOUT:
        inner = getattr(layer, "forward_layer", layer)
        rate = getattr(inner, attribute, getattr(inner, f"_{attribute}", None))
        if isinstance(rate, int | float) and rate:
            rates[f"{kind}.{attribute}"] = rate
    return rates


def folds_time(layer: Any) -> bool:
    """Whether a layer is a TimeDistributed that gives the same where its layer gets all time steps in one call.

    Not so where that normalises by the batch: Keras has it take the statistics of each step by itself.
    """
    if type(layer).__name__ != "TimeDistributed":
        return False
    parts = layer.layer._flatten_layers()  # noqa: SLF001
    return not any(type(part).__name__ in ("BatchNormalization", "SpectralNormalization") for part in parts)


def fold_time(keras: Any) -> None:
    """TimeDistributed calls its layer once, on all time steps, as programs of torch do; so that call can be watched."""
    distributed = keras.layers.TimeDistributed
    original = distributed.call

    def call(layer: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        shape = tuple(inputs.shape)
        if None in shape or not folds_time(layer):
            return original(layer, inputs, training=training, mask=mask)
        inner = layer.layer
        options = {"training": training} if inner._call_has_training_arg else {}  # noqa: SLF001
        if type(inner).__name__ in _ON_THE_LAST_AXIS:
            return inner(inputs, **options)
        if mask is not None and inner._call_has_mask_arg:  # noqa: SLF001
            options["mask"] = keras.ops.reshape(mask, (-1, *mask.shape[2:]))
        outputs = inner(keras.ops.reshape(inputs, (-1, *shape[2:])), **options)
        return keras.ops.reshape(outputs, (*shape[:2], *outputs.shape[1:]))

    call.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    distributed.call = call


@contextlib.contextmanager
def preactivation(layer: Any, keep: Callable[[Any], None], recording: bool) -> Iterator[None]:
    """Within this, what a layer's own activation is applied to is kept.

    Args:
        layer: The layer.
        keep: Keeps a value.
        recording: Whether values are kept at all.
    """
    activation = getattr(layer, "activation", None)
    compound = hasattr(layer, "cell") or hasattr(layer, "forward_layer") or type(layer).__name__ == "Activation"
    linear = getattr(activation, "__name__", "") == "linear"
    if not recording or not callable(activation) or linear or compound:
        yield
        return

    def recorded(value: Any, *args: Any, **options: Any) -> Any:
        keep(value)
        return activation(value, *args, **options)

    own = vars(layer)
    before = own.get("activation")
    own["activation"] = recorded
    try:
        yield
    finally:
        if before is None:
            del own["activation"]
        else:
            own["activation"] = before
