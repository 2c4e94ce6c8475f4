"""From which distribution initial weights were drawn: by their limits, deviation and shape, and by their names."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compare.explanation.observed.observation import Array

_TRUNCATED = 0.87962566103423978
"""The deviation of a normal distribution that is cut at two of its deviations."""


@dataclass(frozen=True)
class Distribution:
    """What an array looks drawn from.

    Args:
        shape: `zeros`, `ones`, `constant`, `uniform`, `normal`, `truncated normal`, `orthogonal` or `other`.
        scale: The limit of a uniform one, the deviation of a normal one, the constant itself, an orthogonal's gain.
        names: The usual names of what has this scale, the likeliest first; empty if none fits.
        size: How many values it was judged by.
    """

    shape: str
    scale: float
    names: tuple[str, ...]
    size: int

    def __str__(self) -> str:
        if self.shape in ("zeros", "ones"):
            return self.shape
        if self.shape == "constant":
            return f"all {self.scale:.4g}"
        if self.shape == "orthogonal":
            return "orthogonal" if abs(self.scale - 1) < 1e-3 else f"orthogonal with gain {self.scale:.3g}"
        called = f"{self.names[0]}, " if self.names else ""
        if self.shape == "uniform":
            return f"{called}uniform in ±{self.scale:.4g}"
        return f"{called}{self.shape} with deviation {self.scale:.4g}"


_TRIED = 256
"""So many rows or columns of a matrix are looked at."""

_FEW = 30
"""Below so many values a normal array and a uniform one are not told apart by their kurtosis."""


def fans(kind: str, kernel: Array) -> tuple[float, float]:
    """Fan in and fan out of a kernel in torch's layout."""
    if kernel.ndim < 2:
        return float(kernel.size), float(kernel.size)
    receptive = math.prod(kernel.shape[2:])
    fan_in, fan_out = kernel.shape[1] * receptive, kernel.shape[0] * receptive
    return (float(fan_out), float(fan_in)) if kind == "transposed convolution" else (float(fan_in), float(fan_out))


def distribution(array: Array, fan_in: float, fan_out: float, units: float = 0) -> Distribution:
    """Says what an array looks drawn from.

    Args:
        array: The values; a matrix may be found orthogonal.
        fan_in: Of its layer.
        fan_out: Of its layer.
        units: Of a recurrent layer, 0 for others.
    """
    x = np.asarray(array, np.float64)
    flat = x.reshape(-1)
    size = flat.size
    if size == 0 or not np.isfinite(flat).all():
        return Distribution("other", 0.0, (), size)
    low, high = float(flat.min()), float(flat.max())
    if low == high:
        name = {0.0: "zeros", 1.0: "ones"}.get(low, "constant")
        return Distribution(name, low, (), size)
    gain = _orthogonal(x)
    if gain is not None:
        return Distribution("orthogonal", gain, (), size)
    spread = float(flat.std())
    limit = float(np.abs(flat).max())
    if size < _FEW and _named("uniform", limit, spread, size, fan_in, fan_out, units).names:
        return _named("uniform", limit, spread, size, fan_in, fan_out, units)
    kurtosis = float(((flat - flat.mean()) ** 4).mean() / spread**4)
    if kurtosis < _between(1.8, 2.37, size) or limit < 2.0 * spread * 0.93:
        return _named("uniform", limit, spread * math.sqrt(3), size, fan_in, fan_out, units)
    shape = "truncated normal" if limit <= 2.0 / _TRUNCATED * spread * 1.06 and size > 100 else "normal"
    return _named(shape, spread, spread, size, fan_in, fan_out, units)


def _between(first: float, second: float, size: int) -> float:
    """Where to divide two kurtoses; few values vary so much that the middle will do."""
    return (first + second) / 2 if size > 30 else first + 0.4 * (second - first)


def _orthogonal(x: Array) -> float | None:
    """The gain of a matrix with orthogonal rows or columns; of stacked square ones, of each."""
    if x.ndim != 2 or min(x.shape) < 2:
        return None
    if min(x.shape) > _TRIED:  # what is orthogonal as a whole is so in its first rows or columns
        x = x[:_TRIED] if x.shape[0] <= x.shape[1] else x[:, :_TRIED]
    rows, columns = x.shape
    square = x @ x.T if rows <= columns else x.T @ x
    for part in (square, *([] if rows % columns or rows == columns else [_blocks(x, columns)])):
        scale = float(np.trace(part)) / len(part)
        if scale > 0 and np.abs(part - scale * np.eye(len(part))).max() < 1e-4 * scale:
            return math.sqrt(scale)
    return None


def _blocks(x: Array, size: int) -> Array:
    """The product of the first square block with itself."""
    block = x[:size]
    return np.asarray(block @ block.T)


def _named(
    shape: str, scale: float, by_deviation: float, size: int, fan_in: float, fan_out: float, units: float
) -> Distribution:
    """Names the scale; a limit that is seen is a little less than the true one, a deviation is off by chance."""
    names = []
    for name, true in _known(shape, fan_in, fan_out, units):
        if shape == "uniform":
            # The largest of n values is below a share c of the limit with the probability cⁿ, here one in a million.
            fits = true * 1e-6 ** (1 / size) <= scale <= true * (1 + 1e-6)
        else:
            fits = abs(by_deviation / true - 1) <= 4 / math.sqrt(2 * size)
        if fits:
            names.append((name, true))
    if size < _FEW:
        names.sort(key=lambda found: found[1])  # of few values, the smallest limit is the likeliest
    if names:
        scale = names[0][1]
    return Distribution(shape, scale, tuple(name for name, _ in names), size)


def _known(shape: str, fan_in: float, fan_out: float, units: float) -> Iterator[tuple[str, float]]:
    """The limits or deviations that have a name."""
    both = (fan_in + fan_out) / 2
    if shape == "uniform":
        yield "Glorot uniform (Xavier)", math.sqrt(3 / both)
        if units:
            yield "torch's default, U(±1/√units)", math.sqrt(1 / units)
        yield "torch's default, U(±1/√fan_in) (Kaiming uniform with a=√5)", math.sqrt(1 / fan_in)
        yield "He uniform (Kaiming)", math.sqrt(6 / fan_in)
        yield "LeCun uniform", math.sqrt(3 / fan_in)
        yield "He uniform (Kaiming, fan out)", math.sqrt(6 / fan_out)
        yield "Keras's RandomUniform", 0.05
        yield "uniform", 0.1
    else:
        yield "Glorot normal (Xavier)", math.sqrt(1 / both)
        yield "He normal (Kaiming)", math.sqrt(2 / fan_in)
        yield "LeCun normal", math.sqrt(1 / fan_in)
        yield "He normal (Kaiming, fan out)", math.sqrt(2 / fan_out)
        yield "standard normal (torch's default of Embedding)", 1.0
        for scale in (0.05, 0.02, 0.01, 0.1):
            yield f"N(0, {scale:g})", scale


def differ(a: Array, b: Array, first: Distribution, second: Distribution) -> float | None:
    """Whether two arrays were drawn from different distributions: the ratio of their deviations if so, else None.

    A two-sample test on the distances of order statistics, at a chance of an error far below 1e-6, for each array
    with the power that its size gives.
    """
    if a.size == 1 and first.shape == second.shape == "constant":
        return None  # one value each, which may be drawn
    exact = {"zeros", "ones", "constant", "orthogonal"}
    if first.shape in exact or second.shape in exact:
        if first.shape == second.shape and abs(first.scale - second.scale) <= 1e-4 * max(abs(first.scale), 1e-12):
            return None
        return _ratio(a, b)
    from scipy import stats

    x, y = np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1)
    if min(x.size, y.size) < 8:
        return _of_few(x, y)
    generator = np.random.default_rng(0)
    x, y = (generator.choice(v, 20_000, replace=False) if v.size > 20_000 else v for v in (x, y))
    same = float(stats.ks_2samp(x, y).pvalue) > 1e-8 and float(stats.ks_2samp(np.abs(x), np.abs(y)).pvalue) > 1e-8
    beyond = _beyond(first, second, x, y) or _goes_beyond(x, y) or _goes_beyond(y, x)
    return None if same and not beyond else _ratio(a, b)


def _of_few(x: Array, y: Array) -> float | None:
    """The ratio of the deviations of a few values where chance does not explain it: Fisher's F test of the variances.

    Two values may lie as close together as chance has it: of so few, hardly any ratio says something.
    """
    from scipy import stats

    if min(x.size, y.size) < 2:
        return None
    ratio = _ratio(x, y)
    larger, (above, below) = (ratio, (y, x)) if ratio > 1 else (1 / max(ratio, 1e-30), (x, y))
    return ratio if larger**2 > float(stats.f.isf(1e-8, above.size - 1, below.size - 1)) else None


def _beyond(first: Distribution, second: Distribution, x: Array, y: Array) -> bool:
    """Whether one uniform array goes beyond the limit of the other, or stays far below it."""
    if first.shape != "uniform" or second.shape != "uniform" or not first.names or not second.names:
        return False
    low, high = sorted([float(np.abs(x).max()), float(np.abs(y).max())])
    size = min(x.size, y.size)
    return low < high * (1 - 25 / size) and not set(first.names) & set(second.names)


def _goes_beyond(x: Array, y: Array) -> bool:
    """Whether so many values of one array are larger than all of the other's as chance does not make.

    Of k largest of both together all are of the second with the probability of drawing k of them in a row: the
    precise test of exceedances. It tells a normal distribution from the uniform one of the same deviation.
    """
    from scipy import special

    larger = int((np.abs(y) > np.abs(x).max()).sum())
    total = x.size + y.size
    log_chance = special.gammaln(y.size + 1) - special.gammaln(y.size - larger + 1)
    log_chance -= special.gammaln(total + 1) - special.gammaln(total - larger + 1)
    return bool(log_chance < math.log(1e-8))


def _ratio(a: Array, b: Array) -> float:
    """The deviation of the second over that of the first."""
    x, y = float(np.std(a)), float(np.std(b))
    if x == 0:
        return math.inf if y > 0 else 1.0
    return y / x
