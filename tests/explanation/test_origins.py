"""Where in a program's text a number stands, or a value is made, that is used at another line."""

from pathlib import Path

import pytest

from compare.explanation.findings import Place
from compare.explanation.origins import made_at, origin

TEXT = """\
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--dropout", type=float, default=0.7)
parser.add_argument("--size", type=int, default=48)
args = parser.parse_args()
CONFIG = {"rate": 0.3, "batch": 64}


class Images(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, 9 - y

    def __getitem__(self, i):
        return self.x[i] / 256.0, self.y[i]


class Net(Module):
    def __init__(self, p, q=0.25, size=8):
        self.first = Dropout(args.dropout)
        self.second = Dropout(p)
        self.third = Dropout(q)
        self.both = Sequential(
            Dropout(0.1),
            Dropout(0.2),
        )
        self.share = q

    def forward(self, x):
        return dropout(x, self.share)


net = Net(CONFIG["rate"])
loader = DataLoader(Images(x.astype("float32"), y), batch_size=CONFIG["batch"])
for x, y in loader:
    step(x, y)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "port.py").write_text(TEXT)
    return tmp_path


def line_with(code: str) -> int:
    return next(number for number, line in enumerate(TEXT.splitlines(), start=1) if code in line)


@pytest.mark.parametrize(
    ("used", "value", "stands"),
    [
        ("Dropout(args.dropout)", 0.7, "default=0.7"),
        ("Dropout(p)", 0.3, "CONFIG = "),
        ("Dropout(q)", 0.25, "q=0.25"),
        ("dropout(x, self.share)", 0.25, "q=0.25"),
        ("Dropout(0.2)", 0.2, "Dropout(0.2)"),
        ("Dropout(p)", 0.9, "Dropout(p)"),
        ("batch_size=", 64, "CONFIG = "),
        ("for x, y in loader", 64, "CONFIG = "),
    ],
)
def test_a_number_is_told_where_it_stands(folder: Path, used: str, value: float, stands: str) -> None:
    found = origin(Place("port.py", line_with(used)), folder, value)
    assert found is not None
    assert found.line == line_with(stands)


@pytest.mark.parametrize(
    ("pattern", "made"), [(r"/ ?256", "256.0"), (r"\b9 - ", "9 - y"), (r"transpose", "for x, y in loader")]
)
def test_samples_are_told_where_they_are_made(folder: Path, pattern: str, made: str) -> None:
    found = made_at(Place("port.py", line_with("for x, y in loader")), folder, pattern)
    assert found is not None
    assert found.line == line_with(made)


def test_a_program_that_cannot_be_read_keeps_its_places(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (")
    for name in ("broken.py", "absent.py"):
        assert origin(Place(name, 3), tmp_path, 1.0) == Place(name, 3)
    assert origin(None, tmp_path, 1.0) is None
