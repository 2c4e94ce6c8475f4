from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipe import Recipe
from recipe.initial_weights import initial_weights, perturbed
from record.first_steps import Trace, read_trace
from record.training import RunRecord, read_record
from record.windows import window_places
from tests.conftest import ALL_AT_ONCE, SMALL, Once, recipe_of, run_python

InKeras = Callable[..., dict[str, Any]]
Trained = Callable[..., RunRecord]

PROBE = """
from keras_impl.training import compile_model
from keras_impl.weights import get_weights, set_weights
model = compile_model(recipe)
adam, loss = model.optimizer, model.loss
out = get_weights(model)
out |= {'adam': [float(adam.learning_rate), adam.beta_1, adam.beta_2, adam.epsilon],
        'from_logits': loss.from_logits, 'softmax': model.layers[-1].activation.__name__,
        'activations': [layer.activation.__name__ for layer in model.layers], 'class': type(loss).__name__}
random = np.random.default_rng(0)
set_to = {name: random.normal(size=array.shape).astype(recipe.dtype) for name, array in get_weights(model).items()}
set_weights(model, set_to)
again = get_weights(model)
out['came_back'] = all(np.array_equal(again[name], set_to[name]) for name in set_to)
out['kernel'] = np.array_equal(model.layers[0].kernel.numpy() if hasattr(model.layers[0].kernel, 'numpy')
                               else np.asarray(model.layers[0].kernel.value), set_to['hidden_1.kernel'])
out['loaded'] = sorted({'torch', 'tensorflow', 'jax'} & {name for name, module in sys.modules.items() if module})
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
@pytest.mark.parametrize("preset", ["aligned", "native"])
def test_compiled_model_is_the_recipes(in_keras: InKeras, backend: str, preset: str) -> None:
    recipe = recipe_of(preset=preset, dtype="float64", perturbation=1)
    out = in_keras(PROBE, backend=backend, preset=preset, dtype="float64", perturbation=1)
    betas = [0.8999999761581421, 0.9990000128746033] if preset == "aligned" else [0.9, 0.999]
    assert out["adam"].tolist() == [1e-3, *betas, 1e-7]
    assert out["class"] == "CategoricalCrossentropy"
    logits = preset == "aligned" and backend != "tensorflow"
    assert out["from_logits"] == logits
    assert out["activations"].tolist() == ["relu"] * 3 + ["linear" if logits else "softmax"]
    assert out["came_back"]
    assert out["kernel"]
    # The other backends are blocked: two frameworks in one process crash or hang.
    assert out["loaded"].tolist() == [backend]
    if preset == "aligned":
        for name, array in initial_weights(recipe).items():
            assert out[name].dtype == array.dtype
            assert np.array_equal(out[name], array)
    else:
        assert not out["hidden_1.bias"].any()
        assert not np.array_equal(out["hidden_1.kernel"], initial_weights(recipe)["hidden_1.kernel"])


def test_keras_is_told_torchs_device(tmp_path: Path) -> None:
    """Left to itself it asks for a Mac's GPU first."""
    code = (
        "import os\nfrom recipe import Recipe\nfrom keras_impl.backend import select\n"
        "select('torch', 'auto', Recipe())\n"
        "from keras.src.backend.torch.core import get_device\nprint(os.environ['KERAS_TORCH_DEVICE'], get_device())"
    )
    process = run_python("-c", code, cwd=tmp_path, CUDA_VISIBLE_DEVICES="-1")
    assert process.stdout == "cpu cpu\n", process.stderr


SELECTED = """
import os, sys
os.environ |= dict([sys.argv.pop().split("=")])
from recipe import Recipe
from keras_impl import backend
backend.sys = type(sys)("sys")
backend.sys.platform = sys.argv[1]  # what the rest of Python goes by stays as it is
if "metal" in sys.argv:
    import tensorflow as tf
    tf.config.get_visible_devices = lambda kind: ["a Mac's"] if hidden is None else hidden
    hidden = None
    def hide(devices, kind):
        global hidden
        hidden = devices
    tf.config.set_visible_devices = hide
backend.select(sys.argv[2], sys.argv[3], Recipe(dtype=sys.argv[4]))
print(backend.current_device())
"""


@pytest.mark.parametrize(
    ("words", "variable", "found"),
    [
        (("linux", "torch", "auto", "float32"), "KERAS_TORCH_DEVICE=meta", "gpu\n"),
        (("linux", "torch", "cpu", "float32"), "KERAS_TORCH_DEVICE=meta", "cpu\n"),
        (("darwin", "torch", "auto", "float64"), "KERAS_TORCH_DEVICE=mps", "a Mac's GPU has no float64"),
        (("linux", "torch", "gpu", "float32"), "KERAS_TORCH_DEVICE=cpu", "variables such as CUDA_VISIBLE_DEVICES"),
        (("darwin", "tensorflow", "auto", "float32", "metal"), "CUDA_VISIBLE_DEVICES=0", "cpu\n"),
        (("darwin", "tensorflow", "gpu", "float32", "metal"), "CUDA_VISIBLE_DEVICES=0", "gpu\n"),
    ],
    ids=str,
)
def test_auto_is_no_macs_gpu_and_a_users_variables_hold(
    tmp_path: Path, words: tuple[str, ...], variable: str, found: str
) -> None:
    process = run_python("-c", SELECTED, *words, variable, cwd=tmp_path, imported=words[1])
    assert process.stdout == found or found in process.stderr.splitlines()[-1], process.stderr


def test_own_weights_follow_the_seed_and_are_perturbed(in_keras: InKeras) -> None:
    code = "from keras_impl.training import compile_model\nfrom keras_impl.weights import get_weights\n"
    code += "out = get_weights(compile_model(recipe))"
    plain = in_keras(code, preset="native", seed=1)
    other = in_keras(code, preset="native", seed=2)
    moved = in_keras(code, preset="native", seed=1, perturbation=5)
    expected = perturbed(plain, Recipe(perturbation=5))
    assert all(np.array_equal(moved[name], expected[name]) for name in plain)
    assert not np.array_equal(plain["output.kernel"], other["output.kernel"])


STEPS = """
from keras_impl import training
from keras_impl.weights import get_weights
from recipe import datasets
digits, out = datasets.load(recipe), {}
for steps in (1, 7, 125):
    training.STEPS_PER_EXECUTION[keras.backend.backend()] = steps
    model = training.compile_model(recipe)
    training.fit(model, recipe, digits, callbacks=[])
    out |= {f'{steps}/{name}': array for name, array in get_weights(model).items()}
    out |= {f'{steps}/{name}': values for name, values in model.history.history.items()}
    out[f'{steps}/step_losses'] = keras.ops.convert_to_numpy(model.step_losses.losses)
"""


# Keras refuses blocks of steps on torch.
@pytest.mark.parametrize(
    ("backend", "masks"), [("tensorflow", "shared"), ("tensorflow", "framework"), ("jax", "shared")]
)
def test_steps_per_execution_change_no_bit(in_keras: InKeras, own_data: str, backend: str, masks: str) -> None:
    fields = {**SMALL, "dataset": own_data, "network": "cnn", "dropout": 0.2, "dropout_masks": masks}
    out = in_keras(STEPS, backend=backend, **fields)
    names = {name.partition("/")[2] for name in out}
    assert names > {"convolution_1.kernel", "output.bias", "step_losses", "loss", "val_accuracy"}
    for name in names:
        assert np.array_equal(out[f"1/{name}"], out[f"7/{name}"]), name
        assert np.array_equal(out[f"1/{name}"], out[f"125/{name}"]), name


OWN_ORDER = """
from keras_impl import training
from recipe import datasets
model, digits, losses = training.compile_model(recipe), datasets.load(recipe), []
fetch = lambda epoch, logs: losses.append(keras.ops.convert_to_numpy(model.step_losses.losses).copy())
training.fit(model, recipe, digits, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=fetch)])
out = {'losses': losses}
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_own_order_repeats_on_tensorflow_alone(in_keras: InKeras, own_data: str, backend: str) -> None:
    fields = {"batch_order": "framework", "dtype": "float64", "learning_rate": 1e-13, "epochs": 2, "batch_size": 20}
    first, second = in_keras(OWN_ORDER, backend=backend, dataset=own_data, **fields)["losses"]
    # At this rate weights move by 1e-12 in an epoch, and losses show which images a batch has.
    same = np.abs(first - second) <= 1e-9
    assert len(same) == 16
    assert same.all() if backend == "tensorflow" else not same.any()


VALIDATED = """
from keras_impl import training
from keras_impl.data import preprocess
from keras_impl.weights import get_weights
from recipe import datasets
digits = datasets.load(recipe)
model = training.compile_model(recipe)
training.fit(model, recipe, digits, callbacks=[])
x, y = preprocess(digits.x_test, digits.y_test, recipe)
out = get_weights(model) | {'val_loss': model.history.history['val_loss'], 'x': x, 'labels': y.argmax(1)}
out['probabilities'] = training.predict(model, x)
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_validation_and_prediction_drop_nothing(in_keras: InKeras, own_data: str, backend: str) -> None:
    for masks in ("shared", "framework"):
        recipe = recipe_of(**SMALL, dataset=own_data, dropout=0.9, dropout_masks=masks, dtype="float64")
        fields = {**SMALL, "dataset": own_data, "dropout": 0.9, "dropout_masks": masks, "dtype": "float64"}
        out = in_keras(VALIDATED, backend=backend, **fields)
        x = out["x"]
        for name in recipe.hidden_names:
            x = np.maximum(x @ out[f"{name}.kernel"] + out[f"{name}.bias"], 0)
        logits = x @ out["output.kernel"] + out["output.bias"]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        # Sums of 168, 16 and 12 float64 products near 1; Keras keeps the mean loss in float32 on some backends.
        assert np.abs(out["probabilities"] - probabilities).max() <= 1e-13
        loss = -np.log(probabilities[np.arange(len(x)), out["labels"]]).mean()
        assert np.isclose(out["val_loss"][-1], loss, rtol=2.0**-20, atol=0)


WITHOUT_WINDOWS = """
from keras_impl.training import compile_model, fit
from keras_impl.weights import get_weights
from recipe.datasets import load
model = compile_model(recipe)
fit(model, recipe, load(recipe), callbacks=[])
out = get_weights(model) | {'losses': keras.ops.convert_to_numpy(model.step_losses.losses)}
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_windows_change_no_bit(in_keras: InKeras, trained: Trained, own_data: str, backend: str) -> None:
    fields = {**ALL_AT_ONCE, "dataset": own_data}
    run, plain = trained(f"keras-{backend}", **fields), in_keras(WITHOUT_WINDOWS, backend=backend, **fields)
    assert len(run.windows) == len(window_places(run.recipe))
    losses = plain.pop("losses")
    assert np.array_equal(run.step_losses[-len(losses) :], losses)
    assert all(np.array_equal(run.weights[name], array) for name, array in plain.items())


TWO_DEVICES = """
import sys
from pathlib import Path
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from recipe import Recipe
from recipe.datasets import with_images
from keras_impl import backend
recipe = with_images(Recipe(epochs=1, hidden_sizes=(32,), batch_size=20, dataset=sys.argv[1]))
backend.select("tensorflow", "auto", recipe)
import keras
from keras.src.trainers.trainer import Trainer
from keras_impl import first_steps, metrics, recording
from recipe.datasets import load
from record.first_steps import write_trace
Trainer._resolve_auto_jit_compile = lambda self: True  # as where a GPU is listed
add_variable = keras.metrics.Metric.add_variable

def placed(self, *arguments, **options):
    variable_dtype = keras.backend.standardize_dtype(options.get("dtype") or "float32")
    with tf.device("CPU:1" if variable_dtype == "int32" else "CPU:0"):
        return add_variable(self, *arguments, **options)

keras.metrics.Metric.add_variable = placed
record, trace = Path("record"), Path("trace")
recording.train_and_record(recipe, load(recipe), record, 0.0)
write_trace(trace, first_steps.trace(recipe, load(recipe)))
"""


@pytest.fixture(scope="module")
def by_xla(once: Once, own_data: str) -> tuple[RunRecord, Trace]:
    """A training and a trace by XLA, as where there is a GPU.

    Two logical devices stand for GPU and CPU: where there is a GPU, TensorFlow keeps int32 variables on the CPU.
    """

    def make(directory: Path) -> None:
        process = run_python("-c", TWO_DEVICES, own_data, cwd=directory)
        assert process.returncode == 0, process.stderr[-2000:]

    directory = once("by-xla", make)
    return read_record(directory / "record"), read_trace(directory / "trace")


def test_a_judged_training_by_xla_comes_to_its_end(by_xla: tuple[RunRecord, Trace]) -> None:
    assert len(by_xla[0].windows) == len(window_places(by_xla[0].recipe))


def test_trace_by_xla_is_the_beginning_of_the_training(by_xla: tuple[RunRecord, Trace]) -> None:
    training, trace = by_xla
    assert np.array_equal([step.loss for step in trace.steps], training.step_losses[:10])
    second = training.windows[0].steps[1]
    for name, array in trace.steps[1].parameters.items():
        assert np.array_equal(array, second.after.parameters[name]), name
