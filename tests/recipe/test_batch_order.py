import hashlib
import re

import numpy as np
import pytest

from recipe.batch_order import epoch_order
from tests.conftest import ROOT


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


def test_the_contract_gives_philoxs_first_numbers() -> None:
    """As the textbook has them, ten rounds on a counter to which NumPy has added 1 (Salmon et al. 2011)."""
    page = (ROOT / "docs" / "run-record.md").read_text()
    found = re.search(r"Key \(0, 1\) and counter\s+\(0, 0, 0, 0\) give ([\d,\s]+)\.", page)
    assert found
    counter, key, word = [1, 0, 0, 0], [0, 1], 2**64 - 1
    for _ in range(10):
        low, high = counter[0] * 0xD2E7470EE14C6C93, counter[2] * 0xCA5A826395121157
        counter = [high >> 64 ^ counter[1] ^ key[0], high & word, low >> 64 ^ counter[3] ^ key[1], low & word]
        key = [key[0] + 0x9E3779B97F4A7C15 & word, key[1] + 0xBB67AE8584CAA73B & word]
    assert [int(number) for number in found[1].split(",")] == counter
    assert np.random.Philox(key=[0, 1], counter=[0, 0, 0, 0]).random_raw(4).tolist() == counter
