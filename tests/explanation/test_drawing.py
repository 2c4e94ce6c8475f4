import re

import numpy as np
import pytest

from compare.explanation.feeding.drawing import Draw, masks_apart, noise_apart, parts_apart
from compare.explanation.observed.observation import Array

GENERATOR = np.random.default_rng(2)
BATCH = GENERATOR.normal(size=(16, 12))
NORMAL = Draw(GENERATOR.normal(size=(16, 12)), None)
UNIFORM = Draw(GENERATOR.random((16, 12)), None)
OTHER = Draw(GENERATOR.normal(size=(16, 12)), None)


def float32(array: Array) -> Array:
    return np.asarray(array, np.float32)


@pytest.mark.parametrize("factor", [0.1, -0.2, 0.003])
def test_another_deviation_is_told_of_the_numbers_that_were_drawn(factor: float) -> None:
    spoilt = BATCH + 0.3 * NORMAL.values
    found = noise_apart(spoilt, float32(spoilt + factor * NORMAL.values), [OTHER, NORMAL])
    assert found is not None
    assert found[0] == pytest.approx(factor, abs=1e-4)  # inputs of float32, up to 4, on 192 numbers
    assert found[1] is NORMAL


def test_noise_is_told_behind_a_mask() -> None:
    kept = UNIFORM.values > 0.2
    found = noise_apart(BATCH * kept, (BATCH + 0.1 * NORMAL.values) * kept, [NORMAL])
    assert found is not None
    assert found[0] == pytest.approx(0.1)


def test_other_noise_is_not_said_to_be_noise_that_was_drawn() -> None:
    assert noise_apart(BATCH, BATCH + 0.1 * GENERATOR.normal(size=BATCH.shape), [NORMAL, UNIFORM]) is None
    assert noise_apart(BATCH, 1.1 * BATCH, [NORMAL, UNIFORM]) is None


def test_numbers_in_channels_last_belong_to_images_in_channels_first() -> None:
    images = GENERATOR.normal(size=(4, 3, 5, 5))
    noise = Draw(GENERATOR.normal(size=(4, 5, 5, 3)), None)
    found = noise_apart(images, images + 0.5 * np.moveaxis(noise.values, -1, 1), [noise])
    assert found is not None
    assert found[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kept", "reference", "port"),
    [
        (UNIFORM.values < 0.25, r"below 0\.2\d*$", r"from 0\.2\d* on$"),
        (np.ones_like(UNIFORM.values), r"below 0\.2\d*$", "nothing"),
        (UNIFORM.values >= 0.5, r"below 0\.2\d*$", r"below 0\.(4|5)\d*$"),
    ],
)
def test_masks_are_told_by_their_numbers(kept: Array, reference: str, port: str) -> None:
    found = masks_apart(BATCH * (UNIFORM.values >= 0.25), BATCH * kept, [NORMAL, UNIFORM])
    assert found is not None
    assert re.search(reference, found[0])
    assert re.search(port, found[1])
    assert found[2] is UNIFORM


def test_a_mask_by_other_numbers_is_not_told() -> None:
    hidden = GENERATOR.random(BATCH.shape) < 0.3
    assert masks_apart(BATCH, BATCH * hidden, [UNIFORM, NORMAL]) is None
    assert masks_apart(BATCH, 2 * BATCH * (UNIFORM.values < 0.3), [UNIFORM]) is None


def test_another_schedule_is_told_sample_by_sample() -> None:
    signal, noise = GENERATOR.random((2, 16, 1))
    reference = signal * BATCH + noise * NORMAL.values
    assert parts_apart(reference, signal**2 * BATCH + noise * NORMAL.values, [OTHER, NORMAL]) is NORMAL
    assert parts_apart(reference, np.roll(BATCH, 1, axis=0), [OTHER, NORMAL]) is None


def test_two_numbers_a_sample_fit_any_two_parts_and_tell_nothing() -> None:
    assert parts_apart(BATCH[:, :2], GENERATOR.normal(size=(16, 2)), [Draw(NORMAL.values[:, :2], None)]) is None
