"""What both sides write while they train: the same curves, for one TensorBoard."""

import csv
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from tests.conftest import Once, run_python

EPOCHS = 2
RECIPE = ("--recipe.dtype", "float64", "--recipe.batch_size", "6000", "--recipe.hidden_sizes", "[16]")
RECIPE = (*RECIPE, "--recipe.epochs", EPOCHS)
TRAINER = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
METRICS = {"loss", "accuracy", "val_loss", "val_accuracy"}

RUN_AND_SAY_WHAT_IS_LOADED = """
import sys
from {room}.__main__ import main
sys.argv = ["{room}", *sys.argv[1:]]
main()
import importlib.util
frameworks = ("tensorflow", "torch", "jax")
found = [name for name in frameworks if name in sys.modules or importlib.util.find_spec(name)]
open("loaded", "w").write(" ".join(found))
"""
Curves = dict[str, dict[int, float]]
"""The value at each step, by tag."""


def run(room: str, *arguments: object, cwd: Path) -> None:
    process = run_python("-c", RUN_AND_SAY_WHAT_IS_LOADED.format(room=room), *arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="session")
def logged(once: Once) -> Path:
    """Both sides' logs in one directory, Lightning's also of `test`; and what each process had loaded."""

    def make(directory: Path) -> None:
        run("keras_impl", "fit", "--device", "cpu", *RECIPE, cwd=directory)
        (directory / "loaded").rename(directory / "loaded-by-keras")
        run("lightning_impl", "fit", *TRAINER, *RECIPE, cwd=directory)
        (directory / "loaded").rename(directory / "loaded-by-lightning")
        checkpoint = "lightning_logs/version_0/checkpoints/last.ckpt"
        run("lightning_impl", "test", *TRAINER, *RECIPE, "--ckpt_path", checkpoint, cwd=directory)

    return once("logs", make)


def curves(directory: Path) -> Curves:
    """What TensorBoard would show of the one event file there; the frames' checksums are its own business."""
    (path,) = directory.glob("events.out.tfevents.*")
    content, found = path.read_bytes(), Curves()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            points = found.setdefault(value.tag, {})
            # Lightning says the epoch twice, with the validation's metrics and with the training's.
            assert points.setdefault(event.step, value.simple_value) == value.simple_value, value.tag
    return found


def table(directory: Path) -> Curves:
    """The same from `metrics.csv`, in which a row may leave cells empty."""
    found = Curves()
    with (directory / "metrics.csv").open() as lines:
        for row in csv.DictReader(lines):
            for tag, value in row.items():
                if value and tag != "step":
                    found.setdefault(tag, {})[int(row["step"])] = float(value)
    return found


def logs(directory: Path, room: str) -> Path:
    return directory / f"{room}_logs" / "version_0"


@pytest.mark.parametrize("read", [curves, table], ids=["TensorBoard", "CSV"])
def test_both_sides_write_the_same_tags_over_the_same_epochs(logged: Path, read: object) -> None:
    assert callable(read)
    keras, lightning = (read(logs(logged, room)) for room in ("keras", "lightning"))
    keras_test = {tag: keras.pop(tag) for tag in ("test_loss", "test_accuracy")}
    assert keras.keys() == lightning.keys() == METRICS | {"epoch"}
    for tag in keras:
        assert list(keras[tag]) == list(lightning[tag]) == list(range(EPOCHS)), tag
        for epoch, value in keras[tag].items():
            # torchmetrics divides in float32, and that is what an event file holds: an accuracy may be off
            # by the rounding of either. A float64 loss differs by that of sums of 60,000 numbers.
            allowed = 2.0**-23 if read is curves or "accuracy" in tag else 1e-12
            assert abs(value - lightning[tag][epoch]) <= allowed * abs(value), (tag, epoch)
    lightning_test = read(logged / "lightning_logs" / "version_1")
    for tag, points in keras_test.items():
        assert list(points) == list(lightning_test[tag]) == [0]
        assert abs(points[0] - lightning_test[tag][0]) <= 2.0**-22 * points[0]  # Lightning's log is float32


def test_table_holds_what_the_curves_do(logged: Path) -> None:
    for room in ("keras", "lightning"):
        one, other = curves(logs(logged, room)), table(logs(logged, room))
        assert one.keys() == other.keys()
        for tag, points in one.items():
            for step, value in points.items():
                assert abs(value - other[tag][step]) <= 2.0**-24 * abs(value)


def test_no_second_framework_is_loaded_or_could_be(logged: Path) -> None:
    # TensorBoard's own writer, which Lightning takes where it is installed, imports TensorFlow where that is.
    assert (logged / "loaded-by-lightning").read_text() == "torch"
    assert (logged / "loaded-by-keras").read_text() == "tensorflow"


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_log_without_a_second_framework(tmp_path: Path, backend: str) -> None:
    short = ("--device", "cpu", "--keras.backend", backend, "--recipe.batch_size", "30000", "--recipe.epochs", 1)
    run("keras_impl", "fit", *short, "--recipe.hidden_sizes", "[2]", "--logs", "elsewhere", cwd=tmp_path)
    assert (tmp_path / "loaded").read_text() == backend
    assert curves(tmp_path / "elsewhere" / "version_0").keys() >= METRICS


def test_second_run_writes_beside_the_first(logged: Path, tmp_path: Path) -> None:
    code = "from pathlib import Path\nfrom keras_impl.backend import select\nfrom recipe import Recipe\n"
    code += "select('tensorflow', 'cpu', Recipe())\nfrom keras_impl.logs import Logs\n"
    code += "for _ in range(2):\n    Logs(Path('logs')).write({'epoch': 0, 'loss': 1.5}, 0)\n"
    (tmp_path / "logs" / "version_9").mkdir(parents=True)
    process = run_python("-c", code, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["version_10", "version_11", "version_9"]
    assert table(tmp_path / "logs" / "version_10") == table(tmp_path / "logs" / "version_11") != {}
    assert sorted(path.name for path in (logged / "lightning_logs").iterdir()) == ["version_0", "version_1"]
