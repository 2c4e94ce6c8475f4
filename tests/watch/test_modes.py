"""What a script's source says about the mode in which a model is left, without a framework."""

import linecache
from pathlib import Path
from types import FrameType

import pytest

from tests.watch.test_stopping import run
from watch.source.modes import evaluated_and_left
from watch.source.places import Places

SCRIPT = """
    class Model:
        parameters = ()
        def train(self, mode=True): pass
        def eval(self): pass

    def validate(net):
        net.eval()
        {after}

    class Loop:
        def __init__(self, model):
            self.model = model

        def validate(self):
            self.model.eval()

    model, teacher, frozen, tuned = Model(), Model(), False, True
    loop = Loop(model)
    model.train()
    for epoch in range(3):
        {begin}
        for batch in range(2):
            {each}
            step()
        {end}
"""


def left(frame: FrameType, places: Places) -> list[tuple[str, str]]:
    """The names of the models that are left in evaluation mode, and the lines."""
    of = {id(frame.f_globals[name]): name for name in ("model", "teacher")}
    return [(of[id(model)], place["code"]) for model, place in evaluated_and_left(frame, places)]


def told(folder: Path, *, begin: str = "pass", each: str = "pass", end: str = "pass", after: str = "pass") -> object:
    source = SCRIPT.format(begin=begin, each=each, end=end, after=after)
    linecache.clearcache()
    return run(folder, source, left)


@pytest.mark.parametrize("end", ["validate(model)", "validate(net=model)", "if epoch: validate(model)"])
def test_an_evaluation_at_the_end_of_each_epoch_is_followed_into_its_function(tmp_path: Path, end: str) -> None:
    assert told(tmp_path, end=end) == [("model", "net.eval()")]


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        ("if frozen: model.eval()", []),
        ("if not tuned: model.eval()", []),
        ("if tuned: model.eval()", [("model", "if tuned: model.eval()")]),
        ("model.train() if epoch else None", []),
    ],
)
def test_a_branch_that_is_not_taken_says_nothing(tmp_path: Path, begin: str, expected: object) -> None:
    assert told(tmp_path, begin=begin) == expected


def test_an_evaluation_in_a_method_is_found(tmp_path: Path) -> None:
    assert told(tmp_path, end="loop.validate()") == [("model", "self.model.eval()")]
    assert told(tmp_path, end="model.eval()") == [("model", "model.eval()")]
    assert told(tmp_path, end="model.train(False)") == [("model", "model.train(False)")]


@pytest.mark.parametrize(
    "lines",
    [
        {"begin": "model.train()"},
        {"each": "model.train()"},
        {"after": "net.train()"},
        {"after": "net.train(True)"},
    ],
)
def test_a_model_that_is_put_back_is_not_left(tmp_path: Path, lines: dict[str, str]) -> None:
    assert told(tmp_path, end="validate(model)", **lines) == []


def test_each_model_stands_for_itself(tmp_path: Path) -> None:
    assert told(tmp_path, begin="model.train()", end="validate(teacher)") == [("teacher", "net.eval()")]
    assert told(tmp_path) == []
