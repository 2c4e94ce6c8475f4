"""`--optimizer` and `--lr_scheduler` are honoured, and the training says that it departs from its recipe."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml

from lightning_impl.__main__ import main
from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.checkpoints import load_checkpoint
from lightning_impl.data import MnistDataModule
from lightning_impl.departures import departures
from lightning_impl.module import DigitClassifier
from lightning_impl.recording import settings
from tests.conftest import SMALL, Once, assert_one_line_of_error, recipe_of, run_python

SGD = ["--optimizer", "SGD", "--optimizer.lr", "0.05", "--optimizer.momentum", "0.5"]
STEP_LR = ["--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1"]
IN_WORDS = "SGD(lr=0.05, momentum=0.5, dampening=0, weight_decay=0)"


def command(own_data: str, *arguments: str, epochs: int = 2) -> list[str]:
    recipe = [f"--recipe.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()]
    recipe += ["--recipe.dataset", own_data, "--recipe.epochs", str(epochs), "--checkpoints", "checkpoints"]
    return ["fit", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", *recipe, *arguments]


def fit(directory: Path, *arguments: Any, **options: Any) -> Any:
    return run_python("-m", "lightning_impl", *command(*arguments, **options), cwd=directory)


Refusal = Callable[..., str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """The line that a command ends with, run in this process."""

    def get(directory: Path, *arguments: Any, **options: Any) -> str:
        monkeypatch.chdir(directory)
        monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # main sets it: have it undone
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # main hides frameworks
        monkeypatch.setattr(sys, "argv", ["lightning_impl", *command(*arguments, **options)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return get


def of_last(directory: Path) -> dict[str, Any]:
    return load_checkpoint(directory / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="session")
def by_sgd(once: Once, own_data: str) -> Path:
    def make(directory: Path) -> None:
        process = fit(directory, own_data, *SGD)
        assert process.returncode == 0, process.stderr
        (directory / "log").write_text(process.stderr)

    return once("lightning-sgd", make)


@pytest.fixture(scope="session")
def by_the_recipe(once: Once, own_data: str) -> Path:
    def make(directory: Path) -> None:
        process = fit(directory, own_data)
        assert process.returncode == 0, process.stderr
        (directory / "log").write_text(process.stderr)

    return once("lightning-recipe", make)


def test_optimizer_of_the_command_line_trains(by_sgd: Path, own_data: str) -> None:
    torch.set_num_threads(1)
    (group,) = of_last(by_sgd)["optimizer_states"][0]["param_groups"]
    assert (group["lr"], group["momentum"]) == (0.05, 0.5)

    class BySGD(DigitClassifier):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.5)

    recipe = recipe_of(**SMALL | {"epochs": 2}, dataset=own_data)
    module = BySGD(recipe)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=2, **quiet)
    trainer.fit(module, MnistDataModule(recipe))
    for name, tensor in of_last(by_sgd)["state_dict"].items():
        assert torch.equal(tensor, module.state_dict()[name]), name
    assert module.departures == {"optimizer": IN_WORDS}
    assert settings(trainer, module)["optimizer.name"] == "sgd"
    assert settings(trainer, module)["departures"] == {"optimizer": IN_WORDS}


def test_departure_is_in_the_log_the_record_and_the_checkpoint(by_sgd: Path) -> None:
    (line,) = [line for line in (by_sgd / "log").read_text().splitlines() if "departs" in line]
    assert line.endswith(f"This training departs from its recipe: optimizer {IN_WORDS}.")
    (record,) = by_sgd.rglob("hparams.yaml")
    assert yaml.safe_load(record.read_text())["departs_from_recipe"] == f"optimizer {IN_WORDS}"
    assert of_last(by_sgd)["departures"] == {"optimizer": IN_WORDS}


def test_recipes_own_training_says_nothing(by_the_recipe: Path) -> None:
    assert "depart" not in (by_the_recipe / "log").read_text()
    (record,) = by_the_recipe.rglob("hparams.yaml")
    assert "depart" not in record.read_text()
    assert of_last(by_the_recipe)["departures"] == {}


def test_checkpoint_that_departs_is_refused_where_the_recipes_own_is_asked_for(by_sgd: Path, own_data: str) -> None:
    before = (by_sgd / "checkpoints" / "last.ckpt").read_bytes()
    process = fit(by_sgd, own_data, "--ckpt_path", "last", epochs=3)
    assert_one_line_of_error(
        process, f"was trained with optimizer {IN_WORDS}, and the recipe's own optimizer is asked for", "begin again"
    )
    assert (by_sgd / "checkpoints" / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize("asked", [SGD, STEP_LR], ids=["SGD", "StepLR"])
def test_recipes_own_checkpoint_is_refused_where_another_optimizer_is_asked_for(
    by_the_recipe: Path, own_data: str, refusal: Refusal, asked: list[str]
) -> None:
    line = refusal(by_the_recipe, own_data, "--ckpt_path", "checkpoints/last.ckpt", *asked, epochs=3)
    assert "was trained with the recipe's own optimizer, and " in line
    assert asked[1] in line


def test_other_settings_of_the_same_optimizer_are_refused(by_sgd: Path, own_data: str, refusal: Refusal) -> None:
    line = refusal(by_sgd, own_data, "--ckpt_path", "checkpoints/last.ckpt", *SGD, "--optimizer.lr", "0.1", epochs=3)
    assert "SGD(lr=0.05" in line
    assert "SGD(lr=0.1" in line


def test_same_departure_goes_on_to_the_same_bits(by_sgd: Path, own_data: str, tmp_path: Path) -> None:
    begun, whole = fit(tmp_path, own_data, *SGD, epochs=1), of_last(by_sgd)
    assert begun.returncode == 0, begun.stderr
    process = fit(tmp_path, own_data, "--ckpt_path", "last", *SGD)
    assert process.returncode == 0, process.stderr
    assert all(
        torch.equal(tensor, of_last(tmp_path)["state_dict"][name]) for name, tensor in whole["state_dict"].items()
    )


def test_other_commands_take_the_checkpoint_and_say_that_it_departs(
    by_sgd: Path, own_data: str, tmp_path: Path
) -> None:
    recipe = ["--recipe.dataset", own_data, "--recipe.hidden_sizes", "[16,12]", "--trainer.logger", "false"]
    checkpoint = by_sgd / "checkpoints" / "last.ckpt"
    process = run_python("-m", "lightning_impl", "test", *recipe, "--ckpt_path", checkpoint, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert f"The checkpoint departs from its recipe: optimizer {IN_WORDS}." in process.stderr
    process = run_python("-m", "lightning_impl.convert", checkpoint, "w.safetensors", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stderr.endswith(f"departs from the recipe that is written next to it: optimizer {IN_WORDS}\n")


@pytest.mark.parametrize("optimizer", [[], ["--optimizer", "AdamW"]], ids=["the recipe's", "AdamW"])
def test_scheduler_of_the_command_line_steps(
    own_data: str, tmp_path: Path, refusal: Refusal, optimizer: list[str]
) -> None:
    process = fit(tmp_path, own_data, *optimizer, *STEP_LR)
    assert process.returncode == 0, process.stderr
    rate = 3e-3 if not optimizer else 1e-3
    assert of_last(tmp_path)["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(rate / 100)
    assert "lr_scheduler StepLR(step_size=1, gamma=0.1) every 1 epoch" in process.stderr
    line = refusal(tmp_path, own_data, *optimizer, *STEP_LR, "--model.steps_per_execution", "4")
    assert "steps_per_execution 4 cannot be combined with the scheduler StepLR" in line


def test_checkpoint_from_before_departures_were_noted(own_data: str, tmp_path: Path) -> None:
    recipe = recipe_of(**SMALL, dataset=own_data)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}

    class BySGD(BlockDigitClassifier):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    for kind in (BySGD, BlockDigitClassifier):
        trainer = lightning.Trainer(max_epochs=1, **quiet)
        trainer.fit(kind(recipe), MnistDataModule(recipe))
        trainer.save_checkpoint(tmp_path / "old.ckpt")
        checkpoint = load_checkpoint(tmp_path / "old.ckpt")
        del checkpoint["departures"]
        torch.save(checkpoint, tmp_path / "old.ckpt")
        trainer = lightning.Trainer(max_epochs=2, **quiet)
        again = BlockDigitClassifier(recipe)
        if kind is BySGD:
            with pytest.raises(ValueError, match="trained with optimizer another one, and the recipe's own"):
                trainer.fit(again, MnistDataModule(recipe), ckpt_path=tmp_path / "old.ckpt", weights_only=True)
        else:
            trainer.fit(again, MnistDataModule(recipe), ckpt_path=tmp_path / "old.ckpt", weights_only=True)
            assert trainer.global_step == 32


@pytest.mark.parametrize("preset", ["aligned", "native"])
def test_recipes_own_optimizer_written_by_hand_is_no_departure(own_data: str, preset: str) -> None:
    recipe = recipe_of(**SMALL, dataset=own_data, preset=preset)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.optimizers = [DigitClassifier(recipe).configure_optimizers()]
    assert departures(recipe, trainer) == {}
