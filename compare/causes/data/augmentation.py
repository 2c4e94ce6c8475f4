"""What may have been done to images, told from the ones that the recipe asks for: augmentation by its kind."""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from compare.causes.data import normalization

Images = NDArray[np.float64]

_SAME = 1e-6
"""Pixels this close went through the same operation: float32 rounds to a sixteenth of it."""


def of_images(images: Images, expected: Images | None, training: NDArray[np.uint8]) -> str | None:
    """Which kind of change made these images, (batch, pixels), of the expected (batch, rows, columns)."""
    if expected is None or len(images) != len(expected):
        return None
    recorded = images.reshape(expected.shape)
    whole = _shifted_all(recorded, expected) or _of_pixels(recorded, expected, training)
    whole = whole or normalization.of_images(recorded, expected)
    if whole is not None:
        return whole
    if (unwrapped := _unwrapped(recorded, expected)) is not None:
        what = of_images(unwrapped, expected, training)
        wrapped = "pixels wrap around, as integers of 8 bits do: what should be above 255 is dark, below 0 bright"
        return f"{what}, and {wrapped}" if what else wrapped
    same = np.abs(recorded - expected).max(axis=(1, 2)) <= _SAME
    some = f" ({int((~same).sum())} of the {len(recorded)} of the first batch)" if same.any() else ""
    changed = [(a, b) for a, b, is_same in zip(recorded, expected, same, strict=True) if not is_same]
    kind = _shifted(changed) or _erased(changed) or _by_image(changed) or _powers(changed) or _by_level(changed)
    kind = kind or _mixed(changed, expected)
    kind = kind or _impulses(changed) or _multiplied(changed) or _noisy(changed)
    kind = kind or _blurred(changed) or _turned_or_scaled(changed) or _resampled(changed)
    return kind + some if kind else None


def _unwrapped(recorded: Images, expected: Images) -> Images | None:
    """The images as they would be, had their pixels not wrapped around at 256; None if they did not.

    A change by more than half of all levels is then one by less the other way.
    """
    levels = 255 * (recorded - expected)
    if np.abs(levels - levels.round()).max() > _WHOLE:
        return None
    changed = (levels + 128) % 256 - 128
    if np.abs(levels - changed).max() < 1 or np.abs(changed).max() > _SMALL_CHANGE:
        return None
    return np.asarray(expected + changed / 255)


_WHOLE = 0.01
"""Grey levels computed in float32 and multiplied by 255 are whole numbers but for so little."""

_SMALL_CHANGE = 100
"""Of 255: where changes come from all of the range, they are not told from ones that do not wrap."""


def _shifted_all(recorded: Images, expected: Images) -> str | None:
    return _shifted(list(zip(recorded, expected, strict=True)))


def _of_pixels(recorded: Images, expected: Images, training: NDArray[np.uint8]) -> str | None:
    """One function of all pixels, or one for each place."""
    values: dict[float, float] = {}
    for level in np.unique(expected):
        of_level = recorded[expected == level]
        if np.ptp(of_level) > _SAME * max(1, np.abs(of_level).max()):
            break
        values[float(level)] = float(of_level.mean())
    else:
        return _function(values)
    if (words := _by_place(recorded, expected, training)) is not None:
        return words
    if all(
        (np.sort(a.ravel()) == np.sort(b.ravel())).all()
        for a, b in zip(recorded.round(6), expected.round(6), strict=True)
    ):
        flat_recorded, flat = recorded.reshape(len(recorded), -1), expected.reshape(len(expected), -1)
        for shift in range(1, flat.shape[1]):
            if np.array_equal(np.roll(flat, shift, axis=1).round(6), flat_recorded.round(6)):
                return f"the pixels of an image are moved on by {shift} places, the last ones becoming the first"
        return "the pixels of an image are at other places: permuted"
    return _filtered(recorded, expected)


def _by_place(recorded: Images, expected: Images, training: NDArray[np.uint8]) -> str | None:
    """What depends on the place of a pixel in the image: the training set's mean there, and its deviation."""
    near = 1e-4 * max(1, float(np.abs(recorded).max()))
    # The means of all images take long. Where the background is what it was, or not the same in all images, it is
    # neither.
    background = expected == 0
    darkest = np.where(background, recorded, np.inf).min(axis=0)
    brightest = np.where(background, recorded, -np.inf).max(axis=0)
    seen = background.any(axis=0)
    if not (np.abs(darkest[seen]) > near).any() or (brightest - darkest)[seen].max() > 2 * near:
        return None
    pixels = training.reshape(len(training), *expected.shape[1:]) / 255
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
    for words, changed in (
        ("the mean image of the training set is subtracted", expected - mean),
        (
            "each pixel is standardised by its own mean and deviation over the training set",
            (expected - mean) / np.where(deviation > 0, deviation, 1),
        ),
    ):
        if np.abs(changed - recorded).max() <= near:
            return words
    return None


def _function(values: dict[float, float]) -> str | None:
    """The function that grey levels went through, from 0 to 1."""
    levels, results = np.array(list(values)), np.array(list(values.values()))
    inside = (levels > 0) & (levels < 1) & (results > 0)
    if inside.sum() > 3:
        powers = np.log(results[inside]) / np.log(levels[inside])
        if np.ptp(powers) < 1e-3 * np.abs(powers).max() and abs(powers.mean() - 1) > 1e-3:
            return f"pixels are raised to the power {powers.mean():.4g}: gamma"
    if (words := _cut_off_line(levels, results)) is not None:
        return words
    for words, changed in (("inverted: solarised", 1 - levels), ("set to 0", 0 * levels), ("set to 1", 0 * levels + 1)):
        for above in (True, False):
            other = np.abs(results - levels) > _SAME
            threshold = float(levels[other].min() if above else levels[other].max())
            chosen = levels >= threshold if above else levels <= threshold
            if np.abs(np.where(chosen, changed, levels) - results).max() <= _SAME:
                return f"pixels {'from' if above else 'up to'} {threshold:.3g} are {words}"
    if (words := _wrapped(levels, results)) is not None:
        return words
    few = len(set(results.round(6)))
    if few < len(levels) / 2 and few <= 32:
        return f"pixels have only {few} grey levels: quantised"
    return "pixels went through another function of their grey level"


def _wrapped(levels: Images, results: Images) -> str | None:
    """A line with whole numbers, computed in 8 bits: what is above 255 begins again at 0."""
    whole, by = 255 * levels, 255 * results
    if len(levels) < _ENOUGH_LEVELS or np.abs(by - by.round()).max() > _WHOLE:
        return None
    if (by.round() == np.where(whole.round() > 127, whole.round() - 256, whole.round())).all():
        return "pixels are read as signed integers of 8 bits: those above 127 are 256 too small, below 0"
    for slope in (1, 2, 3, 4, -1):
        offset = round(float(by[0] - slope * whole[0])) % 256
        line = (slope * whole + offset).round()
        if (line % 256 == by.round()).all() and (line != by.round()).any():
            steps = [f"multiplied by {slope}"] * (slope != 1)
            steps += [f"increased by {offset}" if offset < 128 else f"decreased by {256 - offset}"] * (offset != 0)
            return f"pixels are {' and '.join(steps)} in integers of 8 bits, which wrap around: 256 is 0"
    return None


def _cut_off_line(levels: Images, results: Images) -> str | None:
    """A line that is cut off on one side or both."""
    low, high = float(results.min()), float(results.max())
    inside = (results > low + _SAME) & (results < high - _SAME)
    if inside.sum() < _ENOUGH_LEVELS:
        return None
    slope, offset = np.polyfit(levels[inside], results[inside], 1)
    if np.abs(np.clip(slope * levels + offset, low, high) - results).max() > _SAME:
        return None
    shift = f"{abs(offset):.4g} is {'added to' if offset > 0 else 'subtracted from'}"
    if abs(slope - 1) > 1e-4:
        what = f"pixels are multiplied by {slope:.4g}" + (f", {shift} them" if abs(offset) > 1e-4 else "")
    elif abs(offset) > 1e-4:
        what = f"{shift} the pixels"
    else:
        what = "pixels are as they should be"
    cut = [f"{limit:.3g}" for limit in (low, high) if (np.abs(results - limit) <= _SAME).sum() > 1]
    return f"{what}, and cut off at {' and '.join(cut)}" if cut else None


_ENOUGH_LEVELS = 8
"""So many grey levels do not lie on one line by chance."""


def _filtered(recorded: Images, expected: Images) -> str | None:
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
        kernel, *_ = np.linalg.lstsq(parts[chosen], recorded.ravel()[chosen], rcond=None)
        if np.abs(parts[chosen] @ kernel - recorded.ravel()[chosen]).max() <= 1e-4:
            if np.count_nonzero(np.abs(kernel) > 1e-3) == 1:
                return None
            what = "blurred" if (kernel > -1e-4).all() else "sharpened or differentiated"
            return f"images are {what} by a {size}×{size} filter"
    return None


Pairs = list[tuple[Images, Images]]


def _shifted(pairs: Pairs) -> str | None:
    shifts = []
    wrapped = False
    for recorded, wanted in pairs:
        for reach in range(8):
            shift = _shift(recorded, wanted, reach)
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


def _shift(recorded: Images, wanted: Images, reach: int) -> tuple[int, int, bool] | None:
    """By how many rows and columns an image is shifted, at most `reach` and one of them exactly that."""
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if max(abs(down), abs(right)) != reach:
                continue
            moved = np.roll(wanted, (down, right), (0, 1))
            if np.abs(moved - recorded).max() <= _SAME:
                cut = moved.copy()
                cut[: max(down, 0)] = cut[len(cut) + min(down, 0) :] = 0
                cut[:, : max(right, 0)] = cut[:, cut.shape[1] + min(right, 0) :] = 0
                return down, right, bool(np.abs(cut - recorded).max() > _SAME)
            moved[: max(down, 0)] = 0
            moved[len(moved) + min(down, 0) :] = 0
            moved[:, : max(right, 0)] = 0
            moved[:, moved.shape[1] + min(right, 0) :] = 0
            if np.abs(moved - recorded).max() <= _SAME:
                return down, right, False
    return None


def _erased(pairs: Pairs) -> str | None:
    """Pixels that are gone: in a rectangle, or here and there."""
    values, rectangles, scales = set(), True, []
    for recorded, wanted in pairs:
        other: NDArray[np.bool_] = np.asarray(np.abs(recorded - wanted) > _SAME)
        gone = other & (recorded == recorded[other][0])
        if not (gone == other).all():
            kept = (recorded != 0) & (wanted != 0)
            ratio = recorded[kept] / wanted[kept]
            if not ratio.size or np.ptp(ratio) > 1e-5 * ratio.max() or ((recorded != 0) & (wanted == 0)).any():
                return None
            scales.append(float(ratio.mean()))
            continue
        values.add(float(recorded[other][0]))
        rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
        inside = np.zeros(recorded.shape, bool)
        inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        rectangles &= bool((other[inside] | (wanted[inside] == recorded[other][0])).all())
    if scales:
        if not any(((a == 0) & (b != 0)).any() for a, b in pairs):
            return None
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
    recorded = np.stack([a for a, _ in pairs])
    for width in range(1, min(changed.shape) // 2):
        inner = np.zeros(changed.shape, bool)
        inner[width:-width, width:-width] = True
        if not changed[inner].any():
            outer = recorded[:, ~inner]
            return width if np.ptp(outer) <= _SAME else None
    return None


def _by_image(pairs: Pairs) -> str | None:
    """A linear map for each image: brightness and contrast."""
    maps = []
    for recorded, wanted in pairs:
        slope, offset = np.polyfit(wanted.ravel(), recorded.ravel(), 1)
        if np.abs(slope * wanted + offset - recorded).max() > 1e-5 * max(1, np.abs(recorded).max()):
            inside = (recorded > recorded.min()) & (recorded < recorded.max())
            if inside.sum() < _ENOUGH_LEVELS or not np.ptp(wanted[inside]):
                return None
            slope, offset = np.polyfit(wanted[inside], recorded[inside], 1)
            clipped = np.clip(slope * wanted + offset, recorded.min(), recorded.max())
            if np.abs(clipped - recorded).max() > 1e-5:
                return None
        maps.append((float(slope), float(offset)))
    slopes = [slope for slope, _ in maps]
    if all(abs(slope - 1) < 1e-4 for slope in slopes):
        offsets = [offset for _, offset in maps]
        return f"a number is added to each image, from {min(offsets):.3g} to {max(offsets):.3g}: its brightness"
    return (
        f"the brightness or contrast of each image is changed, by factors from {min(slopes):.3g} to {max(slopes):.3g}"
    )


def _powers(pairs: Pairs) -> str | None:
    """Gamma by image."""
    powers = []
    for recorded, wanted in pairs:
        inside = (wanted > 0.01) & (wanted < 0.99) & (recorded > 0)
        if inside.sum() < _ENOUGH_LEVELS:
            return None
        power = float(np.median(np.log(recorded[inside]) / np.log(wanted[inside])))
        if np.abs(wanted**power - recorded).max() > 1e-5:
            return None
        powers.append(power)
    return f"each image is raised to a power of its own, from {min(powers):.3g} to {max(powers):.3g}: gamma"


def _by_level(pairs: Pairs) -> str | None:
    """Another function of the grey level for each image, which keeps the order of the levels."""
    for recorded, wanted in pairs:
        order = np.argsort(wanted, axis=None, kind="stable")
        levels, results = wanted.ravel()[order], recorded.ravel()[order]
        begins = np.flatnonzero(np.diff(levels, prepend=-1.0) > 0)
        lowest, highest = np.minimum.reduceat(results, begins), np.maximum.reduceat(results, begins)
        if (
            len(begins) < _ENOUGH_LEVELS
            or (highest - lowest > _SAME).any()
            or (lowest[1:] < highest[:-1] - _SAME).any()
        ):
            return None
    return "the grey levels of each image go through a function of its own, as where its histogram is equalised"


def _mixed(pairs: Pairs, expected: Images) -> str | None:
    """Each image with a share of another of its batch: mixup, or a part of it: CutMix."""
    shares: list[float] = []
    cut: list[float] = []
    for recorded, wanted in pairs:
        best = None
        for other in expected:
            direction = (other - wanted).ravel()
            norm = float(direction @ direction)
            if not norm:
                continue
            share = float(direction @ (recorded - wanted).ravel()) / norm
            if np.abs(wanted + share * (other - wanted) - recorded).max() <= 1e-5:
                best = share
                break
            if (np.minimum(np.abs(recorded - wanted), np.abs(recorded - other)) <= _SAME).all():
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


def _impulses(pairs: Pairs) -> str | None:
    """Salt and pepper: single pixels are black or white."""
    recorded, wanted = _stacked(pairs)
    other = np.abs(recorded - wanted) > _SAME
    values = np.unique(recorded[other].round(6))
    few = 2
    if len(values) != few or other.mean() > 0.5 or _neighbours_alike(other.astype(float)):
        return None
    said = f"{values[0]:.3g} or {values[1]:.3g}"
    return f"single pixels are set to {said}, {other.mean():.0%} of them visibly: salt-and-pepper noise"


def _multiplied(pairs: Pairs) -> str | None:
    """Noise that leaves the background as it is: a factor for each pixel, or counts of a Poisson distribution."""
    recorded, wanted = _stacked(pairs)
    if recorded[wanted == 0].any():
        return None
    # Of darker pixels a grey level is a tenth, and brighter ones may be cut off at 1.
    parts = [(wanted > low) & (wanted < high) for low, high in ((0.1, 0.3), (0.3, 0.6))]
    if any(part.sum() < _ENOUGH_PIXELS for part in parts):
        return None
    difference = np.where(wanted > 0, recorded - wanted, 0)
    ink = wanted > 0
    both = (ink & np.roll(ink, 1, axis=2))[:, :, 1:]
    if abs(np.corrcoef(difference[:, :, 1:][both], difference[:, :, :-1][both])[0, 1]) > 0.1:
        return None
    counts = 255 * recorded[ink]
    if np.abs(counts - counts.round()).max() < 1e-3:
        spread = [float((255 * difference[part] ** 2 / wanted[part]).mean()) for part in parts]
        if all(math.isclose(one, 1, rel_tol=5 * math.sqrt(2 / _ENOUGH_PIXELS)) for one in spread):
            return "each pixel is drawn from a Poisson distribution around its grey level: shot noise"
    factors = [recorded[part] / wanted[part] for part in parts]
    if not math.isclose(factors[0].std(), factors[1].std(), rel_tol=0.2):
        return None
    together = np.concatenate(factors)
    around = f"{_form(together - together.mean())} around {together.mean():.3g}"
    return f"each pixel is multiplied by noise{around}, of standard deviation {together.std():.2g}"


_ENOUGH_PIXELS = 200
"""Whose deviation is known to 5%."""


def _noisy(pairs: Pairs) -> str | None:
    recorded, wanted = _stacked(pairs)
    slope, offset = np.polyfit(wanted.ravel(), recorded.ravel(), 1)
    background = wanted == 0
    cut = background.any() and recorded.min() == 0 and 0.3 < (recorded[background] == 0).mean() < 0.7
    if cut:
        slope, offset = 1.0, 0.0
    difference = recorded - slope * wanted - offset
    if np.ptp(difference[background]) < _SAME or (np.abs(difference[background]) > 1e-9).mean() < 0.3:
        return None
    # Noise knows nothing of its neighbour: images that are moved do.
    # What is cut off differs between ink and background; the background alone is as it was drawn.
    drawn = np.where(background, difference - difference[background].mean(), 0) if cut else difference
    alike = [_alike(drawn, axis) for axis in (1, 2)]
    if max(alike) > 0.1 and not max(alike) > 0.99:  # rows or columns that have the same noise are just that
        return None
    if cut:  # half of the background's noise is below 0
        above = difference[background & (recorded > 0) & (recorded < recorded.max())]
        words, deviation = _form(np.concatenate([above, -above])), float(np.sqrt((above**2).mean()))
    else:
        words, deviation = _form(difference), float(difference.std())
    and_cut = ", and they are cut off at 0" if cut else ""
    mapped = abs(slope - 1) > 0.02 or abs(offset) > 0.02
    before = f"pixels are about {slope:.3g} times as large and moved by {offset:.2g}, and " if mapped else ""
    lines = f", the same all along a {('column', 'row')[int(np.argmax(alike))]}" if max(alike) > 0.1 else ""
    return f"{before}noise is added to the pixels{words}, of standard deviation {deviation:.2g}{lines}{and_cut}"


def _stacked(pairs: Pairs) -> tuple[Images, Images]:
    return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])


def _neighbours_alike(difference: Images) -> bool:
    return _alike(difference, 2) > 0.1


def _alike(difference: Images, axis: int) -> float:
    """How far neighbours along an axis correlate."""
    moved = np.moveaxis(difference, axis, 1)
    return abs(float(np.corrcoef(moved[:, 1:].ravel(), moved[:, :-1].ravel())[0, 1]))


def _form(noise: Images) -> str:
    """Of noise around 0, if it has one of two forms: the excess kurtosis of a uniform distribution is −1.2."""
    from scipy.stats import kurtosis

    excess, tolerance = float(kurtosis(noise, axis=None)), 5 * math.sqrt(24 / noise.size)
    if abs(excess) < max(tolerance, 0.1):
        return ", normal"
    return ", uniform" if abs(excess + 1.2) < max(tolerance, 0.1) else ""


_WIDEST = 6
"""Pixels to each side that a filter reaches: four standard deviations of 1.5 pixels."""


def _blurred(pairs: Pairs) -> str | None:
    """A filter for each image, which is the same to the left and right, and above and below."""
    inner = (slice(_WIDEST, -_WIDEST),) * 2
    reaches = list(product(range(_WIDEST + 1), repeat=2))
    if min(pairs[0][0].shape) <= 3 * _WIDEST:
        return None
    kernels = []
    for recorded, wanted in pairs:
        parts = np.stack([_mirrored_sum(wanted, down, right)[inner].ravel() for down, right in reaches], axis=1)
        kernel, *_ = np.linalg.lstsq(parts, recorded[inner].ravel(), rcond=None)
        if np.abs(parts @ kernel - recorded[inner].ravel()).max() > 1e-4:
            return None
        kernels.append(kernel)
    centres = [kernel[0] for kernel in kernels]
    if max(centres) - min(centres) < 1e-3:
        return "images are blurred" if centres[0] < 1 else "images are sharpened"
    return "each image is blurred or sharpened by a filter of its own, as augmentation has it"


def _mirrored_sum(image: Images, down: int, right: int) -> Images:
    """The pixels so far away in each direction, added up."""
    ways = {(a * down, b * right) for a in (1, -1) for b in (1, -1)}
    return np.asarray(np.sum([np.roll(image, way, (0, 1)) for way in ways], axis=0))


def _turned_or_scaled(pairs: Pairs) -> str | None:
    """Rotated or scaled: no rule to be exact about, since each program interpolates in its own way."""
    from scipy import ndimage

    rows, columns = pairs[0][0].shape
    centre = np.array([(rows - 1) / 2, (columns - 1) / 2])

    def turned(image: Images, angle: float) -> Images:
        return np.asarray(ndimage.rotate(image, angle, reshape=False, order=1))

    def scaled(image: Images, scale: float) -> Images:
        return np.asarray(ndimage.affine_transform(image, np.eye(2) / scale, offset=centre - centre / scale, order=1))

    for change, trials, words in (
        (turned, np.arange(-45, 45.5, 1.0), "images are rotated, by about {:.0f}° to {:.0f}°, as augmentation has it"),
        (scaled, np.arange(0.6, 1.61, 0.02), "images are scaled about their centre, by about {:.2f} to {:.2f}"),
    ):
        best = []
        for recorded, wanted in pairs[:8]:
            before = float(((recorded - wanted) ** 2).sum())
            errors = [float(((change(wanted, trial) - recorded) ** 2).sum()) for trial in trials]
            if min(errors) > 0.1 * before:
                break
            best.append(float(trials[int(np.argmin(errors))]))
        else:
            return words.format(min(best), max(best))
    return None


def _resampled(pairs: Pairs) -> str | None:
    """Moved in some other way: ink is where there was none, next to where it was, and about as much."""
    from scipy import ndimage

    recorded, wanted = _stacked(pairs)
    gained = [bool((np.abs(a)[b == 0] > _SAME).any()) for a, b in pairs]
    if not all(gained) or not _neighbours_alike(recorded - wanted):
        return None
    brighter = [float(a.sum() / b.sum()) for a, b in pairs if b.sum()]
    if all(0.3 < ratio < 3 for ratio in brighter) and all(
        np.corrcoef(ndimage.gaussian_filter(a, 2).ravel(), ndimage.gaussian_filter(b, 2).ravel())[0, 1] > 0.5
        for a, b in pairs
    ):
        return "images are resampled or filtered, as scaling, shearing, elastic augmentation or blurring does"
    return None
