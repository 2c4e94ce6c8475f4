from pathlib import Path
from types import SimpleNamespace
from typing import Any

from watch.program.datasets import ARCHIVE, archive
from watch.source.places import Places

ROOT = Path(__file__).parents[2]


def test_mnist_is_where_the_watchers_of_both_frameworks_look_for_it() -> None:
    assert ARCHIVE.exists()
    assert (archive("mnist") or {})["x_train"].shape == (60_000, 28, 28)


def test_the_watchers_own_files_are_none_of_the_users_whose_script_is_beside_them() -> None:
    mirror: Any = SimpleNamespace(folder=ROOT, original=lambda name: None)
    files = {name: Places(mirror).file(compile("pass", str(ROOT / name), "exec")) for name in
             ("script.py", "watch/program/order.py")}  # fmt: skip
    assert files == {"script.py": "script.py", "watch/program/order.py": None}
