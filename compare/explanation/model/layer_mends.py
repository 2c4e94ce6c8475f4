"""What makes a layer do as the reference's does, as a line of code."""

import re
from collections.abc import Sequence
from typing import Any

from compare.explanation.context import called, in_code
from compare.explanation.model.layer_causes import MASK_TURNED_ROUND, NOT_CAUSAL, OTHER_MASK, Cause
from compare.explanation.observed.observation import Layer
from compare.explanation.observed.pairing import Pair
from compare.explanation.operations.windows import ends_of

_IN_TORCH = {
    "epsilon": "eps", "stride": "stride", "dilation": "dilation", "output padding": "output_padding",
    "groups": "num_groups",
}  # fmt: skip
_IN_KERAS = {
    "epsilon": "epsilon", "stride": "strides", "dilation": "dilation_rate", "output padding": "output_padding",
    "groups": "groups", "padding": "padding", "cropping": "padding",
}  # fmt: skip


def mend_of(pair: Pair, cause: Cause, model: str, *, in_torch: bool, extra: str = "0") -> str:
    """What to do about one cause.

    Args:
        pair: The layers; the steered side's is the one to mend.
        cause: What differs.
        model: The variable that holds the steered side's model.
        in_torch: Whether the steered side is torch's; if it is Keras's, so is the guide.
        extra: The guide's output padding, of a transposed convolution.
    """
    layer = pair.port
    if not in_torch:
        key = _IN_KERAS.get(cause.name, "")
        return _with(layer, f"{key}={_tupled(pair.guide.settings[key])!r}") if key in pair.guide.settings else ""
    if cause.name == "training":
        if "running" in cause.guide:
            return f"{in_code(layer.name, model)}.eval() after {model}.train(), whenever that is called"
        return f"{in_code(layer.name, model)}.train() where the model trains"
    if cause.name.startswith("padding is not masked"):
        return f"leave padded steps out: pack_padded_sequence before {called(layer)}"
    if cause.name == NOT_CAUSAL:
        return f"give {called(pair.port)} a causal mask: nn.Transformer.generate_square_subsequent_mask(length)"
    if cause.name == MASK_TURNED_ROUND:
        return f"give {called(layer)} the opposite mask, ~mask: torch leaves out what is True, Keras attends to it"
    if cause.name == OTHER_MASK:
        return f"mask in {called(layer)} what the reference masks, with True for what is left out"
    if cause.name.startswith("nothing is masked"):
        return f"give {called(layer)} the mask: key_padding_mask=(tokens == 0)"
    return _setting(layer, cause, extra) or f"{called(layer)}: {cause.guide}, not {cause.steered}"


def _setting(layer: Layer, cause: Cause, extra: str) -> str:
    """The setting of a layer of torch's that is to be another; empty if it is none."""
    if cause.name == "padding":
        return _padded(layer, _pairs(cause.guide, layer))
    if cause.name == "cropping":
        return _cut(layer, _pairs(cause.guide, layer), extra)
    if cause.name.startswith("padding mode"):
        return _with(layer, f"padding_mode={cause.guide!r}")
    if cause.name.startswith("samples taken for time"):
        return _with(layer, "batch_first=True")
    if cause.name == "number of heads":
        return _with(layer, f"num_heads={cause.guide.split()[0]}")
    key = _IN_TORCH.get(cause.name)
    return _with(layer, f"{key}={cause.guide.replace('[', '(').replace(']', ')')}") if key else ""


def size_mend(port: Layer, shapes: dict[str, tuple[int, ...]]) -> str:
    """A layer of torch's in the guide's size; empty for one whose size is not simply that of its weights.

    Args:
        port: The layer to mend.
        shapes: The guide's, under common names in torch's layout.
    """
    kernel = shapes.get("kernel", ())
    if _SIZED.get(port.kind) != len(kernel):
        return ""
    sizes = kernel[::-1] if port.kind == "Linear" else kernel  # Linear(in, out) has a weight (out, in)
    return f"nn.{port.kind}({', '.join(map(str, sizes))}{'' if _is_plain(port) else ', ...'})"


_SIZED = {
    "Linear": 2, "Embedding": 2, "PReLU": 1, "LayerNorm": 1, "BatchNorm1d": 1, "BatchNorm2d": 1, "BatchNorm3d": 1,
}  # fmt: skip
"""Layers that are made by the sizes of their weight, and how many those are."""


def part_mend(pair: Pair, name: str, model: str, *, has: bool, in_torch: bool) -> str:
    """A layer of the steered side with a bias or a factor, or without it.

    Args:
        pair: The layers.
        name: `kernel` for the factor of a normalisation, else a bias.
        model: The variable that holds the steered side's model.
        has: Whether the guide's layer has it.
        in_torch: Whether the steered side is torch's.
    """
    layer, factor = pair.port, name == "kernel"
    if "normalization" not in pair.kind:
        return _with(layer, f"{'bias' if in_torch else 'use_bias'}={has}")
    if not in_torch:
        return _with(layer, f"{'scale' if factor else 'center'}={has}")
    if has:
        return _with(layer, f"{'' if pair.kind.startswith(('batch', 'group')) else 'elementwise_'}affine=True")
    return f"{in_code(layer.name, model)}.{'weight' if factor else 'bias'}.requires_grad_(False)"


def _is_plain(layer: Layer) -> bool:
    """Whether a layer has no other setting than its size."""
    if layer.kind == "Linear":
        return any("bias" in name for name in layer.parameters)
    return layer.kind == "PReLU" and layer.settings.get("init") in (None, 0.25)


def _with(layer: Layer, setting: str) -> str:
    return f"{layer.kind}(..., {setting})"


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _axes(layer: Layer) -> int:
    """The number of axes in space that a convolution has, by its name."""
    found = re.search(r"(\d)[dD]", layer.kind)
    return int(found[1]) if found else 1


def _pairs(text: str, layer: Layer) -> list[tuple[int, int]]:
    """What is at both ends of each axis, from words that have it once where it is the same of all axes."""
    found = [(int(a), int(b)) for a, b in re.findall(r"\((\d+), (\d+)\)", text)]
    return found * _axes(layer) if len(found) == 1 else found


def _padded(layer: Layer, pairs: Sequence[tuple[int, int]]) -> str:
    """A padding; one that is not the same at both ends needs a line of its own in torch."""
    if all(before == after for before, after in pairs):
        return _with(layer, f"padding={_symmetric(pairs)}")
    return f"{_pad(layer, ends_of(pairs))} before {called(layer)}, and {_with(layer, 'padding=0')}"


def _cut(layer: Layer, pairs: Sequence[tuple[int, int]], extra: str) -> str:
    """What is cut off the output of a transposed convolution, which torch calls its padding."""
    more = f"output_padding={extra.replace('[', '(').replace(']', ')')}"
    if all(before == after for before, after in pairs):
        return _with(layer, f"padding={_symmetric(pairs)}, {more}")
    return f"{_with(layer, f'padding=0, {more}')}, then {_pad(layer, ends_of(pairs, -1))}"


def _symmetric(pairs: Sequence[tuple[int, int]]) -> str:
    ends = tuple(before for before, _ in pairs)
    return str(ends[0] if len(set(ends)) == 1 else ends)


def _pad(layer: Layer, ends: tuple[int, ...]) -> str:
    """In a sequence of layers, whose names are numbers, a layer of its own."""
    of_sequence = layer.name.rpartition(".")[2].isdigit()
    return f"nn.ZeroPad{_axes(layer)}d({ends})" if of_sequence else f"x = F.pad(x, {ends})"
