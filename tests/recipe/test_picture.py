import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from compare.oracle import network as oracle
from pictures.prepare import FORMATS, prepare, read_picture
from recipe import mnist
from recipe.errors import PictureError
from record.training import RunRecord

Levels = NDArray[np.uint8]

DIGITS = mnist.load()
SOME = range(10, 20)
"""Test digits 0, 6, 9, 0, 1, 5, 9, 7, 3, 4."""


def drawing(index: int) -> Levels:
    """A test digit ten times as large, white on black."""
    return np.asarray(Image.fromarray(DIGITS.x_test[index]).resize((280, 280), Image.Resampling.BICUBIC))


def saved(picture: Image.Image, path: Path, **options: Any) -> Levels:
    picture.save(path, **options)
    return read_picture(path)


def assert_close(image: Levels, index: int) -> None:
    # The box that an enlarged digit fills is known to a tenth of a pixel and the original one to a
    # whole, so that the two may lie up to a pixel apart: the image has to be nearer to the original than
    # the original is to itself one pixel further, in the direction in which that is the least.
    original = DIGITS.x_test[index].astype(float)
    moved = [np.roll(original, step, axis) for step in (-1, 1) for axis in (0, 1)]
    assert image.dtype == np.uint8
    assert image.shape == (28, 28)
    assert np.abs(image - original).mean() < min(np.abs(other - original).mean() for other in moved)


@pytest.mark.parametrize("index", SOME)
def test_mnist_digit_in_its_own_size_stays_where_it_is(index: int, tmp_path: Path) -> None:
    image = saved(Image.fromarray(DIGITS.x_test[index]), tmp_path / "digit.png")
    # Only the contrast is stretched, so that most of the ink is white; and specks may go.
    assert np.abs(image.astype(float) - DIGITS.x_test[index]).mean() < 2


@pytest.mark.parametrize("index", SOME)
def test_enlarged_digit_comes_back(index: int, tmp_path: Path) -> None:
    assert_close(saved(Image.fromarray(drawing(index)), tmp_path / "digit.png"), index)


def _coloured(levels: Levels) -> Image.Image:
    """Red on a green as bright as the red: only the colour tells them apart."""
    part = levels[..., None] / 255
    return Image.fromarray(np.uint8(part * (200, 0, 0) + (1 - part) * (0, 102, 0)))


def _transparent(colour: tuple[int, int, int]) -> Callable[[Levels], Image.Image]:
    def draw(levels: Levels) -> Image.Image:
        picture = Image.new("RGBA", levels.shape[::-1], (*colour, 0))
        picture.putalpha(Image.fromarray(levels))
        return picture

    return draw


def _sheet_with_transparent_margins(levels: Levels) -> Image.Image:
    picture = Image.new("RGBA", (400, 350), (0, 0, 0, 0))
    picture.paste(Image.fromarray(255 - levels).convert("RGBA"), (60, 30))
    return picture


def _photograph(levels: Levels) -> Image.Image:
    """Grey strokes on yellowish paper, lit from the left, with noise."""
    light = np.linspace(1, 0.5, levels.shape[1])[:, None]
    paper = np.array([230, 225, 205]) * light * (1 - 0.5 * levels[..., None] / 255)
    noise = np.random.default_rng(0).normal(0, 4, paper.shape)
    return Image.fromarray(np.uint8(np.clip(paper + noise, 0, 255)))


def _specks(levels: Levels) -> Image.Image:
    levels = np.pad(levels, 20)
    levels[5:9, 5:9] = levels[300:304, 10:14] = 255
    return Image.fromarray(255 - levels)


KINDS: dict[str, Callable[[Levels], Image.Image]] = {
    "black on white": lambda levels: Image.fromarray(255 - levels),
    "low contrast": lambda levels: Image.fromarray(np.uint8(150 - levels // 5)),
    "margins": lambda levels: Image.fromarray(np.pad(255 - levels, ((30, 400), (250, 10)), constant_values=255)),
    "coloured": _coloured,
    "black on transparent": _transparent((0, 0, 0)),
    "white on transparent": _transparent((255, 255, 255)),
    "sheet with transparent margins": _sheet_with_transparent_margins,
    "grey with alpha": lambda levels: _transparent((9, 9, 9))(levels).convert("LA"),
    "palette": lambda levels: Image.fromarray(levels).convert("P"),
    "16 bits": lambda levels: Image.fromarray(65535 - levels.astype(np.uint16) * 257),
    "12 of 16 bits": lambda levels: Image.fromarray(levels.astype(np.uint16) * 16),
    "specks": _specks,
}


@pytest.mark.parametrize("kind", KINDS)
def test_digit_is_found_in_every_kind_of_picture(kind: str, tmp_path: Path) -> None:
    for index in SOME[:3]:
        assert_close(saved(KINDS[kind](drawing(index)), tmp_path / "digit.png"), index)


def test_digit_is_found_in_a_photograph_lit_from_one_side(tmp_path: Path) -> None:
    for index in SOME[:3]:
        assert_close(saved(_photograph(drawing(index)), tmp_path / "digit.jpg", quality=80), index)


@pytest.mark.parametrize(("orientation", "undo"), [(3, 2), (6, 1), (8, 3)])
def test_camera_held_askew_is_turned_back(orientation: int, undo: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Orientation 6 says: turn by 90° clockwise to see it; np.rot90 turns the other way.
    picture = Image.fromarray(np.rot90(255 - drawing(13), undo))
    assert_close(saved(picture, tmp_path / "digit.jpg", exif=exif), 13)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_common_formats_are_read(name: str, tmp_path: Path) -> None:
    assert name in FORMATS
    assert_close(saved(Image.fromarray(255 - drawing(13)), tmp_path / "digit", format=name), 13)


def test_thin_line_becomes_white() -> None:
    page = np.full((1000, 1000, 1), 255.0)
    page[200:800, 500:503] = 0
    assert prepare(page).max() == 255


def test_longer_side_is_20_pixels_and_the_centre_of_mass_is_the_centre() -> None:
    page = np.zeros((200, 300, 1))
    page[20:120, 30:50] = 255
    image = prepare(page)
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 12:16] = 255  # 20 × 4; its centre of mass, 13.5, is as near to 14 as whole pixels allow
    assert np.array_equal(image, expected)


def _two_frames(path: Path, name: str) -> None:
    first, second = (Image.fromarray(drawing(index)) for index in SOME[:2])
    first.save(path, format=name, save_all=True, append_images=[second])


def _huge(path: Path) -> None:
    """A PNG that states 20,000 × 20,000 pixels and holds none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for chunk in (header, b"IDAT" + zlib.compress(b"\0"), b"IEND"):
        data += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data)


def _truncated(path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(drawing(13)).save(buffer, format="PNG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def _eps(path: Path) -> None:
    Image.fromarray(drawing(13)).save(path, format="EPS")


def _blank(level: int) -> Callable[[Path], None]:
    return lambda path: Image.new("L", (50, 50), level).save(path, format="PNG")


def _noise(path: Path) -> None:
    levels = np.random.default_rng(0).normal(200, 6, (300, 300, 3))
    Image.fromarray(np.uint8(np.clip(levels, 0, 255))).save(path, format="PNG")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, ["no such file"]),
        (Path.mkdir, ["not a file"]),
        (os.mkfifo, ["not a file"]),
        (lambda path: path.write_text("seven"), ["not a picture", "PNG"]),
        (lambda path: path.write_bytes(b""), ["not a picture"]),
        (_eps, ["not a picture"]),
        (lambda path: _two_frames(path, "GIF"), ["2 pictures", "expected one"]),
        (lambda path: _two_frames(path, "PNG"), ["2 pictures"]),
        (lambda path: _two_frames(path, "TIFF"), ["2 pictures"]),
        (_huge, ["more than 89,478,485 pixels"]),
        (_truncated, ["damaged"]),
        (_blank(255), ["shows nothing"]),
        (_blank(0), ["shows nothing"]),
        (_noise, ["shows nothing"]),
        (lambda path: Image.new("RGBA", (50, 50)).save(path, format="PNG"), ["shows nothing"]),
        (lambda path: Image.new("L", (1, 1)).save(path, format="PNG"), ["shows nothing"]),
    ],
)
def test_what_cannot_be_used_is_one_line(make: Callable[[Path], Any], words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "digit"
    make(path)
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="cannot be read: File name too long"):
        read_picture(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_damaged_file_is_read_or_refused_and_nothing_else(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(DIGITS.x_test[13]).save(buffer, format=name)
    for _ in range(50):
        data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
        data[random.integers(len(data), size=3)] = random.integers(256, size=3)
        (tmp_path / "digit").write_bytes(data[: random.integers(1, len(data) + 1)].tobytes())
        try:
            assert read_picture(tmp_path / "digit").shape == (28, 28)
        except PictureError:
            continue


def test_handwriting_that_is_not_mnist_is_read(trained: Callable[..., RunRecord], tmp_path: Path) -> None:
    # 1,797 digits by other writers, 8×8 pixels of 17 grey levels (Alpaydin and Kaynak, 1998).
    others = load_digits()
    images = np.stack([saved(Image.fromarray(np.uint8(i * 15)), tmp_path / "digit.png") for i in others.images])
    weights = oracle.exact(trained("lightning", epochs=1).weights)
    probabilities = oracle.forward(weights, images.reshape(-1, 784) / 255).activations["output"]
    accuracy = (probabilities.argmax(axis=1) == others.target).mean()
    # Measured: 0.810 after this epoch and 0.866 after ten, where MNIST's own digits give 0.959 and 0.979: 8×8
    # pixels show little of the strokes. Three trainings from weights one unit in the last place away give
    # 0.818 to 0.824 (standard deviation 0.006 of all four), and five such deviations are left below their
    # mean, for another machine rounds otherwise. Digits turned, mirrored or misplaced fall far below.
    assert accuracy > 0.79
