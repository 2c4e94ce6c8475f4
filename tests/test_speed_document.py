"""The page on speed says what was measured."""

import json
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks.figures.blocks import BLOCK
from benchmarks.figures.speed import BLOCKS, DOCUMENT, RESULTS, fill_in, read
from benchmarks.measure import epochs
from benchmarks.measure.process import FailedError
from benchmarks.targets import OURS, SCRIPTS


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text())


def test_document_has_the_numbers_of_the_figures() -> None:
    text = DOCUMENT.read_text()
    assert sorted(name for _, name, _ in BLOCK.findall(text)) == sorted(BLOCKS)
    assert fill_in(text, read()) == text, "mend it with: python -m benchmarks.figures.speed"


def test_changed_figure_changes_the_document(results: dict[str, Any]) -> None:
    results["measures"][0]["seconds"]["median"] += 1
    assert fill_in(DOCUMENT.read_text(), {**read(), "results": results}) != DOCUMENT.read_text()


def test_missed_target_is_said_to_be_missed(results: dict[str, Any]) -> None:
    for row in results["measures"]:
        row["met"] = True
    assert "targets are met" in fill_in(DOCUMENT.read_text(), {"results": results})
    row = next(row for row in results["measures"] if row["measure"] == "Lightning / floor")
    row["met"] = False
    row["seconds"]["median"] = 3.25
    text = fill_in(DOCUMENT.read_text(), {"results": results})
    assert "targets are met" not in text
    assert "Missed: Lightning / floor is 3.25, not ≤ 1.25" in text


def test_growth_has_a_row_for_each_point() -> None:
    points = [
        {"quantity": "width", "value": 2, "side": side, "seconds": seconds, "peak_memory_mb": 1000 * seconds}
        for side, seconds in (("Keras", 1.5), ("Lightning", 1.25))
    ]
    figures = {"machine": read()["results"]["machine"], "command": "python", "epochs": 3, "repetitions": 1}
    text = fill_in(DOCUMENT.read_text(), {"growth": {**figures, "points": points}})
    assert "| width | 2 | 1.50 | 1.25 | 1,500 | 1,250 |" in text


MEASURED = {name: partial(epochs.run_script, name, threads=1, device="cpu") for name in SCRIPTS}
MEASURED |= {f"profile of {side}": partial(program._profile, side) for side in OURS}  # noqa: SLF001


@pytest.mark.parametrize("name", MEASURED)
def test_a_script_that_is_measured_is_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def run(*command: str, **_: Any) -> None:
        started.append(command[1])
        raise FailedError(name)

    monkeypatch.setattr(epochs, "run", run)
    monkeypatch.setattr(program, "run", run)
    with pytest.raises(FailedError):
        MEASURED[name]()
    assert find_spec(started[0])
