"""When a hypothesis counts as the cause: it explains all that deviates, up to rounding, and says where it holds."""

import numpy as np
import pytest

from compare.causes.signatures import (
    A_DRAWN_MASK,
    UNKNOWN,
    Evidence,
    Hypothesis,
    accepted,
    as_noise,
    is_drawn,
    kept_in,
    named,
    rounded,
    roundest_between,
    rounds_as,
    see,
)
from compare.ladder.climb import mark_followers
from compare.ladder.rung import Rung

EXPECTED = np.random.default_rng(0).normal(size=(8, 8))
UNIT = 2.0**-53


def evidence(step: int, factor: float, tensor: str = "z") -> Evidence:
    bound = 4 * UNIT * np.abs(EXPECTED)
    return Evidence(step, tensor, factor * EXPECTED, EXPECTED, bound, UNIT)


def times(factor: float, *, fitted: int = 0, whole: bool = False) -> Hypothesis:
    return Hypothesis(f"times {factor:g}", lambda one: factor * one.expected, fitted, whole)


def test_a_hundredth_of_the_deviation_left_over_is_too_much() -> None:
    assert named([evidence(1, 2)], [times(2)]) == "times 2"
    assert named([evidence(1, 2)], [times(1.99)]) is None


def test_it_has_to_hold_in_every_step_that_deviates() -> None:
    assert named([evidence(1, 2), evidence(2, 3)], [times(2), times(3)]) is None


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ((1, 1, 2, 2), ", from step 3 on: the steps before are right"),
        ((1, 2, 1, 1), ", in step 2 only"),
        ((1, 2, 1, 2), ", in the steps 2 and 4 only"),
        ((2, 2, 1, 1), ", up to step 2 only"),
        ((2, 2, 2, 2), ""),
    ],
)
def test_it_says_in_which_steps_it_holds(factors: tuple[float, ...], words: str) -> None:
    assert named([evidence(*pair) for pair in enumerate(factors, 1)], [times(2)]) == f"times 2{words}"


def test_it_says_of_which_tensors_it_holds_unless_it_is_about_all() -> None:
    found = [evidence(1, 2, "a"), evidence(1, 1, "b")]
    assert named(found, [times(2)]) == "times 2 (of a only)"
    assert named(found, [times(2, whole=True)]) is None


def test_a_number_near_zero_is_not_fitted_to_rounding() -> None:
    barely = 1 + 12 * UNIT  # three times the bound
    assert not evidence(1, barely).is_right
    assert accepted([evidence(1, barely)], times(barely, fitted=1)) is None
    assert accepted([evidence(1, barely)], times(barely)) is not None


def test_two_that_fit_are_both_named_and_fewer_numbers_go_first() -> None:
    same = Hypothesis("doubled", lambda one: one.expected + one.expected)
    assert named([evidence(1, 2)], [times(2), same]) == "times 2 – or doubled"
    assert named([evidence(1, 2)], [times(2, fitted=1), same]) == "doubled"


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_rounding_scatters_and_a_factor_does_not(dtype: str, bits: int) -> None:
    random = np.random.default_rng(1)
    errors, scales = [], []
    for _ in range(2):
        x, w = random.normal(size=(50, 60)), random.normal(size=(60, 70))
        errors.append(rounded(x, dtype) @ rounded(w, dtype) - x @ w)
        scales.append(np.sqrt(x**2 @ w**2))
    assert f"about {bits} significant bits" in (rounds_as(errors, scales, double=False) or "")
    assert rounds_as([2.0**-12 * scale for scale in scales], scales, double=False) is None
    assert rounds_as([1e-5 * error for error in errors], scales, double=False) is None


def test_noise_knows_nothing_and_sums_of_terms_that_are_off_do() -> None:
    random = np.random.default_rng(2)
    bound = np.full((32, 20), UNIT)

    def named_as_noise(errors: list[np.ndarray]) -> str | None:
        numbers = [random.normal(size=(32, 20)) for _ in errors]
        both = enumerate(zip(numbers, errors, strict=True), 1)
        return as_noise([Evidence(step, "z", x + error, x, bound, UNIT) for step, (x, error) in both])

    noise = [random.normal(0, 0.1, (32, 20)) for _ in range(4)]
    assert "normal noise of standard deviation 0.1 that is added" in (named_as_noise(noise) or "")
    assert "uniform noise" in (named_as_noise([random.uniform(-1, 1, (32, 20)) for _ in range(4)]) or "")
    # Normally distributed each, but of 5 terms: each image's and each unit's are alike.
    sums = [random.normal(size=(32, 5)) @ random.normal(size=(5, 20)) / np.sqrt(5) for _ in range(4)]
    assert named_as_noise(sums) is None
    assert named_as_noise([np.full((32, 20), 0.1) for _ in range(4)]) is None


def test_few_numbers_are_not_called_rounded() -> None:
    assert kept_in(np.arange(1.0, 6), double=True) is None
    assert kept_in(np.arange(129.0, 149), double=True) == "the numbers are kept in bfloat16"  # 8 bits
    assert kept_in(np.arange(1.0, 20), double=True) == "no number has more than 5 significant bits"
    assert kept_in(np.ldexp(1.0, np.arange(-9, 9)), double=True) == "all numbers that are not 0 are powers of 2"
    assert kept_in(np.tile([-0.25, 0.25], 20), double=True) is None  # two numbers have no precision


def test_a_cause_names_an_entry_that_there_is() -> None:
    assert see("adam-epsilon") == " (differences: adam-epsilon)"
    with pytest.raises(KeyError):
        see("adam-epsilons")


def test_nothing_fits_is_not_said_behind_a_failure() -> None:
    rungs = [
        Rung(name, "not parity", 1.0, 1.0, cause=cause)
        for name, cause in (("forward", "a cause"), ("loss", UNKNOWN), ("optimizer", "another"))
    ]
    assert [rung.cause for rung in mark_followers(rungs)] == [
        "a cause",
        "no cause of its own is found: it may follow from what is off in the rung forward",
        "another",
    ]


def test_what_a_threshold_drops_is_not_drawn() -> None:
    random = np.random.default_rng(0)
    numbers = random.normal(size=(20, 40))
    assert is_drawn(random.random(numbers.shape) < 0.3, numbers)
    assert not is_drawn(np.abs(numbers) < 0.3, numbers)
    assert not is_drawn(numbers < -0.3, numbers), "by their sign"
    few = np.abs(numbers) <= np.sort(np.abs(numbers), axis=None)[2]
    assert not is_drawn(few, numbers), "three of 800, but the three smallest"
    # Numbers that are all alike have no ranks that tell.
    assert is_drawn(random.random(numbers.shape) < 0.3, np.ones_like(numbers))


def test_a_drawn_mask_yields_to_a_rule() -> None:
    rule = times(2, fitted=1)
    mask = Hypothesis("dropout", lambda one: np.where(one.recorded != 0, one.recorded, 0), A_DRAWN_MASK)
    assert named([evidence(1, 2)], [mask, rule]) == "times 2"
    assert named([evidence(1, 2)], [mask]) == "dropout"


@pytest.mark.parametrize(
    ("low", "high", "found"), [(0.4978, 0.5003, 0.5), (0.5, 0.5003, 0.5), (0.31, 0.32, 0.31), (3.2e-5, 4.1e-5, 4e-5)]
)
def test_the_roundest_number_between_two_is_that_with_the_fewest_digits(low: float, high: float, found: float) -> None:
    assert roundest_between(low, high) == found


def test_nothing_follows_from_what_a_cause_takes_as_it_finds_it() -> None:
    taken = Hypothesis("of the step after", lambda one: one.as_found if one.step == 2 else 2 * one.expected)
    assert accepted([evidence(2, 3.0)], taken) is None
    assert accepted([evidence(1, 2.0), evidence(2, 3.0)], taken) is not None


def test_what_rounding_allows_a_cause_explains_nothing_that_it_allows_the_expected_numbers_too() -> None:
    wide = Hypothesis("of large terms", lambda one: 1.1 * one.expected, terms=lambda one: 1e9 * np.abs(one.expected))
    assert accepted([evidence(1, 1.01)], wide) is None
