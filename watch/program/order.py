"""Makes the orders that a script draws the identity, and notes each of them: Python's and NumPy's.

Two scripts that shuffle read the same samples in the same order then, and only a script that does not shuffle has
nothing to note. Only what the user's own code draws is changed, and what scikit-learn and `keras.utils` draw for it to
split and to shuffle: data that a library makes up stays as mixed as it is.
"""

import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from watch.source.places import Places

_SPLITS = "sklearn.model_selection._split"
_OF_KERAS = ("timeseries", "image", "text", "audio")  # what keras.utils makes data sets of
SHUFFLES = frozenset({
    _SPLITS, "sklearn.utils._indexing", "keras.src.utils.dataset_utils",
    *(f"keras.src.utils.{kind}_dataset_utils" for kind in _OF_KERAS),
})  # fmt: skip
"""Modules that shuffle on behalf of the user's code that calls them."""
# Between them and the user's code there are frames that pass a call on.
_PASSING_ON = frozenset({"sklearn.utils._param_validation", "contextlib", "torch.utils.data.dataloader"})
HEAD = 8
"""So many samples at the front are turned round by an order that is drawn apart: as many as any batch has."""
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
        self._first: dict[tuple[str, int, str], tuple[Any, FrameType, FrameType | None]] = {}
        self.identity = identity
        self.in_samples = False  # whether a data set drew an order, or a few of many, to make one sample
        self.in_pairs = True  # whether a second order may belong to what the first one was drawn for

    def begin(self) -> None:
        """Forgets the orders that a training drew that passed before the one that is watched."""
        self.permutations.clear()
        self._first.clear()

    def note(self, function: str, size: int, frame: FrameType | None = None, state: Any = None) -> bool:
        """Notes a permutation of `size` samples.

        Args:
            function: What draws it.
            size: Of how many.
            frame: Of the code that asks for it.
            state: Of the generator that it is drawn from, None where that does not matter.

        Returns:
            Whether it is another order than the one that the same function gave at the same moment: samples and labels
            that are shuffled one after the other need the same. Such an order turns the front round in place of the
            identity, which would hide it.
        """
        frame = frame or sys._getframe(1)  # noqa: SLF001
        when = self._now()
        entry = {"function": function, "size": size, "when": when, "place": self._places.here(frame)}
        apart = self.in_pairs and state is not None and self._parts((function, size, when), state, frame)
        if apart:
            entry["apart"] = True
        if len(self.permutations) < 1000:
            self.permutations.append(entry)
        return apart

    def _parts(self, key: tuple[str, int, str], state: Any, frame: FrameType) -> bool:
        """Whether an order is another than the first one that the same piece of code asked for at the same moment.

        A class that draws one when it is made and another when an epoch begins does not need them to be the same.
        """
        found: FrameType | None = frame
        while found is not None and self._places.file(found.f_code) is None:
            found = found.f_back
        if found is None:
            return False
        first = self._first.get(key)
        if first is None or not _beside(*first[1:], found):
            self._first[key] = state, found, found.f_back
            return False
        return bool(first[0] != state)

    def left(self, function: str, x: Any, frame: FrameType, state: Any) -> bool:
        """Notes that an array or a list is to be shuffled; whether it is left in its order, or turned round in front.

        Args:
            function: See `note`.
            x: The array.
            frame: See `note`.
            state: See `note`.
        """
        apart = self.note(function, len(x), frame, state)
        if self.identity and apart:
            turn(x)
        return self.identity

    def of_user(self, frame: FrameType, modules: frozenset[str] = frozenset()) -> bool:
        """Whether a frame is of the user's own code, or of one of these modules called from it."""
        found: FrameType | None = frame
        while found is not None:
            name = str(found.f_globals.get("__name__"))
            if name not in modules | _PASSING_ON and name.partition(".")[0] not in _TRAINERS:
                break
            found = found.f_back
        return found is not None and self._places.file(found.f_code) is not None

    def is_drawn_by_user(self, frame: FrameType, modules: frozenset[str] = frozenset()) -> bool:
        """Whether the user's own code draws an order of samples.

        What a data set draws to make one sample, two pictures of a class for one, is no order: it stays as it is.
        """
        if not self.of_user(frame, modules):
            return False
        found: FrameType | None = frame
        while found is not None:
            if found.f_code.co_name == "__getitem__" and self._places.file(found.f_code) is not None:
                self.in_samples = True
                return False
            found = found.f_back
        return True

    def steer(self) -> None:
        """Takes the place of the functions of `random` and `numpy.random` that draw permutations."""
        self._steer_random()
        self._steer_numpy()

    def _steer_random(self) -> None:
        order, shuffle, sample = self, random.Random.shuffle, random.Random.sample
        seed, setstate, getstate = random.Random.seed, random.Random.setstate, random.Random.getstate

        def identity_shuffle(self: random.Random, x: Any, *args: Any) -> None:
            frame = sys._getframe(1)  # noqa: SLF001
            if order.is_drawn_by_user(frame, SHUFFLES):
                state = None if isinstance(self, random.SystemRandom) else _state(self, getstate(self))
                if order.left("random.shuffle", x, frame, state):
                    return
            shuffle(self, x, *args)

        def seeded(self: random.Random, *args: Any, **options: Any) -> None:
            _given_a_state(self)
            seed(self, *args, **options)

        def kept(self: random.Random) -> Any:
            _given_a_state(self)
            return getstate(self)

        def given(self: random.Random, state: Any) -> None:
            _given_a_state(self)
            setstate(self, state)

        def identity_sample(self: random.Random, population: Any, k: int, **options: Any) -> list[Any]:
            if order.is_drawn_by_user(sys._getframe(1)):  # noqa: SLF001
                order.note("random.sample", len(population), sys._getframe(1))  # noqa: SLF001
                if order.identity and k <= len(population):
                    return list(population[:k])
            return sample(self, population, k=k, **options)

        random.Random.seed, random.Random.setstate = seeded, given  # type: ignore[method-assign]
        random.Random.getstate = kept  # type: ignore[method-assign]
        random.Random.shuffle = identity_shuffle  # type: ignore[method-assign]
        random.Random.sample = identity_sample  # type: ignore[method-assign]
        instance: random.Random = random._inst  # noqa: SLF001
        random.shuffle, random.sample = instance.shuffle, instance.sample
        random.seed, random.getstate, random.setstate = instance.seed, instance.getstate, instance.setstate

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
        for name in ("permutation", "shuffle", "choice", "seed", "get_state", "set_state"):
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

        told: Any = _told(original)

        class Steered(told, metaclass=Meta):
            def permutation(self, x: Any, *args: Any, **options: Any) -> Any:
                frame = sys._getframe(1)  # noqa: SLF001
                if not order.is_drawn_by_user(frame, SHUFFLES):
                    return super().permutation(x, *args, **options)
                state = None if frame.f_globals.get("__name__") == _SPLITS else self.state_of_orders()
                made = _identity(x, frame)
                if order.left(f"{name}.permutation", made, frame, state):
                    return made
                return super().permutation(x, *args, **options)

            def shuffle(self, x: Any, *args: Any, **options: Any) -> None:
                frame = sys._getframe(1)  # noqa: SLF001
                if not order.is_drawn_by_user(frame, SHUFFLES) or not order.left(
                    f"{name}.shuffle", x, frame, self.state_of_orders()
                ):
                    super().shuffle(x, *args, **options)

            def choice(self, a: Any, size: Any = None, replace: bool = True, *args: Any, **options: Any) -> Any:
                frame = sys._getframe(1)  # noqa: SLF001
                if replace or not isinstance(size, int | np.integer) or not order.is_drawn_by_user(frame):
                    return super().choice(a, size, replace, *args, **options)
                order.note(f"{name}.choice", _size(a), frame)
                if order.identity:
                    return np.arange(a)[:size] if isinstance(a, int | np.integer) else np.array(a)[:size]
                return super().choice(a, size, replace, *args, **options)

        Steered.__name__ = Steered.__qualname__ = original.__name__
        Steered.__module__ = original.__module__
        return Steered


def _told(original: type[Any]) -> type[Any]:
    """A subclass of RandomState or Generator that counts its orders from the state that it was last given."""

    class State(original):
        def state_of_orders(self) -> tuple[int, int]:
            return _state(self, super().get_state(legacy=False))

        def seed(self, *args: Any, **options: Any) -> None:
            _given_a_state(self)
            super().seed(*args, **options)

        def get_state(self, *args: Any, **options: Any) -> Any:
            _given_a_state(self)  # whoever keeps it may give it back
            return super().get_state(*args, **options)

        def set_state(self, *args: Any, **options: Any) -> None:
            _given_a_state(self)
            super().set_state(*args, **options)

    class Generator(original):
        def state_of_orders(self) -> tuple[int, int]:
            return _state(self, super().bit_generator.state)

        @property
        def bit_generator(self) -> Any:
            _given_a_state(self)  # by whom asks for it, to give it one
            return super().bit_generator

    return State if hasattr(original, "set_state") else Generator


def _state(generator: Any, state: Any) -> tuple[int, int]:
    """The state of a generator, which draws nothing where orders are identities, and how many it would have drawn.

    Args:
        generator: Whose orders are counted.
        state: What it says of itself.
    """
    drawn = getattr(generator, _DRAWN, 0)
    setattr(generator, _DRAWN, drawn + 1)
    return hash(repr(state)), drawn


def _given_a_state(generator: Any) -> None:
    """A generator begins anew."""
    setattr(generator, _DRAWN, 0)


_DRAWN = "_orders_drawn"


def _beside(first: FrameType, called_by: FrameType | None, second: FrameType) -> bool:
    """Whether two frames are one, or those of a function that one frame calls twice; what has ended has no caller."""
    return first is second or (first.f_code is second.f_code and called_by is second.f_back is not None)


def turn(x: Any) -> Any:
    """Turns the front of an array or a list round, in place; returns it."""
    if isinstance(x, np.ndarray | list):
        head = x[:HEAD][::-1]
        x[:HEAD] = head.copy()
    return x


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
