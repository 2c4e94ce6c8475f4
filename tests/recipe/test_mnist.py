import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from recipe import mnist

LICENSE = mnist.ARCHIVE.with_name("MNIST-LICENSE.md").read_text()


@pytest.mark.parametrize("name", mnist.Digits._fields)
def test_bytes_are_those_of_the_original_files(name: str) -> None:
    array = getattr(mnist.load(), name)
    (stated,) = re.findall(rf"bytes of {name} \| ([0-9a-f]{{64}}) ", LICENSE)
    assert hashlib.sha256(array.tobytes()).hexdigest() == stated
    assert array.dtype == np.uint8


def test_shapes_are_those_of_the_set() -> None:
    shapes = [array.shape for array in mnist.load()]
    assert shapes == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]


def test_checksum_in_the_code_is_the_one_in_the_licence() -> None:
    assert f"| mnist.npz | {mnist.SHA256} |" in LICENSE


def _flip_a_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [_flip_a_bit, lambda data: data[:-1], lambda data: b"", lambda data: data + b"\0"])
def test_corrupt_archive_names_both_checksums(damage: object, tmp_path: Path) -> None:
    archive = tmp_path / "mnist.npz"
    archive.write_bytes(damage(mnist.ARCHIVE.read_bytes()))
    with pytest.raises(mnist.DataError) as caught:
        mnist.load(archive)
    for words in (str(archive), "corrupt", mnist.SHA256, hashlib.sha256(archive.read_bytes()).hexdigest()):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["missing.npz", ""])
def test_unreadable_archive_names_its_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(mnist.DataError, match=f"cannot read the digits at {tmp_path / name}: "):
        mnist.load(tmp_path / name)
