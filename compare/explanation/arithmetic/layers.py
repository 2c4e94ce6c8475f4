"""What a layer with parameters makes of its input, in torch's layout and float64."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from compare.explanation.arithmetic.recurrent import attention, run
from compare.explanation.observed.kinds import RECURRENT, Weights
from compare.explanation.observed.observation import Array
from compare.explanation.operations.windows import convolution, transposed_convolution


def output_of(kind: str, x: Array, weights: Weights, settings: Mapping[str, Any]) -> Array | None:
    """The output of a layer.

    Args:
        kind: The common name of the kind, of a bidirectional layer that of its gates.
        x: The input in torch's layout, samples first.
        weights: Under common names in torch's layout.
        settings: As `settings_of` gives them.

    Returns:
        In torch's layout, None for a kind that is not known or an input that does not fit.
    """
    try:
        return _output(kind, np.asarray(x), weights, settings)
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def _output(kind: str, x: Array, weights: Weights, settings: Mapping[str, Any]) -> Array | None:
    bias = weights.get("bias")
    if kind == "dense":
        out = x @ weights["kernel"].T
        return out if bias is None else out + bias
    if kind in ("convolution", "depthwise convolution"):
        groups = x.shape[1] // weights["kernel"].shape[1]
        return convolution(
            x,
            weights["kernel"],
            bias,
            stride=settings["stride"],
            pads=settings["padding"],
            dilation=settings["dilation"],
            groups=groups,
            mode=settings.get("padding mode", "zeros"),
        )
    if kind == "transposed convolution":
        return transposed_convolution(
            x,
            weights["kernel"],
            bias,
            stride=settings["stride"],
            crops=settings["cropping"],
            dilation=settings["dilation"],
            extra=settings["output padding"],
        )
    if kind in RECURRENT:
        return run(kind, x, weights, settings)
    if kind == "multi-head attention":
        return attention(x, x, x, weights, int(settings["heads"])) if settings.get("heads") else None
    if kind == "embedding":
        return weights["kernel"][x.astype(np.int64)]
    return _normalized(kind, x, weights, settings)


def _normalized(kind: str, x: Array, weights: Weights, settings: Mapping[str, Any]) -> Array | None:
    epsilon = float(settings["epsilon"])
    channels = (1, -1, *[1] * (x.ndim - 2))
    if kind == "batch normalization":
        if settings.get("training", True):
            axes = (0, *range(2, x.ndim))
            mean, variance = x.mean(axis=axes).reshape(channels), x.var(axis=axes).reshape(channels)
        else:
            mean, variance = weights["running_mean"].reshape(channels), weights["running_var"].reshape(channels)
        shape: tuple[int, ...] = channels
    elif kind == "layer normalization":
        axes = tuple(range(x.ndim - weights["kernel"].ndim, x.ndim))
        mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        shape = weights["kernel"].shape
    elif kind == "RMS normalization":
        mean, variance = np.zeros(1), np.mean(x * x, axis=-1, keepdims=True)
        shape = weights["kernel"].shape
    elif kind == "group normalization":
        grouped = x.reshape(x.shape[0], int(settings["groups"]), -1)
        whole = (x.shape[0], -1, *[1] * (x.ndim - 2))
        repeats = x.shape[1] // int(settings["groups"])
        mean = np.repeat(grouped.mean(axis=2), repeats, axis=1).reshape(whole)
        variance = np.repeat(grouped.var(axis=2), repeats, axis=1).reshape(whole)
        shape = channels
    else:
        return None
    out = (x - mean) / np.sqrt(variance + epsilon)
    if "kernel" in weights:
        out = out * weights["kernel"].reshape(shape)
    return out + weights["bias"].reshape(shape) if "bias" in weights else out
