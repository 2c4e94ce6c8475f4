"""The notebook runs, and what its text says is so: as it stands in the repository, and as it comes out now."""

import math
import re
import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.conftest import ROOT, Once
from tests.examples.notebook import NOTEBOOK, execute


@pytest.fixture
def executed(once: Once) -> NotebookNode:
    def make(directory: Path) -> None:
        nbformat.write(execute(directory), directory / "executed.ipynb")

    return nbformat.read(once("notebook", make) / "executed.ipynb", as_version=4)


@pytest.fixture(params=["committed", "executed"])
def notebook(request: pytest.FixtureRequest) -> NotebookNode:
    if request.param == "committed":
        return nbformat.read(NOTEBOOK, as_version=4)
    return request.getfixturevalue("executed")


def output(notebook: NotebookNode, cell: str) -> str:
    """What a cell printed."""
    (found,) = [entry for entry in notebook.cells if entry.id == cell]
    texts = [entry.get("text") or entry.data["text/plain"] for entry in found.outputs]
    return re.sub(r"\x1b\[[0-9;]*m", "", "".join(texts))


def ladder(text: str, pair: str) -> dict[str, str]:
    """The verdicts by rung that the table says of a pair."""
    rows = text.partition(f"{pair} ")[2].splitlines()[1:8]
    return {row.split()[0]: "not parity" if "not parity" in row else "parity" for row in rows}


def findings(text: str) -> list[str]:
    """The severity and stage of each difference, then its title, as `explain` prints them."""
    lines = text.splitlines()
    heads = [i for i, line in enumerate(lines) if re.match(r"(FAULT|minor|inherent) ", line)]
    return [f"{' '.join(lines[i].replace('FAULT', 'fault').split()[:3])}: {lines[i + 1].strip()}" for i in heads]


def test_it_opens_with_two_plain_scripts_and_explain(notebook: NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code[:3]] == ["keras-model", "port", "explain"]
    for script in code[:2]:
        assert not re.search(r"^(from|import) (recipe|record|compare)", script.source, re.MULTILINE)


def test_every_planted_fault_is_explained_and_mended_it_is_the_same(notebook: NotebookNode) -> None:
    text = output(notebook, "explain")
    assert [found.partition(": ")[0] for found in findings(text)] == [
        "fault 1 forward", "fault 2 loss", "minor weights port.py:11", "minor weights port.py:11",
        "minor optimizer port.py:26", "inherent optimizer port.py:26",
    ]  # fmt: skip
    first, second, *_, epsilon, place = findings(text)
    assert first.endswith("no ReLU after fc3")
    assert "softmax before a loss that applies softmax itself" in second
    assert "Adam's epsilon 1e-08; the reference has 1e-07" in epsilon
    assert "Adam's epsilon (eps) is added at another place" in place
    assert "verdict: different (5 differences)" in text
    rows = [line.split(None, 3) for line in output(notebook, "findings").splitlines()]
    assert rows[0] == ["fault", "forward", "port.py:20", "x = torch.relu(self.fc3(x))"]
    assert [row[0] for row in rows] == ["fault", "fault", "minor", "minor", "minor"]

    mended = output(notebook, "mend")
    assert "verdict: the same" in mended
    (inherent,) = findings(mended)
    assert "is added at another place" in inherent
    assert round(math.log(1 + 9 / math.e), 4) == 1.4612


def test_the_ladder_names_the_planted_fault_and_the_next(notebook: NotebookNode) -> None:
    text = output(notebook, "align")
    assert set(ladder(text, "keras and lightning").values()) == {"parity"}
    failed = [rung for rung, verdict in ladder(text, "keras and mine").items() if verdict != "parity"]
    assert failed == ["loss", "gradients", "optimizer"]
    causes = [line.strip() for line in text.splitlines() if "likely cause: " in line]
    assert causes[0].startswith("likely cause: softmax is applied twice")
    assert causes[1].startswith("likely cause: ε is added after the bias correction, as torch does, not before it")

    rung, where, cause = output(notebook, "diagnosis").splitlines()
    assert rung == "loss"
    assert where.startswith("mine, step 1: loss: ")
    assert cause.startswith("softmax is applied twice: such a loss never falls below 1.4612")


def test_mended_no_rung_fails(notebook: NotebookNode) -> None:
    text = output(notebook, "mend-again")
    assert list(ladder(text, "keras and mine").values()) == ["parity"] * 7
    assert "Verdict: parity. keras and mine are the same up to rounding" in text


def test_figures_are_shown(notebook: NotebookNode) -> None:
    for cell in ("losses", "losses-after"):
        (found,) = [entry for entry in notebook.cells if entry.id == cell]
        assert found.outputs[-1].data["image/png"]


def test_links_lead_somewhere(notebook: NotebookNode) -> None:
    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link


def test_nothing_of_a_machine_is_in_it() -> None:
    text = NOTEBOOK.read_text()
    for place in (str(ROOT), str(Path.home()), tempfile.gettempdir(), shutil.which("python") or "/usr/bin/python"):
        assert place not in text
    assert NOTEBOOK.stat().st_size < 300_000
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert "warning" not in str([cell.get("outputs") for cell in notebook.cells]).lower()
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(range(1, 12))
