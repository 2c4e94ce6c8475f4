from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compare.explanation.running.comparison import _only_when_watched
from recipe.errors import RunFailedError, ScriptFailedError
from watch.keras.model.inside import preactivation
from watch.program.failures import lines, of_watcher, one_line
from watch.source.mirror import Mirror
from watch.source.places import Places


def places() -> Places:
    """Places of which nothing is the user's own."""
    mirror: Any = SimpleNamespace(original=lambda name: None, folder=Path("/nowhere"))
    return Places(mirror)


def raised(action: Any) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it is looked at
        action()
    return caught.value


def test_an_error_of_a_watchers_own_code_is_the_watchers() -> None:
    nothing: Any = None
    error = raised(lambda: Places(nothing).file(places.__code__))
    assert of_watcher(error, places())
    assert any("watch/source/places.py" in line for line in lines(error, whole=True))
    assert not any("watch/source/places.py" in line for line in lines(error, whole=False))


def test_an_error_of_what_a_watcher_passes_on_is_the_scripts() -> None:
    layer = SimpleNamespace(activation=int)

    def call() -> None:
        with preactivation(layer, lambda _: None, True):
            layer.activation("not a number")

    error = raised(call)
    assert not of_watcher(error, places())
    assert one_line(error).startswith("ValueError: invalid literal")


def test_an_error_without_a_watcher_is_the_scripts() -> None:
    assert not of_watcher(raised(lambda: int("x")), places())


def failing() -> None:
    raise ScriptFailedError("port.py fails by itself (port.py:3): TypeError: no\n  File port.py\nits last output:\nx")


def test_a_script_that_fails_only_when_it_is_watched_is_told_so() -> None:
    words = r"port\.py runs by itself, and fails only as mnist-compare"
    alone: Any = lambda: None  # noqa: E731
    with pytest.raises(RunFailedError, match=words) as caught, _only_when_watched(alone):
        failing()
    assert not isinstance(caught.value, ScriptFailedError)
    assert "(port.py:3): TypeError: no\n  File port.py" in str(caught.value)


def test_a_script_that_fails_on_its_own_fails_by_itself() -> None:
    with pytest.raises(ScriptFailedError, match="fails by itself"), _only_when_watched(failing):  # type: ignore[arg-type]
        failing()


def test_a_file_that_may_not_be_written_is_the_scripts(tmp_path: Path) -> None:
    script, root = tmp_path / "user" / "model.py", tmp_path / "mirror"
    script.parent.mkdir()
    script.write_text("")
    root.mkdir()
    mirror = Mirror(script, root, tmp_path)
    error = raised(lambda: mirror.part(script.parent / "weights.npz"))
    assert isinstance(error, PermissionError)
    assert not of_watcher(error, places())
    assert "nothing may be written beside the script" in str(error)
