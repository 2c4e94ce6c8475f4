"""Findings -> report.html, one page that opens from disk and makes no network requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compare.findings import Comparison
from compare.report.comparison_page import comparison_page
from compare.report.study_page import study_page
from compare.study.findings import Study
from recipe.atomic import complete_or_absent
from record.training import RunRecord

_TEMPLATES = Path(__file__).with_name("templates")


def write_page(
    findings: Comparison | Study,
    *,
    trainings: Mapping[str, RunRecord] | None = None,
    controls: Sequence[RunRecord] = (),
) -> Path:
    """Writes report.html next to the findings, complete or not at all; returns where.

    Args:
        findings: What it shows.
        trainings: The records of a comparison's trainings, by implementation.
        controls: Those of its A/A family.

    Raises:
        RecordError: It cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("study.html.jinja" if isinstance(findings, Study) else "comparison.html.jinja")
    text = template.render(
        page=study_page(findings)
        if isinstance(findings, Study)
        else comparison_page(findings, trainings or {}, controls),
        css=(_TEMPLATES / "page.css").read_text(),
        script=(_TEMPLATES / "draw.js").read_text(),
    )
    with complete_or_absent(findings.page) as partial:
        partial.write_text(text, encoding="utf-8")
    return findings.page
