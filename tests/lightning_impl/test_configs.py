import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_impl.__main__ import main
from lightning_impl.configurations import READY, with_ready_configurations
from record.isolation import hide
from tests.conftest import ROOT

CONFIGS = sorted(READY.values())


def test_configs_are_those_that_the_how_to_names() -> None:
    named = set(re.findall(r"--config (\w+)`", (ROOT / "docs" / "how-to.md").read_text()))
    assert {path.stem for path in CONFIGS} == named


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_taken_as_it_stands(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # main sets it: have it undone
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # main hides frameworks
    monkeypatch.setattr(sys, "argv", ["lightning_impl", "fit", "--config", str(path), "--print_config"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed, written = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(path.read_text())
    assert holds(printed, written), (printed, written)


def holds(found: Any, written: Any) -> bool:
    """Whether all that is written was found; what was left out is there as well, with its default."""
    if isinstance(written, dict):
        return all(name in found and holds(found[name], value) for name, value in written.items())
    if isinstance(written, list):
        return len(found) == len(written) and all(map(holds, found, written))
    return bool(found == written)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_opens_with_its_command_what_it_needs_takes_and_gives(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert re.search(rf" (mnist-lightning|-m lightning_impl) fit --config {path.stem}$", head[1])
    assert [line[:9] for line in head if re.match("# (Needs|Takes|Gives): .", line)] == [
        "# Needs: ",
        "# Takes: ",
        "# Gives: ",
    ]


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow")], ids=["Weights & Biases", "MLflow"]
)
def test_logger_that_is_not_installed_is_one_line(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(sys, "argv", ["lightning_impl", "fit", "--config", name])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    hide({package})
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].endswith(f"needs {package}; install it with: pip install {package}")


@pytest.mark.parametrize("form", [["--config", "{}"], ["--config={}"]])
def test_own_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    named = [word.format("ddp") for word in form]
    assert with_ready_configurations(["fit", *named]) == ["fit", *(word.format(READY["ddp"]) for word in form)]
    other = [word.format("mine.yaml") for word in form]
    assert with_ready_configurations(["ddp", *other]) == ["ddp", *other]
    (tmp_path / "ddp").touch()
    assert with_ready_configurations(["fit", *named]) == ["fit", *named]
