"""The door for pictures: `classify PICTURE...` says what a trained network makes of each.

Both implementations' `classify` run through `classify_pictures`; that of `compare` starts both.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pictures.prepare import read_picture
from recipe.errors import PictureError, RecordError
from recipe.initial_weights import Weights
from recipe.mnist import IMAGE_SHAPE
from recipe.recipe import Recipe
from record.places import RUNS, newest_training
from record.weights import read_weights

_SHADES = " ░▒▓█"
_BAR_LENGTH = 40

Images = NDArray[np.uint8]
Probabilities = NDArray[np.floating]
Network = Callable[[Recipe, Weights, Images], Probabilities]
"""The network of a recipe with these weights: images (n, 28, 28) -> class probabilities (n, classes)."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what both implementations' `classify` take."""
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="A picture of one digit.")
    parser.add_argument(
        "--weights",
        type=Path,
        help=f"A training's record, or its weights.safetensors (default: the newest under {RUNS}/).",
    )
    parser.add_argument(
        "--show", action="store_true", help="Draw what the network saw, and write it as PICTURE-28x28.png."
    )
    parser.add_argument("--json", action="store_true", help="Print one line of JSON instead.")


def classify_pictures(options: argparse.Namespace, implementation: str, network: Network) -> None:
    """Prepares the pictures, finds the weights, asks the network and prints what it says.

    Raises:
        PictureError: A picture cannot be used.
        RecordError: There are no weights, they cannot be read, or are of a network for other images.
    """
    images = np.stack([read_picture(path) for path in options.pictures])
    shown = shown_paths(options.pictures) if options.show else {}
    record = options.weights or newest_training(implementation)
    recipe, weights = chosen_weights(record)
    check_takes_pictures(recipe, record)
    probabilities = network(recipe, weights, images)
    if options.json:
        print(json.dumps([[float(p) for p in row] for row in probabilities]))
        return
    for path, image, row in zip(options.pictures, images, probabilities, strict=True):
        if path in shown:
            print(drawing(image))
            write_image(image, shown[path])
            print(f"written to {shown[path]}")
        print(f"{path}: {row.argmax()}")
        width = len(str(len(row) - 1))
        print("\n".join(f"  {label:>{width}} {bar_line(p)}" for label, p in enumerate(row)))


def check_takes_pictures(recipe: Recipe, record: Path) -> None:
    """Refuses a network whose images have another shape than the one that pictures are brought into.

    Raises:
        RecordError: It is not MNIST's.
    """
    if recipe.images.image_shape != IMAGE_SHAPE:
        wanted, found = ("×".join(map(str, shape)) for shape in (IMAGE_SHAPE, recipe.images.image_shape))
        raise RecordError(f"{record} was trained on images of {found} pixels; a picture is brought into {wanted}")


def bar_line(probability: float, length: int = _BAR_LENGTH) -> str:
    """A probability as a percentage and a bar of up to `length` characters."""
    return f"{probability:7.2%} {'█' * round(length * probability)}".rstrip()


def drawing(image: Images) -> str:
    """An image of shape (28, 28) in characters, two a pixel; the more ink the fuller."""
    shades = np.array(list(_SHADES))[np.rint(image / 255 * (len(_SHADES) - 1)).astype(int)]
    return "\n".join("".join(2 * shade for shade in row) for row in shades)


def shown_paths(pictures: list[Path]) -> dict[Path, Path]:
    """Where `--show` writes what the network saw of each picture: to the current directory.

    Raises:
        PictureError: One would be written over another.
    """
    paths = {picture: Path(f"{picture.stem}-28x28.png") for picture in pictures}
    for picture, path in paths.items():
        first = next(other for other in paths if paths[other] == path)
        if first != picture:
            raise PictureError(f"--show: {first} and {picture} would both be written to {path}; show them one by one")
    return paths


def write_image(image: Images, path: Path) -> None:
    """Writes what the network saw, shape (28, 28).

    Raises:
        PictureError: It cannot be written.
    """
    from PIL import Image

    try:
        Image.fromarray(image).save(path)
    except OSError as error:
        raise PictureError(f"--show: cannot write {path}: {error.strerror}; change to another directory") from error


def chosen_weights(path: Path) -> tuple[Recipe, Weights]:
    """The recipe and the final weights of a training, from its record or a safetensors file in it.

    Raises:
        RecordError: One of the two files is missing, damaged or does not fit the other.
    """
    file = path / "weights.safetensors" if path.is_dir() else path
    if not path.exists():
        raise RecordError(f"--weights: there is no {path}; expected a training's record or its weights.safetensors")
    if file.suffix != ".safetensors":
        raise RecordError(f"--weights: {path} is no safetensors file; expected a record's weights.safetensors")
    return read_weights(file)
