"""Findings of a study -> what its page shows."""

from collections.abc import Sequence
from typing import Any

from compare.report.pages import plots
from compare.report.pages.common import common, words
from compare.report.pages.plots import Plot
from compare.report.study_terminal import why_unfinished
from compare.report.words import display_name, on_different_devices, things
from compare.study.findings import AttributionFindings, Study


def study_page(findings: Study) -> dict[str, Any]:
    """What the template of a study takes."""
    names = [display_name(name) for name in findings.implementations]
    attribution = findings.attribution
    unfinished = [run for run in findings.runs if run.status != "finished"]
    counts = ", ".join(f"{count:,} {status}" for status, count in findings.counts.items())
    page = common(findings, {name: side["versions"] for name, side in findings.versions.items()})
    return page | {
        "title": f"{' and '.join(names)} over {len(findings.seeds)} seeds: a study",
        "answer": _study_answer(findings),
        "lead": " ".join(
            filter(None, (f"{len(findings.runs):,} runs: {counts}.", on_different_devices(findings.devices)))
        ),
        "things": things(findings.recipe),
        "counts": f"{counts}. A run that did not finish has no part in any mean.",
        "equivalence": plots.equivalence(findings.equivalence, findings.margin),
        "attribution": _attribution_plots(attribution),
        "parting": [
            [e.variant, e.of, *(_step(e.parted_at_step[v]) for v in ("aligned", e.variant))]
            for e in attribution
            if e.parted_at_step
        ],
        "churn": [
            [
                e.between,
                e.variant,
                f"{e.num_pairs:,}",
                *(_or_empty(share, "{:.2%}") for share in (e.mean, e.lowest, e.highest)),
            ]
            for e in findings.churn
            if e.num_pairs
        ],
        "accuracies": [
            [
                e.variant,
                display_name(e.implementation),
                str(e.num_seeds),
                *(_or_empty(getattr(e, key), form) for key, form in _ACCURACY_FORMS.items()),
            ]
            for e in findings.accuracies
        ],
        "unfinished": [
            [f"{display_name(r.implementation)} {r.variant}, seed {r.seed}", r.status, why_unfinished(r)]
            for r in unfinished
        ],
        "runs": [
            [
                f"{display_name(r.implementation)} {r.variant}",
                str(r.seed),
                r.status,
                _or_empty(r.test_accuracy, "{:.2%}"),
                _or_empty(r.test_loss, "{:.4f}"),
            ]
            for r in findings.runs
        ],
    }


_ACCURACY_FORMS = {
    "mean": "{:.3%}",
    "standard_deviation": "{:.3%}",
    "mean_test_loss": "{:.4f}",
    "median_seconds": "{:.1f}",
}


def _attribution_plots(attribution: Sequence[AttributionFindings]) -> list[Plot]:
    titles: dict[plots.Measure, tuple[str, float]] = {
        "test_accuracy": ("accuracy, percentage points", 100.0),
        "test_loss": ("test loss", 1.0),
    }
    return [
        plots.attribution(attribution, measure, title, scale)
        for measure, (title, scale) in titles.items()
        if any(getattr(entry, measure) is not None for entry in attribution)
    ]


def _study_answer(findings: Study) -> str:
    margin = f"{100 * findings.margin:g} percentage points"
    parts = []
    for verdict, sentence in (
        ("parity", f"the same accuracy within {margin}"),
        ("not parity", f"further apart than {margin}"),
        ("inconclusive", "not decided"),
    ):
        variants = [entry.variant for entry in findings.equivalence if entry.verdict == verdict]
        if variants:
            parts.append(f"{sentence}: {', '.join(words(variant) for variant in dict.fromkeys(variants))}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _step(step: float | None) -> str:
    return "never" if step is None else f"{step:,.0f}"


def _or_empty(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
