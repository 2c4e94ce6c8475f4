"""The ladder: no false alarm, NaN, what follows from what, the diff of the settings, the unit of the last place."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare.ladder import arithmetic
from compare.ladder.arithmetic import max_ulps
from compare.ladder.climb import climb, gravest
from compare.ladder.rung import RUNGS, Rung
from recipe import Recipe
from record.first_steps import Step, Trace
from tests.faults.clean import ReorderedLayered, TorchsForm, random_network, random_recipe, trace
from tests.faults.layered import Layered
from tests.faults.zoo import SMALL, Base


@pytest.fixture(scope="module")
def clean() -> Trace:
    return trace(Base, Recipe(**SMALL))


def with_settings(settings: dict[str, Any], original: Trace, **fields: Any) -> Trace:
    stated = {key: value for key, value in {**original.settings, **settings}.items() if value is not None}
    return dataclasses.replace(original, settings=stated, **fields)


def with_step(index: int, change: Callable[[Step], dict[str, Any]], original: Trace) -> Trace:
    """The trace with some fields of one step (from 0) replaced."""
    steps = list(original.steps)
    steps[index] = dataclasses.replace(steps[index], **change(steps[index]))
    return dataclasses.replace(original, steps=steps)


def with_number(array: Any, index: tuple[int, ...], number: float) -> Any:
    changed = array.copy()
    changed[index] = number
    return changed


def verdicts(rungs: list[Rung]) -> dict[str, str]:
    return {rung.name: rung.verdict for rung in rungs}


def failed(rungs: list[Rung]) -> list[str]:
    return [rung.name for rung in rungs if rung.verdict != "parity"]


# --- no false alarm --------------------------------------------------------------------------------


@pytest.mark.parametrize("first_seed", range(0, 200, 20))
def test_clean_networks_are_in_parity(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 20):
        recipe = random_recipe(seed)
        rungs = climb({"clean": trace(Base, recipe), "other": trace(TorchsForm, recipe)})
        # With a β₂ of 0 the weights explode, and which side overflows first, rounding decides.
        places = [(rung.name, rung.where, rung.cause) for rung in rungs if rung.verdict != "parity"]
        assert all("no longer finite" in str(where) for _, where, _ in places), recipe
        assert [rung.name for rung in rungs] == list(RUNGS[:7])


@pytest.mark.parametrize("first_seed", range(0, 60, 10))
def test_clean_convolutions_and_dropout_are_in_parity(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 10):
        recipe, images = random_network(seed)
        sides = {"clean": Layered, "other": ReorderedLayered}
        rungs = climb({name: trace(network, recipe, images=images) for name, network in sides.items()})
        places = [(rung.name, rung.where, rung.cause) for rung in rungs if rung.verdict != "parity"]
        assert places == [], recipe


def test_convolutions_that_overflow_on_both_sides_are_in_parity() -> None:
    for seed in (44, 230):
        recipe, images = random_network(seed)
        assert recipe.dropout
        sides = {"clean": Layered, "other": ReorderedLayered}
        assert failed(climb({name: trace(net, recipe, images=images) for name, net in sides.items()})) == []


def test_a_fault_of_a_few_hundredths_shows_in_every_gradient_of_the_default_convolutions() -> None:
    clean = trace(Layered, Recipe(network="cnn"), num_batches=1)

    def with_fault_in(name: str) -> Trace:
        off = {**clean.steps[0].gradients, name: clean.steps[0].gradients[name] * np.float32(1.03)}
        return with_step(0, lambda _: {"gradients": off}, clean)

    for name in clean.steps[0].gradients:
        checks = arithmetic._gradient_checks(with_fault_in(name))  # noqa: SLF001 - to look for a cause takes seconds
        off = [check.tensor for check in checks if (check.ratios(np.inf) > 1).any()]
        assert off == [f"step 1: gradient of {name}"]
    name = "hidden_2.kernel"
    rung = next(one for one in climb({"clean": clean, "faulty": with_fault_in(name)}) if one.name == "gradients")
    assert rung.cause == f"the gradient is 1.03 times too large (of {name} only)"


def test_the_measured_numbers_are_not_vacuous(clean: Trace) -> None:
    rungs = {rung.name: rung for rung in climb({"clean": clean, "other": trace(TorchsForm, clean.recipe)})}
    for name in ("forward", "loss", "gradients", "optimizer"):
        measured = rungs[name].measured
        assert measured is not None
        assert 0 < measured < 1
        assert rungs[name].bound == 1


# --- NaN -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_fails_where_it_enters(clean: Trace, number: float) -> None:
    def change(step: Step) -> dict[str, Any]:
        gradients = {
            **step.gradients,
            "hidden_2.kernel": with_number(step.gradients["hidden_2.kernel"], (3, 4), number),
        }
        return {"gradients": gradients}

    rungs = climb({"clean": clean, "faulty": with_step(4, change, clean)})
    assert failed(rungs)[0] == "gradients"
    rung = next(rung for rung in rungs if rung.name == "gradients")
    assert (rung.where or "").startswith("faulty, step 5: gradient of hidden_2.kernel at (3, 4): ")
    assert "not finite" in (rung.cause or "")
    # JSON has no infinity.
    assert rung.measured is None


def test_a_loss_that_is_not_a_number_fails(clean: Trace) -> None:
    rungs = climb({"clean": clean, "faulty": with_step(0, lambda _: {"loss": float("nan")}, clean)})
    assert failed(rungs) == ["loss"]
    rung = next(rung for rung in rungs if rung.name == "loss")
    assert (rung.where or "").startswith("faulty, step 1: loss: nan, expected 2.3")
    assert "not finite" in (rung.cause or "")


def test_losses_that_are_all_no_numbers_are_explained_by_nothing_else(clean: Trace) -> None:
    steps = [dataclasses.replace(step, loss=float("nan")) for step in clean.steps]
    rungs = climb({"clean": clean, "faulty": dataclasses.replace(clean, steps=steps)})
    rung = next(rung for rung in rungs if rung.name == "loss")
    assert rung.cause == "the numbers are not finite"


def test_a_training_that_overflows_on_both_sides_is_in_parity() -> None:
    recipe = Recipe(hidden_sizes=(16, 8), batch_size=51, learning_rate=1e15)
    clean = trace(Base, recipe)
    assert not all(np.isfinite(array).all() for array in clean.steps[-1].parameters.values())
    assert failed(climb({"clean": clean, "other": trace(TorchsForm, recipe)})) == []


def test_one_side_that_overflows_alone_is_no_parity() -> None:
    recipe = random_recipe(44)
    first, second = trace(Base, recipe), trace(TorchsForm, recipe)
    assert (first.diverged_at_step, second.diverged_at_step) == (None, 10)
    rungs = climb({"first": first, "second": second})
    assert [rung.verdict for rung in rungs] == ["parity"] * 6 + ["inconclusive"]
    assert (rungs[-1].where or "").startswith("second, step 10: its loss or its weights are no longer finite")


@pytest.mark.parametrize("of_nan", ["multiplied by 0", "selected"])
def test_a_dead_unit_makes_of_nan_what_its_framework_does(of_nan: str) -> None:
    """The logits of one image are not numbers; a unit that does not fire there passes on NaN, or nothing."""
    clean = trace(Base, Recipe(**SMALL))

    def change(step: Step) -> dict[str, Any]:
        z = step.preactivations["output"].copy()
        z[0] = np.nan
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        delta = (p - np.eye(10, dtype=np.float32)[step.labels]) / np.float32(32)
        weights, below = clean.initial_weights, list(step.activations)[:-1]
        gradients = {"output.kernel": step.activations[below[-1]].T @ delta, "output.bias": delta.sum(axis=0)}
        layers, inputs = [*below, "output"], [step.images, *(step.activations[name] for name in below)]
        for index in (1, 0):
            fires = step.activations[layers[index]] > 0
            carried = delta @ weights[f"{layers[index + 1]}.kernel"].T
            delta = carried * fires if of_nan == "multiplied by 0" else np.where(fires, carried, 0)
            gradients |= {f"{layers[index]}.kernel": inputs[index].T @ delta}
            gradients |= {f"{layers[index]}.bias": delta.sum(axis=0)}
        return {
            "preactivations": step.preactivations | {"output": z},
            "activations": step.activations | {"output": p},
            "gradients": {name: gradients[name] for name in step.gradients},
        }

    side = with_step(0, change, clean)
    rung = next(rung for rung in climb({"clean": clean, "side": side}) if rung.name == "gradients")
    assert (rung.verdict, rung.where) == ("parity", None)


def test_a_number_beside_what_is_not_a_number_fails(clean: Trace) -> None:
    def change(step: Step) -> dict[str, Any]:
        return {"preactivations": step.preactivations | {"output": np.full((32, 10), np.nan, np.float32)}}

    # The probabilities of logits that are not numbers cannot be numbers.
    rungs = climb({"clean": clean, "faulty": with_step(0, change, clean)})
    assert failed(rungs)[:2] == ["forward", "loss"]


# --- what follows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "source"), [({"loss.reduction": "sum"}, "settings"), ({"optimizer.learning_rate": 0.5}, None)], ids=str
)
def test_a_later_rung_follows_only_from_what_leads_to_it(
    clean: Trace, stated: dict[str, Any], source: str | None
) -> None:
    one = with_settings(stated, clean)

    def change(step: Step) -> dict[str, Any]:
        return {"loss": step.loss * 2}

    rungs = climb({"clean": clean, "faulty": with_step(0, change, one)})
    assert failed(rungs) == ["settings", "loss"]
    follows = {rung.name: rung.detail.get("follows") for rung in rungs}
    assert follows == dict.fromkeys(RUNGS[:7]) | {"loss": source}
    assert gravest(rungs) == (source or "loss")


def test_nothing_follows_where_nothing_failed(clean: Trace) -> None:
    assert not any("follows" in rung.detail for rung in climb({"a": clean, "b": clean}))


# --- settings --------------------------------------------------------------------------------------


def settings_rung(clean: Trace, **sides: dict[str, Any]) -> Rung:
    return climb({name: with_settings(settings, clean) for name, settings in sides.items()})[0]


def test_harmless_differences_are_listed_and_do_not_fail(clean: Trace) -> None:
    rung = settings_rung(clean, first={"tf32": True, "dropout_seed": 3}, second={"tf32": False, "dropout_seed": 4})
    assert rung.verdict == "parity"
    assert rung.measured == 0
    assert [(entry["key"], entry["arithmetic"]) for entry in rung.detail["differences"]] == [
        ("dropout_seed", False),
        ("tf32", False),
    ]


def test_tf32_turns_the_arithmetic_on_a_gpu(clean: Trace) -> None:
    first = with_settings({"tf32": True}, clean, device="gpu")
    second = with_settings({"tf32": False}, clean, device="gpu")
    rung = climb({"first": first, "second": second})[0]
    assert (rung.verdict, rung.cause) == ("not parity", "one side computes float32 matrix products in TF32")
    assert rung.where == "tf32: True in first, False in second"


def test_a_setting_that_one_side_does_not_state_is_no_difference_in_arithmetic(clean: Trace) -> None:
    rung = settings_rung(clean, first={}, second={"optimizer.epsilon": None})
    assert rung.verdict == "parity"
    (entry,) = rung.detail["differences"]
    assert (entry["key"], entry["second"]) == ("optimizer.epsilon", "not stated")


def test_numbers_that_are_one_number_in_the_recipes_dtype_are_the_same(clean: Trace) -> None:
    stated = {"optimizer.beta_1": float(np.float32(0.9))}
    assert settings_rung(clean, first={}, second=stated).detail["differences"] == []
    double = trace(Base, Recipe(**SMALL, dtype="float64"))
    first, second = (with_settings({"optimizer.beta_1": beta}, double) for beta in (0.9, float(np.float32(0.9))))
    assert failed(climb({"first": first, "second": second})) == ["settings"]


def test_every_difference_is_named(clean: Trace) -> None:
    rung = settings_rung(clean, first={}, second={"optimizer.learning_rate": 0.01, "loss.reduction": "sum"})
    assert rung.measured == 2
    assert rung.where == (
        "loss.reduction: mean in first, sum in second; optimizer.learning_rate: 0.001 in first, 0.01 in second"
    )
    assert rung.cause == ("one side sums the losses of a batch, the other averages them; the learning rates differ")


# --- bytes -----------------------------------------------------------------------------------------


def test_one_bit_of_an_initial_weight_is_a_difference(clean: Trace) -> None:
    kernel = clean.initial_weights["output.kernel"]
    moved = with_number(kernel, (2, 3), np.nextafter(kernel[2, 3], np.float32(1)))
    other = dataclasses.replace(clean, initial_weights={**clean.initial_weights, "output.kernel": moved})
    rung = next(rung for rung in climb({"clean": clean, "faulty": other}) if rung.name == "initial_weights")
    assert (rung.verdict, rung.measured) == ("not parity", 1)
    assert (rung.where or "").startswith("output.kernel at (2, 3): ")
    assert rung.cause == "faulty: output.kernel is off by rounding: one unit in the last place"


def test_the_sign_of_a_zero_bias_is_a_bit(clean: Trace) -> None:
    other = dataclasses.replace(
        clean, initial_weights={**clean.initial_weights, "output.bias": -clean.initial_weights["output.bias"]}
    )
    assert "initial_weights" in failed(climb({"clean": clean, "faulty": other}))


def test_one_batch_of_an_epoch_is_a_difference(clean: Trace) -> None:
    hashes = [*clean.batch_hashes]
    hashes[7] = "0" * 64
    rung = climb({"clean": clean, "faulty": dataclasses.replace(clean, batch_hashes=hashes)})[1]
    assert (rung.name, rung.verdict, rung.measured) == ("data", "not parity", 1)
    assert (rung.where or "").startswith("batch 8 of epoch 1: SHA-256 ")


# --- the unit of the last place --------------------------------------------------------------------


def test_ulps_are_counted_in_units_of_the_largest_number_of_a_row() -> None:
    first = np.array([[1.0, 2.0**-20], [4.0, -3.0]], np.float32)
    second = first.copy()
    assert max_ulps(first, second) == 0
    second[0, 1] += np.float32(2.0**-23)  # the spacing at 1, the largest of its row
    assert max_ulps(first, second) == 1
    second[1, 1] += np.float32(3 * 2.0**-21)  # the spacing at 4 is 2⁻²¹
    assert max_ulps(first, second) == 3
    double = first.astype(np.float64)
    assert max_ulps(double, double + np.array([[0, 2.0**-52], [0, 0]])) == 1


def test_ulps_are_given_only_for_the_same_images(clean: Trace) -> None:
    same = climb({"clean": clean, "other": trace(TorchsForm, clean.recipe)})[3]
    assert 0 < max(same.detail["ulps"].values()) < 100
    other = with_step(0, lambda step: {"images": step.images[::-1]}, clean)
    assert "ulps" not in climb({"clean": clean, "other": other})[3].detail


# --- two traces ------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[], ["one"], ["one", "two", "three"]])
def test_a_ladder_stands_on_exactly_two_traces(clean: Trace, names: list[str]) -> None:
    with pytest.raises(ValueError, match=f"two traces, not {len(names)}"):
        climb(dict.fromkeys(names, clean))


def test_the_rungs_come_in_order(clean: Trace) -> None:
    assert list(verdicts(climb({"a": clean, "b": clean}))) == list(RUNGS[:7])
