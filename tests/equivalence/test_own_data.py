"""`--recipe.dataset PATH` from end to end: images of another shape, of other classes, on both sides."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipe import datasets
from tests.conftest import SMALL, assert_one_line_of_error, recipe_of, run_python
from tests.own_data import IMAGE_SHAPE, NUM_CLASSES

QUICK = ("--recipe.epochs", "3", "--recipe.batch_size", "20", "--recipe.learning_rate", "0.003")
QUICK = (*QUICK, "--recipe.hidden_sizes", "[16]", "--recipe.dtype", "float64")
KERAS = ("-m", "keras_impl", "fit", "--device", "cpu")
LIGHTNING_OPTIONS = ("--trainer.accelerator", "cpu", "--trainer.logger", "false")
LIGHTNING = ("-m", "lightning_impl", "fit", *LIGHTNING_OPTIONS, "--trainer.enable_progress_bar", "false")


@pytest.fixture
def place(tmp_path: Path, own_data: str) -> Path:
    """A directory with the archive, to be named by a relative path."""
    (tmp_path / "own.npz").write_bytes(Path(own_data).read_bytes())
    return tmp_path


def test_command_lines_train_and_test_on_own_data(place: Path) -> None:
    keras = run_python(*KERAS, *QUICK, "--recipe.dataset", "own.npz", "--checkpoints", "keras", cwd=place)
    assert keras.returncode == 0, keras.stderr
    options = ("--recipe.dataset", "own.npz", "--checkpoints", "lightning")
    lightning = run_python(*LIGHTNING, *QUICK, *options, cwd=place)
    assert lightning.returncode == 0, lightning.stderr
    weights = torch.load(place / "lightning" / "last.ckpt", weights_only=True)["state_dict"]
    assert weights["model.hidden_1.weight"].shape == (16, IMAGE_SHAPE[0] * IMAGE_SHAPE[1])
    assert weights["model.output.weight"].shape == (NUM_CLASSES, 16)
    assert "own.npz" in (place / "keras" / "recipe.json").read_text()

    test = ("-m", "lightning_impl", "test", *LIGHTNING_OPTIONS, "--ckpt_path", "lightning/last.ckpt")
    process = run_python(*test, *QUICK, "--recipe.dataset", "own.npz", cwd=place)
    assert process.returncode == 0, process.stderr
    (accuracy,) = re.findall(r"test accuracy (.+)%", keras.stdout)
    (line,) = [line for line in process.stdout.splitlines() if "test_accuracy" in line]
    assert abs(float(line.split("│")[2]) - float(accuracy) / 100) < 1e-4  # one run, in two decimals
    assert float(accuracy) > 80

    other = run_python(*test, *QUICK, cwd=place)
    assert_one_line_of_error(other, "3 classes of 12×14 pixels", "10 classes of 28×28 pixels", "--recipe.dataset")


@pytest.mark.parametrize("door", [KERAS, LIGHTNING], ids=["keras", "lightning"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["there is no data set other.npz"]),
        (b"PK and no more", ["other.npz", "cannot be read as a data set"]),
    ],
    ids=["missing", "corrupt"],
)
def test_what_is_no_data_set_is_one_line(
    tmp_path: Path, door: tuple[str, ...], content: bytes | None, words: list[str]
) -> None:
    if content:
        (tmp_path / "other.npz").write_bytes(content)
    process = run_python(*door, "--recipe.dataset", "other.npz", "--checkpoints", "there", cwd=tmp_path)
    assert_one_line_of_error(process, *words)
    assert {path.name for path in tmp_path.iterdir()} <= {"other.npz"}


@pytest.mark.parametrize("module", ["keras_impl.worker", "lightning_impl.worker"])
def test_data_set_that_changed_is_one_line(place: Path, module: str) -> None:
    recipe = recipe_of(**SMALL, dataset=str(place / "own.npz"))
    (place / "recipe.json").write_text(recipe.to_json())
    with np.load(place / "own.npz") as arrays:
        changed = {**arrays, "x_train": 255 - arrays["x_train"]}
    np.savez(place / "own.npz", **changed)
    process = run_python("-m", module, "--device", "cpu", "recipe.json", "record", cwd=place)
    assert_one_line_of_error(process, "own.npz is not what the recipe was made for")
    assert sorted(path.name for path in place.iterdir()) == ["own.npz", "recipe.json"]


@pytest.mark.parametrize("door", ["keras_impl", "lightning_impl"])
def test_images_are_not_asked_for(tmp_path: Path, door: str) -> None:
    process = run_python("-m", door, "fit", "--help", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "--recipe.dataset" in process.stdout
    assert "--recipe.images" not in process.stdout


def test_more_than_256_classes_are_labels_on_the_lightning_side(tmp_path: Path) -> None:
    from lightning_impl.data import MnistDataModule

    arrays: dict[str, Any] = {"x_train": np.zeros((300, 4, 4), np.uint8), "y_train": np.arange(300)}
    np.savez(tmp_path / "many.npz", **arrays, x_test=arrays["x_train"], y_test=arrays["y_train"])
    recipe = recipe_of(dataset=str(tmp_path / "many.npz"))
    assert datasets.load(recipe).y_train.dtype == np.uint16
    module = MnistDataModule(recipe)
    module.setup("fit")
    assert torch.equal(module.test_digits.labels, torch.arange(300))
