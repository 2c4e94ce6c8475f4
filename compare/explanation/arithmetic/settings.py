"""The settings of a layer that matter to its values, under common names, whichever framework it is of."""

from collections.abc import Mapping, Sequence
from typing import Any

from compare.explanation.observed.kinds import gates_of, kind_of
from compare.explanation.observed.observation import Layer
from compare.explanation.operations.windows import same_pads

Settings = dict[str, Any]


def settings_of(layer: Layer, framework: str, kernel: Sequence[int], sizes: Sequence[int]) -> Settings:
    """Common settings of a layer with parameters.

    Args:
        layer: The layer.
        framework: `keras` or `torch`.
        kernel: The spatial sizes of a convolution's kernel; empty for others.
        sizes: The spatial sizes of its input; empty for others.
    """
    kind = kind_of(layer)
    s = layer.settings
    if kind in ("convolution", "depthwise convolution"):
        return _convolution(s, framework, kernel, sizes)
    if kind == "transposed convolution":
        return _transposed(s, framework, kernel)
    if kind == "batch normalization":
        momentum = s.get("momentum")
        if framework == "torch":
            momentum = None if momentum is None else 1 - float(momentum)
        return {"epsilon": s.get("epsilon", s.get("eps")), "momentum": momentum, "training": layer.training}
    if "normalization" in kind:
        return {"epsilon": s.get("epsilon", s.get("eps")), "groups": s.get("groups", s.get("num_groups"))}
    if gates_of(layer):
        return _recurrent(layer, framework)
    if kind == "multi-head attention":
        return {"heads": s.get("num_heads"), "batch first": framework == "keras" or bool(s.get("batch_first"))}
    return {}


def numbers(value: Any, count: int) -> list[int]:
    """A setting that is one number or one per axis, as one per axis."""
    if isinstance(value, int | float):
        return [int(value)] * count
    found = [int(entry) for entry in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    return found if len(found) == count else [found[0] if found else 1] * count


def _convolution(s: Mapping[str, Any], framework: str, kernel: Sequence[int], sizes: Sequence[int]) -> Settings:
    count = len(kernel)
    stride = numbers(s.get("strides", s.get("stride", 1)), count)
    dilation = numbers(s.get("dilation_rate", s.get("dilation", 1)), count)
    padding = s.get("padding", "valid" if framework == "keras" else 0)
    if padding == "same":
        torch_stride = [1] * count if framework == "torch" else stride
        pads = same_pads(sizes, kernel, torch_stride, dilation)
    elif padding == "causal":
        pads = [((width - 1) * spread, 0) for width, spread in zip(kernel, dilation, strict=True)]
    elif isinstance(padding, str):
        pads = [(0, 0)] * count
    else:
        pads = [(number, number) for number in numbers(padding, count)]
    return {
        "stride": stride,
        "padding": [tuple(pair) for pair in pads],
        "dilation": dilation,
        "padding mode": s.get("padding_mode", "zeros"),
    }


def _transposed(s: Mapping[str, Any], framework: str, kernel: Sequence[int]) -> Settings:
    count = len(kernel)
    stride = numbers(s.get("strides", s.get("stride", 1)), count)
    dilation = numbers(s.get("dilation_rate", s.get("dilation", 1)), count)
    extra = s.get("output_padding")
    if framework == "torch":
        more = numbers(extra or 0, count)
        crops = [(n, n) for n in numbers(s.get("padding", 0), count)]
        return {"stride": stride, "cropping": crops, "dilation": dilation, "output padding": more}
    reach = [(width - 1) * spread + 1 for width, spread in zip(kernel, dilation, strict=True)]
    if s.get("padding", "valid") != "same":
        more = [max(step - width, 0) for step, width in zip(stride, reach, strict=True)] if extra is None else extra
        return {"stride": stride, "cropping": [(0, 0)] * count, "dilation": dilation, "output padding": list(more)}
    # "same": the output is the input times the stride; what is too much is cut, the odd one at the end.
    cut = [max(width - step, 0) for width, step in zip(reach, stride, strict=True)]
    crops = [(n // 2, n - n // 2) for n in cut]
    more = [max(step - width, 0) for step, width in zip(stride, reach, strict=True)]
    return {"stride": stride, "cropping": crops, "dilation": dilation, "output padding": more}


def _recurrent(layer: Layer, framework: str) -> Settings:
    s: Mapping[str, Any] = layer.settings
    inner = s.get("layer")
    if isinstance(inner, Mapping):
        s = inner.get("config", inner)
    gates = gates_of(layer)
    if framework == "torch":
        plain = str(s.get("nonlinearity") or "tanh")
        return {
            "activation": plain if gates == "simple RNN" else "tanh",
            "recurrent activation": "sigmoid",
            "reset after": True,
            "batch first": bool(s.get("batch_first", False)) or layer.kind.endswith("Cell"),
            "backwards": False,
        }
    return {
        "activation": str(s.get("activation", "tanh")),
        "recurrent activation": str(s.get("recurrent_activation", "sigmoid")),
        "reset after": bool(s.get("reset_after", True)),
        "batch first": True,
        "backwards": bool(s.get("go_backwards", False)),
    }
