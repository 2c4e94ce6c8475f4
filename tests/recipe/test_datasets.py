import gzip
import hashlib
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recipe import Recipe, datasets, mnist
from recipe.datasets import with_images
from recipe.errors import DataError, RecipeError
from recipe.images import Summary
from recipe.mnist import Digits
from record.files import read_recipe

Arrays = dict[str, NDArray[Any]]


def arrays(**changes: Any) -> Arrays:
    """A small data set of three classes, images of 12×10 pixels."""
    random = np.random.default_rng(0)
    made = {
        "x_train": random.integers(0, 256, (30, 12, 10), np.uint8),
        "y_train": np.arange(30, dtype=np.uint8) % 3,
        "x_test": random.integers(0, 256, (6, 12, 10), np.uint8),
        "y_test": np.arange(6, dtype=np.uint8) % 3,
    }
    return {**made, **changes}


def archive(directory: Path, **changes: Any) -> Path:
    path = directory / "own.npz"
    np.savez_compressed(path, **arrays(**changes))
    return path


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def folder(directory: Path, *, packed: bool = False, **changes: bytes) -> Path:
    path = directory / "idx"
    path.mkdir()
    (path / "README.txt").write_text("what people put beside the train images and labels")
    for name, array in arrays().items():
        content = changes.get(name, idx(array))
        file = path / f"{IDX_NAMES[name]}{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("make", [archive, folder, lambda path: folder(path, packed=True)], ids=["npz", "idx", "gz"])
def test_own_files_are_read_and_summarized(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    recipe = with_images(Recipe(dataset=str(path), batch_size=7))
    expected = hashlib.sha256(b"".join(array.tobytes() for array in arrays().values())).hexdigest()
    assert recipe.images == Summary((12, 10), 3, 30, 6, expected)
    digits = datasets.load(recipe)
    for name, array in arrays().items():
        np.testing.assert_array_equal(getattr(digits, name), array)

    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert read_recipe(tmp_path) == recipe


def test_images_that_do_not_fit_the_recipe_are_refused_when_they_are_read(tmp_path: Path) -> None:
    dataset = str(archive(tmp_path))
    with pytest.raises(RecipeError, match=r"recipe\.batch_size must be a whole number from 1 to 30, not 32"):
        with_images(Recipe(dataset=dataset))
    small = archive(tmp_path, x_train=np.zeros((30, 9, 10), np.uint8), x_test=np.zeros((6, 9, 10), np.uint8))
    with pytest.raises(RecipeError, match="cnn needs images of 10×10 or more pixels"):
        with_images(Recipe(dataset=str(small), batch_size=7, network="cnn"))


def test_images_are_read_once(tmp_path: Path) -> None:
    recipe = with_images(Recipe(dataset=str(archive(tmp_path)), batch_size=7))
    (tmp_path / "own.npz").unlink()
    assert with_images(recipe) is recipe
    assert with_images(Recipe(dataset="kmnist")) == Recipe(dataset="kmnist")


def test_a_path_is_kept_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert with_images(Recipe(dataset="own.npz", batch_size=7)).dataset == str(tmp_path / "own.npz")


def test_more_than_256_classes_fit(tmp_path: Path) -> None:
    path = archive(tmp_path, x_train=np.zeros((300, 12, 10), np.uint8), y_train=np.arange(300))
    recipe = with_images(Recipe(dataset=str(path)))
    assert recipe.images.num_classes == 300
    assert datasets.load(recipe).y_train.dtype == np.uint16


def test_mnist_is_in_the_package() -> None:
    digits = datasets.load(Recipe())
    np.testing.assert_array_equal(digits.y_test, mnist.load().y_test)
    assert Recipe().images == Summary(digits.x_train.shape[1:], 10, len(digits.x_train), len(digits.x_test))


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    recipe = with_images(Recipe(dataset=str(archive(tmp_path)), batch_size=7))
    archive(tmp_path, y_test=np.array([0, 1, 2, 0, 1, 1], np.uint8))
    with pytest.raises(DataError, match=r"own\.npz is not what the recipe was made for"):
        datasets.load(recipe)


BAD_ARRAYS: list[tuple[Arrays, str]] = [
    ({"x_train": np.zeros((30, 12, 10))}, "x_train: expected grey levels, uint8, .* found float64"),
    ({"x_train": np.zeros((30, 12, 10, 3), np.uint8)}, r"x_train: expected grey levels.* \(30, 12, 10, 3\)"),
    ({"x_test": np.zeros((6, 10, 12), np.uint8)}, r"training images have \(12, 10\) pixels, test images \(10, 12\)"),
    ({"x_test": np.zeros((6, 0, 10), np.uint8)}, "x_test is empty"),
    ({"x_train": np.zeros((0, 12, 10), np.uint8), "y_train": np.zeros(0, np.uint8)}, "x_train is empty"),
    ({"y_train": np.zeros(29, np.uint8)}, "30 images in x_train, but 29 labels in y_train"),
    ({"y_train": np.zeros((30, 3), np.uint8)}, "y_train: expected whole numbers, one an image"),
    ({"y_train": np.zeros(30)}, "y_train: expected whole numbers.* found float64"),
    ({"y_train": np.arange(30) % 3 + 1}, "y_train: no image has the label 0"),
    ({"y_train": np.arange(30) % 3 * 2}, "y_train: no image has the label 1"),
    ({"y_train": np.zeros(30, np.uint8), "y_test": np.zeros(6, np.uint8)}, "y_train: no image has the label 1"),
    ({"y_train": np.arange(30) % 3 - 1}, "y_train: labels run from -1 to 1"),
    ({"y_train": np.arange(30) * 10_000}, "y_train: labels run from 0 to 290000"),
    ({"y_test": np.array([0, 1, 2, 3, 0, 1])}, "y_test: image 3 has the label 3; training has 0 to 2"),
    ({"y_test": np.array([0, 1, -1, 0, 0, 1])}, "y_test: image 2 has the label -1"),
    ({"x_train": np.array([{}] * 30, dtype=object)}, "own.npz"),
]


@pytest.mark.parametrize(("changes", "words"), BAD_ARRAYS, ids=[words for _, words in BAD_ARRAYS])
def test_what_is_no_data_set_is_refused_by_name_and_reason(tmp_path: Path, changes: Arrays, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        with_images(Recipe(dataset=str(archive(tmp_path, **changes)), batch_size=7))
    assert "\n" not in str(caught.value)


def test_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x_train=arrays()["x_train"])
    with pytest.raises(DataError, match=r"own\.npz: y_train: missing; expected x_train, y_train, x_test, y_test"):
        with_images(Recipe(dataset=str(tmp_path / "own.npz")))


@pytest.mark.parametrize("name", ["fashionmnist", "no/such/place", "MNIST"])
def test_unknown_data_set_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(DataError, match=f"there is no data set {name}: expected one of mnist, fashion_mnist"):
        with_images(Recipe(dataset=name))


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-this-name/own.npz", "a\0b"])
def test_what_cannot_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"cannot read the data set .*; expected one of mnist"):
        with_images(Recipe(dataset=name))


def test_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")  # the flags of a member's entry in the central directory
    content[start + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"own\.npz: cannot be read as a data set"):
        with_images(Recipe(dataset=str(path)))


def test_damaged_archive_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place])
        with pytest.raises(DataError, match=r"own\.npz"):
            with_images(Recipe(dataset=str(path), batch_size=7))
        # A flipped bit may hit what no array needs, a time stamp for one; then nothing else may come out.
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            recipe = with_images(Recipe(dataset=str(path), batch_size=7))
        except DataError:
            continue
        assert datasets.load(recipe).x_train.tobytes() == arrays()["x_train"].tobytes()


def test_an_archive_that_would_fill_the_memory_is_refused_unread(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**10, 2**10)}
    )
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name in Digits._fields:
            file.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(DataError, match=r"bomb\.npz: x_train: 1,099,511,627,776 bytes when unpacked; at most"):
        with_images(Recipe(dataset=str(path)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x_train", idx(arrays()["x_train"])[:-1], "train-images-idx3-ubyte: expected 3,600 bytes.*found 3,599"),
        ("x_train", idx(arrays()["x_train"]) + b"\0", "train-images-idx3-ubyte: .* found more"),
        ("y_test", b"", "t10k-labels-idx1-ubyte: expected an IDX file of unsigned bytes"),
        ("y_test", b"\0\0\x08", "t10k-labels-idx1-ubyte: expected an IDX file"),
        ("y_test", b"\0\0\x0d\x01\0\0\0\x06", "t10k-labels-idx1-ubyte: expected an IDX file"),
        ("y_test", b"\0\0\x08\x01\0\0", "t10k-labels-idx1-ubyte: .*cut short"),
        ("x_test", b"\0\0\x08\x03" + b"\xff" * 12, "t10k-images-idx3-ubyte: IDX: .*at most"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx_file_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, words: str, packed: bool
) -> None:
    with pytest.raises(DataError, match=words.replace("ubyte", "ubyte.gz") if packed else words):
        with_images(Recipe(dataset=str(folder(tmp_path, packed=packed, **{name: content}))))


def test_folder_without_a_file_or_with_two_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "t10k-labels-idx1-ubyte").rename(path / "labels")
    with pytest.raises(DataError, match=r"expected one IDX file of test or t10k labels for y_test, found none"):
        with_images(Recipe(dataset=str(path)))
    for name in ("test-labels-idx1-ubyte", "test-labels-idx1-ubyte.gz"):
        (path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"found test-labels-idx1-ubyte, test-labels-idx1-ubyte\.gz"):
        with_images(Recipe(dataset=str(path)))


def test_cached_archive_of_a_named_set_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_PARITY_CACHE", str(tmp_path))
    np.savez(tmp_path / "kmnist.npz", **mnist.load()._asdict())
    assert datasets.load(Recipe(dataset="kmnist")).x_test.shape == (10_000, 28, 28)
    np.savez(tmp_path / "fashion_mnist.npz", **arrays())
    with pytest.raises(DataError, match=r"fashion_mnist\.npz is not what the recipe was made for"):
        datasets.load(Recipe(dataset="fashion_mnist"))
