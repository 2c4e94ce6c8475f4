import dataclasses
import json
import math
from pathlib import Path

import pytest

from compare import Explanation, RecordError
from compare.__main__ import main
from compare.api import read, rewrite_page
from compare.explanation.findings import Finding, Place
from compare.results_file import write_results

EVIL = '<img src=x onerror="alert(1)">&'
RELU = Finding(
    "forward", "no ReLU after fc3", "Dense(512, activation=relu)", "nothing", Place("port.py", 27, "x = self.fc3(x)"),
    0.56, "output off by 0.56 of its largest value", "no ReLU", "x = torch.relu(self.fc3(x))",
)  # fmt: skip
EPSILON = Finding("optimizer", "Adam's epsilon 1e-08; the reference has 1e-07", "1e-7", "1e-8", severity="minor")
EPOCHS = Finding("stated", "number of epochs: 12; the reference has 10", "10 epochs", "12 epochs", effect=0.5)
PLACE = Finding("optimizer", "Adam's epsilon is added at another place", effect=math.inf, severity="inherent")


def explanation(directory: Path, *findings: Finding, **changes: object) -> Explanation:
    found = Explanation(
        "here/keras_model.py",
        "port.py --lr 0.1",
        "ran both for 10 optimizer steps",
        findings,
        ("the sizes of 4 layers",),
        ("what begins after 10 steps",),
        (),
        12.3,
        {"reference": {"keras": "3.15.1"}, "port": {"torch": "2.14.1"}},
        "mnist-compare explain here/keras_model.py port.py",
        directory,
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def written(found: Explanation) -> str:
    return rewrite_page(found).read_text(encoding="utf-8")


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    found = explanation(tmp_path, RELU, EPSILON, EPOCHS, PLACE)
    write_results(found.to_json(), tmp_path)
    assert read(tmp_path) == found == Explanation.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "study"}, "findings of a study"),
        ({"findings": [{"stage": "forward"}]}, "is damaged"),
        ({"findings": [{**dataclasses.asdict(RELU), "stage": "nowhere"}]}, "nowhere"),
        ({"same": None}, "is damaged"),
    ],
)
def test_what_is_no_explanation_is_refused_in_a_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_results({**explanation(tmp_path, RELU).to_json(), **change}, tmp_path)
    with pytest.raises(RecordError, match=message) as caught:
        Explanation.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_report_shows_it_again_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(explanation(tmp_path, RELU).to_json(), tmp_path)
    assert main(["report", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "no ReLU after fc3" in shown
    assert "verdict: different (1 difference)" in shown
    assert (tmp_path / "report.html").exists()
    assert main(["report", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["kind"] == "explanation"


def test_page_says_each_finding_in_its_own_section(tmp_path: Path) -> None:
    page = written(explanation(tmp_path, RELU, EPSILON, EPOCHS, PLACE))
    assert "port.py differs from keras_model.py in 3 places." in page
    assert "in 12 s. Left: 2 faults, 1 minor, of small effect, 1 inherent, which nothing mends." in page
    sections = ["What differs", "no ReLU after fc3", "port.py:27", "x = self.fc3(x)", "Dense(512", "Mend"]
    sections += ["Minor differences", "epsilon 1e-08", "Stated, and seen only later", "number of epochs"]
    sections += ["Inherent", "another place", "The same", "4 layers", "Not seen", "after 10 steps", "3.15.1"]
    at = -1
    for words in sections:
        assert words in page[at + 1 :], words
        at = page.index(words, at + 1)


@pytest.mark.parametrize(
    ("changes", "answer", "tone"),
    [
        ({}, "port.py does the same as keras_model.py, up to rounding.", "good"),
        ({"unpaired": ("fc9 has no counterpart",)}, "not all could be compared", "unsure"),
        ({"findings": (RELU,)}, "differs from keras_model.py in 1 place.", "bad"),
    ],
)
def test_page_has_the_verdict_in_its_colour(tmp_path: Path, changes: dict[str, object], answer: str, tone: str) -> None:
    page = written(explanation(tmp_path, **changes))
    assert answer in page
    assert f'class="answer {tone}"' in page


def test_what_a_script_is_called_or_says_is_text(tmp_path: Path) -> None:
    found = dataclasses.replace(RELU, title=EVIL, place=Place(EVIL, 1, EVIL), mend=EVIL, cause=EVIL, port=EVIL)
    page = written(explanation(tmp_path, found, reference=EVIL, same=(EVIL,), versions={EVIL: {EVIL: EVIL}}))
    assert "<img" not in page
    assert page.count("&lt;img") >= 8
