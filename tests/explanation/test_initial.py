from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from compare.explanation.arithmetic.distributions import distribution
from compare.explanation.model.initial import _attribute, _Drawn, _drawn, _looks_initial, _once_for_all_gates, _Unequal
from compare.explanation.observed.observation import Array, Layer, Parameter

RNG = np.random.default_rng(0)
LAYER = Layer("fc", "Linear", ("Linear",), {}, {"weight": Parameter("fc.weight", (64, 50), True, False)}, True, None)
PAIR: Any = SimpleNamespace(kind="dense", guide=LAYER, port=LAYER)


@pytest.mark.parametrize(
    ("name", "values", "initial"),
    [
        ("kernel", RNG.uniform(-1, 1, (64, 50)) * np.sqrt(6 / 114), True),
        ("kernel", RNG.normal(0, np.sqrt(2 / 50), (64, 50)), True),
        ("kernel", RNG.standard_t(3, (64, 50)) * 0.137, False),
        ("bias", np.zeros(64), True),
        ("bias", np.repeat([0.0, 1.0, 0.0, 0.0], 16), True),
        ("bias", RNG.uniform(-1, 1, 64) / np.sqrt(50), True),
        ("bias", RNG.normal(0, 0.3, 64), False),
        ("running_mean", RNG.normal(0, 0.01, 64), False),
    ],
)
def test_weights_as_initialisers_leave_them_are_told_from_trained_ones(name: str, values: Array, initial: bool) -> None:
    assert _looks_initial(PAIR, name, values) is initial


def test_a_large_orthogonal_matrix_is_found_by_its_first_rows() -> None:
    matrix = np.linalg.qr(RNG.normal(size=(400, 400)))[0]
    assert distribution(matrix, 400, 400).shape == "orthogonal"
    assert distribution(matrix + RNG.normal(0, 0.05, (400, 400)), 400, 400).shape != "orthogonal"


def test_gates_in_another_order_are_told_once_for_all_weights_of_a_layer() -> None:
    lstm = Layer("rnn", "GRU", ("GRU",), {}, {"weight_ih_l0": Parameter("w", (15, 6), True, False)}, True, None)
    pair: Any = SimpleNamespace(kind="GRU", guide=lstm, port=lstm)
    weights = {name: RNG.normal(size=(15, size)) for name, size in (("weight_ih_l0", 6), ("weight_hh_l0", 5))}
    exchanged = {name: np.concatenate([x[5:10], x[:5], x[10:]]) for name, x in weights.items()}
    unequal = [_Unequal(pair, name, weights[name], exchanged[name], weights) for name in weights]
    bias = _Unequal(pair, "reset gate bias", RNG.normal(size=5), RNG.normal(size=5), weights)
    assert _once_for_all_gates([*unequal, bias]) == unequal[:1]
    others = [_Unequal(pair, name, weights[name], RNG.normal(size=weights[name].shape), weights) for name in weights]
    assert _once_for_all_gates(others) == others


def test_the_reference_s_distribution_is_called_as_its_layer_states_it() -> None:
    table = RNG.normal(0, 0.1, (90, 16))  # LeCun normal would have nearly the same deviation: 1/√90
    stated = {"embeddings_initializer": {"class": "RandomNormal", "stddev": 0.1}}
    guide = Layer("e", "Embedding", ("Embedding",), stated, {}, True, None)
    pair: Any = SimpleNamespace(kind="embedding", guide=guide, port=LAYER)
    drawn = _drawn(pair, "kernel", table, RNG.normal(0, 1, (90, 16)))
    assert drawn is not None
    assert str(drawn.guide).startswith("N(0, 0.1)")


@pytest.mark.parametrize(
    ("parameters", "name", "attribute"),
    [
        (["in_proj_weight", "out_proj.weight"], "key.kernel", "in_proj_weight.chunk(3)[1]"),
        (["in_proj_weight", "out_proj.weight"], "output.kernel", "out_proj.weight"),
        (["q_proj_weight", "k_proj_weight", "v_proj_weight"], "value.kernel", "v_proj_weight"),
        (["weight"], "kernel", "weight"),
    ],
)
def test_the_mend_of_a_weight_names_the_parameter_that_holds_it(
    parameters: list[str], name: str, attribute: str
) -> None:
    own = {parameter: Parameter(parameter, (4, 4), True, False) for parameter in parameters}
    pair: Any = SimpleNamespace(port=Layer("attend", "MultiheadAttention", (), {}, own, True, None))
    some = distribution(RNG.normal(size=(40, 40)), 40, 40)
    assert _attribute(_Drawn(pair, name, some, some, 1.0), "weights") == attribute
