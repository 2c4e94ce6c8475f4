"""Numbers and shares as people read them."""

import math

_TIMES = 10.0
"""From so much of something on, how many times it is says more than a percentage."""

_TINY = 1e-4
"""What is less of something than this says more as a power of ten than as a percentage."""


def counted(count: int, thing: str) -> str:
    """So many of a thing: 1 layer, 2 layers."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def share(part: float, whole: str) -> str:
    """A share of something in two digits: 4.3% of itself, 120% of the largest value, 255 times the largest value."""
    if part >= _TIMES:
        return f"{part:.3g} times {whole}"
    if part < _TINY:
        return f"{part:.2g} of {whole}"
    percent = 100 * part
    return f"{percent:.0f}% of {whole}" if percent >= 10 else f"{percent:.2g}% of {whole}"


def off_by(deviation: float, whole: str) -> str:
    """How far something is off, relative to what is named."""
    return f"off by {share(deviation, whole)}" if math.isfinite(deviation) else "finite on one side only"


def as_written(value: float) -> float:
    """A number as it was most likely written: with four digits, if that is within a rounding to float32."""
    short = float(f"{value:.4g}")
    return short if abs(short - value) <= 1e-7 * abs(value) else value


def number(value: float) -> str:
    """A number for a line of code: as it was most likely written, else in the nine digits that tell float32's apart."""
    return f"{as_written(value):.9g}"
