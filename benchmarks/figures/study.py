"""`python -m benchmarks.figures.study [STUDY] [--one-order STUDY]`: the numbers of `docs/framework-differences.md`.

STUDY is the directory of a finished `mnist-compare study` on this machine; its findings are kept in
`docs/study/results.json`, and those of the study that `benchmarks/scripts/one_order.py` describes in
`docs/study/one_order.json`, from which everything else follows. Without STUDY, from what is kept there.
"""

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures.blocks import fill_blocks, table
from benchmarks.machine import describe, in_a_line, versions_in_a_line
from compare.findings import make
from compare.report.pages import plots
from compare.statistics import effect
from compare.study.findings import EquivalenceFindings, attribution
from compare.study.judge import num_effects
from compare.study.plan import ALIGNED, CONTROL

DOCUMENT = Path("docs/framework-differences.md")
STUDY = Path("docs/study")
FINDINGS = STUDY / "results.json"
ONE_ORDER = STUDY / "one_order.json"

Findings = Mapping[str, Any]


def fill_in(text: str, findings: Findings, of_one_order: Findings) -> str:
    """The document with every block as the findings have it."""

    def block(name: str) -> str:
        if name in flipped(findings):
            return cost(findings, name)
        return BLOCKS[name](of_one_order if name == "one_order" else findings)

    return fill_blocks(text, block)


def judged_again(findings: Findings) -> Findings:
    """The findings with the effects' intervals as the judge states them now, from the runs that are kept.

    Steps are not kept, so that there is no interval of the step of parting where an earlier judge stated it.
    """
    fields = ("test_accuracy", "test_loss")
    runs = {(run["implementation"], run["variant"], run["seed"]): run for run in findings["runs"]}
    together = num_effects(len(flipped(findings)), len(findings["implementations"]))

    def values(field: str, of: str, variant: str, seeds: Iterable[int]) -> Any:
        other, _, reference = of.partition(" - ")
        found = np.array([runs[other, variant, seed][field] for seed in seeds])
        return found - np.array([runs[reference, variant, seed][field] for seed in seeds]) if reference else found

    def effects(entry: Mapping[str, Any]) -> dict[str, Any]:
        of, seeds = entry["of"], entry["seeds"]
        changes = {f: values(f, of, entry["variant"], seeds) - values(f, of, ALIGNED, seeds) for f in fields}
        found = {field: effect(change, together) for field, change in changes.items()}
        kept = {"log2_parted_at_step": None} if "log2_parted_at_step" in entry else {}
        return {**entry, **kept, **{field: asdict(one) if one else None for field, one in found.items()}}

    return {**findings, "attribution": [effects(entry) for entry in findings["attribution"]]}


def answer(findings: Findings) -> str:
    """What the study says of the aligned recipe, and of each framework's own habits, in a sentence."""
    margin = f"{100 * findings['margin']:g} percentage points"
    sentences = []
    for entry in findings["equivalence"]:
        if entry["variant"] not in (ALIGNED, "native"):
            continue
        low, high = map(_points, entry["interval_90"])
        what = "under one recipe" if entry["variant"] == ALIGNED else "each with its own defaults"
        verdict = {
            "parity": f"equivalent within {margin}",
            "not parity": f"not equivalent within {margin}",
            "inconclusive": f"not shown to be equivalent within {margin}, nor to differ by more",
        }[entry["verdict"]]
        values = f"{_points(entry['mean'])} points, 90% interval {low} to {high}, n = {entry['num_pairs']} seeds"
        sentences.append(f"Lightning and Keras are **{verdict}** {what} ({values}).")
    return " ".join(sentences)


def flipped(findings: Findings) -> list[str]:
    """The variants that flip a switch of the recipe, whose cost is shown."""
    return [variant for variant in findings["variants"] if variant not in (ALIGNED, CONTROL)]


def _points(value: float) -> str:
    return "0" if value == 0 else f"{100 * value:+.3f}"


def _loss(value: float) -> str:
    return "0" if value == 0 else f"{value:+.4f}"


def _interval(interval: Iterable[float], form: Any) -> str:
    low, high = map(form, interval)
    return low if low == high else f"{low} to {high}"


def measured(findings: Findings) -> str:
    """The command, the machine, the versions and the runs."""
    recipe, counts = findings["recipe"], findings["counts"]
    versions = dict(pair for found in findings["versions"].values() for pair in found["versions"].items())
    statuses = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    sizes = "–".join(map(str, (784, *recipe["hidden_sizes"], 10)))
    batches = f"batches of {recipe['batch_size']}, {recipe['epochs']} epochs, Adam at {recipe['learning_rate']:g}"
    seeds = f"seeds {findings['seeds'][0]} to {findings['seeds'][-1]}"
    return "\n".join(
        (
            f"- Command: `{findings['command']}`",
            f"- Machine: {findings['hardware']}; every run with one thread",
            f"- Versions: {versions_in_a_line(versions)}",
            f"- Recipe: {sizes}, {batches}, {recipe['dtype']}; {seeds}",
            f"- Runs: {statuses}",
        )
    )


def _accuracy(entry: Mapping[str, Any]) -> str:
    return f"{entry['mean']:.2%} ± {entry['standard_deviation']:.2%}"


def accuracies(findings: Findings) -> str:
    """Mean and standard deviation of the test accuracy, by variant and implementation."""
    found = {(entry["variant"], entry["implementation"]): entry for entry in findings["accuracies"]}
    sides = findings["implementations"]
    rows = [[f"`{variant}`", *(_accuracy(found[variant, s]) for s in sides)] for variant in findings["variants"]]
    return table(" | ".join(("variant", *sides)), "l" + "r" * len(sides), rows)


def equivalence(findings: Findings) -> str:
    """Lightning's accuracy minus that of Keras, by variant."""
    rows = [
        [
            f"`{entry['variant']}`",
            _points(entry["mean"]),
            _interval(entry["interval_90"], _points),
            f"{entry['p']:.2g}",
            entry["verdict"],
            f"{entry['pairs_needed']:,}" if entry["pairs_needed"] and entry["verdict"] == "inconclusive" else "",
        ]
        for entry in findings["equivalence"]
    ]
    return table("variant | mean, points | 90% interval | p (TOST) | verdict | seeds that would do", "lrrrrr", rows)


def churn(findings: Findings) -> str:
    """Digits predicted differently, of the aligned variant."""
    shown = [entry for entry in findings["churn"] if entry["variant"] == "aligned" and entry["num_pairs"]]
    rows = [
        [e["between"], f"{e['num_pairs']:,}", *(f"{e[k]:.2%}" for k in ("mean", "lowest", "highest"))] for e in shown
    ]
    return table("between | pairs | mean | lowest | highest", "lrrrr", rows)


def cost(findings: Findings, variant: str) -> str:
    """What one variant changes, in each implementation and between them."""
    rows = []
    parting = ""
    for entry in findings["attribution"]:
        if entry["variant"] != variant:
            continue
        cells = [entry["of"]]
        for field, form in (("test_accuracy", _points), ("test_loss", _loss)):
            found = entry[field]
            cells += [form(found["mean"]), _interval(found["interval"], form)]
        rows.append(cells)
        if "parted_at_step" in entry:
            steps = [entry["parted_at_step"][name] for name in ("aligned", variant)]
            before, after = ("never" if step is None else f"step {step:,.0f}" for step in steps)
            parting = f"\n\nThe two part (median) at {after}, aligned at {before}."
    return table("of | accuracy, points | 95% interval | test loss | 95% interval", "lrrrr", rows) + parting


def one_order(findings: Findings) -> str:
    """What it costs Keras to have the order of the first epoch in every epoch."""
    sides = {entry["implementation"]: entry for entry in findings["accuracies"] if entry["variant"] == ALIGNED}
    rows = [
        [name, _accuracy(e), f"{e['mean_test_loss']:.4f}"]
        for name, e in (("a new one", sides["keras"]), ("that of the first", sides["one_order"]))
    ]
    (difference,) = (e for e in findings["equivalence"] if e["other"] == "one_order")
    versions = versions_in_a_line(findings["versions"]["keras"]["versions"])
    return (
        f"{table('order of every epoch | test accuracy | test loss, mean', 'lrr', rows)}\n\n"
        f"In points {_points(difference['mean'])}, 95% interval {_interval(difference['interval_95'], _points)}, "
        f"paired by seed (n = {difference['num_pairs']}). `{findings['command']}`, on {findings['hardware']}; "
        f"{versions}."
    )


BLOCKS = {
    "answer": answer,
    "measured": measured,
    "accuracies": accuracies,
    "equivalence": equivalence,
    "churn": churn,
    "one_order": one_order,
}


def draw(findings: Findings) -> dict[str, str]:
    """The study's plots as SVG files on white paper, by file name."""
    drawn = {
        "equivalence.svg": plots.equivalence(
            [make(EquivalenceFindings, entry) for entry in findings["equivalence"]], findings["margin"]
        ),
        "attribution.svg": plots.attribution(
            [attribution(entry) for entry in findings["attribution"]],
            "test_accuracy",
            "accuracy, percentage points",
            100.0,
        ),
    }
    return {name: re.sub("<svg ", '<svg style="background:#fff" ', plot.svg, count=1) for name, plot in drawn.items()}


def main() -> None:
    """Writes the kept findings, the plots and the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures.study", description=__doc__)
    parser.add_argument("study", type=Path, nargs="?", help="directory of a finished study")
    parser.add_argument("--one-order", type=Path, metavar="STUDY", help="that of benchmarks/scripts/one_order.py")
    options = parser.parse_args()
    STUDY.mkdir(exist_ok=True)
    for study, kept in ((options.study, FINDINGS), (options.one_order, ONE_ORDER)):
        if study:
            findings = json.loads((study / "results.json").read_text()) | {"hardware": in_a_line(describe())}
            kept.write_text(json.dumps(findings, separators=(",", ":")) + "\n")
    findings = judged_again(json.loads(FINDINGS.read_text()))
    FINDINGS.write_text(json.dumps(findings, separators=(",", ":")) + "\n")
    for name, svg in draw(findings).items():
        (STUDY / name).write_text(svg)
    DOCUMENT.write_text(fill_in(DOCUMENT.read_text(), findings, json.loads(ONE_ORDER.read_text())))


if __name__ == "__main__":
    main()
