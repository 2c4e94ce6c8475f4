import hashlib

import numpy as np
import pytest

from recipe import Recipe
from recipe.dropout_masks import dropout_masks

RECIPE = Recipe(dropout=0.3, hidden_sizes=(128, 5, 512))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_drop_the_share_and_scale_what_they_keep(dtype: str) -> None:
    masks = dropout_masks(Recipe(dropout=0.3, dtype=dtype), 0, 0, 1000)
    assert masks.shape == (1000, 128 + 256 + 512)
    assert masks.dtype == dtype
    assert np.unique(masks).tolist() == [0, np.dtype(dtype).type(1 / 0.7)]
    # Of 896,000 draws the share scatters by 0.0005; five times that is ample.
    assert (masks == 0).mean() == pytest.approx(0.3, abs=0.0025)


@pytest.mark.parametrize(("start", "stop"), [(0, 32), (32, 64), (33, 34), (7, 1000), (999, 1000)])
def test_any_part_of_an_epoch_is_the_same_part(start: int, stop: int) -> None:
    np.testing.assert_array_equal(dropout_masks(RECIPE, 3, start, stop), dropout_masks(RECIPE, 3, 0, 1000)[start:stop])


def test_masks_are_the_same_for_good() -> None:
    kept = dropout_masks(RECIPE, 1, 5, 50) > 0
    assert hashlib.sha256(np.packbits(kept).tobytes()).hexdigest()[:16] == "e9ae51693e563149"


def test_masks_differ_by_seed_epoch_image_and_layer() -> None:
    recipe = Recipe(dropout=0.5, hidden_sizes=(256, 256))
    masks = dropout_masks(recipe, 0, 0, 2)
    others = [
        dropout_masks(recipe, 1, 0, 2),
        dropout_masks(Recipe(dropout=0.5, hidden_sizes=(256, 256), seed=1), 0, 0, 2),
        masks[::-1],
        masks.reshape(2, 2, 256)[:, ::-1].reshape(2, -1),
    ]
    # Independent masks agree on half of 1,024 units, and scatter by 16; six times that is ample.
    assert all(abs((masks == other).sum() - 512) < 96 for other in others)


def test_no_hidden_layer_has_no_masks() -> None:
    assert dropout_masks(Recipe(dropout=0.3, hidden_sizes=()), 0, 0, 5).shape == (5, 0)
