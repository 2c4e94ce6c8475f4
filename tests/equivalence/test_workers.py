import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipe import Recipe, mnist
from record.training import RunRecord
from tests.conftest import SHORT, WORKERS, assert_one_line_of_error, run_python

Trained = Callable[..., RunRecord]

EACH_SIDE = ["keras-tensorflow", "lightning"]


@pytest.mark.parametrize("worker", WORKERS)
def test_record_tells_the_run(trained: Trained, worker: str) -> None:
    record = trained(worker, **SHORT)
    framework, _, backend = worker.partition("-")
    assert record.recipe == Recipe(**SHORT)
    assert (record.framework, record.backend) == (framework, backend or "torch")
    assert (record.device, record.threads, record.num_parameters) == ("cpu", 1, 270_218)
    assert {framework, record.backend, "numpy", "python"} <= record.versions.keys()
    assert not {"tensorflow", "torch", "jax"} - {record.backend} & record.versions.keys()
    assert record.step_losses.shape == (60,)
    assert not record.diverged
    assert record.seconds > record.history["seconds"][0] > 0
    assert 1e8 < record.peak_memory_bytes < 1e11


@pytest.mark.parametrize("worker", WORKERS)
def test_recorded_numbers_agree_with_each_other(trained: Trained, worker: str) -> None:
    record = trained(worker, **SHORT)
    labels = mnist.load().y_test
    assert record.test is not None
    probabilities = record.test.predictions
    # The ten probabilities are each rounded once, and so is each of nine sums.
    assert np.abs(probabilities.sum(1) - 1).max() <= 20 * np.finfo(np.float64).eps
    # Frameworks keep accuracies, and some keep losses, in float32.
    assert math.isclose((probabilities.argmax(1) == labels).mean(), record.test.accuracy, rel_tol=2.0**-22)
    cross_entropy = -np.log(probabilities[np.arange(10_000), labels]).mean()
    assert math.isclose(cross_entropy, record.test.loss, rel_tol=2.0**-20)
    assert math.isclose(record.history["val_loss"][-1], record.test.loss, rel_tol=2.0**-20)
    assert math.isclose(record.history["val_accuracy"][-1], record.test.accuracy, rel_tol=2.0**-20)
    assert math.isclose(record.history["loss"][0], record.step_losses.mean(), rel_tol=2.0**-20)
    assert record.step_losses[0] > 2
    assert record.test.accuracy > 0.9

    images = mnist.load().x_test.reshape(-1, 784) / 255.0
    for name in record.recipe.layer_names[:-1]:
        images = np.maximum(images @ record.weights[f"{name}.kernel"] + record.weights[f"{name}.bias"], 0)
    logits = images @ record.weights["output.kernel"] + record.weights["output.bias"]
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    # A float64 forward pass through 784-, 128-, 256- and 512-term sums rounds by about 1e-14.
    assert np.abs(exponentials / exponentials.sum(1, keepdims=True) - probabilities).max() <= 1e-12


@pytest.mark.parametrize("worker", [worker for worker in WORKERS if worker != "lightning"])
def test_aligned_float64_runs_are_one_run(trained: Trained, worker: str) -> None:
    first, second = trained("lightning", **SHORT), trained(worker, **SHORT)
    # 60 steps accumulate the rounding of 60 float64 forward passes: 4e-16 when measured.
    assert np.abs(first.step_losses - second.step_losses).max() <= 1e-13
    assert all(np.abs(first.weights[name] - second.weights[name]).max() <= 1e-12 for name in first.weights)
    assert first.test is not None
    assert second.test is not None
    assert np.array_equal(first.test.predictions.argmax(1), second.test.predictions.argmax(1))


@pytest.mark.parametrize("worker", [worker for worker in WORKERS if worker != "lightning"])
def test_both_sides_state_the_same_settings(trained: Trained, worker: str) -> None:
    assert trained(worker, **SHORT).settings == trained("lightning", **SHORT).settings


def test_progress_reaches_the_end(trained: Trained) -> None:
    for worker in EACH_SIDE:
        output = (trained(worker, **SHORT).directory.parent / "stdout").read_text()
        reports = [json.loads(line)["progress"] for line in output.splitlines() if line.startswith('{"progress"')]
        assert reports[-1]["fraction"] == 1
        assert reports[-1]["val_accuracy"] > 0.9
        fractions = [report["fraction"] for report in reports]
        assert fractions == sorted(fractions)


@pytest.mark.parametrize("worker", EACH_SIDE)
def test_run_that_diverges_is_recorded_with_its_place(trained: Trained, worker: str) -> None:
    # One step of 1e38 brings sums of 784 products past the largest float32, 3e38. No hidden layers:
    # TensorFlow's ReLU makes 0 of NaN.
    record = trained(worker, hidden_sizes=(), learning_rate=1e38, batch_size=6000, epochs=2)
    assert record.diverged
    assert record.test is None
    assert (record.status.epoch, record.status.step) == (1, 2)
    assert np.isfinite(record.step_losses[0])
    assert not np.isfinite(record.step_losses[1])
    assert record.step_losses.shape == (2,)
    assert not any(record.history.values())


def start(directory: Path, worker: str, run: str = "record", recipe: str = "{}", *options: str) -> Any:
    (directory / "recipe.json").write_text(recipe)
    module, *arguments = WORKERS[worker]
    return run_python("-m", module, *(options or arguments), "recipe.json", run, cwd=directory)


@pytest.mark.parametrize("worker", EACH_SIDE)
@pytest.mark.parametrize(
    ("recipe", "words"),
    [("{", "not valid JSON"), ('{"epochs": 0}', "recipe.epochs"), ('{"epoch": 1}', "unknown fields"), ("[]", "object")],
)
def test_corrupt_recipe_is_one_line(tmp_path: Path, worker: str, recipe: str, words: str) -> None:
    assert_one_line_of_error(start(tmp_path, worker, recipe=recipe), words)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize("worker", EACH_SIDE)
def test_missing_recipe_is_one_line(tmp_path: Path, worker: str) -> None:
    assert_one_line_of_error(run_python("-m", WORKERS[worker][0], "no.json", "record", cwd=tmp_path), "no.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax", "lightning"])
def test_gpu_where_there_is_none_is_one_line(tmp_path: Path, backend: str) -> None:
    """The GPU is hidden, so that the claim can be tested on machines that have one."""
    options = [] if backend == "lightning" else ["--backend", backend]
    module = "lightning_impl.worker" if backend == "lightning" else "keras_impl.worker"
    (tmp_path / "recipe.json").write_text("{}")
    process = run_python(
        "-m", module, *options, "--device", "gpu", "recipe.json", "record", cwd=tmp_path, CUDA_VISIBLE_DEVICES="-1"
    )
    assert_one_line_of_error(process, "GPU", "--device cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


def test_last_image_is_trained_on(trained: Trained) -> None:
    """A batch size that leaves a remainder: the last step has 4,000 images, and no image is dropped."""
    fields = {**SHORT, "batch_size": 7000}
    first, second = (trained(worker, **fields) for worker in EACH_SIDE)
    assert first.step_losses.shape == (9,)
    assert np.abs(first.step_losses - second.step_losses).max() <= 1e-13  # rounding, as above


@pytest.mark.parametrize("worker", ["keras-tensorflow", "lightning"])
def test_nan_weights_are_no_finished_run(trained: Any, worker: str) -> None:
    # On TensorFlow ReLU makes 0 of NaN: the losses stay finite while the weights are not.
    assert trained(worker, learning_rate=1e30, batch_size=6000, epochs=2).diverged


@pytest.mark.parametrize("worker", ["keras-tensorflow", "lightning"])
def test_diverging_in_validation_leaves_a_valid_record(trained: Any, worker: str) -> None:
    assert trained(worker, hidden_sizes=(), learning_rate=1e38, batch_size=60_000, epochs=3).diverged


@pytest.mark.parametrize("worker", ["keras-tensorflow", "keras-jax", "keras-torch", "lightning"])
def test_training_loss_is_the_mean_over_images(trained: Any, worker: str) -> None:
    record = trained(worker, dtype="float64", epochs=1, batch_size=7000)
    mean = np.average(record.step_losses, weights=[7000] * 8 + [4000])
    # A sum of nine float64 numbers; 1e-12 leaves room for any order of adding them.
    assert math.isclose(record.history["loss"][0], mean, rel_tol=1e-12)


@pytest.mark.parametrize("worker", ["keras-tensorflow", "lightning"])
@pytest.mark.parametrize("run_directory", ["/proc/nowhere/record", "recipe.json/record"])
def test_unwritable_run_directory_is_one_line(tmp_path: Path, worker: str, run_directory: str) -> None:
    process = start(tmp_path, worker, run_directory, '{"hidden_sizes": [], "batch_size": 60000, "epochs": 1}')
    assert_one_line_of_error(process, run_directory.removesuffix("/record"))
