import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recipe import Recipe
from recipe.initial_weights import initial_weights
from recipe.mnist import load
from tests.conftest import SMALL, Once, assert_one_line_of_error, recipe_of, run_python

RECIPE = Recipe(hidden_sizes=(8, 4), dtype="float64", batch_size=1000)


def convert(directory: Path, source: str, target: str) -> Any:
    return run_python("-m", "compare", "convert", source, target, cwd=directory, timeout=900)


@pytest.fixture(scope="session")
def converted(once: Once) -> Path:
    return once("converted", lambda directory: convert_there_and_back(directory, RECIPE))


def convert_there_and_back(directory: Path, recipe: Recipe) -> None:
    """canonical.safetensors -> trained.keras -> trained.ckpt -> there.weights.h5 -> back.safetensors."""
    (directory / "recipe.json").write_text(recipe.to_json())
    random = np.random.default_rng(0)
    weights = {name: random.normal(size=array.shape) for name, array in initial_weights(recipe).items()}
    weights["hidden_1.bias"][0] = -0.0  # a sign that arithmetic would lose
    save_file(weights, directory / "canonical.safetensors")
    names = ("canonical.safetensors", "trained.keras", "trained.ckpt", "there.weights.h5", "back.safetensors")
    for source, target in itertools.pairwise(names):
        process = convert(directory, source, target)
        assert process.returncode == 0, process.stderr
        assert process.stdout.strip() == target


def test_there_and_back_is_the_same_bits_with_convolutions_and_dropout(own_data: str, tmp_path: Path) -> None:
    fields = {**SMALL, "dataset": own_data, "network": "cnn", "dropout": 0.2, "dtype": "float64"}
    convert_there_and_back(tmp_path, recipe_of(**fields))
    test_there_and_back_is_the_same_bits(tmp_path)


def test_there_and_back_is_the_same_bits(converted: Path) -> None:
    expected, found = load_file(converted / "canonical.safetensors"), load_file(converted / "back.safetensors")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert array.tobytes() == found[name].tobytes(), name


def test_lightning_tests_the_converted_checkpoint(converted: Path, tmp_path: Path) -> None:
    network = ("--recipe.hidden_sizes", "[8,4]", "--recipe.dtype", "float64")
    options = ("--trainer.accelerator", "cpu", "--trainer.logger", "false")
    process = run_python(
        *("-m", "lightning_impl", "test", "--ckpt_path", converted / "trained.ckpt", *network, *options), cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    weights, digits = load_file(converted / "canonical.safetensors"), load()
    activations = digits.x_test.reshape(-1, 784) / 255
    for layer in RECIPE.layer_names:
        logits = activations @ weights[f"{layer}.kernel"] + weights[f"{layer}.bias"]
        activations = np.maximum(logits, 0)
    accuracy = np.mean(logits.argmax(axis=1) == digits.y_test)
    (line,) = [line for line in process.stdout.splitlines() if "test_accuracy" in line]
    assert abs(float(line.split("│")[2]) - accuracy) < 1e-6


def test_weights_alone_are_no_training_to_go_on_with(converted: Path, tmp_path: Path) -> None:
    recipe = ("--recipe.hidden_sizes", "[8,4]", "--recipe.dtype", "float64", "--recipe.batch_size", "1000")
    process = run_python(
        *("-m", "lightning_impl", "fit", "--ckpt_path", converted / "trained.ckpt", *recipe), cwd=tmp_path
    )
    assert_one_line_of_error(process, "weights alone")


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("canonical.safetensors", "trained.ckpt", ["trained.ckpt is there already"]),
        ("canonical.safetensors", "new.h5", ["new.h5", ".weights.h5"]),
        ("canonical.safetensors", "new.safetensors", ["copy the file"]),
        ("nothing.ckpt", "new.safetensors", ["nothing.ckpt", "cannot be read"]),
        ("alone/canonical.safetensors", "new.ckpt", ["alone/recipe.json"]),
        ("wrong/canonical.safetensors", "new.ckpt", ["hidden_1.kernel", "expected shape (784, 5)"]),
        ("trained.ckpt", "wrong/new.safetensors", ["wrong/recipe.json", "is of something else"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_converted_is_one_line(
    converted: Path, tmp_path: Path, source: str, target: str, words: list[str]
) -> None:
    here = tmp_path / "here"
    shutil.copytree(converted, here)
    for name in ("alone", "wrong"):
        (here / name).mkdir()
        shutil.copy(here / "canonical.safetensors", here / name)
    (here / "wrong" / "recipe.json").write_text('{"hidden_sizes": [5], "dtype": "float64"}')
    before = sorted(here.rglob("*"))
    assert_one_line_of_error(convert(here, source, target), *words)
    assert sorted(here.rglob("*")) == before
