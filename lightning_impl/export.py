"""A trained network as a file that other programs run: pixels in, class probabilities out."""

import importlib.util
import io
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import nn

from lightning_impl.model import build_model
from lightning_impl.weights import set_weights
from recipe.atomic import check_absent, complete_or_absent
from recipe.errors import UnavailableError
from record.weights import read_trained, single_precision

Format = Literal["onnx", "safetensors", "torch_export"]


def export(record: Path, out: Path, file_format: Format) -> None:
    """Writes the network of a training's record to one file.

    It maps pixels, float32 in [0, 1], shape (n, pixels), to probabilities, float32, shape (n, classes);
    n is free. A float64 network is rounded to float32. "safetensors" holds the parameters alone, in torch's
    layout and by the names of `build_model`.

    Args:
        record: Directory of the record, of either implementation.
        out: What to write; it must not be there.
        file_format: "onnx", "safetensors" or "torch_export".

    Raises:
        RecordError: The record cannot be read, or `out` is there already or not writable.
        UnavailableError: A package that the format needs is not installed.
    """
    recipe, weights = single_precision(*read_trained(record))
    check_absent(out)
    if file_format == "onnx" and importlib.util.find_spec("onnxscript") is None:
        raise UnavailableError("an ONNX file needs onnxscript; in the clone: pip install '.[export]'")
    network = build_model(recipe).requires_grad_(False)
    set_weights(network, weights)
    with complete_or_absent(out) as partial:
        if file_format == "safetensors":
            partial.write_bytes(save(network.state_dict()))
            return
        model = nn.Sequential(OrderedDict(network.named_children()) | {"probabilities": nn.Softmax(dim=1)}).eval()
        # Two images and not one, which torch would take for a size that never changes.
        exported = torch.export.export(
            model, (torch.zeros(2, recipe.images.num_pixels),), dynamic_shapes=({0: torch.export.Dim("n")},)
        )
        if file_format == "torch_export":
            # Straight to a file, torch ends the process where a full disk cuts it short.
            buffer = io.BytesIO()
            torch.export.save(exported, buffer)
            partial.write_bytes(buffer.getbuffer())
        else:
            torch.onnx.export(
                exported,
                f=partial,
                input_names=["pixels"],
                output_names=["probabilities"],
                external_data=False,
                verbose=False,
            )


def run(options: Any) -> None:
    """Exports as the command line says, and says where to."""
    export(options.record, options.out, options.format)
    print(options.out)
