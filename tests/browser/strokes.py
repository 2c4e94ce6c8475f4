"""What compare/report/templates/draw.js makes of strokes, written a second time in NumPy."""

import numpy as np
from numpy.typing import NDArray

SIZE, BOX, RADIUS = 28, 20, 0.9

Line = list[list[float]]


def _rasterize(lines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    nearest = np.full((SIZE, SIZE), np.inf)
    for line in lines:
        for (ax, ay), (bx, by) in zip(line[[0, *range(len(line) - 1)]], line, strict=True):
            dx, dy, px, py = bx - ax, by - ay, column - ax, row - ay
            length = dx * dx + dy * dy
            along = np.clip((px * dx + py * dy) / length, 0, 1) if length else 0
            nearest = np.minimum(nearest, np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2))
    return np.clip(RADIUS + 0.5 - nearest, 0, 1)


def prepare(strokes: list[Line]) -> NDArray[np.float64]:
    """Ink from 0 to 1, shape (28, 28)."""
    lines = [np.array(stroke) for stroke in strokes]
    points = np.concatenate(lines)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = (high - low).max()
    scale = (BOX - 2 * RADIUS) / extent if extent else 0
    lines = [(line - (low + high) / 2) * scale + SIZE / 2 for line in lines]
    ink = _rasterize(lines)
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    shift = [SIZE / 2 - (ink * axis).sum() / ink.sum() for axis in (column, row)]
    # As JavaScript rounds: halves up.
    return _rasterize([line + np.floor(np.array(shift) + 0.5) for line in lines])
