"""The checks of `make gpu-check`, a test each; and the checks themselves, which no GPU is needed for."""

from pathlib import Path

import pytest

from compare.run import gpus
from tests.gpu.__main__ import line, run_all
from tests.gpu.checks import CHECKS, Check, missing, run


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


def test_checks_have_names_of_their_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) > 40
