import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recipe import Recipe
from tests.conftest import SMALL, Once, assert_one_line_of_error, run_on_full_disk, run_python
from tests.killing import kill_at_random_moments

EPOCHS = 10
FIT = ["-m", "keras_impl", "fit", "--device", "cpu", "--checkpoints", "checkpoints"]
FIT += [
    "--recipe.batch_size",
    "10000",
    "--recipe.hidden_sizes",
    "[4]",
    "--recipe.learning_rate",
    "0.003",
    "--recipe.epochs",
]


def arrays(path: Path) -> dict[str, Any]:
    """Every array of a .keras file: weights, Adam's moments and step count."""
    found = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def assert_same_bits(one: Path, other: Path) -> None:
    expected, found = arrays(one), arrays(other)
    assert expected.keys() == found.keys()
    # Two kernels and two biases, two moments of each, the step count, the learning rate; and the metrics'.
    assert sum("optimizer" in name for name in expected) == 2 * 4 + 2
    for name, array in expected.items():
        assert np.array_equal(array, found[name]), name


def uninterrupted(directory: Path) -> None:
    process = run_python(*FIT, EPOCHS, cwd=directory, timeout=900)
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="session")
def finished(once: Once) -> Path:
    return once("keras-checkpoints", uninterrupted) / "checkpoints"


def test_killed_at_any_moment_it_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    for ended in kill_at_random_moments("keras_impl", [*FIT[2:], str(EPOCHS)], tmp_path, kills=4):
        assert_same_bits(finished / "last.keras", ended / "last.keras")
        assert_same_bits(finished / "best.keras", ended / "best.keras")


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from keras_impl import __main__, backend
from recipe import Recipe
backend.select("tensorflow", "cpu", Recipe())
import keras
save, saved = keras.Sequential.save, []
def half(self, path, **options):
    save(self, path, **options)
    saved.append(path)
    if len(saved) == 4:
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: len(whole) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
keras.Sequential.save = half
__main__.main(sys.argv[1:])
"""


def test_killed_while_it_writes_it_goes_on(tmp_path: Path) -> None:
    process = run_python("-c", KILLED_WHILE_WRITING, *FIT[2:], 3, cwd=tmp_path)
    assert process.returncode == -9, process.stderr
    directory = tmp_path / "checkpoints"
    # The second epoch's best was written, its last was not.
    assert arrays(directory / "best.keras")["optimizer/vars/0"] == 12
    assert arrays(directory / "last.keras")["optimizer/vars/0"] == 6
    again = run_python(*FIT, 3, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Epoch 1/3" not in again.stdout
    assert "Epoch 2/3" in again.stdout
    assert arrays(directory / "last.keras")["optimizer/vars/0"] == 18
    assert sorted(path.name for path in directory.iterdir()) == ["best.keras", "last.keras", "recipe.json"]


def test_on_a_full_disk_the_checkpoint_before_is_whole_and_goes_on(finished: Path, tmp_path: Path) -> None:
    begun = run_python(*FIT, 2, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    directory = tmp_path / "checkpoints"
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    half = len(before["last.keras"]) // 2
    full = run_on_full_disk("keras_impl", *FIT[2:], EPOCHS, bytes_left=half, cwd=tmp_path)
    assert_one_line_of_error(full, "best.keras", "File too large", "untouched")
    after = {path.name: path.read_bytes() for path in directory.iterdir()}
    # No step depends on the number of epochs: the recipe is written first, and is another number of them.
    assert before | {"recipe.json": after["recipe.json"]} == after
    again = run_python(*FIT, EPOCHS, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Epoch 2/" not in again.stdout
    assert_same_bits(finished / "last.keras", directory / "last.keras")


def test_checkpoint_is_a_plain_keras_model(finished: Path, tmp_path: Path) -> None:
    code = "import keras, sys\nmodel = keras.saving.load_model(sys.argv[1])\n"
    code += "print(type(model) is keras.Sequential, model.count_params(), 'keras_impl' in sys.modules)"
    process = run_python("-c", code, finished / "best.keras", cwd=tmp_path)
    assert process.stdout.split() == ["True", "3190", "False"], process.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ["--recipe.seed", "1", "--recipe.learning_rate", "0.01"],
            ["seed was 0 and is now 1", "learning_rate was 0.003"],
        ),
        (["--recipe.epochs", "2"], [f"{EPOCHS} epochs", "recipe.epochs is 2"]),
    ],
    ids=["another recipe", "fewer epochs"],
)
def test_what_it_cannot_go_on_with_is_refused(finished: Path, change: list[str], words: list[str]) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert_one_line_of_error(run_python(*FIT, EPOCHS, *change, cwd=finished.parent), *words)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


@pytest.mark.parametrize("name", ["mine.keras", "mine.weights.h5", "weights.safetensors"])
def test_directory_of_other_weights_keeps_its_recipe(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    (directory / name).touch()
    (directory / "recipe.json").write_text(Recipe(seed=7).to_json())
    assert_one_line_of_error(run_python(*FIT, 2, cwd=tmp_path), "checkpoints", "choose another directory")
    assert Recipe.from_json((directory / "recipe.json").read_text()).seed == 7


def test_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    directory.mkdir()
    (directory / "recipe.json").write_text(
        '{"batch_size": 10000, "hidden_sizes": [4], "learning_rate": 0.003, "epochs": 2}'
    )
    (directory / "last.keras").write_bytes(b"PK\x03\x04 and no more")
    assert_one_line_of_error(run_python(*FIT, 2, cwd=tmp_path), "last.keras", "not a file of this network's weights")


RESUMED = """
from pathlib import Path
from dataclasses import replace
from keras_impl import training
from keras_impl.checkpoints import Checkpoints
from keras_impl.weights import get_weights
from recipe import datasets
digits, out = datasets.load(recipe), {}
def train(name, recipe, place):
    model, checkpoints = training.compile_model(recipe), Checkpoints(Path(place), recipe)
    done = checkpoints.resume(model, digits)
    training.fit(model, recipe, digits, callbacks=[checkpoints], epochs_done=done)
    out.update({f'{name}/{key}': array for key, array in get_weights(model).items()})
train('whole', recipe, 'whole')
train('part', replace(recipe, epochs=1), 'parts')
train('resumed', recipe, 'parts')
loaded = keras.saving.load_model('parts/last.keras')
out['layers'] = [type(layer).__name__ for layer in loaded.layers]
out['plain'] = type(loaded) is keras.Sequential
out |= {f'loaded/{name}': array for name, array in get_weights(loaded).items()}
"""


def test_convolutions_and_dropout_go_on_with_the_same_bits(in_keras: Any, own_data: str) -> None:
    out = in_keras(RESUMED, **SMALL, dataset=own_data, network="cnn", dropout=0.2)
    names = [name.partition("/")[2] for name in out if name.startswith("whole/")]
    assert len(names) == 10
    for name in names:
        assert np.array_equal(out[f"whole/{name}"], out[f"resumed/{name}"]), name
        assert not np.array_equal(out[f"part/{name}"], out[f"resumed/{name}"]), name
        assert np.array_equal(out[f"loaded/{name}"], out[f"resumed/{name}"]), name
    convolutions = ["Conv2D", "MaxPooling2D"] * 2
    assert out["layers"].tolist() == ["Reshape", *convolutions, "Flatten", *["Dense", "Dropout"] * 2, "Dense"]
    assert out["plain"]
