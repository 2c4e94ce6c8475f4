"""A few tries of every fault by default; many of them in the marked set, which docs/reliability.md is made of."""

import os
import stat
from pathlib import Path

import pytest

from compare.api import _one_blas_thread
from record.training import read_record
from tests.conftest import write_canned
from tests.reliability import damaged_files, hostile, load, options
from tests.reliability.experiment import EXPERIMENTS
from tests.reliability.table import DOCUMENT, known, row

MODULES = (damaged_files, hostile, load, options)
"""They enter their experiments when they are imported."""


@pytest.mark.parametrize("name", [name for name, one in EXPERIMENTS.items() if one.few])
def test_a_few_keep_the_promise(name: str, tmp_path: Path) -> None:
    assert EXPERIMENTS[name].tries(tmp_path, EXPERIMENTS[name].few) == []


@pytest.mark.zoo
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_many_keep_the_promise(name: str, tmp_path: Path) -> None:
    assert EXPERIMENTS[name].tries(tmp_path, EXPERIMENTS[name].many) == []


def test_the_document_says_what_is_tried() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    figures = known(DOCUMENT)
    assert len(figures) > len(EXPERIMENTS) / 2
    for name, figure in figures.items():
        assert row(EXPERIMENTS[name], figure) in text, name


def test_who_may_read_a_records_folder_may_read_its_files(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_canned(tmp_path / "record")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "record").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert read_record(tmp_path / "record").threads == 1


def test_the_judge_keeps_to_one_blas_thread() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits

    with threadpool_limits(2, "blas"), _one_blas_thread():
        threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert threads
        assert set(threads) == {1}
