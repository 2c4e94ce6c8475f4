"""Losses that a framework has as one function, as the steps that they are made of."""

import numpy as np
import pytest
from scipy import special

from compare.explanation.arithmetic.built_in_losses import steps_of
from compare.explanation.observed.observation import Array

GENERATOR = np.random.default_rng(0)
LOGITS, CLASSES = GENERATOR.normal(size=(6, 4)), GENERATOR.integers(0, 4, 6)
SHARES = special.softmax(GENERATOR.normal(size=(6, 4)), axis=1)
WANTED = special.logsumexp(LOGITS, axis=1) - LOGITS[np.arange(6), CLASSES]
OF_SHARES = -(SHARES * special.log_softmax(LOGITS, axis=1)).sum(axis=1)


def made(name: str, inputs: list[Array], **settings: object) -> Array:
    """What the steps give, each of what it is given."""
    values = list(inputs)
    for step in steps_of(name, settings):
        values.append(step.function([values[i] for i in step.operands]))
    return values[-1]


@pytest.mark.parametrize(
    ("name", "inputs", "settings", "wanted"),
    [
        ("cross_entropy", [LOGITS, CLASSES], {"reduction": "mean"}, WANTED.mean()),
        ("cross_entropy", [LOGITS, CLASSES], {"reduction": "sum"}, WANTED.sum()),
        ("cross_entropy", [LOGITS, SHARES], {"reduction": "none"}, OF_SHARES),
        ("nll_loss", [special.log_softmax(LOGITS, axis=1), CLASSES], {"reduction": "mean"}, WANTED.mean()),
        ("sparse_softmax_cross_entropy_with_logits", [CLASSES, LOGITS], {}, WANTED),
        ("softmax_cross_entropy_with_logits", [SHARES, LOGITS], {}, OF_SHARES),
        ("sparse_categorical_crossentropy", [CLASSES, LOGITS], {"from_logits": True}, WANTED),
        ("sparse_categorical_crossentropy", [CLASSES[:, None], special.softmax(LOGITS, axis=1)], {}, WANTED),
        ("categorical_crossentropy", [SHARES, special.softmax(LOGITS, axis=1)], {}, OF_SHARES),
    ],
)
def test_the_steps_of_a_cross_entropy_give_it(
    name: str, inputs: list[Array], settings: dict[str, object], wanted: Array
) -> None:
    assert np.allclose(made(name, inputs, **settings), wanted, rtol=1e-12)  # float64 in another order


def test_the_classes_of_pictures_are_axis_1_in_torch_and_the_last_in_keras() -> None:
    maps, labels = GENERATOR.normal(size=(2, 4, 3, 3)), GENERATOR.integers(0, 4, (2, 3, 3))
    last = np.moveaxis(maps, 1, -1)
    wanted = special.logsumexp(last, axis=-1) - np.take_along_axis(last, labels[..., None], axis=-1)[..., 0]
    assert np.allclose(made("cross_entropy", [maps, labels], reduction="none"), wanted, rtol=1e-12)
    assert np.allclose(made("sparse_softmax_cross_entropy_with_logits", [labels, last]), wanted, rtol=1e-12)
