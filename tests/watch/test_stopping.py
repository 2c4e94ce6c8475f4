"""What a script's source says about its loop over the epochs, without a framework."""

import linecache
import sys
import textwrap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from watch.source.loops import called_in_loops, enclosing_loops, later_trainings, rounds_of_fit, sets_rate
from watch.source.places import Places
from watch.source.stopping import restoring, stopping


class OneFile(Places):
    """Places of which one file is the user's."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def file(self, code: CodeType) -> str | None:
        return "port.py" if code.co_filename == self._path else None

    def files(self) -> list[str]:
        return [self._path]

    def of_line(self, filename: str, line: int) -> dict[str, Any]:
        return {"file": "port.py", "line": line, "code": linecache.getline(filename, line).strip()}


def run(folder: Path, source: str, ask: Any) -> Any:
    """What `ask` says of the frame in which the script calls `step()` for the first time."""
    path = folder / "port.py"
    path.write_text(textwrap.dedent(source))
    places, told = OneFile(path), []

    def step() -> None:
        if not told:
            told.append(ask(sys._getframe(1), places))  # noqa: SLF001

    exec(compile(path.read_text(), str(path), "exec"), {"step": step})  # noqa: S102
    return told[0]


def scheduler_steps(frame: FrameType, places: Places) -> list[str]:
    """How often the frame's scheduler steps."""
    scheduler = frame.f_globals["scheduler"]
    return [how for called, how in called_in_loops("step", frame, places) if called is scheduler]


COUNTER = """
    patience, best, wait = 4, 1e9, 0
    for epoch in range(3):
        for batch in range(2):
            step()
        loss = 1.0
        if loss < best - 1e-3:
            best, wait = loss, 0
        else:
            wait += 1
            if wait >= patience:
                break
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", {"patience": 4, "min_delta": 1e-3, "mode": "min", "monitor": "loss"}),
        ("wait >= patience", "wait > patience", {"patience": 5}),
        ("loss < best - 1e-3", "loss > best", {"patience": 4, "min_delta": 0.0, "mode": "max"}),
        ("wait += 1", "wait += batch", {"patience": None}),  # no counter of epochs
        ("break", "pass", {"ends_early": False}),
    ],
)
def test_early_stopping_of_ones_own_is_read(tmp_path: Path, old: str, new: str, told: dict[str, Any]) -> None:
    known = run(tmp_path, COUNTER.replace(old, new) if old else COUNTER, stopping)
    assert {key: known.get(key) for key in told} == told


@pytest.mark.parametrize(("operator", "patience"), [(">=", 7), (">", 8)])
def test_an_object_is_asked_whether_to_stop(tmp_path: Path, operator: str, patience: int) -> None:
    source = f"""
        class Stopper:
            def __init__(self, patience, min_delta=0.0):
                self.patience, self.min_delta, self.counter, self.best = patience, min_delta, 0, None
            def stop(self, loss):
                if self.best is None or loss < self.best - self.min_delta:
                    self.best, self.counter = loss, 0
                    return False
                self.counter += 1
                return self.counter {operator} self.patience
        def train(epochs, stopper):
            for epoch in range(epochs):
                step()
                if stopper.stop(1.0):
                    break
        train(2, Stopper(7, min_delta=0.01))
        """
    known = run(tmp_path, source, stopping)
    assert (known["patience"], known["min_delta"], known["mode"]) == (patience, 0.01, "min")
    assert known["place"]["code"] == "break"


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ("net.state_dict()", "references"),
        ("net.state_dict().copy()", "references"),
        ("copy.deepcopy(net.state_dict())", "copies"),
        ("None", None),
    ],
)
def test_best_weights_that_are_not_copied_are_told(tmp_path: Path, kept: str, told: str | None) -> None:
    source = f"""
        def train():
            for epoch in range(2):
                best = {kept}
            net.load_state_dict(best)
        step()
        """
    assert run(tmp_path, source, lambda _frame, places: restoring(places))["kept"] == told


LOOP = """
    class Made:
        def step(self):
            pass
    optimizer, scheduler = Made(), Made()
    for epoch in range(2):
        for batch in range(2):
            step()
            optimizer.step()
            {inner}
        {outer}
"""


@pytest.mark.parametrize(
    ("inner", "outer", "where"), [("scheduler.step()", "", ["step"]), ("", "scheduler.step()", ["epoch"]), ("", "", [])]
)
def test_where_a_scheduler_steps_is_read_from_the_loops(
    tmp_path: Path, inner: str, outer: str, where: list[str]
) -> None:
    assert run(tmp_path, LOOP.format(inner=inner, outer=outer), scheduler_steps) == where


@pytest.mark.parametrize(
    ("line", "sets"),
    [
        ('group["lr"] = 0.1', True),
        ("optimizer.learning_rate = 0.1", True),
        ("optimizer.learning_rate.assign(0.1)", True),
        ("self.learning_rate = 0.1", False),
        ('print(group["lr"] == 0.1)', False),
    ],
)
def test_a_line_that_sets_the_learning_rate_is_seen(tmp_path: Path, line: str, sets: bool) -> None:
    path = tmp_path / "port.py"
    path.write_text(line)
    assert bool(sets_rate(OneFile(path))) is sets


FIRST = """
    def train(times):
        for epoch in range(times):
            step()
            loss.backward()
    def main():
        {before}
        train(1)
        {after}
    class Loss:
        def backward(self):
            pass
    loss = Loss()
    main()
"""


@pytest.mark.parametrize(
    ("before", "after", "later"),
    [
        ("pass", "pass", []),
        ("pass", "train(2)", ["train(2)"]),
        ("[print() for _ in range(1)]", "print(len([1]))", []),
    ],
)
def test_a_training_that_comes_later_is_told(tmp_path: Path, before: str, after: str, later: list[str]) -> None:
    told = run(tmp_path, FIRST.format(before=before, after=after), later_trainings)
    assert [entry["code"] for entry in told] == later


@pytest.mark.parametrize(
    "line",
    [
        "losses = [step() for batch in range(2)]",
        "losses = {batch: step() for batch in range(2)}",
        "losses = sum(step() or 0 for batch in range(2))",
        "for batch in range(2): step()",
    ],
)
def test_a_comprehension_is_a_loop(tmp_path: Path, line: str) -> None:
    source = f"""
        for epoch in range(3):
            print(end="")
            {line}
        """
    found = run(tmp_path, source, enclosing_loops)
    assert found["value"] == 3
    assert [(loop["kind"], loop["count"]) for loop in found["loops"]] == [("for", 3), ("for", 2)]


def test_a_loop_in_which_the_optimizer_is_made_is_none_over_epochs(tmp_path: Path) -> None:
    source = """
        def train(fold):
            for epoch in range(2):
                for batch in range(4):
                    step()
        for fold in range(5):
            model = object()
            train(fold)
        """
    made = [(str(tmp_path / "port.py"), 7)]  # in the loop over folds
    assert run(tmp_path, source, enclosing_loops)["value"] == 5
    found = run(tmp_path, source, lambda frame, places: enclosing_loops(frame, places, made))
    assert [loop["count"] for loop in found["loops"]] == [2, 4]
    assert found["value"] == 2


def test_what_is_called_beside_a_comprehension_is_called_by_the_epoch(tmp_path: Path) -> None:
    source = """
        class Scheduler:
            def step(self):
                pass
        scheduler = Scheduler()
        for epoch in range(3):
            losses = [step() for batch in range(2)]
            scheduler.step()
        """

    assert run(tmp_path, source, scheduler_steps) == ["epoch"]


def test_a_second_loop_is_a_later_training(tmp_path: Path) -> None:
    source = """
        class Loss:
            def backward(self):
                pass
        loss = Loss()
        for epoch in range(2):
            for batch in range(2):
                step()
            print(end="")
        for epoch in range(3):
            print(end="")
        for epoch in range(4):
            loss.backward()
        """
    assert [entry["code"] for entry in run(tmp_path, source, later_trainings)] == ["for epoch in range(4):"]


@pytest.mark.parametrize(
    ("before", "line", "rounds"),
    [
        ("", "model.fit()", 1),
        ("for epoch in range(6):\n    print(end='')", "model.fit()", 6),
        ("for epoch in range(3):\n  for part in range(2):\n    print(end='')", "model.fit()", 6),
        ("for epoch in {1, 2}:\n    print(end='')", "model.fit()", None),
        ("for fold in range(5):\n    model = Model()", "model.fit()", 1),
        ("for fold in range(5):\n    model.compile()", "model.fit()", 1),
        ("for fold in range(5):\n    model.held = Model()", "model.held.fit()", 1),
        ("for epoch in range(3):\n    probe = Model()", "model.fit(); probe.fit", 3),
    ],
    ids=[
        "no loop",
        "epochs",
        "parts of epochs",
        "an unknown number",
        "folds",
        "compiled anew",
        "folds in an attribute",
        "a probe",
    ],
)
def test_rounds_of_fit_are_those_that_train_one_model(
    tmp_path: Path, before: str, line: str, rounds: int | None
) -> None:
    indented = "    " if before else ""
    model = "class Model:\n    def fit(self):\n        step()\n    def compile(self):\n        pass\nmodel = Model()"
    source = f"{model}\n{before}\n{indented}{line}\n"
    assert run(tmp_path, source, lambda frame, places: rounds_of_fit(frame.f_back, places)) == rounds
