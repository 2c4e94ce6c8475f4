import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.api import rewrite_page
from compare.oracle import convolution
from compare.oracle import network as oracle
from compare.report.page import write_page
from recipe import Recipe
from recipe.initial_weights import initial_weights
from record.training import read_record
from tests.browser.strokes import prepare
from tests.compare.test_page import study, trained, with_side
from tests.conftest import Once, run_python, write_canned
from tests.explanation.test_page import EPSILON, RELU, explanation

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

SEVEN = [[[0.3, 0.2], [0.7, 0.2], [0.45, 0.8]]]
ONE = [[[0.5, 0.15], [0.5, 0.85]]]


@pytest.fixture(scope="session")
def comparison(once: Once) -> Path:
    """A comparison of both real implementations: one epoch, which is enough to know a 7."""

    def make(directory: Path) -> None:
        process = run_python(
            "-m", "compare", "run", "--recipe.epochs", 1, "--recipe.batch_size", 125, "--out", "out", cwd=directory
        )
        assert process.returncode in (0, 3), process.stdout + process.stderr

    return once("comparison-for-the-page", make) / "out"


@pytest.fixture(scope="session")
def faulty(once: Once) -> Path:
    """A comparison that fails on the rung of the initial weights."""

    def make(directory: Path) -> None:
        options = ["--recipe.initial_weights", "framework", "--recipe.hidden_sizes", "[8]"]
        process = run_python("-m", "compare", "align", *options, "--out", "out", cwd=directory)
        assert process.returncode == 1, process.stdout + process.stderr

    return once("faulty-comparison-for-the-page", make) / "out"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """`opened(directory, **options)` is the page in a browser that fails the test on any error or request."""
    complaints: list[str] = []
    contexts = []

    def get(directory: Path, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: re.match("(file|data):", request.url) or complaints.append(request.url))
        page.goto((directory / "report.html").as_uri())
        return page

    yield get
    for context in contexts:
        context.close()
    assert not complaints


def test_opens_from_disk_and_draws_every_plot(opened: Any, comparison: Path) -> None:
    page = opened(comparison)
    assert "Keras and Lightning" in page.locator(".answer").inner_text()
    plots = page.locator("figure svg")
    assert plots.count() == 4
    for i in range(plots.count()):
        assert plots.nth(i).locator(".role-mark path, .role-mark line").count() > 0
        box = plots.nth(i).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
        assert plots.nth(i).locator("xpath=..").get_attribute("aria-label")
    assert page.locator(".digits img").count() > 0
    assert page.evaluate("Array.from(document.images).every((image) => image.naturalWidth === 28 && image.alt)")


def test_page_of_a_study_draws_every_plot_in_any_width(opened: Any, tmp_path: Path) -> None:
    write_page(study(tmp_path))
    page = opened(tmp_path, viewport={"width": 360, "height": 740}, color_scheme="dark")
    plots = page.locator("figure svg")
    assert plots.count() == 2
    for i in range(plots.count()):
        assert plots.nth(i).locator(".role-mark line").count() > 0
        assert plots.nth(i).bounding_box()["height"] > 50
    assert "finished" in page.locator("section", has_text="Every run").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_page_of_an_explanation_fits_any_width_and_opens_what_differs(opened: Any, tmp_path: Path) -> None:
    rewrite_page(explanation(tmp_path, RELU, EPSILON))
    page = opened(tmp_path, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.locator("details[open] .title").all_inner_texts() == ["1. no ReLU after fc3"]
    assert page.locator("details[open] dd code").inner_text() == "x = torch.relu(self.fc3(x))"
    minor = page.locator("details", has_text="epsilon")
    minor.locator("summary").focus()
    page.keyboard.press("Enter")
    assert minor.locator("dl").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_ladder_opens_at_the_first_rung_that_fails(opened: Any, faulty: Path) -> None:
    page = opened(faulty)
    assert page.locator("details[open] summary").all_inner_texts()[0].startswith("3. initial weights")
    assert page.locator("details[open] .cause").inner_text().startswith("Where: hidden_1.kernel at (0, 0)")
    forward = page.locator("details", has_text="4. forward")
    assert not forward.locator("table").is_visible()
    forward.locator("summary").focus()
    page.keyboard.press("Enter")
    assert forward.locator("table").is_visible()


@pytest.mark.parametrize(("strokes", "digit"), [(SEVEN, 7), (ONE, 1)], ids=["seven", "one"])
def test_drawn_digit_is_recognised(opened: Any, comparison: Path, strokes: list[Any], digit: int) -> None:
    page = opened(comparison)
    page.locator("#draw").scroll_into_view_if_needed()
    box = page.locator("#draw").bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=10)
        page.mouse.up()
    assert re.fullmatch(rf"Keras sees a {digit} .*; Lightning sees a {digit} .*", page.locator("#spoken").inner_text())
    page.locator("#clear").click()
    assert page.locator("#spoken").inner_text() == "Nothing is drawn yet."


def test_page_computes_what_python_computes(opened: Any, comparison: Path) -> None:
    results = json.loads((comparison / "results.json").read_text())
    page = opened(comparison)
    for strokes in (SEVEN, ONE, [[[0.4, 0.4]]], [*SEVEN, [[0.35, 0.5], [0.65, 0.52]]]):
        found = page.evaluate("(strokes) => drawDigit(strokes)", strokes)
        pixels = prepare(strokes)
        # Both sides compute in float64; the square root is correctly rounded in both.
        np.testing.assert_allclose(found["pixels"], pixels.ravel(), atol=1e-12)
        for name, shown in zip(("keras", "lightning"), found["probabilities"], strict=True):
            weights = oracle.exact(read_record(comparison / results["implementations"][name]["record"]).weights)
            tensor = pixels.reshape(1, 784)
            for layer in oracle.layer_names(weights):
                logits = convolution.linear(tensor, weights[f"{layer}.kernel"], weights[f"{layer}.bias"])
                tensor = oracle.relu(logits)
            np.testing.assert_allclose(shown, oracle.softmax(logits)[0], atol=1e-9)  # float64, another order of sums


def test_page_computes_convolutions_as_python_does(opened: Any, tmp_path: Path) -> None:
    recipe = Recipe(network="cnn", filters=(5, 3), hidden_sizes=(8,), dtype="float64", batch_size=30_000, epochs=2)
    found = trained(tmp_path, recipe=recipe)
    random = np.random.default_rng(0)
    # Biases that are not zero, and weights so large that the classes are far apart.
    weights = {name: 2 * array + random.normal(size=array.shape) for name, array in initial_weights(recipe).items()}
    weights = {name: array.astype(np.float32).astype(np.float64) for name, array in weights.items()}
    write_canned(tmp_path / "records" / "e", recipe, weights=weights)
    rewrite_page(with_side(found, "keras", record=tmp_path / "records" / "e"))
    page = opened(tmp_path)
    for strokes in (SEVEN, ONE):
        shown = page.evaluate("(strokes) => drawDigit(strokes)", strokes)["probabilities"][0]
        passed = oracle.forward(weights, prepare(strokes).reshape(1, 28, 28, 1))
        expected = passed.activations["output"][0]
        assert expected.max() - expected.min() > 0.1
        np.testing.assert_allclose(shown, expected, atol=1e-9)  # float64, another order of sums


def test_disputed_digit_can_be_taken_by_keyboard(opened: Any, comparison: Path) -> None:
    page = opened(comparison)
    page.locator("#sample").focus()
    page.keyboard.press("Enter")
    sentence = page.locator("#spoken").inner_text()
    keras, lightning = re.findall(r"sees a (\d)", sentence)
    assert keras != lightning


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(opened: Any, comparison: Path, scheme: str) -> None:
    page = opened(comparison, color_scheme=scheme)
    colors = page.evaluate(
        """() => ["--paper", "--raised", "--ink", "--soft", "--good", "--bad", "--unsure", "--accent"].map((name) => {
          const probe = document.createElement("i");
          probe.style.color = `var(${name})`;
          document.body.append(probe);
          return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
        })"""
    )
    paper, raised, *inks = (np.array(color) / 255 for color in colors)

    def luminance(color: np.ndarray) -> float:  # WCAG 2.2, relative luminance
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    assert (luminance(paper) < 0.1) == (scheme == "dark")
    for ink in inks:
        for background in (paper, raised):
            low, high = sorted((luminance(ink), luminance(background)))
            assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2.2, 1.4.3, level AA
    fill = page.locator("figure svg text").first.evaluate("(text) => getComputedStyle(text).fill")
    assert [int(n) for n in re.findall(r"\d+", fill)] == colors[2]


def test_narrow_window_scrolls_only_inside_tables_and_plots(opened: Any, comparison: Path) -> None:
    page = opened(comparison, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_print_shows_what_is_folded(opened: Any, comparison: Path) -> None:
    page = opened(comparison)
    page.emulate_media(media="print")
    assert page.locator("details", has_text="4. forward").locator("p").first.evaluate("(p) => p.checkVisibility()")
    assert not page.locator("#draw").is_visible()


def test_headings_go_down_one_by_one(opened: Any, comparison: Path) -> None:
    page = opened(comparison)
    levels = page.evaluate("Array.from(document.querySelectorAll('h1,h2,h3,h4'), (h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.fixture
def pages(comparison: Path, faulty: Path, tmp_path: Path) -> dict[str, Path]:
    """Where a page of each kind is."""
    for name in ("study", "explanation"):
        (tmp_path / name).mkdir()
    write_page(study(tmp_path / "study"))
    rewrite_page(explanation(tmp_path / "explanation", RELU, EPSILON))
    return {"good": comparison, "faulty": faulty, "study": tmp_path / "study", "explanation": tmp_path / "explanation"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(opened: Any, pages: dict[str, Path], width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for name, directory in pages.items():
        page = opened(directory, viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach((details) => details.open = true)")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
