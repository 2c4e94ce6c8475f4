import numpy as np
import pytest

from watch.program.draws import Draws, range_of


def test_two_programs_that_draw_alike_get_the_same_numbers_in_any_order() -> None:
    first, second = Draws(lambda: 3), Draws(lambda: 3)
    noise, times = first.normal((8, 2)), first.integers((8,), 0, 50, again=False)
    assert np.array_equal(second.integers((8,), 0, 50, again=False), times)
    assert np.array_equal(second.normal((8, 2)), noise)


def test_what_is_drawn_twice_or_in_another_step_is_other_numbers() -> None:
    step = 0
    draws = Draws(lambda: step)
    first, second = draws.uniform((20,)), draws.uniform((20,))
    step = 1
    third = draws.uniform((20,))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_model_that_is_called_again_draws_the_same_whole_numbers() -> None:
    draws = Draws(lambda: 0)
    first, second = (draws.integers((9,), 0, 1000, again=True) for _ in range(2))
    draws.forward_begins()
    assert np.array_equal(draws.integers((9,), 0, 1000, again=True), first)
    assert not np.array_equal(first, second)


def test_a_training_that_begins_counts_anew() -> None:
    draws = Draws(lambda: 0)
    first = draws.normal((9,))
    draws.begin()
    assert np.array_equal(draws.normal((9,)), first)


def test_whole_numbers_are_in_their_range() -> None:
    found = Draws(lambda: 0).integers((500,), -2, 3, again=False)
    assert set(found.tolist()) == {-2, -1, 0, 1, 2}
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("args", "options", "expected"),
    [
        ((50, (8,)), {}, (0, 50)),
        ((2, 50, (8,)), {}, (2, 50)),
        (((8,),), {"high": 9}, (0, 9)),
        ((), {"low": 3, "high": 9, "size": (8,)}, (3, 9)),
        ((5,), {"high": 9, "size": (8,)}, (5, 9)),
        ((np.int64(2), np.int64(4), (8,)), {}, (2, 4)),
        ((0, np.ones(2), (8,)), {}, None),
        ((7, 3, (8,)), {}, None),
    ],
)
def test_the_range_of_a_call_of_randint(args: tuple[object, ...], options: dict[str, int], expected: object) -> None:
    assert range_of(args, options) == expected
