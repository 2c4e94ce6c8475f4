"""Findings -> report.html, one page that opens from disk and asks nothing of any network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.report.comparison_page import comparison_page
from compare.report.study_page import study_page
from recipe.atomic import complete_or_absent

PAGE = "report.html"

_TEMPLATES = Path(__file__).with_name("templates")


def write_page(results: Mapping[str, Any], directory: Path) -> Path:
    """Writes report.html beside the findings, complete or not at all.

    Args:
        results: What `results.json` holds, of a comparison or of a study.
        directory: The comparison's, where the records of the runs are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = results.get("kind") == "study"
    template = environment.get_template("study.html.jinja" if study else "comparison.html.jinja")
    text = template.render(
        page=study_page(results) if study else comparison_page(results, directory),
        css=(_TEMPLATES / "page.css").read_text(),
        script=(_TEMPLATES / "draw.js").read_text(),
    )
    path = directory / PAGE
    with complete_or_absent(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
