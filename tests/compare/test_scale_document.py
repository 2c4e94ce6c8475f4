"""The page on scale says what was measured."""

import json

from benchmarks.figures.blocks import BLOCK
from benchmarks.figures.scale import BLOCKS, DOCUMENT, FIGURES, fill_in
from tests.conftest import ROOT

FIGURE = {
    "overhead": {"runs": 60, "workers": 2, "cpu_seconds": 6.0, "share": 0.01, "seconds_of_a_run": 10},
    "many": [
        {"runs": 1000, "kill_every": 20, "finished": 999, "failed": 1, "wall_seconds": 60, "peak_memory_bytes": 2e8}
    ],
    "two_workers": {"runs": 8, "seconds": [80, 50], "ratio": 1.6},
}


def test_document_has_the_numbers_of_the_figures() -> None:
    text = (ROOT / DOCUMENT).read_text()
    assert sorted(name for _, name in [match[:2] for match in BLOCK.findall(text)]) == sorted(BLOCKS)
    figures = json.loads((ROOT / FIGURES).read_text())
    assert fill_in(text, figures) == text, "mend it with: python -m benchmarks.measure.scale"


def test_changed_figure_changes_the_document() -> None:
    text = fill_in((ROOT / DOCUMENT).read_text(), FIGURE)
    assert "0.100 CPU seconds a run, 1.0% of a run of 10 seconds" in text
    assert "| 1,000 | 50 | 999 | 1 | 60 | 200 |" in text
    assert "1.60 times as fast: 80 s and 50 s for 8 trainings." in text
