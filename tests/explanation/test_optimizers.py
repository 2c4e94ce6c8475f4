from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from compare.explanation.arithmetic.optimizers import Rule, rule_of, simulate
from compare.explanation.observed.observation import Array, Observation
from compare.explanation.training.clipping import _clip, _left_out
from compare.explanation.training.optimizer.judged import mend_of

GENERATOR = np.random.default_rng(0)
GRADIENTS = [GENERATOR.normal(size=5) for _ in range(4)]


def run(rule: Rule, rate: float) -> Array:
    before: list[Array] = [np.ones(5)]
    after: list[Array] = []
    for step in range(4):
        after = simulate(rule, before, GRADIENTS[: step + 1], [rate] * (step + 1))
        before.append(after[-1])
    return after[-1]


def rule(framework: str, name: str, settings: Mapping[str, object]) -> Rule:
    found = rule_of(framework, name, settings)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "key", "line"),
    [
        ("Adam", "beta 2", "Adam(..., betas=(0.8, 0.99))"),
        ("Adam", "epsilon", "Adam(..., eps=1e-07)"),
        ("AdamW", "decoupled weight decay", "Adam(...)"),
        ("NAdam", "decoupled weight decay", "NAdam(..., decoupled_weight_decay=False)"),
    ],
)
def test_a_setting_of_an_optimizer_is_mended_by_torchs_keyword(name: str, key: str, line: str) -> None:
    wanted = rule("keras", "Adam", {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-7})
    assert mend_of(name, wanted, key, in_torch=True) == line


def test_a_setting_of_an_optimizer_is_mended_by_kerass_keyword() -> None:
    wanted = rule("keras", "RMSprop", {"learning_rate": 0.1, "rho": 0.8})
    found = [mend_of("RMSprop", wanted, key, in_torch=False) for key in ("learning rate", "rho (alpha)")]
    assert found == ["RMSprop(..., learning_rate=0.1)", "RMSprop(..., rho=0.8)"]
    assert mend_of("RMSprop", wanted, "rho (alpha)", in_torch=True) == "RMSprop(..., alpha=0.8)"


def test_an_unknown_optimizer_has_no_rule() -> None:
    assert rule_of("torch", "Rprop", {}) is None


def test_momentum_is_the_same_in_both_forms_at_a_constant_rate() -> None:
    keras = rule("keras", "SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True})
    torch = rule("torch", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "dampening": 0})
    assert np.allclose(run(keras, 0.1), run(torch, 0.1), rtol=1e-14)


def test_one_step_of_adam_by_hand() -> None:
    torch = rule("torch", "Adam", {"lr": 0.1, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0})
    (after,) = simulate(torch, [np.ones(5)], GRADIENTS[:1], [0.1])
    assert np.allclose(after, 1 - 0.1 * GRADIENTS[0] / (np.abs(GRADIENTS[0]) + 1e-8), rtol=1e-14)


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Adagrad"])
def test_epsilon_has_another_place_in_each_framework(name: str) -> None:
    common = {
        "rho": 0.9,
        "alpha": 0.9,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "betas": [0.9, 0.999],
        "initial_accumulator_value": 0.1,
    }
    keras = rule("keras", name, {**common, "learning_rate": 0.1, "epsilon": 1e-2})
    torch = rule("torch", name, {**common, "lr": 0.1, "eps": 1e-2})
    assert keras.settings == torch.settings
    assert not np.allclose(run(keras, 0.1), run(torch, 0.1), rtol=1e-4)


def test_coupled_and_decoupled_weight_decay() -> None:
    settings = {"lr": 0.1, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}
    coupled, decoupled = rule("torch", "Adam", settings), rule("torch", "AdamW", settings)
    assert (coupled.settings["decoupled weight decay"], decoupled.settings["decoupled weight decay"]) == (False, True)
    (after,) = simulate(decoupled, [np.ones(5)], [np.zeros(5)], [0.1])
    assert np.allclose(after, 0.99)


@pytest.mark.parametrize(
    ("calls", "kind"),
    [
        ([{"gradients": 4, "step": 0}, {"gradients": 4, "step": 1}], "global norm"),
        ([{"gradients": 1, "step": 0}] * 4 + [{"gradients": 1, "step": 1}] * 4, "norm of each parameter"),
        ([{"gradients": 1, "step": 0}, {"gradients": 3, "step": 0}], "global norm"),
        ([{"gradients": 1, "step": 0}, {"gradients": 1, "step": 1}], "global norm"),
    ],
    ids=["all at once", "one by one", "in groups", "of a single one"],
)
def test_parameters_that_are_clipped_one_by_one_are_clipped_by_their_own_norms(
    calls: list[dict[str, int]], kind: str
) -> None:
    clips = [{"function": "clip_grad_norm_", "settings": {"max_norm": 1.0}} | call for call in calls]
    assert _clip(Observation(Path(), {"loop": {"clip": clips}})) == (kind, 1.0)


def test_parameters_that_a_clipping_is_not_given_are_told() -> None:
    groups = [{"parameters": ["a", "b"]}, {"parameters": ["head"], "optimizer": 1}]
    clips = [{"function": "clip_grad_norm_", "settings": {"max_norm": 1.0}, "parameters": ["a"]}]
    assert _left_out(Observation(Path(), {"loop": {"clip": clips}, "optimizer": {"groups": groups}})) == ["b"]
    assert _left_out(Observation(Path(), {"loop": {"clip": []}, "optimizer": {"groups": groups}})) == []
