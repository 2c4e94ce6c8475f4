"""How a difference in the loss is said and mended, on observations made up by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.loss.judged import loss
from compare.explanation.loss.words import factor_words
from compare.explanation.observed.observation import Array
from compare.explanation.observed.pairing import pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(0)
DIGIT, ODD = GENERATOR.uniform(1, 2, size=(2, 6))


def place(line: int) -> dict[str, Any]:
    return {"file": "script.py", "line": line, "code": f"line {line}"}


def of_two(directory: Path, framework: str, names: tuple[str, str], weight: float) -> Side:
    """A model with two outputs, whose losses are lines 32 and 33."""
    dense = layer("fc", *(("Dense", {"kernel": (4, 3)}) if framework == "keras" else ("Linear", {"weight": (3, 4)})))
    losses = [
        {
            "value": float(a + weight * b),
            "terms": [
                {"function": names[0], "value": float(a), "output": "digit", "place": place(32)},
                {"function": names[1], "value": float(b), "output": "odd", "place": place(33)},
            ],
        }
        for a, b in zip(DIGIT, ODD, strict=True)
    ]
    return Side(observation(directory, framework, [dense], [call("fc", [], [])], {}, losses=losses))


def context_of(guide: Side, steered: Side) -> Context:
    return Context(guide, steered, steered.observation, pair(guide, steered), guide_is_reference=True)


def test_the_weight_of_one_of_two_losses_stands_at_its_own_line(tmp_path: Path) -> None:
    guide = of_two(tmp_path / "a", "keras", ("sparse_categorical_crossentropy", "binary_crossentropy"), 0.2)
    steered = of_two(tmp_path / "b", "torch", ("cross_entropy", "binary_cross_entropy_with_logits"), 1.0)
    context = context_of(guide, steered)
    loss(context)
    (found,) = context.findings
    assert found.title.startswith("weight of the loss binary_crossentropy of output odd, binary_cross_entropy_with_log")
    assert found.title.endswith(": 1; the reference has 0.2")
    assert str(found.place) == "script.py:33"
    assert found.mend.endswith(", binary_cross_entropy_with_logits, by 0.2")


X, Z, Y = GENERATOR.normal(size=(8, 4)), GENERATOR.normal(size=(8, 1)), GENERATOR.normal(size=8)


def of_one(directory: Path, framework: str, value: float, output: Array, target: Array, penalty: float = 0.0) -> Side:
    """A regression of one value, and what its loss was given."""
    dense = layer("fc", *(("Dense", {"kernel": (4, 1)}) if framework == "keras" else ("Linear", {"weight": (1, 4)})))
    arrays = {"x": X, "z": Z, "y": Y[:, None], "output": output, "target": target}
    term = {"function": "mse", "inputs": ["output", "target"], "value": value, "place": place(9)}
    penalties = [{"function": "L2", "value": penalty, "parameter": "fc/kernel"}] if penalty else []
    losses = [{"value": value + penalty, "terms": [term], "penalties": penalties}]
    fields = {"losses": losses, "fed": [{"inputs": ["x"], "targets": ["y"]}]}
    return Side(observation(directory, framework, [dense], [call("fc", ["x"], ["z"])], arrays, **fields))


@pytest.mark.parametrize(
    ("output", "target", "mend"), [(Z, Y, "output.squeeze(1)"), (Z[:, 0], Y[:, None], "target.squeeze(1)")]
)
def test_a_broadcast_loss_is_mended_by_the_shape_that_is_too_many(
    tmp_path: Path, output: Array, target: Array, mend: str
) -> None:
    guide = of_one(tmp_path / "a", "keras", float(np.mean((Z[:, 0] - Y) ** 2)), Z, Y[:, None])
    steered = of_one(tmp_path / "b", "torch", float(np.mean((Z - Y) ** 2)), output, target)
    context = context_of(guide, steered)
    loss(context)
    (found,) = context.findings
    assert "broadcast to (n, n)" in found.title
    assert found.mend == mend


def test_the_same_loss_with_another_setting_is_mended_by_the_setting(tmp_path: Path) -> None:
    d = Z[:, 0] - Y
    values = [float(np.mean(np.where(abs(d) <= at, d**2 / 2, at * abs(d) - at**2 / 2))) for at in (0.5, 1.0)]
    guide = of_one(tmp_path / "a", "keras", values[0], Z, Y[:, None])
    context = context_of(guide, of_one(tmp_path / "b", "torch", values[1], Z, Y[:, None]))
    loss(context)
    (found,) = context.findings
    assert "Huber (delta 1)" in found.title
    assert found.mend == "delta=0.5"


@pytest.mark.parametrize(
    ("batches", "ratio", "said"),
    [(4, 4.0, "added up, not averaged"), (4, 0.25, "averaged, not added up"), (1, 4.0, ""), (4, 3.0, "")],
)
def test_batches_of_a_step_that_are_added_up_are_said(tmp_path: Path, batches: int, ratio: float, said: str) -> None:
    sides = [
        Side(
            observation(tmp_path / name, name, [], [], {}, losses=[{"value": 1.0, "backward_values": [1.0] * batches}])
        )
        for name in ("keras", "torch")
    ]
    context = Context(sides[0], sides[1], sides[1].observation, pair(*sides), guide_is_reference=True)
    assert said in factor_words(context, ratio)
    assert bool(said) == ("accumulation" in factor_words(context, ratio))


def test_another_loss_is_told_beside_a_penalty_that_the_port_does_not_have(tmp_path: Path) -> None:
    d = Z[:, 0] - Y
    guide = of_one(tmp_path / "a", "keras", float(np.mean(d**2)), Z, Y[:, None], penalty=0.03)
    context = context_of(guide, of_one(tmp_path / "b", "torch", float(np.mean(abs(d))), Z, Y[:, None]))
    loss(context)
    other, penalty = context.findings
    assert other.title.startswith("loss function: mean absolute error")
    assert penalty.title.startswith("no L2 penalty of the weights")


CLASSES, LOGITS = np.array([0, 1, 2, 1, 0, 2, 2, 2]), GENERATOR.normal(size=(8, 3))
CLASS_WEIGHTS = np.array([1.0, 2.0, 4.0])
ENTROPY = np.log(np.exp(LOGITS).sum(1)) - LOGITS[np.arange(8), CLASSES]
WEIGHED = CLASS_WEIGHTS[CLASSES]


def of_classes(directory: Path, framework: str, value: float, function: str, settings: dict[str, Any]) -> Side:
    """A classifier of three classes; a loss without a function is written out."""
    dense = layer("fc", *(("Dense", {"kernel": (4, 3)}) if framework == "keras" else ("Linear", {"weight": (3, 4)})))
    terms = [{"function": function, "settings": settings, "value": value, "place": place(9)}] if function else []
    fields = {"losses": [{"value": value, "terms": terms}], "fed": [{"inputs": ["x"], "targets": ["y"]}]}
    data = {"fit": {"class_weight": dict(enumerate(CLASS_WEIGHTS)), "place": place(20)}} if framework == "keras" else {}
    arrays = {"x": X, "z": LOGITS, "y": CLASSES}
    return Side(observation(directory, framework, [dense], [call("fc", ["x"], ["z"])], arrays, data=data, **fields))


@pytest.mark.parametrize(
    ("value", "function", "settings", "mend"),
    [
        # torch divides the mean by the sum of the weights of the classes.
        (
            (ENTROPY * WEIGHED).sum() / WEIGHED.sum(), "cross_entropy", {"weight": [1.0, 2.0, 4.0]},
            "reduction='none' in the loss, and .mean() of what it gives: cross_entropy(...).mean()",
        ),
        ((ENTROPY * WEIGHED).sum() / WEIGHED.sum(), "", {}, ".mean() of the losses of the samples"),
        (
            ENTROPY.mean(), "cross_entropy", {},
            "cross_entropy(..., weight=weights, reduction='none').mean(), weights a tensor of one for each class",
        ),
    ],
)  # fmt: skip
def test_weights_of_classes_are_mended_as_torch_computes_their_mean(
    tmp_path: Path, value: float, function: str, settings: dict[str, Any], mend: str
) -> None:
    guide = of_classes(
        tmp_path / "a", "keras", float((ENTROPY * WEIGHED).mean()), "sparse_categorical_crossentropy", {}
    )
    context = context_of(guide, of_classes(tmp_path / "b", "torch", float(value), function, settings))
    loss(context)
    (found,) = context.findings
    assert found.mend == mend


def test_losses_of_steps_whose_inputs_were_not_replaced_are_not_compared(tmp_path: Path) -> None:
    """Only as many steps as layers' values were recorded of have the same outputs, where the inputs differ."""
    guide = of_one(tmp_path / "a", "keras", float(np.mean((Z[:, 0] - Y) ** 2)), Z, Y[:, None])
    steered = of_one(tmp_path / "b", "torch", float(np.mean((Z[:, 0] - Y) ** 2)), Z, Y[:, None])
    for side, later in ((guide, 1.0), (steered, 1.2)):
        side.observation.losses.append({**side.observation.losses[0], "value": later})
    context = context_of(guide, steered)
    context.find("data", "inputs: multiplied by 2", guide="", steered="", effect=1.0)
    loss(context)
    assert len(context.findings) == 1
    assert context.same == ["the loss of 1 step, from the same outputs"]


def test_batches_of_a_step_that_are_added_up_are_divided_where_the_loss_is_differentiated(tmp_path: Path) -> None:
    sides = []
    for name, value in (("keras", 1.0), ("torch", 4.0)):
        term = {"function": "huber_loss", "value": value, "place": place(9)}
        losses = [{"value": value * i, "terms": [term], "place": place(12), "backward_values": [i] * 4} for i in (1, 2)]
        settings = {"settings": {"gradient_accumulation_steps": 4}} if name == "keras" else {}
        sides.append(Side(observation(tmp_path / name, name, [], [], {}, losses=losses, optimizer=settings)))
    context = context_of(*sides)
    loss(context)
    (found,) = context.findings
    assert (found.mend, str(found.place)) == ("loss = loss / 4", "script.py:12")


def test_labels_that_one_side_smooths_and_the_other_sides_loss_are_the_same(tmp_path: Path) -> None:
    sides = [of_one(tmp_path / name, name, 1.0, Z, Y[:, None]) for name in ("keras", "torch")]
    context = context_of(*sides)
    context.find("data", "targets: not smoothed: ... (label smoothing)", guide="", steered="", effect=1.0)
    loss(context)
    assert context.findings == []
    assert context.same == ["the loss of 1 step, from the same outputs"]


def penalised(directory: Path, framework: str, *, averaged: bool) -> Side:
    """An autoencoder with a penalty of 0.1 on the sizes of what its layer gives: summed, or written out as a mean."""
    steps, losses, arrays = [], [], {}
    for step in range(4):
        code, error = GENERATOR_OF_CODES[step], float(step + 1)
        size, factor = np.abs(code), 1 / code.shape[1] if averaged else 1.0
        arrays |= {f"{step}/code": code, f"{step}/abs": size, f"{step}/mean": np.asarray(size.mean())}
        calls = [call("fc", [], [f"{step}/code"])]
        if averaged:
            line = {"file": "script.py", "line": 7, "code": "sparsity = 0.1 * code.abs().mean()"}
            calls += [
                call(None, [f"{step}/code"], [f"{step}/abs"], function="abs", place=line),
                call(None, [f"{step}/abs"], [f"{step}/mean"], function="mean", place=line),
            ]
        steps.append(calls)
        asked = [{"function": "L1", "settings": {"l1": 0.1}, "activity_of": "fc", "value": None}]
        total = error + 0.1 * factor * float(size.sum()) / len(code)
        term = {"function": "mse", "value": error, "place": place(9)}
        losses.append({"value": total, "terms": [term], "penalties": [] if averaged else asked})
    dense = layer("fc", *(("Dense", {"kernel": (4, 5)}) if framework == "keras" else ("Linear", {"weight": (5, 4)})))
    made = observation(directory, framework, [dense], steps[0], arrays, losses=losses, fed=[])
    made.document["calls"][:] = steps
    return Side(made)


GENERATOR_OF_CODES = GENERATOR.normal(size=(4, 8, 5))


def test_a_penalty_of_an_output_that_is_averaged_stands_at_its_line(tmp_path: Path) -> None:
    guide = penalised(tmp_path / "a", "keras", averaged=False)
    context = context_of(guide, penalised(tmp_path / "b", "torch", averaged=True))
    loss(context)
    (found,) = context.findings
    assert "0.02 (1/5 of it: the mean over 5 values, not their sum); the reference has 0.1" in found.title
    assert str(found.place) == "script.py:7"
    assert found.mend == "sparsity = 0.1 * code.abs().sum(dim=1).mean()"


@pytest.mark.parametrize("augmented", [False, True], ids=["as they are", "augmented in the model and in the data"])
def test_a_loss_that_parts_where_outputs_are_no_longer_put_in(tmp_path: Path, augmented: bool) -> None:
    sides = []
    data = {"read": {"training": {"random": augmented}}}
    for framework, later in (("keras", 0.7), ("torch", 0.9)):
        dense = layer(
            "fc", *(("Dense", {"kernel": (4, 3)}) if framework == "keras" else ("Linear", {"weight": (3, 4)}))
        )
        losses = [{"value": value, "terms": [], "place": place(3)} for value in (1.0, later)]
        layers = [dense, layer("flip", "RandomFlip", {})] if framework == "keras" else [dense]
        own = observation(tmp_path / framework, framework, layers, [call("fc", [], [])], {}, losses=losses, data=data)
        sides.append(Side(own))
    context = context_of(*sides)
    loss(context)
    if augmented:
        assert (context.findings, context.same) == ([], ["the loss of 1 step, from the same outputs"])
        return
    (found,) = context.findings
    assert found.title.startswith("the loss is the same from the same outputs in 1 step, and another afterwards")
    assert found.cause is None
