"""The traces of convolutions and dropout: what is recorded is what the training did, on every side."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compare.ladder.inputs import data
from recipe.batch_order import epoch_order
from recipe.dropout_masks import dropout_masks
from record.first_steps import Trace, read_trace
from record.training import RunRecord
from tests.conftest import ALL_AT_ONCE, SMALL, WORKERS, Once, recipe_of, run_python

Trained = Callable[..., RunRecord]
Traced = Callable[..., Trace]
MASKS = ({}, {"dropout_masks": "framework"})  # shared where nothing else is said


@pytest.fixture(scope="session")
def traced(once: Once) -> Traced:
    """`traced(worker, **fields)` is the record of a worker's first steps with that recipe."""

    def get(worker: str, **fields: Any) -> Trace:
        name = "-".join(["trace", worker, *(f"{key}={value}" for key, value in fields.items())]).replace("/", "_")

        def make(directory: Any) -> None:
            (directory / "recipe.json").write_text(json.dumps(fields))
            process = run_python("-m", *WORKERS[worker], "--trace", "recipe.json", "record", cwd=directory)
            assert process.returncode == 0, process.stderr

        return read_trace(once(name, make) / "record")

    return get


@pytest.mark.parametrize("masks", MASKS, ids=["shared", "framework"])
@pytest.mark.parametrize("worker", WORKERS)
def test_trace_is_the_beginning_of_the_training(
    trained: Trained, traced: Traced, own_data: str, worker: str, masks: dict[str, str]
) -> None:
    fields = {**ALL_AT_ONCE, "dataset": own_data, **masks}
    trace, training = traced(worker, **fields), trained(worker, **fields)
    # The trained arithmetic to the last bit: the same masks, and steps that are compiled alike.
    assert np.array_equal([step.loss for step in trace.steps], training.step_losses[:10])
    assert trace.settings == training.settings


@pytest.mark.parametrize("masks", MASKS, ids=["shared", "framework"])
@pytest.mark.parametrize("worker", WORKERS)
def test_recorded_numbers_follow_from_each_other(
    traced: Traced, own_data: str, worker: str, masks: dict[str, str]
) -> None:
    trace = traced(worker, **ALL_AT_ONCE, dataset=own_data, **masks)
    parameters = trace.initial_weights
    for step in trace.steps:
        assert step.activations["convolution_1"].shape == (20, 10, 12, 4)
        assert step.activations["convolution_2"].shape == (20, 3, 4, 6)
        tensor = step.images.reshape(20, 12, 14, 1)
        for name in ("convolution_1", "convolution_2"):
            expected = convolved(tensor, parameters[f"{name}.kernel"]) + parameters[f"{name}.bias"]
            assert_close(step.preactivations[name], expected)
            assert np.array_equal(step.activations[name], np.maximum(step.preactivations[name], 0))
            tensor = pooled(step.activations[name])
        tensor = tensor.reshape(20, -1)
        for name in ("hidden_1", "hidden_2"):
            expected = tensor @ parameters[f"{name}.kernel"] + parameters[f"{name}.bias"]
            assert_close(step.preactivations[name], expected)
            tensor = step.dropped[name]
            scaled = step.activations[name] / (1 - trace.recipe.dropout)
            assert (np.isclose(tensor, scaled, rtol=1e-15, atol=0) | (tensor == 0)).all()
        expected = tensor @ parameters["output.kernel"] + parameters["output.bias"]
        assert_close(step.preactivations["output"], expected)
        # The loss is of this very forward pass: with other masks it would be another.
        log_probabilities = expected - np.log(np.exp(expected).sum(axis=1, keepdims=True))
        assert abs(step.loss + log_probabilities[np.arange(20), step.labels].mean()) <= 1e-13
        parameters = step.parameters


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    # Sums of at most 72 products of numbers near 1, each rounded by 2^-53, in either order.
    assert np.abs(found - expected).max() <= 1e-13


def convolved(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(images, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nrcikl,klif->nrcf", windows, kernel)


def pooled(maps: np.ndarray) -> np.ndarray:
    count, rows, columns, filters = maps.shape
    rest_left_out = maps[:, : rows // 2 * 2, : columns // 2 * 2]
    return rest_left_out.reshape(count, rows // 2, 2, columns // 2, 2, filters).max(axis=(2, 4))


@pytest.mark.parametrize("worker", WORKERS)
def test_shared_masks_are_the_recipes(traced: Traced, own_data: str, worker: str) -> None:
    trace = traced(worker, **ALL_AT_ONCE, dataset=own_data)
    for index, step in enumerate(trace.steps):
        masks = dropout_masks(trace.recipe, 0, 20 * index, 20 * index + 20)
        assert 0.1 < (masks == 0).mean() < 0.3
        assert np.array_equal(step.dropped["hidden_1"], step.activations["hidden_1"] * masks[:, :16])
        assert np.array_equal(step.dropped["hidden_2"], step.activations["hidden_2"] * masks[:, 16:])


def test_masks_of_keras_follow_keras_own_order_as_well(traced: Traced, own_data: str) -> None:
    fields = {**ALL_AT_ONCE, "dataset": own_data, "batch_order": "framework", "dropout_masks": "shared"}
    trace = traced("keras-tensorflow", **fields)
    recipe = recipe_of(**fields)
    with np.load(own_data) as arrays:
        pixels = arrays["x_train"].reshape(305, -1) / 255
    first = pixels[epoch_order(0, 0, 305)[:20]]
    assert not np.array_equal(trace.steps[0].images, first)
    masks = dropout_masks(recipe, 0, 0, 20)
    step = trace.steps[0]
    assert np.array_equal(step.dropped["hidden_2"], step.activations["hidden_2"] * masks[:, 16:])


@pytest.mark.parametrize("worker", WORKERS)
def test_trace_has_the_order_that_the_training_has(
    trained: Trained, traced: Traced, own_data: str, worker: str
) -> None:
    fields = {**SMALL, "dtype": "float64", "dataset": own_data, "preset": "native"}
    trace, training = traced(worker, **fields), trained(worker, **fields)
    assert np.array_equal([step.loss for step in trace.steps], training.step_losses[:10])


@pytest.mark.parametrize("worker", WORKERS)
def test_the_order_that_repeats_is_named(traced: Traced, own_data: str, worker: str) -> None:
    fields = {**SMALL, "dataset": own_data, "batch_order": "framework"}
    sides = {"mine": traced(worker, **fields), "other": traced("lightning", **{**fields, "seed": 1})}
    cause = data(sides).cause or ""
    assert cause.startswith("each framework shuffles with its own generator")
    repeats = "mine takes the images in the same order in every epoch, as Keras on TensorFlow does once a seed is set"
    assert cause.endswith(repeats) == (worker == "keras-tensorflow")
    assert ("same order" in cause) == (worker == "keras-tensorflow")


@pytest.mark.parametrize("worker", [worker for worker in WORKERS if worker != "lightning"])
def test_traces_of_both_sides_agree(traced: Traced, own_data: str, worker: str) -> None:
    fields = {**ALL_AT_ONCE, "dataset": own_data}
    first, second = traced(worker, **fields), traced("lightning", **fields)
    assert first.batch_hashes == second.batch_hashes
    assert len(first.batch_hashes) == 16 + 1
    assert first.settings == second.settings
    for step, other in zip(first.steps, second.steps, strict=True):
        for group in ("dropped", "gradients", "parameters", "first_moments", "second_moments"):
            arrays, others = getattr(step, group), getattr(other, group)
            assert list(arrays) == list(others)
            for name, array in arrays.items():
                # Rounding of ten float64 steps: 1e-15 when measured.
                assert np.abs(array - others[name]).max() <= 1e-13, (group, name)
