"""Findings of a comparison -> what its page shows: both sides, the ladder, and what `digits.py` adds."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.findings import Comparison, ImplementationFindings, Pair
from compare.ladder.rung import Rung
from compare.report.pages import plots
from compare.report.pages.common import TONES, common, words
from compare.report.pages.digits import digits_part
from compare.report.words import display_name, measured, number, on_different_devices, things, why_two_numbers
from record.training import RunRecord

_QUESTIONS = {
    "settings": "Do both sides run what the recipe says? Read back from the live objects.",
    "data": "Is every batch the same, byte for byte, for the first epoch?",
    "initial_weights": "Do both start from the same weights, bit for bit?",
    "forward": "Is every layer's output what its inputs give, up to rounding? Against an exact oracle.",
    "loss": "Is the loss what the outputs give, up to rounding?",
    "gradients": "Is every gradient what the activations give, up to rounding?",
    "optimizer": "Are the weights and both moments after each of the first steps what the gradients give?",
    "trajectory": "Do the two stay together as long as one framework stays with itself?",
    "outcome": "Is the accuracy on the test set the same, within the margin?",
}


def comparison_page(
    findings: Comparison, trainings: Mapping[str, RunRecord], controls: Sequence[RunRecord]
) -> dict[str, Any]:
    """What the template of a comparison takes.

    Args:
        findings: What was found.
        trainings: The records of the trainings, by implementation.
        controls: Those of the A/A family; of fewer, the band of the controls is narrower.
    """
    sides = findings.implementations
    names = list(sides)
    finished = {name: record for name, record in trainings.items() if record.test}
    family = [record.step_losses for record in controls if not record.diverged]
    histories = {display_name(name): record.history for name, record in trainings.items() if record.history["loss"]}
    page = common(findings, {name: side.versions or {} for name, side in sides.items()})
    page |= {
        "title": f"{' and '.join(display_name(name) for name in names)}: one MNIST network, compared",
        "answer": _answer(findings),
        "lead": " ".join(filter(None, (_lead(findings), on_different_devices(findings.devices)))),
        "names": [display_name(name) for name in names],
        "sides": _sides(sides.values()),
        "why_two_numbers": [*filter(None, map(why_two_numbers, findings.comparisons.values()))],
        "history": [
            plots.history(histories, "loss", "Loss"),
            plots.history(histories, "accuracy", "Accuracy"),
        ]
        if histories
        else [],
        "comparisons": [_ladder(names[0], name, pair, finished, family) for name, pair in findings.comparisons.items()],
        "thing": things(findings.recipe).removesuffix("s"),
        "disputed": [],
        "confusions": [],
        "num_classes": 0,
        "networks": [],
        "samples": [],
        "no_networks": None,
    }
    if finished:
        page |= digits_part(finished, page["thing"])
    return page


def _answer(findings: Comparison) -> str:
    reference, other = (display_name(name) for name in findings.compared)
    sentences = {
        "parity": f"{reference} and {other} are the same run, up to rounding."
        if findings.trained
        else f"{reference} and {other} take the same first steps, up to rounding.",
        "not parity": f"{reference} and {other} part at the {words(_gravest_name(findings))}.",
        "inconclusive": f"No rung shows {reference} and {other} to differ, but not every one could be decided.",
        "failed": "A run failed: the two cannot be compared to the end.",
    }
    return sentences[findings.verdict]


def _gravest_name(findings: Comparison) -> str:
    rung = findings.decisive.gravest
    return rung.name if rung else ""


def _lead(findings: Comparison) -> str:
    sides = findings.implementations
    failures = [
        f"{display_name(name)} {side.status}{f': {side.error}' if side.error else ''}"
        for name, side in sides.items()
        if side.status != "finished"
    ]
    if failures:
        return "; ".join(failures) + "."
    if findings.verdict == "not parity" and (rung := findings.decisive.gravest):
        return f"Likely cause: {rung.cause}."
    accuracies = [
        f"{display_name(name)} {side.test_accuracy:.2%}" for name, side in sides.items() if side.test_accuracy
    ]
    if not accuracies:
        return "Compared number by number without a training: rungs 1 to 7 of the ladder."
    same = findings.decisive.agreement
    alike = f"; {same.same:,} of {same.total:,} test {things(findings.recipe)} predicted alike" if same else ""
    return f"Test accuracy: {', '.join(accuracies)}{alike}."


_SIDES: tuple[tuple[str, str, str], ...] = (
    ("Test accuracy", "test_accuracy", "{:.2%}"),
    ("Test loss", "test_loss", "{:.4f}"),
    ("Parameters", "num_parameters", "{:,}"),
    ("Seconds per epoch", "seconds_per_epoch", "{:.2f}"),
    ("Wall time, seconds", "seconds", "{:.1f}"),
)


def _sides(sides: Collection[ImplementationFindings]) -> list[list[str]]:
    rows = [["Status", *(side.status for side in sides)]]
    for title, key, form in _SIDES:
        values = [getattr(side, key) for side in sides]
        if any(value is not None for value in values):
            rows.append([title, *("" if value is None else form.format(value) for value in values)])
            if key == "test_accuracy":
                rows.append(["95% interval", *(_interval(side.test_accuracy_interval) for side in sides)])
    for title, key in (("Peak memory", "peak_memory_bytes"), ("Peak GPU memory", "peak_gpu_memory_bytes")):
        memory = [getattr(side, key) for side in sides]
        if any(size is not None for size in memory):
            rows.append([title, *("" if size is None else f"{size / 1e6:,.0f} MB" for size in memory)])
    for key in ("framework", "backend", "device", "threads"):
        values = [getattr(side, key) for side in sides]
        rows.append([key.capitalize(), *("" if value is None else str(value) for value in values)])
    return rows


def _interval(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else ""


def _ladder(
    reference: str,
    other: str,
    pair: Pair,
    finished: Mapping[str, RunRecord],
    controls: Sequence[NDArray[np.floating]],
) -> dict[str, Any]:
    names = f"{display_name(reference)} and {display_name(other)}"
    losses = {display_name(name): finished[name].step_losses for name in (reference, other) if name in finished}
    ulps: list[Mapping[str, float]] = [rung.detail["ulps"] for rung in pair.rungs if "ulps" in rung.detail]
    return {
        "pair": names,
        "rungs": [_rung(rung, opened=rung is pair.gravest, sides=(reference, other)) for rung in pair.rungs],
        "horizon": plots.horizon(losses, controls) if len(losses) == 2 else None,  # noqa: PLR2004 - a pair
        "ulps": plots.ulps(ulps[0], ulps[1], names) if len(ulps) == 2 else None,  # noqa: PLR2004 - both ways
    }


def _rung(rung: Rung, *, opened: bool, sides: tuple[str, str]) -> dict[str, Any]:
    detail = rung.detail
    verdict = f"{rung.verdict}, after {words(detail['follows'])}" if "follows" in detail else rung.verdict
    tables = []
    if detail.get("differences"):
        rows = [
            [d["key"], str(d[sides[0]]), str(d[sides[1]]), "yes" if d["arithmetic"] else "no"]
            for d in detail["differences"]
        ]
        tables.append({"header": ["setting", *map(display_name, sides), "changes the arithmetic"], "rows": rows})
    if detail.get("tensors"):
        rows = [[name, *(number(by_side.get(side)) for side in sides)] for name, by_side in detail["tensors"].items()]
        tables.append({"header": ["error / bound of", *map(display_name, sides)], "rows": rows})
    if detail.get("windows"):
        rows = [[name, *(number(by_side.get(side)) for side in sides)] for name, by_side in detail["windows"].items()]
        tables.append({"header": ["in windows of the training", *map(display_name, sides)], "rows": rows})
    if detail.get("not_seen"):
        tables.append({"header": ["not seen"], "rows": [[line] for line in detail["not_seen"]]})
    if "paired" in detail:
        tables.append({"header": ["outcome", ""], "rows": _outcome(detail, sides)})
    return {
        "name": rung.name,
        "title": words(rung.name),
        "verdict": verdict,
        "tone": TONES[rung.verdict],
        "open": opened,
        "question": _QUESTIONS[rung.name],
        "where": rung.where,
        "cause": rung.cause or detail.get("same_run"),
        "numbers": f"{detail['unit']}: {measured(rung)}"
        + (f", bound {number(rung.bound)}" if rung.bound is not None else ""),
        "tables": tables,
    }


def _outcome(detail: Mapping[str, Any], sides: tuple[str, str]) -> list[list[str]]:
    paired = detail["paired"]
    controls = detail["controls_predict_differently"]
    first, second = map(display_name, sides)
    low, high = (100 * end for end in paired["interval"])
    return [
        [f"only {first} right", f"{paired['only_first_right']:,} images"],
        [f"only {second} right", f"{paired['only_second_right']:,} images"],
        ["difference of accuracy, 95% interval", f"{low:+.2f} to {high:+.2f} percentage points"],
        ["McNemar's exact test", f"p = {paired['mcnemar_p']:.2g}"],
        ["images predicted differently", f"{detail['predicted_differently']:.2%}"],
        [
            "the same among the A/A controls",
            f"{min(controls):.2%} to {max(controls):.2%}" if controls else "no control",
        ],
    ]
