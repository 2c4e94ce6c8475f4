import numpy as np
import pytest

from compare.explanation.arithmetic.layers import output_of
from compare.explanation.observed.kinds import common, into
from compare.explanation.observed.observation import Layer, Parameter
from compare.explanation.observed.values import deviation, match, placed

GENERATOR = np.random.default_rng(0)


def made(kind: str, separator: str, shapes: dict[str, tuple[int, ...]]) -> Layer:
    parameters = {name: Parameter(f"layer{separator}{name}", shape, True, False) for name, shape in shapes.items()}
    return Layer("layer", kind, (kind,), {}, parameters, True, None)


KERAS_LSTM = made("LSTM", "/", {"kernel": (3, 20), "recurrent_kernel": (5, 20), "bias": (20,)})
TORCH_LSTM = made(
    "LSTM", ".", {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
)


def drawn(layer: Layer) -> dict[str, np.ndarray]:
    return {name: GENERATOR.normal(size=parameter.shape) for name, parameter in layer.parameters.items()}


def test_a_dense_kernel_is_transposed() -> None:
    keras, torch = (
        made("Dense", "/", {"kernel": (4, 3), "bias": (3,)}),
        made("Linear", ".", {"weight": (3, 4), "bias": (3,)}),
    )
    weights = drawn(keras)
    found = into(torch, common(keras, weights) or {})
    assert found is not None
    assert np.array_equal(found["weight"], weights["kernel"].T)
    assert np.array_equal(found["bias"], weights["bias"])


def test_a_kernel_of_another_size_does_not_fit() -> None:
    keras, torch = made("Dense", "/", {"kernel": (4, 3)}), made("Linear", ".", {"weight": (3, 5)})
    assert into(torch, common(keras, drawn(keras)) or {}) is None


def test_a_convolution_by_its_definition() -> None:
    keras, torch = made("Conv2D", "/", {"kernel": (2, 3, 4, 5)}), made("Conv2d", ".", {"weight": (5, 4, 2, 3)})
    weights = drawn(keras)
    found = into(torch, common(keras, weights) or {})
    assert found is not None
    x = GENERATOR.normal(size=(1, 6, 7, 4))
    by_hand = sum(x[:, i : i + 5, j : j + 5] @ weights["kernel"][i, j] for i in range(2) for j in range(3))
    settings = {"stride": [1, 1], "padding": [(0, 0), (0, 0)], "dilation": [1, 1]}
    out = output_of("convolution", np.moveaxis(x, -1, 1), {"kernel": found["weight"]}, settings)
    assert out is not None
    assert deviation(np.moveaxis(by_hand, -1, 1), out) < 1e-14


def test_a_depthwise_kernel_has_the_multiplier_inside() -> None:
    keras = made("DepthwiseConv2D", "/", {"depthwise_kernel": (3, 3, 4, 2)})
    weights = drawn(keras)
    kernel = (common(keras, weights) or {})["kernel"]
    assert kernel.shape == (8, 1, 3, 3)
    assert np.array_equal(kernel[2 * 3 + 1, 0], weights["depthwise_kernel"][:, :, 3, 1])


def test_one_bias_becomes_two_whose_sum_it_is() -> None:
    weights = drawn(KERAS_LSTM)
    found = into(TORCH_LSTM, common(KERAS_LSTM, weights) or {})
    assert found is not None
    assert np.array_equal(found["bias_ih_l0"] + found["bias_hh_l0"], weights["bias"])
    assert found["weight_hh_l0"].shape == (20, 5)


def test_the_gates_of_a_gru_change_places() -> None:
    keras = made("GRU", "/", {"kernel": (3, 6), "recurrent_kernel": (2, 6), "bias": (2, 6)})
    weights = drawn(keras)
    found = common(keras, weights) or {}
    update, reset, new = np.split(weights["kernel"].T, 3)
    assert np.array_equal(found["weight_ih_l0"], np.concatenate([reset, update, new]))
    assert np.array_equal(found["bias_hh_l0"][:2], weights["bias"][1, 2:4])


def test_packed_attention_is_the_three_projections() -> None:
    keras = made(
        "MultiHeadAttention", "/",
        {f"{part}/kernel": (6, 2, 3) for part in ("query", "key", "value")} | {"output/kernel": (2, 3, 6)},
    )  # fmt: skip
    torch = made("MultiheadAttention", ".", {"in_proj_weight": (18, 6), "out_proj.weight": (6, 6)})
    weights = drawn(keras)
    found = into(torch, common(keras, weights) or {})
    assert found is not None
    assert np.array_equal(found["in_proj_weight"][6:12], weights["key/kernel"].reshape(6, 6).T)
    assert np.array_equal(found["out_proj.weight"], weights["output/kernel"].reshape(6, 6).T)


def test_images_are_matched_with_their_channels_first() -> None:
    images = GENERATOR.normal(size=(2, 5, 6, 3))
    found = match(images, np.moveaxis(images, -1, 1))
    assert found is not None
    assert (found.same, found.layout) == (True, "channels first")


def test_values_of_another_size_do_not_match() -> None:
    assert match(np.zeros((2, 3)), np.zeros((2, 4))) is None


@pytest.mark.parametrize(("kind", "first"), [("convolution", True), ("LSTM", False)])
def test_a_square_sequence_is_placed_by_the_kind_of_its_layer(kind: str, first: bool) -> None:
    x = GENERATOR.normal(size=(2, 4, 4))
    found = placed(x, (2, 4, 4), kind, across=True)
    assert found is not None
    assert np.array_equal(found, np.swapaxes(x, 1, 2) if first else x)


def test_infinities_at_the_same_places_agree() -> None:
    masked = np.array([1.0, -np.inf])
    assert deviation(masked, masked.copy()) == 0
    assert deviation(masked, np.array([1.0, 2.0])) == np.inf
