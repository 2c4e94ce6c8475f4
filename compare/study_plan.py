"""A study: every implementation, variant and seed trained; what is to be run, and what each run left.

A variant flips switches of a recipe whose switches are all shared. One result is one file, which holds
what the judge of a study needs and travels between machines by value.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from compare.findings import Status
from compare.runner import BadArgumentError, BadInputError, Implementation, Job
from recipe import Recipe
from recipe.record_files import on_disk
from recipe.run_record import RunRecord
from recipe.settings import KERAS_EPSILON, SWITCHES

ALIGNED = "aligned"
NATIVE = "native"
CONTROL = "control"
"""The A/A control: aligned, from initial weights one unit in the last place away."""

DEFAULT_VARIANTS = (ALIGNED, CONTROL, NATIVE, *(switch for switch in SWITCHES if switch != "dropout_masks"))
"""What a study runs if nothing else is asked for; where the recipe has dropout, the switch of its masks too."""


def variant_recipe(base: Recipe, variant: str, seed: int) -> Recipe:
    """The recipe of a variant: aligned, control, native, a switch, or several joined by "+".

    Raises:
        BadInputError: There is no such variant, or `base` has flipped switches itself.
    """
    if flipped := [switch for switch in SWITCHES if getattr(base, switch) != "shared"]:
        raise BadInputError(
            f"a study flips the switches itself; leave recipe.preset and recipe.{flipped[0]} out and name variants"
        )
    if base.perturbation:
        raise BadInputError("a study has its own control; leave recipe.perturbation out and name the variant control")
    if variant == CONTROL:
        return dataclasses.replace(base, seed=seed, perturbation=1)
    switches = {ALIGNED: (), NATIVE: SWITCHES}.get(variant, tuple(variant.split("+")))
    if unknown := set(switches) - set(SWITCHES):
        raise BadArgumentError(
            f"variants: there is no variant {variant!r}, for there is no switch {min(unknown)!r}; "
            f"choose among {', '.join((ALIGNED, CONTROL, NATIVE, *SWITCHES))}, and switches joined by +"
        )
    fields = asdict(base) | dict.fromkeys(switches, "framework") | {"seed": seed}
    if "adam" in switches and base.epsilon == KERAS_EPSILON:
        fields["epsilon"] = None  # the framework's own, unless another was asked for
    return Recipe(**fields)


@dataclass(frozen=True)
class StudyRun:
    """One training of a study; `key` names all that determines it, and the file of its result."""

    implementation: Implementation
    variant: str
    seed: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """The name of the run's record, as `compare run` would call it."""
        return Job(self.implementation, self.recipe, Path()).directory.name


def plan(
    implementations: Sequence[Implementation], base: Recipe, variants: Sequence[str] | None, num_seeds: int
) -> list[StudyRun]:
    """Every run of a study, seed by seed, so that an unfinished study has whole seeds.

    Where `variants` is None they are `DEFAULT_VARIANTS`, and the dropout's masks where there is dropout.

    Raises:
        BadInputError: There is no seed to run, or no such variant, or one is named twice.
    """
    if num_seeds < 1:
        raise BadArgumentError(f"seeds must be 1 or more, not {num_seeds}")
    if variants is None:
        variants = (*DEFAULT_VARIANTS, "dropout_masks") if base.dropout else DEFAULT_VARIANTS
    if not variants:
        raise BadArgumentError(f"variants must name one or more of {', '.join(DEFAULT_VARIANTS)}")
    if len({frozenset(variant.split("+")) for variant in variants}) < len(variants):
        raise BadArgumentError(f"variants: every variant may be named once; given: {', '.join(variants)}")
    return [
        StudyRun(implementation, variant, seed, variant_recipe(base, variant, seed))
        for seed in range(base.seed, base.seed + num_seeds)
        for variant in variants
        for implementation in implementations
    ]


@dataclass(frozen=True)
class Settled:
    """A run that need not be run any more; `done_here` says that this study ran it just now."""

    run: StudyRun
    error: str | None
    done_here: bool


@dataclass(frozen=True)
class Result:
    """What a study keeps of a run, or why there is nothing to keep.

    Accuracy is a proportion. Of a diverged run there is neither accuracy nor loss.
    """

    status: Status
    error: str | None = None
    diverged_at: dict[str, int | None] | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    seconds: float | None = None
    versions: dict[str, str] | None = None
    backend: str | None = None
    device: str | None = None


def condense(record: RunRecord) -> bytes:
    """A result as it travels: a safetensors file of the steps' losses and the classes predicted, in few bytes."""
    result = Result(
        status=record.status.outcome,
        diverged_at={"epoch": record.status.epoch, "step": record.status.step} if record.diverged else None,
        test_accuracy=record.test.accuracy if record.test else None,
        test_loss=record.test.loss if record.test else None,
        seconds=record.seconds,
        versions=record.versions,
        backend=record.backend,
        device=record.device,
    )
    arrays = {"step_losses": record.step_losses}
    if record.test:
        smallest = np.min_scalar_type(record.recipe.images.num_classes - 1)
        arrays["predicted"] = record.test.predictions.argmax(axis=1).astype(smallest)
    return save(arrays, {"result": json.dumps(asdict(result))})


class Results:
    """The results of a study in a directory, a file each; complete or absent.

    What failed is kept too, so that a second study beside this one need not try it as well; a study
    that starts tries again what had failed before.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self._failed_before = {path: _time_of(path) for path in directory.glob("*.failed.json")}

    def path(self, run: StudyRun) -> Path:
        """Where the result is or will be."""
        return self.directory / f"{run.key}.safetensors"

    def failure_path(self, run: StudyRun) -> Path:
        """Where it stands that the run failed."""
        return self.directory / f"{run.key}.failed.json"

    def lock_path(self, run: StudyRun) -> Path:
        """What the study holds that has the run done."""
        return self.directory / f"{run.key}.lock"

    def write(self, run: StudyRun, content: bytes) -> None:
        """Keeps the result of a run; no failure of it is remembered."""
        _write(self.path(run), content)
        self.failure_path(run).unlink(missing_ok=True)

    def write_failure(self, run: StudyRun, error: str) -> None:
        """Keeps the reason why a run has no result."""
        _write(self.failure_path(run), json.dumps({"error": error}).encode())

    def settled(self, run: StudyRun) -> bool:
        """Whether the run need not be run: it has a result, or failed since this study began."""
        failure = self.failure_path(run)
        return self.path(run).exists() or _time_of(failure) != self._failed_before.get(failure)

    def read(self, run: StudyRun) -> Result:
        """The result of a run; `missing` where there is none."""
        path = self.path(run)
        if path.exists():
            with _open(path) as file:
                return Result(**json.loads(file.metadata()["result"]))
        try:
            return Result("failed", error=json.loads(self.failure_path(run).read_text())["error"])
        except FileNotFoundError:
            return Result("missing")

    def step_losses(self, run: StudyRun) -> NDArray[np.floating]:
        """The loss of every optimizer step, shape (steps,)."""
        with _open(self.path(run)) as file:
            return np.asarray(file.get_tensor("step_losses"))

    def predicted(self, run: StudyRun) -> NDArray[np.unsignedinteger[Any]]:
        """The class predicted for every test image, shape (test images,)."""
        with _open(self.path(run)) as file:
            return np.asarray(file.get_tensor("predicted"))


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise BadInputError(f"{path} is damaged ({error}); delete it, and the study runs it again") from error


def _time_of(path: Path) -> int | None:
    """When the file was written, in nanoseconds; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    # Whoever holds the run's lock writes, so that what a killed study left half-written is overwritten.
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    on_disk(partial)
    partial.replace(path)


def seeds_of(runs: Sequence[StudyRun]) -> list[int]:
    """The seeds of a plan, each once, in order."""
    return list(dict.fromkeys(run.seed for run in runs))


def variants_of(runs: Sequence[StudyRun]) -> list[str]:
    """The variants of a plan, each once, in order."""
    return list(dict.fromkeys(run.variant for run in runs))


def by_place(runs: Sequence[StudyRun]) -> Iterator[tuple[tuple[str, str, int], StudyRun]]:
    """The runs by implementation's name, variant and seed."""
    return (((run.implementation.name, run.variant, run.seed), run) for run in runs)
