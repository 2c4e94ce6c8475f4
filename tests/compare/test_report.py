import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from compare.findings import Agreement, Comparison, Difference, Divergence, ImplementationFindings, Pair
from compare.ladder.rung import Rung
from compare.report.terminal import comparison_table, show, verdict_lines
from compare.report.words import measured
from compare.results_file import EXIT_CODES, WORST_FIRST, Verdict, write_results
from recipe import Recipe
from recipe.errors import RecordError


def entry(**changes: Any) -> ImplementationFindings:
    history = {"loss": (0.25, 0.125), "accuracy": (0.9, 0.95), "val_loss": (0.2, 0.1), "val_accuracy": (0.92, 0.96)}
    finished = ImplementationFindings(
        status="finished",
        backend="numpy",
        device="cpu",
        threads=1,
        test_accuracy=0.975,
        test_accuracy_interval=(0.9718, 0.9779),
        test_loss=0.0875,
        num_parameters=270_218,
        seconds_per_epoch=2.5,
        seconds=30.0,
        peak_memory_bytes=512_000_000,
        history={**history, "seconds": (2.0, 3.0)},
        versions={"numpy": "2.4"},
    )
    return dataclasses.replace(finished, **changes)


FAILED = ImplementationFindings("failed", error="third ended with exit code 1; its log: runs/third.log")
DIVERGED = entry(
    status="diverged",
    diverged_at=Divergence(epoch=1, step=1234),
    test_accuracy=None,
    test_accuracy_interval=None,
    test_loss=None,
    seconds_per_epoch=None,
    history=dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "seconds"), ()),
)


def comparison(verdict: Verdict, rungs: tuple[Rung, ...] = ()) -> Pair:
    first_failed = next((rung.name for rung in rungs if rung.verdict == "not parity"), None)
    if verdict == "failed":
        return Pair(verdict, first_failed, rungs)
    return Pair(verdict, first_failed, rungs, Difference(0.0, 0.0), Agreement(same=9876, total=10_000))


def results(
    verdicts: dict[str, Verdict], *, directory: Path = Path(), rungs: tuple[Rung, ...] = (), **implementations: Any
) -> Comparison:
    worst = min(verdicts, key=lambda name: WORST_FIRST.index(verdicts[name]))
    return Comparison(
        directory=directory,
        verdict=verdicts[worst],
        exit_code=EXIT_CODES[verdicts[worst]],
        command=None,
        recipe=Recipe(),
        compared=(next(iter(implementations)), worst),
        implementations=implementations,
        comparisons={name: comparison(verdict, rungs) for name, verdict in verdicts.items()},
        trained=True,
    )


def rendered(found: Comparison) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison_table(found))
    return console.export_text()


def test_table_shows_both_sides_and_their_difference() -> None:
    other = entry(test_accuracy=0.9801, test_loss=0.08, num_parameters=270_219)
    text = rendered(results({"lightning": "parity"}, keras=entry(), lightning=other))
    for words in (
        *("Keras", "Lightning", "Difference", "270,218", "270,219", "+1", "97.50%", "98.01%", "+0.51%"),
        *("97.18% to 97.79%", "0.0875", "0.0800", "-0.0075", "9,876 of 10,000", "2.50", "30.0", "512", "numpy 2.4"),
        *("epoch 1", "epoch 2", "0.2500  90.00%", "0.1000  96.00%", "+0.0000  +0.00%"),
    ):
        assert words in text


def test_difference_is_the_other_minus_the_reference() -> None:
    text = rendered(results({"lightning": "parity"}, keras=entry(test_loss=0.1), lightning=entry(test_loss=0.3)))
    assert "+0.2000" in text


def test_third_implementation_has_its_columns() -> None:
    found = results(
        {"lightning": "parity", "third": "not parity"}, keras=entry(), lightning=entry(), third=entry(test_loss=0.5)
    )
    text = rendered(found)
    assert text.count("Difference") == 2
    assert "third" in text
    assert "+0.4125" in text
    assert text.count("9,876 of 10,000") == 2


@pytest.mark.parametrize(("bad", "word"), [(FAILED, "failed"), (DIVERGED, "diverged")], ids=["failed", "diverged"])
@pytest.mark.parametrize("place", ["keras", "lightning", "third"])
def test_table_says_what_did_not_finish(place: str, bad: ImplementationFindings, word: str) -> None:
    sides = {"keras": entry(), "lightning": entry(), "third": entry(), place: bad}
    verdicts: dict[str, Verdict] = {
        name: "failed" if place in (name, "keras") else "parity" for name in ("lightning", "third")
    }
    found = results(verdicts, **sides)
    text = rendered(found)
    (accuracy,) = [line for line in text.splitlines() if line.strip().startswith("Test accuracy")]
    assert word in accuracy
    assert "97.50%" in accuracy
    lines = verdict_lines(found)
    expected = f"{place} failed: {FAILED.error}" if bad is FAILED else f"{place} diverged: "
    assert sum(line.startswith(expected) for line in lines) == 1


def test_what_is_not_seen_is_said_once() -> None:
    line = "third: no single step of the training is seen, for its record has no windows"
    found = results({"third": "parity"}, keras=entry(), third=entry())
    rungs = tuple(Rung(name, "parity", 0, 0, detail={"not_seen": [line]}) for name in ("data", "optimizer"))
    pair = dataclasses.replace(found.comparisons["third"], rungs=rungs)
    assert verdict_lines(dataclasses.replace(found, comparisons={"third": pair}))[1:] == [f"  {line}"]


def test_long_training_shows_its_first_and_last_epochs() -> None:
    history = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "seconds"), (0.5,) * 100)
    side = entry(history=history)
    text = rendered(results({"lightning": "parity"}, keras=side, lightning=side))
    epochs = [int(line.split()[1]) for line in text.splitlines() if line.strip().startswith("epoch ")]
    assert epochs == [*range(1, 11), *range(91, 101)] * 2


def test_results_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_results({"a": 1}, tmp_path)
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_results({"a": object()}, tmp_path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text.encode()[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RecordError, match="No space left"):
        write_results({"a": 1}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_a_step_of_parting_is_never() -> None:
    assert measured(Rung("trajectory", "parity", None, None)) == "never"
    assert measured(Rung("forward", "parity", None, None)) == "none"
    assert measured(Rung("trajectory", "parity", 1875, None)) == "1,875"


def test_infinity_is_null(tmp_path: Path) -> None:
    assert json.loads(write_results({"a": [math.inf, 1.0]}, tmp_path).read_text()) == {"a": [None, 1.0]}


@pytest.mark.parametrize("verbose", [False, True])
def test_sides_on_different_devices_are_said_above_all_else(verbose: bool) -> None:
    sides = {"keras": entry(device="gpu", peak_gpu_memory_bytes=64_000_000), "lightning": entry()}
    console = Console(width=200, record=True, file=io.StringIO())
    show(results({"lightning": "parity"}, **sides), console, verbose=verbose)
    first, *rest = console.export_text().splitlines()
    assert first.startswith("Not on the same device: Keras on GPU, Lightning on CPU.")
    assert any("Peak GPU memory, MB" in line and "64" in line for line in rest) == verbose


def test_nothing_is_said_of_devices_that_are_the_same() -> None:
    same = results({"lightning": "parity"}, keras=entry(), lightning=entry())
    failed = results({"lightning": "failed"}, keras=entry(device="gpu"), lightning=FAILED)
    for found in (same, failed):
        console = Console(width=200, record=True, file=io.StringIO())
        show(found, console)
        assert "device" not in console.export_text()
    assert "GPU" not in rendered(same)
