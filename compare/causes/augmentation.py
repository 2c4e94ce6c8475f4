"""What may have been done to images, told from the ones that the recipe asks for: augmentation by its kind."""

import math

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float64]

_SAME = 1e-6
"""Pixels this close went through the same operation: float32 rounds to a sixteenth of it."""


def of_images(images: Images, expected: Images | None, training: NDArray[np.uint8]) -> str | None:
    """Which kind of change made these images, (batch, pixels), of the expected (batch, rows, columns)."""
    if expected is None or len(images) != len(expected):
        return None
    found = images.reshape(expected.shape)
    whole = _shifted_all(found, expected) or _of_pixels(found, expected, training)
    if whole is not None:
        return whole
    same = np.abs(found - expected).max(axis=(1, 2)) <= _SAME
    some = f" ({int((~same).sum())} of the {len(found)} of the first batch)" if same.any() else ""
    changed = [(a, b) for a, b, is_same in zip(found, expected, same, strict=True) if not is_same]
    kind = _shifted(changed) or _erased(changed) or _by_image(changed) or _mixed(changed, expected) or _noisy(changed)
    kind = kind or _resampled(changed)
    return kind + some if kind else None


def _shifted_all(found: Images, expected: Images) -> str | None:
    return _shifted(list(zip(found, expected, strict=True)))


def _of_pixels(found: Images, expected: Images, training: NDArray[np.uint8]) -> str | None:
    """One function of all pixels, or one for each place."""
    values: dict[float, float] = {}
    for level in np.unique(expected):
        of_level = found[expected == level]
        if np.ptp(of_level) > _SAME * max(1, np.abs(of_level).max()):
            break
        values[float(level)] = float(of_level.mean())
    else:
        return _function(values)
    pixels = training.reshape(len(training), *expected.shape[1:]) / 255
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
    for words, changed in (
        ("the mean image of the training set is subtracted", expected - mean),
        (
            "each pixel is standardised by its own mean and deviation over the training set",
            (expected - mean) / np.where(deviation > 0, deviation, 1),
        ),
    ):
        if np.abs(changed - found).max() <= 1e-4 * max(1, np.abs(found).max()):
            return words
    if all(
        (np.sort(a.ravel()) == np.sort(b.ravel())).all() for a, b in zip(found.round(6), expected.round(6), strict=True)
    ):
        flat_found, flat = found.reshape(len(found), -1), expected.reshape(len(expected), -1)
        for shift in range(1, flat.shape[1]):
            if np.array_equal(np.roll(flat, shift, axis=1).round(6), flat_found.round(6)):
                return f"the pixels of an image are moved on by {shift} places, the last ones becoming the first"
        return "the pixels of an image are at other places: permuted"
    return _filtered(found, expected)


def _function(values: dict[float, float]) -> str | None:
    """The function that grey levels went through, from 0 to 1."""
    levels, results = np.array(list(values)), np.array(list(values.values()))
    inside = (levels > 0) & (levels < 1) & (results > 0)
    if inside.sum() > 3:
        powers = np.log(results[inside]) / np.log(levels[inside])
        if np.ptp(powers) < 1e-3 * np.abs(powers).max() and abs(powers.mean() - 1) > 1e-3:
            return f"pixels are raised to the power {powers.mean():.4g}: gamma"
    for slope in dict.fromkeys(float(f"{r / x:.4g}") for x, r in zip(levels[1:4], results[1:4], strict=False)):
        if slope > 1 and np.abs(np.minimum(slope * levels, results.max()) - results).max() <= _SAME:
            return f"pixels are multiplied by {slope:.4g} and cut off at {results.max():.3g}"
    few = len(set(results.round(6)))
    if few < len(levels) / 2 and few <= 32:
        return f"pixels have only {few} grey levels: quantised"
    return "pixels went through another function of their grey level"


def _filtered(found: Images, expected: Images) -> str | None:
    """One 3×3 or 5×5 filter of all images: blurring, sharpening."""
    for size in (3, 5):
        half = size // 2
        padded = np.pad(expected, ((0, 0), (half, half), (half, half)))
        rows, columns = expected.shape[1:]
        parts = np.stack(
            [padded[:, i : i + rows, j : j + columns].ravel() for i in range(size) for j in range(size)], axis=1
        )
        inner = np.zeros(expected.shape, bool)
        inner[:, half:-half, half:-half] = True
        chosen = inner.ravel()
        kernel, *_ = np.linalg.lstsq(parts[chosen], found.ravel()[chosen], rcond=None)
        if np.abs(parts[chosen] @ kernel - found.ravel()[chosen]).max() <= 1e-4:
            if np.count_nonzero(np.abs(kernel) > 1e-3) == 1:
                return None
            what = "blurred" if (kernel > -1e-4).all() else "sharpened or differentiated"
            return f"images are {what} by a {size}×{size} filter"
    return None


Pairs = list[tuple[Images, Images]]


def _shifted(pairs: Pairs) -> str | None:
    shifts = []
    wrapped = False
    for found, wanted in pairs:
        for reach in range(8):
            shift = _shift(found, wanted, reach)
            if shift is not None:
                break
        else:
            return None
        wrapped |= shift[2]
        shifts.append(shift[:2])
    down, right = (np.array(axis) for axis in zip(*shifts, strict=True))
    edges = ", what leaves on one side coming back on the other" if wrapped else ""
    if not down.any() and not right.any():
        return None
    if len(set(shifts)) == 1:
        return f"images are shifted by {down[0]} rows and {right[0]} columns{edges}"
    reach = max(np.abs(down).max(), np.abs(right).max())
    return f"images are shifted by up to {reach} pixels, each another way, as augmentation has it{edges}"


def _shift(found: Images, wanted: Images, reach: int) -> tuple[int, int, bool] | None:
    """By how many rows and columns an image is shifted, at most `reach` and one of them exactly that."""
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if max(abs(down), abs(right)) != reach:
                continue
            moved = np.roll(wanted, (down, right), (0, 1))
            if np.abs(moved - found).max() <= _SAME:
                cut = moved.copy()
                cut[: max(down, 0)] = cut[len(cut) + min(down, 0) :] = 0
                cut[:, : max(right, 0)] = cut[:, cut.shape[1] + min(right, 0) :] = 0
                return down, right, bool(np.abs(cut - found).max() > _SAME)
            moved[: max(down, 0)] = 0
            moved[len(moved) + min(down, 0) :] = 0
            moved[:, : max(right, 0)] = 0
            moved[:, moved.shape[1] + min(right, 0) :] = 0
            if np.abs(moved - found).max() <= _SAME:
                return down, right, False
    return None


def _erased(pairs: Pairs) -> str | None:
    """Pixels that are gone: in a rectangle, or here and there."""
    values, rectangles, scales = set(), True, []
    for found, wanted in pairs:
        other: NDArray[np.bool_] = np.asarray(np.abs(found - wanted) > _SAME)
        gone = other & (found == found[other][0])
        if not (gone == other).all():
            kept = (found != 0) & (wanted != 0)
            ratio = found[kept] / wanted[kept]
            if not ratio.size or np.ptp(ratio) > 1e-5 * ratio.max() or ((found != 0) & (wanted == 0)).any():
                return None
            scales.append(float(ratio.mean()))
            continue
        values.add(float(found[other][0]))
        rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
        inside = np.zeros(found.shape, bool)
        inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        rectangles &= bool((other[inside] | (wanted[inside] == found[other][0])).all())
    if scales:
        rate = 1 - 1 / scales[0]
        if rate > 1e-3 and np.ptp(scales) < 1e-4:
            return f"dropout of rate {rate:.3g} on the pixels"
        return None
    if len(values) > 1:
        return None
    if (width := _border(pairs)) is not None:
        return f"the border of each image, {width} pixels wide, is set to {values.pop():.3g}"
    if rectangles:
        return f"a rectangle of each image is set to {values.pop():.3g}, as random erasing (cutout) has it"
    value = values.pop()
    share = np.mean([(np.abs(a - b) > _SAME).sum() / np.count_nonzero(b != value) for a, b in pairs])
    return f"single pixels are set to {value:.3g}, {share:.0%} of those that are not so already"


def _border(pairs: Pairs) -> int | None:
    """How wide a border is the same in all images that differ, where nothing else differs."""
    changed: NDArray[np.bool_] = np.any(np.stack([np.abs(a - b) > _SAME for a, b in pairs]), axis=0)
    found = np.stack([a for a, _ in pairs])
    for width in range(1, min(changed.shape) // 2):
        inner = np.zeros(changed.shape, bool)
        inner[width:-width, width:-width] = True
        if not changed[inner].any():
            outer = found[:, ~inner]
            return width if np.ptp(outer) <= _SAME else None
    return None


def _by_image(pairs: Pairs) -> str | None:
    """A linear map for each image: brightness and contrast, or each image's own standardisation."""
    maps, standardised, by_largest = [], True, True
    for found, wanted in pairs:
        slope, offset = np.polyfit(wanted.ravel(), found.ravel(), 1)
        if np.abs(slope * wanted + offset - found).max() > 1e-5 * max(1, np.abs(found).max()):
            clipped = np.clip(slope * wanted + offset, 0, 1)
            if np.abs(clipped - found).max() > 1e-5:
                return None
        maps.append((float(slope), float(offset)))
        standardised &= abs(found.mean()) < 1e-4 and abs(found.std() - 1) < 0.01
        by_largest &= math.isclose(found.max(), 1, abs_tol=1e-5)
    if standardised:
        return "each image is standardised by its own mean and deviation"
    if by_largest and not any(abs(offset) > 1e-5 for _, offset in maps):
        return "each image is divided by its own largest pixel"
    slopes = [slope for slope, _ in maps]
    return (
        f"the brightness or contrast of each image is changed, by factors from {min(slopes):.3g} to {max(slopes):.3g}"
    )


def _mixed(pairs: Pairs, expected: Images) -> str | None:
    """Each image with a share of another of its batch: mixup, or a part of it: CutMix."""
    shares: list[float] = []
    cut: list[float] = []
    for found, wanted in pairs:
        best = None
        for other in expected:
            direction = (other - wanted).ravel()
            norm = float(direction @ direction)
            if not norm:
                continue
            share = float(direction @ (found - wanted).ravel()) / norm
            if np.abs(wanted + share * (other - wanted) - found).max() <= 1e-5:
                best = share
                break
            if (np.minimum(np.abs(found - wanted), np.abs(found - other)) <= _SAME).all():
                best = -1.0
                break
        if best is None:
            return None
        (cut if best == -1.0 else shares).append(best)
    if cut and not shares:
        return "parts of images are those of other images of the batch, as CutMix has it"
    if cut:
        return None
    return f"images are mixed with others of their batch, by shares of {min(shares):.3g} to {max(shares):.3g}: mixup"


def _noisy(pairs: Pairs) -> str | None:
    wanted = np.stack([b for _, b in pairs])
    slope, offset = np.polyfit(wanted.ravel(), np.stack([a for a, _ in pairs]).ravel(), 1)
    difference = np.stack([a - slope * b - offset for a, b in pairs])
    background = np.stack([b for _, b in pairs]) == 0
    if np.ptp(difference[background]) < _SAME or (np.abs(difference[background]) > 1e-9).mean() < 0.3:
        return None
    deviation = float(difference.std())
    # Noise knows nothing of its neighbour: images that are moved do.
    neighbours = np.corrcoef(difference[:, :, 1:].ravel(), difference[:, :, :-1].ravel())[0, 1]
    if abs(neighbours) > 0.1:
        return None
    form = "uniform" if np.abs(difference).max() < 2 * deviation else "normal"
    return f"noise is added to the pixels, {form}, of standard deviation {deviation:.2g}"


def _resampled(pairs: Pairs) -> str | None:
    """Rotated or scaled: no rule to be exact about, since each program interpolates in its own way."""
    from scipy import ndimage

    angles = []
    for found, wanted in pairs[:8]:
        before = float(((found - wanted) ** 2).sum())
        trials = np.arange(-45, 45.5, 1.0)
        errors = [
            float(((ndimage.rotate(wanted, angle, reshape=False, order=1) - found) ** 2).sum()) for angle in trials
        ]
        best = int(np.argmin(errors))
        if errors[best] > 0.1 * before:
            break
        angles.append(trials[best])
    else:
        return f"images are rotated, by about {min(angles):.0f}° to {max(angles):.0f}°, as augmentation has it"
    brighter = [float(a.sum() / b.sum()) for a, b in pairs if b.sum()]
    if all(0.3 < ratio < 3 for ratio in brighter) and all(
        np.corrcoef(ndimage.gaussian_filter(a, 2).ravel(), ndimage.gaussian_filter(b, 2).ravel())[0, 1] > 0.5
        for a, b in pairs
    ):
        return "images are resampled, as scaling, shearing or elastic augmentation does"
    return None
