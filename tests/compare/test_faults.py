"""Planted faults: each is caught on the rung where it enters, with the right cause and place."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compare.causes.signatures import UNKNOWN
from compare.ladder.climb import TRACED as RUNGS_OF_TRACES
from compare.ladder.climb import climb, gravest
from compare.ladder.outcome import outcome
from compare.ladder.rung import Rung
from compare.ladder.trajectory import trajectory
from recipe import Recipe, datasets, mnist
from recipe.errors import RecordError
from record.first_steps import Trace, read_trace, write_trace
from record.training import RunRecord, read_record, write_training
from tests.conftest import recipe_of, run_python
from tests.faults.clean import FEW_BATCHES, ReorderedLayered, digits, trace
from tests.faults.layered import Layered
from tests.faults.table import DOCUMENT, with_table
from tests.faults.zoo import SMALL, Array, Base, Fault, Labels
from tests.faults.zoo_unseen import CNN, ZOO
from tests.own_data import NUM_CLASSES, write_archive

TRACED = [
    (name, dtype)
    for name, fault in ZOO.items()
    if fault.kind == "trace"
    for dtype in ("float32", "float64")
    if fault.fields.get("dtype", dtype) == dtype
]


@pytest.fixture(autouse=True)
def digits_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them takes a good part of most tests of data."""
    digits()
    monkeypatch.setattr(mnist, "load", digits)


@functools.cache
def clean_trace(recipe: Recipe, num_batches: int | None) -> Trace:
    special = recipe.network == "cnn" or recipe.dropout
    return trace(Layered if special else Base, recipe, num_batches=num_batches)


def first_difference(fault: Fault, dtype: str) -> Rung:
    recipe = Recipe(**{**fault.fields, "dtype": dtype})
    # The catalogue holds the batches of both sides against a whole epoch of the recipe's.
    clean = clean_trace(recipe, None if fault.rung == "data" else FEW_BATCHES)
    faulty = trace(fault.network, recipe, num_batches=None if fault.whole_epoch else FEW_BATCHES)
    sides = {"clean": clean, "faulty": faulty}
    # Rungs are climbed no further than to the one that fails: behind it nothing is asked.
    with np.errstate(all="ignore"):
        return next(rung for rung in (judge(sides) for judge in RUNGS_OF_TRACES) if rung.verdict == "not parity")


@pytest.mark.parametrize(("name", "dtype"), TRACED)
def test_a_fault_is_caught_where_it_enters_and_named(name: str, dtype: str) -> None:
    fault = ZOO[name]
    rung = first_difference(fault, dtype)
    assert (rung.name, rung.verdict) == (fault.rung, "not parity")
    assert fault.where in (rung.where or "")
    assert "faulty" in (rung.where or "")
    if fault.cause == UNKNOWN:
        assert rung.cause == UNKNOWN
    else:
        assert fault.cause in (rung.cause or "")
        # Ten steps tell apart what one step does not.
        assert fault.rung != "optimizer" or " or " not in (rung.cause or "")


@pytest.mark.parametrize("name", list(ZOO)[::12])
def test_every_rung_is_climbed_whatever_fails_before(name: str) -> None:
    fault = ZOO[name]
    recipe = Recipe(**fault.fields)
    rungs = climb({"clean": clean_trace(recipe, FEW_BATCHES), "faulty": trace(fault.network, recipe)})
    assert [rung.name for rung in rungs] == [rung.__name__ for rung in RUNGS_OF_TRACES]


@pytest.mark.parametrize(
    "name", ["WrongEpsilon", "TinyEpsilon", "TorchsAdam", "WrongBeta1", "LearningRateOnePercentOff", "BetasInFloat32"]
)
def test_a_cause_that_fits_less_well_is_not_named(name: str) -> None:
    # An ε of 0 explains 99.9% of what an ε of 1e-10 does.
    assert " or " not in (first_difference(ZOO[name], "float32").cause or "")


def test_the_zoo_has_faults_of_every_rung() -> None:
    assert {fault.rung for fault in ZOO.values()} == {
        *("settings", "data", "initial_weights", "forward", "loss", "gradients", "optimizer", "trajectory", "outcome")
    }
    assert sum(fault.cause == UNKNOWN for fault in ZOO.values()) >= 2


def test_the_faulty_side_may_stand_first() -> None:
    fault = ZOO["GeluForRelu"]
    recipe = Recipe(**fault.fields)
    faulty, clean = trace(fault.network, recipe), clean_trace(recipe, FEW_BATCHES)
    rung = next(rung for rung in climb({"faulty": faulty, "clean": clean}) if rung.verdict != "parity")
    assert (rung.name, rung.cause) == ("forward", fault.cause)
    assert (rung.where or "").startswith("faulty, step 1: activations of hidden_1")


def test_two_faults_are_reported_by_the_first_and_the_second_follows() -> None:
    class Both(ZOO["SoftmaxTwice"].network, ZOO["WrongEpsilon"].network):  # type: ignore[misc]
        pass

    recipe = Recipe(**ZOO["SoftmaxTwice"].fields)
    rungs = climb({"clean": clean_trace(recipe, FEW_BATCHES), "faulty": trace(Both, recipe)})
    failed = [rung for rung in rungs if rung.verdict == "not parity"]
    assert [rung.name for rung in failed] == ["loss", "gradients", "optimizer"]
    assert "follows" not in failed[0].detail
    assert failed[1].detail["follows"] == "loss"
    assert "follows" not in failed[2].detail, "another optimizer follows from no loss"
    assert gravest(rungs) == "loss", "which an ε changes less than"
    assert "ε is 1e-08 instead of 1e-07" in (failed[2].cause or "")


def test_the_gravest_fault_is_not_the_first_to_be_stated() -> None:
    class Three(ZOO["SoftmaxTwice"].network, ZOO["ActivationMissing"].network, ZOO["WrongEpsilon"].network):  # type: ignore[misc]
        def settings(self) -> dict[str, Any]:
            return super().settings() | {"optimizer.epsilon": 1e-8}

    recipe = Recipe(**ZOO["SoftmaxTwice"].fields)
    rungs = climb({"clean": clean_trace(recipe, FEW_BATCHES), "faulty": trace(Three, recipe)})
    follows = {rung.name: rung.detail.get("follows") for rung in rungs if rung.verdict == "not parity"}
    assert follows == {
        "settings": None,
        "forward": None,
        "loss": None,
        "gradients": "forward",
        "optimizer": "settings",
    }
    assert gravest(rungs) == "forward"


def test_a_fault_speaks_the_contract(tmp_path: Path) -> None:
    fault = ZOO["SoftmaxTwice"]
    recipe = Recipe(**fault.fields)
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    zoo = Path(__file__).parents[1] / "faults" / "zoo.py"
    process = run_python(zoo, "SoftmaxTwice", "recipe.json", "run", "--trace", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    faulty = read_trace(tmp_path / "run")
    assert faulty.settings == clean_trace(recipe, FEW_BATCHES).settings
    rung = next(
        rung for rung in climb({"clean": clean_trace(recipe, None), "faulty": faulty}) if rung.verdict != "parity"
    )
    assert rung.name == "loss"
    assert (rung.cause or "").startswith(fault.cause)


@pytest.mark.parametrize(("field", "length"), [("labels", 2), ("images", 0), ("activations", 7)])
def test_a_step_whose_tensors_are_of_other_batches_is_refused(tmp_path: Path, field: str, length: int) -> None:
    clean = clean_trace(Recipe(**ZOO["SoftmaxTwice"].fields), FEW_BATCHES)
    step = clean.steps[1]
    found = getattr(step, field)
    name, array = ("output", found["output"]) if isinstance(found, dict) else ("", found)
    cut = np.resize(array, (length, *array.shape[1:]))
    changed = dataclasses.replace(step, **{field: {**found, name: cut} if name else cut})
    write_trace(tmp_path / "run", dataclasses.replace(clean, steps=[clean.steps[0], changed, *clean.steps[2:]]))
    with pytest.raises(RecordError, match=r"trace.safetensors: step_2/.*expected an entry for each of the step's"):
        read_trace(tmp_path / "run")


def test_padding_the_border_is_refused_by_the_shape_it_gives(tmp_path: Path) -> None:
    clean = clean_trace(Recipe(**ZOO["AveragePooling"].fields), FEW_BATCHES)
    first = clean.steps[0]
    same = np.pad(first.preactivations["convolution_1"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    padded = dataclasses.replace(first, preactivations={**first.preactivations, "convolution_1": same})
    write_trace(tmp_path / "run", dataclasses.replace(clean, steps=[padded, *clean.steps[1:]]))
    with pytest.raises(RecordError, match=r"step_1/preactivations/convolution_1: .*26, 26, 4.*28, 28, 4"):
        read_trace(tmp_path / "run")


# --- whole runs ------------------------------------------------------------------------------------

SHORT = {"hidden_sizes": (16,), "batch_size": 100, "epochs": 2, "dtype": "float64"}
NUM_IMAGES = 4000


def run(network: type[Base], directory: Path, /, **fields: Any) -> RunRecord:
    few = digits()._replace(x_train=digits().x_train[:NUM_IMAGES], y_train=digits().y_train[:NUM_IMAGES])
    net = network(Recipe(**{**SHORT, **fields}), few)
    write_training(directory, RunRecord(**net.train(), **net.header()))
    return read_record(directory)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[RunRecord]]:
    """`families(dropout=)` is a clean run of that recipe and three A/A controls of it."""

    @functools.cache
    def get(**fields: Any) -> list[RunRecord]:
        base = tmp_path_factory.mktemp("family")
        return [run(Layered, base / str(number), perturbation=number, **fields) for number in range(4)]

    return get


def run_rungs(other: RunRecord, family: list[RunRecord]) -> list[Rung]:
    runs = {"clean": family[0], "faulty": other}
    # The margin is the default one of `compare run`.
    return [trajectory(runs, family), outcome(runs, family, digits(), margin=0.005)]


@pytest.mark.parametrize("name", [name for name, fault in ZOO.items() if fault.kind == "run"])
def test_a_fault_of_a_whole_run_is_caught_where_it_enters(
    name: str, families: Callable[..., list[RunRecord]], tmp_path: Path
) -> None:
    fault = ZOO[name]
    fields = {key: value for key, value in fault.fields.items() if key not in SMALL}
    rungs = run_rungs(run(fault.network, tmp_path / "run", **fields), families(**fields))
    first = next(rung for rung in rungs if rung.verdict != "parity")
    assert (first.name, first.verdict) == (fault.rung, "not parity")
    assert fault.where in (first.where or "")
    assert fault.cause in (first.cause or "")


@pytest.mark.parametrize(
    "fields", [{}, {"dropout": 0.2}, {"network": "cnn", "filters": (2, 2), "batch_size": 400}], ids=str
)
def test_a_clean_run_is_no_fault_of_a_whole_run(
    fields: dict[str, Any], families: Callable[..., list[RunRecord]], tmp_path: Path
) -> None:
    family = families(**fields)
    other = run(ReorderedLayered, tmp_path / "run", perturbation=7, **fields)
    rungs = run_rungs(dataclasses.replace(other, recipe=family[0].recipe), family)
    assert [rung.verdict for rung in rungs] == ["parity", "parity"]


def test_other_weights_under_dropout_are_not_taken_for_dropout(
    families: Callable[..., list[RunRecord]], tmp_path: Path
) -> None:
    family = families(dropout=0.2)
    longer = run(Layered, tmp_path / "run", dropout=0.2, epochs=3)
    rung = run_rungs(dataclasses.replace(family[0], weights=longer.weights), family)[1]
    assert (rung.cause or "").endswith("on the test images: of another epoch, model or images, for example")


def test_predictions_in_float32_are_not_taken_for_those_of_another_epoch(
    families: Callable[..., list[RunRecord]],
) -> None:
    family = families(dtype="float64")
    test = family[0].test
    assert test
    rounded = dataclasses.replace(test, predictions=test.predictions.astype(np.float32).astype(np.float64))
    rung = run_rungs(dataclasses.replace(family[0], test=rounded), family)[1]
    assert rung.cause == "the predictions are not computed in float64: the numbers are kept in float32"


def test_training_unlike_its_trace_is_told(families: Callable[..., list[RunRecord]], tmp_path: Path) -> None:
    family = families()

    class FasterAfterFourSteps(Base):
        def update(self, name: str, g: Array) -> Array:
            return super().update(name, g) * self.real(5 if self.num_steps > 3 else 1)

    other = run(FasterAfterFourSteps, tmp_path / "run")
    few = digits()._replace(x_train=digits().x_train[:NUM_IMAGES], y_train=digits().y_train[:NUM_IMAGES])
    clean = trace(Base, Recipe(**SHORT), images=few)
    rung = trajectory({"clean": family[0], "faulty": other}, family, {"clean": clean, "faulty": clean})
    assert rung.cause == "faulty: its training does not do what its trace did, from step 5 on"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_epochs_that_drift_apart_after_parting_are_told_from_rounding(
    families: Callable[..., list[RunRecord]], dtype: str
) -> None:
    """Four runs that part in the first of 8 epochs and are noise from then on; a fifth is like them, or far off."""
    random = np.random.default_rng(0)
    template = families()[0]

    def made(offset: float) -> RunRecord:
        losses = random.normal(0.1, 0.01, (8, 10)) + offset * np.linspace(0, 1, 8)[:, None]
        history = {key: [0.0] * 8 for key in template.history}
        recipe = dataclasses.replace(template.recipe, dtype=dtype)
        return dataclasses.replace(template, recipe=recipe, step_losses=losses.ravel(), history=history)

    # The mean of ten such losses has a standard deviation of 0.003.
    family = [made(0) for _ in range(4)]
    assert trajectory({"a": family[0], "b": made(0)}, family).verdict == "parity"
    rung = trajectory({"a": family[0], "b": made(0.04)}, family)
    assert rung.verdict == "not parity"
    assert (rung.where or "").startswith("mean training loss by epoch, from epoch 2 on")


def test_test_loss_in_float32_is_none_in_float64(families: Callable[..., list[RunRecord]]) -> None:
    family = families(dtype="float64")
    test = family[0].test
    assert test
    rounded = dataclasses.replace(test, loss=float(np.float32(test.loss)))
    rung = run_rungs(dataclasses.replace(family[0], test=rounded), family)[1]
    assert rung.cause == "the test loss is not that of the final weights on the test images"


class TwiceAsLarge(Layered):
    def dense(self, layer: str, inputs: Array) -> Array:
        return super().dense(layer, inputs) * (1 + (layer == "hidden_1"))


def test_the_smallest_images_that_convolutions_take_are_explained_too() -> None:
    images = {"image_shape": (10, 10), "num_classes": 10, "num_training_images": 60_000, "num_test_images": 10_000}
    recipe = Recipe(dataset="/nowhere.npz", images=images, **CNN)
    cut = digits()._replace(x_train=digits().x_train[:, 9:19, 9:19])
    clean, faulty = (trace(network, recipe, images=cut) for network in (Layered, TwiceAsLarge))
    rung = next(rung for rung in climb({"clean": clean, "faulty": faulty}) if rung.verdict != "parity")
    assert (rung.name, rung.cause) == ("forward", "the pre-activations are 2 times too large")


# --- other data sets -------------------------------------------------------------------------------


class WideImagesTransposed(Base):
    def pixels(self, images: NDArray[np.uint8]) -> Array:
        return super().pixels(images.swapaxes(1, 2))


class LastLabelsFirst(Base):
    """Off by one, the last class becoming the first."""

    def labels(self, labels: NDArray[np.uint8]) -> Labels:
        return super().labels((labels + 1) % NUM_CLASSES)


class LastOfOwnBatchesDropped(Base):
    def order(self, epoch: int) -> list[NDArray[Any]]:
        return super().order(epoch)[:-1]


@pytest.mark.parametrize(
    ("network", "cause"),
    [
        (WideImagesTransposed, "images are transposed: rows and columns are swapped"),
        (LastLabelsFirst, "labels are off by 1"),
        (LastOfOwnBatchesDropped, "the last batch is dropped: it is smaller, 17 images"),
        (ZOO["PixelsDividedBy256"].network, "pixels are divided by 256 instead of 255"),
        (ZOO["NotShuffled"].network, "the training images are not shuffled (differences: shuffle-default)"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_faults_in_data_of_ones_own_are_named(network: type[Base], cause: str, tmp_path: Path) -> None:
    write_archive(tmp_path)
    recipe = recipe_of(dataset=str(tmp_path / "own.npz"), hidden_sizes=(5,))
    images = datasets.load(recipe)
    sides = {"clean": Base, "faulty": network}
    rungs = climb({name: trace(net, recipe, num_batches=None, images=images) for name, net in sides.items()})
    first = next(rung for rung in rungs if rung.verdict == "not parity")
    assert (first.name, first.cause) == ("data", f"faulty: {cause}")


def test_document_lists_every_fault() -> None:
    text = DOCUMENT.read_text()
    assert with_table(text) == text, "run: python -m tests.faults.table"
