import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.fabric.accelerators import MPSAccelerator

from lightning_impl.__main__ import RecipeCLI, lightning_cli
from lightning_impl.checkpoints import CompleteCheckpoints, save_checkpoint
from lightning_impl.convert import convert
from lightning_impl.export import export
from lightning_impl.logs import default_loggers
from lightning_impl.module import DigitClassifier
from recipe.errors import RecordError
from tests.conftest import Once, assert_one_line_of_error, recipe_of, run_python

FIT = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.logger", "CSVLogger")
FIT = (*FIT, "--trainer.logger.save_dir", ".", "--trainer.logger.version", "0")
"""One place for logs and checkpoints: ./lightning_logs/version_0."""
UNEQUAL = ("--recipe.batch_size", "59995", "--recipe.dtype", "float64", "--recipe.epochs", "1")
"""Two steps, of 59,995 images and of 5: odd shares for two processes, and far from equal batches."""


def lightning(directory: Path, *arguments: str) -> Any:
    directory.mkdir(exist_ok=True)
    return run_python("-m", "lightning_impl", *arguments, cwd=directory)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = directory.rglob("last.ckpt")
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def metrics(directory: Path) -> dict[str, float]:
    """The last value of every metric in the CSV log."""
    (log,) = directory.rglob("metrics.csv")
    with log.open() as lines:
        rows = list(csv.DictReader(lines))
    return {key: float(value) for row in rows for key, value in row.items() if value}


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in ("fit", "predict"))], ids=str)
def test_help_answers(tmp_path: Path, arguments: list[str]) -> None:
    process = lightning(tmp_path, *arguments)
    assert process.returncode == 0, process.stderr
    assert "usage:" in process.stdout
    if arguments[0] != "--help":
        assert "--recipe.batch_size" in process.stdout
        assert "Images per optimizer step, over all devices together" in process.stdout


def test_printed_config_holds_the_options_and_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "recipe:\n  batch_size: 100\n  preset: native\ntrainer:\n  max_time: 00:01:00:00\n"
    )
    process = lightning(tmp_path, "fit", "--config", "mine.yaml", "--recipe.epochs", "3", "--print_config")
    assert process.returncode == 0, process.stderr
    config = yaml.safe_load(process.stdout)
    recipe = config["recipe"]
    assert (recipe["batch_size"], recipe["epochs"], recipe["preset"], recipe["seed"]) == (100, 3, "native", 0)
    assert config["trainer"]["max_time"] == "00:01:00:00"

    (tmp_path / "printed.yaml").write_text(process.stdout)
    again = lightning(tmp_path, "fit", "--config", "printed.yaml", "--print_config")
    assert again.stdout == process.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe.epochs", "0"], ["--recipe.epochs must be a whole number from 1 to 1,000,000, not 0; see --help"]),
        (["--recipe.beta_2", "1"], ["recipe.beta_2"]),
        (["--recipe.hidden_sizes", "[0]"], ["recipe.hidden_sizes"]),
        (["--trainer.accelerator", "gpu"], []),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    process = lightning(tmp_path, "fit", *arguments)
    assert_one_line_of_error(process, *words)
    assert "--recipe" not in arguments[0] or process.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_recipe_in_a_file_of_its_own_is_taken(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("preset: native\nepochs: 0\n")
    assert_one_line_of_error(lightning(tmp_path, "fit", "--recipe", "recipe.yaml"), "--recipe.epochs must be", "not 0")


@pytest.mark.parametrize(
    "arguments", [["--recipe.epochs", "three"], ["--recipe.dtype", "float16"], ["--recipe.unknown", "1"]], ids=str
)
def test_unknown_or_mistyped_option_is_refused_by_name(tmp_path: Path, arguments: list[str]) -> None:
    process = lightning(tmp_path, "fit", *arguments)
    assert_one_line_of_error(process, arguments[0], "; see python -m lightning_impl fit --help")
    assert process.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def _fit(directory: Path, *arguments: str) -> None:
    process = lightning(directory, "fit", *FIT, *UNEQUAL, *arguments)
    assert process.returncode == 0, process.stderr
    in_blocks = "--model.steps_per_execution" not in arguments
    assert ("steps_per_execution auto: 2, as nothing" in process.stderr) == in_blocks


@pytest.fixture(scope="session")
def one_process(once: Once) -> Path:
    return once("lightning-one-process", _fit)


@pytest.fixture(scope="session")
def two_processes(once: Once) -> Path:
    ddp = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
    return once("lightning-two-processes", lambda directory: _fit(directory, *ddp))


def test_two_processes_follow_one_to_rounding(one_process: Path, two_processes: Path) -> None:
    one, two = weights(one_process), weights(two_processes)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert tensor.dtype == torch.float64
        # Two Adam steps of 1e-3 on gradients that are means of 60,000 float64 numbers: their
        # rounding, 1e-16 of a gradient, shows where it is small against ε, amplified by lr/ε = 1e4.
        assert (tensor - two[name]).abs().max() <= 1e-12


def test_two_processes_drop_what_one_does(own_data: str, tmp_path: Path) -> None:
    recipe = ("--recipe.dataset", own_data, "--recipe.dropout", "0.2", "--recipe.hidden_sizes", "[16]")
    recipe = (*recipe, "--recipe.batch_size", "20", "--recipe.epochs", "1", "--recipe.dtype", "float64")
    for name, devices in (("one", ()), ("two", ("--trainer.devices", "2", "--trainer.strategy", "ddp"))):
        process = lightning(tmp_path / name, "fit", *FIT, *recipe, *devices, "--model.steps_per_execution", "5")
        assert process.returncode == 0, process.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all((tensor - two[name]).abs().max() <= 1e-12 for name, tensor in one.items())  # rounding, as above


@pytest.mark.zoo
@pytest.mark.parametrize("network", ["dense", "cnn"])
@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork"])
def test_up_to_four_processes_follow_one_to_rounding(
    own_data: str, tmp_path: Path, network: str, strategy: str
) -> None:
    """Batches of 20 and a last one of 5: shares that differ by an image."""
    recipe = ("--recipe.dataset", own_data, "--recipe.network", network, "--recipe.filters", "[2,3]")
    recipe = (*recipe, "--recipe.hidden_sizes", "[16]", "--recipe.batch_size", "20", "--recipe.dtype", "float64")
    for number in ("1", "2", "3", "4"):
        several = ("--trainer.devices", number, "--trainer.strategy", strategy) if number > "1" else ()
        process = lightning(tmp_path / number, "fit", *FIT, *recipe, "--recipe.epochs", "2", *several)
        assert process.returncode == 0, process.stderr
    one = weights(tmp_path / "1")
    for number in ("2", "3", "4"):
        for name, tensor in weights(tmp_path / number).items():
            assert (tensor - one[name]).abs().max() <= 1e-12, (number, name)  # as above, in 32 steps: 1e-16 measured


def test_steps_per_execution_change_no_bit(one_process: Path, tmp_path: Path) -> None:
    _fit(tmp_path, "--model.steps_per_execution", "1")
    blocks, single = weights(one_process), weights(tmp_path)
    assert all(torch.equal(tensor, single[name]) for name, tensor in blocks.items())


def test_steps_per_execution_change_no_bit_in_two_processes(two_processes: Path, tmp_path: Path) -> None:
    """DDP averages in one case, the module in the other; two addends have one sum, and halves are exact."""
    _fit(tmp_path, "--trainer.devices", "2", "--trainer.strategy", "ddp", "--model.steps_per_execution", "1")
    blocks, single = weights(two_processes), weights(tmp_path)
    assert all(torch.equal(tensor, single[name]) for name, tensor in blocks.items())


def test_two_processes_have_the_accuracy_of_one(one_process: Path, two_processes: Path) -> None:
    one, two = metrics(one_process), metrics(two_processes)
    for key in ("accuracy", "val_accuracy", "val_loss"):
        # torchmetrics divides in float32, rounding once on either side; the float64 losses differ by less.
        assert abs(one[key] - two[key]) <= 2 * 2.0**-24 * abs(one[key])


@pytest.mark.parametrize("devices", ["1", "2"])
def test_test_counts_every_image_once(two_processes: Path, tmp_path: Path, devices: str) -> None:
    (checkpoint,) = two_processes.rglob("last.ckpt")
    strategy = ["--trainer.strategy", "ddp"] if devices == "2" else []
    process = lightning(
        tmp_path,
        *("test", *FIT, "--recipe.dtype", "float64", "--ckpt_path", str(checkpoint)),
        *("--trainer.devices", devices, *strategy),
    )
    assert process.returncode == 0, process.stderr
    found = metrics(tmp_path)
    assert found["test_images"] == 10_000
    assert abs(found["test_accuracy"] - metrics(two_processes)["val_accuracy"]) < 1e-6


@pytest.mark.parametrize("command", ["validate", "predict"])
def test_other_commands_take_the_checkpoint(one_process: Path, tmp_path: Path, command: str) -> None:
    (checkpoint,) = one_process.rglob("last.ckpt")
    process = lightning(tmp_path, command, *FIT, "--recipe.dtype", "float64", "--ckpt_path", str(checkpoint))
    assert process.returncode == 0, process.stderr


def test_second_run_in_the_same_place_never_aborts(tmp_path: Path) -> None:
    quick = ("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--recipe.epochs", "1")
    for seed in ("0", "1"):
        process = lightning(tmp_path, "fit", *FIT, *quick, "--recipe.seed", seed)
        assert process.returncode == 0, process.stderr
    (config,) = tmp_path.rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["recipe"]["seed"] == 1


def test_the_configuration_that_a_training_leaves_goes_on_with_it(own_data: str, tmp_path: Path) -> None:
    """As docs/how-to.md has it: the bits of a training that was not interrupted; what is said besides goes first."""
    recipe = ("--recipe.dataset", own_data, "--recipe.hidden_sizes", "[16]", "--recipe.batch_size", "20")
    quiet = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
    left = tmp_path / "parts" / "lightning_logs" / "version_0"
    config = ("--config", str(left / "config.yaml"), "--ckpt_path")
    for directory, command in (
        ("whole", ("fit", *quiet, *recipe, "--recipe.epochs", "2")),
        ("parts", ("fit", *quiet, *recipe, "--recipe.epochs", "1")),
        ("resumed", ("fit", *config, str(left / "checkpoints" / "last.ckpt"), "--recipe.epochs", "2")),
        ("validated", ("validate", *config, str(left / "checkpoints" / "best.ckpt"))),
    ):
        process = lightning(tmp_path / directory, *command)
        assert process.returncode == 0, process.stderr
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert metrics(tmp_path / "resumed")["epoch"] == 1


def test_recipe_decides_the_epochs_unless_the_trainer_does(tmp_path: Path) -> None:
    quick = ("--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1")
    for name, arguments, epochs in (("a", (), 2), ("b", ("--trainer.max_epochs", "1"), 1)):
        process = lightning(tmp_path / name, "fit", *FIT, *quick, "--recipe.epochs", "2", *arguments)
        assert process.returncode == 0, process.stderr
        assert metrics(tmp_path / name)["epoch"] == epochs - 1


def test_barebones_trains_and_leaves_nothing(tmp_path: Path) -> None:
    quick = ("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1", "--recipe.epochs", "1")
    process = lightning(tmp_path, "fit", "--trainer.accelerator", "cpu", "--trainer.barebones", "true", *quick)
    assert process.returncode == 0, process.stderr
    assert not list(tmp_path.iterdir())


def test_predictions_that_are_not_kept_are_not_written(one_process: Path, tmp_path: Path) -> None:
    (checkpoint,) = one_process.rglob("last.ckpt")
    arguments = (*FIT, "--recipe.dtype", "float64", "--ckpt_path", str(checkpoint), "--return_predictions", "false")
    process = lightning(tmp_path, "predict", *arguments)
    assert process.returncode == 0, process.stderr
    assert not list(tmp_path.rglob("predictions.safetensors"))


def test_runs_started_together_log_apart(tmp_path: Path) -> None:
    first, second = (default_loggers(tmp_path) for _ in range(2))
    assert [Path(logger.log_dir).name for logger in (*first, *second)] == ["version_0"] * 2 + ["version_1"] * 2


class _Planted:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("planted",)


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": _Planted()}, tmp_path / "planted.ckpt")
    process = lightning(tmp_path, "test", "--ckpt_path", "planted.ckpt")
    assert_one_line_of_error(process, "planted.ckpt", "the checkpoint holds more than tensors")
    assert not (tmp_path / "planted").exists()


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`on_a_mac(*options)` is the device that `fit` would train on where torch has a Mac's GPU."""
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    monkeypatch.chdir(tmp_path)
    found: list[str] = []
    take = lambda self, _: found.append(self.trainer.strategy.root_device.type)  # noqa: E731
    monkeypatch.setattr(RecipeCLI, "_run_subcommand", take)

    def fit(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["mnist-lightning", "fit", "--trainer.logger", "false", *options])
        lightning_cli("mnist-lightning")
        return found.pop()

    # Lightning looks once in a process, and any test before may have had it look.
    MPSAccelerator.is_available.cache_clear()
    yield fit
    MPSAccelerator.is_available.cache_clear()


def test_auto_is_no_macs_gpu_which_has_to_be_asked_for(on_a_mac: Callable[..., str]) -> None:
    float64 = ("--recipe.dtype", "float64")
    assert on_a_mac(*float64) == on_a_mac("--trainer.accelerator", "auto") == "cpu"
    assert on_a_mac("--trainer.accelerator", "gpu") == on_a_mac("--trainer.accelerator", "mps") == "mps"


@pytest.mark.parametrize("option", [("--recipe.dtype", "float64"), ("--trainer.precision", "64-true")], ids=str)
def test_float64_on_a_macs_gpu_is_refused_before_anything_starts(
    on_a_mac: Callable[..., str], option: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        on_a_mac("--trainer.accelerator", "mps", *option)
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: a Mac's GPU has no float64; set --trainer.accelerator cpu")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """A checkpoint of a network as it begins."""
    recipe = recipe_of(hidden_sizes=(2,))
    state = DigitClassifier(recipe).state_dict()
    save_checkpoint(tmp_path / "ck" / "best.ckpt", {"state_dict": state, "recipe": recipe.to_json()})
    return tmp_path / "ck" / "best.ckpt"


def validate(monkeypatch: pytest.MonkeyPatch, directory: Path, *options: str) -> str:
    """The checkpoint that `validate` with these options would load."""
    found: list[str] = []
    take = lambda self, _: found.append(self.config_init.validate.ckpt_path)  # noqa: E731
    monkeypatch.chdir(directory)
    monkeypatch.setattr(RecipeCLI, "_run_subcommand", take)
    monkeypatch.setattr(sys, "argv", ["", "validate", "--trainer.accelerator", "cpu", "--recipe.hidden_sizes", "[2]"])
    sys.argv += options
    lightning_cli("mnist-lightning")
    return found.pop()


def test_the_best_checkpoint_is_found_where_checkpoints_are_kept(best: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validate(monkeypatch, best.parent, "--ckpt_path", "best", "--checkpoints", ".") == "best.ckpt"


@pytest.mark.parametrize(
    ("name", "checkpoints", "word"),
    [("best", (), "--checkpoints names no directory"), ("last", ("--checkpoints", "."), "there is no last.ckpt")],
)
def test_a_checkpoint_that_is_not_there_is_one_line_and_leaves_nothing(
    best: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    checkpoints: tuple[str, ...],
    word: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        validate(monkeypatch, best.parent, "--ckpt_path", name, *checkpoints)
    assert caught.value.code == 2
    assert f"error: --ckpt_path {name}: {word}" in capsys.readouterr().err
    assert [path.name for path in best.parent.iterdir()] == ["best.ckpt"]


def test_export_of_a_checkpoint_says_what_makes_a_record_of_it(best: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecordError, match=r"is a file, .*`mnist-compare convert .*best.ckpt NEW/weights.safetensors`"):
        export(best, out, "safetensors")
    (tmp_path / "new").mkdir()
    convert(best, tmp_path / "new" / "weights.safetensors")
    export(tmp_path / "new", out, "safetensors")
    assert out.is_file()


def test_weights_that_a_spawned_process_hands_back_are_read(tmp_path: Path) -> None:
    """Lightning has them in a file of that name, and they are no checkpoint."""
    plugin, path = CompleteCheckpoints(), tmp_path / ".temp.ckpt"
    plugin.save_checkpoint({"weight": torch.ones(2)}, path)
    assert plugin.load_checkpoint(path)["weight"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("fsdp", "requires a GPU accelerator"),
        ("foo", "invalid strategy name"),
        ("ddp_spawn", "use ddp, which starts the command again, or ddp_fork"),
        ('{"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}', "has a module shard itself"),
    ],
)
def test_a_strategy_that_does_not_go_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], strategy: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", strategy)
    monkeypatch.setattr(sys, "argv", ["mnist-lightning", "fit", *asked])
    with pytest.raises(SystemExit) as caught:
        lightning_cli("mnist-lightning")
    assert caught.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: --trainer")
    assert words in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("fit", "--model.cuda_graph", "true"), "cuda_graph cannot be used: it needs a GPU"),
        (
            ("fit", "--model.steps_per_execution", "5", "--trainer.max_steps", "9"),
            "cannot be combined with max_steps 9",
        ),
        (("fit", "--model.steps_per_execution", "5", "--lr_scheduler", "StepLR", "--lr_scheduler.step_size", "1"), ""),
        (("predict", "--trainer.devices", "2", "--trainer.strategy", "ddp"), "use --trainer.devices 1"),
    ],
    ids=str,
)
def test_what_the_trainer_refuses_leaves_nothing(
    own_data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: tuple[str, ...],
    words: str,
) -> None:
    """Other runs' logs stay, and those of a run that ended well."""
    recipe = ("--recipe.dataset", own_data, "--recipe.hidden_sizes", "[2]", "--recipe.epochs", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mnist-lightning", *asked, "--trainer.accelerator", "cpu", *recipe])
    for there in ([], ["lightning_logs"]):
        with pytest.raises(SystemExit) as caught:
            lightning_cli("mnist-lightning")
        assert caught.value.code == 2
        assert words in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == there
        (tmp_path / "lightning_logs" / "version_0").mkdir(parents=True, exist_ok=True)
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]
