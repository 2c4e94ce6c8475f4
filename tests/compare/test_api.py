"""`from compare import run, align, study`: typed findings, silence, one-line errors; and names that stay."""

import dataclasses
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import compare
from compare import BadInputError, Comparison, Recipe, RecordError, Study, api
from compare.run.implementations import Implementation
from record import files
from tests.compare.quick import VARIANTS, can, quick
from tests.conftest import ROOT, TINY, run_python

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "keras", lambda *_: Implementation("keras", STAND_IN))
    monkeypatch.setattr(api, "lightning", lambda *_: Implementation("lightning", (*STAND_IN, "--seed", "1")))


# --- names that others build on --------------------------------------------------------------------

COMMON = ("recipe", "implementations", "keras_backend", "device", "out", "console", "command")
ARGUMENTS = {
    "run": {*COMMON, "threads", "controls", "margin", "fresh"},
    "align": {*COMMON, "threads", "fresh"},
    "study": {*COMMON, "seeds", "variants", "margin", "scheduler", "workers", "silence"},
    "explain": {"reference", "port", "steps", "keep", "timeout", "inputs", "batch", "out", "report", "command"},
}
FINDINGS = {"directory", "verdict", "exit_code", "command", "recipe"}
FIELDS = {
    "Comparison": {*FINDINGS, "compared", "implementations", "comparisons", "trained", "controls"},
    "Study": {
        *FINDINGS,
        *("implementations", "variants", "seeds", "margin", "counts", "versions"),
        *("accuracies", "equivalence", "attribution", "churn", "runs"),
    },
    "Pair": {"verdict", "first_failed_rung", "gravest_rung", "rungs", "difference", "agreement"},
    "Rung": {"name", "verdict", "measured", "bound", "where", "cause", "detail"},
    "Difference": {"test_accuracy", "test_loss"},
    "Agreement": {"same", "total"},
    "Divergence": {"epoch", "step"},
    "Effect": {"num_pairs", "mean", "interval", "clear"},
    "ImplementationFindings": {
        *("status", "error", "framework", "backend", "device", "threads", "versions", "reused", "record"),
        *("diverged_at", "test_accuracy", "test_accuracy_interval", "test_loss", "num_parameters"),
        *("seconds_per_epoch", "seconds", "peak_memory_bytes", "peak_gpu_memory_bytes", "history"),
    },
    "AccuracyFindings": {
        *("implementation", "variant", "num_seeds", "mean", "standard_deviation", "mean_test_loss", "median_seconds"),
    },
    "EquivalenceFindings": {
        *("reference", "other", "variant", "seeds", "left_out", "differences", "verdict", "num_pairs", "mean"),
        *("standard_deviation", "interval_90", "interval_95", "margin", "p", "pairs_needed"),
    },
    "AttributionFindings": {
        *("variant", "of", "seeds", "left_out", "test_accuracy", "test_loss", "log2_parted_at_step", "parted_at_step"),
    },
    "ChurnFindings": {"between", "variant", "num_pairs", "mean", "lowest", "highest"},
    "Explanation": {
        *("reference", "port", "ran", "findings", "same", "not_seen", "unpaired", "seconds", "versions", "command"),
        "directory",
    },
    "RunFindings": {
        *("implementation", "variant", "seed", "status", "test_accuracy", "test_loss", "seconds", "error"),
        "diverged_at",
    },
}
ERRORS = {"BadArgumentError", "BadInputError", "DataError", "RecipeError", "RecordError"}


def test_public_names_are_these() -> None:
    assert set(compare.__all__) == {*ARGUMENTS, *FIELDS, *ERRORS, "Recipe", "show", "explain", "Explanation"}
    assert compare.__all__ == sorted(compare.__all__)
    for name in compare.__all__:
        assert inspect.getdoc(getattr(compare, name)), name


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_these_and_documented(name: str) -> None:
    function = getattr(compare, name)
    parameters = inspect.signature(function).parameters
    assert set(parameters) == ARGUMENTS[name]
    documented = inspect.getdoc(function).partition("Args:\n")[2].partition("\n\n")[0]
    assert [line.split(":")[0].strip() for line in documented.splitlines() if line[4] != " "] == list(parameters)


@pytest.mark.parametrize("name", FIELDS)
def test_findings_are_frozen_and_have_these_fields(name: str) -> None:
    kind = getattr(compare, name)
    assert {field.name for field in dataclasses.fields(kind)} == FIELDS[name]
    assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize("package", ["recipe", "keras_impl", "lightning_impl", "compare"])
def test_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


CLIENT = """
from pathlib import Path
from typing import assert_type
from compare import BadInputError, Comparison, Recipe, Rung, Study, align, run, study

def why(recipe: Recipe) -> str:
    try:
        found = align(recipe, implementations={"mine": "python my_port.py", "other": ["python", "other.py"]})
    except BadInputError as error:
        return str(error)
    assert_type(found, Comparison)
    assert_type(found.comparisons["mine"].rungs, tuple[Rung, ...])
    rung = found.comparisons["mine"].first_failure
    return "parity" if rung is None else f"{rung.name}: {rung.where}, {rung.cause}"

assert_type(run(out=Path("out"), margin=0.5).implementations["keras"].test_accuracy, float | None)
assert_type(study(seeds=3, variants=["aligned", "adam"]), Study)
assert_type(study().equivalence[0].interval_90, tuple[float, float] | None)
"""
MISTAKES = {
    'align(keras_backend="numpy")': "keras_backend",
    "align().comparison": "has no attribute",
    "align().implementations['keras'].test_accuracy + 1": "None",
}


def test_client_program_passes_mypy_and_its_mistakes_do_not(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    lines = ["from compare import align", *MISTAKES]
    (tmp_path / "mistakes.py").write_text("\n".join(lines) + "\n")
    # The project's own configuration is strict, and what is known of the packages is in its cache by now.
    program = ("-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache")
    process = run_python(*program, "client.py", "mistakes.py", cwd=tmp_path, MYPYPATH=str(ROOT))
    assert "client.py" not in process.stdout, process.stdout
    for number, words in enumerate(MISTAKES.values(), 2):
        (line,) = [line for line in process.stdout.splitlines() if line.startswith(f"mistakes.py:{number}: error")]
        assert words in line


HEAVY = {"rich", "scipy", "jinja2", "altair", "distributed", "statsmodels", "jsonargparse"}
FRAMEWORKS = {"torch", "tensorflow", "keras", "lightning", "jax"}


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    process = run_python("-c", "import compare, sys; print(*sys.modules)", cwd=tmp_path)
    loaded = set(process.stdout.split())
    assert "compare.api" in loaded
    assert not loaded & (HEAVY | FRAMEWORKS)


# --- what they do ----------------------------------------------------------------------------------


def assert_says(found: Any, json: Any, where: str = "") -> None:
    """Every entry of the JSON stands in the typed findings, under its name."""
    if dataclasses.is_dataclass(found):
        known = {field.name for field in dataclasses.fields(found)}
        assert set(json) <= known | {"schema_version", "kind"}, where
        for key in known & set(json):
            assert_says(getattr(found, key), json[key], f"{where}.{key}")
    elif isinstance(found, Mapping):
        assert set(found) == set(json), where
        for key, value in found.items():
            assert_says(value, json[key], f"{where}.{key}")
    elif isinstance(found, tuple):
        assert len(found) == len(json), where
        for one, other in zip(found, json, strict=True):
            assert_says(one, other, f"{where}[]")
    elif isinstance(found, Path):
        assert found.name == Path(json).name, where
        assert found.exists()
    else:
        assert found == json, where


def results(directory: Path) -> Any:
    return json.loads((directory / "results.json").read_text())


@pytest.mark.usefixtures("stand_ins")
def test_run_returns_silently_what_it_wrote(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = compare.run(TINY, controls=2, out=str(tmp_path), implementations={"third": STAND_IN})
    assert capfd.readouterr() == ("", "")
    assert found == Comparison.read(tmp_path)
    assert found.page.exists()
    said = results(tmp_path)
    decisive = {key: said.pop(key) for key in ("rungs", "difference", "agreement", "first_failed_rung", "gravest_rung")}
    assert_says(found, said)
    assert_says(found.decisive, decisive | {"verdict": found.verdict})
    assert found.recipe == TINY
    assert found.command is None
    assert list(found.implementations) == ["keras", "lightning", "third"]
    assert len(found.controls) == 3
    assert found.implementations["third"].test_accuracy == 0.1
    assert found.comparisons["third"].agreement == compare.Agreement(same=10_000, total=10_000)


@pytest.mark.usefixtures("stand_ins")
def test_every_record_is_read_once_and_what_was_written_is_not_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()
    read, open_tensors = Path.read_text, files.safe_open

    def noted_read(path: Path, *arguments: Any, **options: Any) -> str:
        opened[str(path.resolve())] += 1
        return read(path, *arguments, **options)

    def noted_open(path: Path, **options: Any) -> Any:
        opened[str(path.resolve())] += 1
        return open_tensors(path, **options)

    monkeypatch.setattr(Path, "read_text", noted_read)
    monkeypatch.setattr(files, "safe_open", noted_open)

    def in_records() -> dict[str, int]:
        own = {name: times for name, times in opened.items() if str(tmp_path) in name}
        return {name: times for name, times in own.items() if not name.endswith(files.CHECKSUMS)}

    compare.run(TINY, controls=1, out=tmp_path)
    of_records = in_records()
    # Two traces of 3 files; of the trainings, 2 and a control, 5 each.
    assert sorted(of_records.values()) == [1] * (2 * 3 + 3 * 5)
    assert not [name for name in of_records if name.endswith(("results.json", "report.html"))]
    opened.clear()
    api.rewrite_page(api.read(tmp_path))
    of_records = in_records()
    assert sorted(of_records.values()) == [1] * (1 + 3 * 5)


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("damage", ["recipe", "comparisons", "implementations", "verdict"])
def test_results_that_are_damaged_are_one_line(tmp_path: Path, damage: str) -> None:
    compare.align(TINY, out=tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({k: v for k, v in results(tmp_path).items() if k != damage}))
    with pytest.raises(RecordError, match=rf"results\.json is damaged: .*{damage}.* run the comparison again"):
        Comparison.read(tmp_path)


@pytest.mark.usefixtures("stand_ins")
def test_align_trains_nothing_and_names_the_first_failure(tmp_path: Path) -> None:
    found = compare.align(TINY, out=tmp_path)
    assert_says(found.implementations, results(tmp_path)["implementations"])
    assert found.controls == ()
    assert found.implementations["keras"].test_accuracy is None
    assert [rung.name for rung in found.decisive.rungs][:2] == ["settings", "data"]
    assert found.decisive.first_failure is not None
    assert found.decisive.first_failure.name == found.decisive.first_failed_rung
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.verdict = "parity"  # type: ignore[misc]


@pytest.mark.usefixtures("stand_ins")
def test_progress_and_tables_go_to_the_console_that_is_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(record=True, quiet=False, file=(tmp_path / "console").open("w"), width=100)
    found = compare.align(TINY, out=tmp_path / "out", console=console)
    assert "keras: done" in console.export_text()
    compare.show(found, console)
    assert "Verdict: " in console.export_text()
    assert capfd.readouterr() == ("", "")
    compare.show(found)
    assert "Verdict: " in capfd.readouterr().out


@pytest.mark.usefixtures("stand_ins")
def test_run_that_fails_or_diverges_is_a_finding(tmp_path: Path) -> None:
    broken, wild = (*STAND_IN, "--mode", "fail"), (*STAND_IN, "--mode", "diverge")
    found = compare.run(TINY, controls=0, out=tmp_path, implementations={"broken": broken, "wild": wild})
    assert (found.verdict, found.exit_code, found.compared) == ("failed", 4, ("keras", "broken"))
    assert "out of ideas" in (found.implementations["broken"].error or "")
    assert found.implementations["wild"].diverged_at == compare.Divergence(epoch=1, step=2)
    # Rungs 1 to 7 stand on the traces, which are there.
    assert [len(found.comparisons[name].rungs) for name in ("broken", "wild")] == [7, 7]
    assert found.comparisons["broken"].verdict == "failed"


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: compare.run(threads=0, out=out), "threads must be 1 or more, not 0"),
        (lambda out: compare.run(threads="2", out=out), "threads must be 1 or more, not '2'"),
        (lambda out: compare.run(controls=-1, out=out), "controls must be 0 or more, not -1"),
        (lambda out: compare.run(margin=0, out=out), "margin must be between 0 and 100"),
        (lambda out: compare.align(device="tpu", out=out), "device must be one of auto, cpu, gpu, not 'tpu'"),
        (lambda out: compare.align(keras_backend="numpy", out=out), "keras_backend must be one of tensorflow"),
        (lambda out: compare.align({"epochs": 3}, out=out), "recipe must be a Recipe, not a dict"),
        (lambda out: compare.align(out="/proc/nowhere"), "out: .*/proc/nowhere"),
        (lambda out: compare.align(out=out, implementations={"a b": "python"}), "implementation takes NAME"),
        (lambda out: compare.align(out=out, implementations={"a": "no_such"}), "implementation a: .* 'no_such'"),
        (lambda out: compare.align(out=out, implementations={"keras": "python"}), "'keras' is taken"),
        (lambda out: compare.study(seeds=0, out=out), "seeds must be 1 or more"),
        (lambda out: compare.study(variants=["dropout"], out=out), "variants: there is no variant 'dropout'"),
        (lambda out: compare.study(Recipe(adam="framework"), out=out), "a study flips the switches itself"),
    ],
)
def test_errors_are_one_line_of_our_own(tmp_path: Path, call: Callable[[Path], Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        call(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)
    assert not list(tmp_path.rglob("results.json"))


@pytest.mark.usefixtures("stand_ins")
def test_implementation_that_refuses_is_a_finding_about_it(tmp_path: Path) -> None:
    found = compare.align(TINY, out=tmp_path, implementations={"third": (sys.executable, "-c", REFUSING)})
    assert (found.implementations["third"].status, found.implementations["third"].error) == (
        "failed",
        "third: the moon is not full",
    )
    assert found.comparisons["lightning"].verdict != "failed"


REFUSING = "import sys; print('error: the moon is not full'); sys.exit(2)"


@pytest.fixture
def quick_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    canned = can(tmp_path / "canned")
    monkeypatch.setattr(api, "keras", lambda *_: quick("keras", canned))
    monkeypatch.setattr(api, "lightning", lambda *_: quick("lightning", canned))


@pytest.mark.usefixtures("quick_ones")
def test_study_returns_silently_what_it_wrote(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = compare.study(TINY, seeds=2, variants=VARIANTS, workers=1, out=tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert found == Study.read(tmp_path / "out")
    assert_says(found, results(tmp_path / "out"))
    assert found.counts == {"finished": 2 * 2 * len(VARIANTS)}
    assert found.variants == VARIANTS
    assert found.equivalence[0].differences == (0.0, 0.0)
    assert [entry.of for entry in found.attribution] == ["keras", "lightning", "lightning - keras"]
    with pytest.raises(RecordError, match=r"findings of a study: read them with Study\.read"):
        Comparison.read(tmp_path / "out")


def test_study_of_a_script_that_its_workers_would_run_again_says_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("from compare import study\nstudy(seeds=1, workers=1, out='out')\n")
    process = run_python("script.py", cwd=tmp_path)
    assert process.returncode == 1
    last_line = process.stderr.strip().splitlines()[-1]
    assert last_line.startswith("recipe.errors.BadInputError: the workers on this machine do not start")
    assert last_line.endswith("a script must call study under `if __name__ == '__main__':`")
    assert not list(tmp_path.rglob("results.json"))
