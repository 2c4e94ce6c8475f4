import hashlib
import itertools
import json
import math
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recipe import Recipe
from recipe.errors import RecordError
from recipe.images import Summary
from recipe.initial_weights import initial_weights
from record.files import CHECKSUMS, new_record, read_tensors, write_json
from record.tensors import write_tensors
from record.training import Status, TestResults, read_record
from record.windows import (
    EpochStates,
    Fed,
    State,
    Window,
    WindowStep,
    hash_arrays,
    num_steps_per_epoch,
    window_places,
)
from tests.conftest import TINY, write_canned


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("valid") / "record"
    write_canned(directory)
    return directory


@pytest.fixture
def record(valid: Path, tmp_path: Path) -> Path:
    """A copy of a valid record, to change; without checksums, as a port in another language leaves it."""
    shutil.copytree(valid, tmp_path / "record")
    (tmp_path / "record" / CHECKSUMS).unlink()
    return tmp_path / "record"


def write_diverged(directory: Path) -> None:
    """A run of TINY whose third step, the first of epoch 2, is not finite."""
    history = {key: [0.5] for key in ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")}
    losses = np.array([2.0, 3.0, np.nan], np.float32)
    status = Status("diverged", epoch=2, step=3)
    write_canned(directory, history=history, test=None, status=status, step_losses=losses)
    (directory / CHECKSUMS).unlink()


def test_what_is_written_is_read_again(record: Path) -> None:
    read = read_record(record)
    assert read.recipe == TINY
    assert not read.diverged
    assert (read.framework, read.backend, read.device, read.threads) == ("numpy", "none", "cpu", 1)
    assert (read.seconds, read.peak_memory_bytes, read.num_parameters) == (1.5, 1000, 784 * 2 + 2 + 2 * 10 + 10)
    assert read.versions == {"python": "3", "numpy": "2"}
    assert read.settings == {"optimizer.name": "adam"}
    assert set(map(tuple, read.history.values())) == {(0.5, 0.5)}
    assert read.test is not None
    assert (read.test.loss, read.test.accuracy, read.test.predictions.shape) == (2.3, 0.1, (10_000, 10))
    assert np.array_equal(read.step_losses, np.full(4, 2.3, np.float32))
    assert list(read.weights) == ["hidden_1.kernel", "hidden_1.bias", "output.kernel", "output.bias"]


def test_a_record_of_version_1_is_read(record: Path) -> None:
    _set(record, "format_version", 1)
    for key in ("windows", "epoch_states"):
        _remove(record, key)
    read = read_record(record)
    assert (read.windows, read.fed, read.epoch_states) == ((), None, None)


def _remove(record: Path, key: str) -> None:
    content = json.loads((record / "record.json").read_text())
    content.pop(key, None)
    (record / "record.json").write_text(json.dumps(content))


def state_of(number: float) -> State:
    weights = {name: np.full_like(array, number) for name, array in initial_weights(TINY).items()}
    return State(weights, weights, {name: 2 * array for name, array in weights.items()})


def windowed(number: int) -> Window:
    """A window of two steps on three images."""
    images, labels = np.full((3, 784), 0.5, np.float32), np.array([1, 2, 3])
    steps = [WindowStep(n, images, labels, state_of(n / 7).parameters, state_of(n)) for n in (number, number + 1)]
    return Window(state_of(number - 1), tuple(steps))


@pytest.fixture
def with_windows(tmp_path: Path) -> Path:
    fed = Fed(np.arange(4, dtype=np.float32), np.arange(4, 8, dtype=np.float32))
    states = EpochStates(["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"])
    write_canned(tmp_path / "record", windows=(windowed(1), windowed(3)), fed=fed, epoch_states=states)
    return tmp_path / "record"


def test_windows_are_read_as_they_were_written(with_windows: Path) -> None:
    read = read_record(with_windows)
    assert [[step.number for step in window.steps] for window in read.windows] == [[1, 2], [3, 4]]
    for window, number in zip(read.windows, (1, 3), strict=True):
        expected = windowed(number)
        assert window.state_before(1).parameters["output.bias"][0] == number
        for index in (0, 1):
            assert np.array_equal(window.steps[index].images, expected.steps[index].images)
            assert window.steps[index].labels.tolist() == [1, 2, 3]
            for found, wanted in (
                *zip(window.state_before(index), expected.state_before(index), strict=True),
                (window.steps[index].gradients, expected.steps[index].gradients),
            ):
                assert all(np.array_equal(found[name], array) for name, array in wanted.items())
    assert read.fed is not None
    assert read.fed.class_sums.tolist() == [4, 5, 6, 7]
    assert read.epoch_states == EpochStates(["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("step_2/images"), r"step_2/images: missing"),
        (lambda tensors: tensors.pop("before_3/first_moments/output.bias"), r"before_3/first_moments/output\.bias"),
        (lambda tensors: tensors.update({"step_9/loss": np.zeros(1)}), r"unexpected tensors: step_9/loss"),
        (lambda tensors: tensors.update({"step_2/labels": np.array([1, 2])}), r"step_2/labels: expected one for each"),
        (lambda tensors: tensors.update({"step_2/labels": np.array([1, 2, 10])}), r"classes from 0 to 9"),
        (lambda tensors: tensors["step_4/gradients/output.bias"].fill(np.nan), r"step_4/gradients/output\.bias: nan"),
    ],
)
def test_damaged_windows_are_refused(with_windows: Path, change: Callable[[Any], Any], words: str) -> None:
    path = with_windows / "windows.safetensors"
    tensors = {name: array.copy() for name, array in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    (with_windows / CHECKSUMS).unlink()
    with pytest.raises(RecordError, match=rf"windows\.safetensors: {words}" if "classes" not in words else words):
        read_record(with_windows)


def test_sums_are_of_every_step(with_windows: Path) -> None:
    path = with_windows / "steps.safetensors"
    save_file({**load_file(path), "class_sums": np.zeros(3, np.float32)}, path)
    (with_windows / CHECKSUMS).unlink()
    with pytest.raises(RecordError, match=r"class_sums: expected one for each of 4 losses"):
        read_record(with_windows)


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({}, [(1, 2), (1874, 1875), (1876, 1877), (8333, 8334), (14583, 14584), (18749, 18750)]),
        ({"epochs": 1}, [(1, 2), (833, 834), (1458, 1459), (1874, 1875)]),
        # Too large for all: first, last, and the border of the first epoch come first.
        ({"dtype": "float64"}, [(1, 2), (1874, 1875), (1876, 1877), (18749, 18750)]),
        ({"hidden_sizes": (4,), "batch_size": 20_000, "epochs": 1}, []),
        ({"hidden_sizes": (4,), "batch_size": 15_000, "epochs": 1}, [(1, 2)]),
        ({"hidden_sizes": (4,), "batch_size": 30, "epochs": 1, "perturbation": 1}, []),
    ],
)
def test_the_recipe_says_which_steps_are_windows(fields: dict[str, Any], places: list[tuple[int, int]]) -> None:
    assert [(place[0], place[-1]) for place in window_places(Recipe(**fields))] == places


def test_windows_lie_within_epochs_and_do_not_meet() -> None:
    for epochs, batch_size in itertools.product(range(1, 12), (1000, 6_000, 12_001, 30_000, 60_000)):
        recipe = Recipe(
            epochs=epochs,
            batch_size=batch_size,
            hidden_sizes=(),
            dataset="/nowhere.npz",
            images=Summary((2, 2), 3, 60_000, 10),
        )
        per_epoch = num_steps_per_epoch(recipe)
        numbers = [number for place in window_places(recipe) for number in place]
        assert numbers == sorted(set(numbers))
        assert {1, epochs * per_epoch} <= set(numbers) <= set(range(1, epochs * per_epoch + 1))
        for place in window_places(recipe):
            assert (place[0] - 1) // per_epoch == (place[-1] - 1) // per_epoch


def test_a_hash_is_of_the_bytes_in_c_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert hash_arrays({"a": array.T.copy().T, "b": array}) == hashlib.sha256(array.tobytes() * 2).hexdigest()


def test_diverged_run_is_read_with_epoch_and_step(tmp_path: Path) -> None:
    write_diverged(tmp_path / "record")
    read = read_record(tmp_path / "record")
    assert read.diverged
    assert read.status == Status("diverged", 2, 3)
    assert read.test is None
    assert math.isnan(read.step_losses[-1])


FILES = ("recipe.json", "record.json", "steps.safetensors", "weights.safetensors", "predictions.safetensors")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _garble(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" * 50)


@pytest.mark.parametrize("damage", [Path.unlink, _truncate, _empty, _replace_by_directory, _garble])
@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_named(record: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(record / name)
    with pytest.raises(RecordError) as caught:
        read_record(record)
    assert str(record / name) in str(caught.value)


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=str(tmp_path / "nothing")):
        read_record(tmp_path / "nothing")


TEXTS = ("framework", "backend", "device", "status.outcome")
INTEGERS = ("threads", "num_parameters", "peak_memory_bytes")
NUMBERS = ("seconds", "test.loss", "test.accuracy")
LISTS = tuple(f"history.{key}" for key in ("loss", "accuracy", "val_loss", "val_accuracy", "seconds"))
OBJECTS = ("versions", "settings", "history", "status", "test")

WRONG: list[tuple[str, Any]] = [
    *((key, bad) for key in TEXTS for bad in (None, 1, ["cpu"], {})),
    *((key, bad) for key in INTEGERS for bad in (None, "1", 1.5, True, -1, [1])),
    *((key, bad) for key in NUMBERS for bad in (None, "1", True, math.nan, math.inf, [1.0])),
    *((key, bad) for key in LISTS for bad in (None, 0.5, "0.5", {}, [0.5, None], [0.5, "1"], [0.5, True], [], [0.5])),
    *((key, bad) for key in OBJECTS for bad in (None, "text", 1, ["a"])),
    ("versions", {"numpy": 2}),
    ("status.outcome", "done"),
    ("device", "cuda"),
    ("threads", 0),
    ("history.accuracy", [94.7, 95.1]),
    ("history.val_accuracy", [0.5, -0.1]),
    ("history.seconds", [1.0, -1.0]),
    ("num_parameters", 3),
    ("format_version", 3),
    ("format_version", True),
    ("format_version", "1"),
    ("windows", 1),
    ("windows", [1, 2]),
    ("windows", [[1, 2, 3]]),
    ("windows", [[0, 1]]),
    ("windows", [[2, 1]]),
    ("windows", [[1, 2], [2, 3]]),
    ("windows", [["1", "2"]]),
    ("epoch_states", []),
    ("epoch_states", {"weights_at_begin": ["0"]}),
    ("format_version", None),
    ("kind", "trace"),
    ("kind", None),
]


def _set(record: Path, key: str, value: object) -> None:
    content = json.loads((record / "record.json").read_text())
    *path, last = key.split(".")
    place = content
    for part in path:
        place = place[part]
    place[last] = value
    (record / "record.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("key", "bad"), WRONG, ids=str)
def test_wrong_value_is_named_by_file_and_key(record: Path, key: str, bad: object) -> None:
    _set(record, key, bad)
    with pytest.raises(RecordError) as caught:
        read_record(record)
    text = str(caught.value)
    assert f"{record / 'record.json'}: " in text
    assert f"{record / 'record.json'}: {key}" in text or key in (*OBJECTS, "history.loss")
    assert key.split(".", maxsplit=1)[0] in text


@pytest.mark.parametrize("key", [*TEXTS, *INTEGERS, *NUMBERS, *LISTS, *OBJECTS, "format_version", "kind"])
def test_missing_key_is_named(record: Path, key: str) -> None:
    content = json.loads((record / "record.json").read_text())
    *path, last = key.split(".")
    place = content
    for part in path:
        place = place[part]
    del place[last]
    (record / "record.json").write_text(json.dumps(content))
    with pytest.raises(RecordError, match=f"record.json: {key}"):
        read_record(record)


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"'])
def test_record_that_is_no_object_is_refused(record: Path, content: str) -> None:
    (record / "record.json").write_text(content)
    with pytest.raises(RecordError, match=r"record\.json: expected a JSON object"):
        read_record(record)


@pytest.mark.parametrize(
    ("key", "bad"), [("epochs", 0), ("unknown", 1), ("dtype", "float16"), ("hidden_sizes", [2, "a"])]
)
def test_bad_recipe_is_named(record: Path, key: str, bad: object) -> None:
    content = json.loads((record / "recipe.json").read_text())
    (record / "recipe.json").write_text(json.dumps({**content, key: bad}))
    with pytest.raises(RecordError, match=rf"recipe\.json: .*{key}"):
        read_record(record)


@pytest.mark.parametrize("key", ["status.epoch", "status.step"])
@pytest.mark.parametrize("bad", [None, "1", 1.5, True, -1, 0])
def test_diverged_run_without_its_place_is_refused(tmp_path: Path, key: str, bad: object) -> None:
    write_diverged(tmp_path / "record")
    _set(tmp_path / "record", key, bad)
    with pytest.raises(RecordError, match=f"record.json: {key}"):
        read_record(tmp_path / "record")


TENSORS = [
    ("steps.safetensors", "loss"),
    ("predictions.safetensors", "probabilities"),
    ("weights.safetensors", "hidden_1.kernel"),
    ("weights.safetensors", "hidden_1.bias"),
    ("weights.safetensors", "output.kernel"),
    ("weights.safetensors", "output.bias"),
]


def _not_a_number(array: np.ndarray) -> np.ndarray:
    array.flat[array.size // 2] = np.nan
    return array


def _infinite(array: np.ndarray) -> np.ndarray:
    array.flat[-1] = -np.inf
    return array


DAMAGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "one dimension more": (lambda array: array[None], "expected shape"),
    "no dimension": (lambda array: array.ravel()[0].reshape(()), "expected shape"),
    "float64 for float32": (lambda array: array.astype(np.float64), "expected dtype float32, found float64"),
    "float16": (lambda array: array.astype(np.float16), "expected dtype float32, found float16"),
    "integers": (lambda array: array.astype(np.int32), "expected dtype float32, found int32"),
    "NaN": (_not_a_number, "nan at index"),
    "infinity": (_infinite, "-inf at index"),
}


def _damage_tensor(record: Path, name: str, key: str, damage: Callable[[np.ndarray], np.ndarray]) -> None:
    arrays = load_file(record / name)
    arrays[key] = np.ascontiguousarray(damage(arrays[key].copy())).reshape(damage(arrays[key].copy()).shape)
    save_file(arrays, record / name)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "key"), TENSORS)
def test_wrong_tensor_is_named_by_file_and_key(record: Path, name: str, key: str, damage: str) -> None:
    change, words = DAMAGES[damage]
    _damage_tensor(record, name, key, change)
    with pytest.raises(RecordError) as caught:
        read_record(record)
    assert f"{record / name}: {key}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "key"), TENSORS[1:])
def test_transposed_or_shortened_tensor_is_refused(record: Path, name: str, key: str) -> None:
    _damage_tensor(record, name, key, lambda array: array.T[1:])
    with pytest.raises(RecordError, match=f"{name}: {key}: expected shape"):
        read_record(record)


def test_few_of_many_tensors_are_listed(tmp_path: Path) -> None:
    save_file({f"step_{i}/images": np.zeros(1, np.float32) for i in range(100)}, tmp_path / "many.safetensors")
    words = r"loss: missing; the file holds step_0/images, .*step_15/images, … \(100 tensors\)$"
    with pytest.raises(RecordError, match=words):
        read_tensors(tmp_path, "many.safetensors", {"loss": ()}, "float32")


def test_training_without_steps_is_refused(record: Path) -> None:
    _damage_tensor(record, "steps.safetensors", "loss", lambda array: array[:0])
    with pytest.raises(RecordError, match=r"steps.safetensors: loss: expected the loss of every step"):
        read_record(record)


@pytest.mark.parametrize(("name", "key"), TENSORS)
def test_missing_tensor_is_named(record: Path, name: str, key: str) -> None:
    arrays = load_file(record / name)
    arrays["other"] = arrays.pop(key)
    save_file(arrays, record / name)
    with pytest.raises(RecordError, match=f"{name}: {key}: missing; the file holds .*other"):
        read_record(record)


@pytest.mark.parametrize(("name", "key"), TENSORS)
def test_unexpected_tensor_is_named(record: Path, name: str, key: str) -> None:
    save_file({**load_file(record / name), "other": np.zeros(1, np.float32)}, record / name)
    with pytest.raises(RecordError, match=f"{name}: unexpected tensors: other"):
        read_record(record)


def test_record_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "record"

    def break_off() -> None:
        with new_record(directory) as partial:
            write_json(partial / "record.json", {})
            assert not directory.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert not list((tmp_path / "new").iterdir())
    write_canned(directory)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["record"]


def test_what_a_killed_process_of_the_same_number_left_is_overwritten(tmp_path: Path) -> None:
    left_over = tmp_path / f"partial-{os.getpid()}-record"
    left_over.mkdir()
    (left_over / "rest").touch()
    with new_record(tmp_path / "record") as partial:
        assert partial == left_over
        write_json(partial / "record.json", {})
    assert sorted(path.name for path in (tmp_path / "record").iterdir()) == [CHECKSUMS, "record.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_what_stands_in_the_way_of_a_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "record" / "no record").mkdir(parents=True)
    with pytest.raises(RecordError, match=r"cannot write .*/record: Directory not empty; .* choose another place"):
        write_canned(tmp_path / "record")
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_record_finished_by_somebody_else_is_kept(record: Path) -> None:
    before = (record / "record.json").read_bytes()
    write_canned(record, framework="another")
    assert (record / "record.json").read_bytes() == before
    assert [path.name for path in (record.parent).iterdir()] == ["record"]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    with new_record(tmp_path / "record") as partial:
        write_json(partial / "record.json", {"a": math.nan, "b": [math.inf, 1.0], "c": {"d": -math.inf}})
    assert json.loads((tmp_path / "record" / "record.json").read_text()) == {
        "a": None,
        "b": [None, 1.0],
        "c": {"d": None},
    }


def test_tensors_are_written_in_their_order_of_rows(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    with new_record(tmp_path / "record") as partial:
        write_tensors(partial / "a.safetensors", {"transposed": array.T})
    assert np.array_equal(load_file(tmp_path / "record" / "a.safetensors")["transposed"], array.T)


def test_tensors_lie_where_their_types_can_be_read(tmp_path: Path) -> None:
    arrays = {
        "odd": np.arange(3, dtype=np.uint8),
        "labels": np.arange(5),
        "single": np.array(1.5, np.float32),
        "big_endian": np.arange(3, dtype=">f4"),
        "none": np.zeros((0, 3)),
    }
    path = tmp_path / "a.safetensors"
    write_tensors(path, arrays)
    read = load_file(path)
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    for name, entry in json.loads(content[8 : 8 + length]).items():
        assert (8 + length + entry["data_offsets"][0]) % arrays[name].itemsize == 0, name


def test_writing_tensors_holds_none_of_them_twice(tmp_path: Path) -> None:
    arrays = {str(number): np.zeros(250_000) for number in range(8)}
    tracemalloc.start()
    write_tensors(tmp_path / "a.safetensors", arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < arrays["0"].nbytes / 2  # a file's buffer is 128 KiB


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        *(
            (f"history.{key}", [0.5, bad])
            for key in ("loss", "val_accuracy", "seconds")
            for bad in (math.nan, math.inf, 10**400)
        ),
        ("seconds", 10**400),
        ("test.loss", 10**400),
        ("test.accuracy", 1.5),
        ("test.accuracy", -0.1),
        ("test.loss", -0.1),
        ("seconds", -1.0),
        ("history.loss", [0.5, -0.1]),
        ("history.val_loss", [-0.1, 0.5]),
        ("threads", 0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_number_out_of_range_is_refused(record: Path, key: str, bad: object) -> None:
    _set(record, key, bad)
    with pytest.raises(RecordError, match=key):
        read_record(record)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1)])
def test_dtype_that_numpy_lacks_is_refused(record: Path, dtype: str, size: int) -> None:
    header = json.dumps({"loss": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4 * size]}}).encode()
    tensors = struct.pack("<Q", len(header)) + header + bytes(4 * size)
    (record / "steps.safetensors").write_bytes(tensors)
    with pytest.raises(RecordError, match=rf"steps\.safetensors: loss: expected dtype float32, found {dtype}"):
        read_record(record)


def test_probabilities_are_probabilities(tmp_path: Path) -> None:
    write_canned(tmp_path / "record", test=TestResults(1.0, 0.5, np.full((10000, 10), -7, np.float32)))
    with pytest.raises(RecordError, match="probabilities"):
        read_record(tmp_path / "record")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"seconds": ' + "1" * 5000 + "}"], ids=["deep", "long number"])
def test_json_beyond_pythons_limits_is_refused(record: Path, text: str) -> None:
    (record / "record.json").write_text(text)
    with pytest.raises(RecordError, match="not valid JSON"):
        read_record(record)
