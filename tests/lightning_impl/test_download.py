"""Named data sets are fetched by torchvision: here from a server of this test, which stands for their mirrors."""

import gzip
import hashlib
import struct
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from recipe.download import SETS, download
from recipe.errors import DataError

CODES = {"uint8": 8, "int32": 12}


def idx(array: NDArray[np.integer]) -> bytes:
    header = bytes([0, 0, CODES[str(array.dtype)], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.fixture
def arrays() -> dict[str, NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (30, 28, 28), np.uint8),
        "y_train": random.permutation(np.arange(30, dtype=np.uint8) % 10),
        "x_test": random.integers(0, 256, (20, 28, 28), np.uint8),
        "y_test": random.permutation(np.arange(20, dtype=np.uint8) % 10),
    }


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an HTTP server of the folder `mirror`."""
    (tmp_path / "mirror").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "mirror")) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, NDArray[np.uint8]], server: str) -> Path:
    """A folder with every set's files; torchvision is told to fetch from there, and their checksums."""
    folder = tmp_path / "mirror"
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def put(url: str, content: bytes) -> tuple[str, str]:
        name = Path(url).name
        (folder / name).write_bytes(content)
        return name, hashlib.md5(content).hexdigest()  # noqa: S324 - what torchvision checks

    def qmnist_labels(labels: NDArray[np.uint8]) -> NDArray[np.int32]:
        return np.column_stack([labels, *np.full((7, len(labels)), 77)]).astype(np.int32)

    for name in ("fashion_mnist", "kmnist"):
        kind = SETS[name][0]
        resources = [put(url, idx(array)) for (url, _), array in zip(kind.resources, arrays.values(), strict=True)]
        monkeypatch.setattr(kind, "resources", resources)
        monkeypatch.setattr(kind, "mirrors", [server])
    kind = SETS["qmnist"][0]
    resources = {}
    for subset in ("train", "test"):
        contents = idx(arrays[f"x_{subset}"]), idx(qmnist_labels(arrays[f"y_{subset}"]))
        put_there = [put(url, content) for (url, _), content in zip(kind.resources[subset], contents, strict=True)]
        resources[subset] = [(f"{server}{file}", checksum) for file, checksum in put_there]
    monkeypatch.setattr(kind, "resources", resources)
    return folder


@pytest.mark.parametrize("name", SETS)
def test_archive_holds_what_the_mirror_has(
    name: str, mirror: Path, arrays: dict[str, NDArray[np.uint8]], tmp_path: Path
) -> None:
    place = tmp_path / "cache" / f"{name}.npz"
    download(name, place)
    with np.load(place, allow_pickle=False) as found:
        assert list(found) == list(arrays)
        for key, array in arrays.items():
            assert found[key].dtype == np.uint8
            assert np.array_equal(found[key], array), key
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize("name", SETS)
def test_files_that_are_not_what_they_should_be_are_refused(name: str, mirror: Path, tmp_path: Path) -> None:
    for file in mirror.glob("*labels*"):
        file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(DataError, match=f"{name} cannot be fetched: .*mnist-compare download {name}"):
        download(name, tmp_path / "cache" / f"{name}.npz")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", SETS)
def test_without_a_mirror_the_line_says_what_to_do(name: str, mirror: Path, tmp_path: Path) -> None:
    for file in mirror.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="do it where the network is reached"):
        download(name, tmp_path / "cache" / f"{name}.npz")
    assert not list((tmp_path / "cache").iterdir())
