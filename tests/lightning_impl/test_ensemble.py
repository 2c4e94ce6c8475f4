"""Many seeds at once end where trainings of their own end."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from compare.study.results import condense
from lightning_impl.ensemble_recording import fit_seeds, main
from lightning_impl.recording import train_and_record
from recipe import Recipe
from record.training import RunRecord, read_record
from tests.conftest import SMALL as SMALL_NETWORK
from tests.conftest import recipe_of, run_python

# 118 steps an epoch, the last batch smaller.
SMALL = {"hidden_sizes": (32, 16), "batch_size": 512, "epochs": 1, "seed": 5}
SEEDS = 3


def trained_alone(directory: Path, recipe: Recipe) -> RunRecord:
    train_and_record(recipe, directory, 0.0, accelerator="cpu")
    return read_record(directory)


def trained_together(directory: Path, recipe: Recipe) -> list[RunRecord]:
    recipes = [dataclasses.replace(recipe, seed=recipe.seed + index) for index in range(SEEDS)]
    directories = [directory / str(index) for index in range(SEEDS)]
    fit_seeds(recipes, directories, accelerator="cpu")
    return [read_record(one) for one in directories]


@pytest.mark.parametrize("fields", [{}, {"preset": "native"}], ids=["aligned", "native"])
def test_members_are_the_runs_of_their_seeds(tmp_path: Path, fields: dict[str, str]) -> None:
    assert_members_are_the_runs_of_their_seeds(tmp_path, recipe_of(dtype="float64", **SMALL, **fields))


def test_members_with_convolutions_are_the_runs_of_their_seeds(tmp_path: Path, own_data: str) -> None:
    recipe = recipe_of(dataset=own_data, **SMALL_NETWORK, dtype="float64", network="cnn")
    assert_members_are_the_runs_of_their_seeds(tmp_path, recipe)


def assert_members_are_the_runs_of_their_seeds(tmp_path: Path, recipe: Recipe) -> None:
    for index, together in enumerate(trained_together(tmp_path, recipe)):
        alone = trained_alone(tmp_path / f"alone-{index}", dataclasses.replace(recipe, seed=recipe.seed + index))
        assert together.recipe == alone.recipe
        assert together.settings == alone.settings
        # Products of the same numbers, added up in another order: over 118 steps that is far from growing to 1e-12.
        np.testing.assert_allclose(together.step_losses, alone.step_losses, rtol=0, atol=1e-12)
        for name, array in alone.weights.items():
            np.testing.assert_allclose(together.weights[name], array, rtol=0, atol=1e-12, err_msg=name)
        assert together.test is not None
        assert alone.test is not None
        np.testing.assert_allclose(together.test.predictions, alone.test.predictions, rtol=0, atol=1e-12)
        assert together.test.accuracy == pytest.approx(alone.test.accuracy, abs=1e-7)  # counted in float32
        for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert together.history[key] == pytest.approx(alone.history[key], abs=1e-7), key


def test_seeds_start_and_go_on_differently(tmp_path: Path) -> None:
    first, second, third = trained_together(tmp_path, Recipe(**SMALL))
    assert len({first.step_losses[0], second.step_losses[0], third.step_losses[0]}) == SEEDS
    assert condense(first) != condense(second)


def test_members_diverge_as_they_would_alone(tmp_path: Path) -> None:
    recipe = Recipe(**SMALL | {"learning_rate": 1e30})
    for index, together in enumerate(trained_together(tmp_path, recipe)):
        alone = trained_alone(tmp_path / f"alone-{index}", dataclasses.replace(recipe, seed=recipe.seed + index))
        assert together.status == alone.status
        assert together.diverged
        assert len(together.step_losses) == len(alone.step_losses)


def test_command_leaves_a_record_of_each_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ("--recipe.hidden_sizes", "[4]", "--recipe.batch_size", "30000", "--recipe.epochs", "1")
    arguments = ("fit_seeds", *recipe, "--recipe.seed", "3", "--device", "cpu", "--out", str(tmp_path / "records"))
    process = run_python("-m", "lightning_impl", *arguments, "--seeds", "2", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    epoch, *records = process.stdout.splitlines()
    assert epoch.startswith("epoch 1 of 1: ")
    assert records == [str(tmp_path / "records" / f"seed-{seed}") for seed in (3, 4)]
    assert [read_record(tmp_path / "records" / f"seed-{seed}").recipe.seed for seed in (3, 4)] == [3, 4]
    for options, words in (
        (("--seeds", "1"), "seed-3 is there already"),
        (("--seeds", "0"), "--seeds must be 1 or more, not 0"),
        (("--recipe.dropout", "0.1", "--recipe.seed", "9"), "know no dropout"),
        (("--device", "gpu"), "a GPU was asked for, but torch finds none"),
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(SystemExit) as ended:
            main([*arguments[1:], *options])
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert words in error
