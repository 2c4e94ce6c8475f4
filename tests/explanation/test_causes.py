from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from compare.explanation.arithmetic.recurrent import attention
from compare.explanation.model.layer_causes import MASK_TURNED_ROUND, OTHER_MASK, Given, causes
from compare.explanation.model.stretches.segments import Edit, Step, Value, explain_chain
from compare.explanation.observed.observation import Array, Layer, Parameter
from compare.explanation.observed.pairing import Pair
from compare.explanation.operations.activations import FUNCTIONS, Activation, identify
from compare.explanation.operations.learning import learn, learn_two
from compare.explanation.operations.windows import pooling, same_pads

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(4, 6))
IMAGES = GENERATOR.normal(size=(3, 2, 6, 6))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("LeakyReLU", "ELU", "CELU")])
def test_every_activation_is_known_by_its_values(name: str) -> None:
    found = identify(8 * X, FUNCTIONS[name](8 * X))
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(("name", "value"), [("LeakyReLU", 0.3), ("LeakyReLU", 0.01), ("ELU", 1.0), ("ELU", 0.5)])
def test_the_setting_of_an_activation_is_read_from_its_values(name: str, value: float) -> None:
    found = identify(X, FUNCTIONS[name](X, value))
    assert found is not None
    assert (found.name, found.value) == (name, value)


def test_a_slope_rounded_to_float32_is_still_the_slope() -> None:
    found = identify(X, FUNCTIONS["LeakyReLU"](X, float(np.float32(0.3))))
    assert found == Activation("LeakyReLU", "slope", 0.3)


def test_noise_is_no_activation() -> None:
    assert identify(X, relu(X) + 1e-4 * GENERATOR.normal(size=X.shape)) is None


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (IMAGES.reshape(3, -1), "channels, height, width"),
        (np.moveaxis(IMAGES, 1, -1).reshape(3, -1), "height, width, channels"),
        (IMAGES.mean(axis=(2, 3)), "global average pooling"),
        (pooling(IMAGES, "max", (2, 2), (2, 2), [(0, 0)] * 2), "max pooling of size 2"),
        (
            pooling(IMAGES, "average", (3, 3), (2, 2), same_pads((6, 6), (3, 3), (2, 2), (1, 1))),
            "average pooling of size 3",
        ),
        (np.repeat(np.repeat(IMAGES, 2, 2), 2, 3), "nearest"),
        (np.pad(IMAGES, ((0, 0), (0, 0), (0, 1), (0, 1))), "zero padding"),
        (2.5 * IMAGES, "scaling by 2.5"),
    ],
)
def test_operations_are_known_by_their_values(made: Array, words: str) -> None:
    found = learn(IMAGES, made)
    assert found is not None
    assert words in found.name


SAME_OF_5 = same_pads((6, 6), (5, 5), (2, 2), (1, 1))


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (pooling(IMAGES, "max", (2, 2), (2, 2), [(0, 0)] * 2), "F.max_pool2d(x, 2, 2)"),
        (pooling(IMAGES, "max", (3, 3), (2, 2), [(1, 1)] * 2), "F.max_pool2d(x, 3, 2, padding=1)"),
        (
            pooling(IMAGES, "max", (5, 5), (2, 2), SAME_OF_5),
            'F.max_pool2d(F.pad(x, (1, 2, 1, 2), value=float("-inf")), 5, 2)',
        ),
        (
            pooling(IMAGES, "average", (3, 3), (2, 2), [(1, 1)] * 2),
            "F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)",
        ),
        (IMAGES.mean(axis=(2, 3)), "x.mean(dim=(2, 3))"),
        (IMAGES.max(axis=(2, 3), keepdims=True), "x.amax(dim=(2, 3), keepdim=True)"),
        (np.pad(IMAGES, ((0, 0), (0, 0), (0, 1), (2, 0))), "F.pad(x, (2, 0, 0, 1))"),
        (IMAGES[:, :, :-1, 1:], "F.pad(x, (-1, 0, 0, -1))"),
        (np.repeat(np.repeat(IMAGES, 2, 2), 2, 3), 'F.interpolate(x, size=(12, 12), mode="nearest")'),
    ],
)
def test_what_an_operation_is_called_in_torch_gives_its_values(made: Array, code: str) -> None:
    import torch

    found = learn(IMAGES, made)
    assert found is not None
    assert found.code.replace("torch.nn.functional", "F").replace("{}", "x") == code
    by_torch = eval(code, {"x": torch.from_numpy(IMAGES), "F": torch.nn.functional})  # noqa: S307  the line is above
    np.testing.assert_allclose(by_torch.numpy(), made, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("factor", "shift", "words", "code"),
    [
        (float(np.float32(1 / 255)), 0.0, "scaling by 1/255", "x / 255"),
        (1 / 256, 0.0, "scaling by 1/256", "x / 256"),
        (1 / 127.5, -1.0, "scaling by 1/127.5, minus 1", "x / 127.5 - 1"),
        (1 / 65535, 0.0, "scaling by 1/65535", "x / 65535"),
        (float(np.float32(0.3)), 0.5, "scaling by 0.3, plus 0.5", "x * 0.3 + 0.5"),
        (0.353553391, 0.0, "scaling by 0.353553391", "x * 0.353553391"),
        (200000.0, 0.0, "scaling by 200000", "x * 200000"),
        (1.0, -0.5, "a constant added: -0.5", "x - 0.5"),
    ],
)
def test_a_scaling_is_written_as_it_was_most_likely_written(factor: float, shift: float, words: str, code: str) -> None:
    found = learn(IMAGES, factor * IMAGES + shift)
    assert found is not None
    assert (found.name, found.code.replace("{}", "x")) == (words, code)


def test_of_large_arrays_fewer_samples_are_enough() -> None:
    pooled = pooling(relu(IMAGES), "max", (2, 2), (2, 2), [(0, 0)] * 2)
    flat, average = pooled.reshape(3, -1), pooling(IMAGES, "average", (2, 2), (2, 2), [(0, 0)] * 2)
    steps = [
        Step("relu", IMAGES[:1], relu(IMAGES)[:1]),
        Step("pool", relu(IMAGES)[:1], pooled),
        Step("flatten", pooled, np.moveaxis(pooled, 1, -1).reshape(3, -1)),
    ]
    assert [edit.kind for edit in explained(IMAGES[:1], steps, [relu(IMAGES)[:1], pooled], flat) or []] == ["replaced"]
    edits = explained(IMAGES[:1], steps[1:], [average], average.reshape(3, -1)) or []
    assert [edit.steered and edit.steered.family for edit in edits] == ["pooling", "flatten"]
    assert (learn_two(X[:2], X, X[:2] + X[:2]) or learn(X, X)).name == "sum"  # type: ignore[union-attr]


def test_a_sum_and_a_concatenation_of_two() -> None:
    other = GENERATOR.normal(size=X.shape)
    assert (learn_two(X, other, X + other) or learn(X, X)).name == "sum"  # type: ignore[union-attr]
    found = learn_two(X, other, np.concatenate([other, X], axis=1))
    assert found is not None
    assert found.name == "concatenation along axis 1, second first"


def explained(begin: Array, steps: Sequence[Step], values: Sequence[Array], goal: Array) -> list[Edit] | None:
    named = [Value(value, f"value {i}", None) for i, value in enumerate([*values, goal])]
    return explain_chain(begin, steps, named, goal)


def test_chains_that_agree_need_no_edit() -> None:
    assert explained(X, [Step("relu", X, relu(X))], [], relu(X)) == []


def test_pooling_before_relu_is_the_same() -> None:
    pooled = pooling(relu(IMAGES), "max", (2, 2), (2, 2), [(0, 0)] * 2)
    steps = [Step("relu", IMAGES, relu(IMAGES)), Step("pool", relu(IMAGES), pooled)]
    first = pooling(IMAGES, "max", (2, 2), (2, 2), [(0, 0)] * 2)
    assert explained(IMAGES, steps, [first], relu(first)) == []


def test_a_missing_activation_is_missing() -> None:
    (edit,) = explained(X, [Step("relu", X, relu(X))], [], X) or []
    assert (edit.kind, edit.guide and edit.guide.name) == ("missing", "ReLU")


def test_another_slope_replaces_and_is_not_added() -> None:
    wanted, got = FUNCTIONS["LeakyReLU"](X, 0.3), FUNCTIONS["LeakyReLU"](X, 0.01)
    (edit,) = explained(X, [Step("leaky", X, wanted)], [got], got) or []
    assert edit.kind == "replaced"
    assert edit.steered is not None
    assert edit.steered.name == "LeakyReLU(slope=0.01)"


def test_two_faults_of_one_chain_are_both_found() -> None:
    wanted, got = FUNCTIONS["LeakyReLU"](IMAGES, 0.3), FUNCTIONS["LeakyReLU"](IMAGES, 0.01)
    flat = np.moveaxis(wanted, 1, -1).reshape(3, -1)
    edits = explained(IMAGES, [Step("leaky", IMAGES, wanted), Step("flatten", wanted, flat)], [got], got.reshape(3, -1))
    assert [edit.kind for edit in edits or []] == ["replaced", "replaced"]


def test_a_missing_residual_is_missing() -> None:
    other = GENERATOR.normal(size=X.shape)
    (edit,) = explained(X, [Step("add", X, X + other, (other,))], [], X) or []
    assert (edit.kind, edit.guide and edit.guide.name) == ("missing", "sum")


def test_nothing_is_named_that_no_value_bears_out() -> None:
    strange = relu(X) + 0.01 * GENERATOR.normal(size=X.shape)
    assert explained(X, [Step("relu", X, relu(X))], [], strange) is None


def given(
    kind: str,
    guide: dict[str, object],
    port: dict[str, object],
    x: Array,
    weights: dict[str, Array],
    outputs: tuple[Array, Array],
) -> Given:
    parameters = {"kernel": Parameter("l/kernel", weights["kernel"].shape, True, False)}
    first = Layer("k", kind, (kind,), guide, parameters, True, None)
    names = {"Conv2D": "Conv2d", "LayerNormalization": "LayerNorm"}
    second = Layer("t", names[kind], (names[kind],), port, {"weight": parameters["kernel"]}, True, None)
    common = "convolution" if kind == "Conv2D" else "layer normalization"
    return Given(Pair(common, (first,), (second,), fits=True), ("keras", "torch"), True, x, weights, *outputs)


def test_padding_at_stride_two_is_named_with_both_values() -> None:
    from compare.explanation.operations.windows import convolution

    kernel = GENERATOR.normal(size=(4, 2, 3, 3))
    fixed = {"stride": (2, 2), "dilation": (1, 1)}
    outputs = tuple(convolution(IMAGES, kernel, None, pads=pads, **fixed) for pads in ([(0, 1)] * 2, [(1, 1)] * 2))
    keras, torch = {"strides": [2, 2], "padding": "same"}, {"stride": [2, 2], "padding": [1, 1]}
    (cause,) = causes(given("Conv2D", keras, torch, IMAGES, {"kernel": kernel}, outputs))  # type: ignore[arg-type]
    assert (cause.name, cause.guide, cause.steered) == ("padding", "(0, 1)", "(1, 1)")


def test_epsilon_is_named_from_the_settings_that_the_values_confirm() -> None:
    def normalized(epsilon: float) -> Array:
        return (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + epsilon)

    outputs = normalized(1e-3), normalized(1e-5)
    (cause,) = causes(given("LayerNormalization", {"epsilon": 1e-3}, {"eps": 1e-5}, X, {"kernel": np.ones(6)}, outputs))
    assert (cause.name, cause.guide, cause.steered) == ("epsilon", "0.001", "1e-05")


def test_a_setting_that_the_values_do_not_confirm_is_not_named() -> None:
    outputs = X, X + 0.1 * GENERATOR.normal(size=X.shape)
    assert (
        causes(given("LayerNormalization", {"epsilon": 1e-3}, {"eps": 1e-5}, X, {"kernel": np.ones(6)}, outputs)) == []
    )


TIMES = GENERATOR.normal(size=(3, 5, 8))
PROJECTIONS = {f"{part}.kernel": GENERATOR.normal(size=(8, 8)) for part in ("query", "key", "value", "output")}
PADDING = np.arange(5) >= np.array([[3], [4], [2]])  # (samples, keys)


def attending(masks: tuple[Array, ...], guide: Array | None, port: Array) -> Given:
    """An attention whose guide leaves out what `guide` says, and whose port is given `masks` and leaves out `port`."""
    parameters = {"kernel": Parameter("a/kernel", (8, 2, 4), True, False)}
    first = Layer("k", "MultiHeadAttention", ("MultiHeadAttention",), {"num_heads": 2}, parameters, True, None)
    second = Layer("t", "MultiheadAttention", ("MultiheadAttention",), {"num_heads": 2}, parameters, True, None)
    outputs = [attention(TIMES, TIMES, TIMES, PROJECTIONS, 2, masked=masked) for masked in (guide, port)]
    pair = Pair("multi-head attention", (first,), (second,), fits=True)
    return Given(pair, ("keras", "torch"), True, TIMES, PROJECTIONS, outputs[0], outputs[1], None, masks)


@pytest.mark.parametrize(
    "masks",
    [(~PADDING,), (np.where(~PADDING, -np.inf, 0.0),), (np.zeros((5, 5)), ~PADDING)],
    ids=["of the keys", "added", "beside one of the queries that masks nothing"],
)
def test_a_mask_that_is_turned_round_is_named(masks: tuple[Array, ...]) -> None:
    (cause,) = causes(attending(masks, PADDING[:, None, None], ~PADDING[:, None, None]))
    assert cause.name == MASK_TURNED_ROUND


def test_a_mask_of_other_positions_is_named_as_such() -> None:
    shorter = np.arange(5) >= np.array([[2], [3], [2]])
    (cause,) = causes(attending((shorter,), PADDING[:, None, None], shorter[:, None, None]))
    assert cause.name == OTHER_MASK
    (cause,) = causes(attending((shorter,), None, shorter[:, None, None]))
    assert (cause.name, cause.guide) == (OTHER_MASK, "every position is attended to")


def test_what_no_mask_explains_is_not_said_to_be_one() -> None:
    given = attending((~PADDING,), PADDING[:, None, None], ~PADDING[:, None, None])
    assert not causes(replace(given, second=given.second + 1e-3 * GENERATOR.normal(size=given.second.shape)))
