"""What kind of layer a layer is, whichever framework it is of, and its weights in one common layout, torch's."""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from compare.explanation.observed.observation import Array, Layer

ATTENTION = "multi-head attention"

KINDS: dict[str, str] = {
    **dict.fromkeys(("Dense", "Linear", "NonDynamicallyQuantizableLinear", "LazyLinear"), "dense"),
    **{f"Conv{n}D": "convolution" for n in (1, 2, 3)},
    **{f"Convolution{n}D": "convolution" for n in (1, 2, 3)},
    **{f"{lazy}Conv{n}d": "convolution" for n in (1, 2, 3) for lazy in ("", "Lazy")},
    **{f"Conv{n}DTranspose": "transposed convolution" for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": "transposed convolution" for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": "depthwise convolution" for n in (1, 2)},
    **{f"SeparableConv{n}D": "separable convolution" for n in (1, 2)},
    "BatchNormalization": "batch normalization",
    **{f"BatchNorm{n}d": "batch normalization" for n in (1, 2, 3)},
    "SyncBatchNorm": "batch normalization",
    "LayerNormalization": "layer normalization",
    "LayerNorm": "layer normalization",
    "RMSNormalization": "RMS normalization",
    "RMSNorm": "RMS normalization",
    "GroupNormalization": "group normalization",
    "GroupNorm": "group normalization",
    "Embedding": "embedding",
    "LSTM": "LSTM",
    "LSTMCell": "LSTM",
    "GRU": "GRU",
    "GRUCell": "GRU",
    "SimpleRNN": "simple RNN",
    "SimpleRNNCell": "simple RNN",
    "RNN": "simple RNN",
    "RNNCell": "simple RNN",
    "Bidirectional": "bidirectional",
    "MultiHeadAttention": ATTENTION,
    "MultiheadAttention": ATTENTION,
    "PReLU": "PReLU",
}

RECURRENT = {"LSTM": 4, "GRU": 3, "simple RNN": 1}
"""The number of gates."""

ATTENDING = ("query", "key", "value")
"""The projections of attention, in the order in which torch's `in_proj_weight` stacks them."""

Weights = dict[str, Array]


def kind_of(layer: Layer) -> str:
    """The common name of a layer's kind, by its class or the nearest that it inherits from; `own` of none known."""
    return next((KINDS[name] for name in layer.names if name in KINDS), "own")


def gates_of(layer: Layer) -> str | None:
    """Of a recurrent layer, bidirectional ones included, which kind it is."""
    kind = kind_of(layer)
    if kind in RECURRENT:
        return kind
    if kind != "bidirectional":
        return None
    text = " ".join([*layer.parameters, *(p.path for p in layer.parameters.values()), str(layer.settings)]).lower()
    return next(
        (name for mark, name in (("lstm", "LSTM"), ("gru", "GRU"), ("rnn", "simple RNN")) if mark in text), None
    )


def common(layer: Layer, arrays: Mapping[str, Array]) -> Weights | None:
    """A layer's weights under common names in torch's layout.

    Args:
        layer: Of either framework.
        arrays: Its weights by their local names, in its framework's layout.

    Returns:
        Common names and arrays; None for a layer whose weights are not known that well.
    """
    kind = kind_of(layer)
    local = {_local(name): array for name, array in arrays.items()}
    if kind in RECURRENT or kind == "bidirectional":
        return _recurrent(layer, arrays)
    if kind == ATTENTION:
        return _attention(arrays)
    if kind == "separable convolution":
        found = {"depthwise": _depthwise(local["depthwise_kernel"]), "kernel": _convolution(local["pointwise_kernel"])}
        return found | ({"bias": local["bias"]} if "bias" in local else {})
    named: Weights = {}
    names = _common_names(kind, local)
    for name, array in local.items():
        if name in ("num_batches_tracked", "seed_generator_state"):
            continue
        named[names.get(name, name)] = _turned(kind, name, array)
    return named


def _common_names(kind: str, names: Iterable[str]) -> Mapping[str, str]:
    """Common names by the local ones; what a normalisation of the user's own calls `g` or does not name is its factor.

    Of two such weights the second is the bias.
    """
    names = list(names)
    unknown = [name for name in names if _COMMON_NAMES.get(name, name) not in _COMMON]
    if kind not in ("layer normalization", "RMS normalization") or len(unknown) > 2:
        return _COMMON_NAMES
    taken = {_COMMON_NAMES.get(name, name) for name in names}
    free = [name for name in ("kernel", "bias") if name not in taken]
    return {**_COMMON_NAMES, **dict(zip(unknown, free, strict=False))}


_COMMON_NAMES = {
    "weight": "kernel", "gamma": "kernel", "scale": "kernel", "embeddings": "kernel", "alpha": "kernel",
    "depthwise_kernel": "kernel", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


_COMMON = frozenset({"kernel", "bias", "running_mean", "running_var", "num_batches_tracked", "seed_generator_state"})


def _local(name: str) -> str:
    return re.split(r"[/.]", name)[-1]


def _turned(kind: str, name: str, array: Array) -> Array:
    """One array in torch's layout; the names that are turned are Keras's alone."""
    if name == "depthwise_kernel" or (kind == "depthwise convolution" and name == "kernel"):
        return _depthwise(array)
    if name == "kernel" and kind == "dense":
        return array.T if array.ndim == 2 else array
    if name == "kernel" and kind in ("convolution", "transposed convolution"):
        return _convolution(array)  # (..., out, in) of a transposed one becomes (in, out, ...) by the same turn
    if name == "alpha":
        return array.reshape(-1)
    if kind == "embedding" and array.ndim == 3 and len(array) == 1:  # a table with an axis for the samples
        return array[0]
    if name in ("gamma", "beta") and kind == "layer normalization" and array.ndim > 2:
        return np.moveaxis(array, -1, 0)  # of pictures, over all their axes
    return array


def _convolution(kernel: Array) -> Array:
    """(spatial..., in, out) -> (out, in, spatial...)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _depthwise(kernel: Array) -> Array:
    """(spatial..., in, multiplier) -> (in * multiplier, 1, spatial...)."""
    turned = np.moveaxis(kernel, (-2, -1), (0, 1))
    return turned.reshape(-1, 1, *turned.shape[2:])


def _recurrent(layer: Layer, arrays: Mapping[str, Array]) -> Weights | None:
    """Weights of recurrent layers: names end with the level and the direction, as torch's do."""
    named: Weights = {}
    kind = gates_of(layer)
    for name, array in arrays.items():
        path = layer.parameters[name].path if name in layer.parameters else name
        last = _local(name)
        if re.match(r"(weight|bias)_(ih|hh)", last):
            named[last if "_l" in last else f"{last}_l0"] = array
            continue
        reverse = "_reverse" if "backward" in f"{name} {path}" else ""
        if last in ("kernel", "recurrent_kernel"):
            source = "hh" if last.startswith("rec") else "ih"
            named[f"weight_{source}_l0{reverse}"] = _gates(kind, array.T)
        elif last == "bias":
            biases = array if array.ndim == 2 else [array, None]
            for source, bias in zip(("ih", "hh"), biases, strict=True):
                if bias is not None:
                    named[f"bias_{source}_l0{reverse}"] = _gates(kind, bias)
    return named


def _gates(kind: str | None, array: Array) -> Array:
    """Keras's order of a GRU's gates (z, r, h) turned into torch's (r, z, n); those of an LSTM are the same."""
    if kind != "GRU":
        return array
    update, reset, new = np.split(array, 3)
    return np.concatenate([reset, update, new])


def _attention(arrays: Mapping[str, Array]) -> Weights | None:
    """Weights of multi-head attention: query, key, value and output as (out, in) matrices."""
    named: Weights = {}
    for name, array in arrays.items():
        last = _local(name)
        if last in ("in_proj_weight", "in_proj_bias"):
            for part, piece in zip(ATTENDING, np.split(array, 3), strict=True):
                named[f"{part}.{'kernel' if last.endswith('weight') else 'bias'}"] = piece
            continue
        if last in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            named[f"{_PROJECTIONS[last[0]]}.kernel"] = array
            continue
        part = next((part for part in ATTENDING if re.search(rf"\b{part}\b", name)), "output")
        if last in ("kernel", "weight"):
            named[f"{part}.kernel"] = _heads_joined(part, array)
        elif last == "bias":
            named[f"{part}.bias"] = array.reshape(-1)
    return named


_PROJECTIONS = {"q": "query", "k": "key", "v": "value"}


def _heads_joined(part: str, kernel: Array) -> Array:
    """Keras's (in, heads, size), or of the output (heads, size, out), as (out, in)."""
    if kernel.ndim != 3:
        return kernel
    return (kernel.reshape(-1, kernel.shape[-1]) if part == "output" else kernel.reshape(kernel.shape[0], -1)).T


def into(layer: Layer, weights: Mapping[str, Array]) -> Weights | None:
    """Common weights in the layout of a torch layer, by its local names.

    Args:
        layer: Of torch.
        weights: As `common` gives them.

    Returns:
        Only what this layer has and the weights fill, None if a shape does not fit.
    """
    placed: Weights = {}
    names = _common_names(kind_of(layer), map(_local, layer.parameters))
    for name, parameter in layer.parameters.items():
        found = _for_torch(name, weights, names)
        if found is None:
            continue
        if found.shape != parameter.shape:
            if found.size != math.prod(parameter.shape):
                return None
            found = found.reshape(parameter.shape)
        placed[name] = found
    return placed


def _for_torch(name: str, weights: Mapping[str, Array], names: Mapping[str, str]) -> Array | None:
    last = _local(name)
    if last in ("in_proj_weight", "in_proj_bias"):
        kind = "kernel" if last.endswith("weight") else "bias"
        parts = [weights[name] for name in (f"{part}.{kind}" for part in ATTENDING) if name in weights]
        return np.concatenate(parts) if len(parts) == 3 else None
    if last in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        return weights.get(f"{_PROJECTIONS[last[0]]}.kernel")
    if name.startswith("out_proj."):
        return weights.get("output.kernel" if last == "weight" else "output.bias")
    if re.match(r"(weight|bias)_(ih|hh)", last):
        key = last if "_l" in last else f"{last}_l0"
        if key not in weights and key.startswith("bias_hh") and key.replace("_hh", "_ih") in weights:
            return np.zeros_like(weights[key.replace("_hh", "_ih")])
        return weights.get(key)
    return weights.get(names.get(last, last))
