"""Files and directories appear completely or not at all, and are on the disk before they have their names."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipe.atomic import complete_or_absent, remove_partials
from recipe.errors import RecordError


def write_file(partial: Path) -> None:
    partial.write_text("new")


def write_directory(partial: Path) -> None:
    (partial / "inner").mkdir(parents=True)
    (partial / "inner" / "file").write_text("new")
    (partial / "other").write_text("new")


@pytest.mark.parametrize(
    ("write", "flushed"),
    [(write_file, ["target"]), (write_directory, ["file", "inner", "other", "target"])],
    ids=["file", "directory"],
)
def test_everything_is_flushed_before_its_rename_and_the_name_after_it(
    write: Callable[[Path], None], flushed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name.rpartition("-")[2])
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    (tmp_path / "around").mkdir()
    with complete_or_absent(tmp_path / "around" / "target") as partial:
        write(partial)
    renamed = events.index("rename")
    assert sorted(events[:renamed]) == flushed
    assert events[renamed + 1 :] == ["around"]


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left_over, others = tmp_path / f"partial-{ended.pid}-target", tmp_path / f"partial-{os.getppid()}-target"
    of_something_else = tmp_path / f"partial-{ended.pid}-other-target"
    for path in (left_over, others, of_something_else):
        path.write_text("half")
    with complete_or_absent(tmp_path / "target") as partial:
        assert not left_over.exists()
        partial.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([others, of_something_else, tmp_path / "target"])
    remove_partials(tmp_path / "target")
    assert sorted(tmp_path.iterdir()) == sorted([of_something_else, tmp_path / "target"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_what_was_there_stays_and_nothing_is_left_behind(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")

    def break_off() -> Any:
        with complete_or_absent(target) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(RecordError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        break_off()
    assert isinstance(error, KeyboardInterrupt) or "No space left on device" in str(caught.value)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
