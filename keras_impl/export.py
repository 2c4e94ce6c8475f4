"""A trained network as a file that other programs run: pixels in, class probabilities out."""

import importlib.util
from pathlib import Path
from typing import Any, Literal

from safetensors.numpy import save

from keras_impl import backend
from recipe.atomic import check_absent, complete_or_absent
from recipe.errors import RecordError, UnavailableError
from record.weights import read_trained, single_precision

Format = Literal["onnx", "safetensors", "keras", "tf_saved_model"]


def export(record: Path, out: Path, file_format: Format) -> None:
    """Writes the network of a training's record to one file, or to a directory for a SavedModel.

    It maps pixels, float32 in [0, 1], shape (n, pixels), to probabilities, float32, shape (n, classes);
    n is free. A float64 network is rounded to float32. "safetensors" holds the parameters alone, in the
    record's layout.

    Args:
        record: Directory of the record, of either implementation.
        out: What to write; it must not be there.
        file_format: "onnx", "safetensors", "keras" or "tf_saved_model".

    Raises:
        RecordError: The record cannot be read, or `out` is there already, not writable or misnamed.
        UnavailableError: A package that the format needs is not installed.
    """
    recipe, weights = single_precision(*read_trained(record))
    check_absent(out)
    if file_format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        raise UnavailableError("an ONNX file needs tf2onnx; in the clone: pip install '.[export]'")
    if file_format == "keras" and out.suffix != ".keras":
        raise RecordError(f"--out {out}: the name of a Keras file ends in .keras")
    backend.select("tensorflow", "cpu", recipe)
    # These import keras, whose backend is chosen now.
    import keras
    import tensorflow as tf

    from keras_impl.model import build_model
    from keras_impl.weights import get_weights, set_weights

    model = build_model(recipe)
    set_weights(model, weights)
    pixels = [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="float32", name="pixels")]
    with complete_or_absent(out) as partial:
        if file_format == "keras":
            model.save(partial)
        elif file_format == "safetensors":
            partial.write_bytes(save(get_weights(model)))
        else:
            try:
                model.export(partial, format=file_format, verbose=False, input_signature=pixels)
            except tf.errors.OpError as error:  # TensorFlow writes a SavedModel itself
                raise RecordError(f"cannot write {out}: {error.message}") from error


def run(options: Any) -> None:
    """Exports as the command line says, and says where to."""
    export(options.record, options.out, options.format)
    print(options.out)
