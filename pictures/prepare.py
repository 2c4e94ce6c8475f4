"""A picture file as people have it -> an image as MNIST's are.

MNIST's digits were made so (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to
document recognition", 1998, section III.A; http://yann.lecun.com/exdb/mnist): scaled to fit a box of
20×20 pixels, keeping the aspect ratio, with grey levels from anti-aliasing; then moved by whole
pixels so that the centre of mass is the centre of 28×28. `read_picture` finds the ink and does this.

It expects one digit on a plain ground that reaches the picture's border.
"""

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recipe.errors import PictureError
from recipe.mnist import IMAGE_SHAPE

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Pillow's names of the formats that are read; what few people use is not worth the risk of its decoder."""

BOX = 20
"""The longer side of every MNIST digit, in pixels."""

CENTRE = 14
"""Row and column, from 0, that the centre of mass lies nearest to in every training image of MNIST."""

WORKING_SIZE = 280
"""Pixels that a picture's longer side is reduced to at first; the digit may then be a tenth of it and lose nothing."""

MIN_CONTRAST = 16.0
"""What ink must differ from the paper by, in grey levels of 255, after the paper's noise is taken off.

A pencil on paper has 40 and more, the noise of a blank photograph a few.
"""

FAINTEST_INK = 0.1
"""Darkness, of that of full ink, at which a stroke's blurred edge ends."""

SPECK = 1 / 20
"""A patch with less ink than this part of the largest one is dirt; the bar of a broken 5 has about 1/6."""

CONCENTRATION_STEPS = 10
"""Fits of the paper's colour; photographs lit from one side settle within five."""

NOISE = 4.0
"""What counts as paper, in medians of its pixels' distance from its colour: 2.7 σ of grey Gaussian noise."""

FULL_INK = 75
"""The percentile of the inked pixels' darkness that is full ink: most of a stroke is, as in MNIST."""

DARK = 64.0
"""Brightness, of 255, below which a ground is no paper in the shade but a black one."""

SHEET = 0.9
"""A transparent picture whose opaque part fills its bounding box to this part is a sheet that is drawn on."""

Floats = NDArray[np.floating]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Reads the picture of a digit as an MNIST image, shape (28, 28), 0 the background and 255 full ink.

    Raises:
        PictureError: The file is not there, is not a single picture in one of `FORMATS`, is
            damaged, has more than Pillow's `MAX_IMAGE_PIXELS`, or shows nothing.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if not path.exists():
            raise PictureError(f"{path}: there is no such file")
        if not path.is_file():
            raise PictureError(f"{path}: is not a file; expected a picture of one digit")
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from error
    known = ", ".join(FORMATS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow warns beyond its limit, from the header alone; that is already more than any picture needs.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                # MPO is what many phones write as .jpg: a JPEG with further pictures after the first.
                num_pictures = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
                if num_pictures == 1:
                    picture.draft("RGB", (2 * WORKING_SIZE, 2 * WORKING_SIZE))
                    colours = _colours(ImageOps.exif_transpose(picture))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise PictureError(f"{path}: has more than {limit} pixels; make the picture smaller") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: is not a picture that can be read; expected one of {known}") from None
    # What Pillow's decoders raise on damaged files, found by damaging some.
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, struct.error) as error:
        raise PictureError(f"{path}: is damaged or cannot be read: {error}") from error
    if num_pictures > 1:
        raise PictureError(
            f"{path}: holds {num_pictures} pictures; expected one: save one of them as a file of its own"
        )
    try:
        return prepare(colours)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None


def _colours(picture: "Image") -> Floats:
    """The picture's colours, shape (height, width, channels), 0 to 255, reduced to `WORKING_SIZE`; alpha is gone."""
    from PIL import Image

    size = (WORKING_SIZE, WORKING_SIZE)
    if picture.mode.startswith(("I", "F")):  # 16 and 32 bits, of which a scanner may use 12
        levels = np.asarray(picture, np.float32)
        if not np.isfinite(levels).all():
            raise PictureError("a pixel is no finite number")
        levels = levels - min(levels.min(), 0)
        grey = Image.fromarray(levels * np.float32(255 / max(levels.max(), 1e-30)))
        grey.thumbnail(size, Image.Resampling.BOX)
        return np.asarray(grey, np.float64)[..., None]
    picture = picture.convert("RGBA")
    picture.thumbnail(size, Image.Resampling.BOX)
    colours, alpha = np.split(np.asarray(picture, np.float64), [3], axis=2)
    opaque = alpha[..., 0] >= 128  # noqa: PLR2004 - the middle of 0 to 255
    if opaque.all():
        return colours
    if not opaque.any():
        return alpha
    paper = np.median(colours[opaque], axis=0)
    rows, columns = _bounding_box(opaque)
    drawn_on = (_distance(colours[opaque], paper) >= MIN_CONTRAST).any()
    if drawn_on and opaque[rows, columns].mean() > SHEET:
        return paper + (colours - paper) * alpha / 255
    return alpha


def prepare(colours: Floats) -> NDArray[np.uint8]:
    """Colours, shape (height, width, channels), each 0 to 255, as an MNIST image, shape (28, 28).

    Raises:
        PictureError: Nothing differs enough from the paper.
    """
    from PIL import Image

    ink = _without_specks(_ink(colours))
    rows, columns = _bounding_box(ink > FAINTEST_INK)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = BOX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    crop = Image.fromarray(ink[rows, columns].astype(np.float32))
    digit = np.asarray(crop.resize(size, Image.Resampling.BICUBIC), np.float64)
    digit = np.clip(digit / digit.max(), 0, 1)  # a thin pen leaves grey lines, of which MNIST has none

    offsets = []
    for axis, length in enumerate(digit.shape):
        centre_of_mass = digit.sum(axis=1 - axis) @ np.arange(length) / digit.sum()
        offsets.append(min(max(round(CENTRE - centre_of_mass), 0), IMAGE_SHAPE[axis] - length))
    image = np.zeros(IMAGE_SHAPE, np.uint8)
    top, left = offsets
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = np.rint(255 * digit)
    return image


def _ink(colours: Floats) -> Floats:
    """How much ink is on each pixel, shape (height, width), from 0, the paper, to 1.

    Ink is what differs from the paper's colour, whichever of the two is the darker. The paper's colour
    may change over the picture, as light does: a quadratic surface, fitted by least trimmed squares
    to the half of the pixels that lie closest to it (Rousseeuw and Van Driessen, 2006, whose
    concentration steps these are), which starts from the colour of the border.
    """
    height, width = colours.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    distance = _distance(colours, np.median(border, axis=0))
    for _ in range(CONCENTRATION_STEPS):
        ground = (distance <= np.median(distance))[..., None]
        normal = np.tensordot(terms * ground, terms, axes=((0, 1), (0, 1)))
        moments = np.tensordot(terms * ground, colours, axes=((0, 1), (0, 1)))
        paper = terms @ np.linalg.lstsq(normal, moments, rcond=None)[0]
        distance = _distance(colours, paper)

    # Light multiplies: in the shade, ink differs from the paper by as much less as the paper is darker.
    light = np.maximum(paper.mean(axis=-1), DARK)
    distance *= light.max() / light

    blank = PictureError("shows nothing: no digit stands out from its ground")
    if distance.max() < MIN_CONTRAST:
        raise blank
    inked = distance > _otsu_threshold(distance)
    noise = NOISE * np.median(distance[~inked])
    full = np.percentile(distance[inked], FULL_INK)
    if full - noise < MIN_CONTRAST:
        raise blank
    return np.clip((distance - noise) / (full - noise), 0, 1)


def _distance(colours: Floats, others: Floats) -> Floats:
    """The root mean square over the channels, the last axis: 255 between black and white."""
    return np.sqrt(np.square(colours - others).mean(axis=-1))


def _otsu_threshold(values: Floats) -> float:
    """The threshold that splits the values into two classes of the largest variance between them (Otsu, 1979)."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):  # an empty class
        difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    between = np.nan_to_num(below * above * difference**2)
    return float(edges[1 + between.argmax()])


def _without_specks(ink: Floats) -> Floats:
    """The ink without the patches that have too little of it, or none that is dark."""
    patches = _patches(ink > FAINTEST_INK)
    amounts = np.bincount(patches.ravel(), ink.ravel())
    amounts[0] = 0
    return np.where(amounts[patches] >= SPECK * amounts.max(), ink, 0)


def _patches(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The number of the patch each pixel belongs to, the first pixel's, counted from 1; 0 where there is none.

    Pixels belong together where they touch, corners included.
    """
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
        highest = np.where(mask, np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]), 0)
        # A label is the place of another pixel of the patch, whose label has been further already.
        highest = np.append(0, highest.ravel())[highest]
        if np.array_equal(highest, labels):
            return labels
        labels = highest


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and the columns that hold any."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
