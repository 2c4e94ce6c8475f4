"""Findings of a comparison as types: what its `results.json` says, for programs to read.

Every field has the name of its key in `results.json`, which docs/results.md documents. Accuracies, margins and
shares are proportions, losses are means over the test digits, times are in seconds. What there is none of, such as
the accuracy of a run that failed, is None.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from compare.ladder.rung import Rung
from compare.results_file import EXIT_CODES, RESULTS, SCHEMA_VERSION, Verdict, read_results
from recipe import Recipe
from recipe.errors import RecordError
from recipe.recipe import is_finite_number
from record.files import json_safe

RunStatus = Literal["finished", "diverged", "failed", "missing"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Divergence:
    """Where a training's loss stopped being finite; both are counted from 1, None where the run did not say."""

    epoch: int | None
    step: int | None


@dataclass(frozen=True)
class ImplementationFindings:
    """How one implementation did.

    `record` is the directory of its record. `test_accuracy_interval` is the 95% interval (Wilson) of the accuracy,
    `history` has a list of one number an epoch for `loss`, `accuracy`, `val_loss`, `val_accuracy` and `seconds`,
    `seconds` is the wall time of the whole training, `seconds_per_epoch` the median. `align` trains nothing: what
    only a training has is None then, `diverged_at` where the traced steps diverge excepted.
    """

    status: RunStatus
    error: str | None = None
    framework: str | None = None
    backend: str | None = None
    device: str | None = None
    threads: int | None = None
    versions: Mapping[str, str] | None = None
    reused: bool | None = None
    record: Path | None = None
    diverged_at: Divergence | None = None
    test_accuracy: float | None = None
    test_accuracy_interval: Interval | None = None
    test_loss: float | None = None
    num_parameters: int | None = None
    seconds_per_epoch: float | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    history: Mapping[str, tuple[float | None, ...]] | None = None


@dataclass(frozen=True)
class Difference:
    """The other implementation minus the reference."""

    test_accuracy: float
    test_loss: float | None


@dataclass(frozen=True)
class Agreement:
    """How many of the `total` test digits both implementations predict alike, right or wrong."""

    same: int
    total: int


@dataclass(frozen=True)
class Pair:
    """The reference against one other implementation: the ladder, and what both made of the test digits.

    `gravest_rung` is the failed one that changes the training most, of those that do not follow from another.
    """

    verdict: Verdict
    first_failed_rung: str | None
    rungs: tuple[Rung, ...]
    difference: Difference | None = None
    agreement: Agreement | None = None
    gravest_rung: str | None = None

    @property
    def gravest(self) -> Rung | None:
        """The rung of the fault that matters most: its `where` says at which number, its `cause` the likely reason."""
        name = self.gravest_rung or self.first_failed_rung
        return next((rung for rung in self.rungs if rung.name == name), None)

    @property
    def first_failure(self) -> Rung | None:
        """The rung where the two part first: its `where` says at which number, its `cause` the likely reason."""
        return next((rung for rung in self.rungs if rung.name == self.first_failed_rung), None)


@dataclass(frozen=True)
class Findings:
    """What the findings of a comparison and of a study have in common.

    `directory` is where `results.json` and `report.html` are. `verdict` is the worst that was found, `exit_code` what
    the command line ends with: parity 0, not parity 1, inconclusive 3, failed 4. `command` is what was typed, None
    where Python asked.
    """

    directory: Path
    verdict: Verdict
    exit_code: int
    command: str | None
    recipe: Recipe

    @property
    def results_file(self) -> Path:
        """The findings as JSON."""
        return self.directory / RESULTS

    @property
    def page(self) -> Path:
        """The findings as a page that opens from disk."""
        return self.directory / "report.html"

    @classmethod
    def read(cls, directory: Path | str) -> Self:
        """The findings that an earlier call, or the command line, left in a directory.

        Raises:
            RecordError: There are none, or none of this kind and version.
        """
        directory = Path(directory)
        results = read_results(directory)
        kind = results.get("kind", "comparison")
        if kind != cls.__name__.lower():
            raise RecordError(
                f"{directory / RESULTS} holds the findings of a {kind}: read them with {str(kind).capitalize()}.read"
            )
        return cls.from_json(results, directory)

    @classmethod
    def from_json(cls, results: Mapping[str, Any], directory: Path) -> Self:
        """What `to_json` made, of the results in this directory.

        Raises:
            RecordError: A key is missing or holds something else.
        """
        try:
            findings = make(
                cls, results, directory=directory, recipe=_recipe(results), **cls._parts(results, directory)
            )
        except RecordError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise RecordError(f"{directory / RESULTS} is damaged: {what}; run the comparison again") from error
        if findings.exit_code != EXIT_CODES[findings.verdict]:
            what = f"exit_code {findings.exit_code} is not that of {findings.verdict}"
            raise RecordError(f"{directory / RESULTS} is damaged: {what}; run the comparison again")
        return findings

    @classmethod
    def _parts(cls, results: Mapping[str, Any], directory: Path) -> dict[str, Any]:
        """The fields that are more than plain JSON."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """What results.json holds, which docs/results.md documents."""
        raise NotImplementedError

    def _head(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "command": self.command,
            "recipe": asdict(self.recipe),
        }


@dataclass(frozen=True)
class Comparison(Findings):
    """What `run` and `align` found.

    `implementations` and `comparisons` go by name; the first implementation is the reference that each of the others
    is compared with. `compared` are the two that decide the verdict: the reference and the first of the worst.
    `trained` says whether there were trainings, as of `run`, or traces alone, as of `align`. `controls` are the records
    of the A/A family, empty after `align`.
    """

    compared: tuple[str, str]
    implementations: Mapping[str, ImplementationFindings]
    comparisons: Mapping[str, Pair]
    trained: bool = False
    controls: tuple[Path, ...] = ()

    @property
    def devices(self) -> dict[str, tuple[str, ...]]:
        """Where each implementation was computed, "cpu" or "gpu"; of one that failed, nothing is known."""
        return {name: (side.device,) if side.device else () for name, side in self.implementations.items()}

    @property
    def decisive(self) -> Pair:
        """The pair that decides the verdict."""
        return self.comparisons[self.compared[1]]

    @classmethod
    def _parts(cls, results: Mapping[str, Any], directory: Path) -> dict[str, Any]:
        entries, comparisons = results["implementations"], results["comparisons"]
        reference, *others = entries
        if list(comparisons) != others or results["compared"][0] != reference or results["compared"][1] not in others:
            raise ValueError("compared and comparisons name other implementations than there are")
        return {
            "implementations": {name: _implementation(entry, directory) for name, entry in entries.items()},
            "comparisons": {name: _pair(entry) for name, entry in comparisons.items()},
            "trained": bool(results.get("trained", "controls" in results)),
            "controls": tuple(directory / record for record in results.get("controls", ())),
        }

    def to_json(self) -> dict[str, Any]:
        """What results.json holds; what the decisive pair found is also at the top."""
        comparisons = {name: asdict(pair) for name, pair in self.comparisons.items()}
        decisive = {key: value for key, value in comparisons[self.compared[1]].items() if key != "verdict"}
        results = self._head() | {
            "compared": self.compared,
            "trained": self.trained,
            "implementations": {name: self._entry(side) for name, side in self.implementations.items()},
            **decisive,
            "comparisons": comparisons,
        }
        if self.trained:
            results["controls"] = [self._place(record) for record in self.controls]
        plain: dict[str, Any] = json_safe(results)
        return plain

    def _entry(self, side: ImplementationFindings) -> dict[str, Any]:
        """An implementation; what only a training has is null where this one lacks it, and left out without one."""
        trained = side.history is not None
        entry = {key: value for key, value in asdict(side).items() if value is not None or (trained and key != "error")}
        return entry | ({"record": self._place(side.record)} if side.record else {})

    def _place(self, record: Path) -> str:
        return str(record.relative_to(self.directory))


# --- from JSON -------------------------------------------------------------------------------------

_Kind = TypeVar("_Kind")

_MAX_SHOWN = 60


def make(kind: type[_Kind], entry: Mapping[str, Any], **made: Any) -> _Kind:
    """A `kind` with those fields `made`, and all others from the entry's keys."""
    if not isinstance(entry, Mapping):
        raise TypeError(f"{kind.__name__}: expected an object, found {_shortly(entry)}")
    kinds = get_type_hints(kind)
    plain: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in entry and field.name not in made:
            value = entry[field.name]
            if not fits(value, kinds[field.name]):
                wanted = getattr(kinds[field.name], "__name__", str(kinds[field.name])).replace("typing.", "")
                raise TypeError(f"{kind.__name__}: {field.name}: expected {wanted}, found {_shortly(value)}")
            plain[field.name] = _frozen(value)
    return kind(**plain, **made)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value as JSON has it is one of a field that is annotated so; of numbers, those that a float holds."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, list):
            return False
        if arguments[1:] == (...,):
            return all(fits(entry, arguments[0]) for entry in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin in (Mapping, dict):
        return isinstance(value, dict) and all(fits(entry, arguments[1]) for entry in value.values())
    if kind in (int, float):
        if value is None:  # JSON has no NaN
            return kind is float
        return is_finite_number(value) and (kind is float or isinstance(value, int))
    return kind is Any or isinstance(value, kind)


def _shortly(value: Any) -> str:
    """A value for an error, which may be a million characters long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples."""
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    return {key: _frozen(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def divergence(entry: Mapping[str, Any]) -> Divergence | None:
    """Where the entry's training diverged, if it did."""
    place = entry.get("diverged_at")
    return make(Divergence, place) if place else None


def _recipe(results: Mapping[str, Any]) -> Recipe:
    return Recipe.from_fields(results["recipe"])


def _implementation(entry: Mapping[str, Any], directory: Path) -> ImplementationFindings:
    record = directory / entry["record"] if "record" in entry else None
    return make(ImplementationFindings, entry, record=record, diverged_at=divergence(entry))


def _pair(entry: Mapping[str, Any]) -> Pair:
    return make(
        Pair,
        entry,
        # Their details keep the lists that the rungs made.
        rungs=tuple(replace(make(Rung, rung), detail=rung.get("detail", {})) for rung in entry["rungs"]),
        difference=make(Difference, entry["difference"]) if entry["difference"] else None,
        agreement=make(Agreement, entry["agreement"]) if entry["agreement"] else None,
    )
