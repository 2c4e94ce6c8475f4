"""Windows in Lightning: of blocks and of single steps the same, and the training as it is without them."""

import functools
from typing import Any

import numpy as np
import pytest

from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.data import MnistDataModule
from lightning_impl.recording import Recorder, quiet_trainer
from lightning_impl.weights import get_weights
from lightning_impl.windows import BorderWatcher, WindowedClassifier
from recipe import Recipe
from record.windows import State, window_places
from tests.conftest import SMALL, recipe_of

KINDS = {
    "dense": {},
    "autograd": {"dropout": 0.2},
    "cnn in float64": {"network": "cnn", "dtype": "float64", "dropout": 0.2},
    "torch's Adam": {"adam": "framework"},
}


def fitted(module: BlockDigitClassifier, recipe: Recipe, *callbacks: Any) -> Recorder:
    recorder = Recorder(recipe)
    trainer = quiet_trainer("cpu", *callbacks, recorder, max_epochs=recipe.epochs, num_sanity_val_steps=0)
    trainer.fit(module, MnistDataModule(recipe))
    return recorder


@functools.cache
def windowed(recipe: Recipe, steps: Any = "auto") -> tuple[WindowedClassifier, Recorder]:
    module = WindowedClassifier(recipe, steps)
    return module, fitted(module, recipe, BorderWatcher())


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def recipe(request: pytest.FixtureRequest, own_data: str) -> Recipe:
    return recipe_of(**{**SMALL, "dataset": own_data, **request.param})


def same(first: State, second: State) -> bool:
    groups = zip(first, second, strict=True)
    return all(np.array_equal(a[name], b[name]) for a, b in groups for name in a)


def test_windows_change_no_bit(recipe: Recipe) -> None:
    module, recorder = windowed(recipe)
    plain = BlockDigitClassifier(recipe)
    losses = np.concatenate(fitted(plain, recipe).step_losses)
    assert module.steps_per_execution == plain.steps_per_execution == 16  # an epoch
    assert np.array_equal(np.concatenate(recorder.step_losses), losses)
    weights = get_weights(plain.model)
    assert all(np.array_equal(array, weights[name]) for name, array in get_weights(module.model).items())


def test_blocks_and_single_steps_leave_the_same(recipe: Recipe) -> None:
    blocks, single = windowed(recipe)[0], windowed(recipe, 1)[0]
    assert single.steps_per_execution == 1
    places = [[*place] for place in window_places(recipe)]
    assert [[step.number for step in window.steps] for window in single.keeper.windows] == places
    for one, other in zip(blocks.keeper.windows, single.keeper.windows, strict=True):
        assert same(one.before, other.before)
        for a, b in zip(one.steps, other.steps, strict=True):
            assert np.array_equal(a.images, b.images)
            assert np.array_equal(a.labels, b.labels)
            assert same(a.after, b.after)
            assert all(np.array_equal(a.gradients[name], b.gradients[name]) for name in a.gradients)
    assert blocks.keeper.epochs == single.keeper.epochs
    assert len(blocks.keeper.epochs.weights_at_end) == recipe.epochs
    fed, singly = blocks.fed_so_far(10**6), single.fed_so_far(10**6)
    assert fed.class_sums.tolist() == singly.class_sums.tolist()
    assert len(fed.pixel_sums) == len(singly.pixel_sums) == recipe.epochs * 16
    np.testing.assert_allclose(fed.pixel_sums, singly.pixel_sums, rtol=1e-4)  # added up in another order


def test_a_window_is_kept_as_a_copy(recipe: Recipe) -> None:
    keeper = windowed(recipe)[0].keeper
    first, *_, last = keeper.windows
    assert not first.before.first_moments["output.kernel"].any()
    states = [first.before.parameters, *(step.after.parameters for step in (*first.steps, *last.steps))]
    kernels = [state["output.kernel"] for state in states]
    assert all(not np.array_equal(a, b) for i, a in enumerate(kernels) for b in kernels[:i])
