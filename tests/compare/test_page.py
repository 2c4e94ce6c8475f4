import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare import page
from compare.page import write_page
from recipe import Recipe
from recipe.initial_weights import initial_weights
from tests.compare.test_report import entry
from tests.conftest import TINY, write_canned

EVIL = '<img src=x onerror="alert(1)">&'


def findings(verdict: str, rungs: list[dict[str, Any]], **implementations: Any) -> dict[str, Any]:
    """What `results.json` holds of a comparison of two."""
    compared = {
        "verdict": verdict,
        "first_failed_rung": next((rung["name"] for rung in rungs if rung["verdict"] == "not parity"), None),
        "rungs": rungs,
        "difference": None,
        "agreement": {"same": 9876, "total": 10_000},
    }
    return {
        "recipe": {"hidden_sizes": [2], "epsilon": None},
        "compared": list(implementations),
        "implementations": implementations,
        "comparisons": {"lightning": compared},
        **compared,
    }


def rung(verdict: str = "parity", **changes: Any) -> dict[str, Any]:
    return {
        "name": "forward",
        "verdict": verdict,
        "measured": 0.5,
        "bound": 1.0,
        "where": None,
        "cause": None,
        "detail": {"unit": "error / bound", "tensors": {"hidden_1": {"keras": 0.5, "lightning": 0.25}}},
        **changes,
    }


def trained(directory: Path, verdict: str = "parity", recipe: Recipe = TINY, **changes: Any) -> dict[str, Any]:
    """Findings of a comparison of two canned records and two controls."""
    entries = {name: entry(record=f"records/{record}") for name, record in (("keras", "a"), ("lightning", "b"))}
    for name in "abcd":
        write_canned(directory / "records" / name, recipe)
    return findings(verdict, [rung(verdict, **changes)], **entries) | {
        "controls": ["records/b", "records/c", "records/d"]
    }


def written(found: dict[str, Any], directory: Path) -> str:
    return write_page(found, directory).read_text()


def test_page_asks_nothing_of_any_network_and_is_under_5_megabytes(tmp_path: Path) -> None:
    text = written(trained(tmp_path, recipe=Recipe()), tmp_path)
    assert "A digit of your own" in text
    assert len(text.encode()) < 5_000_000
    addresses = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
    assert {address.partition(":")[0] for address in addresses if not address.startswith("#")} <= {"data"}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_names_of_drawings_do_not_meet(tmp_path: Path) -> None:
    names = re.findall(r' id="([^"]+)"', written(trained(tmp_path), tmp_path))
    assert len(names) == len(set(names))


def test_whatever_it_shows_is_escaped(tmp_path: Path) -> None:
    found = trained(tmp_path, "not parity", where=EVIL, cause=EVIL)
    found["command"] = found["implementations"]["keras"]["framework"] = EVIL
    assert "<img src=x" not in written(found, tmp_path)


def test_run_that_failed_stands_at_the_top(tmp_path: Path) -> None:
    found = findings("failed", [], keras={"status": "failed", "error": "out of ideas"}, lightning=entry())
    text = written(found, tmp_path)
    assert re.search(r'class="answer bad">A run failed', text)
    assert "Keras failed: out of ideas" in text


def test_networks_too_large_for_the_page_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MAX_NETWORK_BYTES", 1000)
    text = written(trained(tmp_path), tmp_path)
    assert 'id="draw"' not in text
    assert "compare predict" in text


def test_control_that_is_gone_leaves_the_page_whole(tmp_path: Path) -> None:
    found = trained(tmp_path) | {"controls": ["records/gone"]}
    assert "The rounding horizon" in written(found, tmp_path)


def test_weights_arrive_as_they_are(tmp_path: Path) -> None:
    text = written(trained(tmp_path), tmp_path)
    networks = json.loads(re.search(r'id="networks">(.*?)</script>', text, re.DOTALL)[1])
    kernel = np.frombuffer(base64.b64decode(networks[0]["layers"][0]["kernel"]), "<f4")
    assert kernel.shape == (784 * 2,)
    np.testing.assert_array_equal(kernel.reshape(784, 2), initial_weights(TINY)["hidden_1.kernel"])


def study() -> dict[str, Any]:
    interval = {"mean": 1e-4, "interval_90": [-1e-4, 3e-4], "interval_95": [-2e-4, 4e-4], "p": 0.01}
    effect = {"num_pairs": 2, "mean": 1e-3, "interval": [5e-4, 2e-3], "clear": True}
    run = {"implementation": "keras", "variant": "aligned", "seed": 0, "test_accuracy": 0.97, "test_loss": 0.1}
    return {
        "kind": "study",
        "verdict": "failed",
        "recipe": {"epochs": 10},
        "implementations": ["keras", "lightning"],
        "seeds": [0, 1],
        "margin": 1e-3,
        "counts": {"finished": 1, "failed": 1},
        "versions": {"keras": {"backend": "tensorflow", "devices": ["cpu"], "versions": {"keras": "3"}}},
        "equivalence": [
            {"reference": "keras", "other": "lightning", "variant": "aligned", "verdict": "parity", "num_pairs": 2}
            | {"differences": [0.0, 2e-4], **interval}
        ],
        "attribution": [
            {"variant": "adam", "of": of, "test_accuracy": effect, "test_loss": None}
            | ({"parted_at_step": {"aligned": 400.0, "adam": None}} if "-" in of else {})
            for of in ("keras", "lightning", "lightning - keras")
        ],
        "churn": [
            {"between": "keras and lightning", "variant": "aligned", "num_pairs": 2}
            | {"mean": 0.02, "lowest": 0.01, "highest": 0.03}
        ],
        "accuracies": [
            {"implementation": "keras", "variant": "aligned", "num_seeds": 2, "mean": 0.97, "standard_deviation": None}
            | {"mean_test_loss": 0.1, "median_seconds": 20.0}
        ],
        "runs": [run | {"status": "finished"}, run | {"status": "failed", "error": EVIL, "test_accuracy": None}],
    }


def test_study_shows_its_intervals_its_effects_and_what_failed(tmp_path: Path) -> None:
    text = written(study(), tmp_path)
    assert "The same accuracy within 0.1 percentage points: aligned." in text
    assert text.count("<svg") == 2
    assert "mean +0.010, 90% interval -0.010 to +0.030, parity" in text
    assert "adam (lightning - keras) +0.1" in text
    assert "1 finished, 1 failed" in text
    assert "Keras aligned, seed 0" in text
    assert "<img src=x" not in text


def test_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_page(study(), tmp_path)
    before = (tmp_path / "report.html").read_text()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_page(study() | {"seeds": [0, 1, 2]}, tmp_path)
    assert (tmp_path / "report.html").read_text() == before
