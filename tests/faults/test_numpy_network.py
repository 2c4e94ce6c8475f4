"""The third implementation: complete, short, and in parity."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.ladder.climb import climb
from examples import numpy_network
from recipe import Recipe, datasets
from recipe.initial_weights import initial_weights
from record.first_steps import read_trace
from record.training import read_record
from tests.conftest import assert_one_line_of_error, recipe_of, run_python
from tests.faults.clean import trace
from tests.faults.zoo import Base
from tests.own_data import write_archive

SCRIPT = Path(numpy_network.__file__)


def run_script(directory: Path, recipe: Recipe, *options: str) -> tuple[Path, str]:
    (directory / "recipe.json").write_text(recipe.to_json())
    process = run_python(SCRIPT, "recipe.json", "run", *options, cwd=directory)
    assert process.returncode == 0, process.stderr
    return directory / "run", process.stdout


def test_it_is_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) < 120


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_sizes": (32, 32), "batch_size": 64},
        {"hidden_sizes": (), "batch_size": 999, "dtype": "float64"},
        {"hidden_sizes": (7,), "batch_size": 300, "preset": "native", "perturbation": 3},
    ],
)
def test_its_trace_is_in_parity(fields: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(**fields)
    directory, _ = run_script(tmp_path, recipe, "--trace")
    found = read_trace(directory)
    rungs = climb({"clean": trace(Base, recipe, num_batches=None), "example": found})
    assert [(rung.name, rung.verdict, rung.where) for rung in rungs if rung.verdict != "parity"] == []
    assert len(found.batch_hashes) == -(-60_000 // recipe.batch_size) + 1


@pytest.mark.parametrize("fields", [{"network": "cnn"}, {"dropout": 0.2}])
def test_it_refuses_what_it_does_not_know(fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(recipe_of(**fields).to_json())
    process = run_python(SCRIPT, "recipe.json", "run", "--trace", cwd=tmp_path)
    assert_one_line_of_error(process, "neither cnn nor dropout")
    assert not (tmp_path / "run").exists()


def test_it_takes_other_data_sets(tmp_path: Path) -> None:
    write_archive(tmp_path)
    recipe = recipe_of(dataset=str(tmp_path / "own.npz"), hidden_sizes=(5,), epochs=1)
    directory, _ = run_script(tmp_path, recipe, "--trace")
    clean = trace(Base, recipe, num_batches=None, images=datasets.load(recipe))
    rungs = climb({"clean": clean, "example": read_trace(directory)})
    assert [rung.verdict for rung in rungs] == ["parity"] * 7


def test_it_trains(tmp_path: Path) -> None:
    recipe = Recipe(hidden_sizes=(16,), batch_size=7000, epochs=2)
    directory, output = run_script(tmp_path, recipe)
    record = read_record(directory)
    assert record.status.outcome == "finished"
    assert len(record.step_losses) == 2 * 9
    # The weighted mean: the last batch of an epoch has 4,000 images.
    sizes = np.array([7000] * 8 + [4000])
    assert record.history["loss"][1] == pytest.approx((record.step_losses[9:] * sizes).sum() / 60_000, rel=1e-6)
    assert record.test is not None
    assert record.test.accuracy == record.history["val_accuracy"][-1] > 0.5
    assert record.history["loss"][0] > record.history["loss"][1]
    before = initial_weights(recipe)["hidden_1.kernel"]
    assert not np.array_equal(record.weights["hidden_1.kernel"], before)
    fractions = [json.loads(line)["progress"]["fraction"] for line in output.splitlines()]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_it_ends_as_diverged(tmp_path: Path) -> None:
    # Adam moves every weight by about the learning rate: the logits overflow in the second step.
    directory, _ = run_script(tmp_path, Recipe(hidden_sizes=(4,), batch_size=20_000, epochs=2, learning_rate=1e30))
    record = read_record(directory)
    assert record.status.outcome == "diverged"
    assert (record.status.epoch, record.status.step) == (1, 2)
    assert len(record.step_losses) == 2
    assert record.test is None
    assert record.history["loss"] == []
