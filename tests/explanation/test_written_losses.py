"""Losses that are written out: the line at which a port's computation leaves the reference's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from compare.explanation.context import Context
from compare.explanation.findings import Finding
from compare.explanation.loss.judged import loss
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

STEPS = 3

FUNCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "pow": np.power, "square": np.square, "sqrt": np.sqrt,
    "exp": np.exp, "sum": np.sum, "mean": np.mean, "maximum": np.maximum, "neg": np.negative,
    "relu": lambda x: np.maximum(x, 0), "log": np.log, "abs": np.abs,
    "triplet_margin_loss": lambda *given, **options: built_in_triplet(given, **options),
    "softmax": lambda x, axis=None, dim=None: special.softmax(x, axis=dim if axis is None else axis),
    "mse_loss": lambda a, b, reduction: getattr(np, reduction)((a - b) ** 2),
    "squared_difference": lambda a, b: (a - b) ** 2,
}  # fmt: skip


def built_in_triplet(given: tuple[Array, ...], margin: float, swap: bool = False, **_: Any) -> Array:
    """As torch has it, with what it adds to each difference."""
    (near, far, other) = (np.linalg.norm(given[i] - given[j] + 1e-6, axis=-1) for i, j in ((0, 1), (0, 2), (1, 2)))
    return np.asarray(np.maximum(near - (np.minimum(far, other) if swap else far) + margin, 0).mean())


class Recorder:
    """Computes with NumPy and writes down each call, as the watchers do; its line is its number in the loss."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.arrays: dict[str, Array] = {}
        self.calls: list[dict[str, Any]] = []
        self._keys: dict[int, str] = {}
        self._held: list[Array] = []

    def keep(self, name: str, array: Array) -> Array:
        key = f"step{self.step}/{name}"
        held = np.array(array, np.float64)
        self.arrays[key] = held
        self._keys[id(held)] = key
        self._held.append(held)
        return held

    def __call__(self, name: str, *given: Any, code: str = "", **options: Any) -> Array:
        numbers = [value for value in given if isinstance(value, float | int)]
        keys = [self._keys[id(value)] for value in given if isinstance(value, np.ndarray)]
        made = self.keep(f"call{len(self.calls)}", FUNCTIONS[name](*given, **options))
        settings = options | ({"arguments": numbers} if numbers else {})
        line = {"file": "script.py", "line": len(self.calls) + 1, "code": code or name}
        self.calls.append(call(None, keys, [self._keys[id(made)]], function=name, kwargs=settings, place=line))
        return made


Loss = Callable[[Recorder, Array, Array, Array], Array]


def side(directory: Path, framework: str, written: Loss, size: tuple[int, ...] = (8, 4)) -> Side:
    """A side whose loss takes three outputs of a size; images, whose size is Keras's, are in the framework's layout."""
    arrays: dict[str, Array] = {}
    steps, losses = [], []
    for step in range(STEPS):
        of = Recorder(step)
        drawn = np.random.default_rng(step).normal(size=(3, *size))
        drawn = np.moveaxis(drawn, -1, 2) if framework == "torch" and len(size) == 4 else drawn
        outputs = [of.keep(f"output{i}", array) for i, array in enumerate(drawn)]
        value = written(of, *outputs)
        arrays |= of.arrays
        steps.append(of.calls)
        losses.append({"value": float(value), "terms": [], "place": {"file": "script.py", "line": 99, "code": ""}})
    dense = layer("fc", *(("Dense", {"kernel": (4, 3)}) if framework == "keras" else ("Linear", {"weight": (3, 4)})))
    made = observation(directory, framework, [dense], [call("fc", [], [])], arrays, losses=losses, loss_calls=steps)
    if framework == "torch":
        made.document["calls"][:] = steps  # torch's are in one list with those of the model
    return Side(made)


def said(directory: Path, reference: Loss, port: Loss) -> tuple[str, int]:
    found = finding(directory, reference, port)
    return found.title, found.place.line if found.place is not None else 0


def finding(directory: Path, reference: Loss, port: Loss, size: tuple[int, ...] = (8, 4)) -> Finding:
    guide, steered = side(directory / "a", "keras", reference, size), side(directory / "b", "torch", port, size)
    context = Context(guide, steered, steered.observation, pair(guide, steered), guide_is_reference=True)
    loss(context)
    (found,) = context.findings
    return found


def triplet(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    near, far = (of("sqrt", of("sum", of("square", of("sub", a, other)), axis=-1)) for other in (p, n))
    return of("mean", of("maximum", of("add", of("sub", near, far), 0.5), 0.0))


def squared_triplet(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    near, far = (of("sum", of("pow", of("sub", a, other), 2), axis=-1) for other in (p, n))
    return of("mean", of("relu", of("add", of("sub", near, far), 0.5)))


def wide_triplet(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    near, far = (of("sqrt", of("sum", of("pow", of("sub", a, other), 2), axis=-1)) for other in (p, n))
    return of("mean", of("relu", of("add", of("sub", near, far), 1.0)))


def divergence(of: Recorder, mean: Array, log_variance: Array, *, exp: bool = True, factor: float = 1.0) -> Array:
    inner = of("sub", of("add", log_variance, 1.0), of("square", mean))
    inner = of("sub", inner, of("exp", log_variance)) if exp else inner
    kept = of("mul", of("mean", of("sum", inner, axis=1)), -0.5)
    return of("mul", kept, factor) if factor != 1 else kept


def autoencoder(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    return of("add", of("mean", of("sum", of("square", made), axis=1)), divergence(of, mean, log_variance))


def without_exp(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    lost = of("mean", of("sum", of("pow", made, 2), axis=1))
    return of("add", lost, divergence(of, mean, log_variance, exp=False))


def weighted(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    lost = of("mean", of("sum", of("pow", made, 2), axis=1))
    return of("add", lost, divergence(of, mean, log_variance, factor=0.1))


def averaged(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    return of("add", of("mean", of("pow", made, 2)), divergence(of, mean, log_variance))


def halved_first(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    inner = of("sub", of("sub", of("add", log_variance, 1.0), of("square", mean)), of("exp", log_variance))
    divergence = of("mean", of("sum", of("mul", inner, -0.5), axis=1))
    return of("add", of("mean", of("sum", of("square", made), axis=1)), divergence)


def divergence_averaged(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    lost = of("mean", of("sum", of("pow", made, 2), axis=1))
    inner = of("sub", of("sub", of("add", log_variance, 1.0), of("square", mean)), of("exp", log_variance))
    return of("add", lost, of("mul", of("mean", inner), -0.5))


def without_divergence(of: Recorder, mean: Array, log_variance: Array, made: Array) -> Array:
    del mean, log_variance
    return of("mean", of("sum", of("pow", made, 2), axis=1))


@pytest.mark.parametrize(
    ("reference", "port", "title", "line"),
    [
        (triplet, squared_triplet, "no sqrt in the loss before sub", 3),
        (triplet, wide_triplet, "in the loss add(1); the reference has add(0.5)", 10),
        (autoencoder, without_exp, "no sub of exp in the loss after sub", 6),
        (autoencoder, weighted, "mul(0.1) in the loss, which the reference does not have", 12),
        (autoencoder, averaged, "reduction in the loss, over 4 values: mean; the reference has sum", 2),
        (halved_first, divergence_averaged, "reduction in the loss, over 4 values: mean; the reference has sum", 9),
        (autoencoder, without_divergence, "no add of mul(-0.5) in the loss at the end", 3),
    ],
)
def test_the_line_and_the_function(tmp_path: Path, reference: Loss, port: Loss, title: str, line: int) -> None:
    assert said(tmp_path, reference, port) == (title, line)


def sparse(of: Recorder, code: Array, made: Array, wanted: Array) -> Array:
    penalty = of("mul", of("mean", of("sum", of("abs", code), axis=-1)), 0.1)
    return of("add", of("mse_loss", made, wanted, reduction="mean"), penalty)


def hardly_sparse(of: Recorder, code: Array, made: Array, wanted: Array) -> Array:
    penalty = of("mul", of("mean", of("abs", code), code="sparsity = 0.1 * code.abs().mean()"), 0.1)
    return of("add", of("mse_loss", made, wanted, reduction="mean"), penalty)


def summed(of: Recorder, mean: Array, made: Array, wanted: Array) -> Array:
    lost = of("mean", of("sum", of("square", of("sub", made, wanted)), axis=-1))
    return of("add", lost, of("mean", of("square", mean)))


def averaged_by_the_function(of: Recorder, mean: Array, made: Array, wanted: Array) -> Array:
    lost = of("mse_loss", made, wanted, reduction="mean", code="lost = F.mse_loss(made, x)")
    return of("add", lost, of("mean", of("square", mean)))


def summed_by_the_function(of: Recorder, mean: Array, made: Array, wanted: Array) -> Array:
    lost = of("mse_loss", made, wanted, reduction="sum", code='lost = F.mse_loss(made, x, reduction="sum")')
    return of("add", lost, of("mean", of("square", mean)))


def averaged_by_hand(of: Recorder, mean: Array, made: Array, wanted: Array) -> Array:
    lost = of("mean", of("square", of("sub", made, wanted)))
    return of("add", lost, of("mean", of("square", mean)))


@pytest.mark.parametrize(
    ("reference", "port", "title", "mend"),
    [
        (
            sparse, hardly_sparse, "reduction in the loss, over 4 values: mean; the reference has sum",
            "sparsity = 0.1 * code.abs().sum(dim=1).mean()",
        ),
        (
            summed, averaged_by_the_function, "reduction in the loss, over 4 values: mean; the reference has sum",
            'lost = F.mse_loss(made, x, reduction="sum") / len(made)',
        ),
        (
            averaged_by_hand, summed_by_the_function,
            "reduction in the loss, over 32 values: sum; the reference has mean",
            'lost = F.mse_loss(made, x, reduction="mean")',
        ),
    ],
)  # fmt: skip
def test_a_reduction_is_mended_in_its_line(tmp_path: Path, reference: Loss, port: Loss, title: str, mend: str) -> None:
    found = finding(tmp_path, reference, port)
    assert (found.title, found.mend) == (title, mend)


def margin_first(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    near, far = (of("sqrt", of("sum", of("square", of("sub", a, other)), axis=-1)) for other in (p, n))
    return of("mean", of("maximum", of("sub", of("add", near, 0.5), far), 0.0))


def margin_of_one(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    return of("triplet_margin_loss", a, p, n, margin=1.0, p=2.0, reduction="mean", code="loss = F.triplet_margin_loss(")


def margin_of_half(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    return of("triplet_margin_loss", a, p, n, margin=0.5, p=2.0, reduction="mean")


def swapped(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    return of("triplet_margin_loss", a, p, n, margin=0.5, p=2.0, swap=True, reduction="mean")


@pytest.mark.parametrize(
    ("reference", "port", "title", "mend"),
    [
        (triplet, margin_of_one, "margin in the loss 1; the reference has 0.5", "margin=0.5"),
        (margin_first, margin_of_one, "margin in the loss 1; the reference has 0.5", "margin=0.5"),
        (
            triplet,
            swapped,
            "swap=True (the nearer of two distances) in the loss, which the reference does not have",
            "swap=False",
        ),
    ],
)
def test_a_triplet_loss_of_torch_against_one_that_is_written_out(
    tmp_path: Path, reference: Loss, port: Loss, title: str, mend: str
) -> None:
    found = finding(tmp_path, reference, port)
    assert (found.title, found.mend) == (title, mend)
    assert found.place is not None
    assert found.place.line == 1


def test_a_triplet_loss_with_the_margin_of_the_reference_differs_by_what_torch_adds_alone(tmp_path: Path) -> None:
    assert finding(tmp_path, triplet, margin_of_half).severity == "inherent"


def squares(of: Recorder, made: Array, wanted: Array, other: Array) -> Array:
    del other
    return of("mean", of("square", of("sub", wanted, made)))


def squares_of_others(of: Recorder, made: Array, wanted: Array, other: Array) -> Array:
    del wanted
    return of("mean", of("pow", of("sub", made, other), 2))


def test_functions_that_are_the_same_are_no_cause(tmp_path: Path) -> None:
    """Where both sides square, what is squared differs: pow(2) in place of square is none."""
    title, line = said(tmp_path, squares, squares_of_others)
    assert "the reference has" not in title
    assert "is given other values" in title
    assert line in (1, 2)


def shares_of_channels(of: Recorder, made: Array, *_: Array) -> Array:
    """Of Keras's images, the mean square of the channels' shares, as in a Dice loss."""
    return of("mean", of("pow", of("softmax", made, axis=-1), 2.0))


def shares_of_columns(of: Recorder, made: Array, *_: Array) -> Array:
    """The same line in torch, where the last axis is the width."""
    return of("mean", of("pow", of("softmax", made, dim=-1), 2.0))


def test_an_axis_of_images_is_named_in_the_layout_of_the_port(tmp_path: Path) -> None:
    found = finding(tmp_path, shares_of_channels, shares_of_columns, size=(2, 4, 5, 3))
    assert found.title == "in the loss softmax(dim=-1); the reference has softmax(axis=1)"
    assert found.mend == "use softmax(dim=1)"


def focused(of: Recorder, a: Array, p: Array, n: Array) -> Array:
    """Errors that are weighed by what they are themselves, each for itself."""
    error = of("squared_difference", a, p)
    return of("mean", of("mul", of("sub", 1.0, of("exp", of("neg", error))), error))


@pytest.mark.parametrize("built_in", [True, False])
def test_a_mean_that_is_taken_before_what_is_done_with_each_value(tmp_path: Path, built_in: bool) -> None:
    def port(of: Recorder, a: Array, p: Array, n: Array) -> Array:
        error = of("mse_loss", a, p, reduction="mean") if built_in else of("mean", of("pow", of("sub", a, p), 2))
        return of("mean", of("mul", of("sub", 1.0, of("exp", of("neg", error))), error))

    title, line = said(tmp_path, focused, port)
    assert "the mean over the batch is taken of" in title
    assert title.endswith("before neg; the reference takes it last")
    assert line == (1 if built_in else 3)
