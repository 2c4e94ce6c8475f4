"""Findings -> report.html, one page that opens from disk and makes no network requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare.explanation.findings import Explanation
from compare.findings import Comparison
from compare.report.explanation.page import explanation_page
from compare.report.pages.comparison import comparison_page
from compare.report.pages.study import study_page
from compare.study.findings import Study
from recipe.atomic import complete_or_absent
from recipe.errors import RecordError
from record.training import RunRecord

_TEMPLATES = Path(__file__).with_name("templates")


def write_page(
    findings: Comparison | Study | Explanation,
    *,
    trainings: Mapping[str, RunRecord] | None = None,
    controls: Sequence[RunRecord] = (),
) -> Path:
    """Writes report.html next to the findings, complete or not at all; returns where.

    Args:
        findings: What it shows, of any kind.
        trainings: The records of a comparison's trainings, by implementation.
        controls: Those of its A/A family.

    Raises:
        RecordError: It cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    kind, page = _page(findings, trainings or {}, controls)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(f"{kind}.html.jinja").render(
        page=page, css=(_TEMPLATES / "page.css").read_text(), script=(_TEMPLATES / "draw.js").read_text()
    )
    path = findings.page
    if path is None:
        raise RecordError("the findings were written to no directory, where their page could be")
    with complete_or_absent(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _page(
    findings: Comparison | Study | Explanation, trainings: Mapping[str, RunRecord], controls: Sequence[RunRecord]
) -> tuple[str, dict[str, Any]]:
    """Of findings, the name of their template and what it takes."""
    if isinstance(findings, Explanation):
        return "explanation", explanation_page(findings)
    if isinstance(findings, Study):
        return "study", study_page(findings)
    return "comparison", comparison_page(findings, trainings, controls)
