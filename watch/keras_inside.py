"""What a Keras layer does inside of its own call that is looked at apart: its activation, its dropout."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

_OWN_DROPOUT = ("dropout", "recurrent_dropout")  # rates inside of recurrent layers and of attention
_NOISE = frozenset({
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout",
    "GaussianNoise",
})  # fmt: skip


def dropout_rates(layer: Any) -> dict[str, Any]:
    """The rates of a layer that is dropout, or has some inside, by what they are called."""
    kind = type(layer).__name__
    rates = {kind: getattr(layer, "rate", getattr(layer, "stddev", None))} if kind in _NOISE else {}
    for attribute in _OWN_DROPOUT:
        inner = getattr(layer, "forward_layer", layer)
        rate = getattr(inner, attribute, getattr(inner, f"_{attribute}", None))
        if isinstance(rate, int | float) and rate:
            rates[f"{kind}.{attribute}"] = rate
    return rates


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
