from typing import Any

import pytest

from compare.explanation.context import called, describe, in_code
from compare.explanation.findings import Finding, joined, merged
from compare.explanation.model.layer_causes import Cause
from compare.explanation.model.layer_mends import mend_of, part_mend, size_mend
from compare.explanation.observed.observation import Layer, Parameter
from compare.explanation.observed.pairing import Pair


def layer(name: str, kind: str, *shape: int, bias: bool = False, **settings: Any) -> Layer:
    parameters = {"weight": Parameter("weight", shape, True, False)}
    if bias:
        parameters["bias"] = Parameter("bias", shape[:1], True, False)
    return Layer(name, kind, (kind,), settings, parameters, True, None)


def mend(port: Layer, cause: str, guide: str, *, in_torch: bool = True, extra: str = "0", **reference: Any) -> str:
    own = layer("k", "Conv2D", **reference)
    found = Cause(cause, guide, "something else", 1.0, cause)
    return mend_of(Pair("convolution", (own,), (port,), fits=True), found, "net", in_torch=in_torch, extra=extra)


@pytest.mark.parametrize(
    ("port", "cause", "guide", "line"),
    [
        (("conv", "Conv2d"), "padding", "(0, 1)", "x = F.pad(x, (0, 1, 0, 1)) before conv, and Conv2d(..., padding=0)"),
        (("conv1", "Conv1d"), "padding", "(4, 0)", "x = F.pad(x, (4, 0)) before conv1, and Conv1d(..., padding=0)"),
        # The last axis comes first in torch's order.
        (
            ("conv1", "Conv2d"), "padding", "[(0, 1), (2, 3)]",
            "x = F.pad(x, (2, 3, 0, 1)) before conv1, and Conv2d(..., padding=0)",
        ),
        (("0", "Conv2d"), "padding", "(0, 1)", "nn.ZeroPad2d((0, 1, 0, 1)) before layer 0, and Conv2d(..., padding=0)"),
        (("conv1", "Conv2d"), "padding", "(1, 1)", "Conv2d(..., padding=1)"),
        (("conv1", "Conv2d"), "padding", "[(1, 1), (0, 0)]", "Conv2d(..., padding=(1, 0))"),
        (
            ("4", "ConvTranspose2d"), "cropping", "(0, 1)",
            "ConvTranspose2d(..., padding=0, output_padding=0), then nn.ZeroPad2d((0, -1, 0, -1))",
        ),
        (
            ("up", "ConvTranspose1d"), "cropping", "(0, 1)",
            "ConvTranspose1d(..., padding=0, output_padding=0), then x = F.pad(x, (0, -1))",
        ),
        (("up", "ConvTranspose2d"), "cropping", "(1, 1)", "ConvTranspose2d(..., padding=1, output_padding=0)"),
        (("conv1", "Conv2d"), "stride", "[1, 2]", "Conv2d(..., stride=(1, 2))"),
        (("attention", "MultiheadAttention"), "number of heads", "4 heads", "MultiheadAttention(..., num_heads=4)"),
        (("0", "LSTM"), "the mean over time", "last state", "layer 0: last state, not something else"),
        (
            ("2", "BatchNorm2d"), "training", "running statistics",
            "net[2].eval() after net.train(), whenever that is called",
        ),
    ],
)  # fmt: skip
def test_a_layer_is_mended_by_a_line_of_code(port: tuple[str, str], cause: str, guide: str, line: str) -> None:
    assert mend(layer(*port), cause, guide) == line


def test_a_layer_of_keras_gets_the_setting_of_the_other() -> None:
    port = layer("conv", "Conv2D")
    assert mend(port, "padding", "(0, 1)", in_torch=False, padding="same") == "Conv2D(..., padding='same')"
    assert mend(port, "stride", "2", in_torch=False, strides=[2, 2]) == "Conv2D(..., strides=(2, 2))"
    assert mend(port, "kernel flipped", "as it is", in_torch=False) == ""


@pytest.mark.parametrize(
    ("port", "shape", "line"),
    [
        (layer("act", "PReLU", 1), (16,), "nn.PReLU(16)"),
        (layer("act", "PReLU", 1, init=0.0), (16,), "nn.PReLU(16, ...)"),
        (layer("fc", "Linear", 32, 48, bias=True), (24, 48), "nn.Linear(48, 24)"),
        (layer("fc", "Linear", 32, 48), (24, 48), "nn.Linear(48, 24, ...)"),
        (layer("act", "PReLU", 1), (24, 24, 16), ""),
        (layer("conv", "Conv2d", 8, 4, 3, 3), (16, 4, 3, 3), ""),
    ],
)
def test_a_layer_of_another_size_is_written_in_the_size_of_the_reference(
    port: Layer, shape: tuple[int, ...], line: str
) -> None:
    assert size_mend(port, {"kernel": shape}) == line


def test_a_bias_or_a_factor_that_only_one_side_has() -> None:
    def part(kind: str, port: Layer, name: str, *, has: bool, in_torch: bool = True) -> str:
        return part_mend(Pair(kind, (port,), (port,), fits=True), name, "net", has=has, in_torch=in_torch)

    assert part("dense", layer("fc", "Linear"), "bias", has=False) == "Linear(..., bias=False)"
    assert part("dense", layer("fc", "Dense"), "bias", has=True, in_torch=False) == "Dense(..., use_bias=True)"
    bn, ln = layer("bn", "BatchNorm2d"), layer("ln", "LayerNorm")
    # Torch has both or none of them: of a factor alone, one that stays 1 is none.
    assert part("batch normalization", bn, "kernel", has=False) == "net.bn.weight.requires_grad_(False)"
    assert part("batch normalization", bn, "bias", has=True) == "BatchNorm2d(..., affine=True)"
    assert part("layer normalization", ln, "kernel", has=True) == "LayerNorm(..., elementwise_affine=True)"


def test_a_layer_of_keras_that_has_its_size_from_its_input_is_described_with_it() -> None:
    assert describe(layer("act", "PReLU", 1, 1, 16)) == "PReLU(16)"


def test_a_layer_whose_name_is_a_number_is_called_one() -> None:
    assert [called(layer(name, "Linear")) for name in ("fc1", "2", "0.3", "net.2")] == [
        "fc1", "layer 2", "layer 0.3", "net.2",
    ]  # fmt: skip
    assert joined(["layer 0", "layer 2"]) == "layers 0, 2"
    assert joined(["layer 0", "head"]) == "layer 0, head"
    assert [in_code(name, "net") for name in ("fc1", "2", "blocks.3.fc", "")] == [
        "net.fc1", "net[2]", "net.blocks[3].fc", "net",
    ]  # fmt: skip


def test_layers_that_are_in_another_mode_are_said_once_each_with_its_line() -> None:
    title = (
        "the batch's statistics in place of the running ones, as a frozen layer of Keras has of {} "
        "(batch normalization): batch statistics (training mode); the reference has running statistics"
    )
    mend = "net.{}.eval() after net.train(), whenever that is called"
    found = [Finding("forward", title.format(n), effect=1.0, cause="mode", mend=mend.format(n)) for n in ("bn1", "bn2")]
    (one,) = merged(found)
    assert "of bn1, bn2 (batch normalization)" in one.title
    assert one.mend == "net.bn1.eval(); net.bn2.eval() after net.train(), whenever that is called"
