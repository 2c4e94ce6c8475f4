"""Causes of initial weights that differ: another layout, another initialiser, tied to each other."""

import math
from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from compare.causes.network.convolution import FLATTENED, OTHER_KERNELS
from compare.causes.signatures import UNKNOWN, knows_nothing, ratio, rounded, see
from compare.oracle.convolution import is_convolution
from recipe import Recipe
from recipe.initial_weights import initial_weights
from record.first_steps import Trace

Names = tuple[str, str]


def of_initial_weights(first: Trace, second: Trace, names: Names, parameter: str) -> str:
    """Why `parameter`, the first that differs, is not the same on both sides."""
    if first.recipe.initial_weights == "framework":
        return (
            "each framework draws its own (recipe.initial_weights is framework): Keras's kernels are Glorot "
            "uniform, U(±√(6/(in + out))), with zero biases, torch's kernels and biases are U(±1/√in)"
        )
    expected = initial_weights(first.recipe)[parameter]
    for name, trace in zip(names, (first, second), strict=True):
        recorded = trace.initial_weights[parameter]
        if (recorded != expected).any():
            exact, wanted = recorded.astype(np.float64), expected.astype(np.float64)
            fault = _layout_fault(first.recipe, parameter, exact, wanted)
            return f"{name}: {fault or _weights_fault(trace, parameter, exact, expected)}"
    return UNKNOWN


def _layout_fault(
    recipe: Recipe, parameter: str, recorded: NDArray[np.float64], expected: NDArray[np.float64]
) -> str | None:
    """How a kernel near convolutions was laid out otherwise."""
    if is_convolution(expected):
        for cause, change in OTHER_KERNELS.items():
            changed = change(expected)
            if changed.shape == expected.shape and (recorded == changed).all():
                return f"{parameter}: {cause}"
    elif recipe.network == "cnn" and parameter == f"{recipe.layer_names[len(recipe.filters)]}.kernel":
        maps = expected.reshape(*recipe.feature_map_shapes[-1], recipe.filters[-1], -1)
        torchs = np.moveaxis(maps, 2, 0)
        back = np.moveaxis(expected.reshape(torchs.shape), 0, 2)
        if any((recorded == changed.reshape(expected.shape)).all() for changed in (torchs, back)):
            return f"{parameter}: {FLATTENED}"
    return None


def _weights_fault(trace: Trace, parameter: str, recorded: NDArray[np.float64], expected: NDArray[np.floating]) -> str:
    wanted = expected.astype(np.float64)
    if not np.isfinite(recorded).all():
        return f"{parameter} holds what is no number, or infinite"
    if not expected.any():
        return _bias_fault(trace, parameter, recorded)
    if np.ptp(recorded) == 0:
        return _distribution_fault(parameter, recorded)
    for words, moved in _moved(wanted):
        if (recorded == moved).all():
            return f"{parameter} {words}"
    if np.abs(recorded - wanted).max() <= np.finfo(expected.dtype).eps * np.abs(wanted).max():
        return f"{parameter} is off by rounding: one unit in the last place"
    if (dtype := _rounded_to(recorded, expected)) is not None:
        return f"{parameter} is rounded to {dtype}"
    if (other := _of_another_parameter(trace, parameter, recorded)) is not None:
        return other
    if (limits := _other_limits(recorded, wanted)) is not None:
        return f"{parameter} has other limits: {limits}"
    others = [array for name, array in trace.initial_weights.items() if name != parameter and name.endswith(".kernel")]
    return _near(parameter, recorded, wanted) or _distribution_fault(parameter, recorded, others)


def _rounded_to(recorded: NDArray[np.float64], expected: NDArray[np.floating]) -> str | None:
    dtypes = [dtype for dtype in ("float32", "float16", "bfloat16") if dtype != str(expected.dtype)]
    wanted = expected.astype(np.float64)
    return next((dtype for dtype in dtypes if (recorded == rounded(wanted, dtype)).all()), None)


def _other_limits(recorded: NDArray[np.float64], wanted: NDArray[np.float64]) -> str | None:
    """Of which initialiser a multiple of the recipe's numbers has the limits."""
    factor = ratio(recorded, wanted)
    if not factor or not np.allclose(recorded, factor * wanted, rtol=1e-4, atol=0):
        return None
    inputs, units = _fans(recorded.shape)
    glorot = math.sqrt(6 / (inputs + units))
    named = [n for n, limit in _limits(inputs, units).items() if math.isclose(factor * glorot, limit, rel_tol=1e-4)]
    return f"those of {named[0]}" if named else f"{factor:.5g} times those of the recipe"


def _moved(wanted: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The recipe's numbers, at other places."""
    if wanted.ndim == 2 and wanted.shape[0] == wanted.shape[1]:
        yield f"is transposed: it is square, so the shapes still fit{see('dense-kernel-layout')}", wanted.T
    for reshaped in _reshaped(wanted):
        yield "is reshaped where it should be transposed", reshaped
    yield "has its units in reverse order", wanted[..., ::-1]
    yield "has its inputs in reverse order", wanted[::-1]
    yield "has its inputs and units in reverse order", wanted[::-1, ..., ::-1]
    if wanted.ndim == 2 and math.isqrt(len(wanted)) ** 2 == len(wanted):
        side = math.isqrt(len(wanted))
        turned = wanted.reshape(side, side, -1).swapaxes(0, 1).reshape(wanted.shape)
        yield "is that of transposed images: its inputs go column by column", turned


def _bias_fault(trace: Trace, parameter: str, recorded: NDArray[np.float64]) -> str:
    words = f"{parameter} does not start at zero"
    if np.ptp(recorded) == 0:
        return f"{words}: all of it is {recorded.flat[0]:.4g}"
    kernel = trace.initial_weights[f"{parameter.removesuffix('.bias')}.kernel"]
    limit, largest = 1 / math.sqrt(_fans(kernel.shape)[0]), float(np.abs(recorded).max())
    torchs = 0.8 * limit < largest <= limit * (1 + 1e-6)
    said = f", as torch's default U(±1/√in) has them{see('dense-initial-bias')}" if torchs else ""
    return f"{words}: it holds other numbers, up to {largest:.4g}{said}"


def _of_another_parameter(trace: Trace, parameter: str, recorded: NDArray[np.float64]) -> str | None:
    """Whether a parameter is another one, or shares its numbers."""
    for other, array in trace.initial_weights.items():
        if other == parameter or not array.any():
            continue
        if array.shape == recorded.shape and (array == recorded).all():
            same = all((s.parameters[other] == s.parameters[parameter]).all() for s in trace.steps)
            tied = (
                "the two are tied: they stay the same in every step"
                if same
                else (f"both are drawn alike, by one seed or one initialiser{see('initialiser-object-shared')}")
            )
            return f"{parameter} holds the numbers of {other}: {tied}"
        if array.ndim == 2 and array.T.shape == recorded.shape and (recorded == array.T).all():
            return f"{parameter} is {other} transposed: the two are tied"
        first, second = (numbers.ravel()[:50].astype(np.float64) for numbers in (array, recorded))
        if len(first) != len(second) or len(first) < 20:
            continue
        factor = ratio(second, first)
        if np.allclose(second, factor * first, rtol=1e-4):
            shared = see("initialiser-object-shared")
            alike = (
                f"{parameter} repeats the numbers of {other}, {factor:.4g} times: both are drawn by one seed{shared}"
            )
            return f"{alike}; {_distribution_fault(parameter, recorded)}" if np.ptp(recorded) else None
    for other, array in initial_weights(trace.recipe).items():
        if other != parameter and array.shape == recorded.shape and (array == recorded).all() and array.any():
            return f"{parameter} holds what the recipe has for {other}: the two are exchanged"
    return None


def _near(parameter: str, recorded: NDArray[np.float64], wanted: NDArray[np.float64]) -> str | None:
    """The recipe's numbers with something added or cut off."""
    difference = recorded - wanted
    if np.ptp(difference) <= 1e-5 * np.abs(difference).max():
        return f"{difference.mean():.4g} is added to {parameter}"
    limit = np.abs(recorded).max()
    if np.allclose(recorded, np.clip(wanted, -limit, limit), rtol=1e-6):
        return f"{parameter} is clipped to ±{limit:.4g}"
    zero = (recorded == 0) & (wanted != 0)
    if zero.any() and np.allclose(recorded[~zero], wanted[~zero], rtol=1e-6):
        return f"{zero.mean():.0%} of {parameter} is set to zero"
    changed = (np.abs(difference) > 1e-6 * np.abs(wanted)).mean()
    if 0 < changed < 0.5:
        return f"{changed:.1%} of {parameter} holds other numbers, the rest is right"
    if (np.abs(recorded) == np.abs(wanted)).all():
        one_sign = recorded.min() >= 0 or recorded.max() <= 0
        return f"{parameter} has {'the same sign everywhere, the magnitudes are right' if one_sign else 'other signs'}"
    if (changed_units := _copies(recorded) or _unit_by_unit(recorded, wanted)) is not None:
        return f"{parameter} {changed_units}"
    if difference.std() < 0.5 * wanted.std():
        return _nearby(parameter, difference, wanted)
    columns = ((recorded**2).sum(axis=0), (wanted**2).sum(axis=0))
    if recorded.ndim == 2 and all((np.sort(a) == np.sort(b)).all() for a, b in zip(recorded.T, wanted.T, strict=True)):
        return f"the inputs of {parameter} are in another order"
    if np.allclose(np.sort(columns[0].ravel()), np.sort(columns[1].ravel()), rtol=1e-6):
        return f"the units of {parameter} are in another order"
    return None


def _copies(recorded: NDArray[np.float64]) -> str | None:
    """Units that hold the same numbers as others, as where a network was widened."""
    if recorded.ndim < 2:
        return None
    units = recorded.reshape(-1, recorded.shape[-1])
    different = len(np.unique(units, axis=1).T)
    if not np.ptp(recorded) or different == units.shape[1]:
        return None
    return f"has {units.shape[1] - different} of {units.shape[1]} units that hold another one's numbers: copies"


def _nearby(parameter: str, difference: NDArray[np.float64], wanted: NDArray[np.float64]) -> str:
    """What may lie between numbers that are near each other."""
    if knows_nothing(difference, wanted):
        return f"noise of standard deviation {difference.std():.3g} is added to {parameter}"
    away = f"{difference.std() / wanted.std():.2g} of their deviation away"
    return f"{parameter} is near the recipe's numbers, {away}, by no noise: they were changed, or trained already"


def _unit_by_unit(recorded: NDArray[np.float64], wanted: NDArray[np.float64]) -> str | None:
    """Whether the weights into each unit are multiplied by a number, or have one added; or those out of each input."""
    if wanted.ndim == 1:
        return None
    places = tuple(range(wanted.ndim - 1))
    for axes, words in ((places, "into each unit"), (wanted.ndim - 1, "out of each input")):
        with np.errstate(all="ignore"):
            factors = (recorded * wanted).sum(axis=axes, keepdims=True) / (wanted**2).sum(axis=axes, keepdims=True)
        shift = (recorded - wanted).mean(axis=axes, keepdims=True)
        if np.allclose(recorded, factors * wanted, rtol=1e-5, atol=0):
            norms = np.linalg.norm(recorded.reshape(-1, recorded.shape[-1]), axis=0)
            length = f", to a length of {norms[0]:.4g}" if axes == places and np.ptp(norms) < 1e-5 * norms[0] else ""
            return f"has the weights {words} multiplied by a number of their own{length}"
        if np.allclose(recorded, wanted + shift, rtol=1e-5, atol=1e-7):
            centred = np.abs(recorded.mean(axis=axes)).max() < 1e-6
            return f"has a number of its own added to the weights {words}" + (
                ": their mean is taken off" if centred else ""
            )
    return None


def _reshaped(kernel: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """A kernel reshaped on its way into torch's layout, and on its way out."""
    return kernel.reshape(kernel.T.shape).T, kernel.T.reshape(kernel.shape)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs and units a kernel's initialiser counts: of a convolution at every place of the kernel."""
    places = prod(shape[:-2])
    return places * shape[-2], places * shape[-1]


_BY_UNITS = " by the number of units in place of inputs (fan_out)"


def _limits(inputs: int, units: int) -> dict[str, float]:
    """The limits of uniform initialisers."""
    return {
        "Glorot uniform": math.sqrt(6 / (inputs + units)),
        "torch's default U(±1/√in)": 1 / math.sqrt(inputs),
        "He uniform": math.sqrt(6 / inputs),
        "LeCun uniform": math.sqrt(3 / inputs),
        "Keras's RandomUniform": 0.05,
        f"He uniform{_BY_UNITS}": math.sqrt(6 / units),
        f"LeCun uniform{_BY_UNITS}": math.sqrt(3 / units),
        "Glorot uniform times √2, torch's gain of ReLU": math.sqrt(12 / (inputs + units)),
        "Glorot uniform times 5/3, torch's gain of tanh": 5 / 3 * math.sqrt(6 / (inputs + units)),
    }


def _deviations(inputs: int, units: int) -> dict[str, float]:
    """The standard deviations of normal initialisers."""
    return {
        "Glorot normal": math.sqrt(2 / (inputs + units)),
        "He normal": math.sqrt(2 / inputs),
        "LeCun normal": math.sqrt(1 / inputs),
        "Keras's RandomNormal": 0.05,
        f"He normal{_BY_UNITS}": math.sqrt(2 / units),
        f"LeCun normal{_BY_UNITS}": math.sqrt(1 / units),
        "a standard normal": 1.0,
        "Glorot normal times √2, torch's gain of ReLU": math.sqrt(4 / (inputs + units)),
    }


_TRUNCATED = 0.87962566103423978
"""The standard deviation of a standard normal cut off at two, by which Keras and TensorFlow make up for it."""

_GLOROT = "Glorot uniform"


Kernels = Sequence[NDArray[np.floating]]


def _distribution_fault(parameter: str, recorded: NDArray[np.float64], others: Kernels = ()) -> str:
    """Which initialiser other numbers come from: the form of their distribution and its spread.

    Where several have that spread, the `others` of the network tell.
    """
    other = f"{parameter} holds other numbers"
    if not recorded.any():
        return f"{parameter} is all zeros"
    if np.ptp(recorded) == 0:
        return f"{parameter} is a constant, {recorded.flat[0]:.4g}"
    if (zeros := float((recorded == 0).mean())) > _MANY_ZEROS and np.count_nonzero(recorded) > _ENOUGH_TO_TELL:
        rest = _distribution_fault("the rest", recorded[recorded != 0].reshape(-1, 1))
        return f"{zeros:.0%} of {parameter} is zero: {rest}"
    if (words := _orthogonal(recorded.reshape(-1, recorded.shape[-1]))) is not None:
        return f"{other}{words}"
    # A uniform distribution reaches √3 standard deviations, a normal cut off at two of its own 2.27, a whole one more.
    uniform = np.ptp(recorded) < 4 * recorded.std()
    return f"{other}{_uniform(recorded, others) if uniform else _normal(recorded, others)}"


def _of_all(named: list[str], others: Kernels, has: Callable[[str, NDArray[np.floating]], bool]) -> list[str]:
    """Of several initialisers those that the other kernels may come from too, if there are."""
    return [name for name in named if all(has(name, array) for array in others)] or named


_MANY_ZEROS = 0.2
_ENOUGH_TO_TELL = 50


def _orthogonal(matrix: NDArray[np.float64]) -> str | None:
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    scale = gram.trace() / len(gram)
    if len(gram) < 2 or np.abs(gram / scale - np.eye(len(gram))).max() > 1e-4:
        return None
    gain = f", times {math.sqrt(scale):.4g}" if not math.isclose(scale, 1, rel_tol=1e-3) else ""
    if (np.count_nonzero(matrix, axis=0) <= 1).all():
        return f": the identity{gain}"
    return f", from an orthogonal initialiser{gain}"


def _uniform(recorded: NDArray[np.float64], others: Kernels) -> str:
    largest = float(np.abs(recorded).max())
    # The largest of n uniform numbers falls short of its limit by about 1/n; 1% is ample for n > 1000.
    short = max(0.01, 10 / recorded.size)
    if recorded.min() > -0.01 * largest:
        return f", uniform from 0 to {largest:.4g}: none is negative"
    if abs(recorded.max() + recorded.min()) > 2 * short * np.ptp(recorded):
        return f", uniform from {recorded.min():.4g} to {recorded.max():.4g}"
    limits = _limits(*_fans(recorded.shape)).items()
    named = [name for name, limit in limits if (1 - short) * limit < largest <= limit * (1 + 1e-6)]
    named = _of_all(named, others, lambda name, array: _reaches(array, _limits(*_fans(array.shape))[name]))
    if not named:
        return f", uniform within ±{largest:.4g}, of no initialiser in the catalogue"
    same = ", so only the seed or the generator differs" if named[0] == _GLOROT else ""
    return f", distributed as {' or '.join(named)}{same}"


def _reaches(array: NDArray[np.floating], limit: float) -> bool:
    return bool((1 - max(0.01, 10 / array.size)) * limit < np.abs(array).max() <= limit * (1 + 1e-6))


def _scatters(array: NDArray[np.floating], deviation: float) -> bool:
    return math.isclose(float(array.std()), deviation, rel_tol=4 / math.sqrt(2 * array.size))


def _normal(recorded: NDArray[np.float64], others: Kernels) -> str:
    largest, deviation, size = float(np.abs(recorded).max()), float(recorded.std()), recorded.size
    # The estimate scatters by 1/√(2n); four times that is ample.
    tolerance = 4 / math.sqrt(2 * size)
    truncated = largest <= 2 * deviation / _TRUNCATED * (1 + 2 * tolerance)
    if truncated:
        # Of a whole normal, this many numbers all stay below so seldom that it is no chance.
        truncated = bool((2 * stats.norm.cdf(largest / deviation) - 1) ** size < 1e-4)
    elif float(stats.kurtosis(recorded, axis=None)) > 1 + 20 / math.sqrt(size):
        return f", up to {largest:.4g}, from no initialiser in the catalogue"
    spread = deviation / _TRUNCATED if truncated else deviation
    mended = f"truncated at two standard deviations as Keras has it{see('normal-initialisers-truncated')}"
    plain = f"cut off at two standard deviations without making up for it{see('truncated-normal-limits')}"
    whole = f"not truncated{see('normal-initialisers-truncated')}"
    named = []
    for words, factor in ((mended if truncated else whole, 1.0), *([(plain, _TRUNCATED)] if truncated else [])):
        alike = [
            name for name, value in _deviations(*_fans(recorded.shape)).items() if _scatters(recorded, factor * value)
        ]
        alike = _of_all(alike, others, lambda name, a, f=factor: _scatters(a, f * _deviations(*_fans(a.shape))[name]))
        named += [f"{name}, {words}" for name in alike]
    if named:
        return f", distributed as {' or '.join(named)}"
    kind = "a normal distribution" + " cut off at two standard deviations" * truncated
    return f", as {kind} of standard deviation {spread:.2g} has them, of no initialiser in the catalogue"
