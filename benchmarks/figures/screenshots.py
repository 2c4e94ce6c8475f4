"""`python -m benchmarks.figures.screenshots RUN NATIVE`: the README's pictures of report pages, taken in Chromium.

RUN is the directory of a `compare run`, NATIVE that of a `compare align --recipe.preset native`.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

PICTURES = Path(__file__).parents[2] / "docs" / "page"
TWO = [[[0.3, 0.3], [0.4, 0.18], [0.58, 0.18], [0.66, 0.32], [0.55, 0.52], [0.3, 0.8], [0.7, 0.8]]]


def main() -> None:
    """Takes every picture again."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures.screenshots", description=__doc__)
    parser.add_argument("run", type=Path, help="directory of a comparison that trained")
    parser.add_argument("native", type=Path, help="directory of a comparison that fails")
    options = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = _open(browser, options.run)
        page.screenshot(path=PICTURES / "answer.png")
        page.evaluate("(strokes) => drawDigit(strokes)", TWO)
        _section(page, "own", "draw.png")
        page = _open(browser, options.run, color_scheme="dark")
        _section(page, "disputed", "disputed.png")
        page = _open(browser, options.native)
        _section(page, "ladder-1", "ladder.png")
        browser.close()


def _open(browser: Browser, directory: Path, **options: Any) -> Any:
    page = browser.new_page(viewport={"width": 1040, "height": 1010}, **options)
    page.goto((directory / "report.html").resolve().as_uri())
    return page


def _section(page: Any, name: str, file: str) -> None:
    page.locator(f"section[aria-labelledby={name}]").screenshot(path=PICTURES / file)


if __name__ == "__main__":
    main()
