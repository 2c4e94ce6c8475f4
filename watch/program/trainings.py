"""Scripts that train more than once: where one training ends and the next begins."""

from collections.abc import Callable
from typing import Any


class Trainings:
    """The trainings of a script: one begins with an optimizer that is made after another one has stepped.

    So is a network that is tuned further by a smaller rate, or a student of a network that was trained before.

    Args:
        skip: So many pass unwatched.
    """

    def __init__(self, skip: int) -> None:
        self._left = skip
        self._stepped = False
        self.trained: list[Any] = []  # what those trained that pass
        self.begun: list[Callable[[], None]] = []  # called when the one begins that is watched

    @property
    def passing(self) -> bool:
        """Whether the training that is under way is not the one to watch."""
        return self._left > 0

    def optimizer_made(self) -> None:
        """Before an optimizer is watched: a new training may begin with it."""
        if self.passing and self._stepped:
            self._stepped = False
            self._left -= 1
            for told in self.begun if self._left == 0 else ():
                told()

    def optimizer_stepped(self, trained: list[Any]) -> None:
        """An optimizer has taken a step in a training that passes.

        Args:
            trained: Its parameters.
        """
        known = {id(parameter) for parameter in self.trained}
        self.trained += [parameter for parameter in trained if id(parameter) not in known]
        self._stepped = True
