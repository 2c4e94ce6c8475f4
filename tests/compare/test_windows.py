"""Windows: faults in the middle of a training are caught with their step and cause; clean trainings are in parity."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
import pytest

from compare.causes.learning.state import OptimizerState
from compare.ladder.climb import climb
from compare.ladder.optimizer import step_checks
from compare.ladder.rung import Rung
from compare.oracle.network import Adam
from compare.report.words import not_seen
from compare.windows.judge import judge_windows
from recipe import Recipe, datasets, mnist
from record.first_steps import Trace
from record.training import RunRecord
from record.windows import window_places
from tests.conftest import ALL_AT_ONCE, SHORT, SMALL, recipe_of
from tests.faults import zoo_windows
from tests.faults.clean import random_network, trace
from tests.faults.windowed import Clean, CleanReordered
from tests.faults.windowed import trained as trained_in_numpy
from tests.faults.zoo import Base

NET = {"epochs": 3, "batch_size": 20, "learning_rate": 3e-3, "hidden_sizes": (16, 12)}


class Begins(NamedTuple):
    """What a rung of windows takes of a trace."""

    initial_weights: Any


@functools.cache
def run_of(network: type[Base], recipe: Recipe) -> RunRecord:
    return trained_in_numpy(network, recipe, datasets.load(recipe))


@functools.cache
def trace_of(recipe: Recipe) -> Trace:
    return trace(Clean, recipe, num_batches=None, images=datasets.load(recipe))


def judged(run: RunRecord, begins: Any = None, digits: mnist.Digits | None = None) -> list[Rung]:
    """The rungs of one training, behind those of traces that agree."""
    begins = begins or Begins(run.windows[0].before.parameters if run.windows else run.weights)
    names = ("settings", "data", "initial_weights", "forward", "loss", "gradients", "optimizer")
    rungs = [Rung(name, "parity", 0.0, 1.0) for name in names]
    return judge_windows(rungs, {"side": begins}, {"side": run}, digits or datasets.load(run.recipe))


def failed(rungs: list[Rung]) -> list[tuple[str, str | None, str | None]]:
    return [(rung.name, rung.where, rung.cause) for rung in rungs if rung.verdict != "parity"]


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo_windows.ZOO)
def test_a_late_fault_is_caught_in_a_window_and_named(name: str, own_data: str) -> None:
    fault = zoo_windows.ZOO[name]
    recipe = recipe_of(dataset=own_data, **NET, **fault.fields)
    run = run_of(fault.network, recipe)
    rung, where, cause = failed(judged(run, trace_of(recipe)))[0]
    assert rung == fault.rung
    assert (where or "").startswith("side, ")
    assert fault.where in (where or "")
    assert fault.cause in (cause or "")


SMALLEST = {
    "RateOff": ("optimizer", "the learning rate is 0.003003 instead of 0.003"),
    "L2InGradients": ("gradients", "an L2 penalty adds 1e-05 times the weights to the gradient"),
    "L2InOptimizer": ("optimizer", "weight decay of 1e-05 is added to the gradient, as an L2 penalty"),
}
"""A learning rate 0.1% off, a weight decay of 1e-5."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("when", zoo_windows.LATE)
@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_faults_are_caught_whenever_they_begin(name: str, when: str, dtype: str, own_data: str) -> None:
    base = getattr(zoo_windows, name)
    network = type(name, (base,), {"late": zoo_windows.LATE[when]})
    rung, where, cause = failed(judged(trained_on(network, own_data, dtype=dtype)))[0]
    assert rung == SMALLEST[name][0]
    assert SMALLEST[name][1] in (cause or "")
    assert f"step {zoo_windows.FIRST_SEEN[when]}" in (where or "")


@pytest.mark.parametrize("when", zoo_windows.LATE)
@pytest.mark.parametrize(
    ("name", "later", "cause"), [("BatchDropped", 0, "one batch is left out"), ("BatchDoubled", 1, "fed twice")]
)
def test_one_batch_is_missed_whenever_it_is(name: str, later: int, cause: str, when: str, own_data: str) -> None:
    late = zoo_windows.LATE[when]
    network = type(name, (getattr(zoo_windows, name),), {"late": late})
    rung, where, found = failed(judged(trained_on(network, own_data)))[0]
    assert rung == "data"
    assert f"step {late.start + later}" in (where or "")
    assert cause in (found or "")


def trained_on(network: type[Base], own_data: str, **fields: Any) -> RunRecord:
    recipe = recipe_of(dataset=own_data, **NET, **fields)
    return trained_in_numpy(network, recipe, datasets.load(recipe))


def test_a_decoupled_decay_shows_where_it_changes_a_bit(own_data: str) -> None:
    """Of 1e-5 at a rate of 1e-3 it takes 1e-8 of a weight, which is less than a float32 can be moved by."""
    fields = {"learning_rate": 1e-3, "dataset": own_data}
    single, double = (recipe_of(**{**NET, **fields}, dtype=dtype) for dtype in ("float32", "float64"))
    clean, decayed = run_of(Clean, single), run_of(zoo_windows.DecoupledDecay, single)
    assert all(np.array_equal(decayed.weights[name], array) for name, array in clean.weights.items())
    assert np.array_equal(clean.step_losses, decayed.step_losses)
    rung, where, cause = failed(judged(run_of(zoo_windows.DecoupledDecay, double)))[0]
    assert rung == "optimizer"
    assert (cause or "").startswith("decoupled weight decay of 1e-05 (AdamW)")
    assert "step 15 of epoch 1" in (where or "")


def test_the_ladder_names_the_side_and_keeps_what_the_traces_say(own_data: str) -> None:
    recipe = recipe_of(dataset=own_data, **NET)
    traces = {"clean": trace_of(recipe), "faulty": trace_of(recipe)}
    runs = {"clean": run_of(Clean, recipe), "faulty": run_of(zoo_windows.ScheduleByEpoch, recipe)}
    rungs = judge_windows(climb(traces), traces, runs, datasets.load(recipe))
    ((rung, where, _),) = failed(rungs)
    assert rung == "optimizer"
    assert (where or "").startswith("faulty, step 17, the first of epoch 2: ")
    wrong = dataclasses.replace(trace_of(recipe), steps=trace_of(recipe).steps[::-1])
    of_traces = climb({"clean": trace_of(recipe), "faulty": wrong})
    assert failed(judge_windows(of_traces, traces, runs, datasets.load(recipe))) == failed(of_traces)


# --- what is not seen ------------------------------------------------------------------------------


def test_a_training_without_windows_is_judged_as_far_as_it_can_be(own_data: str) -> None:
    run = run_of(Clean, recipe_of(dataset=own_data, **NET))
    bare = dataclasses.replace(run, windows=(), fed=None, epoch_states=None)
    rungs = judged(bare)
    assert failed(rungs) == []
    assert not_seen(rungs) == [
        "side: no single step of the training is seen, for its record has no windows",
        "side: what every step was fed is not seen: the record does not say it",
        "side: the borders of the epochs are not seen: the record has no hashes",
    ]
    assert not_seen(judged(run)) == []
    assert not_seen(judged(dataclasses.replace(run, windows=run.windows[:-2]))) == [
        "side: steps 37 to 38, 47 to 48 are not seen: no window"
    ]


def test_unknown_masks_and_orders_are_not_seen(own_data: str) -> None:
    recipe = recipe_of(dataset=own_data, **NET, dropout=0.3, dropout_masks="framework", batch_order="framework")
    rungs = judged(run_of(Clean, recipe))
    assert failed(rungs) == []
    assert not_seen(rungs) == [
        "side: which batch each step was fed is not seen: the framework shuffles by itself",
        "side: loss and gradients in windows are not seen: their dropout masks are the framework's own",
    ]
    # The images have to be the data set's all the same, and the optimizer is judged.
    assert failed(judged(run_of(zoo_windows.LabelsWrongFromEpoch2, recipe)))[0][0] == "data"
    assert failed(judged(run_of(zoo_windows.ScheduleByEpoch, recipe)))[0][0] == "optimizer"


# --- no false alarm --------------------------------------------------------------------------------


@pytest.mark.parametrize("first_seed", range(0, 12, 4))
def test_clean_networks_are_in_parity(first_seed: int) -> None:
    assert_no_false_alarm(range(first_seed, first_seed + 4))


def test_an_update_may_underflow_before_it_is_divided() -> None:
    """Of a unit that no longer fires α·m falls below float32's smallest normal number, and then ε magnifies it."""
    adam = Adam(0.2, 0.9, 0.999, 1e-7, "float32")
    moment, moved, zero = np.array([1.5e-37]), np.array([-2.5e-27]), np.zeros(1)
    state = OptimizerState(adam, 135, moved, zero, moment / 0.9, zero, moment, zero, moved)
    assert all((check.ratios(np.inf) <= 1).all() for check in step_checks("step 135", "bias", state, lambda _: None))


@pytest.mark.zoo
@pytest.mark.parametrize("first_seed", range(1000, 1100, 20))
def test_many_clean_networks_are_in_parity(first_seed: int) -> None:
    assert_no_false_alarm(range(first_seed, first_seed + 20))


def assert_no_false_alarm(seeds: range) -> None:
    """Learning rates up to 0.3, batches of 1 and 2, both dtypes, convolutions and dropout."""
    for seed in seeds:
        recipe, digits = random_network(seed)
        random = np.random.default_rng(seed)
        fields = {
            "epochs": int(random.integers(1, 4)),
            "learning_rate": float(10 ** random.uniform(-4, -0.5)),
            "batch_size": int(random.choice([1, 2, 5, 32, recipe.batch_size])),
        }
        recipe = dataclasses.replace(recipe, **fields)
        for network in (Clean, CleanReordered):
            assert failed(judged(trained_in_numpy(network, recipe, digits), digits=digits)) == [], (
                seed,
                network,
                recipe,
            )


SINGLE = {**SMALL, "network": "cnn", "dropout": 0.2}
"""In float32."""

WORKERS = ("keras-tensorflow", "keras-torch", "keras-jax", "lightning")


@pytest.mark.parametrize(
    ("worker", "fields"),
    [
        *((worker, fields) for worker in WORKERS for fields in (SHORT, ALL_AT_ONCE)),
        # Other tests have these two trained, too.
        ("keras-tensorflow", SINGLE),
        ("lightning", SINGLE),
    ],
    ids=str,
)
def test_the_twins_leave_windows_in_parity(worker: str, fields: Any, own_data: str, trained: Any) -> None:
    fields = fields if fields is SHORT else {**fields, "dataset": own_data}
    run = trained(worker, **fields)
    wanted = [(place[0], place[-1]) for place in window_places(run.recipe)]
    assert [(window.first, window.steps[-1].number) for window in run.windows] == wanted
    rungs = judged(run)
    assert failed(rungs) == []
    assert not_seen(rungs) == []
