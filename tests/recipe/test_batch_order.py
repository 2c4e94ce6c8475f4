import hashlib

import numpy as np
import pytest

from recipe.batch_order import epoch_order


@pytest.mark.parametrize("num_images", [1, 2, 1000, 60_000])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (2**32 - 1, 999_999)])
def test_order_is_a_permutation(seed: int, epoch: int, num_images: int) -> None:
    order = epoch_order(seed, epoch, num_images)
    assert order.dtype == np.int32
    assert np.array_equal(np.sort(order), np.arange(num_images))


def test_order_differs_by_seed_and_by_epoch() -> None:
    orders = [epoch_order(seed, epoch, 60_000) for seed in range(4) for epoch in range(4)]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            # Two random permutations agree at one place on average; 20 has a probability of about 1e-19.
            assert np.sum(first == second) < 20


@pytest.mark.parametrize(
    ("seed", "epoch", "golden"),
    [
        (0, 0, "98bf1ae6ad747826"),
        (0, 1, "8e74937358f51aea"),
        (1, 0, "2b7811d248c6d361"),
        (2**32 - 1, 9, "f5c7c53d3e96602e"),
    ],
)
def test_order_is_the_same_for_good(seed: int, epoch: int, golden: str) -> None:
    order = epoch_order(seed, epoch, 60_000).astype("<i4")
    assert hashlib.sha256(order.tobytes()).hexdigest()[:16] == golden
