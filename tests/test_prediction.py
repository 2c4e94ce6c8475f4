"""The three doors for pictures: both implementations' `classify` and compare's."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from compare.oracle import network as oracle
from pictures.prepare import read_picture
from recipe import Recipe, mnist
from recipe.errors import RecordError
from recipe.initial_weights import initial_weights
from record.places import newest_training
from record.training import Status
from tests.conftest import TINY, assert_one_line_of_error, recipe_of, run_python, write_canned

DOORS = ["keras_impl", "lightning_impl"]
RECIPE = Recipe(hidden_sizes=(8,), dtype="float64", batch_size=30_000, epochs=2)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two pictures and a comparison whose networks differ."""
    for index, name in enumerate(("a.png", "-b.png")):
        Image.fromarray(255 - mnist.load().x_test[index]).resize((280, 280)).save(tmp_path / name)
    for name, seed in (("keras", 1), ("lightning", 2)):
        recipe = Recipe(**{**vars(RECIPE), "seed": seed})
        write_canned(tmp_path / "runs" / "run-1" / "records" / f"{name}-1", recipe)
    return tmp_path


def expected(place: Path, name: str) -> Any:
    images = np.stack([read_picture(place / "a.png"), read_picture(place / "-b.png")]).reshape(2, 784) / 255
    seed = {"keras": 1, "lightning": 2}[name]
    weights = oracle.exact(initial_weights(Recipe(**{**vars(RECIPE), "seed": seed})))
    return oracle.forward(weights, images).activations["output"]


@pytest.mark.parametrize("door", DOORS)
def test_probabilities_are_those_of_the_newest_weights(door: str, place: Path) -> None:
    process = run_python("-m", door, "classify", "--json", "--", "a.png", "-b.png", cwd=place)
    assert process.returncode == 0, process.stderr
    found = np.array(json.loads(process.stdout))
    # Sums of 784 and of 8 float64 products, whose rounding a softmax of small logits does not enlarge.
    assert np.abs(found - expected(place, door.removesuffix("_impl"))).max() < 1e-13
    assert not (place / "lightning_logs").exists()


@pytest.mark.parametrize("door", DOORS)
def test_weights_of_the_other_implementation_are_taken_from_file_or_record(door: str, place: Path) -> None:
    other = {"keras_impl": "lightning", "lightning_impl": "keras"}[door]
    record = place / "runs" / "run-1" / "records" / f"{other}-1"
    path = record if door == "keras_impl" else record / "weights.safetensors"
    process = run_python("-m", door, "classify", "a.png", "--show", "--weights", path, cwd=place)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    probabilities = expected(place, other)[0]
    assert len(lines) == 28 + 1 + 1 + 10
    assert {len(line) for line in lines[:28]} == {56}
    assert lines[28] == "written to a-28x28.png"
    assert lines[29] == f"a.png: {probabilities.argmax()}"
    np.testing.assert_array_equal(np.asarray(Image.open(place / "a-28x28.png")), read_picture(place / "a.png"))
    for digit, line in enumerate(lines[30:]):
        assert line.split()[:2] == [str(digit), f"{probabilities[digit]:.2%}"]
        assert abs(line.count("█") - 40 * probabilities[digit]) <= 0.5


def test_compare_shows_both_side_by_side(place: Path) -> None:
    process = run_python("-m", "compare", "classify", "a.png", cwd=place)
    assert process.returncode == 0, process.stderr
    both = expected(place, "keras")[0], expected(place, "lightning")[0]
    assert f"Keras: {both[0].argmax()}" in process.stdout
    assert f"Lightning: {both[1].argmax()}" in process.stdout
    rows = [line.split() for line in process.stdout.splitlines() if line[:2].strip().isdigit()]
    percentages = [[word for word in row if word.endswith("%")] for row in rows]
    assert percentages == [[f"{row[digit]:.2%}" for row in both] for digit in range(10)]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.png"], ["missing.png", "no such file"]),
        (["a.png", "--weights", "missing"], ["--weights", "missing"]),
        (["a.png", "--weights", "a.png"], ["a.png", "weights.safetensors"]),
        (["a.png", "--weights", "alone.safetensors"], ["recipe.json"]),
        (["a.png", "--weights", "broken"], ["broken", "hidden_1.kernel", "shape"]),
    ],
    ids=["picture", "weights", "no weights", "no recipe", "other recipe"],
)
def test_what_cannot_be_used_is_one_line(door: str, arguments: list[str], words: list[str], place: Path) -> None:
    save_file(initial_weights(TINY), place / "alone.safetensors")
    (place / "broken").mkdir()
    (place / "broken" / "recipe.json").write_text(RECIPE.to_json())
    save_file(initial_weights(TINY), place / "broken" / "weights.safetensors")
    assert_one_line_of_error(run_python("-m", door, "classify", *arguments, cwd=place), *words)


@pytest.mark.parametrize("door", [*DOORS, "compare"])
def test_no_picture_shown_replaces_another(door: str, place: Path) -> None:
    (place / "other").mkdir()
    shutil.copy(place / "-b.png", place / "other" / "a.png")
    process = run_python("-m", door, "classify", "--show", "a.png", "other/a.png", cwd=place)
    assert_one_line_of_error(process, "a.png and other/a.png would both be written to a-28x28.png")
    assert not (place / "a-28x28.png").exists()


def test_network_for_other_images_is_one_line(place: Path, own_data: str) -> None:
    recipe = recipe_of(dataset=own_data, hidden_sizes=())
    (place / "small").mkdir()
    (place / "small" / "recipe.json").write_text(recipe.to_json())
    save_file(initial_weights(recipe), place / "small" / "weights.safetensors")
    process = run_python("-m", "lightning_impl", "classify", "a.png", "--weights", "small", cwd=place)
    assert_one_line_of_error(process, "small was trained on images of 12×14 pixels", "28×28")


@pytest.mark.parametrize("door", [*DOORS, "compare"])
def test_without_a_training_the_line_says_how_to_get_one(door: str, place: Path) -> None:
    (place / "runs").rename(place / "elsewhere")
    assert_one_line_of_error(run_python("-m", door, "classify", "a.png", cwd=place), "mnist-compare run")


def test_the_stock_predict_takes_a_checkpoint(tmp_path: Path) -> None:
    process = run_python("-m", "lightning_impl", "predict", "--help", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "class probabilities of the test images" in process.stdout
    assert "--ckpt_path" in process.stdout


def test_newest_finished_training_is_no_control_and_did_not_diverge(tmp_path: Path) -> None:
    records = tmp_path / "records"
    write_canned(records / "keras-old")
    write_canned(records / "keras-new")
    write_canned(records / "keras-control", Recipe(**{**vars(TINY), "perturbation": 1}))
    write_canned(records / "keras-diverged", status=Status("diverged", 1, 1), test=None)
    for age, name in enumerate(("diverged", "control", "new", "old")):
        os.utime(records / f"keras-{name}" / "weights.safetensors", (1000 - age, 1000 - age))
    assert newest_training("keras", tmp_path) == records / "keras-new"
    with pytest.raises(RecordError, match="no finished training of lightning"):
        newest_training("lightning", tmp_path)
    # Of another comparison, all of whose trainings are perturbed, the newest counts.
    other = tmp_path / "another" / "records" / "keras-perturbed"
    write_canned(other, Recipe(**{**vars(TINY), "perturbation": 1}))
    assert newest_training("keras", tmp_path) == other
