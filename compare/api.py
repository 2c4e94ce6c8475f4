"""`run`, `align`, `study` and `explain` for programs: what the command line does, which calls these.

Each starts every program in processes of its own, leaves `results.json` and `report.html` in a directory, and returns
what they say as frozen dataclasses. Nothing is printed unless a console is given, and nothing ends the process.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from compare import explanation
from compare.explanation.findings import Explanation
from compare.findings import Comparison
from compare.results_file import read_results, write_results
from compare.run.implementations import Backend, Device, Implementation, keras, lightning, other
from compare.run.jobs import Job, Outcome, run_all
from compare.study.findings import Study
from compare.study.plan import plan
from compare.study.results import Results
from recipe import Recipe, datasets
from recipe.atomic import check_writable
from recipe.errors import BadArgumentError, BadInputError, RecordError
from record.places import RUNS
from record.training import RunRecord, read_record

if TYPE_CHECKING:
    from rich.console import Console
else:  # the command line reads these annotations when it starts, where rich would be a sixth of the time
    Console = Any

Implementations = Mapping[str, str | Sequence[str]]
"""Third implementations: a name, and the command that gets `RECIPE.json RUN_DIR` appended, as a line or as words."""


def run(
    recipe: Recipe | None = None,
    *,
    implementations: Implementations | None = None,
    keras_backend: Backend = "tensorflow",
    device: Device = "auto",
    threads: int = 1,
    controls: int = 3,
    margin: float = 0.5,
    fresh: bool = False,
    out: Path | str | None = None,
    console: Console | None = None,
    command: str | None = None,
) -> Comparison:
    """Trains the implementations and compares them on all nine rungs of the ladder.

    Args:
        recipe: What all of them train; left out, the tutorial's.
        implementations: More implementations of the contract in docs/run-record.md, next to Keras and Lightning.
        keras_backend: Keras's backend.
        device: Where to compute; auto takes a GPU where there is one.
        threads: CPU threads of each run; as many runs at once as there are cores for.
        controls: Trainings of the A/A control, which tell how far rounding carries.
        margin: Accuracies closer than this count as the same, in percentage points.
        fresh: Runs again what is finished already.
        out: Directory of the comparison; left out, one under `runs/` of this recipe and these implementations.
        console: Where to show progress; left out, nowhere.
        command: What was typed, for those who read the findings.

    Raises:
        BadInputError: What was asked for cannot be run, or an implementation refused it or broke the contract.
        RecipeError: The recipe leaves no perturbation for that many controls.
        DataError: The data set is damaged, or cannot be fetched.
    """
    from compare.judge import judge_trainings
    from compare.report.page import write_page

    _check_at_least(0, "controls", controls)
    _check_at_least(1, "threads", threads)
    _check_margin(margin)
    recipe, sides, directory = _prepare("run", recipe, implementations, keras_backend, device, out)
    records = directory / "records"
    trainings = {side.name: Job(side, recipe, records, threads=threads, title=side.name) for side in sides}
    traces = {
        side.name: Job(side, recipe, records, trace=True, threads=threads, title=f"{side.name} trace") for side in sides
    }
    # Lightning's controls: an A/A family is of one implementation, and its epochs are the shorter ones.
    control = trainings["lightning"]
    family = [
        dataclasses.replace(control, recipe=dataclasses.replace(recipe, perturbation=number), title=f"control {number}")
        for number in range(recipe.perturbation + 1, recipe.perturbation + 1 + controls)
    ]
    outcomes = _run_all(start_order(traces, trainings, family), console, fresh=fresh)
    trained = {name: outcomes[job] for name, job in trainings.items()}
    controlled = [outcomes[job] for job in (control, *family)]
    with _one_blas_thread():
        findings = judge_trainings(
            recipe,
            {name: outcomes[job] for name, job in traces.items()},
            trained,
            controlled,
            directory,
            margin=margin / 100,
            command=command,
        )
    write_results(findings.to_json(), directory)
    write_page(
        findings,
        trainings={name: entry.record for name, entry in trained.items() if entry.record},
        controls=[entry.record for entry in controlled if entry.record],
    )
    return findings


def start_order(traces: dict[str, Job], trainings: dict[str, Job], family: list[Job]) -> list[Job]:
    """The order to start jobs in: the longest first, so that all cores are busy to the end.

    But a trace of somebody else's implementation comes before all: whether it keeps to the contract
    should be known in seconds.
    """
    own = ("keras", "lightning")
    early = [trace for name, trace in traces.items() if name not in own]
    return [*early, *trainings.values(), *family, *(traces[name] for name in own)]


def align(
    recipe: Recipe | None = None,
    *,
    implementations: Implementations | None = None,
    keras_backend: Backend = "tensorflow",
    device: Device = "auto",
    threads: int = 1,
    fresh: bool = False,
    out: Path | str | None = None,
    console: Console | None = None,
    command: str | None = None,
) -> Comparison:
    """Compares the first steps number by number, without a training: rungs 1 to 7.

    Args:
        recipe: What all of them would train; left out, the tutorial's.
        implementations: More implementations of the contract in docs/run-record.md, next to Keras and Lightning.
        keras_backend: Keras's backend.
        device: Where to compute; auto takes a GPU where there is one.
        threads: CPU threads of each run; as many runs at once as there are cores for.
        fresh: Runs again what is finished already.
        out: Directory of the comparison; left out, one under `runs/` of this recipe and these implementations.
        console: Where to show progress; left out, nowhere.
        command: What was typed, for those who read the findings.

    Raises:
        BadInputError: What was asked for cannot be run, or an implementation refused it or broke the contract.
        DataError: The data set is damaged, or cannot be fetched.
    """
    from compare.judge import judge_traces
    from compare.report.page import write_page

    _check_at_least(1, "threads", threads)
    recipe, sides, directory = _prepare("align", recipe, implementations, keras_backend, device, out)
    traces = {
        side.name: Job(side, recipe, directory / "records", trace=True, threads=threads, title=side.name)
        for side in sides
    }
    outcomes = _run_all(list(traces.values()), console, fresh=fresh)
    traced = {name: outcomes[job] for name, job in traces.items()}
    with _one_blas_thread():
        findings = judge_traces(recipe, traced, directory, command=command)
    write_results(findings.to_json(), directory)
    write_page(findings)
    return findings


def study_plan(
    recipe: Recipe | None = None,
    *,
    implementations: Implementations | None = None,
    keras_backend: Backend = "tensorflow",
    device: Device = "auto",
    seeds: int = 20,
    variants: Sequence[str] | None = None,
    margin: float = 0.1,
) -> list[str]:
    """What a study of these arguments would train, and how many seeds show parity within which margin; runs nothing.

    Raises:
        BadInputError: What was asked for cannot be run.
    """
    from compare.study.plan import power_lines

    _check_margin(margin)
    recipe, sides, _ = _prepare("study", recipe, implementations, keras_backend, device, None)
    return power_lines(plan(sides, recipe, variants, seeds), margin / 100)


def study(
    recipe: Recipe | None = None,
    *,
    implementations: Implementations | None = None,
    keras_backend: Backend = "tensorflow",
    device: Device = "auto",
    seeds: int = 20,
    variants: Sequence[str] | None = None,
    margin: float = 0.1,
    scheduler: str | None = None,
    workers: int | None = None,
    silence: float = 600.0,
    out: Path | str | None = None,
    console: Console | None = None,
    command: str | None = None,
) -> Study:
    """Trains every variant from many seeds: are they equivalent, and what does each default cost?

    On this machine it starts worker processes that import the calling program again: a script calls it under
    `if __name__ == "__main__":`.

    Args:
        recipe: What the variants are of, all switches shared; left out, the tutorial's.
        implementations: More implementations of the contract in docs/run-record.md, next to Keras and Lightning.
        keras_backend: Keras's backend.
        device: Where to compute; auto takes a GPU where there is one.
        seeds: How many seeds, from the recipe's on.
        variants: Switches to flip, alone or joined by +, and aligned (none), native (all) and control; by default each.
        margin: Mean accuracies closer than this count as the same, in percentage points.
        scheduler: A Dask scheduler, such as tcp://host:8786; left out, this machine's cores.
        workers: Runs side by side on this machine; left out, one a core.
        silence: A run that prints nothing for this many seconds is ended and tried again.
        out: Directory of the study; left out, one under `runs/` of this recipe and these implementations.
        console: Where to show progress; left out, nowhere.
        command: What was typed, for those who read the findings.

    Raises:
        BadInputError: What was asked for cannot be run, what a study needs is not installed, or the scheduler went
            away: called again, it continues from there.
        RecipeError: There are fewer seeds from the recipe's on.
        DataError: The data set is damaged, or cannot be fetched.
    """
    try:
        from compare.study.cluster import SchedulerLostError, run_study
        from compare.study.connection import connect
        from compare.study.judge import judge_study
    except ImportError as error:
        raise BadInputError(f"a study needs {error.name}; in the clone: pip install '.[study]'") from error
    from compare.report.page import write_page
    from compare.study.progress import StudyProgress

    for name, value in (("workers", workers), ("silence", silence)):
        if value is not None and not value > 0:
            raise BadArgumentError(f"{name} must be more than 0, not {value:g}")
    _check_margin(margin)
    recipe, sides, directory = _prepare("study", recipe, implementations, keras_backend, device, out)
    runs = plan(sides, recipe, variants, seeds)
    results = Results(directory / "results")
    results.take_records(runs, directory.parent)
    console = console or _silent()
    if not all(results.path(training).exists() for training in runs):
        with connect(scheduler, workers) as client:
            console.print(f"{len(runs):,} runs; Dask's dashboard: {client.dashboard_link}", soft_wrap=True)
            with StudyProgress(len(runs), console) as progress:
                try:
                    run_study(runs, results, client, silence, progress.report)
                except SchedulerLostError as error:
                    raise BadInputError(str(error)) from error
    with _one_blas_thread():
        findings = judge_study(recipe, runs, results, directory, margin=margin / 100, command=command)
    write_results(findings.to_json(), directory)
    write_page(findings)
    return findings


def explain(
    reference: Path | str,
    port: Path | str,
    *,
    steps: int = 10,
    keep: Path | str | None = None,
    timeout: float = 300.0,
    inputs: Path | str | None = None,
    batch: int | None = None,
    out: Path | str | None = None,
    report: Callable[[str], None] = lambda _: None,
    command: str | None = None,
) -> Explanation:
    """Runs two programs as they are up to their first optimizer steps and says what they do differently.

    Args:
        reference: A .py file, a notebook, or FILE.py:NAME of a model or of a function that returns one; with the
            script's own arguments after it, as on a command line.
        port: The other program, in the same forms.
        steps: How many optimizer steps to compare.
        keep: A directory to keep in it what was recorded.
        timeout: The seconds that each program may take.
        inputs: A .npy or .npz file for models that are only used.
        batch: How many samples of a batch to use; left out, all.
        out: A directory for results.json and report.html; left out, nothing is written.
        report: Called with a line whenever something has begun.
        command: What was typed, for those who read the findings.

    Raises:
        BadInputError: The two cannot be compared: no such file, no optimizer step, out of time.
        RunFailedError: A program fails by itself, or cannot be watched.
    """
    from compare.report.page import write_page

    directory = None if out is None else Path(out)
    for name, path in (("out", directory), ("keep", None if keep is None else Path(keep))):
        if path is not None:
            _check_writable(name, path)
    findings = explanation.explain(
        reference,
        port,
        steps=steps,
        keep=None if keep is None else Path(keep),
        timeout=timeout,
        inputs=None if inputs is None else Path(inputs),
        batch=batch,
        report=report,
    )
    findings = dataclasses.replace(findings, command=command, directory=directory)
    if directory is not None:
        write_results(findings.to_json(), directory)
        write_page(findings)
    return findings


def read(directory: Path | str) -> Comparison | Study | Explanation:
    """The findings that an earlier call, or the command line, left in a directory, of whichever kind they are.

    Raises:
        RecordError: There are none, or none of this version.
    """
    directory = Path(directory)
    results = read_results(directory)
    kinds: dict[object, type[Comparison | Study | Explanation]] = {"study": Study, "explanation": Explanation}
    return kinds.get(results.get("kind"), Comparison).from_json(results, directory)


def show(findings: Comparison | Study | Explanation, console: Console | None = None, *, verbose: bool = False) -> None:
    """Prints the verdict and what it rests on as the command line does.

    Args:
        findings: What `run`, `align`, `study` or `explain` returned, or `read` of one of their classes read.
        console: Where to; left out, standard output.
        verbose: All tables of a comparison: every epoch, memory, versions, what each rung measured against its bound.
    """
    from rich.console import Console

    from compare.report.terminal import show

    show(findings, console or Console(), verbose=verbose)


def rewrite_page(findings: Comparison | Study | Explanation) -> Path:
    """Writes the page of findings that were read again, from the records that they name; returns where.

    A control that is gone leaves the page's band of controls narrower.

    Raises:
        RecordError: The record of a training is gone or damaged, or the page cannot be written.
    """
    from compare.report.page import write_page

    if isinstance(findings, Study | Explanation) or not findings.trained:
        return write_page(findings)
    records: dict[Path, RunRecord] = {}
    for place in findings.controls:
        with contextlib.suppress(RecordError):
            records[place] = read_record(place)
    trainings = {name: side.record for name, side in findings.implementations.items() if side.record}
    for place in trainings.values():
        records[place] = records.get(place) or read_record(place)
    return write_page(
        findings,
        trainings={name: records[place] for name, place in trainings.items()},
        controls=[records[place] for place in findings.controls if place in records],
    )


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Keeps the judge to one core: its matrices are small, and 30 comparisons at once would ask for all cores each."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def _check_at_least(lowest: int, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise BadArgumentError(f"{name} must be {lowest} or more, not {value!r}")


def _check_margin(margin: float) -> None:
    if not 0 < margin < 100:  # noqa: PLR2004 - percentage points
        raise BadArgumentError(f"margin must be between 0 and 100 percentage points, not {margin:g}")


def _prepare(
    command: str,
    recipe: Recipe | None,
    implementations: Implementations | None,
    keras_backend: Backend,
    device: Device,
    out: Path | str | None,
) -> tuple[Recipe, list[Implementation], Path]:
    """The recipe, the implementations with the reference first, and a directory that can be written to."""
    for name, value, choices in (("keras_backend", keras_backend, Backend), ("device", device, Device)):
        if value not in get_args(choices):
            raise BadArgumentError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")
    recipe = recipe or Recipe()
    if not isinstance(recipe, Recipe):
        raise BadArgumentError(f"recipe must be a Recipe, not a {type(recipe).__name__}")
    recipe = datasets.with_images(recipe)
    datasets.check_fits_memory(recipe)
    if recipe.dataset != "mnist":
        datasets.load(recipe)  # fetched and refused before any run does it
    sides = [keras(keras_backend, device), lightning(device)]
    sides += [other(name, words) for name, words in (implementations or {}).items()]
    if out is not None and not str(out):
        raise BadArgumentError("out must name a directory, not ''; leave it out for one under runs/")
    directory = default_directory(recipe, sides, command) if out is None else Path(out)
    _check_writable("out", directory)
    return recipe, sides, directory


def _check_writable(name: str, directory: Path) -> None:
    try:
        check_writable(directory)
    except RecordError as error:
        raise BadArgumentError(f"{name}: {error}") from error


def default_directory(recipe: Recipe, implementations: list[Implementation], command: str) -> Path:
    """A directory under runs/ of this command, this recipe and these implementations alone."""
    commands = [implementation.words for implementation in implementations]
    key = hashlib.sha256(f"{recipe.to_json()}{commands}".encode()).hexdigest()[:8]
    return RUNS / f"{command}-{recipe.variant}-{recipe.dtype}-seed{recipe.seed}-{key}"


def _silent() -> Console:
    from rich.console import Console

    return Console(quiet=True, force_terminal=False)


def _run_all(jobs: list[Job], console: Console | None, *, fresh: bool) -> dict[Job, Outcome]:
    from compare.run.progress import LiveProgress

    with LiveProgress(jobs, console or _silent()) as progress:
        outcomes = run_all(jobs, fresh=fresh, notify=progress.report)
    return dict(zip(jobs, outcomes, strict=True))
