"""Makes the orders that a script draws the identity, and notes each of them: Python's and NumPy's.

Two scripts that shuffle read the same samples in the same order then, and only a script that does not shuffle has
nothing to note. Only what the user's own code draws is changed, and what scikit-learn draws for it to split and to
shuffle: data that a library makes up stays as mixed as it is.
"""

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from watch.source.places import Places

_SPLITS = "sklearn.model_selection._split"
_SHUFFLES = frozenset({_SPLITS, "sklearn.utils._indexing"})
# Between them and the user's code there are frames that pass a call on.
_PASSING_ON = frozenset({"sklearn.utils._param_validation", "contextlib", "torch.utils.data.dataloader"})
_TRAINERS = frozenset({"lightning", "pytorch_lightning"})  # packages that read the user's loaders for him


class Order:
    """The permutations that a script draws.

    Args:
        places: To tell the user's own code.
        now: What happens next, in words, "before step 0" for one.
        identity: Whether to make the permutations identities; they are noted in any case.
    """

    def __init__(self, places: Places, now: Callable[[], str], identity: bool) -> None:
        self.permutations: list[dict[str, Any]] = []
        self._places = places
        self._now = now
        self.identity = identity

    def note(self, function: str, size: int, frame: FrameType | None = None) -> None:
        """Notes a permutation of `size` samples."""
        place = self._places.here(frame or sys._getframe(1))  # noqa: SLF001
        entry = {"function": function, "size": size, "when": self._now(), "place": place}
        if len(self.permutations) < 1000:
            self.permutations.append(entry)

    def of_user(self, frame: FrameType, modules: frozenset[str] = frozenset()) -> bool:
        """Whether a frame is of the user's own code, or of one of these modules called from it."""
        found: FrameType | None = frame
        while found is not None:
            name = str(found.f_globals.get("__name__"))
            if name not in modules | _PASSING_ON and name.partition(".")[0] not in _TRAINERS:
                break
            found = found.f_back
        return found is not None and self._places.file(found.f_code) is not None

    def steer(self) -> None:
        """Takes the place of the functions of `random` and `numpy.random` that draw permutations."""
        self._steer_random()
        self._steer_numpy()

    def _steer_random(self) -> None:
        order, shuffle, sample = self, random.Random.shuffle, random.Random.sample

        def identity_shuffle(self: random.Random, x: Any, *args: Any) -> None:
            if order.of_user(sys._getframe(1)):  # noqa: SLF001
                order.note("random.shuffle", len(x), sys._getframe(1))  # noqa: SLF001
                if order.identity:
                    return
            shuffle(self, x, *args)

        def identity_sample(self: random.Random, population: Any, k: int, **options: Any) -> list[Any]:
            if order.of_user(sys._getframe(1)):  # noqa: SLF001
                order.note("random.sample", len(population), sys._getframe(1))  # noqa: SLF001
                if order.identity and k <= len(population):
                    return list(population[:k])
            return sample(self, population, k=k, **options)

        random.Random.shuffle = identity_shuffle  # type: ignore[method-assign]
        random.Random.sample = identity_sample  # type: ignore[method-assign]
        instance: random.Random = random._inst  # noqa: SLF001
        random.shuffle, random.sample = instance.shuffle, instance.sample

    def _steer_numpy(self) -> None:
        state, generator = np.random.RandomState, np.random.Generator
        steered_state = self._steered(state, "np.random")
        steered_generator = self._steered(generator, "Generator")
        default_rng = np.random.default_rng

        def steered_rng(*args: Any, **options: Any) -> Any:
            made = default_rng(*args, **options)
            return made if type(made) is steered_generator else steered_generator(made.bit_generator)

        shared = steered_state(np.random.mtrand._rand._bit_generator)  # noqa: SLF001
        np.random.mtrand._rand = shared  # noqa: SLF001
        for name in ("permutation", "shuffle", "choice"):
            setattr(np.random, name, getattr(shared, name))
        np.random.RandomState = steered_state  # type: ignore[misc]
        np.random.Generator = steered_generator  # type: ignore[misc]
        np.random.default_rng = steered_rng

    def _steered(self, original: type[Any], name: str) -> type[Any]:
        """A subclass of RandomState or Generator whose permutations are identities for the user's own code."""
        order = self

        class Meta(type):
            def __instancecheck__(cls, instance: Any) -> bool:  # np.random's own state is one, made before this
                return isinstance(instance, original)

        class Steered(original, metaclass=Meta):
            def permutation(self, x: Any, *args: Any, **options: Any) -> Any:
                frame = sys._getframe(1)  # noqa: SLF001
                if not order.of_user(frame, _SHUFFLES):
                    return super().permutation(x, *args, **options)
                order.note(f"{name}.permutation", _size(x), frame)
                return _identity(x, frame) if order.identity else super().permutation(x, *args, **options)

            def shuffle(self, x: Any, *args: Any, **options: Any) -> None:
                frame = sys._getframe(1)  # noqa: SLF001
                if order.of_user(frame, _SHUFFLES):
                    order.note(f"{name}.shuffle", len(x), frame)
                    if order.identity:
                        return
                super().shuffle(x, *args, **options)

            def choice(self, a: Any, size: Any = None, replace: bool = True, *args: Any, **options: Any) -> Any:
                frame = sys._getframe(1)  # noqa: SLF001
                if replace or not isinstance(size, int | np.integer) or not order.of_user(frame):
                    return super().choice(a, size, replace, *args, **options)
                order.note(f"{name}.choice", _size(a), frame)
                if order.identity:
                    return np.arange(a)[:size] if isinstance(a, int | np.integer) else np.array(a)[:size]
                return super().choice(a, size, replace, *args, **options)

        Steered.__name__ = Steered.__qualname__ = original.__name__
        Steered.__module__ = original.__module__
        return Steered


def _size(x: Any) -> int:
    return int(x) if isinstance(x, int | np.integer) else len(x)


def _identity(x: Any, frame: FrameType) -> Any:
    """The identity in place of a permutation; for scikit-learn's splits, the one that takes training samples first.

    Its `ShuffleSplit` takes the test samples from the front of a permutation, where every other way to split, its own
    without shuffling included, takes them from the end; its `StratifiedShuffleSplit` goes class by class and mixes
    the result, for which the order of the data takes the place.
    """
    if not isinstance(x, int | np.integer):
        return np.sort(x) if frame.f_globals.get("__name__") == _SPLITS else np.array(x)
    indices = np.arange(x)
    names = frame.f_locals
    if frame.f_globals.get("__name__") != _SPLITS or not names.keys() >= {"n_train", "n_test"} or "classes" in names:
        return indices
    return np.roll(indices, names["n_test"])
