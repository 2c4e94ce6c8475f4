import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_impl.checkpoints import CompleteCheckpoints
from tests.conftest import Once, assert_one_line_of_error, run_on_full_disk, run_python
from tests.killing import kill_at_random_moments

EPOCHS = 12
FIT = ["-m", "lightning_impl", "fit", "--checkpoints", "checkpoints", "--ckpt_path", "last"]
FIT += ["--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
FIT += ["--recipe.batch_size", "10000", "--recipe.hidden_sizes", "[4]", "--recipe.learning_rate", "0.003"]
FIT += ["--recipe.epochs"]


def checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same_bits(one: Path, other: Path) -> None:
    expected, found = checkpoint(one), checkpoint(other)
    assert expected["state_dict"].keys() == found["state_dict"].keys()
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(tensor, found["state_dict"][name]), name
    (one_adam,), (other_adam,) = expected["optimizer_states"], found["optimizer_states"]
    assert one_adam["param_groups"] == other_adam["param_groups"]
    assert len(one_adam["state"]) == 4
    for parameter, moments in one_adam["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, other_adam["state"][parameter][name]), (parameter, name)


def uninterrupted(directory: Path) -> None:
    process = run_python(*FIT, EPOCHS, cwd=directory, timeout=900)
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="session")
def finished(once: Once) -> Path:
    return once("lightning-checkpoints", uninterrupted) / "checkpoints"


def test_killed_at_any_moment_it_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    for ended in kill_at_random_moments("lightning_impl", [*FIT[2:], str(EPOCHS)], tmp_path, kills=4):
        assert_same_bits(finished / "last.ckpt", ended / "last.ckpt")
        assert_same_bits(finished / "best.ckpt", ended / "best.ckpt")


def test_last_is_of_the_last_epoch_and_best_of_the_best(finished: Path) -> None:
    last, best = checkpoint(finished / "last.ckpt"), checkpoint(finished / "best.ckpt")
    assert last["epoch"] == EPOCHS - 1
    scores = [state["best_model_score"] for key, state in last["callbacks"].items() if "val_accuracy" in key]
    assert scores == [state["current_score"] for key, state in best["callbacks"].items() if "val_accuracy" in key]
    assert sorted(path.name for path in finished.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_killed_while_it_writes_the_checkpoint_before_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    CompleteCheckpoints().save_checkpoint({"state_dict": {}, "epoch": 1}, path)
    if (child := os.fork()) == 0:
        write = Path.write_bytes

        def half(place: Path, content: Any) -> int:
            write(place, content[:500])
            os.kill(os.getpid(), signal.SIGKILL)
            return 500

        Path.write_bytes = half  # type: ignore[method-assign]
        CompleteCheckpoints().save_checkpoint({"state_dict": {}, "epoch": 2}, path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert checkpoint(path)["epoch"] == 1


def test_on_a_full_disk_the_checkpoint_before_is_whole_and_goes_on(finished: Path, tmp_path: Path) -> None:
    begun = run_python(*FIT, 2, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    directory = tmp_path / "checkpoints"
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    half = len(before["last.ckpt"]) // 2
    full = run_on_full_disk("lightning_impl", *FIT[2:], EPOCHS, bytes_left=half, cwd=tmp_path)
    assert_one_line_of_error(full, "best.ckpt", "File too large", "untouched")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    again = run_python(*FIT, EPOCHS, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert_same_bits(finished / "last.ckpt", directory / "last.ckpt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ["--recipe.seed", "1", "--recipe.learning_rate", "0.01"],
            ["seed was 0 and is now 1", "learning_rate was 0.003"],
        ),
        (["--recipe.epochs", "2"], ["current_epoch=11", "max_epochs=2"]),
    ],
    ids=["another recipe", "fewer epochs"],
)
def test_what_it_cannot_go_on_with_is_refused(finished: Path, change: list[str], words: list[str]) -> None:
    before = (finished / "last.ckpt").read_bytes()
    assert_one_line_of_error(run_python(*FIT, EPOCHS, *change, cwd=finished.parent), *words)
    assert (finished / "last.ckpt").read_bytes() == before


def test_test_refuses_another_network_alone(finished: Path, tmp_path: Path) -> None:
    test = ["-m", "lightning_impl", "test", "--trainer.logger", "false", "--ckpt_path", finished / "best.ckpt"]
    other_seed = run_python(*test, "--recipe.hidden_sizes", "[4]", "--recipe.seed", "9", cwd=tmp_path)
    assert other_seed.returncode == 0, other_seed.stderr
    assert_one_line_of_error(run_python(*test, cwd=tmp_path), "hidden_sizes is (4,)", "(128, 256, 512)")


def test_damaged_checkpoint_is_one_line(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "half.ckpt").write_bytes((finished / "last.ckpt").read_bytes()[:3000])
    process = run_python("-m", "lightning_impl", "test", "--ckpt_path", "half.ckpt", cwd=tmp_path)
    assert_one_line_of_error(process, "half.ckpt", "cannot be read")
