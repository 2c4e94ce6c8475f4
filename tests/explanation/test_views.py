from pathlib import Path
from typing import Any

import numpy as np

from compare.explanation.observed.observation import Observation
from compare.explanation.running.views import as_called
from tests.explanation.made_up import call, layer, observation

GENERATOR = np.random.default_rng(3)
FIRST, SECOND = GENERATOR.normal(size=(2, 4, 5))
LAYERS = [layer("dense", "Dense", {"kernel": (5, 5)})]


def twice(directory: Path, **fields: Any) -> Observation:
    """A model that is called for each of two views, and gives twice what it is given."""
    arrays = {"a": FIRST, "b": SECOND, "2a": 2 * FIRST, "2b": 2 * SECOND}
    calls = [call("dense", ["a"], ["2a"]), call("dense", ["b"], ["2b"], occurrence=1)]
    return observation(directory, "keras", LAYERS, calls, arrays, fed=[{"inputs": ["a", "b"]}], **fields)


def once(directory: Path) -> Observation:
    """The same, called for both in one."""
    both = np.concatenate([FIRST, SECOND])
    calls = [call("dense", ["x"], ["2x"]), call(None, ["2x"], [], function="chunk")]
    return observation(directory, "torch", LAYERS, calls, {"x": both, "2x": 2 * both}, fed=[{"inputs": ["x"]}])


def test_a_guide_that_calls_its_model_twice_is_as_if_it_had_called_it_once(tmp_path: Path) -> None:
    found = as_called(twice(tmp_path / "guide"), once(tmp_path / "port"))
    (made,) = found.calls[0]
    assert made.layer == "dense"
    output, fed = found.array(made.outputs[0]), found.array(found.fed[0]["inputs"][0])
    assert output is not None
    assert fed is not None
    assert np.array_equal(fed, np.concatenate([FIRST, SECOND]))
    assert np.array_equal(output, 2 * fed)


def test_a_guide_that_calls_its_model_once_is_as_if_it_had_called_it_for_each_view(tmp_path: Path) -> None:
    found = as_called(once(tmp_path / "guide"), twice(tmp_path / "port"))
    first, second, chunk = found.calls[0]
    assert (first.occurrence, second.occurrence, chunk.function) == (0, 1, "chunk")
    for made, view in ((first, FIRST), (second, SECOND)):
        output = found.array(made.outputs[0])
        assert output is not None
        assert np.array_equal(output, 2 * view)
    inputs = found.arrays(found.fed[0]["inputs"])
    assert len(inputs) == 2
    assert inputs[1] is not None
    assert np.array_equal(inputs[1], SECOND)


def test_models_that_are_called_as_often_are_left_alone(tmp_path: Path) -> None:
    guide = twice(tmp_path / "guide")
    assert as_called(guide, twice(tmp_path / "port")) is guide


def test_two_inputs_of_one_call_are_no_views(tmp_path: Path) -> None:
    arrays = {"a": FIRST, "b": SECOND, "c": FIRST + SECOND}
    guide = observation(
        tmp_path / "guide", "keras", LAYERS, [call("dense", ["a", "b"], ["c"])], arrays, fed=[{"inputs": ["a", "b"]}]
    )
    assert as_called(guide, once(tmp_path / "port")) is guide


def test_a_name_with_and_or_part_in_it_is_a_name(tmp_path: Path) -> None:
    arrays = {"q and k": FIRST, "a part 0/2": SECOND}
    found = observation(tmp_path, "keras", LAYERS, [call("dense", ["q and k"], ["a part 0/2"])], arrays)
    for key, values in arrays.items():
        array = found.array(key)
        assert array is not None
        assert np.array_equal(array, values)
