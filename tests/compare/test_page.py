import base64
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.api import rewrite_page
from compare.findings import Comparison, ImplementationFindings
from compare.ladder.rung import Rung
from compare.report.page import write_page
from compare.report.pages import digits
from compare.results_file import Verdict
from compare.statistics import Effect
from compare.study.findings import (
    AccuracyFindings,
    AttributionFindings,
    ChurnFindings,
    EquivalenceFindings,
    RunFindings,
    Study,
)
from recipe import Recipe
from recipe.errors import RecordError
from recipe.initial_weights import initial_weights
from record.training import TestResults
from tests.compare.test_report import entry, results
from tests.conftest import TINY, recipe_of, write_canned

EVIL = '<img src=x onerror="alert(1)">&'


def rung(verdict: Any = "parity", **changes: Any) -> Rung:
    tensors = {"hidden_1": {"keras": 0.5, "lightning": 0.25}}
    forward = Rung("forward", verdict, 0.5, 1.0, detail={"unit": "error / bound", "tensors": tensors})
    return dataclasses.replace(forward, **changes)


def trained(directory: Path, verdict: Verdict = "parity", recipe: Recipe = TINY, **changes: Any) -> Comparison:
    """Findings of a comparison of two canned records and two controls."""
    records = directory / "records"
    for name in "abcd":
        write_canned(records / name, recipe)
    sides = {"keras": entry(record=records / "a"), "lightning": entry(record=records / "b")}
    found = results({"lightning": verdict}, directory=directory, rungs=(rung(verdict, **changes),), **sides)
    return dataclasses.replace(found, recipe=recipe, controls=tuple(records / name for name in "bcd"))


def with_side(found: Comparison, name: str, **changes: Any) -> Comparison:
    """The same findings, but for what one implementation did."""
    side = dataclasses.replace(found.implementations[name], **changes)
    return dataclasses.replace(found, implementations={**found.implementations, name: side})


def written(found: Comparison | Study) -> str:
    return rewrite_page(found).read_text()


def test_page_asks_nothing_of_any_network_and_is_under_5_megabytes(tmp_path: Path) -> None:
    text = written(trained(tmp_path, recipe=Recipe()))
    assert "A digit of your own" in text
    assert len(text.encode()) < 5_000_000
    addresses = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
    assert {address.partition(":")[0] for address in addresses if not address.startswith("#")} <= {"data"}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_names_of_drawings_do_not_meet(tmp_path: Path) -> None:
    names = re.findall(r' id="([^"]+)"', written(trained(tmp_path)))
    assert len(names) == len(set(names))


def test_whatever_it_shows_is_escaped(tmp_path: Path) -> None:
    found = trained(tmp_path, "not parity", where=EVIL, cause=EVIL)
    found = with_side(dataclasses.replace(found, command=EVIL), "keras", framework=EVIL)
    assert "<img src=x" not in written(found)


def test_run_that_failed_stands_at_the_top(tmp_path: Path) -> None:
    failed = ImplementationFindings("failed", error="out of ideas")
    found = results({"lightning": "failed"}, directory=tmp_path, keras=failed, lightning=entry())
    text = written(found)
    assert re.search(r'class="answer bad">A run failed', text)
    assert "Keras failed: out of ideas" in text


def test_networks_too_large_for_the_page_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_MAX_NETWORK_BYTES", 1000)
    text = written(trained(tmp_path))
    assert 'id="draw"' not in text
    assert "mnist-compare classify" in text


def test_control_that_is_gone_leaves_the_page_whole(tmp_path: Path) -> None:
    found = dataclasses.replace(trained(tmp_path), controls=(tmp_path / "records" / "gone",))
    assert "The rounding horizon" in written(found)


def test_weights_arrive_as_they_are(tmp_path: Path) -> None:
    text = written(trained(tmp_path))
    networks = json.loads(re.search(r'id="networks">(.*?)</script>', text, re.DOTALL)[1])
    kernel = np.frombuffer(base64.b64decode(networks[0]["layers"][0]["kernel"]), "<f4")
    assert kernel.shape == (784 * 2,)
    np.testing.assert_array_equal(kernel.reshape(784, 2), initial_weights(TINY)["hidden_1.kernel"])


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Recipe]:
    """`own(num_classes, shape)` is a recipe of a small data set of one's own."""

    def get(num_classes: int, shape: tuple[int, int]) -> Recipe:
        random = np.random.default_rng(0)
        labels = np.arange(600) % num_classes
        images = random.integers(0, 256, (600, *shape), np.uint8)
        np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
        return recipe_of(dataset=str(tmp_path / "own.npz"), hidden_sizes=(2,), batch_size=300, epochs=2)

    return get


def test_images_of_another_shape_are_shown_in_it_and_cannot_be_drawn(
    own: Callable[..., Recipe], tmp_path: Path
) -> None:
    found = trained(tmp_path, recipe=own(3, (12, 24)))
    # Two that disagree: of the same canned results there is no disputed image.
    write_canned(
        tmp_path / "records" / "e",
        own(3, (12, 24)),
        test=TestResults(1.0, 0.5, np.eye(3, dtype=np.float32)[np.arange(600) % 3]),
    )
    text = written(with_side(found, "keras", record=tmp_path / "records" / "e"))
    assert 'width="84" height="42"' in text
    assert "Images on which they disagree" in text
    assert 'id="draw"' not in text
    assert "these have 12×24" in text
    assert len(re.findall(r'<table class="confusion">', text)) == 2
    assert '<th scope="col">2</th></tr></thead>' in text


def test_of_many_classes_the_pairs_most_often_confused_are_shown(own: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = own(300, (28, 28))
    found = trained(tmp_path, recipe=recipe)
    # Class 7 is always taken for class 8, all else is right.
    probabilities = np.eye(300, dtype=np.float32)[np.where(np.arange(600) % 300 == 7, 8, np.arange(600) % 300)]
    write_canned(tmp_path / "records" / "e", recipe, test=TestResults(1.0, 0.5, probabilities))
    text = written(with_side(found, "keras", record=tmp_path / "records" / "e"))
    assert '<table class="confusion">' not in text
    assert re.search(
        r'Keras: the pairs most often confused</h3>.*?<th scope="row">7</th><td>8</td><td>2</td></tr>', text, re.DOTALL
    )
    assert "small bars" not in text
    assert 'class="chips"' not in text
    assert "up to 20 classes; here are 300" in text


def test_page_of_convolutions_holds_both_networks_and_is_under_5_megabytes(tmp_path: Path) -> None:
    text = written(trained(tmp_path, recipe=Recipe(network="cnn")))
    networks = json.loads(re.search(r'id="networks">(.*?)</script>', text, re.DOTALL)[1])
    assert [layer["convolution"] for layer in networks[1]["layers"]] == [True, True, False, False, False, False]
    assert len(text.encode()) < 5_000_000


def study(directory: Path) -> Study:
    effect = Effect(num_pairs=2, mean=1e-3, interval=(5e-4, 2e-3), clear=True)
    run = RunFindings("keras", "aligned", 0, "finished", test_accuracy=0.97, test_loss=0.1, seconds=20.0)
    return Study(
        directory=directory,
        verdict="failed",
        exit_code=4,
        command=None,
        recipe=Recipe(),
        implementations=("keras", "lightning"),
        variants=("aligned", "adam"),
        seeds=(0, 1),
        margin=1e-3,
        counts={"finished": 1, "failed": 1},
        versions={"keras": {"backend": "tensorflow", "devices": ("cpu",), "versions": {"keras": "3"}}},
        equivalence=(
            EquivalenceFindings(
                *("keras", "lightning", "aligned", (0, 1), (), (0.0, 2e-4), "parity", 2),
                mean=1e-4,
                interval_90=(-1e-4, 3e-4),
                interval_95=(-2e-4, 4e-4),
                p=0.01,
            ),
        ),
        attribution=tuple(
            AttributionFindings(
                *("adam", of, (0, 1), (), effect, None),
                parted_at_step={"aligned": 400.0, "adam": None} if "-" in of else None,
            )
            for of in ("keras", "lightning", "lightning - keras")
        ),
        churn=(ChurnFindings("keras and lightning", "aligned", 2, mean=0.02, lowest=0.01, highest=0.03),),
        accuracies=(AccuracyFindings("keras", "aligned", 2, 0.97, None, mean_test_loss=0.1, median_seconds=20.0),),
        runs=(run, dataclasses.replace(run, status="failed", error=EVIL, test_accuracy=None)),
    )


def test_study_shows_its_intervals_its_effects_and_what_failed(tmp_path: Path) -> None:
    text = written(study(tmp_path))
    assert "The same accuracy within 0.1 percentage points: aligned." in text
    assert text.count("<svg") == 2
    assert "mean +0.010, 90% interval -0.010 to +0.030, parity" in text
    assert "adam (lightning - keras) +0.1" in text
    assert "1 finished, 1 failed" in text
    assert "Keras aligned, seed 0" in text
    assert "<img src=x" not in text


def test_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_page(study(tmp_path))
    before = (tmp_path / "report.html").read_text()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RecordError, match="No space left"):
        write_page(dataclasses.replace(study(tmp_path), seeds=(0, 1, 2)))
    assert (tmp_path / "report.html").read_text() == before
