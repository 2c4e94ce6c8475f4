"""The checks of `make gpu-check`, a test each; and the checks themselves, which no GPU is needed for."""

import json
from pathlib import Path

import pytest

from compare.run import gpus
from tests.gpu.__main__ import line, main, run_all
from tests.gpu.checks import CHECKS, SHARES_A_GPU, Check, missing, of_convolutions, run


@pytest.mark.gpu
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_on_a_gpu(check: Check, tmp_path: Path) -> None:
    if reason := missing(check, max(1, len(gpus.visible()))):
        pytest.skip(reason)
    assert run(check, tmp_path / "check").outcome == "passed", (tmp_path / "check" / "output.txt").read_text()


def test_the_table_says_what_passed_what_failed_and_what_did_not_run(tmp_path: Path) -> None:
    def judge(directory: Path, output: str, device: str) -> str:
        assert output.strip() == device, output
        return "as it should be"

    checks = [
        Check("good", ("-c", "print('{device}')"), judge),
        Check("judged", ("-c", "print('something else')"), judge),
        Check("wrong exit code", ("-c", "raise SystemExit('a reason')")),
        Check("hangs", ("-c", "import time; time.sleep(60)"), seconds=0.5),
        Check("lacks a package", ("-c", "1"), framework="no_such_package"),
        Check("lacks a GPU", ("-c", "1"), num_gpus=2),
    ]
    found = list(run_all(checks, tmp_path / "a", device="gpu", num_gpus=1, seconds=60, at_once=2))
    assert [result.outcome for result in found] == ["passed", *["FAILED"] * 3, *["not run"] * 2]
    said = [
        "as it should be",
        "AssertionError: something else",
        "exit code 1: a reason",
        "took more than",
        "no_such",
        "2",
    ]
    assert all(word in line(result) for word, result in zip(said, found, strict=True))


def test_what_has_no_time_left_is_not_run(tmp_path: Path) -> None:
    checks = [Check("slow", ("-c", "import time; time.sleep(60)")), Check("late", ("-c", "1"))]
    slow, late = run_all(checks, tmp_path / "a", device="cpu", num_gpus=1, seconds=0.5, at_once=1)
    assert (slow.outcome, late.outcome) == ("FAILED", "not run")
    assert slow.seconds <= 0.5


def test_without_a_gpu_it_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "are_there", lambda: False)
    monkeypatch.setattr("sys.argv", ["tests.gpu"])
    assert main() == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert found.err.startswith("error: there is no GPU here")


def test_no_check_takes_a_whole_gpu_from_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHARES_A_GPU:
        monkeypatch.delenv(name, raising=False)
    code = "import os; print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'], os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'])"
    check = Check("says its environment", ("-c", code), lambda _, output, __: output.strip())
    assert run(check, tmp_path / "a").said == "true false"


def test_convolutions_may_differ_by_winograds_algorithm_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    def judged(verdict: str, cause: str | None) -> str:
        rungs = [{"name": "forward", "cause": cause}]
        results = {"implementations": {"keras": {"device": "gpu"}}, "verdict": verdict, "rungs": rungs}
        (tmp_path / "out" / "results.json").write_text(json.dumps(results))
        return of_convolutions(tmp_path, "", "gpu")

    assert judged("parity", None) == "parity"
    said = "the deviations have the size of those of Winograd's algorithm F(4×4, 3×3)"
    assert judged("not parity", said) == "not parity, by Winograd's algorithm"
    with pytest.raises(AssertionError, match="not parity"):
        judged("not parity", "the kernel is flipped")


def test_checks_have_names_of_their_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) > 40
