from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from recipe import Recipe, mnist
from recipe.initial_weights import Weights
from record.training import RunRecord
from tests.conftest import SMALL, Once, assert_one_line_of_error, run_python

Trained = Callable[..., RunRecord]
SHORT = {"epochs": 1, "batch_size": 6000, "hidden_sizes": [16, 8]}
RECIPE = Recipe(**SHORT)
UNIT = 2.0**-24
"""Half the distance from 1 to the next float32: the rounding error of one operation."""


def bound(weights: Weights, others: Weights, images: NDArray[np.float32], recipe: Recipe = RECIPE) -> float:
    """How far the probabilities of two float32 programs may be apart, one with `weights`, one with `others`.

    A sum of n products and a bias has, in any order, an error below (n + 1)·2⁻²⁴ of the sum of their
    sizes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), on either side; an
    error before a layer is multiplied by its weights; ReLU adds none, and the largest of four is off by
    no more than the one of them that is off most. A probability moves by less than its logits do; the
    16 units allow for each side's exp, sum and division.
    """
    activations, error = images.astype(np.float64), np.zeros((1, images.shape[1]))
    if recipe.network == "cnn":
        activations, error = (array.reshape(-1, *recipe.images.image_shape, 1) for array in (activations, error))
    for layer in recipe.layer_names:
        kernel, other_kernel = (w[f"{layer}.kernel"].astype(np.float64) for w in (weights, others))
        bias, other_bias = (w[f"{layer}.bias"].astype(np.float64) for w in (weights, others))
        if kernel.ndim == 4:
            activations, error = windows(activations), windows(error)
            kernel, other_kernel = (k.reshape(-1, k.shape[-1]) for k in (kernel, other_kernel))
        sizes = activations @ np.abs(kernel) + np.abs(bias)
        parted = activations @ np.abs(kernel - other_kernel) + np.abs(bias - other_bias)
        error = error @ np.maximum(np.abs(kernel), np.abs(other_kernel)) + parted + 2 * (len(kernel) + 1) * UNIT * sizes
        activations = np.maximum(activations @ kernel + bias, 0)
        if activations.ndim == 4:
            activations, error = largest_of_four(activations), largest_of_four(error)
        if layer == "convolution_2":
            activations, error = activations.reshape(len(activations), -1), error.reshape(len(error), -1)
    return float(error.max()) + 16 * UNIT


def windows(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a 3×3 kernel sees at every place: (n, rows, columns, 9 · channels)."""
    seen = np.lib.stride_tricks.sliding_window_view(maps, (3, 3), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return seen.reshape(*seen.shape[:3], -1)


def largest_of_four(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = maps.shape[1] // 2 * 2, maps.shape[2] // 2 * 2
    corners = [maps[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]
    return np.maximum.reduce(corners)


def pixels() -> NDArray[np.float32]:
    return mnist.load().x_test.reshape(-1, 784).astype(np.float32) / 255


def run_onnx(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (wanted,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("pixels", "tensor(float)", [images.shape[1]])
    assert isinstance(given.shape[0], str)  # free
    return session.run([wanted.name], {given.name: images})[0]


@pytest.fixture(scope="session")
def exported(once: Once, trained: Trained) -> Path:
    def make(directory: Path) -> None:
        for room, worker, endings in (
            ("keras_impl", "keras-tensorflow", {"onnx": ".onnx"}),
            ("lightning_impl", "lightning", {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}),
        ):
            record = trained(worker, **SHORT).directory
            for file_format, ending in endings.items():
                arguments = ["--record", record, "--format", file_format, "--out", f"{room}{ending}"]
                process = run_python("-m", room, "export", *arguments, cwd=directory, timeout=900)
                assert process.returncode == 0, process.stderr

    return once("exports", make)


@pytest.mark.parametrize(("room", "worker"), [("keras_impl", "keras-tensorflow"), ("lightning_impl", "lightning")])
def test_onnx_file_predicts_as_its_framework_did(exported: Path, trained: Trained, room: str, worker: str) -> None:
    record = trained(worker, **SHORT)
    assert record.test is not None
    allowed = bound(record.weights, record.weights, pixels())
    probabilities = run_onnx(exported / f"{room}.onnx", pixels())
    assert probabilities.dtype == np.float32
    assert np.abs(probabilities - record.test.predictions).max() <= allowed
    assert np.abs(np.roll(probabilities, 1, axis=0) - record.test.predictions).max() > allowed  # another digit's
    one = run_onnx(exported / f"{room}.onnx", pixels()[:1])
    assert np.abs(one - probabilities[:1]).max() <= allowed


def test_both_onnx_files_predict_alike(exported: Path, trained: Trained) -> None:
    one, other = (run_onnx(exported / f"{room}.onnx", pixels()) for room in ("keras_impl", "lightning_impl"))
    weights, others = (trained(worker, **SHORT).weights for worker in ("keras-tensorflow", "lightning"))
    assert np.abs(one - other).max() <= bound(weights, others, pixels())


def test_torch_export_predicts_as_lightning_did(exported: Path, trained: Trained) -> None:
    model = torch.export.load(exported / "lightning_impl.pt2").module()
    record = trained("lightning", **SHORT)
    assert record.test is not None
    found = model(torch.from_numpy(pixels())).numpy()
    assert np.abs(found - record.test.predictions).max() <= bound(record.weights, record.weights, pixels())


def test_safetensors_are_the_state_dict_of_torch(exported: Path, trained: Trained) -> None:
    weights = trained("lightning", **SHORT).weights
    found = load_file(exported / "lightning_impl.safetensors")
    assert list(found) == [
        "hidden_1.bias",
        "hidden_1.weight",
        "hidden_2.bias",
        "hidden_2.weight",
        "output.bias",
        "output.weight",
    ]
    assert np.array_equal(found["hidden_1.weight"], weights["hidden_1.kernel"].T)


KERAS_FILES = """
import sys
from pathlib import Path
import numpy as np
from keras_impl.export import export
for name in ("keras", "tf_saved_model", "safetensors"):
    export(Path(sys.argv[1]), Path(f"exported.{name}"), name)
import keras, tensorflow as tf
images = np.load("images.npy")
np.save("keras.npy", keras.saving.load_model("exported.keras").predict(images, verbose=0))
loaded = tf.saved_model.load("exported.tf_saved_model")  # whose variables end with it
np.save("tf_saved_model.npy", loaded.serve(images).numpy())
"""


def test_keras_files_predict_as_keras_did(trained: Trained, tmp_path: Path) -> None:
    record = trained("keras-tensorflow", **SHORT)
    assert record.test is not None
    np.save(tmp_path / "images.npy", pixels()[:1000])
    process = run_python("-c", KERAS_FILES, record.directory, cwd=tmp_path, timeout=900)
    assert process.returncode == 0, process.stderr
    allowed = bound(record.weights, record.weights, pixels()[:1000])
    for name in ("keras", "tf_saved_model"):
        found = np.load(tmp_path / f"{name}.npy")
        assert np.abs(found - record.test.predictions[:1000]).max() <= allowed, name
    found = load_file(tmp_path / "exported.safetensors")
    assert all(np.array_equal(found[name], array.astype(np.float32)) for name, array in record.weights.items())


def own_pixels(own_data: str) -> NDArray[np.float32]:
    with np.load(own_data) as arrays:
        return arrays["x_test"].reshape(60, -1).astype(np.float32) / 255


def test_keras_files_of_convolutions_predict_as_keras_did(trained: Trained, own_data: str, tmp_path: Path) -> None:
    record = trained("keras-tensorflow", **SMALL, dataset=own_data, network="cnn", dropout=0.2)
    assert record.test is not None
    images = own_pixels(own_data)
    np.save(tmp_path / "images.npy", images)
    code = KERAS_FILES.replace('("keras",', '("onnx", "keras",')
    process = run_python("-c", code, record.directory, cwd=tmp_path, timeout=900)
    assert process.returncode == 0, process.stderr
    allowed = bound(record.weights, record.weights, images, record.recipe)
    found = {name: np.load(tmp_path / f"{name}.npy") for name in ("keras", "tf_saved_model")}
    found["onnx"] = run_onnx(tmp_path / "exported.onnx", images)
    for name, probabilities in found.items():
        assert np.abs(probabilities - record.test.predictions).max() <= allowed, name
        assert np.abs(np.roll(probabilities, 1, axis=0) - record.test.predictions).max() > allowed
    found = load_file(tmp_path / "exported.safetensors")
    assert all(np.array_equal(found[name], array) for name, array in record.weights.items())


def test_torch_files_of_convolutions_predict_as_lightning_did(trained: Trained, own_data: str, tmp_path: Path) -> None:
    record = trained("lightning", **SMALL, dataset=own_data, network="cnn", dropout=0.2)
    assert record.test is not None
    for file_format in ("onnx", "torch_export", "safetensors"):
        arguments = ["--record", record.directory, "--format", file_format, "--out", file_format]
        process = run_python("-m", "lightning_impl", "export", *arguments, cwd=tmp_path, timeout=900)
        assert process.returncode == 0, process.stderr
    images = own_pixels(own_data)
    allowed = bound(record.weights, record.weights, images, record.recipe)
    exported = torch.export.load(tmp_path / "torch_export").module()
    for probabilities in (run_onnx(tmp_path / "onnx", images), exported(torch.from_numpy(images)).numpy()):
        assert np.abs(probabilities - record.test.predictions).max() <= allowed
        assert np.abs(np.roll(probabilities, 1, axis=0) - record.test.predictions).max() > allowed
    kernel = load_file(tmp_path / "safetensors")["convolution_2.weight"]
    assert np.array_equal(kernel, record.weights["convolution_2.kernel"].transpose(3, 2, 0, 1))


def test_what_is_there_is_not_replaced(exported: Path, trained: Trained) -> None:
    record = trained("lightning", **SHORT).directory
    arguments = ["--record", record, "--format", "safetensors", "--out", "lightning_impl.onnx"]
    process = run_python("-m", "lightning_impl", "export", *arguments, cwd=exported)
    assert_one_line_of_error(process, "lightning_impl.onnx is there already")


def test_record_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    arguments = ["--record", "nowhere", "--format", "onnx", "--out", "out.onnx"]
    for room in ("lightning_impl", "keras_impl"):
        process = run_python("-m", room, "export", *arguments, cwd=tmp_path)
        assert_one_line_of_error(process, "nowhere/recipe.json")
